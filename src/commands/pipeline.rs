//! A run: configuration, facts, blueprint and client of one command, and the
//! phases that commands are made of. Each phase is a few calls; what they do is
//! the library's.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dorainfra_base::zone::Zone;
use dorainfra_config::Live;
use dorainfra_deploy::blueprint::{self, Blueprint, Facts, Names, Replica};
use dorainfra_deploy::machine::{self, Machine};
use dorainfra_deploy::resource::{self, Google, Held, Mimir};
use dorainfra_deploy::{artifact, verify};
use dorainfra_dora::metrics::Histograms;
use dorainfra_dora::{self as dora, simulator};
use dorainfra_engine::{
    self as engine, ApplyOptions, Fence, Leasing, Manifest, Noted, Observed, Outcome, Plan, Provider as _,
};
use dorainfra_gcp as gcp;
use dorainfra_model::{Event, Events, Phase};
use dorainfra_prometheus::Target;
use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;

use super::bucket::{BucketObjects, blocks_prefix};
use super::context::{Context, Project, Purpose};
use super::history::SEEN_BY_ALL_WITHIN;
use super::selection::{self, Selection};
use super::sources::{self, Ask, Collecting, Files};
use super::told::{History, Told, yesterday};
use super::{CommandError, CommandResult, Exit, credentials, holder};

/// From the instance's creation to a ready Mimir: a boot, a download, a WAL replay.
const MACHINE_WAIT: Duration = Duration::from_secs(15 * 60);

/// How long the load balancer may take to see that a machine is ready: two answers, and the way
/// of that news.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A configuration that is complete, with everything that works on it.
pub struct Run<'a> {
    pub context: &'a Context,
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
    /// What each write of this run asks.
    fence: Arc<Fence>,
    /// The lease as it was before anything was read.
    noted: Noted,
    /// Who this run is, to the lease.
    id: String,
    /// Found out when it is first asked for: by then the sources are read.
    history: OnceLock<History>,
    /// Set once some of it was sent by this run.
    pub(super) wrote_history: OnceLock<()>,
}

impl<'a> Run<'a> {
    /// From the configuration: finds the facts, builds the blueprint.
    pub async fn begin(context: &'a Context, purpose: Purpose, events: &Events) -> CommandResult<Run<'a>> {
        Self::begin_for(context, purpose, &Selection::default(), events).await
    }

    /// The same, for a selection that may restore the data disk.
    pub async fn begin_for(
        context: &'a Context,
        purpose: Purpose,
        selection: &Selection,
        events: &Events,
    ) -> CommandResult<Run<'a>> {
        let project = context.project().await?;
        project.config.require_project()?;
        let restore_disks = selection::restore_disks(&project.config, &selection.restore_disk)?;
        let client = context.client(&project)?;
        let noted = match purpose {
            Purpose::Look => Noted::default(),
            _ => holder::noted(&Self::lease(&project, &client)).await,
        };
        let (mut facts, held) = tokio::try_join!(context.facts(&project, &client, purpose, events), async {
            Ok(resource::held(&client, &project.config.name).await?)
        })?;
        facts.clients = credentials::clients(&held);
        facts.restore_disks = restore_disks;
        Self::build(context, project, facts, client, held, noted)
    }

    /// With facts that a saved plan holds.
    pub async fn with(context: &'a Context, project: Project, facts: Facts) -> CommandResult<Run<'a>> {
        let client = context.client(&project)?;
        let noted = holder::noted(&Self::lease(&project, &client)).await;
        let held = resource::held(&client, &project.config.name).await?;
        Self::build(context, project, facts, client, held, noted)
    }

    fn lease(project: &Project, client: &gcp::Client) -> gcp::BucketLease {
        gcp::BucketLease::new(client.clone(), Names::of(&project.config).bucket)
    }

    fn build(
        context: &'a Context,
        project: Project,
        facts: Facts,
        client: gcp::Client,
        held: Vec<Held>,
        noted: Noted,
    ) -> CommandResult<Run<'a>> {
        let blueprint = context.blueprint(&project, &facts)?;
        let contents = blueprint.contents.clone();
        let machines = machine::Reader::new(client.clone());
        let provider = Arc::new(Google::new(client.clone(), machines, &blueprint.deployment, contents));
        let fence = Arc::<Fence>::default();
        client.fenced(Arc::clone(&fence));
        let interrupt = context.signals.asked();
        let run = Self {
            context,
            project,
            facts,
            blueprint,
            client,
            held,
            provider,
            mimir: None,
            interrupt,
            fence,
            noted,
            id: holder::identity(),
            history: OnceLock::new(),
            wrote_history: OnceLock::new(),
        };
        Ok(run.connected())
    }

    /// The same run with other clients than the cloud knows.
    pub fn for_clients(mut self, clients: Vec<blueprint::Client>) -> CommandResult<Run<'a>> {
        self.facts.clients = clients;
        self.blueprint = self.context.blueprint(&self.project, &self.facts)?;
        Ok(self.connected())
    }

    /// Creates, changes and deletes, under the lease. From here on an interrupted command
    /// finishes what is in flight.
    pub async fn resources(&self, plan: &Plan, events: &Events) -> CommandResult<Outcome> {
        self.change(plan, &ApplyOptions::default(), events).await
    }

    /// The same, before something else that is [`leased`](Self::leased).
    pub async fn resources_first(&self, plan: &Plan, events: &Events) -> CommandResult<Outcome> {
        self.change(plan, &ApplyOptions { leaves_lease: true, ..ApplyOptions::default() }, events).await
    }

    async fn change(&self, plan: &Plan, options: &ApplyOptions, events: &Events) -> CommandResult<Outcome> {
        self.context.signals.finishing();
        let (store, holder) = (Self::lease(&self.project, &self.client), self.context.holder());
        holder::release_of_the_dead(&store, &self.noted).await?;
        let leasing = self.leasing(&store, &holder);
        let provider = self.provider.clone();
        Ok(engine::apply(plan, provider, options, Some(leasing), &self.interrupt, events).await?)
    }

    /// The rest of a run, under the lease like its resources: in between nobody else has had it.
    pub async fn leased<T>(
        &self,
        events: &Events,
        work: impl Future<Output = CommandResult<T>>,
    ) -> CommandResult<T> {
        let (store, holder) = (Self::lease(&self.project, &self.client), self.context.holder());
        holder::release_of_the_dead(&store, &self.noted).await?;
        engine::under_lease(self.leasing(&store, &holder), events, work).await
    }

    fn leasing<'b>(&'b self, store: &'b gcp::BucketLease, holder: &'b str) -> Leasing<'b> {
        let (clock, fence, noted) = (&engine::SystemClock, &*self.fence, &self.noted);
        Leasing { store, holder, id: &self.id, clock, fence, noted }
    }

    /// What may be cut off anywhere: it is, once the user has asked to stop.
    pub async fn until_interrupted<T>(
        &self,
        work: impl Future<Output = CommandResult<T>>,
    ) -> CommandResult<T> {
        tokio::select! {
            result = work => result,
            () = self.interrupt.cancelled() => Err(Self::interrupted()),
        }
    }

    /// An error once the user has asked to stop.
    pub fn go_on(&self) -> CommandResult<()> {
        if !self.interrupt.is_cancelled() {
            return Ok(());
        }
        Err(Self::interrupted())
    }

    fn interrupted() -> CommandError {
        CommandError::failed("interrupted before everything was done")
            .hint("run the same command again: it goes on from here")
            .exit(Exit::Interrupted)
    }

    /// Has the engine's binary on this machine, to be uploaded from here.
    pub async fn fetch_engine(&self, events: &Events) -> CommandResult<()> {
        let web = self.context.web(None)?;
        Ok(artifact::fetch(&self.facts.engine, self.context.releases(), &web, events).await?)
    }

    /// Each machine, and what is to run on it.
    pub async fn machines(&self) -> CommandResult<Vec<Machine>> {
        let names = Names::of(&self.project.config);
        let field =
            |observed: &Observed, name: &str| observed.body[name].as_str().unwrap_or_default().to_owned();
        let certificate = match self.manifest("secretmanager.secretVersion", &names.server) {
            Some(manifest) => self.provider.read(manifest).await?,
            None => None,
        };
        let certificate = certificate
            .map(|seen| format!("{}:{}", field(&seen, "version"), field(&seen, "fingerprint")))
            .unwrap_or_else(|| "none".into());
        let machine = |replica: Replica| Machine {
            instance: replica.instance,
            zone: replica.zone,
            bundle: self.blueprint.bundle.clone(),
            certificate: certificate.clone(),
            disk_gb: self.project.config.mimir.disk_gb,
        };
        Ok(names.replicas.into_iter().map(machine).collect())
    }

    pub(super) fn manifest(&self, kind: &str, name: &str) -> Option<&Manifest> {
        self.blueprint.manifests.iter().find(|manifest| manifest.kind == kind && manifest.name == name)
    }

    pub async fn machines_ready(&self, events: &Events) -> CommandResult<()> {
        let machines = self.machines().await?;
        let ready = machines.iter().map(|machine| {
            machine::wait_ready(self.provider.machines(), machine, events, MACHINE_WAIT, &self.interrupt)
        });
        try_join_all(ready).await?;
        if machines.len() > 1 {
            for machine in &machines {
                self.balanced(machine, events).await?;
            }
        }
        Ok(())
    }

    /// Waits until the load balancer has seen that the machine is ready. One that never does is
    /// told, and stops nobody: where it finds none well it tries them all.
    async fn balanced(&self, machine: &Machine, events: &Events) -> CommandResult<()> {
        let begun = Instant::now();
        while let Some(why) = self.provider.unbalanced(machine).await? {
            if begun.elapsed() > SEEN_WITHIN {
                let hint = "its health checks ask port 9010, from 35.191.0.0/16 and 130.211.0.0/22: something \
                            may keep them out, such as a firewall policy of the organisation";
                events.warn(why, Some(hint.into()));
                return Ok(());
            }
            self.until_interrupted(async {
                tokio::time::sleep(LOOK_AGAIN).await;
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Reads the configuration's sources, if there are any. A forge that is away
    /// is no reason to stop: what was collected before is fed.
    pub async fn collect(&self, events: &Events) -> CommandResult<()> {
        let config = &self.project.config;
        if config.sources.is_empty() {
            return Ok(());
        }
        let files = Files::of(self.context.collected(&config.name))?;
        let sources = sources::with_teams(self.context, config.sources.clone(), &files, Ask::Now).await;
        let sources = match sources {
            Ok(sources) => sources,
            // Whose a forge's project is was never told: it is away.
            Err(error)
                if config.sources.iter().any(|one| one.team_from.is_some() && one.project.is_some()) =>
            {
                events.warn(error.message, error.hint);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut collecting = Collecting::begin(&files, &sources)?;
        for source in &sources {
            if let Err(error) = collecting.collect(self.context, source, sources::usual_since(), events).await
            {
                events.warn(error.message, error.hint);
            }
        }
        let collected = collecting.end(&files.events);
        events.note(format!(
            "{} events of {} sources, {} of them new",
            collected.events,
            config.sources.len(),
            collected.added
        ));
        Ok(())
    }

    /// What the deployment's teams did: simulated, or collected.
    pub fn told(&self) -> CommandResult<Told> {
        let config = &self.project.config;
        if config.sources.is_empty() {
            let teams = simulator::teams(config.generator.teams);
            return Ok(Told::Simulated { teams, seed: config.generator.seed });
        }
        let events = sources::known(&self.context.collected(&config.name), &self.context.printer)?;
        if !events.iter().any(|event| matches!(event, dora::events::Event::Deployment(_))) {
            return Err(CommandError::failed("the sources tell of no deployment")
                .hint("`dorainfra collect` shows what each source tells; docs/sources.md says what counts"));
        }
        Ok(Told::Collected { events, settle: time::Duration::hours(config.settle_hours.into()) })
    }

    /// Those that this deployment's series are made with.
    pub fn histograms(&self) -> Histograms {
        let config = &self.project.config;
        let native = self.facts.native_histograms(config);
        Histograms { native, by_service: config.generator.service_histograms }
    }

    /// The history that this configuration stands for, once for all phases: what
    /// is proven is what was sent, also when the day ends between the two.
    pub fn past(&self) -> CommandResult<&History> {
        if let Some(history) = self.history.get() {
            return Ok(history);
        }
        let days = self.project.config.generator.days;
        let history = History::of(
            self.told()?,
            yesterday(),
            days,
            self.histograms(),
            Zone::configured(&self.project.config.timezone),
        );
        Ok(self.history.get_or_init(|| history))
    }

    /// Whether the history is put into the bucket, and does not come there by Mimir.
    pub fn history_as_blocks(&self) -> bool {
        !self.project.config.history_by_ingester()
    }

    pub async fn verify(&self, target: &Target, events: &Events) -> CommandResult<verify::Report> {
        let config = &self.project.config;
        let history = self.past()?;
        let teams = history.told.teams();
        let objects = BucketObjects::of(self);
        let pushgateway = format!("http://127.0.0.1:{}", config.stack.ports.pushgateway);
        let request = verify::Request {
            target,
            live: Some(match config.stack.live {
                Live::Pushgateway => verify::Live::Pushgateway(&pushgateway),
                Live::Scrape | Live::RemoteWrite => verify::Live::Generator,
            }),
            history,
            teams: &teams,
            bucket: Some(verify::Bucket { objects: &objects, prefix: blocks_prefix(self) }),
            as_blocks: self.history_as_blocks(),
            bounds: verify::Bounds {
                history: self.wrote_history.get().map_or(Duration::ZERO, |()| SEEN_BY_ALL_WITHIN),
                ..verify::Bounds::of(config.generator.interval_seconds, config.stack.scrape_seconds)
            },
        };
        Ok(verify::run(&request, events).await)
    }

    /// The proof by the bucket alone: nothing else has to exist.
    pub async fn verify_bucket(&self, events: &Events) -> CommandResult<verify::Report> {
        let objects = BucketObjects::of(self);
        let bucket = verify::Bucket { objects: &objects, prefix: blocks_prefix(self) };
        Ok(verify::from_bucket(self.past()?, &bucket, events).await)
    }
}

/// Runs one phase between its two events.
pub async fn phase<T>(
    events: &Events,
    phase: Phase,
    work: impl Future<Output = CommandResult<T>>,
) -> CommandResult<T> {
    events.send(Event::PhaseStarted { phase });
    let began = Instant::now();
    let result = work.await;
    let elapsed_ms = began.elapsed().as_millis() as u64;
    events.send(Event::PhaseFinished { phase, elapsed_ms, ok: result.is_ok() });
    result
}
