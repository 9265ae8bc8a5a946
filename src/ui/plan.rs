//! A plan, readable in ten seconds: what will happen to what and why, only the
//! fields that change, what becomes reachable, what costs, and the counts last.

use dorainfra_engine::{Action, Change, Plan, Step};
use dorainfra_model::{FeedStep, PlanDocument};
use serde_json::Value;

use super::text::{brief_digests, pad, plural, shorten, visible, width};
use super::{Role, Style, Table, View, diff, labels};

/// Lines of a multi-line value's diff that are shown.
const DIFF_LINES: usize = 12;

/// A plan for people, with what comes after the resources; as JSON it is the plan itself.
pub struct PlanView<'a>(pub &'a Plan, pub &'a [FeedStep]);

impl View for PlanView<'_> {
    fn human(&self, style: &Style) -> String {
        let plan = self.0;
        let mut out = String::new();
        let listed = |step: &&Step| step.action != Action::NoOp;
        let names =
            plan.steps.iter().filter(listed).map(|step| width(&labels::id(&step.id))).max().unwrap_or(0);
        for action in labels::PLAN_ORDER {
            for step in plan.steps.iter().filter(|step| step.action == action) {
                write_step(step, names, style, &mut out);
            }
        }
        out.push_str(&feed(self.1, style));
        out.push_str(&notes(plan, style));
        if !plan.warnings.is_empty() {
            out.push('\n');
        }
        for warning in &plan.warnings {
            let warning = super::text::hang(&visible(warning), 9);
            out.push_str(&format!("{} {warning}\n", style.paint(Role::Caution, "warning:")));
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&self.brief(style));
        out
    }

    fn brief(&self, style: &Style) -> String {
        let plan = self.0;
        let then = self.1.iter().filter(|step| step.is_change()).count();
        if !plan.has_changes() && then == 0 {
            let as_it_should = plural(plan.count(Action::NoOp), "resource");
            let kept = match plan.count(Action::Keep) {
                0 => String::new(),
                kept => format!("; {kept} kept"),
            };
            let name = &plan.deployment;
            let line = match (plan.basis.destroy, plan.count(Action::Keep), plan.warnings.is_empty()) {
                (true, 0, _) => format!("Nothing to destroy: nothing of {name} is there."),
                (true, kept, _) => format!("Nothing to destroy: of {name} is there what is kept ({kept})."),
                (false, _, true) => format!("Nothing to do: {name} is as configured ({as_it_should}{kept})."),
                // What it warns of may not be as configured.
                (false, _, false) => {
                    format!("Nothing to do for {name}, but see above ({as_it_should}{kept}).")
                }
            };
            return style.paint(Role::Good, line) + "\n";
        }
        let mut counts = Vec::new();
        for action in labels::PLAN_ORDER.into_iter().chain([Action::NoOp]) {
            let label = labels::action(action);
            match plan.count(action) {
                0 => {}
                n => counts.push(style.paint(label.role, format!("{n} {}", label.ahead))),
            }
        }
        let heading = style.paint(Role::Heading, format!("Plan for {}:", plan.deployment));
        let then = match then {
            0 => String::new(),
            then => format!("; then {}", plural(then, "step")),
        };
        format!("{heading} {}{then}.\n", counts.join(", "))
    }

    fn json(&self) -> Value {
        serde_json::to_value(PlanDocument::from(self.0)).expect("a plan is plain data with string keys")
    }
}

/// The stack, the sources and the history. What stays as it is is not listed, unless there is
/// something to say of it.
fn feed(steps: &[FeedStep], style: &Style) -> String {
    let listed: Vec<&FeedStep> =
        steps.iter().filter(|step| step.is_change() || !step.reason.is_empty()).collect();
    let names = listed.iter().map(|step| width(&step.what)).max().unwrap_or(0);
    let mut out = String::new();
    for step in listed {
        let label = labels::action(step.action);
        let (symbol, reason) = (style.paint(label.role, label.symbol), visible(&step.reason));
        let reason = super::text::hang(&reason, 6 + names);
        out.push_str(&format!(
            "  {symbol} {}  {}\n",
            pad(&step.what, names),
            style.paint(Role::Faint, reason)
        ));
    }
    match out.is_empty() {
        true => out,
        false => format!("\n{}\n{out}", style.paint(Role::Heading, "Then")),
    }
}

fn write_step(step: &Step, names: usize, style: &Style, out: &mut String) {
    let label = labels::action(step.action);
    let id = labels::id(&step.id);
    let symbol = style.paint(label.role, label.symbol);
    let told = step.action != Action::Keep || step.reason.starts_with("kept");
    let kept = if told { "" } else { "kept: " };
    let reason = format!("{kept}{}", visible(&step.reason).replace('\n', " "));
    // The symbol already says "create": for a new resource its reason adds nothing.
    if reason.is_empty() || (step.action == Action::Create && !style.verbose) {
        out.push_str(&format!("  {symbol} {id}\n"));
    } else {
        let reason = style.paint(Role::Faint, &reason);
        out.push_str(&format!("  {symbol} {}  {reason}\n", pad(&id, names)));
    }
    let fields = matches!(step.action, Action::Update | Action::Replace | Action::Adopt) || style.verbose;
    if !fields {
        return;
    }
    let paths = step.changes.iter().map(|change| width(&change.path)).max().unwrap_or(0).min(48);
    for change in &step.changes {
        write_change(change, paths, style, out);
    }
}

pub(super) fn write_change(change: &Change, paths: usize, style: &Style, out: &mut String) {
    let path = visible(&change.path);
    let forces = match change.forces_replacement {
        true => style.paint(Role::Bad, "  forces replacement"),
        false => String::new(),
    };
    if let (Some(Value::String(before)), Some(Value::String(after))) = (&change.before, &change.after)
        && (before.trim_end().contains('\n') || after.trim_end().contains('\n'))
    {
        out.push_str(&format!("      {path}{forces}\n"));
        write_diff(before, after, style, out);
        return;
    }
    if let (Some(before), Some(after)) = (&change.before, &change.after)
        && let Some((less, more)) = items(before, after)
    {
        out.push_str(&format!("      {path}{forces}\n"));
        for (role, sign, words) in [(Role::Bad, '-', less), (Role::Good, '+', more)] {
            for word in words {
                out.push_str(&format!(
                    "        {}\n",
                    style.paint(role, format!("{sign} {}", visible(word)))
                ));
            }
        }
        return;
    }
    let before = value(change.before.as_ref(), "(none)");
    let after = value(change.after.as_ref(), "(known after apply)");
    let room = style.width.saturating_sub(6 + paths + 2);
    let arrow = style.paint(Role::Faint, "→");
    if width(&before) + width(&after) + 3 + width(&forces) <= room {
        let (before, after) = (style.paint(Role::Faint, before), style.paint(Role::Caution, after));
        out.push_str(&format!("      {}  {before} {arrow} {after}{forces}\n", pad(&path, paths)));
    } else {
        let room = style.width.saturating_sub(10);
        let (before, after) = (shorten(&before, room), shorten(&after, room));
        out.push_str(&format!("      {path}{forces}\n"));
        out.push_str(&format!("        {}\n", style.paint(Role::Bad, format!("- {before}"))));
        out.push_str(&format!("        {}\n", style.paint(Role::Good, format!("+ {after}"))));
    }
}

fn write_diff(before: &str, after: &str, style: &Style, out: &mut String) {
    let Some(lines) = diff::lines(before, after, 1) else {
        let (before, after) = (before.lines().count(), after.lines().count());
        out.push_str(&format!("        {before} lines → {after} lines\n"));
        return;
    };
    let room = style.width.saturating_sub(10);
    let cut = |text: &str| shorten(&visible(text).replace('\t', "  "), room).into_owned();
    for line in lines.iter().take(DIFF_LINES) {
        let shown = match line {
            diff::Line::Same(text) => style.paint(Role::Faint, format!("  {}", cut(text))),
            diff::Line::Removed(text) => style.paint(Role::Bad, format!("- {}", cut(text))),
            diff::Line::Added(text) => style.paint(Role::Good, format!("+ {}", cut(text))),
            diff::Line::Skipped(_) => style.paint(Role::Faint, "  ⋯"),
        };
        out.push_str(&format!("        {}\n", shown.trim_end()));
    }
    let changed = |line: &&diff::Line| matches!(line, diff::Line::Removed(_) | diff::Line::Added(_));
    let more = lines.iter().skip(DIFF_LINES).filter(changed).count();
    if more > 0 {
        let more = format!("  … {more} more changed {}", if more == 1 { "line" } else { "lines" });
        out.push_str(&format!("        {}\n", style.paint(Role::Faint, more)));
    }
}

/// One value on one line, short. `null` is a field that is not there.
fn value(value: Option<&Value>, missing: &str) -> String {
    match value {
        None => missing.to_owned(),
        Some(Value::Null) => "(none)".to_owned(),
        // JSON's own escapes make control characters visible.
        Some(value) => visible(&brief_digests(&value.to_string())).into_owned(),
    }
}

/// What a list has more and less than before, where both hold plain words.
fn items<'a>(before: &'a Value, after: &'a Value) -> Option<(Vec<&'a str>, Vec<&'a str>)> {
    let words = |list: &'a Value| list.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>();
    let (old, new) = (words(before)?, words(after)?);
    let less: Vec<_> = old.iter().filter(|word| !new.contains(word)).copied().collect();
    let more: Vec<_> = new.iter().filter(|word| !old.contains(word)).copied().collect();
    // Otherwise only the order has changed, and that is to be seen.
    (!less.is_empty() || !more.is_empty()).then_some((less, more))
}

/// What is reachable from where, and what is billed, of the steps that make or
/// change something. What is open to the world, wants no certificate, or may cost
/// data is shown even when unchanged.
fn notes(plan: &Plan, style: &Style) -> String {
    let made = |step: &Step| {
        matches!(step.action, Action::Create | Action::Update | Action::Replace | Action::Adopt)
    };
    let mut reachable = Table::bare().indent(2);
    let mut dangers = Table::bare().indent(2);
    let mut costs = Table::bare().indent(2);
    for step in &plan.steps {
        let id = labels::id(&step.id);
        if let Some(access) = step.notes.get("access") {
            let open = is_open_to_the_world(access);
            if (open || is_unprotected(access)) && step.action != Action::Delete {
                let text = match !open || access.contains(OPEN) {
                    true => access.clone(),
                    false => format!("{access}: {OPEN}"),
                };
                reachable.row([(Role::Bad, "!!"), (Role::Bad, &id), (Role::Bad, &text)]);
            } else if made(step) {
                reachable.row([(Role::Plain, ""), (Role::Plain, &id), (Role::Plain, access)]);
            }
        }
        if let Some(danger) = step.notes.get("danger").filter(|_| step.action != Action::Delete) {
            dangers.row([(Role::Bad, "!!"), (Role::Bad, &id), (Role::Bad, danger)]);
        }
        if let Some(cost) = step.notes.get("cost")
            && made(step)
        {
            costs.row([(Role::Plain, ""), (Role::Plain, &id), (Role::Plain, cost)]);
        }
    }
    let mut out = String::new();
    for (title, table) in [("Reachable", reachable), ("May cost data", dangers), ("Billed", costs)] {
        if !table.is_empty() {
            out.push_str(&format!("\n{}\n{}", style.paint(Role::Heading, title), table.render(style)));
        }
    }
    out
}

const OPEN: &str = "OPEN TO THE WORLD";

fn is_open_to_the_world(access: &str) -> bool {
    let everywhere = |word: &str| word == "0.0.0.0/0" || word == "::/0";
    access.contains(OPEN)
        || access.split(|c: char| c.is_whitespace() || ",;()[]\"".contains(c)).any(everywhere)
}

/// Whoever gets through the firewall needs no certificate.
fn is_unprotected(access: &str) -> bool {
    access.contains("WITHOUT TLS") || access.contains("WITHOUT CLIENT CERTIFICATES")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dorainfra_engine::ResourceId;
    use serde_json::json;

    use super::*;

    fn step(action: Action, id: &str, reason: &str) -> Step {
        Step {
            id: id.parse::<ResourceId>().unwrap(),
            action,
            reason: reason.into(),
            changes: Vec::new(),
            needs: Vec::new(),
            notes: BTreeMap::new(),
        }
    }

    fn plan(steps: Vec<Step>) -> Plan {
        Plan {
            deployment: "dorainfra".into(),
            steps,
            manifests: Vec::new(),
            observed: String::new(),
            warnings: Vec::new(),
            basis: dorainfra_engine::Basis::default(),
        }
    }

    fn change(path: &str, before: Option<Value>, after: Option<Value>) -> Change {
        Change { path: path.into(), before, after, forces_replacement: false }
    }

    fn note(mut step: Step, key: &str, text: &str) -> Step {
        step.notes.insert(key.into(), text.into());
        step
    }

    /// What stays as it is is not listed, unless there is something to say of it.
    #[test]
    fn what_comes_after_the_resources_is_counted_and_listed() {
        let step =
            |what: &str, action, reason: &str| FeedStep { what: what.into(), action, reason: reason.into() };
        let feed = [
            step("stack.generator", Action::Update, "restarted, with simulated values of 5 teams"),
            step("stack.prometheus", Action::NoOp, ""),
            step("history", Action::NoOp, "1 day has ended since"),
        ];
        let shown = PlanView(&plan(Vec::new()), &feed).human(&Style::plain());
        assert!(shown.contains("~ stack.generator") && shown.contains("1 day has ended"), "{shown}");
        assert!(!shown.contains("stack.prometheus") && !shown.contains("Nothing to do"), "{shown}");
        let shown = PlanView(&plan(Vec::new()), &feed[1..]).human(&Style::plain());
        assert!(shown.contains("Nothing to do") && shown.contains("1 day has ended"), "{shown}");
    }

    #[test]
    fn a_first_plan() {
        let mut plan = plan(vec![
            step(Action::Create, "iam.serviceAccount/dorainfra-mimir", "does not exist"),
            step(Action::Create, "storage.bucket/my-gcp-dorainfra-mimir", "does not exist"),
            note(
                step(Action::Create, "compute.firewall/dorainfra-mimir", "does not exist"),
                "access",
                "tcp 9009 from 203.0.113.7/32",
            ),
            note(
                step(Action::Create, "compute.firewall/dorainfra-ssh", "does not exist"),
                "access",
                "tcp 22 from Google's IAP (35.235.240.0/20)",
            ),
            note(
                step(Action::Create, "compute.instance/dorainfra-mimir", "does not exist"),
                "cost",
                "e2-medium, running all the time",
            ),
        ]);
        plan.warnings.push("topology `single` is one machine: it is not highly available".into());
        insta::assert_snapshot!(PlanView(&plan, &[]).human(&Style::plain()));
    }

    #[test]
    fn every_action_with_its_fields() {
        let mut instance =
            step(Action::Update, "compute.instance/dorainfra-mimir", "the configuration changed");
        instance.changes = vec![
            change(
                "metadata.items[dorainfra-bundle].value",
                Some(json!("0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9")),
                Some(json!("ff1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9")),
            ),
            change("labels.team", None, Some(json!("platform"))),
            change("networkInterfaces[0].accessConfigs[0].natIP", Some(json!("198.51.100.4")), None),
            change(
                "metadata.items[startup-script].value",
                Some(json!("#!/bin/bash\nset -eu\nmount /data\nfetch\ninstall\nstart\n")),
                Some(json!("#!/bin/bash\nset -eu\nmount /data\nfetch --verify\ninstall\nstart\n")),
            ),
        ];
        let mut disk = step(
            Action::Replace,
            "compute.address/dorainfra-mimir",
            "replace, because `region` cannot change",
        );
        disk.changes = vec![Change {
            forces_replacement: true,
            ..change("region", Some(json!("europe-west1")), Some(json!("europe-west4")))
        }];
        let mut firewall =
            step(Action::Update, "compute.firewall/dorainfra-mimir", "somebody changed it in the cloud");
        firewall.changes = vec![change(
            "sourceRanges",
            Some(json!(["203.0.113.7/32", "198.51.100.0/24", "192.0.2.0/24", "203.0.113.128/25"])),
            Some(json!(["0.0.0.0/0"])),
        )];
        let plan = plan(vec![
            step(Action::NoOp, "serviceusage.services/my-gcp", ""),
            step(Action::Delete, "compute.firewall/dorainfra-old", "not in the configuration any more"),
            instance,
            disk,
            note(firewall, "access", "tcp 9009 from 0.0.0.0/0"),
            step(
                Action::Keep,
                "storage.bucket/my-gcp-dorainfra-mimir",
                "holds data: `location` differs but nothing is replaced",
            ),
            step(
                Action::Adopt,
                "compute.resourcePolicy/dorainfra-daily",
                "exists without our mark, and --adopt was given",
            ),
            step(Action::Create, "compute.disk/dorainfra-data", "does not exist"),
        ]);
        insta::assert_snapshot!(PlanView(&plan, &[]).human(&Style::plain()));
    }

    #[test]
    fn nothing_to_do() {
        let plan = plan(vec![
            step(Action::NoOp, "compute.disk/dorainfra-data", ""),
            step(Action::NoOp, "compute.address/dorainfra-mimir", ""),
        ]);
        insta::assert_snapshot!(PlanView(&plan, &[]).human(&Style::plain()), @"Nothing to do: dorainfra is as configured (2 resources).");
    }

    #[test]
    fn what_may_cost_data_is_marked_even_when_unchanged() {
        let machine = note(
            step(Action::NoOp, "compute.instance/dorainfra-mimir", ""),
            "danger",
            "compactor.deletion_delay: deletes",
        );
        let view = PlanView(&plan(vec![machine]), &[]).human(&Style::plain());
        assert!(view.contains("May cost data") && view.contains("!!"), "{view}");
    }

    #[test]
    fn what_is_open_to_the_world_is_marked_even_when_unchanged() {
        let firewall =
            note(step(Action::NoOp, "compute.firewall/dorainfra-mimir", ""), "access", "tcp 9009 from ::/0");
        let view = PlanView(&plan(vec![firewall]), &[]).human(&Style::plain());
        assert!(view.contains("!!") && view.contains("OPEN TO THE WORLD"), "{view}");
        assert!(!is_open_to_the_world("tcp 22 from 10.0.0.0/8"));
        assert!(!is_open_to_the_world("tcp 22 from 2001:db8::/32"));
    }

    #[test]
    fn a_long_diff_is_cut_and_counted() {
        let text = |word: &str| (0..20).map(|n| format!("{word} {n}\n")).collect::<String>();
        let mut step = step(Action::Update, "compute.instance/x", "the configuration changed");
        step.changes = vec![change("script", Some(json!(text("old"))), Some(json!(text("new"))))];
        let view = PlanView(&plan(vec![step]), &[]).human(&Style::plain());
        assert!(view.contains("… 28 more changed lines"), "{view}");
    }

    #[test]
    fn control_characters_of_the_cloud_do_not_reach_the_terminal() {
        let mut step = step(Action::Update, "compute.instance/x", "changed \u{1b}[31mred");
        step.changes =
            vec![change("a\u{7}", Some(json!("\u{1b}]0;title\u{7}")), Some(json!("x\n\u{1b}[2Jy")))];
        let view = PlanView(&plan(vec![step]), &[]).human(&Style::plain());
        assert!(!view.contains('\u{1b}') && !view.contains('\u{7}'), "{view:?}");
    }
}
