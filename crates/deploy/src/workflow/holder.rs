//! Who holds the lease: words for people, and an identity that tells whether
//! the process that took it is still there.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use dorainfra_engine::{LeaseRecord, LeaseStore, Noted, ProviderError};
use dorainfra_gcp::BucketLease;

/// This process: boot, pid namespace, pid and start time, so that no other
/// process of any machine is ever taken for it; and a random part, for systems
/// that tell nothing of these.
pub fn identity() -> String {
    let random = uuid::Uuid::new_v4();
    match own_process() {
        Some(process) => format!("{process}/{random}"),
        None => random.to_string(),
    }
}

/// Gives back the lease of a process that ran here and died, so that a run that
/// was killed can be repeated at once. Everybody else's lease ends by itself.
pub async fn release_of_the_dead(store: &BucketLease, noted: &Noted) -> Result<(), ProviderError> {
    if let Some(kept) = store.read().await?
        && let Some(record) = kept.record.filter(|record| !record.released && died(&record.id))
        && let Ok(generation) =
            store.write(&LeaseRecord { released: true, ..record }, kept.generation).await?
        && !noted.is_newer(kept.generation)
    {
        noted.note(generation);
    }
    Ok(())
}

/// The lease as it is before anything is read. What a run reads while another one works is not
/// what that one leaves: then whatever is found later is newer.
pub async fn noted(store: &BucketLease) -> Noted {
    let noted = Noted::default();
    // Who may not read it, or not yet, does not take it either.
    if let Ok(found) = store.read().await {
        let settled = found
            .filter(|kept| kept.is_free() || kept.record.as_ref().is_some_and(|record| died(&record.id)));
        noted.note(settled.map_or(0, |kept| kept.generation));
    }
    noted
}

fn own_process() -> Option<String> {
    let pid = std::process::id();
    Some(format!("{}/{pid}/{}", system()?, start_time(pid)?))
}

/// This boot of this machine, and the pid namespace in it.
fn system() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), namespace.display()))
}

/// In clock ticks since the boot: field 22 of `stat`, counted behind the name.
fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    // A zombie has ended, whoever forgot to look.
    if fields.next() == Some("Z") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// Whether the lease's holder was a process of this system that is gone. `false`
/// whenever that can't be told.
fn died(id: &str) -> bool {
    let Some((process, _random)) = id.rsplit_once('/') else { return false };
    let Some((rest, started)) = process.rsplit_once('/') else { return false };
    let Some((holder_system, pid)) = rest.rsplit_once('/') else { return false };
    let (Some(here), Ok(pid)) = (system(), pid.parse()) else { return false };
    holder_system == here && start_time(pid).as_deref() != Some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_is_not_dead() {
        assert!(!died(&identity()));
    }

    #[test]
    fn a_process_of_another_machine_is_never_dead() {
        assert!(!died("other-boot/pid:[1]/1/1/random"));
        assert!(!died("just-a-uuid"));
    }

    #[test]
    fn a_process_that_ended_is_dead() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(died(&format!("{}/{pid}/1/random", system().unwrap())));
    }
}
