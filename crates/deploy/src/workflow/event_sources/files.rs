//! The files that event sources are kept in, and those that they need.

use std::path::{Path, PathBuf};

use dorainfra_config::{DeployedBy, Source, SourceKind};
use dorainfra_dora::source::store::Origin;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::super::error::{Error, InputError, Result};

/// What to do where a file can't be read.
pub(super) const CHECK_THE_PATH: &str = "check the path and its permissions";

/// The file of events, and the folder beside it where sources keep how far they
/// went.
pub struct Files {
    pub events: PathBuf,
    state: PathBuf,
}

impl Files {
    /// Makes the folders.
    pub fn of(events: PathBuf) -> Result<Self> {
        let mut state = events.clone().into_os_string();
        state.push(".state");
        let state = PathBuf::from(state);
        std::fs::create_dir_all(&state)
            .map_err(|source| Error::Unmakeable { path: state.clone(), source })?;
        Ok(Self { events, state })
    }

    /// The webhooks' queue.
    pub fn journal(&self) -> PathBuf {
        self.state.join("webhooks.jsonl")
    }

    /// What a forge's source keeps. Another way to read is another file.
    pub fn of_source(&self, source: &Source) -> PathBuf {
        let digest = of(&forge_reading(source));
        let project = source.project.as_deref().unwrap_or_default().replace('/', "+");
        self.state.join(format!("{}-{project}-{}.json", source.kind.name(), &digest[..8]))
    }
}

/// What a source reads, and in which way. Its form is kept: events are known by it.
#[derive(Serialize)]
struct Reading<'a> {
    kind: SourceKind,
    path: Option<String>,
    project: Option<String>,
    url: &'a Option<String>,
    environment: Option<&'a String>,
    deployments: Option<DeployedBy>,
    tags: &'a Option<String>,
    branch: &'a Option<String>,
    paths: &'a Option<Vec<String>>,
}

/// What a source of one service reads, however its owner is called.
pub(super) fn origin(source: &Source) -> Origin {
    let path = source.path.as_ref().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()));
    let reading = Reading {
        kind: source.kind,
        path: path.map(|path| path.to_string_lossy().into_owned()),
        project: source.project.as_deref().map(str::to_lowercase),
        url: &source.url,
        // In git an environment is a name.
        environment: source.environment.as_ref().filter(|_| source.kind != SourceKind::Git),
        deployments: source.deployments,
        tags: &source.tags,
        branch: &source.branch,
        paths: &source.paths,
    };
    let place = (source.kind, &reading.path, &reading.project);
    Origin {
        reading: named(source.kind, &json(&reading)),
        former: named(source.kind, &former_reading(&reading)).replacen(':', "-", 1),
        place: named(source.kind, &json(&place)),
        name: format!(
            "{} {}",
            source.kind.name(),
            reading.path.as_ref().or(reading.project.as_ref()).map_or("", String::as_str)
        ),
    }
}

fn named(kind: SourceKind, text: &str) -> String {
    format!("{}:{}", kind.name(), &of(text)[..16])
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and lists of texts are JSON")
}

fn of(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// As releases up to 0.1 had it, which took a digest of Rust's own notation.
fn former_reading(reading: &Reading<'_>) -> String {
    let Reading { kind, path, project, url, environment, deployments, tags, branch, paths } = reading;
    let deployments = variant(deployments.as_ref());
    format!(
        "({}, {path:?}, {project:?}, ({url:?}, {environment:?}, {deployments}, {tags:?}, {branch:?}), {paths:?})",
        capitalized(kind.name())
    )
}

/// In the same notation, of which the names of files are made: another one would have every forge read anew.
fn forge_reading(source: &Source) -> String {
    let Source { url, environment, deployments, changes, project, .. } = source;
    let (deployments, changes) = (variant(deployments.as_ref()), variant(changes.as_ref()));
    format!("({url:?}, {environment:?}, {deployments}, {changes}, {project:?})")
}

/// `Some(Releases)`, for what the configuration calls `releases`.
fn variant(value: Option<&impl Serialize>) -> String {
    let name = |value| json(value).trim_matches('"').to_owned();
    value.map_or_else(|| "None".to_owned(), |value| format!("Some({})", capitalized(&name(value))))
}

fn capitalized(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    first.to_uppercase() + rest
}

/// The content of a file that holds a secret, without the line's end.
pub fn secret_of(file: &Path) -> Result<String> {
    let text = dorainfra_base::file::text(file).map_err(|source| InputError::Unreadable {
        path: file.to_path_buf(),
        source,
        hint: CHECK_THE_PATH,
    })?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use dorainfra_config::ChangesAre;

    use super::*;

    fn shop(kind: SourceKind) -> Source {
        match kind {
            SourceKind::Git => Source {
                path: Some("/srv/no-such/shop".into()),
                tags: Some("v*".into()),
                paths: Some(vec!["a".into(), "b".into()]),
                ..Source::new(kind)
            },
            _ => Source {
                project: Some("Example/shop".into()),
                url: Some("https://x.example".into()),
                environment: Some("live".into()),
                deployments: Some(DeployedBy::Releases),
                ..Source::new(kind)
            },
        }
    }

    /// Events and states are found by these: an update must not lose them.
    #[test]
    fn names_of_what_is_read_stay() {
        let git = origin(&shop(SourceKind::Git));
        assert_eq!(git.former, "git-42e2fb59b0e86552");
        assert_eq!(
            (git.reading.as_str(), git.place.as_str()),
            ("git:c062c81cbbe3ad0e", "git:2664f8feaa5215ca")
        );
        let github = origin(&shop(SourceKind::Github));
        assert_eq!(github.former, "github-0fa724bfceb23fd5");
        let requests = Source { url: None, changes: Some(ChangesAre::Requests), ..shop(SourceKind::Github) };
        let folder = tempfile::tempdir().unwrap();
        let files = Files::of(folder.path().join("events.jsonl")).unwrap();
        assert!(files.of_source(&requests).ends_with("github-Example+shop-92d42e17.json"));
    }

    #[test]
    fn another_way_to_read_is_another_reading_of_the_same_place() {
        let git = shop(SourceKind::Git);
        let same = origin(&Source { team: Some("t".into()), environment: Some("e".into()), ..git.clone() });
        assert_eq!(same, origin(&git));
        for other in [
            Source { tags: Some("w*".into()), ..git.clone() },
            Source { branch: Some("main".into()), tags: None, ..git.clone() },
            Source { paths: None, ..git.clone() },
        ] {
            let other = origin(&other);
            assert!(other.reading != same.reading && other.place == same.place, "{other:?}");
        }
        let elsewhere = origin(&Source { path: Some("/srv/other".into()), ..git });
        assert!(elsewhere.reading != same.reading && elsewhere.place != same.place);
        let case = Source { project: Some("example/Shop".into()), ..shop(SourceKind::Github) };
        assert_eq!(origin(&case), origin(&shop(SourceKind::Github)));
    }
}
