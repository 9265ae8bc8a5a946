//! Ctrl-C and SIGTERM. A command that changes nothing is dropped where it stands. One
//! that changes something says so before it begins: its first signal lets what is in
//! flight finish and starts nothing new, the second stops at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Exit;
use crate::ui::Printer;

/// What the signals of this process come to.
#[derive(Clone, Debug, Default)]
pub struct Signals(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The first has come.
    asked: CancellationToken,
    /// The command is to be dropped.
    over: CancellationToken,
    finishes: AtomicBool,
    /// It says nothing about it.
    quiet: AtomicBool,
    terminated: AtomicBool,
}

impl Signals {
    /// Listens from now on.
    pub fn watch(&self, printer: &Printer) {
        let (signals, printer) = (Arc::clone(&self.0), printer.clone());
        // Without handlers the default action of the signals applies.
        let Ok(mut listening) = Listening::begin() else { return };
        tokio::spawn(async move {
            let terminated = listening.next().await;
            signals.terminated.store(terminated, Ordering::SeqCst);
            // Before anybody is told: whoever is told may end the process.
            let finishes = signals.finishes.load(Ordering::SeqCst);
            signals.asked.cancel();
            if finishes {
                if !signals.quiet.load(Ordering::SeqCst) {
                    printer.warning(
                        "interrupted: finishing what is in flight, starting nothing new",
                        Some("press Ctrl-C again to stop at once"),
                    );
                }
                let terminated = listening.next().await;
                signals.terminated.fetch_or(terminated, Ordering::SeqCst);
            }
            signals.over.cancel();
        });
    }

    /// Cancelled by the first signal.
    pub fn asked(&self) -> CancellationToken {
        self.0.asked.clone()
    }

    /// From now on the command heeds the first signal itself.
    pub fn finishing(&self) -> CancellationToken {
        self.0.finishes.store(true, Ordering::SeqCst);
        self.asked()
    }

    /// The same for what runs until it is asked to end.
    pub fn ending(&self) -> CancellationToken {
        self.0.quiet.store(true, Ordering::SeqCst);
        self.finishing()
    }

    /// The command is to be dropped where it stands.
    pub async fn over(&self) {
        self.0.over.cancelled().await;
    }

    /// Whether the command could have ended by itself after the first signal.
    pub fn had_time(&self) -> bool {
        self.0.finishes.load(Ordering::SeqCst)
    }

    /// The exit code of a command that was interrupted.
    pub fn code(&self) -> Exit {
        match self.0.terminated.load(Ordering::SeqCst) {
            true => Exit::Terminated,
            false => Exit::Interrupted,
        }
    }
}

/// SIGINT and SIGTERM, listened to for good: none is lost between two waits.
struct Listening {
    interrupt: Signal,
    terminate: Signal,
}

impl Listening {
    fn begin() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Whether the next one is SIGTERM.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => false,
            _ = self.terminate.recv() => true,
        }
    }
}
