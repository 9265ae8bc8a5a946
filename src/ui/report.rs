//! The result of `verify`: one row for each check, and a verdict.

use dorainfra_config::Feeds;
use dorainfra_deploy::verify::Damaged;
use dorainfra_model::{Check, Outcome};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::text::{count, elapsed, hang, pad, plural, visible};
use super::{Role, Style, View};

/// Columns of a check's title; longer ones push their row aside.
const TITLE: usize = 44;
/// Columns that what was found needs beside it.
const LEAST: usize = 30;

/// What `verify` found. Its rows have been printed as the checks finished; the
/// human form is the verdict.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "Proof")]
pub struct Report {
    pub run_id: String,
    pub ok: bool,
    /// What the values are of, and how many teams have them.
    pub feeds: Feeds,
    pub teams: u64,
    pub samples_sent: u64,
    /// `None`: the endpoint could not be asked.
    pub samples_found: Option<u64>,
    /// Of the bucket; `None`: nobody looked.
    pub blocks: Option<u64>,
    pub samples_in_bucket: Option<u64>,
    pub newest_in_bucket_ms: Option<i64>,
    pub samples_newer: Option<u64>,
    pub damaged: Vec<Damaged>,
    pub checks: Vec<Check>,
}

impl View for Report {
    fn human(&self, style: &Style) -> String {
        let of = |outcome| self.checks.iter().filter(|check| check.outcome == outcome).count();
        let (passed, failed, skipped) =
            (of(Outcome::Passed), of(Outcome::Failed), of(Outcome::NotApplicable));
        let mut counts = vec![format!("{} passed", plural(passed, "check"))];
        if failed > 0 {
            counts.push(style.paint(Role::Bad, format!("{failed} failed")));
        }
        if skipped > 0 {
            counts.push(format!("{skipped} not applicable"));
        }
        let sent = count(self.samples_sent);
        let samples = match self.samples_found {
            Some(found) => format!("{} of {sent} samples", count(found)),
            None => format!("the endpoint could not be asked for the {sent} samples"),
        };
        let nothing = self.feeds == Feeds::Nothing && self.samples_sent == 0;
        let (role, verdict) = match self.ok {
            true if nothing => (Role::Caution, "· nothing to prove:"),
            true => (Role::Good, "✓ verified:"),
            false => (Role::Bad, "✗ not verified:"),
        };
        let samples = if nothing { "no samples were sent".to_owned() } else { samples };
        let run = style.paint(Role::Faint, format!("run {}", self.run_id));
        let caution = match self.feeds.caution(self.teams) {
            Some(words) => format!("{} {words}\n", style.paint(Role::Caution, "!")),
            None => String::new(),
        };
        format!("{} {samples}; {}; {run}\n{caution}", style.paint(role, verdict), counts.join(", "))
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).expect("a report is plain data with string keys")
    }
}

/// One finished check as a row, with what to do below it when it failed.
pub(super) fn row(check: &Check, style: &Style) -> String {
    let (role, symbol) = match check.outcome {
        Outcome::Passed => (Role::Good, "✓"),
        Outcome::Failed => (Role::Bad, "✗"),
        Outcome::NotApplicable => (Role::Faint, "·"),
        Outcome::Unknown => (Role::Caution, "?"),
        Outcome::Warning => (Role::Caution, "!"),
    };
    let symbol = style.paint(role, symbol);
    let title = visible(&check.title);
    // What was found is beside its title, or below it where there is no room.
    let (title, indent) = match style.wraps && style.width < 4 + TITLE + LEAST {
        false => (pad(&format!("{title}  "), TITLE), 4 + TITLE),
        true => (hang(&title, 4, style) + "\n      ", 6),
    };
    let found = hang(&visible(&check.found), indent, style);
    let took = style.paint(Role::Faint, elapsed(check.elapsed_ms));
    match check.outcome {
        Outcome::Passed => format!("  {symbol} {title}{found}  {took}\n"),
        Outcome::NotApplicable => {
            format!("  {symbol} {}\n", style.paint(Role::Faint, format!("{title}not applicable: {found}")))
        }
        Outcome::Unknown => format!("  {symbol} {title}unknown: {found}\n"),
        Outcome::Warning => format!("  {symbol} {title}{found}\n"),
        Outcome::Failed => {
            let expected = hang(&visible(&check.expected), 14, style);
            let mut row = format!("  {symbol} {title}{}  {took}\n", style.paint(Role::Bad, found));
            // What a title says whole has no words of its own.
            if !expected.is_empty() {
                row.push_str(&format!("    expected: {expected}\n"));
            }
            if let Some(hint) = &check.hint {
                let hint = hang(&visible(hint), 10, style);
                row.push_str(&format!("    {} {hint}\n", style.paint(Role::Accent, "hint:")));
            }
            row
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn check(name: &str, title: &str, outcome: Outcome, found: &str) -> Check {
        Check {
            name: name.into(),
            title: title.into(),
            outcome,
            expected: "56,940 samples".into(),
            found: found.into(),
            hint: (outcome == Outcome::Failed).then(|| "run `dorainfra generate` and verify again".into()),
            elapsed_ms: 812,
        }
    }

    #[test]
    fn rows_and_verdict() {
        let checks = vec![
            check("endpoint", "The endpoint is ready", Outcome::Passed, "ready in 12 ms"),
            check("history", "Every sample of the history", Outcome::Failed, "56,939 of 56,940 samples"),
            check("bucket", "Blocks in the bucket", Outcome::NotApplicable, "the stand-in writes none"),
            check("project", "project my-gcp", Outcome::Unknown, "the API that knows is off"),
            check("plan", "what apply needs", Outcome::Warning, "`single` is one machine"),
        ];
        let rows: String = checks.iter().map(|check| row(check, &Style::plain())).collect();
        let report = Report {
            run_id: "0e1f".into(),
            feeds: Feeds::Real,
            ok: false,
            samples_sent: 56_940,
            samples_found: Some(56_939),
            checks,
            ..Report::default()
        };
        insta::assert_snapshot!(rows + &report.human(&Style::plain()));
    }

    #[test]
    fn a_long_title_does_not_run_into_what_was_found() {
        let long = check("history", &"x".repeat(TITLE), Outcome::Passed, "3 of 3");
        assert!(row(&long, &Style::plain()).contains("xx  3 of 3"));
    }

    #[test]
    fn what_is_simulated_or_nothing_at_all_is_no_plain_proof() {
        let of = |feeds, teams, samples| Report {
            ok: true,
            feeds,
            teams,
            samples_sent: samples,
            samples_found: Some(samples),
            ..Report::default()
        };
        let style = Style::plain();
        let simulated = of(Feeds::Simulated, 39, 56_940);
        assert!(
            simulated.human(&style).ends_with("\n! simulated data: 39 teams\n"),
            "{}",
            simulated.human(&style)
        );
        assert_eq!(
            (&simulated.json()["feeds"], &simulated.json()["teams"]),
            (&"simulated".into(), &39.into())
        );
        let nothing = of(Feeds::Nothing, 0, 0).human(&style);
        assert!(nothing.starts_with("· nothing to prove: no samples were sent"), "{nothing}");
        assert!(nothing.contains("! no data is fed until `sources`") && !nothing.contains('✓'), "{nothing}");
        let real = of(Feeds::Real, 2, 10).human(&style);
        assert!(real.starts_with("✓ verified: 10 of 10 samples") && !real.contains('!'), "{real}");
    }

    #[test]
    fn a_passed_report() {
        let checks = vec![check("endpoint", "The endpoint is ready", Outcome::Passed, "ready")];
        let report = Report {
            run_id: "0e1f".into(),
            feeds: Feeds::Real,
            ok: true,
            samples_sent: 4,
            samples_found: Some(4),
            checks,
            ..Report::default()
        };
        insta::assert_snapshot!(report.human(&Style::plain()));
        assert_eq!(report.json()["checks"][0]["outcome"], "passed");
    }
}
