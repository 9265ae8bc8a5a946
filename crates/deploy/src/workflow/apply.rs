//! Applying: resources → machine ready → stack → history → proof.

use dorainfra_engine::{EngineError, Outcome, Plan, check_fresh};
use dorainfra_model::{Event, Events, Phase, Stage};

use super::error::{Error, Interrupted, Result};
use super::phase::{phase, stage};
use super::planning::Planned;
use super::run::Run;
use super::saved_plan::SavedPlan;
use super::selection::Selection;
use super::{caller, stack};
use crate::verify::Report;

/// How far it goes.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The collector stack and the history, too.
    pub stack: bool,
    /// The proof at the end.
    pub verify: bool,
    /// Nothing is to be done, neither to resources nor after them.
    pub unchanged: bool,
}

/// What a run has come to, whether or not it came to its end.
pub struct Applied {
    pub outcome: Option<Outcome>,
    pub report: Option<Report>,
    pub result: Result<()>,
}

/// Plans all of it, and tells so.
pub async fn plan(run: &Run, selection: &Selection, stack: bool, events: &Events) -> Result<Planned> {
    let plan = phase(events, Phase::Plan, run.plan(selection, events)).await?;
    with_follow_up(run, plan, stack, events).await
}

/// Adds what comes after the resources to a plan of them, and tells so.
pub async fn with_follow_up(run: &Run, plan: Plan, stack: bool, events: &Events) -> Result<Planned> {
    planned(run, plan, stack, None, events).await
}

/// Plans again what was saved.
///
/// # Errors
/// It would not be the same any more.
pub async fn plan_again(run: &Run, saved: &SavedPlan, stack: bool, events: &Events) -> Result<Planned> {
    let plan = phase(events, Phase::Plan, run.plan(&saved.selection, events)).await?;
    check_fresh(&saved.plan(), &plan).map_err(EngineError::Stale)?;
    planned(run, plan, stack, Some(saved), events).await
}

async fn planned(
    run: &Run,
    plan: Plan,
    stack: bool,
    saved: Option<&SavedPlan>,
    events: &Events,
) -> Result<Planned> {
    let follow_up = match stack {
        true => stage(events, Stage::FollowUp, run.follow_up(&plan)).await?,
        false => Vec::new(),
    };
    if let Some(saved) = saved {
        saved.shows(&follow_up)?;
    }
    let cost = Some(Box::new(crate::cost::cost(&plan)));
    events.send(Event::Planned { plan: plan.clone(), feed: follow_up.clone(), cost });
    Ok(Planned { plan, follow_up })
}

/// Does what was planned.
pub async fn apply(run: &Run, plan: &Plan, extent: Extent, events: &Events) -> Applied {
    let (mut outcome, mut report) = (None, None);
    let result = all(run, plan, extent, &mut outcome, &mut report, events).await;
    Applied { outcome, report, result }
}

async fn all(
    run: &Run,
    plan: &Plan,
    extent: Extent,
    outcome: &mut Option<Outcome>,
    report: &mut Option<Report>,
    events: &Events,
) -> Result<()> {
    if plan.has_changes() && !run.facts.engine.path.exists() {
        phase(events, Phase::Artifact, run.fetch_engine(events)).await?;
    }
    if let Some(address) = &run.facts.caller {
        caller::remember(&run.workspace, &run.project.config, address);
    }
    // Without changes, too, the lease of a run that was killed is cleared away: here, or by what
    // follows under a lease.
    if plan.has_changes() {
        phase(events, Phase::Resources, async {
            let done = match plan.is_targeted() {
                true => run.resources(plan, events).await?,
                false => run.resources_first(plan, events).await?,
            };
            complete(outcome.insert(done))
        })
        .await?;
    } else {
        let _ = run.as_planned.set(plan.basis.observed.clone());
        if plan.is_targeted() {
            run.resources(plan, events).await?;
        }
    }
    // A part of the deployment may have no machine at all.
    if plan.is_targeted() {
        return Ok(());
    }
    // Nobody deletes or changes what the rest of this run relies on.
    Box::pin(run.leased(events, follow(run, extent, report, events))).await
}

/// What comes after the resources.
async fn follow(run: &Run, extent: Extent, report: &mut Option<Report>, events: &Events) -> Result<()> {
    run.go_on()?;
    phase(events, Phase::Machine, run.machines_ready(events)).await?;
    if !extent.stack {
        return Ok(());
    }
    run.go_on()?;
    let target = run.until_interrupted(run.target()).await?;
    run.until_interrupted(run.reachable(&target)).await?;
    phase(events, Phase::Stack, async {
        // The generator follows what was collected.
        run.until_interrupted(run.collect(events)).await?;
        stack::up(run, &target, events).await
    })
    .await?;
    run.go_on()?;
    phase(events, Phase::History, run.until_interrupted(run.history(&target, extent.unchanged, events)))
        .await?;
    run.history_was_fed();
    if !extent.verify {
        return Ok(());
    }
    run.go_on()?;
    let verified = phase(events, Phase::Verify, run.until_interrupted(run.verify(&target, events))).await?;
    run.keep_proof(&target, verified.ok()).await;
    *report = Some(verified);
    Ok(())
}

/// An error where not everything is done.
pub(super) fn complete(outcome: &Outcome) -> Result<()> {
    if outcome.interrupted {
        return Err(Interrupted::Resources.into());
    }
    if outcome.is_complete() {
        return Ok(());
    }
    if let Some(unreachable) = &outcome.unreachable {
        return Err(unreachable.clone().into());
    }
    Err(Error::Incomplete { failed: outcome.failed.len(), not_started: outcome.not_started.len() })
}
