//! Is the history in the bucket? By what its blocks say of themselves: which blocks
//! they were made of, how many samples each has, and of which times. Objects by
//! themselves prove nothing: a few blocks may be there, and most samples on the
//! machine's disk only. Nor do numbers of samples where live values lie beside the
//! history: there the history's own blocks have to be named, or are read.
//!
//! What Mimir got by remote write is not there yet, and need not be: it is in the
//! write-ahead log on the data disk, and follows within hours. So what lacks is
//! told as a number; it is a failure when Mimir says that uploads failed, or when
//! it has run long enough to have shipped.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::collections::BTreeMap;

use dorainfra_base::answer;
use dorainfra_base::error::reason;
use dorainfra_model::Check;
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::metrics_text;
use dorainfra_prometheus::query::{self, Query, QueryError};
use dorainfra_prometheus::tsdb::{self, Meta, Window};
use dorainfra_prometheus::{JOB, Past, Since, escaped};
use time::OffsetDateTime;

use super::blocks::{self, Damaged};
use super::from_bucket::{self, RENAMED};
use super::{Bucket, Report, Request, Stage, moment};
use dorainfra_base::number::{counted, grouped};

/// After this long, a Mimir that took samples has shipped a block.
const SHIPPED_WITHIN_SECONDS: f64 = 3.0 * 3600.0;
/// Of a block that the compactor split by series.
const SHARD: &str = "__compactor_shard_id__";
const READING: &str = "reading the bucket needs roles/storage.objectViewer on it";

pub(super) async fn check(
    request: &Request<'_>,
    query: Option<&Query>,
    stage: Stage,
    report: &mut Report,
) -> Check {
    if request.target.flavour == Flavour::StandIn {
        return stage.not_applicable("objects", "Prometheus stands in for Mimir and writes no blocks");
    }
    let Some(bucket) = &request.bucket else {
        return stage.not_applicable("objects", "no bucket was given");
    };
    let sent = report.samples_sent;
    let expected = match sent {
        0 => format!("blocks under {}", bucket.prefix),
        sent => format!("{} of the history in blocks under {}", counted(sent, "sample"), bucket.prefix),
    };
    let found = match blocks::find(bucket).await {
        Ok(found) => found,
        Err(error) => {
            return stage.failed(expected, error, READING);
        }
    };
    let blocks = found.blocks.len() as u64;
    // Live values and the history may be in one block: then only reading it tells.
    let held = match held(request.history, &found.blocks) {
        Held { samples, unsure } if unsure.is_empty() => samples,
        Held { samples, unsure } => {
            match from_bucket::equal(request.history, bucket, &found, &unsure).await {
                Ok(read) => samples.saturating_add(read),
                Err(error) => return stage.failed(expected, error, READING),
            }
        }
    };
    report.objects = Some(found.objects);
    report.blocks = Some(blocks);
    report.samples_in_bucket = Some(held);
    report.newest_in_bucket_ms = found.newest();
    report.damaged.clone_from(&found.damaged);
    if let Some(damaged) = found.damaged.first() {
        let found = format!("{} damaged: {damaged}", counted(found.damaged.len() as u64, "block"));
        let hint = "`dorainfra verify --from-bucket` reads all blocks, and says what to do about those that are \
                    damaged";
        return stage.failed(expected, found, hint);
    }
    let newest = match (query, found.newest()) {
        (Some(query), Some(end)) => {
            // Live values, for the most part.
            let counted = newer(query, end).await;
            report.samples_newer = counted.as_ref().ok().copied();
            newer_words(counted.map_err(|error| error.to_string()), end)
        }
        (_, Some(end)) => newer_words(Err("Mimir could not be asked".into()), end),
        (_, None) => "no block".to_owned(),
    };
    // Not of the history, or that would lack: but somebody's.
    let unfinished = found.unfinished.first().map(|block| format!("; {block}")).unwrap_or_default();
    if sent == 0 && blocks > 0 {
        let found =
            format!("no history was written; {} there; {newest}{unfinished}", counted(blocks, "block"));
        return stage.not_applicable(expected, found);
    }
    if held == sent && blocks > 0 {
        let all = found.blocks.iter().map(|block| block.stats.num_samples).fold(0, u64::saturating_add);
        let more = if all == sent { "" } else { ", live values and replicas' copies included" };
        let found = format!(
            "all of them; {} with {}{more}; {newest}{unfinished}",
            counted(blocks, "block"),
            counted(all, "sample"),
        );
        return stage.passed(expected, found);
    }
    let missing = sent.saturating_sub(held);
    let lacking = match sent {
        0 => format!("none; {newest}{unfinished}"),
        _ => format!(
            "{} of {}: {} not there; {newest}{unfinished}",
            grouped(held),
            grouped(sent),
            counted(missing, "sample"),
        ),
    };
    if is_lost(request.history, request.as_blocks, missing) {
        return stage.failed(
            expected,
            lacking,
            "`dorainfra apply` sends what is missing; `dorainfra verify --from-bucket` names the blocks. Versions \
             of deleted objects are kept for `mimir.soft_delete_days`",
        );
    }
    let Some(query) = query else { return stage.not_attempted(expected) };
    let metrics = match metrics(request, query).await {
        Ok(metrics) => metrics,
        Err(error) => {
            let found = format!("{lacking}, and Mimir's own metrics cannot be read: {error}");
            return stage.failed(expected, found, "`dorainfra status` shows the machine");
        }
    };
    let now = OffsetDateTime::now_utc().unix_timestamp() as f64;
    match classify(&metrics, now) {
        Verdict::Failing(failures) => stage.failed(
            expected,
            format!("{lacking}; {} failed", counted(failures, "upload")),
            "the machine's service account needs roles/storage.objectAdmin on the bucket: `dorainfra plan` \
             shows whether the binding is there, and Mimir's log the answer of Cloud Storage",
        ),
        Verdict::Late(hours) => stage.failed(
            expected,
            format!("{lacking}, although Mimir has been running for {hours:.1} h"),
            "see Mimir's log for `shipper` and `compact`, and the room on its data disk",
        ),
        Verdict::Waiting => stage.not_applicable(
            expected,
            format!(
                "{lacking}. Mimir took it within the last 3 h, and no upload failed: until it is there, it is in \
                 the write-ahead log on the data disk"
            ),
        ),
    }
}

/// How many samples of the metrics Mimir has from this moment on (milliseconds since 1970).
///
/// # Errors
/// Mimir could not be asked.
pub async fn newer(query: &Query, from: i64) -> Result<u64, QueryError> {
    let now = OffsetDateTime::now_utc().unix_timestamp().saturating_mul(1000);
    // A range begins after its first moment.
    let range = now.saturating_sub(from).saturating_add(1);
    if range <= 0 {
        return Ok(0);
    }
    // One metric after the other: without their names, series of two of them are the same.
    let names = format!("count by (__name__) (last_over_time({{job=\"{JOB}\"}}[{range}ms]))");
    let names = query.instant::<query::Instant>(&names, Some(now)).await?;
    let counts: Vec<String> = names
        .iter()
        .filter_map(|series| series.metric.get("__name__"))
        .map(|name| {
            let name = escaped(name);
            format!("sum(count_over_time({{__name__=\"{name}\",job=\"{JOB}\"}}[{range}ms]))")
        })
        .collect();
    if counts.is_empty() {
        return Ok(0);
    }
    let found = query.instant::<query::Instant>(&counts.join(" + "), Some(now)).await?;
    Ok(found.first().map_or(0, |sum| sum.value() as u64))
}

/// What is not in the bucket for being too new. `end`: the first millisecond that no block has.
fn newer_words(samples: Result<u64, String>, end: i64) -> String {
    let newest = moment(end.saturating_sub(1));
    match samples {
        Ok(0) => format!("nothing is newer than {newest}"),
        Ok(samples) => format!("{} newer than {newest} on the machine only", counted(samples, "sample")),
        Err(error) => format!("what is newer than {newest} is not, and was not counted ({error})"),
    }
}

/// Whether samples that are missing from the bucket do not come by themselves. Blocks of the
/// history are put there by us, and no Mimir brings back what is gone; samples of the last day
/// may be on their way, as they are written like live ones.
fn is_lost(history: &dyn Past, as_blocks: bool, missing: u64) -> bool {
    let yesterday = OffsetDateTime::now_utc().saturating_sub(time::Duration::DAY);
    let time = yesterday.unix_timestamp().saturating_mul(1000);
    as_blocks && missing > Since { past: history, time }.extent().samples
}

/// How much of a history is in the bucket, by what the blocks say of themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InBucket {
    pub blocks: u64,
    /// Samples of the history; all of them, and those that the blocks hold for sure.
    pub sent: u64,
    pub held: u64,
    /// Those of which a listing does not tell whether they are there.
    pub unsure: u64,
    /// Whether some are missing for sure, and do not come by themselves.
    pub lost: bool,
    /// The first millisecond since 1970 that no block has; what is newer is on the
    /// machine only.
    pub newest_ms: Option<i64>,
    pub damaged: Vec<Damaged>,
}

/// Looks at the blocks, and asks no Mimir. `as_blocks`: as in [`Request`].
///
/// # Errors
/// The bucket cannot be read; in words.
pub async fn in_bucket(history: &dyn Past, bucket: &Bucket<'_>, as_blocks: bool) -> Result<InBucket, String> {
    let found = blocks::find(bucket).await?;
    let Held { samples: held, unsure } = held(history, &found.blocks);
    let (sent, unsure) = (history.extent().samples, tsdb::samples(history, &unsure));
    let missing = sent.saturating_sub(held.saturating_add(unsure));
    Ok(InBucket {
        blocks: found.blocks.len() as u64,
        sent,
        held,
        unsure,
        lost: is_lost(history, as_blocks, missing),
        newest_ms: found.newest(),
        damaged: found.damaged,
    })
}

/// How much of a history some blocks hold, by their metadata alone.
struct Held {
    samples: u64,
    /// There are blocks of these times that hold other samples as well: what of the history
    /// is in there can only be read.
    unsure: Vec<Window>,
}

/// A window of the history is there when the block that would be made of it is, or one that
/// was made of that one. Where blocks of other names are of that time (of live values, of
/// samples that came by remote write, or put there by somebody), only reading them tells.
fn held(history: &dyn Past, blocks: &[Meta]) -> Held {
    let named: BTreeMap<&str, &Meta> = blocks
        .iter()
        // A part of the series only, although it names all of its sources.
        .filter(|block| !block.thanos.labels.contains_key(SHARD))
        .flat_map(|block| block.compaction.sources.iter().map(move |source| (source.as_str(), block)))
        .collect();
    let windows =
        tsdb::windows(history, history.extent().newest.map_or(0, |newest| newest.saturating_add(1)));
    let mut made = tsdb::blocks(history, &windows).map(|block| block.meta).peekable();
    let mut held = Held { samples: 0, unsure: Vec::new() };
    for window in &windows {
        let Some(made) = made.next_if(|made| made.min_time < window.end) else { continue };
        let samples = made.stats.num_samples;
        let is_there = |name: Meta| {
            named.get(name.ulid.as_str()).is_some_and(|block| block.stats.num_samples >= samples)
        };
        if std::iter::successors(Some(made), |meta| Some(meta.renamed())).take(RENAMED).any(is_there) {
            held.samples = held.samples.saturating_add(samples);
        } else if blocks.iter().any(|block| block.min_time < window.end && block.max_time > window.start) {
            held.unsure.push(*window);
        }
    }
    held
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Failing(u64),
    /// Hours since Mimir's start.
    Late(f64),
    Waiting,
}

/// What Mimir's metrics say about what is not in the bucket.
fn classify(metrics: &str, now: f64) -> Verdict {
    let sum = |name: &str| metrics_text::sum(metrics, name);
    let failures = sum("cortex_ingester_shipper_upload_failures_total").unwrap_or_default();
    let age = sum("process_start_time_seconds").map_or(0.0, |start| now - start);
    if failures > 0.0 {
        Verdict::Failing(failures as u64)
    } else if age > SHIPPED_WITHIN_SECONDS {
        Verdict::Late(age / 3600.0)
    } else {
        Verdict::Waiting
    }
}

async fn metrics(request: &Request<'_>, query: &Query) -> Result<String, String> {
    let response = query.http().get(request.target.metrics_url()).send().await;
    let response = response.and_then(reqwest::Response::error_for_status).map_err(|error| reason(&error))?;
    answer::text(response).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use dorainfra_prometheus::{Labels, Series};

    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1000;
    /// A Thursday: where a range begins.
    const BEGIN: i64 = 2860 * tsdb::RANGE;

    fn history(days: i64) -> Vec<Series> {
        let samples = (0..days).map(|day| (BEGIN + day * DAY, 1.0)).collect::<Vec<_>>();
        let labels = Labels::new([("team", "orders")]);
        vec![Series {
            name: "dora_deployments_total",
            labels,
            samples: samples.into(),
            exemplars: Vec::new(),
        }]
    }

    fn metas(history: &Vec<Series>) -> Vec<Meta> {
        let windows = tsdb::windows(history, BEGIN + 40 * DAY);
        tsdb::blocks(history, &windows).map(|block| block.meta).collect()
    }

    #[test]
    fn blocks_hold_what_their_metadata_says() {
        let all = history(30);
        let blocks = metas(&all);
        assert!(blocks.len() > 8);
        let held = |all: &Vec<Series>, blocks: &[Meta]| {
            let held = super::held(all, blocks);
            assert_eq!(held.unsure, []);
            held.samples
        };
        assert_eq!((held(&all, &blocks), held(&all, &[])), (30, 0));
        // One is missing, and no other makes up for it: neither one of another
        // time, nor the same one twice.
        let lost = blocks[3].stats.num_samples;
        let mut rest: Vec<Meta> = blocks.iter().filter(|block| **block != blocks[3]).cloned().collect();
        assert_eq!(held(&all, &rest), 30 - lost);
        rest.extend(rest.clone());
        assert_eq!(held(&all, &rest), 30 - lost);
        // What was compacted is one block instead of its sources, or beside them.
        let mut compacted = blocks[0].clone();
        (compacted.max_time, compacted.stats.num_samples) = (BEGIN + 6 * DAY + 1, 7);
        compacted.compaction.sources.push(blocks[1].ulid.clone());
        let mut blocks: Vec<Meta> = std::iter::once(compacted).chain(blocks).collect();
        assert_eq!(held(&all, &blocks), 30);
        blocks.drain(1..3);
        assert_eq!(held(&all, &blocks), 30);
    }

    /// Whatever its numbers say: somebody may have put it there.
    #[test]
    fn a_block_of_another_name_proves_nothing() {
        let all = history(30);
        let mut blocks = metas(&all);
        let lost = blocks[3].stats.num_samples;
        blocks[3].ulid = format!("{}AAAA", &blocks[3].ulid[..22]);
        blocks[3].compaction.sources = vec![blocks[3].ulid.clone()];
        let found = held(&all, &blocks);
        assert_eq!((found.samples, tsdb::samples(&all, &found.unsure)), (30 - lost, lost));
    }

    /// Of live values there are many more than of the history.
    #[test]
    fn live_values_do_not_stand_for_the_history() {
        let all = history(30);
        let blocks = metas(&all);
        let mut live = blocks[3].clone();
        live.ulid = "0".repeat(26);
        live.compaction.sources = vec![live.ulid.clone()];
        live.stats.num_samples = 1_000_000;
        let lost = blocks[3].stats.num_samples;
        let mut rest = blocks.clone();
        rest[3] = live.clone();
        let found = held(&all, &rest);
        assert_eq!((found.samples, tsdb::samples(&all, &found.unsure)), (30 - lost, lost));
        // Beside them, or together with them in one block.
        rest.push(blocks[3].clone());
        assert_eq!(held(&all, &rest).samples, 30);
        rest.pop();
        rest[3].compaction.sources.push(blocks[3].ulid.clone());
        assert_eq!(held(&all, &rest).samples, 30);
        // Also under the name that it got when Mimir did not like the first.
        rest[3].compaction.sources = vec![blocks[3].renamed().ulid];
        assert_eq!(held(&all, &rest).samples, 30);
        // A block that holds less than what it says that it was made of.
        rest[3].stats.num_samples = lost - 1;
        let found = held(&all, &rest);
        assert_eq!((found.samples, tsdb::samples(&all, &found.unsure)), (30 - lost, lost));
        // One of those that the compactor split names all of its sources.
        (rest[3].stats.num_samples, rest[3].compaction.sources) = (1_000_000, vec![blocks[3].ulid.clone()]);
        rest[3].thanos.labels.insert(SHARD.into(), "1_of_4".into());
        assert_eq!(held(&all, &rest).samples, 30 - lost);
    }

    #[test]
    fn an_empty_bucket_is_judged_by_what_mimir_says() {
        let metrics = |failures: u64, start: f64| {
            format!(
                "cortex_ingester_shipper_upload_failures_total {failures}\nprocess_start_time_seconds {start:e}\n"
            )
        };
        assert_eq!(classify(&metrics(0, 1.7e9), 1.7e9 + 60.0), Verdict::Waiting);
        assert_eq!(classify(&metrics(3, 1.7e9), 1.7e9 + 60.0), Verdict::Failing(3));
        assert_eq!(classify(&metrics(0, 1.7e9), 1.7e9 + 14_400.0), Verdict::Late(4.0));
        assert_eq!(classify("", 1.7e9), Verdict::Waiting);
    }
}
