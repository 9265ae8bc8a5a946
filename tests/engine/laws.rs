//! Laws of the engine, over random deployments and random histories: a plan
//! after an apply is empty; a run that was killed at any write is mended by the
//! next one; a failure stops what needs it and nothing else.

// Helpers of tests may unwrap as tests do.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::memory::{Fault, Memory, MemoryLease, clock, manifest, stack};
use dorainfra_engine::{
    Action, ApplyOptions, Fence, Leasing, Manifest, Noted, Outcome, Plan, PlanOptions, Provider, ResourceId,
    apply, plan, plan_destroy,
};
use dorainfra_model::Events;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const NAME: &str = "test";
const NODES: usize = 7;

/// A node of a random deployment. Its kind and name follow from its place, so
/// that two random deployments have resources in common.
#[derive(Clone, Debug)]
struct Node {
    present: bool,
    place: bool,
    size: u8,
    label: u8,
    tags: Vec<u8>,
    /// Which of the nodes before it are referred to.
    refers: u8,
    depends: u8,
}

fn node() -> impl Strategy<Value = Node> {
    let tags = prop::collection::vec(0u8..3, 0..3);
    (prop::bool::weighted(0.8), any::<bool>(), 0u8..3, 0u8..3, tags, any::<u8>(), any::<u8>()).prop_map(
        |(present, place, size, label, tags, refers, depends)| Node {
            present,
            place,
            size,
            label,
            tags,
            refers: refers & refers.rotate_left(3),
            depends: depends & depends.rotate_left(2) & depends.rotate_left(5),
        },
    )
}

fn kind(at: usize) -> &'static str {
    ["mem.net", "mem.disk", "mem.vm", "mem.grant"][at % 4]
}

fn name(at: usize) -> String {
    format!("{}/n{at}", kind(at))
}

/// `mutual`: disks and machines name each other, as real ones do. Then disks
/// refer to nothing, and one machine shows that it is they that use disks.
fn manifests(nodes: &[Node], reversed: bool, mutual: bool) -> Vec<Manifest> {
    let before = |at: usize, bits: u8| {
        (0..at).filter(move |&other| bits & (1 << other) != 0).filter(|&other| nodes[other].present)
    };
    let mut all: Vec<Manifest> = nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.present)
        .map(|(at, node)| {
            let zone = if node.place { "a" } else { "b" };
            let uids: Vec<String> =
                before(at, node.refers).map(|other| format!("x-${{{}.uid}}", name(other))).collect();
            let uids = if mutual && kind(at) == "mem.disk" { Vec::new() } else { uids };
            let sizes: Vec<String> =
                before(at, node.refers).map(|other| format!("${{{}.size}}", name(other))).collect();
            let disk = before(at, node.refers).find(|&other| kind(other) == "mem.disk");
            let disk = disk.map(|disk| format!("${{{}.uid}}", name(disk)));
            let body = match kind(at) {
                "mem.net" => json!({"range": zone, "size": node.size, "peers": uids, "sizes": sizes}),
                "mem.disk" => json!({"zone": zone, "size": node.size, "from": uids, "label": node.label}),
                "mem.vm" => json!({
                    "zone": zone, "size": node.size, "disk": disk, "peers": uids, "tags": node.tags,
                    "items": node.tags.first().map(|tag| json!([{"key": "k", "value": tag}])),
                }),
                _ => json!({"role": zone, "size": node.size, "members": uids}),
            };
            let depends = if mutual && kind(at) == "mem.disk" { 0 } else { node.depends };
            let depends: Vec<String> = before(at, depends).map(name).collect();
            let depends: Vec<&str> = depends.iter().map(String::as_str).collect();
            manifest(&name(at), body, &depends)
        })
        .collect();
    if mutual {
        all.push(manifest("mem.disk/base", json!({"zone": "a"}), &[]));
        all.push(manifest("mem.vm/base", json!({"zone": "a", "disk": "${mem.disk/base.uid}"}), &[]));
    }
    if reversed {
        all.reverse();
    }
    all
}

/// What somebody else does to the cloud.
#[derive(Clone, Debug)]
enum Meddling {
    Vanish(usize),
    Size(usize, u8),
    Tags(usize),
    Orphan(usize),
}

fn meddling() -> impl Strategy<Value = Meddling> {
    prop_oneof![
        (0..NODES).prop_map(Meddling::Vanish),
        (0..NODES, 0u8..4).prop_map(|(at, size)| Meddling::Size(at, size)),
        (0..NODES).prop_map(Meddling::Tags),
        (0..NODES).prop_map(Meddling::Orphan),
    ]
}

fn meddle(memory: &Memory, meddling: &Meddling) {
    match meddling {
        Meddling::Vanish(at) => memory.vanish(&name(*at)),
        Meddling::Size(at, size) => memory.meddle(&name(*at), "size", json!(size)),
        Meddling::Tags(at) => memory.meddle(&name(*at), "tags", json!([9])),
        Meddling::Orphan(at) => {
            memory.put(&manifest(&format!("mem.net/old{at}"), json!({"range": at}), &[]), Some(NAME));
        }
    }
}

/// A deployment, as it was, what happened to it, and as it is to be.
#[derive(Clone, Debug)]
struct History {
    before: Vec<Node>,
    meddlings: Vec<Meddling>,
    after: Vec<Node>,
    reversed: bool,
    mutual: bool,
    pace: u64,
}

fn history() -> impl Strategy<Value = History> {
    let nodes = || prop::collection::vec(node(), NODES);
    let meddlings = prop::collection::vec(meddling(), 0..4);
    (nodes(), meddlings, nodes(), any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |(before, meddlings, after, reversed, mutual, pace)| History {
            before,
            meddlings,
            after,
            reversed,
            mutual,
            pace,
        },
    )
}

impl History {
    fn wanted(&self) -> Vec<Manifest> {
        manifests(&self.after, self.reversed, self.mutual)
    }

    fn first(&self) -> Vec<Manifest> {
        manifests(&self.before, self.reversed, self.mutual)
    }

    /// The cloud as the next run finds it.
    async fn begin(&self) -> Arc<Memory> {
        let memory = self.cloud(&Memory::new());
        let outcome = applied(&memory, &planned(&memory, self.first()).await).await;
        assert!(outcome.is_complete(), "{outcome:?}");
        for meddling in &self.meddlings {
            meddle(&memory, meddling);
        }
        self.cloud(&memory)
    }

    /// The same world, without faults, in which each write takes some time of
    /// its own: so writes end in any order.
    fn cloud(&self, memory: &Memory) -> Arc<Memory> {
        let pace = self.pace;
        Memory::with(memory.snapshot(), move |verb, id| {
            let of_its_own = id
                .name
                .bytes()
                .chain(verb.bytes())
                .fold(pace, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            Duration::from_millis(of_its_own % 7)
        })
    }
}

/// A time of its own for each call, the same for the same `pace`.
fn own_time(pace: u64, verb: &str, id: &ResourceId) -> Duration {
    let of_its_own = id
        .name
        .bytes()
        .chain(verb.bytes())
        .fold(pace, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    Duration::from_millis(of_its_own % 7)
}

async fn planned(memory: &Memory, manifests: Vec<Manifest>) -> Plan {
    plan(NAME, manifests, memory, &PlanOptions::default(), &Events::none()).await.unwrap()
}

async fn applied(memory: &Arc<Memory>, plan: &Plan) -> Outcome {
    let (provider, token) = (Arc::clone(memory) as Arc<dyn Provider>, CancellationToken::new());
    apply(plan, provider, &ApplyOptions::default(), None, &token, &Events::none()).await.unwrap()
}

/// Applies until the cloud kills the run at a faulty write.
async fn killed(memory: &Arc<Memory>, plan: &Plan) {
    tokio::select! {
        biased;
        () = memory.killed.cancelled() => {}
        outcome = applied(memory, plan) => panic!("the run was to be killed, but ended: {outcome:?}"),
    }
}

/// A quarter of the usual cases (`PROPTEST_CASES`): each is a whole history.
fn few() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.div_ceil(4), failure_persistence: None, ..usual }
}

fn with_time<T>(test: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test)
}

/// A line for each step and each resource that was observed, and the failures.
fn told(plan: &Plan, outcome: &Outcome) -> String {
    let steps = plan.steps.iter().map(|step| {
        let needs: Vec<String> = step.needs.iter().map(ToString::to_string).collect();
        let changes: Vec<&str> = step.changes.iter().map(|change| change.path.as_str()).collect();
        format!("{:?} {} ({}) {changes:?} after {}", step.action, step.id, step.reason, needs.join(", "))
    });
    let observed = plan.basis.observed.values().map(|one| format!("{}: {}", one.id, one.body));
    let failed = outcome.failed.iter().map(|(id, error, _)| format!("{id} failed: {error}"));
    let lines: Vec<String> = steps.chain(observed).chain(failed).collect();
    format!("\n{}\n", lines.join("\n"))
}

fn ids(manifests: &[Manifest]) -> Vec<String> {
    manifests.iter().map(|manifest| manifest.id().to_string()).collect()
}

/// That the world is what the manifests say: all of it there once, and no more.
async fn converged(memory: &Memory, wanted: &[Manifest]) -> Result<(), TestCaseError> {
    let plan = planned(memory, wanted.to_vec()).await;
    prop_assert!(!plan.has_changes(), "{}", told(&plan, &Outcome::default()));
    let mut there: Vec<String> = Vec::new();
    for key in memory.world().into_keys() {
        there.push(key.split_once('@').map_or(key.clone(), |(id, _)| id.to_owned()));
    }
    // What carries no mark is not found when no manifest names it any more.
    there.retain(|id| !id.starts_with("mem.grant") || ids(wanted).contains(id));
    let mut expected = ids(wanted);
    expected.sort();
    there.sort();
    prop_assert_eq!(there, expected);
    Ok(())
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn a_plan_after_an_apply_is_empty(history in history()) {
        with_time(async {
            let memory = history.begin().await;
            let plan = planned(&memory, history.wanted()).await;
            let outcome = applied(&memory, &plan).await;
            prop_assert!(outcome.is_complete(), "{}", told(&plan, &outcome));
            let changed = plan.steps.iter().filter(|step| !matches!(step.action, Action::NoOp | Action::Keep));
            prop_assert_eq!(outcome.done.len(), changed.count());
            converged(&memory, &history.wanted()).await?;
            // Applying again does nothing at all.
            let writes = memory.writes();
            applied(&memory, &planned(&memory, history.wanted()).await).await;
            prop_assert_eq!(memory.writes(), writes);
            Ok(())
        })?;
    }

    #[test]
    fn a_first_apply_takes_the_time_of_the_longest_path(history in history()) {
        with_time(async {
            let memory = history.cloud(&Memory::new());
            let plan = planned(&memory, history.wanted()).await;
            let mut ends = BTreeMap::new();
            for step in &plan.steps {
                let begin = step.needs.iter().map(|need| ends[need]).max().unwrap_or_default();
                ends.insert(&step.id, begin + own_time(history.pace, "create", &step.id));
            }
            let longest: Duration = ends.into_values().max().unwrap_or_default();
            let begun = Instant::now();
            prop_assert!(applied(&memory, &plan).await.is_complete());
            prop_assert_eq!(begun.elapsed(), longest);
            Ok(())
        })?;
    }

    #[test]
    fn a_killed_run_is_mended_by_the_next(history in history(), at in any::<prop::sample::Index>(), after in any::<bool>()) {
        with_time(async {
            let memory = history.begin().await;
            let undisturbed = history.cloud(&memory);
            let plan = planned(&undisturbed, history.wanted()).await;
            applied(&undisturbed, &plan).await;
            if undisturbed.writes() == 0 {
                return Ok(());
            }
            let fault = if after { Fault::KillAfter } else { Fault::KillBefore };
            memory.fault(at.index(undisturbed.writes()), fault);
            killed(&memory, &planned(&memory, history.wanted()).await).await;
            let memory = history.cloud(&memory);
            let plan = planned(&memory, history.wanted()).await;
            let outcome = applied(&memory, &plan).await;
            prop_assert!(outcome.is_complete(), "{}", told(&plan, &outcome));
            converged(&memory, &history.wanted()).await?;
            prop_assert_eq!(memory.world(), undisturbed.world());
            Ok(())
        })?;
    }

    #[test]
    fn lost_answers_do_not_stop_a_run(
        history in history(),
        // Not three, after which a write is given up.
        faults in prop::collection::btree_map(0usize..12, any::<bool>(), 1..3),
    ) {
        with_time(async {
            let memory = history.begin().await;
            let undisturbed = history.cloud(&memory);
            applied(&undisturbed, &planned(&undisturbed, history.wanted()).await).await;
            for (nth, arrived) in faults {
                memory.fault(nth, if arrived { Fault::LostAfter } else { Fault::LostBefore });
            }
            let plan = planned(&memory, history.wanted()).await;
            let outcome = applied(&memory, &plan).await;
            prop_assert!(outcome.is_complete(), "{}", told(&plan, &outcome));
            prop_assert_eq!(memory.world(), undisturbed.world());
            Ok(())
        })?;
    }

    #[test]
    fn a_failure_stops_what_needs_it_and_nothing_else(history in history(), at in any::<prop::sample::Index>()) {
        with_time(async {
            let memory = history.begin().await;
            let plan = planned(&memory, history.wanted()).await;
            let changed: Vec<&ResourceId> = plan
                .steps
                .iter()
                .filter(|step| !matches!(step.action, Action::NoOp | Action::Keep))
                .map(|step| &step.id)
                .collect();
            if changed.is_empty() {
                return Ok(());
            }
            let failing = changed[at.index(changed.len())];
            memory.failing(&failing.to_string());
            let outcome = applied(&memory, &plan).await;

            // Everything behind it, by the needs that the plan tells. And what
            // is to go, but used by one of them: that cannot go yet.
            let used = |user: &ResourceId, id: &ResourceId| {
                plan.basis.observed.get(user).is_some_and(|user| user.body.to_string().contains(&format!("/{id}\"")))
            };
            let mut behind = BTreeSet::from([failing]);
            loop {
                let count = behind.len();
                for step in &plan.steps {
                    let replaced = |id: &ResourceId| {
                        plan.steps.iter().any(|step| step.id == *id && step.action == Action::Replace)
                    };
                    if step.needs.iter().any(|need| behind.contains(need)) {
                        behind.insert(&step.id);
                    }
                    if replaced(&step.id) && behind.contains(&step.id) {
                        behind.extend(step.needs.iter().filter(|need| replaced(need)));
                    }
                    let goes = matches!(step.action, Action::Replace | Action::Delete);
                    if goes && behind.iter().any(|user| used(user, &step.id)) {
                        behind.insert(&step.id);
                    }
                }
                if behind.len() == count {
                    break;
                }
            }
            prop_assert_eq!(outcome.failed.len(), 1);
            prop_assert_eq!(&outcome.failed[0].0, failing);
            for id in changed {
                let done = outcome.done.contains(id);
                let not_started = outcome.not_started.iter().any(|(other, _)| other == id);
                prop_assert!(usize::from(done) + usize::from(not_started) + usize::from(id == failing) == 1);
                prop_assert!(done || behind.contains(id), "{} was stopped by {}: {:#?}", id, failing, outcome);
            }

            memory.heal();
            let plan = planned(&memory, history.wanted()).await;
            let outcome = applied(&memory, &plan).await;
            prop_assert!(outcome.is_complete(), "{}", told(&plan, &outcome));
            converged(&memory, &history.wanted()).await
        })?;
    }

    #[test]
    fn an_interrupted_run_is_continued_by_the_next(history in history(), millis in 0u64..20) {
        with_time(async {
            let memory = history.begin().await;
            let plan = planned(&memory, history.wanted()).await;
            let (token, events, options) = (CancellationToken::new(), Events::none(), ApplyOptions::default());
            let interruption = async {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                token.cancel();
                std::future::pending::<()>().await;
            };
            let provider = Arc::clone(&memory) as Arc<dyn Provider>;
            let outcome = tokio::select! {
                outcome = apply(&plan, provider, &options, None, &token, &events) => outcome.unwrap(),
                () = interruption => unreachable!(),
            };
            prop_assert!(outcome.failed.is_empty(), "{:#?}", outcome);
            prop_assert_eq!(outcome.interrupted, !outcome.not_started.is_empty());
            let changed = plan.steps.iter().filter(|step| !matches!(step.action, Action::NoOp | Action::Keep));
            prop_assert_eq!(outcome.done.len() + outcome.not_started.len(), changed.count());
            let plan = planned(&memory, history.wanted()).await;
            let outcome = applied(&memory, &plan).await;
            prop_assert!(outcome.is_complete(), "{}", told(&plan, &outcome));
            converged(&memory, &history.wanted()).await
        })?;
    }

    #[test]
    fn destroy_leaves_nothing_wherever_it_was_killed(history in history(), at in 0usize..8, after in any::<bool>()) {
        with_time(async {
            let memory = history.begin().await;
            // With the manifests that made it: what has no mark is found by them.
            let wanted = history.first();
            let destroy = async |memory: &Memory| {
                let options = PlanOptions::default();
                plan_destroy(NAME, wanted.clone(), memory, &options, &Events::none()).await.unwrap()
            };
            memory.fault(at, if after { Fault::KillAfter } else { Fault::KillBefore });
            let plan = destroy(&memory).await;
            if plan.steps.len() > at {
                killed(&memory, &plan).await;
            }
            let memory = history.cloud(&memory);
            let plan = destroy(&memory).await;
            let outcome = applied(&memory, &plan).await;
            prop_assert!(outcome.is_complete(), "{}", told(&plan, &outcome));
            prop_assert!(memory.world().is_empty(), "{:#?}", memory.world());
            Ok(())
        })?;
    }
}

/// Runs one apply under a lease, killed at its `nth` write if that is given;
/// answers how many writes there were.
async fn run_under_lease(
    memory: &Arc<Memory>,
    store: &MemoryLease,
    id: &str,
    now: &(impl Fn() -> time::OffsetDateTime + Send + Sync),
    plan: &Plan,
) -> usize {
    let (provider, token) = (Arc::clone(memory) as Arc<dyn Provider>, CancellationToken::new());
    let (fence, noted) = (Fence::default(), Noted::default());
    let leasing = Leasing { store, holder: "ada@host 7", id, clock: now, fence: &fence, noted: &noted };
    let (options, events) = (ApplyOptions::default(), Events::none());
    tokio::select! {
        biased;
        () = memory.killed.cancelled() => {}
        outcome = apply(plan, provider, &options, Some(leasing), &token, &events) => {
            let outcome = outcome.unwrap();
            assert!(outcome.is_complete(), "{outcome:?}");
        }
    }
    memory.writes()
}

/// Every step in the life of one deployment, killed before and after each of
/// its writes: the next run, once the dead one's lease is over, ends in the
/// world of an undisturbed one.
#[tokio::test(start_paused = true)]
async fn a_life_killed_at_every_write() {
    type Change = fn() -> (bool, Vec<Manifest>);
    let life: [Change; 5] = [
        || (false, stack("a", "1")),
        || (false, stack("a", "2")),
        || {
            let mut manifests = stack("a", "2");
            manifests[1].body["range"] = json!("other");
            manifests[6].body["tags"] = json!(["web"]);
            (false, manifests)
        },
        || (false, stack("b", "3")),
        || (true, stack("b", "3")),
    ];
    let now = clock();
    let options = PlanOptions { delete_data: true, ..PlanOptions::default() };
    let make = async |memory: &Memory, (destroy, manifests): (bool, Vec<Manifest>)| {
        let events = Events::none();
        if destroy {
            plan_destroy(NAME, manifests, memory, &options, &events).await.unwrap()
        } else {
            plan(NAME, manifests, memory, &options, &events).await.unwrap()
        }
    };
    let again = |memory: &Memory| Memory::with(memory.snapshot(), |_, _| Duration::from_millis(3));
    let mut kills = 0;
    let mut world = again(&Memory::new());
    for change in life {
        let undisturbed = again(&world);
        let plan = make(&undisturbed, change()).await;
        let store = MemoryLease::in_bucket(&undisturbed, "mem.bucket/b");
        let writes = run_under_lease(&undisturbed, &store, "undisturbed", &now, &plan).await;
        assert!(writes > 1);
        for nth in 0..writes {
            for fault in [Fault::KillBefore, Fault::KillAfter] {
                kills += 1;
                let memory = again(&world);
                memory.fault(nth, fault);
                let plan = make(&memory, change()).await;
                let store = MemoryLease::in_bucket(&memory, "mem.bucket/b");
                run_under_lease(&memory, &store, "killed", &now, &plan).await;
                assert!(memory.killed.is_cancelled());

                let mended = again(&memory);
                let plan = make(&mended, change()).await;
                let next = MemoryLease::in_bucket(&mended, "mem.bucket/b");
                next.put(store.record());
                tokio::time::advance(Duration::from_secs(66)).await;
                run_under_lease(&mended, &next, "next", &now, &plan).await;
                assert_eq!(mended.world(), undisturbed.world(), "write {nth}, {fault:?}");
                assert!(!make(&mended, change()).await.has_changes());
            }
        }
        world = undisturbed;
    }
    assert!(kills >= 40, "{kills}");
    assert_eq!(world.world().into_keys().collect::<Vec<String>>(), ["mem.services/p@"]);
}

#[test]
fn the_world_compared_has_the_values_in_it() {
    // What the laws above rest on: two worlds are equal only if their bodies are.
    let memory = Memory::new();
    memory.put(&manifest("mem.net/n", json!({"range": "x"}), &[]), Some(NAME));
    let before = memory.world();
    memory.meddle("mem.net/n", "range", json!("y"));
    assert_ne!(before, memory.world());
    assert_eq!(before["mem.net/n@"]["body"]["uid"], Value::from("uid/mem.net/n"));
}
