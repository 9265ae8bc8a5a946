//! The lease's own code, driven through every course of events with a bounded number of
//! mishaps: calls that arrive late, answers that come late or never, processes that are
//! frozen, clocks that are set wrong, records of others. In none do two runs hold it at
//! once, and in each somebody can take it in the end.
//!
//! Each course is a list of choices, one for each call; the next list is the last one with
//! its last choice changed, so that none is left out. Time is tokio's, which stands still.

use crate::matrix;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use dorainfra_engine::{
    Clock, Conflict, Fence, Kept, LIFE, Lease, LeaseRecord, LeaseStore, Leasing, Noted, ProviderError,
};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};

/// What others wait longer than a lease lives, less the second that a store may hide.
const APART: Duration = Duration::from_secs(4);
/// How long a course is followed.
const COURSE: Duration = Duration::from_secs(170);

/// What can befall a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mishap {
    None,
    /// It reaches the store so much later, seconds.
    Late(u64),
    /// It is carried out, and its answer comes so much later.
    Slow(u64),
    /// It never arrives.
    Lost,
    /// It is carried out, and nobody says so.
    Unanswered,
    /// The process does not run for so long once the call is on its way.
    Frozen(u64),
}

const MISHAPS: [Mishap; 9] = [
    Mishap::None,
    Mishap::Late(35),
    Mishap::Late(70),
    Mishap::Slow(25),
    Mishap::Slow(70),
    Mishap::Lost,
    Mishap::Unanswered,
    Mishap::Frozen(45),
    Mishap::Frozen(75),
];

/// What is there before the first run begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Nothing,
    /// A dead run's, which says that it ends in the year 9999.
    FarAhead,
    Unreadable,
}

/// One course: what was chosen at each call, and from how many.
#[derive(Debug, Default)]
struct Course {
    chosen: Vec<(usize, usize)>,
    at: usize,
    mishaps: usize,
    most: usize,
}

impl Course {
    fn choose(&mut self) -> Mishap {
        let of = if self.mishaps < self.most { MISHAPS.len() } else { 1 };
        if self.at == self.chosen.len() {
            self.chosen.push((0, of));
        }
        let (chosen, _) = self.chosen[self.at];
        self.at += 1;
        self.mishaps += usize::from(chosen > 0);
        MISHAPS[chosen]
    }

    /// The next course; `false`: that was the last.
    fn next(&mut self) -> bool {
        self.chosen.truncate(self.at);
        (self.at, self.mishaps) = (0, 0);
        while let Some((chosen, of)) = self.chosen.pop() {
            if chosen + 1 < of {
                self.chosen.push((chosen + 1, of));
                return true;
            }
        }
        false
    }
}

/// The store that all runs share, as its own clock tells it.
#[derive(Default)]
struct Bucket {
    generation: i64,
    kept: Option<(Option<LeaseRecord>, i64, Instant)>,
    /// A store that tells ages wrong: so much too old.
    too_old: Duration,
}

/// One run's way to it.
struct Way {
    bucket: Arc<Mutex<Bucket>>,
    course: Arc<Mutex<Course>>,
    frozen: Arc<Mutex<Option<Instant>>>,
}

impl Way {
    /// The way there: whether it arrives, whether it is answered, and when.
    async fn go<T: Send + 'static>(
        &self,
        done: impl FnOnce(&mut Bucket) -> T + Send + 'static,
    ) -> Result<T, ProviderError> {
        let (message, hint) = ("no answer".into(), None);
        let lost = ProviderError { message, hint, unknown_outcome: true, source: None };
        let mishap = self.course.lock().unwrap().choose();
        if let Mishap::Frozen(seconds) = mishap {
            *self.frozen.lock().unwrap() = Some(Instant::now() + Duration::from_secs(seconds));
        }
        let bucket = Arc::clone(&self.bucket);
        // Sent is sent: whoever does not wait for the answer takes nothing back.
        let call = tokio::spawn(async move {
            match mishap {
                Mishap::Late(seconds) => sleep(Duration::from_secs(seconds)).await,
                Mishap::Lost => {
                    sleep(Duration::from_secs(1)).await;
                    return Err(lost);
                }
                _ => tokio::task::yield_now().await,
            }
            let answer = done(&mut bucket.lock().unwrap());
            match mishap {
                Mishap::Slow(seconds) => sleep(Duration::from_secs(seconds)).await,
                Mishap::Unanswered => return Err(lost),
                _ => {}
            }
            Ok(answer)
        });
        call.await.unwrap()
    }
}

#[async_trait]
impl LeaseStore for Way {
    async fn read(&self) -> Result<Option<Kept>, ProviderError> {
        self.go(|bucket| {
            let too_old = bucket.too_old;
            bucket.kept.clone().map(|(record, generation, written)| Kept {
                record,
                generation,
                // Whole seconds, as Google tells its time.
                age: Duration::from_secs(written.elapsed().as_secs()) + too_old,
            })
        })
        .await
    }

    async fn write(
        &self,
        record: &LeaseRecord,
        if_generation: i64,
    ) -> Result<Result<i64, Conflict>, ProviderError> {
        let record = record.clone();
        self.go(move |bucket| {
            if bucket.kept.as_ref().map_or(0, |(_, generation, _)| *generation) != if_generation {
                return Err(Conflict);
            }
            bucket.generation += 1;
            bucket.kept = Some((Some(record), bucket.generation, Instant::now()));
            Ok(bucket.generation)
        })
        .await
    }
}

/// A clock of the day that is set wrong; what passes is the same for all.
struct Skewed {
    begun: Instant,
    by: i64,
}

impl Clock for Skewed {
    fn now(&self) -> OffsetDateTime {
        time::macros::datetime!(2026-01-01 00:00 UTC)
            + self.begun.elapsed()
            + time::Duration::seconds(self.by)
    }

    fn passed(&self) -> Duration {
        self.begun.elapsed() + Duration::from_secs(1000)
    }
}

/// A process: what it does is not gone on with while it is frozen.
struct Process<F> {
    frozen: Arc<Mutex<Option<Instant>>>,
    asleep: Option<Pin<Box<tokio::time::Sleep>>>,
    work: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> Future for Process<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(asleep) = &mut self.asleep {
                match asleep.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => self.asleep = None,
                }
            }
            if self.work.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let until = self.frozen.lock().unwrap().take();
            match until {
                Some(until) => self.asleep = Some(Box::pin(tokio::time::sleep_until(until))),
                None => return Poll::Pending,
            }
        }
    }
}

/// What one run is seen to do.
#[derive(Default)]
struct Seen {
    fence: Rc<Fence>,
    /// Between having taken it and having lost it or given it back.
    holds: bool,
    taken: Option<Instant>,
    /// When it could have written last, unless it gave the lease back.
    last: Option<Instant>,
}

/// One run: tries until it has the lease, keeps it for a while, and gives it back or dies.
async fn run(number: u64, way: Way, clock: Skewed, seen: Rc<RefCell<Seen>>, gives_back: bool) {
    let fence = Rc::clone(&seen.borrow().fence);
    let id = format!("run-{number}");
    let (noted, holder) = (Noted::default(), "ada@host 7");
    let leasing = Leasing { store: &way, holder, id: &id, clock: &clock, fence: &fence, noted: &noted };
    let lease = Lease::new(leasing);
    sleep(Duration::from_secs(7 * number)).await;
    while lease.acquire().await.is_err() {
        sleep(Duration::from_secs(20)).await;
    }
    *seen.borrow_mut() =
        Seen { fence: Rc::clone(&fence), holds: true, taken: Some(Instant::now()), last: None };
    let lost = timeout(Duration::from_secs(65), lease.keep()).await.is_ok();
    if lost {
        seen.borrow_mut().holds = false;
    } else if gives_back {
        // Whoever gives it back writes nothing more.
        {
            let mut seen = seen.borrow_mut();
            (seen.holds, seen.last) = (false, None);
        }
        let _ = lease.release().await;
    }
}

/// How a course begins.
#[derive(Clone, Copy, Debug)]
struct Scene {
    before: Before,
    gives_back: bool,
    /// The store tells ages wrong: so many seconds too many.
    too_old: u64,
}

/// Follows one course: what is wrong with it.
fn follow(course: &Arc<Mutex<Course>>, scene: Scene) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let begun = Instant::now();
        let far = time::macros::datetime!(9999-12-31 23:59:59 UTC);
        let record = LeaseRecord {
            holder: "eve".into(),
            id: "x".into(),
            acquired: far,
            expires: far,
            released: false,
        };
        let kept = match scene.before {
            Before::Nothing => None,
            Before::FarAhead => Some((Some(record), 1, begun)),
            Before::Unreadable => Some((None, 1, begun)),
        };
        let too_old = Duration::from_secs(scene.too_old);
        let bucket = Arc::new(Mutex::new(Bucket { generation: 1, kept, too_old }));
        let way = |frozen: &Arc<Mutex<Option<Instant>>>| Way {
            bucket: Arc::clone(&bucket),
            course: Arc::clone(course),
            frozen: Arc::clone(frozen),
        };
        let seen: [Rc<RefCell<Seen>>; 2] = Default::default();
        let mut runs = Vec::new();
        for (number, seen) in (0..).zip(&seen) {
            let frozen = Arc::default();
            let clock = Skewed { begun, by: if number == 0 { -90 } else { 90 } };
            let work = run(number, way(&frozen), clock, Rc::clone(seen), scene.gives_back);
            let process = Process { frozen, asleep: None, work: Box::pin(work) };
            runs.push(tokio::task::spawn_local(process));
        }
        let clock = Skewed { begun, by: 0 };
        while begun.elapsed() < COURSE {
            sleep(Duration::from_secs(1)).await;
            let mut open = 0;
            for one in &seen {
                let mut one = one.borrow_mut();
                if one.holds && one.fence.is_open(&clock) {
                    one.last = Some(Instant::now());
                    open += 1;
                }
            }
            if open > 1 {
                return Err(format!("both may write after {:?}", begun.elapsed()));
            }
            for (one, other) in [(0, 1), (1, 0)] {
                let apart = seen[one].borrow().taken.zip(seen[other].borrow().last);
                if let Some((taken, last)) = apart
                    && taken > last
                    && taken - last < APART
                {
                    return Err(format!("taken {:?} after the other's last write", taken - last));
                }
            }
        }
        // Both have died by now. Whatever happened: the next one gets it, at most a lease's life after the
        // last write that arrived, which may be one that they left under way.
        runs.iter().for_each(tokio::task::JoinHandle::abort);
        course.lock().unwrap().most = 0;
        let (next, fence, noted) = (way(&Arc::default()), Fence::default(), Noted::default());
        let (id, holder) = ("next", "next@host");
        let leasing = Leasing { store: &next, holder, id, clock: &clock, fence: &fence, noted: &noted };
        let lease = Lease::new(leasing);
        let asked = Instant::now();
        loop {
            let written = bucket.lock().unwrap().kept.as_ref().map_or(asked, |(.., written)| *written);
            if written.max(asked).elapsed() > LIFE + APART + Duration::from_secs(2) {
                break;
            }
            if lease.acquire().await.is_ok() {
                return Ok(());
            }
            sleep(Duration::from_secs(1)).await;
        }
        Err("nobody gets it any more".into())
    })
}

/// All courses of a scene with at most so many mishaps: how many there are, or the first
/// that goes wrong.
fn explore(scene: Scene, most: usize) -> Result<usize, String> {
    let course = Arc::new(Mutex::new(Course::default()));
    let mut courses = 0;
    loop {
        course.lock().unwrap().most = most;
        courses += 1;
        if let Err(wrong) = follow(&course, scene) {
            let course = course.lock().unwrap();
            let calls: Vec<Mishap> = course.chosen.iter().map(|(chosen, _)| MISHAPS[*chosen]).collect();
            return Err(format!("{scene:?}: {wrong}: {calls:?}"));
        }
        if !course.lock().unwrap().next() {
            return Ok(courses);
        }
    }
}

#[test]
fn in_no_course_of_events_two_runs_hold_it_and_in_each_the_next_one_gets_it() {
    #[expect(clippy::disallowed_methods, reason = "the switch of scripts/nightly")]
    let whole = std::env::var_os("NIGHTLY").is_some();
    let matrix = matrix::Matrix::new(
        "The lease, in every course of events",
        "Two runs with clocks three minutes apart, and each course with a bounded number of mishaps. At no \
         moment both may write, whoever takes it does so seconds after the other's last moment, and at the \
         end the next one gets it within a lease's life.",
        "lease_model in_no_course_of_events_two_runs_hold_it_and_in_each_the_next_one_gets_it",
        whole,
    );
    let scenes = [Before::Nothing, Before::FarAhead, Before::Unreadable]
        .into_iter()
        .flat_map(|before| [true, false].map(|gives_back| Scene { before, gives_back, too_old: 0 }));
    std::thread::scope(|scope| {
        for scene in scenes {
            let matrix = &matrix;
            scope.spawn(move || {
                // What was there before only delays the beginning.
                let most = match (scene.before, whole) {
                    (Before::Nothing, true) => 3,
                    (Before::Nothing, false) if scene.gives_back => 2,
                    (_, true) => 2,
                    _ => 1,
                };
                let courses = explore(scene, most).unwrap();
                let before = match scene.before {
                    Before::Nothing => "no record before",
                    Before::FarAhead => "a record before that ends in the year 9999",
                    Before::Unreadable => "a record before that can't be read",
                };
                let end = if scene.gives_back { "given back" } else { "never given back" };
                matrix.counted(&format!("{before}, {end}, at most {most} mishaps"), courses);
            });
        }
    });
}

/// A store that tells ages wrong by more than others wait longer breaks it, and is found.
#[test]
fn a_course_that_goes_wrong_is_found() {
    let scene = Scene { before: Before::Nothing, gives_back: false, too_old: 30 };
    let wrong = explore(scene, 1).unwrap_err();
    assert!(wrong.contains("both may write") || wrong.contains("after the other's last write"), "{wrong}");
}
