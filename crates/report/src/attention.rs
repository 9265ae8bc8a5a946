//! What a reader should look at first, and what to do about it: as far as the data carry it.

use serde::Serialize;

use super::moves::{LEAST, LEAST_PARTS, MISTAKEN, Move, NOTABLE, NOTABLE_POINTS};
use super::{Figures, Key, Report, Standing, Team, capabilities, words};

/// Teams that are named one by one.
const NAMED: usize = 6;
/// Rows of the table of movers.
const MOVERS: usize = 40;

/// What is said above all figures.
#[derive(Debug, Serialize)]
pub(super) struct Attention {
    /// One sentence: what to look at first.
    pub first: String,
    pub groups: Vec<Group>,
    /// When a change is called one.
    pub rule: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Group {
    pub title: String,
    /// `bad`, `good`, `unknown`.
    pub class: &'static str,
    pub items: Vec<Item>,
    /// Those that are not named one by one.
    pub more: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Item {
    pub name: String,
    pub lines: Vec<String>,
}

/// A row of the table of movers.
#[derive(Debug, Serialize)]
pub(super) struct Mover {
    team: String,
    metric: &'static str,
    before: String,
    now: String,
    better: bool,
}

/// Remedies for a metric.
#[derive(Debug, Serialize)]
pub(super) struct Remedy {
    pub metric: &'static str,
    pub why: String,
    pub ask: &'static str,
    pub capabilities: Vec<(&'static str, String, &'static str)>,
}

/// All of it.
pub(super) fn attention(report: &Report) -> Attention {
    let worse = by_chance(report, false);
    let better = by_chance(report, true);
    let silent: Vec<Item> = report.teams.iter().filter_map(silent).collect();
    let problems: Vec<Item> = report
        .integrity
        .checks
        .iter()
        .filter(|check| check.standing == Standing::Bad)
        .map(|check| Item { name: check.title.into(), lines: vec![check.found.clone()] })
        .collect();
    let first = match (worse.first(), silent.first(), problems.first()) {
        (Some(team), ..) => {
            format!(
                "Look at {} first: {}.",
                team.name,
                moved(team, false).first().cloned().unwrap_or_default()
            )
        }
        (None, Some(item), _) => format!("Look at {} first: {}.", item.name, item.lines.join("; ")),
        (None, None, Some(item)) => format!(
            "No team got worse by more than chance would explain. Look at the data first: {}.",
            item.lines.join("; ")
        ),
        (None, None, None) if report.comparison.is_none() => {
            "Nothing can be called better or worse: as many days before are not stored.".into()
        }
        (None, None, None) => "No team got worse by more than chance would explain.".into(),
    };
    let of_all = report.comparison.as_ref().map(|all| {
        let lines = all.moves.iter().map(|one| (one.better, line(one, &all.before, &all.now)));
        lines.collect::<Vec<_>>()
    });
    let all = |better: bool| {
        let lines = of_all.iter().flatten().filter(|(of, _)| *of == better).map(|(_, line)| line.clone());
        Item { name: "All teams together".into(), lines: lines.collect() }
    };
    let group = |title: &str, class, of_all: Option<Item>, teams: &[&Team], better| {
        let named =
            teams.iter().take(NAMED).map(|team| Item { name: team.name.clone(), lines: moved(team, better) });
        let more: Vec<String> = teams.iter().skip(NAMED).map(|team| team.name.clone()).collect();
        let of_all = of_all.into_iter().filter(|item| !item.lines.is_empty());
        let more = (!more.is_empty()).then(|| format!("and {}", words::some(&more)));
        Group { title: title.into(), class, items: of_all.chain(named).collect(), more }
    };
    let listed = |title: &str, class, mut items: Vec<Item>| {
        let more: Vec<String> =
            items.split_off(items.len().min(NAMED)).into_iter().map(|item| item.name).collect();
        let more = (!more.is_empty()).then(|| format!("and {}", words::some(&more)));
        Group { title: title.into(), class, items, more }
    };
    let mut groups = vec![
        group("Got worse", "bad", Some(all(false)), &worse, false),
        listed("Stopped deploying", "bad", silent),
        listed("The data", "unknown", problems),
        group("Got better", "good", Some(all(true)), &better, true),
    ];
    groups.retain(|group| !group.items.is_empty());
    Attention { first, groups, rule: rule(report) }
}

fn rule(report: &Report) -> String {
    let small = |team: &&Team| team.compared && team.moves.is_empty() && too_small(team);
    let small = report.teams.iter().filter(small).count();
    let few = match small {
        0 => String::new(),
        small => format!(" Too little happened to judge {}.", words::counted(small, "team")),
    };
    format!(
        "“Better” and “worse” are said against the {} before, and only where both ranges have at least {LEAST} \
         deployments (changes, recoveries; for the frequency one of the ranges) and together {LEAST_PARTS} failures (or \
         deployments of rework), where the figure differs by {:.0} % (a share by {:.0} points, too), and where chance \
         alone would call anything better or worse in one of {:.0} such reports. “Stopped deploying” is said of a pause \
         of two weeks or more that a team's own pace before makes as unlikely.{few}",
        words::counted(report.days as usize, "day"),
        NOTABLE * 100.0,
        NOTABLE_POINTS * 100.0,
        1.0 / MISTAKEN,
    )
}

fn too_small(team: &Team) -> bool {
    let few = |figures: &Figures| figures.deployments.is_none_or(|count| count < LEAST);
    few(&team.figures) && team.before.as_ref().is_none_or(few)
}

/// The teams with a move, the least likely first.
fn by_chance(report: &Report, better: bool) -> Vec<&Team> {
    let least = |team: &Team| {
        team.moves.iter().filter(|one| one.better == better).map(|one| one.chance).reduce(f64::min)
    };
    let mut teams: Vec<(f64, &Team)> =
        report.teams.iter().filter_map(|team| Some((least(team)?, team))).collect();
    teams.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.name.cmp(&b.1.name)));
    teams.into_iter().map(|(_, team)| team).collect()
}

/// What of a team moved.
fn moved(team: &Team, better: bool) -> Vec<String> {
    let before = team.before.unwrap_or_default();
    team.moves
        .iter()
        .filter(|one| one.better == better)
        .map(|one| line(one, &before, &team.figures))
        .collect()
}

fn key(metric: &str) -> Key {
    Key::ALL.into_iter().find(|key| key.id() == metric).unwrap_or(Key::Frequency)
}

/// `change failure rate 8.1 % → 14.9 % (17 of 210, then 31 of 208)`
fn line(one: &Move, before: &Figures, now: &Figures) -> String {
    let key = key(one.metric);
    let text = |figures: &Figures| key.text(figures.of(key));
    let count = |figures: &Figures| figures.count(key);
    let of = match key {
        Key::LeadTime => " changes",
        Key::Recovery => " recoveries",
        Key::Frequency => " deployments",
        Key::FailureRate | Key::Rework => "",
    };
    format!(
        "{} {} → {} ({}, then {}{of})",
        key.name().to_lowercase(),
        text(before),
        text(now),
        count(before),
        count(now)
    )
}

fn silent(team: &Team) -> Option<Item> {
    let since = team.silent_since?;
    Some(Item { name: team.name.clone(), lines: vec![format!("no deployment since {since}")] })
}

/// Whoever moved, the least likely first.
pub(super) fn movers(report: &Report) -> (Vec<Mover>, Option<String>) {
    let teams = report.teams.iter().filter(|team| team.before.is_some());
    let mut all: Vec<(&Team, &Move)> =
        teams.flat_map(|team| team.moves.iter().map(move |one| (team, one))).collect();
    all.sort_by(|a, b| a.1.chance.total_cmp(&b.1.chance).then_with(|| a.0.name.cmp(&b.0.name)));
    let moved = all.len();
    all.truncate(MOVERS);
    let mover = |(team, one): &(&Team, &Move)| {
        let key = key(one.metric);
        let of = |figures: &Figures| match key {
            Key::Frequency => key.text(figures.of(key)),
            _ => format!("{} ({})", key.text(figures.of(key)), figures.count(key)),
        };
        Mover {
            team: team.name.clone(),
            metric: key.name(),
            before: of(&team.before.unwrap_or_default()),
            now: of(&team.figures),
            better: one.better,
        }
    };
    let more = (moved > MOVERS).then(|| format!("The JSON has all {} of them.", words::count(moved as f64)));
    (all.iter().map(mover).collect(), more)
}

/// What to look at for the metrics that got worse, of all or of the most teams; else for the one
/// that is in the lowest band.
pub(super) fn remedies(report: &Report) -> Vec<Remedy> {
    const MOST: usize = 2;
    let worse = |key: Key, moves: &[Move]| moves.iter().any(|one| !one.better && one.metric == key.id());
    let of_all = report.comparison.as_ref().map_or(&[][..], |all| &all.moves);
    let teams = |key: Key| report.teams.iter().filter(|team| worse(key, &team.moves)).count();
    let mut keys: Vec<(bool, usize, Key)> = Key::ALL
        .map(|key| (worse(key, of_all), teams(key), key))
        .into_iter()
        .filter(|(all, teams, _)| *all || *teams > 0)
        .collect();
    keys.sort_by_key(|(all, teams, _)| std::cmp::Reverse((*all, *teams)));
    keys.truncate(MOST);
    let mut reasons: Vec<(Key, String)> = keys
        .into_iter()
        .map(|(all, teams, key)| match (all, teams) {
            (true, 0) => (key, "got worse for all teams together".into()),
            (true, teams) => {
                (key, format!("got worse for all together, and for {}", words::counted(teams, "team")))
            }
            (false, teams) => (key, format!("got worse for {}", words::counted(teams, "team"))),
        })
        .collect();
    if reasons.is_empty() {
        reasons.extend(weakest(report));
    }
    let remedy = |(key, why): (Key, String)| Remedy {
        metric: key.name(),
        why,
        ask: capabilities::question(key),
        capabilities: capabilities::of(key).map(|one| (one.name, one.address(), one.about)).to_vec(),
    };
    reasons.into_iter().map(remedy).collect()
}

/// The metric in the lowest band, unless all are elite.
fn weakest(report: &Report) -> Option<(Key, String)> {
    const BANDS: [&str; 3] = ["low", "medium", "high"];
    let rank = |key: &Key| {
        let band = report.bands.iter().find(|one| one.metric == key.id())?.band.as_deref()?;
        BANDS.iter().position(|one| *one == band)
    };
    let key = Key::ALL.into_iter().filter(|key| rank(key).is_some()).min_by_key(|key| rank(key))?;
    let band = BANDS[rank(&key)?];
    Some((key, format!("the weakest of your metrics: {band} by the {} report", report.bands_year)))
}
