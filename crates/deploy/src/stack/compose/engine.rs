//! The Docker engine of this machine, spoken to by its own programs: they know
//! its address, its credentials and its contexts.

use std::process::Stdio;

use dorainfra_base::child;
use dorainfra_base::error::Why;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::mpsc::Sender;

use super::{ComposeError, Container, Setup, State};

/// An engine that answers, and the Compose that drives it.
#[derive(Clone, Debug)]
pub struct Engine {
    compose: &'static [&'static str],
    label: String,
}

/// What `docker ps --format '{{json .}}'` tells of a container.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "ID")]
    id: String,
    state: String,
    status: String,
    labels: String,
}

impl Engine {
    /// The engine and its Compose; an error says which of the two is missing.
    pub async fn find() -> Result<Self, ComposeError> {
        let version = run("docker", &["version", "--format", "{{.Server.Version}}"]).await?;
        let plugin: &[&str] = &["docker", "compose"];
        for compose in [plugin, &["docker-compose"]] {
            let arguments = [&compose[1..], &["version", "--short"]].concat();
            if let Ok(found) = run(compose[0], &arguments).await {
                let label = format!("Docker {}, Compose {}", version.trim(), found.trim());
                return Ok(Self { compose, label });
            }
        }
        Err(ComposeError::NoCompose { engine: version.trim().to_owned() })
    }

    /// For people: `Docker 20.10.24, Compose 1.29.2`.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Runs Compose over a setup's folder.
    pub(super) async fn compose(&self, setup: &Setup, arguments: &[&str]) -> Result<String, ComposeError> {
        let file = setup.dir.join("compose.yaml");
        let file = file.to_string_lossy();
        let folder = setup.dir.to_string_lossy();
        let about = ["--project-name", &setup.name, "--project-directory", &*folder, "--file", &*file];
        run(self.compose[0], &[&self.compose[1..], &about, arguments].concat()).await
    }

    /// The containers of a project, with their ids, in the order of their names.
    pub(super) async fn containers(&self, name: &str) -> Result<Vec<(String, Container)>, ComposeError> {
        let filter = format!("label=com.docker.compose.project={name}");
        let text = run("docker", &["ps", "--all", "--filter", &filter, "--format", "{{json .}}"]).await?;
        let mut containers = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let row: Row = serde_json::from_str(line)
                .map_err(|error| ComposeError::Unexpected { what: line.into(), reason: Why::of(error) })?;
            containers.push((row.id.clone(), row.container()));
        }
        containers.sort_by(|(_, a), (_, b)| a.service.cmp(&b.service));
        Ok(containers)
    }

    /// Ends and removes everything of a project: containers, then networks.
    pub(super) async fn remove(&self, name: &str) -> Result<(), ComposeError> {
        // By label, not by file: the file may be another one by now, or gone.
        let containers = self.containers(name).await?;
        let ids: Vec<&str> = containers.iter().map(|(id, _)| id.as_str()).collect();
        if !ids.is_empty() {
            run("docker", &[&["stop"], &ids[..]].concat()).await?;
            run("docker", &[&["rm"], &ids[..]].concat()).await?;
        }
        let filter = format!("label=com.docker.compose.project={name}");
        let networks = run("docker", &["network", "ls", "--quiet", "--filter", &filter]).await?;
        let networks: Vec<&str> = networks.split_whitespace().collect();
        if !networks.is_empty() {
            run("docker", &[&["network", "rm"], &networks[..]].concat()).await?;
        }
        Ok(())
    }

    pub(super) async fn logs(&self, id: &str, lines: usize) -> Result<Vec<String>, ComposeError> {
        let text = run("docker", &["logs", "--tail", &lines.to_string(), id]).await?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Sends the last lines of a container's log and those that come, from both of its streams, as long
    /// as what is answered lives.
    pub(super) fn follow(
        &self,
        id: &str,
        service: &str,
        lines: usize,
        sender: &Sender<(String, String)>,
    ) -> Result<child::Child, ComposeError> {
        let lines = lines.to_string();
        let arguments = ["logs", "--follow", "--tail", &lines, id];
        let mut docker = docker("docker", &arguments);
        let started = docker.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| ComposeError::NoEngine {
            command: format!("docker {}", arguments.join(" ")),
            reason: Why::of(error),
        })?;
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(lines_of(stdout, service.to_owned(), sender.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(lines_of(stderr, service.to_owned(), sender.clone()));
        }
        Ok(child)
    }
}

impl Row {
    fn container(self) -> Container {
        let label = |name: &str| {
            self.labels
                .split(',')
                .find_map(|label| label.strip_prefix(name)?.strip_prefix('='))
                .map(str::to_owned)
        };
        let state = match (self.state.as_str(), self.status.as_str()) {
            ("running", words) if words.contains("(unhealthy)") => State::Unhealthy,
            ("running", words) if words.contains("(health: starting)") => State::Starting,
            ("running", _) => State::Healthy,
            ("created", _) => State::Starting,
            ("restarting", _) => State::Restarting,
            _ => State::Exited,
        };
        let service = label("com.docker.compose.service").unwrap_or_else(|| self.id.clone());
        Container { service, state, words: self.status }
    }
}

/// Runs a program to its end; answers what it printed, on both streams: Docker
/// prints a container's log on the streams that it was written to.
async fn run(program: &str, arguments: &[&str]) -> Result<String, ComposeError> {
    let command = format!("{program} {}", arguments.join(" "));
    let output = docker(program, arguments)
        .output()
        .await
        .map_err(|error| ComposeError::NoEngine { command: command.clone(), reason: Why::of(error) })?;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    if output.status.success() {
        let log = arguments.first() == Some(&"logs");
        return Ok(if log { stdout + &stderr } else { stdout });
    }
    let reason = last_lines(&stderr, 8);
    if stderr.contains("Cannot connect to the Docker daemon") || stderr.contains("permission denied") {
        return Err(ComposeError::NoEngine { command, reason: reason.into() });
    }
    Err(ComposeError::Failed { command, reason })
}

fn docker(program: &str, arguments: &[&str]) -> child::Command {
    let mut docker = child::command(program);
    child::hand_on(&mut docker, child::DOCKER);
    child::hand_on(&mut docker, child::NETWORK);
    docker.args(arguments).kill_on_drop(true);
    docker
}

/// A line that is no UTF-8 is sent as far as it is.
async fn lines_of(stream: impl AsyncRead + Unpin, service: String, sender: Sender<(String, String)>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line).await, Ok(1..)) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if sender.send((service.clone(), text)).await.is_err() {
            return;
        }
        line.clear();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(state: &str, status: &str) -> Container {
        let labels = "com.docker.compose.project=dora,com.docker.compose.service=prometheus,maintainer=x";
        let row = Row { id: "1".into(), state: state.into(), status: status.into(), labels: labels.into() };
        row.container()
    }

    #[test]
    fn a_containers_state_is_its_health() {
        for (state, words, expected) in [
            ("running", "Up 2 minutes (healthy)", State::Healthy),
            ("running", "Up 2 minutes", State::Healthy),
            ("running", "Up 2 seconds (health: starting)", State::Starting),
            ("running", "Up 2 minutes (unhealthy)", State::Unhealthy),
            ("restarting", "Restarting (1) 3 seconds ago", State::Restarting),
            ("exited", "Exited (1) 3 seconds ago", State::Exited),
        ] {
            let found = container(state, words);
            assert_eq!((found.service.as_str(), found.state), ("prometheus", expected), "{words}");
        }
    }

    #[test]
    fn of_a_long_error_the_end_is_told() {
        assert_eq!(last_lines("a\n\nb\nc\n", 2), "b\nc");
    }
}
