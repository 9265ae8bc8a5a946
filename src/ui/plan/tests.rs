use std::collections::BTreeMap;

use dorainfra_engine::{Change, ResourceId};
use dorainfra_model::{CostItem, Unpriced};
use serde_json::json;

use super::notes::is_open_to_the_world;
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
        step("stack.generator", Action::Update, "restarted with simulated values of 5 teams"),
        step("stack.prometheus", Action::NoOp, ""),
        step("history", Action::NoOp, "1 day has ended since"),
    ];
    let shown = PlanView(&plan(Vec::new()), &feed, None).human(&Style::plain());
    assert!(shown.contains("~ stack.generator") && shown.contains("1 day has ended"), "{shown}");
    assert!(!shown.contains("stack.prometheus") && !shown.contains("Nothing to do"), "{shown}");
    let shown = PlanView(&plan(Vec::new()), &feed[1..], None).human(&Style::plain());
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
    insta::assert_snapshot!(PlanView(&plan, &[], None).human(&Style::plain()));
}

#[test]
fn every_action_with_its_fields() {
    let mut instance = step(Action::Update, "compute.instance/dorainfra-mimir", "the configuration changed");
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
    let mut disk =
        step(Action::Replace, "compute.address/dorainfra-mimir", "replace, because `region` cannot change");
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
            "it holds data; --delete-data replaces it",
        ),
        step(
            Action::Adopt,
            "compute.resourcePolicy/dorainfra-daily",
            "exists without our mark, and --adopt was given",
        ),
        step(Action::Create, "compute.disk/dorainfra-data", "does not exist"),
    ]);
    insta::assert_snapshot!(PlanView(&plan, &[], None).human(&Style::plain()));
}

#[test]
fn nothing_to_do() {
    let plan = plan(vec![
        step(Action::NoOp, "compute.disk/dorainfra-data", ""),
        step(Action::NoOp, "compute.address/dorainfra-mimir", ""),
    ]);
    insta::assert_snapshot!(PlanView(&plan, &[], None).human(&Style::plain()), @"Nothing to do: dorainfra is as configured (2 resources).");
}

#[test]
fn what_may_cost_data_is_marked_even_when_unchanged() {
    let machine = note(
        step(Action::NoOp, "compute.instance/dorainfra-mimir", ""),
        "danger",
        "compactor.deletion_delay: deletes",
    );
    let view = PlanView(&plan(vec![machine]), &[], None).human(&Style::plain());
    assert!(view.contains("Dangerous") && view.contains("!!"), "{view}");
}

#[test]
fn what_is_open_to_the_world_is_marked_even_when_unchanged() {
    let firewall =
        note(step(Action::NoOp, "compute.firewall/dorainfra-mimir", ""), "access", "tcp 9009 from ::/0");
    let view = PlanView(&plan(vec![firewall]), &[], None).human(&Style::plain());
    assert!(view.contains("!!") && view.contains("OPEN TO THE WORLD"), "{view}");
    assert!(!is_open_to_the_world("tcp 22 from 10.0.0.0/8"));
    assert!(!is_open_to_the_world("tcp 22 from 2001:db8::/32"));
}

#[test]
fn a_long_diff_is_cut_and_counted() {
    let text = |word: &str| (0..20).map(|n| format!("{word} {n}\n")).collect::<String>();
    let mut step = step(Action::Update, "compute.instance/x", "the configuration changed");
    step.changes = vec![change("script", Some(json!(text("old"))), Some(json!(text("new"))))];
    let view = PlanView(&plan(vec![step]), &[], None).human(&Style::plain());
    assert!(view.contains("… 28 more changed lines"), "{view}");
}

#[test]
fn control_characters_of_the_cloud_do_not_reach_the_terminal() {
    let mut step = step(Action::Update, "compute.instance/x", "changed \u{1b}[31mred");
    step.changes = vec![change("a\u{7}", Some(json!("\u{1b}]0;title\u{7}")), Some(json!("x\n\u{1b}[2Jy")))];
    let view = PlanView(&plan(vec![step]), &[], None).human(&Style::plain());
    assert!(!view.contains('\u{1b}') && !view.contains('\u{7}'), "{view:?}");
}

fn costs(monthly: f64, change: f64) -> Cost {
    let item = |id: &str, what: &str, before, after| CostItem {
        id: id.parse().ok(),
        what: what.into(),
        before,
        after,
    };
    Cost {
        currency: "USD".into(),
        monthly,
        change,
        items: vec![
            item("compute.instance/dorainfra-mimir", "e2-medium", monthly - change - 0.6, monthly - 0.6),
            item("", "5 GB sent to the internet", 0.6, 0.6),
        ],
        unpriced: Vec::new(),
        assumptions: vec!["5 GB sent to the internet".into()],
        prices_as_of: "2026-08-20".into(),
    }
}

#[test]
fn the_sum_is_one_line_and_its_parts_are_told_to_who_asks() {
    let plan = plan(vec![step(Action::Create, "compute.instance/dorainfra-mimir", "")]);
    let shown =
        |cost: &Cost, verbose| PlanView(&plan, &[], Some(cost)).human(&Style { verbose, ..Style::plain() });
    let mut cost = costs(31.4, 2.1);
    let view = shown(&cost, false);
    assert!(view.contains("≈ $31.40 a month at Google (+$2.10 by this plan); -v shows for what\n"), "{view}");
    assert!(!view.contains("assumed"), "{view}");
    insta::assert_snapshot!(shown(&cost, true));

    cost.unpriced = ["a", "b"]
        .map(|_| Unpriced { id: None, what: "n4-standard-2".into(), place: "europe-west1".into() })
        .into();
    let view = shown(&cost, false);
    assert!(
        view.contains("no price for n4-standard-2 in europe-west1 (2 of them): the sum is without it\n"),
        "{view}"
    );
    assert!(view.contains("at least $31.40 a month at Google") && !view.contains('≈'), "{view}");
    assert!(shown(&costs(31.4, 0.0), false).contains("$31.40 a month at Google (not changed by this plan)"));
    assert!(shown(&costs(2.0, -29.4), false).contains("$2.00 a month at Google (-$29.40 by this plan)"));
    assert!(!shown(&Cost::default(), false).contains("Billed"));
    let mut part = plan.clone();
    part.basis.options.targets = vec![plan.steps[0].id.clone()];
    let view = PlanView(&part, &[], Some(&costs(31.4, 2.1))).human(&Style::plain());
    assert!(view.contains("≈ $31.40 a month at Google for this part (+$2.10 by this plan)"), "{view}");
}

/// First what is reachable, billed and dangerous, then the rest.
#[test]
fn what_a_person_has_to_know_comes_first() {
    let mut machine = step(Action::Update, "compute.instance/dorainfra-mimir", "the configuration changed");
    machine.changes = vec![change("machineType", Some(json!("e2-medium")), Some(json!("e2-standard-2")))];
    let mut plan = plan(vec![
        note(
            step(Action::Create, "compute.firewall/dorainfra-mimir", ""),
            "access",
            "9009 from 203.0.113.7/32",
        ),
        machine,
        step(Action::Delete, "compute.disk/dorainfra-data-2", "not in the configuration any more"),
        step(Action::Replace, "compute.instance/dorainfra-mimir-2", "replace, because `zone` cannot change"),
    ]);
    insta::assert_snapshot!(PlanView(&plan, &[], Some(&costs(31.4, 2.1))).human(&Style::plain()));
    // Whoever destroys has asked for all but the data.
    plan.basis.destroy = true;
    plan.steps = vec![
        step(Action::Delete, "compute.instance/dorainfra-mimir", "taken down with the deployment"),
        step(Action::Delete, "compute.disk/dorainfra-data", "taken down with the deployment"),
    ];
    let view = PlanView(&plan, &[], None).human(&Style::plain());
    assert!(view.contains("-  compute.disk/dorainfra-data  deleted with the data that it holds"), "{view}");
    assert_eq!(view.matches("compute.instance/dorainfra-mimir").count(), 1, "{view}");
    let reason = "stopped on this machine".into();
    let stack = [FeedStep { what: "stack.generator".into(), action: Action::Delete, reason }];
    let view = PlanView(&plan, &stack, None).human(&Style::plain());
    assert!(
        view.contains("Before that\n  - stack.generator") && view.contains("; before that 1 step."),
        "{view}"
    );
}

#[test]
fn long_lists_fold_and_v_shows_all() {
    let secret = |name: &str| step(Action::Create, &format!("secretmanager.secret/{name}"), "");
    let plan = plan(
        ["a", "b", "c", "d", "e"]
            .map(secret)
            .into_iter()
            .chain([
                step(Action::Create, "compute.disk/x", ""),
                step(Action::Update, "secretmanager.secret/f", "the configuration changed"),
            ])
            .collect(),
    );
    let shown = |verbose| PlanView(&plan, &[], None).human(&Style { verbose, ..Style::plain() });
    insta::assert_snapshot!(shown(false), @r"
    Resources
      + secretmanager.secret/a
      + 4 more of secretmanager.secret (-v shows all)
      + compute.disk/x
      ~ secretmanager.secret/f  the configuration changed

    Plan for dorainfra: 6 to create, 1 to change in place.
    ");
    assert!(
        shown(true).contains("secretmanager.secret/e") && !shown(true).contains("more of"),
        "{}",
        shown(true)
    );
}

/// At the widths that people have: nothing is broken inside a word that fits.
#[test]
fn it_can_be_read_in_a_narrow_window() {
    let plan = plan(vec![
        note(
            step(Action::Create, "compute.firewall/dorainfra-mimir", ""),
            "access",
            "9009 from 203.0.113.7/32, 198.51.100.0/24",
        ),
        step(Action::Delete, "compute.firewall/dorainfra-old", "not in the configuration any more"),
        step(
            Action::Keep,
            "storage.bucket/my-gcp-dorainfra-mimir",
            "it holds data; --delete-data deletes it",
        ),
    ]);
    let feed = [FeedStep {
        what: "stack.prometheus".into(),
        action: Action::Update,
        reason: "started again, as its configuration has changed".into(),
    }];
    let view = |width| {
        let style = Style { width, wraps: true, ..Style::plain() };
        super::super::text::fold(&PlanView(&plan, &feed, Some(&costs(31.4, 2.1))).human(&style), width)
            .into_owned()
    };
    for width in [40, 80, 140] {
        assert!(view(width).lines().all(|line| super::super::text::width(line) <= width), "{}", view(width));
    }
    insta::assert_snapshot!(view(40));
}
