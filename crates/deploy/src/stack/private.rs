//! Files that are for this user's eyes only, in the stack's folder.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::fchown;
use std::path::Path;

use dorainfra_base::file::{Mode, Replacement};

/// Writes a file whole, or not at all: somebody may read it at any moment. The same
/// file when nothing changed, so that nobody has to be told. `owner` is whom it is
/// given to, user and group.
pub fn write(path: &Path, contents: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    if fs::read(path).is_ok_and(|present| present == contents) {
        return Ok(());
    }
    let mut replacement = Replacement::of(path, Mode::Private)?;
    replacement.write_all(contents)?;
    if let Some((user, group)) = owner {
        fchown(replacement.file(), Some(user), Some(group))?;
    }
    replacement.persist()
}
