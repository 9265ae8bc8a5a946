//! The moving part of the output on a terminal: a line for each running
//! resource and machine, a bar for each measurable step, a line for the phase.

use std::collections::BTreeMap;
use std::time::Duration;

use dorainfra_engine::ResourceId;
use dorainfra_model::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::labels;
use super::text::{bytes, count, elapsed, share, visible};

const TICK: Duration = Duration::from_millis(120);
const SPINNER: &str = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ";

pub(super) struct Live {
    multi: MultiProgress,
    resources: BTreeMap<ResourceId, ProgressBar>,
    machines: BTreeMap<String, ProgressBar>,
    bars: BTreeMap<String, ProgressBar>,
    /// The last line: which phase runs, and for how long.
    phase: Option<ProgressBar>,
}

impl Live {
    pub(super) fn on_stderr() -> Self {
        Self::on(ProgressDrawTarget::stderr_with_hz(12))
    }

    fn on(target: ProgressDrawTarget) -> Self {
        Self {
            multi: MultiProgress::with_draw_target(target),
            resources: BTreeMap::new(),
            machines: BTreeMap::new(),
            bars: BTreeMap::new(),
            phase: None,
        }
    }

    pub(super) fn multi(&self) -> MultiProgress {
        self.multi.clone()
    }

    pub(super) fn take(&mut self, event: &Event) {
        match event {
            Event::PhaseStarted { phase } => {
                self.end_phase();
                let bar = self.multi.add(spinner(labels::phase(*phase)));
                self.phase = Some(bar);
            }
            Event::PhaseFinished { .. } => self.end_phase(),
            Event::ResourceStarted { id, action, .. } => {
                let bar = self.add(spinner(&labels::doing(*action, id)));
                end(self.resources.insert(id.clone(), bar));
            }
            Event::ResourceProgress { id, message } => {
                if let Some(bar) = self.resources.get(id) {
                    bar.set_message(one_line(message));
                }
            }
            Event::ResourceFinished { id, .. } | Event::ResourceFailed { id, .. } => {
                end(self.resources.remove(id))
            }
            Event::MachineStage { machine, stage, message } => {
                if matches!(stage.as_str(), "ready" | "failed" | "rolled-back") {
                    return end(self.machines.remove(machine));
                }
                if !self.machines.contains_key(machine) {
                    let bar = self.add(spinner(&one_line(machine)));
                    self.machines.insert(machine.clone(), bar);
                }
                if let Some(bar) = self.machines.get(machine) {
                    bar.set_message(one_line(&format!("{stage}  {message}")));
                }
            }
            Event::Progress { what, done, total, unit } => {
                if done >= total {
                    return end(self.bars.remove(what));
                }
                if !self.bars.contains_key(what) {
                    let bar = self.add(measure(&one_line(what), *total, unit));
                    self.bars.insert(what.clone(), bar);
                }
                if let Some(bar) = self.bars.get(what) {
                    bar.set_length(*total);
                    bar.set_position(*done);
                }
            }
            Event::StageFinished { .. }
            | Event::Planned { .. }
            | Event::ResourceSkipped { .. }
            | Event::MachineLog { .. }
            | Event::StackLog { .. }
            | Event::StackPart { .. }
            | Event::Checked { .. }
            | Event::CloudUnreachable { .. }
            | Event::CloudReachable { .. }
            | Event::Warning { .. }
            | Event::Note { .. } => {}
        }
    }

    /// Takes every moving line off the terminal.
    pub(super) fn finish(&mut self) {
        let resources = std::mem::take(&mut self.resources).into_values();
        let machines = std::mem::take(&mut self.machines).into_values();
        let bars = std::mem::take(&mut self.bars).into_values();
        resources.chain(machines).chain(bars).chain(self.phase.take()).for_each(|bar| end(Some(bar)));
        // A terminal that cannot be cleared any more has nothing to be told.
        let _ = self.multi.clear();
    }

    /// Adds a line above the one of the phase.
    fn add(&self, bar: ProgressBar) -> ProgressBar {
        match &self.phase {
            Some(phase) => self.multi.insert_before(phase, bar),
            None => self.multi.add(bar),
        }
    }

    fn end_phase(&mut self) {
        end(self.phase.take());
    }
}

fn end(bar: Option<ProgressBar>) {
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

/// A moving line must stay one line.
fn one_line(text: &str) -> String {
    visible(text).replace(['\n', '\t'], " ")
}

fn spinner(what: &str) -> ProgressBar {
    // The drawing target is the MultiProgress's, once it is added.
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template("  {spinner} {prefix} {took} {wide_msg}")
        .expect("a literal template")
        .tick_chars(SPINNER)
        .with_key("took", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{}", took(state));
        });
    bar.set_style(style);
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

fn measure(what: &str, total: u64, unit: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template("  {spinner} {prefix} [{bar:24}] {amount}  {rate}  {left}")
        .expect("a literal template")
        .tick_chars(SPINNER)
        .progress_chars("=> ")
        .with_key("amount", move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let total = state.len().unwrap_or(0);
            let _ = write!(out, "{}", share(state.pos(), total, unit));
        })
        .with_key("rate", move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let rate = state.per_sec() as u64;
            let rate = if unit == "bytes" { bytes(rate) } else { count(rate) };
            let _ = write!(out, "{rate}/s");
        })
        .with_key("left", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{} left", elapsed(milliseconds(state.eta())));
        });
    bar.set_style(style);
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

fn took(state: &ProgressState) -> String {
    elapsed(milliseconds(state.elapsed()))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use dorainfra_engine::Action;
    use dorainfra_model::Phase;
    use indicatif::TermLike;

    use super::*;

    /// A terminal that remembers everything that was ever drawn on it.
    #[derive(Clone, Debug, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl Paper {
        /// Lines are drawn at their own rate.
        fn wait_for(&self, text: &str) {
            let start = Instant::now();
            while !self.0.lock().unwrap().contains(text) {
                assert!(start.elapsed() < Duration::from_secs(30), "no `{text}` in {:?}", self.0);
                std::thread::yield_now();
            }
        }
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(&format!("{text}\n"))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn live() -> (Live, Paper) {
        let paper = Paper::default();
        (Live::on(ProgressDrawTarget::term_like(Box::new(paper.clone()))), paper)
    }

    #[test]
    fn a_running_resource_has_a_line_with_its_progress() {
        let (mut live, paper) = live();
        let id: ResourceId = "compute.instance/dorainfra-mimir".parse().unwrap();
        live.take(&Event::PhaseStarted { phase: Phase::Resources });
        live.take(&Event::ResourceStarted { id: id.clone(), action: Action::Create, waited_for: None });
        live.take(&Event::ResourceProgress { id: id.clone(), message: "operation\nRUNNING 40 %".into() });
        paper.wait_for("create compute.instance/dorainfra-mimir 0.");
        assert_eq!(live.resources[&id].message(), "operation RUNNING 40 %");
        live.take(&Event::ResourceFinished { id, action: Action::Create, elapsed_ms: 5 });
        assert!(live.resources.is_empty());
        live.take(&Event::PhaseFinished { phase: Phase::Resources, elapsed_ms: 9, ok: true });
        assert!(live.phase.is_none());
    }

    #[test]
    fn a_bar_goes_when_its_step_is_done() {
        let (mut live, paper) = live();
        let step = |done| Event::Progress { what: "history".into(), done, total: 57_096, unit: "samples" };
        live.take(&step(1_000));
        paper.wait_for("1,000 of 57,096 samples");
        live.take(&step(57_096));
        assert!(live.bars.is_empty());
    }

    #[test]
    fn nothing_is_left_when_the_run_ends_in_the_middle() {
        let (mut live, _) = live();
        let stage = |stage: &str| Event::MachineStage {
            machine: "m".into(),
            stage: stage.into(),
            message: String::new(),
        };
        live.take(&Event::PhaseStarted { phase: Phase::Machine });
        live.take(&stage("fetch"));
        live.take(&stage("install"));
        assert_eq!(live.machines.len(), 1);
        live.finish();
        assert!(live.machines.is_empty() && live.phase.is_none());
    }
}
