//! `verify --from-bucket`: what is wrong with the blocks of a bucket is found, down to
//! a single bit, and named; and a deployment comes back from its bucket alone, with a
//! real Mimir where `DORAINFRA_MIMIR_BINARY` names one.

#![allow(clippy::print_stderr, reason = "figures for whoever reads them")]
#![allow(clippy::disallowed_methods, reason = "the environment is a test's own input")]

use crate::collector;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::deployment::Deployment;
use crate::memory_bucket::{Memory, PREFIX};
use bytes::Bytes;
use dorainfra_deploy::verify::{self, Report};
use dorainfra_dora::metrics::{self, Histograms};
use dorainfra_dora::simulator;
use dorainfra_model::Events;
use dorainfra_model::Outcome;
use dorainfra_prometheus::tsdb::{self, Block, CHUNKS, INDEX, Meta};
use dorainfra_prometheus::{Past, Samples, Series};
use time::macros::date;

/// Some weeks of two teams, native histograms among them.
fn history() -> Vec<Series> {
    metrics::simulated(simulator::teams(2), 1, date!(2025 - 11 - 20), 40, Histograms::NATIVE).collect()
}

fn blocks(history: &Vec<Series>) -> Vec<Block> {
    let windows = tsdb::windows(history, history.extent().newest.unwrap() + 1);
    tsdb::blocks(history, &windows).collect()
}

async fn prove(history: &Vec<Series>, memory: &Memory) -> Report {
    verify::from_bucket(history, &memory.bucket(), &Events::none()).await
}

fn found(report: &Report, check: &str) -> String {
    report.check(check).unwrap().found.clone()
}

fn flip(memory: &mut Memory, block: &str, file: &str, at: usize) {
    let bytes = memory.objects.get_mut(&format!("{PREFIX}{block}/{file}")).unwrap();
    let mut changed = bytes.to_vec();
    changed[at] ^= 1;
    *bytes = changed.into();
}

fn lose(memory: &mut Memory, block: &str, file: &str) {
    memory.objects.remove(&format!("{PREFIX}{block}/{file}")).unwrap();
}

/// Of the same name, whole in itself, but with a sample less.
fn with_fewer(history: &[Series], whole: &Block) -> Block {
    let mut fewer = history.to_vec();
    let Samples::Plain(samples) = &mut fewer[0].samples else { panic!("{:?}", fewer[0]) };
    let at = samples.iter().position(|(time, _)| *time >= whole.meta.min_time).unwrap();
    samples.remove(at);
    let mut made =
        blocks(&fewer).into_iter().find(|block| block.meta.min_time == whole.meta.min_time).unwrap();
    made.meta.ulid.clone_from(&whole.meta.ulid);
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_bucket_is_proven_to_the_last_sample() {
    let history = history();
    let all = blocks(&history);
    let samples = history.extent().samples;
    let mut memory = Memory::of(&all);
    let report = prove(&history, &memory).await;
    assert!(report.ok(), "{report:#?}");
    assert_eq!((report.samples_sent, report.samples_found.unwrap()), (samples, samples));
    assert_eq!(report.blocks, Some(all.len() as u64));
    assert_eq!(report.newest_in_bucket_ms, all.last().map(|block| block.meta.max_time));

    // Twice, as replicas have it, under another name; and one that is about to be
    // deleted, of which files are gone already.
    let again = Block { meta: all[0].meta.renamed(), ..all[0].clone() };
    memory.put(&again);
    let gone = Block { meta: all[1].meta.renamed(), ..all[1].clone() };
    memory.put(&gone);
    lose(&mut memory, &gone.meta.ulid, INDEX);
    memory.objects.insert(format!("{PREFIX}markers/{}-deletion-mark.json", gone.meta.ulid), Bytes::new());
    let report = prove(&history, &memory).await;
    assert!(report.ok(), "{report:#?}");
    assert_eq!((report.samples_found.unwrap(), report.blocks), (samples, Some(all.len() as u64 + 1)));
}

/// A block of what came late says the end of its two hours, which may be an hour ahead.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_late_does_not_make_the_bucket_newer_than_it_is() {
    let history = history();
    let all = blocks(&history);
    let mut memory = Memory::of(&all);
    let mut late = all[0].clone();
    late.meta = late.meta.renamed();
    late.meta.compaction.hints = vec!["from-out-of-order".into()];
    late.meta.max_time = all.last().unwrap().meta.max_time + 2 * 60 * 60 * 1000;
    memory.put(&late);
    let report = prove(&history, &memory).await;
    assert!(report.ok(), "{report:#?}");
    assert_eq!(report.newest_in_bucket_ms, all.last().map(|block| block.meta.max_time));
}

/// One of live values, for example: nobody knows what it held, so all of it can't be there.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_without_its_description_is_named_also_where_the_history_is_whole() {
    let history = history();
    let mut memory = Memory::of(&blocks(&history));
    let prefix = memory.bucket().prefix;
    let name = "01M8MZ668G0000000000000000";
    memory.objects.insert(format!("{prefix}{name}/index"), "x".into());
    let report = prove(&history, &memory).await;
    assert!(!report.ok() && found(&report, "blocks").contains(name), "{report:#?}");
    assert_eq!(report.samples_found, Some(history.extent().samples));
}

/// By Mimir's API: the compactor deletes what is of the tenant, and until then all is there.
#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_a_tenant_that_was_deleted_prove_nothing() {
    let history = history();
    let mut memory = Memory::of(&blocks(&history));
    let prefix = memory.bucket().prefix;
    memory.objects.insert(format!("{prefix}markers/tenant-deletion-mark.json"), "{}".into());
    let report = prove(&history, &memory).await;
    assert!(!report.ok(), "{report:#?}");
    assert!(found(&report, "blocks").contains("the whole tenant was deleted"), "{report:#?}");
    let told = verify::in_bucket(&history, &memory.bucket(), true).await.unwrap();
    assert_eq!(told.damaged.len(), 1, "{told:?}");
    // Deleted by then: nobody brings them back, unless they came by Mimir and may be on their way.
    for as_blocks in [true, false] {
        let told = verify::in_bucket(&history, &Memory::default().bucket(), as_blocks).await.unwrap();
        assert_eq!((told.held, told.lost), (0, as_blocks), "{told:?}");
    }
}

/// Also what neither a listing nor the blocks' own descriptions show.
#[tokio::test(flavor = "multi_thread")]
async fn each_damage_is_found_with_the_name_of_its_block() {
    type Damage = fn(&mut Memory, &[Series], &[Block]) -> String;
    let history = history();
    let all = blocks(&history);
    let samples = history.extent().samples;
    let cases: [(&str, Damage, &str, &str); 12] = [
        (
            "a bit of the chunks",
            |memory, _, all| {
                flip(memory, &all[2].meta.ulid, CHUNKS, all[2].chunks.len() / 2);
                all[2].meta.ulid.clone()
            },
            "blocks",
            "does not have its checksum",
        ),
        (
            "a bit of the index",
            |memory, _, all| {
                flip(memory, &all[2].meta.ulid, INDEX, all[2].index.len() / 2);
                all[2].meta.ulid.clone()
            },
            "blocks",
            "index: ",
        ),
        (
            "a shorter file of chunks",
            |memory, _, all| {
                let name = format!("{PREFIX}{}/{CHUNKS}", all[2].meta.ulid);
                memory.objects.insert(name, all[2].chunks.slice(..100));
                all[2].meta.ulid.clone()
            },
            "blocks",
            "has 100 bytes instead of",
        ),
        (
            "chunks of another block",
            |memory, _, all| {
                let name = format!("{PREFIX}{}/{CHUNKS}", all[2].meta.ulid);
                memory.objects.insert(name, all[3].chunks.clone());
                all[2].meta.ulid.clone()
            },
            "blocks",
            "chunks/000001",
        ),
        (
            "no file of chunks",
            |memory, _, all| {
                lose(memory, &all[2].meta.ulid, CHUNKS);
                all[2].meta.ulid.clone()
            },
            "blocks",
            "chunks/000001: is missing",
        ),
        (
            "no index",
            |memory, _, all| {
                lose(memory, &all[2].meta.ulid, INDEX);
                all[2].meta.ulid.clone()
            },
            "blocks",
            "index: is missing",
        ),
        (
            "no description",
            |memory, _, all| {
                lose(memory, &all[2].meta.ulid, "meta.json");
                all[2].meta.ulid.clone()
            },
            "blocks",
            "meta.json: is missing",
        ),
        (
            "a description that is none",
            |memory, _, all| {
                flip(memory, &all[2].meta.ulid, "meta.json", 0);
                all[2].meta.ulid.clone()
            },
            "blocks",
            "meta.json: is not what a block says of itself",
        ),
        (
            "a description of more",
            |memory, _, all| {
                let mut block = all[2].clone();
                block.meta.stats.num_samples += 5;
                memory.put(&block);
                all[2].meta.ulid.clone()
            },
            "blocks",
            "samples, but there are",
        ),
        (
            "the whole block",
            |memory, _, all| {
                memory.objects.retain(|name, _| !name.contains(&all[2].meta.ulid));
                all[2].meta.ulid.clone()
            },
            "history",
            "is not there",
        ),
        (
            "one sample less",
            |memory, history, all| {
                memory.put(&with_fewer(history, &all[2]));
                all[2].meta.ulid.clone()
            },
            "history",
            "lacks 1 sample of",
        ),
        (
            "another value",
            |memory, history, all| {
                let mut other = history.to_vec();
                let Samples::Plain(samples) = &mut other[0].samples else { panic!("{:?}", other[0]) };
                let at = samples.iter().position(|(time, _)| *time >= all[2].meta.min_time).unwrap();
                samples[at].1 += 1.0;
                let mut made = blocks(&other).remove(2);
                made.meta.ulid.clone_from(&all[2].meta.ulid);
                memory.put(&made);
                all[2].meta.ulid.clone()
            },
            "history",
            "Other values are in",
        ),
    ];
    for (what, damage, check, words) in cases {
        let mut memory = Memory::of(&all);
        let name = damage(&mut memory, &history, &all);
        // What blocks say of themselves shows none of these.
        if what.starts_with("a bit of") {
            let told = verify::in_bucket(&history, &memory.bucket(), true).await.unwrap();
            assert!(told.damaged.is_empty() && told.held == samples, "{what}: {told:?}");
        }
        let report = prove(&history, &memory).await;
        assert!(!report.ok(), "{what}: {report:#?}");
        let told = found(&report, check);
        assert_eq!(report.check(check).unwrap().outcome, Outcome::Failed, "{what}");
        assert!(told.contains(&name) && told.contains(words), "{what}: {told}");
        assert!(report.check(check).unwrap().hint.is_some(), "{what}");
        assert!(report.samples_found.unwrap() < samples, "{what}: what is damaged counts for nothing");
        // Only the one is named, and all others are still proven.
        let others = all.iter().filter(|block| block.meta.ulid != name);
        let whole: u64 = others.map(|block| block.meta.stats.num_samples).sum();
        assert!(report.samples_found.unwrap() >= whole, "{what}: {report:#?}");
        assert!(report.damaged.iter().all(|one| one.block == name), "{what}: {report:#?}");
        assert_eq!(check == "blocks", !report.damaged.is_empty(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_bucket_and_one_that_cannot_be_read_prove_nothing() {
    let history = history();
    let report = prove(&history, &Memory::default()).await;
    assert!(!report.ok() && found(&report, "blocks").contains("no block"), "{report:#?}");
    assert!(found(&report, "history").starts_with("0 of "), "{report:#?}");
    let refuses = Some("403: storage.objects.list is missing".to_owned());
    let report = prove(&history, &Memory { refuses, ..Memory::of(&blocks(&history)) }).await;
    assert!(!report.ok() && found(&report, "blocks").contains("403"), "{report:#?}");
    assert_eq!(report.check("history").unwrap().outcome, Outcome::Failed);
}

/// Blocks that Prometheus's own code wrote, of two hours each and with parts in the
/// index that ours leave out.
#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_another_writer_are_read_to_the_last_sample() {
    let folder = tempfile::tempdir().unwrap();
    let history: Vec<Series> =
        metrics::simulated(simulator::teams(2), 1, date!(2025 - 11 - 20), 10, Histograms::CLASSIC).collect();
    let mut by_metric: Vec<&Series> = history.iter().collect();
    by_metric.sort_by_key(|series| series.name);
    let mut text = String::new();
    for series in by_metric {
        let labels: Vec<String> =
            series.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        for (time, value) in series.samples.plain() {
            let (seconds, rest) = (time / 1000, time % 1000);
            writeln!(text, "{}{{{}}} {value} {seconds}.{rest:03}", series.name, labels.join(",")).unwrap();
        }
    }
    text.push_str("# EOF\n");
    std::fs::write(folder.path().join("history.om"), text).unwrap();
    let output = Command::new(collector::program("promtool"))
        .args(["tsdb", "create-blocks-from", "openmetrics", "history.om", "out"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut memory = Memory::default();
    for block in std::fs::read_dir(folder.path().join("out")).unwrap().flatten() {
        if !block.path().join("meta.json").exists() {
            continue;
        }
        for file in ["meta.json", INDEX, CHUNKS] {
            let name = format!("{PREFIX}{}/{file}", block.file_name().to_str().unwrap());
            memory.objects.insert(name, std::fs::read(block.path().join(file)).unwrap().into());
        }
    }
    let report = prove(&history, &memory).await;
    assert!(report.ok(), "{report:#?}");
    assert!(report.blocks.unwrap() >= 10, "{report:#?}");
    assert_eq!(report.samples_found.unwrap(), history.extent().samples);

    // Of theirs, too, each byte counts.
    let name = memory.objects.keys().find(|name| name.ends_with(INDEX)).unwrap().clone();
    let folder = name.strip_suffix(INDEX).unwrap();
    let meta: Meta = serde_json::from_slice(&memory.objects[&format!("{folder}meta.json")]).unwrap();
    let chunks = [memory.objects[&format!("{folder}{CHUNKS}")].clone()];
    let index = memory.objects[&name].to_vec();
    assert!(tsdb::read(&meta, &index, &chunks).is_ok());
    for at in 0..index.len() {
        let mut changed = index.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(tsdb::read(&meta, &changed, &chunks).is_err(), "byte {at} of {}", index.len());
    }
}

const BUCKET: &str = "my-gcp-dorainfra-mimir";

/// Writes an object of the deployment's bucket, as its owner.
fn upload(deployment: &Deployment, token: &str, name: &str, bytes: &[u8]) {
    let file = deployment.path().join("object");
    std::fs::write(&file, bytes).unwrap();
    let url = format!(
        "http://127.0.0.1:{}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={}",
        deployment.port(),
        name.replace('/', "%2F")
    );
    deployment.until(&format!("{name} is written"), || {
        let output = Command::new("curl")
            .args(["-sS", "--fail-with-body", "-X", "POST", &url, "--data-binary"])
            .arg(format!("@{}", file.display()))
            .args(["-H", &format!("Authorization: Bearer {token}")])
            .args(["-H", "Content-Type: application/octet-stream"])
            .output()
            .unwrap();
        output.status.success()
    });
}

fn put(deployment: &Deployment, token: &str, block: &Block) {
    let name = |file: &str| format!("{PREFIX}{}/{file}", block.meta.ulid);
    upload(deployment, token, &name("meta.json"), &serde_json::to_vec(&block.meta).unwrap());
    upload(deployment, token, &name(INDEX), &block.index);
    upload(deployment, token, &name(CHUNKS), &block.chunks);
}

/// The command over the Storage API; neither a machine nor a Mimir is there.
#[test]
fn the_command_needs_nothing_but_the_bucket() {
    let deployment = Deployment::of_records();
    let settings = ["--set", "generator.teams=2", "--set", "generator.days=20"];
    let run = |arguments: &[&str]| {
        let mimir = deployment.said_to_be_mimir();
        let given = ["--mimir-binary", &mimir, "--set", "mimir.version=3.2.0"];
        let all = [&["--sandbox", "--json"], &settings[..], &given, arguments].concat();
        deployment.run(&all)
    };
    let bucket = format!("storage.bucket/{BUCKET}");
    run(&["apply", "--yes", "--target", &bucket]).ends_with(0);
    let empty = run(&["verify", "--from-bucket"]).ends_with(6);
    assert!(empty.stdout.contains("no block is there"), "{}", empty.stdout);

    let yesterday = time::OffsetDateTime::now_utc().date().previous_day().unwrap();
    let history: Vec<Series> =
        metrics::simulated(simulator::teams(2), 1, yesterday, 20, Histograms::CLASSIC).collect();
    let all = blocks(&history);
    let token = deployment.token();
    all.iter().for_each(|block| put(&deployment, &token, block));
    let whole = run(&["verify", "--from-bucket"]).ends_with(0);
    let result = whole.events("result")[0]["result"].clone();
    assert_eq!(result["samples_found"], history.extent().samples, "{result}");

    // What the machine alone would have is told by `status`, too: nothing of the history.
    let status = run(&["status"]).ends_with(0);
    let told = &status.events("result")[0]["result"]["bucket"];
    assert_eq!(told["samples_in_bucket"], history.extent().samples, "{told}");
    assert!(told["newest"].as_str().is_some_and(|newest| newest.ends_with('Z')), "{told}");

    let mut damaged = all[1].clone();
    let mut bytes = damaged.chunks.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    damaged.chunks = bytes.into();
    put(&deployment, &token, &damaged);
    let run = run(&["verify", "--from-bucket"]).ends_with(6);
    let named = format!("{}: chunks/000001: the chunk at", damaged.meta.ulid);
    assert!(run.stdout.contains(&named), "{}", run.stdout);
}

/// Everything but the bucket is gone: machine and data disk. A new machine over the
/// same bucket has all of it.
#[test]
#[ignore = "needs a Mimir (DORAINFRA_MIMIR_BINARY): scripts/nightly"]
fn a_deployment_comes_back_from_its_bucket_alone() {
    let Some(mimir) = std::env::var("DORAINFRA_MIMIR_BINARY").ok().filter(|path| !path.is_empty()) else {
        panic!("DORAINFRA_MIMIR_BINARY names no Mimir");
    };
    assert!(Path::new(&mimir).exists());
    let set = |name: &str, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.into());
    // More of it where somebody measures.
    let teams = format!("generator.teams={}", set("TEST_TEAMS", "3"));
    let days = format!("generator.days={}", set("TEST_DAYS", "60"));
    let deployment = Deployment::new();
    let run = |arguments: &[&str]| {
        let began = std::time::Instant::now();
        let settings = ["--sandbox", "--json", "--set", &teams, "--set", &days, "--mimir-binary", &mimir];
        let run = deployment.run(&[&settings[..], arguments].concat());
        eprintln!("{arguments:?}: {:.0} s", began.elapsed().as_secs_f64());
        run
    };
    run(&["apply", "--yes"]).ends_with(0);
    let before = run(&["verify", "--from-bucket"]).ends_with(0);
    let result = before.events("result")[0]["result"].clone();
    assert_eq!(result["samples_found"], result["samples_sent"], "{result}");

    run(&["destroy", "--yes"]).ends_with(0);
    let disk = "compute/v1/projects/my-gcp/zones/europe-west1-b/disks/dorainfra-data";
    deployment.google("DELETE", disk, "");
    deployment.until("the disk is gone", || deployment.try_google(disk).is_null());
    // Of the bucket alone: no machine is there.
    run(&["verify", "--from-bucket"]).ends_with(0);
    let again = run(&["apply", "--yes"]).ends_with(0);
    // None of it was sent a second time.
    let notes = again.events("note");
    let words = notes.iter().filter_map(|note| note["message"].as_str()).collect::<Vec<_>>().join("\n");
    let sent = &result["samples_sent"];
    let there =
        [format!("all {sent} samples are stored already"), format!("; {sent} of them were there already")];
    assert!(there.iter().any(|words_of| words.contains(words_of)), "{words}");
    eprintln!("{sent} samples in {} blocks", before.events("result")[0]["result"]["blocks"]);
    let after = run(&["verify"]).ends_with(0);
    let result = after.events("result")[0]["result"].clone();
    assert_eq!(result["samples_found"], result["samples_sent"], "{result}");
    run(&["verify", "--from-bucket"]).ends_with(0);

    // A block that somebody deletes is told, and sent again once Mimir has noticed.
    let listed = deployment.google("GET", &format!("storage/v1/b/{BUCKET}/o?prefix={PREFIX}"), "");
    let names: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|object| object["name"].as_str().unwrap()).collect();
    let folder = names.iter().find_map(|name| name.strip_suffix("/meta.json")).unwrap();
    for name in names.iter().filter(|name| name.starts_with(folder)) {
        deployment.google("DELETE", &format!("storage/v1/b/{BUCKET}/o/{}", name.replace('/', "%2F")), "");
    }
    run(&["verify", "--from-bucket"]).ends_with(6);
    // Its index of the bucket is a minute old at most, and a query may fail until then.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(240);
    while run(&["verify", "--from-bucket"]).code != 0 {
        assert!(std::time::Instant::now() < deadline, "the block is not sent again");
        run(&["apply", "--yes"]);
    }
}
