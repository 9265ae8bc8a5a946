//! Destroying: stack, then resources; bucket and data disk only if asked for by name.

use dorainfra_engine::{Outcome, Plan, ResourceId};
use dorainfra_model::{Event, Events, FeedStep, Phase};

use super::apply::complete;
use super::error::{Error, Interrupted, Result};
use super::phase::phase;
use super::run::Run;
use super::selection::Selection;
use super::{follow_up, stack};
use crate::resource::{self, Remains};

/// What is to be deleted.
pub struct Planned {
    pub plan: Plan,
    /// The parts of the collector stack on this machine: they are stopped first.
    pub stack: Vec<FeedStep>,
    /// Those of the data disk, which are no part of a plan.
    pub snapshots: Vec<ResourceId>,
    /// What holds data is deleted, too.
    pub delete_data: bool,
}

impl Planned {
    pub fn has_changes(&self) -> bool {
        self.plan.has_changes() || self.deletes_snapshots() || !self.stack.is_empty()
    }

    fn deletes_snapshots(&self) -> bool {
        self.delete_data && !self.snapshots.is_empty()
    }
}

/// What it has come to, whether or not it came to its end.
pub struct Destroyed {
    pub outcome: Option<Outcome>,
    /// `None`: nobody has looked.
    pub remains: Option<Remains>,
    pub result: Result<()>,
}

/// Plans it, and tells so.
pub async fn plan(run: &Run, delete_data: bool, events: &Events) -> Result<Planned> {
    let selection = Selection { delete_data, ..Selection::default() };
    let planned = phase(events, Phase::Plan, async {
        let snapshots =
            async { Ok::<_, Error>(resource::snapshots(&run.client, &run.blueprint.deployment).await?) };
        let (mut plan, snapshots) = futures::try_join!(run.plan_destroy(&selection, events), snapshots)?;
        if !snapshots.is_empty() {
            let of_the_disk = match snapshots.len() {
                1 => "1 snapshot of the data disk".to_owned(),
                number => format!("{number} snapshots of the data disk"),
            };
            plan.warnings.push(match delete_data {
                true => format!("to be deleted as well: {of_the_disk}"),
                false => format!("kept, and still billed: {of_the_disk}; --delete-data deletes what is kept"),
            });
        }
        Ok(Planned { plan, stack: run.stack_ends().await?, snapshots, delete_data })
    })
    .await?;
    let cost = Some(Box::new(crate::cost::cost(&planned.plan)));
    events.send(Event::Planned { plan: planned.plan.clone(), feed: planned.stack.clone(), cost });
    Ok(planned)
}

/// Deletes what was planned, be it snapshots only, and looks what is left.
pub async fn destroy(run: &Run, planned: &Planned, events: &Events) -> Destroyed {
    run.operator.finishing();
    let (mut outcome, mut remains) = (None, None);
    let work = all(run, planned, &mut outcome, &mut remains, events);
    let result = phase(events, Phase::Destroy, work).await;
    Destroyed { outcome, remains, result }
}

async fn all(
    run: &Run,
    planned: &Planned,
    outcome: &mut Option<Outcome>,
    remains: &mut Option<Remains>,
    events: &Events,
) -> Result<()> {
    let Planned { plan, snapshots, delete_data, .. } = planned;
    let (deployment, project) = (&run.blueprint.deployment, run.client.project());
    let go_on = || match run.interrupt.is_cancelled() {
        true => Err(Interrupted::Destroying),
        false => Ok(()),
    };
    let down = async {
        stack::down(&run.workspace, deployment, events).await?;
        follow_up::forget(&run.workspace, deployment);
        Ok(())
    };
    // Not while another run starts it, or waits for its values.
    match plan.basis.observed.keys().any(|id| id.kind == "storage.bucket") {
        true => run.leased(events, down).await,
        false => down.await,
    }?;
    go_on()?;
    if plan.has_changes() {
        complete(outcome.insert(run.resources(plan, events).await?))?;
    }
    if planned.deletes_snapshots() {
        go_on()?;
        resource::delete_snapshots(&run.client, snapshots, events).await?;
    }
    // Nothing is changed any more: this need not be waited for.
    let google = run.google();
    let Remains { left, off } = remains.insert(tokio::select! {
        found = google.remains() => found?,
        () = run.interrupt.cancelled() => return Ok(go_on()?),
    });
    // In a project where nothing was, nothing is missed.
    if *delete_data && !off.is_empty() && plan.has_changes() {
        let services: Vec<&str> = off.iter().map(String::as_str).collect();
        return Err(Error::ServicesOff {
            services: services.join(" "),
            project: project.to_owned(),
            deployment: deployment.clone(),
        });
    }
    match *delete_data && !left.is_empty() {
        true => Err(Error::Remaining { count: left.len() }),
        false => Ok(()),
    }
}
