//! Processes of a machine: each service is a process group of its own, and
//! every process of a machine, however far down, is known by the
//! `DORAINFRA_ROOT` in its environment. That is what a cgroup would be, without
//! a privilege: nothing of a machine outlives its stop.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dorainfra_base::child::{self, Child};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::task::JoinHandle;

use crate::machines::console::Console;

/// The variable that marks a machine's processes; its value is where the
/// machine's file system begins.
pub(super) const ROOT_VARIABLE: &str = "DORAINFRA_ROOT";
/// Marks the processes of one boot, so that the guard of a killed sandbox can't
/// reach what the next sandbox has started.
pub(super) const BOOT_VARIABLE: &str = "DORAINFRA_SANDBOX_BOOT";

/// What to run, and as whose output it is shown.
pub(super) struct Program {
    pub(super) words: Vec<OsString>,
    pub(super) directory: PathBuf,
    /// The whole environment; nothing is inherited.
    pub(super) environment: Vec<(String, String)>,
    pub(super) unit: String,
    pub(super) identifier: String,
}

/// A running process, leader of its own group.
pub(super) struct Process {
    child: Child,
    pid: u32,
    output: Vec<JoinHandle<()>>,
}

impl Process {
    pub(super) fn spawn(program: &Program, console: &Arc<Console>) -> std::io::Result<Self> {
        let (name, arguments) =
            program.words.split_first().ok_or_else(|| std::io::Error::other("no program given"))?;
        let mut child = child::bare(name)
            .args(arguments)
            .current_dir(&program.directory)
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().unwrap_or_default();
        let streams: [Option<Box<dyn AsyncRead + Send + Unpin>>; 2] = [
            child.stdout.take().map(|stream| Box::new(stream) as _),
            child.stderr.take().map(|stream| Box::new(stream) as _),
        ];
        let output = streams
            .into_iter()
            .flatten()
            .map(|stream| {
                let (console, unit) = (Arc::clone(console), program.unit.clone());
                tokio::spawn(copy_lines(stream, console, unit, program.identifier.clone(), pid))
            })
            .collect();
        Ok(Self { child, pid, output })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the end of the process. Can be cancelled and called again.
    pub(super) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Sends a signal to the process, or to its whole group.
    pub(super) async fn signal(&self, name: &str, group: bool) {
        kill(name, &[if group { format!("-{}", self.pid) } else { self.pid.to_string() }]).await;
    }

    /// Asks the process to end, and kills its group once it has ended or
    /// `patience` is over.
    pub(super) async fn terminate(
        mut self,
        signal: &str,
        whole_group: bool,
        patience: Duration,
    ) -> Option<ExitStatus> {
        self.signal(signal, whole_group).await;
        let status = tokio::time::timeout(patience, self.wait()).await.ok().and_then(Result::ok);
        self.finish().await;
        status
    }

    /// Kills what is left of the group, and waits until all its output is shown.
    pub(super) async fn finish(mut self) {
        self.signal("KILL", true).await;
        let _ = self.wait().await;
        // A process that left the group may hold the pipes: it is swept later.
        let all = futures::future::join_all(&mut self.output);
        if tokio::time::timeout(Duration::from_secs(1), all).await.is_err() {
            self.output.iter().for_each(JoinHandle::abort);
        }
    }
}

async fn copy_lines(
    stream: impl AsyncRead + Unpin,
    console: Arc<Console>,
    unit: String,
    identifier: String,
    pid: u32,
) {
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0) {
        console.print(&unit, &identifier, pid, String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

/// `kill` of the shell: it knows groups, and that a target is gone already is fine.
async fn kill(signal: &str, targets: &[String]) {
    let _ = child::command("/bin/sh")
        .args(["-c", "signal=$1; shift; kill -s \"$signal\" -- \"$@\" 2>/dev/null", "sh", signal])
        .args(targets)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
}

/// The processes that belong to the machine whose file system begins at `root`.
pub(super) fn members(root: &Path) -> Vec<u32> {
    let mut marker = OsString::from(format!("{ROOT_VARIABLE}="));
    marker.push(root);
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            // Other users' processes can't be read, and are not ours.
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|all| all.split(|&byte| byte == 0).any(|one| one == marker.as_bytes()))
        })
        .collect()
}

/// Kills every process of the machine. Answers whether none is left.
pub(super) async fn sweep(root: &Path) -> bool {
    // What forks while it is being looked for is found in the next round.
    for _ in 0..100 {
        let left = members(root);
        if left.is_empty() {
            return true;
        }
        kill("KILL", &left.iter().map(u32::to_string).collect::<Vec<_>>()).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    members(root).is_empty()
}

/// Outlives the sandbox by a moment: when the sandbox is killed, however hard,
/// the guard reads the end of its input and kills the machine's processes,
/// grandchildren too. (A parent-death signal would reach children only, and
/// comes when a *thread* of the parent ends.)
pub(super) struct Guard {
    child: Child,
}

const GUARD: &str = r#"
if read -r _; then exit 0; fi
rounds=0
while [ "$rounds" -lt 100 ]; do
  found=
  for file in $(grep -lsxzF "$1" /proc/[0-9]*/environ); do
    pid=${file#/proc/}
    kill -s KILL "${pid%/environ}" 2>/dev/null && found=yes
  done
  [ -n "$found" ] || exit 0
  rounds=$((rounds + 1))
done
"#;

impl Guard {
    /// Watches over the processes whose environment holds this boot's id.
    pub(super) fn spawn(boot_id: &str) -> std::io::Result<Self> {
        let child = child::bare("/bin/sh")
            .args(["-c", GUARD, "dorainfra-guard"])
            .arg(format!("{BOOT_VARIABLE}={boot_id}"))
            .current_dir("/")
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { child })
    }

    /// The machine was stopped in order: the guard has nothing to do.
    pub(super) async fn dismiss(mut self) {
        use tokio::io::AsyncWriteExt;
        if let Some(mut input) = self.child.stdin.take() {
            let _ = input.write_all(b"done\n").await;
        }
        let _ = self.child.wait().await;
    }
}
