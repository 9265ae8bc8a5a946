//! One team in detail.

use dorainfra::report::Key;
use serde_json::json;

use super::board::{Board, Teams};
use super::panel::{BLUE, DAILY, Panel, Unit, VERMILLION, WEEKLY, now, over_time};
use super::questions::{ONE_TEAM, about, figures, last, whole};

pub fn board() -> Board {
    let week = last(7, ONE_TEAM, "");
    let month = last(28, ONE_TEAM, "");
    let failed = |ask: &dorainfra::report::keys::Ask| ask.failed();
    Board {
        uid: "dora-team",
        title: "DORA: team",
        description: "One team's metrics, services, lead times and failures.",
        teams: Teams::One,
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
                        ],
                    )
                    .size(8, 8),
                    Panel::lines(
                        "Failed deployment recovery time",
                        &about(Key::Recovery, "Each point is of the 28 days before it."),
                        Unit::Seconds,
                        vec![
                            over_time(Key::Recovery.promql(&month), "median", DAILY),
                            over_time(format!("{} >= 0", month.recovery(0.9)), "90 % are shorter", DAILY),
                        ],
                    )
                    .size(8, 8),
                    Panel::bars(
                        "Failed deployments, by week",
                        "Deployments of the seven days that end at each bar's time that caused a failure.",
                        Unit::Count,
                        vec![over_time(failed(&week), "failed", WEEKLY)],
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
                ],
            ),
        ],
        // A mark on each day with a failed deployment.
        annotations: vec![json!({
            "name": "Days with a failed deployment",
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "enable": true,
            "hide": false,
            "iconColor": VERMILLION,
            "expr": format!("{} >= 0.5", failed(&last(1, ONE_TEAM, ""))),
            "step": "1d",
        })],
    }
}
