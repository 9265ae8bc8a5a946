//! Teams side by side: ranked, distributed, and each one's course in small.

use dorainfra::report::Key;

use super::board::{Board, Teams};
use super::panel::{Panel, Unit, WEEKLY, now, over_time};
use super::questions::{ONE_TEAM, about, colour, last, unit, whole};

pub fn board() -> Board {
    let by_team = whole(ONE_TEAM, "team");
    let ranked = |key: Key| {
        let sorted = if key.more_is_better() { "sort_desc" } else { "sort" };
        Panel::ranked(
            &format!("{} by team", key.short()),
            &about(key, "Over the dashboard's range, best first. A click leads to the team."),
            unit(key),
            now(format!("{sorted}({})", key.promql(&by_team)), "{{team}}"),
        )
        .thresholds(&[(None, colour(key))])
        .leads_to_team()
    };
    let spread = |key: Key| {
        Panel::distribution(
            &format!("{}: distribution", key.short()),
            &about(key, "How many teams are where, over the dashboard's range."),
            unit(key),
            now(key.promql(&by_team), "{{team}}"),
        )
        .colour(colour(key))
    };
    let small = Panel::bars(
        "$team",
        "Deployments of the seven days that end at each bar's time.",
        Unit::Count,
        vec![over_time(last(7, ONE_TEAM, "").deployments(), "deployments", WEEKLY)],
    )
    .size(4, 5)
    .colour(colour(Key::Frequency))
    .repeated("team", 6);
    Board {
        uid: "dora-compare",
        title: "DORA: compare teams",
        description: "Which teams are fast, which are stable, and how far apart they are.",
        teams: Teams::Some,
        from: "now-84d/d",
        rows: vec![
            ("Ranked", Key::ALL.map(ranked).into()),
            ("Distribution", Key::ALL.map(spread).into()),
            ("Deployments by week, team by team", vec![small]),
        ],
        annotations: Vec::new(),
    }
}
