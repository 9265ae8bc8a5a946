//! The lease of one apply: kept beside the work, and told to it when it is lost.

use std::future::Future;
use std::sync::OnceLock;

use dorainfra_model::Events;
use tokio_util::sync::CancellationToken;

use super::EngineError;
use super::lease::{Lease, Leasing, Lost};

/// Does `work` under the lease: what belongs to a run beside its resources. Work that goes on when
/// the lease is lost is dropped.
///
/// # Errors
/// Those of taking the lease (see [`Lease::acquire`]), before anything is done;
/// [`EngineError::LeaseLost`] and [`EngineError::Unreachable`]; those of the work.
pub async fn under_lease<T, E: From<EngineError>>(
    leasing: Leasing<'_>,
    events: &Events,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let guard = LeaseGuard::new(Some(leasing));
    let leased = async {
        guard.acquire().await?;
        let result = tokio::select! {
            result = work => result,
            () = guard.lost() => return Err(guard.why().into()),
        };
        guard.release(events).await;
        result
    };
    tokio::select! {
        biased;
        // It never returns.
        () = guard.keep() => Err(guard.why().into()),
        result = leased => result,
    }
}

/// The lease, if there is one to run under, and whether it was lost.
pub(super) struct LeaseGuard<'a> {
    lease: Option<Lease<'a>>,
    ended: CancellationToken,
    why: OnceLock<Lost>,
}

impl<'a> LeaseGuard<'a> {
    /// Without `leasing` there is nothing to hold, and nothing to lose.
    pub fn new(leasing: Option<Leasing<'a>>) -> Self {
        Self { lease: leasing.map(Lease::new), ended: CancellationToken::new(), why: OnceLock::new() }
    }

    /// Renews the lease, and notes when it is lost. Never returns.
    pub async fn keep(&self) {
        if let Some(lease) = &self.lease {
            let _ = self.why.set(lease.keep().await);
            self.ended.cancel();
        }
        std::future::pending().await
    }

    pub async fn acquire(&self) -> Result<(), EngineError> {
        match &self.lease {
            Some(lease) => lease.acquire().await,
            None => Ok(()),
        }
    }

    pub async fn give_up(&self) {
        if let Some(lease) = &self.lease {
            lease.give_up().await;
        }
    }

    pub async fn release(&self, events: &Events) {
        if let Some(lease) = &self.lease
            && let Err(error) = lease.release().await
        {
            events.warn(format!("the lease was not given back: {error}; it ends by itself"), error.hint);
        }
    }

    /// Returns when the lease is lost.
    pub async fn lost(&self) {
        self.ended.cancelled().await;
    }

    pub fn why(&self) -> EngineError {
        self.why.get().cloned().unwrap_or_else(|| Lost::Why("it ended".into())).into()
    }
}
