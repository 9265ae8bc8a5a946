//! One stretch of events on the screen. While it is open, progress may be
//! redrawn, and nothing can be asked; closed, everything is printed.

use dorainfra_model::Events;
use tokio::task::JoinHandle;

use crate::ui::{self, Printer, Tally};

pub struct Screen {
    pub events: Events,
    task: JoinHandle<Tally>,
}

impl Screen {
    pub fn open(printer: &Printer) -> Self {
        let (events, receiver) = Events::channel();
        Self { events, task: tokio::spawn(ui::run(receiver, printer.clone())) }
    }

    /// Ends the stream and waits until all of it is printed.
    pub async fn close(self) -> Tally {
        drop(self.events);
        self.task.await.unwrap_or_default()
    }
}
