//! One machine that runs: systemd in a container, from its launch to its last
//! process. It boots again when it reboots itself, and tells the world when it
//! powers itself off.
//!
//! In the machine's folder: `boot/upper` (what its boot disk holds over the base
//! system), `boot/work` and `boot/root` (of the overlay), `serial.log`.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io};

use dorainfra_base::child::{self, Child};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Site;
use super::disk::{DiskError, Loop};
use super::host::{self, HostError, PATH, run};
use super::network::{METADATA, NetworkError};
use crate::machines::console::Console;
use crate::machines::metadata::{self, Subject};
use crate::machines::{Boot, MachineId, World};

/// Google gives a machine about this long to shut down.
const SHUTDOWN: Duration = Duration::from_secs(90);
/// How long a container may take until its systemd runs.
const LAUNCH: Duration = Duration::from_secs(60);
const LAUNCHER: &str = include_str!("launch.sh");
/// What nspawn ends with when the machine wants to boot again.
const REBOOT: i32 = 133;

#[derive(Debug, thiserror::Error)]
pub(super) enum VmError {
    #[error("its folder {} cannot be prepared: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("{} cannot hold a boot disk: a path with a comma, a colon or a backslash is no overlay's", .0.display())]
    Path(PathBuf),
    #[error("its address {0} is no IPv4 address")]
    Address(IpAddr),
    #[error("its container has not come up: {0}")]
    Launch(String),
    #[error("it is not running")]
    NotRunning,
    #[error("the firewall's rules cannot be put in force: {0}")]
    Firewall(HostError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Host(#[from] HostError),
}

/// How a machine is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In order, as far as Google gives it time.
    ShutDown,
    /// The plug is pulled.
    Kill,
}

pub(super) struct Vm {
    order: mpsc::UnboundedSender<End>,
    task: JoinHandle<()>,
    shared: Arc<Shared>,
}

/// What the machine's own task and the driver both use.
struct Shared {
    boot: Boot,
    address: Ipv4Addr,
    site: Arc<Site>,
    world: Arc<dyn World>,
    console: Arc<Console>,
    /// Its systemd, as the host numbers it; `None` between two boots.
    leader: Mutex<Option<u32>>,
    /// Device name and loop device of each attached disk.
    disks: tokio::sync::Mutex<Vec<(String, Loop)>>,
    metadata: tokio::sync::Mutex<Option<metadata::Serving>>,
}

impl Vm {
    pub(super) async fn boot(
        boot: Boot,
        site: Arc<Site>,
        world: Arc<dyn World>,
        console: Arc<Console>,
        subject: Subject,
    ) -> Result<Self, VmError> {
        let IpAddr::V4(address) = boot.address else { return Err(VmError::Address(boot.address)) };
        site.teardown(Some(&boot.id())).await?;
        let router = site.router(&boot).await?;
        router.connect(&boot.id(), address).await?;
        let shared = Arc::new(Shared {
            address,
            site: Arc::clone(&site),
            world: Arc::clone(&world),
            console,
            leader: Mutex::new(None),
            disks: tokio::sync::Mutex::default(),
            metadata: tokio::sync::Mutex::default(),
            boot,
        });
        let launched = async {
            let listener = router.metadata_listener(address).map_err(NetworkError::from)?;
            let shutdown = CancellationToken::new();
            let routes = metadata::routes(world, subject, shutdown.clone());
            *shared.metadata.lock().await = Some(metadata::Serving::start(listener, routes, shutdown));
            for (device, folder) in &shared.boot.disks {
                let disk = Loop::attach(folder, shared.size_of(device)).await?;
                shared.disks.lock().await.push((device.clone(), disk));
            }
            shared.launch().await
        };
        let child = match launched.await {
            Ok(child) => child,
            Err(error) => {
                shared.take_away().await;
                return Err(error);
            }
        };
        let (order, orders) = mpsc::unbounded_channel();
        let task = tokio::spawn(Arc::clone(&shared).live(child, orders));
        Ok(Self { order, task, shared })
    }

    /// Whether it has ended, by itself or by an order.
    pub(super) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    pub(super) async fn shut_down(self) {
        self.end(End::ShutDown).await;
    }

    pub(super) async fn kill(self) {
        self.end(End::Kill).await;
    }

    async fn end(self, how: End) {
        // Ended by itself in this very moment is as good.
        let _ = self.order.send(how);
        let _ = self.task.await;
    }

    pub(super) async fn attach(&self, device: &str, folder: &Path, gb: u64) -> Result<(), VmError> {
        let disk = Loop::attach(folder, gb).await?;
        let shown = match self.shared.running() {
            Some(leader) => self.shared.show(leader, device, &disk).await,
            None => Err(VmError::NotRunning),
        };
        if shown.is_err() {
            let _ = disk.detach().await;
            return shown;
        }
        self.shared.disks.lock().await.push((device.to_owned(), disk));
        Ok(())
    }

    pub(super) async fn detach(&self, device: &str) -> Result<(), VmError> {
        let mut disks = self.shared.disks.lock().await;
        let Some(at) = disks.iter().position(|(name, _)| name == device) else { return Ok(()) };
        let (_, disk) = disks.remove(at);
        if let Some(leader) = self.shared.running() {
            let script = "rm -f \"/dev/disk/by-id/google-$1\" \"/dev/$2\"";
            let device_file = format!("loop{}", disk.minor);
            self.shared.inside(leader, script, &[device, &device_file]).await?;
        }
        Ok(disk.detach().await?)
    }
}

impl Shared {
    fn running(&self) -> Option<u32> {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_running(&self, leader: Option<u32>) {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = leader;
    }

    /// GB, from the instance.
    fn size_of(&self, device: &str) -> u64 {
        let disks = self.boot.instance["disks"].as_array().into_iter().flatten();
        let mut sizes = disks
            .filter(|disk| disk["deviceName"] == device)
            .filter_map(|disk| disk["diskSizeGb"].as_str()?.parse().ok());
        sizes.next().unwrap_or(10)
    }

    /// Starts the container and waits until its systemd runs and has its disks.
    async fn launch(self: &Arc<Self>) -> Result<Child, VmError> {
        let dir = prepare(self)?;
        let space = self.site.names.machine(&self.boot.id());
        let mut child = child::bare("unshare")
            .args(["--mount", "--propagation", "private", "/bin/sh", "-c", LAUNCHER, "dorainfra-launch"])
            .arg(space)
            .arg(dir)
            .arg(&self.site.base)
            .arg(&self.boot.name)
            .env("PATH", PATH)
            .current_dir("/")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| HostError::Spawn { program: "unshare".into(), source })?;
        self.console.boots(&self.boot.name, self.address.into());
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(copy(stdout, Arc::clone(&self.console)));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(copy(stderr, Arc::clone(&self.console)));
        }
        let nspawn = child.id().unwrap_or_default();
        let up = async {
            loop {
                if let Some(leader) = leader_of(nspawn) {
                    return Ok(leader);
                }
                if let Ok(Some(status)) = child.try_wait() {
                    return Err(VmError::Launch(format!("{status}; its serial port says why")));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let leader = tokio::time::timeout(LAUNCH, up)
            .await
            .unwrap_or_else(|_| Err(VmError::Launch(format!("not within {} s", LAUNCH.as_secs()))))?;
        for (device, disk) in self.disks.lock().await.iter() {
            self.show(leader, device, disk).await?;
        }
        self.set_running(Some(leader));
        Ok(child)
    }

    /// Makes a loop device one of the machine's, as udev would.
    async fn show(&self, leader: u32, device: &str, disk: &Loop) -> Result<(), VmError> {
        let script = "mknod -m 0660 \"/dev/$2\" b 7 \"$3\" 2>/dev/null || [ -b \"/dev/$2\" ]\n\
                      mkdir -p /dev/disk/by-id\n\
                      ln -sfn \"../../$2\" \"/dev/disk/by-id/google-$1\"";
        let (file, minor) = (format!("loop{}", disk.minor), disk.minor.to_string());
        self.inside(leader, script, &[device, &file, &minor]).await
    }

    /// Runs a script among the machine's own mounts.
    async fn inside(&self, leader: u32, script: &str, arguments: &[&str]) -> Result<(), VmError> {
        let target = leader.to_string();
        let mut words = vec!["--target", &target, "--mount", "--", "/bin/sh", "-ec", script, "sh"];
        words.extend(arguments);
        run("nsenter", words, "").await?;
        Ok(())
    }

    /// The machine's life: until it is ended, or ends itself.
    async fn live(self: Arc<Self>, mut child: Child, mut orders: mpsc::UnboundedReceiver<End>) {
        loop {
            let ended = tokio::select! {
                status = child.wait() => Ok(status),
                order = orders.recv() => Err(order),
            };
            match ended {
                Ok(status) if reboots(&status) => {
                    self.set_running(None);
                    self.console.say("kernel: restarting");
                    match self.launch().await {
                        Ok(next) => child = next,
                        Err(error) => {
                            self.console.say(&format!("kernel: it does not boot again: {error}"));
                            break;
                        }
                    }
                }
                Ok(_) => break,
                Err(order) => {
                    self.stop(child, order.unwrap_or(End::Kill)).await;
                    self.take_away().await;
                    return;
                }
            }
        }
        self.take_away().await;
        let Boot { project, zone, name, .. } = &self.boot;
        self.world.powered_off(project, zone, name);
    }

    /// Ends the container. The metadata server answers until the last process is
    /// gone: a service may need a token to write what it holds.
    async fn stop(&self, mut child: Child, how: End) {
        let signal = |pid: Option<u32>, signal| {
            if let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.cast_signed())) {
                let _ = kill_process(pid, signal);
            }
        };
        if how == End::ShutDown {
            // nspawn passes it on as a request to power off.
            signal(child.id(), Signal::TERM);
            if tokio::time::timeout(SHUTDOWN, child.wait()).await.is_ok() {
                return;
            }
            self.console.say("kernel: not everything ended in time");
        }
        // With its first process, all of a container ends.
        signal(self.running(), Signal::KILL);
        if tokio::time::timeout(Duration::from_secs(10), child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }

    /// Everything of a machine on this host but its folders.
    async fn take_away(&self) {
        self.set_running(None);
        if let Err(error) = self.site.teardown(Some(&self.boot.id())).await {
            self.console.say(&format!("kernel: not everything could be taken away: {error}"));
        }
        for (_, disk) in self.disks.lock().await.drain(..) {
            if let Err(error) = disk.detach().await {
                self.console.say(&format!("kernel: {error}"));
            }
        }
        if let Some(metadata) = self.metadata.lock().await.take() {
            metadata.end().await;
        }
        self.console.say("kernel: power off");
    }
}

fn reboots(status: &io::Result<ExitStatus>) -> bool {
    status.as_ref().is_ok_and(|status| status.code() == Some(REBOOT))
}

/// The container's systemd, once it runs: nspawn's child that has become it.
fn leader_of(nspawn: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    let mut children = children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
    children.find(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mut lines = status.lines().filter_map(|line| line.strip_prefix("NSpid:"));
        name.trim_end() == "systemd" && lines.any(|line| line.split_whitespace().last() == Some("1"))
    })
}

/// Lines of the container's console, without what is for a terminal.
async fn copy(stream: impl tokio::io::AsyncRead + Unpin, console: Arc<Console>) {
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0) {
        let text = String::from_utf8_lossy(&line);
        let text = ::console::strip_ansi_codes(&text);
        let text = text.trim_matches(|c| matches!(c, '\r' | '\n'));
        if !text.is_empty() {
            console.say(text);
        }
        line.clear();
    }
}

/// Writes into the boot disk what the machine's surroundings are; answers the
/// machine's folder.
fn prepare(shared: &Shared) -> Result<PathBuf, VmError> {
    let boot = &shared.boot;
    let folder = |source| VmError::Folder { path: boot.dir.clone(), source };
    fs::create_dir_all(&boot.dir).map_err(folder)?;
    let dir = boot.dir.canonicalize().map_err(folder)?;
    for path in [&dir, &shared.site.base] {
        if path.as_os_str().as_encoded_bytes().iter().any(|byte| b",:\\".contains(byte)) {
            return Err(VmError::Path(path.clone()));
        }
    }
    for part in ["upper/etc", "work", "root"] {
        fs::create_dir_all(dir.join("boot").join(part)).map_err(folder)?;
    }
    // The root of the machine's own file system.
    for part in ["upper", "upper/etc"] {
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(dir.join("boot").join(part), open).map_err(folder)?;
    }
    for (path, text) in surroundings(shared) {
        let path = dir.join("boot/upper").join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(folder)?;
        }
        fs::write(path, text).map_err(folder)?;
    }
    Ok(dir)
}

/// What Google's images have (the agent's services on the serial port), and what
/// differs from a machine at Google: where its APIs are. That is told to systemd,
/// which tells every service: the startup script stays as it is.
fn surroundings(shared: &Shared) -> [(&'static str, String); 5] {
    let console = "[Service]\nStandardOutput=journal+console\nStandardError=journal+console\n";
    let Boot { project, zone, name, sandbox_port, .. } = &shared.boot;
    let (api, address) = (format!("http://{METADATA}:{sandbox_port}"), shared.address);
    [
        (
            "etc/hosts",
            format!(
                "127.0.0.1 localhost\n\
                 {METADATA} metadata.google.internal metadata\n\
                 {address} {name}.{zone}.c.{project}.internal {name}\n"
            ),
        ),
        ("etc/systemd/system/google-guest-agent.service.d/50-console.conf", console.to_owned()),
        ("etc/systemd/system/google-startup-scripts.service.d/50-console.conf", console.to_owned()),
        ("etc/resolv.conf", format!("nameserver {METADATA}\noptions timeout:1 attempts:1\n")),
        (
            "etc/systemd/system.conf.d/50-sandbox.conf",
            format!(
                "[Manager]\nDefaultEnvironment=STORAGE_EMULATOR_HOST={api} \
                 CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER={api}/\n"
            ),
        ),
    ]
}

impl Site {
    pub(super) async fn teardown(&self, machine: Option<&MachineId>) -> Result<(), HostError> {
        host::teardown(&self.names, &self.disks, machine).await
    }
}
