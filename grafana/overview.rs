//! The metrics of all teams together: speed in bars, stability in lines.

use dorainfra_report::Key;

use super::board::{Board, ENVIRONMENT, Teams};
use super::panel::{BLUE, ORANGE, Panel, Unit, VERMILLION, WEEKLY, over_time};
use super::questions::{about, colour, figures, last, marks, number_of, percentiles, unit};

pub fn board() -> Board {
    let week = last(7, ENVIRONMENT, "");
    let month = last(28, ENVIRONMENT, "");
    let trend = |key: Key, name: &'static str| {
        Panel::lines(
            key.name(),
            &about(key, "Each point is of the 28 days before it."),
            unit(key),
            // A year of a thousand teams: a point a day would be seven times the work.
            vec![over_time(key.promql(&month), name, WEEKLY)],
        )
        .size(8, 8)
        .colour(colour(key))
        .points_of(over_time(number_of(key, &month), "deployments", WEEKLY))
    };
    Board {
        uid: "dora-overview",
        title: "DORA: overview",
        description: "The four keys and the rework rate of all teams together.",
        teams: Teams::All,
        choices: Vec::new(),
        // Half a year of a thousand teams is under a second for each panel; a year is not.
        from: "now-182d/d",
        rows: vec![
            ("The five metrics", figures(ENVIRONMENT)),
            (
                "Speed",
                vec![
                    Panel::bars(
                        "Deployments, by week",
                        "Deployments of the seven days that end at each bar's time, planned and rework.",
                        Unit::Count,
                        vec![over_time(week.deployments_by("kind"), "{{kind}}", WEEKLY)],
                    )
                    .series_colours(&[("planned", BLUE), ("rework", ORANGE)]),
                    percentiles(Key::LeadTime, ENVIRONMENT, 7, WEEKLY, None),
                ],
            ),
            (
                "Stability",
                vec![
                    trend(Key::FailureRate, "failed / all"),
                    percentiles(Key::Recovery, ENVIRONMENT, 28, WEEKLY, None).size(8, 8),
                    trend(Key::Rework, "rework / all"),
                ],
            ),
            ("What the figures mean", vec![definitions()]),
        ],
        // Of many teams every day has some: they are there to be switched on.
        annotations: vec![
            marks("Days with a deployment", BLUE, false, &last(1, ENVIRONMENT, "").deployments()),
            marks("Days with a failed deployment", VERMILLION, false, &last(1, ENVIRONMENT, "").failed()),
        ],
    }
    .with_banner()
}

fn definitions() -> Panel {
    let lines: Vec<String> = Key::ALL
        .iter()
        .map(|key| format!("- **{}** ({}): {}", key.name(), key.statistic(), key.meaning()))
        .collect();
    let text = format!(
        "{}\n\nDays are UTC. With one sample a day in the past, a range of whole days is exact; a metric of several \
         teams is computed from all of their events, never as a mean of their metrics.",
        lines.join("\n")
    );
    Panel::text("Definitions", "How each metric is counted, and what it leaves out.", &text)
}
