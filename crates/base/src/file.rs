//! Files that others put there. One that a user names is a regular file of a size that
//! can be meant: a pipe would be waited for without an end, a device read without one.
//! One of ours is not reached through somebody's link.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// The largest file of text that is read whole, bytes.
const LARGEST: u64 = 64 << 20;

/// Opens a file to read it.
///
/// # Errors
/// Those of the system, and where it is no regular file.
pub fn open(path: &Path) -> io::Result<File> {
    // Opening a pipe waits for its writer, unless it is asked not to.
    let file = OpenOptions::new().read(true).custom_flags(flags(OFlags::NONBLOCK)).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    if !kind.is_file() {
        return Err(io::Error::other("it is a pipe or a device, and not a file that can be read again"));
    }
    Ok(file)
}

/// A file's text.
///
/// # Errors
/// As of [`open`]; it is too large, or not UTF-8.
pub fn text(path: &Path) -> io::Result<String> {
    let file = open(path)?;
    let mut text = String::new();
    // One more than is taken: it may grow meanwhile.
    let read = file.take(LARGEST.saturating_add(1)).read_to_string(&mut text)?;
    if read as u64 > LARGEST {
        return Err(io::Error::other(format!("it is larger than {} MiB", LARGEST >> 20)));
    }
    Ok(text)
}

/// Opens a file of ours to go on with it, for this user's eyes only; a link in its place
/// is refused.
///
/// # Errors
/// Those of the system.
pub fn append(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK))
        .open(path)
        .map_err(of_a_link)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("something else than a file is in its place")),
    }
}

/// Opens a file of ours to write it anew; a link in its place is refused.
///
/// # Errors
/// Those of the system.
pub fn create(path: &Path) -> io::Result<File> {
    let file = append(path)?;
    file.set_len(0)?;
    Ok(file)
}

fn of_a_link(error: io::Error) -> io::Error {
    match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::LOOP) => io::Error::other("a link is in its place, which is not followed"),
        _ => error,
    }
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_devices_folders_and_links_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        assert_eq!(text(&at("file")).unwrap(), "text");
        assert_eq!(text(&at("link")).unwrap(), "text", "a user's own link is fine");
        for other in [at("pipe"), "/dev/zero".into(), "/dev/null".into(), folder.path().into()] {
            assert!(text(&other).is_err(), "{}", other.display());
        }
        assert!(append(&at("link")).unwrap_err().to_string().contains("link"));
        assert!(create(&at("link")).is_err() && create(&at("pipe")).is_err());
        assert_eq!(std::fs::read_to_string(at("file")).unwrap(), "text", "untouched");
        create(&at("new")).unwrap();
    }
}
