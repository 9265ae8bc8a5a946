//! Event sources: from an item of `sources` to what it is read with, and the reading itself.

mod collected;
mod files;
mod owner;
mod subscriptions;

use std::path::{Path, PathBuf};
use std::time::Duration;

use dorainfra_config::{self as config, Source, SourceKind, TeamFrom};
use dorainfra_dora::events::{Event, Kind};
use dorainfra_dora::source::forge::{self, Forge};
use dorainfra_dora::source::forges::{self, Known};
use dorainfra_dora::source::store::{self, Kept, Merged, Store};
use dorainfra_dora::source::webhook::{self, Facts, Sender, Subscriptions};
use dorainfra_dora::source::{
    Access, Owner, Patterns, Project, SourceError, codeowners, file, git, without_lead_time,
};
use dorainfra_model::Events;
use time::OffsetDateTime;

use self::owner::{deployed, exclude, makes_events, moved, owner, rules, shared, unit};
use super::error::{Error, InputError, Result};
use super::operator::Operator;
use super::workspace::{self, Workspace};

pub use self::collected::{Collected, CollectedSource};
pub use self::files::{Files, secret_of};
pub use self::subscriptions::subscriptions;

/// The longest wait for a forge's rate limit.
const PATIENCE: Duration = Duration::from_secs(300);
const BACKOFF: Duration = Duration::from_millis(500);
/// What the receiver was reported is called like this.
const RECEIVED: &str = "received";
/// How far back forges are asked: a year of history, and what came before it.
const USUAL_DAYS: i64 = 400;
/// Lines that are no events, of one file, that are reported each by itself.
const MOST_TOLD: usize = 5;

pub fn usual_since() -> OffsetDateTime {
    OffsetDateTime::now_utc() - time::Duration::days(USUAL_DAYS)
}

/// A source as the command line gives it, checked like one of the file.
pub fn checked(mut source: Source, folder: &Path) -> Result<Source> {
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
            config::check_text(name, value).map_err(|why| InputError::Text {
                name,
                value: value.clone(),
                why: why.to_string(),
            })?;
        }
    }
    for (name, values) in [("paths", &source.paths), ("exclude", &source.exclude)] {
        for value in values.iter().flatten() {
            config::check_text(name, value).map_err(|why| InputError::Text {
                name,
                value: value.clone(),
                why: why.to_string(),
            })?;
        }
    }
    for path in [&mut source.path, &mut source.token_file, &mut source.ca].into_iter().flatten() {
        *path = folder.join(&*path);
    }
    Ok(source)
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
    workspace: &Workspace,
    configured: Vec<Source>,
    files: &Files,
    ask: Ask,
) -> Result<Vec<Source>> {
    let (sources, failed) = with_known_teams(workspace, configured, files, ask).await;
    failed.into_iter().next().map_or(Ok(sources), |failed| Err(failed.error))
}

/// A source that was not read, and why.
#[derive(Debug)]
pub struct Failed {
    /// `git ../shop`
    pub source: String,
    pub error: Error,
}

impl Failed {
    pub fn warn(&self, events: &Events) {
        events.warn(format!("{}: {}", self.source, self.error), self.error.hint());
    }
}

/// Those too whose team is not reported: [`is_nobodys`] says which.
pub async fn with_known_teams(
    workspace: &Workspace,
    mut configured: Vec<Source>,
    files: &Files,
    ask: Ask,
) -> (Vec<Source>, Vec<Failed>) {
    let mut failed = Vec::new();
    for source in configured.iter_mut().filter(|source| is_nobodys(source)) {
        let reported = match (&source.path, &source.project) {
            (Some(repository), _) => {
                let path = source.paths.iter().flatten().next();
                codeowners::team(repository, path.map_or("", String::as_str)).map_err(Error::from)
            }
            (None, Some(project)) => team_of(workspace, source, project, files, ask).await,
            (None, None) => continue,
        };
        match reported {
            Ok(team) => source.team = Some(team),
            Err(error) => failed.push(Failed { source: name(workspace, source), error }),
        }
    }
    failed.extend(shared(workspace, &configured).into_iter().flatten());
    (configured, failed)
}

/// Whether its repository has to say whose it is, and has not yet.
pub fn is_nobodys(source: &Source) -> bool {
    source.team.is_none() && source.team_from == Some(TeamFrom::Codeowners)
}

async fn team_of(
    workspace: &Workspace,
    source: &Source,
    project: &str,
    files: &Files,
    ask: Ask,
) -> Result<String> {
    let file = files.of_source(source).with_extension("team");
    let known = || std::fs::read_to_string(&file).ok().filter(|team| !team.is_empty());
    if let (Ask::Once, Some(team)) = (ask, known()) {
        return Ok(team);
    }
    let Some(forge) = forges::named(source.kind.name()) else {
        let message = format!("a source of the type `{}` has no CODEOWNERS", source.kind.name());
        return Err(SourceError::Owner { project: project.to_owned(), message }.into());
    };
    match forge.team(&access(workspace, forge, source)?, project).await {
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

fn is_git(source: &Source) -> bool {
    source.kind == SourceKind::Git
}

/// A round over some sources.
pub struct Collecting<'a> {
    files: &'a Files,
    /// Who else tells of the same services, through the receiver.
    subscriptions: Subscriptions,
    /// The sources that make events of their own.
    kept: Kept,
    /// What it holds of others was made to events.
    received: bool,
    sources: Vec<CollectedSource>,
    merged: Merged,
}

impl<'a> Collecting<'a> {
    /// `configured`: all sources that there are.
    pub fn begin(files: &'a Files, configured: &[Source]) -> Result<Self> {
        let mut begun = Self::of_some(files, configured)?;
        let own = configured.iter().filter(|source| makes_events(source));
        begun.kept.configured = Some(own.map(files::origin).collect());
        Ok(begun)
    }

    /// Of sources that somebody names; there may be others.
    pub fn of_some(files: &'a Files, named: &[Source]) -> Result<Self> {
        let subscriptions = subscriptions(named, files)?;
        let own = named.iter().filter(|source| makes_events(source));
        let prefixes = own.map(|source| owner(source).prefix()).collect();
        let kept = Kept { prefixes, configured: None };
        let (sources, merged) = (Vec::new(), Merged::default());
        Ok(Self { files, subscriptions, kept, received: false, sources, merged })
    }

    /// Reads all of them whose owners are known and their own. One that fails keeps no other from being
    /// read.
    pub async fn collect_all(
        &mut self,
        workspace: &Workspace,
        sources: &[Source],
        since: OffsetDateTime,
        events: &Events,
    ) -> Vec<Failed> {
        let mut failed = Vec::new();
        let mut tables = file::Tables::default();
        for (source, is_shared) in sources.iter().zip(shared(workspace, sources)) {
            if is_nobodys(source) || is_shared.is_some() {
                continue;
            }
            if let Err(error) = self.collect(workspace, source, since, &mut tables, events).await {
                failed.push(Failed { source: name(workspace, source), error });
            }
        }
        failed
    }

    /// Reads one source, and adds what it tells to the file.
    async fn collect(
        &mut self,
        workspace: &Workspace,
        source: &Source,
        since: OffsetDateTime,
        tables: &mut file::Tables,
        events: &Events,
    ) -> Result<()> {
        let path = source.path.clone().unwrap_or_default();
        let project = source.project.clone().unwrap_or_default();
        let owner = owner(source);
        let name = name(workspace, source);
        let known = match (forges::named(source.kind.name()), source.kind) {
            (Some(forge), _) => {
                let settings = forge::Settings {
                    access: access(workspace, forge, source)?,
                    project: project.clone(),
                    environment: owner.environment.clone(),
                    deployed: deployed(source),
                    unit: unit(source),
                    since,
                    state: self.files.of_source(source),
                };
                let mut known = forge.read(&settings, events).await?;
                let sent = Some((Sender::Forge(Known(forge)), project.as_str()));
                known.merge(self.received(&name, &owner, sent, events)?);
                // GitLab's number of a project is in nobody's message.
                let is_number = project.bytes().all(|byte| byte.is_ascii_digit());
                known.is_called((!is_number).then_some(project.as_str()));
                exclude(source).note(&known, &owner.environment, &name, events);
                known
            }
            (None, SourceKind::File) => {
                let known = std::mem::take(tables);
                let now = OffsetDateTime::now_utc();
                let (told, known) = blocking(move || Ok(known.read(&path, now))).await?;
                *tables = known;
                let told = told?;
                for (what, hint) in told.odd {
                    events.warn(format!("{name}: {what}"), Some(hint.into()));
                }
                return self.add(name, source, None, told.events, events);
            }
            (None, SourceKind::Git) => {
                let deployed = match &source.branch {
                    Some(branch) => git::Deployed::Branch(branch.clone()),
                    None => git::Deployed::Tags(Patterns::new([source.tags.as_deref().unwrap_or("v*")])),
                };
                let received = self.received(&name, &owner, None, events)?;
                let settings = git::Settings {
                    path,
                    deployed,
                    exclude: exclude(source),
                    paths: source.paths.iter().flatten().map(PathBuf::from).collect(),
                    environment: owner.environment.clone(),
                    reported: git::ReportedDeployment::of(&received, &owner.environment),
                };
                let notes = events.clone();
                let mut known = blocking(move || git::read(&settings, &notes)).await?;
                known.merge(received);
                known
            }
            (None, _) => return self.others(events),
        };
        let reported = dorainfra_dora::source::events(&known, &owner, &rules(source));
        self.add(name, source, Some(owner), reported, events)
    }

    /// What the receiver was reported of an owner. What it was reported of another environment is named.
    fn received(
        &self,
        name: &str,
        owner: &Owner,
        also: Option<(Sender, &str)>,
        events: &Events,
    ) -> Result<Project> {
        let Facts { project, elsewhere } =
            webhook::facts(&self.files.journal(), &self.subscriptions, owner, also)?;
        for (environment, ran) in elsewhere {
            let (deployments, do_not) =
                if ran == 1 { ("deployment", "does not") } else { ("deployments", "do not") };
            events.note(format!(
                "{name}: {ran} {deployments} to `{environment}` from the receiver {do_not} count, only those to \
                 `{}`",
                owner.environment
            ));
        }
        Ok(project)
    }

    /// What the receiver was reported of services that no other source reads: of all of them at once.
    fn others(&mut self, events: &Events) -> Result<()> {
        if std::mem::replace(&mut self.received, true) {
            return Ok(());
        }
        let (journal, subscriptions) = (self.files.journal(), self.subscriptions.clone());
        let (merged, reported) = webhook::make_others(&journal, &self.files.events, subscriptions)?;
        self.count(RECEIVED, None, &reported, events);
        self.merged.add(merged);
        Ok(())
    }

    fn add(
        &mut self,
        name: String,
        source: &Source,
        owner: Option<Owner>,
        reported: Vec<Event>,
        events: &Events,
    ) -> Result<()> {
        let (reported, refused) = store::storable(reported);
        if refused > 0 {
            events.warn(
                format!("{name}: {refused} events are left out: their time is before 1970 or after 2199"),
                Some("look for a wrong clock among the commits and deployments".into()),
            );
        }
        let prefix = owner.as_ref().map(Owner::prefix);
        self.count(&name, owner, &reported, events);
        let mut store = Store::open(&self.files.events)?;
        let (merged, former) = match &prefix {
            Some(prefix) => store.replace_source(&files::origin(source), prefix, &self.kept, reported)?,
            None => {
                if let Some(said) = moved(&store.moved(&reported)) {
                    events.warn(
                        format!("{name}: {said}"),
                        Some("if they are other events, give them ids that no other file has".into()),
                    );
                }
                (store.merge_file(reported), Vec::new())
            }
        };
        if !merged.is_empty() || !self.files.events.exists() {
            store.save()?;
        } else {
            store.save_unchanged()?;
        }
        drop(store);
        self.merged.add(merged);
        if let (Some(prefix), false) = (&prefix, former.is_empty()) {
            let [now, before] = [prefix, &former.join(", ")].map(|ids| ids.replace('@', ""));
            events.note(format!("{name} belongs to {now} now: its events as {before} are removed"));
            // What others reported of that one by its name is its own.
            let (journal, subscriptions) = (self.files.journal(), self.subscriptions.clone());
            let (merged, _) = webhook::make_others(&journal, &self.files.events, subscriptions)?;
            self.merged.add(merged);
        }
        Ok(())
    }

    fn count(&mut self, source: &str, owner: Option<Owner>, reported: &[Event], events: &Events) {
        let is_file = owner.is_none() && source != RECEIVED;
        if let Some(said) = without_lead_time(reported, is_file) {
            events.note(format!("{source}: {said}"));
        }
        let count = |test: fn(&Event) -> bool| reported.iter().filter(|event| test(event)).count() as u64;
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

    /// `failed`: those that were not read.
    pub fn end(self, file: &Path, failed: &[Failed]) -> Collected {
        let Merged { added, changed, removed, total, .. } = self.merged;
        Collected {
            sources: self.sources,
            failed: failed.iter().map(|one| one.source.clone()).collect(),
            file: file.display().to_string(),
            added,
            changed,
            removed,
            events: total,
        }
    }
}

/// The collected events of a deployment. What is no event is reported, and left out.
pub fn known(file: &Path, operator: &dyn Operator) -> Result<Vec<Event>> {
    let found = store::read(file)?;
    for line in found.bad.iter().take(MOST_TOLD) {
        operator.warn(&line.described(file));
    }
    if found.bad.len() > MOST_TOLD {
        operator.warn(&format!("{} more of its lines are not events", found.bad.len() - MOST_TOLD));
    }
    Ok(found.events)
}

fn access(workspace: &Workspace, forge: &dyn Forge, source: &Source) -> Result<Access> {
    let token = match &source.token_file {
        Some(file) => Some(secret_of(file)?),
        None => workspace.tokens.of(forge),
    };
    Ok(Access {
        http: workspace::http(source.ca.as_deref())?,
        url: source.url.clone().unwrap_or_else(|| forge.address().to_owned()),
        token: token.filter(|token| !token.is_empty()),
        patience: PATIENCE,
        backoff: BACKOFF,
    })
}

/// What a source is called for people: `git ../shop`.
fn name(workspace: &Workspace, source: &Source) -> String {
    let of = match (&source.project, source.kind) {
        (Some(project), _) => project.clone(),
        (None, SourceKind::Webhook) => source.hook().unwrap_or_default(),
        (None, SourceKind::Cdevents) => String::new(),
        (None, _) => shown(workspace, source.path.as_deref()),
    };
    format!("{} {of}", source.kind.name()).trim_end().to_owned()
}

fn shown(workspace: &Workspace, path: Option<&Path>) -> String {
    let path = path.unwrap_or(Path::new(""));
    let short = workspace.shown(path);
    if short.as_os_str().is_empty() { ".".into() } else { short.display().to_string() }
}

/// Git and files are read where nobody waits for the thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, dorainfra_dora::source::SourceError> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_name_for_people() {
        let workspace = Workspace::new("/work".into(), "/bin/dorainfra".into());
        for (source, expected) in [
            (Source { path: Some("/work/shop".into()), ..Source::new(SourceKind::Git) }, "git shop"),
            (Source { project: Some("o/r".into()), ..Source::new(SourceKind::Gitlab) }, "gitlab o/r"),
            (Source { mapping: Some("jira".into()), ..Source::new(SourceKind::Webhook) }, "webhook jira"),
            (Source::new(SourceKind::Cdevents), "cdevents"),
        ] {
            assert_eq!(name(&workspace, &source), expected);
        }
    }

    #[test]
    fn the_configuration_s_forges_are_those_that_can_be_read() {
        let configured = SourceKind::ALL.iter().filter(|kind| kind.is_forge()).map(|kind| kind.name());
        let read = forges::FORGES.iter().map(|forge| forge.name());
        assert_eq!(configured.collect::<Vec<_>>(), read.collect::<Vec<_>>());
    }
}
