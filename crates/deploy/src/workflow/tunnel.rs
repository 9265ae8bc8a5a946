//! A tunnel to Mimir's port through Google's Identity-Aware Proxy. Its protocol is gcloud's: this starts
//! gcloud, waits until the near end answers, and ends it.

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dorainfra_base::child::{self, Child};
use dorainfra_config::Config;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::blueprint::{Names, PORT, Replica};

/// gcloud tries the far end before it listens: a login, and a connection through Google.
const OPENS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long gcloud has to end by itself.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// How many of its last words are kept.
const WORDS: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    #[error("gcloud is not on PATH, and the tunnel is gcloud's")]
    NoGcloud,
    #[error("there is no machine `{name}`")]
    NoMachine { name: String, known: String },
    #[error("port {port} of this machine can't be used: {source}")]
    Port { port: u16, source: std::io::Error },
    #[error("gcloud can't be started: {0}")]
    Start(std::io::Error),
    #[error("gcloud ended before the tunnel was open ({status}): {said}")]
    Ended { status: ExitStatus, said: String },
    #[error("the tunnel is not open after {} s: {said}", OPENS_WITHIN.as_secs())]
    Late { said: String },
    #[error("the tunnel has ended ({status}): {said}")]
    Broken { status: String, said: String },
}

impl TunnelError {
    pub fn hint(&self) -> String {
        match self {
            Self::NoGcloud => "install it (https://cloud.google.com/sdk/docs/install), or run this inside the \
                               deployment's network"
                .into(),
            Self::NoMachine { known, .. } => format!("there is {known}"),
            Self::Port { .. } => "`--port N` takes another one, `--port 0` any that is free".into(),
            Self::Start(_) => "check that `gcloud version` works".into(),
            Self::Ended { .. } | Self::Late { .. } => {
                "`gcloud auth login`; whoever opens a tunnel needs the role roles/iap.tunnelResourceAccessor; \
                 `dorainfra status` says whether the machine runs"
                    .into()
            }
            Self::Broken { .. } => "run the same command again".into(),
        }
    }
}

/// Whose port, and where it is to be here.
#[derive(Clone, Debug)]
pub struct Tunnelled {
    pub machine: Replica,
    pub project: String,
    pub port: u16,
}

impl Tunnelled {
    /// To the first machine, or the one that is named: each of them answers for all.
    pub fn of(config: &Config, machine: Option<&str>, port: u16) -> Result<Self, TunnelError> {
        let replicas = Names::of(config).replicas;
        let known: Vec<&str> = replicas.iter().map(|replica| replica.instance.as_str()).collect();
        let named = |replica: &&Replica| machine.is_none_or(|name| replica.instance == name);
        match replicas.iter().find(named) {
            Some(replica) => Ok(Self { machine: replica.clone(), project: config.project.clone(), port }),
            None => Err(TunnelError::NoMachine {
                name: machine.unwrap_or_default().into(),
                known: known.join(", "),
            }),
        }
    }

    /// What gcloud is called with.
    pub fn arguments(&self) -> Vec<String> {
        let Self { machine, project, port } = self;
        vec![
            "compute".into(),
            "start-iap-tunnel".into(),
            machine.instance.clone(),
            PORT.to_string(),
            format!("--local-host-port=localhost:{port}"),
            format!("--zone={}", machine.zone),
            format!("--project={project}"),
        ]
    }

    /// For people, and for another terminal.
    pub fn command(&self) -> String {
        format!("gcloud {}", self.arguments().join(" "))
    }

    /// A port that is free now, for 0.
    ///
    /// # Errors
    /// Somebody else has it.
    pub fn with_free_port(self) -> Result<Self, TunnelError> {
        let fails = |source| TunnelError::Port { port: self.port, source };
        let listener = TcpListener::bind(("127.0.0.1", self.port)).map_err(fails)?;
        let port = listener.local_addr().map_err(fails)?.port();
        Ok(Self { port, ..self })
    }
}

/// A tunnel that is open. Dropped, it is ended, too, and not waited for.
pub struct Tunnel {
    child: Child,
    group: Option<Pid>,
    words: Words,
    reading: Vec<JoinHandle<()>>,
}

/// The last that gcloud said.
type Words = Arc<Mutex<VecDeque<String>>>;

impl Tunnel {
    /// Starts `gcloud`, with `variables` beside those that any program gets, and waits until the port answers.
    ///
    /// # Errors
    /// It can't be started, ends, or does not listen in time.
    pub async fn open(
        gcloud: Option<PathBuf>,
        to: &Tunnelled,
        variables: BTreeMap<String, String>,
    ) -> Result<Self, TunnelError> {
        let mut command = child::command(gcloud.ok_or(TunnelError::NoGcloud)?);
        child::hand_on(&mut command, child::NETWORK);
        // Ctrl-C is this program's to hear, and gcloud is a script that starts another one.
        command.args(to.arguments()).envs(variables).process_group(0);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(TunnelError::Start)?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let words = Words::default();
        let mut reading = Vec::new();
        reading.extend(child.stdout.take().map(|stream| tokio::spawn(read(stream, words.clone()))));
        reading.extend(child.stderr.take().map(|stream| tokio::spawn(read(stream, words.clone()))));
        let mut tunnel = Self { child, group, words, reading };
        match timeout(OPENS_WITHIN, tunnel.listens(to.port)).await {
            Ok(Ok(())) => Ok(tunnel),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let said = tunnel.said();
                tunnel.close().await;
                Err(TunnelError::Late { said })
            }
        }
    }

    async fn listens(&mut self, port: u16) -> Result<(), TunnelError> {
        loop {
            tokio::select! {
                status = self.child.wait() => {
                    let status = status.map_err(TunnelError::Start)?;
                    self.read_to_end().await;
                    return Err(TunnelError::Ended { status, said: self.said() });
                }
                () = tokio::time::sleep(LOOK_AGAIN) => {
                    if TcpStream::connect(("localhost", port)).await.is_ok() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Waits for its end, which nobody has asked for.
    pub async fn broken(&mut self) -> TunnelError {
        let status = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        self.read_to_end().await;
        TunnelError::Broken { status, said: self.said() }
    }

    /// Ends it.
    pub async fn close(mut self) {
        self.signal(Signal::TERM);
        if timeout(ENDS_WITHIN, self.child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            let _ = timeout(ENDS_WITHIN, self.child.wait()).await;
        }
    }

    /// To gcloud and all that it has started.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, signal);
        }
    }

    async fn read_to_end(&mut self) {
        for reading in self.reading.drain(..) {
            // What gcloud started may hold the stream open.
            let _ = timeout(Duration::from_secs(1), reading).await;
        }
    }

    fn said(&self) -> String {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        match words.is_empty() {
            true => "it said nothing".into(),
            false => words.iter().map(String::as_str).collect::<Vec<_>>().join("\n"),
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // Of one that has ended the number may be another's by now.
        if self.child.id().is_some() {
            self.signal(Signal::TERM);
        }
    }
}

async fn read(stream: impl AsyncRead + Unpin, words: Words) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line).await, Ok(1..)) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        if !text.is_empty() {
            words.push_back(text);
        }
        while words.len() > WORDS {
            words.pop_front();
        }
        line.clear();
    }
}
