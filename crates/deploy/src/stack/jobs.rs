//! The files that the user's own jobs name (credentials, certificates, lists of
//! targets), copied beside the collector's configuration: processes and containers
//! find them at the same path, and a container gets these and nothing else of the
//! user's. The collector reads them anew when they change.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use dorainfra_config::JobFile;

use super::private;

type Failed = (PathBuf, io::Error);

/// Makes the copies what the originals are, and deletes those of files that no job
/// names any more. `dir` is the folder of the collector's configuration; `owner` is
/// whom the copies are given to, user and group.
pub(super) fn copy(dir: &Path, files: &[JobFile], owner: Option<(u32, u32)>) -> Result<(), Failed> {
    let mut wanted = BTreeSet::new();
    for file in files {
        for (from, to) in matched(file)? {
            let to = dir.join(to);
            let text = dorainfra_base::file::text(&from).map_err(failed(&from))?;
            if let Some(folder) = to.parent() {
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
                made.map_err(failed(folder))?;
            }
            private::write(&to, text.as_bytes(), owner).map_err(failed(&to))?;
            wanted.insert(to);
        }
    }
    // The folders stay: a container may have them mounted.
    for folder in entries(&dir.join(JobFile::FOLDER))? {
        for copy in entries(&folder)?.into_iter().filter(|copy| !wanted.contains(copy)) {
            fs::remove_file(&copy).map_err(failed(&copy))?;
        }
    }
    Ok(())
}

/// Deletes all copies.
pub(super) fn forget(dir: &Path) -> Result<(), Failed> {
    let folder = dir.join(JobFile::FOLDER);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err((folder, error)),
        _ => Ok(()),
    }
}

/// The file, or all that its pattern matches, and where each is copied to. One `*` in
/// the file's name, as Prometheus takes it.
fn matched(file: &JobFile) -> Result<Vec<(PathBuf, String)>, Failed> {
    let (folder, name) = file.to.rsplit_once('/').unwrap_or(("", &file.to));
    let Some((before, after)) = name.split_once('*') else {
        return Ok(vec![(file.from.clone(), file.to.clone())]);
    };
    let originals = entries(file.from.parent().unwrap_or(&file.from))?;
    let matching = originals.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        let rest = name.strip_prefix(before)?;
        (rest.ends_with(after) && path.is_file()).then(|| (path, format!("{folder}/{name}")))
    });
    Ok(matching.collect())
}

/// What is in a folder; of one that is not there, nothing.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let mut paths: Vec<PathBuf> =
        listed.map_err(failed(folder))?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Failed + use<> {
    let path = path.to_owned();
    move |error| (path.clone(), error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn copies_follow_their_originals_and_are_for_this_user_only() {
        let folder = tempfile::tempdir().unwrap();
        let (own, dir) = (folder.path().join("own"), folder.path().join("stack"));
        fs::create_dir_all(own.join("a.yaml")).unwrap();
        for (name, text) in [("password", "one"), ("t-1.yaml", "1"), ("t-2.yaml", "2"), ("t-3.json", "3")] {
            fs::write(own.join(name), text).unwrap();
        }
        let file = |to: &str, from: &str| JobFile { to: to.into(), from: own.join(from) };
        let files = [file("scrape/x/password", "password"), file("scrape/y/t-*.yaml", "t-*.yaml")];
        copy(&dir, &files, None).unwrap();
        let read = |path: &str| fs::read_to_string(dir.join(path)).unwrap();
        assert_eq!((read("scrape/x/password"), read("scrape/y/t-2.yaml")), ("one".into(), "2".into()));
        assert_eq!(entries(&dir.join("scrape/y")).unwrap().len(), 2);
        let mode = fs::metadata(dir.join("scrape/x/password")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        fs::write(own.join("password"), "two").unwrap();
        fs::remove_file(own.join("t-2.yaml")).unwrap();
        copy(&dir, &files, None).unwrap();
        assert_eq!(read("scrape/x/password"), "two");
        assert_eq!(entries(&dir.join("scrape/y")).unwrap().len(), 1);

        copy(&dir, &files[1..], None).unwrap();
        assert!(!dir.join("scrape/x/password").exists());
        let (path, _) = copy(&dir, &[file("scrape/x/none", "none")], None).unwrap_err();
        assert_eq!(path, own.join("none"));
        forget(&dir).unwrap();
        assert!(!dir.join("scrape").exists());
        forget(&dir).unwrap();
    }
}
