//! What several dashboards ask, by the one definition of the metrics that the
//! report has, too (`dorainfra_report::keys`).

use dorainfra_dora::bands::{Thresholds, thresholds};
use dorainfra_report::Key;
use dorainfra_report::keys::{Ask, MORE_MS};

use super::panel::{BLUE, GREEN, ORANGE, Panel, SKY, Unit, VERMILLION, now, over_time};

/// The newest report whose table has all four keys.
pub const YEAR: u16 = 2023;

pub const ONE_TEAM: &str = "environment=\"$environment\",simulated=~\"$simulated\",team=~\"$team\"";

/// Over the dashboard's range. A little more has the sample at its beginning.
pub fn whole(selector: &str, by: &'static str) -> Ask {
    Ask {
        selector: selector.into(),
        window: format!("${{__range_s}}s{MORE_MS}ms"),
        range: "${__range_s}s".into(),
        days: "($__range_s / 86400)".into(),
        by,
        native: true,
    }
}

/// Over the last days before each point.
pub fn last(days: u32, selector: &str, by: &'static str) -> Ask {
    let window = format!("{days}d{MORE_MS}ms");
    Ask {
        selector: selector.into(),
        window,
        range: format!("{days}d"),
        days: days.to_string(),
        by,
        native: true,
    }
}

/// A name below `team:` that `mimir/rules/dora.yaml` records.
pub struct Recorded<'a>(pub &'a str);

impl Recorded<'_> {
    /// The newest value of each chosen team. The rules are evaluated each quarter of
    /// an hour, or each hour, and a value that is recorded counts for five minutes.
    pub fn values(&self) -> String {
        format!("max by (team) (last_over_time(team:{}{{{ONE_TEAM}}}[2h]))", self.0)
    }
}

/// A metric of each chosen team over the chosen days.
pub fn recorded(key: Key) -> String {
    let values = |name: &str| Recorded(name).values();
    match key {
        Key::Frequency => format!("{} / $days", values("dora_deployments:increase${days}d")),
        Key::LeadTime => values("dora_change_lead_time_seconds:p${percentile}_${days}d"),
        Key::FailureRate => values("dora_deployments_failed:ratio${days}d"),
        Key::Recovery => values("dora_deployment_recovery_seconds:p${percentile}_${days}d"),
        Key::Rework => values("dora_deployments_rework:ratio${days}d"),
    }
}

/// How many events that is of.
pub fn recorded_of(key: Key) -> String {
    Recorded(match key {
        Key::Frequency | Key::FailureRate | Key::Rework => "dora_deployments:increase${days}d",
        Key::LeadTime => "dora_change_lead_time_seconds:increase${days}d",
        Key::Recovery => "dora_deployment_recovery_seconds:increase${days}d",
    })
    .values()
}

/// How many events a metric of some deployments is of, asked as the metric is.
pub fn number_of(key: Key, ask: &Ask) -> String {
    match key {
        Key::Frequency | Key::FailureRate | Key::Rework => ask.deployments(),
        Key::LeadTime => ask.changes(),
        Key::Recovery => ask.recoveries(),
    }
}

pub fn unit(key: Key) -> Unit {
    match key {
        Key::Frequency => Unit::Count,
        Key::LeadTime | Key::Recovery => Unit::Seconds,
        Key::FailureRate | Key::Rework => Unit::Share,
    }
}

/// A description of a panel: the metric's own, and what this panel makes of it.
pub fn about(key: Key, more: &str) -> String {
    format!("{} {more}", key.meaning())
}

fn limits() -> Thresholds {
    thresholds(YEAR).expect("the year has a table")
}

/// A metric over the range, and beside it what the year's report calls it. The
/// frequency is that of the average team, as bands are about one.
pub fn figures(selector: &str) -> Vec<Panel> {
    let expression = |key: Key| {
        let ask = whole(selector, "");
        match key {
            Key::Frequency => format!(
                "{} / count(group by (team) (last_over_time(dora_deployments_total{{{selector}}}[$__range])))",
                key.promql(&ask)
            ),
            _ => key.promql(&ask),
        }
    };
    let mut panels = Vec::new();
    for key in Key::ALL {
        let title = match key {
            Key::Frequency => "Deployments a day and team",
            _ => key.name(),
        };
        let width = if key == Key::Rework { 4 } else { 5 };
        panels.push(
            Panel::stat(
                title,
                &about(key, "Over the dashboard's range."),
                unit(key),
                now(expression(key), statistic(key)),
            )
            .means(key.longest(), &over(key))
            .of(now(number_of(key, &whole(selector, "")), of_what(key)))
            .size(width, 4),
        );
    }
    for key in Key::ALL.into_iter().filter(|key| *key != Key::Rework) {
        let limits = key.limits(&limits()).expect("the year has all four keys");
        let title = format!("{}: band of {YEAR}", key.short());
        let about = about(
            key,
            &format!(
                "The band is a finding of the {YEAR} report ({}), not a law.",
                super::questions::limits().source
            ),
        );
        panels.push(
            Panel::stat(&title, &about, unit(key), now(expression(key), ""))
                .size(5, 3)
                .words(&bands(key, limits)),
        );
    }
    panels
}

/// What the figure is, in a word: two lines of it would leave the figure no room.
fn statistic(key: Key) -> &'static str {
    match key {
        Key::FailureRate | Key::Rework => "share",
        _ => key.statistic(),
    }
}

/// What a metric's events are called.
fn of_what(key: Key) -> &'static str {
    match key {
        Key::Frequency => "deployments",
        Key::FailureRate | Key::Rework => "of deployments",
        Key::LeadTime => "of changes",
        Key::Recovery => "of recoveries",
    }
}

/// Half of the times of the `days` before each point, three quarters and nine tenths of
/// them are shorter; and `goal`, where there is one.
pub fn percentiles(key: Key, selector: &str, days: u32, step: &'static str, goal: Option<&str>) -> Panel {
    let ask = last(days, selector, "");
    let at = |quantile: f64| match key {
        Key::LeadTime => format!("{} >= 0", ask.lead_time(quantile)),
        _ => format!("{} >= 0", ask.recovery(quantile)),
    };
    let mut queries = vec![
        over_time(at(0.5), "median", step),
        over_time(at(0.75), "75 % are shorter", step),
        over_time(at(0.9), "90 % are shorter", step),
    ];
    queries.extend(goal.map(|goal| over_time(reached(goal), "goal", step)));
    Panel::lines(
        &format!("{}: percentiles", key.name()),
        &about(key, &format!("Each point is of the {days} days before it.")),
        unit(key),
        queries,
    )
    .means(key.longest(), &over(key))
}

/// What the last edge of a classic histogram means: `over 60 d`.
pub fn over(key: Key) -> String {
    key.longest().map_or_else(String::new, |longest| key.text(Some(longest as f64)))
}

/// A goal as a line; none, where none is chosen.
pub fn reached(goal: &str) -> String {
    format!("vector($goal_{goal}) > 0")
}

/// Marks on days with deployments, or with failed ones.
pub fn marks(name: &str, colour: &str, enabled: bool, deployments: &str) -> serde_json::Value {
    serde_json::json!({
        "name": name,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "enable": enabled,
        "hide": false,
        "iconColor": colour,
        "expr": format!("{deployments} >= 0.5"),
        "step": "1d",
    })
}

fn bands(key: Key, [elite, high, medium]: [f64; 3]) -> Vec<(Option<f64>, Option<f64>, String, &'static str)> {
    let (low, medium_name, high_name, elite_name) =
        ("low".into(), "medium".into(), "high".into(), "elite".into());
    match key.more_is_better() {
        true => vec![
            (None, Some(medium), low, VERMILLION),
            (Some(medium), Some(high), medium_name, ORANGE),
            (Some(high), Some(elite), high_name, SKY),
            (Some(elite), None, elite_name, GREEN),
        ],
        false => vec![
            (None, Some(elite), elite_name, GREEN),
            (Some(elite), Some(high), high_name, SKY),
            (Some(high), Some(medium), medium_name, ORANGE),
            (Some(medium), None, low, VERMILLION),
        ],
    }
}

pub fn colour(key: Key) -> &'static str {
    match key {
        Key::Frequency | Key::LeadTime => BLUE,
        Key::FailureRate | Key::Recovery | Key::Rework => VERMILLION,
    }
}
