//! Files that are for this user's eyes only, in the stack's folder.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// Writes a file whole, or not at all: somebody may read it at any moment. The same
/// file when nothing changed, so that nobody has to be told. `owner` is whom it is
/// given to, user and group.
pub fn write(path: &Path, contents: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    if fs::read(path).is_ok_and(|present| present == contents) {
        return Ok(());
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let written = (|| {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(contents)?;
        if let Some((user, group)) = owner {
            fchown(&file, Some(user), Some(group))?;
        }
        fs::rename(&new, path)
    })();
    written.inspect_err(|_| {
        let _ = fs::remove_file(&new);
    })
}
