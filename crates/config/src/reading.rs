//! Reading the file, the variables and the arguments, key by key; the last word on a key wins.

use super::check::{Setting, check, node_of_override};
use super::problem::{Origin, Problem, Source, quoted};
use super::schema::{self, KEYS, Key, Kind, VARIABLE_PREFIX};
use super::suggest::{key_like, nearest};
use super::tree::{self, Entry, Node, Span, Value};
use super::{Basis, Config, Topology, options};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What has been read so far.
#[derive(Default)]
pub(super) struct Reading {
    /// By key; a higher source has replaced a lower one.
    pub settings: BTreeMap<&'static str, Setting>,
    /// Keys with a wrong value somewhere: nothing further is said about them.
    pub broken: BTreeSet<&'static str>,
    pub problems: Vec<Problem>,
}

impl Reading {
    pub fn file(&mut self, name: &Path, text: &str) {
        let source = Source::file(&name.to_string_lossy(), text);
        let folder = name.parent().unwrap_or(Path::new(""));
        match tree::parse(text) {
            Ok(Node { value: Value::Null, .. }) => {}
            Ok(Node { value: Value::Map(entries), .. }) => self.section("", &entries, &source, folder),
            Ok(Node { span, .. }) => self.problems.push(
                Problem::new(source.place(span), "the file is not a mapping of keys to values")
                    .allowed(allowed_names("")),
            ),
            Err(error) => {
                let span = error.span.unwrap_or(Span { line: 1, column: 1, length: 0 });
                // Without a tree nothing can be said about any key.
                self.broken.extend(KEYS.iter().map(|key| key.path));
                self.problems
                    .push(Problem::new(source.place(span), format!("not valid YAML: {}", error.message)));
            }
        }
    }

    fn section(&mut self, section: &str, entries: &[Entry], source: &Source, folder: &Path) {
        let mut first = BTreeMap::new();
        for Entry { key: name, key_span, node } in entries {
            let path = join(section, name);
            let duplicate = first.get(name.as_str()).copied();
            if let Some(line) = duplicate {
                self.problems.push(
                    Problem::new(source.place(*key_span), format!("{} is there twice", quoted(&path)))
                        .help(Some(format!("the first is in line {line}: keep one of them"))),
                );
            } else {
                first.insert(name.as_str(), key_span.line);
            }
            // Sections nest: `mimir.disk_gb: 20` is not a spelling of the file.
            let nested = !name.contains('.');
            if let Some(key) = schema::key(&path).filter(|_| nested) {
                let node = match &node.value {
                    Value::Null if !matches!(key.kind, Kind::Labels | Kind::Options | Kind::Sources) => {
                        self.broken.insert(key.path);
                        self.problems.push(
                            Problem::new(source.place(*key_span), format!("`{path}`: there is no value"))
                                .allowed(key.kind.allowed())
                                .help(Some("remove the line for the default")),
                        );
                        continue;
                    }
                    _ => node,
                };
                self.assign(key, node, source, folder);
                if duplicate.is_some() {
                    self.broken.insert(key.path);
                }
            } else if let Some(section) = schema::section(&path).filter(|_| nested) {
                match &node.value {
                    Value::Null => {}
                    Value::Map(entries) => self.section(section.path, entries, source, folder),
                    _ => self.problems.push(
                        Problem::new(
                            source.place(node.span),
                            format!("`{path}` takes keys of its own, not a value"),
                        )
                        .allowed(allowed_names(section.path)),
                    ),
                }
            } else {
                self.problems.push(unknown_key(section, name, source, *key_span));
            }
        }
    }

    pub fn environment(&mut self, variables: &[(String, String)], tool_variables: &[String]) {
        let mut variables: Vec<_> = variables
            .iter()
            .filter(|(name, value)| name.starts_with(VARIABLE_PREFIX) && !value.is_empty())
            .collect();
        variables.sort();
        for (name, value) in variables {
            if tool_variables.contains(name) {
                continue;
            }
            match KEYS.iter().find(|key| key.variable() == *name) {
                Some(key) => self.assign_text(key, value, &Source::variable(name, value)),
                None => {
                    let known: Vec<String> =
                        KEYS.iter().map(Key::variable).chain(tool_variables.iter().cloned()).collect();
                    // Its value may be anything: it is not shown.
                    let source = Source::variable(name, "…");
                    let mut place = source.place(Span { line: 1, column: 1, length: 0 });
                    (place.column, place.length) = (1, name.chars().count());
                    self.problems.push(
                        Problem::new(place, "no key has this variable")
                            .allowed(format!("`{VARIABLE_PREFIX}` and a key in capitals, `_` for its dots"))
                            .help(nearest(name, known.iter().map(String::as_str)).map(did_you_mean)),
                    );
                }
            }
        }
    }

    pub fn set(&mut self, argument: &str) {
        let whole =
            |source: &Source| source.place(Span { line: 1, column: 1, length: argument.chars().count() });
        let Some((path, value)) = argument.split_once('=') else {
            let source = Source::set_argument(argument);
            self.problems.push(Problem::new(whole(&source), "there is no `=`").allowed("`KEY=VALUE`"));
            return;
        };
        let source = Source::set(path, value);
        if let Some(label) = path.strip_prefix("labels.") {
            self.set_label(label, value, &Source::set_argument(argument));
        } else if let Some(key) = schema::key(path) {
            self.assign_text(key, value, &source);
        } else {
            let source = Source::set_argument(argument);
            let span = Span { line: 1, column: 1, length: path.chars().count() };
            self.problems.push(match schema::section(path).filter(|section| !section.path.is_empty()) {
                Some(section) => {
                    Problem::new(source.place(span), format!("`{path}` takes keys of its own, not a value"))
                        .allowed(allowed_names(section.path))
                }
                None => unknown_key("", path, &source, span),
            });
        }
    }

    /// One label beside those that the lower sources give.
    fn set_label(&mut self, label: &str, value: &str, source: &Source) {
        let key = known("labels");
        let column = "labels.".len() + 1;
        let key_span = Span { line: 1, column, length: label.chars().count() };
        let span = Span { line: 1, column: column + key_span.length + 1, length: value.chars().count() };
        let mut labels = match self.settings.get(key.path) {
            Some(setting) => setting.value.as_object().cloned().unwrap_or_default(),
            None => serde_json::Map::new(),
        };
        if value.is_empty() {
            labels.remove(label);
            self.settings.insert(key.path, Setting::new(labels.into(), source.place(span)));
            return;
        }
        let entry = Entry {
            key: label.to_owned(),
            key_span,
            node: Node { value: Value::Text(value.to_owned()), span },
        };
        match check(key, &Node { value: Value::Map(vec![entry]), span }, source, Path::new("")) {
            Ok(mut setting) => {
                labels.insert(label.to_owned(), json!(value));
                setting.value = labels.into();
                self.settings.insert(key.path, setting);
            }
            Err(problems) => {
                self.broken.insert(key.path);
                self.problems.extend(problems);
            }
        }
    }

    /// The project of Google's own tools, where nothing else names one.
    pub fn google_project(&mut self, variables: &[(String, String)]) {
        const NAME: &str = "GOOGLE_CLOUD_PROJECT";
        if self.settings.contains_key("project") || self.broken.contains("project") {
            return;
        }
        if let Some((_, value)) = variables.iter().find(|(name, value)| name == NAME && !value.is_empty()) {
            self.assign_text(known("project"), value, &Source::variable(NAME, value));
        }
    }

    pub fn assign_text(&mut self, key: &'static Key, value: &str, source: &Source) {
        if value.is_empty() {
            self.settings.remove(key.path);
            return;
        }
        match node_of_override(&key.kind, value, source) {
            Ok(node) => self.assign(key, &node, source, Path::new("")),
            Err(problems) => {
                self.broken.insert(key.path);
                self.problems.extend(problems);
            }
        }
    }

    fn assign(&mut self, key: &'static Key, node: &Node, source: &Source, folder: &Path) {
        match check(key, node, source, folder) {
            Ok(setting) => {
                self.settings.insert(key.path, setting);
            }
            Err(problems) => {
                self.broken.insert(key.path);
                self.problems.extend(problems);
            }
        }
    }

    /// The settings over the defaults and what follows from them.
    pub fn config(&self) -> Config {
        let built_in = Config::default();
        let text = |path: &str, otherwise: &str| {
            let given = self.settings.get(path).and_then(|setting| setting.value.as_str());
            given.unwrap_or(otherwise).to_owned()
        };
        let whole = |path: &str, otherwise: u32| {
            let given = self.settings.get(path).and_then(|setting| setting.value.as_u64());
            given.and_then(|number| u32::try_from(number).ok()).unwrap_or(otherwise)
        };
        let defaults = Config::defaults_of(&Basis {
            project: &text("project", &built_in.project),
            name: &text("name", &built_in.name),
            region: &text("region", &built_in.region),
            topology: match text("mimir.topology", "single").as_str() {
                "ha" => Topology::Ha,
                _ => Topology::Single,
            },
            teams: whole("generator.teams", built_in.generator.teams),
            days: whole("generator.days", built_in.generator.days),
            by_ingester: {
                let of = |path: &str| self.settings.get(path).map(|setting| &setting.value);
                let sources =
                    of("sources").and_then(serde_json::Value::as_array).is_some_and(|list| !list.is_empty());
                sources
                    || of("mimir.extra")
                        .and_then(serde_json::Value::as_object)
                        .is_some_and(options::takes_no_blocks)
            },
            by_service: {
                let given = self.settings.get("generator.service_histograms").map(|setting| &setting.value);
                given.and_then(serde_json::Value::as_bool).unwrap_or(built_in.generator.service_histograms)
            },
        });
        let mut tree = serde_json::to_value(defaults).expect("a configuration is plain data");
        for (path, setting) in &self.settings {
            let pointer = format!("/{}", path.replace('.', "/"));
            *tree.pointer_mut(&pointer).expect("the table names fields of Config only") =
                setting.value.clone();
        }
        serde_json::from_value(tree).expect("the table lets through what Config holds")
    }

    pub fn origins(&self) -> BTreeMap<&'static str, Origin> {
        let origin =
            |path| self.settings.get(path).map_or(Origin::Default, |setting| setting.place.origin.clone());
        KEYS.iter().map(|key| (key.path, origin(key.path))).collect()
    }
}

/// A key that this module names itself.
pub(super) fn known(path: &str) -> &'static Key {
    schema::key(path).expect("the table has this key")
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

fn allowed_names(section: &str) -> String {
    schema::names_in(section).collect::<Vec<_>>().join(", ")
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

/// A key that is not in the table; `name` may have dots.
fn unknown_key(section: &str, name: &str, source: &Source, span: Span) -> Problem {
    let path = join(section, name);
    let in_file = matches!(source.place(span).origin, Origin::File { .. });
    let help = if let Some(key) = schema::key(name).filter(|_| in_file) {
        let (parent, leaf) = key.split();
        Some(if parent.is_empty() {
            format!("`{leaf}` belongs to the outermost level, not under `{section}`")
        } else {
            format!("write `{leaf}:` under `{}:`", parent.replace('.', ":` under `"))
        })
    } else if let Some(near) = nearest(name, schema::names_in(section)) {
        Some(did_you_mean(&join(section, near)))
    } else {
        key_like(&path).map(did_you_mean)
    };
    // `--set mimir.disk=1`: what the deepest section that exists allows.
    let known = path.rsplit_once('.').map_or("", |(parent, _)| parent);
    let known = schema::section(known).map_or("", |section| section.path);
    let place = if known.is_empty() { "at the outermost level".into() } else { format!("in `{known}`") };
    Problem::new(source.place(span), format!("unknown key {}", quoted(&path)))
        .allowed(format!("{place}: {}", allowed_names(known)))
        .help(help)
}
