//! `sources`: each is a mapping with keys of its own, by its type.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, json};

use super::{Setting, check as check_value};
use crate::key::sources_allowed;
use crate::problem::{Problem, Source as Text, quoted};
use crate::source::{FIELDS, Field, MAPPINGS, Source, SourceKind, instead};
use crate::suggest::nearest;
use crate::tree::{Entry, Node, Span, Value};

/// Checks the whole list; every problem of it is reported.
pub(super) fn check(node: &Node, text: &Text, folder: &Path) -> Result<Setting, Vec<Problem>> {
    let problem =
        |span: Span, message: &str| Problem::new(text.place(span), message).allowed(sources_allowed());
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
        return Err(vec![Problem::new(text.place(span), message).allowed(sources_allowed())]);
    };
    let mut fields = Map::new();
    let kind = check_value(&FIELDS[0].key, &kind.node, text, folder)?.value;
    let name = kind.as_str().unwrap_or_default();
    let Some(kind) = SourceKind::ALL.iter().copied().find(|kind| kind.name() == name) else {
        return Err(problems);
    };
    let taken = || FIELDS.iter().filter(|field| field.types.has(kind));
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
            let message =
                format!("`sources`: a source of the type `{}` has no {}", kind.name(), quoted(name));
            problems.push(Problem::new(place, message).allowed(names.join(", ")).help(help));
            continue;
        };
        match check_value(&field.key, node, text, folder) {
            Ok(setting) => {
                fields.insert(name.clone(), setting.value);
            }
            Err(more) => problems.extend(more),
        }
    }
    for field in taken().filter(|field| field.needed.has(kind) && !seen.contains_key(field.name())) {
        let message = format!("`sources`: a source of the type `{}` needs `{}`", kind.name(), field.name());
        let help = format!("for example `{}: {}`", field.name(), field.key.example);
        problems.push(Problem::new(text.place(span), message).help(Some(help)));
    }
    if kind == SourceKind::Webhook {
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
        let message = "`sources`: `tags` and `branch` are two ways to recognise a deployment: choose one";
        problems.push(Problem::new(text.place(*branch), message));
    }
    if problems.is_empty() { Ok(fields.into()) } else { Err(problems) }
}
