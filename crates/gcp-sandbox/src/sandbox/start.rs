//! Starting a sandbox: its folder is opened, its port bound, its key made, its machines
//! booted; and taking its state away.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dorainfra_base::error::Why;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::server;
use crate::kernel::cloud::{Cloud, Setup};
use crate::kernel::error::SandboxError;
use crate::kernel::files::StateFile;
use crate::kernel::profile::Profile;
use crate::kernel::store::Store;
use crate::kernel::{clock, connection, files, guard, key, operation, token};
use crate::machines::{Machines, NoMachines, World, balancer};
use crate::services::{self, compute, projects, storage};

/// How long connections may take to end once the sandbox does.
const GRACE: Duration = Duration::from_secs(3);

/// Makes the driver, given what its machines' metadata servers read and write,
/// and the sandbox's folder. It may refuse, in one sentence: a driver can need
/// what this machine does not have.
pub type MachineFactory =
    Arc<dyn Fn(Arc<dyn World>, &Path) -> Result<Arc<dyn Machines>, String> + Send + Sync>;

/// Who runs the instances.
#[derive(Clone)]
pub enum Driver {
    /// Nobody: instances exist in the APIs only.
    None,
    With(MachineFactory),
}

/// How a sandbox is started.
#[derive(Clone)]
pub struct Options {
    /// 0: the port of the last start in this folder if it is free, else any.
    pub port: u16,
    /// Where the state lives; created where it is missing.
    pub dir: PathBuf,
    /// Added to every API call.
    pub latency: Duration,
    /// The project that exists.
    pub project: String,
    pub machines: Driver,
    /// Durations of operations by method (`instances.insert`), ms; `*` is for
    /// those that are not named.
    pub operation_ms: BTreeMap<String, u64>,
    /// How unkind the world is.
    pub profile: Profile,
    /// Whether the list of calls holds their bodies.
    pub record: bool,
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>, project: impl Into<String>) -> Self {
        Self {
            port: 0,
            dir: dir.into(),
            latency: Duration::ZERO,
            project: project.into(),
            machines: Driver::None,
            operation_ms: BTreeMap::new(),
            profile: Profile::default(),
            record: false,
        }
    }
}

/// Ends the use of the folder however `serve` ends.
struct Closing(Arc<Cloud>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.stop.cancel();
        self.0.close();
        let _ = std::fs::remove_file(StateFile::path(&self.0.dir));
        let _ = std::fs::remove_file(files::control_token(&self.0.dir));
    }
}

/// Runs a sandbox until `stop` is cancelled or `POST /sandbox/stop` asks for it;
/// `ready` is told when it answers. Machines are stopped before it ends, and
/// started again by the next start.
pub async fn serve(
    options: Options,
    ready: oneshot::Sender<StateFile>,
    stop: CancellationToken,
) -> Result<(), SandboxError> {
    let cloud = prepare(&options, stop).await?;
    let closing = Closing(Arc::clone(&cloud.0));
    let (cloud, listener) = cloud;
    projects::found(&cloud).await?;
    let machines: Arc<dyn Machines> = match &options.machines {
        Driver::None => Arc::new(NoMachines),
        Driver::With(make) => {
            make(Arc::clone(&cloud) as Arc<dyn World>, &cloud.dir).map_err(SandboxError::Machines)?
        }
    };
    let running = compute::state(&cloud);
    let _ = running.machines.set(Arc::clone(&machines));

    let app = axum::Router::new().fallback(server::handle).with_state(Arc::clone(&cloud));
    let app = app
        .layer(axum::middleware::from_fn(guard::own_names))
        .layer(axum::middleware::from_fn(dorainfra_base::serve::refuse_web_pages));
    let service = app.into_make_service_with_connect_info::<connection::Cutter>();
    let server = axum::serve(connection::Connections(listener), service)
        .with_graceful_shutdown(cloud.stop.clone().cancelled_owned());
    let mut server = tokio::spawn(async move { server.await });

    operation::resume(&cloud);
    let balancer = Arc::clone(&running.balancer);
    tokio::spawn(balancer::run(
        Arc::clone(&cloud),
        balancer,
        Arc::clone(&machines),
        compute::load_balancing::desired,
    ));
    let booting = tokio::spawn(compute::machines::restore(Arc::clone(&cloud)));
    let state = StateFile {
        port: cloud.port,
        pid: std::process::id(),
        project: cloud.project.clone(),
        dir: cloud.dir.clone(),
        started: clock::timestamp(),
    };
    guard::give_token(&cloud.dir, &cloud.control_token)?;
    state.write()?;
    // Nobody may be waiting.
    let _ = ready.send(state);

    tokio::select! {
        () = cloud.stop_wanted.cancelled() => {}
        _ = &mut server => {}
    }
    booting.abort();
    // While the APIs still answer: what a machine writes as it stops is kept.
    machines.shutdown().await;
    cloud.stop.cancel();
    if tokio::time::timeout(GRACE, &mut server).await.is_err() {
        server.abort();
    }
    drop(closing);
    Ok(())
}

/// Takes away the state of a sandbox that does not run, whatever state it is in; the next one
/// starts on the same port, which others may have been told.
///
/// # Errors
/// [`SandboxError::AlreadyRunning`] where it runs, [`SandboxError::NothingThere`]
/// where there is none.
pub fn forget(dir: &Path) -> Result<(), SandboxError> {
    let file = dir.join("state.redb");
    if !is_there(dir) {
        return Err(SandboxError::NothingThere { dir: dir.to_owned() });
    }
    if let Err(error @ SandboxError::AlreadyRunning { .. }) = Store::open(dir) {
        return Err(error);
    }
    let folders = files::FOLDERS.map(|folder| dir.join(folder));
    let kept = [file, files::key_file(dir), files::control_token(dir), StateFile::path(dir)];
    for path in folders.into_iter().chain(kept) {
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(SandboxError::File { what: "remove", path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a folder has anything of a sandbox in it.
pub fn is_there(dir: &Path) -> bool {
    [dir.join("state.redb"), files::key_file(dir), dir.join("objects")].iter().any(|path| path.exists())
}

/// Makes the folder of a sandbox's state, which only its owner may enter.
pub fn make_folder(dir: &Path) -> Result<(), SandboxError> {
    files::create_dir(dir)
}

/// Opens the folder, binds the port and makes the key.
async fn prepare(
    options: &Options,
    stop: CancellationToken,
) -> Result<(Arc<Cloud>, TcpListener), SandboxError> {
    let dir = std::path::absolute(&options.dir).unwrap_or_else(|_| options.dir.clone());
    files::create_dir(&dir)?;
    let opened = tokio::task::spawn_blocking({
        let dir = dir.clone();
        move || Store::open(&dir)
    });
    let mut store = opened
        .await
        .unwrap_or_else(|panic| {
            // The database stops at what it cannot make sense of.
            Err(SandboxError::Damaged { path: dir.join("state.redb"), why: Why::of(panic) })
        })
        .map_err(|error| match error {
            SandboxError::AlreadyRunning { dir, .. } => {
                let pid = StateFile::read(&dir).map(|state| state.pid);
                SandboxError::AlreadyRunning { dir, pid }
            }
            other => other,
        })?;
    for folder in files::FOLDERS {
        files::create_dir(&dir.join(folder))?;
    }
    let before = store.get("project").cloned();
    if let Some(have) = before.as_ref().and_then(|project| project["projectId"].as_str())
        && have != options.project
    {
        return Err(SandboxError::OtherProject {
            have: have.to_owned(),
            want: options.project.clone(),
            dir: options.dir.clone(),
        });
    }
    storage::soft_delete::expire(&mut store)?;
    let checked = tokio::task::spawn_blocking({
        let dir = dir.clone();
        move || storage::media::check(&dir, &store).map(|()| store)
    });
    let mut store = checked
        .await
        .unwrap_or_else(|panic| Err(panic.to_string()))
        .map_err(|why| SandboxError::Damaged { path: dir.join("objects"), why: why.into() })?;

    let last = std::fs::read_to_string(files::port_file(&dir)).ok().and_then(|text| text.trim().parse().ok());
    let last = last.or_else(|| before.and_then(|project| u16::try_from(project["port"].as_u64()?).ok()));
    let listener = bind(options.port, last).await?;
    let port = listener.local_addr().map_err(SandboxError::Listen)?.port();
    files::replace(&files::port_file(&dir), port.to_string().as_bytes())?;
    let secret = identity(&mut store, port)?;
    let owner = format!("sandbox-owner@{}.iam.gserviceaccount.com", options.project);
    let owner_key = tokio::task::spawn_blocking({
        let (path, project, owner) = (files::key_file(&dir), options.project.clone(), owner.clone());
        move || key::write_key_file(&path, &project, &owner, port)
    });
    let owner_key = owner_key.await.map_err(|error| SandboxError::Key(Why::of(error)))??;
    let mut state = http::Extensions::new();
    services::ALL.iter().filter_map(|service| service.state).for_each(|put| put(&mut state));
    let cloud = Cloud::new(Setup {
        project: options.project.clone(),
        number: clock::number_of(&options.project),
        dir,
        port,
        owner,
        owner_key,
        control_token: hex::encode(random()),
        tokens: token::Tokens::new(&secret),
        profile: options.profile.clone(),
        latency: options.latency,
        operation_ms: options.operation_ms.clone(),
        stop_wanted: stop,
        store,
        hooks: services::ALL.iter().filter_map(|service| service.hooks).collect(),
        state,
    });
    cloud.requests.record(options.record);
    Ok((Arc::new(cloud), listener))
}

async fn bind(port: u16, last: Option<u16>) -> Result<TcpListener, SandboxError> {
    if port == 0
        && let Some(last) = last
        && let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, last)).await
    {
        return Ok(listener);
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => SandboxError::PortInUse { port },
        _ => SandboxError::Listen(error),
    })
}

/// The secret that tokens are made with, and the port for the next start.
fn identity(store: &mut Store, port: u16) -> Result<Vec<u8>, SandboxError> {
    let known = store.get("secret").and_then(|secret| hex::decode(secret.as_str()?).ok());
    let secret = match known {
        Some(secret) => secret,
        None => random(),
    };
    let mut tx = store.begin();
    tx.put("secret", json!(hex::encode(&secret)));
    tx.edit("project", |project| project["port"] = json!(port));
    tx.commit()?;
    Ok(secret)
}

/// What nobody can guess.
fn random() -> Vec<u8> {
    [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].iter().flat_map(|id| *id.as_bytes()).collect()
}
