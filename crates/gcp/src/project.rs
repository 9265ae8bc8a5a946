//! The deployment's project as an answer speaks of it: whether it was ever seen, and whether
//! it is the one that is named by its number.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::auth::Token;
use super::call::{Api, Call};
use super::client::{Client, FIRST_BACKOFF, jitter};
use super::error::Error;

impl Client {
    /// The read of the project by Resource Manager.
    pub(super) fn project_itself(&self) -> Call {
        Call::get(Api::ResourceManager, format!("v3/projects/{}", self.inner.project))
    }

    /// Whether anything of the project was ever answered, or can be: several APIs tell of
    /// a project that is not there as they tell of a permission that is missing.
    pub(super) async fn project_is_seen(&self, token: &Token) -> bool {
        if self.inner.seen.load(Ordering::Relaxed) {
            return true;
        }
        let project = self.project_itself();
        let refused = |error: &Error| {
            error.api().is_some_and(|api| matches!(api.status, 403 | 404) && !api.is_service_disabled())
        };
        match self.once(&project, token).await {
            Ok(_) => true,
            // Only the project is hidden, perhaps: what answered meanwhile has seen it.
            Err((error, _)) => !refused(&error) || self.inner.seen.load(Ordering::Relaxed),
        }
    }

    /// Whether a `consumer` (`projects/ID` or `projects/NUMBER`) is the deployment's
    /// project: whose services and quota an answer speaks of.
    pub(super) async fn is_ours(&self, consumer: &str, token: &Token) -> bool {
        let project = consumer.strip_prefix("projects/").unwrap_or(consumer);
        if project == self.inner.project {
            return true;
        }
        // A lookup that failed is made again the next time.
        match self.inner.number.get_or_try_init(|| self.number(token)).await {
            Ok(number) => project == number,
            // Ours was named in the request, and it can't be told by its number.
            Err(_) => token.quota_project.as_deref() == Some(&*self.inner.project),
        }
    }

    /// The project's number, by whichever service is on and has seen the project.
    async fn number(&self, token: &Token) -> Result<String, Error> {
        const TRIES: usize = 4;
        let (project, managed) = (&self.inner.project, self.project_itself());
        // The other is off in a new project, where the service that enables services is on.
        let service = Call::get(
            Api::ServiceUsage,
            format!("v1/projects/{project}/services/serviceusage.googleapis.com"),
        );
        let mut backoff = FIRST_BACKOFF;
        let mut last =
            Error::Unexpected { what: managed.what(), reason: "it says no number".into(), source: None };
        for (call, field) in [(&managed, "name"), (&service, "parent")].into_iter().cycle().take(2 * TRIES) {
            match self.once(call, token).await {
                Ok(answer) => {
                    let number = answer.body[field].as_str().and_then(|name| name.strip_prefix("projects/"));
                    if let Some(number) = number {
                        return Ok(number.to_owned());
                    }
                }
                Err((error, _)) => {
                    // Whoever may not ask the one may not ask it later, either.
                    let passes = error.api().is_none_or(|api| api.is_project_unseen() || api.is_transient());
                    last = error;
                    if !passes {
                        continue;
                    }
                }
            }
            tokio::time::sleep(jitter(backoff)).await;
            backoff = backoff.saturating_mul(2).min(Duration::from_secs(1));
        }
        Err(last)
    }
}
