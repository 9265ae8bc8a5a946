//! The engine over a cloud in memory in which every call takes 20 ms, beside what it can't be faster than: the
//! longest path through what was done, and all calls by as many as may be under way at once. One JSON object a
//! line, for scripts/bench; `--rounds N` repeats it.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../tests/support/memory.rs"]
mod memory;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dorainfra_engine::{ApplyOptions, Manifest, PlanOptions, Provider, apply, plan};
use dorainfra_model::{Event, Events, Timeline};
use memory::{Memory, State, manifest};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const CALL: Duration = Duration::from_millis(20);
const NAME: &str = "test";
const SIZES: [usize; 3] = [10, 100, 1_000];

/// Machines with a disk, a network and a grant each: paths of four, beside each other.
fn manifests(count: usize) -> Vec<Manifest> {
    let one = |at: usize| match at % 4 {
        0 => manifest(&format!("mem.net/{at}"), json!({"range": format!("10.{at}.0.0/16")}), &[]),
        1 => manifest(
            &format!("mem.disk/{at}"),
            json!({"zone": "a", "size": 50}),
            &[&format!("mem.net/{}", at - 1)],
        ),
        2 => manifest(
            &format!("mem.vm/{at}"),
            json!({"zone": "a", "disk": format!("${{mem.disk/{}.uid}}", at - 1)}),
            &[],
        ),
        _ => manifest(
            &format!("mem.grant/{at}"),
            json!({"role": "admin", "member": format!("vm:${{mem.vm/{}.uid}}", at - 1)}),
            &[],
        ),
    };
    (0..count).map(one).collect()
}

struct Cloud {
    memory: Arc<Memory>,
    calls: Arc<AtomicU32>,
}

impl Cloud {
    fn empty() -> Self {
        let calls = Arc::<AtomicU32>::default();
        let counted = Arc::clone(&calls);
        let memory = Memory::with(State::default(), move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            CALL
        });
        Self { memory, calls }
    }

    /// Since it was asked last.
    fn calls(&self) -> u32 {
        self.calls.swap(0, Ordering::Relaxed)
    }
}

async fn measure(size: usize) -> Vec<Value> {
    let (cloud, manifests) = (Cloud::empty(), manifests(size));
    let (options, none) = (PlanOptions::default(), Events::none());
    let mut told = Vec::new();
    let mut tell = |what: &str, wall: Duration, calls: u32, path: Duration, at_once: usize| {
        let (ms, shared) = (|time: Duration| time.as_secs_f64() * 1e3, CALL * calls / at_once as u32);
        told.push(json!({
            "what": what, "resources": size, "calls": calls, "wall_ms": ms(wall), "path_ms": ms(path),
            "shared_ms": ms(shared), "bound_ms": ms(path.max(shared)),
        }));
    };
    let began = Instant::now();
    let first = plan(NAME, manifests.clone(), &*cloud.memory, &options, &none).await.unwrap();
    tell("plan, nothing there", began.elapsed(), cloud.calls(), CALL, options.parallelism);

    let (provider, token) = (Arc::clone(&cloud.memory) as Arc<dyn Provider>, CancellationToken::new());
    let timeline = Arc::<Mutex<Timeline>>::default();
    let (heard, began) = (Arc::clone(&timeline), Instant::now());
    let events = Events::to(move |event| heard.lock().unwrap().take(began.elapsed(), &event));
    events.send(Event::Planned { plan: first.clone(), feed: Vec::new(), cost: None });
    let applying = ApplyOptions::default();
    let outcome = apply(&first, provider, &applying, None, &token, &events).await.unwrap();
    let wall = began.elapsed();
    assert!(outcome.is_complete());
    let timings = timeline.lock().unwrap().timings(wall);
    let path = Duration::from_millis(timings.critical_path.unwrap().length_ms);
    tell("apply", wall, cloud.calls(), path, applying.parallelism);

    let began = Instant::now();
    let second = plan(NAME, manifests, &*cloud.memory, &options, &none).await.unwrap();
    let wall = began.elapsed();
    assert!(!second.has_changes());
    tell("plan, nothing to do", wall, cloud.calls(), CALL, options.parallelism);
    told
}

#[expect(clippy::print_stdout, reason = "it is a program of its own")]
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let rounds = arguments.iter().position(|argument| argument == "--rounds");
    let rounds = rounds.map_or(1, |at| arguments[at + 1].parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for _ in 0..rounds {
        for size in SIZES {
            runtime.block_on(measure(size)).iter().for_each(|line| println!("{line}"));
        }
    }
}
