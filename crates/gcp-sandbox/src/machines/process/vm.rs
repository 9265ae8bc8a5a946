//! One machine that runs: its folder, its metadata server, its supervisor and
//! its startup script, from boot to the last process.
//!
//! In the machine's folder: `root` (the boot disk), `shims`, `run` and `tmp`
//! (gone with a reboot), `serial.log`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::supervisor::Supervisor;
use super::tree::{self, BOOT_VARIABLE, Guard, Process, Program, ROOT_VARIABLE};
use super::{control, hostnames, shims};
use crate::machines::console::Console;
use crate::machines::metadata::{self, Subject};
use crate::machines::{Boot, World};

/// Google gives a machine about this long to shut down.
const SHUTDOWN: Duration = Duration::from_secs(90);
/// The unit that runs startup scripts on Google's images.
const STARTUP_UNIT: &str = "google-startup-scripts.service";

#[derive(Debug, thiserror::Error)]
pub(super) enum BootError {
    #[error("the machine's folder {} cannot be prepared: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("the machine's address {address} cannot be used: {source}")]
    Address { address: String, source: io::Error },
    #[error("processes of its last run cannot be ended ({})", root.display())]
    Leftovers { root: PathBuf },
    #[error("a process cannot be started: {0}")]
    Spawn(io::Error),
}

pub(super) struct Vm {
    pub(super) boot: Boot,
    root: PathBuf,
    console: Arc<Console>,
    supervisor: Arc<Supervisor>,
    guard: Guard,
    startup: Option<(CancellationToken, JoinHandle<()>)>,
    metadata: metadata::Serving,
}

/// Where a machine's file system begins. Absolute and without links: it marks
/// the machine's processes.
pub(super) fn root_of(dir: &Path) -> io::Result<PathBuf> {
    let root = dir.join("root");
    fs::create_dir_all(&root)?;
    root.canonicalize()
}

impl Vm {
    pub(super) async fn boot(
        boot: Boot,
        world: Arc<dyn World>,
        console: Arc<Console>,
        subject: Subject,
    ) -> Result<Self, BootError> {
        let prepared = prepare(&boot);
        let root = prepared.map_err(|source| BootError::Folder { path: boot.dir.clone(), source })?;
        if !tree::sweep(&root).await {
            return Err(BootError::Leftovers { root });
        }
        shims::unmount_all(&root).map_err(|source| BootError::Folder { path: root.clone(), source })?;
        let address = std::net::SocketAddr::new(boot.address, boot.sandbox_port);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| BootError::Address { address: address.to_string(), source })?;
        let boot_id = uuid::Uuid::new_v4().to_string();
        let guard = Guard::spawn(&boot_id).map_err(BootError::Spawn)?;
        let environment = environment(&boot, &root, address, boot_id);
        let resolve = hostnames::of_the_world(Arc::clone(&world), boot.project.clone());
        let supervisor =
            Arc::new(Supervisor::new(root.clone(), environment.clone(), Arc::clone(&console), resolve));
        let shutdown = CancellationToken::new();
        let routes = metadata::routes(world, subject, shutdown.clone())
            .merge(control::routes(Arc::clone(&supervisor)));
        let metadata = metadata::Serving::start(listener, routes, shutdown);
        console.boots(&boot.name, boot.address);
        supervisor.start_enabled().await;
        let mut vm = Self { boot, root, console, supervisor, guard, startup: None, metadata };
        if let Err(error) = vm.run_startup_script(environment) {
            vm.kill().await;
            return Err(BootError::Spawn(error));
        }
        Ok(vm)
    }

    fn run_startup_script(&mut self, environment: Vec<(String, String)>) -> io::Result<()> {
        let Some(script) = metadata::item(&self.boot.instance, "startup-script") else {
            self.console.say("init: no startup script");
            return Ok(());
        };
        let path = self.boot.dir.join("run/startup-script");
        fs::write(&path, script)?;
        let program = Program {
            words: vec!["/bin/bash".into(), path.into()],
            directory: PathBuf::from("/"),
            environment,
            unit: STARTUP_UNIT.into(),
            identifier: "startup-script".into(),
        };
        let mut process = Process::spawn(&program, &self.console)?;
        let (stop, console) = (CancellationToken::new(), Arc::clone(&self.console));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                status = process.wait() => {
                    process.finish().await;
                    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    console.say(&format!("init: the startup script ended: {status}"));
                }
                () = stopped.cancelled() => {
                    process.terminate("TERM", true, Duration::from_secs(5)).await;
                }
            }
        });
        self.startup = Some((stop, task));
        Ok(())
    }

    /// Shuts down in order: services get their time, as far as Google gives it.
    /// The metadata server answers until the last one is gone: a service may
    /// need a token to write what it holds.
    pub(super) async fn shut_down(mut self) {
        self.console.say("init: powering down");
        self.supervisor.close();
        if let Some((stop, task)) = self.startup.take() {
            stop.cancel();
            let _ = task.await;
        }
        if tokio::time::timeout(SHUTDOWN, self.supervisor.stop_all()).await.is_err() {
            self.console.say("init: not everything ended in time");
        }
        self.kill().await;
    }

    /// Pulls the plug.
    pub(super) async fn kill(self) {
        self.supervisor.close();
        tree::sweep(&self.root).await;
        // The supervisor's tasks see their processes end; what they would start again must not be.
        if let Some((stop, task)) = self.startup {
            stop.cancel();
            let _ = task.await;
        }
        let _ = tokio::time::timeout(Duration::from_secs(10), self.supervisor.stop_all()).await;
        tree::sweep(&self.root).await;
        self.metadata.end().await;
        self.guard.dismiss().await;
        let _ = shims::unmount_all(&self.root);
        let _ = fs::remove_dir_all(self.boot.dir.join("tmp"));
        self.console.say("kernel: power off");
    }
}

fn prepare(boot: &Boot) -> io::Result<PathBuf> {
    fs::create_dir_all(&boot.dir)?;
    let dir = boot.dir.canonicalize()?;
    let root = root_of(&dir)?;
    for folder in ["run", "tmp"] {
        let path = boot.dir.join(folder);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir(&path)?;
    }
    shims::write(&dir.join("shims"))?;
    let by_id = root.join("dev/disk/by-id");
    if by_id.exists() {
        fs::remove_dir_all(&by_id)?;
    }
    fs::create_dir_all(&by_id)?;
    for (device, folder) in &boot.disks {
        fs::create_dir_all(folder)?;
        std::os::unix::fs::symlink(folder.canonicalize()?, by_id.join(format!("google-{device}")))?;
    }
    Ok(root)
}

/// The whole environment of everything on the machine: nothing of the sandbox's
/// own (no proxy, no credentials) leaks in.
fn environment(
    boot: &Boot,
    root: &Path,
    metadata: std::net::SocketAddr,
    boot_id: String,
) -> Vec<(String, String)> {
    let dir = root.parent().unwrap_or(root).display().to_string();
    let sandbox = format!("http://127.0.0.1:{}", boot.sandbox_port);
    [
        ("PATH", format!("{dir}/shims:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")),
        ("HOME", "/root".into()),
        ("LANG", "C.UTF-8".into()),
        ("TMPDIR", format!("{dir}/tmp")),
        ("GCE_METADATA_HOST", metadata.to_string()),
        ("STORAGE_EMULATOR_HOST", sandbox.clone()),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", format!("{sandbox}/")),
        (BOOT_VARIABLE, boot_id),
        (ROOT_VARIABLE, root.display().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}
