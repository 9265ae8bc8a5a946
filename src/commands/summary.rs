//! How a changing command ended, as the view that is shown.

use dorainfra_deploy::verify;
use dorainfra_engine::{Action, Outcome, Plan};

use super::arguments::Global;
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
    command.replacen("dorainfra ", &format!("dorainfra {}", flags(&context.global)), 1)
}

/// The flags that say which deployment is meant, each with a space behind it.
fn flags(global: &Global) -> String {
    let mut words: Vec<String> = Vec::new();
    if global.sandbox {
        words.push("--sandbox".into());
    }
    let paths = [("--config", &global.config), ("--mimir-binary", &global.mimir_binary)];
    let paths =
        paths.into_iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?.display().to_string())));
    let project = global.project.iter().map(|project| ("--project", project.clone()));
    let set = global.set.iter().map(|setting| ("--set", setting.clone()));
    for (flag, value) in paths.chain(project).chain(set) {
        words.extend([flag.to_owned(), word(&value)]);
    }
    words.iter().map(|word| format!("{word} ")).collect()
}

/// As a shell reads it.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Cli;
    use super::*;

    #[test]
    fn what_says_which_deployment_is_meant_is_said_again() {
        let of =
            |words: &[&str]| flags(&Cli::parse_from([&["dorainfra"], words, &["status"]].concat()).global);
        assert_eq!(of(&["--json", "--quiet"][..1]), "");
        let all = ["--sandbox", "--config", "a b.yaml", "--set", "labels.x=it's", "--project", "my-gcp"];
        let told = of(&all);
        assert_eq!(told, r"--sandbox --config 'a b.yaml' --project my-gcp --set 'labels.x=it'\''s' ",);
    }
}
