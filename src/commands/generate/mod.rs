//! `generate`: DORA data by itself: simulated events or the history of the four
//! gauges as a file, or live values ([`live`]), which is what the stack runs.

mod live;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use dorainfra_base::zone::Zone;
use dorainfra_config::Generator as Configured;
use dorainfra_deploy::verify;
use dorainfra_deploy::workflow::activity::{Activity, History, yesterday};
use dorainfra_deploy::workflow::event_sources;
use dorainfra_deploy::workflow::history::natives;
use dorainfra_dora::export::Format;
use dorainfra_dora::feed::Feed;
use dorainfra_dora::simulator::{self, Team};
use dorainfra_dora::{events, write_gauges};
use dorainfra_model::Events;
use dorainfra_prometheus::Past as _;
use dorainfra_prometheus::Target;
use dorainfra_prometheus::query::Query;
use dorainfra_prometheus::remote_write::{Client, Limits};
use time::Date;

use self::live::Live;
use super::arguments::{Endpoint, day};
use super::context::Context;
use super::{CommandError, CommandResult, Exit, screen};
use crate::ui::Printer;

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
    /// With --live or --remote-write: what this file of collected events tells, instead of simulated values
    #[arg(long, value_name = "FILE", conflicts_with_all = ["teams", "seed", "speed", "events"])]
    follow: Option<PathBuf>,
    /// Hours after which a collected event counts [default: of the configuration]
    #[arg(long, value_name = "HOURS", requires = "follow")]
    settle_hours: Option<u32>,
    #[command(flatten)]
    live: Live,
    #[command(flatten)]
    endpoint: Endpoint,
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
            let usual = context.project().await?.config.generator;
            return self.write_events(context, path, &usual);
        }
        let config = context.project().await?.config;
        let generator = config.generator.clone();
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
            return self.live.run(context, feed, &self.endpoint, generator.interval_seconds).await;
        }
        let until = self.until.unwrap_or_else(yesterday);
        let days = self.days.unwrap_or(generator.days);
        if let Some(endpoint) = self.endpoint.named(&context.environment.folder) {
            // What is stored of a day can't be written again.
            let last = yesterday();
            if until > last {
                return Err(CommandError::usage(format!("{until} is not over yet (days are UTC)"))
                    .hint(format!("give `--until {last}` or an earlier day; `--live` tells what comes")));
            }
            let connect = endpoint.connect().await?;
            let activity = match &self.follow {
                Some(path) => self.collected(context, path, config.settle_hours)?,
                None => Activity::Simulated { teams: simulator::teams(teams), seed },
            };
            let history = History::of(
                activity,
                until,
                days,
                self.endpoint.histograms(),
                Zone::configured(&config.timezone),
            );
            let target = endpoint.reached().await?;
            return write_history(context, &connect()?, &target, &history).await;
        }
        if self.follow.is_some() {
            return Err(CommandError::usage("`--follow` has nowhere to write to")
                .hint("give `--remote-write URL` for the history, and `--live` for what comes"));
        }
        let fails = |error: std::io::Error| {
            CommandError::failed(format!("the history can't be written: {error}")).because(error)
        };
        let mut out = output(context, self.out.as_deref()).map_err(fails)?;
        write_gauges(&mut out, self.format.into(), teams, seed, until, days).map_err(fails)?;
        out.flush().map_err(fails)?;
        Ok(Exit::Done)
    }
}

impl Generate {
    /// What a file of events tells, as it counts.
    fn collected(&self, context: &Context, path: &Path, settle_hours: u32) -> CommandResult<Activity> {
        let file = context.environment.folder.join(path);
        let events = event_sources::known(&file, &*context.operator())?;
        if events.is_empty() {
            return Err(CommandError::usage(format!("{} holds no events", path.display()))
                .hint("`dorainfra collect … --events FILE` reads real ones; docs/events.md has the form"));
        }
        let settle = time::Duration::hours(self.settle_hours.unwrap_or(settle_hours).into());
        Ok(Activity::Collected { events, settle })
    }
}

/// Sends a history to an endpoint.
async fn write_history(
    context: &Context,
    client: &Client,
    target: &Target,
    history: &History,
) -> CommandResult {
    let stop = context.signals.finishing();
    screen::with(&context.printer, async |events| {
        let samples = history.extent().samples;
        let accepted = tokio::select! {
            sent = client.send(history.series(), Limits::default(), samples, events) => sent?,
            () = stop.cancelled() => {
                return Err(CommandError::failed("interrupted before everything was sent")
                    .hint("run the same command again: what is there already does no harm")
                    .exit(Exit::Interrupted));
            }
        };
        let seconds = accepted.elapsed.as_secs_f64();
        events.note(format!(
            "history: {} samples{} accepted in {} requests, {seconds:.2} s ({:.0} a second)",
            accepted.samples,
            natives(accepted.native),
            accepted.requests,
            accepted.samples as f64 / seconds.max(f64::EPSILON)
        ));
        unseen(target, history, events).await;
        Ok(Exit::Done)
    })
    .await
}

/// Says what of a history is accepted and still not shown: a Mimir asks its ingesters for
/// recent samples only, unless it is told otherwise, and what is older shows once it is in
/// the bucket.
async fn unseen(target: &Target, history: &History, events: &Events) {
    let within = match config_of(target).await {
        Some(text) => query_ingesters_within(&text),
        None => None,
    };
    let stored = match Query::new(target) {
        Ok(query) => verify::stored(&query, history).await.ok(),
        Err(_) => None,
    };
    let samples = history.extent().samples;
    let shown = stored.map(|stored| stored.equal);
    let what = match shown {
        Some(shown) if shown < samples => format!("queries show {shown} of {samples} samples so far"),
        Some(_) => return,
        // It has no queries to ask, or not with these credentials.
        None if within.is_some() => "older samples may not be shown yet".to_owned(),
        None => return,
    };
    match within {
        Some(within) => events.warn(
            format!("{what}: this Mimir asks its ingesters for the last {within} only"),
            Some(
                "set `limits.query_ingesters_within: 0s` (`querier.query_ingesters_within` before Mimir 3), \
                 or wait until the samples are in blocks in the bucket; nothing has to be sent again"
                    .into(),
            ),
        ),
        None => events.warn(
            what,
            Some(
                "a receiver may show them later; of a Mimir look at `query_ingesters_within` and \
                 `out_of_order_time_window`"
                    .into(),
            ),
        ),
    }
}

/// The configuration that a Mimir tells of itself.
async fn config_of(target: &Target) -> Option<String> {
    let url = format!("{}/config", target.base_url.trim_end_matches('/'));
    let answer = target.http_client().ok()?.get(url).send().await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    dorainfra_base::answer::text(answer).await.ok()
}

/// The key's value in a configuration, unless it has no bound.
fn query_ingesters_within(text: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| line.trim().strip_prefix("query_ingesters_within:"));
    let value = values.next()?.trim().to_owned();
    (!matches!(value.as_str(), "" | "0" | "0s")).then_some(value)
}

/// A file in the folder of the call; without one, or with `-`, standard output.
fn output<'a>(context: &'a Context, path: Option<&Path>) -> std::io::Result<Box<dyn std::io::Write + 'a>> {
    match path.filter(|path| *path != Path::new("-")) {
        Some(path) => {
            let file = std::fs::File::create(context.environment.folder.join(path))?;
            Ok(Box::new(std::io::BufWriter::new(file)))
        }
        None => Ok(Box::new(std::io::BufWriter::with_capacity(1 << 16, Verbatim(&context.printer)))),
    }
}

/// Standard output, as the printer has it. What is written at once are whole
/// characters: a writer in front of it passes on whole pieces of text.
struct Verbatim<'a>(&'a Printer);

impl std::io::Write for Verbatim<'_> {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.verbatim(&String::from_utf8_lossy(text));
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Generate {
    /// By the arguments alone: whoever wants to see what events look like has no
    /// configuration yet.
    fn write_events(&self, context: &Context, path: &Path, usual: &Configured) -> CommandResult {
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
                .because(error)
        };
        let teams: Vec<Team> = simulator::teams(teams).iter().map(|name| Team::new(name, seed)).collect();
        let back = days.checked_sub(1).map(|back| time::Duration::days(back.into()));
        let first = back.and_then(|back| until.checked_sub(back));
        let all = first.map(|first| simulator::events(teams, first, until)).into_iter().flatten();
        let mut out = output(context, Some(path)).map_err(fails)?;
        for event in all {
            events::write(&mut out, [&event]).map_err(fails)?;
        }
        out.flush().map_err(fails)?;
        Ok(Exit::Done)
    }
}
