//! What is on disks and in snapshots: a folder each, which the machines' drivers
//! fill as they like. Here it is only found, copied whole and thrown away.

use std::path::{Path, PathBuf};

use dorainfra_base::child;

/// Copying a folder that a machine writes to can meet a file that is just gone.
const ATTEMPTS: usize = 5;

/// The folder that stands for the disk or the snapshot whose record is under `key`.
pub fn folder(dir: &Path, key: &str) -> Option<PathBuf> {
    if let Some(name) = key.strip_prefix("compute/global/snapshots/") {
        return Some(dir.join("snapshots").join(name));
    }
    let (zone, name) = key.strip_prefix("compute/zones/")?.split_once("/disks/")?;
    Some(dir.join("disks").join(zone).join(name))
}

/// Makes `to` a copy of `from`, whole or not at all; holes stay holes. A folder
/// that was never made is an empty disk. `Err` is one sentence.
pub async fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let mut new = to.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let words = |error: std::io::Error| format!("{}: {error}", to.display());
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        remove(&new).await.map_err(words)?;
        tokio::fs::create_dir_all(&new).await.map_err(words)?;
        if !from.exists() {
            break;
        }
        let mut source = from.as_os_str().to_owned();
        source.push("/.");
        let copied = child::command("cp")
            .args(["--archive", "--reflink=auto", "--sparse=always"])
            .arg(source)
            .arg(&new)
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| format!("cp: {error}"))?;
        if copied.status.success() {
            why.clear();
            break;
        }
        why = String::from_utf8_lossy(&copied.stderr).lines().next().unwrap_or("cp failed").to_owned();
    }
    if !why.is_empty() {
        let _ = remove(&new).await;
        return Err(why);
    }
    remove(to).await.map_err(words)?;
    tokio::fs::rename(&new, to).await.map_err(words)
}

async fn remove(folder: &Path) -> std::io::Result<()> {
    match tokio::fs::remove_dir_all(folder).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
