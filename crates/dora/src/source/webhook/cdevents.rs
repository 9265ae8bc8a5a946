//! CDEvents over HTTP: CloudEvents in structured or binary mode, of the specification's
//! versions 0.1 to 0.x, where `context` has `version` or `specversion`.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use base64::Engine as _;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::super::forge::Deployed;
use super::super::project::{DeploymentRecord, Fact, Failed, MergedChange, Project, Status};
use super::intake::{ServiceFacts, Wrong};
use super::payload::{any_time, revision};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch";

/// In which way a request carries a CloudEvent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Structured,
    Binary,
    /// Several at once, or another format than JSON: not taken.
    Other,
}

impl Mode {
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_lowercase();
        match kind.as_str() {
            STRUCTURED => Some(Self::Structured),
            kind if kind.starts_with(BATCHED) || kind.starts_with("application/cloudevents") => {
                Some(Self::Other)
            }
            _ => headers.contains_key("ce-specversion").then_some(Self::Binary),
        }
    }
}

/// How events about something are read.
pub(super) struct Reading {
    /// What it is called here, whatever the event calls it.
    pub service: Option<String>,
    pub deployed: Deployed,
}

/// What an event is.
#[derive(Debug, PartialEq)]
pub(super) enum Read {
    /// Of this type, which tells nothing that counts.
    Unused(String),
    Used {
        /// The same when it is delivered again.
        id: String,
        reported: ServiceFacts,
    },
}

/// The envelope, and where the event in it begins.
struct Envelope<'a> {
    id: String,
    source: String,
    kind: String,
    data: std::borrow::Cow<'a, Value>,
    place: &'static str,
}

pub(super) fn read(
    mode: Mode,
    headers: &HeaderMap,
    body: &[u8],
    reading: impl Fn(Option<&str>) -> Reading,
) -> Result<Read, Wrong> {
    let json: Value = serde_json::from_slice(body)
        .map_err(|error| Wrong::new("the body", format!("it is no JSON: {error}")))?;
    let envelope = match mode {
        Mode::Structured => structured(&json)?,
        Mode::Binary => binary(headers, &json)?,
        Mode::Other => return Err(Wrong::new("content-type", format!("only {STRUCTURED} is taken"))),
    };
    let Some((subject, predicate)) = kind(&envelope.kind)? else { return Ok(Read::Unused(envelope.kind)) };
    let event = Event { root: &envelope.data, place: envelope.place };
    let context = event.context(&envelope)?;
    let about = event.about(subject, &context);
    let reported =
        event.reported((subject, predicate), &context, about.as_deref(), &reading(about.as_deref()))?;
    Ok(match reported {
        Some(reported) => Read::Used { id: format!("{} {}", envelope.source, envelope.id), reported },
        None => Read::Unused(envelope.kind),
    })
}

fn structured(json: &Value) -> Result<Envelope<'_>, Wrong> {
    let text = |name: &str| {
        let value = json.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        value.map(str::to_owned).ok_or_else(|| Wrong::new(format!("/{name}"), "a CloudEvent has this text"))
    };
    version(&text("specversion")?, "/specversion")?;
    let data = match (json.get("data"), json.get("data_base64").and_then(Value::as_str)) {
        (Some(data), _) => std::borrow::Cow::Borrowed(data),
        (None, Some(encoded)) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).ok();
            let data = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            std::borrow::Cow::Owned(
                data.ok_or_else(|| Wrong::new("/data_base64", "it is no JSON in base64"))?,
            )
        }
        (None, None) => return Err(Wrong::new("/data", "it is missing: a CDEvent is there")),
    };
    Ok(Envelope { id: text("id")?, source: text("source")?, kind: text("type")?, data, place: "/data" })
}

fn binary<'a>(headers: &HeaderMap, json: &'a Value) -> Result<Envelope<'a>, Wrong> {
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
        value
            .map(str::to_owned)
            .ok_or_else(|| Wrong::new(name, "a CloudEvent in binary mode has this header"))
    };
    version(&text("ce-specversion")?, "ce-specversion")?;
    let data = std::borrow::Cow::Borrowed(json);
    Ok(Envelope { id: text("ce-id")?, source: text("ce-source")?, kind: text("ce-type")?, data, place: "" })
}

fn version(text: &str, place: &str) -> Result<(), Wrong> {
    match text {
        "1.0" => Ok(()),
        other => Err(Wrong::new(place, format!("{other:?} is no version of CloudEvents that is known: 1.0"))),
    }
}

/// Types that tell something.
const USED: [(&str, &str); 8] = [
    ("service", "deployed"),
    ("service", "upgraded"),
    ("service", "rolledback"),
    ("service", "published"),
    ("change", "merged"),
    ("incident", "detected"),
    ("incident", "reported"),
    ("incident", "resolved"),
];

/// Subject and predicate of `dev.cdevents.service.deployed.0.2.0`; `None` for what is not used.
fn kind(text: &str) -> Result<Option<(&'static str, &'static str)>, Wrong> {
    let Some(rest) = text.strip_prefix("dev.cdevents.") else { return Ok(None) };
    let mut parts = rest.splitn(3, '.');
    let (subject, predicate) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Some(used) = USED.into_iter().find(|used| *used == (subject, predicate)) else { return Ok(None) };
    match parts.next() {
        Some(version) if version.starts_with("0.") => Ok(Some(used)),
        version => {
            let version = version.unwrap_or_default();
            Err(Wrong::new(
                "type",
                format!("{text}: version {version:?} of this type is not known, only 0.x"),
            ))
        }
    }
}

/// A CDEvent, and where it is.
struct Event<'a> {
    root: &'a Value,
    place: &'static str,
}

struct Context<'a> {
    at: OffsetDateTime,
    /// Of the event. Only with its source it is no other's.
    id: String,
    /// Of what it is about.
    subject: String,
    /// The same, reported from what another source calls so.
    unique: String,
    content: &'a Map<String, Value>,
    /// What is said to this program.
    own: Own<'a>,
}

/// What of a source is called what here: an id alone may be another source's, too.
fn known_as(source: &str, id: &str) -> String {
    format!("{CALLED}{source}#{id}")
}

pub(super) const CALLED: &str = "cdevents:";

/// Finds the deployments that failures name by the events' ids, whose sources they do not know:
/// in the environment that counts the newest that ran before.
pub(super) fn find_named(project: &mut Project, environment: &str) {
    let Project { failures, deployments, .. } = project;
    for failure in failures.values_mut() {
        let Some(id) = failure.deployment.as_deref().and_then(|named| named.strip_prefix(CALLED)) else {
            continue;
        };
        let begun = failure.begun();
        let named = named(deployments, id).filter(|(_, ran)| ran.environment == environment);
        let named = named.filter(|(_, ran)| ran.at().is_some_and(|at| begun.is_none_or(|begun| at <= begun)));
        if let Some((known, _)) = named.max_by_key(|(_, ran)| ran.at()) {
            failure.deployment = Some(known.clone());
        }
    }
}

/// All deployments of an event's id.
pub(super) fn named<'a>(
    deployments: &'a BTreeMap<String, DeploymentRecord>,
    id: &str,
) -> impl Iterator<Item = (&'a String, &'a DeploymentRecord)> {
    let end = format!("#{id}");
    deployments.iter().filter(move |(known, _)| known.starts_with(CALLED) && known.ends_with(&end))
}

/// `customData.dorainfra`: what CDEvents has no place for.
struct Own<'a>(Option<&'a Value>);

impl<'a> Event<'a> {
    fn wrong(&self, pointer: &str, message: impl Into<String>) -> Wrong {
        Wrong::new(format!("{}{pointer}", self.place), message)
    }

    fn text(&self, pointer: &str) -> Option<&'a str> {
        self.root.pointer(pointer).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
    }

    fn needed(&self, pointer: &str) -> Result<&'a str, Wrong> {
        self.text(pointer).ok_or_else(|| self.wrong(pointer, "it is missing, empty or no text"))
    }

    fn context(&self, envelope: &Envelope<'_>) -> Result<Context<'a>, Wrong> {
        let version = self.text("/context/specversion").or_else(|| self.text("/context/version"));
        let version = version.ok_or_else(|| {
            self.wrong("/context/specversion", "it is missing (before 0.5: /context/version)")
        })?;
        if !version.starts_with("0.") {
            return Err(self.wrong(
                "/context/specversion",
                format!("version {version:?} of CDEvents is not known, only 0.x"),
            ));
        }
        for (pointer, outside) in [("/context/id", &envelope.id), ("/context/type", &envelope.kind)] {
            let inside = self.needed(pointer)?;
            if inside != outside {
                return Err(
                    self.wrong(pointer, format!("{inside:?} here, and {outside:?} in the CloudEvent"))
                );
            }
        }
        self.needed("/context/source")?;
        let timestamp = self.needed("/context/timestamp")?;
        let at = any_time(timestamp).filter(|_| timestamp.contains('T')).ok_or_else(|| {
            self.wrong("/context/timestamp", format!("{timestamp:?} is no time with an offset (RFC 3339)"))
        })?;
        let content = self.root.pointer("/subject/content").and_then(Value::as_object);
        let content = content.ok_or_else(|| self.wrong("/subject/content", "an object is needed here"))?;
        // What is said in a way that nobody reads is no plain deployment.
        let own = self.root.pointer("/customData/dorainfra").filter(|own| !own.is_null());
        if own.is_some_and(|own| !own.is_object()) {
            return Err(self.wrong("/customData/dorainfra", "an object is needed here"));
        }
        let rework = own.and_then(|own| own.get("rework")).filter(|rework| !rework.is_null());
        if rework.is_some_and(|rework| !rework.is_boolean()) {
            return Err(
                self.wrong("/customData/dorainfra/rework", "true or false is needed here, and no text")
            );
        }
        let subject = self.needed("/subject/id")?;
        let of = self.text("/subject/source").unwrap_or(&envelope.source);
        Ok(Context {
            at,
            id: known_as(&envelope.source, &envelope.id),
            subject: subject.to_owned(),
            unique: known_as(of, subject),
            content,
            own: Own(self.root.pointer("/customData/dorainfra")),
        })
    }

    /// What it is about: a service or, of a change, a repository.
    fn about(&self, subject: &str, context: &Context<'_>) -> Option<String> {
        let reported = match subject {
            "service" => Some(context.subject.as_str()),
            "change" => self.text("/subject/content/repository/id"),
            _ => self.text("/subject/content/service/id"),
        };
        let named = context.own.text("service").or(reported)?.trim_matches('/');
        (!named.is_empty()).then(|| named.to_owned())
    }

    /// `None`: it is of a kind that this source does not count.
    fn reported(
        &self,
        (subject, predicate): (&str, &str),
        context: &Context<'_>,
        about: Option<&str>,
        reading: &Reading,
    ) -> Result<Option<ServiceFacts>, Wrong> {
        let status = |ok| vec![Status { at: context.at, ok }];
        let mut facts = Vec::new();
        match subject {
            "service" => {
                let environment = self.needed("/subject/content/environment/id")?.to_owned();
                let counts = match predicate {
                    "rolledback" => true,
                    "published" => reading.deployed == Deployed::Releases,
                    _ => reading.deployed == Deployed::Deployments,
                };
                if !counts {
                    return Ok(None);
                }
                facts.extend(self.changes(context)?);
                let artifact = context.content.get("artifactId").and_then(Value::as_str);
                let deployment = DeploymentRecord {
                    environment,
                    name: context.own.text("name").unwrap_or_default().to_owned(),
                    revision: context.own.text("revision").or(artifact).map(revision).unwrap_or_default(),
                    statuses: status(true),
                    changes: context.own.ids("changes"),
                    mends: predicate == "rolledback" || context.own.truth("rework"),
                };
                facts.push(Fact::Ran { id: context.id.clone(), deployment });
            }
            "change" => {
                // What is reported is when it landed; when it was written, its sender may say.
                let written = context.own.time("written");
                let at = written.map_err(|why| self.wrong("/customData/dorainfra/written", why))?;
                let title = context.own.text("title").unwrap_or_default();
                let change = MergedChange { untimed: at.is_none(), ..MergedChange::reported(at, title) };
                facts.push(Fact::Landed { id: revision(&context.subject), change });
            }
            _ => {
                let environment = self.text("/subject/content/environment/id").unwrap_or_default().to_owned();
                let failure = Failed {
                    environment,
                    statuses: status(predicate == "resolved"),
                    deployment: context.own.text("deployment").map(|id| format!("{CALLED}{id}")),
                    moved: Some(context.at),
                };
                facts.push(Fact::Failed { id: context.unique.clone(), failure });
            }
        }
        let place = match subject {
            "change" => "/subject/content/repository/id",
            _ => "/subject/content/service/id",
        };
        let service = reading
            .service
            .clone()
            .or_else(|| about.map(str::to_owned))
            .ok_or_else(|| self.wrong(place, "it is missing: the service is unknown"))?;
        Ok(Some(ServiceFacts { team: context.own.text("team").map(str::to_owned), service, facts }))
    }

    /// What a deployment brings, where its sender says it.
    fn changes(&self, context: &Context<'_>) -> Result<Vec<Fact>, Wrong> {
        let mut facts = Vec::new();
        for (index, change) in context.own.list("changes").iter().enumerate() {
            let place = |field: &str| format!("/customData/dorainfra/changes/{index}/{field}");
            let id = change.get("id").and_then(Value::as_str).filter(|id| !id.trim().is_empty());
            let id = id.ok_or_else(|| self.wrong(&place("id"), "it is missing, empty or no text"))?;
            let at = Own(Some(change)).time("at").map_err(|why| self.wrong(&place("at"), why))?;
            let title = change.get("title").and_then(Value::as_str).unwrap_or_default();
            let change = MergedChange { untimed: at.is_none(), ..MergedChange::reported(at, title) };
            facts.push(Fact::Landed { id: id.to_owned(), change });
        }
        Ok(facts)
    }
}

impl<'a> Own<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        let text = self.0?.get(name)?.as_str()?.trim();
        (!text.is_empty()).then_some(text)
    }

    fn truth(&self, name: &str) -> bool {
        self.0.and_then(|own| own.get(name)).and_then(Value::as_bool).unwrap_or_default()
    }

    fn list(&self, name: &str) -> &'a [Value] {
        let list = self.0.and_then(|own| own.get(name)).and_then(Value::as_array);
        list.map(Vec::as_slice).unwrap_or_default()
    }

    fn ids(&self, name: &str) -> Option<Vec<String>> {
        self.0?.get(name)?;
        let ids = self.list(name).iter().filter_map(|change| change.get("id")?.as_str());
        Some(ids.map(str::to_owned).collect())
    }

    /// `None` where nothing is said.
    fn time(&self, name: &str) -> Result<Option<OffsetDateTime>, String> {
        let text = match self.0.and_then(|own| own.get(name)) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        any_time(&text).map(Some).ok_or_else(|| format!("{text:?} is no time (RFC 3339)"))
    }
}

#[cfg(test)]
#[path = "cdevents_tests.rs"]
mod tests;
