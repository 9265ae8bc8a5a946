//! `generate`: DORA data by itself: simulated events or the history of the four
//! gauges as a file, or live values (`super::live`), which is what the stack runs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use super::context::Context;
use super::live::Live;
use super::{CommandError, CommandResult, Exit};
use crate::config::Config;
use crate::dora::export::Format;
use crate::dora::feed::Feed;
use crate::dora::simulator::{self, Team};
use crate::dora::{events, write_gauges};

/// Make DORA data: events, a history as CSV or JSON lines, or live values
///
/// What happens depends on the seed, the team and the date only, so one seed
/// gives one year, byte for byte, on every machine. `--events` needs no
/// configuration.
#[derive(Debug, Args)]
pub struct Generate {
    /// Teams [default: of the configuration]
    #[arg(long)]
    teams: Option<u32>,
    /// Seed [default: of the configuration]
    #[arg(long)]
    seed: Option<u64>,
    /// Days of history [default: of the configuration]
    #[arg(long, conflicts_with = "live")]
    days: Option<u32>,
    /// Last day of the history [default: yesterday, UTC]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day, conflicts_with = "live")]
    until: Option<Date>,
    /// Format of the history
    #[arg(long, value_enum, default_value_t = FormatArgument::Csv, conflicts_with = "live")]
    format: FormatArgument,
    /// File to write the history to [default: standard output]
    #[arg(long, value_name = "FILE", conflicts_with = "live")]
    out: Option<PathBuf>,
    /// File to write simulated events to, as JSON lines sorted by time (`-`: standard output)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["live", "out", "format"])]
    events: Option<PathBuf>,
    /// Show live what this file of collected events tells, instead of simulated values
    #[arg(long, value_name = "FILE", requires = "live", conflicts_with_all = ["teams", "seed", "speed"])]
    follow: Option<PathBuf>,
    /// Hours after which a collected event counts [default: of the configuration]
    #[arg(long, value_name = "HOURS", requires = "follow")]
    settle_hours: Option<u32>,
    #[command(flatten)]
    live: Live,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArgument {
    Csv,
    Jsonl,
}

impl From<FormatArgument> for Format {
    fn from(format: FormatArgument) -> Self {
        match format {
            FormatArgument::Csv => Self::Csv,
            FormatArgument::Jsonl => Self::JsonLines,
        }
    }
}

impl Generate {
    pub async fn run(self, context: &Context) -> CommandResult {
        if let Some(path) = &self.events {
            return self.write_events(context, path);
        }
        let config = context.project().await?.config;
        let generator = config.generator;
        let teams = self.teams.unwrap_or(generator.teams);
        let seed = self.seed.unwrap_or(generator.seed);
        if self.live.wanted() {
            let feed = match &self.follow {
                Some(path) => Feed::Collected {
                    path: context.environment.folder.join(path),
                    settle: time::Duration::hours(self.settle_hours.unwrap_or(config.settle_hours).into()),
                },
                None => Feed::Simulated { teams: simulator::teams(teams), seed },
            };
            return self.live.run(context, feed, generator.interval_seconds).await;
        }
        let until = self.until.unwrap_or_else(yesterday);
        let days = self.days.unwrap_or(generator.days);
        let fails =
            |error: std::io::Error| CommandError::failed(format!("the history can't be written: {error}"));
        match &self.out {
            Some(path) => {
                let file = std::fs::File::create(context.environment.folder.join(path)).map_err(fails)?;
                let mut file = std::io::BufWriter::new(file);
                write_gauges(&mut file, self.format.into(), teams, seed, until, days).map_err(fails)?;
                file.flush().map_err(fails)?;
            }
            None => {
                let mut text = Vec::new();
                write_gauges(&mut text, self.format.into(), teams, seed, until, days).map_err(fails)?;
                context.printer.verbatim(&String::from_utf8_lossy(&text));
            }
        }
        Ok(Exit::Done)
    }
}

impl Generate {
    /// By the arguments alone: whoever wants to see what events look like has no
    /// configuration yet.
    fn write_events(&self, context: &Context, path: &Path) -> CommandResult {
        let usual = Config::default().generator;
        let (teams, seed) = (self.teams.unwrap_or(usual.teams), self.seed.unwrap_or(usual.seed));
        let until = self.until.unwrap_or_else(yesterday);
        let days = self.days.unwrap_or(usual.days);
        if teams > simulator::MAX_TEAMS {
            return Err(CommandError::usage(format!("{teams} teams are too many"))
                .hint(format!("give at most {}", simulator::MAX_TEAMS)));
        }
        let fails = |error: std::io::Error| {
            CommandError::failed(format!("the events can't be written to {}: {error}", path.display()))
                .hint("give a file in a folder that exists and can be written to")
        };
        let teams: Vec<Team> = simulator::teams(teams).iter().map(|name| Team::new(name, seed)).collect();
        let back = days.checked_sub(1).map(|back| time::Duration::days(back.into()));
        let first = back.and_then(|back| until.checked_sub(back));
        let all = first.map(|first| simulator::events(teams, first, until)).into_iter().flatten();
        if path == Path::new("-") {
            let mut text = Vec::new();
            for event in all {
                events::write(&mut text, [&event]).map_err(fails)?;
            }
            context.printer.verbatim(&String::from_utf8_lossy(&text));
        } else {
            let file = std::fs::File::create(context.environment.folder.join(path)).map_err(fails)?;
            let mut file = std::io::BufWriter::new(file);
            for event in all {
                events::write(&mut file, [&event]).map_err(fails)?;
            }
            file.flush().map_err(fails)?;
        }
        Ok(Exit::Done)
    }
}

fn yesterday() -> Date {
    let today = OffsetDateTime::now_utc().date();
    today.previous_day().unwrap_or(today)
}

/// A date as `--until` and `--since` take it.
pub(super) fn day(text: &str) -> Result<Date, String> {
    Date::parse(text, format_description!("[year]-[month]-[day]")).map_err(|error| error.to_string())
}
