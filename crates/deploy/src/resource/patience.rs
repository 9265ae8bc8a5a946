//! Refusals that pass by themselves: Google's parts learn of each other's changes one
//! after the other. Each is told by its own words and waited out for as long as it is
//! known to take; whatever else is refused is an error at once. Nothing was done by a
//! write that is refused so: it may be made again.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dorainfra_engine::ResourceId;
use dorainfra_gcp::{ApiError, Error, jitter};
use dorainfra_model::{Event, Events};
use tokio::time::Instant;

use super::Cloud;

/// What others may see late.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    /// This run has made the account.
    pub account: AtomicBool,
    /// This run has enabled services.
    pub services: AtomicBool,
}

/// One refusal that passes.
struct Row {
    says: fn(&ApiError) -> bool,
    /// Only where that is so: else it is a real refusal.
    only: Option<fn(&Fresh) -> &AtomicBool>,
    within: Duration,
    /// For people: what is waited for.
    waits_for: &'static str,
}

const MINUTE: Duration = Duration::from_secs(60);

const ROWS: &[Row] = &[
    // Seen by one replica and not by the next, for a minute and more:
    // GoogleCloudPlatform/magic-modules#10813, #14447.
    Row {
        says: account_unseen,
        only: None,
        within: MINUTE.saturating_mul(5),
        waits_for: "the new service account to be seen everywhere",
    },
    // The same, in Compute's words: GoogleCloudPlatform/magic-modules#8815.
    Row {
        says: |error| error.reason == "SERVICE_ACCOUNT_ACCESS_DENIED",
        only: Some(|fresh| &fresh.account),
        within: MINUTE,
        waits_for: "the new service account to be seen by Compute Engine",
    },
    // The default network is made after the API was enabled:
    // hashicorp/terraform-provider-google#26363.
    Row {
        says: network_unseen,
        only: Some(|fresh| &fresh.services),
        within: MINUTE.saturating_mul(3),
        waits_for: "the network, which comes with the API",
    },
    // Something else of the same network is being changed:
    // hashicorp/terraform-provider-google#10972.
    Row {
        says: |error| matches!(error.reason.as_str(), "resourceNotReady" | "RESOURCE_NOT_READY"),
        only: None,
        within: MINUTE.saturating_mul(5),
        waits_for: "another change of the same network or machine to end",
    },
    // Compute Engine's documentation of its rate limits.
    Row {
        says: |error| {
            error.reason == "RESOURCE_OPERATION_RATE_EXCEEDED"
                // That of a disk's snapshots is by the hour.
                && !error.message.contains("from the source resource")
        },
        only: None,
        within: MINUTE.saturating_mul(3),
        waits_for: "Compute Engine to take another change of it",
    },
];

/// "Service account … does not exist", in the words of several APIs.
fn account_unseen(error: &ApiError) -> bool {
    let message = error.message.to_ascii_lowercase();
    matches!(error.status, 0 | 400 | 404)
        // In one word or in two: "billing account … service(s) … not found" is another matter.
        && (message.contains("service account") || message.contains("serviceaccount"))
        && (message.contains("does not exist") || message.contains("not found"))
}

/// A network, or its subnet, that a rule, a machine or an address is for.
fn network_unseen(error: &ApiError) -> bool {
    ["network", "subnetwork"]
        .iter()
        .any(|what| error.message.contains(&format!("The referenced {what} resource cannot be found")))
}

/// Makes a write of a resource, again while its refusal is one that passes.
pub(super) async fn patiently<F: Future<Output = Result<(), Error>>>(
    cloud: &Cloud,
    id: &ResourceId,
    events: &Events,
    write: impl Fn() -> F,
) -> Result<(), Error> {
    let began = Instant::now();
    let mut backoff = Duration::from_millis(500);
    loop {
        let error = match write().await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let passes = error.api().and_then(|api| {
            let fresh = |row: &&Row| row.only.is_none_or(|of| of(&cloud.fresh).load(Ordering::Relaxed));
            ROWS.iter().filter(fresh).find(|row| (row.says)(api))
        });
        let Some(row) = passes.filter(|row| began.elapsed() < row.within) else { return Err(error) };
        events.send(Event::ResourceProgress {
            id: id.clone(),
            message: format!("waiting for {}", row.waits_for),
        });
        tokio::time::sleep(jitter(backoff)).await;
        backoff = (backoff * 2).min(Duration::from_secs(10));
    }
}

/// Whether something is not found, or not as it was written.
pub(super) fn is_late(error: &Error) -> bool {
    error.is_not_found() || matches!(error, Error::Unexpected { .. })
}

/// Reads what was just made, again while a replica has not heard of it.
///
/// # Errors
/// Another refusal; or the last one, after five minutes.
pub(super) async fn once_seen<T, F: Future<Output = Result<T, Error>>>(
    unseen: impl Fn(&Error) -> bool,
    read: impl Fn() -> F,
) -> Result<T, Error> {
    let deadline = Instant::now() + 5 * MINUTE;
    let mut backoff = Duration::from_millis(100);
    loop {
        match read().await {
            Err(error) if unseen(&error) && Instant::now() < deadline => {
                tokio::time::sleep(jitter(backoff)).await;
                backoff = (backoff * 2).min(Duration::from_secs(10));
            }
            other => return other,
        }
    }
}

/// How often in a row something new has to be seen: replicas answer differently.
const IN_A_ROW: u32 = 3;

/// Reads until what was just made is seen every time. `unseen` are the refusals that
/// say that it is not, yet.
///
/// # Errors
/// Another refusal; or the last one, after five minutes.
pub(super) async fn until_seen<F: Future<Output = Result<(), Error>>>(
    unseen: impl Fn(&Error) -> bool,
    read: impl Fn() -> F,
) -> Result<(), Error> {
    once_seen(unseen, || async {
        for _ in 0..IN_A_ROW {
            read().await?;
        }
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_pays_is_no_account_that_is_late() {
        let says = |message: &str| {
            account_unseen(&ApiError { status: 400, message: message.into(), ..ApiError::default() })
        };
        assert!(says("Service account m@p.iam.gserviceaccount.com does not exist."));
        assert!(says("The resource 'm@p.iam.gserviceaccount.com' of type 'serviceAccount' was not found."));
        assert!(!says(
            "Billing account for project '5228' is not found. Billing must be enabled for activation of service(s) \
             'compute.googleapis.com' to proceed."
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_seen_once_and_then_not_is_not_seen_yet() {
        let answers = std::sync::Mutex::new(vec![true, true, true, false, true, true, false, true]);
        let gone = || Error::Api(ApiError { status: 404, ..ApiError::default() });
        let read = || async {
            match answers.lock().unwrap().pop() {
                Some(false) => Err(gone()),
                Some(true) | None => Ok(()),
            }
        };
        until_seen(Error::is_not_found, read).await.unwrap();
        assert!(answers.lock().unwrap().is_empty(), "three times in a row");
        let other = || async { Err(Error::Api(ApiError { status: 403, ..ApiError::default() })) };
        assert!(until_seen(Error::is_not_found, other).await.is_err());
        let never = || async { Err(gone()) };
        assert!(until_seen(Error::is_not_found, never).await.is_err(), "with a bound");
    }
}
