//! Ctrl-C: the first one lets what is in flight finish and starts nothing new;
//! the second one stops at once.

use tokio_util::sync::CancellationToken;

use crate::ui::Printer;

/// A token that the first SIGINT or SIGTERM cancels. The second cancels `now`,
/// at which the command is dropped where it stands.
pub fn watch(printer: &Printer, now: &CancellationToken) -> CancellationToken {
    let (token, now) = (CancellationToken::new(), now.clone());
    let cancelled = token.clone();
    let printer = printer.clone();
    tokio::spawn(async move {
        signal().await;
        cancelled.cancel();
        printer.warning(
            "interrupted: finishing what is in flight, starting nothing new",
            Some("press Ctrl-C again to stop at once"),
        );
        signal().await;
        now.cancel();
    });
    token
}

/// Waits for SIGINT or SIGTERM.
pub async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without handlers the default action of the signals applies: wait for ever.
        _ => std::future::pending().await,
    }
}
