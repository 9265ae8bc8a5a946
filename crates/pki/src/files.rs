//! A client's certificate, key and CA as files: in a folder that only their owner
//! can enter, each whole or not at all, and never over something else's.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use dorainfra_base::file;

use super::{Credentials, name_of_ours};

/// Where the three files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("{} can't be {what}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    #[error("{} can be entered by others than you (mode {mode:04o})", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("{} belongs to somebody else", .0.display())]
    NotYours(PathBuf),
    #[error("{} is there already and is no file of client `{name}`", path.display())]
    Foreign { path: PathBuf, name: String },
}

impl FilesError {
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Io { .. } => "check the folder's permissions and the free space".into(),
            Self::Open { path, .. } => {
                format!("`chmod 700 {}`, or name a folder that isn't there yet", path.display())
            }
            _ => "name another folder: nothing was written".into(),
        })
    }
}

impl ClientFiles {
    /// The names of the files in `folder`, whether or not they are there.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            ca: folder.join("ca.crt"),
            certificate: folder.join("client.crt"),
            key: folder.join("client.key"),
        }
    }

    /// Whether the files of the certificate with this common name can be written
    /// there: nothing is.
    ///
    /// # Errors
    /// A folder that others can enter, and a file there that isn't this client's.
    pub fn check(folder: &Path, common_name: &str) -> Result<(), FilesError> {
        match fs::symlink_metadata(folder) {
            Ok(data) if !data.is_dir() => return Err(FilesError::NotAFolder(folder.into())),
            Ok(data) => {
                is_ours(folder, &data)?;
                let mode = data.permissions().mode() & 0o7777;
                if mode & 0o077 != 0 {
                    return Err(FilesError::Open { path: folder.into(), mode });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(FilesError::Io { what: "read", path: folder.into(), source });
            }
        }
        Self::in_folder(folder).are_replaceable(common_name)
    }

    /// Writes them, readable by their owner only. The folder is made where it is
    /// missing. Files of an earlier certificate of the same client are replaced.
    ///
    /// # Errors
    /// What [`Self::check`] finds, before anything is written.
    pub fn write(folder: &Path, credentials: &Credentials) -> Result<Self, FilesError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| FilesError::Io { what, path, source }
        };
        Self::check(folder, &name_of_ours(&credentials.certificate).unwrap_or_default())?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io("made", folder))?;
        let files = Self::in_folder(folder);
        let all = [
            (&files.ca, &credentials.ca),
            (&files.key, &credentials.key),
            (&files.certificate, &credentials.certificate),
        ];
        for (path, contents) in all {
            file::replace_durably(path, contents.as_bytes(), file::Mode::Private)
                .map_err(io("written", path))?;
        }
        Ok(files)
    }

    /// What the files hold now.
    ///
    /// # Errors
    /// One of them can't be read.
    pub fn read(&self) -> Result<Credentials, FilesError> {
        let text = |path: &Path| {
            let path = path.to_owned();
            fs::read_to_string(&path).map_err(|source| FilesError::Io { what: "read", path, source })
        };
        Ok(Credentials { certificate: text(&self.certificate)?, key: text(&self.key)?, ca: text(&self.ca)? })
    }

    /// What is there was written by [`Self::write`], for the same client.
    fn are_replaceable(&self, name: &str) -> Result<(), FilesError> {
        let present = fs::read_to_string(&self.certificate).ok();
        let same = present.as_deref().and_then(name_of_ours).is_some_and(|present| present == name);
        for path in [&self.certificate, &self.key, &self.ca] {
            match fs::symlink_metadata(path) {
                Ok(data) if same && data.is_file() => is_ours(path, &data)?,
                Ok(_) => return Err(FilesError::Foreign { path: path.clone(), name: name.into() }),
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Belongs to whoever runs this.
fn is_ours(path: &Path, data: &fs::Metadata) -> Result<(), FilesError> {
    let us = fs::metadata("/proc/self").map(|data| data.uid());
    match us {
        Ok(us) if us == data.uid() => Ok(()),
        _ => Err(FilesError::NotYours(path.into())),
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

    use super::super::{Authority, Usage};
    use super::*;

    fn credentials(name: &str) -> Credentials {
        let now = OffsetDateTime::now_utc();
        let ca = Authority::new("test CA", Duration::days(9), now).unwrap();
        ca.issue(Usage::Client, name, &[], Duration::days(1), ca.ca.clone(), now).unwrap()
    }

    fn closed() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn only_their_owner_can_read_them() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("a/b");
        let files = ClientFiles::write(&folder, &credentials("test client x")).unwrap();
        assert_eq!(mode(&folder), 0o700);
        for path in [&files.ca, &files.certificate, &files.key] {
            assert_eq!(mode(path), 0o600, "{}", path.display());
        }
        let newer = credentials("test client x");
        ClientFiles::write(&folder, &newer).unwrap();
        assert_eq!(fs::read_to_string(&files.key).unwrap(), newer.key, "the same client's are replaced");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "nothing else is left there");
    }

    #[test]
    fn nothing_of_somebody_elses_is_overwritten() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("x");
        ClientFiles::write(&folder, &credentials("test client x")).unwrap();
        let error = ClientFiles::write(&folder, &credentials("test client y")).unwrap_err();
        assert!(matches!(error, FilesError::Foreign { .. }), "{error}");
        assert!(error.hint().unwrap().contains("nothing was written"));

        for name in ["client.key", "ca.crt", "client.crt"] {
            let folder = closed();
            fs::write(folder.path().join(name), "mine").unwrap();
            let error = ClientFiles::write(folder.path(), &credentials("test client x")).unwrap_err();
            assert!(matches!(error, FilesError::Foreign { .. }), "{name}: {error}");
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), "mine");
        }
        // A link would lead the key to another place.
        let folder = closed();
        std::os::unix::fs::symlink("/nowhere", folder.path().join("client.key")).unwrap();
        let error = ClientFiles::write(folder.path(), &credentials("test client x")).unwrap_err();
        assert!(matches!(error, FilesError::Foreign { .. }), "{error}");
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = ClientFiles::write(folder.path(), &credentials("test client x")).unwrap_err();
        assert!(error.hint().unwrap().contains("chmod 700"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(folder.path().join("f"), "").unwrap();
        let error = ClientFiles::write(&folder.path().join("f"), &credentials("x")).unwrap_err();
        assert!(matches!(error, FilesError::NotAFolder(_)), "{error}");
    }
}
