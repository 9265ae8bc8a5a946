//! One team in detail.

use dorainfra_report::Key;
use serde_json::Value;

use super::board::{Board, Teams, choice};
use super::panel::{BLUE, DAILY, Panel, Unit, VERMILLION, WEEKLY, now, over_time};
use super::questions::{
    ONE_TEAM, about, colour, figures, last, marks, number_of, over, percentiles, reached, unit, whole,
};

pub fn board() -> Board {
    let week = last(7, ONE_TEAM, "");
    let month = last(28, ONE_TEAM, "");
    let day = last(1, ONE_TEAM, "");
    Board {
        uid: "dora-team",
        title: "DORA: team",
        description: "One team's metrics, services, lead times and failures.",
        teams: Teams::One,
        choices: goals(),
        from: "now-84d/d",
        rows: vec![
            ("$team", figures(ONE_TEAM)),
            (
                "Speed",
                vec![
                    Panel::bars(
                        "Deployments by service, by week",
                        "Deployments of the seven days that end at each bar's time, by service.",
                        Unit::Count,
                        vec![over_time(week.deployments_by("service"), "{{service}}", WEEKLY)],
                    ),
                    Panel::lines(
                        "Deployments a day",
                        &about(
                            Key::Frequency,
                            "Each point is of the 28 days before it. The goal is the one that is chosen above.",
                        ),
                        Unit::Count,
                        vec![
                            over_time(Key::Frequency.promql(&month), "a day", DAILY),
                            over_time(reached("frequency"), "goal", DAILY),
                        ],
                    ),
                    percentiles(Key::LeadTime, ONE_TEAM, 28, DAILY, Some("lead_time")),
                    Panel::heatmap(
                        "Lead time of changes, by week",
                        "How many changes took how long, of the seven days that end at each column's time. A row \
                         is a bucket of the histogram, named by its upper edge.",
                        over_time(week.lead_time_buckets(), "{{le}}", WEEKLY),
                    ),
                ],
            ),
            (
                "Stability",
                vec![
                    Panel::lines(
                        "Change failure rate and rework rate",
                        &about(Key::FailureRate, "Each point is of the 28 days before it."),
                        Unit::Share,
                        vec![
                            over_time(Key::FailureRate.promql(&month), "failed / all", DAILY),
                            over_time(Key::Rework.promql(&month), "rework / all", DAILY),
                            over_time(reached("failure_rate"), "goal of the failure rate", DAILY),
                        ],
                    )
                    .points_of(over_time(number_of(Key::FailureRate, &month), "deployments", DAILY))
                    .size(8, 8),
                    percentiles(Key::Recovery, ONE_TEAM, 28, DAILY, Some("recovery")).size(8, 8),
                    Panel::bars(
                        "Failed deployments, by week",
                        "Deployments of the seven days that end at each bar's time that caused a failure.",
                        Unit::Count,
                        vec![over_time(week.failed(), "failed", WEEKLY)],
                    )
                    .size(8, 8)
                    .colour(VERMILLION),
                ],
            ),
            (
                "Services",
                vec![
                    Panel::table(
                        "Deployments by service, outcome and kind",
                        "Over the dashboard's range.",
                        Unit::Count,
                        now(
                            format!("{} > 0", whole(ONE_TEAM, "").deployments_by("service, outcome, kind")),
                            "",
                        ),
                        "deployments",
                    )
                    .size(24, 8)
                    .thresholds(&[(None, BLUE)]),
                    by_service(Key::LeadTime, whole(ONE_TEAM, "").lead_time_by_service(0.5)),
                    by_service(Key::Recovery, whole(ONE_TEAM, "").recovery_by_service(0.5)),
                ],
            ),
        ],
        annotations: vec![
            marks("Days with a failed deployment", VERMILLION, true, &day.failed()),
            marks("Days with a deployment", BLUE, false, &day.deployments()),
        ],
    }
    .with_banner()
}

/// A median of each service; none where these are not stored by service, or only for a part
/// of the range.
fn by_service(key: Key, expression: String) -> Panel {
    Panel::table(
        &format!("{} by service", key.name()),
        &about(
            key,
            "Over the dashboard's range, of each service. Stored where generator.service_histograms is on; \
             nothing is shown of a range that is not stored whole.",
        ),
        unit(key),
        now(expression, ""),
        "median",
    )
    .size(12, 8)
    .means(key.longest(), &over(key))
    .thresholds(&[(None, colour(key))])
}

/// What the team wants to reach. Chosen goals are in the page's address: a link to the
/// dashboard is a link to the team's goals.
fn goals() -> Vec<Value> {
    let none = ("none", "-1");
    let times = [
        ("1 hour", "3600"),
        ("4 hours", "14400"),
        ("1 day", "86400"),
        ("2 days", "172800"),
        ("7 days", "604800"),
    ];
    let of_times: Vec<(&str, &str)> = std::iter::once(none).chain(times).collect();
    vec![
        choice(
            "goal_frequency",
            "Goal: deployments",
            &[
                none,
                ("1 a week", "0.142857"),
                ("3 a week", "0.428571"),
                ("1 a day", "1"),
                ("3 a day", "3"),
                ("10 a day", "10"),
            ],
        ),
        choice("goal_lead_time", "Goal: lead time", &of_times),
        choice(
            "goal_failure_rate",
            "Goal: failure rate",
            &[none, ("5 %", "0.05"), ("10 %", "0.1"), ("15 %", "0.15"), ("20 %", "0.2")],
        ),
        choice("goal_recovery", "Goal: recovery", &of_times),
    ]
}
