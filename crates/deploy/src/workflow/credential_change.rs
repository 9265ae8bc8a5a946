//! A change of certificates: a plan of them and of the machine that is to take them.

use dorainfra_engine::{Action, Plan, Step};
use dorainfra_model::{Event, Events, Phase};
use serde_json::json;

use super::apply::complete;
use super::error::{Error, Result};
use super::phase::phase;
use super::run::Run;
use super::selection::Selection;
use super::stack;
use crate::blueprint::Names;
use crate::resource::{self, Held};

const VERSION: &str = "secretmanager.secretVersion";
const INSTANCE: &str = "compute.instance";
/// Where the machine is told which certificate to take.
const WANTED: &str = "metadata.items[dorainfra-certificate]";

/// What is to be done beside bringing the certificates to the blueprint.
#[derive(Debug, Default)]
pub struct Change {
    /// What is to happen to the certificate in a secret.
    pub words: Vec<(String, &'static str)>,
    /// The secrets of a client that is to be one no more.
    pub revoked: Vec<Held>,
}

impl Change {
    pub async fn plan(&self, run: &Run, events: &Events) -> Result<Plan> {
        let mut manifests = run.blueprint.manifests.clone();
        for manifest in manifests.iter_mut().filter(|manifest| manifest.kind == VERSION) {
            if let Some((_, word)) = self.words.iter().find(|(secret, _)| *secret == manifest.name) {
                manifest.body["certificate"] = json!(word);
            }
        }
        let concerned = manifests.iter().filter(|manifest| [VERSION, INSTANCE].contains(&&*manifest.kind));
        let target =
            concerned.map(|manifest| manifest.id()).chain(self.revoked.iter().map(Held::id)).collect();
        let selection = Selection { target, ..Selection::default() };
        let plan = phase(events, Phase::Plan, run.plan_of(manifests, &selection, events)).await?;
        let missing = |step: &&Step| step.id.kind == INSTANCE && step.action == Action::Create;
        if plan.steps.iter().any(|step| missing(&step)) {
            return Err(Error::NoMachine);
        }
        events.send(Event::Planned { plan: plan.clone(), feed: Vec::new(), cost: None });
        Ok(plan)
    }

    /// Does it, waits until the machine has taken it, and gives the stack that runs here its new files.
    pub async fn apply(&self, run: &Run, plan: &Plan, events: &Events) -> Result<()> {
        // From here on it is no client, even if this run is cut off.
        resource::mark_revoked(&run.client, &self.revoked).await?;
        if plan.has_changes() {
            if plan.steps.iter().any(|step| step.id.kind == "storage.object" && changes(step))
                && !run.facts.engine.path.exists()
            {
                phase(events, Phase::Artifact, run.fetch_engine(events)).await?;
            }
            phase(events, Phase::Resources, async { complete(&run.resources(plan, events).await?) }).await?;
        }
        run.go_on()?;
        phase(events, Phase::Machine, run.machines_ready(events)).await?;
        let own = Names::of(&run.project.config).client;
        let concerned = |step: &Step| step.id.kind == VERSION && step.id.name == own && changes(step);
        if plan.steps.iter().any(concerned)
            && !stack::parts(&run.workspace, &run.project.config).await?.is_empty()
        {
            run.go_on()?;
            let target = run.target().await?;
            phase(events, Phase::Stack, stack::up(run, &target, events)).await?;
        }
        Ok(())
    }
}

fn changes(step: &Step) -> bool {
    !matches!(step.action, Action::NoOp | Action::Keep)
}

/// The steps that change more than certificates.
pub fn others(plan: &Plan) -> Vec<&Step> {
    let told_of_the_certificate = |step: &Step| {
        step.id.kind == INSTANCE
            && step.action == Action::Update
            && step.changes.iter().all(|change| change.path.starts_with(WANTED))
    };
    plan.steps
        .iter()
        .filter(|step| changes(step))
        .filter(|step| !step.id.kind.starts_with("secretmanager.") && !told_of_the_certificate(step))
        .collect()
}
