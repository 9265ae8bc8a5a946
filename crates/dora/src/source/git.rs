//! A local git repository: its tags, or the first parents of a branch, as
//! deployments, and the commits that each of them brought for the first time.
//!
//! Only commits, tags and references are read, by `gix`: no program is started,
//! and nothing of the repository's own configuration can run anything.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use dorainfra_base::error::Why;
use dorainfra_model::Events;
use gix::ObjectId;
use time::{OffsetDateTime, UtcOffset};

use super::SourceError;
use super::message::title;
use super::patterns::Patterns;
use super::project::{DeploymentRecord, Fact, MergedChange, Project, Status};
use super::releases::{self, Exclude};

/// What of a repository is a deployment.
#[derive(Clone, Debug)]
pub enum Deployed {
    /// Each tag whose name matches, at the tag's time.
    Tags(Patterns),
    /// Each commit on the first-parent line of this branch, at its commit time.
    Branch(String),
}

/// Where to look, and for what.
#[derive(Clone, Debug)]
pub struct Settings {
    pub path: PathBuf,
    pub deployed: Deployed,
    /// Tags that are no deployments.
    pub exclude: Exclude,
    /// The service's folders and files; none: all of the repository.
    pub paths: Vec<PathBuf>,
    /// As the owner's events name it.
    pub environment: String,
    /// What others say was deployed of this repository: they know when, it knows what.
    pub reported: Vec<ReportedDeployment>,
}

/// A deployment that somebody else tells of.
#[derive(Clone, Debug)]
pub struct ReportedDeployment {
    pub id: String,
    pub at: OffsetDateTime,
    /// Its commit, shortened or not.
    pub revision: String,
    pub name: String,
}

impl ReportedDeployment {
    /// Those of a project that ran in an environment.
    pub fn of(project: &Project, environment: &str) -> Vec<Self> {
        let here = project.deployments.iter().filter(|(_, ran)| ran.environment == environment);
        here.filter_map(|(id, ran)| {
            let (revision, name) = (ran.revision.clone(), ran.name.clone());
            Some(Self { id: id.clone(), at: ran.at()?, revision, name })
        })
        .collect()
    }
}

/// All facts of a repository. Blocking, and as long as the history is: a million
/// commits take about half a minute.
pub fn read(settings: &Settings, events: &Events) -> Result<Project, SourceError> {
    let reader = Reader::open(settings)?;
    let mut releases = match &settings.deployed {
        Deployed::Tags(pattern) => {
            reader.tags(pattern, &settings.exclude, settings.reported.is_empty(), events)?
        }
        Deployed::Branch(branch) => reader.first_parents(branch)?,
    };
    if !settings.reported.is_empty() {
        releases.extend(settings.reported.iter().filter_map(|reported| reader.reported(reported)));
        // By time; of a branch, the order in which it grew stays where times are the same.
        releases.sort_by_key(|release| release.at);
    }
    let alone = matches!(settings.deployed, Deployed::Branch(_));
    let mut project = Project::default();
    let mut seen = HashSet::new();
    for together in releases.chunk_by_mut(|a, b| a.at == b.at) {
        reader.ancestors_first(together, &seen)?;
        for release in together {
            let changes = reader.brought(release.commit, alone, &mut seen, &mut project)?;
            project.add(Fact::Ran {
                id: release.id.clone(),
                deployment: DeploymentRecord {
                    environment: settings.environment.clone(),
                    name: release.name.clone(),
                    revision: release.commit.to_string(),
                    statuses: vec![Status { at: release.at, ok: true }],
                    changes: Some(changes),
                    mends: false,
                },
            });
        }
    }
    reader.note_untouched(events);
    project.is_called(reader.address().as_deref());
    Ok(project)
}

struct Reader<'a> {
    path: &'a Path,
    paths: &'a [PathBuf],
    /// Those of the paths that no commit has changed so far.
    untouched: RefCell<BTreeSet<&'a Path>>,
    repository: gix::Repository,
}

/// A commit that was deployed.
struct Release {
    id: String,
    name: String,
    at: OffsetDateTime,
    commit: ObjectId,
}

impl<'a> Reader<'a> {
    fn open(settings: &'a Settings) -> Result<Self, SourceError> {
        let path = settings.path.as_path();
        let fails = |message: Why| SourceError::Git {
            path: path.to_owned(),
            message,
            hint: "give the folder of a repository: the one that has `.git` in it, or a bare one",
        };
        if let Some((message, hint)) = unsupported(path) {
            return Err(SourceError::Git { path: path.to_owned(), message: message.into(), hint });
        }
        let options = gix::open::Options::isolated();
        let repository = gix::open_opts(path, options).map_err(|error| fails(Why::of(error)))?;
        if repository.is_shallow().unwrap_or(false) {
            return Err(SourceError::Git {
                path: path.to_owned(),
                message: "its history is cut off (a shallow clone)".into(),
                hint: "`git fetch --unshallow` gets the rest; in CI, check out with the whole history \
                       (`fetch-depth: 0`)",
            });
        }
        let untouched = RefCell::new(settings.paths.iter().map(PathBuf::as_path).collect());
        Ok(Self { path, paths: &settings.paths, untouched, repository })
    }

    fn fails(&self, error: impl std::error::Error + Send + Sync + 'static) -> SourceError {
        SourceError::Git {
            path: self.path.to_owned(),
            message: Why::of(error),
            hint: "`git fsck` says what is wrong with a damaged repository",
        }
    }

    /// Where it was cloned from, without `.git`; `None`: from nowhere, or from a folder.
    fn address(&self) -> Option<String> {
        let address = self.repository.config_snapshot().string("remote.origin.url")?.to_string();
        let address = address.trim_end_matches('/').trim_end_matches(".git");
        let is_server = match address.split_once(':') {
            Some(("file", _)) | None => false,
            Some((host, _)) => !host.contains('/'),
        };
        is_server.then(|| address.to_owned())
    }

    /// What somebody else deployed; `None`: of no commit that is here.
    fn reported(&self, reported: &ReportedDeployment) -> Option<Release> {
        let prefix = gix::hash::Prefix::from_hex(&reported.revision).ok()?;
        let found = self.repository.objects.lookup_prefix(prefix, None).ok()??.ok()?;
        let commit = self.repository.find_commit(found).ok()?.id().detach();
        Some(Release { id: reported.id.clone(), name: reported.name.clone(), at: reported.at, commit })
    }

    /// The tags that match, by time.
    fn tags(
        &self,
        pattern: &Patterns,
        exclude: &Exclude,
        needed: bool,
        events: &Events,
    ) -> Result<Vec<Release>, SourceError> {
        let references = self.repository.references().map_err(|error| self.fails(error))?;
        let mut releases: Vec<Release> = Vec::new();
        let mut left_out = Vec::new();
        for reference in references.tags().map_err(|error| self.fails(error))? {
            let mut reference = reference.map_err(|error| self.fails(error))?;
            let name = reference.name().shorten().to_string();
            if !pattern.matches(&name) {
                continue;
            }
            if exclude.matches(&name) {
                left_out.push(name);
                continue;
            }
            // An annotated tag has a time of its own.
            let tag = reference.follow_to_object().map_err(|error| self.fails(error))?.detach();
            let object = self.repository.find_object(tag).map_err(|error| self.fails(error))?;
            let tagged = match object.try_into_tag() {
                Ok(tag) => tag.tagger().ok().flatten().and_then(|tagger| time(tagger.time().ok()?)),
                Err(_) => None,
            };
            // A tag of a file or a tree is no deployment.
            let Ok(commit) = reference.peel_to_commit() else { continue };
            let committed = || commit.time().ok().and_then(time);
            let Some(at) = tagged.or_else(committed) else { continue };
            releases.push(Release { id: name.clone(), name, at, commit: commit.id().detach() });
        }
        if releases.is_empty() && needed {
            let (message, hint): (String, _) = match left_out.len() {
                0 => (
                    "no tag matches the pattern".into(),
                    "`--tags PATTERN` chooses others (`*` is any text), `--branch NAME` takes what lands on a branch",
                ),
                all => (
                    format!("all {all} tags that match the pattern are left out, {} among them", left_out[0]),
                    "`exclude` in the configuration (`--exclude PATTERN`) says which tags are no deployments: \
                     `exclude: []` counts all of them",
                ),
            };
            return Err(SourceError::Git { path: self.path.to_owned(), message: message.into(), hint });
        }
        let mut names: HashMap<ObjectId, Vec<String>> = HashMap::new();
        for release in &releases {
            names.entry(release.commit).or_default().push(release.name.clone());
        }
        releases.retain(|release| {
            let moves = exclude.is_moving(&release.name, names[&release.commit].iter().map(String::as_str));
            if moves {
                left_out.push(release.name.clone());
            }
            !moves
        });
        releases::note_left_out(&left_out, &self.path.display().to_string(), events);
        releases.sort_by(|a, b| (a.at, &a.name).cmp(&(b.at, &b.name)));
        Ok(releases)
    }

    /// The first-parent line of a branch, the oldest first.
    fn first_parents(&self, branch: &str) -> Result<Vec<Release>, SourceError> {
        // A tag may have the same name.
        let kinds = ["refs/heads/", "refs/remotes/", ""].map(|kind| format!("{kind}{branch}"));
        let found = kinds.iter().find_map(|name| self.repository.find_reference(name.as_str()).ok());
        let mut reference =
            found.map_or_else(|| self.repository.find_reference(branch), Ok).map_err(|error| {
                SourceError::Git {
                    path: self.path.to_owned(),
                    message: Why::of(error),
                    hint: "name a branch of this repository, for example `main` or `origin/main`",
                }
            })?;
        let tip = reference.peel_to_commit().map_err(|error| self.fails(error))?;
        let mut releases = Vec::new();
        let mut next = Some(tip.id().detach());
        while let Some(id) = next {
            let commit = self.repository.find_commit(id).map_err(|error| self.fails(error))?;
            next = commit.parent_ids().next().map(gix::Id::detach);
            if !self.touches(&commit, next)? {
                continue;
            }
            let Some(at) = commit.time().ok().and_then(time) else { continue };
            let name = title(&commit.message_raw_sloppy().to_string());
            releases.push(Release { id: id.to_string(), name, at, commit: id });
        }
        releases.reverse();
        Ok(releases)
    }

    /// Sorts what was deployed in one second: what the other one is built on was there first. Of
    /// those that were not `seen`, as the others bring nothing.
    fn ancestors_first(&self, together: &mut [Release], seen: &HashSet<ObjectId>) -> Result<(), SourceError> {
        if together.iter().all(|release| release.commit == together[0].commit) {
            return Ok(());
        }
        let mut ages: HashMap<ObjectId, usize> = HashMap::new();
        let mut begun = HashSet::new();
        for release in &*together {
            let mut waiting = vec![release.commit];
            while let Some(id) = waiting.last().copied() {
                if seen.contains(&id) || !begun.insert(id) {
                    waiting.pop();
                    let next = ages.len();
                    ages.entry(id).or_insert(next);
                    continue;
                }
                let commit = self.repository.find_commit(id).map_err(|error| self.fails(error))?;
                waiting.extend(commit.parent_ids().map(gix::Id::detach).filter(|id| !begun.contains(id)));
            }
        }
        together.sort_by_key(|release| ages[&release.commit]);
        Ok(())
    }

    /// Whether a commit changed one of the service's paths: what is there differs from what its
    /// (first) parent has there.
    fn touches(&self, commit: &gix::Commit<'_>, parent: Option<ObjectId>) -> Result<bool, SourceError> {
        if self.paths.is_empty() {
            return Ok(true);
        }
        let tree = commit.tree().map_err(|error| self.fails(error))?;
        let before = match parent {
            Some(parent) => {
                let parent = self.repository.find_commit(parent).map_err(|error| self.fails(error))?;
                Some(parent.tree().map_err(|error| self.fails(error))?)
            }
            None => None,
        };
        let mut untouched = self.untouched.borrow_mut();
        let mut touched = false;
        for path in self.paths {
            if touched && !untouched.contains(path.as_path()) {
                continue;
            }
            let at = |tree: &gix::Tree<'_>| -> Result<Option<ObjectId>, SourceError> {
                let entry = tree.lookup_entry_by_path(path).map_err(|error| self.fails(error))?;
                Ok(entry.map(|entry| entry.object_id()))
            };
            if at(&tree)? != before.as_ref().map(at).transpose()?.flatten() {
                touched = true;
                untouched.remove(path.as_path());
            }
        }
        Ok(touched)
    }

    /// Warns of paths that are in no commit: most likely they are written in another way.
    fn note_untouched(&self, events: &Events) {
        let untouched = self.untouched.borrow();
        if untouched.is_empty() {
            return;
        }
        let paths: Vec<String> = untouched.iter().map(|path| format!("`{}`", path.display())).collect();
        events.warn(
            format!("{}: no commit that was deployed has changed {}", self.path.display(), paths.join(", ")),
            Some("`paths` are folders and files below the repository's top; case matters".into()),
        );
    }

    /// The commits that are reachable from this one and were not seen before.
    /// Merges among them are no changes (they write nothing), but have a title; those outside the
    /// service's paths are none either, but others are built on them. `alone`: each
    /// commit that landed is a deployment of its own.
    fn brought(
        &self,
        from: ObjectId,
        alone: bool,
        seen: &mut HashSet<ObjectId>,
        project: &mut Project,
    ) -> Result<Vec<String>, SourceError> {
        let mut changes = Vec::new();
        let mut waiting = vec![from];
        while let Some(id) = waiting.pop() {
            if !seen.insert(id) {
                continue;
            }
            let commit = self.repository.find_commit(id).map_err(|error| self.fails(error))?;
            let parents: Vec<ObjectId> = commit.parent_ids().map(gix::Id::detach).collect();
            waiting.extend(&parents);
            if !self.touches(&commit, parents.first().copied())? {
                let parents = parents.iter().map(ToString::to_string).collect();
                let change = MergedChange { parents, elsewhere: true, ..MergedChange::default() };
                project.add(Fact::Landed { id: id.to_string(), change });
                changes.push(id.to_string());
                continue;
            }
            let is_change = parents.len() < 2;
            let committed = commit.time().ok().and_then(time);
            let message = commit.message_raw_sloppy().to_string();
            let written = commit.author().ok().and_then(|author| time(author.time().ok()?));
            let at = written.or(committed).filter(|_| is_change);
            let parents = parents.iter().map(ToString::to_string).collect();
            let mut change = MergedChange { parents, ..MergedChange::reported(at, &message) };
            // One whose author's time is unreadable is a change all the same.
            if is_change && written.is_none() {
                change.untimed = true;
            }
            // A squashed request, or what was written on the branch itself where its commits are
            // the deployments: it has the time of its landing.
            if change.at == committed && is_change && (alone && id == from || change.came_with_request()) {
                change.untimed = true;
            }
            project.add(Fact::Landed { id: id.to_string(), change });
            changes.push(id.to_string());
        }
        Ok(changes)
    }
}

/// What a repository is made of that is not read here, and what to do.
fn unsupported(path: &Path) -> Option<(&'static str, &'static str)> {
    let configuration = [path.join(".git/config"), path.join("config")];
    let text = configuration.iter().find_map(|file| std::fs::read_to_string(file).ok())?;
    let has = |key: &str, value: &str| {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let mut pairs = pairs.map(|(key, value)| (key.trim(), value.trim().trim_matches('"')));
        pairs.any(|(name, set)| name.eq_ignore_ascii_case(key) && set.eq_ignore_ascii_case(value))
    };
    if has("objectformat", "sha256") {
        return Some((
            "its objects have sha256 names, which are not read yet",
            "use its forge as the source (`github`, `gitlab`), or write its events to a `file`",
        ));
    }
    has("refstorage", "reftable").then_some((
        "its references are in a reftable, which is not read yet",
        "`git clone --mirror --ref-format=files` makes a copy that is read",
    ))
}

/// `None`: a time that no clock has shown.
fn time(time: gix::date::Time) -> Option<OffsetDateTime> {
    let at = OffsetDateTime::from_unix_timestamp(time.seconds).ok().filter(|_| time.seconds >= 0)?;
    let offset = UtcOffset::from_whole_seconds(time.offset).unwrap_or(UtcOffset::UTC);
    at.checked_to_offset(offset)
}
