//! The lease: one run at a time changes a deployment.
//!
//! A lease is one small record in a store that can compare and swap (an object
//! with generations). It says until when it holds; whoever finds that time over
//! may take it, so that a run that died never has to be unlocked by hand. The
//! holder renews it every third of its life, and stops believing in it at its
//! own end, whatever the store says.

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
/// How much longer others wait: clocks of two machines differ a little.
const SKEW: Duration = Duration::from_secs(5);
/// How often a store that keeps changing under us is tried.
const ATTEMPTS: u32 = 5;

/// What the lease's object holds.
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
}

/// The object's generation is not the one that the write was bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict;

/// Where the record is kept.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// The record and its generation; `None`: there is none.
    async fn read(&self) -> Result<Option<(LeaseRecord, i64)>, ProviderError>;

    /// Writes the record if its generation still is `if_generation` (0: absent),
    /// and answers the new generation.
    async fn write(
        &self,
        record: &LeaseRecord,
        if_generation: i64,
    ) -> Result<Result<i64, Conflict>, ProviderError>;

    /// Removes the record of that generation. Another one's record stays, and
    /// that is no error.
    async fn remove(&self, if_generation: i64) -> Result<(), ProviderError>;
}

/// The time of day. A parameter, so that a test needs no waiting.
pub trait Clock: Send + Sync {
    fn now(&self) -> OffsetDateTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}

impl<F: Fn() -> OffsetDateTime + Send + Sync> Clock for F {
    fn now(&self) -> OffsetDateTime {
        self()
    }
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
}

/// Why a lease that was held is not any more, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost(pub String);

/// One run's lease. [`Lease::keep`] has to be polled while it is held.
pub struct Lease<'a> {
    leasing: Leasing<'a>,
    /// Held across a write to the store: what suspends or releases the lease
    /// waits until a renewal under way has ended.
    held: Mutex<Option<Held>>,
}

#[derive(Clone, Debug)]
struct Held {
    record: LeaseRecord,
    generation: i64,
}

impl<'a> Lease<'a> {
    /// A lease that is not taken yet.
    pub fn new(leasing: Leasing<'a>) -> Self {
        Self { leasing, held: Mutex::new(None) }
    }

    /// Takes the lease, if nobody holds it.
    ///
    /// # Errors
    /// [`EngineError::LeaseHeld`] by whom and until when; [`EngineError::Lease`]
    /// when the store cannot be read or written.
    pub async fn acquire(&self) -> Result<(), EngineError> {
        let mut held = self.held.lock().await;
        let error = |error| EngineError::Lease { error };
        let mut lost_answer = None;
        for _ in 0..ATTEMPTS {
            let found = self.leasing.store.read().await.map_err(error)?;
            let generation = match found {
                None => 0,
                // Ours already: the answer to an earlier write was lost.
                Some((record, generation)) if record.id == self.leasing.id => generation,
                Some((record, generation)) if self.leasing.clock.now() >= record.expires + SKEW => generation,
                Some((record, _)) => {
                    return Err(EngineError::LeaseHeld { holder: record.holder, expires: record.expires });
                }
            };
            let record = self.record(None);
            match self.leasing.store.write(&record, generation).await {
                Ok(Ok(generation)) if self.left(&record) > LIFE / 2 => {
                    *held = Some(Held { record, generation });
                    return Ok(());
                }
                // The answer took most of the lease's life, or somebody was
                // faster: see who.
                Ok(Ok(_) | Err(Conflict)) => {}
                Err(failed) if failed.unknown_outcome => lost_answer = Some(failed),
                Err(failed) => return Err(error(failed)),
            }
        }
        Err(error(lost_answer.unwrap_or_else(|| ProviderError {
            message: "it changes hands faster than it can be taken".into(),
            hint: Some("try again when the other runs have ended".into()),
            unknown_outcome: false,
        })))
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
            // Not beyond its end: from then on somebody else may take it.
            let renewal = tokio::time::timeout(self.left(&current.record), self.renewed(&current)).await;
            let now_held = match renewal.unwrap_or(Renewal::NotNow) {
                Renewal::Renewed(renewed) => renewed,
                Renewal::NotNow => current.clone(),
                Renewal::Lost(why) => {
                    *held = None;
                    return Lost(why);
                }
            };
            if self.left(&now_held.record).is_zero() {
                *held = None;
                return Lost("it could not be renewed in time".into());
            }
            if now_held.record.expires == current.record.expires {
                // Not renewed: again soon, and in any case at its end.
                pause = (RENEWAL / 4).min(self.left(&current.record));
            }
            *held = Some(now_held);
        }
    }

    /// How long the lease holds by its own record.
    fn left(&self, record: &LeaseRecord) -> Duration {
        (record.expires - self.leasing.clock.now()).try_into().unwrap_or(Duration::ZERO)
    }

    /// Stops renewing, and leaves the record to what holds it: it is about to
    /// be deleted.
    pub async fn give_up(&self) {
        *self.held.lock().await = None;
    }

    /// Ends the lease, so that the next run need not wait.
    ///
    /// # Errors
    /// The store's; the lease ends by itself then.
    pub async fn release(&self) -> Result<(), ProviderError> {
        match self.held.lock().await.take() {
            Some(held) => self.leasing.store.remove(held.generation).await,
            None => Ok(()),
        }
    }

    fn record(&self, renewed: Option<&LeaseRecord>) -> LeaseRecord {
        let now = self.leasing.clock.now();
        LeaseRecord {
            holder: self.leasing.holder.to_owned(),
            id: self.leasing.id.to_owned(),
            acquired: renewed.map_or(now, |record| record.acquired),
            expires: now + LIFE,
        }
    }

    async fn renewed(&self, current: &Held) -> Renewal {
        let record = self.record(Some(&current.record));
        let written = self.leasing.store.write(&record, current.generation);
        if let Ok(Ok(Ok(generation))) = tokio::time::timeout(RENEWAL, written).await {
            return Renewal::Renewed(Held { record, generation });
        }
        // A write whose answer was lost may be what we conflict with.
        match tokio::time::timeout(RENEWAL, self.leasing.store.read()).await {
            // Ours: as just written, or, if the write never arrived, as before.
            Ok(Ok(Some((record, generation)))) if record.id == self.leasing.id => {
                Renewal::Renewed(Held { record, generation })
            }
            Ok(Ok(Some((record, _)))) => Renewal::Lost(format!("{} took it", record.holder)),
            Ok(Ok(None)) => Renewal::Lost("its record was removed".into()),
            Ok(Err(_)) | Err(_) => Renewal::NotNow,
        }
    }
}

enum Renewal {
    Renewed(Held),
    NotNow,
    Lost(String),
}
