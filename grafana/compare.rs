//! Teams side by side: ranked, distributed, and each one's course in small. All is asked of
//! what the rules of `mimir/rules/dora.yaml` record, a page of teams at a time, so a
//! thousand teams cost what forty do.

use dorainfra_report::Key;

use super::board::{Board, ENVIRONMENT, PAGE, Teams, choice, page_of, pages, teams_of};
use super::panel::{Panel, Unit, WEEKLY, now, over_time};
use super::questions::{Recorded, about, colour, last, over, recorded, recorded_of, unit};

/// What is said where nothing is recorded: it is no figure, and no fault of a team.
const UNRECORDED: &str = "no data yet (mimir/rules/dora.yaml records it)";

/// The value of a team, and by its label `n` how many events it is of.
fn counted(value: &str, events: &str) -> String {
    format!("{value} * on (team) group_left (n) count_values by (team) (\"n\", {events})")
}

fn ranked(key: Key) -> Panel {
    let values = recorded(key);
    let page = page_of(&values, key.more_is_better());
    let sort = if key.more_is_better() { "sort_desc" } else { "sort" };
    let about = about(
        key,
        &format!(
            "Over the last $days whole days, best first, {PAGE} teams a page; n is the number of events that \
             it is of. A click leads to the team."
        ),
    );
    let one = now(format!("{sort}({})", counted(&page, &recorded_of(key))), "{{team}} (n = {{n}})");
    Panel::ranked(&format!("{} by team", key.short()), &about, unit(key), one)
        .thresholds(&[(None, colour(key))])
        .means(key.longest(), &over(key))
        .no_data_means(UNRECORDED)
        .leads_to_team()
}

fn spread(key: Key) -> Panel {
    Panel::distribution(
        &format!("{}: distribution", key.short()),
        &about(key, "How many teams are where, over the last $days whole days."),
        unit(key),
        // One frame, and not one for each of a thousand teams.
        now(recorded(key), "").into_table(),
    )
    .no_data_means(UNRECORDED)
    .colour(colour(key))
}

/// The teams of the page, by their deployments.
pub fn shown() -> String {
    page_of(&recorded(Key::Frequency), true)
}

/// The figures of the page's teams, with what they are of.
fn figures() -> Panel {
    let page = shown();
    let column = |name, unit, values: String| (name, unit, now(format!("{values} and on (team) {page}"), ""));
    let of = |name: &'static str| Recorded(name).values();
    let mut columns = vec![
        column("Deployments a day", Unit::Count, recorded(Key::Frequency)),
        column("Deployments", Unit::Count, of("dora_deployments:increase${days}d")),
    ];
    for (p50, p75, p90, count, histogram) in [
        ("Lead time, p50", "Lead time, p75", "Lead time, p90", "Changes", "dora_change_lead_time_seconds"),
        ("Recovery, p50", "Recovery, p75", "Recovery, p90", "Recoveries", "dora_deployment_recovery_seconds"),
    ] {
        let quantile = |percent: u32| Recorded(&format!("{histogram}:p{percent}_${{days}}d")).values();
        columns.extend([
            column(p50, Unit::Seconds, quantile(50)),
            column(p75, Unit::Seconds, quantile(75)),
            column(p90, Unit::Seconds, quantile(90)),
            column(count, Unit::Count, Recorded(&format!("{histogram}:increase${{days}}d")).values()),
        ]);
    }
    columns.extend([
        column("Failure rate", Unit::Share, recorded(Key::FailureRate)),
        column("Failed", Unit::Count, of("dora_deployments_failed:increase${days}d")),
        column("Rework rate", Unit::Share, recorded(Key::Rework)),
        column("Rework", Unit::Count, of("dora_deployments_rework:increase${days}d")),
    ]);
    Panel::columns(
        "Figures, and how many events they are of",
        "The teams of this page by their deployments, over the last $days whole days: half of the changes, three \
         quarters and nine tenths of them took less; beside each figure is what it was counted from.",
        ("team", "Team"),
        columns,
        |name| {
            let key = [Key::LeadTime, Key::Recovery].into_iter().find(|key| name.starts_with(key.short()))?;
            key.longest().filter(|_| name.contains(", p")).map(|longest| (longest, over(key)))
        },
    )
    .size(24, 18)
    .no_data_means(UNRECORDED)
    .rows_lead_to_team("Team")
}

pub fn board() -> Board {
    let small = Panel::bars(
        "$shown",
        "Deployments of the seven days that end at each bar's time.",
        Unit::Count,
        vec![over_time(
            last(7, &format!("{ENVIRONMENT},team=~\"$shown\""), "").deployments(),
            "deployments",
            WEEKLY,
        )],
    )
    .size(4, 5)
    .colour(colour(Key::Frequency))
    .repeated("shown", 6);
    let counted = Panel::stat(
        "Teams and pages",
        "Teams that the choice above holds, and pages of them.",
        Unit::Count,
        now(format!("count({})", recorded_of(Key::Frequency)), "teams"),
    )
    .of(now(format!("ceil(count({}) / {PAGE})", recorded_of(Key::Frequency)), "pages"))
    .size(24, 3);
    let mut rows = vec![("Ranked", vec![counted])];
    rows[0].1.extend(Key::ALL.map(ranked));
    rows.extend([
        ("In figures", vec![figures()]),
        ("Distribution", Key::ALL.map(spread).into()),
        ("Deployments by week, team by team", vec![small]),
    ]);
    Board {
        uid: "dora-compare",
        title: "DORA: compare teams",
        description: "Which teams are fast, which are stable, and how far apart they are.",
        teams: Teams::Some,
        choices: vec![
            choice("days", "Whole days", &[("28", "28"), ("7", "7"), ("84", "84")]),
            choice(
                "percentile",
                "Bars of times",
                &[("median", "50"), ("75 % take less", "75"), ("90 % take less", "90")],
            ),
            pages(),
            teams_of("shown", &shown()),
        ],
        from: "now-84d/d",
        rows,
        annotations: Vec::new(),
    }
    .with_banner()
}
