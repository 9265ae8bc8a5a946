//! Events that may come at any moment, whatever is being shown: they are rendered as they are sent, and
//! not with the stream of a command.

use dorainfra_model::Events;

use super::lines::Lines;
use super::run::print;
use super::{Mode, Printer};

/// Where such events are sent.
pub fn events(printer: &Printer) -> Events {
    let printer = printer.clone();
    Events::to(move |event| match printer.options().mode {
        Mode::Json => printer.event(&event),
        mode => {
            let mut lines = Lines::new(mode, printer.is_live(), printer.style(), printer.message_style());
            print(&printer, lines.take(&event));
        }
    })
}

#[cfg(test)]
mod tests {
    use dorainfra_model::Event;

    use super::*;
    use crate::ui::Options;

    #[test]
    fn what_may_come_at_any_moment_is_told_at_once() {
        let away = || Event::CloudUnreachable {
            host: "127.0.0.1:41234".into(),
            error: "Connection refused".into(),
            attempts: 1,
            for_ms: 0,
            left_ms: 120_000,
        };
        for mode in [Mode::Human, Mode::Quiet] {
            let (printer, captured) = Printer::captured(Options::plain(mode), "");
            events(&printer).send(away());
            assert_eq!(
                captured.stderr(),
                "warning: the cloud does not answer (127.0.0.1:41234: Connection refused); trying for another 2 min\n"
            );
        }
        let (printer, captured) = Printer::captured(Options::plain(Mode::Json), "");
        events(&printer).send(away());
        insta::assert_snapshot!(captured.stdout());
    }
}
