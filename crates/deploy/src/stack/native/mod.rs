//! The collector stack as processes of this machine, without containers and
//! without root: Pushgateway (where values are pushed), Prometheus in agent mode,
//! and the generator.
//!
//! Everything about a stack is in one folder: configuration, certificates, the
//! agent's write-ahead log, logs, and the record of what runs. `up` makes the
//! world as the setup says and may be repeated; `down` ends what the record
//! names; both may be killed at any moment and run again. A part that was ready once and
//! ends is started again, by a small shell that stays beside it.

mod error;
mod held;
mod intended;
mod part;
mod process;
mod record;
mod status;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dorainfra_base::error::Why;
use tokio::net::TcpListener;

pub use error::StackError;
pub use intended::{Intended, intended};
pub use part::Part;
pub use status::{PartState, PartStatus, RemoteWrite, Status, remote_write, status};

use dorainfra_config::{Generator, JobFile, Ports};
use dorainfra_dora::live::Served;
use dorainfra_model::{Event, Events};
use dorainfra_pki::Credentials;
use dorainfra_prometheus::JOB;
use dorainfra_prometheus::Target;
use dorainfra_prometheus::pushgateway::Gateway;
use part::Command;
use process::Identity;
use record::{Record, Started};

use super::jobs;
use crate::blueprint::File;

/// What should run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `.dorainfra/NAME/stack`; made when absent.
    pub dir: PathBuf,
    /// Rendered files; those of the Prometheus agent are taken (`prometheus.yml`
    /// and whatever begins with `prometheus`), with or without `stack/` before.
    pub files: Vec<File>,
    /// What the user's own jobs name; copied.
    pub job_files: Vec<JobFile>,
    /// Written as `tls/ca.crt`, `tls/client.crt`, `tls/client.key`.
    pub tls: Option<Credentials>,
    pub binaries: Binaries,
    pub ports: Ports,
    pub generator: Generator,
    /// What the generator follows; `None`: it simulates `generator.teams`, which may be none.
    pub follow: Option<Follow>,
    pub live: Live,
    /// Where what an earlier agent could not deliver goes.
    pub target: Target,
}

/// How live values reach the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// Pushed to the stack's Pushgateway.
    Pushgateway,
    /// Scraped from the generator.
    Scrape,
    /// Written by the generator: where to, where its name is found, whose.
    RemoteWrite { url: String, connect: SocketAddr, tenant: Option<String> },
}

/// A file of collected events, and when what it tells counts.
#[derive(Clone, Debug)]
pub struct Follow {
    pub path: PathBuf,
    pub settle_hours: u32,
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// This program: it is the generator, too.
    pub generator: PathBuf,
    /// As configured; `None`: searched for.
    pub prometheus: Option<PathBuf>,
    pub pushgateway: Option<PathBuf>,
    /// Folders in the order of search: those of PATH, then `.tools/bin`.
    pub search: Vec<PathBuf>,
}

/// How long a part may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a part may take to end before it is killed. The agent was waited for before.
const END_WITHIN: Duration = Duration::from_secs(30);
/// How long the kernel may take to give its port back.
const FREE_WITHIN: Duration = Duration::from_secs(10);
/// A log larger than this is put aside (once) when its part starts.
const LOG_BYTES: u64 = 8 << 20;
const LOG_LINES: usize = 15;

/// Makes the parts run as the setup says: what runs so already stays as it is,
/// what runs otherwise is restarted, what does not run is started, and what is no
/// part of it any more is ended. Ends when all are ready.
pub async fn up(setup: &Setup, events: &Events) -> Result<Status, StackError> {
    record::folder(&setup.dir)?;
    let dir = setup.dir.canonicalize().map_err(StackError::file("cannot resolve", &setup.dir))?;
    let _lock = lock(&dir).await?;
    let configuration = configuration(setup)?;
    let commands = part::commands(setup, &dir, &configuration).await?;
    for folder in ["logs", "run", "agent", "tls"] {
        record::folder(&dir.join(folder))?;
    }
    // The agent reads new certificates by itself: they are no part of what makes
    // it start anew, and scrape nothing meanwhile.
    let tls = setup.tls.as_ref().map(Credentials::files);
    let files = configuration.iter().map(|(path, contents)| (path.as_str(), contents.as_str()));
    for (path, contents) in files.chain(tls.into_iter().flatten()) {
        let path = dir.join(path);
        if let Some(folder) = path.parent() {
            record::folder(folder)?;
        }
        record::write(&path, contents)?;
    }
    if setup.tls.is_none() {
        record::remove(&dir.join("tls/client.key"))?;
    }

    jobs::copy(&dir, &setup.job_files, None).map_err(StackError::of_copy)?;

    let mut record = Record::settled(&dir).await?;
    for command in &commands {
        let part = command.part;
        let say = |state: &str, detail: String| {
            events.send(Event::StackPart { part: part.name().into(), state: state.into(), detail });
        };
        if let Some((started, process)) = record.running(part) {
            if started.digest == command.digest {
                // Perhaps of a run that was killed before this part was ready.
                wait_ready(&dir, command, &record, setup).await?;
                keep(&dir, part, &started.keeper)?;
                say("running", format!("pid {}, unchanged", process.pid));
                deliver_rest(&dir, part, setup, events).await?;
                continue;
            }
            say("stopping", "its configuration changed".into());
            stop(&dir, part, Some(process), started.port, events).await?;
        } else {
            // Whoever keeps it, and what it may have started meanwhile, must not come in between.
            stop(&dir, part, None, None, events).await?;
        }
        if let Some(port) = command.port {
            check_port(port, part).await?;
        }
        say("starting", command.port.map_or_else(String::new, |port| format!("127.0.0.1:{port}")));
        let begun = Instant::now();
        match start(&dir, command, &mut record, setup, events).await {
            Ok(process) => {
                say("ready", format!("pid {}, after {} ms", process.pid, begun.elapsed().as_millis()));
                deliver_rest(&dir, part, setup, events).await?;
            }
            Err(error) => {
                say("failed", error.to_string().lines().next().unwrap_or_default().to_owned());
                return Err(error);
            }
        }
    }
    for part in Part::ALL {
        let wanted = commands.iter().any(|command| command.part == part);
        if let (false, Some((started, process))) = (wanted, record.running(part)) {
            stop(&dir, part, Some(process), started.port, events).await?;
            let (part, state) = (part.name().into(), "stopped".into());
            events.send(Event::StackPart { part, state, detail: "no longer part of the stack".into() });
        }
        if !wanted && record.parts.remove(&part).is_some() {
            record.save(&dir)?;
        }
    }
    status(&dir).await
}

/// Ends all parts: first asked, then killed. What the agent holds is waited for, as long as
/// the endpoint takes it. Removes the record, the client's key and the copies of what jobs
/// name; keeps the logs and what the agent could not deliver. Returns the parts that ran.
pub async fn down(dir: &Path, events: &Events) -> Result<Vec<Part>, StackError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let _lock = lock(dir).await?;
    let record = Record::settled(dir).await?;
    let mut ended = Vec::new();
    // Against the flow, so that nothing is pushed to a part that is gone.
    for part in Part::ALL.into_iter().rev() {
        let running = record.running(part).map(|(started, process)| (started.port, process));
        let (port, process) = running.map_or((None, None), |(port, process)| (port, Some(process)));
        stop(dir, part, process, port, events).await?;
        if let Some(process) = process {
            ended.push(part);
            let detail = format!("pid {}", process.pid);
            events.send(Event::StackPart { part: part.name().into(), state: "stopped".into(), detail });
        }
    }
    Record::remove(dir)?;
    record::remove(&dir.join("tls/client.key"))?;
    jobs::forget(dir).map_err(StackError::of_copy)?;
    Ok(ended)
}

/// One change at a time in a folder; the lock goes with the process that holds it. A child
/// that is just being started holds it, too, until it is the program that it is to be.
async fn lock(dir: &Path) -> Result<fs::File, StackError> {
    let path = dir.join("lock");
    let file = fs::File::create(&path).map_err(StackError::file("cannot write", &path))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if begun.elapsed() < Duration::from_millis(500) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(fs::TryLockError::WouldBlock) => return Err(StackError::Busy { dir: dir.to_owned() }),
            Err(fs::TryLockError::Error(error)) => return Err(StackError::file("cannot lock", &path)(error)),
        }
    }
}

/// The files that the agent reads: path in the folder, contents.
fn configuration(setup: &Setup) -> Result<Vec<(String, String)>, StackError> {
    let files: Vec<(String, String)> = setup
        .files
        .iter()
        .map(|file| (file.path.strip_prefix("stack/").unwrap_or(&file.path), &file.contents))
        .filter(|(path, _)| path.starts_with("prometheus"))
        .map(|(path, contents)| (path.to_owned(), contents.clone()))
        .collect();
    if !files.iter().any(|(path, _)| path == "prometheus.yml") {
        return Err(StackError::NotRendered("prometheus.yml"));
    }
    Ok(files)
}

/// Binds and lets go: a clear message beats the part's own.
async fn check_port(port: u16, part: Part) -> Result<(), StackError> {
    match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(StackError::PortInUse { port, part })
        }
        Err(error) => Err(StackError::Port { port, part, message: Why::of(error) }),
    }
}

/// What an agent before this one could not deliver.
async fn deliver_rest(dir: &Path, part: Part, setup: &Setup, events: &Events) -> Result<(), StackError> {
    match part {
        Part::Prometheus => held::deliver(dir, &setup.target, events).await,
        _ => Ok(()),
    }
}

/// The part was ready: from now on it is started again when it ends.
fn keep(dir: &Path, part: Part, keeper: &str) -> Result<(), StackError> {
    if keeper.is_empty() {
        return Ok(());
    }
    record::write(&record::keep_file(dir, part), &format!("{keeper}\n"))
}

/// Ends who keeps a part running, and then the part: `process`, or what its keeper has
/// started last. Returns when both are gone, and nobody listens on its port any more.
async fn stop(
    dir: &Path,
    part: Part,
    process: Option<Identity>,
    port: Option<u16>,
    events: &Events,
) -> Result<(), StackError> {
    let left = match (part, process, port) {
        (Part::Prometheus, Some(_), Some(port)) => held::drain(port, events).await,
        _ => None,
    };
    record::remove(&record::keep_file(dir, part))?;
    let keeper = process::identity(&record::keeper_file(dir, part));
    if let Some(keeper) = keeper {
        process::end(keeper, END_WITHIN).await;
    }
    let last = process::identity(&record::identity_file(dir, part)).filter(|last| process::alive(*last));
    for process in [process, last].into_iter().flatten() {
        if !process::end(process, END_WITHIN).await {
            return Err(StackError::Immortal { part, pid: process.pid });
        }
    }
    if let Some(delivered) = left {
        held::note(dir, delivered, events)?;
    }
    // A process is gone a moment before what it had open.
    let begun = Instant::now();
    while let Some(port) = port
        && begun.elapsed() < FREE_WITHIN
        && matches!(check_port(port, part).await, Err(StackError::PortInUse { .. }))
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Starts a part, records it, and waits until it is ready. A part that does not
/// get ready is ended and leaves no record.
async fn start(
    dir: &Path,
    command: &Command,
    record: &mut Record,
    setup: &Setup,
    events: &Events,
) -> Result<Identity, StackError> {
    let part = command.part;
    let log = record::log_file(dir, part);
    if fs::metadata(&log).is_ok_and(|data| data.len() > LOG_BYTES) {
        let aside = log.with_extension("log.1");
        fs::rename(&log, &aside).map_err(StackError::file("cannot put aside", &log))?;
    }
    let identity = record::identity_file(dir, part);
    record::remove(&identity)?;
    // Written down before there is anything to lose.
    let started = Started::now(command, &log);
    let keeper = started.keeper.clone();
    record.parts.insert(part, started);
    record.save(dir)?;
    process::start(command, dir, &identity, &keeper, &log)
        .map_err(StackError::file("cannot start", &command.program))?;

    match wait_ready(dir, command, record, setup).await {
        Ok(process) => {
            if let Some(started) = record.parts.get_mut(&part) {
                started.process = Some(process);
            }
            record.save(dir)?;
            keep(dir, part, &keeper)?;
            Ok(process)
        }
        Err(error) => {
            stop(dir, part, process::identity(&identity), None, events).await?;
            record.parts.remove(&part);
            record.save(dir)?;
            Err(error)
        }
    }
}

async fn wait_ready(
    dir: &Path,
    command: &Command,
    record: &Record,
    setup: &Setup,
) -> Result<Identity, StackError> {
    let part = command.part;
    let file = record::identity_file(dir, part);
    let log_file = record::log_file(dir, part);
    let started = &record.parts[&part];
    let gateway = Gateway::new(&format!("http://127.0.0.1:{}", setup.ports.pushgateway))?;
    let begun = Instant::now();
    let mut known: Option<Identity> = None;
    loop {
        // The child writes its identity within milliseconds; not at all means that
        // not even the shell could run.
        known = known.or_else(|| process::identity(&file));
        let dead = match known {
            Some(process) => !process::alive(process),
            None => begun.elapsed() > Duration::from_secs(5),
        };
        if dead {
            let log = record::tail(&log_file, started.log_from, LOG_LINES);
            if log.iter().any(|line| line.contains("no space left on device")) {
                return Err(StackError::DiskFull { path: dir.join("agent") });
            }
            return Err(StackError::Died { part, log, log_file });
        }
        if let Some(process) = known {
            let ready = match part {
                Part::Pushgateway => gateway.ready().await,
                Part::Prometheus => status::ready(setup.ports.prometheus).await,
                Part::Generator => match command.port {
                    None => pushed_since(&gateway, started.at).await,
                    Some(port) => {
                        let shown = Served::shown(([127, 0, 0, 1], port).into()).await;
                        shown.is_some_and(|shown| shown >= started.at as f64)
                    }
                },
            };
            if ready {
                return Ok(process);
            }
        }
        if begun.elapsed() > READY_WITHIN {
            let log = record::tail(&log_file, started.log_from, LOG_LINES);
            return Err(StackError::NotReady { part, seconds: READY_WITHIN.as_secs(), log, log_file });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether any team's values were pushed at or after `begin` (Unix seconds).
async fn pushed_since(gateway: &Gateway, begin: i64) -> bool {
    let groups = gateway.groups().await.unwrap_or_default();
    groups.iter().any(|group| {
        group.labels.get("job").is_some_and(|job| job == JOB)
            && group.pushed.is_some_and(|pushed| pushed >= begin as f64)
    })
}
