//! Events as lines that stay: the whole of the output where stderr is no
//! terminal, and what is left above the moving part where it is one.

use std::collections::BTreeMap;

use dorainfra_engine::{Action, ResourceId};
use dorainfra_model::Outcome;
use dorainfra_model::{Event, Phase};

use super::report;
use super::text::{amount, elapsed, hang, share, visible};
use super::{Mode, PlanView, Role, Style, View, labels};

/// A finished piece of output and the stream it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Out(String),
    Err(String),
}

/// Turns events into lines. `live` leaves out what moves on the terminal.
pub(super) struct Lines {
    mode: Mode,
    live: bool,
    /// Of stdout.
    style: Style,
    /// Of stderr.
    messages: Style,
    /// Quarters of each measurable step that have been told.
    quarters: BTreeMap<String, u64>,
    /// With the last word of each.
    running: BTreeMap<ResourceId, (Action, String)>,
    phase: Option<Phase>,
}

impl Lines {
    pub(super) fn new(mode: Mode, live: bool, style: Style, messages: Style) -> Self {
        Self { mode, live, style, messages, quarters: BTreeMap::new(), running: BTreeMap::new(), phase: None }
    }

    pub(super) fn take(&mut self, event: &Event) -> Vec<Line> {
        match self.mode {
            Mode::Json => Vec::new(),
            Mode::Quiet => self.quiet(event),
            Mode::Human => self.human(event),
        }
    }

    /// Said when nothing has happened for a while and something is still
    /// running, so that a log of a long wait does not look dead.
    pub(super) fn still_running(&self) -> Option<Line> {
        if self.mode != Mode::Human || self.live {
            return None;
        }
        let running: Vec<String> = self
            .running
            .iter()
            .map(|(id, (action, said))| match said.as_str() {
                "" => labels::doing(*action, id),
                said => format!("{} ({})", labels::doing(*action, id), visible(said)),
            })
            .collect();
        let what = match (running.as_slice(), self.phase) {
            ([], None) => return None,
            ([], Some(phase)) => labels::phase(phase).to_owned(),
            (running, _) => running.join(", "),
        };
        Some(self.message(Role::Faint, format!("  … still running: {what}")))
    }

    fn quiet(&self, event: &Event) -> Vec<Line> {
        match event {
            Event::Planned { plan, feed, cost } => {
                vec![Line::Out(PlanView(plan, feed, cost.as_deref()).brief(&self.style))]
            }
            Event::Checked { check } if check.outcome == Outcome::Failed => {
                vec![Line::Out(report::row(check, &self.style))]
            }
            Event::ResourceFailed { .. }
            | Event::MachineLog { .. }
            | Event::CloudUnreachable { .. }
            | Event::Warning { .. } => self.bad_news(event),
            _ => Vec::new(),
        }
    }

    fn human(&mut self, event: &Event) -> Vec<Line> {
        let verbose = self.messages.verbose;
        if let Event::ResourceProgress { id, message } = event
            && let Some((_, said)) = self.running.get_mut(id)
        {
            said.clone_from(message);
        }
        match event {
            Event::PhaseStarted { phase } => {
                self.phase = Some(*phase);
                vec![self.message(Role::Heading, labels::heading(*phase))]
            }
            Event::PhaseFinished { phase, elapsed_ms, ok } => {
                self.phase = None;
                let name = labels::phase(*phase);
                // What a plan took is in its own line.
                if *ok && *phase == Phase::Plan {
                    return Vec::new();
                }
                vec![match ok {
                    true => self.message(Role::Faint, format!("  {name} took {}", elapsed(*elapsed_ms))),
                    false => {
                        self.message(Role::Bad, format!("  {name} failed after {}", elapsed(*elapsed_ms)))
                    }
                }]
            }
            Event::Planned { plan, feed, cost } => {
                vec![Line::Out(PlanView(plan, feed, cost.as_deref()).human(&self.style))]
            }
            Event::ResourceStarted { id, action, .. } => {
                self.running.insert(id.clone(), (*action, String::new()));
                let line = format!("  … {}", labels::doing(*action, id));
                if verbose && !self.live { vec![self.message(Role::Faint, line)] } else { Vec::new() }
            }
            Event::ResourceProgress { id, message } if verbose && !self.live => {
                vec![self.message(
                    Role::Faint,
                    format!("    {}: {}", labels::id(id), hang(&visible(message), 4, &self.messages)),
                )]
            }
            Event::ResourceFinished { id, action, elapsed_ms } => {
                self.running.remove(id);
                vec![self.finished("✓", &labels::doing(*action, id), "", *elapsed_ms)]
            }
            Event::ResourceFailed { id, .. } => {
                self.running.remove(id);
                self.bad_news(event)
            }
            Event::ResourceSkipped { id, action, because } => {
                let what = labels::doing(*action, id);
                vec![self.message(Role::Caution, format!("  · {what} not started: {}", visible(because)))]
            }
            Event::MachineStage { machine, stage, message } => self.machine_stage(machine, stage, message),
            Event::StackPart { part, state, detail } => {
                let detail = self.messages.paint(Role::Faint, hang(&visible(detail), 4, &self.messages));
                vec![Line::Err(
                    format!("  {} {}  {detail}", visible(part), visible(state)).trim_end().to_owned() + "\n",
                )]
            }
            Event::Progress { what, done, total, unit } => self.progress(what, *done, *total, unit),
            Event::Checked { check } => vec![Line::Out(report::row(check, &self.style))],
            Event::Note { message } => {
                vec![Line::Err(format!("  {}\n", hang(&visible(message), 2, &self.messages)))]
            }
            Event::MachineLog { .. } | Event::CloudUnreachable { .. } | Event::Warning { .. } => {
                self.bad_news(event)
            }
            Event::CloudReachable { after_ms, .. } => {
                let words = format!("  the cloud answers again, after {}", elapsed(*after_ms));
                vec![self.message(Role::Good, words)]
            }
            // Nothing but `logs` sends one, by itself.
            Event::StackLog { .. } => Vec::new(),
            Event::ResourceProgress { .. } | Event::StageFinished { .. } => Vec::new(),
        }
    }

    /// What every mode for people shows.
    fn bad_news(&self, event: &Event) -> Vec<Line> {
        let style = &self.messages;
        let hint = |hint: &Option<String>, indent: usize| {
            let label = style.paint(Role::Accent, "hint:");
            let spaces = " ".repeat(indent);
            hint.as_ref().map(|hint| {
                Line::Err(format!("{spaces}{label} {}\n", hang(&visible(hint), indent + 6, style)))
            })
        };
        match event {
            Event::ResourceFailed { id, action, error, hint: next, elapsed_ms } => {
                let what = labels::doing(*action, id);
                let error = Line::Err(format!("    {}\n", hang(&visible(error), 4, style)));
                let failed = self.finished("✗", &what, "failed after ", *elapsed_ms);
                [failed, error].into_iter().chain(hint(next, 4)).collect()
            }
            Event::MachineLog { machine, line } => {
                vec![
                    self.message(
                        Role::Faint,
                        format!("  {} | {}", visible(machine), visible(line.trim_end())),
                    ),
                ]
            }
            Event::CloudUnreachable { host, error, left_ms, .. } => {
                let label = style.paint(Role::Caution, "warning:");
                let error = visible(error);
                let message =
                    format!("the cloud does not answer ({}: {error}); {}", visible(host), tried(*left_ms));
                vec![Line::Err(format!("{label} {}\n", hang(&message, 9, style)))]
            }
            Event::Warning { message, hint: next } => {
                let label = style.paint(Role::Caution, "warning:");
                let warning = Line::Err(format!("{label} {}\n", hang(&visible(message), 9, style)));
                [warning].into_iter().chain(hint(next, 0)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn machine_stage(&self, machine: &str, stage: &str, message: &str) -> Vec<Line> {
        let (symbol, role) = match stage {
            "ready" => ("✓", Role::Good),
            "failed" | "rolled-back" => ("✗", Role::Bad),
            // On a terminal the stages before the last one are one moving line.
            _ if self.live => return Vec::new(),
            _ => ("…", Role::Faint),
        };
        let symbol = self.messages.paint(role, symbol);
        let message = self.messages.paint(Role::Faint, hang(&visible(message), 4, &self.messages));
        let line = format!("  {symbol} {} {}  {message}", visible(machine), visible(stage));
        vec![Line::Err(line.trim_end().to_owned() + "\n")]
    }

    fn progress(&mut self, what: &str, done: u64, total: u64, unit: &str) -> Vec<Line> {
        let quarter = if total == 0 { 4 } else { (done.min(total) as u128 * 4 / u128::from(total)) as u64 };
        let told = self.quarters.entry(what.to_owned()).or_insert(0);
        if quarter <= *told {
            return Vec::new();
        }
        *told = quarter;
        let what = visible(what).into_owned();
        if quarter == 4 {
            // The same step may be measured again later in the run.
            self.quarters.remove(&what);
            let symbol = self.messages.paint(Role::Good, "✓");
            return vec![Line::Err(format!("  {symbol} {what}  {}\n", amount(done, unit)))];
        }
        // Of few things, the end is enough.
        if self.live || total < 1000 {
            return Vec::new();
        }
        let percent = quarter * 25;
        let line = format!("  … {what}  {percent} % ({})", share(done, total, unit));
        vec![self.message(Role::Faint, line)]
    }

    fn finished(&self, symbol: &str, what: &str, before: &str, elapsed_ms: u64) -> Line {
        let role = if symbol == "✓" { Role::Good } else { Role::Bad };
        let symbol = self.messages.paint(role, symbol);
        let took = self.messages.paint(Role::Faint, format!("{before}{}", elapsed(elapsed_ms)));
        Line::Err(format!("  {symbol} {what} {took}\n"))
    }

    fn message(&self, role: Role, text: impl AsRef<str>) -> Line {
        Line::Err(self.messages.paint(role, text) + "\n")
    }
}

/// What is done about a cloud that does not answer.
fn tried(left_ms: u64) -> String {
    match left_ms.div_ceil(1000) {
        0 => "this was the last attempt".into(),
        seconds @ 1..120 => format!("trying for another {seconds} s"),
        seconds => format!("trying for another {} min", seconds / 60),
    }
}
