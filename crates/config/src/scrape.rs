//! `stack.scrape_jobs`: a file of the user's own jobs for the collector, in
//! Prometheus's fields. Here is what has to be known before anything is changed: that
//! it is a list of jobs, whose names are free, without a secret in it; and the
//! files that it names. What the fields mean is Prometheus's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::check::plain;
use super::problem::{ConfigErrors, Problem, Source, quoted};
use super::rules;
use super::suggest::nearest;
use super::tree::{self, Entry, Node, Span, Value};

/// What the user's file adds to the collector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScrapeJobs {
    /// Each as Prometheus takes it, with its files at [`JobFile::to`].
    pub jobs: Vec<Json>,
    /// Without repetition, in the order of [`JobFile::to`].
    pub files: Vec<JobFile>,
}

/// A file that a job names. The collector gets a copy of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct JobFile {
    /// Relative to the collector's own configuration: `scrape/3fdba35f/password`.
    pub to: String,
    /// Where the user has it. With a `*` in its name: all files that it matches.
    pub from: PathBuf,
}

impl JobFile {
    /// What its copies lie in.
    pub const FOLDER: &str = "scrape";
}

/// The collector's own jobs, and the job of what it collects.
pub const TAKEN: [&str; 5] = ["live", "pushgateway", "prometheus", "mimir", "dora"];

const ALLOWED: &str = "a list of Prometheus's `scrape_configs`, each a mapping with a `job_name` of its own";

/// Fields whose value Prometheus takes for a secret, wherever they stand.
const SECRETS: &[&str] = &[
    "application_credential_secret",
    "application_secret",
    "auth_token",
    "bearer_token",
    "client_secret",
    "consumer_key",
    "credentials",
    "password",
    "secret_key",
    "secrets",
    "token",
];

/// Fields of a job, for whoever has mistyped one. Another name may be one that a newer
/// Prometheus knows.
const FIELDS: &[&str] = &[
    "always_scrape_classic_histograms",
    "authorization",
    "basic_auth",
    "bearer_token_file",
    "body_size_limit",
    "convert_classic_histograms_to_nhcb",
    "enable_compression",
    "enable_http2",
    "fallback_scrape_protocol",
    "follow_redirects",
    "honor_labels",
    "honor_timestamps",
    "http_headers",
    "job_name",
    "keep_dropped_targets",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "metric_name_escaping_scheme",
    "metric_name_validation_scheme",
    "metric_relabel_configs",
    "metrics_path",
    "native_histogram_bucket_limit",
    "native_histogram_min_bucket_factor",
    "no_proxy",
    "oauth2",
    "params",
    "proxy_connect_header",
    "proxy_from_environment",
    "proxy_url",
    "relabel_configs",
    "sample_limit",
    "scheme",
    "scrape_classic_histograms",
    "scrape_failure_log_file",
    "scrape_interval",
    "scrape_native_histograms",
    "scrape_protocols",
    "scrape_timeout",
    "static_configs",
    "target_limit",
    "tls_config",
    "track_timestamps_staleness",
];

/// Reads the jobs of a file: `name`, as messages should show it, and its text. Files
/// that jobs name are relative to `folder`; `readable` says why one cannot be read,
/// or, with a `*` in its name, the folder that it is in.
///
/// # Errors
/// Everything that is wrong, with its place.
pub fn scrape_jobs(
    name: &str,
    text: &str,
    folder: &Path,
    readable: &dyn Fn(&Path) -> Result<(), String>,
) -> Result<ScrapeJobs, ConfigErrors> {
    let mut reading = Reading {
        source: Source::file(name, text),
        folder,
        readable,
        files: BTreeMap::new(),
        problems: Vec::new(),
    };
    let jobs = match tree::parse(text) {
        Ok(root) => reading.list(&root),
        Err(error) => {
            let span = error.span.unwrap_or(Span { line: 1, column: 1, length: 0 });
            reading.problem(span, format!("not valid YAML: {}", error.message), None);
            Vec::new()
        }
    };
    // A line that holds a secret is in no message, whatever else is wrong with it.
    for place in reading.problems.iter_mut().map(|problem| &mut problem.place) {
        let line = place.text.replace(['"', '\''], "");
        if SECRETS.iter().chain(&["key"]).any(|name| line.contains(&format!("{name}:"))) {
            place.text.clear();
        }
    }
    match ConfigErrors::new(reading.problems) {
        Some(errors) => Err(errors),
        None => {
            let files = reading.files.into_iter().map(|(to, from)| JobFile { to, from }).collect();
            Ok(ScrapeJobs { jobs, files })
        }
    }
}

struct Reading<'a> {
    source: Source,
    folder: &'a Path,
    readable: &'a dyn Fn(&Path) -> Result<(), String>,
    /// By the copy's place.
    files: BTreeMap<String, PathBuf>,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn problem(&mut self, span: Span, message: impl Into<String>, help: Option<String>) {
        self.problems.push(Problem::new(self.source.place(span), message).help(help));
    }

    fn list(&mut self, root: &Node) -> Vec<Json> {
        let items = match &root.value {
            // A file of comments adds nothing.
            Value::Null => return Vec::new(),
            Value::List(items) => items,
            other => {
                let whole = matches!(other, Value::Map(entries)
                    if entries.iter().any(|entry| entry.key == "scrape_configs"));
                let help = whole.then_some("leave `scrape_configs:` out, and give only its list");
                let place = self.source.place(root.span);
                let problem = Problem::new(place, "the file is not a list of jobs").allowed(ALLOWED);
                self.problems.push(problem.help(help));
                return Vec::new();
            }
        };
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        let mut jobs = Vec::new();
        for item in items {
            let Value::Map(entries) = &item.value else {
                let place = self.source.place(item.span);
                self.problems.push(Problem::new(place, "this job is not a mapping").allowed(ALLOWED));
                continue;
            };
            self.name(entries, item.span, &mut names);
            for Entry { key, key_span, .. } in entries {
                // Of kinds of discovery there are many.
                if FIELDS.contains(&key.as_str())
                    || SECRETS.contains(&key.as_str())
                    || key.ends_with("_sd_configs")
                {
                    continue;
                }
                if let Some(near) = nearest(key, FIELDS.iter().copied()) {
                    let help = Some(format!("did you mean `{near}`?"));
                    self.problem(*key_span, format!("a job has no {}", quoted(key)), help);
                }
            }
            jobs.push(self.fields(entries, ""));
        }
        jobs
    }

    /// The job's name, which the series get as their label `job`.
    fn name<'a>(&mut self, entries: &'a [Entry], span: Span, names: &mut BTreeMap<&'a str, usize>) {
        let Some(entry) = entries.iter().find(|entry| entry.key == "job_name") else {
            return self.problem(
                span,
                "this job has no `job_name`",
                Some("for example `job_name: node`".into()),
            );
        };
        let span = entry.node.span;
        let name = match &entry.node.value {
            Value::Text(name) if !name.is_empty() => name.as_str(),
            Value::Number { raw, .. } | Value::Bool(raw) => {
                let help = Some(format!("put it in quotes: `\"{raw}\"`"));
                return self.problem(span, "`job_name` is not a text", help);
            }
            _ => return self.problem(span, "`job_name` is not a text", None),
        };
        if TAKEN.contains(&name) {
            let message = format!("`job_name`: {} is a job of dorainfra's own", quoted(name));
            return self.problem(span, message, Some(format!("taken are {}", TAKEN.join(", "))));
        }
        if let Some(first) = names.insert(name, span.line) {
            let message = format!("`job_name`: {} is there twice", quoted(name));
            self.problem(span, message, Some(format!("the first is in line {first}: give each its own")));
        }
    }

    fn fields(&mut self, entries: &[Entry], within: &str) -> Json {
        let mut fields = serde_json::Map::new();
        for Entry { key, key_span, node } in entries {
            if fields.contains_key(key) {
                self.problem(*key_span, format!("{} is there twice", quoted(key)), None);
            }
            let secret = SECRETS.contains(&key.as_str()) || (within == "tls_config" && key == "key");
            if secret && node.value != Value::Null {
                self.secret(key, *key_span);
            }
            fields.insert(key.clone(), self.field(key, node));
        }
        fields.into()
    }

    fn field(&mut self, key: &str, node: &Node) -> Json {
        match (key, &node.value) {
            // Names in these are the user's own, and the last is written, not read.
            ("params" | "labels" | "scrape_failure_log_file", value) => plain(value),
            (key, Value::Text(path)) if key.ends_with("_file") => self.file(path, node.span).into(),
            ("files", Value::List(items)) => items
                .iter()
                .map(|item| match &item.value {
                    Value::Text(path) => self.file(path, item.span).into(),
                    other => plain(other),
                })
                .collect(),
            (key, Value::Map(entries)) => self.fields(entries, key),
            (key, Value::List(items)) => items.iter().map(|item| self.field(key, item)).collect(),
            (_, value) => plain(value),
        }
    }

    /// The collector's configuration is rendered, shown and kept: no place for a secret.
    fn secret(&mut self, key: &str, span: Span) {
        let own = |instead: &str| format!("write it to a file of its own, and name that: {instead}");
        let help = match key {
            "key" | "bearer_token" | "client_secret" | "credentials" | "password" | "auth_token"
            | "secret_key" => own(&format!("`{key}_file: PATH`")),
            "secrets" => own("`files: [PATH]`"),
            _ => "where Prometheus takes it from no file, have something else list the targets, for \
                  `file_sd_configs` or `http_sd_configs`"
                .into(),
        };
        self.problem(span, format!("`{key}` is a secret, which has no place in this file"), Some(help));
    }

    /// Where the copy of a file will be, as the collector is to name it.
    fn file(&mut self, path: &str, span: Span) -> String {
        if let Err(fault) = rules::path(path) {
            self.problem(span, format!("the file {} {}", quoted(path), fault.what), fault.help);
            return String::new();
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let from = self.folder.join(path);
        let there = if name.contains('*') { from.parent().unwrap_or(&from) } else { &from };
        if let Err(reason) = (self.readable)(there) {
            let help = Some("files are named relative to the file of jobs".to_owned());
            self.problem(span, format!("{} can't be read: {reason}", quoted(path)), help);
        }
        // Files of one folder stay together; two of the same name don't meet.
        let folder = &hex::encode(Sha256::digest(folder))[..8];
        let to = format!("{}/{folder}/{name}", JobFile::FOLDER);
        self.files.insert(to.clone(), from);
        to
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<ScrapeJobs, ConfigErrors> {
        let readable = |path: &Path| match path.ends_with("absent") {
            true => Err("no such file".to_owned()),
            false => Ok(()),
        };
        scrape_jobs("conf/scrape.yaml", text, Path::new("/home/me/conf"), &readable)
    }

    #[test]
    fn jobs_are_taken_as_they_are_but_for_their_files() {
        let found = read(
            "- job_name: shop\n  scrape_interval: 30s\n  params: {token_file: [a], token: [b]}\n  \
             basic_auth: {username: me, password_file: secrets/shop}\n  tls_config: {ca_file: /etc/ca.crt}\n  \
             relabel_configs: [{regex: '(.*)', replacement: '${1}x', target_label: y}]\n\
             - job_name: rest\n  sample_limit: 500\n  honor_labels: true\n  \
             file_sd_configs: [{files: ['targets/*.yaml', secrets/shop]}]\n",
        )
        .unwrap();
        let folder = |name: &str| format!("scrape/{}", &hex::encode(Sha256::digest(name))[..8]);
        let (password, ca) = (folder("secrets") + "/shop", folder("/etc") + "/ca.crt");
        let targets = folder("targets") + "/*.yaml";
        assert_eq!(
            found.jobs,
            [
                json!({
                    "job_name": "shop", "scrape_interval": "30s",
                    "params": {"token_file": ["a"], "token": ["b"]},
                    "basic_auth": {"username": "me", "password_file": password},
                    "tls_config": {"ca_file": ca},
                    "relabel_configs": [{"regex": "(.*)", "replacement": "${1}x", "target_label": "y"}],
                }),
                json!({
                    "job_name": "rest", "sample_limit": 500, "honor_labels": true,
                    "file_sd_configs": [{"files": [targets, password]}],
                }),
            ]
        );
        let mut files = [
            (password, "/home/me/conf/secrets/shop"),
            (ca, "/etc/ca.crt"),
            (targets, "/home/me/conf/targets/*.yaml"),
        ]
        .map(|(to, from)| JobFile { to, from: from.into() });
        files.sort();
        assert_eq!(found.files, files);
    }

    #[test]
    fn a_file_of_comments_adds_nothing() {
        assert_eq!(read("# nothing yet\n").unwrap(), ScrapeJobs::default());
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_place() {
        let outputs: Vec<String> = [
            "- job_name: node\n  static_config: [{targets: [a:1]}]\n  zookeeper_sd_configs: []\n\
             - static_configs: []\n- node\n- job_name: node\n- job_name: mimir\n- job_name: 7\n- job_name: \n\
             - job_name: shop\n  basic_auth: {username: x, password: hunter2}\n  authorization:\n    \
             credentials: hunter2\n  tls_config: {key: hunter2, ca_file: ~/ca.crt, cert_file: secrets/absent}\n  \
             scheme: http\n  scheme: https\n  consul_sd_configs: [{token: hunter2}]\n",
            "scrape_configs:\n- job_name: x\n",
            "node\n",
            "- job_name: [\n",
        ]
        .map(|text| read(text).unwrap_err().to_string())
        .to_vec();
        assert!(!outputs[0].contains("hunter2"), "{}", outputs[0]);
        insta::assert_snapshot!(outputs.join("\n\n"));
    }

    #[test]
    fn the_names_of_the_collectors_own_jobs_are_taken() {
        let templates = [
            include_str!("../../../prometheus/live.yml.j2"),
            include_str!("../../../prometheus/pushgateway.yml.j2"),
            include_str!("../../../prometheus/collector.yml.j2"),
            include_str!("../../../prometheus/mimir.yml.j2"),
        ];
        for template in templates {
            let name = template.split("- job_name: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
            assert!(TAKEN.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_example_is_valid_switched_on_or_not() {
        let example = include_str!("../../../prometheus/example.yaml");
        assert_eq!(read(example).unwrap().jobs.len(), 1);
        // What the words above say of it.
        for name in TAKEN {
            assert!(example.contains(&format!("`{name}`")), "{name}");
        }
    }
}
