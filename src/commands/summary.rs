//! How a changing command ended, as the view that is shown.

use dorainfra_deploy::verify;
use dorainfra_engine::{Action, Outcome, Plan};

use super::context::Context;
use crate::ui::{self, Failure, Pending, Summary};

/// Takes over how each resource ended, and what the plan keeps.
pub fn add_outcome(summary: &mut Summary, plan: &Plan, outcome: Option<&Outcome>) {
    summary.kept = plan
        .steps
        .iter()
        .filter(|step| step.action == Action::Keep)
        .map(|step| Pending { id: step.id.clone(), because: step.reason.clone() })
        .collect();
    let Some(outcome) = outcome else { return };
    summary.interrupted = outcome.interrupted;
    summary.done = outcome.done.clone();
    summary.failed = outcome
        .failed
        .iter()
        .map(|(id, error, hint)| Failure { id: id.clone(), error: error.clone(), hint: hint.clone() })
        .collect();
    summary.not_started = outcome
        .not_started
        .iter()
        .map(|(id, because)| Pending { id: id.clone(), because: because.clone() })
        .collect();
}

/// The proof, as it is shown.
pub fn report(report: &verify::Report) -> ui::Report {
    ui::Report {
        run_id: report.run_id.clone(),
        ok: report.ok(),
        feeds: report.feeds,
        teams: report.teams,
        samples_sent: report.samples_sent,
        samples_found: report.samples_found,
        blocks: report.blocks,
        samples_in_bucket: report.samples_in_bucket,
        newest_in_bucket_ms: report.newest_in_bucket_ms,
        samples_newer: report.samples_newer,
        damaged: report.damaged.clone(),
        checks: report.checks.clone(),
    }
}

/// The commands to type next mean the same deployment: what was said of it before the command is said again.
pub fn same_deployment(summary: &mut Summary, context: &Context) {
    for command in &mut summary.next {
        *command = again(context, command);
    }
}

/// `dorainfra COMMAND` for the same deployment.
pub fn again(context: &Context, command: &str) -> String {
    command.replacen("dorainfra ", &format!("dorainfra {}", context.global.deployment()), 1)
}
