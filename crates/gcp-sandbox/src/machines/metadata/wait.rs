//! `wait_for_change`: holds a request until what it asks for differs.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::tree::View;

/// What the query says about waiting.
#[derive(Clone, Debug, Default)]
pub(super) struct Wait {
    pub(super) for_change: bool,
    /// The caller's last known ETag: another one is a change already.
    pub(super) last_etag: Option<String>,
    /// After this the answer is given, changed or not; absent or 0: never.
    pub(super) timeout_seconds: Option<u64>,
}

/// Renders at once, or waits for a view whose ETag is another one. A missing
/// path is not waited for.
pub(super) async fn changed(
    wait: &Wait,
    render: impl Fn() -> View,
    sources: [&mut watch::Receiver<u64>; 2],
    shutdown: &CancellationToken,
) -> View {
    let [first, second] = sources;
    first.mark_unchanged();
    second.mark_unchanged();
    let mut view = render();
    if !wait.for_change {
        return view;
    }
    let known = match (&wait.last_etag, &view) {
        (Some(etag), _) => etag.clone(),
        (None, View::Content { etag, .. }) => etag.clone(),
        (None, _) => return view,
    };
    let deadline = wait
        .timeout_seconds
        .filter(|&seconds| seconds > 0)
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    loop {
        match &view {
            View::Content { etag, .. } if *etag == known => {}
            _ => return view,
        }
        let over = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tick(first) => {}
            () = tick(second) => {}
            () = over => return render(),
            () = shutdown.cancelled() => return view,
        }
        view = render();
    }
}

/// The next tick; for ever when nobody can tick any more.
async fn tick(receiver: &mut watch::Receiver<u64>) {
    if receiver.changed().await.is_err() {
        std::future::pending().await
    }
}
