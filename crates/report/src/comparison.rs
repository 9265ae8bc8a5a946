//! Teams side by side: ranked, distributed, and each one's course in small.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Serialize;

use super::chart::{round_above, rounded};
use super::keys::Key;
use super::{Figures, Report, Team, band_of, words};

const WIDTH: f64 = 440.0;
const STRIP_HEIGHT: f64 = 92.0;
const STRIP_BASE: f64 = 68.0;
const MARGIN: f64 = 14.0;
const DOT: f64 = 3.2;

/// A row of the ranking.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    rank: usize,
    name: String,
    /// Others are compared with the days before, and this team began after their beginning.
    later: bool,
    cells: Vec<Cell>,
}

/// From so many teams on they are shown a page at a time, in words and no picture for each:
/// two kilobytes for a team are two megabytes for a thousand.
pub(super) const MANY: usize = 60;
/// Teams on a page.
const PAGE: usize = 50;
/// Columns of a course in letters.
const COURSE: usize = 14;

/// Some teams of the ranking, one after the other.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    first: usize,
    last: usize,
    /// The figure that is ranked by, of the first and the last team.
    from: String,
    to: String,
    rows: Vec<Brief>,
}

/// A team in a line of text.
#[derive(Debug, Serialize)]
struct Brief {
    rank: usize,
    name: String,
    later: bool,
    cells: Vec<BriefCell>,
    /// Its deployments over time, a letter for each part of the range.
    course: String,
    /// Days without a sample.
    lacks: usize,
}

#[derive(Debug, Serialize)]
struct BriefCell {
    text: String,
    moved: Option<(&'static str, String)>,
}

/// The ranking in pages.
pub(super) fn pages(report: &Report, ranking: &[Row], by: Key) -> Vec<Page> {
    let teams: BTreeMap<&str, &Team> = report.teams.iter().map(|team| (team.name.as_str(), team)).collect();
    let courses: BTreeMap<&str, Vec<f64>> =
        teams.iter().map(|(name, team)| (*name, parts(&team.deployments_by_period))).collect();
    let largest = courses.values().flatten().copied().fold(0.0, f64::max);
    let column = Key::ALL.iter().position(|key| *key == by).unwrap_or_default();
    let brief = |row: &Row| {
        let name = row.name.as_str();
        let cell = |cell: &Cell| BriefCell {
            text: match &cell.band {
                Some(band) => format!("{} {}", cell.text, band[..1].to_uppercase()),
                None => cell.text.clone(),
            },
            moved: (cell.class != "faint").then(|| (cell.class, cell.change.clone().unwrap_or_default())),
        };
        Brief {
            rank: row.rank,
            name: row.name.clone(),
            later: row.later,
            cells: row.cells.iter().map(cell).collect(),
            course: courses.get(name).map_or_else(String::new, |values| letters(values, largest)),
            lacks: teams.get(name).map_or(0, |team| team.gaps.len()),
        }
    };
    let page = |rows: &[Row]| {
        let figure = |row: Option<&Row>| row.map_or_else(String::new, |row| row.cells[column].text.clone());
        Page {
            first: rows.first().map_or(0, |row| row.rank),
            last: rows.last().map_or(0, |row| row.rank),
            from: figure(rows.first()),
            to: figure(rows.last()),
            rows: rows.iter().map(brief).collect(),
        }
    };
    ranking.chunks(PAGE).map(page).collect()
}

/// The sums of at most [`COURSE`] parts, as long as each other but for the first.
fn parts(values: &[Option<f64>]) -> Vec<f64> {
    let each = values.len().div_ceil(COURSE).max(1);
    let mut parts: Vec<f64> = values.rchunks(each).map(|part| part.iter().flatten().sum()).collect();
    parts.reverse();
    parts
}

/// Bars as letters: a space is nothing, and the lowest bar is little.
fn letters(values: &[f64], largest: f64) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let letter = |value: &f64| match value {
        value if *value <= 0.0 || largest <= 0.0 => '\u{2007}',
        value => BARS[((value / largest * 8.0).ceil() as usize).clamp(1, 8) - 1],
    };
    values.iter().map(letter).collect()
}

/// A figure, its part of the column's largest, and its band's letter.
#[derive(Debug, Serialize)]
struct Cell {
    text: String,
    /// 0 to 100.
    part: f64,
    band: Option<String>,
    /// `good` or `bad` where it moved, and else `faint`; and by how much.
    class: &'static str,
    change: Option<String>,
}

/// The teams, best first by `by`; those without a figure last.
pub(super) fn ranked(report: &Report, by: Key) -> Vec<Row> {
    let mut sorted: Vec<&Team> = report.teams.iter().collect();
    sorted.sort_by(|a, b| by_rank(by, a, b));
    let largest =
        Key::ALL.map(|key| report.teams.iter().filter_map(|team| figure(team, key)).fold(0.0, f64::max));
    let cell = |team: &Team, (key, largest): (Key, f64)| {
        let value = figure(team, key);
        let part = value.filter(|_| largest > 0.0).map_or(0.0, |value| value / largest);
        Cell {
            text: match (key, value) {
                (Key::Frequency, _) | (_, None) => key.text(value),
                (_, value) => format!("{} ({})", key.text(value), team.figures.count(key)),
            },
            part: rounded(part.clamp(0.0, 1.0) * 100.0),
            band: value
                .filter(|_| team.figures.any())
                .and_then(|_| band_of(key, &team.figures, report.bands_year))
                .map(|band| band.to_string()),
            class: match team.moves.iter().find(|one| one.metric == key.id()) {
                Some(one) if one.better => "good",
                Some(_) => "bad",
                None => "faint",
            },
            change: team.before.and_then(|before| difference(key, &before, &team.figures)),
        }
    };
    let row = |(index, team): (usize, &Team)| Row {
        rank: index + 1,
        name: team.name.clone(),
        later: report.comparison.is_some() && !team.compared,
        cells: Key::ALL.into_iter().zip(largest).map(|of| cell(team, of)).collect(),
    };
    sorted.into_iter().enumerate().map(row).collect()
}

impl Report {
    /// The teams, best first by `by`; those without a figure last.
    #[must_use]
    pub fn ranked(mut self, by: Key) -> Self {
        self.teams.sort_by(|a, b| by_rank(by, a, b));
        self.ranked_by = Some(by.id());
        self
    }
}

/// Best first; those without a figure last.
fn by_rank(by: Key, a: &Team, b: &Team) -> Ordering {
    let order = match (figure(a, by), figure(b, by)) {
        (Some(x), Some(y)) if by.more_is_better() => y.total_cmp(&x),
        (Some(x), Some(y)) => x.total_cmp(&y),
        (x, y) => x.is_none().cmp(&y.is_none()),
    };
    order.then_with(|| a.name.cmp(&b.name))
}

/// By how much a figure is another one: `▲ 12 %`, `▼ 2.5 points`.
pub(super) fn difference(key: Key, before: &Figures, now: &Figures) -> Option<String> {
    let (before, now) = (before.of(key)?, now.of(key)?);
    if before <= 0.0 || (now - before).abs() < NOTABLE * before {
        return None;
    }
    let arrow = if now > before { "▲" } else { "▼" };
    // A share's change in percent of percents would be read as points.
    Some(match key {
        Key::FailureRate | Key::Rework => format!("{arrow} {:.1} points", (now - before).abs() * 100.0),
        _ => format!("{arrow} {:.0} %", (now - before).abs() / before * 100.0),
    })
}

/// Changes below this part of the value before are called none.
const NOTABLE: f64 = 0.01;

/// A team's figure, as every format has it.
fn figure(team: &Team, key: Key) -> Option<f64> {
    team.figures.of(key)
}

/// How the teams' figures are spread: a dot for each, quartiles and median.
#[derive(Debug, Serialize)]
pub(super) struct Strip {
    title: &'static str,
    description: String,
    width: f64,
    height: f64,
    base: f64,
    radius: f64,
    dots: Vec<(f64, f64, String)>,
    /// Instead of dots, where there are many: x, y, width, height, label.
    bins: Vec<(f64, f64, f64, f64, String)>,
    /// From the first quartile to the third.
    box_x: f64,
    box_width: f64,
    median: f64,
    ticks: Vec<(f64, String)>,
}

pub(super) fn strips(report: &Report) -> Vec<Strip> {
    Key::ALL.into_iter().filter_map(|key| strip(report, key)).collect()
}

/// `None`: fewer than three teams have a figure, which is no distribution.
fn strip(report: &Report, key: Key) -> Option<Strip> {
    let mut values: Vec<(f64, &str)> =
        report.teams.iter().filter_map(|team| Some((figure(team, key)?, team.name.as_str()))).collect();
    if values.len() < 3 {
        return None;
    }
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let sorted: Vec<f64> = values.iter().map(|(value, _)| *value).collect();
    let axis = Axis::of(key, &sorted);
    let bins = if values.len() > MANY { bins(&axis, &sorted) } else { Vec::new() };
    let each = if bins.is_empty() { values.as_slice() } else { &[] };
    // Dots that would cover each other are stacked.
    let mut columns: Vec<(f64, usize)> = Vec::new();
    let mut dots = Vec::new();
    let mut tallest = 1;
    for (value, name) in each {
        let x = axis.x(*value);
        let level = match columns.last_mut() {
            Some((at, height)) if x - *at < 2.0 * DOT => {
                *height += 1;
                *height
            }
            _ => {
                columns.push((x, 1));
                1
            }
        };
        tallest = tallest.max(level);
        let at = columns.last().map_or(x, |(at, _)| *at);
        dots.push((at, level, format!("{name}: {}", key.text(Some(*value)))));
    }
    // Stacks that would leave the picture are pressed together.
    let pitch = (2.0 * DOT).min((STRIP_BASE - 12.0) / tallest as f64);
    let [low, median, high] = [0.25, 0.5, 0.75].map(|part| quantile(&sorted, part));
    let range = [sorted[0], sorted[sorted.len() - 1]];
    Some(Strip {
        title: key.name(),
        description: format!(
            "{} teams: half of them between {} and {}, median {}; from {} ({}) to {} ({}).",
            words::count(values.len() as f64),
            key.text(Some(low)),
            key.text(Some(high)),
            key.text(Some(median)),
            key.text(Some(range[0])),
            values[0].1,
            key.text(Some(range[1])),
            values[values.len() - 1].1,
        ),
        width: WIDTH,
        height: STRIP_HEIGHT,
        base: STRIP_BASE,
        radius: DOT,
        dots: dots
            .into_iter()
            .map(|(x, level, label)| {
                (rounded(x), rounded(STRIP_BASE - DOT - 1.0 - (level - 1) as f64 * pitch), label)
            })
            .collect(),
        bins,
        box_x: rounded(axis.x(low)),
        box_width: rounded((axis.x(high) - axis.x(low)).max(1.0)),
        median: rounded(axis.x(median)),
        ticks: axis.ticks.iter().map(|(value, label)| (rounded(axis.x(*value)), label.clone())).collect(),
    })
}

/// How many teams stand in each of equal parts of the axis.
fn bins(axis: &Axis, sorted: &[f64]) -> Vec<(f64, f64, f64, f64, String)> {
    const BINS: usize = 32;
    let width = (WIDTH - 2.0 * MARGIN) / BINS as f64;
    let mut counts = [0usize; BINS];
    for value in sorted {
        let at = ((axis.x(*value) - MARGIN) / width) as usize;
        counts[at.min(BINS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let bin = |(index, count): (usize, usize)| {
        let height = (STRIP_BASE - 12.0) * count as f64 / most;
        (
            rounded(MARGIN + index as f64 * width),
            rounded(STRIP_BASE - height),
            rounded(width - 1.0),
            rounded(height),
            words::counted(count, "team"),
        )
    };
    counts.into_iter().enumerate().filter(|(_, count)| *count > 0).map(bin).collect()
}

/// Shares and rates from zero; durations, which spread over magnitudes, by their logarithm.
struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    fn of(key: Key, sorted: &[f64]) -> Self {
        let (least, largest) = (sorted[0], sorted[sorted.len() - 1]);
        if !matches!(key, Key::LeadTime | Key::Recovery) || least <= 0.0 {
            let base = if matches!(key, Key::FailureRate | Key::Rework) { 0.01 } else { 1.0 };
            let high = round_above(largest / base) * base;
            let label = |value: f64| match key {
                _ if value == 0.0 => "0".into(),
                Key::FailureRate | Key::Rework => format!("{} %", words::short(value * 100.0)),
                Key::LeadTime | Key::Recovery => key.text(Some(value)),
                Key::Frequency => words::short(value),
            };
            let ticks = [0.0, 0.5, 1.0].map(|part| (high * part, label(high * part))).into();
            return Self { low: 0.0, high, logarithmic: false, ticks };
        }
        const HOUR: f64 = 3_600.0;
        let marks = [1.0 / 12.0, 0.25, 0.5, 1.0, 2.0, 4.0, 12.0, 24.0, 48.0, 96.0, 168.0, 336.0, 720.0]
            .map(|h| h * HOUR);
        let low = marks.into_iter().rfind(|mark| *mark <= least).unwrap_or(least);
        let high = marks.into_iter().find(|mark| *mark >= largest).unwrap_or(largest).max(low * 2.0);
        let ticks = marks
            .into_iter()
            .filter(|mark| (low..=high).contains(mark))
            .map(|mark| (mark, words::duration(Some(mark))))
            .collect();
        Self { low, high, logarithmic: true, ticks }
    }

    fn x(&self, value: f64) -> f64 {
        let part = match self.logarithmic {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        MARGIN + part.clamp(0.0, 1.0) * (WIDTH - 2.0 * MARGIN)
    }
}

/// Between the two values around it.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = part * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// Deployments over time as bars, without axes.
#[derive(Debug, Serialize)]
pub(super) struct Spark {
    name: String,
    description: String,
    /// x, y, width, height in a box of 100 by 28.
    bars: Vec<(f64, f64, f64, f64)>,
}

pub(super) const SPARK_HEIGHT: f64 = 28.0;

/// All teams by one scale, so that they can be compared; in the order given.
pub(super) fn sparks(report: &Report, order: &[Row]) -> Vec<Spark> {
    let all = || report.teams.iter().flat_map(|team| team.deployments_by_period.iter().copied().flatten());
    let largest = all().fold(0.0, f64::max);
    order
        .iter()
        .filter_map(|row| report.teams.iter().find(|team| team.name == row.name))
        .map(|team| {
            let values = &team.deployments_by_period;
            let known = values.iter().copied().flatten();
            let values: Vec<f64> = values.iter().map(|value| value.unwrap_or_default()).collect();
            Spark {
                name: team.name.clone(),
                description: format!(
                    "{}: {} deployments; at most {} in {}",
                    team.name,
                    words::known(team.figures.deployments),
                    words::count(known.fold(0.0, f64::max)),
                    words::counted(report.period_days as usize, "day"),
                ),
                bars: spark(&values, largest),
            }
        })
        .collect()
}

/// Bars in a box of 100 by [`SPARK_HEIGHT`].
pub(super) fn spark(values: &[f64], largest: f64) -> Vec<(f64, f64, f64, f64)> {
    let step = 100.0 / values.len().max(1) as f64;
    let bar = |(index, value): (usize, &f64)| {
        let height = if largest > 0.0 { (value / largest).clamp(0.0, 1.0) * SPARK_HEIGHT } else { 0.0 };
        let hundredth = |value: f64| (value * 100.0).round() / 100.0;
        (
            hundredth(index as f64 * step + step * 0.1),
            hundredth(SPARK_HEIGHT - height),
            hundredth(step * 0.8),
            hundredth(height),
        )
    };
    values.iter().enumerate().filter(|(_, value)| **value > 0.0).map(bar).collect()
}
