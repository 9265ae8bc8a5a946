//! `apply`: resources → machine ready → stack → history → proof.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use dorainfra_deploy::verify::Report;
use dorainfra_engine::{Outcome, Plan, check_fresh};
use dorainfra_model::{Event, Events, FeedStep, Phase};

use super::context::{Context, Project, Purpose};
use super::pipeline::{Run, phase};
use super::saved::Saved;
use super::selection::Selection;
use super::{CommandError, CommandResult, Exit, caller, screen, stack, summary};
use crate::ui::Summary;

/// Bring the cloud to the configuration, feed it and prove that the data arrived
///
/// Shows its plan and asks first, unless `--yes`. Safe to run again at any
/// time: what is there already is left alone, what was cut off is finished.
#[derive(Debug, Args)]
pub struct Apply {
    /// A plan that `plan --out` wrote: do exactly this or refuse
    #[arg(value_name = "PLAN", conflicts_with_all = ["target", "replace", "adopt", "delete_data", "restore_disk"])]
    plan: Option<PathBuf>,
    #[command(flatten)]
    selection: Selection,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Stop when the machine is ready: no collector stack, no history, no proof
    #[arg(long)]
    no_stack: bool,
    /// Do not prove the ingest at the end
    #[arg(long)]
    no_verify: bool,
}

/// What a run has come to, whether or not it came to its end.
#[derive(Default)]
struct Progress {
    outcome: Option<Outcome>,
    report: Option<Report>,
}

impl Apply {
    pub async fn run(self, context: &Context) -> CommandResult {
        let began = Instant::now();
        let planning = async |events: &Events| self.plan(context, events).await;
        let (planned, mut tally) = screen::counted(&context.printer, planning).await;
        let (run, plan, feed) = planned?;
        run.refuse_stand_ins()?;
        if (plan.has_changes() || feed.iter().any(FeedStep::is_change))
            && self.plan.is_none()
            && !self.yes
            && !context.printer.confirm("Apply this?")?
        {
            return Err(CommandError::failed("not applied: nothing was changed"));
        }
        let mut progress = Progress::default();
        let applying = async |events: &Events| self.carry_out(&run, &plan, &mut progress, events).await;
        let (result, rest) = screen::counted(&context.printer, applying).await;
        tally.phases.extend(rest.phases);

        let mut summary = Summary {
            command: "apply".into(),
            ok: result.is_ok(),
            phases: tally.phases,
            total_ms: began.elapsed().as_millis() as u64,
            verified: progress.report.as_ref().map(summary::report),
            next: match &result {
                Ok(_) => vec!["dorainfra status".into(), "dorainfra destroy".into()],
                Err(_) => vec!["dorainfra apply".into()],
            },
            ..Summary::default()
        };
        summary::add_outcome(&mut summary, &plan, progress.outcome.as_ref());
        if result.is_ok()
            && let Ok(address) = run.address().await
        {
            summary.facts.push(("endpoint".into(), run.endpoint(address)));
            summary.facts.push(("engine".into(), run.facts.engine.label()));
        }
        summary::for_sandbox(&mut summary, context);
        context.printer.result(&summary);
        result?;
        match progress.report {
            Some(report) if !report.ok() => Err(CommandError::failed("the ingest is not proven")
                .exit(Exit::VerifyFailed)
                .hint("the failed checks above say what to do; `dorainfra verify` checks again")),
            _ => Ok(Exit::Done),
        }
    }

    async fn plan<'a>(
        &self,
        context: &'a Context,
        events: &Events,
    ) -> CommandResult<(Run<'a>, Plan, Vec<FeedStep>)> {
        let Some(path) = &self.plan else {
            let run = Run::begin_for(context, Purpose::Change, &self.selection, events).await?;
            let plan = phase(events, Phase::Plan, run.plan(&self.selection, events)).await?;
            let feed = self.feeding(&run, &plan).await?;
            events.send(Event::Planned { plan: plan.clone(), feed: feed.clone() });
            return Ok((run, plan, feed));
        };
        let saved = Saved::read(&context.environment.folder.join(path))?;
        let project = context.project().await?;
        saved.belongs_to(&project.config)?;
        let run =
            Run::with(context, Project { config: saved.config.clone(), ..project }, saved.facts.clone())
                .await?;
        let plan = phase(events, Phase::Plan, run.plan(&saved.selection, events)).await?;
        check_fresh(&saved.plan, &plan).map_err(dorainfra_engine::EngineError::Stale)?;
        let feed = self.feeding(&run, &plan).await?;
        saved.shows(&feed)?;
        events.send(Event::Planned { plan: plan.clone(), feed: feed.clone() });
        Ok((run, plan, feed))
    }

    async fn feeding(&self, run: &Run<'_>, plan: &Plan) -> CommandResult<Vec<FeedStep>> {
        match self.no_stack {
            true => Ok(Vec::new()),
            false => run.feeding(plan).await,
        }
    }

    async fn carry_out(
        &self,
        run: &Run<'_>,
        plan: &Plan,
        progress: &mut Progress,
        events: &Events,
    ) -> CommandResult<()> {
        if plan.has_changes() && !run.facts.engine.path.exists() {
            phase(events, Phase::Artifact, run.fetch_engine(events)).await?;
        }
        if let Some(address) = &run.facts.caller {
            caller::remember(run.context, &run.project.config, address);
        }
        // Without changes it still clears away the lease of a run that was killed.
        if plan.has_changes() {
            phase(events, Phase::Resources, async {
                let outcome = match plan.is_targeted() {
                    true => run.resources(plan, events).await?,
                    false => run.resources_first(plan, events).await?,
                };
                summary::complete(progress.outcome.insert(outcome))
            })
            .await?;
        } else {
            run.resources(plan, events).await?;
        }
        // A part of the deployment may have no machine at all.
        if plan.is_targeted() {
            return Ok(());
        }
        // Nobody deletes or changes what the rest of this run relies on.
        Box::pin(run.leased(events, self.feed(run, progress, events))).await
    }

    /// What comes after the resources.
    async fn feed(&self, run: &Run<'_>, progress: &mut Progress, events: &Events) -> CommandResult<()> {
        run.go_on()?;
        phase(events, Phase::Machine, run.machines_ready(events)).await?;
        if self.no_stack {
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
        phase(events, Phase::History, run.until_interrupted(run.history(&target, events))).await?;
        run.history_was_fed();
        if self.no_verify {
            return Ok(());
        }
        run.go_on()?;
        let verified =
            phase(events, Phase::Verify, run.until_interrupted(run.verify(&target, events))).await?;
        progress.report = Some(verified);
        Ok(())
    }
}
