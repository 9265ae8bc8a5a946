//! A lease store in memory, and a clock that goes with tokio's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dorainfra_engine::{Conflict, Kept, LeaseRecord, LeaseStore, ProviderError};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{Memory, error, lost};

/// The id of a record that stands for one that can't be read.
pub const UNREADABLE: &str = "not JSON";

/// Why a store that is away does not answer.
pub const AWAY: &str = "the cloud does not answer: it is away";

/// The record, its generation, and when it was written.
type Written = (LeaseRecord, i64, Instant);

/// A lease in memory; with a place, it exists only while that bucket does.
#[derive(Default)]
pub struct MemoryLease {
    /// The newest generation, and what is kept.
    state: Mutex<(i64, Option<Written>)>,
    pub place: Option<(Arc<Memory>, String)>,
    /// How long each call takes to get there; a write's answer takes as long.
    pub delay: Duration,
    /// The writes (from 0) whose answers are lost, and whether they were done.
    pub lost: Mutex<BTreeMap<usize, bool>>,
    writes: Mutex<usize>,
    away: AtomicBool,
}

impl MemoryLease {
    pub fn in_bucket(memory: &Arc<Memory>, bucket: &str) -> Self {
        Self { place: Some((Arc::clone(memory), bucket.to_owned())), ..Self::default() }
    }

    pub fn record(&self) -> Option<LeaseRecord> {
        self.state.lock().unwrap().1.clone().map(|(record, ..)| record)
    }

    /// Somebody else writes or removes the record.
    pub fn put(&self, record: Option<LeaseRecord>) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        state.1 = record.map(|record| (record, state.0, Instant::now()));
    }

    /// From now on nobody answers.
    pub fn go_away(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    pub fn writes(&self) -> usize {
        *self.writes.lock().unwrap()
    }

    fn note(&self, line: &str) {
        if let Some((memory, _)) = &self.place {
            memory.note(format!("lease {line}"));
        }
    }
}

#[async_trait]
impl LeaseStore for MemoryLease {
    async fn read(&self) -> Result<Option<Kept>, ProviderError> {
        tokio::time::sleep(self.delay).await;
        if let Some(away) = self.unreachable() {
            return Err(away);
        }
        let kept = self.state.lock().unwrap().1.clone();
        Ok(kept.map(|(record, generation, written)| Kept {
            record: (record.id != UNREADABLE).then_some(record),
            generation,
            // Whole seconds, as Google tells its time.
            age: Duration::from_secs(written.elapsed().as_secs()),
        }))
    }

    async fn write(
        &self,
        record: &LeaseRecord,
        if_generation: i64,
    ) -> Result<Result<i64, Conflict>, ProviderError> {
        let nth = {
            let mut writes = self.writes.lock().unwrap();
            *writes += 1;
            *writes - 1
        };
        tokio::time::sleep(self.delay).await;
        if let Some(away) = self.unreachable() {
            return Err(away);
        }
        if let Some((memory, bucket)) = &self.place
            && !memory.exists(bucket)
        {
            return Err(error(format!("there is no {bucket}")));
        }
        let fate = self.lost.lock().unwrap().get(&nth).copied();
        if fate == Some(false) {
            return Err(lost());
        }
        let written = {
            let mut state = self.state.lock().unwrap();
            let generation = state.1.as_ref().map_or(0, |(_, generation, _)| *generation);
            if generation == if_generation {
                state.0 += 1;
                state.1 = Some((record.clone(), state.0, Instant::now()));
                Ok(state.0)
            } else {
                Err(Conflict)
            }
        };
        self.note(match (written, record.released) {
            (Err(Conflict), _) => "conflict",
            (Ok(_), true) => "given back",
            (Ok(_), false) => "written",
        });
        tokio::time::sleep(self.delay).await;
        if fate == Some(true) { Err(lost()) } else { Ok(written) }
    }

    fn unreachable(&self) -> Option<ProviderError> {
        self.away.load(Ordering::Relaxed).then(|| error(AWAY.to_owned()))
    }
}

/// A clock that goes with tokio's, paused or not, from a fixed day on.
pub fn clock() -> impl Fn() -> OffsetDateTime + Send + Sync {
    let start = Instant::now();
    move || time::macros::datetime!(2026-01-01 00:00 UTC) + start.elapsed()
}
