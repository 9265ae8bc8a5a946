//! How a changing command ended: what is done, what failed and why, what was not
//! started, how long each phase took, and the command to type next.

use std::collections::BTreeMap;

use dorainfra_engine::ResourceId;
use dorainfra_model::Timings;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::text::{self, elapsed, hang, plural, visible};
use super::{PhaseTime, Report, Role, Style, Table, View, labels, timings};

/// A resource whose action failed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Failure {
    pub id: ResourceId,
    pub error: String,
    pub hint: Option<String>,
}

/// A resource that was left as it is, and why.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Pending {
    pub id: ResourceId,
    pub because: String,
}

#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Summary {
    /// `apply`, `destroy`.
    pub command: String,
    pub ok: bool,
    pub interrupted: bool,
    pub done: Vec<ResourceId>,
    pub failed: Vec<Failure>,
    pub not_started: Vec<Pending>,
    /// What holds data and was kept.
    pub kept: Vec<Pending>,
    pub phases: Vec<PhaseTime>,
    pub total_ms: u64,
    /// What was made, for people: `("endpoint", "https://…")`.
    // An object is what a program looks things up in.
    #[serde(serialize_with = "object")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub facts: Vec<(String, String)>,
    /// The proof, where there was one.
    pub verified: Option<Report>,
    /// Commands to type next, the first one first.
    pub next: Vec<String>,
    /// With `--timings`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
}

fn object<S: Serializer>(facts: &[(String, String)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(facts.iter().map(|(name, text)| (name, text)))
}

impl View for Summary {
    fn human(&self, style: &Style) -> String {
        let mut out = String::new();
        if let Some(report) = &self.verified {
            out.push_str(&report.human(style));
        }
        out.push_str(&self.brief(style));
        self.write_times(style, &mut out);
        self.write_ends(style, &mut out);
        if let Some(times) = &self.timings {
            out.push_str(&timings::table(times, style));
        }

        let mut facts = Table::bare().indent(2);
        for (name, text) in &self.facts {
            facts.row([(Role::Faint, name), (Role::Plain, text)]);
        }
        out.push_str(&facts.render(style));
        if !self.next.is_empty() {
            out.push_str(&format!("{}\n", style.paint(Role::Heading, "Next")));
            for command in &self.next {
                out.push_str(&format!("  {}\n", style.paint(Role::Accent, text::command(command, 2, style))));
            }
        }
        out
    }

    fn brief(&self, style: &Style) -> String {
        let (role, symbol) = match (self.ok, self.interrupted) {
            (true, _) => (Role::Good, "✓"),
            (false, true) => (Role::Caution, "!"),
            (false, false) => (Role::Bad, "✗"),
        };
        let mut counts = vec![format!("{} done", plural(self.done.len(), "resource"))];
        for (n, what) in [
            (self.failed.len(), "failed"),
            (self.not_started.len(), "not started"),
            (self.kept.len(), "kept"),
        ] {
            if n > 0 {
                counts.push(format!("{n} {what}"));
            }
        }
        let interrupted = if self.interrupted { "interrupted: " } else { "" };
        let verdict = style.paint(role, format!("{symbol} {}:", self.command));
        let total = style.paint(Role::Faint, format!("in {}", elapsed(self.total_ms)));
        format!("{verdict} {interrupted}{} {total}\n", counts.join(", "))
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).expect("a summary is plain data with string keys")
    }
}

impl Summary {
    fn write_times(&self, style: &Style, out: &mut String) {
        if self.phases.is_empty() {
            return;
        }
        let times: Vec<String> = self
            .phases
            .iter()
            .map(|time| format!("{} {}", labels::phase(time.phase), elapsed(time.elapsed_ms)))
            .collect();
        out.push_str(&format!("  {}\n", style.paint(Role::Faint, times.join(" · "))));
    }

    fn write_ends(&self, style: &Style, out: &mut String) {
        let heading = |text: &str| format!("{}\n", style.paint(Role::Heading, text));
        if !self.failed.is_empty() {
            out.push_str(&heading("Failed"));
            for failure in &self.failed {
                let symbol = style.paint(Role::Bad, "✗");
                let error = hang(&visible(&failure.error), 4, style);
                out.push_str(&format!("  {symbol} {}\n    {error}\n", labels::id(&failure.id)));
                if let Some(hint) = &failure.hint {
                    let hint = hang(&visible(hint), 10, style);
                    out.push_str(&format!("    {} {hint}\n", style.paint(Role::Accent, "hint:")));
                }
            }
        }
        for (title, pending) in [("Not started", &self.not_started), ("Kept", &self.kept)] {
            let mut table = Table::bare().indent(4);
            for item in pending {
                table.row([(Role::Plain, labels::id(&item.id)), (Role::Faint, item.because.clone())]);
            }
            if !table.is_empty() {
                out.push_str(&heading(title));
                out.push_str(&table.render(style));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dorainfra_model::Phase;

    use super::*;

    fn id(text: &str) -> ResourceId {
        text.parse().unwrap()
    }

    fn pending(text: &str, because: &str) -> Pending {
        Pending { id: id(text), because: because.into() }
    }

    #[test]
    fn a_good_end() {
        let summary = Summary {
            command: "apply".into(),
            ok: true,
            done: vec![id("storage.bucket/b"), id("compute.instance/i")],
            phases: vec![
                PhaseTime { phase: Phase::Plan, elapsed_ms: 312, ok: true },
                PhaseTime { phase: Phase::Resources, elapsed_ms: 12_140, ok: true },
                PhaseTime { phase: Phase::Verify, elapsed_ms: 6_020, ok: true },
            ],
            total_ms: 18_472,
            facts: vec![
                ("endpoint".into(), "https://198.51.100.4:9009".into()),
                ("engine".into(), "prometheus 2.42.0 (standing in for mimir)".into()),
            ],
            verified: Some(Report {
                run_id: "0e1f".into(),
                feeds: dorainfra_config::Feeds::Real,
                ok: true,
                samples_sent: 56_940,
                samples_found: Some(56_940),
                ..Report::default()
            }),
            next: vec!["dorainfra status".into()],
            ..Summary::default()
        };
        insta::assert_snapshot!(summary.human(&Style::plain()));
        assert_eq!(summary.json()["facts"]["endpoint"], "https://198.51.100.4:9009");
    }

    #[test]
    fn a_bad_end_lists_every_resource_and_the_next_command() {
        let summary = Summary {
            command: "apply".into(),
            done: vec![id("storage.bucket/b")],
            failed: vec![Failure {
                id: id("compute.instance/dorainfra-mimir"),
                error: "quota CPUS exceeded in europe-west1\n(limit 8)".into(),
                hint: Some("ask for more at the quota page, or choose another region".into()),
            }],
            not_started: vec![pending(
                "storage.object/x",
                "needs compute.instance/dorainfra-mimir, which failed",
            )],
            total_ms: 61_000,
            next: vec!["dorainfra apply".into()],
            ..Summary::default()
        };
        insta::assert_snapshot!(summary.human(&Style::plain()));
    }

    #[test]
    fn an_interrupted_run_and_what_is_kept() {
        let summary = Summary {
            command: "destroy".into(),
            interrupted: true,
            kept: vec![pending("storage.bucket/my-gcp-dorainfra-mimir", "holds the metrics")],
            not_started: vec![pending("compute.disk/dorainfra-data", "interrupted")],
            total_ms: 900,
            next: vec!["dorainfra destroy".into()],
            ..Summary::default()
        };
        insta::assert_snapshot!(summary.human(&Style::plain()));
    }
}
