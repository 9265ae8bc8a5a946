//! A run: configuration, facts, blueprint and client of one piece of work on a deployment, and the lease
//! under which it changes anything.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dorainfra_engine::{
    self as engine, ApplyOptions, Fence, Leasing, Manifest, Noted, Observed, Outcome, Plan, ResourceId,
};
use dorainfra_gcp as gcp;
use dorainfra_model::{Events, Stage};
use dorainfra_prometheus::Flavour;
use tokio_util::sync::CancellationToken;

use super::activity::History;
use super::error::{Error, Interrupted, Result};
use super::facts::{self, Purpose};
use super::operator::Operator;
use super::phase::stage;
use super::project::Project;
use super::selection::{self, Selection};
use super::workspace::{self, Workspace};
use super::{credentials, holder};
use crate::artifact;
use crate::blueprint::{self, Blueprint, Facts, Names};
use crate::machine::{self, MachineError};
use crate::resource::{self, Google, Held, Mimir, Wave};
use crate::verify::{Known, Sums};

/// A configuration that is complete, with everything that works on it.
pub struct Run {
    pub workspace: Arc<Workspace>,
    pub(super) operator: Arc<dyn Operator>,
    pub project: Project,
    pub facts: Facts,
    pub blueprint: Arc<Blueprint>,
    pub client: gcp::Client,
    /// The certificates that the cloud holds, as they were when the run began.
    pub held: Vec<Held>,
    pub provider: Arc<Google>,
    /// `None`: what runs there has nothing in it that is a resource.
    pub(super) mimir: Option<Arc<Mimir>>,
    pub interrupt: CancellationToken,
    /// What was read when the run began, for its first plan: it has written nothing by then.
    begun: Mutex<Option<Arc<Wave>>>,
    /// What each write of this run asks.
    fence: Arc<Fence>,
    /// The lease as it was before anything was read.
    noted: Noted,
    /// Who this run is, to the lease.
    id: String,
    /// Found out when it is first asked for: by then the sources are read.
    pub(super) history: OnceLock<Arc<History>>,
    /// Set once some of it was sent by this run.
    pub(super) wrote_history: OnceLock<()>,
    /// Set where some of it is stored with other values.
    pub(super) history_differs: OnceLock<()>,
    pub(super) history_sums: OnceLock<Sums>,
    /// What a plan read by which nothing is to be changed: it is not read again.
    pub(super) as_planned: OnceLock<BTreeMap<ResourceId, Observed>>,
    /// What this run has found of it before the proof.
    pub(super) history_known: OnceLock<Known>,
    /// What the machines told of themselves when they were ready.
    pub(super) machines_found: OnceLock<Vec<machine::Report>>,
}

impl Run {
    /// From the configuration: finds the facts, builds the blueprint. `selection` may restore data disks.
    pub async fn begin(
        workspace: Arc<Workspace>,
        operator: Arc<dyn Operator>,
        project: Project,
        purpose: Purpose,
        selection: &Selection,
        events: &Events,
    ) -> Result<Self> {
        project.config.require_project()?;
        let restore_disks = selection::restore_disks(&project.config, &selection.restore_disk)?;
        let client = project.client()?;
        // Without credentials, or in a project that they do not see, nothing is looked for elsewhere:
        // neither an address nor a release.
        stage(events, Stage::Credentials, client.sign_in()).await?;
        let noted = match purpose {
            Purpose::Look | Purpose::Plan => Noted::default(),
            _ => stage(events, Stage::Lease, holder::noted(&Self::lease(&project, &client))).await,
        };
        let wave = Arc::<Wave>::default();
        let found = Box::pin(async {
            let held = resource::held_in(&wave, &client, &project.config.name).await?;
            let facts = facts::find(&workspace, &project, &client, purpose, events).await?;
            Ok((facts, held))
        });
        let found = while_it_answers(&client, found);
        let (mut facts, held) = stage(events, Stage::Facts, found).await?;
        facts.clients = credentials::clients(&held);
        facts.restore_disks = restore_disks;
        let build = async { Self::build(workspace, operator, project, facts, client, (held, wave), noted) };
        stage(events, Stage::Rendering, build).await
    }

    /// With facts that a saved plan holds.
    pub async fn with_facts(
        workspace: Arc<Workspace>,
        operator: Arc<dyn Operator>,
        project: Project,
        facts: Facts,
        events: &Events,
    ) -> Result<Self> {
        let client = project.client()?;
        stage(events, Stage::Credentials, client.sign_in()).await?;
        let noted = stage(events, Stage::Lease, holder::noted(&Self::lease(&project, &client))).await;
        let wave = Arc::<Wave>::default();
        let held = resource::held_in(&wave, &client, &project.config.name);
        let held = stage(events, Stage::Facts, held).await?;
        let build = async { Self::build(workspace, operator, project, facts, client, (held, wave), noted) };
        stage(events, Stage::Rendering, build).await
    }

    fn lease(project: &Project, client: &gcp::Client) -> gcp::BucketLease {
        gcp::BucketLease::new(client.clone(), Names::of(&project.config).bucket)
    }

    fn build(
        workspace: Arc<Workspace>,
        operator: Arc<dyn Operator>,
        project: Project,
        facts: Facts,
        client: gcp::Client,
        (held, wave): (Vec<Held>, Arc<Wave>),
        noted: Noted,
    ) -> Result<Self> {
        let blueprint = project.blueprint(&facts)?;
        let contents = blueprint.contents.clone();
        let machines = machine::Reader::new(client.clone());
        let provider = Arc::new(Google::new(client.clone(), machines, &blueprint.deployment, contents));
        let fence = Arc::<Fence>::default();
        client.fenced(Arc::clone(&fence));
        let interrupt = operator.interrupt();
        let run = Self {
            workspace,
            operator,
            project,
            facts,
            blueprint,
            client,
            held,
            provider,
            mimir: None,
            interrupt,
            begun: Mutex::new(Some(wave)),
            fence,
            noted,
            id: holder::identity(),
            history: OnceLock::new(),
            wrote_history: OnceLock::new(),
            history_differs: OnceLock::new(),
            history_sums: OnceLock::new(),
            as_planned: OnceLock::new(),
            history_known: OnceLock::new(),
            machines_found: OnceLock::new(),
        };
        Ok(run.connected())
    }

    /// The same run with other clients than the cloud knows.
    pub fn for_clients(mut self, clients: Vec<blueprint::Client>) -> Result<Self> {
        self.facts.clients = clients;
        self.blueprint = self.project.blueprint(&self.facts)?;
        Ok(self.connected())
    }

    /// Machines go at once, and need not write first what is on their data disk only.
    pub fn without_flush(mut self) -> Self {
        self.provider = Arc::new(self.google().without_flush());
        self
    }

    /// The provider of what is Google's alone.
    pub(super) fn google(&self) -> Google {
        let contents = self.blueprint.contents.clone();
        let machines = self.provider.machines().clone();
        Google::new(self.client.clone(), machines, &self.blueprint.deployment, contents)
            .interrupted_by(self.interrupt.clone())
    }

    /// What a plan reads. The first of a run goes on with what was read when it began.
    pub(super) fn wave(&self) -> Arc<Wave> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    /// Has the providers follow the blueprint.
    fn connected(mut self) -> Self {
        self.mimir = (self.facts.engine.flavour == Flavour::Mimir).then(|| {
            let (deployment, contents) = (&self.blueprint.deployment, self.blueprint.contents.clone());
            let (client, interrupt) = (self.client.clone(), self.interrupt.clone());
            let machines = self.provider.machines().clone();
            Arc::new(Mimir::new(client, machines, self.reach(), deployment, contents, interrupt))
        });
        let google = self.google();
        self.provider = Arc::new(match &self.mimir {
            Some(mimir) => google.with_mimir(mimir.clone()),
            None => google,
        });
        self
    }

    /// Creates, changes and deletes, under the lease. From here on an interrupted command
    /// finishes what is in flight.
    pub async fn resources(&self, plan: &Plan, events: &Events) -> Result<Outcome> {
        self.change(plan, &ApplyOptions::default(), events).await
    }

    /// The same, before something else that is [`leased`](Self::leased).
    pub async fn resources_first(&self, plan: &Plan, events: &Events) -> Result<Outcome> {
        self.change(plan, &ApplyOptions { leaves_lease: true, ..ApplyOptions::default() }, events).await
    }

    async fn change(&self, plan: &Plan, options: &ApplyOptions, events: &Events) -> Result<Outcome> {
        self.operator.finishing();
        let (store, holder) = (Self::lease(&self.project, &self.client), self.workspace.holder());
        holder::release_of_the_dead(&store, &self.noted).await?;
        let leasing = self.leasing(&store, &holder);
        let provider = self.provider.clone();
        let apply = Box::pin(engine::apply(plan, provider, options, Some(leasing), &self.interrupt, events));
        let mut outcome = self.while_it_answers(Box::pin(async { Ok(apply.await?) })).await?;
        // Each resource has failed of that before the lease was over.
        if !outcome.is_complete() && outcome.unreachable.is_none() {
            outcome.unreachable = self.client.unreachable().map(Into::into);
        }
        Ok(outcome)
    }

    /// What is done in the cloud. Where that does not answer, this is why it failed, whatever became of that
    /// on the way.
    pub(super) async fn while_it_answers<T>(
        &self,
        work: impl Future<Output = Result<T>> + Unpin,
    ) -> Result<T> {
        while_it_answers(&self.client, work).await
    }

    /// The rest of a run, under the lease like its resources: in between nobody else has had it.
    pub async fn leased<T>(&self, events: &Events, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.operator.finishing();
        let (store, holder) = (Self::lease(&self.project, &self.client), self.workspace.holder());
        holder::release_of_the_dead(&store, &self.noted).await?;
        let leased = Box::pin(engine::under_lease(self.leasing(&store, &holder), events, work));
        self.while_it_answers(leased).await
    }

    fn leasing<'b>(&'b self, store: &'b gcp::BucketLease, holder: &'b str) -> Leasing<'b> {
        let (clock, fence, noted) = (&engine::SystemClock, &*self.fence, &self.noted);
        Leasing { store, holder, id: &self.id, clock, fence, noted }
    }

    /// What may be cut off anywhere: it is, once the user has asked to stop.
    pub async fn until_interrupted<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = work => result,
            () = self.interrupt.cancelled() => Err(Interrupted::Before.into()),
        }
    }

    /// An error once the user has asked to stop.
    pub fn go_on(&self) -> Result<()> {
        if !self.interrupt.is_cancelled() {
            return Ok(());
        }
        Err(Interrupted::Before.into())
    }

    /// Has the engine's binary on this machine, to be uploaded from here.
    pub async fn fetch_engine(&self, events: &Events) -> Result<()> {
        let web = workspace::http(None)?;
        Ok(artifact::fetch(&self.facts.engine, &self.workspace.releases, &web, events).await?)
    }

    pub(super) fn manifest(&self, kind: &str, name: &str) -> Option<&Manifest> {
        self.blueprint.manifests.iter().find(|manifest| manifest.kind == kind && manifest.name == name)
    }
}

/// `work` is boxed: what wraps a future has it within itself once more.
async fn while_it_answers<T>(
    client: &gcp::Client,
    work: impl Future<Output = Result<T>> + Unpin,
) -> Result<T> {
    work.await.map_err(|error| match error {
        // What the operator wanted, and what is wrong with what was given, is not the cloud's.
        Error::Interrupted(_)
        | Error::Machine(MachineError::Interrupted(_))
        | Error::Input(_)
        | Error::Plan(_) => error,
        other => client.unreachable().map_or(other, Error::Cloud),
    })
}
