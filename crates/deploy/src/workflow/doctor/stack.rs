//! What the collector stack needs of this machine: programs or a Docker engine, and ports.

use std::net::TcpListener;
use std::time::Duration;

use dorainfra_config::{Config, Live, Runtime};
use dorainfra_model::Check;
use tokio::time::timeout;

use super::super::error::Result;
use super::super::stack as parts;
use super::super::workspace::Workspace;
use super::{Diagnosis, failed, passed, timed, unknown};
use crate::stack::compose::Engine;

/// How long Docker may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

pub(super) async fn checks(workspace: &Workspace, config: &Config) -> Result<Diagnosis> {
    let (docker, running) = tokio::join!(docker(config), running(workspace, config));
    let (docker, in_containers) = docker;
    let mut checks = Vec::new();
    if !in_containers {
        checks.extend(programs(workspace, config));
    }
    checks.extend(docker);
    checks.extend(mimir(config));
    checks.extend(ports(config, running));
    Ok(checks.into())
}

/// The Docker engine, where one is wanted or may be used; and whether the stack runs in it.
async fn docker(config: &Config) -> (Option<Check>, bool) {
    let title = "Docker, for the collector stack";
    if config.stack.runtime == Runtime::Native {
        return (None, false);
    }
    let needed = config.stack.runtime == Runtime::Compose;
    let (found, took) = timed(timeout(ANSWERS_WITHIN, Engine::find())).await;
    let check = match found {
        Ok(Ok(engine)) => passed("docker", title, engine.label()),
        Ok(Err(error)) if needed => {
            failed("docker", title, error.to_string(), error.hint().unwrap_or_default())
        }
        Err(_) if needed => failed(
            "docker",
            title,
            format!("it does not answer within {} s", ANSWERS_WITHIN.as_secs()),
            "`systemctl restart docker`, or run the stack without: `--set stack.runtime=native`",
        ),
        Ok(Err(_)) | Err(_) => {
            return (Some(passed("docker", title, "none answers: the stack runs as processes")), false);
        }
    };
    (Some(Check { elapsed_ms: took.as_millis() as u64, ..check }), true)
}

/// `None`: nobody can say in time.
async fn running(workspace: &Workspace, config: &Config) -> Option<bool> {
    timeout(ANSWERS_WITHIN, parts::running(workspace, config)).await.ok()?.ok()
}

fn programs(workspace: &Workspace, config: &Config) -> Vec<Check> {
    let parts = &config.stack;
    let programs = [
        ("prometheus", "prometheus", "stack.prometheus", &parts.prometheus),
        ("pushgateway", "prometheus-pushgateway", "stack.pushgateway", &parts.pushgateway),
    ];
    let needed = programs.into_iter().take(if parts.live == Live::Pushgateway { 2 } else { 1 });
    let look = |(name, program, key, configured): (&str, &str, &str, &Option<std::path::PathBuf>)| {
        let title = format!("{program} can be started");
        let found = workspace.program(program, configured.as_deref()).filter(|path| path.is_file());
        match (found, configured) {
            (Some(path), _) => passed(name, title, path.display().to_string()),
            (None, Some(path)) => failed(
                name,
                title,
                format!("{} is no file", path.display()),
                format!("`--set {key}=PATH`, or leave the key out: PATH is searched then"),
            ),
            (None, None) => {
                failed(name, title, "not found", format!("apt-get install {program}, or scripts/setup"))
            }
        }
    };
    needed.map(look).collect()
}

/// A Mimir that is given.
fn mimir(config: &Config) -> Option<Check> {
    let path = config.mimir.binary.as_ref()?;
    let title = "the Mimir that is given";
    Some(match path.is_file() {
        true => passed("mimir", title, path.display().to_string()),
        false => failed(
            "mimir",
            title,
            format!("{} is no file", path.display()),
            "`--mimir-binary PATH`, or leave it out: the release is downloaded then",
        ),
    })
}

fn ports(config: &Config, running: Option<bool>) -> Vec<Check> {
    let ports = &config.stack.ports;
    let entry = match config.stack.live {
        Live::Pushgateway => ("stack.ports.pushgateway", ports.pushgateway),
        _ => ("stack.ports.generator", ports.generator),
    };
    let look = |(key, port): (&str, u16)| {
        let title = format!("port {port}");
        match (running, TcpListener::bind(("127.0.0.1", port))) {
            (Some(true), _) => passed(key, title, "used by the running stack"),
            (_, Ok(_)) => passed(key, title, "free"),
            (None, Err(error)) => {
                unknown(key, title, format!("{error}: perhaps by the running stack, which can't be asked"))
            }
            (Some(false), Err(error)) => failed(
                key,
                title,
                error.to_string(),
                format!("`ss -ltnp 'sport = :{port}'` shows who has it; choose another: `--set {key}=PORT`"),
            ),
        }
    };
    [("stack.ports.prometheus", ports.prometheus), entry].into_iter().map(look).collect()
}
