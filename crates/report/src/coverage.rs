//! Which days of which team are stored, as a picture.

use serde::Serialize;
use time::Date;

use super::chart::rounded;
use super::comparison::MANY;
use super::{Report, Team, words};

/// Rows, where there are many teams.
const WORST: usize = 40;

/// Which days of which team are stored.
#[derive(Debug, Serialize)]
pub(super) struct Coverage {
    width: f64,
    height: f64,
    left: f64,
    row: f64,
    teams: Vec<Line>,
    ticks: Vec<(f64, String)>,
    axis: f64,
}

#[derive(Debug, Serialize)]
struct Line {
    name: String,
    y: f64,
    stale: bool,
    runs: Vec<Run>,
}

/// Days in a row that are alike.
#[derive(Debug, Serialize)]
struct Run {
    x: f64,
    width: f64,
    /// `stored`, `missing`, or `before` the first sample.
    state: &'static str,
    label: String,
}

const ROW: f64 = 13.0;
const NAMES: f64 = 132.0;
const COVERAGE_WIDTH: f64 = 760.0;

/// Of many teams those that lack days, most of them first, and then who is stale.
fn shown_of(report: &Report) -> Vec<&Team> {
    let mut teams: Vec<&Team> = report.teams.iter().collect();
    if teams.len() > MANY {
        teams.retain(|team| !team.gaps.is_empty() || team.stale());
        teams.sort_by_key(|team| (std::cmp::Reverse(team.gaps.len()), &team.name));
        teams.truncate(WORST);
    }
    teams
}

/// What the picture of what is stored leaves out.
pub(super) fn left_out(report: &Report) -> Option<String> {
    let (teams, shown) = (report.teams.len(), shown_of(report).len());
    let lack = report.teams.iter().filter(|team| !team.gaps.is_empty()).count();
    let stale = report.teams.iter().filter(|team| team.stale()).count();
    (teams > MANY).then(|| {
        format!(
            "Of {} {} lack a day, and {} have no value of the last 5 minutes; here are {} of them, those that \
             lack most first. The ranking names the days that each team lacks, the JSON all of it.",
            words::counted(teams, "team"),
            words::count(lack as f64),
            words::count(stale as f64),
            words::count(shown as f64)
        )
    })
}

pub(super) fn coverage(report: &Report) -> Coverage {
    let shown = shown_of(report);
    let days = report.days as usize;
    let all: Vec<Date> = (0..days).map(|day| report.first + time::Duration::days(day as i64)).collect();
    let step = (COVERAGE_WIDTH - NAMES) / days.max(1) as f64;
    let line = |(index, team): (usize, &Team)| {
        let state = |day: &Date| match team.first_day {
            None => "missing",
            Some(first) if *day < first => "before",
            Some(_) if team.gaps.contains(day) => "missing",
            Some(_) => "stored",
        };
        let runs = all.chunk_by(|a, b| state(a) == state(b)).scan(0usize, |begun, run| {
            let at = *begun;
            *begun += run.len();
            let state = state(&run[0]);
            let said = match state {
                "stored" => "stored",
                "missing" => "no sample",
                _ => "before the first sample",
            };
            Some(Run {
                x: rounded(NAMES + at as f64 * step),
                // A day of a year is thin; a hole must be seen.
                width: rounded((run.len() as f64 * step).max(if state == "missing" { 3.0 } else { 0.1 })),
                state,
                label: format!("{}: {} to {} {said}", team.name, run[0], run[run.len() - 1]),
            })
        });
        let mut runs: Vec<Run> = runs.collect();
        // Drawn last, a widened hole is not covered by its neighbour.
        runs.sort_by_key(|run| run.state == "missing");
        Line { name: team.name.clone(), y: 4.0 + index as f64 * ROW, stale: team.stale(), runs }
    };
    let every = (days / 6).max(1);
    Coverage {
        width: COVERAGE_WIDTH,
        height: shown.len() as f64 * ROW + 26.0,
        left: NAMES,
        row: ROW - 3.0,
        axis: shown.len() as f64 * ROW + 18.0,
        teams: shown.into_iter().enumerate().map(line).collect(),
        ticks: all
            .iter()
            .enumerate()
            .step_by(every)
            .filter(|(index, _)| NAMES + *index as f64 * step < COVERAGE_WIDTH - 50.0)
            .map(|(index, day)| (rounded(NAMES + index as f64 * step), day.to_string()))
            .collect(),
    }
}
