//! What comes first in a plan: what is reachable and from where, what is billed, and what is
//! dangerous (data that goes, what is made anew, what stops).

use std::collections::BTreeMap;

use dorainfra_deploy::resource;
use dorainfra_engine::{Action, Plan, Step};
use dorainfra_model::Cost;

use super::super::text::{dollars, hang};
use super::super::{Role, Style, Table, labels};

pub(super) fn of(plan: &Plan, cost: Option<&Cost>, style: &Style) -> String {
    let mut out = String::new();
    let mut section = |title: &str, text: String| {
        if !text.is_empty() {
            out.push_str(&format!("\n{}\n{text}", style.paint(Role::Heading, title)));
        }
    };
    section("Reachable", reachable(plan).render(style));
    section(
        "Billed",
        match cost {
            Some(cost) => billed(cost, plan.is_targeted(), style),
            None => noted(plan).render(style),
        },
    );
    section("Dangerous", dangers(plan).render(style));
    out
}

fn made(step: &Step) -> bool {
    matches!(step.action, Action::Create | Action::Update | Action::Replace | Action::Adopt)
}

/// What is open to the world or wants no certificate is shown even when unchanged.
fn reachable(plan: &Plan) -> Table {
    let mut table = Table::bare().indent(2);
    for step in plan.steps.iter().filter(|step| step.action != Action::Delete) {
        let Some(access) = step.notes.get("access") else { continue };
        let id = labels::id(&step.id);
        let open = is_open_to_the_world(access);
        if open || is_unprotected(access) {
            let text = match !open || access.contains(OPEN) {
                true => access.clone(),
                false => format!("{access}: {OPEN}"),
            };
            table.row([(Role::Bad, "!!"), (Role::Bad, &id), (Role::Bad, &text)]);
        } else if made(step) {
            table.row([(Role::Plain, ""), (Role::Plain, &id), (Role::Plain, access)]);
        }
    }
    table
}

/// What the manifests say of it, where nobody has counted.
fn noted(plan: &Plan) -> Table {
    let mut table = Table::bare().indent(2);
    for step in plan.steps.iter().filter(|step| made(step)) {
        if let Some(cost) = step.notes.get("cost") {
            table.row([(Role::Plain, labels::id(&step.id)), (Role::Plain, cost.clone())]);
        }
    }
    table
}

/// The sum, and what is not in it; with `-v` each part of it.
fn billed(cost: &Cost, targeted: bool, style: &Style) -> String {
    if cost.items.is_empty() && cost.unpriced.is_empty() {
        return String::new();
    }
    let change = match cost.change {
        change if change > 0.0 => format!("(+{} by this plan)", dollars(change)),
        change if change < 0.0 => format!("({} by this plan)", dollars(change)),
        _ => "(not changed by this plan)".to_owned(),
    };
    let more = if style.verbose { "" } else { "; -v shows for what" };
    let of = if targeted { " for this part" } else { "" };
    let about = if cost.unpriced.is_empty() { "≈" } else { "at least" };
    let sum = format!("{about} {} a month at Google{of}", dollars(cost.monthly));
    let sum = hang(&format!("{sum} {change}{more}"), 4, style);
    let mut out = format!("  {sum}\n");
    for lacking in without(cost) {
        let lacking = format!("{lacking}: the sum is without it");
        out.push_str(&format!("  {}\n", style.paint(Role::Caution, hang(&lacking, 4, style))));
    }
    if !style.verbose {
        return out;
    }
    let mut table = Table::bare().indent(4);
    for item in &cost.items {
        let id = item.id.as_ref().map_or_else(|| "traffic".to_owned(), labels::id);
        let change = match item.after - item.before {
            change if change.abs() < 0.005 => String::new(),
            change if change > 0.0 => format!("+{}", dollars(change)),
            change => dollars(change),
        };
        table.row([
            (Role::Plain, id),
            (Role::Plain, dollars(item.after)),
            (Role::Caution, change),
            (Role::Faint, item.what.clone()),
        ]);
    }
    out.push_str(&table.render(style));
    for assumption in &cost.assumptions {
        let assumed = hang(&format!("assumed: {assumption}"), 6, style);
        out.push_str(&format!("    {}\n", style.paint(Role::Faint, assumed)));
    }
    let prices = format!("prices as of {}", cost.prices_as_of);
    out.push_str(&format!("    {}\n", style.paint(Role::Faint, prices)));
    out
}

/// "no price for c4-standard-2 in europe-west1", once for each.
fn without(cost: &Cost) -> Vec<String> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for lacking in &cost.unpriced {
        *counts.entry((&lacking.what, &lacking.place)).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|((what, place), count)| match count {
            1 => format!("no price for {what} in {place}"),
            _ => format!("no price for {what} in {place} ({count} of them)"),
        })
        .collect()
}

/// Data that is deleted, what is made anew or stops, and what the manifests warn of.
fn dangers(plan: &Plan) -> Table {
    let mut table = Table::bare().indent(2);
    for step in &plan.steps {
        let id = labels::id(&step.id);
        if let Some(danger) = danger(plan, step) {
            let label = labels::action(step.action);
            table.row([(label.role, label.symbol), (Role::Bad, &id), (Role::Bad, danger)]);
        }
        if let Some(danger) = step.notes.get("danger").filter(|_| step.action != Action::Delete) {
            table.row([(Role::Bad, "!!"), (Role::Bad, &id), (Role::Bad, danger)]);
        }
    }
    table
}

fn danger(plan: &Plan, step: &Step) -> Option<&'static str> {
    let machine = step.id.kind == "compute.instance";
    match step.action {
        Action::Delete if holds_data(plan, step) => Some("deleted with the data that it holds"),
        Action::Replace if holds_data(plan, step) => Some("deleted with its data, and made anew without"),
        Action::Replace if machine => Some("deleted and made anew: it does not serve meanwhile"),
        Action::Update if machine && resource::stops(&step.changes) => Some("stops, and starts again"),
        // Whoever destroys has asked for the rest.
        Action::Delete if machine && !plan.basis.destroy => Some("deleted"),
        _ => None,
    }
}

/// What no manifest names any more has none to say so.
fn holds_data(plan: &Plan, step: &Step) -> bool {
    match plan.manifests.iter().find(|manifest| manifest.id() == step.id) {
        Some(manifest) => manifest.protect,
        None => matches!(step.id.kind.as_str(), "compute.disk" | "storage.bucket"),
    }
}

const OPEN: &str = "OPEN TO THE WORLD";

pub(super) fn is_open_to_the_world(access: &str) -> bool {
    let everywhere = |word: &str| word == "0.0.0.0/0" || word == "::/0";
    access.contains(OPEN)
        || access.split(|c: char| c.is_whitespace() || ",;()[]\"".contains(c)).any(everywhere)
}

/// Whoever gets through the firewall needs no certificate.
fn is_unprotected(access: &str) -> bool {
    access.contains("WITHOUT TLS") || access.contains("WITHOUT CLIENT CERTIFICATES")
}
