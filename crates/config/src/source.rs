//! `sources`: where real events come from, and the check of the list by the table of an
//! item's keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::check::{self, Setting};
use super::problem::{Problem, Source as Text, quoted};
use super::rules::Rule;
use super::schema::Kind;
pub use super::source_keys::MAPPINGS;
pub(super) use super::source_keys::{FIELDS, Field, instead};
use super::suggest::nearest;
use super::tree::{Entry, Node, Span, Value};

/// One source: what it is read from, whose events it gives, and what counts.
/// What a type does not take is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    #[serde(rename = "type")]
    pub kind: SourceKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// A repository's folder, or a file of events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Tags and releases that are no deployments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<String>>,
    /// `owner/name` or `group/project`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Authorities beside the system's, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployments: Option<DeployedBy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<ChangesAre>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflows: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotfix: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotfix_labels: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_labels: Option<Vec<String>>,
    /// A ready mapping's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
    /// The path that a mapped webhook is sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team_from: Option<TeamFrom>,
    /// `PATTERN=TEAM`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teams: Option<Vec<String>>,
    /// Services and repositories, as CDEvents call them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    Git,
    Github,
    Gitlab,
    File,
    Cdevents,
    Webhook,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TeamFrom {
    Codeowners,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeployedBy {
    Deployments,
    Releases,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangesAre {
    Commits,
    Requests,
}

impl Source {
    /// A source with nothing said but what it is.
    pub fn new(kind: SourceKind) -> Self {
        Self {
            kind,
            team: None,
            service: None,
            environment: None,
            path: None,
            tags: None,
            branch: None,
            paths: None,
            exclude: None,
            project: None,
            url: None,
            token_file: None,
            ca: None,
            deployments: None,
            changes: None,
            workflows: None,
            hotfix: None,
            revert: None,
            hotfix_labels: None,
            incident_labels: None,
            mapping: None,
            name: None,
            services: None,
            team_from: None,
            teams: None,
        }
    }

    /// The path that a mapped webhook is sent to: its name, its mapping's, or its file's.
    pub fn hook(&self) -> Option<String> {
        let file = || self.path.as_ref()?.file_stem()?.to_str().map(str::to_owned);
        self.name.clone().or_else(|| self.mapping.clone()).or_else(file)
    }
}

pub(super) const ALLOWED: &str =
    "a list of mappings, each with a `type`: `git`, `github`, `gitlab`, `file`, `cdevents` or `webhook`";

/// Checks the whole list; every problem of it is reported.
pub(super) fn check(node: &Node, text: &Text, folder: &Path) -> Result<Setting, Vec<Problem>> {
    let problem = |span: Span, message: &str| Problem::new(text.place(span), message).allowed(ALLOWED);
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        Value::Null => &[],
        _ => return Err(vec![problem(node.span, "`sources`: this is not a list")]),
    };
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for item in items {
        match &item.value {
            Value::Map(entries) => match one(entries, item.span, text, folder) {
                Ok(source) => all.push(source),
                Err(more) => problems.extend(more),
            },
            _ => problems.push(problem(item.span, "`sources`: this is not a mapping")),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut hooks: BTreeMap<String, usize> = BTreeMap::new();
    for (index, source) in all.iter().enumerate() {
        let source: Option<Source> = serde_json::from_value(source.clone()).ok();
        let hook = source.filter(|source| source.kind == SourceKind::Webhook).and_then(|one| one.hook());
        let Some(hook) = hook else { continue };
        if let Some(first) = hooks.insert(hook.clone(), index) {
            let message = format!("`sources`: another webhook is called {}, too", quoted(&hook));
            let help = format!("the other is in line {}: give one of them a `name`", items[first].span.line);
            problems.push(Problem::new(text.place(items[index].span), message).help(Some(help)));
        }
    }
    let mut owners: Vec<(usize, String)> = Vec::new();
    for (index, owner) in all.iter().enumerate().filter_map(|(index, source)| Some((index, owner(source)?))) {
        match owners.iter().find(|(_, other)| *other == owner) {
            Some((first, _)) => {
                let message = "`sources`: this has the team and the service of another source: each would \
                               delete the other's events";
                let line = items[*first].span.line;
                let help = format!("the other is in line {line}: give one of them another `service`");
                let place = text.place(items[index].span);
                problems.push(Problem::new(place, message).help(Some(help)));
            }
            None => owners.push((index, owner)),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let places = items.iter().map(|item| text.place(item.span)).collect();
    Ok(Setting { items: places, ..Setting::new(json!(all), text.place(node.span)) })
}

/// Whose a source's events are, as its ids will say; `None`: a file says it itself, or it is
/// called like a folder that is not known here.
fn owner(source: &serde_json::Value) -> Option<String> {
    let text = |key: &str| source.get(key).and_then(serde_json::Value::as_str);
    let (group, name) = match (text("project"), text("path")) {
        (Some(project), _) => project.rsplit_once('/').unwrap_or((project, project)),
        (None, Some(path)) if text("type") == Some("git") => {
            let folder = Path::new(path).file_name().and_then(|name| name.to_str());
            match (folder, text("team").zip(text("service"))) {
                (Some(folder), _) => (folder, folder),
                (None, Some(given)) => given,
                (None, None) => return None,
            }
        }
        _ => return None,
    };
    Some(format!("{}/{}", text("team").unwrap_or(group), text("service").unwrap_or(name)))
}

fn one(entries: &[Entry], span: Span, text: &Text, folder: &Path) -> Result<serde_json::Value, Vec<Problem>> {
    let mut problems = Vec::new();
    let Some(kind) = entries.iter().find(|entry| entry.key == "type") else {
        let message = "`sources`: there is no `type`";
        return Err(vec![Problem::new(text.place(span), message).allowed(ALLOWED)]);
    };
    let mut fields = Map::new();
    let kind = check::check(&FIELDS[0].key, &kind.node, text, folder)?.value;
    let kind = kind.as_str().unwrap_or_default();
    let taken = || FIELDS.iter().filter(|field| field.types.contains(&kind));
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    for Entry { key: name, key_span, node } in entries {
        let place = text.place(*key_span);
        if let Some(first) = seen.insert(name, *key_span) {
            let message = format!("`sources`: {} is there twice", quoted(name));
            let help = format!("the first is in line {}: keep one of them", first.line);
            problems.push(Problem::new(place, message).help(Some(help)));
            continue;
        }
        let Some(field) = taken().find(|field| field.name() == name) else {
            let names: Vec<&str> = taken().map(Field::name).collect();
            let alike = || nearest(name, names.iter().copied()).map(|name| format!("did you mean `{name}`?"));
            let help = instead(kind, name).map(str::to_owned).or_else(alike);
            let message = format!("`sources`: a source of the type `{kind}` has no {}", quoted(name));
            problems.push(Problem::new(place, message).allowed(names.join(", ")).help(help));
            continue;
        };
        match check::check(&field.key, node, text, folder) {
            Ok(setting) => {
                fields.insert(name.clone(), setting.value);
            }
            Err(more) => problems.extend(more),
        }
    }
    for field in taken().filter(|field| field.needed.contains(&kind) && !seen.contains_key(field.name())) {
        let message = format!("`sources`: a source of the type `{kind}` needs `{}`", field.name());
        let help = format!("for example `{}: {}`", field.name(), field.key.example);
        problems.push(Problem::new(text.place(span), message).help(Some(help)));
    }
    if kind == "webhook" {
        let (mapping, path) = (seen.get("mapping"), seen.get("path"));
        let message = match (mapping, path) {
            (None, None) => "`sources`: a source of the type `webhook` needs `mapping`, or `path`",
            (Some(_), Some(_)) => "`sources`: `mapping` and `path` are two mappings: take one",
            _ => "",
        };
        if !message.is_empty() {
            let help = format!("`mapping` is one of {}; `path` a file of your own", MAPPINGS.join(", "));
            let place = text.place(path.copied().unwrap_or(span));
            problems.push(Problem::new(place, message).help(Some(help)));
        }
    }
    if let (Some(_), Some(from)) = (seen.get("team"), seen.get("team_from")) {
        let message = "`sources`: `team` and `team_from` are two ways to say whose it is: take one";
        problems.push(Problem::new(text.place(*from), message));
    }
    if let (Some(_), Some(branch)) = (seen.get("tags"), seen.get("branch")) {
        let message = "`sources`: `tags` and `branch` are two ways to tell a deployment: take one";
        problems.push(Problem::new(text.place(*branch), message));
    }
    if problems.is_empty() { Ok(fields.into()) } else { Err(problems) }
}

/// Checks one value as the command line gives it, by the rule of the file's key.
pub fn check_text(name: &str, value: &str) -> Result<(), String> {
    let Some(field) = FIELDS.iter().find(|field| field.name() == name) else { return Ok(()) };
    let (Kind::Text(Rule { check, allowed }) | Kind::List(Rule { check, allowed })) = &field.key.kind else {
        return Ok(());
    };
    check(value).map_err(|fault| format!("it {}: give {allowed}", fault.what))
}
