//! A plan as a graph, in the languages that draw one: Mermaid (GitHub and GitLab show it in a page) and
//! DOT (Graphviz). An arrow leads from a resource to what it needs. The same plan is the same text.

use std::collections::BTreeMap;

use dorainfra_engine::{Action, Plan, ResourceId, Step};

use super::labels;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphForm {
    Mermaid,
    Dot,
}

/// The steps by their names, and what each needs, in order.
pub fn graph(plan: &Plan, form: GraphForm) -> String {
    let steps: BTreeMap<&ResourceId, &Step> = plan.steps.iter().map(|step| (&step.id, step)).collect();
    let numbers: BTreeMap<&ResourceId, usize> = steps.keys().zip(0..).map(|(id, nth)| (*id, nth)).collect();
    let edges = steps.iter().flat_map(|(id, step)| {
        let mut needs: Vec<usize> = step.needs.iter().filter_map(|need| numbers.get(need).copied()).collect();
        needs.sort_unstable();
        needs.dedup();
        let from = numbers[*id];
        needs.into_iter().map(move |need| (from, need))
    });
    match form {
        GraphForm::Mermaid => mermaid(steps.values(), edges),
        GraphForm::Dot => dot(&plan.deployment, steps.values(), edges),
    }
}

fn mermaid<'a>(
    steps: impl Iterator<Item = &'a &'a Step>,
    edges: impl Iterator<Item = (usize, usize)>,
) -> String {
    let mut out = String::from("flowchart LR\n");
    for (nth, step) in steps.enumerate() {
        let label = format!("{}<br/>{}", entities(&labels::id(&step.id)), labels::action(step.action).verb);
        out.push_str(&format!("  n{nth}[\"{label}\"]:::{}\n", class(step.action)));
    }
    for (from, need) in edges {
        out.push_str(&format!("  n{from} --> n{need}\n"));
    }
    for action in [
        Action::NoOp,
        Action::Create,
        Action::Update,
        Action::Replace,
        Action::Delete,
        Action::Adopt,
        Action::Keep,
    ] {
        let colour = colour(action);
        out.push_str(&format!("  classDef {} stroke:{colour},stroke-width:2px\n", class(action)));
    }
    out
}

/// Within quotes, Mermaid takes these as entities only.
fn entities(text: &str) -> String {
    text.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
}

fn dot<'a>(
    deployment: &str,
    steps: impl Iterator<Item = &'a &'a Step>,
    edges: impl Iterator<Item = (usize, usize)>,
) -> String {
    let mut out = format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n", quoted(deployment));
    for (nth, step) in steps.enumerate() {
        let (id, action) = (labels::id(&step.id), labels::action(step.action));
        let label = quoted(&format!("{id}\n{}", action.verb));
        out.push_str(&format!("  n{nth} [label={label}, color={}];\n", quoted(colour(step.action))));
    }
    for (from, need) in edges {
        out.push_str(&format!("  n{from} -> n{need};\n"));
    }
    out + "}\n"
}

/// A quoted ID of DOT.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn class(action: Action) -> &'static str {
    match action {
        Action::NoOp => "unchanged",
        Action::Create => "created",
        Action::Update => "changed",
        Action::Replace => "replaced",
        Action::Delete => "deleted",
        Action::Adopt => "adopted",
        Action::Keep => "kept",
    }
}

/// Told apart by those who see no red or green, too: blue, orange, vermilion.
fn colour(action: Action) -> &'static str {
    match action {
        Action::NoOp | Action::Keep => "#999999",
        Action::Create => "#0072b2",
        Action::Update => "#e69f00",
        Action::Adopt => "#56b4e9",
        Action::Replace | Action::Delete => "#d55e00",
    }
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
