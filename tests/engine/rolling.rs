//! Rolling groups: of machines that serve one thing together never two are down
//! because of a run, whatever it does to them and whatever fails.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::memory::{Fault, Memory, manifest};
use dorainfra_engine::{
    Action, ApplyOptions, EngineError, Manifest, Outcome, Plan, PlanOptions, Provider, apply, plan,
};
use dorainfra_model::Events;
use proptest::prelude::*;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const ALL: [&str; 3] = ["a", "b", "c"];

/// A machine, its disk, and its place somewhere, which goes with it.
#[derive(Clone, Copy, Debug)]
struct Replica {
    /// Differs: changed in place.
    size: u8,
    /// Differs: made anew.
    zone: bool,
}

fn replica(name: &str, replica: Replica) -> [Manifest; 3] {
    let disk = manifest(&format!("mem.disk/{name}"), json!({"zone": "a", "size": 1}), &[]);
    let vm = manifest(
        &format!("mem.vm/{name}"),
        json!({
            "zone": if replica.zone { "a" } else { "b" },
            "size": replica.size,
            "disk": format!("${{mem.disk/{name}.uid}}"),
        }),
        &[],
    );
    let place =
        manifest(&format!("mem.grant/{name}"), json!({"role": "member"}), &[&format!("mem.vm/{name}")]);
    [disk, Manifest { rolling: Some("all".into()), ..vm }, place]
}

fn group(replicas: &[(&str, Replica)]) -> Vec<Manifest> {
    let balancer = manifest("mem.net/balancer", json!({"range": "x"}), &["mem.grant/a"]);
    replicas.iter().flat_map(|(name, one)| replica(name, *one)).chain([balancer]).collect()
}

fn same(size: u8) -> Vec<Manifest> {
    group(&ALL.map(|name| (name, Replica { size, zone: true })))
}

async fn planned(memory: &Memory, manifests: Vec<Manifest>) -> Plan {
    plan("test", manifests, memory, &PlanOptions::default(), &Events::none()).await.unwrap()
}

async fn applied(memory: &Arc<Memory>, plan: &Plan) -> Outcome {
    let provider = Arc::clone(memory) as Arc<dyn Provider>;
    let token = CancellationToken::new();
    apply(plan, provider, &ApplyOptions::default(), None, &token, &Events::none()).await.unwrap()
}

/// All three are there and serve. Each call takes some time of its own.
async fn begun(manifests: Vec<Manifest>, pace: u64) -> Arc<Memory> {
    let memory = Memory::new();
    assert!(applied(&memory, &planned(&memory, manifests).await).await.is_complete());
    Memory::with(memory.snapshot(), move |verb, id| {
        let of_its_own = (id.to_string().bytes().chain(verb.bytes()))
            .fold(pace, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Duration::from_millis(of_its_own % 7)
    })
}

/// The writes and waits, without their ends.
fn told(memory: &Memory) -> Vec<String> {
    let lines = memory.journal().into_iter();
    lines.filter(|line| !line.starts_with("down") && !line.ends_with("done")).collect()
}

/// The most that were down at once, those left out that were so before.
fn most_down(memory: &Memory, before: &BTreeSet<String>) -> usize {
    let counts = memory.journal().into_iter().filter_map(|line| {
        let all = line.strip_prefix("down ")?.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
        Some(all.difference(before).count())
    });
    counts.max().unwrap_or(0)
}

fn with_time<T>(test: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test)
}

#[test]
fn one_after_the_other_each_waited_for() {
    with_time(async {
        let memory = begun(same(1), 0).await;
        let outcome = applied(&memory, &planned(&memory, same(2)).await).await;
        assert!(outcome.is_complete(), "{outcome:?}");
        // Nothing waits for the last one.
        assert_eq!(
            told(&memory),
            ["update mem.vm/a", "settle mem.vm/a", "update mem.vm/b", "settle mem.vm/b", "update mem.vm/c"]
        );
    });
}

#[test]
fn the_first_ones_are_made_at_once_and_waited_for_by_nobody() {
    with_time(async {
        let memory = Memory::with(Default::default(), |_, _| Duration::from_millis(1));
        assert!(applied(&memory, &planned(&memory, same(1)).await).await.is_complete());
        assert!(memory.peak() >= 3);
        assert!(told(&memory).iter().all(|line| !line.starts_with("settle")));
    });
}

#[test]
fn what_is_missing_is_made_before_another_is_taken_down() {
    with_time(async {
        let first = group(&[("a", Replica { size: 1, zone: true })]);
        let memory = begun(first, 3).await;
        let outcome = applied(&memory, &planned(&memory, same(2)).await).await;
        assert!(outcome.is_complete(), "{outcome:?}");
        let told = told(&memory);
        let at = |line: &str| told.iter().position(|other| other == line).unwrap();
        for made in ["settle mem.vm/b", "settle mem.vm/c"] {
            assert!(at(made) < at("update mem.vm/a"), "{told:?}");
        }
    });
}

#[test]
fn members_that_go_for_good_go_when_the_rest_serves() {
    with_time(async {
        let front = manifest("mem.net/front", json!({"range": "y", "behind": "vms/b"}), &["mem.vm/b"]);
        let memory = begun([same(1), vec![front]].concat(), 5).await;
        let rest = group(&[("a", Replica { size: 2, zone: true })]);
        let outcome = applied(&memory, &planned(&memory, rest).await).await;
        assert!(outcome.is_complete(), "{outcome:?}");
        let told = told(&memory);
        let at = |line: &str| told.iter().position(|other| other == line).unwrap();
        // What is in front of them goes before, and serves as long.
        for gone in ["delete mem.vm/b", "delete mem.vm/c", "delete mem.net/front"] {
            assert!(at("settle mem.vm/a") < at(gone), "{told:?}");
        }
    });
}

#[test]
fn one_that_is_down_has_its_turn_first() {
    with_time(async {
        let memory = begun(same(1), 0).await;
        memory.take_down("mem.vm/c");
        let outcome = applied(&memory, &planned(&memory, same(2)).await).await;
        assert!(outcome.is_complete(), "{outcome:?}");
        assert_eq!(told(&memory)[..3], ["update mem.vm/c", "settle mem.vm/c", "update mem.vm/a"]);
    });
}

#[test]
fn none_is_taken_down_while_another_is_that_this_run_does_not_change() {
    with_time(async {
        let memory = begun(same(1), 0).await;
        memory.take_down("mem.vm/c");
        let [changed, same] = [2, 1].map(|size| Replica { size, zone: true });
        let wanted = group(&[("a", changed), ("b", changed), ("c", same)]);
        let outcome = applied(&memory, &planned(&memory, wanted).await).await;
        let lines: Vec<String> = outcome
            .failed
            .iter()
            .map(|(id, why, _)| format!("{id}: {why}"))
            .chain(outcome.not_started.iter().map(|(id, why)| format!("{id}: {why}")))
            .collect();
        assert_eq!(
            lines,
            [
                "mem.vm/a: mem.vm/a is left as it is, because mem.vm/c does not serve: it is down",
                "mem.vm/b: mem.vm/a comes first, and failed",
            ]
        );
        assert_eq!(memory.writes(), 0);
    });
}

#[test]
fn one_that_does_not_get_ready_ends_it() {
    with_time(async {
        let memory = begun(same(1), 0).await;
        memory.failing("settle/a");
        let outcome = applied(&memory, &planned(&memory, same(2)).await).await;
        assert_eq!(outcome.failed[0].1, "mem.vm/a does not get ready");
        assert_eq!(outcome.not_started.len(), 2);
        assert_eq!(told(&memory), ["update mem.vm/a", "settle mem.vm/a"]);
    });
}

#[test]
fn a_stop_ends_the_wait() {
    with_time(async {
        let memory = begun(same(1), 0).await;
        let memory = Memory::with(memory.snapshot(), |verb, _| match verb {
            "settle" => Duration::from_secs(900),
            _ => Duration::from_secs(1),
        });
        let plan = planned(&memory, same(2)).await;
        let (token, started) = (CancellationToken::new(), tokio::time::Instant::now());
        let provider = Arc::clone(&memory) as Arc<dyn Provider>;
        let (options, events) = (ApplyOptions::default(), Events::none());
        let run = apply(&plan, provider, &options, None, &token, &events);
        let stop = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            token.cancel();
        };
        let (outcome, ()) = tokio::join!(run, stop);
        let outcome = outcome.unwrap();
        assert!(started.elapsed() < Duration::from_secs(70));
        assert!(outcome.interrupted);
        assert_eq!(outcome.done.len(), 1);
        assert_eq!(outcome.not_started.len(), 2);
    });
}

#[test]
fn members_that_need_each_other_are_refused() {
    with_time(async {
        let mut wanted = same(1);
        let memory = begun(wanted.clone(), 0).await;
        for (at, name) in [(0, "a"), (3, "b"), (6, "c")] {
            // The disks move, and with them the machines; and `a` cannot be made before `b` is.
            wanted[at + 1] = Manifest {
                depends_on: if name == "a" { vec!["mem.vm/b".parse().unwrap()] } else { vec![] },
                ..replica(name, Replica { size: 1, zone: false })[1].clone()
            };
        }
        let plan = planned(&memory, wanted).await;
        assert!(plan.steps.iter().any(|step| step.action == Action::Replace));
        let provider = Arc::clone(&memory) as Arc<dyn Provider>;
        let token = CancellationToken::new();
        let refused = apply(&plan, provider, &ApplyOptions::default(), None, &token, &Events::none()).await;
        assert!(matches!(refused, Err(EngineError::Entangled { .. })), "{refused:?}");
        assert_eq!(memory.writes(), 0);
    });
}

fn replicas() -> impl Strategy<Value = Vec<(&'static str, Replica)>> {
    let one = (0u8..3, any::<bool>()).prop_map(|(size, zone)| Replica { size, zone });
    prop::collection::vec(one, 3).prop_map(|all| ALL.into_iter().zip(all).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is to be done, whichever are down or fail, and whenever the run
    /// is killed: of those that served, one is down at a time.
    #[test]
    fn never_two_at_once(
        before in replicas(),
        after in replicas(),
        pace in any::<u64>(),
        down in prop::collection::btree_set(prop::sample::select(ALL.to_vec()), 0..3),
        failing in prop::option::of(prop::sample::select(vec![
            "mem.vm/a", "mem.vm/b", "settle/a", "settle/c", "mem.grant/b", "mem.disk/a",
        ])),
        killed in prop::option::of((0usize..8, any::<bool>())),
        vanished in prop::option::weighted(0.2, prop::sample::select(ALL.to_vec())),
    ) {
        with_time(async {
            let memory = begun(group(&before), pace).await;
            let mut down: BTreeSet<String> = down.iter().map(|name| format!("mem.vm/{name}")).collect();
            down.iter().for_each(|id| memory.take_down(id));
            if let Some(name) = vanished {
                memory.vanish(&format!("mem.vm/{name}"));
                down.insert(format!("mem.vm/{name}"));
            }
            failing.iter().for_each(|id| memory.failing(id));
            if let Some((nth, arrived)) = killed {
                memory.fault(nth, if arrived { Fault::KillAfter } else { Fault::KillBefore });
            }
            let plan = planned(&memory, group(&after)).await;
            tokio::select! {
                biased;
                () = memory.killed.cancelled() => {}
                _ = applied(&memory, &plan) => {}
            }
            prop_assert!(most_down(&memory, &down) <= 1, "{:#?}", memory.journal());

            // What comes back by itself, and another run: it ends where it should.
            let memory = begun_from(&memory, pace);
            let plan = planned(&memory, group(&after)).await;
            let outcome = applied(&memory, &plan).await;
            prop_assert!(outcome.is_complete(), "{outcome:?}\n{:#?}", memory.journal());
            let missing: BTreeSet<String> = plan
                .steps
                .iter()
                .filter(|step| step.action == Action::Create)
                .map(|step| step.id.to_string())
                .collect();
            prop_assert!(most_down(&memory, &missing) <= 1, "{:#?}", memory.journal());
            prop_assert!(!planned(&memory, group(&after)).await.has_changes());
            Ok(())
        })?;
    }
}

fn begun_from(memory: &Memory, pace: u64) -> Arc<Memory> {
    Memory::with(memory.snapshot(), move |_, id| Duration::from_millis(pace % (1 + id.name.len() as u64)))
}
