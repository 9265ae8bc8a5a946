//! Processes that outlive the one that started them: start, look, end.
//!
//! A process is known by its pid *and* the time it was started, so that a pid
//! that was given to another process since is never taken for ours. The child
//! itself writes both down before it becomes the program: whoever starts it may
//! be killed at any moment and the next one still finds it.

use std::path::Path;
use std::time::{Duration, Instant};

use dorainfra_base::{child, file};
use rustix::process::{Pid, Signal, kill_process_group};

use super::part::Command;

/// A process, told apart from a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Clock ticks between the machine's start and the process's.
    pub started: u64,
}

/// `$0` is the file for the identity, `$1` who may start it again, `$2` what comes before
/// the program, and the rest the program. What ends is started again, later each time, for as long as
/// `$0.keep` names this keeper: that is written when the part was ready once, and taken away
/// before it is ended. Each run has a process group of its own.
const KEEP: &str = r#"IFS= read -r stat </proc/self/stat && printf '%s\n' "$stat" >"$0.keeper" || exit
name=$1 launch=$2 pause=1
shift 2
kept() { IFS= read -r keeper <"$0.keep" && [ "$keeper" = "$name" ]; }
while :; do
  began=$(date +%s)
  setsid /bin/sh -c "$launch" "$0" "$@" &
  wait $!
  code=$?
  kept 2>/dev/null || exit 0
  [ $(($(date +%s) - began)) -lt 60 ] || pause=1
  echo "dorainfra: ended with status $code; started again in $pause s"
  sleep "$pause"
  kept 2>/dev/null || exit 0
  [ "$pause" -ge 30 ] || pause=$((pause * 2))
done"#;

/// The shell reads its own entry of /proc, and keeps pid and start time when it becomes the program.
const LAUNCH: &str = r#"IFS= read -r stat </proc/self/stat && printf '%s\n' "$stat" >"$0" && exec "$@""#;

/// Starts a command with its output in `log`, and who keeps it running, and waits for nothing.
pub(super) fn start(
    command: &Command,
    dir: &Path,
    identity: &Path,
    keeper: &str,
    log: &Path,
) -> std::io::Result<()> {
    let log = file::append(log)?;
    let mut child = child::command("/bin/sh");
    child::hand_on(&mut child, child::NETWORK);
    let child = child
        .arg("-c")
        .arg(KEEP)
        .arg(identity)
        .args([keeper, LAUNCH])
        .arg(&command.program)
        .args(&command.args)
        .current_dir(dir)
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in the terminal is for the foreground group, not for this one.
        .process_group(0)
        .kill_on_drop(false)
        .spawn()?;
    // Dropped, not waited for: tokio reaps it, or init does when we are gone.
    drop(child);
    Ok(())
}

/// The identity that a child wrote, if it got as far.
pub(super) fn identity(file: &Path) -> Option<Identity> {
    parse(&std::fs::read_to_string(file).ok()?).map(|(identity, _)| identity)
}

/// Whether the process still runs. A zombie does not.
pub(super) fn alive(identity: Identity) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", identity.pid))
        .ok()
        .and_then(|stat| parse(&stat))
        .is_some_and(|(found, state)| found == identity && !matches!(state, 'Z' | 'X'))
}

/// A line of /proc/PID/stat: identity and state. The name in parentheses may
/// hold anything, parentheses too.
fn parse(stat: &str) -> Option<(Identity, char)> {
    let pid = stat.split_whitespace().next()?.parse().ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((Identity { pid, started }, state))
}

/// Asks the process and its group to end, waits, then kills. False: it still runs.
pub(super) async fn end(identity: Identity, patience: Duration) -> bool {
    for (signal, patience) in [(Signal::TERM, patience), (Signal::KILL, Duration::from_secs(5))] {
        if !alive(identity) {
            return true;
        }
        if let Some(pid) = Pid::from_raw(identity.pid) {
            // An error means that it has just ended, which is what is looked at next.
            let _ = kill_process_group(pid, signal);
        }
        let begun = Instant::now();
        while alive(identity) && begun.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    !alive(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3";
        assert_eq!(parse(line), Some((Identity { pid: 42, started: 98765 }, 'S')));
        assert_eq!(parse("42 (sh"), None);
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_ours() {
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (own, _) = parse(&own).unwrap();
        assert!(alive(own));
        assert!(!alive(Identity { started: own.started + 1, ..own }));
    }
}
