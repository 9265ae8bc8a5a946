//! The lease: one run at a time changes a deployment.
//!
//! A lease is one small record in a store that can compare and swap (an object
//! with generations) and that knows how long ago it was written. Whoever finds it
//! older than its life may take it, whatever it says, so that a run that died never
//! has to be unlocked by hand. The holder renews it every third of its life, and
//! counts that life from before it wrote. So no clock is compared with another one:
//! a record's age is the store's, the holder's time is what passed since boot, asleep
//! or not. Each write asks the [`Fence`] first: who was frozen past the end of the
//! lease and wakes writes nothing more.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::Mutex;

use super::{EngineError, ProviderError};

/// How long a lease holds without being renewed.
pub const LIFE: Duration = Duration::from_secs(60);
/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(20);
/// How much longer others wait: a store may tell ages by whole seconds.
const MARGIN: Duration = Duration::from_secs(5);
/// What has to be left of it for a lease to be begun with.
const HALF_LIFE: Duration = Duration::from_secs(LIFE.as_secs() / 2);
/// Until the next try, where it could not be renewed.
const SOON: Duration = Duration::from_secs(RENEWAL.as_secs() / 4);
/// How often a store that keeps changing under us is tried.
const ATTEMPTS: u32 = 5;

/// What the lease's object holds; all of it is for people, but for the id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// For people: `user@host pid`.
    pub holder: String,
    /// Unique for each run.
    pub id: String,
    #[serde(with = "time::serde::rfc3339")]
    pub acquired: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
    /// Given back: anybody may take it. The record stays, so that whoever read the cloud
    /// before sees that somebody has changed it since.
    #[serde(default)]
    pub released: bool,
}

/// The object's generation is not the one that the write was bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict;

/// A record that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// `None`: it can't be read as one. It ends like any other.
    pub record: Option<LeaseRecord>,
    pub generation: i64,
    /// How long ago it was written, by the store's own clock.
    pub age: Duration,
}

impl Kept {
    /// Whether anybody may take it.
    pub fn is_free(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.released) || self.age >= LIFE.saturating_add(MARGIN)
    }
}

fn whose(record: Option<LeaseRecord>) -> String {
    record.map_or("somebody (its record can't be read)".into(), |record| record.holder)
}

/// Where the record is kept.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// The record; `None`: there is none.
    async fn read(&self) -> Result<Option<Kept>, ProviderError>;

    /// Writes the record if its generation still is `if_generation` (0: absent),
    /// and answers the new generation.
    async fn write(
        &self,
        record: &LeaseRecord,
        if_generation: i64,
    ) -> Result<Result<i64, Conflict>, ProviderError>;

    /// Why nobody answers there, where that is so now.
    fn unreachable(&self) -> Option<ProviderError> {
        None
    }
}

/// The record's generation when a run began to read the cloud. A run that finds another one
/// when it takes the lease has planned for a cloud that is no more.
#[derive(Debug)]
pub struct Noted {
    generation: AtomicI64,
}

/// Nobody looked: whatever is found is taken.
const NOT_NOTED: i64 = -1;

impl Default for Noted {
    fn default() -> Self {
        Self { generation: AtomicI64::new(NOT_NOTED) }
    }
}

impl Noted {
    /// 0: there was no record.
    pub fn note(&self, generation: i64) {
        self.generation.store(generation, Ordering::Release);
    }

    /// Whether a record is of a run that ended or died since.
    pub fn is_newer(&self, generation: i64) -> bool {
        let noted = self.generation.load(Ordering::Acquire);
        noted != NOT_NOTED && noted != generation
    }
}

/// The time. A parameter, so that a test needs no waiting.
pub trait Clock: Send + Sync {
    /// Of the day, for people: nothing is decided by it.
    fn now(&self) -> OffsetDateTime;

    /// Since some moment that stays the same; it also passes while the machine or the
    /// process is suspended, and nobody sets it.
    fn passed(&self) -> Duration;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn passed(&self) -> Duration {
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        since_boot.try_into().unwrap_or_default()
    }
}

impl<F: Fn() -> OffsetDateTime + Send + Sync> Clock for F {
    fn now(&self) -> OffsetDateTime {
        self()
    }

    fn passed(&self) -> Duration {
        let nanoseconds = self().unix_timestamp_nanos();
        u64::try_from(nanoseconds).map(Duration::from_nanos).unwrap_or_default()
    }
}

/// Whether writes may be made. Open, until a lease is held; then as long as that holds.
#[derive(Debug)]
pub struct Fence {
    /// Milliseconds of [`Clock::passed`].
    until: AtomicU64,
}

impl Default for Fence {
    fn default() -> Self {
        Self { until: AtomicU64::new(u64::MAX) }
    }
}

impl Fence {
    pub fn is_open(&self, clock: &dyn Clock) -> bool {
        milliseconds(clock.passed()) < self.until.load(Ordering::Acquire)
    }

    /// How much longer it is open.
    pub fn left(&self, clock: &dyn Clock) -> Duration {
        match self.until.load(Ordering::Acquire) {
            u64::MAX => Duration::MAX,
            until => Duration::from_millis(until.saturating_sub(milliseconds(clock.passed()))),
        }
    }

    fn open(&self, until: Option<Duration>) {
        self.until.store(until.map_or(u64::MAX, milliseconds), Ordering::Release);
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A lease to run under: where it is kept and who takes it.
#[derive(Clone, Copy)]
pub struct Leasing<'a> {
    pub store: &'a dyn LeaseStore,
    /// For people: `user@host pid`.
    pub holder: &'a str,
    /// Unique for this run, a UUID.
    pub id: &'a str,
    pub clock: &'a dyn Clock,
    /// What this run's writes ask.
    pub fence: &'a Fence,
    /// What was there when this run began to read.
    pub noted: &'a Noted,
}

/// Why a lease that was held is not any more.
#[derive(Clone, Debug)]
pub enum Lost {
    /// In words.
    Why(String),
    /// Nobody answers who could renew it.
    Unreachable(ProviderError),
}

impl From<Lost> for EngineError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Why(why) => Self::LeaseLost { why },
            Lost::Unreachable(error) => Self::Unreachable { error },
        }
    }
}

/// One run's lease. [`Lease::keep`] has to be polled while it is held.
pub struct Lease<'a> {
    leasing: Leasing<'a>,
    /// Held across a write to the store: what suspends or releases the lease
    /// waits until a renewal under way has ended.
    held: Mutex<Option<Held>>,
}

#[derive(Clone, Debug)]
struct Held {
    generation: i64,
    acquired: OffsetDateTime,
    /// By [`Clock::passed`].
    until: Duration,
}

impl<'a> Lease<'a> {
    /// A lease that is not taken yet.
    pub fn new(leasing: Leasing<'a>) -> Self {
        Self { leasing, held: Mutex::new(None) }
    }

    /// Takes the lease, if nobody holds it.
    ///
    /// # Errors
    /// [`EngineError::LeaseHeld`] by whom and until when; [`EngineError::Meanwhile`] when
    /// somebody held it since this run began to read; [`EngineError::Lease`] when the store
    /// cannot be read or written.
    pub async fn acquire(&self) -> Result<(), EngineError> {
        let mut held = self.held.lock().await;
        let error = |error| EngineError::Lease { error };
        let mut lost_answer = None;
        for _ in 0..ATTEMPTS {
            let found = self.leasing.store.read().await.map_err(error)?;
            let generation = match found {
                None => 0,
                // Ours already: the answer to an earlier write was lost.
                Some(kept) if self.is_ours(&kept) => kept.generation,
                Some(kept) if kept.is_free() => match self.leasing.noted.is_newer(kept.generation) {
                    true => return Err(EngineError::Meanwhile { holder: whose(kept.record) }),
                    false => kept.generation,
                },
                Some(Kept { record, age, .. }) => {
                    let holder = whose(record);
                    let expires = later(self.leasing.clock.now(), LIFE.saturating_sub(age));
                    return Err(EngineError::LeaseHeld { holder, expires });
                }
            };
            let (acquired, until) =
                (self.leasing.clock.now(), self.leasing.clock.passed().saturating_add(LIFE));
            match self.leasing.store.write(&self.record(acquired, false), generation).await {
                Ok(Ok(generation)) if self.left(until) > HALF_LIFE => {
                    self.leasing.fence.open(Some(until));
                    *held = Some(Held { generation, acquired, until });
                    return Ok(());
                }
                // The answer took most of the lease's life, or somebody was
                // faster: see who.
                Ok(Ok(_) | Err(Conflict)) => {}
                Err(failed) if failed.unknown_outcome => lost_answer = Some(failed),
                Err(failed) => return Err(error(failed)),
            }
        }
        let busy = "it changes hands faster than it can be taken";
        let busy = || ProviderError::new(busy, "try again when the other runs have ended");
        Err(error(lost_answer.unwrap_or_else(busy)))
    }

    /// Renews the lease for as long as it is held. Answers when it is lost.
    /// Must not be dropped before the lease is released or given up.
    pub async fn keep(&self) -> Lost {
        let mut pause = RENEWAL;
        loop {
            tokio::time::sleep(pause).await;
            let mut held = self.held.lock().await;
            pause = RENEWAL;
            let Some(current) = held.clone() else { continue };
            // Not beyond its end, as after a sleep: from then on somebody else may take it.
            if self.left(current.until).is_zero() {
                *held = None;
                return self.not_renewed();
            }
            let renewal = tokio::time::timeout(self.left(current.until), self.renewed(&current)).await;
            let now_held = match renewal.unwrap_or(Renewal::NotNow) {
                Renewal::Renewed(renewed) => renewed,
                Renewal::NotNow => current.clone(),
                Renewal::Lost(why) => {
                    self.leasing.fence.open(Some(Duration::ZERO));
                    *held = None;
                    return Lost::Why(why);
                }
            };
            self.leasing.fence.open(Some(now_held.until));
            if self.left(now_held.until).is_zero() {
                *held = None;
                return self.not_renewed();
            }
            if now_held.until <= current.until {
                // Not renewed: again soon, and in any case at its end.
                pause = SOON.min(self.left(current.until));
            }
            *held = Some(now_held);
        }
    }

    fn not_renewed(&self) -> Lost {
        match self.leasing.store.unreachable() {
            Some(error) => Lost::Unreachable(error),
            None => Lost::Why("it could not be renewed in time".into()),
        }
    }

    fn left(&self, until: Duration) -> Duration {
        until.saturating_sub(self.leasing.clock.passed())
    }

    fn is_ours(&self, kept: &Kept) -> bool {
        kept.record.as_ref().is_some_and(|record| record.id == self.leasing.id)
    }

    /// Stops renewing, and leaves the record to what holds it: it is about to
    /// be deleted.
    pub async fn give_up(&self) {
        let mut held = self.held.lock().await;
        if held.take().is_some() {
            self.leasing.fence.open(None);
        }
    }

    /// Ends the lease, so that the next run need not wait.
    ///
    /// # Errors
    /// The store's; the lease ends by itself then.
    pub async fn release(&self) -> Result<(), ProviderError> {
        let Some(held) = self.held.lock().await.take() else { return Ok(()) };
        self.leasing.fence.open(None);
        // Nobody waits to give back what ends by itself.
        if let Some(error) = self.leasing.store.unreachable() {
            return Err(error);
        }
        // Somebody else's record stays.
        if let Ok(generation) =
            self.leasing.store.write(&self.record(held.acquired, true), held.generation).await?
        {
            self.leasing.noted.note(generation);
        }
        Ok(())
    }

    fn record(&self, acquired: OffsetDateTime, released: bool) -> LeaseRecord {
        LeaseRecord {
            holder: self.leasing.holder.to_owned(),
            id: self.leasing.id.to_owned(),
            acquired,
            expires: later(self.leasing.clock.now(), LIFE),
            released,
        }
    }

    async fn renewed(&self, current: &Held) -> Renewal {
        let acquired = current.acquired;
        let (record, until) =
            (self.record(acquired, false), self.leasing.clock.passed().saturating_add(LIFE));
        let written = self.leasing.store.write(&record, current.generation);
        if let Ok(Ok(Ok(generation))) = tokio::time::timeout(RENEWAL, written).await {
            return Renewal::Renewed(Held { generation, acquired, until });
        }
        // A write whose answer was lost may be what we conflict with.
        let asked = self.leasing.clock.passed();
        match tokio::time::timeout(RENEWAL, self.leasing.store.read()).await {
            // Ours: as just written, or, if the write never arrived, as before. Its age is
            // told by whole seconds.
            Ok(Ok(Some(kept))) if self.is_ours(&kept) => {
                let since = kept.age.saturating_add(MARGIN);
                let until = asked.saturating_add(LIFE).saturating_sub(since).clamp(current.until, until);
                Renewal::Renewed(Held { generation: kept.generation, acquired, until })
            }
            Ok(Ok(Some(kept))) => Renewal::Lost(match kept.record {
                Some(record) => format!("{} took it", record.holder),
                None => "its record can't be read any more".into(),
            }),
            Ok(Ok(None)) => Renewal::Lost("its record was removed".into()),
            Ok(Err(_)) | Err(_) => Renewal::NotNow,
        }
    }
}

/// A time and what is added to it, within the times that can be told.
fn later(time: OffsetDateTime, by: Duration) -> OffsetDateTime {
    time::Duration::try_from(by).ok().and_then(|by| time.checked_add(by)).unwrap_or(time)
}

enum Renewal {
    Renewed(Held),
    NotNow,
    Lost(String),
}
