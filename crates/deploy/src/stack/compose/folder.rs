//! The folder that the containers read from: configuration, certificates, the
//! generator's image to be built.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::Path;

use dorainfra_config::JobFile;
use dorainfra_pki::Credentials;
use serde_json::Value;
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
    let mut files = rendered(setup);
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

/// By container: a digest of what it is made of. What Compose compares itself can't be read before it is done.
pub fn made_of(setup: &Setup) -> Result<BTreeMap<String, String>, ComposeError> {
    let files = rendered(setup);
    let path = setup.dir.join("compose.yaml");
    let text = files.iter().find(|(path, _)| path == "compose.yaml").map_or("", |(_, text)| text);
    let document: Value = serde_saphyr::from_str(text)
        .map_err(|error| ComposeError::File { path, source: io::Error::other(error) })?;
    let program = fs::metadata(&setup.generator);
    let program =
        program.map(|data| format!("{} {:?}", data.len(), data.modified().ok())).unwrap_or_default();
    let mounted = digest(&files);
    let services = document["services"].as_object().into_iter().flatten();
    let made_of = services.map(|(name, service)| {
        let mut of = vec![(name.clone(), service.to_string())];
        if service.to_string().contains("DORAINFRA_DIGEST") {
            of.push(("files".into(), mounted.clone()));
        }
        if service.get("build").is_some() {
            of.push(("program".into(), program.clone()));
        }
        (name.clone(), digest(&of))
    });
    Ok(made_of.collect())
}

/// By their paths in the folder.
fn rendered(setup: &Setup) -> Vec<(String, String)> {
    let files = setup.files.iter();
    let path = |path: &str| path.strip_prefix("stack/").unwrap_or(path).to_owned();
    files.map(|file| (path(&file.path), file.contents.clone())).collect()
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

    fn setup(dir: &Path, files: &[(&str, &str)]) -> Setup {
        let file = |(path, contents): &(&str, &str)| crate::blueprint::File {
            path: (*path).into(),
            contents: (*contents).into(),
            executable: false,
        };
        Setup {
            dir: dir.into(),
            name: "dora".into(),
            files: files.iter().map(file).collect(),
            tls: Some(Credentials { certificate: "c".into(), key: "k".into(), ca: "a".into() }),
            generator: "/bin/true".into(),
            job_files: Vec::new(),
            ports: Config::default().stack.ports,
        }
    }

    #[test]
    fn a_container_is_another_one_where_what_it_is_made_of_is() {
        const COMPOSE: &str = "x-all: &all {read_only: true}\nservices:\n  generator: {<<: *all, build: ./generator, \
                               command: [--teams, '5']}\n  prometheus: {labels: {digest: \"${DORAINFRA_DIGEST:-}\"}}\n  \
                               pushgateway: {<<: *all, ports: ['127.0.0.1:9091:9091']}\n";
        let of = |compose: &str, collector: &str| {
            let files = [("stack/compose.yaml", compose), ("stack/prometheus.yml", collector)];
            made_of(&setup(Path::new("/none"), &files)).unwrap()
        };
        let first = of(COMPOSE, "a");
        assert_eq!(first.keys().collect::<Vec<_>>(), ["generator", "prometheus", "pushgateway"]);
        let others = |other: BTreeMap<String, String>| -> Vec<String> {
            other.into_iter().filter(|(name, digest)| first[name] != *digest).map(|(name, _)| name).collect()
        };
        assert_eq!(others(of(COMPOSE, "a")), [""; 0]);
        assert_eq!(others(of(COMPOSE, "b")), ["prometheus"]);
        // The file of the containers is one of those by whose digest the collector is made anew.
        assert_eq!(others(of(&COMPOSE.replace("'5'", "'6'"), "a")), ["generator", "prometheus"]);
        assert_eq!(others(of(&COMPOSE.replace("read_only", "tty"), "a")).len(), 3);
    }

    #[test]
    fn the_folder_holds_what_compose_reads_and_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("dora/stack");
        let files = [
            ("stack/compose.yaml", "services: {}\n"),
            ("stack/prometheus.yml", "global: {}\n"),
            ("stack/grafana/provisioning/datasources/mimir.yaml", "apiVersion: 1\n"),
        ];
        let setup = setup(&dir, &files);
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
