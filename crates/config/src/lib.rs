//! `dorainfra.yaml`: schema, defaults, validation. Pure: text and overrides in,
//! [`Config`] or all errors out. Reading files, the environment and the terminal
//! is `commands`'s.
//!
//! [`schema`] is the one table of keys; [`load`] reads by it, [`template`] and
//! [`reference()`] write from it. A file becomes a `tree` with places, each value
//! is checked against its row (`check`, `rules`), then what keys say to each
//! other (`agreement`) and what Mimir knows of its own keys (`options`). `scrape` reads
//! the one file beside it that is written in another program's fields.

mod agreement;
mod check;
mod duration;
mod explain;
mod feeds;
mod json_schema;
mod key;
mod load;
mod options;
mod problem;
mod reading;
mod reference;
mod rules;
pub mod schema;
mod scrape;
mod sections;
mod sizes;
mod source;
mod source_keys;
mod source_kind;
mod suggest;
mod template;
mod tree;
mod versions;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::duration::{DurationError, parse_duration};
pub use self::explain::{Explanation, ValueOf, explain};
pub use self::feeds::{Feeds, NOTHING_IS_FED};
pub use self::json_schema::json_schema;
pub use self::load::{Loaded, Sources, load};
pub use self::options::{dangers, keys as mimir_options, known as is_mimir_option};
pub use self::problem::{ConfigErrors, Origin, Place, Problem};
pub use self::reference::reference;
pub use self::rules::{CALLER, Fault, Rule};
pub use self::scrape::{JobFile, ScrapeJobs, scrape_jobs};
pub use self::sizes::{Limits, history_window, series_per_team};
pub use self::source::{ChangesAre, DeployedBy, MAPPINGS, Source, SourceKind, TeamFrom, check_text};
pub use self::template::template;
pub use self::versions::{MimirVersion, default_version, mimir_stops, mimir_version, mimir_versions};

/// The whole configuration, complete and valid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Google Cloud project id. Empty only before `--project` is applied.
    pub project: String,
    /// The deployment's name: prefix of every resource's name and its ownership mark.
    pub name: String,
    pub region: String,
    /// One zone for `topology: single`, three for `ha`.
    pub zones: Vec<String>,
    /// Extra labels for every resource that takes labels.
    pub labels: BTreeMap<String, String>,
    pub mimir: Mimir,
    pub network: Network,
    pub access: Access,
    pub secrets: Secrets,
    pub alerts: Alerts,
    pub stack: Stack,
    pub generator: Generator,
    /// Where real events come from.
    pub sources: Vec<Source>,
    /// Hours after which a real event counts: its outcome is settled by then.
    pub settle_hours: u32,
    /// Time zone of the report's days and weeks.
    pub timezone: String,
    /// Folder whose files override the built-in templates of the same path.
    pub templates_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mimir {
    /// Exact version, for example `3.1.4`.
    pub version: String,
    pub topology: Topology,
    pub machine_type: String,
    pub boot_disk_gb: u32,
    pub boot_disk_type: String,
    /// Data disk (WAL, unshipped blocks, caches), GB.
    pub disk_gb: u32,
    pub disk_type: String,
    pub log_level: LogLevel,
    /// Days that daily snapshots of the data disk are kept.
    pub snapshot_days: u32,
    /// Bucket name; default `<project>-<name>-mimir`, empty while `project` is.
    pub bucket: String,
    pub bucket_location: String,
    /// Soft-delete retention of the bucket, days (0: off).
    pub soft_delete_days: u32,
    /// How long samples are kept: a Prometheus duration (`13mo` is not one; `400d`, `1y`).
    pub retention: String,
    pub tenant: String,
    pub limits: Limits,
    /// Mimir's own keys, laid over those that dorainfra writes.
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// An account that is there, by its address; `None`: one of the deployment's own.
    pub service_account: Option<String>,
    /// A Mimir binary on this machine, instead of the pinned download.
    pub binary: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    Single,
    Ha,
}

/// The least important lines that Mimir writes to its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// An existing network of the project.
    pub name: String,
    /// Its subnet in the region; `None`: the one of a network in auto mode.
    pub subnet: Option<String>,
    /// A network of the deployment's own, instead.
    pub create: bool,
    /// CIDR of its subnet.
    pub range: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Access {
    /// CIDRs that may reach port 9009, or `caller` for this machine's address.
    pub allow: Vec<String>,
    /// Who is asked for this machine's address, in turn.
    pub caller_services: Vec<String>,
    /// `i-understand`: the only way to allow 0.0.0.0/0 or ::/0.
    pub public: Option<String>,
    /// Who shows a certificate on port 9009.
    pub tls: Tls,
    /// Whether the machine has an external address.
    pub external: bool,
    /// Whether each of three machines has one besides the load balancer's.
    pub external_machines: bool,
    /// `host:port` at which the operator's machine reaches port 9009.
    pub endpoint: Option<String>,
}

/// Where certificates and keys are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// Regions of Secret Manager; none: wherever Google sees fit.
    pub locations: Vec<String>,
}

/// Who shows a certificate on Mimir's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Server and client.
    Mutual,
    /// The server only: whoever reaches the port may write and read.
    Server,
    /// Nobody: not even encrypted.
    Off,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alerts {
    /// Whether Mimir's ruler has our recording and alert rules.
    pub rules: bool,
    /// The user's own configuration of the alertmanager.
    pub config: Option<PathBuf>,
    /// A file with the URL of a dead man's switch.
    pub watchdog: Option<PathBuf>,
    /// Where people look at metrics: what an alert's link to its expression begins with.
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    pub runtime: Runtime,
    pub grafana: Grafana,
    pub live: Live,
    pub ports: Ports,
    pub images: Images,
    /// Seconds between two scrapes.
    pub scrape_seconds: u32,
    /// The user's own jobs for the collector.
    pub scrape_jobs: Option<PathBuf>,
    /// Prometheus binary; default: the one on PATH.
    pub prometheus: Option<PathBuf>,
    /// Pushgateway binary; default: the one on PATH.
    pub pushgateway: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Compose where a Docker engine answers, else native.
    Auto,
    Native,
    Compose,
}

/// How live values reach the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Live {
    /// The generator pushes them to a Pushgateway, which the agent scrapes.
    Pushgateway,
    /// The agent scrapes the generator.
    Scrape,
    /// The generator writes them itself.
    RemoteWrite,
}

/// Whether Grafana is part of the Compose stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grafana {
    Run,
    None,
}

/// Images of the Compose stack, each pinned by tag or digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    pub pushgateway: String,
    pub prometheus: String,
    pub grafana: String,
}

/// Loopback ports of the collector stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ports {
    pub prometheus: u16,
    pub pushgateway: u16,
    pub grafana: u16,
    /// Where the generator serves what it shows, unless it pushes.
    pub generator: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Whether simulated teams are fed; `None`: wherever [`Config::settled`] has them by itself.
    pub simulate: Option<bool>,
    pub teams: u32,
    /// Days of history.
    pub days: u32,
    pub seed: u64,
    /// Seconds between two live pushes.
    pub interval_seconds: u32,
    /// Whether lead times and recoveries are written as native histograms, too.
    pub native_histograms: bool,
    /// Whether they are written by service, too.
    pub service_histograms: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            project: String::new(),
            name: "dorainfra".into(),
            region: "europe-west1".into(),
            zones: vec!["europe-west1-b".into()],
            labels: BTreeMap::new(),
            mimir: Mimir {
                version: default_version().into(),
                topology: Topology::Single,
                machine_type: "e2-medium".into(),
                boot_disk_gb: 10,
                boot_disk_type: "pd-balanced".into(),
                disk_gb: 20,
                disk_type: "pd-balanced".into(),
                log_level: LogLevel::Info,
                snapshot_days: 14,
                bucket: String::new(),
                bucket_location: "europe-west1".into(),
                soft_delete_days: 7,
                retention: sizes::retention(365),
                tenant: "dora".into(),
                limits: sizes::limits(39, 365, false, false),
                extra: serde_json::Map::new(),
                service_account: None,
                binary: None,
            },
            network: Network {
                name: "default".into(),
                subnet: None,
                create: false,
                range: "10.42.0.0/24".into(),
            },
            access: Access {
                allow: vec!["caller".into()],
                caller_services: [
                    "https://checkip.amazonaws.com",
                    "https://api.ipify.org",
                    "https://ifconfig.me/ip",
                ]
                .map(Into::into)
                .to_vec(),
                public: None,
                tls: Tls::Mutual,
                external: true,
                external_machines: true,
                endpoint: None,
            },
            secrets: Secrets { locations: Vec::new() },
            alerts: Alerts { rules: true, config: None, watchdog: None, url: None },
            stack: Stack {
                runtime: Runtime::Auto,
                grafana: Grafana::Run,
                live: Live::Pushgateway,
                ports: Ports { prometheus: 9090, pushgateway: 9091, grafana: 3000, generator: 9464 },
                images: Images {
                    pushgateway: concat!(
                        "prom/pushgateway:v1.11.1@sha256:",
                        "03738d278e082ee9821df730c741b3b465c251fc2b68a85883def301a55a6215"
                    )
                    .into(),
                    prometheus: concat!(
                        "prom/prometheus:v3.5.0@sha256:",
                        "63805ebb8d2b3920190daf1cb14a60871b16fd38bed42b857a3182bc621f4996"
                    )
                    .into(),
                    grafana: concat!(
                        "grafana/grafana:12.1.1@sha256:",
                        "a1701c2180249361737a99a01bc770db39381640e4d631825d38ff4535efa47d"
                    )
                    .into(),
                },
                scrape_seconds: 60,
                scrape_jobs: None,
                prometheus: None,
                pushgateway: None,
            },
            generator: Generator {
                simulate: None,
                teams: 39,
                days: 365,
                seed: 1,
                interval_seconds: 60,
                native_histograms: false,
                service_histograms: false,
            },
            sources: Vec::new(),
            settle_hours: 72,
            timezone: "UTC".into(),
            templates_dir: None,
        }
    }
}

/// No source named a Google Cloud project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no Google Cloud project is named")]
pub struct ProjectMissing;

impl ProjectMissing {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(
            "give `--project PROJECT`, set DORAINFRA_PROJECT, or write `project: PROJECT` into dorainfra.yaml; \
             `gcloud projects list` lists yours, and `--sandbox` needs none of them"
                .into(),
        )
    }
}

/// What other defaults follow from.
#[derive(Clone, Copy)]
struct Basis<'a> {
    project: &'a str,
    name: &'a str,
    region: &'a str,
    topology: Topology,
    teams: u32,
    days: u32,
    by_ingester: bool,
    by_service: bool,
}

impl<'a> Basis<'a> {
    fn of(config: &'a Config) -> Self {
        Self {
            project: &config.project,
            name: &config.name,
            region: &config.region,
            topology: config.mimir.topology,
            teams: config.generator.teams,
            days: config.generator.days,
            by_ingester: config.history_by_ingester(),
            by_service: config.generator.service_histograms,
        }
    }
}

/// Stands for the project where something is rendered before one is named.
pub const PLACEHOLDER_PROJECT: &str = "my-gcp-project";

impl Config {
    /// The project id, for whatever calls Google.
    ///
    /// # Errors
    /// No source named one.
    pub fn require_project(&self) -> Result<&str, ProjectMissing> {
        if self.project.is_empty() { Err(ProjectMissing) } else { Ok(&self.project) }
    }

    /// The defaults beside those from which others follow.
    fn defaults_of(basis: &Basis<'_>) -> Self {
        let Basis { project, name, region, topology, teams, days, by_ingester, by_service } = *basis;
        let mut defaults = Self {
            project: project.to_owned(),
            name: name.to_owned(),
            region: region.to_owned(),
            zones: default_zones(region, topology),
            ..Self::default()
        };
        defaults.mimir.bucket_location = region.to_owned();
        defaults.mimir.retention = sizes::retention(days);
        defaults.mimir.limits = sizes::limits(teams, days, by_ingester, by_service);
        if !project.is_empty() {
            defaults.mimir.bucket = default_bucket(project, name);
        }
        defaults
    }

    /// Whether history may go through Mimir's ingester, and not to the bucket as blocks:
    /// what is told late of real events does, and all of it where Mimir takes no blocks.
    pub fn history_by_ingester(&self) -> bool {
        !self.sources.is_empty() || options::takes_no_blocks(&self.mimir.extra)
    }

    /// The zones that three replicas have, or would have.
    pub fn three_zones(&self) -> Vec<String> {
        match self.mimir.topology {
            Topology::Ha => self.zones.clone(),
            Topology::Single => default_zones(&self.region, Topology::Ha),
        }
    }

    /// The same configuration with [`PLACEHOLDER_PROJECT`] if no project is
    /// named: complete enough to render, not to call Google.
    pub fn with_placeholder_project(mut self) -> Self {
        if self.project.is_empty() {
            self.project = PLACEHOLDER_PROJECT.into();
        }
        if self.mimir.bucket.is_empty() {
            self.mimir.bucket = default_bucket(&self.project, &self.name);
        }
        self
    }
}

/// The first zones of a region that have machines: the first is the same for
/// both topologies, so that going from one to the other leaves the first machine
/// where it is.
fn default_zones(region: &str, topology: Topology) -> Vec<String> {
    let letters: &[char] = match (topology, region) {
        (Topology::Single, _) => &['b'],
        // These two have no zone `a`.
        (Topology::Ha, "europe-west1" | "us-east1") => &['b', 'c', 'd'],
        (Topology::Ha, _) => &['b', 'c', 'a'],
    };
    letters.iter().map(|letter| format!("{region}-{letter}")).collect()
}

/// `<project>-<name>-mimir`; past the 63 characters of a bucket's name, its
/// beginning and eight digits of its SHA-256, so that no two meet.
fn default_bucket(project: &str, name: &str) -> String {
    const LONGEST: usize = 63;
    let full = format!("{project}-{name}-mimir");
    if full.len() <= LONGEST {
        return full;
    }
    let digest = &hex::encode(Sha256::digest(full.as_bytes()))[..8];
    let end = full.floor_char_boundary(LONGEST - digest.len() - 1);
    format!("{}-{digest}", full[..end].trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzzed_configurations_are_told_or_loaded() {
        dorainfra_testutils::fuzzing::five_seconds("configuration", |input| {
            let text = String::from_utf8_lossy(input).into_owned();
            let file = Some((std::path::PathBuf::from("dorainfra.yaml"), text));
            let sources = Sources {
                file,
                environment: Vec::new(),
                tool_variables: Vec::new(),
                set: Vec::new(),
                project: None,
            };
            match load(sources) {
                Ok(loaded) => drop(format!("{:?}", loaded.config)),
                Err(errors) => drop(errors.to_string()),
            }
        });
    }

    #[test]
    fn a_long_default_bucket_is_cut_and_stays_its_own() {
        assert_eq!(default_bucket("my-gcp", "dorainfra"), "my-gcp-dorainfra-mimir");
        let (a, b) = (default_bucket(&"p".repeat(60), "a"), default_bucket(&"p".repeat(60), "b"));
        assert_eq!((a.len(), b.len()), (63, 63));
        assert_ne!(a, b);
        assert_eq!(a, default_bucket(&"p".repeat(60), "a"));
    }

    #[test]
    fn a_missing_project_is_an_error_only_for_those_who_need_it() {
        let config = Config::default();
        assert_eq!(config.require_project(), Err(ProjectMissing));
        let config = config.with_placeholder_project();
        assert_eq!(config.require_project(), Ok(PLACEHOLDER_PROJECT));
        assert_eq!(config.mimir.bucket, "my-gcp-project-dorainfra-mimir");
    }
}
