//! The collector stack in containers, by whichever Compose the machine has: the
//! plugin (`docker compose`) or the older program (`docker-compose` 1.29).
//!
//! What the containers are, `templates/stack/compose.yaml.j2` says. Here the
//! folder is prepared, Compose is run, and what the engine tells is read back.
//! Compose remembers what it made, so there is no record of our own.

mod engine;
mod error;
mod folder;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use engine::Engine;
pub use error::ComposeError;
pub use folder::made_of;

use dorainfra_config::{JobFile, Ports};
use dorainfra_model::{Event, Events};
use dorainfra_pki::Credentials;

use super::jobs;
use super::native::{RemoteWrite, remote_write};
use crate::blueprint::File;

/// What should run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `.dorainfra/NAME/stack`; made when absent.
    pub dir: PathBuf,
    /// The deployment's name: the containers' prefix.
    pub name: String,
    /// Rendered files, with or without `stack/` before.
    pub files: Vec<File>,
    /// What the user's own jobs name; copied.
    pub job_files: Vec<JobFile>,
    /// Written as `tls/ca.crt`, `tls/client.crt`, `tls/client.key`.
    pub tls: Option<Credentials>,
    /// This program: it is the generator, too.
    pub generator: PathBuf,
    pub ports: Ports,
}

/// The stack, container by container. None: it was never started, or it was stopped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub containers: Vec<Container>,
    /// From the agent's own metrics, when it answers.
    pub remote_write: Option<RemoteWrite>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// `pushgateway`, `prometheus`, `generator`, `grafana`.
    pub service: String,
    pub state: State,
    /// The engine's words: "Up 3 minutes (healthy)".
    pub words: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Runs, and its health check passes (or it has none).
    Healthy,
    /// Runs, and its health check has not passed yet.
    Starting,
    /// Ended, and is being started again.
    Restarting,
    Unhealthy,
    Exited,
}

/// How long all containers together may take until they are healthy: images may
/// have to be pulled before, which is not counted.
const HEALTHY_WITHIN: Duration = Duration::from_secs(120);

/// How often a container may be seen between an end and a start.
const RESTARTS: usize = 10;

/// Makes the containers as the setup says, and waits until all are healthy. What
/// runs so already stays as it is.
pub async fn up(engine: &Engine, setup: &Setup, events: &Events) -> Result<Status, ComposeError> {
    folder::prepare(setup)?;
    let say = |service: &str, state: &str, detail: &str| {
        events.send(Event::StackPart { part: service.into(), state: state.into(), detail: detail.into() });
    };
    say("containers", "starting", engine.label());
    engine.compose(setup, &["up", "--detach", "--build", "--remove-orphans"]).await?;
    let deadline = tokio::time::Instant::now() + HEALTHY_WITHIN;
    let mut told: Vec<String> = Vec::new();
    let mut restarts = 0;
    loop {
        let status = status(engine, &setup.name, &setup.ports).await?;
        for container in status.containers.iter().filter(|container| container.state == State::Healthy) {
            if !told.contains(&container.service) {
                say(&container.service, "ready", &container.words);
                told.push(container.service.clone());
            }
        }
        let bad = |container: &&Container| container.state != State::Healthy;
        let Some(late) = status.containers.iter().find(bad) else { return Ok(status) };
        // What ends again and again will not get healthy: no need to wait for the end.
        let hopeless = |container: &Container| container.state == State::Restarting;
        restarts += usize::from(status.containers.iter().any(hopeless));
        let over = tokio::time::Instant::now() > deadline || restarts > RESTARTS;
        let late = status.containers.iter().find(|container| hopeless(container)).unwrap_or(late);
        if over || late.state == State::Exited {
            return Err(ComposeError::NotHealthy {
                service: late.service.clone(),
                words: late.words.clone(),
                log: logs_of(engine, &setup.name, &late.service, 15).await?,
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Removes the containers and networks; the data in the folder stays. Returns
/// the services that were there.
pub async fn down(
    engine: &Engine,
    dir: &Path,
    name: &str,
    events: &Events,
) -> Result<Vec<String>, ComposeError> {
    let there: Vec<String> =
        engine.containers(name).await?.into_iter().map(|(_, container)| container.service).collect();
    if !there.is_empty() {
        engine.remove(name).await?;
        for service in &there {
            let (part, state) = (service.clone(), "stopped".to_owned());
            events.send(Event::StackPart { part, state, detail: String::new() });
        }
    }
    folder::forget_key(dir)?;
    jobs::forget(dir).map_err(ComposeError::of_file)?;
    Ok(there)
}

/// Looks at the containers of a deployment; changes nothing.
pub async fn status(engine: &Engine, name: &str, ports: &Ports) -> Result<Status, ComposeError> {
    let containers: Vec<Container> =
        engine.containers(name).await?.into_iter().map(|(_, container)| container).collect();
    let remote_write = match containers.is_empty() {
        true => None,
        false => remote_write(ports.prometheus).await,
    };
    Ok(Status { containers, remote_write })
}

/// The last lines of each service's log; with `follow`, those that come as well, until the containers end.
pub async fn logs(
    engine: &Engine,
    name: &str,
    lines: usize,
    follow: bool,
    say: &mut impl FnMut(&str, &str),
) -> Result<(), ComposeError> {
    let containers = engine.containers(name).await?;
    if !follow {
        for (id, container) in containers {
            for line in engine.logs(&id, lines).await? {
                say(&container.service, &line);
            }
        }
        return Ok(());
    }
    let (sender, mut receiver) = tokio::sync::mpsc::channel(64);
    let mut followed = Vec::new();
    for (id, container) in containers {
        followed.push(engine.follow(&id, &container.service, lines, &sender)?);
    }
    drop(sender);
    while let Some((service, line)) = receiver.recv().await {
        say(&service, &line);
    }
    Ok(())
}

/// The last lines of one service's log.
pub async fn logs_of(
    engine: &Engine,
    name: &str,
    service: &str,
    lines: usize,
) -> Result<Vec<String>, ComposeError> {
    let containers = engine.containers(name).await?;
    match containers.into_iter().find(|(_, container)| container.service == service) {
        Some((id, _)) => engine.logs(&id, lines).await,
        None => Ok(Vec::new()),
    }
}
