//! Are there blocks in the bucket?
//!
//! What was written last is not there yet, and need not be: Mimir keeps it in
//! its write-ahead log on the data disk and ships finished blocks, those of a
//! backfill within minutes, the newest after about two hours. So an empty bucket
//! is no failure by itself; it is one when Mimir says that uploads failed, or
//! when it has run long enough to have shipped.

use time::OffsetDateTime;

use super::{Check, Report, Request, Stage, counted};
use crate::answer::{self, reason};
use crate::blueprint::Flavour;
use crate::query::Query;
use crate::stack::told;

/// After this long, a Mimir that took samples has shipped a block.
const SHIPPED_WITHIN_SECONDS: f64 = 3.0 * 3600.0;

pub(super) async fn check(
    request: &Request<'_>,
    query: Option<&Query>,
    stage: Stage,
    report: &mut Report,
) -> Check {
    if request.target.flavour == Flavour::StandIn {
        return stage.not_applicable("objects", "Prometheus stands in for Mimir and writes no blocks");
    }
    let Some(bucket) = &request.bucket else {
        return stage.not_applicable("objects", "no bucket was given");
    };
    let expected = format!("objects under {}", bucket.prefix);
    let count = match bucket.objects.count(&bucket.prefix).await {
        Ok(count) => count,
        Err(error) => {
            let hint = "reading the bucket needs roles/storage.objectViewer on it";
            return stage.failed(expected, error, hint);
        }
    };
    report.objects = Some(count);
    if count > 0 {
        return stage.passed(expected, counted(count, "object"));
    }
    let Some(query) = query else { return stage.not_attempted(expected) };
    let metrics = match metrics(request, query).await {
        Ok(metrics) => metrics,
        Err(error) => {
            let found = format!("none, and Mimir's own metrics cannot be read: {error}");
            return stage.failed(expected, found, "`dorainfra status` shows the machine");
        }
    };
    let now = OffsetDateTime::now_utc().unix_timestamp() as f64;
    match judge(&metrics, now) {
        Verdict::Failing(failures) => stage.failed(
            expected,
            format!("none; {} failed", counted(failures, "upload")),
            "the machine's service account needs roles/storage.objectAdmin on the bucket: `dorainfra plan` \
             shows whether the binding is there, and Mimir's log the answer of Cloud Storage",
        ),
        Verdict::Late(hours) => stage.failed(
            expected,
            format!("none, although Mimir has been running for {hours:.1} h"),
            "see Mimir's log for `shipper` and `compact`, and the room on its data disk",
        ),
        Verdict::Waiting => stage.not_applicable(
            expected,
            "none yet, and no upload failed: the samples are in the write-ahead log on the data disk; blocks \
             of a backfill follow within minutes, the newest within about 2 h",
        ),
    }
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Failing(u64),
    /// Hours since Mimir's start.
    Late(f64),
    Waiting,
}

/// What Mimir's metrics say about an empty bucket.
fn judge(metrics: &str, now: f64) -> Verdict {
    let sum = |name: &str| told::sum(metrics, name);
    let failures = sum("cortex_ingester_shipper_upload_failures_total").unwrap_or_default();
    let age = sum("process_start_time_seconds").map_or(0.0, |start| now - start);
    if failures > 0.0 {
        Verdict::Failing(failures as u64)
    } else if age > SHIPPED_WITHIN_SECONDS {
        Verdict::Late(age / 3600.0)
    } else {
        Verdict::Waiting
    }
}

async fn metrics(request: &Request<'_>, query: &Query) -> Result<String, String> {
    let response = query.http().get(request.target.metrics_url()).send().await;
    let response = response.and_then(reqwest::Response::error_for_status).map_err(|error| reason(&error))?;
    answer::text(response).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_bucket_is_judged_by_what_mimir_says() {
        let metrics = |failures: u64, start: f64| {
            format!(
                "cortex_ingester_shipper_upload_failures_total {failures}\nprocess_start_time_seconds {start:e}\n"
            )
        };
        assert_eq!(judge(&metrics(0, 1.7e9), 1.7e9 + 60.0), Verdict::Waiting);
        assert_eq!(judge(&metrics(3, 1.7e9), 1.7e9 + 60.0), Verdict::Failing(3));
        assert_eq!(judge(&metrics(0, 1.7e9), 1.7e9 + 14_400.0), Verdict::Late(4.0));
        assert_eq!(judge("", 1.7e9), Verdict::Waiting);
    }
}
