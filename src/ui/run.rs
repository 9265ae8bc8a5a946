//! Consumes the event stream until it closes, and remembers what a summary needs.

use std::time::Duration;

use dorainfra_model::Check;
use dorainfra_model::{Event, Phase};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout_at};

use super::lines::{Line, Lines};
use super::live::Live;
use super::{Mode, Printer};

/// Silence after which a log says what is still running.
const SILENCE: Duration = Duration::from_secs(20);

/// How long a phase took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PhaseTime {
    pub phase: Phase,
    pub elapsed_ms: u64,
    pub ok: bool,
}

/// What went by in one stream.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Finished phases, in the order in which they ended.
    pub phases: Vec<PhaseTime>,
    pub checks: Vec<Check>,
    pub warnings: usize,
    pub resources_done: usize,
    pub resources_failed: usize,
}

impl Tally {
    fn take(&mut self, event: &Event) {
        match event {
            Event::PhaseFinished { phase, elapsed_ms, ok } => {
                self.phases.push(PhaseTime { phase: *phase, elapsed_ms: *elapsed_ms, ok: *ok });
            }
            Event::Checked { check } => self.checks.push(check.clone()),
            Event::Warning { .. } => self.warnings += 1,
            Event::ResourceFinished { .. } => self.resources_done += 1,
            Event::ResourceFailed { .. } => self.resources_failed += 1,
            _ => {}
        }
    }
}

/// Renders every event until all senders are gone; then nothing moves on the
/// terminal any more, and questions can be asked.
pub async fn run(events: UnboundedReceiver<Event>, printer: Printer) -> Tally {
    render(events, &printer, SILENCE).await
}

async fn render(mut events: UnboundedReceiver<Event>, printer: &Printer, silence: Duration) -> Tally {
    let options = printer.options();
    let mut live = options.redraws().then(Live::on_stderr);
    let mut lines = Lines::new(options.mode, live.is_some(), printer.style(), printer.message_style());
    printer.set_live(live.as_ref().map(Live::multi));

    let mut tally = Tally::default();
    // Of lines, and not of events: many are shown only where the screen moves.
    let mut told = Instant::now();
    loop {
        let event = match timeout_at(told + silence, events.recv()).await {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(_) => {
                print(printer, lines.still_running());
                told = Instant::now();
                continue;
            }
        };
        tally.take(&event);
        if options.mode == Mode::Json {
            printer.event(&event);
            continue;
        }
        let stay = lines.take(&event);
        if !stay.is_empty() {
            told = Instant::now();
        }
        if let Some(live) = &mut live {
            live.take(&event);
        }
        print(printer, stay);
    }

    if let Some(live) = &mut live {
        live.finish();
    }
    printer.set_live(None);
    tally
}

pub(super) fn print(printer: &Printer, lines: impl IntoIterator<Item = Line>) {
    for line in lines {
        match line {
            Line::Out(text) => printer.say(&text),
            Line::Err(text) => printer.err(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dorainfra_engine::{Action, Plan, ResourceId, Step};
    use dorainfra_model::Events;
    use dorainfra_model::Outcome;
    use tokio::time::timeout;

    use super::*;
    use crate::ui::{Captured, Options};

    /// One event of every type, as a run with a failure in it would send them.
    fn story() -> Vec<Event> {
        let id = |text: &str| text.parse::<ResourceId>().unwrap();
        let bucket = id("storage.bucket/my-gcp-dorainfra-mimir");
        let instance = id("compute.instance/dorainfra-mimir");
        let plan = Plan {
            deployment: "dorainfra".into(),
            steps: vec![Step {
                id: bucket.clone(),
                action: Action::Create,
                reason: "does not exist".into(),
                changes: Vec::new(),
                needs: Vec::new(),
                notes: BTreeMap::new(),
            }],
            manifests: Vec::new(),
            observed: "0".repeat(64),
            warnings: Vec::new(),
            basis: dorainfra_engine::Basis::default(),
        };
        let check = |name: &str, title: &str, outcome, hint: Option<&str>| Check {
            name: name.into(),
            title: title.into(),
            outcome,
            expected: "57,096 samples".into(),
            found: "57,000 samples".into(),
            hint: hint.map(Into::into),
            elapsed_ms: 840,
        };
        let stage = |stage: &str, message: &str| Event::MachineStage {
            machine: "dorainfra-mimir".into(),
            stage: stage.into(),
            message: message.into(),
        };
        let progress =
            |done| Event::Progress { what: "history".into(), done, total: 57_096, unit: "samples" };
        vec![
            Event::PhaseStarted { phase: Phase::Plan },
            Event::PhaseFinished { phase: Phase::Plan, elapsed_ms: 212, ok: true },
            Event::Planned { plan, feed: Vec::new(), cost: None },
            Event::PhaseStarted { phase: Phase::Resources },
            Event::ResourceStarted { id: bucket.clone(), action: Action::Create, waited_for: None },
            Event::ResourceFinished { id: bucket.clone(), action: Action::Create, elapsed_ms: 1_250 },
            Event::ResourceStarted { id: instance.clone(), action: Action::Create, waited_for: Some(bucket) },
            Event::ResourceProgress { id: instance.clone(), message: "operation RUNNING 40 %".into() },
            Event::ResourceFailed {
                id: instance,
                action: Action::Create,
                error: "zone europe-west1-b has no e2-medium left".into(),
                hint: Some("try europe-west1-c or europe-west1-d".into()),
                elapsed_ms: 4_210,
            },
            Event::ResourceSkipped {
                id: id("compute.disk/x"),
                action: Action::Update,
                because: "needs compute.instance/dorainfra-mimir".into(),
            },
            Event::PhaseFinished { phase: Phase::Resources, elapsed_ms: 5_500, ok: false },
            stage("fetch", "bundle 0a1b2c3d"),
            stage("ready", ""),
            Event::MachineLog {
                machine: "dorainfra-mimir".into(),
                line: "startup-script: \u{1b}[31mno space\r\n".into(),
            },
            Event::StackPart {
                part: "pushgateway".into(),
                state: "running".into(),
                detail: "127.0.0.1:9091".into(),
            },
            progress(0),
            progress(20_000),
            progress(21_000),
            progress(57_096),
            Event::Checked {
                check: check(
                    "history",
                    "Every sample of the history",
                    Outcome::Failed,
                    Some("send it again"),
                ),
            },
            Event::Checked { check: check("freshness", "Each team is fresh", Outcome::Passed, None) },
            Event::CloudUnreachable {
                host: "compute.googleapis.com".into(),
                error: "Connection refused (os error 111)".into(),
                attempts: 3,
                for_ms: 4_100,
                left_ms: 85_900,
            },
            Event::CloudReachable { host: "compute.googleapis.com".into(), after_ms: 6_300 },
            Event::Warning {
                message: "one machine is not highly available".into(),
                hint: Some("see docs".into()),
            },
            Event::Note { message: "the lease was expired and has been taken over".into() },
        ]
    }

    async fn rendered(mode: Mode, verbose: bool) -> (Captured, Tally) {
        let (printer, captured) = Printer::captured(Options { verbose, ..Options::plain(mode) }, "");
        let (events, receiver) = Events::channel();
        story().into_iter().for_each(|event| events.send(event));
        drop(events);
        (captured, run(receiver, printer).await)
    }

    #[tokio::test]
    async fn a_log_has_a_line_for_each_event_that_matters() {
        let (captured, tally) = rendered(Mode::Human, false).await;
        insta::assert_snapshot!(format!(
            "--- stdout\n{}--- stderr\n{}",
            captured.stdout(),
            captured.stderr()
        ));
        assert!(!captured.stderr().contains('\u{1b}') && !captured.stderr().contains('\r'));
        assert_eq!((tally.resources_done, tally.resources_failed, tally.warnings), (1, 1, 1));
        assert_eq!(tally.phases[1], PhaseTime { phase: Phase::Resources, elapsed_ms: 5_500, ok: false });
        assert_eq!(tally.checks.len(), 2);
    }

    #[tokio::test]
    async fn verbose_tells_what_starts_and_what_it_does() {
        let (captured, _) = rendered(Mode::Human, true).await;
        assert!(captured.stderr().contains("… create storage.bucket/my-gcp-dorainfra-mimir"));
        assert!(captured.stderr().contains("operation RUNNING 40 %"));
    }

    #[tokio::test]
    async fn quiet_has_only_what_went_wrong() {
        let (captured, _) = rendered(Mode::Quiet, false).await;
        insta::assert_snapshot!(format!(
            "--- stdout\n{}--- stderr\n{}",
            captured.stdout(),
            captured.stderr()
        ));
    }

    #[tokio::test]
    async fn json_has_every_event_with_schema_and_type_first() {
        let (captured, _) = rendered(Mode::Json, false).await;
        assert_eq!(captured.stderr(), "");
        assert_eq!(captured.stdout().lines().count(), story().len());
        for line in captured.stdout().lines() {
            assert!(line.starts_with(r#"{"schema":1,"type":""#), "{line}");
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        insta::assert_snapshot!(captured.stdout());
    }

    #[tokio::test]
    async fn a_long_silence_names_what_is_still_running() {
        let (printer, captured) = Printer::captured(Options::plain(Mode::Human), "");
        let (events, receiver) = Events::channel();
        events.send(Event::ResourceStarted {
            id: "compute.disk/x".parse().unwrap(),
            action: Action::Create,
            waited_for: None,
        });
        let rendering = render(receiver, &printer, Duration::from_millis(5));
        let heard = async {
            while !captured.stderr().contains("still running") {
                tokio::task::yield_now().await;
            }
            drop(events);
        };
        timeout(Duration::from_secs(30), async { tokio::join!(rendering, heard) }).await.expect("it is told");
        assert!(captured.stderr().starts_with("  … still running: create compute.disk/x\n"));
    }

    /// A machine that writes what it holds says so every other second.
    #[tokio::test]
    async fn what_is_not_shown_does_not_put_that_off() {
        let (printer, captured) = Printer::captured(Options::plain(Mode::Human), "");
        let (events, receiver) = Events::channel();
        let id: ResourceId = "compute.instance/x".parse().unwrap();
        events.send(Event::ResourceStarted { id: id.clone(), action: Action::Delete, waited_for: None });
        let rendering = render(receiver, &printer, Duration::from_millis(200));
        let heard = async {
            while !captured.stderr().contains("still running") {
                events.send(Event::ResourceProgress { id: id.clone(), message: "3 blocks are left".into() });
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            drop(events);
        };
        timeout(Duration::from_secs(30), async { tokio::join!(rendering, heard) }).await.expect("it is told");
        let line = "  … still running: delete compute.instance/x (3 blocks are left)\n";
        assert!(captured.stderr().starts_with(line), "{}", captured.stderr());
    }
}
