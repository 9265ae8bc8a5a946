//! What the agent holds when it has to end. It is waited for as long as it gets less:
//! once started again, Prometheus sends nothing of what it scraped before. Where the
//! endpoint takes none of it, it stays in the write-ahead log, a note says from when to
//! when, and the next start sends it from there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dorainfra_base::error::reason;
use dorainfra_model::{Event, Events};
use dorainfra_prometheus::Target;
use dorainfra_prometheus::remote_write::wire::{Label, Sample, TimeSeries, WriteRequest};
use dorainfra_prometheus::tsdb::wal::{self, Log, Logged, Records};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::error::StackError;
use super::{record, status};

/// Without any progress: the agent itself waits for up to 10 s before it tries again.
const STALLED: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const TELL_AGAIN: Duration = Duration::from_secs(2);
/// Queues overtake each other: the oldest that is missing may be older than the newest
/// that was delivered. What comes twice does no harm.
const OVERLAP_MS: i64 = 2 * 60 * 1000;
/// As many as the agent sends at once.
const AT_ONCE: usize = 2000;
const ATTEMPTS: u32 = 3;

/// How far an agent has come, as it says itself. Times are Unix seconds. What it calls sent is
/// no measure: each attempt counts.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Come {
    scraped: f64,
    delivered: f64,
    pending: u64,
}

async fn come(port: u16) -> Option<Come> {
    let told = status::remote_write(port).await?;
    let scraped = told.scraped_to;
    Some(Come { scraped, delivered: scraped - told.lag_seconds, pending: told.pending })
}

/// Waits until all is delivered that the agent has scraped by now, as long as there is
/// progress. Answers up to when it was, in milliseconds, where it is not all.
pub(super) async fn drain(port: u16, events: &Events) -> Option<i64> {
    let begun = come(port).await?;
    let (mut best, mut progress, mut told) = (begun, Instant::now(), Instant::now());
    loop {
        // One that does not answer any more is at its end by itself.
        let now = come(port).await.unwrap_or(best);
        if now.delivered >= begun.scraped {
            return None;
        }
        if now.delivered > best.delivered || now.pending < best.pending {
            (best, progress) = (now, Instant::now());
        }
        if progress.elapsed() > STALLED {
            return Some((best.delivered * 1000.0) as i64);
        }
        if told.elapsed() > TELL_AGAIN {
            told = Instant::now();
            events.send(Event::StackPart {
                part: super::Part::Prometheus.name().into(),
                state: "stopping".into(),
                detail: format!(
                    "delivering what it holds: {} samples, {:.0} s behind",
                    now.pending,
                    now.scraped - now.delivered
                ),
            });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What is in the log and was not delivered: later than the one, not later than the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    after_ms: i64,
    until_ms: i64,
}

fn note_file(dir: &Path) -> PathBuf {
    dir.join("undelivered.json")
}

fn noted(dir: &Path) -> Option<Note> {
    serde_json::from_str(&std::fs::read_to_string(note_file(dir)).ok()?).ok()
}

/// Notes that nothing after `delivered` (ms) has come to the endpoint, until now. An
/// earlier note holds on.
pub(super) fn note(dir: &Path, delivered: i64, events: &Events) -> Result<(), StackError> {
    let until = time::OffsetDateTime::now_utc();
    let until_ms = i64::try_from(until.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX);
    let after_ms = (delivered - OVERLAP_MS).min(noted(dir).map_or(i64::MAX, |before| before.after_ms));
    let text = serde_json::to_string(&Note { after_ms, until_ms }).expect("two numbers");
    record::write(&note_file(dir), &text)?;
    events.warn(
        format!(
            "the collector could not deliver what it has scraped in the last {} s: the endpoint takes nothing",
            (until_ms - delivered).max(0) / 1000
        ),
        Some("nothing is lost: it is in its log, and the next `stack up` or `apply` sends it".into()),
    );
    Ok(())
}

/// Sends what an earlier agent has left in the log to the endpoint as it is now. What
/// still cannot be sent is sent the next time.
pub(super) async fn deliver(dir: &Path, target: &Target, events: &Events) -> Result<(), StackError> {
    let Some(note) = noted(dir) else { return Ok(()) };
    match send(&dir.join("agent/wal"), note, target).await {
        Ok((sent, refused)) => {
            record::remove(&note_file(dir))?;
            events.note(format!("{sent} samples that the collector could not deliver before are delivered"));
            if refused > 0 {
                events.warn(
                    format!("the endpoint refuses {refused} of the samples that were left to be delivered"),
                    Some("they may be older than `mimir.limits.out_of_order_window`".into()),
                );
            }
        }
        Err(why) => events.warn(
            format!("what the collector could not deliver before cannot be delivered yet: {why}"),
            Some("the next `stack up` or `apply` tries it again; it is kept for two hours at least".into()),
        ),
    }
    Ok(())
}

/// How many were sent, and how many of them were refused for good.
async fn send(wal: &Path, note: Note, target: &Target) -> Result<(u64, u64), String> {
    let http = target.http_client().map_err(|error| error.to_string())?;
    let files = wal::files(wal).map_err(|error| format!("{}: {error}", wal.display()))?;
    let (mut log, mut samples) = (Log::default(), Vec::new());
    let (mut sent, mut refused) = (0, 0);
    for file in files {
        let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        for record in Records::of(&bytes) {
            let before = samples.len();
            log.take(&record, &mut samples);
            let wanted = |one: &Logged| (note.after_ms + 1..=note.until_ms).contains(&one.time);
            let mut fresh = samples.split_off(before);
            fresh.retain(wanted);
            samples.append(&mut fresh);
            if samples.len() >= AT_ONCE {
                sent += samples.len() as u64;
                refused += post(&http, target, std::mem::take(&mut samples)).await?;
            }
        }
    }
    if !samples.is_empty() {
        sent += samples.len() as u64;
        refused += post(&http, target, samples).await?;
    }
    Ok((sent - refused, refused))
}

/// Answers how many are refused for good.
async fn post(http: &reqwest::Client, target: &Target, samples: Vec<Logged>) -> Result<u64, String> {
    let count = samples.len() as u64;
    let body = Bytes::from(packed(samples).map_err(|error| error.to_string())?);
    let mut why = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_secs(attempt.into())).await;
        }
        let mut request = http
            .post(target.write_url())
            .header("Content-Type", "application/x-protobuf")
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .body(body.clone());
        if let Some(tenant) = &target.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => return Ok(0),
            Ok(answer) if answer.status().is_client_error() && answer.status().as_u16() != 429 => {
                return Ok(count);
            }
            Ok(answer) => why = format!("it answered {}", answer.status()),
            Err(error) => why = reason(&error),
        }
    }
    Err(why)
}

/// One request, each series of it once.
fn packed(samples: Vec<Logged>) -> Result<Vec<u8>, snap::Error> {
    let mut series: BTreeMap<wal::Labels, Vec<Sample>> = BTreeMap::new();
    for Logged { labels, time, value } in samples {
        series.entry(labels).or_default().push(Sample { value, timestamp: time });
    }
    let series = series.into_iter().map(|(labels, mut samples)| {
        samples.sort_by_key(|sample| sample.timestamp);
        let labels = labels.iter().map(|(name, value)| Label { name: name.clone(), value: value.clone() });
        TimeSeries { labels: labels.collect(), samples, ..TimeSeries::default() }
    });
    let request = WriteRequest { timeseries: series.collect() };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec())
}
