//! What several dashboards ask, by the one definition of the metrics that the
//! report has, too (`dorainfra::report::keys`).

use dorainfra::dora::bands::{Thresholds, thresholds};
use dorainfra::report::Key;
use dorainfra::report::keys::{Ask, MORE_MS};

use super::panel::{BLUE, GREEN, ORANGE, Panel, SKY, Unit, VERMILLION, now};

/// The newest report whose table has all four keys.
pub const YEAR: u16 = 2023;

pub const ONE_TEAM: &str = "environment=\"$environment\",team=~\"$team\"";

/// Over the dashboard's range. A little more has the sample at its beginning.
pub fn whole(selector: &str, by: &'static str) -> Ask {
    Ask {
        selector: selector.into(),
        window: format!("${{__range_s}}s{MORE_MS}ms"),
        days: "($__range_s / 86400)".into(),
        by,
    }
}

/// Over the last days before each point.
pub fn last(days: u32, selector: &str, by: &'static str) -> Ask {
    Ask { selector: selector.into(), window: format!("{days}d{MORE_MS}ms"), days: days.to_string(), by }
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
                now(expression(key), ""),
            )
            .size(width, 4),
        );
    }
    for key in Key::ALL.into_iter().filter(|key| *key != Key::Rework) {
        let limits = key.limits(&limits()).expect("the year has all four keys");
        let title = format!("{}: band", key.short());
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

fn bands(key: Key, [elite, high, medium]: [f64; 3]) -> Vec<(Option<f64>, Option<f64>, String, &'static str)> {
    let named = |name: &str| format!("{name} ({YEAR})");
    let (low, medium_name, high_name, elite_name) =
        (named("low"), named("medium"), named("high"), named("elite"));
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
