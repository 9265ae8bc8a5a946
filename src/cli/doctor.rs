//! `doctor`: what this machine and this project lack, before anything is tried.

use std::net::TcpListener;

use clap::Args;

use super::context::Context;
use super::{CommandError, CommandResult, Exit};
use crate::config::Live;
use crate::event::{Event, Events};
use crate::verify::{Check, Outcome};

/// Check credentials, project, permissions, programs and ports
///
/// Changes nothing. Exits with 1 when something would stop `apply`.
#[derive(Debug, Args)]
pub struct Doctor {}

impl Doctor {
    pub async fn run(self, context: &Context) -> CommandResult {
        let (events, receiver) = Events::channel();
        let screen = tokio::spawn(crate::ui::run(receiver, context.printer.clone()));
        let project = context.project().await?;
        project.config.require_project()?;
        let mut failed = 0;
        let mut tell = |check: Check| {
            failed += usize::from(check.outcome == Outcome::Failed);
            events.send(Event::Checked { check });
        };
        let stack = &project.config.stack;
        let pushes = stack.live == Live::Pushgateway;
        let programs = [
            ("prometheus", "prometheus", &stack.prometheus),
            ("pushgateway", "prometheus-pushgateway", &stack.pushgateway),
        ];
        for (name, program, configured) in programs.into_iter().take(if pushes { 2 } else { 1 }) {
            let found = context.program(program, configured.as_deref()).filter(|path| path.is_file());
            tell(check(
                name,
                &format!("{program} can be started"),
                found.map(|path| path.display().to_string()).ok_or_else(|| "not found".into()),
                &format!("apt-get install {program}, or scripts/setup"),
            ));
        }
        let running = super::stack::running(context, &project.config).await?;
        let entry = match pushes {
            true => ("stack.ports.pushgateway", stack.ports.pushgateway),
            false => ("stack.ports.generator", stack.ports.generator),
        };
        for (key, port) in [("stack.ports.prometheus", stack.ports.prometheus), entry] {
            let free = match (running, TcpListener::bind(("127.0.0.1", port))) {
                (true, _) => Ok("used by the running stack".into()),
                (false, Ok(_)) => Ok("free".into()),
                (false, Err(error)) => Err(error.to_string()),
            };
            tell(check(key, &format!("port {port}"), free, &format!("choose another: `--set {key}=PORT`")));
        }
        let cloud = async {
            let client = context.client(&project)?;
            client.preflight().await.map_err(CommandError::from)
        };
        match cloud.await {
            Ok(missing) if missing.is_empty() => tell(check(
                "project",
                &format!("project {}", project.config.project),
                Ok("reachable, all permissions".into()),
                "",
            )),
            Ok(missing) => tell(check(
                "project",
                &format!("project {}", project.config.project),
                Err(format!("permissions missing: {}", missing.join(", "))),
                "ask an owner of the project for a role that has them",
            )),
            Err(error) => tell(check(
                "project",
                &format!("project {}", project.config.project),
                Err(error.message),
                error.hint.as_deref().unwrap_or(""),
            )),
        }
        drop(events);
        let _ = screen.await;
        if failed > 0 {
            return Err(CommandError::failed(format!("{failed} checks failed")));
        }
        Ok(Exit::Done)
    }
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
