//! The result of `drift`: what is otherwise than it was applied.

use dorainfra_engine::{Change, Drift, DriftKind};
use serde_json::{Value, json};

use super::plan::write_change;
use super::text::{pad, plural, visible, width, wrap};
use super::{Role, Style, View, labels};

pub struct DriftView {
    pub deployment: String,
    pub project: String,
    pub drift: Drift,
    /// The command that puts it back.
    pub next: String,
    /// The command that tells who changed it.
    pub who: Option<String>,
}

fn words(kind: DriftKind) -> (Role, &'static str, &'static str) {
    match kind {
        DriftKind::Changed => (Role::Caution, "~", "changed in the cloud"),
        DriftKind::Missing => (Role::Bad, "-", "is not there"),
        DriftKind::Unmarked => (Role::Caution, "~", "differs (it carries no mark)"),
    }
}

impl View for DriftView {
    fn human(&self, style: &Style) -> String {
        let Drift { found, exists, .. } = &self.drift;
        let mut out = String::new();
        let names = found.iter().map(|one| width(&labels::id(&one.id))).max().unwrap_or(0);
        // Where nothing is there, a list of all of it says no more.
        for one in found.iter().filter(|_| *exists) {
            let (role, symbol, what) = words(one.kind);
            let (id, symbol) = (labels::id(&one.id), style.paint(role, symbol));
            let fits = 4 + names + 2 + width(what) <= style.width;
            let what = style.paint(Role::Faint, what);
            match fits {
                true => out.push_str(&format!("  {symbol} {}  {what}\n", pad(&id, names))),
                false => out.push_str(&format!("  {symbol} {id}\n      {what}\n")),
            }
            for field in &one.fields {
                // From what was applied to what is there.
                let change = Change {
                    path: field.path.clone(),
                    before: Some(field.expected.clone()),
                    after: Some(field.found.clone()),
                    forces_replacement: false,
                };
                write_change(&change, 0, style, &mut out);
            }
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&self.brief(style));
        let pending = self.drift.pending.len();
        if pending > 0 {
            let text = format!(
                "{} in your configuration: `dorainfra plan` shows what; whether the cloud has changed there, too, \
                 is not known",
                if pending == 1 {
                    "1 resource has changed".into()
                } else {
                    format!("{pending} resources have changed")
                }
            );
            out.push_str(&(wrap(&text, style.width).join("\n") + "\n"));
        }
        if !found.is_empty() {
            out.push_str(&format!("{}\n", style.paint(Role::Heading, "Next")));
            let mut next = vec![(self.next.as_str(), "puts it back")];
            next.extend(self.who.as_deref().map(|who| (who, "shows who changed it")));
            for (command, what) in next {
                let what = style.paint(Role::Faint, format!("# {what}"));
                out.push_str(&format!("  {what}\n  {}\n", style.paint(Role::Accent, command)));
            }
        }
        out
    }

    fn brief(&self, style: &Style) -> String {
        let Drift { found, same, pending, exists } = &self.drift;
        let (name, project) = (visible(&self.deployment), visible(&self.project));
        let all = found.len() + same + pending.len();
        let (role, line) = match (found.len(), exists) {
            (_, false) => (Role::Bad, format!("Drift: nothing of {name} exists in {project}.")),
            (0, true) => {
                let what = plural(*same, "resource");
                (Role::Good, format!("No drift: {what} of {name} as applied."))
            }
            (differ, true) => {
                let what = if differ == 1 { "differs" } else { "differ" };
                let line =
                    format!("Drift: {differ} of {all} resources of {name} {what} from what was applied.");
                (Role::Caution, line)
            }
        };
        let lines: Vec<String> =
            wrap(&line, style.width).iter().map(|line| style.paint(role, line)).collect();
        lines.join("\n") + "\n"
    }

    fn json(&self) -> Value {
        json!({
            "deployment": self.deployment,
            "project": self.project,
            "drift": !self.drift.found.is_empty(),
            "exists": self.drift.exists,
            "found": self.drift.found,
            "pending": self.drift.pending,
            "same": self.drift.same,
        })
    }
}

#[cfg(test)]
mod tests {
    use dorainfra_engine::{Differs, Drifted};

    use super::*;

    fn view() -> DriftView {
        let field = Differs {
            path: "sourceRanges".into(),
            expected: json!(["203.0.113.7/32"]),
            found: json!(["0.0.0.0/0"]),
        };
        let drifted = |id: &str, kind, fields| Drifted { id: id.parse().unwrap(), kind, fields };
        DriftView {
            deployment: "dorainfra".into(),
            project: "my-gcp".into(),
            next: "dorainfra apply".into(),
            who: Some("gcloud logging read x".into()),
            drift: Drift {
                found: vec![
                    drifted("compute.firewall/dorainfra-mimir", DriftKind::Changed, vec![field]),
                    drifted("compute.resourcePolicy/dorainfra-daily", DriftKind::Missing, Vec::new()),
                ],
                pending: vec!["compute.disk/dorainfra-data".parse().unwrap()],
                same: 20,
                exists: true,
            },
        }
    }

    #[test]
    fn what_differs_is_shown_from_what_was_applied_to_what_is_there() {
        insta::assert_snapshot!(view().human(&Style { width: 72, ..Style::plain() }));
        let json = view().json();
        assert_eq!(json["found"][0]["fields"][0]["found"][0], "0.0.0.0/0");
        assert_eq!((&json["found"][1]["kind"], &json["drift"]), (&json!("missing"), &json!(true)));
    }

    #[test]
    fn nothing_that_differs_and_nothing_at_all_are_a_line() {
        let mut none = view();
        (none.drift.found, none.drift.pending) = (Vec::new(), Vec::new());
        assert_eq!(none.human(&Style::plain()), "No drift: 20 resources of dorainfra as applied.\n");
        let mut gone = view();
        (gone.drift.exists, gone.drift.pending, gone.drift.same) = (false, Vec::new(), 0);
        let shown = gone.human(&Style::plain());
        assert!(shown.starts_with("Drift: nothing of dorainfra exists in my-gcp.\n"), "{shown}");
    }
}
