//! The base system: a Debian 12 that is built once with debootstrap, and lies
//! under every machine's boot disk. Kept in a folder of its own for all
//! sandboxes of a host, by what is in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use dorainfra_base::child;
use dorainfra_model::{Event, Events};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::host;

const SUITE: &str = "bookworm";
/// What Google's image has and a machine of ours uses: its agent first of all. And
/// Python, in which what takes Mimir's place in tests is written.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "dbus",
    "google-guest-agent",
    "ca-certificates",
    "curl",
    "e2fsprogs",
    "iproute2",
    "procps",
    "python3",
];
/// Raised with what is done to the system after debootstrap.
const FORM: u32 = 1;
/// What would look for the internet, or for hardware.
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "console-getty.service",
    "systemd-networkd.service",
];
/// Lines of debootstrap that are shown when it fails.
const LAST_WORDS: usize = 6;

/// Why machines of this driver cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NspawnError {
    #[error("{0}")]
    Unfit(String),
    #[error("the base system cannot be kept in {}: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("debootstrap cannot be run: {0}")]
    Spawn(std::io::Error),
    #[error("debootstrap could not build a Debian from {mirror}:\n{said}")]
    Failed { mirror: String, said: String },
}

impl NspawnError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unfit(_) => "or take `--machines process`, which needs neither".into(),
            Self::Folder { .. } => {
                "check the folder's permissions and the free space, or name another with --base-system".into()
            }
            Self::Failed { .. } => {
                "check the network, or name another mirror of Debian with --debian-mirror".into()
            }
            Self::Spawn(_) => return None,
        })
    }
}

/// A Debian to boot machines from.
#[derive(Clone, Debug)]
pub struct BaseSystem {
    pub(super) path: PathBuf,
}

impl BaseSystem {
    /// Finds it in `folder`, or builds it there: a minute or two and 300 MB, from
    /// `mirror`. Two at once take turns.
    pub async fn prepare(folder: &Path, mirror: &str, events: &Events) -> Result<Self, NspawnError> {
        if let Some(why) = host::unfit() {
            return Err(NspawnError::Unfit(why));
        }
        let fails = |source| NspawnError::Folder { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(fails)?;
        let folder = folder.canonicalize().map_err(fails)?;
        let path = folder.join(name());
        if path.exists() {
            return Ok(Self { path });
        }
        let lock = File::create(folder.join("lock")).map_err(fails)?;
        if lock.try_lock().is_err() {
            events.note("waiting for another run that builds the base system");
        }
        let waiting = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock));
        let _lock = waiting.await.map_err(std::io::Error::other).and_then(|lock| lock).map_err(fails)?;
        if !path.exists() {
            // What a killed run has left.
            let building = folder.join(".building");
            if building.exists() {
                fs::remove_dir_all(&building).map_err(fails)?;
            }
            build(&building, mirror, events).await?;
            finish(&building).and_then(|()| fs::rename(&building, &path)).map_err(fails)?;
            stage(events, "ready", "the base system is built");
        }
        Ok(Self { path })
    }
}

/// By what is in it: `debian-12-1f2e3d4c5b6a`.
fn name() -> String {
    let what = format!("{FORM} {SUITE} {PACKAGES:?} {MASKED:?}");
    format!("debian-12-{}", &hex::encode(Sha256::digest(what))[..12])
}

fn stage(events: &Events, stage: &str, message: &str) {
    let (machine, stage, message) = ("debian-12".to_owned(), stage.to_owned(), message.to_owned());
    events.send(Event::MachineStage { machine, stage, message });
}

/// Its mounts and processes end with it, however it ends.
async fn build(target: &Path, mirror: &str, events: &Events) -> Result<(), NspawnError> {
    stage(events, "debootstrap", &format!("building Debian 12 from {mirror}"));
    // A proxy is named by the environment: it stays.
    let mut child = child::command("unshare");
    child::hand_on(&mut child, child::NETWORK);
    let mut child = child
        .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"])
        .args(["debootstrap", "--variant=minbase"])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(SUITE)
        .arg(target)
        .arg(mirror)
        .env("PATH", host::PATH)
        .env("LC_ALL", "C.UTF-8")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(NspawnError::Spawn)?;
    let mut last: Vec<String> = Vec::new();
    let mut step = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let words = line.trim_start_matches("I: ");
            let verb = words.split(' ').next().unwrap_or_default();
            if line.starts_with("I: ") && verb != step {
                stage(events, "debootstrap", words.trim_end_matches('.'));
                step = verb.to_owned();
            }
            if last.len() == LAST_WORDS {
                last.remove(0);
            }
            last.push(line);
        }
    }
    let status = child.wait().await.map_err(NspawnError::Spawn)?;
    if status.success() {
        return Ok(());
    }
    let _ = fs::remove_dir_all(target);
    Err(NspawnError::Failed { mirror: mirror.to_owned(), said: last.join("\n") })
}

/// Makes a machine's first boot of it.
fn finish(root: &Path) -> std::io::Result<()> {
    fs::write(root.join("etc/machine-id"), "")?;
    fs::write(root.join("etc/hostname"), "")?;
    for unit in MASKED {
        let path = root.join("etc/systemd/system").join(unit);
        if !path.is_symlink() {
            std::os::unix::fs::symlink("/dev/null", path)?;
        }
    }
    for folder in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        fs::remove_dir_all(root.join(folder))?;
        fs::create_dir_all(root.join(folder))?;
    }
    Ok(())
}
