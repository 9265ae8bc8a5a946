//! Whose deliveries are, and how they are read: what the configuration says, and what is taken
//! for granted of what it does not name.

use std::path::PathBuf;

use time::OffsetDateTime;

use super::super::forge::{Deployed, Unit};
use super::super::patterns::Patterns;
use super::super::project::{Fact, Failed, Project, Status};
use super::super::rules::{Owner, Rules};
use super::intake::{ServiceFacts, Wrong};
use super::journal::{About, Sender};
use super::mapping::{self, Fixed, Mapping};
use crate::events::PRODUCTION;

/// A forge's project, and how its deliveries are read.
#[derive(Clone, Debug)]
pub struct Subscribed {
    pub sender: Sender,
    /// `owner/name`
    pub project: String,
    pub owner: Owner,
    pub rules: Rules,
    pub reading: Reading,
    /// What the REST source of the same project keeps, if there is one.
    pub state: Option<PathBuf>,
}

/// What of a delivery is a fact.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Where a delivery names none.
    pub environment: String,
    pub deployed: Deployed,
    pub unit: Unit,
    /// Names of the workflows and pipelines that are deployments by themselves,
    /// where no deployments are reported.
    pub workflows: Patterns,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            environment: PRODUCTION.to_owned(),
            deployed: Deployed::Deployments,
            unit: Unit::Commits,
            workflows: Patterns::default(),
        }
    }
}

impl Subscribed {
    /// A project that nothing was said about: its group is the team.
    pub fn unknown(sender: Sender, project: &str) -> Self {
        let (team, service) = project.rsplit_once('/').unwrap_or((project, project));
        let reading = Reading::default();
        Self {
            sender,
            project: project.to_owned(),
            owner: Owner {
                team: team.to_owned(),
                service: service.to_owned(),
                environment: reading.environment.clone(),
            },
            rules: Rules::default(),
            reading,
            state: None,
        }
    }
}

/// What tells of services by their names, and is no forge: CDEvents, or a mapped webhook.
#[derive(Clone, Debug)]
pub struct Intake {
    pub sender: Sender,
    /// Of a mapped webhook: the last part of its address.
    pub hook: String,
    /// Of a mapped webhook.
    pub mapping: Option<Mapping>,
    /// Of CDEvents: the services and repositories that this is about; none: all.
    pub services: Option<Patterns>,
    /// What its events are called here, whatever their sender calls them.
    pub team: Option<String>,
    pub service: Option<String>,
    /// Whose services are, the first that fits.
    pub teams: Vec<(Patterns, String)>,
    pub rules: Rules,
    pub reading: Reading,
    /// The configuration names the environment that counts: it is not just the usual one.
    pub names_environment: bool,
}

impl Intake {
    fn new(sender: Sender, hook: &str, mapping: Option<Mapping>) -> Self {
        Self {
            sender,
            hook: hook.to_owned(),
            mapping,
            services: None,
            team: None,
            service: None,
            teams: Vec::new(),
            rules: Rules::default(),
            reading: Reading::default(),
            names_environment: false,
        }
    }

    /// What a payload of a mapped webhook tells.
    pub(super) fn read(&self, body: &[u8], received: OffsetDateTime) -> Result<Vec<ServiceFacts>, Wrong> {
        let json = serde_json::from_slice(body)
            .map_err(|error| Wrong::new("the body", format!("it is no JSON: {error}")))?;
        let fixed = Fixed {
            hook: &self.hook,
            service: self.service.as_deref(),
            environment: &self.reading.environment,
            workflows: self.reading.workflows.clone(),
        };
        self.mapping.as_ref().map_or_else(|| Ok(Vec::new()), |mapping| mapping.read(&json, &fixed, received))
    }

    fn is_about(&self, service: Option<&str>) -> bool {
        let named = |patterns: &Patterns| {
            service.is_some_and(|name| patterns.matches(name) || self.service.as_deref() == Some(name))
        };
        self.services.as_ref().is_none_or(named)
    }
}

/// All that is known of senders beforehand.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    pub projects: Vec<Subscribed>,
    pub intakes: Vec<Intake>,
    /// Those whose events another source makes: a repository has to be read for them, so `collect`
    /// does it.
    pub elsewhere: Vec<Owner>,
}

/// Whose the events of a delivery are.
#[derive(Clone)]
pub(super) struct Place {
    pub owner: Owner,
    pub rules: Rules,
    pub state: Option<PathBuf>,
    /// The environment that its sender calls the owner's.
    pub environment: String,
    /// The configuration says so: another name is another environment.
    pub names_environment: bool,
    /// A source of the configuration says so: no other one makes events of the same owner.
    pub configured: bool,
}

impl Subscriptions {
    pub(super) fn of(&self, sender: Sender, project: &str) -> Subscribed {
        self.known(sender, project).cloned().unwrap_or_else(|| Subscribed::unknown(sender, project))
    }

    fn known(&self, sender: Sender, project: &str) -> Option<&Subscribed> {
        self.projects.iter().find(|one| one.sender == sender && one.project.eq_ignore_ascii_case(project))
    }

    /// The owner of these ids as a source of the configuration has it that reads a repository or a
    /// forge's project.
    pub(super) fn read_by(&self, prefix: &str) -> Option<&Owner> {
        let read = self.projects.iter().map(|one| &one.owner).chain(&self.elsewhere);
        read.into_iter().find(|owner| owner.prefix() == prefix)
    }

    /// A mapped webhook by its name: a configured one, or a ready mapping.
    pub(super) fn hook(&self, name: &str) -> Option<Intake> {
        let known = self.intakes.iter().find(|one| one.sender == Sender::Webhook && one.hook == name);
        let ready = || Some(Intake::new(Sender::Webhook, name, Some(mapping::ready(name)?)));
        known.cloned().or_else(ready)
    }

    /// How CDEvents about a service are read.
    pub(super) fn cdevents(&self, about: Option<&str>) -> Intake {
        let mut all = self.intakes.iter().filter(|one| one.sender == Sender::Cdevents);
        let known = all.find(|one| one.is_about(about)).cloned();
        known.unwrap_or_else(|| Intake::new(Sender::Cdevents, "", None))
    }

    /// Of a configured project, whether or not it has sent anything.
    pub(super) fn silent(one: &Subscribed) -> Place {
        Place {
            owner: one.owner.clone(),
            rules: one.rules.clone(),
            state: one.state.clone(),
            environment: one.owner.environment.clone(),
            names_environment: false,
            configured: true,
        }
    }

    /// `name` is the project as it was called first.
    pub(super) fn place(&self, about: &About, name: &str) -> Place {
        let intake = match about.sender {
            Sender::Forge(_) => {
                let configured = self.known(about.sender, name).is_some();
                let Subscribed { owner, rules, state, .. } = self.of(about.sender, name);
                let environment = owner.environment.clone();
                return Place { owner, rules, state, environment, names_environment: false, configured };
            }
            Sender::Cdevents => {
                self.intakes.iter().find(|one| one.sender == Sender::Cdevents && one.is_about(Some(name)))
            }
            Sender::Webhook => self
                .intakes
                .iter()
                .find(|one| one.sender == Sender::Webhook && Some(&one.hook) == about.hook.as_ref()),
        };
        let unknown;
        let intake = match intake {
            Some(intake) => intake,
            None => {
                unknown = Intake::new(about.sender, "", None);
                &unknown
            }
        };
        let service = intake.service.as_deref().unwrap_or(name);
        let reported = about.team.as_deref().filter(|team| !team.is_empty());
        let mapped = intake.teams.iter().find(|(services, _)| services.matches(service));
        let mapped = mapped.map(|(_, team)| team.as_str());
        let (team, service) = match intake.team.as_deref().or(mapped).or(reported) {
            Some(team) => (team, service),
            None => service.rsplit_once('/').unwrap_or((service, service)),
        };
        let environment = intake.reading.environment.clone();
        let owner =
            Owner { team: team.to_owned(), service: service.to_owned(), environment: environment.clone() };
        let names_environment = intake.names_environment;
        Place {
            owner,
            rules: intake.rules.clone(),
            state: None,
            environment,
            names_environment,
            configured: false,
        }
    }
}

/// What of somebody's facts is about the environment that is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub deployments: bool,
    pub failures: bool,
}

impl Counts {
    /// What of a place's facts is about `ours`, the environment of a source that reads the service. Who
    /// names none means that one, and who names another one tells of another one.
    pub fn of(place: &Place, ours: &str) -> Self {
        let all = !place.names_environment || place.environment.eq_ignore_ascii_case(ours);
        Self { deployments: all, failures: all }
    }
}

/// What was reported of an owner's service, in the owner's words: its sender may call the environment
/// otherwise, and which of its issues are incidents its own source says.
pub(super) fn here(
    mut reported: Project,
    sender: Sender,
    place: &Place,
    ours: &str,
    counts: Counts,
) -> Project {
    let theirs = place.environment.as_str();
    let rename = |environment: &mut String, counts: bool| {
        if counts && environment == theirs {
            *environment = ours.to_owned();
        } else if environment == ours {
            *environment = format!("{ours} ({theirs})");
        }
    };
    reported.deployments.values_mut().for_each(|ran| rename(&mut ran.environment, counts.deployments));
    if !counts.failures {
        reported.failures.clear();
        reported.incidents.clear();
    }
    reported.failures.values_mut().for_each(|failed| rename(&mut failed.environment, true));
    if sender == Sender::Webhook {
        let labels = &place.rules.incident_labels;
        for (id, issue) in std::mem::take(&mut reported.incidents) {
            if issue.labels.iter().any(|label| labels.matches(label)) {
                let begun = Some(Status { at: issue.opened, ok: false });
                let statuses = begun.into_iter().chain(issue.closed.map(|at| Status { at, ok: true }));
                let failure = Failed { statuses: statuses.collect(), ..Failed::default() };
                reported.failures.insert(id, failure);
            }
        }
    }
    reported
}

/// An attempt that failed is no deployment, as nothing changed for users; but one that had to be
/// rolled back had run, and is what failed: not the one before it.
pub(super) fn rolled_back(project: &mut Project, environment: &str) {
    let here = project.deployments.iter().filter(|(_, ran)| ran.environment == environment);
    let mut by_time: Vec<(OffsetDateTime, bool, bool, &String)> = here
        .filter_map(|(id, ran)| {
            let at = ran.at().or_else(|| ran.statuses.iter().map(|status| status.at).min())?;
            Some((at, ran.at().is_some(), ran.mends, id))
        })
        .collect();
    by_time.sort_unstable();
    // A mapped webhook's ids begin with its name: its tool rolls back what it tried itself.
    let tool = |id: &str| id.split_once(':').map(|(hook, _)| hook.to_owned());
    let ran: Vec<(OffsetDateTime, String)> = by_time
        .windows(2)
        .filter(|pair| !pair[0].1 && pair[1].1 && pair[1].2)
        .filter(|pair| tool(pair[0].3).is_some_and(|hook| tool(pair[1].3) == Some(hook)))
        .map(|pair| (pair[0].0, pair[0].3.clone()))
        .collect();
    for (at, id) in ran {
        if let Some(attempt) = project.deployments.get_mut(&id) {
            attempt.statuses.push(Status { at, ok: true });
        }
    }
}

/// Characters of a service's name, as in the configuration.
const LONGEST: usize = 128;

/// What is wrong with what a genuine payload says.
pub(super) fn problem(sender: Sender, project: &str, facts: &[Fact]) -> Option<String> {
    let full = |part: &str| !part.trim_matches('/').trim().is_empty();
    let named = match sender {
        Sender::Forge(_) => project.rsplit_once('/').is_some_and(|(owner, name)| full(owner) && full(name)),
        Sender::Cdevents | Sender::Webhook => full(project),
    };
    if !named {
        return Some(format!("the project is called `{project}`, not `owner/name`"));
    }
    // A series would be cut off or tidied up, and then be another service's, too.
    let is_other = matches!(sender, Sender::Cdevents | Sender::Webhook);
    if is_other && (project.chars().count() > LONGEST || project.contains(char::is_control)) {
        return Some(format!(
            "the service {project:?} is longer than {LONGEST} characters, or has control characters"
        ));
    }
    facts.iter().find_map(Fact::problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_whose_the_configuration_says_then_whose_its_sender_says() {
        let patterns = |text: &str, team: &str| (Patterns::new([text]), team.to_owned());
        let hook = Intake {
            teams: vec![patterns("cart*", "orders"), patterns("*/ledger", "bank")],
            ..Intake::new(Sender::Webhook, "calls", None)
        };
        let known = Subscriptions { intakes: vec![hook], ..Subscriptions::default() };
        let place = |hook: &str, team: Option<&str>, service: &str| {
            let (hook, team) = (Some(hook.to_owned()), team.map(str::to_owned));
            let about = About { sender: Sender::Webhook, hook, team, project: service.to_owned() };
            let owner = known.place(&about, service).owner;
            format!("{} has {}", owner.team, owner.service)
        };
        assert_eq!(place("calls", None, "Cart API"), "orders has Cart API");
        assert_eq!(place("calls", Some("ops"), "cart"), "orders has cart");
        assert_eq!(place("calls", Some("ops"), "list"), "ops has list");
        assert_eq!(place("calls", None, "core/ledger"), "bank has core/ledger");
        assert_eq!(place("calls", None, "core/list"), "core has list");
        assert_eq!(place("another", None, "cart"), "cart has cart");
    }

    #[test]
    fn a_service_that_no_series_could_be_called_is_refused() {
        let long = "x".repeat(LONGEST + 1);
        for (name, expected) in
            [("cart", false), (&long[1..], false), (&long, true), ("tab\there", true), (" ", true)]
        {
            assert_eq!(problem(Sender::Webhook, name, &[]).is_some(), expected, "{name:?}");
        }
    }
}
