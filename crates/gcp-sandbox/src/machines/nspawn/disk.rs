//! Data disks: a sparse file each, in its disk's folder, which a loop device
//! shows to the machine that the disk is attached to.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::host::{HostError, run};

#[derive(Debug, thiserror::Error)]
pub(super) enum DiskError {
    #[error("the disk {} cannot be made: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the disk cannot be attached: {0}")]
    Host(#[from] HostError),
    #[error("the machine's device {0} is gone")]
    Device(String),
}

/// A loop device of the host, `/dev/loop7`.
#[derive(Clone, Debug)]
pub(super) struct Loop {
    pub(super) device: String,
    pub(super) minor: u64,
}

impl Loop {
    /// Shows the disk in `folder` as a device. A disk that became larger grows,
    /// none ever shrinks.
    pub(super) async fn attach(folder: &Path, gb: u64) -> Result<Self, DiskError> {
        let path = folder.join("disk.img");
        grow(&path, gb << 30).map_err(|source| DiskError::File { path: path.clone(), source })?;
        let arguments = ["--find", "--show", "--nooverlap"].map(AsRef::as_ref);
        let device = run("losetup", arguments.into_iter().chain([path.as_os_str()]), "").await?;
        let device = device.trim().to_owned();
        use std::os::unix::fs::MetadataExt as _;
        let number = fs::metadata(&device).map_err(|_| DiskError::Device(device.clone()))?.rdev();
        Ok(Self { minor: u64::from(rustix::fs::minor(number)), device })
    }

    /// A device that is still mounted somewhere is gone with that mount.
    pub(super) async fn detach(&self) -> Result<(), DiskError> {
        run("losetup", ["--detach", &self.device], "").await?;
        Ok(())
    }
}

fn grow(path: &Path, bytes: u64) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    if file.metadata()?.len() < bytes {
        file.set_len(bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_takes_no_space_until_it_is_used_and_never_shrinks() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d/disk.img");
        grow(&path, 10 << 30).unwrap();
        grow(&path, 1 << 30).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.blocks()), (10 << 30, 0));
    }
}
