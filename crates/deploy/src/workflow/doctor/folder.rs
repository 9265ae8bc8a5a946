//! The folder that is worked in: whose its local state is, and how much room there is.

use std::path::Path;

use dorainfra_base::shell::quoted;
use dorainfra_model::Check;

use super::super::workspace::Workspace;
use super::{Diagnosis, Repair, failed, passed, unknown, warning};

/// Less than this and not even the collector's log of what is to be sent has room.
const LEAST: u64 = 256 << 20;
/// A release of Mimir, the history of a year and some days of the collector's log.
const ENOUGH: u64 = 2 << 30;

pub(super) fn checks(workspace: &Workspace) -> Diagnosis {
    let folder = workspace.state();
    let shown = workspace.shown(&folder).display().to_string();
    let title = "folder of local state";
    let mut found = Diagnosis::default();
    match workspace.own_state() {
        Err(error) => {
            let hint = error.hint().unwrap_or_default();
            found.add(failed("workspace", title, error.to_string(), hint));
        }
        Ok(()) if !folder.exists() => {
            found.add(warning(
                "workspace",
                title,
                format!("{shown} is not there yet: `apply` makes it, or `doctor --fix`"),
            ));
            found.repairs.push(Repair::Folder { shown });
        }
        Ok(()) if rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK).is_err() => {
            let hint = format!("chmod u+rwx {}", quoted(folder.display()));
            found.add(failed("workspace", title, format!("{shown} can't be written to"), hint));
        }
        Ok(()) => found.add(passed("workspace", title, shown)),
    }
    found.add(match free(&workspace.folder) {
        Ok(free) => room(&workspace.folder, free),
        Err(error) => unknown("disk", "disk space", error),
    });
    found
}

fn room(folder: &Path, free: u64) -> Check {
    let title = "disk space";
    let shown = format!("{} free", size(free));
    let hint = format!("free some: `du -xh {0} | sort -h | tail`, `df -h {0}`", quoted(folder.display()));
    match free {
        ..LEAST => failed("disk", title, shown, hint),
        LEAST..ENOUGH => {
            let enough = size(ENOUGH);
            warning("disk", title, format!("{shown}: {enough} are enough for a release and a year; {hint}"))
        }
        _ => passed("disk", title, shown),
    }
}

/// Bytes that this user may still write.
fn free(folder: &Path) -> Result<u64, String> {
    let found = rustix::fs::statvfs(folder).map_err(|error| error.to_string())?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn size(bytes: u64) -> String {
    match bytes {
        ..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

#[cfg(test)]
mod tests {
    use dorainfra_model::Outcome;

    use super::*;

    #[test]
    fn a_disk_that_is_full_fails_and_one_that_is_nearly_so_is_told() {
        let of = |free| room(Path::new("/w"), free);
        for (free, outcome, words) in [
            (0, Outcome::Failed, "0 MiB free"),
            (LEAST - 1, Outcome::Failed, "255 MiB"),
            (LEAST, Outcome::Warning, "256 MiB free: 2.0 GiB are enough"),
            (ENOUGH, Outcome::Passed, "2.0 GiB free"),
            (u64::MAX, Outcome::Passed, "GiB free"),
        ] {
            let check = of(free);
            assert_eq!((check.outcome, check.found.contains(words)), (outcome, true), "{check:?}");
        }
        assert!(of(0).hint.unwrap().contains("`df -h /w`"));
    }

    #[test]
    fn a_folder_is_missing_ours_or_somebody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path().into(), "dorainfra".into());
        let of = || {
            let found = checks(&workspace);
            (found.checks[0].outcome, found.repairs.len())
        };
        assert_eq!(of(), (Outcome::Warning, 1));
        workspace.make_state().unwrap();
        assert_eq!(of(), (Outcome::Passed, 0));
        std::fs::remove_dir_all(workspace.state()).unwrap();
        std::os::unix::fs::symlink(folder.path(), workspace.state()).unwrap();
        assert_eq!(of(), (Outcome::Failed, 0));
    }
}
