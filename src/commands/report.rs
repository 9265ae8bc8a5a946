//! `report`: the metrics as one page, or as data for pipelines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use dorainfra_base::file;
use dorainfra_base::zone::Zone;
use dorainfra_config::parse_duration;
use dorainfra_deploy::workflow::Purpose;
use dorainfra_dora::events::PRODUCTION;
use dorainfra_dora::metrics::{DEPLOYMENTS, LEAD_TIME, RECOVERY};
use dorainfra_model::{Event, Events};
use dorainfra_prometheus::Series;
use dorainfra_prometheus::query::{Access, Query};
use dorainfra_report::{self as report, Key, Question, Report as Collected};
use time::{Date, Duration, OffsetDateTime, UtcOffset};

use super::arguments::day;
use super::context::Context;
use super::{CommandError, CommandResult, Exit, screen};
use crate::ui;

/// The file that a page is written to when none is named.
const PAGE: &str = "dora-report.html";

/// Report on the metrics: one self-contained HTML page, or JSON, CSV, Markdown
///
/// Asks the deployment's Mimir, or with `--endpoint` anything that answers the
/// Prometheus query API. Changes nothing.
#[derive(Debug, Args)]
pub struct Report {
    /// What is written
    #[arg(long, value_enum, default_value_t = Format::Html)]
    format: Format,
    /// File to write to, `-` for standard output [default: dora-report.html for a page, else `-`]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How far back, as whole days: `84d`, `12w`, `1y`
    #[arg(long, value_name = "DURATION", default_value = "84d", value_parser = days)]
    range: i64,
    /// Whose days these are, by its IANA name, as Europe/Berlin [default: of the configuration; of an endpoint UTC]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    timezone: Option<Zone>,
    /// First day [default: --range before --to]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day, conflicts_with = "range")]
    from: Option<Date>,
    /// Last day [default: yesterday]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    to: Option<Date>,
    /// Only these teams
    #[arg(long, value_name = "TEAM", value_delimiter = ',')]
    teams: Vec<String>,
    /// Each service, too
    #[arg(long)]
    services: bool,
    /// Environment whose deployments count
    #[arg(long, default_value = PRODUCTION)]
    environment: String,
    /// Rank the teams by this metric, best first [default: the page by frequency; JSON, CSV and Markdown have them by name]
    #[arg(long, value_enum, value_name = "METRIC")]
    rank_by: Option<RankBy>,
    /// Year of the report whose bands the figures are put into
    #[arg(long, default_value_t = 2023, value_name = "YEAR")]
    bands: u16,
    /// Ask this endpoint instead of the deployment's: `http://127.0.0.1:9090`
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Tenant at the endpoint, for X-Scope-OrgID
    #[arg(long, requires = "endpoint")]
    tenant: Option<String>,
    /// Authorities that the endpoint's certificate is checked by, PEM [default: the system's]
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    ca: Option<PathBuf>,
    /// Certificate to show to the endpoint, PEM
    #[arg(long, value_name = "FILE", requires_all = ["endpoint", "key"])]
    cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires_all = ["endpoint", "cert"])]
    key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Html,
    Json,
    Csv,
    Md,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RankBy {
    Frequency,
    LeadTime,
    FailureRate,
    Recovery,
    Rework,
}

impl From<RankBy> for Key {
    fn from(by: RankBy) -> Self {
        match by {
            RankBy::Frequency => Self::Frequency,
            RankBy::LeadTime => Self::LeadTime,
            RankBy::FailureRate => Self::FailureRate,
            RankBy::Recovery => Self::Recovery,
            RankBy::Rework => Self::Rework,
        }
    }
}

impl Report {
    pub async fn run(self, context: &Context) -> CommandResult {
        let (now, begun) = (OffsetDateTime::now_utc(), Instant::now());
        let zone = self.zone(context).await?;
        let (first, until) = self.dates(&zone, now)?;
        let asked = async |events: &Events| self.collect(context, events, zone, first, until, now).await;
        let collected = screen::with(&context.printer, asked).await?;
        if context.printer.options().verbose {
            let took = begun.elapsed().as_millis() as u64;
            context.printer.note(&format!(
                "{} queries; the report took {}",
                collected.queries,
                ui::elapsed(took)
            ));
        }
        if let Some(caution) = collected.caution() {
            context.printer.warning(&caution, Some("`sources` in dorainfra.yaml feed real ones"));
        }
        if let Some(left_out) = collected.left_out() {
            context.printer.note(&left_out);
        }
        if self.teams.is_empty() && !collected.other_environments.is_empty() {
            let others = collected.other_environments.join("`, `");
            context.printer.warning(
                &format!("`{}` is what is reported; there is also `{others}`", self.environment),
                Some("`--environment NAME` reports another environment"),
            );
        }
        let services = collected.services.iter().flatten();
        if services.clone().next().is_some() && !services.clone().all(report::Service::has_times) {
            let lacking = services.filter(|service| !service.has_times()).count();
            context.printer.warning(
                &format!("lead time and recovery of {lacking} services are not stored for all of the range"),
                Some("`generator.service_histograms: true` and `dorainfra apply` write them, for the past, too"),
            );
        }
        let by = self.rank_by.map(Key::from);
        let collected = match by {
            Some(by) => collected.ranked(by),
            None => collected,
        };
        let text = match self.format {
            Format::Html => report::html(&collected, by.unwrap_or(Key::Frequency)),
            Format::Json => serde_json::to_string_pretty(&collected)
                .map(|text| text + "\n")
                .map_err(|error| CommandError::failed(format!("the report can't be written: {error}")))?,
            Format::Csv => report::csv(&collected),
            Format::Md => report::markdown(&collected),
        };
        let page = (self.format == Format::Html).then(|| PathBuf::from(PAGE));
        match self.out.or(page).filter(|path| path != Path::new("-")) {
            Some(path) => {
                let path = context.environment.folder.join(path);
                file::output(&path, text.as_bytes(), file::Mode::Public).map_err(|error| {
                    CommandError::failed(format!("{} can't be written: {error}", path.display()))
                        .hint("check that its folder exists, its permissions and the free space")
                })?;
                context.printer.note(&format!("the report is in {}", path.display()));
                context.printer.conclude(&ui::Written::of(&path.display().to_string()));
            }
            // As it is, and not as a text in a line.
            None if self.format == Format::Json && context.global.json => {
                context.printer.conclude(&ui::Reported(collected));
            }
            None => context.printer.verbatim(&text),
        }
        Ok(Exit::Done)
    }

    /// Of an endpoint without a configuration nothing is known.
    async fn zone(&self, context: &Context) -> CommandResult<Zone> {
        match &self.timezone {
            Some(zone) => Ok(zone.clone()),
            None if self.endpoint.is_some() => Ok(Zone::UTC),
            None => Ok(Zone::configured(&context.project().await?.config.timezone)),
        }
    }

    /// The first and the last day.
    fn dates(&self, zone: &Zone, now: OffsetDateTime) -> CommandResult<(Date, Date)> {
        let today = zone.day(now);
        let yesterday = today.previous_day().unwrap_or(today);
        let until = self.to.unwrap_or_else(|| usual_end(zone, now));
        if until > yesterday {
            return Err(CommandError::usage(format!("{until} is not over yet (days are {zone})"))
                .hint(format!("give `--to {yesterday}` or an earlier day")));
        }
        let first = match self.from {
            Some(first) => first,
            None => until.checked_sub(Duration::days(self.range - 1)).unwrap_or(Date::MIN),
        };
        if first > until {
            return Err(CommandError::usage(format!(
                "the first day, {first}, is after the last one, {until}"
            ))
            .hint("both days are included; for a single day give it twice"));
        }
        if (until - first).whole_days() >= LONGEST {
            return Err(CommandError::usage(format!("{first} to {until} is more than {LONGEST} days"))
                .hint("give a later `--from`"));
        }
        Ok((first, until))
    }

    async fn collect(
        &self,
        context: &Context,
        events: &Events,
        zone: Zone,
        first: Date,
        until: Date,
        now: OffsetDateTime,
    ) -> CommandResult<Collected> {
        let mut question = Question {
            subject: String::new(),
            source: String::new(),
            environment: self.environment.clone(),
            sources: false,
            settle_hours: None,
            teams: self.teams.clone(),
            without: Vec::new(),
            first,
            until,
            zone,
            bands_year: self.bands,
            services: self.services,
            now,
            native: false,
            simulated: false,
        };
        let Some(url) = &self.endpoint else {
            let run = context.run(Purpose::Look, events).await?;
            let target = run.target().await?;
            question.subject = run.blueprint.deployment.clone();
            question.source = format!("{} ({})", target.base_url, run.facts.engine.label());
            let asked = question.clone();
            let sent = run.counted_aside(move |series| closing(series, &asked))?;
            let config = &run.project.config;
            question.sources = !config.sources.is_empty();
            question.settle_hours = (!config.sources.is_empty()).then_some(config.settle_hours);
            let query = Query::new(&target)?;
            return report::collect(&query, &question, sent, &told(events)).await.map_err(no_report);
        };
        let read = |path: &PathBuf| {
            dorainfra_base::file::text(&context.environment.folder.join(path)).map_err(|error| {
                CommandError::usage(format!("{} can't be read: {error}", path.display()))
                    .hint("give the name of a file in PEM format")
            })
        };
        let identity = match (&self.cert, &self.key) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        let ca = self.ca.as_ref().map(read).transpose()?;
        let query =
            Query::at(url, &Access { tenant: self.tenant.clone(), ca, identity }).map_err(|error| {
                CommandError::usage(error.to_string())
                    .hint("give it as https://HOST:PORT/PATH, without /api/v1")
            })?;
        // Where it is asked is shown; a password in the address is not.
        question.source = shown(url);
        question.subject.clone_from(&question.source);
        let unknown = std::future::ready(BTreeMap::new());
        report::collect(&query, &question, unknown, &told(events)).await.map_err(|error| {
            if !matches!(error, report::CollectError::Query(_)) {
                return no_report(error);
            }
            CommandError::failed(format!("{}: {error}", question.source)).hint(
                "give the address as far as before /api/v1 (Mimir's ends in /prometheus), and --ca, --cert, --key \
                 or --tenant where it wants them",
            )
        })
    }
}

/// How far the asking is, as events.
fn told(events: &Events) -> impl Fn(report::Progress) + Sync {
    |report::Progress { stage, answered, asked }| {
        let unit = if asked == 1 { "query" } else { "queries" };
        events.send(Event::Progress { what: stage.into(), done: answered, total: asked, unit });
    }
}

/// The longest range, in days.
const LONGEST: i64 = 3660;

/// How many samples close each day, of what is asked for.
fn closing(history: &mut dyn Iterator<Item = Series>, question: &Question) -> BTreeMap<Date, u64> {
    let mut days = BTreeMap::new();
    // What the report counts as stored, and nothing that is derived from it.
    let counted = |name: &str| [DEPLOYMENTS, LEAD_TIME, RECOVERY].iter().any(|of| name.starts_with(of));
    for one in history.filter(|one| counted(one.name)) {
        let team = one.labels.get("team");
        let asked = question.teams.is_empty() || question.teams.iter().any(|name| name == team);
        if !asked || one.labels.get("environment") != question.environment {
            continue;
        }
        for (at, _) in one.samples.plain() {
            let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(*at) * 1_000_000) else {
                continue;
            };
            let day = question.zone.day(at);
            if question.zone.begin(day) == at
                && let Some(day) = day.previous_day()
            {
                *days.entry(day).or_default() += 1;
            }
        }
    }
    days
}

/// Why there is no report, and what to do: nothing is written over an earlier one.
fn no_report(error: report::CollectError) -> CommandError {
    let hint = match error {
        report::CollectError::Query(error) => return error.into(),
        report::CollectError::UnknownEnvironment { ref known, .. } => {
            format!("`--environment` with one of {}", listed(known))
        }
        report::CollectError::UnknownTeams { ref known, .. } => {
            format!("`--teams` with some of {}", listed(known))
        }
        report::CollectError::NotCut { .. } => {
            return CommandError::failed(error.to_string()).hint(
                "set `timezone` and run `dorainfra apply`: the history gets a sample where each of its days begins; \
                 or give `--timezone UTC`",
            );
        }
    };
    CommandError::usage(error.to_string()).hint(hint)
}

/// Names, as many as one reads.
fn listed(names: &[String]) -> String {
    const MOST: usize = 20;
    let shown = names.iter().take(MOST).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The last day that ended before the last midnight of UTC, which is as far as a history goes.
fn usual_end(zone: &Zone, now: OffsetDateTime) -> Date {
    let today = zone.day(now.to_offset(UtcOffset::UTC).date().midnight().assume_utc());
    today.previous_day().unwrap_or(today)
}

fn zone(name: &str) -> Result<Zone, String> {
    Zone::named(name).ok_or_else(|| "is no time zone's IANA name, such as Europe/Berlin".into())
}

/// An address without user and password.
fn shown(url: &str) -> String {
    let Ok(mut parsed) = reqwest::Url::parse(url) else { return url.to_owned() };
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.to_string().trim_end_matches('/').to_owned()
}

fn days(text: &str) -> Result<i64, String> {
    const DAY: u64 = 86_400;
    let seconds = parse_duration(text).map_err(|error| error.to_string())?.as_secs();
    match (seconds % DAY, seconds / DAY) {
        (0, days @ 1..) if days <= LONGEST as u64 => Ok(days as i64),
        (0, 1..) => Err(format!("is more than {LONGEST} days")),
        _ => Err("must be a whole number of days, at least one".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::{date, datetime};

    #[test]
    fn a_range_is_whole_days() {
        assert_eq!((days("84d"), days("12w"), days("1y")), (Ok(84), Ok(84), Ok(365)));
        for wrong in ["", "12h", "0d", "20y", "84"] {
            assert!(days(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_report_ends_where_a_history_can() {
        let end = |name: &str, now| usual_end(&Zone::named(name).unwrap(), now);
        let (early, late) = (datetime!(2026-03-10 0:30 UTC), datetime!(2026-03-10 23:30 UTC));
        for now in [early, late] {
            assert_eq!(end("UTC", now), date!(2026 - 03 - 09));
            assert_eq!(end("Europe/Berlin", now), date!(2026 - 03 - 09));
            // The 9th ends there on the 10th, at 4:00 UTC.
            assert_eq!(end("America/New_York", now), date!(2026 - 03 - 08));
        }
    }

    #[test]
    fn a_password_in_the_address_is_not_shown() {
        assert_eq!(
            shown("https://me:sesame@mimir.example.com/prometheus/"),
            "https://mimir.example.com/prometheus"
        );
    }
}
