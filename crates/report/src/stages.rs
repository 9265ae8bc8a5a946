//! How far the asking is: stages, and the queries of each that are answered.

use std::future::{Future, poll_fn};
use std::pin::pin;

use dorainfra_prometheus::query::Query;

/// One stage, as it goes on. The last word about it has as many answered as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// For people: `what is stored`.
    pub stage: &'static str,
    pub answered: u64,
    /// Known by now: an answer may lead to another query.
    pub asked: u64,
}

/// Does `work`, and tells each answer to its queries.
pub(super) async fn stage<T, E>(
    query: &Query,
    stage: &'static str,
    told: &(dyn Fn(Progress) + Sync),
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let (asked, answered) = (query.asked(), query.answered());
    let now = || Progress { stage, answered: query.answered() - answered, asked: query.asked() - asked };
    let mut work = pin!(work);
    let mut last = None;
    let result = poll_fn(|context| {
        let polled = work.as_mut().poll(context);
        let progress = now();
        // All are answered when the work says so, and not before: there may be more to ask.
        if polled.is_pending() && progress.answered < progress.asked && last != Some(progress) {
            last = Some(progress);
            told(progress);
        }
        polled
    })
    .await;
    if result.is_ok() && now().asked > 0 {
        told(now());
    }
    result
}
