//! The folder that the containers read from: configuration, certificates, the
//! generator's image to be built.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::Path;

use dorainfra_config::JobFile;
use dorainfra_pki::Credentials;
use sha2::{Digest as _, Sha256};

use super::{ComposeError, Setup, jobs};

/// Who the containers run as where the operator is root: nobody.
const NOBODY: u32 = 65_534;

/// Writes everything that Compose and the containers read.
pub(super) fn prepare(setup: &Setup) -> Result<(), ComposeError> {
    for folder in ["", "tls", "generator", "data/prometheus", "data/grafana", JobFile::FOLDER] {
        make(&setup.dir.join(folder))?;
    }
    // Whoever owns the folder is whom the containers run as, but for root.
    let owner = fs::metadata(&setup.dir).map_err(file(&setup.dir))?;
    let (uid, gid) = match owner.uid() {
        0 => (NOBODY, NOBODY),
        uid => (uid, owner.gid()),
    };
    let mut files: Vec<(String, String)> = setup
        .files
        .iter()
        .map(|file| {
            (file.path.strip_prefix("stack/").unwrap_or(&file.path).to_owned(), file.contents.clone())
        })
        .collect();
    if setup.tls.is_none() {
        forget_key(&setup.dir)?;
    }
    let certificates = certificates(setup);
    let (digest, tls) = (digest(&files), digest(&certificates));
    files.extend(certificates);
    let variables =
        format!("DORAINFRA_USER={uid}:{gid}\nDORAINFRA_DIGEST={digest}\nDORAINFRA_TLS_DIGEST={tls}\n");
    files.push((".env".into(), variables));
    for (path, contents) in &files {
        let path = setup.dir.join(path);
        if let Some(folder) = path.parent() {
            make(folder)?;
        }
        write(&path, contents).map_err(file(&path))?;
    }
    // No part of the digest: the collector reads them anew by itself.
    jobs::copy(&setup.dir, &setup.job_files, Some((uid, gid)).filter(|_| owner.uid() == 0))
        .map_err(ComposeError::of_file)?;
    let program = setup.dir.join("generator/dorainfra");
    copy(&setup.generator, &program).map_err(file(&program))?;
    if owner.uid() == 0 {
        for folder in ["tls", "data", "grafana", "prometheus.yml", JobFile::FOLDER] {
            give(&setup.dir.join(folder), uid, gid)?;
        }
        // The folder itself has to be passed through; what is in it stays closed.
        for folder in [Some(setup.dir.as_path()), setup.dir.parent()].into_iter().flatten() {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
            fs::set_permissions(folder, mode).map_err(file(folder))?;
        }
    }
    Ok(())
}

fn certificates(setup: &Setup) -> Vec<(String, String)> {
    setup.tls.iter().flat_map(Credentials::files).map(|(path, text)| (path.into(), text.into())).collect()
}

fn digest(files: &[(String, String)]) -> String {
    let mut digest = Sha256::new();
    for (path, contents) in files {
        digest.update(path);
        digest.update(contents);
    }
    hex::encode(digest.finalize())
}

/// The client's key goes with the stack.
pub(super) fn forget_key(dir: &Path) -> Result<(), ComposeError> {
    let path = dir.join("tls/client.key");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(&path)(error)),
        _ => Ok(()),
    }
}

fn file(path: &Path) -> impl Fn(io::Error) -> ComposeError + use<> {
    let path = path.to_owned();
    move |source| ComposeError::File { path: path.clone(), source }
}

fn make(folder: &Path) -> Result<(), ComposeError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(file(folder))
}

/// For the owner's eyes only; the same file when nothing changed, so that no
/// container is made anew for nothing.
fn write(path: &Path, contents: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|present| present == contents) {
        return Ok(());
    }
    // In place: a mounted file is the inode, not the name.
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, contents.as_bytes())
}

fn copy(program: &Path, to: &Path) -> io::Result<()> {
    let same = |a: &fs::Metadata, b: &fs::Metadata| a.len() == b.len() && a.mtime() <= b.mtime();
    if let (Ok(from), Ok(there)) = (fs::metadata(program), fs::metadata(to))
        && same(&from, &there)
    {
        return Ok(());
    }
    fs::copy(program, to).map(|_| ())
}

/// Gives a file, or a folder with all that is in it, to somebody.
fn give(path: &Path, uid: u32, gid: u32) -> Result<(), ComposeError> {
    if !path.exists() {
        return Ok(());
    }
    chown(path, Some(uid), Some(gid)).map_err(file(path))?;
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(file(path))? {
            give(&entry.map_err(file(path))?.path(), uid, gid)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use dorainfra_config::Config;

    use super::*;

    #[test]
    fn the_folder_holds_what_compose_reads_and_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("dora/stack");
        let rendered = |path: &str, contents: &str| crate::blueprint::File {
            path: path.into(),
            contents: contents.into(),
            executable: false,
        };
        let setup = Setup {
            dir: dir.clone(),
            name: "dora".into(),
            files: vec![
                rendered("stack/compose.yaml", "services: {}\n"),
                rendered("stack/prometheus.yml", "global: {}\n"),
                rendered("stack/grafana/provisioning/datasources/mimir.yaml", "apiVersion: 1\n"),
            ],
            tls: Some(Credentials { certificate: "c".into(), key: "k".into(), ca: "a".into() }),
            generator: "/bin/true".into(),
            job_files: Vec::new(),
            ports: Config::default().stack.ports,
        };
        prepare(&setup).unwrap();
        prepare(&setup).unwrap();
        let key = dir.join("tls/client.key");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let environment = fs::read_to_string(dir.join(".env")).unwrap();
        assert!(environment.starts_with("DORAINFRA_USER=") && !environment.contains("=0:"), "{environment}");
        assert!(dir.join("generator/dorainfra").exists());
        assert!(dir.join("grafana/provisioning/datasources/mimir.yaml").exists());
        forget_key(&dir).unwrap();
        assert!(!key.exists());
        forget_key(&dir).unwrap();
    }
}
