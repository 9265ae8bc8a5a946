//! One stretch of events on the screen: while its work is done, progress may be redrawn, and nothing
//! can be asked. It begins and ends here alone, so that no way out of the work, be it an error's,
//! leaves anything unshown.

use dorainfra_model::Events;

use crate::ui::{self, Printer, Tally};

/// Does `work`, which shows what happens by its events. Back from here, all of it is printed.
pub async fn with<T>(printer: &Printer, work: impl AsyncFnOnce(&Events) -> T) -> T {
    counted(printer, work).await.0
}

/// The same, with what went by.
pub async fn counted<T>(printer: &Printer, work: impl AsyncFnOnce(&Events) -> T) -> (T, Tally) {
    let (events, receiver) = Events::channel();
    let shown = tokio::spawn(ui::run(receiver, printer.clone()));
    let result = work(&events).await;
    drop(events);
    (result, shown.await.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::{Mode, Options};

    /// The renderer gets no turn before the work has returned: nothing is waited for in it.
    #[tokio::test]
    async fn what_was_told_before_an_early_end_is_shown() {
        let (printer, captured) = Printer::captured(Options::plain(Mode::Human), "");
        let ended = with(&printer, async |events| {
            events.note("the last words");
            Err::<(), _>("no more")?;
            Ok(())
        })
        .await;
        assert_eq!(ended, Err("no more"));
        assert_eq!(captured.stderr(), "  the last words\n");
    }
}
