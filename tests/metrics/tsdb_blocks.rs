//! Blocks of the TSDB as others read them: `promtool` lists and dumps them, and a
//! Prometheus that never saw a sample otherwise serves every one, native
//! histograms among them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::collector::{Receiver, ReceiverOptions, program};
use dorainfra_deploy::verify;
use dorainfra_dora::metrics::{self, Histograms};
use dorainfra_dora::simulator;
use dorainfra_prometheus::query::Query;
use dorainfra_prometheus::tsdb::{self, Block, CHUNKS, INDEX};
use dorainfra_prometheus::{Extent, Past, Samples, Series};
use time::macros::date;

/// A year with a New Year's restart in it.
fn history(teams: u32, histograms: Histograms) -> Vec<Series> {
    metrics::simulated(simulator::teams(teams), 1, date!(2025 - 11 - 20), 365, histograms).collect()
}

fn blocks(history: &Vec<Series>) -> Vec<Block> {
    let windows = tsdb::windows(history, history.extent().newest.unwrap() + 1);
    tsdb::blocks(history, &windows).collect()
}

fn write(folder: &Path, blocks: &[Block]) {
    for block in blocks {
        let folder = folder.join(&block.meta.ulid);
        fs::create_dir_all(folder.join("chunks")).unwrap();
        fs::write(folder.join(INDEX), &block.index).unwrap();
        fs::write(folder.join(CHUNKS), &block.chunks).unwrap();
        fs::write(folder.join("meta.json"), serde_json::to_vec(&block.meta).unwrap()).unwrap();
    }
}

fn promtool(arguments: &[&str], folder: &Path) -> String {
    let promtool = program("promtool");
    let output = Command::new(promtool).args(arguments).arg(folder).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn promtool_reads_every_sample_of_a_year() {
    let folder = tempfile::tempdir().unwrap();
    let history = history(39, Histograms::CLASSIC);
    let blocks = blocks(&history);
    // Two of each week, at most.
    assert!((100..=108).contains(&blocks.len()), "{}", blocks.len());
    write(folder.path(), &blocks);
    let listed = promtool(&["tsdb", "list"], folder.path());
    assert_eq!(listed.lines().count(), blocks.len() + 1, "{listed}");
    let analyzed = promtool(&["tsdb", "analyze"], folder.path());
    let series = blocks.last().unwrap().meta.stats.num_series;
    assert!(analyzed.contains(&format!("\nSeries: {series}\n")), "{analyzed}");

    let mut expected: BTreeMap<(String, i64), f64> = BTreeMap::new();
    for one in &history {
        let mut labels = one.labels.iter().map(|(name, value)| format!("{name}={value:?}"));
        let labels = std::iter::once(format!("__name__={:?}", one.name)).chain(labels.by_ref());
        let labels = format!("{{{}}}", labels.collect::<Vec<_>>().join(", "));
        let samples = one.samples.plain().iter();
        expected.extend(samples.map(|(time, value)| ((labels.clone(), *time), *value)));
    }
    fs::create_dir(folder.path().join("wal")).unwrap();
    let dumped = promtool(&["tsdb", "dump"], folder.path());
    let mut found = 0;
    for line in dumped.lines() {
        let mut words = line.rsplitn(3, ' ');
        let (time, value) = (words.next().unwrap(), words.next().unwrap());
        let key = (words.next().unwrap().to_owned(), time.parse().unwrap());
        assert_eq!(expected.remove(&key), Some(value.parse().unwrap()), "{line}");
        found += 1;
    }
    assert_eq!((found, expected.len()), (history.extent().samples, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_serves_every_sample_of_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let history = history(3, Histograms::NATIVE);
    let Extent { samples, native, .. } = history.extent();
    assert!(native > 1000 && native < samples);
    let blocks = blocks(&history);
    let counted: u64 = blocks.iter().map(|block| block.meta.stats.num_samples).sum();
    let natives: u64 = blocks.iter().map(|block| block.meta.stats.num_histogram_samples).sum();
    assert_eq!((counted, natives), (samples, native));
    write(&folder.path().join("receiver/data"), &blocks);
    let receiver = Receiver::start_keeping(folder.path(), ReceiverOptions::default(), "5000d").await;
    let stored = verify::stored(&Query::new(&receiver.target).unwrap(), &history).await.unwrap();
    assert_eq!((stored.equal, stored.different), (samples, 0), "{stored:?}");

    // One that is not in any block is missed.
    let mut other = history.clone();
    let Samples::Plain(values) = &mut other[0].samples else { panic!("{other:?}") };
    let (time, value) = values[100];
    values[100] = (time, value + 1.0);
    values[200].0 += 1;
    let missing = values[200].0;
    let stored = verify::stored(&Query::new(&receiver.target).unwrap(), &other).await.unwrap();
    assert_eq!((stored.equal, stored.different), (samples - 2, 1));
    assert_eq!(stored.missing, [missing].into());
    assert_eq!(stored.first_different.unwrap().found, Some(value));
}
