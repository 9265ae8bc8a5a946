//! The proof of ingest, stage by stage. Each stage is a [`Check`] with what was
//! expected, what was found and, when they differ, what to do.
//!
//! It asks the endpoint as any client would, by its query API, and believes
//! nothing that the writers said. The bucket's objects the caller reads
//! ([`Objects`]): this module knows no cloud. [`from_bucket()`] is the proof by those
//! alone.

mod blocks;
mod bucket;
mod endpoint;
mod freshness;
mod from_bucket;
mod histogram;
mod history;
mod marker;
mod ring;
mod sent;
mod sums;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use dorainfra_base::number::{counted, grouped};
use dorainfra_config::Feeds;
use dorainfra_model::{Check, Event, Events, Outcome};
use dorainfra_prometheus::Past;
use dorainfra_prometheus::Target;
use dorainfra_prometheus::query::Query;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use blocks::Damaged;
pub use bucket::{InBucket, in_bucket, newer};
pub use dorainfra_prometheus::query::QueryError;
pub use from_bucket::from_bucket;
pub use history::{Mismatch, Stored};
pub use ring::{RingMember, ring};
pub use sums::Sums;

/// What is to be proven.
pub struct Request<'a> {
    pub target: &'a Target,
    /// How live values come; `None`: no collector stack runs.
    pub live: Option<Live<'a>>,
    /// What was sent; every sample of it has to be there.
    pub history: &'a dyn Past,
    /// What its series and the live ones are of.
    pub feeds: Feeds,
    /// The teams whose live values have to be fresh.
    pub teams: &'a [String],
    pub bucket: Option<Bucket<'a>>,
    /// Whether the history is put into the bucket as blocks, and not brought there by Mimir.
    pub as_blocks: bool,
    /// What is known of the history already; `None`: all of it is compared.
    pub known: Option<Known>,
    pub bounds: Bounds,
}

/// What was found of a history a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Every sample was compared.
    Compared,
    /// Nothing has changed since every sample was compared, and it has the same numbers and [`Sums`].
    Unchanged,
}

/// How live values come to the endpoint.
#[derive(Clone, Copy, Debug)]
pub enum Live<'a> {
    /// Through the Pushgateway at this address: `http://127.0.0.1:9091`.
    Pushgateway(&'a str),
    /// From the generator itself, scraped or written.
    Generator,
}

/// The engine's bucket, as far as it is looked at.
pub struct Bucket<'a> {
    pub objects: &'a dyn Objects,
    /// Where the tenant's blocks are: `blocks/TENANT/`.
    pub prefix: String,
}

/// Whoever can look into a bucket.
#[async_trait]
pub trait Objects: Send + Sync {
    /// What lies under `prefix`; the error is for people.
    async fn list(&self, prefix: &str) -> Result<Vec<Object>, String>;

    /// What is in an object; `None`: there is none of this name.
    async fn read(&self, name: &str) -> Result<Option<Bytes>, String>;
}

/// An object of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// All of it: `blocks/TENANT/BLOCK/index`.
    pub name: String,
    /// In bytes.
    pub size: u64,
}

/// How long to wait, and what is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Until the endpoint is ready. Mimir takes about 16 s from its start.
    pub ready: Duration,
    /// Until the marker is seen: scrape interval, plus delivery.
    pub marker: Duration,
    /// The oldest that a team's newest value is where nothing was late.
    pub turn: Duration,
    /// The oldest that a team's newest value may be.
    pub fresh: Duration,
    /// Until every team is fresh, for a stack that has only just been started.
    pub settle: Duration,
    /// Until queries see all of a history that was written just now: replicas find new
    /// blocks one after the other. Zero where nothing was written.
    pub history: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            ready: Duration::from_secs(90),
            marker: Duration::from_secs(60),
            turn: Duration::from_secs(15),
            fresh: Duration::from_secs(60),
            settle: Duration::from_secs(20),
            history: Duration::ZERO,
        }
    }
}

impl Bounds {
    /// Where a live value is made, and fetched, each so many seconds.
    pub fn of(made: u32, fetched: u32) -> Self {
        let (made, fetched) = (Duration::from_secs(made.into()), Duration::from_secs(fetched.into()));
        let Self { ready, marker, turn, fresh, settle, history } = Self::default();
        Self {
            ready,
            marker: marker + fetched,
            turn: turn + made + fetched,
            fresh: fresh + made + fetched,
            settle: settle + made + fetched,
            history,
        }
    }
}

/// All stages of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub run_id: String,
    /// What the values that were looked for are of, and how many teams have them.
    #[serde(default)]
    pub feeds: Feeds,
    #[serde(default)]
    pub teams: u64,
    pub checks: Vec<Check>,
    pub samples_sent: u64,
    /// Found with the same time and value; `None`: the endpoint could not be asked.
    pub samples_found: Option<u64>,
    /// The first samples that are missing or differ.
    pub mismatches: Vec<Mismatch>,
    /// From the push to the Pushgateway (or from the generator) until seen at the
    /// endpoint.
    pub marker_latency_ms: Option<u64>,
    pub stale_teams: Vec<String>,
    /// Objects of the tenant's blocks; `None`: not looked at.
    pub objects: Option<u64>,
    /// Blocks there, and samples of the history that they hold; those that they do
    /// not hold are on the machine only. `None`: not looked at.
    #[serde(default)]
    pub blocks: Option<u64>,
    #[serde(default)]
    pub samples_in_bucket: Option<u64>,
    /// The first millisecond since 1970 that no block has: what is newer is on the
    /// machine only. `None`: no block, or not looked at.
    #[serde(default)]
    pub newest_in_bucket_ms: Option<i64>,
    /// Samples of that time or newer; `None`: not counted.
    #[serde(default)]
    pub samples_newer: Option<u64>,
    /// Blocks that cannot be relied on.
    #[serde(default)]
    pub damaged: Vec<Damaged>,
    pub elapsed_ms: u64,
}

impl Report {
    /// Whether no check failed.
    pub fn ok(&self) -> bool {
        self.checks.iter().all(|check| check.outcome != Outcome::Failed)
    }

    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }

    /// Nothing checked yet.
    fn before(samples_sent: u64) -> Self {
        Self {
            run_id: uuid::Uuid::new_v4().to_string(),
            feeds: Feeds::default(),
            teams: 0,
            checks: Vec::new(),
            samples_sent,
            samples_found: None,
            mismatches: Vec::new(),
            marker_latency_ms: None,
            stale_teams: Vec::new(),
            objects: None,
            blocks: None,
            samples_in_bucket: None,
            newest_in_bucket_ms: None,
            samples_newer: None,
            damaged: Vec::new(),
            elapsed_ms: 0,
        }
    }

    fn add(&mut self, check: Check, events: &Events) {
        events.send(Event::Checked { check: check.clone() });
        self.checks.push(check);
    }
}

/// Runs all stages in their order; each one's end is sent as
/// [`Event::Checked`]. Whatever goes wrong is a failed check, never an error.
pub async fn run(request: &Request<'_>, events: &Events) -> Report {
    let begun = Instant::now();
    let (feeds, teams) = (request.feeds, request.teams.len() as u64);
    let mut report = Report { feeds, teams, ..Report::before(request.history.extent().samples) };

    let stage = Stage::begin("endpoint", "endpoint is ready");
    let query = match endpoint::check(request, stage).await {
        Ok((check, query)) => {
            report.add(check, events);
            Some(query)
        }
        Err(check) => {
            report.add(check, events);
            None
        }
    };

    let stage = Stage::begin("history", "every sample of the history is stored");
    let check = match &query {
        Some(query) => history::check(request, query, stage, &mut report, events).await,
        None => stage.not_attempted(format!("{} samples", grouped(report.samples_sent))),
    };
    report.add(check, events);

    let stage = Stage::begin("marker", "a new value passes through the whole stack");
    let check = match &query {
        Some(query) => marker::check(request, query, stage, &mut report).await,
        None => stage.not_attempted("this run's marker".into()),
    };
    report.add(check, events);

    let stage = Stage::begin("freshness", "every team's newest value is fresh");
    let check = match &query {
        Some(query) => freshness::check(request, query, stage, &mut report).await,
        None => stage.not_attempted(format!("{} fresh teams", request.teams.len())),
    };
    report.add(check, events);

    let stage = Stage::begin("bucket", "blocks are in the bucket");
    let check = bucket::check(request, query.as_ref(), stage, &mut report).await;
    report.add(check, events);

    report.elapsed_ms = milliseconds(begun.elapsed());
    report
}

/// Whether every sample of `history` is stored already, equal in time and
/// value. What can't be asked counts as not stored.
pub async fn history_stored(target: &Target, history: &dyn Past) -> bool {
    let Ok(query) = dorainfra_prometheus::query::Query::new(target) else { return false };
    history::is_stored(&query, history).await
}

/// How much of `history` is stored already.
///
/// # Errors
/// It can't be asked.
pub async fn stored(query: &Query, history: &dyn Past) -> Result<Stored, QueryError> {
    history::stored(query, history).await
}

/// A check under way.
struct Stage {
    name: &'static str,
    title: &'static str,
    begun: Instant,
}

impl Stage {
    fn begin(name: &'static str, title: &'static str) -> Self {
        Self { name, title, begun: Instant::now() }
    }

    /// Where less is proven than usual.
    fn titled(self, title: &'static str) -> Self {
        Self { title, ..self }
    }

    fn end(self, outcome: Outcome, expected: String, found: String, hint: Option<String>) -> Check {
        Check {
            name: self.name.into(),
            title: self.title.into(),
            outcome,
            expected,
            found,
            hint,
            elapsed_ms: milliseconds(self.begun.elapsed()),
        }
    }

    fn passed(self, expected: impl Into<String>, found: impl Into<String>) -> Check {
        self.end(Outcome::Passed, expected.into(), found.into(), None)
    }

    fn failed(self, expected: impl Into<String>, found: impl Into<String>, hint: impl Into<String>) -> Check {
        self.end(Outcome::Failed, expected.into(), found.into(), Some(hint.into()))
    }

    fn not_applicable(self, expected: impl Into<String>, found: impl Into<String>) -> Check {
        self.end(Outcome::NotApplicable, expected.into(), found.into(), None)
    }

    /// Not proven is failed: only the check before it knows what to do.
    fn not_attempted(self, expected: String) -> Check {
        let found = "not looked at: the endpoint is not ready";
        self.failed(expected, found, "see the check `endpoint`")
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970 as a moment that people read: RFC 3339, UTC.
/// RFC 3339, in UTC.
pub fn moment(milliseconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| milliseconds.to_string())
}
