//! How the engine carries a plan out: time, order, failures, interruptions and
//! the lease, over a cloud in memory and in virtual time.

// Helpers of tests may unwrap as tests do.
use std::sync::Arc;
use std::time::Duration;

use crate::memory::{AWAY, Fault, Memory, MemoryLease, clock, manifest, stack};
use dorainfra_engine::{
    Action, ApplyOptions, EngineError, LeaseRecord, Leasing, Manifest, Outcome, Plan, PlanOptions, Provider,
    ResourceId, apply, plan, plan_destroy, under_lease,
};
use dorainfra_model::{Event, Events};
use serde_json::json;
use time::macros::datetime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const NAME: &str = "test";

async fn planned(memory: &Memory, manifests: Vec<Manifest>) -> Plan {
    plan(NAME, manifests, memory, &PlanOptions::default(), &Events::none()).await.unwrap()
}

/// Applies without a lease and without an interruption.
async fn applied(memory: &Arc<Memory>, plan: &Plan) -> Outcome {
    let token = CancellationToken::new();
    quietly(memory, plan, None, &token).await.unwrap()
}

/// With the default bound, and nobody listening.
async fn quietly(
    memory: &Arc<Memory>,
    plan: &Plan,
    leasing: Option<Leasing<'_>>,
    token: &CancellationToken,
) -> Result<Outcome, EngineError> {
    run(memory, plan, &ApplyOptions::default(), leasing, token, &Events::none()).await
}

async fn run(
    memory: &Arc<Memory>,
    plan: &Plan,
    options: &ApplyOptions,
    leasing: Option<Leasing<'_>>,
    token: &CancellationToken,
    events: &Events,
) -> Result<Outcome, EngineError> {
    let provider = Arc::clone(memory) as Arc<dyn Provider>;
    apply(plan, provider, options, leasing, token, events).await
}

fn names(ids: &[ResourceId]) -> Vec<String> {
    ids.iter().map(|id| id.name.clone()).collect()
}

fn net(name: &str, needs: &[&str]) -> Manifest {
    let needs: Vec<String> = needs.iter().map(|need| format!("mem.net/{need}")).collect();
    let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
    manifest(&format!("mem.net/{name}"), json!({"range": name}), &needs)
}

fn cloud(delay: impl Fn(&str, &ResourceId) -> Duration + Send + Sync + 'static) -> Arc<Memory> {
    Memory::with(Memory::new().snapshot(), delay)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[tokio::test(start_paused = true)]
async fn an_apply_takes_the_time_of_the_longest_path() {
    // a(5) → c(1) → e(7) = 13; b(3) → d(8) = 11; 20 more of 12 alone.
    let memory = cloud(|verb, id| match (verb, id.name.as_str()) {
        ("read" | "list", _) => Duration::ZERO,
        (_, "a") => seconds(5),
        (_, "b") => seconds(3),
        (_, "c") => seconds(1),
        (_, "d") => seconds(8),
        (_, "e") => seconds(7),
        _ => seconds(12),
    });
    let mut manifests = vec![net("a", &[]), net("b", &[]), net("c", &["a"]), net("d", &["b"])];
    manifests.push(net("e", &["c", "b"]));
    manifests.extend((0..11).map(|at| net(&format!("x{at}"), &[])));
    let plan = planned(&memory, manifests).await;
    let begun = Instant::now();
    let outcome = applied(&memory, &plan).await;
    assert!(outcome.is_complete());
    assert_eq!(begun.elapsed(), seconds(13));
    assert_eq!(memory.peak(), 13);
}

#[tokio::test(start_paused = true)]
async fn the_bound_holds_and_the_longest_chain_goes_first() {
    let memory = cloud(|verb, _| if verb == "create" { seconds(1) } else { Duration::ZERO });
    // A chain of 5 at the end of the list, and 5 that stand alone: with two at
    // once, 5 s are enough only if the chain is begun at once.
    let mut manifests: Vec<Manifest> = (0..5).map(|at| net(&format!("x{at}"), &[])).collect();
    manifests.push(net("c0", &[]));
    manifests.extend((1..5).map(|at| net(&format!("c{at}"), &[format!("c{}", at - 1).as_str()])));
    let plan = planned(&memory, manifests).await;
    let (begun, token) = (Instant::now(), CancellationToken::new());
    let options = ApplyOptions { parallelism: 2, ..ApplyOptions::default() };
    let before = memory.journal().len();
    let outcome = run(&memory, &plan, &options, None, &token, &Events::none()).await.unwrap();
    assert_eq!((outcome.done.len(), begun.elapsed()), (10, seconds(5)));
    let mut active: i32 = 0;
    for line in &memory.journal()[before..] {
        active += if line.ends_with("done") { -1 } else { 1 };
        assert!(active <= 2);
    }
}

#[tokio::test]
async fn every_step_is_told() {
    let memory = Memory::new();
    let mut manifests = stack("a", "1");
    let first = planned(&memory, manifests.clone()).await;
    applied(&memory, &first).await;
    manifests[1].body["range"] = json!("new");
    manifests.remove(5);
    manifests[5].body["items"] = json!([]);
    memory.failing("mem.vm/v");
    let second = planned(&memory, manifests).await;
    let (events, mut receiver) = Events::channel();
    let token = CancellationToken::new();
    run(&memory, &second, &ApplyOptions::default(), None, &token, &events).await.unwrap();
    drop(events);
    let mut told = Vec::new();
    while let Some(event) = receiver.recv().await {
        told.push(match event {
            Event::ResourceStarted { id, action, waited_for } => {
                let after = waited_for.map(|need| format!(" after {need}")).unwrap_or_default();
                format!("started {action:?} {id}{after}")
            }
            Event::ResourceFinished { id, action, .. } => format!("finished {action:?} {id}"),
            Event::ResourceFailed { id, action, error, hint, .. } => {
                format!("failed {action:?} {id}: {error} ({})", hint.unwrap_or_default())
            }
            Event::ResourceSkipped { id, action, because } => format!("skipped {action:?} {id}: {because}"),
            other => format!("{other:?}"),
        });
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn a_failure_stops_only_what_needs_it() {
    let memory = Memory::new();
    memory.failing("mem.net/b");
    let manifests =
        vec![net("a", &[]), net("b", &["a"]), net("c", &["b"]), net("d", &["a"]), net("e", &["c", "d"])];
    let first = applied(&memory, &planned(&memory, manifests.clone()).await).await;
    assert_eq!(names(&first.done), ["a", "d"]);
    assert_eq!(first.failed.len(), 1);
    let (id, error, hint) = &first.failed[0];
    assert_eq!(
        (id.name.as_str(), error.as_str(), hint.as_deref()),
        ("b", "create mem.net/b failed", Some("look at the test"))
    );
    let because = "it needs mem.net/b, which failed";
    let waiting: Vec<(&str, &str)> =
        first.not_started.iter().map(|(id, why)| (id.name.as_str(), why.as_str())).collect();
    assert_eq!(waiting, [("c", because), ("e", because)]);
    assert!(!first.interrupted && !first.is_complete());

    memory.heal();
    let second = applied(&memory, &planned(&memory, manifests).await).await;
    assert_eq!(names(&second.done), ["b", "c", "e"]);
    assert_eq!(second.observed.len(), 5);
}

#[tokio::test]
async fn an_orphan_stays_while_something_that_used_it_could_not_be_changed() {
    let memory = Memory::new();
    applied(&memory, &planned(&memory, stack("a", "1")).await).await;
    memory.failing("mem.vm/v");
    let outcome = applied(&memory, &planned(&memory, stack("a", "2")).await).await;
    assert_eq!(names(&outcome.done), ["bundles/2.tar"]);
    assert!(memory.exists("mem.object/bundles/1.tar"));
    memory.heal();
    applied(&memory, &planned(&memory, stack("a", "2")).await).await;
    assert!(!memory.exists("mem.object/bundles/1.tar"));
}

#[tokio::test]
async fn a_fault_of_a_kind_is_that_resources_failure() {
    let memory = Memory::new();
    memory.fault(1, Fault::Panic);
    let plan = planned(&memory, vec![net("a", &[]), net("b", &["a"]), net("c", &["b"])]).await;
    let outcome = applied(&memory, &plan).await;
    assert_eq!(
        (names(&outcome.done), outcome.failed.len(), outcome.not_started.len()),
        (vec!["a".into()], 1, 1)
    );
    assert!(!outcome.failed[0].1.contains("a fault in"), "a panic's message is nobody's to show");
}

#[tokio::test(start_paused = true)]
async fn an_interruption_lets_what_is_under_way_end() {
    let memory = cloud(|verb, id| match (verb, id.name.as_str()) {
        ("create", "slow") => seconds(10),
        ("create", _) => seconds(1),
        _ => Duration::ZERO,
    });
    let manifests = vec![net("slow", &[]), net("a", &[]), net("b", &["a"]), net("c", &["b"])];
    let plan = planned(&memory, manifests.clone()).await;
    let token = CancellationToken::new();
    let begun = Instant::now();
    let interrupt = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        token.cancel();
        std::future::pending::<()>().await;
    };
    let outcome = tokio::select! {
        outcome = quietly(&memory, &plan, None, &token) => outcome.unwrap(),
        () = interrupt => unreachable!(),
    };
    assert_eq!(begun.elapsed(), seconds(10));
    assert!(outcome.interrupted);
    assert_eq!(names(&outcome.done), ["a", "b", "slow"]);
    assert_eq!(outcome.not_started, [("mem.net/c".parse().unwrap(), "the run was interrupted".to_owned())]);

    // Interrupted before it began: nothing is done.
    let plan = planned(&memory, manifests).await;
    let writes = memory.writes();
    let outcome = quietly(&memory, &plan, None, &token).await.unwrap();
    assert!(outcome.interrupted && outcome.done.is_empty());
    assert_eq!(memory.writes(), writes);
}

#[tokio::test(start_paused = true)]
async fn an_interruption_does_not_leave_a_replacement_halfway() {
    let memory = cloud(|verb, _| if verb == "delete" { seconds(2) } else { Duration::ZERO });
    let range = |value: &str| vec![manifest("mem.net/n", json!({"range": value}), &[]), net("late", &["n"])];
    applied(&memory, &planned(&memory, range("old")).await).await;
    memory.vanish("mem.net/late");
    let plan = planned(&memory, range("new")).await;
    let token = CancellationToken::new();
    let interrupt = async {
        tokio::time::sleep(seconds(1)).await;
        token.cancel();
        std::future::pending::<()>().await;
    };
    let outcome = tokio::select! {
        outcome = quietly(&memory, &plan, None, &token) => outcome.unwrap(),
        () = interrupt => unreachable!(),
    };
    assert_eq!(names(&outcome.done), ["n"]);
    assert_eq!(outcome.not_started.len(), 1);
    assert!(memory.exists("mem.net/n"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_read_back_before_it_is_tried_again() {
    let manifests = |size: u32| vec![manifest("mem.disk/d", json!({"zone": "a", "size": size}), &[])];
    for fault in [Fault::LostBefore, Fault::LostAfter] {
        let again = usize::from(fault == Fault::LostBefore);
        let memory = Memory::new();
        memory.fault(0, fault);
        let created = applied(&memory, &planned(&memory, manifests(1)).await).await;
        assert!(created.is_complete(), "{created:?}");
        assert_eq!(memory.writes(), 1 + again);

        memory.fault(0, fault);
        let changed = applied(&memory, &planned(&memory, manifests(2)).await).await;
        assert!(changed.is_complete());
        assert_eq!(memory.writes(), 2 + 2 * again);
        assert!(!planned(&memory, manifests(2)).await.has_changes());

        memory.fault(0, fault);
        let plan = planned(&memory, vec![]).await;
        assert!(applied(&memory, &plan).await.is_complete());
        assert_eq!(memory.writes(), 3 + 3 * again);
        assert!(memory.world().is_empty());
    }
    // Not for ever.
    let memory = Memory::new();
    (0..3).for_each(|nth| memory.fault(nth, Fault::LostBefore));
    let outcome = applied(&memory, &planned(&memory, manifests(1)).await).await;
    assert_eq!((outcome.failed.len(), memory.writes()), (1, 3));
}

#[tokio::test]
async fn what_somebody_else_made_meanwhile_is_accepted_only_if_it_is_the_same_and_ours() {
    let wanted = manifest("mem.net/n", json!({"range": "x"}), &[]);
    let other = Manifest { body: json!({"range": "y"}), ..wanted.clone() };
    for (made, mark, fine) in [
        (&wanted, Some(NAME), true),
        (&other, Some(NAME), false),
        (&wanted, None, false),
        (&wanted, Some("prod"), false),
    ] {
        let memory = Memory::new();
        let plan = planned(&memory, vec![wanted.clone()]).await;
        memory.put(made, mark);
        let outcome = applied(&memory, &plan).await;
        assert_eq!(outcome.is_complete(), fine, "{mark:?}: {outcome:?}");
    }
}

fn leasing<'a>(store: &'a MemoryLease, clock: &'a dyn dorainfra_engine::Clock) -> Leasing<'a> {
    Leasing {
        store,
        holder: "ada@host 7",
        id: "run-1",
        clock,
        fence: Box::leak(Box::default()),
        noted: Box::leak(Box::default()),
    }
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_taken_as_soon_as_there_is_a_place_for_it() {
    let memory = Memory::new();
    let (store, clock) = (MemoryLease::in_bucket(&memory, "mem.bucket/b"), clock());
    let token = CancellationToken::new();
    for version in ["1", "2"] {
        let plan = planned(&memory, stack("a", version)).await;
        let under = Some(leasing(&store, &clock));
        let outcome = quietly(&memory, &plan, under, &token).await.unwrap();
        assert!(outcome.is_complete());
    }
    // No change, no lease.
    let plan = planned(&memory, stack("a", "2")).await;
    quietly(&memory, &plan, Some(leasing(&store, &clock)), &token).await.unwrap();
    let data = PlanOptions { delete_data: true, ..PlanOptions::default() };
    let destroy = plan_destroy(NAME, stack("a", "2"), memory.as_ref(), &data, &Events::none()).await.unwrap();
    let under = Some(leasing(&store, &clock));
    let outcome = quietly(&memory, &destroy, under, &token).await.unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
    let journal: Vec<String> = memory.journal().into_iter().filter(|line| !line.ends_with("done")).collect();
    insta::assert_snapshot!(journal.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_replaced_arbiter_is_left_and_taken_again() {
    let memory = Memory::new();
    applied(&memory, &planned(&memory, stack("a", "1")).await).await;
    let options = PlanOptions {
        replace: vec!["mem.bucket/b".parse().unwrap()],
        delete_data: true,
        ..PlanOptions::default()
    };
    let plan = plan(NAME, stack("a", "1"), memory.as_ref(), &options, &Events::none()).await.unwrap();
    let (store, clock) = (MemoryLease::in_bucket(&memory, "mem.bucket/b"), clock());
    let token = CancellationToken::new();
    let under = Some(leasing(&store, &clock));
    let outcome = quietly(&memory, &plan, under, &token).await.unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
    assert!(store.record().unwrap().released);
    assert_eq!(memory.journal().last().unwrap(), "lease given back");
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_another_run_stops_everything_but_the_arbiter() {
    let memory = Memory::new();
    let (store, clock) = (MemoryLease::default(), clock());
    let expires = datetime!(2026-01-01 00:01 UTC);
    let acquired = datetime!(2026-01-01 00:00 UTC);
    store.put(Some(LeaseRecord {
        holder: "bob@there 9".into(),
        id: "run-0".into(),
        acquired,
        expires,
        released: false,
    }));
    let token = CancellationToken::new();
    let refused = async |plan: &Plan| {
        let under = Some(leasing(&store, &clock));
        quietly(&memory, plan, under, &token).await.unwrap_err()
    };
    let error = refused(&planned(&memory, stack("a", "1")).await).await;
    assert_eq!(
        error.to_string(),
        "another run changes this deployment: bob@there 9 holds the lease until 2026-01-01T00:01:00Z"
    );
    let made: Vec<String> = memory.world().into_keys().collect();
    assert_eq!(made, ["mem.bucket/b@", "mem.services/p@"]);
    let writes = memory.writes();
    let error = refused(&planned(&memory, stack("a", "1")).await).await;
    assert!(matches!(error, EngineError::LeaseHeld { .. }));
    assert_eq!(memory.writes(), writes);

    // Its run has died: the lease ends by itself.
    tokio::time::advance(seconds(66)).await;
    let plan = planned(&memory, stack("a", "1")).await;
    let under = Some(leasing(&store, &clock));
    let outcome = quietly(&memory, &plan, under, &token).await.unwrap();
    assert!(outcome.is_complete());
}

#[tokio::test(start_paused = true)]
async fn a_long_run_renews_its_lease_and_a_lost_one_stops_it() {
    let slow = || cloud(|verb, _| if verb == "create" { seconds(70) } else { Duration::ZERO });
    let manifests = || vec![net("a", &[]), net("b", &["a"]), net("c", &["b"])];
    let (memory, clock) = (slow(), clock());
    let store = MemoryLease::default();
    let plan = planned(&memory, manifests()).await;
    let token = CancellationToken::new();
    let under = Some(leasing(&store, &clock));
    let outcome = quietly(&memory, &plan, under, &token).await.unwrap();
    assert!(outcome.is_complete());
    // 210 s: taken once, renewed every 20, given back.
    assert_eq!(store.writes(), 12);
    assert!(store.record().unwrap().released);

    let memory = slow();
    let plan = planned(&memory, manifests()).await;
    let now = datetime!(2026-01-02 00:00 UTC);
    let thief = LeaseRecord {
        holder: "bob@there 9".into(),
        id: "run-2".into(),
        acquired: now,
        expires: now,
        released: false,
    };
    let theft = async {
        tokio::time::sleep(seconds(75)).await;
        store.put(Some(thief.clone()));
        std::future::pending::<()>().await;
    };
    let under = Some(leasing(&store, &clock));
    let outcome = tokio::select! {
        outcome = quietly(&memory, &plan, under, &token) => outcome.unwrap(),
        () = theft => unreachable!(),
    };
    assert_eq!(names(&outcome.done), ["a", "b"]);
    assert_eq!(outcome.not_started, [("mem.net/c".parse().unwrap(), "the lease was lost".to_owned())]);
    assert_eq!(outcome.failed[0].1, "the lease was lost: bob@there 9 took it");
    assert!(!outcome.interrupted);
    assert_eq!(store.record(), Some(thief), "another's lease is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_nobody_answers_ends_as_that_and_not_as_a_lost_lease() {
    let (store, token) = (MemoryLease::default(), CancellationToken::new());
    let clock = clock();
    let memory = cloud(|verb, _| if verb == "create" { seconds(70) } else { Duration::ZERO });
    let plan = planned(&memory, vec![net("a", &[]), net("b", &["a"])]).await;
    let outage = async {
        tokio::time::sleep(seconds(5)).await;
        store.go_away();
        std::future::pending::<()>().await;
    };
    let under = Some(leasing(&store, &clock));
    let outcome = tokio::select! {
        outcome = quietly(&memory, &plan, under, &token) => outcome.unwrap(),
        () = outage => unreachable!(),
    };
    assert_eq!(outcome.unreachable.unwrap().message, AWAY);
    assert_eq!(outcome.failed.last().unwrap().1, AWAY);
    assert!(!outcome.not_started.is_empty());
    assert!(outcome.not_started.iter().all(|(_, why)| why == "the cloud does not answer"));
    // What comes after the resources ends in the same way.
    let store = MemoryLease::default();
    let quiet = Events::none();
    let after = under_lease(leasing(&store, &clock), &quiet, async {
        store.go_away();
        std::future::pending::<Result<(), EngineError>>().await
    });
    assert_eq!(after.await.unwrap_err().to_string(), AWAY);
}

#[tokio::test]
async fn the_plan_decides_what_happens_and_nothing_else() {
    let memory = Memory::new();
    applied(&memory, &planned(&memory, stack("a", "1")).await).await;
    let plan = planned(&memory, stack("a", "1")).await;
    memory.meddle("mem.vm/v", "tags", json!([]));
    let writes = memory.writes();
    assert_eq!(plan.count(Action::NoOp), 7);
    let outcome = applied(&memory, &plan).await;
    assert_eq!((memory.writes(), outcome.done.len()), (writes, 0));
}
