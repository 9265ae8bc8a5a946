//! `doctor`: what this machine and this project lack, before anything is tried.

use std::collections::BTreeSet;
use std::net::TcpListener;

use clap::Args;
use dorainfra_config::Live;
use dorainfra_deploy::blueprint::Blueprint;
use dorainfra_deploy::machine;
use dorainfra_deploy::resource::{Google, lives_in_mimir, permissions};
use dorainfra_deploy::workflow::{self, Purpose, stack};
use dorainfra_engine::{self as engine, EngineError, Finding, PlanOptions};
use dorainfra_gcp as gcp;
use dorainfra_model::{Check, Outcome};
use dorainfra_model::{Event, Events};

use super::context::Context;
use super::{CommandError, CommandResult, Exit, screen};

/// Check credentials, project, permissions, policies, firewalls, programs and ports
///
/// Changes nothing. Exits with 1 when something would stop `apply`.
#[derive(Debug, Args)]
pub struct Doctor {}

impl Doctor {
    pub async fn run(self, context: &Context) -> CommandResult {
        let failed = screen::with(&context.printer, async |events| self.check(context, events).await).await?;
        if failed > 0 {
            let checks = if failed == 1 { "1 check".into() } else { format!("{failed} checks") };
            return Err(CommandError::failed(format!("{checks} failed")).hint(
                "mend what is marked with ✗, as its hint says, and run `dorainfra doctor` again: `apply` would stop there",
            ));
        }
        Ok(Exit::Done)
    }

    /// How many checks failed.
    async fn check(&self, context: &Context, events: &Events) -> CommandResult<usize> {
        let project = context.project().await?;
        project.config.require_project()?;
        let mut failed = 0;
        let mut tell = |check: Check| {
            failed += usize::from(check.outcome == Outcome::Failed);
            events.send(Event::Checked { check });
        };
        let parts = &project.config.stack;
        let pushes = parts.live == Live::Pushgateway;
        let programs = [
            ("prometheus", "prometheus", &parts.prometheus),
            ("pushgateway", "prometheus-pushgateway", &parts.pushgateway),
        ];
        for (name, program, configured) in programs.into_iter().take(if pushes { 2 } else { 1 }) {
            let found =
                context.workspace.program(program, configured.as_deref()).filter(|path| path.is_file());
            tell(check(
                name,
                &format!("{program} can be started"),
                found.map(|path| path.display().to_string()).ok_or_else(|| "not found".into()),
                &format!("apt-get install {program}, or scripts/setup"),
            ));
        }
        let running = stack::running(&context.workspace, &project.config).await?;
        let entry = match pushes {
            true => ("stack.ports.pushgateway", parts.ports.pushgateway),
            false => ("stack.ports.generator", parts.ports.generator),
        };
        for (key, port) in [("stack.ports.prometheus", parts.ports.prometheus), entry] {
            let free = match (running, TcpListener::bind(("127.0.0.1", port))) {
                (true, _) => Ok("used by the running stack".into()),
                (false, Ok(_)) => Ok("free".into()),
                (false, Err(error)) => Err(error.to_string()),
            };
            tell(check(key, &format!("port {port}"), free, &format!("choose another: `--set {key}=PORT`")));
        }
        let client = project.client()?;
        let name = format!("project {}", project.config.project);
        // Names and places are enough: neither an engine nor an address is asked for.
        let facts = workflow::facts(&context.workspace, &project, &client, Purpose::Removal, events).await?;
        let blueprint = project.blueprint(&facts)?;
        let lacking = client.lacking(&permissions(&blueprint.manifests)).await;
        let new =
            lacking.as_ref().err().and_then(gcp::Error::api).is_some_and(|api| api.is_service_disabled());
        let reached = new || lacking.is_ok();
        let lacking = lacking.map_err(CommandError::from);
        let (found, hint) = match lacking {
            Ok(missing) if missing.is_empty() => (Ok("reachable, all permissions".into()), None),
            Ok(missing) => {
                (Err(format!("permissions missing: {}", missing.join(", "))), Some(roles(&missing)))
            }
            Err(error) => (Err(error.to_string()), error.hint),
        };
        tell(match new {
            true => {
                let why =
                    "the Cloud Resource Manager API, which knows the permissions, is off: `apply` enables it";
                unknown("project", &name, why.into())
            }
            false => check("project", &name, found, hint.as_deref().unwrap_or_default()),
        });
        if reached {
            for check in obstacles(&blueprint, client, events).await {
                tell(check);
            }
        }
        Ok(failed)
    }
}

/// What would stop `apply`, or should be known before: what a plan finds out, without its
/// plan.
async fn obstacles(blueprint: &Blueprint, client: gcp::Client, events: &Events) -> Vec<Check> {
    let machines = machine::Reader::new(client.clone());
    let google = Google::new(client, machines, &blueprint.deployment, blueprint.contents.clone());
    let mut manifests = blueprint.manifests.clone();
    manifests.retain(|manifest| !lives_in_mimir(&manifest.kind));
    let options = PlanOptions::default();
    let planned = engine::plan(&blueprint.deployment, manifests.clone(), &google, &options, events).await;
    let title = "what apply needs";
    let mut checks = match planned {
        Ok(plan) if plan.warnings.is_empty() => {
            vec![check("plan", title, Ok("nothing prevents it".into()), "")]
        }
        Ok(plan) => {
            let warning = |found| Check { outcome: Outcome::Warning, ..check("plan", title, Ok(found), "") };
            plan.warnings.into_iter().map(warning).collect()
        }
        Err(EngineError::Impossible { findings }) => {
            findings.into_iter().map(|finding| found("plan", title, finding)).collect()
        }
        Err(error) => {
            let hint = error.hint().unwrap_or_default();
            vec![check("plan", title, Err(error.to_string()), &hint)]
        }
    };
    let title = "who reaches the machine";
    checks.extend(
        google.exposure(&manifests).await.into_iter().map(|finding| found("firewall", title, finding)),
    );
    checks
}

/// Who may give the caller what is missing, and what that is.
fn roles(missing: &[String]) -> String {
    let roles: BTreeSet<&str> =
        missing.iter().map(|permission| gcp::role_with(permission).unwrap_or("roles/owner")).collect();
    let roles: Vec<&str> = roles.into_iter().collect();
    format!("an owner of the project can give you {}", roles.join(", "))
}

fn found(name: &str, title: &str, finding: Finding) -> Check {
    match finding.refuses {
        true => check(name, title, Err(finding.problem), &finding.instead),
        false => unknown(name, title, format!("{}: {}", finding.problem, finding.instead)),
    }
}

/// What could not be found out, which stops nothing.
fn unknown(name: &str, title: &str, found: String) -> Check {
    Check { outcome: Outcome::Unknown, ..check(name, title, Ok(found), "") }
}

fn check(name: &str, title: &str, found: Result<String, String>, hint: &str) -> Check {
    let (outcome, found, hint) = match found {
        Ok(found) => (Outcome::Passed, found, None),
        Err(found) => (Outcome::Failed, found, Some(hint.to_owned()).filter(|hint| !hint.is_empty())),
    };
    Check {
        name: name.into(),
        title: title.into(),
        outcome,
        expected: String::new(),
        found,
        hint,
        elapsed_ms: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser as _;

    use super::super::interrupt::Signals;
    use super::super::{Cli, Environment};
    use super::*;
    use crate::ui::{Mode, Options, Printer};

    /// What was checked before is told, too, and above the error.
    #[tokio::test]
    async fn an_early_end_hides_no_check() {
        let folder = tempfile::tempdir().unwrap();
        let words = ["dorainfra", "--project", "my-gcp", "--set", "stack.runtime=native", "doctor"];
        let cli = Cli::try_parse_from(words).unwrap();
        let environment = Environment {
            variables: BTreeMap::from([("HTTPS_PROXY".into(), "socks5://proxy".into())]),
            folder: folder.path().into(),
            executable: folder.path().join("dorainfra"),
        };
        let (printer, captured) = Printer::captured(Options::plain(Mode::Human), "");
        let context = Context::new(cli.global, environment, printer, Signals::default());
        let error = Doctor {}.run(&context).await.unwrap_err();
        assert!(error.to_string().contains("HTTPS_PROXY"), "{error}");
        let told = captured.stdout();
        for check in ["prometheus can be started", "pushgateway can be started", "port 9091"] {
            assert!(told.contains(check), "{check}: {told}");
        }
    }
}
