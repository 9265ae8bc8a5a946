//! The report as one HTML file that needs nothing else: no network, and light, dark and
//! paper from one style sheet. A script is only in that of many teams, where it searches;
//! all that is there can be seen without it.

use dorainfra_base::zone::Zone;
use dorainfra_dora::bands;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Value, json};

use super::chart::{self, Point, Unit};
use super::keys::Ask;
use super::spans::Span;
use super::{Figures, Key, Period, Report, Standing, attention, capabilities, comparison, coverage, words};

/// The templates' text comes from `templates/report`, like that of every rendered file.
const PAGE: &str = include_str!("../../../templates/report/report.html.j2");
const CHART: &str = include_str!("../../../templates/report/chart.html.j2");

/// The page, with the teams ranked by `by`.
pub fn html(report: &Report, by: Key) -> String {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("chart.html", CHART).expect("the template is part of the program");
    environment.add_template("report.html", PAGE).expect("the template is part of the program");
    let page = environment.get_template("report.html").expect("it was just added");
    page.render(dorainfra_render::value(&values(report, by)))
        .expect("the template is part of the program and its values are complete")
}

fn values(report: &Report, by: Key) -> Value {
    let generated = report.generated;
    let ranking = comparison::ranked(report, by);
    // Of many teams a page at a time, and no picture for each.
    let many = report.teams.len() > comparison::MANY;
    let pages = if many { comparison::pages(report, &ranking, by) } else { Vec::new() };
    let ranking = if many { Vec::new() } else { ranking };
    let sparks = comparison::sparks(report, &ranking);
    let table = bands::thresholds(report.bands_year);
    let speed = [
        chart::bars("Deployments", &points(report, |figures| figures.deployments), Unit::Count),
        chart::bars(
            "Lead time for changes, median",
            &points(report, |figures| figures.lead_time),
            Unit::Seconds,
        ),
    ];
    let stability = [Key::FailureRate, Key::Recovery, Key::Rework].map(|key| trend(report, key));
    let span = Zone::named(&report.timezone).map(|zone| Span::of(&zone, report.first, report.until));
    let length = span.map(|span| span.milliseconds).filter(|length| length % 86_400_000 != 0);
    // Clocks change in it: not whole days.
    let range = match length {
        Some(length) => format!("{}s", length / 1000),
        None => format!("{}d", report.days),
    };
    let mut values = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "subject": report.subject,
        "source": report.source,
        "environment": report.environment,
        "timezone": report.timezone,
        "first": report.first.to_string(),
        "until": report.until.to_string(),
        "days": report.days,
        "generated": format!("{} {:02}:{:02} UTC", generated.date(), generated.hour(), generated.minute()),
        "teams_counted": words::counted(report.teams.len(), "team"),
        "deployments": words::known(report.all.deployments),
        "settled": report.settled(),
        "standing": standing(report),
        "empty": empty(report),
        "advice": advice(report),
        "cards": Key::ALL.map(|key| card(report, key)),
        "compared": compared(report),
        "spark_height": comparison::SPARK_HEIGHT,
        "period": match report.period_days {
            1 => "by day".into(),
            7 => "by week".into(),
            days => format!("by {days} days"),
        },
        "bands_year": report.bands_year,
        "bands_note": match &table {
            Some(_) => format!(
                "Bands are those of the {} report; the frequency is compared with that of the average team.",
                report.bands_year
            ),
            None => format!("The {} report has no bands that could be shown.", report.bands_year),
        },
        "bands_source": table.map_or("", |table| table.source),
        "bands": table.map(|table| Key::ALL.into_iter().filter(|key| *key != Key::Rework)
            .map(|key| json!({"name": key.name(), "cells": band_cells(key, &table)})).collect::<Vec<_>>()),
        "speed": speed,
        "stability": stability,
        "ranked_by": by.name().to_lowercase(),
        "columns": Key::ALL.map(|key| json!({
            "name": key.column(),
            "about": about(key),
            "by": key == by,
            "sort": if key.more_is_better() { "descending" } else { "ascending" },
        })),
        "ranking": ranking,
        "services": report.services.iter().flatten().map(|service| json!({
            "team": service.team,
            "name": service.name,
            "deployments": words::count(service.deployments),
            "cells": Key::ALL.map(|key| service.text(key)),
        })).collect::<Vec<_>>(),
        "strips": comparison::strips(report),
        "sparks": sparks,
        "checks": report.integrity.checks.iter().map(|check| {
            let (class, mark, state) = shown(check.standing);
            json!({"title": check.title, "class": class, "mark": mark, "state": state, "found": check.found})
        }).collect::<Vec<_>>(),
        "covered": coverage::coverage(report),
        "history": history(report),
        "history_note": if report.integrity.days.iter().any(|day| day.sent.is_some()) { "of those that were sent" } else { "" },
        "definitions": Key::ALL.map(|key| json!({
            "name": key.name(),
            "statistic": key.statistic(),
            "meaning": key.meaning(),
            "promql": key.promql(&Ask {
                selector: format!(
                    "environment=\"{}\",{}",
                    dorainfra_prometheus::escaped(&report.environment),
                    super::keys::of_kind(report.simulated)
                ),
                window: format!("{range}{}ms", super::keys::MORE_MS),
                range: range.clone(),
                days: report.days.to_string(),
                by: "team",
                native: report.native_histograms,
            }),
        })),
    });
    let (movers, more_movers) = attention::movers(report);
    values["attention"] = json!((!empty(report)).then(|| attention::attention(report)));
    values["remedies"] = json!(attention::remedies(report));
    values["capabilities"] = json!(capabilities::SOURCE);
    values["movers"] = json!(movers);
    values["more_movers"] = json!(more_movers);
    values["changes"] = json!(report.comparison.is_some());
    values["simulated"] = json!(report.caution());
    values["simulated_left_out"] = json!(report.left_out());
    values["pages"] = json!(pages);
    values["left_out"] = json!(coverage::left_out(report));
    values["queries"] = match report.queries {
        1 => "one query".into(),
        queries => format!("{} queries", words::count(queries as f64)).into(),
    };
    values
}

fn empty(report: &Report) -> bool {
    !report.all.any()
}

/// What the changes are against, and whose they are not.
fn compared(report: &Report) -> Option<String> {
    if empty(report) {
        return None;
    }
    let days = words::counted(report.days as usize, "day");
    let Some(comparison) = &report.comparison else {
        return Some(format!("There is no comparison with the {days} before: not all of them are stored."));
    };
    Some(match comparison.without.as_slice() {
        [] => format!("Changes are against the {days} before."),
        without => format!(
            "Changes are against the {days} before, and not of {}, of which not all of both is stored.",
            words::some(without)
        ),
    })
}

fn about(key: Key) -> &'static str {
    match key {
        Key::Frequency | Key::LeadTime => "speed",
        Key::FailureRate | Key::Recovery | Key::Rework => "stability",
    }
}

fn shown(standing: Standing) -> (&'static str, &'static str, &'static str) {
    match standing {
        Standing::Good => ("good", "✓", "good"),
        Standing::Bad => ("bad", "✗", "problem"),
        Standing::Unknown => ("unknown", "?", "not known"),
    }
}

fn standing(report: &Report) -> Value {
    let data = if report.simulated { "the simulated data" } else { "the data" };
    let (class, mark, text) = match report.problems() {
        0 if report.simulated => ("unknown", "!", "simulated data".to_owned()),
        0 => ("good", "✓", "no problem with the data".to_owned()),
        problems => ("bad", "✗", format!("{} with {data}", words::counted(problems, "problem"))),
    };
    json!({"class": class, "mark": mark, "text": text})
}

/// What to do about a report that shows nothing.
fn advice(report: &Report) -> String {
    match report.other_environments.as_slice() {
        [] => "The endpoint answers, but holds no series of these metrics in this range: choose another one \
               (--from, --to), or see whether the collector runs (dorainfra status)."
            .into(),
        others => format!(
            "Other environments have deployments in this range: {} (--environment).",
            words::some(others)
        ),
    }
}

fn card(report: &Report, key: Key) -> Value {
    let classified = report.bands.iter().find(|classified| classified.metric == key.id());
    let band = classified.and_then(|classified| classified.band.as_deref());
    let values: Vec<f64> =
        report.periods.iter().map(|period| period.figures.of(key).unwrap_or_default()).collect();
    let value = report.all.of(key).filter(|_| !empty(report));
    json!({
        "name": key.name(),
        "about": about(key),
        "value": value.map_or("no data".to_owned(), |value| key.text(Some(value))),
        "statistic": match key {
            Key::Frequency => match value {
                Some(all) if report.teams.len() > 1 => {
                    format!("of all teams; the average team {}", words::often(all / report.teams.len() as f64))
                }
                _ => "deployments".to_owned(),
            },
            _ if value.is_none() => key.statistic().to_owned(),
            Key::LeadTime | Key::Recovery => format!("{} of {}", key.statistic(), report.all.count(key)),
            Key::FailureRate | Key::Rework => format!("{}: {}", key.statistic(), report.all.count(key)),
        },
        "band": band.map(|band| format!("{band} · {}", report.bands_year)),
        "no_band": match classified.and_then(|classified| classified.reason) {
            Some(_) if key == Key::Rework && value.is_some() => "DORA publishes no bands for it".into(),
            Some(reason) => format!("no band: {reason}"),
            None => String::new(),
        },
        "change": change(report, key),
        "spark": comparison::spark(&values, values.iter().copied().fold(0.0, f64::max)),
    })
}

/// Against the same number of days before: by how much, and whether that is better, where it is
/// more than chance.
fn change(report: &Report, key: Key) -> Option<Value> {
    let comparison = report.comparison.as_ref().filter(|_| !empty(report))?;
    let (now, before) = (comparison.now.of(key)?, comparison.before.of(key)?);
    let Some(amount) = comparison::difference(key, &comparison.before, &comparison.now) else {
        return (before > 0.0 || now == before).then(|| json!({"class": "faint", "text": "as before"}));
    };
    let moved = comparison.moves.iter().find(|one| one.metric == key.id());
    let (class, word) = match moved {
        Some(one) if one.better => ("good", ", better"),
        Some(_) => ("bad", ", worse"),
        None => ("faint", ""),
    };
    Some(json!({"class": class, "text": format!("{amount}{word}")}))
}

fn points(report: &Report, value: impl Fn(&Figures) -> Option<f64>) -> Vec<Point> {
    let all = report.period_days;
    let point = |period: &Period| Point {
        until: period.until,
        value: value(&period.figures),
        part: (0 < period.days && period.days < all).then_some((period.days, all)),
    };
    report.periods.iter().map(point).collect()
}

fn trend(report: &Report, key: Key) -> chart::Chart {
    let (title, unit) = match key {
        Key::Recovery => ("Failed deployment recovery time, median", Unit::Seconds),
        _ => (key.name(), Unit::Share),
    };
    let values = points(report, |figures| figures.of(key));
    let limits = bands::thresholds(report.bands_year).and_then(|table| key.limits(&table));
    let limits: Vec<(f64, String)> = limits
        .into_iter()
        .flat_map(|limits| limits.into_iter().zip(["elite", "high", "medium"]))
        .map(|(limit, band)| (limit, format!("{band} ≤ {}", limit_text(key, limit))))
        .collect();
    chart::line(title, &values, unit, &limits)
}

/// A limit, short enough to stand beside a chart.
fn limit_text(key: Key, limit: f64) -> String {
    match key {
        Key::FailureRate | Key::Rework => format!("{} %", words::short(limit * 100.0)),
        _ => key.text(Some(limit)),
    }
}

/// Stored of sent, or, where the sender isn't known, just stored.
fn history(report: &Report) -> chart::Chart {
    let points: Vec<Point> = report
        .integrity
        .days
        .iter()
        .map(|day| match day.sent {
            Some(0) => Point { until: day.date, value: None, part: None },
            Some(sent) => Point { until: day.date, value: Some(day.stored as f64 / sent as f64), part: None },
            None => Point { until: day.date, value: Some(day.stored as f64), part: None },
        })
        .collect();
    match report.integrity.days.iter().any(|day| day.sent.is_some()) {
        true => chart::bars("Daily samples stored", &points, Unit::Share),
        false => chart::bars("Daily samples stored", &points, Unit::Count),
    }
}

/// Elite, high, medium and low in words.
fn band_cells(key: Key, table: &bands::Thresholds) -> [String; 4] {
    let Some([elite, high, medium]) = key.limits(table) else {
        return ["not distinguished".into(), "–".into(), "–".into(), "–".into()];
    };
    let text = |value: f64| match key {
        Key::Frequency => words::times(value),
        _ => key.text(Some(value)),
    };
    match key {
        Key::Frequency => [
            format!("more than {}", text(elite)),
            format!("at least {}", text(high)),
            format!("at least {}", text(medium)),
            "less".into(),
        ],
        Key::FailureRate | Key::Rework => [
            format!("up to {}", text(elite)),
            format!("up to {}", text(high)),
            format!("up to {}", text(medium)),
            "more".into(),
        ],
        Key::LeadTime | Key::Recovery => [
            format!("less than {}", text(elite)),
            format!("up to {}", text(high)),
            format!("up to {}", text(medium)),
            "more".into(),
        ],
    }
}
