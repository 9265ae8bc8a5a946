//! What the driver asks of the host: programs that have to be there, running
//! them, and the names of everything that one sandbox makes, by which it is
//! found again and taken away (`teardown.sh`).

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use dorainfra_base::child::{self, Child, Command};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::machines::MachineId;

/// Where a root's programs are, whatever the caller's PATH is.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Program and the Debian package that has it.
const NEEDED: &[(&str, &str)] = &[
    ("debootstrap", "debootstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("losetup", "mount"),
    ("nsenter", "util-linux"),
];
const TEARDOWN: &str = include_str!("teardown.sh");

#[derive(Debug, thiserror::Error)]
pub(super) enum HostError {
    #[error("`{program}` cannot be run: {source}")]
    Spawn { program: String, source: std::io::Error },
    #[error("`{program}` failed ({status}): {said}")]
    Failed { program: String, status: ExitStatus, said: String },
}

/// Why machines cannot run here; `None`: they can.
pub(super) fn unfit() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("machines of the nspawn driver are made by root, and you are another user".into());
    }
    let has = |program: &str| PATH.split(':').any(|folder| Path::new(folder).join(program).is_file());
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        return Some(format!(
            "machines of the nspawn driver need programs that are missing here: apt-get install {}",
            missing.join(" ")
        ));
    }
    None
}

fn command(program: &str) -> Command {
    let mut command = child::bare(program);
    command.env("PATH", PATH).env("LC_ALL", "C.UTF-8").current_dir("/");
    command
}

/// Runs a program to its end; answers what it printed.
pub(super) async fn run<I, S>(program: &str, arguments: I, input: &str) -> Result<String, HostError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let spawn = |source| HostError::Spawn { program: program.to_owned(), source };
    let mut child = command(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(spawn)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that reads nothing says by its status what is wrong.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(spawn)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(HostError::Failed { program: program.to_owned(), status: output.status, said })
}

/// Several commands of `ip`, in one namespace or on the host.
pub(super) async fn ip(namespace: Option<&str>, lines: &str) -> Result<(), HostError> {
    let mut arguments = Vec::new();
    if let Some(namespace) = namespace {
        arguments.extend(["-netns", namespace]);
    }
    arguments.extend(["-batch", "-"]);
    run("ip", arguments, lines).await.map(drop)
}

/// What one sandbox's things are called: by its folder, so that the next start
/// in the same folder finds what a killed one has left.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) id: String,
}

impl Names {
    pub(super) fn of(dir: &Path) -> Self {
        let digest = Sha256::digest(dir.as_os_str().as_encoded_bytes());
        Self { id: hex::encode(&digest[..4]) }
    }

    /// The network namespace between the machines and the host.
    pub(super) fn router(&self) -> String {
        format!("dorainfra-{}", self.id)
    }

    /// A machine's network namespace, and its control group.
    pub(super) fn machine(&self, id: &MachineId) -> String {
        format!("dorainfra-{}-{}", self.id, part(id))
    }

    /// The host's end of its line to the router; at most 15 characters.
    pub(super) fn link(&self) -> String {
        format!("dora-{}", self.id)
    }
}

/// What a machine adds to the names. Neither part has a dot.
fn part(id: &MachineId) -> String {
    format!("{}.{}", id.name, id.zone)
}

/// Takes away what is left of one machine, or of all and the router: processes,
/// control groups, network namespaces, loop devices of files below `disks`.
pub(super) async fn teardown(
    names: &Names,
    disks: &Path,
    machine: Option<&MachineId>,
) -> Result<(), HostError> {
    let arguments = teardown_arguments(names, disks, machine);
    run("/bin/sh", arguments, "").await.map(drop)
}

fn teardown_arguments(names: &Names, disks: &Path, machine: Option<&MachineId>) -> Vec<std::ffi::OsString> {
    ["-c", TEARDOWN, "dorainfra-teardown", &names.id]
        .into_iter()
        .map(Into::into)
        .chain([disks.into(), machine.map(part).unwrap_or_default().into()])
        .collect()
}

/// Outlives the sandbox by a moment: when the sandbox is killed, however hard,
/// the guard reads the end of its input and takes everything away.
pub(super) struct Guard(Child);

impl Guard {
    pub(super) fn spawn(names: &Names, disks: &Path) -> Result<Self, HostError> {
        let script = format!("if read -r _; then exit 0; fi\n{TEARDOWN}");
        let mut arguments = teardown_arguments(names, disks, None);
        arguments[1] = script.into();
        command("/bin/sh")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
            .map_err(|source| HostError::Spawn { program: "sh".into(), source })
    }

    /// Everything was taken away in order: the guard has nothing to do.
    pub(super) async fn dismiss(mut self) {
        if let Some(mut input) = self.0.stdin.take() {
            let _ = input.write_all(b"done\n").await;
        }
        let _ = self.0.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_folder_and_fit() {
        let (one, two) = (Names::of(Path::new("/a")), Names::of(Path::new("/b")));
        assert_ne!(one.id, two.id);
        assert_eq!(one.id, Names::of(Path::new("/a")).id);
        assert!(one.link().len() <= 15, "{}", one.link());
        let [here, there] = ["z", "y"].map(|zone| MachineId { zone: zone.into(), name: "m".into() });
        assert!(one.machine(&here).starts_with(&one.router()));
        assert_ne!(one.machine(&here), one.machine(&there), "two zones may have machines of one name");
    }

    #[tokio::test]
    async fn a_failure_says_what_the_program_said() {
        let error = run("/bin/sh", ["-c", "echo first >&2; echo second >&2; exit 3"], "").await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.contains("first; second"), "{text}");
        assert_eq!(run("cat", [""; 0], "in").await.unwrap(), "in");
    }
}
