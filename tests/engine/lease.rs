//! The lease: who may hold it, and that never two do.

// Helpers of tests may unwrap as tests do.
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::memory::{AWAY, MemoryLease, UNREADABLE, clock};
use dorainfra_engine::{
    Clock, EngineError, Fence, LIFE, Lease, LeaseRecord, LeaseStore, Leasing, Lost, Noted,
};
use proptest::prelude::*;
use time::OffsetDateTime;
use tokio::time::Instant;

fn leasing<'a>(store: &'a MemoryLease, id: &'a str, clock: &'a dyn Clock) -> Leasing<'a> {
    fenced(store, id, clock, Box::leak(Box::default()))
}

fn fenced<'a>(store: &'a MemoryLease, id: &'a str, clock: &'a dyn Clock, fence: &'a Fence) -> Leasing<'a> {
    Leasing { store, holder: "ada@host 7", id, clock, fence, noted: Box::leak(Box::default()) }
}

const NOT_IN_TIME: &str = "the lease was lost: it could not be renewed in time";

fn words(lost: Lost) -> String {
    EngineError::from(lost).to_string()
}

#[tokio::test(start_paused = true)]
async fn one_holds_it_and_others_are_told_who_and_until_when() {
    let (store, clock) = (MemoryLease::default(), clock());
    let first = Lease::new(leasing(&store, "run-1", &clock));
    let second = Lease::new(leasing(&store, "run-2", &clock));
    first.acquire().await.unwrap();
    let record = store.record().unwrap();
    assert_eq!((record.holder.as_str(), record.id.as_str()), ("ada@host 7", "run-1"));
    assert_eq!(record.expires - record.acquired, LIFE);
    assert!(matches!(
        second.acquire().await.unwrap_err(),
        EngineError::LeaseHeld { holder, expires } if holder == "ada@host 7" && expires == record.expires
    ));
    first.release().await.unwrap();
    second.acquire().await.unwrap();
    // It is the second's now: releasing the first one again changes nothing.
    first.release().await.unwrap();
    assert_eq!(store.record().unwrap().id, "run-2");
}

#[tokio::test(start_paused = true)]
async fn an_expired_one_may_be_taken_a_little_after_its_end() {
    let (store, clock) = (MemoryLease::default(), clock());
    Lease::new(leasing(&store, "dead", &clock)).acquire().await.unwrap();
    let next = Lease::new(leasing(&store, "next", &clock));
    tokio::time::advance(LIFE + Duration::from_secs(4)).await;
    assert!(next.acquire().await.is_err());
    tokio::time::advance(Duration::from_secs(1)).await;
    next.acquire().await.unwrap();
    assert_eq!(store.record().unwrap().id, "next");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_does_not_lose_the_lease() {
    for arrived in [true, false] {
        let (store, clock) = (MemoryLease::default(), clock());
        // The one that takes it, and then the first renewal.
        store.lost.lock().unwrap().extend([(0, arrived), (2, arrived)]);
        let lease = Lease::new(leasing(&store, "run-1", &clock));
        lease.acquire().await.unwrap();
        let held = tokio::time::timeout(LIFE * 3, lease.keep()).await;
        assert!(held.is_err(), "{held:?}");
        lease.release().await.unwrap();
        assert!(store.record().unwrap().released);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_told_with_the_reason() {
    let now = time::macros::datetime!(2026-01-01 00:00 UTC);
    let other = LeaseRecord {
        holder: "bob@there 9".into(),
        id: "x".into(),
        acquired: now,
        expires: now,
        released: false,
    };
    for (found, why) in [(Some(other), "bob@there 9 took it"), (None, "its record was removed")] {
        let (store, clock) = (MemoryLease::default(), clock());
        let lease = Lease::new(leasing(&store, "run-1", &clock));
        lease.acquire().await.unwrap();
        store.put(found.clone());
        assert_eq!(words(lease.keep().await), format!("the lease was lost: {why}"));
        lease.release().await.unwrap();
        assert_eq!(store.record(), found);
    }
    // A store that cannot be written: at the lease's own end it is over.
    let (store, clock) = (MemoryLease::default(), clock());
    let lease = Lease::new(leasing(&store, "run-1", &clock));
    lease.acquire().await.unwrap();
    store.lost.lock().unwrap().extend((0..99).map(|nth| (nth, false)));
    let begun = Instant::now();
    assert_eq!(words(lease.keep().await), NOT_IN_TIME);
    assert_eq!(begun.elapsed(), LIFE);
    // Where it is known that nobody answers there, that is what ends the run.
    let store = MemoryLease::default();
    let lease = Lease::new(leasing(&store, "run-1", &clock));
    lease.acquire().await.unwrap();
    store.go_away();
    assert_eq!(words(lease.keep().await), AWAY);
    // And nobody waits there to give it back.
    let store = MemoryLease::default();
    let lease = Lease::new(leasing(&store, "run-1", &clock));
    lease.acquire().await.unwrap();
    store.go_away();
    let writes = store.writes();
    assert_eq!(lease.release().await.unwrap_err().message, AWAY);
    assert_eq!(store.writes(), writes);
}

/// What a record says of its end is for people: it may be centuries away, and it may be
/// no record at all.
#[tokio::test(start_paused = true)]
async fn no_record_locks_anybody_out_for_longer_than_its_life() {
    let now = time::macros::datetime!(2026-01-01 00:00 UTC);
    let far = time::macros::datetime!(9999-12-31 23:59:59 UTC);
    for id in ["far ahead", UNREADABLE] {
        let (store, clock) = (MemoryLease::default(), clock());
        store.put(Some(LeaseRecord {
            holder: "eve".into(),
            id: id.into(),
            acquired: now,
            expires: far,
            released: false,
        }));
        let lease = Lease::new(leasing(&store, "run-1", &clock));
        tokio::time::advance(LIFE).await;
        let EngineError::LeaseHeld { expires, .. } = lease.acquire().await.unwrap_err() else {
            panic!("{id}: not held")
        };
        assert!(expires - now <= LIFE, "{id}: until {expires}");
        tokio::time::advance(Duration::from_secs(5)).await;
        lease.acquire().await.unwrap();
        assert_eq!(store.record().unwrap().id, "run-1", "{id}");
    }
}

/// Who planned before somebody else's run changed the cloud is told so when it comes to take
/// the lease, by name: nothing is carried out that was planned for another cloud.
#[tokio::test(start_paused = true)]
async fn who_read_before_another_run_is_told_whose_it_was() {
    let (store, clock) = (MemoryLease::default(), clock());
    let generation = async || store.read().await.unwrap().map_or(0, |kept| kept.generation);
    let run = |id: &'static str, generation: Option<i64>| {
        let noted: &Noted = Box::leak(Box::default());
        generation.into_iter().for_each(|generation| noted.note(generation));
        Lease::new(Leasing { noted, ..leasing(&store, id, &clock) })
    };
    for given_back in [true, false] {
        let before = generation().await;
        let first = run("first", Some(before));
        let second = run("second", Some(before));
        first.acquire().await.unwrap();
        assert!(matches!(second.acquire().await.unwrap_err(), EngineError::LeaseHeld { .. }));
        match given_back {
            true => first.release().await.unwrap(),
            false => tokio::time::advance(LIFE * 2).await,
        }
        let told = second.acquire().await.unwrap_err();
        assert!(matches!(&told, EngineError::Meanwhile { holder } if holder == "ada@host 7"), "{told}");
        assert!(told.hint().is_some_and(|hint| hint.contains("run the same command again")));
        // The same run takes it a second time, and who reads now, too.
        if given_back {
            first.acquire().await.unwrap();
            first.release().await.unwrap();
        }
        let third = run("third", Some(generation().await));
        third.acquire().await.unwrap();
        third.release().await.unwrap();
    }
    // Who noted nothing takes what is free.
    run("fourth", None).acquire().await.unwrap();
}

/// Frozen with the lease and woken after its end, before anything else has run: no write
/// is let through, although nobody has told the lease yet.
#[tokio::test(start_paused = true)]
async fn who_sleeps_through_the_end_of_the_lease_writes_nothing_more() {
    let (store, clock) = (MemoryLease::default(), clock());
    let fence = Fence::default();
    assert!(fence.is_open(&clock), "without a lease");
    let lease = Lease::new(fenced(&store, "run-1", &clock, &fence));
    lease.acquire().await.unwrap();
    tokio::time::advance(LIFE - Duration::from_millis(1)).await;
    assert!(fence.is_open(&clock));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!fence.is_open(&clock), "not renewed");
    assert_eq!(words(lease.keep().await), NOT_IN_TIME);
    assert!(!fence.is_open(&clock));
    // Somebody else's is another fence; and what was given back needs none.
    let fence = Fence::default();
    let next = Lease::new(fenced(&store, "run-2", &clock, &fence));
    tokio::time::advance(Duration::from_secs(5)).await;
    next.acquire().await.unwrap();
    let held = tokio::time::timeout(LIFE * 3, next.keep()).await;
    assert!(held.is_err() && fence.is_open(&clock), "renewed");
    next.release().await.unwrap();
    tokio::time::advance(LIFE * 2).await;
    assert!(fence.is_open(&clock));
}

#[tokio::test]
async fn the_record_is_readable() {
    let now = time::macros::datetime!(2026-01-01 00:00 UTC);
    let record = LeaseRecord {
        holder: "ada@host 7".into(),
        id: "run-1".into(),
        acquired: now,
        expires: now + LIFE,
        released: false,
    };
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(
        text,
        r#"{"holder":"ada@host 7","id":"run-1","acquired":"2026-01-01T00:00:00Z","expires":"2026-01-01T00:01:00Z","released":false}"#
    );
    assert_eq!(serde_json::from_str::<LeaseRecord>(&text).unwrap(), record);
}

/// One contender's life.
#[derive(Clone, Debug)]
struct Contender {
    /// Before each attempt, in seconds.
    pause: u64,
    hold: u64,
    /// Ends without giving the lease back.
    dies: bool,
    /// How far its clock is off, in seconds.
    skew: i64,
    /// It is suspended for so long right after it took the lease.
    frozen: u64,
}

fn contender() -> impl Strategy<Value = Contender> {
    (1u64..40, 0u64..200, any::<bool>(), -200_000i64..=200_000, prop_oneof![2 => Just(0), 1 => 0u64..200])
        .prop_map(|(pause, hold, dies, skew, frozen)| Contender { pause, hold, dies, skew, frozen })
}

/// Contends three times, noting when it believed to hold the lease.
async fn contend(
    number: usize,
    contender: Contender,
    store: Arc<MemoryLease>,
    time: impl Fn() -> OffsetDateTime + Send + Sync,
    held: Arc<Mutex<Vec<(Instant, Instant, usize)>>>,
) {
    let skewed = move || time() + time::Duration::seconds(contender.skew);
    for run in 0..3 {
        let id = format!("{number}-{run}");
        let fence = Fence::default();
        let lease = Lease::new(fenced(&store, &id, &skewed, &fence));
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(contender.pause)).await;
            if lease.acquire().await.is_err() {
                continue;
            }
            let start = Instant::now();
            tokio::time::sleep(Duration::from_secs(contender.frozen)).await;
            // Who wakes asks before it writes: that moment is noted, whatever comes then.
            let woken = Instant::now();
            if contender.frozen > 0 && fence.is_open(&skewed) {
                held.lock().unwrap().push((woken, woken, number));
            }
            let frozen = contender.frozen > 0;
            let lost = tokio::time::timeout(Duration::from_secs(contender.hold), lease.keep()).await.is_ok();
            if !frozen {
                held.lock().unwrap().push((start, Instant::now(), number));
            }
            if !lost && !contender.dies {
                // Where that is lost, too, it ends by itself.
                let _ = lease.release().await;
            }
            break;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_never_hold_it_at_once(
        contenders in prop::collection::vec(contender(), 2..4),
        delay in 0u64..15_000,
        lost in prop::collection::btree_map(0usize..30, any::<bool>(), 0..12),
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let held = Arc::new(Mutex::new(Vec::new()));
        runtime.block_on(async {
            let clock = Arc::new(clock());
            let mut store = MemoryLease::default();
            store.delay = Duration::from_millis(delay);
            store.lost = Mutex::new(lost);
            let store = Arc::new(store);
            let runs = contenders.into_iter().enumerate().map(|(number, contender)| {
                let clock = Arc::clone(&clock);
                let time = move || clock();
                contend(number, contender, Arc::clone(&store), time, Arc::clone(&held))
            });
            futures::future::join_all(runs).await;
            // Whatever happened, somebody can take it in the end.
            store.lost.lock().unwrap().clear();
            tokio::time::sleep(LIFE * 2).await;
            let time = move || clock();
            Lease::new(leasing(&store, "last", &time)).acquire().await.unwrap();
            let record = store.read().await.unwrap().unwrap().record.unwrap();
            assert_eq!(record.id, "last");
        });
        let mut held = held.lock().unwrap().clone();
        held.sort();
        for pair in held.windows(2) {
            prop_assert!(pair[0].1 <= pair[1].0, "{:?}", held);
        }
    }
}
