//! The proof by the bucket alone: its blocks are downloaded, every byte is checked,
//! and every sample of the history is compared with the one that lies there. No
//! Mimir is asked, so none has to run, and what an ingester holds proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use dorainfra_model::Check;
use dorainfra_model::{Event, Events};
use dorainfra_prometheus::Past;
use dorainfra_prometheus::tsdb::{self, Damage, Meta, Window};
use futures::StreamExt as _;

use super::blocks::{self, Damaged, Found};
use super::history::Tally;
use super::sent::Sent;
use super::{Bucket, Report, Stage, milliseconds, moment};
use dorainfra_base::number::{counted, grouped};

/// Plain samples of the history, or what takes as much room, that are held at once.
const HELD: u64 = 4_000_000;
/// Blocks that are downloaded at the same time.
const AT_ONCE: usize = 4;
/// Blocks that are named in a check's text.
const NAMED: usize = 3;
/// Names that an upload tries for one block ([`dorainfra_prometheus::upload`]).
pub(super) const RENAMED: usize = 5;

/// Compares all of a history with the blocks of a bucket.
pub async fn from_bucket(history: &dyn Past, bucket: &Bucket<'_>, events: &Events) -> Report {
    let begun = Instant::now();
    let mut report = Report::before(history.extent().samples);
    let stage = Stage::begin("blocks", "every block in the bucket can be read");
    let expected = format!("blocks under {}, whole to the last byte", bucket.prefix);
    let outcome = async {
        let found = blocks::find(bucket).await?;
        let compared = compare_all(history, bucket, &found, events).await?;
        Ok::<_, String>((found, compared))
    };
    let (found, mut compared) = match outcome.await {
        Ok(done) => done,
        Err(error) => {
            let hint = "reading the bucket needs roles/storage.objectViewer on it";
            report.add(stage.failed(expected, error, hint), events);
            let stage = Stage::begin("history", HISTORY);
            let found = "not looked at: the bucket cannot be read";
            report.add(stage.failed(to_be_there(&report), found, "see the check `blocks`"), events);
            return report;
        }
    };
    // Also where all of the history is there: nobody knows what such a block holds.
    let unfinished = found.unfinished.iter().map(|one| (one.block.clone(), one.clone()));
    compared.damaged.extend(unfinished);
    report.objects = Some(found.objects);
    report.blocks = Some(found.blocks.len() as u64);
    report.newest_in_bucket_ms = found.newest();
    report.damaged = compared.damaged.values().cloned().collect();
    report.samples_found = Some(compared.tally.equal);
    report.samples_in_bucket = Some(compared.tally.equal);
    let check = of_blocks(stage, expected, &found, &compared, bucket, report.samples_sent);
    report.add(check, events);
    let stage = Stage::begin("history", HISTORY);
    report.mismatches = compared.tally.listed();
    let check = of_history(stage, history, &found, &compared, &report);
    report.add(check, events);
    report.elapsed_ms = milliseconds(begun.elapsed());
    report
}

const HISTORY: &str = "every sample of the history is in the blocks";

fn to_be_there(report: &Report) -> String {
    format!("{}, equal in time and value", counted(report.samples_sent, "sample"))
}

/// What all blocks together came to.
#[derive(Default)]
struct Compared {
    tally: Tally,
    /// By their names.
    damaged: BTreeMap<String, Damaged>,
    /// How many samples lack of each window that lacks some.
    lacking: BTreeMap<Window, u64>,
    /// Blocks that hold another value than was sent.
    differing: BTreeSet<String>,
    bytes: u64,
    samples: u64,
}

fn of_blocks(
    stage: Stage,
    expected: String,
    found: &Found,
    compared: &Compared,
    bucket: &Bucket<'_>,
    sent: u64,
) -> Check {
    let damaged = &compared.damaged;
    if let Some(first) = damaged.keys().next() {
        let all = found.blocks.len() + found.damaged.len() + found.unfinished.len();
        let named = some(damaged.values().map(ToString::to_string));
        return stage.failed(
            expected,
            format!("{} of {} damaged: {named}", damaged.len(), counted(all as u64, "block")),
            format!(
                "a file that was changed or deleted can be brought back for `mimir.soft_delete_days` (`gcloud \
                 storage restore`). Or delete the block's folder ({}{first}/): two minutes later `dorainfra \
                 apply` sends what is missing of the history",
                bucket.prefix
            ),
        );
    }
    if found.blocks.is_empty() && sent == 0 {
        return stage.not_applicable(expected, "no history was written, and no block is there");
    }
    if found.blocks.is_empty() {
        let hint = "a Mimir that was just fed ships its first block within about 3 h, and `dorainfra destroy` has it \
                    written first; Prometheus, where it stands in for Mimir, writes none";
        return stage.failed(expected, "no block is there", hint);
    }
    let found = format!(
        "{} with {} in {} bytes, up to {}",
        counted(found.blocks.len() as u64, "block"),
        counted(compared.samples, "sample"),
        grouped(compared.bytes),
        found.newest().map(|end| moment(end - 1)).unwrap_or_default()
    );
    stage.passed(expected, found)
}

fn of_history(
    stage: Stage,
    history: &dyn Past,
    found: &Found,
    compared: &Compared,
    report: &Report,
) -> Check {
    let (sent, tally) = (report.samples_sent, &compared.tally);
    let expected = to_be_there(report);
    if sent == 0 {
        return stage.not_applicable(expected, "no history was written");
    }
    if tally.equal == sent {
        return stage.passed(expected, format!("{} of {}", grouped(sent), grouped(sent)));
    }
    let mut text = tally.found(sent, &report.mismatches);
    if !compared.lacking.is_empty() {
        let named = compared
            .lacking
            .iter()
            .take(NAMED)
            .map(|(window, count)| lacks(history, found, &compared.damaged, *window, *count));
        let mut named: Vec<String> = named.collect();
        if compared.lacking.len() > NAMED {
            named.push(format!("{} more", compared.lacking.len() - NAMED));
        }
        text.push_str(&format!(". {}", named.join("; ")));
    }
    if !compared.differing.is_empty() {
        text.push_str(&format!(". Other values are in {}", some(compared.differing.iter().cloned())));
    }
    let hint = match compared.damaged.is_empty() {
        false => "see the check `blocks`",
        true => {
            "`dorainfra verify` tells whether Mimir still has it (then it is shipped within about 3 h, or by \
             `dorainfra destroy`); `dorainfra apply` sends what nobody has any more"
        }
    };
    stage.failed(expected, text, hint)
}

/// Which block should have what is missing of a window.
fn lacks(
    history: &dyn Past,
    found: &Found,
    damaged: &BTreeMap<String, Damaged>,
    window: Window,
    count: u64,
) -> String {
    let of = format!("{} of {} to {}", counted(count, "sample"), moment(window.start), moment(window.end));
    let windows = [window];
    let Some(made) = tsdb::blocks(history, &windows).next() else { return of };
    let names: Vec<String> = std::iter::successors(Some(made.meta.clone()), |meta| Some(meta.renamed()))
        .take(RENAMED)
        .map(|meta| meta.ulid)
        .collect();
    if let Some(name) = names.iter().find(|name| damaged.contains_key(*name)) {
        return format!("{name}, which is damaged, should have {of}");
    }
    let has = |block: &&Meta| {
        names.contains(&block.ulid) || block.compaction.sources.iter().any(|source| names.contains(source))
    };
    match found.blocks.iter().find(has) {
        Some(block) => format!("{} lacks {of}", block.ulid),
        None => format!("{}, which should have {of}, is not there", made.meta.ulid),
    }
}

/// The first of some, and how many more there are.
fn some(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(NAMED);
    let mut named: Vec<String> = all.take(NAMED).collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    named.join("; ")
}

/// How many samples of some windows of a history are in the blocks.
///
/// # Errors
/// The bucket cannot be read; in words.
pub(super) async fn equal(
    history: &dyn Past,
    bucket: &Bucket<'_>,
    found: &Found,
    windows: &[Window],
) -> Result<u64, String> {
    let of_a_window =
        |block: &&Meta| windows.iter().any(|one| block.min_time < one.end && block.max_time > one.start);
    let blocks = found.blocks.iter().filter(of_a_window).cloned().collect();
    let found = Found { blocks, ..Found::default() };
    let groups = groups_of(history, windows);
    Ok(compare_groups(history, bucket, &found, groups, &Events::none()).await?.tally.equal)
}

async fn downloaded<'a>(
    bucket: &Bucket<'_>,
    meta: &'a Meta,
) -> (&'a Meta, Result<Result<blocks::Contents, Damage>, String>) {
    (meta, blocks::download(bucket.objects, &bucket.prefix, meta).await)
}

async fn compare_all(
    history: &dyn Past,
    bucket: &Bucket<'_>,
    found: &Found,
    events: &Events,
) -> Result<Compared, String> {
    compare_groups(history, bucket, found, groups(history), events).await
}

async fn compare_groups(
    history: &dyn Past,
    bucket: &Bucket<'_>,
    found: &Found,
    groups: Vec<Vec<Window>>,
    events: &Events,
) -> Result<Compared, String> {
    let mut compared = Compared::default();
    compared.damaged.extend(found.damaged.iter().map(|one| (one.block.clone(), one.clone())));
    let last = groups.len() - 1;
    let total = found.blocks.len() as u64;
    let mut read = BTreeSet::new();
    for (number, windows) in groups.iter().enumerate() {
        // What is before and after the history belongs to the first and the last.
        let begin = windows.first().filter(|_| number > 0).map_or(i64::MIN, |window| window.start);
        let end = windows.last().filter(|_| number < last).map_or(i64::MAX, |window| window.end);
        let mut sent = Sent::of(history, windows);
        // Named, and not a closure: whoever waits for it may be on any thread.
        let mut reading = Vec::new();
        for meta in &found.blocks {
            if meta.min_time < end && meta.max_time > begin {
                reading.push(downloaded(bucket, meta));
            }
        }
        let mut downloads = futures::stream::iter(reading).buffer_unordered(AT_ONCE);
        while let Some((meta, contents)) = downloads.next().await {
            let seen = contents?.and_then(|contents| {
                let reading = tsdb::read(meta, &contents.index, &contents.chunks)?;
                let bytes =
                    contents.index.len() + contents.chunks.iter().map(|file| file.len()).sum::<usize>();
                Ok((sent.seen(&reading)?, bytes as u64))
            });
            let new = read.insert(meta.ulid.clone());
            match seen {
                // What is in a block that is damaged counts for nothing.
                Err(damage) => {
                    compared.damaged.insert(meta.ulid.clone(), Damaged::of(&meta.ulid, damage));
                }
                Ok((seen, bytes)) => {
                    if sent.take(seen) {
                        compared.differing.insert(meta.ulid.clone());
                    }
                    if new {
                        compared.bytes += bytes;
                        compared.samples += meta.stats.num_samples;
                    }
                }
            }
            let done = read.len() as u64;
            events.send(Event::Progress { what: "reading".into(), done, total, unit: "blocks" });
        }
        sent.count(windows, &mut compared.tally, &mut compared.lacking);
    }
    Ok(compared)
}

/// The windows of a history, as many together as are held at once; one group at least.
fn groups(history: &dyn Past) -> Vec<Vec<Window>> {
    let windows = tsdb::windows(history, history.extent().newest.map_or(0, |newest| newest + 1));
    groups_of(history, &windows)
}

/// The same of some of its windows, as if all were as large.
fn groups_of(history: &dyn Past, windows: &[Window]) -> Vec<Vec<Window>> {
    let extent = history.extent();
    let each = (extent.weight / (windows.len() as u64).max(1)).max(1);
    let at_once = usize::try_from((HELD / each).max(1)).unwrap_or(usize::MAX);
    let mut groups: Vec<Vec<Window>> = windows.chunks(at_once).map(<[Window]>::to_vec).collect();
    if groups.is_empty() {
        groups.push(Vec::new());
    }
    groups
}
