//! A run: configuration, facts, blueprint and client of one command, and the
//! phases that commands are made of. Each phase is a few calls; what they do is
//! the library's.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clap::Args;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::context::{Context, Project};
use super::{CommandError, CommandResult, Exit, holder, interrupt};
use crate::blueprint::{Blueprint, Facts, Names, PORT};
use crate::dora::Series;
use crate::dora::metrics::{self, Scope};
use crate::dora::remote_write::{self, Checkpoint};
use crate::dora::simulator::{self, Team};
use crate::engine::{
    self, Action, ApplyOptions, Leasing, Manifest, Outcome, Plan, PlanOptions, Provider as _, ResourceId,
};
use crate::event::{Event, Events, Phase};
use crate::machine::{self, Machine};
use crate::resource::{self, Google};
use crate::stack::Target;
use crate::tls::Credentials;
use crate::{artifact, gcp, verify};

/// From the instance's creation to a ready Mimir: a boot, a download, a WAL replay.
const MACHINE_WAIT: Duration = Duration::from_secs(15 * 60);

/// Which resources, and what may be done to them.
#[derive(Clone, Debug, Default, PartialEq, Args, Serialize, Deserialize)]
pub struct Selection {
    /// Only this resource and what it needs (repeatable), as `kind/name`
    #[arg(long, value_name = "RESOURCE")]
    pub target: Vec<ResourceId>,
    /// Replace this resource although nothing forces it (repeatable)
    #[arg(long, value_name = "RESOURCE")]
    pub replace: Vec<ResourceId>,
    /// Take over resources of the same names that do not carry our mark
    #[arg(long)]
    pub adopt: bool,
    /// Allow to delete or replace what holds data: bucket and data disk
    #[arg(long)]
    pub delete_data: bool,
    /// Make the data disk from this snapshot. One that exists is replaced only with --delete-data
    #[arg(long, value_name = "SNAPSHOT")]
    #[serde(default)]
    pub restore_disk: Option<String>,
}

impl Selection {
    pub fn options(&self) -> PlanOptions {
        PlanOptions {
            adopt: self.adopt,
            targets: self.target.clone(),
            replace: self.replace.clone(),
            delete_data: self.delete_data,
            ..PlanOptions::default()
        }
    }
}

/// A configuration that is complete, with everything that works on it.
pub struct Run<'a> {
    pub context: &'a Context,
    pub project: Project,
    pub facts: Facts,
    pub blueprint: Arc<Blueprint>,
    pub client: gcp::Client,
    pub provider: Arc<Google>,
    pub interrupt: CancellationToken,
}

impl<'a> Run<'a> {
    /// From the configuration: finds the facts, builds the blueprint.
    pub async fn begin(context: &'a Context, events: &Events) -> CommandResult<Run<'a>> {
        Self::begin_for(context, &Selection::default(), events).await
    }

    /// The same, for a selection that may restore the data disk.
    pub async fn begin_for(
        context: &'a Context,
        selection: &Selection,
        events: &Events,
    ) -> CommandResult<Run<'a>> {
        let project = context.project().await?;
        project.config.require_project()?;
        let mut facts = context.facts(&project, events).await?;
        facts.restore_disk.clone_from(&selection.restore_disk);
        Self::with(context, project, facts)
    }

    /// For a run that deletes the data anyway.
    pub fn discarding_data(mut self) -> Self {
        let contents = self.blueprint.contents.clone();
        let provider = Google::new(self.client.clone(), &self.blueprint.deployment, contents);
        self.provider = Arc::new(provider.without_flush());
        self
    }

    /// With facts that a saved plan holds.
    pub fn with(context: &'a Context, project: Project, facts: Facts) -> CommandResult<Run<'a>> {
        let blueprint = context.blueprint(&project, &facts)?;
        let client = context.client(&project)?;
        let contents = blueprint.contents.clone();
        let provider = Arc::new(Google::new(client.clone(), &blueprint.deployment, contents));
        let interrupt = interrupt::watch(&context.printer, &context.stop_now);
        Ok(Self { context, project, facts, blueprint, client, provider, interrupt })
    }

    pub async fn plan(&self, selection: &Selection, events: &Events) -> CommandResult<Plan> {
        let (name, manifests) = (&self.blueprint.deployment, self.blueprint.manifests.clone());
        let mut plan = engine::plan(name, manifests, &*self.provider, &selection.options(), events).await?;
        let bucket = Names::of(&self.project.config).bucket;
        resource::show_files(&mut plan, &self.blueprint, &bucket, &self.client, events).await;
        self.restores(&plan)?;
        Ok(plan)
    }

    /// An error where a disk that is there stands in the way of the one that is to be restored.
    fn restores(&self, plan: &Plan) -> CommandResult<()> {
        let Some(snapshot) = &self.facts.restore_disk else { return Ok(()) };
        let kept = |step: &&engine::Step| step.id.kind == "compute.disk" && step.action == Action::Keep;
        let Some(disk) = plan.steps.iter().find(kept) else { return Ok(()) };
        Err(CommandError::usage(format!("{} exists: it is not made from `{snapshot}`", disk.id)).hint(
            "--delete-data replaces it, and the machine with it: what is on it and not in the bucket is lost",
        ))
    }

    pub async fn plan_destroy(&self, selection: &Selection, events: &Events) -> CommandResult<Plan> {
        let (name, manifests) = (&self.blueprint.deployment, self.blueprint.manifests.clone());
        Ok(engine::plan_destroy(name, manifests, &*self.provider, &selection.options(), events).await?)
    }

    /// Creates, changes and deletes, under the lease.
    pub async fn resources(&self, plan: &Plan, events: &Events) -> CommandResult<Outcome> {
        let store = gcp::BucketLease::new(self.client.clone(), Names::of(&self.project.config).bucket);
        let (holder, id) = (self.context.holder(), holder::identity());
        holder::release_of_the_dead(&store).await?;
        let leasing = Leasing { store: &store, holder: &holder, id: &id, clock: &engine::SystemClock };
        let options = ApplyOptions::default();
        let provider = self.provider.clone();
        Ok(engine::apply(plan, provider, &options, Some(leasing), &self.interrupt, events).await?)
    }

    /// An error once the user has asked to stop.
    pub fn go_on(&self) -> CommandResult<()> {
        if !self.interrupt.is_cancelled() {
            return Ok(());
        }
        Err(CommandError::failed("interrupted before everything was done")
            .hint("run the same command again: it goes on from here")
            .exit(Exit::Interrupted))
    }

    /// Has the engine's binary on this machine, to be uploaded from here.
    pub async fn fetch_engine(&self, events: &Events) -> CommandResult<()> {
        let web = self.context.web()?;
        Ok(artifact::fetch(&self.facts.engine, self.context.releases(), &web, events).await?)
    }

    pub fn machine(&self) -> Machine {
        let config = &self.project.config;
        Machine {
            instance: Names::of(config).instance,
            zone: config.zones.first().cloned().unwrap_or_default(),
            bundle: self.blueprint.bundle.clone(),
            disk_gb: config.mimir.disk_gb,
        }
    }

    pub async fn machine_ready(&self, events: &Events) -> CommandResult<()> {
        machine::wait_ready(&self.client, &self.machine(), events, MACHINE_WAIT, &self.interrupt).await?;
        Ok(())
    }

    /// How the deployment's Mimir is reached from here: its address and this
    /// operator's client certificate, both read from the cloud.
    pub async fn target(&self) -> CommandResult<Target> {
        let (connect, credentials) = tokio::try_join!(self.endpoint(), self.client_credentials())?;
        let config = &self.project.config;
        let url = format!("https://{}:{}", Names::of(config).server_name, connect.port());
        Ok(Target::new(self.facts.engine.flavour, url, connect)
            .with_tenant(&config.mimir.tenant)
            .with_tls(credentials))
    }

    /// Where Mimir's port is reached from here: at the machine, or at the near end
    /// of a tunnel.
    async fn endpoint(&self) -> CommandResult<SocketAddr> {
        let Some(endpoint) = &self.project.config.access.endpoint else {
            return Ok(SocketAddr::new(self.address().await?, PORT));
        };
        let fails = |reason: String| {
            CommandError::failed(format!("`access.endpoint` is {endpoint}, which cannot be found: {reason}"))
        };
        let found = tokio::net::lookup_host(endpoint.as_str()).await.map_err(|e| fails(e.to_string()))?;
        // The machine has an IPv4 address only, and so have the tunnels to it.
        let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) = found.partition(SocketAddr::is_ipv4);
        v4.into_iter().chain(v6).next().ok_or_else(|| fails("it has no address".into()))
    }

    /// An error that says how to go on where Mimir's port cannot be reached from here.
    pub async fn reachable(&self, target: &Target) -> CommandResult<()> {
        const WAIT: Duration = Duration::from_secs(10);
        let private = !self.project.config.access.external;
        let connect = tokio::time::timeout(WAIT, tokio::net::TcpStream::connect(target.connect));
        let reason = match connect.await {
            Ok(Ok(_)) => return Ok(()),
            // The phases that follow say more of a public endpoint than this could.
            _ if !private => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", WAIT.as_secs()),
        };
        Err(CommandError::failed(format!(
            "Mimir runs, but {} cannot be reached from here: {reason}",
            target.connect
        ))
        .hint(format!(
            "the machine has no external address: run this inside its network, or keep a tunnel open in \
             another terminal:\n{}\nand then: dorainfra --set access.endpoint=localhost:{PORT} apply",
            self.tunnel()
        )))
    }

    /// The command that opens a tunnel to Mimir's port through Google's
    /// Identity-Aware Proxy.
    pub fn tunnel(&self) -> String {
        let Machine { instance, zone, .. } = self.machine();
        let project = &self.project.config.project;
        format!(
            "gcloud compute start-iap-tunnel {instance} {PORT} --local-host-port=localhost:{PORT} \
             --zone={zone} --project={project}"
        )
    }

    async fn client_credentials(&self) -> CommandResult<Credentials> {
        let secret = Names::of(&self.project.config).client;
        resource::read_credentials(&self.client, &secret).await.map_err(|error| match error.is_not_found() {
            true => not_there("client certificate"),
            false => error.into(),
        })
    }

    /// The address that Mimir is reached at.
    pub async fn address(&self) -> CommandResult<IpAddr> {
        let name = Names::of(&self.project.config).address;
        let ours = |manifest: &&Manifest| manifest.kind == "compute.address" && manifest.name == name;
        let manifest = self.blueprint.manifests.iter().find(ours).ok_or_else(|| not_there("address"))?;
        let observed = self.provider.read(manifest).await?.ok_or_else(|| not_there("address"))?;
        let address = observed.body["address"].as_str().and_then(|text| text.parse().ok());
        address.ok_or_else(|| not_there("address"))
    }

    /// The history that this configuration stands for: every day before today, by its date.
    pub fn history_series(&self) -> Vec<Series> {
        let generator = &self.project.config.generator;
        let today = OffsetDateTime::now_utc().date();
        let yesterday = today.previous_day().unwrap_or(today);
        let teams = simulator::teams(generator.teams);
        metrics::simulated(teams, generator.seed, yesterday, generator.days).collect()
    }

    /// Says how many series there will be, before any of them is sent.
    fn cardinality(&self, events: &Events) {
        let config = &self.project.config;
        let teams = simulator::teams(config.generator.teams);
        let scopes = teams.iter().map(|name| Scope::of(&Team::new(name, config.generator.seed)));
        let (series, most) = (metrics::cardinality(scopes), config.mimir.limits.max_series);
        events.note(format!("history: {series} series of {} teams", teams.len()));
        if series > most.into() {
            events.warn(
                format!("{series} series are more than `mimir.limits.max_series` allows ({most})"),
                Some("raise the limit (and the machine's memory), or lower `generator.teams`".into()),
            );
        }
    }

    /// Sends the history. Samples that are there already are the same ones, and
    /// are taken again without harm.
    pub async fn history(&self, target: &Target, events: &Events) -> CommandResult<()> {
        self.cardinality(events);
        let series = self.history_series();
        if verify::history_stored(target, &series).await {
            events.note(format!("history: all {} samples are stored already", count(&series)));
            return Ok(());
        }
        let checkpoint = self.history_checkpoint(target, &series);
        let client = remote_write::Client::new(target)?.with_checkpoint(checkpoint);
        let accepted = client.send(&series, remote_write::Limits::default(), count(&series), events).await?;
        if accepted.before > 0 {
            events.note(format!("history: went on after {} samples of a run before", accepted.before));
        }
        events.note(format!(
            "history: {} samples accepted in {} requests, {:.2} s",
            accepted.samples,
            accepted.requests,
            accepted.elapsed.as_secs_f64()
        ));
        Ok(())
    }

    /// How far this very history has come at this very endpoint: one that was made
    /// again has another authority, and holds nothing.
    fn history_checkpoint(&self, target: &Target, series: &[Series]) -> Checkpoint {
        let config = &self.project.config;
        let newest = series.iter().filter_map(|one| one.samples.last()).map(|(time, _)| *time).max();
        let key = format!(
            "{} at {}, authority {}, tenant {}: {} samples of {} series up to {}, seed {}",
            target.write_url(),
            target.connect,
            target.tls.as_ref().map_or("none".into(), |tls| hex::encode(Sha256::digest(&tls.ca))),
            config.mimir.tenant,
            count(series),
            series.len(),
            newest.unwrap_or_default(),
            config.generator.seed
        );
        Checkpoint::new(self.context.state().join(&config.name).join("history.json"), key)
    }

    pub async fn verify(&self, target: &Target, events: &Events) -> verify::Report {
        let config = &self.project.config;
        let names = Names::of(config);
        let history = self.history_series();
        let teams = simulator::teams(config.generator.teams);
        let objects = BucketObjects { client: &self.client, bucket: &names.bucket };
        let pushgateway = format!("http://127.0.0.1:{}", config.stack.ports.pushgateway);
        let request = verify::Request {
            target,
            pushgateway: Some(&pushgateway),
            history: &history,
            teams: &teams,
            bucket: Some(verify::Bucket {
                objects: &objects,
                prefix: format!("blocks/{}/", config.mimir.tenant),
            }),
            bounds: verify::Bounds::default(),
        };
        verify::run(&request, events).await
    }
}

/// Counts what lies in the engine's bucket.
struct BucketObjects<'a> {
    client: &'a gcp::Client,
    bucket: &'a str,
}

#[async_trait]
impl verify::Objects for BucketObjects<'_> {
    async fn count(&self, prefix: &str) -> Result<u64, String> {
        let objects =
            self.client.list_objects(self.bucket, prefix).await.map_err(|error| error.to_string())?;
        Ok(objects.len() as u64)
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

fn not_there(what: &str) -> CommandError {
    CommandError::failed(format!("this deployment has no {what} yet"))
        .hint("`dorainfra apply` makes everything that is missing")
}

fn count(series: &[Series]) -> u64 {
    series.iter().map(|series| series.samples.len() as u64).sum()
}
