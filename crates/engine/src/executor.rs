//! Carrying out one operation on one resource, up to a known end: a write whose
//! answer was lost is read back before anything is decided or tried again.

use std::sync::Arc;
use std::time::Duration;

use dorainfra_model::Events;
use futures::future::try_join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::desired::{Desired, with_body};
use super::diff::diff;
use super::{Change, KindSpec, Manifest, Mark, Observed, Ownership, Provider, ProviderError, ResourceId};

/// How often a write is sent when its answers get lost.
const ATTEMPTS: u32 = 3;
/// How long others of a rolling group may take to serve, after what was done to
/// them: a load balancer notices late.
const PATIENCE: Duration = Duration::from_secs(90);
/// Before a second and a third attempt, times the attempt.
const PAUSE: Duration = Duration::from_millis(500);

/// One write, with all that it needs; or what a rolling group waits for.
pub(super) enum Task {
    Make(Target),
    Change {
        target: Target,
        observed: Observed,
    },
    Remove {
        observed: Observed,
    },
    /// All of these serve. `None`: it is not there.
    Turn {
        member: ResourceId,
        others: Vec<(ResourceId, Option<Observed>)>,
    },
    /// This one serves, or nobody waits for it any more.
    Settle {
        target: Target,
        interrupt: CancellationToken,
    },
}

/// How a resource is after a task.
pub(super) enum After {
    There(Observed),
    Gone,
    /// Nothing was written.
    AsBefore,
}

/// What a resource is to be.
pub(super) struct Target {
    /// With its references resolved.
    pub manifest: Manifest,
    pub spec: KindSpec,
    /// The same body, with what is known about where its values come from.
    pub desired: Desired,
    pub mark: Mark,
}

/// Carries `task` out and answers the resource as it is then.
pub(super) async fn execute(
    task: Task,
    provider: Arc<dyn Provider>,
    events: Events,
) -> Result<After, ProviderError> {
    let executor = Executor { provider, events };
    match task {
        Task::Make(target) => executor.make(&target).await.map(After::There),
        Task::Change { target, observed } => executor.change(&target, observed).await.map(After::There),
        Task::Remove { observed } => executor.remove(&observed).await.map(|()| After::Gone),
        Task::Turn { member, others } => executor.turn(&member, &others).await.map(|()| After::AsBefore),
        Task::Settle { target, interrupt } => {
            tokio::select! {
                settled = executor.provider.settle(&target.manifest, &executor.events) => settled?,
                // Nothing follows: whether it serves is the next run's question.
                () = interrupt.cancelled() => {}
            }
            Ok(After::AsBefore)
        }
    }
}

struct Executor {
    provider: Arc<dyn Provider>,
    events: Events,
}

impl Executor {
    async fn make(&self, target: &Target) -> Result<Observed, ProviderError> {
        let mut attempt = 1;
        loop {
            let failed = match self.provider.create(&target.manifest, &target.mark, &self.events).await {
                Ok(observed) => return Ok(observed),
                Err(failed) => failed,
            };
            // Also after a failure that is certain: "it exists already" may be
            // an earlier write of ours, or of another run of the deployment.
            match self.provider.read(&target.manifest).await {
                Ok(Some(found)) if target.owns(&found) => {
                    let changes = target.visible_changes(&found);
                    if changes.is_empty() {
                        if !failed.unknown_outcome {
                            self.events.warn(
                                format!("{}: {failed}; it is there as it should be", found.id),
                                failed.hint,
                            );
                        }
                        return Ok(found);
                    }
                    if !failed.unknown_outcome || changes.iter().any(|change| change.forces_replacement) {
                        return Err(failed);
                    }
                    // Half made by a write whose answer was lost.
                    return self.change(target, found).await;
                }
                Ok(None) if failed.unknown_outcome && attempt < ATTEMPTS => {}
                Ok(_) | Err(_) => return Err(failed),
            }
            tokio::time::sleep(PAUSE * attempt).await;
            attempt += 1;
        }
    }

    async fn change(&self, target: &Target, mut observed: Observed) -> Result<Observed, ProviderError> {
        let mut attempt = 1;
        loop {
            let changes = target.changes(&observed);
            if let Some(change) = changes.iter().find(|change| change.forces_replacement) {
                let message = format!("`{}` cannot change, but what it refers to has changed", change.path);
                return Err(ProviderError::new(
                    message,
                    "run it again: the next plan replaces this resource",
                ));
            }
            let written =
                self.provider.update(&target.manifest, &observed, &changes, &target.mark, &self.events).await;
            let failed = match written {
                Err(failed) if failed.unknown_outcome => failed,
                known => return known,
            };
            match self.provider.read(&target.manifest).await {
                Ok(Some(found)) if target.is_written(&found) => return Ok(found),
                Ok(Some(found)) => observed = found,
                Ok(None) | Err(_) => return Err(failed),
            }
            if attempt == ATTEMPTS {
                return Err(failed);
            }
            tokio::time::sleep(PAUSE * attempt).await;
            attempt += 1;
        }
    }

    async fn turn(
        &self,
        member: &ResourceId,
        others: &[(ResourceId, Option<Observed>)],
    ) -> Result<(), ProviderError> {
        let asked = others.iter().map(|(id, observed)| async move {
            match observed {
                Some(observed) => self.until_it_serves(observed).await.map_err(|why| (id, why)),
                None => {
                    let hint = "a run without --target makes it first";
                    Err((id, ProviderError::new("it does not exist", hint)))
                }
            }
        });
        try_join_all(asked).await.map(|_| ()).map_err(|(other, why)| ProviderError {
            message: format!("{member} is left as it is, because {other} does not serve: {why}"),
            hint: why.hint,
            unknown_outcome: false,
            source: why.source,
        })
    }

    async fn until_it_serves(&self, observed: &Observed) -> Result<(), ProviderError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.provider.serves(observed).await {
                Err(_) if Instant::now() < deadline => tokio::time::sleep(PAUSE * 2).await,
                known => return known,
            }
        }
    }

    async fn remove(&self, observed: &Observed) -> Result<(), ProviderError> {
        // As it was observed, not as it should be: it may be elsewhere.
        let as_found =
            Manifest::new(observed.id.kind.clone(), observed.id.name.clone(), observed.body.clone());
        let mut attempt = 1;
        loop {
            let failed = match self.provider.delete(observed, &self.events).await {
                Err(failed) if failed.unknown_outcome => failed,
                known => return known,
            };
            match self.provider.read(&as_found).await {
                Ok(None) => return Ok(()),
                Ok(Some(_)) if attempt < ATTEMPTS => {}
                Ok(Some(_)) | Err(_) => return Err(failed),
            }
            tokio::time::sleep(PAUSE * attempt).await;
            attempt += 1;
        }
    }
}

impl Target {
    /// `None` where a value of `desired` is not known.
    pub fn new(manifest: &Manifest, spec: KindSpec, desired: Desired, mark: Mark) -> Option<Self> {
        let manifest = with_body(manifest, desired.value()?);
        Some(Self { manifest, spec, desired, mark })
    }

    /// What to change, with everything that comes from a resource made anew.
    fn changes(&self, observed: &Observed) -> Vec<Change> {
        self.compare(&self.desired, observed)
    }

    /// What can be seen to differ, wherever the values come from.
    fn visible_changes(&self, observed: &Observed) -> Vec<Change> {
        self.compare(&Desired::literal(self.manifest.body.clone()), observed)
    }

    fn compare(&self, desired: &Desired, observed: &Observed) -> Vec<Change> {
        diff(desired, &observed.body, &self.spec).into_iter().map(|difference| difference.change).collect()
    }

    /// By its mark, or, where there can be none, by its place.
    fn owns(&self, observed: &Observed) -> bool {
        observed.ownership == Ownership::Ours || !self.spec.markable
    }

    /// Whether the last write to it was this one.
    fn is_written(&self, observed: &Observed) -> bool {
        let marked = !self.spec.markable || observed.applied.as_deref() == Some(self.mark.digest.as_str());
        marked && self.visible_changes(observed).is_empty()
    }
}
