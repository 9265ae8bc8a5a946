//! Carrying out a plan: concurrently along its graph, under the lease. A
//! resource that fails stops only what needs it; an interruption lets what is
//! under way end and starts nothing more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use dorainfra_model::{Event, Events};
use serde_json::Value;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::desired::{Answer, Resolver};
use super::executor::{After, Target, Task, execute};
use super::lease::Leasing;
use super::lease_guard::LeaseGuard;
use super::operation::{Operation, Work};
use super::operations::operations;
use super::reference::{NAME, Reference, lookup};
use super::rolling;
use super::schedule::{Schedule, State, Stop};
use super::{
    Action, EngineError, Manifest, Mark, Observed, Plan, Provider, ProviderError, ResourceId, Step, digest,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyOptions {
    /// How many resources are changed at once, at most.
    pub parallelism: usize,
    /// Whether the lease is left to what the same run does next under it, once all is done
    /// ([`super::under_lease`]): nobody else gets it in between.
    pub leaves_lease: bool,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self { parallelism: 16, leaves_lease: false }
    }
}

/// How each step of the plan ended. Steps that change nothing are in none of
/// the lists.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// In the order in which they ended.
    pub done: Vec<ResourceId>,
    /// With the error and what to do about it. A lost lease is told here, too,
    /// under the resource that holds it.
    pub failed: Vec<(ResourceId, String, Option<String>)>,
    /// With what they wait for, in the plan's order.
    pub not_started: Vec<(ResourceId, String)>,
    /// There was an interruption, and it left something undone.
    pub interrupted: bool,
    /// The body of each resource that exists now, as far as the plan knows.
    pub observed: BTreeMap<ResourceId, Value>,
    /// It ended because nobody answers; that is among the failures, too.
    pub unreachable: Option<ProviderError>,
}

impl Outcome {
    /// Whether everything that was planned is done.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.not_started.is_empty()
    }
}

/// Carries out `plan`, which must have been made in this process (see
/// [`super::replan`] for one that comes from a file).
///
/// With `leasing`, the lease is taken before the first change, or, where the
/// resource that holds it does not exist yet, right after that one was made and
/// before anything else is. Without changes no lease is taken.
///
/// Dropping the future stops at once, with the outcome of what is under way
/// unknown; the next plan finds what was made.
///
/// # Errors
/// [`EngineError::Unread`], [`EngineError::LeaseHeld`] and
/// [`EngineError::Lease`]. What happens to single resources is in the
/// [`Outcome`].
pub async fn apply(
    plan: &Plan,
    provider: Arc<dyn Provider>,
    options: &ApplyOptions,
    leasing: Option<Leasing<'_>>,
    interrupt: &CancellationToken,
    events: &Events,
) -> Result<Outcome, EngineError> {
    let down = rolling::down(plan, &*provider).await;
    let mut run = Run::new(plan, provider, &down, interrupt, events)?;
    if !plan.has_changes() {
        return Ok(run.end(interrupt));
    }
    let guard = LeaseGuard::new(leasing);
    let parallelism = options.parallelism.max(1);
    // Side by side, as the work waits for a renewal that is under way when it
    // gives the lease up or back.
    tokio::select! {
        biased;
        () = guard.keep() => {}
        worked = run.work(parallelism, options.leaves_lease, &guard, interrupt) => worked?,
    }
    Ok(run.end(interrupt))
}

/// Whether there is a place to keep the lease in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeasePlace {
    There,
    /// Not before the arbiter is made.
    WithArbiter,
    /// And will not be: what would hold it is gone.
    Nowhere,
}

struct Run<'a> {
    plan: &'a Plan,
    provider: Arc<dyn Provider>,
    events: &'a Events,
    manifests: BTreeMap<ResourceId, &'a Manifest>,
    /// What this run makes anew.
    renewed: BTreeSet<&'a ResourceId>,
    arbiter: Option<ResourceId>,
    lease_place: LeasePlace,
    interrupt: &'a CancellationToken,
    operations: Vec<Operation>,
    /// By step: the work that it ends with.
    ends_with: Vec<Work>,
    schedule: Schedule,
    running: JoinSet<Result<After, ProviderError>>,
    tasks: HashMap<Id, usize>,
    /// By step: when its first operation began.
    started: Vec<Option<Instant>>,
    /// As the resources are now.
    observed: BTreeMap<ResourceId, Observed>,
    done: Vec<ResourceId>,
    failed: Vec<(ResourceId, String, Option<String>)>,
    lost: Option<EngineError>,
}

impl<'a> Run<'a> {
    fn new(
        plan: &'a Plan,
        provider: Arc<dyn Provider>,
        down: &BTreeSet<ResourceId>,
        interrupt: &'a CancellationToken,
        events: &'a Events,
    ) -> Result<Self, EngineError> {
        let manifests: BTreeMap<ResourceId, &Manifest> =
            plan.manifests.iter().map(|manifest| (manifest.id(), manifest)).collect();
        for step in &plan.steps {
            let exists = step.action != Action::Create;
            if exists && !plan.basis.observed.contains_key(&step.id) {
                return Err(EngineError::Unread);
            }
            if step.action != Action::Delete && provider.spec(&step.id.kind).is_none() {
                return Err(EngineError::UnknownKind { id: step.id.clone() });
            }
        }
        let arbiter = plan.manifests.iter().find(|manifest| manifest.arbiter).map(Manifest::id);
        let lease_place = match &arbiter {
            None => LeasePlace::There,
            Some(id) if plan.basis.observed.contains_key(id) => LeasePlace::There,
            Some(id) if plan.steps.iter().any(|step| step.id == *id) => LeasePlace::WithArbiter,
            Some(_) => LeasePlace::Nowhere,
        };
        let first = arbiter.as_ref().filter(|_| lease_place == LeasePlace::WithArbiter);
        let (operations, nodes) = operations(plan, first, down)?;
        let mut ends_with = vec![Work::Pass; plan.steps.len()];
        for Operation { step, work } in &operations {
            ends_with[*step] = ends_with[*step].max(*work);
        }
        Ok(Self {
            plan,
            provider,
            events,
            manifests,
            renewed: plan
                .steps
                .iter()
                .filter(|step| matches!(step.action, Action::Create | Action::Replace))
                .map(|step| &step.id)
                .collect(),
            arbiter,
            lease_place,
            interrupt,
            operations,
            ends_with,
            schedule: Schedule::new(nodes),
            running: JoinSet::new(),
            tasks: HashMap::new(),
            started: vec![None; plan.steps.len()],
            observed: plan.basis.observed.clone(),
            done: Vec::new(),
            failed: Vec::new(),
            lost: None,
        })
    }

    async fn work(
        &mut self,
        parallelism: usize,
        leaves_lease: bool,
        guard: &LeaseGuard<'_>,
        interrupt: &CancellationToken,
    ) -> Result<(), EngineError> {
        if self.lease_place == LeasePlace::There {
            guard.acquire().await?;
        }
        let mut refused = None;
        let mut interrupted = false;
        loop {
            if interrupt.is_cancelled() {
                interrupted = true;
                self.schedule.stop(Stop::AfterHalves);
            }
            while self.running.len() < parallelism {
                let Some(operation) = self.schedule.next() else { break };
                self.start(operation, guard).await;
            }
            if self.running.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                () = guard.lost(), if self.lost.is_none() => self.stop_as_lost(guard),
                () = interrupt.cancelled(), if !interrupted => {}
                Some(ended) = self.running.join_next_with_id() => {
                    if let Err(error) = self.ended(ended, guard).await {
                        refused = Some(error);
                        self.schedule.stop(Stop::Now);
                    }
                }
            }
        }
        let all = refused.is_none() && self.failed.is_empty() && self.lost.is_none() && !interrupted;
        if !(leaves_lease && all) {
            guard.release(self.events).await;
        }
        refused.map_or(Ok(()), Err)
    }

    fn stop_as_lost(&mut self, guard: &LeaseGuard<'_>) {
        let lost = guard.why();
        self.events.warn(format!("{lost}; nothing more is started"), lost.hint());
        self.lost = Some(lost);
        self.schedule.stop(Stop::Now);
    }

    async fn start(&mut self, operation: usize, guard: &LeaseGuard<'_>) {
        let Operation { step, work } = self.operations[operation];
        let planned = &self.plan.steps[step];
        if self.started[step].is_none() {
            self.started[step] = Some(Instant::now());
            let waited_for = self.schedule.waited_for(operation).map(|need| self.operations[need].step);
            self.events.send(Event::ResourceStarted {
                id: planned.id.clone(),
                action: planned.action,
                waited_for: waited_for.map(|need| self.plan.steps[need].id.clone()),
            });
        }
        if work == Work::Remove && Some(&planned.id) == self.arbiter.as_ref() {
            // The record goes with what holds it.
            guard.give_up().await;
        }
        match self.task(planned, work) {
            Ok(task) => {
                let carried = execute(task, Arc::clone(&self.provider), self.events.clone());
                let handle = self.running.spawn(carried);
                self.tasks.insert(handle.id(), operation);
            }
            Err(error) => self.fail(operation, error.to_string(), error.hint),
        }
    }

    fn task(&self, step: &Step, work: Work) -> Result<Task, ProviderError> {
        let missing =
            |what: &str| ProviderError::new(format!("the plan holds no {what} of {}", step.id), "plan again");
        let observed = || self.observed.get(&step.id).cloned().ok_or_else(|| missing("reading"));
        match work {
            Work::Remove => return Ok(Task::Remove { observed: observed()? }),
            Work::Turn => {
                let others = rolling::others(self.plan, &step.id).into_iter();
                let others = others.map(|id| (id.clone(), self.observed.get(&id).cloned())).collect();
                return Ok(Task::Turn { member: step.id.clone(), others });
            }
            _ => {}
        }
        let manifest = *self.manifests.get(&step.id).ok_or_else(|| missing("manifest"))?;
        let target = self.target(manifest)?;
        match work {
            Work::Change => Ok(Task::Change { target, observed: observed()? }),
            Work::Settle => Ok(Task::Settle { target, interrupt: self.interrupt.clone() }),
            _ => Ok(Task::Make(target)),
        }
    }

    /// The manifest with its references resolved by what exists now.
    fn target(&self, manifest: &Manifest) -> Result<Target, ProviderError> {
        let id = manifest.id();
        let missing = |reference: &Reference| {
            let Reference { to, field, .. } = reference;
            ProviderError::new(
                format!("{id} refers to `{field}` of {to}, which has no such field"),
                "refer to a field that the resource has, in the provider's spelling",
            )
        };
        let answer = |reference: &Reference| {
            if reference.field == NAME {
                return Answer::Known(Value::String(reference.to.name.clone()));
            }
            let other = self.observed.get(&reference.to);
            match other.and_then(|other| lookup(&other.body, &reference.field)) {
                None => Answer::Missing,
                Some(value) if self.renewed.contains(&reference.to) => Answer::Renewed(value.clone()),
                Some(value) => Answer::Known(value.clone()),
            }
        };
        let resolver = Resolver { known: &|id| self.manifests.contains_key(id), answer: &answer };
        let desired = resolver.body(&manifest.body).map_err(|unresolved| match unresolved {
            super::desired::Unresolved::Missing(reference) => missing(&reference),
            super::desired::Unresolved::Malformed(text) => ProviderError::new(
                format!("{id} holds `{text}`, which is not a whole reference"),
                "write ${kind/name.field}",
            ),
        })?;
        let spec = *self.provider.spec(&manifest.kind).expect("every kind was looked up when the run began");
        let mark = Mark { deployment: self.plan.deployment.clone(), digest: digest(manifest) };
        Ok(Target::new(manifest, spec, desired, mark).expect("what exists has no unknown values"))
    }

    async fn ended(
        &mut self,
        ended: Result<(Id, Result<After, ProviderError>), JoinError>,
        guard: &LeaseGuard<'_>,
    ) -> Result<(), EngineError> {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            // A panic in a kind is that resource's failure, not the run's. Its
            // message stays out of this: nobody has vetted it for secrets.
            Err(error) => (
                error.id(),
                Err(ProviderError {
                    message: "this program has a fault there, and gave up on it".into(),
                    hint: Some("report it, with what is above; then run this again".into()),
                    unknown_outcome: true,
                    source: None,
                }),
            ),
        };
        let operation = self.tasks.remove(&id).expect("every spawned task was noted");
        let Operation { step, work } = self.operations[operation];
        let planned = &self.plan.steps[step];
        match result {
            Err(error) => {
                self.fail(operation, error.to_string(), error.hint);
                return Ok(());
            }
            Ok(After::There(observed)) => {
                self.observed.insert(planned.id.clone(), observed);
            }
            Ok(After::Gone) => {
                self.observed.remove(&planned.id);
            }
            Ok(After::AsBefore) => {}
        }
        if work == self.ends_with[step] {
            self.done.push(planned.id.clone());
            self.events.send(Event::ResourceFinished {
                id: planned.id.clone(),
                action: planned.action,
                elapsed_ms: self.elapsed_ms(step),
            });
        }
        // The place for the lease is there, for the first time or again: take
        // it before anything that waits for the arbiter can start.
        let place_made = work == Work::Make && Some(&planned.id) == self.arbiter.as_ref();
        if place_made {
            guard.acquire().await?;
        }
        self.schedule.done(operation);
        Ok(())
    }

    fn fail(&mut self, operation: usize, error: String, hint: Option<String>) {
        let step = self.operations[operation].step;
        let planned = &self.plan.steps[step];
        let hint =
            hint.or_else(|| Some("run the same command again: it continues from what is there".into()));
        self.schedule.failed(operation);
        self.failed.push((planned.id.clone(), error.clone(), hint.clone()));
        self.events.send(Event::ResourceFailed {
            id: planned.id.clone(),
            action: planned.action,
            error,
            hint,
            elapsed_ms: self.elapsed_ms(step),
        });
    }

    fn elapsed_ms(&self, step: usize) -> u64 {
        let elapsed = self.started[step].map(|started| started.elapsed()).unwrap_or_default();
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    /// Tells what was not started, and why, and sums up.
    fn end(mut self, interrupt: &CancellationToken) -> Outcome {
        let mut not_started = Vec::new();
        // One that was given up on because of the interruption has failed.
        let mut cut = self.lost.is_none() && !self.failed.is_empty();
        let mut reported = vec![false; self.plan.steps.len()];
        for (operation, Operation { step, work }) in self.operations.iter().enumerate() {
            let because = match self.schedule.state(operation) {
                State::Blocked(by) => {
                    let blamed = self.operations[by].step;
                    if blamed == *step {
                        continue;
                    }
                    let blamed = &self.plan.steps[blamed].id;
                    match rolling::others(self.plan, &self.plan.steps[*step].id).contains(blamed) {
                        true => format!("{blamed} comes first, and failed"),
                        false => format!("it needs {blamed}, which failed"),
                    }
                }
                State::Waiting | State::Ready if self.lost.is_some() => match &self.lost {
                    Some(EngineError::Unreachable { .. }) => "the cloud does not answer".to_owned(),
                    _ => "the lease was lost".to_owned(),
                },
                State::Waiting | State::Ready => {
                    cut = true;
                    "the run was interrupted".to_owned()
                }
                State::Running | State::Done | State::Failed => continue,
            };
            if *work == Work::Pass || std::mem::replace(&mut reported[*step], true) {
                continue;
            }
            let Step { id, action, .. } = &self.plan.steps[*step];
            // The first half of a replacement is done.
            let half = *action == Action::Replace && !self.observed.contains_key(id);
            let because = match work {
                Work::Settle => format!("changed, but not waited for: {because}"),
                _ if half => format!("deleted, but not made again: {because}"),
                _ => because,
            };
            self.events.send(Event::ResourceSkipped {
                id: id.clone(),
                action: *action,
                because: because.clone(),
            });
            not_started.push((id.clone(), because));
        }
        let mut unreachable = None;
        if let Some(lost) = self.lost.take() {
            let place =
                self.arbiter.clone().unwrap_or_else(|| ResourceId::new("lease", &self.plan.deployment));
            self.failed.push((place, lost.to_string(), lost.hint()));
            if let EngineError::Unreachable { error } = lost {
                unreachable = Some(error);
            }
        }
        Outcome {
            done: self.done,
            failed: self.failed,
            not_started,
            interrupted: cut && interrupt.is_cancelled(),
            observed: self.observed.into_iter().map(|(id, observed)| (id, observed.body)).collect(),
            unreachable,
        }
    }
}
