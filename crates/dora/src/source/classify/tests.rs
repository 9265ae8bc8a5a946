//! Facts in, events out: each rule with the smallest project that shows it.

use super::super::project::{Fact, Incident, Status};
use super::*;
use time::macros::datetime;

const NOON: OffsetDateTime = datetime!(2026-03-02 12:00 UTC);

fn hours(hours: i64) -> OffsetDateTime {
    NOON + time::Duration::hours(hours)
}

pub(super) fn change(id: &str, at: i64, title: &str) -> Fact {
    Fact::Landed { id: id.into(), change: MergedChange::reported(Some(hours(at)), title) }
}

fn ran(id: &str, at: i64, changes: &[&str]) -> Fact {
    Fact::Ran {
        id: id.into(),
        deployment: DeploymentRecord {
            environment: "production".into(),
            name: id.into(),
            statuses: vec![Status { at: hours(at), ok: true }],
            changes: Some(changes.iter().map(|id| (*id).to_owned()).collect()),
            ..DeploymentRecord::default()
        },
    }
}

fn issue(id: &str, opened: i64, closed: Option<i64>) -> Fact {
    Fact::Reported {
        id: id.into(),
        incident: Incident {
            opened: hours(opened),
            closed: closed.map(hours),
            labels: vec!["Incident".into()],
            updated: hours(opened),
            moved: None,
        },
    }
}

/// One line for each event: what, which, hours since noon, what it refers to.
pub(super) fn classified(facts: Vec<Fact>) -> String {
    let mut project = Project::default();
    facts.into_iter().for_each(|fact| project.add(fact));
    project.is_called(None);
    reported(&project)
}

fn reported(project: &Project) -> String {
    let owner = Owner { team: "t".into(), service: "s".into(), environment: "production".into() };
    let lines = events(project, &owner, &Rules::default()).into_iter().map(|event| {
        let hour = (event.at() - NOON).whole_hours();
        let text = match event {
            Event::Change(it) => format!("{hour} change {}", it.id),
            Event::Deployment(it) => format!("{hour} {:?} {} {}", it.kind, it.id, it.changes.join(" ")),
            Event::Failure(it) => {
                format!("{hour} failure {} of {}", it.id, it.deployment.unwrap_or_default())
            }
            Event::Recovery(it) => {
                format!("{hour} recovery {} by {}", it.failure, it.deployment.unwrap_or_default())
            }
        };
        text.trim_end().replace("t/s@", "") + "\n"
    });
    lines.collect()
}

#[test]
fn a_revert_is_the_failure_of_what_brought_the_reverted_change() {
    insta::assert_snapshot!(classified(vec![
        change("aaaaaaa1", -5, "Add a cart"),
        change("bbbbbbb2", -4, "Add a list"),
        change("ccccccc3", 30, "Revert \"Add a cart\"\n\nThis reverts commit aaaaaaa1."),
        change("ddddddd4", 31, "Go on"),
        change("eeeeeee5", 32, "And on"),
        ran("v1", 0, &["aaaaaaa1"]),
        ran("v2", 24, &["bbbbbbb2", "aaaaaaa1"]),
        ran("v3", 48, &["ccccccc3", "ddddddd4", "eeeeeee5"]),
    ]), @r"
    -5 change aaaaaaa1
    -4 change bbbbbbb2
    0 Planned v1 aaaaaaa1
    24 Planned v2 bbbbbbb2
    30 change ccccccc3
    30 failure v1~v3 of v1
    31 change ddddddd4
    32 change eeeeeee5
    48 Planned v3 ccccccc3 ddddddd4 eeeeeee5
    48 recovery v1~v3 by v3
    ");
}

#[test]
fn of_two_changes_with_one_title_the_newest_before_it_is_blamed_whatever_the_hash_maps_do() {
    let facts = || {
        vec![
            change("a", -5, "Bump the parser"),
            change("b", 2, "Bump the parser"),
            change("c", 30, "Revert \"Bump the parser\""),
            change("d", 50, "Bump the parser"),
            ran("v1", 0, &["a"]),
            ran("v2", 24, &["b"]),
            ran("v3", 48, &["c"]),
            ran("v4", 72, &["d"]),
        ]
    };
    // Each hash map has a seed of its own: what depends on it differs within a few.
    for _ in 0..32 {
        let reported = classified(facts());
        assert!(reported.contains("30 failure v2~v3 of v2") && !reported.contains("v1~"), "{reported}");
    }
}

#[test]
fn what_a_revert_took_back_is_given_back_by_its_own_revert() {
    let reported = |third: &str| {
        classified(vec![
            change("aaaaaaa1", -5, "a"),
            change("fffffff6", -4, "z"),
            change("bbbbbbb2", 20, "Revert \"a\"\n\nThis reverts commit aaaaaaa1."),
            change("ccccccc3", 40, third),
            ran("v1", 0, &["aaaaaaa1", "fffffff6"]),
            ran("v2", 24, &["bbbbbbb2"]),
            ran("v3", 48, &["ccccccc3"]),
        ])
    };
    for third in [
        "Revert \"Revert \"a\"\"",
        "Revert \"Revert \"a\"\"\n\nThis reverts commit bbbbbbb2.",
        "Reapply \"a\"\n\nThis reverts commit bbbbbbb2.",
        "Reapply \"a\"",
    ] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(reported(third), @r"
            -5 change aaaaaaa1
            -4 change fffffff6
            0 Planned v1 aaaaaaa1 fffffff6
            20 change bbbbbbb2
            20 failure v1~v2 of v1
            24 Rework v2 bbbbbbb2
            24 recovery v1~v2 by v2
            40 change ccccccc3
            48 Planned v3 ccccccc3
            ");
        }
    }
}

/// The words of the hotfix are in its title, too.
#[test]
fn what_gives_a_hotfix_back_is_no_hotfix() {
    for (title, again) in [
        ("[hotfix] a", "Revert \"Revert \"[hotfix] a\"\""),
        ("hotfix: a", "Reapply \"hotfix: a\""),
        ("[hotfix] a", "Reapply \"[hotfix] a\"\n\nThis reverts commit bbbbbbb2."),
    ] {
        let reported = classified(vec![
            change("aaaaaaa1", 20, title),
            change("bbbbbbb2", 40, &format!("Revert \"{title}\"\n\nThis reverts commit aaaaaaa1.")),
            change("ccccccc3", 60, again),
            ran("v1", 24, &["aaaaaaa1"]),
            ran("v2", 48, &["bbbbbbb2"]),
            ran("v3", 72, &["ccccccc3"]),
        ]);
        assert!(reported.contains("72 Planned v3"), "{again}: {reported}");
        assert!(!reported.contains("of v2"), "{again}: {reported}");
    }
}

#[test]
fn what_was_never_released_has_failed_nobody() {
    insta::assert_snapshot!(classified(vec![
        change("aaaaaaa1", -5, "a"),
        change("bbbbbbb2", -4, "Revert \"a\"\n\nThis reverts commit aaaaaaa1."),
        change("ccccccc3", 20, "Revert \"a\"\n\nThis reverts commit aaaaaaa1."),
        change("ddddddd4", 21, "Revert \"Revert \"a\"\"\n\nThis reverts commit ccccccc3."),
        change("eeeeeee5", 30, "e"),
        change("fffffff6", 31, "Revert \"e\" (#9)\n\nReverts o/r#8"),
        ran("v1", 0, &["aaaaaaa1", "bbbbbbb2"]),
        ran("v2", 24, &["ccccccc3", "ddddddd4"]),
        ran("v3", 48, &["eeeeeee5", "fffffff6"]),
    ]), @r"
    -5 change aaaaaaa1
    -4 change bbbbbbb2
    0 Planned v1 aaaaaaa1 bbbbbbb2
    20 change ccccccc3
    21 change ddddddd4
    24 Planned v2 ccccccc3 ddddddd4
    30 change eeeeeee5
    31 change fffffff6
    48 Planned v3 eeeeeee5 fffffff6
    ");
}

#[test]
fn every_way_to_name_what_is_taken_back_blames_that_and_nothing_else() {
    let facts = |revert: &str| {
        vec![
            change("aaaaaaa1", -5, "A (#12)\n\nSee merge request group/project!12"),
            change("bbbbbbb2", -4, "B (#13)"),
            change("ccccccc3", 20, "C"),
            change("ddddddd4", 40, revert),
            ran("v1", 0, &["aaaaaaa1"]),
            ran("v2", 10, &["bbbbbbb2"]),
            ran("v3", 24, &["ccccccc3"]),
            ran("v4", 48, &["ddddddd4"]),
        ]
    };
    for (revert, blamed) in [
        ("Revert \"A (#12)\" (#14)\n\nReverts o/r#12", "v1"),
        ("Revert \"A\" (#14)\n\nReverts o/r#12", "v1"),
        ("Revert \"A\" (#14)", "v1"),
        ("Revert \"A (#12)\" (#14)", "v1"),
        ("revert: A", "v1"),
        ("revert: something\n\nRefs: aaaaaaa1", "v1"),
        ("revert: A\n\nRefs: bbbbbbb2, aaaaaaa1", "v1 v2"),
        ("Take two back\n\nThis reverts commits aaaaaaa1 and bbbbbbb2.", "v1 v2"),
        ("Take two back\n\nThis reverts commits aaaaaaa1,\nbbbbbbb2.", "v1 v2"),
        ("Revert \"A\"\n\nThis reverts commit aaaaaaa1, reversing\nchanges made to bbbbbbb2.", "v1"),
        ("Revert \"x\"\n\nThis reverts merge request !12", "v1"),
        ("Revert \"x\"\n\nThis reverts merge request group/project!12", "v1"),
        // It names what nobody knows, so nobody is blamed.
        ("Revert \"Z\"\n\nThis reverts commit 99999999.", ""),
        ("Revert \"A\"\n\nThis reverts commit 99999999.", ""),
        ("Revert \"Z\"\n\nReverts o/r#99", ""),
        // A came with another request; C says nothing of its, as after a rebase.
        ("Revert \"A\"\n\nReverts o/r#99", ""),
        ("Revert \"C\"\n\nReverts o/r#99", "v3"),
        ("revert: A\n\nRefs: 9999999f", ""),
        // One of the two is known.
        ("Take two back\n\nThis reverts commits aaaaaaa1 and 99999999.", "v1"),
        ("Revert \"Z\"", ""),
        // It names nothing: what ran before it.
        ("Revert the last one", "v3"),
    ] {
        let reported = classified(facts(revert));
        let of = reported.lines().filter_map(|line| line.split_once(" failure ")?.1.split_once(" of "));
        let of: Vec<&str> = of.map(|(_, deployment)| deployment).collect();
        assert_eq!(of.join(" "), blamed, "{revert}\n{reported}");
        assert!(reported.contains("48 Rework v4"), "{revert}\n{reported}");
    }
}

fn merged(id: &str, title: &str, parents: &[&str]) -> Fact {
    let parents = parents.iter().map(|id| (*id).to_owned()).collect();
    Fact::Landed {
        id: id.into(),
        change: MergedChange { title: title.into(), parents, ..MergedChange::default() },
    }
}

fn child(fact: Fact, parent: &str) -> Fact {
    let Fact::Landed { id, change } = fact else { return fact };
    Fact::Landed { id, change: MergedChange { parents: vec![parent.into()], ..change } }
}

#[test]
fn a_request_that_mends_does_so_with_all_its_commits() {
    let facts = |title: &str, labels: &[&str]| {
        vec![
            change("a", -5, "A"),
            child(change("b", 1, "One"), "a"),
            child(change("c", 2, "Two"), "b"),
            child(change("d", 3, "Three"), "c"),
            child(change("x", 4, "Something else"), "a"),
            merged("m", title, &["x", "d"]),
            Fact::Labelled {
                id: "m".into(),
                labels: labels.iter().map(|label| (*label).into()).collect(),
                reverts: Vec::new(),
                updated: None,
            },
            ran("v1", 0, &["a"]),
            ran("v2", 24, &["b", "c", "d", "x", "m"]),
        ]
    };
    for (title, labels, mends) in [
        ("Merge pull request #2 from o/cart", &["hotfix"][..], true),
        ("Merge branch 'hotfix/cart'", &[], true),
        ("Merge branch 'hotfix/cart' into 'main'", &[], true),
        ("Merge pull request #2 from o/hotfix-cart", &[], true),
        ("Merge branch 'main' into hotfix/cart", &[], false),
        ("Merge pull request #2 from o/cart", &[], false),
    ] {
        let reported = classified(facts(title, labels));
        assert_eq!(reported.contains("24 Rework v2"), mends, "{title}\n{reported}");
        assert_eq!(reported.contains("1 failure v1~v2 of v1"), mends, "{title}\n{reported}");
    }
}

#[test]
fn a_hotfix_is_rework_and_the_failure_of_the_deployment_before() {
    insta::assert_snapshot!(classified(vec![
        change("a", -5, "Add a cart"),
        change("b", 2, "Hotfix: the cart is empty"),
        ran("v1", 0, &["a"]),
        ran("v1.0.1", 3, &["b"]),
        ran("hotfix-2", 5, &[]),
    ]), @r"
    -5 change a
    0 Planned v1 a
    2 change b
    2 failure v1~v1.0.1 of v1
    3 Rework v1.0.1 b
    3 recovery v1~v1.0.1 by v1.0.1
    5 Rework hotfix-2
    5 failure v1.0.1~hotfix-2 of v1.0.1
        ");
}

#[test]
fn an_incident_blames_the_deployment_before_it_and_counts_once() {
    insta::assert_snapshot!(classified(vec![
        issue("7", 1, Some(4)),
        issue("8", 100, None),
        issue("9", -1, Some(0)),
        change("b", 2, "hotfix it"),
        ran("v1", 0, &[]),
        ran("v2", 3, &["b"]),
    ]), @r"
    -1 failure issue-9 of
    0 Planned v1
    0 recovery issue-9 by
    1 failure issue-7 of v1
    2 change b
    3 Rework v2 b
    4 recovery issue-7 by
    100 failure issue-8 of
    ");
}

#[test]
fn without_a_list_a_deployment_brings_what_landed_up_to_its_revision() {
    let at = |id: &str, at: i64, revision: &str| Fact::Ran {
        id: id.into(),
        deployment: DeploymentRecord {
            environment: "production".into(),
            revision: revision.into(),
            statuses: vec![Status { at: hours(at), ok: true }, Status { at: hours(at + 1), ok: at == 2 }],
            ..DeploymentRecord::default()
        },
    };
    insta::assert_snapshot!(classified(vec![
        change("z", -3, "one"),
        change("y", -2, "two"),
        change("x", 1, "three"),
        at("1", 0, "y"),
        at("2", 2, "x"),
        at("3", 9, "unknown"),
    ]), @r"
    -3 change z
    -2 change y
    0 Planned 1 z y
    1 change x
    1 failure 1~broke of 1
    2 Planned 2 x
    2 recovery 1~broke by 2
    9 Planned 3
    10 failure 3~broke of 3
    ");
}

/// A project of which everything is reported: reverts by title, labels that changed, issues.
fn many(seed: u64) -> Vec<Fact> {
    let mut draw = seed;
    let mut next = |below: u64| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) % below
    };
    let mut facts = Vec::new();
    for number in 0..next(40) {
        let title = match next(4) {
            0 => format!("Revert \"Change {}\"", next(4)),
            1 => format!("Hotfix {}", next(4)),
            _ => format!("Change {}", next(4)),
        };
        let Fact::Landed { id, mut change } = change(&format!("c{number}"), next(300) as i64, &title) else {
            unreachable!("it landed")
        };
        let mut some = |most: u64| {
            (0..next(most + 1)).map(|_| format!("c{}", next(number + 1))).collect::<Vec<String>>()
        };
        (change.parents, change.reverts, change.picked) = (some(2), some(2), some(1).pop());
        change.elsewhere = next(8) == 0;
        if next(5) == 0 {
            change.at = None;
        }
        facts.push(Fact::Landed { id, change });
        for updated in 0..next(3) {
            let labels = vec![["hotfix", "docs"][next(2) as usize].to_owned()];
            let updated = Some(hours(300 + updated as i64));
            let reverts = if next(4) == 0 { vec![format!("c{}", next(number + 1))] } else { Vec::new() };
            facts.push(Fact::Labelled { id: format!("c{number}"), labels, reverts, updated });
        }
    }
    let changes = facts.len() as u64;
    for number in 0..next(20) {
        let id = format!("v{number}");
        let brought: Vec<String> = (0..next(6)).map(|_| format!("c{}", next(changes + 1))).collect();
        let brought: Vec<&str> = brought.iter().map(String::as_str).collect();
        // Some of them in one hour.
        let at = next(30) as i64 * 10;
        facts.push(ran_at(&id, at, &format!("c{}", next(changes + 1)), &brought));
        if next(3) == 0 {
            let statuses = vec![Status { at: hours(at + next(20) as i64), ok: next(2) == 0 }];
            let environment = "production".to_owned();
            let deployment =
                DeploymentRecord { environment, name: id.clone(), statuses, ..DeploymentRecord::default() };
            facts.push(Fact::Ran { id, deployment });
        }
    }
    for number in 0..next(5) {
        let opened = next(300) as i64;
        facts.push(issue(&number.to_string(), opened, (next(2) == 0).then_some(opened + next(50) as i64)));
    }
    facts
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(256))]
    #[test]
    fn the_same_facts_give_the_same_bytes_in_whichever_order_they_came(seed: u64, keys: Vec<u16>) {
        let facts = many(seed);
        let reported = classified(facts.clone());
        let mut shuffled: Vec<(u16, Fact)> = facts
            .iter()
            .enumerate()
            .map(|(index, fact)| (keys.get(index % keys.len().max(1)).map_or(0, |key| key ^ (index as u16).wrapping_mul(7919)), fact.clone()))
            .collect();
        shuffled.sort_by_key(|(key, _)| *key);
        let shuffled: Vec<Fact> = shuffled.into_iter().map(|(_, fact)| fact).collect();
        proptest::prop_assert_eq!(&classified(shuffled.clone()), &reported);
        // And twice, as senders do that were not answered.
        let twice = shuffled.iter().chain(facts.iter().rev()).cloned().collect();
        proptest::prop_assert_eq!(&classified(twice), &reported);
    }
}

fn landed(id: &str, at: i64, message: &str, begun: Option<i64>) -> [Fact; 2] {
    let (at, begun) = (hours(at), begun.map(hours));
    let change = MergedChange { parents: vec!["p".into()], ..MergedChange::reported(Some(at), message) };
    let merged = Fact::Merged { id: id.into(), request: Some("#7".into()), at, begun };
    [Fact::Landed { id: id.into(), change }, merged]
}

#[test]
fn what_has_only_the_time_of_its_landing_has_no_lead_time_and_no_time_to_recover() {
    let reported = |begun: Option<i64>| {
        let mut facts = vec![change("a", -9, "A"), ran("v1", 0, &["a"]), ran("v2", 5, &["b"])];
        facts.extend(landed("b", 5, "Hotfix the cart (#7)", begun));
        classified(facts)
    };
    insta::assert_snapshot!(reported(None), @r"
    -9 change a
    0 Planned v1 a
    5 Rework v2 b
    5 failure v1~v2 of v1
    ");
    // The forge knows when work on the request began.
    insta::assert_snapshot!(reported(Some(2)), @r"
    -9 change a
    0 Planned v1 a
    2 change b
    2 failure v1~v2 of v1
    5 Rework v2 b
    5 recovery v1~v2 by v2
    ");
    // A request that was rebased keeps the times of its commits.
    let mut facts = vec![ran("v1", 5, &["b"])];
    facts.extend(landed("b", 5, "A list (#7)", None));
    let Fact::Landed { change, .. } = &mut facts[1] else { unreachable!("it has just been made") };
    change.at = Some(hours(3));
    assert!(classified(facts).contains("3 change b"));
}

#[test]
fn a_name_that_says_hotfix_does_not_say_when_it_began() {
    insta::assert_snapshot!(classified(vec![ran("v1", 0, &[]), ran("hotfix-2", 5, &[])]), @r"
    0 Planned v1
    5 Rework hotfix-2
    5 failure v1~hotfix-2 of v1
    ");
}

#[test]
fn a_prerelease_is_no_deployment_and_what_it_brought_is_the_next_ones() {
    insta::assert_snapshot!(classified(vec![
        change("a", -5, "A"),
        change("b", -4, "B"),
        ran("v1.0.0-rc.1", 0, &["a"]),
        ran("v1.0.0", 5, &["b"]),
    ]), @r"
    -5 change a
    -4 change b
    5 Planned v1.0.0 a b
    ");
}

#[test]
fn a_cherry_pick_is_one_change_on_whichever_line_it_is_deployed_first() {
    insta::assert_snapshot!(classified(vec![
        change("aaaaaaa1", -5, "A"),
        change("bbbbbbb2", 1, "B"),
        change("ccccccc3", 1, "B"),
        change("ddddddd4", 2, "D\n\n(cherry picked from commit eeeeeee5)"),
        change("eeeeeee5", -2, "D"),
        ran("v1.0.0", 0, &["aaaaaaa1"]),
        ran("v1.0.1", 5, &["ccccccc3", "ddddddd4"]),
        ran("v2.0.0", 9, &["bbbbbbb2", "eeeeeee5"]),
    ]), @r"
    -5 change aaaaaaa1
    0 Planned v1.0.0 aaaaaaa1
    1 change ccccccc3
    2 change ddddddd4
    5 Planned v1.0.1 ccccccc3 ddddddd4
    9 Planned v2.0.0
    ");
}

/// Pallets' click 8.0.2 and 8.1.0 have one like that: who lands a request squashed writes it at that
/// moment, and its copy on another line keeps that time.
#[test]
fn a_cherry_pick_of_a_squashed_request_is_one_change() {
    let squashed = |id: &str, at: i64, message: &str| {
        let Fact::Landed { id, change } = change(id, at, message) else { unreachable!("it landed") };
        Fact::Landed { id, change: MergedChange { untimed: true, ..change } }
    };
    insta::assert_snapshot!(classified(vec![
        change("aaaaaaa1", -2, "A (#1)"),
        squashed("bbbbbbb2", -2, "A (#1)"),
        squashed("ccccccc3", 3, "C (#2)"),
        squashed("ddddddd4", 3, "C (#2)"),
        ran("v1.0.1", 5, &["aaaaaaa1", "ccccccc3"]),
        ran("v2.0.0", 9, &["bbbbbbb2", "ddddddd4"]),
    ]), @r"
    -2 change aaaaaaa1
    5 Planned v1.0.1 aaaaaaa1 ccccccc3
    9 Planned v2.0.0
    ");
}

#[test]
fn a_hotfix_of_an_older_line_is_the_failure_of_that_line() {
    let at = |id: &str, at: i64, revision: &str| {
        let Fact::Ran { id, deployment } = ran(id, at, &[revision]) else { unreachable!("it ran") };
        Fact::Ran { id, deployment: DeploymentRecord { revision: revision.into(), ..deployment } }
    };
    let reported = classified(vec![
        change("a", -5, "A"),
        child(change("b", 2, "B"), "a"),
        child(change("c", 8, "Hotfix"), "a"),
        at("v1.9.0", 0, "a"),
        at("v2.0.0", 5, "b"),
        at("v1.9.1", 10, "c"),
    ]);
    assert!(reported.contains("8 failure v1.9.0~v1.9.1 of v1.9.0"), "{reported}");
}

#[test]
fn what_a_prerelease_brought_is_its_own_lines_next_release() {
    insta::assert_snapshot!(classified(vec![
        change("a", -9, "A"),
        change("b", -5, "B"),
        change("c", 2, "C"),
        change("d", 5, "D"),
        ran("v1.9.0", -8, &["a"]),
        ran("v2.0.0-rc.1", 0, &["b"]),
        ran("v1.9.1", 3, &["c"]),
        ran("v2.0.0", 6, &["d"]),
    ]), @r"
    -9 change a
    -8 Planned v1.9.0 a
    -5 change b
    2 change c
    3 Planned v1.9.1 c
    5 change d
    6 Planned v2.0.0 b d
    ");
    for (prerelease, others, next) in [
        ("v2.0-rc.1", &["v1.9"][..], "v2"),
        ("v2.0.0-rc.1", &["v1.9.1"], "v2.0.1"),
        ("2026-03-02-rc1", &["2026-03-01-hotfix"], "2026-03-05"),
        ("k8s-v1.10.0-beta.1", &["k8s-v1.9.9"], "k8s-v1.10.0"),
        ("nightly", &[], "v1.9.1"),
        ("v3.0.0-rc.1", &["v2.9.9"], "stable-release"),
    ] {
        let mut facts = vec![change("b", -5, "B"), ran(prerelease, 0, &["b"])];
        facts.extend(others.iter().zip(1..).map(|(name, at)| ran(name, at, &[])));
        facts.push(ran(next, 9, &[]));
        let reported = classified(facts);
        assert!(reported.contains(&format!(" {next} b")), "{prerelease} {next}\n{reported}");
    }
}

#[test]
fn reverts_of_reverts_have_one_net_effect_whatever_their_hashes_and_order() {
    for (first, second) in [("ccccccc3", "ddddddd4"), ("ddddddd4", "ccccccc3")] {
        for newest_first in [false, true] {
            // No title says how deep it is: the hashes alone do.
            let once = change(first, 20, "Undo the cart\n\nThis reverts commit aaaaaaa1.");
            let twice = change(second, 21, &format!("Undo that\n\nThis reverts commit {first}."));
            let mut order = vec![first, second];
            if newest_first {
                order.reverse();
            }
            let a = || change("aaaaaaa1", -5, "A");
            let one =
                vec![a(), once.clone(), twice.clone(), ran("v1", 0, &["aaaaaaa1"]), ran("v2", 24, &order)];
            let reported = classified(one);
            assert!(
                reported.contains("24 Planned v2") && !reported.contains("failure"),
                "{order:?}\n{reported}"
            );
            // A third one takes it back for good.
            let third = change("eeeeeee5", 22, &format!("Undo it again\n\nThis reverts commit {second}."));
            let mut order: Vec<&str> = order.clone();
            order.insert(usize::from(newest_first), "eeeeeee5");
            let three = vec![a(), once, twice, third, ran("v1", 0, &["aaaaaaa1"]), ran("v2", 24, &order)];
            let reported = classified(three);
            assert!(reported.contains("24 Rework v2"), "{order:?}\n{reported}");
        }
    }
}

/// What takes a step for each pair of them would not end: hundreds of millions.
#[test]
fn many_hotfixes_in_one_deployment_and_in_many_are_judged() {
    const MANY: i64 = 20_000;
    let name = |number: i64| format!("c{number:06}");
    let hotfix = |number: i64| child(change(&name(number), number, "Hotfix"), &name(number - 1));
    let ids: Vec<String> = (0..MANY).map(name).collect();
    let mut facts: Vec<Fact> = (0..MANY).map(hotfix).collect();
    facts.push(ran("v0", -1, &[]));
    facts.push(ran("v1", MANY + 1, &ids.iter().map(String::as_str).collect::<Vec<_>>()));
    assert!(classified(facts).contains("Rework v1 "));
    let mut facts: Vec<Fact> = (0..MANY).map(hotfix).collect();
    facts.extend((0..MANY).map(|number| {
        let Fact::Ran { id, deployment } = ran(&format!("v{number}"), number, &[&name(number)]) else {
            unreachable!("it ran")
        };
        Fact::Ran { id, deployment: DeploymentRecord { revision: name(number), ..deployment } }
    }));
    let reported = classified(facts);
    assert!(reported.contains("failure v18998~v18999 of v18998"), "{}", &reported[..300]);
}

/// As GitHub's button makes it: the merge says what is taken back, its commit only quotes a title.
#[test]
fn a_merge_that_takes_back_began_when_its_first_commit_was_written() {
    let own = "Merge pull request #5 from o/feat\n\nAdd feature";
    let back = "Merge pull request #6 from o/revert-5-feat\n\nRevert \"Add feature\"\n\nReverts o/r#5";
    let merge = |id: &str, message: &str, parents: &[&str]| {
        let parents = parents.iter().map(|parent| (*parent).to_owned()).collect();
        Fact::Landed {
            id: id.into(),
            change: MergedChange { parents, ..MergedChange::reported(None, message) },
        }
    };
    let facts = vec![
        child(change("a0", -9, "A"), "root"),
        child(change("f1", -5, "f1"), "a0"),
        merge("m5", own, &["a0", "f1"]),
        child(change("r1", 30, "Revert \"Add feature\""), "m5"),
        merge("m6", back, &["m5", "r1"]),
        ran("v1", 0, &["a0", "f1", "m5"]),
        ran("v2", 48, &["r1", "m6"]),
    ];
    let reported = classified(facts);
    assert!(
        reported.contains("30 failure v1~v2 of v1") && reported.contains("48 recovery v1~v2"),
        "{reported}"
    );
}

#[test]
fn another_projects_request_is_not_ones_own_of_the_same_number() {
    let facts = |revert: &str| {
        vec![
            change("aaaaaaa1", -5, "A (#12)\n\nSee merge request group/project!12"),
            change("ccccccc3", 20, "C"),
            change("ddddddd4", 40, revert),
            ran("v1", 0, &["aaaaaaa1"]),
            ran("v2", 24, &["ccccccc3"]),
            ran("v3", 48, &["ddddddd4"]),
        ]
    };
    for (revert, own, blamed) in [
        ("Revert \"Z\"\n\nReverts other/repo#12", Some("o/r"), ""),
        ("Revert \"Z\"\n\nReverts O/r#12", Some("o/R"), "v1"),
        ("Revert \"Z\"\n\nReverts #12", Some("o/r"), "v1"),
        ("Revert \"Z\"\n\nReverts o/r#12", None, "v1"),
        ("Revert \"Z\"\n\nReverts o/r#12", Some("git@forge.example.com:o/r"), "v1"),
        ("Revert \"Z\"\n\nReverts x/r#12", Some("https://forge.example.com/o/r"), ""),
        ("Revert \"Z\"\n\nThis reverts merge request other!12", Some("group/project"), ""),
        ("Revert \"Z\"\n\nThis reverts merge request project!12", Some("group/project"), "v1"),
        ("Revert \"A\"\n\nReverts other/x#12", Some("o/r"), ""),
        ("Revert \"A\" (#15)\n\nReverts other/x#13", Some("o/r"), ""),
    ] {
        let mut project = Project::default();
        facts(revert).into_iter().for_each(|fact| project.add(fact));
        project.is_called(own);
        let reported = reported(&project);
        let of = reported.lines().filter_map(|line| line.split_once(" failure ")?.1.split_once(" of "));
        let of: Vec<&str> = of.map(|(_, deployment)| deployment).collect();
        assert_eq!(of.join(" "), blamed, "{revert} {own:?}\n{reported}");
    }
}

fn failed(id: &str, at: i64, ok: bool, environment: &str, deployment: Option<&str>) -> Fact {
    use super::super::project::Failed;
    Fact::Failed {
        id: id.into(),
        failure: Failed {
            environment: environment.into(),
            statuses: vec![Status { at: hours(at), ok }],
            deployment: deployment.map(str::to_owned),
            moved: None,
        },
    }
}

#[test]
fn an_incident_of_another_tool_is_the_failure_of_the_deployment_before_it_or_of_the_one_it_names() {
    insta::assert_snapshot!(classified(vec![
        ran("v1", 0, &[]),
        ran("v2", 10, &[]),
        failed("named", 11, false, "production", Some("v1")),
        failed("unnamed", 12, false, "", None),
        failed("unnamed", 14, true, "", None),
        // Of nothing that is known, and of what ran only later.
        failed("unknown", 13, false, "", Some("v9")),
        failed("later", 5, false, "", Some("v2")),
        failed("elsewhere", 13, false, "staging", None),
        failed("late", 200, false, "", None),
        failed("never-began", 13, true, "", None),
    ]), @r"
    0 Planned v1
    5 failure incident-later of v1
    10 Planned v2
    11 failure incident-named of v1
    12 failure incident-unnamed of v2
    13 failure incident-unknown of v2
    14 recovery incident-unnamed by
    200 failure incident-late of
    ");
}

#[test]
fn what_its_tool_calls_a_rollback_is_rework_and_a_failure_of_what_ran_before() {
    let mut back = ran("v3", 2, &[]);
    if let Fact::Ran { deployment, .. } = &mut back {
        deployment.mends = true;
    }
    insta::assert_snapshot!(classified(vec![ran("v2", 0, &[]), back]), @r"
    0 Planned v2
    2 Rework v3
    2 failure v2~v3 of v2
    ");
}

#[test]
fn a_shortened_hash_is_found_where_it_is_one_commit_s() {
    let at = |id: &str, at: i64, revision: &str| Fact::Ran {
        id: id.into(),
        deployment: DeploymentRecord {
            environment: "production".into(),
            revision: revision.into(),
            statuses: vec![Status { at: hours(at), ok: true }],
            ..DeploymentRecord::default()
        },
    };
    // Two written in one second, without titles: two changes.
    let facts = ["aaaaaaa1", "aaaaaaa2", "bbbbbbbbbbbb"].map(|id| change(id, -1, ""));
    let classified = classified(
        facts
            .into_iter()
            .chain([
                at("ambiguous", 0, "aaaaaaa"),
                at("short", 1, "AAAAAAA1"),
                at("first", 2, "aaaaaaa1"),
                at("longer", 3, "bbbbbbbbbbbbcccc"),
            ])
            .collect(),
    );
    insta::assert_snapshot!(classified, @r"
    -1 change aaaaaaa1
    -1 change aaaaaaa2
    -1 change bbbbbbbbbbbb
    0 Planned ambiguous
    1 Planned short
    2 Planned first aaaaaaa1
    3 Planned longer aaaaaaa2 bbbbbbbbbbbb
    ");
}

/// A deployment of one commit, with what it brought.
pub(super) fn ran_at(id: &str, at: i64, revision: &str, changes: &[&str]) -> Fact {
    let Fact::Ran { id, deployment } = ran(id, at, changes) else { unreachable!("it ran") };
    Fact::Ran { id, deployment: DeploymentRecord { revision: revision.into(), ..deployment } }
}

pub(super) fn failures(reported: &str) -> Vec<&str> {
    let failures = reported.lines().filter_map(|line| line.split_once(" failure ")?.1.split_once(" of "));
    failures.map(|(id, _)| id).collect()
}

#[test]
fn a_hotfix_that_is_picked_to_another_line_mends_nothing_a_second_time() {
    let picked = "hotfix: x\n\n(cherry picked from commit ccccccc3)";
    let reported = classified(vec![
        change("aaaaaaa1", -9, "A"),
        child(change("bbbbbbb2", -2, "B"), "aaaaaaa1"),
        child(change("ccccccc3", 2, "hotfix: x"), "aaaaaaa1"),
        child(change("ddddddd4", 50, "A feature"), "bbbbbbb2"),
        child(change("eeeeeee5", 2, picked), "ddddddd4"),
        ran_at("v1.9.0", -5, "aaaaaaa1", &["aaaaaaa1"]),
        ran_at("v2.0.0", 0, "bbbbbbb2", &["bbbbbbb2"]),
        ran_at("v1.9.1", 5, "ccccccc3", &["ccccccc3"]),
        ran_at("v2.1.0", 90, "eeeeeee5", &["ddddddd4", "eeeeeee5"]),
    ]);
    assert!(reported.contains("90 Planned v2.1.0 ddddddd4\n"), "{reported}");
    assert_eq!(failures(&reported), ["v1.9.0~v1.9.1"], "{reported}");
}

/// A hotfix branch goes to the branch that is released, and to the one on which work goes on.
#[test]
fn a_branch_that_was_deployed_before_mends_nothing_when_it_is_merged_again() {
    for (hotfix, again) in [
        ("Merge branch 'hotfix/x'", "Merge branch 'hotfix/x' into develop"),
        (
            "Merge pull request #2 from o/back\n\nReverts o/r#1",
            "Merge pull request #3 from o/back\n\nReverts o/r#1",
        ),
    ] {
        let merge = |id: &str, message: &str, parents: &[&str]| {
            let Fact::Landed { id, change } = merged(id, "", parents) else { unreachable!("it landed") };
            let parents = change.parents;
            Fact::Landed { id, change: MergedChange { parents, ..MergedChange::reported(None, message) } }
        };
        let reported = classified(vec![
            change("a", -5, "A (#1)"),
            child(change("h", 4, "Mend the sum"), "a"),
            merge("m1", hotfix, &["a", "h"]),
            child(change("f", 30, "A feature"), "a"),
            merge("m2", again, &["f", "h"]),
            merge("m3", "Merge branch 'develop'", &["m1", "m2"]),
            ran_at("v1.0.0", 0, "a", &["a"]),
            ran_at("v1.0.1", 6, "m1", &["m1", "h"]),
            ran_at("v1.1.0", 40, "m3", &["m3", "m2", "f"]),
        ]);
        assert!(reported.contains("40 Planned v1.1.0 f\n"), "{reported}");
        assert!(reported.contains("6 Rework v1.0.1"), "{reported}");
        assert_eq!(failures(&reported), ["v1.0.0~v1.0.1"], "{reported}");
    }
}

#[test]
fn what_a_merge_says_it_says_of_its_branchs_changes_alone() {
    // A merge inside the branch, and a commit outside the service's paths, are no changes.
    let inside = [merged("i", "Merge branch 'main' into hotfix/x", &["h", "a"]), merged("i", "", &["h"])];
    for inside in inside {
        let facts = vec![
            change("a", -5, "A"),
            child(change("h", 4, "Mend the sum"), "a"),
            inside,
            child(change("f", 5, "F"), "a"),
            child(change("g", 5, "G"), "f"),
            merged("m", "Merge branch 'hotfix/x'", &["g", "i"]),
            ran_at("v1", 0, "a", &["a"]),
            ran_at("v2", 9, "m", &["m", "i", "g", "f", "h"]),
        ];
        let reported = classified(facts);
        assert!(reported.contains("9 Planned v2"), "one of three mends: {reported}");
    }
}

#[test]
fn what_takes_back_a_change_and_a_revert_blames_what_brought_the_change() {
    for (both, alone) in [
        ("Undo\n\nThis reverts commits bbbbbbb2 and ccccccc3.", "Undo\n\nThis reverts commit ccccccc3."),
        ("Undo\n\nReverts o/r#2\nReverts o/r#3", "Undo\n\nReverts o/r#3"),
    ] {
        let facts = |last: &str| {
            vec![
                change("aaaaaaa1", -5, "A (#1)"),
                change("xxxxxxx1", -5, "X"),
                change("bbbbbbb2", 20, "B (#2)"),
                change("ccccccc3", 21, "Revert \"A\" (#3)\n\nThis reverts commit aaaaaaa1."),
                change("yyyyyyy2", 21, "Y"),
                change("ddddddd4", 40, last),
                ran("v1", 0, &["aaaaaaa1", "xxxxxxx1"]),
                ran("v2", 24, &["bbbbbbb2", "ccccccc3", "yyyyyyy2"]),
                ran("v3", 48, &["ddddddd4"]),
            ]
        };
        let reported = classified(facts(both));
        assert!(reported.contains("48 Rework v3"), "{reported}");
        assert_eq!(failures(&reported), ["v1~v2", "v2~v3"], "{reported}");
        // What takes back the revert alone gives back, and what takes back both, and is taken back
        // itself, does neither.
        let reported = classified(facts(alone));
        assert!(reported.contains("48 Planned v3"), "{reported}");
        assert_eq!(failures(&reported), ["v1~v2"], "{reported}");
        let mut facts = facts(both);
        facts.pop();
        facts.push(change("eeeeeee5", 41, "Undo that\n\nThis reverts commit ddddddd4."));
        facts.push(ran("v3", 48, &["ddddddd4", "eeeeeee5"]));
        let reported = classified(facts);
        assert_eq!(failures(&reported), ["v1~v2"], "{reported}");
    }
}

/// One of the two is of the same deployment: users had nothing of it.
#[test]
fn what_takes_back_a_change_that_nobody_saw_and_a_revert_gives_back() {
    let reported = classified(vec![
        change("aaaaaaa1", -5, "A"),
        change("xxxxxxx1", -5, "X"),
        change("ccccccc3", 21, "Revert \"A\"\n\nThis reverts commit aaaaaaa1."),
        change("bbbbbbb2", 30, "B"),
        change("ddddddd4", 40, "Undo\n\nThis reverts commits bbbbbbb2 and ccccccc3."),
        ran("v1", 0, &["aaaaaaa1", "xxxxxxx1"]),
        ran("v2", 24, &["ccccccc3"]),
        ran("v3", 48, &["bbbbbbb2", "ddddddd4"]),
    ]);
    assert!(reported.contains("48 Planned v3"), "{reported}");
    assert_eq!(failures(&reported), ["v1~v2"], "{reported}");
}

#[test]
fn of_deployments_of_one_second_the_ancestor_ran_first_whatever_their_ids() {
    for [first, second] in [["x", "y"], ["y", "x"]] {
        for [bad, back] in [["aaaaaaa1", "bbbbbbb2"], ["bbbbbbb2", "aaaaaaa1"]] {
            let revert = format!("Revert \"A\"\n\nThis reverts commit {bad}.");
            let reported = classified(vec![
                change(bad, 0, "A"),
                child(change(back, 0, &revert), bad),
                ran_at(first, 0, bad, &[bad]),
                ran_at(second, 0, back, &[back]),
            ]);
            assert_eq!(failures(&reported), [format!("{first}~{second}")], "{reported}");
        }
    }
}

/// The copy on the older line takes back the copy there, and nothing on the other line.
#[test]
fn a_revert_that_is_picked_to_an_older_line_blames_that_line() {
    let revert = "Revert \"A\"\n\nThis reverts commit aaaaaaa2.";
    let facts = |picked: &str| {
        vec![
            change("aaaaaaa1", -9, "Base"),
            child(change("aaaaaaa2", -2, "A"), "aaaaaaa1"),
            child(change("aaaaaaa3", -2, "A\n\n(cherry picked from commit aaaaaaa2)"), "aaaaaaa1"),
            child(change("bbbbbbb2", 20, revert), "aaaaaaa2"),
            child(change("bbbbbbb3", 20, picked), "aaaaaaa3"),
            ran_at("v1.9.0", -5, "aaaaaaa1", &["aaaaaaa1"]),
            ran_at("v2.0.0", 0, "aaaaaaa2", &["aaaaaaa2"]),
            ran_at("v1.9.1", 5, "aaaaaaa3", &["aaaaaaa3"]),
            ran_at("v2.0.1", 25, "bbbbbbb2", &["bbbbbbb2"]),
            ran_at("v1.9.2", 90, "bbbbbbb3", &["bbbbbbb3"]),
        ]
    };
    for picked in [revert.to_owned(), format!("{revert}\n\n(cherry picked from commit bbbbbbb2)")] {
        let reported = classified(facts(&picked));
        assert_eq!(failures(&reported), ["v1.9.1~v1.9.2", "v2.0.0~v2.0.1"], "{reported}");
        assert!(reported.contains("90 Rework v1.9.2"), "{reported}");
    }
    // Both lines have what is taken back from one deployment: it failed once.
    let reported = classified(vec![
        change("aaaaaaa1", -9, "A"),
        child(change("aaaaaaa2", -2, "Go on"), "aaaaaaa1"),
        child(change("bbbbbbb2", 20, "Revert \"A\"\n\nThis reverts commit aaaaaaa1."), "aaaaaaa2"),
        child(change("bbbbbbb3", 20, "Revert \"A\"\n\nThis reverts commit aaaaaaa1."), "aaaaaaa1"),
        ran_at("v1.9.0", -5, "aaaaaaa1", &["aaaaaaa1"]),
        ran_at("v2.0.0", 0, "aaaaaaa2", &["aaaaaaa2"]),
        ran_at("v2.0.1", 25, "bbbbbbb2", &["bbbbbbb2"]),
        ran_at("v1.9.1", 90, "bbbbbbb3", &["bbbbbbb3"]),
    ]);
    assert_eq!(failures(&reported), ["v1.9.0~v2.0.1"], "{reported}");
}

/// A deployment of one commit that its tool calls a rollback.
fn back_to(id: &str, at: i64, revision: &str) -> Fact {
    let Fact::Ran { id, deployment } = ran_at(id, at, revision, &[]) else { unreachable!("it ran") };
    Fact::Ran { id, deployment: DeploymentRecord { mends: true, ..deployment } }
}

#[test]
fn a_rollback_mends_what_it_goes_back_from_and_not_what_it_goes_back_to() {
    let known = || vec![change("a", -5, "A"), child(change("b", -4, "B"), "a")];
    // Whether the commits are known or only what ran; and of a commit that never ran by itself.
    for (facts, first, back) in [
        (known(), ran_at("d1", 0, "a", &["a"]), "a"),
        (Vec::new(), ran_at("d1", 0, "a", &[]), "a"),
        (known(), ran_at("d1", 0, "z", &[]), "a"),
    ] {
        let brought: &[&str] = if facts.is_empty() { &[] } else { &["a", "b"] };
        let runs = [first, ran_at("d2", 24, "b", brought), back_to("d3", 25, back)];
        let with = |more: Fact| facts.iter().chain(&runs).cloned().chain([more]).collect();
        let reported = classified(with(ran_at("d4", 48, "c", &[])));
        assert_eq!(failures(&reported), ["d2~d3"], "{reported}");
        let reported = classified(with(failed("i", 24, false, "", Some("d2"))));
        assert_eq!(failures(&reported), ["incident-i"], "{reported}");
    }
    // On its own line: the one that ran last is another one's.
    let reported = classified(vec![
        change("aaaaaaa1", -9, "A"),
        child(change("aaaaaaa2", -8, "Line 1"), "aaaaaaa1"),
        child(change("aaaaaaa3", -2, "Line 1 goes on"), "aaaaaaa2"),
        child(change("bbbbbbb2", -4, "Line 2"), "aaaaaaa1"),
        ran_at("v1.0.0", -7, "aaaaaaa2", &["aaaaaaa1", "aaaaaaa2"]),
        ran_at("v1.0.1", -1, "aaaaaaa3", &["aaaaaaa3"]),
        ran_at("v2.0.0", 0, "bbbbbbb2", &["bbbbbbb2"]),
        back_to("back", 5, "aaaaaaa2"),
    ]);
    assert_eq!(failures(&reported), ["v1.0.1~back"], "{reported}");
}

#[test]
fn a_hotfix_after_a_back_merge_mends_its_own_line() {
    let reported = |parents: [&str; 2], trunk: &str| {
        classified(vec![
            change("a", -9, "Base"),
            child(change("b", -3, "A feature"), "a"),
            child(change("c", 2, "Docs"), "a"),
            merged("m", "Merge branch 'v1'", &parents),
            child(change("h", 8, "hotfix: crash"), "m"),
            ran_at("v1.9.0", -8, "a", &["a"]),
            ran_at("v2.0.0", -2, trunk, &["b"]),
            ran_at("v1.9.1", 3, "c", &["c"]),
            ran_at("v2.0.1", 9, "h", &["m", "h"]),
        ])
    };
    assert_eq!(failures(&reported(["b", "c"], "b")), ["v2.0.0~v2.0.1"]);
    // The line of first parents has only what the others are built on.
    let reported = classified(vec![
        change("a", -9, "Base"),
        child(change("b", -3, "On a branch for releases"), "a"),
        merged("m", "Merge branch 'release/2.0'", &["a", "b"]),
        child(change("h", 8, "hotfix: crash"), "m"),
        ran_at("v1.0.0", -8, "a", &["a"]),
        ran_at("v2.0.0", -2, "b", &["b"]),
        ran_at("v2.0.1", 9, "h", &["m", "h"]),
    ]);
    assert_eq!(failures(&reported), ["v2.0.0~v2.0.1"], "{reported}");
}

#[test]
fn what_fails_too_late_to_count_leaves_what_counts() {
    let facts = || {
        let revert = "Revert \"A\"\n\nThis reverts commit aaaaaaa1.";
        let mut facts = vec![change("aaaaaaa1", -5, "A"), change("bbbbbbb2", 20, revert)];
        facts.extend([ran("d1", 0, &["aaaaaaa1"]), ran("d2", 24, &["bbbbbbb2"])]);
        facts
    };
    let broke = |at: i64| {
        let Fact::Ran { id, deployment } = ran("d1", 0, &["aaaaaaa1"]) else { unreachable!("it ran") };
        let statuses = vec![Status { at: hours(at), ok: false }];
        Fact::Ran { id, deployment: DeploymentRecord { statuses, ..deployment } }
    };
    for (late, more, expected) in [
        (120, failed("i", 120, false, "", Some("d1")), &["d1~d2", "incident-i"][..]),
        (120, broke(120), &["d1~d2", "d1~broke"]),
        // The last moment that counts.
        (72, failed("i", 72, false, "", Some("d1")), &["incident-i"]),
        (72, broke(72), &["d1~broke"]),
    ] {
        let reported = classified(facts().into_iter().chain([more]).collect());
        assert_eq!(failures(&reported), expected, "{late}: {reported}");
    }
    // A late incident does not hide that it broke, either.
    let late = [failed("i", 120, false, "", Some("d1")), broke(5)];
    let reported = classified(facts().into_iter().chain(late).collect());
    assert_eq!(failures(&reported), ["d1~broke", "incident-i"], "{reported}");
}

#[test]
fn a_revert_by_title_takes_back_what_its_own_line_has() {
    let reported = classified(vec![
        change("a", -9, "Base"),
        child(change("b", 0, "Update deps"), "a"),
        child(change("c", -3, "Update deps"), "a"),
        child(change("d", 20, "Revert \"Update deps\""), "b"),
        ran_at("v1.9.0", -8, "a", &["a"]),
        ran_at("v2.0.0", 1, "b", &["b"]),
        ran_at("v1.9.1", 2, "c", &["c"]),
        ran_at("v2.0.1", 21, "d", &["d"]),
    ]);
    assert_eq!(failures(&reported), ["v2.0.0~v2.0.1"], "{reported}");
    // The other line's is the newest one that was written; and where nobody knows of lines, that counts.
    for (parent, expected) in [(true, "v1~v3"), (false, "v2~v3")] {
        let on = |fact, parent_of: &str| if parent { child(fact, parent_of) } else { fact };
        let reported = classified(vec![
            change("a", -9, "Base"),
            on(change("b", -3, "Update deps"), "a"),
            on(change("c", 0, "Update deps"), "a"),
            on(change("d", 20, "Revert \"Update deps\""), "b"),
            ran_at("v0", -8, "a", &["a"]),
            ran_at("v1", 1, "b", &["b"]),
            ran_at("v2", 2, "c", &["c"]),
            ran_at("v3", 21, "d", &["d"]),
        ]);
        assert_eq!(failures(&reported), [expected], "{reported}");
    }
    // Written before the other one, and released after it.
    let reported = classified(vec![
        change("b", 0, "Update deps"),
        change("c", -3, "Update deps"),
        change("d", 20, "Revert \"Update deps\""),
        ran("v2.0.0", 1, &["b"]),
        ran("v1.9.1", 2, &["c"]),
        ran("v2.0.1", 21, &["d"]),
    ]);
    assert_eq!(failures(&reported), ["v2.0.0~v2.0.1"], "{reported}");
}

/// What users had of it since it was given back, they had from there.
#[test]
fn what_was_given_back_and_is_taken_back_again_failed_where_it_was_given_back() {
    let first = "This reverts commit aaaaaaa1.";
    for (once, again, twice) in [
        (
            format!("Revert \"A\"\n\n{first}"),
            "Reapply \"A\"\n\nThis reverts commit bbbbbbb2.",
            format!("Revert \"A\"\n\n{first}"),
        ),
        ("Revert \"A\"".into(), "Reapply \"A\"", "Revert \"A\"".into()),
        (
            format!("Undo it\n\n{first}"),
            "Revert \"Undo it\"\n\nThis reverts commit bbbbbbb2.",
            format!("Undo it\n\n{first}"),
        ),
        (
            "Revert \"A\"".into(),
            "A\n\n(cherry picked from commit aaaaaaa1)",
            format!("Revert \"A\"\n\n{first}"),
        ),
    ] {
        let commits = || {
            let again_at = if again.contains("picked") { -5 } else { 40 };
            let commits = [
                change("aaaaaaa1", -5, "A"),
                child(change("bbbbbbb2", 20, &once), "aaaaaaa1"),
                child(change("ccccccc3", again_at, again), "bbbbbbb2"),
                child(change("ddddddd4", 41, "X"), "ccccccc3"),
                child(change("eeeeeee5", 60, &twice), "ddddddd4"),
            ];
            commits.into_iter().chain([ran_at("v1.0.0", 0, "aaaaaaa1", &["aaaaaaa1"])])
        };
        let each = [
            ran_at("v1.0.1", 24, "bbbbbbb2", &["bbbbbbb2"]),
            ran_at("v1.1.0", 48, "ddddddd4", &["ccccccc3", "ddddddd4"]),
            ran_at("v1.1.1", 72, "eeeeeee5", &["eeeeeee5"]),
        ];
        let reported = classified(commits().chain(each).collect());
        assert_eq!(failures(&reported), ["v1.0.0~v1.0.1", "v1.1.0~v1.1.1"], "{reported}");
        assert!(reported.contains("48 Planned v1.1.0"), "{reported}");
        // Given back and taken back in one deployment, users had nothing of it.
        let together = [
            ran_at("v1.0.1", 24, "bbbbbbb2", &["bbbbbbb2"]),
            ran_at("v1.1.0", 72, "eeeeeee5", &["ccccccc3", "ddddddd4", "eeeeeee5"]),
        ];
        let reported = classified(commits().chain(together).collect());
        assert_eq!(failures(&reported), ["v1.0.0~v1.0.1"], "{reported}");
        assert!(reported.contains("72 Planned v1.1.0"), "{reported}");
    }
}

/// As a squash on GitHub lists the commits of its branch.
#[test]
fn what_a_squashed_branch_took_back_inside_is_no_revert() {
    let list = "* b\n\n* Revert \"A\"\n\nThis reverts commit aaaaaaa1.\n\n* again";
    for (title, blamed) in [("Add cart (#12)", &[][..]), ("Revert \"A\" (#12)", &["v1~v2"])] {
        let reported = classified(vec![
            change("aaaaaaa1", -5, "A"),
            change("bbbbbbb2", 20, &format!("{title}\n\n{list}")),
            ran("v1", 0, &["aaaaaaa1"]),
            ran("v2", 24, &["bbbbbbb2"]),
        ]);
        assert_eq!(failures(&reported), blamed, "{reported}");
        assert_eq!(reported.contains("24 Planned v2"), blamed.is_empty(), "{reported}");
    }
}

#[test]
fn a_tickets_number_of_digits_is_no_commit() {
    for (ticket, blamed) in [("10234567", &["v1~v3"][..]), ("1023456a", &[]), ("99999991", &["v2~v3"])] {
        let reported = classified(vec![
            change("aaaaaaa1", -5, "feat: cart (#3)"),
            change("99999991", 5, "B"),
            change("bbbbbbb2", 20, &format!("revert: feat: cart\n\nRefs: {ticket}")),
            ran("v1", 0, &["aaaaaaa1"]),
            ran("v2", 10, &["99999991"]),
            ran("v3", 24, &["bbbbbbb2"]),
        ]);
        assert_eq!(failures(&reported), blamed, "{ticket}: {reported}");
    }
}

/// A request that was merged with a merge, and one that GitHub's button made against it.
#[test]
fn a_request_that_was_merged_with_a_merge_is_taken_back_by_its_title_its_branch_or_its_text() {
    let merge = |id: &str, message: &str, parents: &[&str]| {
        let parents = parents.iter().map(|parent| (*parent).to_owned()).collect();
        let change = MergedChange { parents, ..MergedChange::reported(None, message) };
        Fact::Landed { id: id.into(), change }
    };
    let text = |reverts: &[&str]| Fact::Labelled {
        id: "m14".into(),
        labels: Vec::new(),
        reverts: reverts.iter().map(|it| (*it).to_owned()).collect(),
        updated: None,
    };
    for (commit, back, text) in [
        ("Revert \"Add cart\"", "Merge pull request #14 from o/x\n\nUndo", text(&[])),
        ("Undo", "Merge pull request #14 from o/x\n\nRevert \"Add cart\"", text(&[])),
        ("Undo", "Merge pull request #14 from o/revert-12-a\n\nUndo", text(&[])),
        ("Undo", "Undo (#14)", text(&["o/r#12"])),
        (
            "Revert \"Add cart\"",
            "Merge pull request #14 from o/revert-12-a\n\nRevert \"Add cart\"",
            text(&["#12"]),
        ),
    ] {
        let facts = |more: &[&str]| {
            let mut facts = vec![
                change("s", -9, "Base"),
                child(change("w1", -5, "wip"), "s"),
                child(change("w2", -4, "wip 2"), "w1"),
                merge("m12", "Merge pull request #12 from o/a\n\nAdd cart", &["s", "w2"]),
                child(change("x", 10, "Something else"), "m12"),
                child(change("c", 20, commit), "x"),
                merge("m14", back, &["x", "c"]),
                text.clone(),
                ran_at("v1", -8, "s", &["s"]),
                ran_at("v2", 0, "m12", &["m12", "w1", "w2"]),
                ran_at("v3", 12, "x", &["x"]),
            ];
            facts.extend(more.iter().map(|id| change(id, 19, id)));
            let brought: Vec<&str> = ["c", "m14"].iter().chain(more).copied().collect();
            facts.push(ran_at("v4", 24, "m14", &brought));
            facts
        };
        let reported = classified(facts(&[]));
        assert_eq!(failures(&reported), ["v2~v4"], "{commit} {back}: {reported}");
        assert!(reported.contains("20 failure v2~v4") && reported.contains("24 Rework v4"), "{reported}");
        // The merge is no change beside its commit: one of three takes something back.
        let reported = classified(facts(&["f", "g"]));
        assert!(reported.contains("24 Planned v4"), "{commit} {back}: {reported}");
        assert_eq!(failures(&reported), ["v2~v4"], "{reported}");
    }
}
