//! Carrying out a change of certificates: a plan of them and of the machine that
//! is to take them, and nothing else unless that is agreed to.

use dorainfra_deploy::blueprint::Names;
use dorainfra_deploy::resource::{self, Held};
use dorainfra_engine::{Action, Plan, Step};
use dorainfra_model::{Event, Events, Phase};
use serde_json::json;

use super::super::context::Context;
use super::super::pipeline::{Run, phase};
use super::super::selection::Selection;
use super::super::{CommandError, CommandResult, screen, stack, summary};

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

/// What the user has agreed to, or has to.
#[derive(Debug)]
pub struct Consent {
    pub yes: bool,
    /// What is to be asked first.
    pub question: Option<String>,
}

impl Change {
    /// Plans it, has it agreed to where more than certificates is concerned, does
    /// it, waits until the machine has taken it, and gives the stack that runs
    /// here its new files.
    pub async fn carry_out(self, context: &Context, run: &Run<'_>, consent: &Consent) -> CommandResult<()> {
        let plan = screen::with(&context.printer, async |events| self.plan(run, events).await).await?;
        let mut questions: Vec<String> = consent.question.clone().into_iter().collect();
        let others = others(&plan);
        if !others.is_empty() {
            let others: Vec<String> = others.iter().map(|step| step.id.to_string()).collect();
            questions.push(format!(
                "The deployment is not as configured: this changes {} as well. Go on?",
                others.join(", ")
            ));
        }
        for question in questions {
            if !consent.yes && !context.printer.confirm(&question)? {
                return Err(CommandError::failed("not done: nothing was changed"));
            }
        }
        screen::with(&context.printer, async |events| self.apply(context, run, &plan, events).await).await
    }

    async fn plan(&self, run: &Run<'_>, events: &Events) -> CommandResult<Plan> {
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
            return Err(CommandError::failed("this deployment has no machine yet")
                .hint("`dorainfra apply` makes everything that is missing"));
        }
        events.send(Event::Planned { plan: plan.clone(), feed: Vec::new() });
        Ok(plan)
    }

    async fn apply(
        &self,
        context: &Context,
        run: &Run<'_>,
        plan: &Plan,
        events: &Events,
    ) -> CommandResult<()> {
        // From here on it is no client, even if this run is cut off.
        resource::mark_revoked(&run.client, &self.revoked).await?;
        if plan.has_changes() {
            if plan.steps.iter().any(|step| step.id.kind == "storage.object" && changes(step))
                && !run.facts.engine.path.exists()
            {
                phase(events, Phase::Artifact, run.fetch_engine(events)).await?;
            }
            phase(events, Phase::Resources, async { summary::complete(&run.resources(plan, events).await?) })
                .await?;
        }
        run.go_on()?;
        phase(events, Phase::Machine, run.machines_ready(events)).await?;
        let own = Names::of(&run.project.config).client;
        let concerned = |step: &Step| step.id.kind == VERSION && step.id.name == own && changes(step);
        if plan.steps.iter().any(concerned) && !stack::parts(context, &run.project.config).await?.is_empty() {
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
fn others(plan: &Plan) -> Vec<&Step> {
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
