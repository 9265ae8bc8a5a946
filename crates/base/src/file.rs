//! Files that others put there. One that a user names is a regular file of a size that
//! can be meant: a pipe would be waited for without an end, a device read without one.
//! One of ours is not reached through somebody's link, and is replaced as a whole.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tempfile::NamedTempFile;

use super::error::Why;

/// The largest file of text that is read whole, bytes.
const LARGEST: u64 = 64 << 20;

/// The same error, which says where there is no room, where that is what it means. (Who writes a file knows
/// its path, and not always its error's reader.)
pub fn full(path: &Path) -> impl Fn(io::Error) -> io::Error {
    let path = path.to_owned();
    move |error| {
        let what = match error.kind() {
            io::ErrorKind::StorageFull => "the disk is full",
            io::ErrorKind::QuotaExceeded => "this user's quota of the disk is used up",
            _ => return error,
        };
        // Said once, by who is nearest to it.
        if error.get_ref().is_some_and(|inner| inner.is::<Full>()) {
            return error;
        }
        let kind = error.kind();
        io::Error::new(kind, Full { what, folder: folder_of(&path).to_owned(), source: Why::of(error) })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}; make room in {} (`df -h {}`)", folder.display(), folder.display())]
struct Full {
    what: &'static str,
    folder: PathBuf,
    #[source]
    source: Why,
}

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
        .map_err(of_a_link)
        .map_err(full(path))?;
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

/// Who may read a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Its owner only.
    Private,
    /// Everybody; its owner may write it.
    Public,
    /// Everybody, and it may be run.
    Program,
}

impl Mode {
    fn bits(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
            Self::Program => 0o755,
        }
    }
}

/// The new contents of a file, written beside it: a reader sees the old ones or the new ones,
/// and so does whoever comes after a kill. Dropped: the old ones stay.
#[derive(Debug)]
pub struct Replacement {
    part: NamedTempFile,
    path: PathBuf,
}

impl Replacement {
    /// # Errors
    /// Those of the system; what is there is neither a file nor a link.
    pub fn of(path: &Path, mode: Mode) -> io::Result<Self> {
        if std::fs::symlink_metadata(path).is_ok_and(|there| !there.is_file() && !there.is_symlink()) {
            return Err(io::Error::other("something else than a file is in its place"));
        }
        // Before anybody else may read it.
        let part = NamedTempFile::new_in(folder_of(path)).map_err(full(path))?;
        part.as_file().set_permissions(std::fs::Permissions::from_mode(mode.bits()))?;
        Ok(Self { part, path: path.to_owned() })
    }

    fn with(path: &Path, contents: &[u8], mode: Mode) -> io::Result<Self> {
        let mut replacement = Self::of(path, mode)?;
        replacement.write_all(contents)?;
        Ok(replacement)
    }

    /// The file that is written.
    pub fn file(&self) -> &File {
        self.part.as_file()
    }

    /// Puts it in its place. A link that is there is replaced, and not followed.
    ///
    /// # Errors
    /// Those of the system; the old contents stay.
    pub fn persist(self) -> io::Result<()> {
        self.part.persist(&self.path).map_err(|error| full(&self.path)(error.error))?;
        Ok(())
    }

    /// As [`persist`](Self::persist), where nothing is there yet.
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::AlreadyExists`]: something is there, and stays.
    pub fn persist_new(self) -> io::Result<()> {
        self.part.as_file().sync_all()?;
        self.part.persist_noclobber(&self.path).map_err(|error| error.error)?;
        Ok(())
    }

    /// As [`persist`](Self::persist), and back from here the new contents outlive a power cut: it
    /// waits for the disk.
    ///
    /// # Errors
    /// Those of the system.
    pub fn persist_durably(self) -> io::Result<()> {
        let path = self.path.clone();
        self.part.as_file().sync_all().map_err(full(&path))?;
        self.persist()?;
        // The name itself is in the folder.
        File::open(folder_of(&path))?.sync_all().map_err(full(&path))
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.write(bytes).map_err(full(&self.path))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.part.flush().map_err(full(&self.path))
    }
}

/// Replaces a file's contents as a [`Replacement`] does.
///
/// # Errors
/// As of [`Replacement::of`] and [`Replacement::persist`]; the old contents stay.
pub fn replace(path: &Path, contents: &[u8], mode: Mode) -> io::Result<()> {
    Replacement::with(path, contents, mode)?.persist()
}

/// The same for what can't be made again: it waits for the disk.
///
/// # Errors
/// As of [`Replacement::of`] and [`Replacement::persist_durably`].
pub fn replace_durably(path: &Path, contents: &[u8], mode: Mode) -> io::Result<()> {
    Replacement::with(path, contents, mode)?.persist_durably()
}

/// Makes a file, whole or not at all, where there is none.
///
/// # Errors
/// As of [`Replacement::persist_new`].
pub fn create_whole(path: &Path, contents: &[u8], mode: Mode) -> io::Result<()> {
    Replacement::with(path, contents, mode)?.persist_new()
}

/// Writes what a user wants in a place of their own: a file is replaced, also through their
/// link, a pipe or a device is written to.
///
/// # Errors
/// Those of the system.
pub fn output(path: &Path, contents: &[u8], mode: Mode) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(there) if !there.is_file() => std::fs::write(path, contents).map_err(full(path)),
        Ok(_) => replace(&std::fs::canonicalize(path)?, contents, mode),
        Err(_) => replace(path, contents, mode),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
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
    fn a_file_is_made_whole_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.yaml");
        create_whole(&path, b"mine", Mode::Public).unwrap();
        let error = create_whole(&path, b"theirs", Mode::Public).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

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

    #[test]
    fn a_replaced_file_is_whole_and_for_whom_it_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let there = |path: &Path| {
            let mode = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            (std::fs::read_to_string(path).unwrap(), mode)
        };
        for (mode, bits) in [(Mode::Public, 0o644), (Mode::Private, 0o600), (Mode::Program, 0o755)] {
            let text = format!("{mode:?}");
            for replace in [replace, replace_durably] {
                std::fs::write(&path, "old").unwrap();
                replace(&path, text.as_bytes(), mode).unwrap();
                assert_eq!(there(&path), (text.clone(), bits));
            }
        }
        let mut dropped = Replacement::of(&path, Mode::Public).unwrap();
        dropped.write_all(b"half").unwrap();
        assert_eq!(dropped.file().metadata().unwrap().permissions().mode() & 0o777, 0o644);
        drop(dropped);
        assert_eq!(there(&path), ("Program".into(), 0o755), "the old contents stay");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "and nothing is left beside it");
    }

    #[test]
    fn a_full_disk_is_named_with_the_folder_that_has_no_room() {
        let error = output(Path::new("/dev/full"), b"new", Mode::Public).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let text = error.to_string();
        for words in ["the disk is full", "No space left on device", "df -h /dev"] {
            assert!(text.contains(words), "{words} is not in: {text}");
        }
        // Once, however many hands it goes through.
        assert_eq!(full(Path::new("elsewhere/file"))(error).to_string(), text);
        let other = full(Path::new("a"))(io::ErrorKind::PermissionDenied.into());
        assert!(!other.to_string().contains("full"));
    }

    #[test]
    fn only_a_users_own_output_follows_links_and_feeds_devices() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let is_link = |name| std::fs::symlink_metadata(at(name)).unwrap().is_symlink();
        std::fs::write(at("target"), "old").unwrap();
        std::os::unix::fs::symlink(at("target"), at("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();

        output(&at("link"), b"new", Mode::Public).unwrap();
        assert!(is_link("link") && std::fs::read(at("target")).unwrap() == b"new");
        output(Path::new("/dev/null"), b"new", Mode::Public).unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());

        assert!(replace(&at("pipe"), b"new", Mode::Public).is_err());
        assert!(replace(folder.path(), b"new", Mode::Public).is_err());
        replace(&at("link"), b"newer", Mode::Private).unwrap();
        assert!(!is_link("link") && std::fs::read(at("target")).unwrap() == b"new");
    }
}
