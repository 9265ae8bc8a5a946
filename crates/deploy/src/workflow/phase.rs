//! Phases of a run, between two events, and steps that one event tells of.

use std::future::Future;
use std::time::Instant;

use dorainfra_model::{Event, Events, Phase, Stage};

use super::error::Result;

/// Runs one phase between its two events.
pub async fn phase<T>(events: &Events, phase: Phase, work: impl Future<Output = Result<T>>) -> Result<T> {
    events.send(Event::PhaseStarted { phase });
    let began = Instant::now();
    let result = work.await;
    let elapsed_ms = began.elapsed().as_millis() as u64;
    events.send(Event::PhaseFinished { phase, elapsed_ms, ok: result.is_ok() });
    result
}

/// Takes a step, and tells how long it took.
pub async fn stage<T>(events: &Events, stage: Stage, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let result = work.await;
    events.send(Event::StageFinished { stage, elapsed_ms: began.elapsed().as_millis() as u64 });
    result
}
