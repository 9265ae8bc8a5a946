//! What `apply` does after the resources: the collector stack on this machine, the sources and
//! the history. A plan shows it with everything else, from the configuration, from a record of
//! what was done last, and from what the sources tell: they are read as `apply` reads them. What `apply` may
//! write is a change, but for days that have ended since.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dorainfra_base::zone::Zone;
use dorainfra_config::{Config, Feeds, NOTHING_IS_FED};
use dorainfra_dora::metrics::{self, Histograms, Scope};
use dorainfra_dora::simulator::{self, Team};
use dorainfra_engine::{Action, Plan};
use dorainfra_model::FeedStep;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::{Date, Duration};

use super::activity::{Activity, History, yesterday};
use super::ahead::{Ahead, named};
use super::contradiction::{Contradiction, contradiction};
use super::error::{Error, Result};
use super::run::Run;
use super::workspace::Workspace;
use super::{event_sources, proven};
use crate::blueprint::Names;
use crate::stack::private;
use dorainfra_base::number::grouped;

/// What was done by the runs before, on this machine: `.dorainfra/NAME/fed.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    /// By container: a digest of what it was made of. Of processes the stack's own record says it.
    #[serde(default)]
    stack: BTreeMap<String, String>,
    /// A digest of the sources that were read.
    #[serde(default)]
    sources: Option<String>,
    #[serde(default)]
    history: Option<Fed>,
}

/// A history that was written, and read back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Fed {
    /// Where it is: the bucket and the tenant.
    place: String,
    what: What,
    until: Date,
    days: u32,
    native: bool,
    #[serde(default)]
    by_service: bool,
    /// Whose days have ends in it, beside UTC's.
    #[serde(default)]
    timezone: Option<String>,
    /// Whether simulated series say that they are: once they had no such label.
    #[serde(default)]
    marked: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    Simulated {
        teams: u32,
        seed: u64,
    },
    /// A digest of the events.
    Collected {
        events: String,
        teams: usize,
        /// How long after it an event counted; `None`: written by an earlier version.
        #[serde(default)]
        settle_hours: Option<u32>,
    },
    Nothing,
}

/// What is said where the past is of the other kind than what is fed from now on.
const LEAVES: &str = "the simulated series stay stored, but no longer show in the report and the dashboards";
const UNMARKED: &str = "those that an earlier version wrote have no label `simulated`, and count as real: feed another \
                        `mimir.tenant` to be rid of them";
const STAYS: &str = "the real series stay stored, and the report and the dashboards show these alone, as long as they \
                     are in the range";

impl Run {
    /// What `apply` would do after the resources of `plan`: nothing after a part of them.
    pub async fn follow_up(&self, plan: &Plan) -> Result<Vec<FeedStep>> {
        if plan.is_targeted() {
            return Ok(Vec::new());
        }
        let record = Record::of(&self.workspace, &self.project.config.name);
        let mut steps = self.stack_steps(plan, &record.stack).await?;
        let ahead = match &record.sources {
            Some(_) => self.collect_ahead().await?,
            // Nothing was read yet: what they tell, `apply` finds out.
            None => None,
        };
        steps.extend(self.sources_step(&record, ahead.as_ref()));
        steps.extend(self.history_step(&record, plan, ahead.as_ref())?);
        Ok(steps)
    }

    /// They are read by each `apply`: it is a step wherever one of them may tell something new.
    fn sources_step(&self, record: &Record, ahead: Option<&Ahead>) -> Option<FeedStep> {
        let sources = self.sources();
        if sources.is_empty() {
            return None;
        }
        let news = ahead.map(Ahead::news).unwrap_or_default();
        let (action, reason) = match &record.sources {
            Some(known) if *known == digest(&sources) && news.is_empty() => (Action::NoOp, String::new()),
            Some(known) if *known == digest(&sources) => (Action::Update, news.join("; ")),
            known => {
                let action = if known.is_some() { Action::Update } else { Action::Create };
                let read = format!("read: {}", self::sources(&self.project.config).join(", "));
                (action, [&[read], &news[..]].concat().join("; "))
            }
        };
        Some(FeedStep { what: "sources".into(), action, reason })
    }

    /// All that is configured of each.
    fn sources(&self) -> Vec<String> {
        self.project.config.sources.iter().map(|source| serde_json::json!(source).to_string()).collect()
    }

    fn history_step(&self, record: &Record, plan: &Plan, ahead: Option<&Ahead>) -> Result<Option<FeedStep>> {
        let own;
        let activity = match ahead {
            Some(ahead) => ahead.activity.as_ref(),
            None => {
                own = self.activity().ok();
                own.as_ref()
            }
        };
        let Some(wanted) = self.fed(activity) else {
            let simulated = |fed: &Fed| matches!(fed.what, What::Simulated { .. });
            let leaves = match record.history.as_ref().is_some_and(simulated) {
                true => format!("; {LEAVES}"),
                false => String::new(),
            };
            let reason =
                format!("events of the sources, {} days{leaves}", self.project.config.generator.days);
            return Ok(Some(FeedStep { what: "history".into(), action: Action::Create, reason }));
        };
        if matches!(wanted.what, What::Nothing) {
            let stays = record.history.as_ref().filter(|fed| fed.place == wanted.place);
            let stays = if stays.is_some() { "; what is stored stays" } else { "" };
            let reason = format!("none: {NOTHING_IS_FED}{stays}");
            return Ok(Some(FeedStep { what: "history".into(), action: Action::NoOp, reason }));
        }
        let made = plan.steps.iter().any(|step| {
            step.id.kind == "storage.bucket" && matches!(step.action, Action::Create | Action::Replace)
        });
        let before = record.history.as_ref().filter(|fed| !made && fed.place == wanted.place);
        let (action, reason) = match before {
            None if made => (Action::Create, self.words_of(&wanted, activity, wanted.days, wanted.teams())),
            // The stack does not run then either: nowhere is this all that there is to do.
            None => (
                Action::Update,
                "not known to be complete here: compared with what is stored, and what is missing is written"
                    .into(),
            ),
            Some(before) => match (self.contradiction(before, &wanted, activity), &wanted.what) {
                (None, _) => self.difference(before, &wanted, activity),
                // Nobody needs this, and it can be taken back.
                (Some(Contradiction { different, first, .. }), What::Simulated { .. }) => {
                    return Err(Error::OtherHistory { different, first });
                }
                (Some(found), _) => (Action::Update, found.to_string()),
            },
        };
        let (action, reason) = match action == Action::NoOp && ahead.is_some_and(Ahead::is_partial) {
            true => (Action::Update, "what the sources tell by then is added".to_owned()),
            false => (action, reason),
        };
        Ok(Some(FeedStep { what: "history".into(), action, reason }))
    }

    /// What of `wanted` was not written by then.
    fn difference(&self, before: &Fed, wanted: &Fed, activity: Option<&Activity>) -> (Action, String) {
        let days = wanted.days;
        match (&before.what, &wanted.what) {
            (What::Simulated { .. }, What::Simulated { .. }) if !before.marked => (
                Action::Create,
                format!("{}; {UNMARKED}", self.words_of(wanted, activity, days, wanted.teams())),
            ),
            (What::Simulated { seed: old, .. }, What::Simulated { seed, .. }) if old != seed => {
                (Action::Update, format!("another seed ({seed}) than that of the stored history ({old})"))
            }
            (What::Simulated { teams: old, .. }, What::Simulated { teams, .. }) if teams > old => {
                let new = (teams - old) as usize;
                (Action::Create, self.words_of(wanted, activity, days, new))
            }
            (What::Simulated { .. }, What::Collected { .. }) => (
                Action::Create,
                format!("{}; {LEAVES}", self.words_of(wanted, activity, days, wanted.teams())),
            ),
            (What::Collected { .. }, What::Simulated { .. }) => (
                Action::Create,
                format!("{}; {STAYS}", self.words_of(wanted, activity, days, wanted.teams())),
            ),
            (What::Collected { events: old, .. }, What::Collected { events, .. }) if old != events => {
                (Action::Update, "events were collected since: what they add".into())
            }
            _ if days > before.days
                || wanted.native && !before.native
                || wanted.by_service && !before.by_service
                || wanted.timezone.is_some() && wanted.timezone != before.timezone =>
            {
                let more = [
                    (wanted.native && !before.native, ", with native histograms"),
                    (wanted.by_service && !before.by_service, ", with lead times and recoveries by service"),
                ];
                let mut more: String = more.iter().filter(|(new, _)| *new).map(|(_, words)| *words).collect();
                if let Some(zone) = wanted.timezone.as_ref().filter(|_| wanted.timezone != before.timezone) {
                    more.push_str(&format!(", with the ends of the days of {zone}"));
                }
                (Action::Update, format!("{days} days{more}, where {} are stored", before.days))
            }
            _ => match (wanted.until - before.until).whole_days() {
                // Time alone is no change: it would be one each day.
                passed @ 1.. => {
                    let unit = if passed == 1 { "day has" } else { "days have" };
                    (Action::NoOp, format!("{passed} {unit} ended since: the next `apply` completes it"))
                }
                _ => (Action::NoOp, String::new()),
            },
        }
    }

    /// "about 539,000 samples of 39 teams, 2025-11-29 to 2026-11-28"
    fn words_of(&self, fed: &Fed, activity: Option<&Activity>, days: u32, teams: usize) -> String {
        let first = fed.until - Duration::days(i64::from(days.saturating_sub(1)));
        let histograms = Histograms { native: fed.native, by_service: fed.by_service };
        let newest: Vec<Scope> = match fed.what {
            What::Simulated { teams: all, seed } => {
                let names = simulator::teams(all);
                let skipped = names.len().saturating_sub(teams);
                names.iter().skip(skipped).map(|name| Scope::of(&Team::new(name, seed))).collect()
            }
            What::Collected { .. } => activity.map(Activity::scopes).unwrap_or_default(),
            What::Nothing => Vec::new(),
        };
        // Each series has a sample a day, and one more where another zone's days end.
        let each = if fed.timezone.is_some() { 2 } else { 1 };
        let samples = metrics::cardinality(newest, histograms) * u64::from(days) * each;
        let teams = if teams == 1 { "1 team".into() } else { format!("{teams} teams") };
        format!("about {} samples of {teams}, {first} to {}", grouped(samples), fed.until)
    }

    /// The history of this configuration; `None`: nothing was collected yet.
    fn fed(&self, activity: Option<&Activity>) -> Option<Fed> {
        let config = &self.project.config;
        let what = match (config.feeds(), activity) {
            (Feeds::Nothing, _) => What::Nothing,
            (Feeds::Simulated, _) => {
                What::Simulated { teams: config.generator.teams, seed: config.generator.seed }
            }
            (Feeds::Real, Some(activity @ Activity::Collected { .. })) => {
                let (events, teams) = (activity.digest(), activity.teams().len());
                What::Collected { events, teams, settle_hours: Some(config.settle_hours) }
            }
            // What can't be read, the stage that needs it says.
            (Feeds::Real, _) => return None,
        };
        Some(Fed {
            place: format!("{} {}", Names::of(config).bucket, config.mimir.tenant),
            what,
            until: yesterday(),
            days: config.generator.days,
            native: self.facts.native_histograms(config),
            by_service: config.generator.service_histograms,
            timezone: Some(config.timezone.clone()).filter(|name| name != "UTC"),
            marked: config.feeds() == Feeds::Simulated,
        })
    }

    /// The stack runs as configured. `containers`: what each is made of.
    pub fn stack_was_made(&self, containers: BTreeMap<String, String>) {
        Record::change(&self.workspace, &self.project.config, |record| {
            record.sources = Some(digest(&self.sources()));
            record.stack = containers;
        });
    }

    /// All of the history is stored. With the events themselves it is known later what others would change.
    pub fn history_was_fed(&self) {
        if self.history_differs.get().is_some() {
            return;
        }
        let fed = self.fed(self.activity().ok().as_ref());
        // What was written before is still there.
        if fed.as_ref().is_some_and(|fed| matches!(fed.what, What::Nothing)) {
            return;
        }
        let (from, to) = self.event_files();
        // Without them a later plan says less of what changes.
        if let Ok(events) = dorainfra_base::file::text(&from) {
            let _ = private::write(&to, events.as_bytes(), None);
        }
        Record::change(&self.workspace, &self.project.config, |record| record.history = fed);
    }

    /// Those that are collected, and those of them that were fed.
    fn event_files(&self) -> (PathBuf, PathBuf) {
        let own = self.workspace.collected(&self.project.config.name);
        let fed = fed_events(&own);
        (own, fed)
    }

    /// What `wanted` says otherwise than the history that was fed, where both are of one kind.
    fn contradiction(
        &self,
        before: &Fed,
        wanted: &Fed,
        activity: Option<&Activity>,
    ) -> Option<Contradiction> {
        match (&before.what, &wanted.what) {
            (What::Simulated { seed: old, .. }, What::Simulated { seed, .. }) if old != seed => {}
            (What::Collected { .. }, What::Collected { .. }) if before.what != wanted.what => {}
            _ => return None,
        }
        if before.marked != wanted.marked {
            return None;
        }
        let stored = match &before.what {
            What::Simulated { teams, seed } => {
                Activity::Simulated { teams: simulator::teams(*teams), seed: *seed }
            }
            What::Collected { events: digest, settle_hours: Some(hours), .. } => {
                let events = event_sources::known(&self.event_files().1, &*self.operator).ok()?;
                let stored = Activity::Collected { events, settle: Duration::hours(i64::from(*hours)) };
                Some(stored).filter(|stored| stored.digest() == *digest)?
            }
            _ => return None,
        };
        let wanted = match (&wanted.what, activity) {
            (What::Simulated { teams, seed }, _) => {
                Activity::Simulated { teams: simulator::teams(*teams), seed: *seed }
            }
            (_, Some(Activity::Collected { events, settle })) => {
                Activity::Collected { events: events.clone(), settle: *settle }
            }
            _ => return None,
        };
        let histograms = Histograms { native: before.native, by_service: before.by_service };
        let zone = Zone::configured(before.timezone.as_deref().unwrap_or("UTC"));
        let of = |activity| History::of(activity, before.until, before.days, histograms, zone.clone());
        contradiction(&of(stored), &of(wanted))
    }
}

/// Whose data is fed from this machine, and of how many simulated teams. A sandbox's are simulated
/// without anybody having asked: where it is not said that there is one, the last run knows.
pub fn feeds(workspace: &Workspace, config: &Config) -> (Feeds, u32) {
    let configured = (config.feeds(), config.simulated_teams());
    match (configured.0, Record::of(workspace, &config.name).history) {
        (Feeds::Nothing, Some(Fed { what: What::Simulated { teams, .. }, .. })) => (Feeds::Simulated, teams),
        _ => configured,
    }
}

/// The sources of a deployment, as they are shown.
pub fn sources(config: &Config) -> Vec<String> {
    config.sources.iter().map(named).collect()
}

/// The events that were fed, beside those that are collected.
fn fed_events(collected: &Path) -> PathBuf {
    collected.with_file_name("fed.jsonl")
}

/// Nothing is known any more of what was fed: the deployment is gone.
pub fn forget(workspace: &Workspace, deployment: &str) {
    for file in [Record::path(workspace, deployment), fed_events(&workspace.collected(deployment))] {
        let _ = std::fs::remove_file(file);
    }
    proven::forget(workspace, deployment);
}

impl Fed {
    fn teams(&self) -> usize {
        match self.what {
            What::Simulated { teams, .. } => teams as usize,
            What::Collected { teams, .. } => teams,
            What::Nothing => 0,
        }
    }
}

impl Record {
    fn path(workspace: &Workspace, deployment: &str) -> PathBuf {
        workspace.state().join(deployment).join("fed.json")
    }

    /// One that is not there, or can't be read, knows nothing: then more is said to be done than is.
    fn of(workspace: &Workspace, deployment: &str) -> Self {
        let text = dorainfra_base::file::text(&Self::path(workspace, deployment)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// A record that can't be written makes the next plan say more than is done, and nothing else.
    fn change(workspace: &Workspace, config: &Config, change: impl FnOnce(&mut Self)) {
        let mut record = Self::of(workspace, &config.name);
        change(&mut record);
        let text = serde_json::to_vec_pretty(&record).unwrap_or_default();
        let _ = private::write(&Self::path(workspace, &config.name), &text, None);
    }
}

fn digest(of: &[String]) -> String {
    let mut digest = Sha256::new();
    for text in of {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    }
    hex::encode(digest.finalize())
}
