//! Is the endpoint ready?

use std::time::{Duration, Instant};

use dorainfra_base::answer;
use dorainfra_base::error::reason;
use dorainfra_model::Check;
use dorainfra_prometheus::query::Query;
use dorainfra_prometheus::{TLS_HINT, tls_failure};

use super::{Request, Stage};

/// Asks until ready or out of time; TLS that fails is not asked again.
pub(super) async fn check(request: &Request<'_>, stage: Stage) -> Result<(Check, Query), Check> {
    let target = request.target;
    let expected = format!("{} answers 200", target.ready_url());
    let query = match Query::new(target) {
        Ok(query) => query,
        Err(error) => {
            let hint = error.hint().unwrap_or_default();
            return Err(stage.failed(expected, error.to_string(), hint));
        }
    };
    let begun = Instant::now();
    loop {
        let (found, answers) = match query.http().get(target.ready_url()).send().await {
            Ok(response) if response.status().is_success() => {
                return Ok((stage.passed(expected, "ready"), query));
            }
            Ok(response) => {
                let status = response.status();
                (format!("{status}: {}", answer::words(response, 300).await), true)
            }
            Err(error) => match tls_failure(&error) {
                Some(message) => {
                    return Err(stage.failed(expected, format!("no TLS connection: {message}"), TLS_HINT));
                }
                None => (reason(&error), error.is_timeout() && !error.is_connect()),
            },
        };
        if begun.elapsed() >= request.bounds.ready {
            let seconds = request.bounds.ready.as_secs();
            let hint = match answers {
                true => {
                    "its port can be reached: `dorainfra status` shows what the machine is doing, and its log says more"
                }
                false => {
                    "`dorainfra status` shows whether the machine runs its engine; check `access.allow`, \
                          too (your address may have changed)"
                }
            };
            return Err(stage.failed(expected, format!("not ready after {seconds} s: {found}"), hint));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
