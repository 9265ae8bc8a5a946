//! A plan, readable in ten seconds: what becomes reachable, what is billed and what is
//! dangerous, then what will happen to what and why, with only the fields that change,
//! and the counts last.

mod fields;
mod notes;

use std::collections::BTreeSet;

use dorainfra_engine::{Action, Plan, Step};
use dorainfra_model::{Cost, FeedStep, PlanDocument};
use serde_json::Value;

use super::text::{hang, pad, plural, visible, width};
use super::{Role, Style, View, labels};

pub(super) use fields::write_change;

/// So many of a kind to which the same happens are all listed; of more, the first.
const LISTED: usize = 3;

/// A plan for people, with what comes after the resources and what it costs; as JSON it is the plan itself.
pub struct PlanView<'a>(pub &'a Plan, pub &'a [FeedStep], pub Option<&'a Cost>);

impl View for PlanView<'_> {
    fn human(&self, style: &Style) -> String {
        let plan = self.0;
        let mut out = notes::of(plan, self.2, style);
        let steps = steps(plan, style);
        if !steps.is_empty() {
            out.push_str(&format!("\n{}\n{steps}", style.paint(Role::Heading, "Resources")));
        }
        let heading = if plan.basis.destroy { "Before that" } else { "Then" };
        out.push_str(&feed(self.1, heading, style));
        if !plan.warnings.is_empty() {
            out.push('\n');
        }
        for warning in &plan.warnings {
            let warning = hang(&visible(warning), 9, style);
            out.push_str(&format!("{} {warning}\n", style.paint(Role::Caution, "warning:")));
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&self.brief(style));
        out.trim_start_matches('\n').to_owned()
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
                (true, 0, _) => format!("Nothing to destroy: there is nothing of {name}."),
                (true, kept, _) => {
                    format!("Nothing to destroy: all that is left of {name} is what is kept ({kept}).")
                }
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
        let then = match (then, plan.basis.destroy) {
            (0, _) => String::new(),
            (then, true) => format!("; before that {}", plural(then, "step")),
            (then, false) => format!("; then {}", plural(then, "step")),
        };
        format!("{heading} {}{then}.\n", counts.join(", "))
    }

    fn json(&self) -> Value {
        serde_json::to_value(PlanDocument::from(self.0)).expect("a plan is plain data with string keys")
    }
}

/// What happens to the resources. Of a kind of which there are many the first stands for all, unless
/// there is something to say of each.
fn steps(plan: &Plan, style: &Style) -> String {
    let listed: Vec<&Step> = plan.steps.iter().filter(|step| step.action != Action::NoOp).collect();
    let mut lines: Vec<(&Step, usize)> = Vec::new();
    for action in labels::PLAN_ORDER {
        let of_action: Vec<&Step> = listed.iter().copied().filter(|step| step.action == action).collect();
        let mut told = BTreeSet::new();
        for step in &of_action {
            let alike: Vec<&Step> =
                of_action.iter().copied().filter(|other| folds(step) && alike(step, other)).collect();
            if style.verbose || alike.len() <= LISTED {
                lines.push((step, 0));
            } else if told.insert((&step.id.kind, &step.reason)) {
                lines.push((step, alike.len() - 1));
            }
        }
    }
    let names = lines.iter().map(|(step, _)| width(&labels::id(&step.id))).max().unwrap_or(0);
    let mut out = String::new();
    for (step, more) in lines {
        write_step(step, names, style, &mut out);
        if more > 0 {
            let label = labels::action(step.action);
            let more = format!("{more} more of {} (-v shows all)", step.id.kind);
            let more = style.paint(Role::Faint, hang(&more, 4, style));
            out.push_str(&format!("  {} {more}\n", style.paint(label.role, label.symbol)));
        }
    }
    out
}

/// Whether nothing has to be said of this very one.
fn folds(step: &Step) -> bool {
    matches!(step.action, Action::Create | Action::Delete | Action::Keep)
}

fn alike(one: &Step, other: &Step) -> bool {
    one.id.kind == other.id.kind && (one.action == Action::Create || one.reason == other.reason)
}

/// The stack, the sources and the history. What stays as it is is not listed, unless there is
/// something to say of it.
fn feed(steps: &[FeedStep], heading: &str, style: &Style) -> String {
    let listed: Vec<&FeedStep> =
        steps.iter().filter(|step| step.is_change() || !step.reason.is_empty()).collect();
    let names = listed.iter().map(|step| width(&step.what)).max().unwrap_or(0);
    let mut out = String::new();
    for step in listed {
        let label = labels::action(step.action);
        out.push_str(&line(&label, &step.what, names, &step.reason, style));
    }
    match out.is_empty() {
        true => out,
        false => format!("\n{}\n{out}", style.paint(Role::Heading, heading)),
    }
}

fn write_step(step: &Step, names: usize, style: &Style, out: &mut String) {
    let label = labels::action(step.action);
    let reason = visible(&step.reason).replace('\n', " ");
    // The symbol already says "create": for a new resource its reason adds nothing.
    let reason = match step.action {
        Action::Create if !style.verbose => String::new(),
        Action::Keep => format!("kept: {reason}"),
        _ => reason,
    };
    out.push_str(&line(&label, &labels::id(&step.id), names, &reason, style));
    if matches!(step.action, Action::Update | Action::Replace | Action::Adopt) || style.verbose {
        fields::write(step, style, out);
    }
}

/// What happens to what, and why: beside it, or below it where there is no room.
fn line(label: &labels::ActionLabel, name: &str, names: usize, reason: &str, style: &Style) -> String {
    const LEAST: usize = 24;
    let symbol = style.paint(label.role, label.symbol);
    let reason = visible(reason);
    if reason.is_empty() {
        return format!("  {symbol} {}\n", hang(name, 6, style));
    }
    let beside = 6 + names;
    if style.wraps && style.width < beside + LEAST.min(width(&reason)) {
        let reason = style.paint(Role::Faint, hang(&reason, 6, style));
        return format!("  {symbol} {}\n      {reason}\n", hang(name, 6, style));
    }
    let reason = style.paint(Role::Faint, hang(&reason, beside, style));
    format!("  {symbol} {}  {reason}\n", pad(name, names))
}

#[cfg(test)]
mod tests;
