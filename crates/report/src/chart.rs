//! Charts as geometry: where a mark stands, how it is labelled, and what the
//! whole says in words. `templates/report/chart.html.j2` draws them as SVG, with
//! colours from the page's style sheet, so that one file serves light, dark and
//! paper (docs/decisions.md says why no chart library does).

use serde::Serialize;
use time::Date;

use super::words;

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 6.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;
/// The same where bands end within the chart: their names stand there, and on no line.
const BANDS: f64 = 110.0;
/// Room between two labels of the axis of time.
const LABEL_WIDTH: f64 = 62.0;

/// How the values of a chart are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Count,

    Share,
    Seconds,
}

impl Unit {
    pub(super) fn text(self, value: f64) -> String {
        match self {
            Self::Count => words::count(value),

            Self::Share => words::share(Some(value)),
            Self::Seconds => words::duration(Some(value)),
        }
    }

    /// The same on an axis, where round numbers stand.
    fn axis(self, value: f64) -> String {
        match self {
            _ if value == 0.0 => "0".into(),
            Self::Share => format!("{} %", words::short(value * 100.0)),

            Self::Count | Self::Seconds => self.text(value),
        }
    }

    /// What round numbers are multiples of.
    fn base(self, largest: f64) -> f64 {
        match self {
            Self::Count => 1.0,
            Self::Share => 0.01,
            Self::Seconds => {
                [86_400.0, 3_600.0, 60.0].into_iter().find(|unit| largest >= *unit).unwrap_or(1.0)
            }
        }
    }
}

/// One value of a chart over time; `None`: there was nothing to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub until: Date,
    pub value: Option<f64>,
    /// Of so many of so many days, where that is a part of them.
    pub part: Option<(u32, u32)>,
}

impl Point {
    fn text(&self, unit: Unit) -> String {
        let value = self.value.map_or(words::NOTHING.into(), |value| unit.text(value));
        match self.part {
            Some((known, all)) => {
                format!("{value} ({known} of {} stored)", words::counted(all as usize, "day"))
            }
            None => value,
        }
    }
}

#[derive(Debug, Serialize)]
struct Tick {
    at: f64,
    label: String,
}

#[derive(Debug, Serialize)]
struct Bar {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    label: String,
}

#[derive(Debug, Serialize)]
struct Dot {
    x: f64,
    y: f64,
    label: String,
}

/// A line across, and where its label stands beside the chart.
#[derive(Debug, Serialize)]
struct Limit {
    at: f64,
    label: String,
    y: f64,
}

/// Values over time, as bars or as a line.
#[derive(Debug, Serialize)]
pub(super) struct Chart {
    title: String,
    /// The picture in words.
    description: String,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    base: f64,
    y: Vec<Tick>,
    x: Vec<Tick>,
    bars: Vec<Bar>,
    path: String,
    dots: Vec<Dot>,
    /// Where a band ends.
    limits: Vec<Limit>,
    /// The same as a table: date and value.
    rows: Vec<(String, String)>,
    empty: bool,
}

/// Bars over time.
pub(super) fn bars(title: &str, points: &[Point], unit: Unit) -> Chart {
    let scale = Scale::of(points, unit);
    let mut chart = frame(title, points, unit, &scale, RIGHT);
    let step = step(points, RIGHT);
    // Gaps that are thinner than a line only flicker.
    let gap = if step < 6.0 { 0.0 } else { step * 0.14 };
    let bar = |(index, point): (usize, &Point)| {
        let value = point.value?;
        let y = scale.y(value);
        Some(Bar {
            x: rounded(LEFT + index as f64 * step + gap),
            y: rounded(y),
            width: rounded(step - 2.0 * gap),
            height: rounded(HEIGHT - BOTTOM - y),
            label: label(point, unit),
        })
    };
    chart.bars = points.iter().enumerate().filter_map(bar).collect();
    chart
}

/// A line over time, with a gap where there is no value; and lines where bands end.
pub(super) fn line(title: &str, points: &[Point], unit: Unit, limits: &[(f64, String)]) -> Chart {
    let scale = Scale::of(points, unit);
    let within = limits.iter().filter(|(value, _)| *value > 0.0 && *value < scale.top * 0.97);
    let labels = within.map(|(value, label)| (rounded(scale.y(*value)), label.clone())).collect();
    let limits = beside(labels);
    let right = if limits.is_empty() { RIGHT } else { BANDS };
    let mut chart = frame(title, points, unit, &scale, right);
    let step = step(points, right);
    let mut pen_down = false;
    for (index, point) in points.iter().enumerate() {
        let Some(value) = point.value else {
            pen_down = false;
            continue;
        };
        let (x, y) = (rounded(LEFT + (index as f64 + 0.5) * step), rounded(scale.y(value)));
        chart.path.push_str(&format!("{}{x} {y}", if pen_down { "L" } else { "M" }));
        pen_down = true;
        chart.dots.push(Dot { x, y, label: label(point, unit) });
    }
    chart.limits = limits;
    chart
}

/// Labels at the heights of their lines, as far apart as letters are high.
fn beside(mut limits: Vec<(f64, String)>) -> Vec<Limit> {
    const LETTER: f64 = 15.0;
    // From the lowest up: the ground is firm, and there is room above.
    limits.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut below = f64::INFINITY;
    let limit = |(at, label): (f64, String)| {
        let y = (at + 4.0).min(below - LETTER).min(HEIGHT - BOTTOM);
        below = y;
        Limit { at, label, y: rounded(y) }
    };
    limits.into_iter().map(limit).collect()
}

/// The picture's frame: words, and the labels of both axes.
fn frame(title: &str, points: &[Point], unit: Unit, scale: &Scale, right: f64) -> Chart {
    let values: Vec<f64> = points.iter().filter_map(|point| point.value).collect();
    let description = match (points.first(), points.last(), values.last()) {
        (Some(first), Some(last), Some(newest)) => format!(
            "{} values from {} to {}: between {} and {}, the last one {}.",
            values.len(),
            first.until,
            last.until,
            unit.text(values.iter().copied().fold(f64::INFINITY, f64::min)),
            unit.text(values.iter().copied().fold(0.0, f64::max)),
            unit.text(*newest),
        ),
        _ => "There are no values.".into(),
    };
    let step = step(points, right);
    let every = (LABEL_WIDTH / step).ceil().max(1.0) as usize;
    let years =
        points.first().zip(points.last()).is_some_and(|(a, b)| (b.until - a.until).whole_days() > 250);
    // From the end: the newest date is the one that is looked for.
    let x = points.iter().enumerate().rev().step_by(every).map(|(index, point)| Tick {
        at: rounded((LEFT + (index as f64 + 0.5) * step).min(WIDTH - right - 18.0)),
        label: if years { month(point.until) } else { short(point.until) },
    });
    Chart {
        title: title.into(),
        description,
        width: WIDTH,
        height: HEIGHT,
        left: LEFT,
        right: WIDTH - right,
        base: HEIGHT - BOTTOM,
        y: [0.0, 0.5, 1.0]
            .map(|part| Tick { at: rounded(scale.y(scale.top * part)), label: unit.axis(scale.top * part) })
            .into(),
        x: x.collect(),
        bars: Vec::new(),
        path: String::new(),
        dots: Vec::new(),
        limits: Vec::new(),
        rows: points.iter().map(|point| (point.until.to_string(), point.text(unit))).collect(),
        empty: values.is_empty(),
    }
}

fn step(points: &[Point], right: f64) -> f64 {
    (WIDTH - LEFT - right) / points.len().max(1) as f64
}

fn label(point: &Point, unit: Unit) -> String {
    format!("{}: {}", point.until, point.text(unit))
}

/// `14 Mar`
fn short(date: Date) -> String {
    format!("{} {:.3}", date.day(), date.month().to_string())
}

/// `Mar 2026`
fn month(date: Date) -> String {
    format!("{:.3} {}", date.month().to_string(), date.year())
}

/// From zero to a round number above the largest value.
struct Scale {
    top: f64,
}

impl Scale {
    fn of(points: &[Point], unit: Unit) -> Self {
        let largest = points.iter().filter_map(|point| point.value).fold(0.0, f64::max);
        let base = unit.base(largest);
        Self { top: round_above(largest / base) * base }
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value / self.top).clamp(0.0, 1.0) * (HEIGHT - BOTTOM - TOP)
    }
}

/// The smallest of 1, 1.2, 1.6, 2, 3, 4, 5, 6, 8 times a power of ten: both it and
/// its half are short to write.
pub(super) fn round_above(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|top| *top >= value * 0.999_999).unwrap_or(value)
}

/// A tenth is exact enough for a screen, and short.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::date;

    use super::*;

    fn points(values: &[Option<f64>]) -> Vec<Point> {
        let at = |index: usize| date!(2026 - 03 - 01) + Duration::days(7 * index as i64);
        values
            .iter()
            .enumerate()
            .map(|(index, value)| Point { until: at(index), value: *value, part: None })
            .collect()
    }

    #[test]
    fn a_chart_says_what_it_shows() {
        let chart = bars("Deployments", &points(&[Some(1.0), None, Some(4.0)]), Unit::Count);
        assert_eq!(
            chart.description,
            "2 values from 2026-03-01 to 2026-03-15: between 1 and 4, the last one 4."
        );
        assert_eq!(chart.bars.len(), 2);
        assert_eq!(chart.rows[1], ("2026-03-08".to_owned(), "–".to_owned()));
        assert!(bars("Nothing", &[], Unit::Count).empty);
    }

    #[test]
    fn a_line_has_a_gap_where_there_is_no_value() {
        let values = [Some(0.01), Some(0.02), None, Some(0.03)];
        let chart =
            line("Rate", &points(&values), Unit::Share, &[(0.02, "elite".into()), (0.5, "low".into())]);
        assert_eq!((chart.path.matches('M').count(), chart.dots.len()), (2, 3));
        assert_eq!(chart.limits.len(), 1, "what is beyond the scale is not shown");
    }

    #[test]
    fn labels_of_limits_stand_beside_the_chart_and_apart_from_each_other() {
        let limits: Vec<(f64, String)> =
            [(0.05, "elite ≤ 5 %"), (0.055, "high ≤ 5.5 %"), (0.06, "medium ≤ 6 %"), (0.9, "beyond")]
                .map(|(value, label)| (value, label.to_owned()))
                .into();
        let chart = line("Rate", &points(&[Some(0.1), Some(0.05), Some(0.055)]), Unit::Share, &limits);
        assert_eq!(chart.limits.len(), 3);
        assert!(chart.dots.iter().all(|dot| dot.x < chart.right), "the line ends before the labels");
        for label in &chart.limits {
            let width = label.label.chars().count() as f64 * 7.6;
            assert!(chart.right + 6.0 + width <= WIDTH, "{label:?}");
            assert!(label.y <= HEIGHT - BOTTOM && label.y > TOP);
        }
        let mut heights: Vec<f64> = chart.limits.iter().map(|label| label.y).collect();
        heights.sort_by(f64::total_cmp);
        assert!(heights.windows(2).all(|pair| pair[1] - pair[0] >= 14.0), "{heights:?}");
        // Without limits there is room for the line.
        assert!(line("Rate", &points(&[Some(0.1)]), Unit::Share, &[]).right > chart.right + 90.0);
    }

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, top) in [(0.0, 1.0), (0.07, 0.08), (3.5, 4.0), (101.0, 120.0), (10.0, 10.0), (0.3, 0.3)] {
            assert!((round_above(value) - top).abs() < 1e-9, "{value}: {}", round_above(value));
        }
        let chart = bars("Lead time", &points(&[Some(93.0 * 3600.0)]), Unit::Seconds);
        let labels: Vec<&str> = chart.y.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels, ["0", "2 d", "4 d"]);
    }

    #[test]
    fn a_year_has_room_for_its_labels() {
        let year: Vec<Option<f64>> = (0..52).map(|week| Some(f64::from(week))).collect();
        let chart = bars("Deployments", &points(&year), Unit::Count);
        assert!(chart.x.len() <= 7, "{:?}", chart.x);
        assert!(chart.x.iter().all(|tick| tick.label.len() == 8), "{:?}", chart.x);
    }
}
