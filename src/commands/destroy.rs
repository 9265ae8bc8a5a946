//! `destroy`: stack, then resources; bucket and data disk only if asked for by name.

use std::time::Instant;

use clap::Args;
use dorainfra_deploy::resource::{self, Remains};
use dorainfra_engine::{Plan, ResourceId};
use dorainfra_model::{Event, Events, Phase};

use super::context::{Context, Purpose};
use super::pipeline::{Run, phase};
use super::selection::Selection;
use super::{CommandError, CommandResult, Exit, feeding, screen, stack, summary};
use crate::ui::Summary;

/// Take the deployment down; its data is kept unless `--delete-data`
#[derive(Debug, Args)]
pub struct Destroy {
    /// Delete the bucket and the data disk as well: the metrics are gone then
    #[arg(long)]
    delete_data: bool,
    /// Do not wait until the machine has written to the bucket what it holds: that stays on
    /// the data disk, which the next `apply` takes up
    #[arg(long)]
    no_flush: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Destroy {
    pub async fn run(self, context: &Context) -> CommandResult {
        let began = Instant::now();
        let planning = async |events: &Events| self.plan(context, events).await;
        let (planned, mut tally) = screen::counted(&context.printer, planning).await;
        let (run, plan, snapshots) = planned?;
        let deletes = plan.has_changes() || (self.delete_data && !snapshots.is_empty());
        if deletes && !self.yes {
            let name = &run.blueprint.deployment;
            let agreed = match self.delete_data {
                true => context.printer.type_name("This deletes the metrics for good.", name)?,
                false => context.printer.confirm("Destroy this?")?,
            };
            if !agreed {
                return Err(CommandError::failed("not destroyed: nothing was changed"));
            }
        }
        // From here on things are deleted, be it snapshots only.
        let asked = context.signals.finishing();
        let go_on = || match asked.is_cancelled() {
            true => Err(CommandError::failed("interrupted: the rest is still there")
                .hint("run the same command again: it goes on from what is there")
                .exit(Exit::Interrupted)),
            false => Ok(()),
        };
        let (mut outcome, mut remains) = (None, None);
        let destroying = async |events: &Events| {
            phase(events, Phase::Destroy, async {
                let down = async {
                    stack::down(context, &run.blueprint.deployment, events).await?;
                    feeding::forget(context, &run.blueprint.deployment);
                    Ok(())
                };
                // Not while another run starts it, or waits for its values.
                match plan.basis.observed.keys().any(|id| id.kind == "storage.bucket") {
                    true => run.leased(events, down).await,
                    false => down.await,
                }?;
                go_on()?;
                match plan.has_changes() {
                    true => summary::complete(outcome.insert(run.resources(&plan, events).await?)),
                    false => Ok(()),
                }?;
                if self.delete_data && !snapshots.is_empty() {
                    go_on()?;
                    resource::delete_snapshots(&run.client, &snapshots, events).await?;
                }
                // Nothing is changed any more: this need not be waited for.
                let google = run.google();
                let Remains { left, off } = tokio::select! {
                    found = google.remains() => found?,
                    () = asked.cancelled() => return go_on(),
                };
                let (name, project) = (&run.blueprint.deployment, run.client.project());
                let off: Vec<&str> = off.iter().map(String::as_str).collect();
                let off = off.join(" ");
                remains = Some(match left.as_slice() {
                    [] if !off.is_empty() => {
                        format!(
                            "nothing of {name} is seen in {project}, where what {off} keeps can't be seen"
                        )
                    }
                    [] => format!("nothing of {name} is left in {project}"),
                    left => {
                        let names: Vec<String> = left.iter().map(ToString::to_string).collect();
                        format!("of {name} in {project}: {}", names.join(", "))
                    }
                });
                // In a project where nothing was, nothing is missed.
                if self.delete_data && !off.is_empty() && plan.has_changes() {
                    return Err(CommandError::failed(format!(
                        "{off} is off in {project}: what it keeps of {name} may be there, and billed"
                    ))
                    .hint(format!(
                        "`gcloud services enable {off} --project {project}`, and run the same command again"
                    )));
                }
                match self.delete_data && !left.is_empty() {
                    true => {
                        Err(CommandError::failed(format!("{} of its resources are still there", left.len()))
                            .hint("run the same command again: it goes on from what is there"))
                    }
                    false => Ok(()),
                }
            })
            .await
        };
        let (result, rest) = screen::counted(&context.printer, destroying).await;
        tally.phases.extend(rest.phases);
        let mut summary = Summary {
            command: "destroy".into(),
            ok: result.is_ok(),
            phases: tally.phases,
            total_ms: began.elapsed().as_millis() as u64,
            ..Summary::default()
        };
        summary.facts.extend(remains.map(|text| ("left".to_owned(), text)));
        summary::add_outcome(&mut summary, &plan, outcome.as_ref());
        if result.is_err() {
            summary.next.push("dorainfra destroy".into());
        } else if !summary.kept.is_empty() {
            summary.next.push("dorainfra apply".into());
            summary.next.push("dorainfra destroy --delete-data".into());
        }
        summary::for_sandbox(&mut summary, context);
        context.printer.result(&summary);
        result.map(|()| Exit::Done)
    }

    /// With the snapshots of the data disk, which are no part of a plan.
    async fn plan<'a>(
        &self,
        context: &'a Context,
        events: &Events,
    ) -> CommandResult<(Run<'a>, Plan, Vec<ResourceId>)> {
        let mut run = Run::begin(context, Purpose::Removal, events).await?;
        if self.delete_data || self.no_flush {
            run = run.without_flush();
        }
        let selection = Selection { delete_data: self.delete_data, ..Selection::default() };
        let (plan, snapshots) = phase(events, Phase::Plan, async {
            let snapshots = async {
                Ok::<_, CommandError>(resource::snapshots(&run.client, &run.blueprint.deployment).await?)
            };
            let (mut plan, snapshots) = futures::try_join!(run.plan_destroy(&selection, events), snapshots)?;
            if !snapshots.is_empty() {
                plan.warnings.push(match self.delete_data {
                    true => format!("{} snapshots of the data disk are deleted, too", snapshots.len()),
                    false => format!(
                        "{} snapshots of the data disk stay, and are billed: --delete-data deletes them",
                        snapshots.len()
                    ),
                });
            }
            Ok((plan, snapshots))
        })
        .await?;
        events.send(Event::Planned { plan: plan.clone(), feed: Vec::new() });
        Ok((run, plan, snapshots))
    }
}
