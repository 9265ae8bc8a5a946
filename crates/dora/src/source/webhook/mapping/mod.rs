//! Mapped webhooks: which payloads of a tool are a deployment, a change, a failure or its end,
//! and where in them is what. A mapping is data (`mappings/`, or a user's own file);
//! docs/sources.md describes the form.

mod ready;
mod template;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

pub use self::ready::{names, ready};
use self::template::{Payload, Template, matches, words};
use super::super::patterns::Patterns;
use super::super::project::{DeploymentRecord, Fact, Failed, Incident, MergedChange, Status};
use super::intake::{ServiceFacts, Wrong};
use super::payload::{any_time, revision};

/// How one tool's payloads are read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Which tool, and which of its ways to send.
    pub sender: String,
    /// Where it describes its payload.
    #[serde(default)]
    pub documented: String,
    /// A list in the payload whose items are read one by one.
    #[serde(default)]
    each: Option<String>,
    rules: Vec<Rule>,
}

/// What one kind of payload tells. All rules that apply count.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    kind: Kind,
    /// What has to be where: one of some patterns at each of these pointers.
    #[serde(default)]
    when: BTreeMap<String, OneOf>,
    /// What must be at none of these.
    #[serde(default)]
    unless: BTreeMap<String, OneOf>,
    id: Template,
    #[serde(default)]
    at: Option<Template>,
    service: Template,
    #[serde(default)]
    team: Option<Template>,
    #[serde(default)]
    environment: Option<Template>,
    #[serde(default)]
    revision: Option<Template>,
    #[serde(default)]
    name: Option<Template>,
    #[serde(default)]
    title: Option<Template>,
    /// Counts only where `workflows` of the source has it.
    #[serde(default)]
    workflow: Option<Template>,
    #[serde(default)]
    opened: Option<Template>,
    #[serde(default)]
    closed: Option<Template>,
    #[serde(default)]
    updated: Option<Template>,
    #[serde(default)]
    labels: Option<Template>,
    /// Of an incident that may become another service's: when it was reported whose it is. Then its
    /// id has to be no other's of all that the sender tells.
    #[serde(default)]
    moves: Option<Template>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Deployment,
    /// One that mends what users suffered from.
    Rework,
    /// A deployment that had run does not any more.
    Broken,
    Change,
    Failure,
    /// The end of a failure.
    Recovery,
    /// An issue as it is now: a failure if its labels say so.
    Issue,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOf {
    One(String),
    Several(Vec<String>),
}

/// What the configuration says of a source, whatever its payloads say.
#[derive(Clone, Debug, Default)]
pub struct Fixed<'a> {
    /// Begins all ids: two tools may give the same.
    pub hook: &'a str,
    pub service: Option<&'a str>,
    /// Where a payload names none.
    pub environment: &'a str,
    pub workflows: Patterns,
}

impl Mapping {
    /// A mapping as a file has it.
    ///
    /// # Errors
    /// In words, with the line where it is known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
        let mapping: Self = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| error.without_snippet().to_string())?;
        if mapping.rules.is_empty() {
            return Err("it has no `rules`".into());
        }
        if let Some(each) = mapping.each.as_deref().filter(|each| !each.starts_with('/')) {
            return Err(format!("`each`: {each} is no JSON pointer, like /alerts"));
        }
        for (index, rule) in mapping.rules.iter().enumerate() {
            let number = index + 1;
            let pointers = rule.when.keys().chain(rule.unless.keys());
            if let Some(no) = pointers.clone().find(|pointer| !pointer.starts_with('/')) {
                return Err(format!("rule {number}: {no} is no JSON pointer, like /event/type"));
            }
            let needed = match rule.kind {
                Kind::Issue => [("opened", &rule.opened), ("labels", &rule.labels)],
                _ => [("at", &rule.at), ("id", &rule.at)],
            };
            if let Some((name, _)) = needed.iter().find(|(_, given)| given.is_none()) {
                return Err(format!("rule {number}: a rule of this kind needs `{name}`"));
            }
        }
        Ok(mapping)
    }

    /// What a payload tells; nothing where no rule applies.
    pub(super) fn read(
        &self,
        body: &Value,
        fixed: &Fixed<'_>,
        received: OffsetDateTime,
    ) -> Result<Vec<ServiceFacts>, Wrong> {
        let items: Vec<(String, &Value)> = match &self.each {
            None => vec![(String::new(), body)],
            Some(pointer) => {
                let list = body.pointer(pointer).and_then(Value::as_array).ok_or_else(|| Wrong {
                    place: pointer.clone(),
                    message: "a list is needed here".into(),
                })?;
                list.iter().enumerate().map(|(index, item)| (format!("{pointer}/{index}"), item)).collect()
            }
        };
        let mut all: Vec<ServiceFacts> = Vec::new();
        for (place, item) in items {
            let payload = Payload { root: body, item, place: &place, received };
            for rule in &self.rules {
                let Some(reported) = rule.read(&payload, fixed)? else { continue };
                match all
                    .iter_mut()
                    .find(|known| (&known.team, &known.service) == (&reported.team, &reported.service))
                {
                    Some(known) => known.facts.extend(reported.facts),
                    None => all.push(reported),
                }
            }
        }
        Ok(all)
    }
}

impl Rule {
    fn applies(&self, payload: &Payload<'_>, fixed: &Fixed<'_>) -> bool {
        let holds = |(pointer, words): (&String, &OneOf)| {
            let patterns = match words {
                OneOf::One(word) => std::slice::from_ref(word),
                OneOf::Several(words) => words,
            };
            matches(payload.item.pointer(pointer), patterns)
        };
        let deploys = |workflow: &Template| {
            workflow.text(payload).is_some_and(|workflow| fixed.workflows.matches(&workflow))
        };
        self.when.iter().all(holds)
            && !self.unless.iter().any(holds)
            && self.workflow.as_ref().is_none_or(deploys)
    }

    fn read(&self, payload: &Payload<'_>, fixed: &Fixed<'_>) -> Result<Option<ServiceFacts>, Wrong> {
        if !self.applies(payload, fixed) {
            return Ok(None);
        }
        let some = |template: &Option<Template>| template.as_ref().and_then(|it| it.text(payload));
        let time = |name: &str, template: &Option<Template>| match template {
            Some(template) => {
                let text = template.needed(name, payload)?;
                any_time(&text).ok_or_else(|| Wrong {
                    place: template.place(payload),
                    message: format!(
                        "`{name}`: {text:?} is no time: RFC 3339, or seconds or milliseconds since 1970"
                    ),
                })
            }
            None => Ok(payload.received),
        };
        let reported = self.id.needed("id", payload)?;
        let id = format!("{}:{reported}", fixed.hook);
        let service = match fixed.service {
            Some(service) => service.to_owned(),
            None => self.service.needed("service", payload)?,
        };
        let environment = some(&self.environment).unwrap_or_else(|| fixed.environment.to_owned());
        let status = |at, ok| vec![Status { at, ok }];
        let moved = match &self.moves {
            Some(_) => Some(time("moves", &self.moves)?),
            None => None,
        };
        let fact = match self.kind {
            Kind::Deployment | Kind::Rework | Kind::Broken => {
                let deployment = DeploymentRecord {
                    environment,
                    name: some(&self.name).unwrap_or_default(),
                    revision: some(&self.revision).map(|text| revision(&text)).unwrap_or_default(),
                    statuses: status(time("at", &self.at)?, self.kind != Kind::Broken),
                    changes: None,
                    mends: self.kind == Kind::Rework,
                };
                Fact::Ran { id, deployment }
            }
            // Commits are called by their hashes, by whoever speaks of them.
            Kind::Change => {
                let at = Some(time("at", &self.at)?);
                let title = some(&self.title).unwrap_or_default();
                Fact::Landed { id: reported, change: MergedChange::reported(at, &title) }
            }
            Kind::Failure | Kind::Recovery => {
                let statuses = status(time("at", &self.at)?, self.kind == Kind::Recovery);
                Fact::Failed { id, failure: Failed { environment, statuses, deployment: None, moved } }
            }
            Kind::Issue => {
                let closed = match some(&self.closed) {
                    Some(_) => Some(time("closed", &self.closed)?),
                    None => None,
                };
                let incident = Incident {
                    opened: time("opened", &self.opened)?,
                    closed,
                    labels: self.labels.iter().flat_map(|labels| words(labels, payload)).collect(),
                    updated: time("updated", &self.updated)?,
                    moved,
                };
                Fact::Reported { id, incident }
            }
        };
        Ok(Some(ServiceFacts { team: some(&self.team), service, facts: vec![fact] }))
    }
}

#[cfg(test)]
mod tests;
