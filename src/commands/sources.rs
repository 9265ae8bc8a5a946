//! From an item of `sources` to what it is read with, and the reading itself:
//! what `collect` and `apply` have in common.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dorainfra_config::{self as config, ChangesAre, DeployedBy, Source, SourceKind, TeamFrom};
use dorainfra_dora::events::{Event, Kind, PRODUCTION};
use dorainfra_dora::source::store::{self, Merged, Store};
use dorainfra_dora::source::webhook::{self, Sender, Subscriptions};
use dorainfra_dora::source::{
    Access, Exclude, Owner, Patterns, Project, Rules, SourceError, codeowners, file, forge, git, github,
    gitlab,
};
use dorainfra_model::Events;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::context::Context;
use super::intake;
use super::{CommandError, CommandResult};
use crate::ui::{Collected, CollectedSource, Printer};

/// The longest wait for a forge's rate limit.
const PATIENCE: Duration = Duration::from_secs(300);
const BACKOFF: Duration = Duration::from_millis(500);
/// How far back forges are asked: a year of history, and what came before it.
const USUAL_DAYS: i64 = 400;
/// Lines that are no events, of one file, that are told each by itself.
const MOST_TOLD: usize = 5;

pub fn usual_since() -> OffsetDateTime {
    OffsetDateTime::now_utc() - time::Duration::days(USUAL_DAYS)
}

/// The file of events, and the folder beside it where sources keep how far they
/// went.
pub struct Files {
    pub events: PathBuf,
    state: PathBuf,
}

impl Files {
    /// Makes the folders.
    pub fn of(events: PathBuf) -> CommandResult<Self> {
        let mut state = events.clone().into_os_string();
        state.push(".state");
        let state = PathBuf::from(state);
        std::fs::create_dir_all(&state).map_err(|error| {
            CommandError::failed(format!("{} can't be made: {error}", state.display()))
                .hint("give a file in a folder that can be written to")
        })?;
        Ok(Self { events, state })
    }

    /// The webhooks' queue.
    pub fn journal(&self) -> PathBuf {
        self.state.join("webhooks.jsonl")
    }

    /// What a forge's source keeps. Another way to read is another file.
    pub fn of_source(&self, source: &Source) -> PathBuf {
        let kind = if source.kind == SourceKind::Gitlab { "gitlab" } else { "github" };
        let read = format!(
            "{:?}",
            (&source.url, &source.environment, source.deployments, source.changes, &source.project)
        );
        let digest = hex::encode(Sha256::digest(read));
        let project = source.project.as_deref().unwrap_or_default().replace('/', "+");
        self.state.join(format!("{kind}-{project}-{}.json", &digest[..8]))
    }
}

/// A source as the command line gives it, checked like one of the file.
pub fn checked(mut source: Source, folder: &Path) -> CommandResult<Source> {
    let texts = [
        ("project", &source.project),
        ("team", &source.team),
        ("service", &source.service),
        ("environment", &source.environment),
        ("url", &source.url),
        ("tags", &source.tags),
        ("branch", &source.branch),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            config::check_text(name, value)
                .map_err(|why| CommandError::usage(format!("{name} `{value}` is not valid: {why}")))?;
        }
    }
    for (name, values) in [("paths", &source.paths), ("exclude", &source.exclude)] {
        for value in values.iter().flatten() {
            config::check_text(name, value)
                .map_err(|why| CommandError::usage(format!("{name} `{value}` is not valid: {why}")))?;
        }
    }
    for path in [&mut source.path, &mut source.token_file, &mut source.ca].into_iter().flatten() {
        *path = folder.join(&*path);
    }
    Ok(source)
}

/// The content of a file that holds a secret, without the line's end.
pub fn secret_of(file: &Path) -> CommandResult<String> {
    let text = dorainfra_base::file::text(file).map_err(|error| {
        CommandError::usage(format!("{} can't be read: {error}", file.display()))
            .hint("check the path and its permissions")
    })?;
    Ok(text.trim().to_owned())
}

/// When a forge is asked whose a project is.
#[derive(Clone, Copy, PartialEq)]
pub enum Ask {
    /// Now; what it said before counts where it can't be asked.
    Now,
    /// Unless it was asked before.
    Once,
}

/// The same sources with the teams that their repositories say.
pub async fn with_teams(
    context: &Context,
    mut configured: Vec<Source>,
    files: &Files,
    ask: Ask,
) -> CommandResult<Vec<Source>> {
    for source in &mut configured {
        let (Some(TeamFrom::Codeowners), None) = (source.team_from, &source.team) else { continue };
        source.team = Some(match (&source.path, &source.project) {
            (Some(repository), _) => {
                let path = source.paths.iter().flatten().next();
                codeowners::team(repository, path.map_or("", String::as_str))?
            }
            (None, Some(project)) => team_of(context, source, project, files, ask).await?,
            (None, None) => continue,
        });
    }
    Ok(configured)
}

async fn team_of(
    context: &Context,
    source: &Source,
    project: &str,
    files: &Files,
    ask: Ask,
) -> CommandResult<String> {
    let file = files.of_source(source).with_extension("team");
    let known = || std::fs::read_to_string(&file).ok().filter(|team| !team.is_empty());
    if let (Ask::Once, Some(team)) = (ask, known()) {
        return Ok(team);
    }
    let access = access(context, source)?;
    let team = match source.kind {
        SourceKind::Gitlab => gitlab::team(&access, project).await,
        _ => github::team(&access, project).await,
    };
    match team {
        Ok(team) => {
            store::write_durably(&file, team.as_bytes())?;
            Ok(team)
        }
        // A forge that is away: whose it is has not changed for that.
        Err(
            error @ (SourceError::Unreachable { .. }
            | SourceError::Limited { .. }
            | SourceError::Refused { status: 500.., .. }),
        ) => known().ok_or_else(|| error.into()),
        Err(error) => Err(error.into()),
    }
}

/// Whose the events of a source are.
pub fn owner(source: &Source) -> Owner {
    let project = source.project.as_deref().unwrap_or_default();
    let folder = source.path.as_ref().and_then(|path| path.canonicalize().ok());
    let folder =
        folder.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    let folder = folder.unwrap_or_else(|| "repository".into());
    let (group, name) = project.rsplit_once('/').unwrap_or((&folder, &folder));
    Owner {
        team: source.team.clone().unwrap_or_else(|| group.to_owned()),
        service: source.service.clone().unwrap_or_else(|| name.to_owned()),
        environment: source.environment.clone().unwrap_or_else(|| PRODUCTION.to_owned()),
    }
}

pub fn rules(source: &Source) -> Rules {
    let usual = Rules::default();
    let given = |patterns: &Option<Vec<String>>, usual: Patterns| match patterns {
        Some(patterns) => Patterns::new(patterns),
        None => usual,
    };
    Rules {
        hotfix: given(&source.hotfix, usual.hotfix),
        revert: given(&source.revert, usual.revert),
        hotfix_labels: given(&source.hotfix_labels, usual.hotfix_labels),
        incident_labels: given(&source.incident_labels, usual.incident_labels),
        exclude: exclude(source),
    }
}

fn exclude(source: &Source) -> Exclude {
    source.exclude.as_ref().map_or(Exclude::Usual, |patterns| Exclude::Patterns(Patterns::new(patterns)))
}

pub fn deployed(source: &Source) -> forge::Deployed {
    match source.deployments {
        Some(DeployedBy::Releases) => forge::Deployed::Releases,
        Some(DeployedBy::Deployments) | None => forge::Deployed::Deployments,
    }
}

pub fn unit(source: &Source) -> forge::Unit {
    match source.changes {
        Some(ChangesAre::Requests) => forge::Unit::Requests,
        Some(ChangesAre::Commits) | None => forge::Unit::Commits,
    }
}

/// A round over some sources.
pub struct Collecting<'a> {
    files: &'a Files,
    /// Who else tells of the same services, through the receiver.
    subscriptions: Subscriptions,
    /// What it holds of others was made to events.
    received: bool,
    sources: Vec<CollectedSource>,
    merged: Merged,
}

impl<'a> Collecting<'a> {
    /// `configured`: all sources that there are.
    pub fn begin(files: &'a Files, configured: &[Source]) -> CommandResult<Self> {
        let subscriptions = intake::subscriptions(configured, files)?;
        Ok(Self { files, subscriptions, received: false, sources: Vec::new(), merged: Merged::default() })
    }

    /// Reads one source, and adds what it tells to the file.
    pub async fn collect(
        &mut self,
        context: &Context,
        source: &Source,
        since: OffsetDateTime,
        events: &Events,
    ) -> CommandResult<()> {
        let path = source.path.clone().unwrap_or_default();
        let project = source.project.clone().unwrap_or_default();
        let owner = owner(source);
        let (name, mut known) = match source.kind {
            SourceKind::File => {
                let told = blocking(move || file::read(&path)).await?;
                let name = format!("file {}", shown(context, source.path.as_deref()));
                return self.add(name, None, told, events);
            }
            SourceKind::Git => {
                let deployed = match &source.branch {
                    Some(branch) => git::Deployed::Branch(branch.clone()),
                    None => git::Deployed::Tags(Patterns::new([source.tags.as_deref().unwrap_or("v*")])),
                };
                let received = self.received(&owner, None)?;
                let settings = git::Settings {
                    path,
                    deployed,
                    exclude: exclude(source),
                    paths: source.paths.iter().flatten().map(PathBuf::from).collect(),
                    environment: owner.environment.clone(),
                    told: git::Told::of(&received, &owner.environment),
                };
                let name = format!("git {}", shown(context, source.path.as_deref()));
                let notes = events.clone();
                let mut known = blocking(move || git::read(&settings, &notes)).await?;
                known.merge(received);
                (name, known)
            }
            SourceKind::Cdevents | SourceKind::Webhook => return self.others(events),
            SourceKind::Github => {
                let settings = forge::Settings {
                    access: access(context, source)?,
                    project: project.clone(),
                    environment: owner.environment.clone(),
                    deployed: deployed(source),
                    unit: unit(source),
                    since,
                    state: self.files.of_source(source),
                };
                let mut known = github::read(&settings, events).await?;
                known.merge(self.received(&owner, Some((Sender::Github, &project)))?);
                (format!("github {project}"), known)
            }
            SourceKind::Gitlab => {
                let settings = forge::Settings {
                    access: access(context, source)?,
                    project: project.clone(),
                    environment: owner.environment.clone(),
                    deployed: deployed(source),
                    unit: unit(source),
                    since,
                    state: self.files.of_source(source),
                };
                let mut known = gitlab::read(&settings, events).await?;
                known.merge(self.received(&owner, Some((Sender::Gitlab, &project)))?);
                (format!("gitlab {project}"), known)
            }
        };
        if source.kind != SourceKind::Git {
            // GitLab's number of a project is in nobody's message.
            let is_number = project.bytes().all(|byte| byte.is_ascii_digit());
            known.is_called((!is_number).then_some(project.as_str()));
            exclude(source).tell(&known, &owner.environment, &name, events);
        }
        let told = dorainfra_dora::source::events(&known, &owner, &rules(source));
        self.add(name, Some(owner), told, events)
    }

    /// What the receiver was told of an owner.
    fn received(&self, owner: &Owner, also: Option<(Sender, &str)>) -> CommandResult<Project> {
        Ok(webhook::facts(&self.files.journal(), &self.subscriptions, owner, also)?)
    }

    /// What the receiver was told of services that no other source reads: of all of them at once.
    fn others(&mut self, events: &Events) -> CommandResult<()> {
        if std::mem::replace(&mut self.received, true) {
            return Ok(());
        }
        let (journal, subscriptions) = (self.files.journal(), self.subscriptions.clone());
        let (merged, told) = webhook::make_others(&journal, &self.files.events, subscriptions)?;
        self.count("received", None, &told, events);
        self.merged.add(merged);
        Ok(())
    }

    fn add(
        &mut self,
        source: String,
        owner: Option<Owner>,
        told: Vec<Event>,
        events: &Events,
    ) -> CommandResult<()> {
        let (told, refused) = store::storable(told);
        if refused > 0 {
            events.warn(
                format!("{source}: {refused} events are left out: their time is before 1970 or after 2199"),
                Some("look for a wrong clock among the commits and deployments".into()),
            );
        }
        let prefix = owner.as_ref().map(Owner::prefix);
        self.count(&source, owner, &told, events);
        let mut store = Store::open(&self.files.events)?;
        let merged = match prefix {
            Some(prefix) => store.replace(&prefix, told),
            None => store.merge(told),
        };
        if !merged.is_empty() || !self.files.events.exists() {
            store.save()?;
        }
        self.merged.add(merged);
        Ok(())
    }

    fn count(&mut self, source: &str, owner: Option<Owner>, told: &[Event], events: &Events) {
        note_unknown_lead_times(source, told, events);
        let count = |test: fn(&Event) -> bool| told.iter().filter(|event| test(event)).count() as u64;
        let various = || ("various".to_owned(), "various".to_owned());
        let (team, service) = owner.map_or_else(various, |owner| (owner.team, owner.service));
        self.sources.push(CollectedSource {
            source: source.to_owned(),
            team,
            service,
            deployments: count(|event| matches!(event, Event::Deployment(_))),
            rework: count(|event| matches!(event, Event::Deployment(it) if it.kind == Kind::Rework)),
            changes: count(|event| matches!(event, Event::Change(_))),
            failures: count(|event| matches!(event, Event::Failure(_))),
            recoveries: count(|event| matches!(event, Event::Recovery(_))),
        });
    }

    pub fn end(self, file: &Path) -> Collected {
        let Merged { added, changed, removed, total, .. } = self.merged;
        Collected {
            sources: self.sources,
            file: file.display().to_string(),
            added,
            changed,
            removed,
            events: total,
        }
    }
}

/// Changes that a deployment brought, but that have no time of their own.
fn note_unknown_lead_times(source: &str, told: &[Event], events: &Events) {
    let timed: HashSet<&str> = told
        .iter()
        .filter_map(|event| match event {
            Event::Change(change) => Some(change.id.as_str()),
            _ => None,
        })
        .collect();
    let deployments = told.iter().filter_map(|event| match event {
        Event::Deployment(deployment) => Some(&deployment.changes),
        _ => None,
    });
    let (all, unknown) = deployments
        .flatten()
        .fold((0, 0), |(all, unknown), id| (all + 1, unknown + usize::from(!timed.contains(id.as_str()))));
    if unknown > 0 {
        events.note(format!(
            "{source}: of {unknown} of {all} changes the lead time is unknown: nothing tells when they were \
             written, only when they landed (squashed requests)"
        ));
    }
}

/// The collected events of a deployment. What is no event is told, and left out.
pub fn known(file: &Path, printer: &Printer) -> CommandResult<Vec<Event>> {
    let found = store::read(file)?;
    for line in found.bad.iter().take(MOST_TOLD) {
        printer.warning(&line.described(file), None);
    }
    if found.bad.len() > MOST_TOLD {
        printer.warning(&format!("{} more lines of it are no events", found.bad.len() - MOST_TOLD), None);
    }
    Ok(found.events)
}

fn access(context: &Context, source: &Source) -> CommandResult<Access> {
    let (url, variables): (_, &[&str]) = match source.kind {
        SourceKind::Gitlab => (gitlab::SERVER, &["GITLAB_TOKEN"]),
        _ => (github::API, &["GITHUB_TOKEN", "GH_TOKEN"]),
    };
    let token = match &source.token_file {
        Some(file) => Some(secret_of(file)?),
        None => variables.iter().find_map(|name| context.environment.get(name)).map(str::to_owned),
    };
    Ok(Access {
        http: context.web(source.ca.as_deref())?,
        url: source.url.clone().unwrap_or_else(|| url.to_owned()),
        token: token.filter(|token| !token.is_empty()),
        patience: PATIENCE,
        backoff: BACKOFF,
    })
}

fn shown(context: &Context, path: Option<&Path>) -> String {
    let path = path.unwrap_or(Path::new(""));
    let short = path.strip_prefix(&context.environment.folder).unwrap_or(path);
    if short.as_os_str().is_empty() { ".".into() } else { short.display().to_string() }
}

/// Git and files are read where nobody waits for the thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, dorainfra_dora::source::SourceError> + Send + 'static,
) -> CommandResult<T> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| CommandError::failed(format!("reading ended early: {error}")))?;
    Ok(done?)
}
