//! The parts: which program, with which arguments, on which port.

use std::fmt;
use std::path::{Path, PathBuf};

use dorainfra_base::child;
use dorainfra_base::error::Why;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::StackError;
use super::{Binaries, Live, Setup};

/// A part of the stack, in the order of starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    Pushgateway,
    Prometheus,
    Generator,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::Pushgateway, Self::Prometheus, Self::Generator];

    pub fn name(self) -> &'static str {
        match self {
            Self::Pushgateway => "pushgateway",
            Self::Prometheus => "prometheus",
            Self::Generator => "generator",
        }
    }

    /// The configuration's key for its port.
    pub fn port_setting(self) -> &'static str {
        match self {
            Self::Prometheus => "stack.ports.prometheus",
            Self::Pushgateway => "stack.ports.pushgateway",
            Self::Generator => "stack.ports.generator",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pushgateway => "Pushgateway",
            Self::Prometheus => "Prometheus agent",
            Self::Generator => "generator",
        })
    }
}

/// How a part is run.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub part: Part,
    pub program: PathBuf,
    pub args: Vec<String>,
    /// The loopback port that it listens on.
    pub port: Option<u16>,
    /// Of everything that its behaviour depends on: another digest, a restart.
    pub digest: String,
}

/// The commands for a setup, in the order of starting. `dir` is absolute;
/// `configuration` are the files that the Prometheus agent reads.
pub(super) async fn commands(
    setup: &Setup,
    dir: &Path,
    configuration: &[(String, String)],
) -> Result<Vec<Command>, StackError> {
    let binaries = &setup.binaries;
    let (ports, generator) = (&setup.ports, &setup.generator);

    let text = |path: PathBuf| path.display().to_string();
    let told = match &setup.follow {
        Some(follow) => {
            vec![
                "--follow".into(),
                text(follow.path.clone()),
                "--settle-hours".into(),
                follow.settle_hours.to_string(),
            ]
        }
        None => {
            vec!["--teams".into(), generator.teams.to_string(), "--seed".into(), generator.seed.to_string()]
        }
    };
    let mut live: Vec<String> = vec!["generate".into(), "--live".into()];
    let mut commands = Vec::new();
    match &setup.live {
        Live::Pushgateway => {
            live.extend(["--pushgateway".into(), format!("http://127.0.0.1:{}", ports.pushgateway)]);
            let pushgateway = find(
                binaries,
                binaries.pushgateway.as_deref(),
                &["prometheus-pushgateway", "pushgateway"],
                "stack.pushgateway",
            )?;
            let args = vec![
                format!("--web.listen-address=127.0.0.1:{}", ports.pushgateway),
                // In memory: the generator pushes every few seconds, and a stale
                // team must not be brought back by a restart.
                "--persistence.file=".into(),
            ];
            commands.push(command(Part::Pushgateway, pushgateway, args, Some(ports.pushgateway), &[]));
        }
        Live::Scrape => live.extend(["--listen".into(), ports.generator.to_string()]),
        Live::RemoteWrite { url, connect, tenant } => {
            // Served as well: so it can be asked how it is.
            live.extend(["--listen".into(), ports.generator.to_string()]);
            live.extend(["--remote-write".into(), url.clone(), "--connect".into(), connect.to_string()]);
            live.extend(tenant.iter().flat_map(|tenant| ["--tenant".into(), tenant.clone()]));
            if generator.native_histograms {
                live.push("--native-histograms".into());
            }
            if setup.tls.is_some() {
                live.extend(["--tls-dir".into(), text(dir.join("tls"))]);
            }
        }
    }
    let prometheus = find(binaries, binaries.prometheus.as_deref(), &["prometheus"], "stack.prometheus")?;
    let agent_mode = agent_flag(&prometheus).await?;
    if generator.service_histograms {
        live.push("--service-histograms".into());
    }
    live.extend(told);
    live.extend(["--interval".into(), generator.interval_seconds.to_string()]);
    let served = (setup.live != Live::Pushgateway).then_some(ports.generator);
    commands.extend([
        command(
            Part::Prometheus,
            prometheus,
            vec![
                agent_mode.into(),
                format!("--config.file={}", text(dir.join("prometheus.yml"))),
                format!("--storage.agent.path={}", text(dir.join("agent"))),
                "--storage.agent.wal-compression".into(),
                // What it holds is waited for before it is asked to end: see `held`.
                "--storage.remote.flush-deadline=5s".into(),
                format!("--web.listen-address=127.0.0.1:{}", ports.prometheus),
            ],
            Some(ports.prometheus),
            configuration,
        ),
        command(Part::Generator, binaries.generator.clone(), live, served, &[]),
    ]);
    Ok(commands)
}

fn command(
    part: Part,
    program: PathBuf,
    args: Vec<String>,
    port: Option<u16>,
    files: &[(String, String)],
) -> Command {
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    field(program.as_os_str().as_encoded_bytes());
    // A program that was replaced by a newer one is another program.
    if let Ok(data) = std::fs::metadata(&program) {
        field(&data.len().to_le_bytes());
        field(format!("{:?}", data.modified().ok()).as_bytes());
    }
    for arg in &args {
        field(arg.as_bytes());
    }
    for (path, contents) in files {
        field(path.as_bytes());
        field(contents.as_bytes());
    }
    let digest = hex::encode(hash.finalize());
    Command { part, program, args, port, digest }
}

fn find(
    binaries: &Binaries,
    configured: Option<&Path>,
    names: &[&'static str],
    setting: &'static str,
) -> Result<PathBuf, StackError> {
    let binary = names[0];
    if let Some(path) = configured {
        if path.is_file() {
            // Absolute, because the part runs in a folder of its own.
            return std::path::absolute(path).map_err(StackError::file("cannot resolve", path));
        }
        let searched = format!("`{setting}` is {}, which is not a file", path.display());
        return Err(StackError::Missing { binary, setting, searched });
    }
    for folder in &binaries.search {
        for name in names {
            let path = folder.join(name);
            if path.is_file() {
                return std::path::absolute(&path).map_err(StackError::file("cannot resolve", &path));
            }
        }
    }
    let searched = format!("searched {} folders", binaries.search.len());
    Err(StackError::Missing { binary, setting, searched })
}

/// Prometheus 3 has a flag for what was a feature switch before.
async fn agent_flag(prometheus: &Path) -> Result<&'static str, StackError> {
    let not_runnable = |message: Why| StackError::NotRunnable {
        path: prometheus.to_owned(),
        setting: "stack.prometheus",
        message,
    };
    let output = child::command(prometheus)
        .arg("--version")
        .output()
        .await
        .map_err(|error| not_runnable(Why::of(error)))?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let major = text
        .split_once("version ")
        .and_then(|(_, rest)| rest.split('.').next())
        .and_then(|major| major.trim_start_matches('v').parse::<u32>().ok());
    match major {
        Some(major) if major >= 3 => Ok("--agent"),
        Some(_) => Ok("--enable-feature=agent"),
        None => Err(not_runnable("`--version` does not say that it is Prometheus".into())),
    }
}
