//! What reading any forge has in common: what is asked for, and a reader that
//! keeps how far it went. What the forge's lists hold is each forge's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use async_trait::async_trait;
use dorainfra_model::Events;
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Deserializer, Serialize};
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::compared::{self, Compared, ToCompare};
use super::history::{self, History};
use super::project::{Fact, MergedChange, Project};
use super::rest::{Access, Headers, Page, Rest};
use super::{SourceError, state};

/// A forge, and how its projects are read. `forges` lists all of them.
#[async_trait(?Send)]
pub trait Forge: Send + Sync {
    /// As the configuration and the journal call it.
    fn name(&self) -> &'static str;

    /// Where its API is, unless a source says so.
    fn address(&self) -> &'static str;

    /// The variables that a token is read from, the first that is set.
    fn tokens(&self) -> &'static [&'static str];

    /// Reads what is new of a project, and answers all that is known.
    async fn read(&self, settings: &Settings, events: &Events) -> Result<Project, SourceError>;

    /// The team that owns all of a project, by its `CODEOWNERS`.
    async fn team(&self, access: &Access, project: &str) -> Result<String, SourceError>;
}

/// What of a project is a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deployed {
    Deployments,
    Releases,
}

/// What is a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Each commit, from when it was written.
    Commits,
    /// Each merged request, from when it was opened.
    Requests,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub access: Access,
    /// GitHub: `owner/name`. GitLab: `group/subgroup/project`, or its number.
    pub project: String,
    /// Of the deployments that count.
    pub environment: String,
    pub deployed: Deployed,
    pub unit: Unit,
    /// Nothing that is older is read.
    pub since: OffsetDateTime,
    /// Where what was read is kept.
    pub state: PathBuf,
}

pub(super) const PER_PAGE: (&str, &str) = ("per_page", "100");

/// A reading of one project; `S` is what is kept between two of them.
pub(super) struct Reader<'a, S> {
    pub settings: &'a Settings,
    pub rest: Rest<'a>,
    pub state: S,
    pub events: &'a Events,
}

impl<'a, S: Serialize + DeserializeOwned + Default> Reader<'a, S> {
    /// `base` and `headers` are those of [`Rest::new`].
    pub fn new(
        settings: &'a Settings,
        base: &str,
        headers: Headers,
        events: &'a Events,
    ) -> Result<Self, SourceError> {
        let rest = Rest::new(&settings.access, base, headers)?;
        Ok(Self { settings, rest, state: state::load(&settings.state)?, events })
    }

    pub fn save(&self) -> Result<(), SourceError> {
        state::save(&self.settings.state, &self.state)
    }

    /// Says which environments there are where none of the name that counts was deployed to:
    /// it may be spelled in another way. `path`: of the list of them, whose items have a
    /// `name`.
    pub async fn other_environments(&self, path: &str, project: &Project) {
        let wanted = &self.settings.environment;
        if project.deployments.values().any(|ran| ran.environment == *wanted) {
            return;
        }
        // Who may not read the list is reported nothing.
        let Ok(page) = self.rest.get::<Value>(&self.rest.url(path, &[PER_PAGE])).await else { return };
        let list = page.items.get("environments").unwrap_or(&page.items).as_array();
        let names: Vec<&str> =
            list.into_iter().flatten().filter_map(|one| one["name"].as_str()).take(SHOWN).collect();
        if !names.is_empty() {
            self.events.warn(
                format!(
                    "{}: nothing was deployed to `{wanted}`; its environments are `{}`",
                    self.settings.project,
                    names.join("`, `")
                ),
                Some("name the one that counts: `environment` of the source".into()),
            );
        }
    }
}

/// Environments that are named.
const SHOWN: usize = 10;
/// For as long a forge may not know yet what was deployed: its replicas are behind.
const BEHIND: Duration = Duration::days(1);

/// Whether it is so new that parts of the forge may not know of it.
fn is_new(at: OffsetDateTime) -> bool {
    at > OffsetDateTime::now_utc() - BEHIND
}

/// When somebody's program says that a commit was written. What no calendar has (a null, a
/// year with five digits) is no time, and keeps nobody from reading the rest.
///
/// # Errors
/// None but those of the format itself.
pub(super) fn lenient<'de, D: Deserializer<'de>>(from: D) -> Result<Option<OffsetDateTime>, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(value.as_str().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok()))
}

/// What is kept of every forge.
pub(super) trait Kept {
    /// The project, and the requests whose first commit was asked for and is not reported.
    fn squashed(&mut self) -> (&mut Project, &mut BTreeSet<String>);
    /// The commits that were listed for what is to be compared.
    fn history(&mut self) -> &mut History;
    fn compared(&mut self) -> (&mut Project, &mut Compared);
}

/// The commits that one revision has and another has not.
pub(super) struct Between {
    pub changes: Vec<String>,
    /// Whether it has all that the other one has, as far as that is reported.
    pub ahead: bool,
}

/// A forge's own way of telling what several deployments brought.
pub(super) trait Compares {
    /// The commits that one can get from a commit to, the newest first.
    fn commits_url(&self, head: &str) -> String;
    async fn commits(&self, url: &str) -> Result<Page<Vec<(String, MergedChange)>>, SourceError>;
    fn tags_url(&self) -> String;
    /// Tags, with their commits.
    async fn tags(&self, url: &str) -> Result<Page<Vec<(String, String)>>, SourceError>;
    /// Compares; `None`: one of the two is gone.
    async fn between(&mut self, base: &str, head: &str) -> Result<Option<Between>, SourceError>;
    /// Asks for the commit of a revision, where comparing with it needs that.
    async fn resolve(&mut self, revision: &str) -> Result<(), SourceError>;
}

impl<S: Serialize + DeserializeOwned + Default + Kept> Reader<'_, S>
where
    Self: Compares,
{
    /// Asks what each deployment brought: the commits that its revision has and the one before
    /// has not. Nobody can say that of the first one. Where there are many to ask for, the
    /// commits are listed instead, in pages: each page answers for many of them.
    pub async fn compare(&mut self) -> Result<(), SourceError> {
        let (project, compared) = self.state.compared();
        let asked = compared.asked(project, &self.settings.environment);
        let mut history = std::mem::take(self.state.history());
        let tags = match self.list(&mut history, &asked).await {
            Ok(tags) => tags,
            Err(error) => return self.cut_off(history, error),
        };
        let mut differences = history.differences(&tags);
        for one in asked {
            let reported = if one.again { None } else { differences.of(&one, self.state.compared().1) };
            if let Some((found, whole)) = reported {
                let mut changes = Vec::new();
                for (id, change) in found {
                    self.landed(id, change, &mut changes);
                }
                self.brought(one.id, &one.head, changes, whole);
            } else if let Err(error) = self.compare_one(one).await {
                return self.cut_off(history, error);
            }
        }
        self.save()
    }

    /// Asks what one deployment brought. What ran before it may be an older one, or of another
    /// branch: what the first one had beside that is left out, too. What the others had is known
    /// to be theirs.
    async fn compare_one(&mut self, one: ToCompare) -> Result<(), SourceError> {
        let ToCompare { id, bases, head, at, again } = one;
        let (mut changes, mut missing, mut whole) = (None, Vec::new(), false);
        let mut first = self.state.compared().1.first().map(str::to_owned);
        for base in bases.iter().filter(|_| !again) {
            // Gone is not empty: the next one may still be there.
            let Some(found) = self.between(base, &head).await? else {
                missing.push(base.clone());
                continue;
            };
            let is_whole = self.state.compared().1.is_whole(base);
            whole = is_whole && found.ahead;
            first = first.filter(|_| !is_whole && !found.changes.is_empty());
            changes = Some(found.changes);
            break;
        }
        if let (Some(first), Some(known)) = (first.filter(|first| !missing.contains(first)), &mut changes) {
            self.resolve(&first).await?;
            match self.between(&first, &head).await? {
                Some(found) => {
                    let new: BTreeSet<String> = found.changes.into_iter().collect();
                    known.retain(|id| new.contains(id));
                    whole = found.ahead;
                }
                None => missing.push(first),
            }
        }
        if changes.is_none() && !missing.is_empty() {
            if is_new(at) {
                state::not_yet(self.events, &self.settings.project, &head);
                return Ok(());
            }
            // What was known of it while that was there still holds.
            let project = self.state.compared().0;
            changes = project.deployments.get(&id).and_then(|ran| ran.changes.clone());
        }
        if !missing.is_empty() {
            state::gone(self.events, &self.settings.project, &missing, &head);
        }
        self.brought(id, &head, changes.unwrap_or_default(), whole);
        self.save()
    }

    fn brought(&mut self, id: String, head: &str, changes: Vec<String>, whole: bool) {
        let (project, compared) = self.state.compared();
        if let Some(ran) = project.deployments.get_mut(&id) {
            ran.changes = Some(changes);
        }
        compared.done(id, head, whole);
    }

    /// What was listed is not asked for again by the next run.
    fn cut_off(&mut self, history: History, error: SourceError) -> Result<(), SourceError> {
        *self.state.history() = history;
        self.save()?;
        Err(error)
    }

    /// Lists commits from the newest deployment on, as long as that is less to ask for than all
    /// the comparisons; answers the commits of tags.
    async fn list(
        &self,
        history: &mut History,
        asked: &[ToCompare],
    ) -> Result<BTreeMap<String, String>, SourceError> {
        let mut tags = BTreeMap::new();
        let wanted = history::wanted(asked);
        if wanted.len() < history::ENOUGH && !history.is_begun() {
            return Ok(tags);
        }
        let names: BTreeSet<&str> = wanted
            .iter()
            .flat_map(|(base, head)| [*base, *head])
            .filter(|name| !compared::is_hash(name))
            .collect();
        let mut next = (!names.is_empty()).then(|| self.tags_url());
        while let Some(url) = next {
            let page = match self.tags(&url).await {
                Ok(page) => page,
                // Then each comparison says what is wrong.
                Err(SourceError::Refused { .. }) => break,
                Err(error) => return Err(error),
            };
            tags.extend(page.items.into_iter().filter(|(name, _)| names.contains(name.as_str())));
            next = page.next.filter(|_| tags.len() < names.len());
        }
        if let Some((_, head)) = wanted.last() {
            let head = tags.get(*head).map_or(*head, String::as_str);
            history.begin(|| compared::is_hash(head).then(|| self.commits_url(head)));
        }
        while let Some(url) = history.next(&tags, &wanted) {
            match self.commits(&url).await {
                Ok(page) => history.add(page),
                Err(SourceError::Refused { .. }) => history.end(),
                Err(error) => return Err(error),
            }
        }
        Ok(tags)
    }

    /// A commit that a deployment brought.
    pub fn landed(&mut self, id: String, change: MergedChange, changes: &mut Vec<String>) {
        let project = self.state.squashed().0;
        match self.settings.unit {
            Unit::Commits => {
                project.add(Fact::Landed { id: id.clone(), change });
                changes.push(id);
            }
            // The commit that a request was merged with stands for it.
            Unit::Requests if project.changes.contains_key(&id) => changes.push(id),
            Unit::Requests => {}
        }
    }
}

impl<S: Serialize + DeserializeOwned + Default + Kept> Reader<'_, S> {
    /// Asks for the commits of the requests that were squashed: one has the time of its
    /// landing, which is no lead time. `mark`: what stands before a request's number.
    /// `first_commit`: when the first commit of a request was written; `None`: nobody tells.
    pub async fn first_commits(
        &mut self,
        mark: char,
        first_commit: impl AsyncFn(&Self, &str) -> Result<Option<OffsetDateTime>, SourceError>,
    ) -> Result<(), SourceError> {
        let (project, without) = self.state.squashed();
        let squashed = state::squashed(project, mark, without);
        let (all, mut outcome) = (squashed.len(), Ok(()));
        for (done, (id, request)) in squashed.into_iter().enumerate() {
            match first_commit(self, &request).await {
                Ok(begun) => {
                    let (project, without) = self.state.squashed();
                    if !state::began(project, id, begun) {
                        without.insert(request);
                    }
                }
                Err(limit @ SourceError::Limited { .. }) => {
                    state::later(self.events, &self.settings.project, all - done, &limit);
                    break;
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
            if (done + 1) % state::BETWEEN_SAVES == 0 {
                self.save()?;
            }
        }
        if all > 0 {
            self.save()?;
        }
        outcome
    }
}
