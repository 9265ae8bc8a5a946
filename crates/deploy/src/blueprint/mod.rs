//! Configuration → what should exist: manifests and rendered files. Pure: no
//! clock, no network, no environment; the same input gives the same bytes.
//!
//! `context` documents the values that templates see. How a template becomes
//! text is `render`'s; what a manifest means is the engine's and the kinds'.

mod alertmanager;
mod context;
mod error;
mod extra;
mod machine;
mod resources;
mod rules;
mod stack;
mod upgrade;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dorainfra_config::{Config, ScrapeJobs, Topology};
use dorainfra_engine::Manifest;
use dorainfra_prometheus::Flavour;
use dorainfra_render::{Context, Overrides, Renderer, SUFFIX};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::alertmanager::{AlertmanagerError, Private, alertmanager_config, alertmanager_digest};
pub use self::context::{LEAF_SECONDS, Names, PORT, Replica, STACK};
pub use self::error::BlueprintError;
pub use self::stack::{
    ClientPaths, common_name, endpoint_reference, remote_write_path, snippets, stack_files,
};
pub use self::upgrade::{Upgrade, upgrade, upgrades};

/// The folder of what is rendered for Kubernetes.
pub const KUBERNETES: &str = "kubernetes/";

/// What rendering needs beyond the configuration, found out once by a run and
/// kept in a saved plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// This machine's address as Google sees it, as a CIDR (`203.0.113.7/32`);
    /// what `access.allow: [caller]` stands for.
    pub caller: Option<String>,
    pub engine: Engine,
    /// Who has a certificate of this deployment, beside its own stack; read from
    /// the cloud, as nothing else knows.
    #[serde(default)]
    pub clients: Vec<Client>,
    /// Data disks that are to be restored, and the snapshot that each is made from.
    #[serde(default)]
    pub restore_disks: BTreeMap<String, String>,
    /// The configuration of the alertmanager.
    #[serde(default)]
    pub alertmanager: Option<Private>,
    /// The user's own jobs for the collector.
    #[serde(default)]
    pub scrape: ScrapeJobs,
}

impl Facts {
    /// Whether native histograms are written, as the configuration wants it and the engine takes
    /// it: what stands in for Mimir takes none out of order, so it can have no history of them.
    pub fn native_histograms(&self, config: &Config) -> bool {
        config.generator.native_histograms && self.engine.flavour == Flavour::Mimir
    }
}

/// A client with a name, and so with an authority and a certificate of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    pub name: String,
    /// How long its certificates live.
    pub ttl_seconds: u64,
}

/// The program that will run on the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Engine {
    pub flavour: Flavour,
    /// Exact version, for example `3.0.4`.
    pub version: String,
    /// SHA-256 of the binary, lower-case hex.
    pub sha256: String,
    /// Where the binary is on this machine. Never rendered into anything.
    pub path: PathBuf,
}

impl Engine {
    /// For people: `mimir 3.0.4`, `prometheus 2.42.0 (standing in for mimir)`.
    pub fn label(&self) -> String {
        match self.flavour {
            Flavour::Mimir => format!("mimir {}", self.version),
            Flavour::StandIn => format!("prometheus {} (standing in for mimir)", self.version),
        }
    }
}

/// A rendered file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Relative, with `/`: `vm/mimir.yaml`, `stack/prometheus.yml`.
    pub path: String,
    pub contents: String,
    pub executable: bool,
}

/// The bytes behind a `storage.object` manifest, found by its SHA-256.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(bytes::Bytes),
    File(PathBuf),
    /// Mimir's to have, and no bucket's.
    Private(Private),
}

/// Everything that should exist.
#[derive(Clone, Debug)]
pub struct Blueprint {
    pub deployment: String,
    pub manifests: Vec<Manifest>,
    /// All rendered files: `resources/*.yaml`, `vm/*`, `stack/*`, `kubernetes/*`,
    /// sorted by path.
    pub files: Vec<File>,
    /// By lower-case hex SHA-256: the machine's bundle (a tar), the engine's binary,
    /// and the user's configuration of the alertmanager.
    pub contents: Arc<BTreeMap<String, Content>>,
    /// SHA-256 of the machine's bundle.
    pub bundle: String,
}

/// Builds everything from the configuration and the facts.
///
/// # Errors
/// A configuration that cannot be built (an unknown caller, …) or a template that
/// is wrong.
pub fn build(config: &Config, facts: &Facts, overrides: &Overrides) -> Result<Blueprint, BlueprintError> {
    let renderer = Renderer::new(overrides);
    let base = context::base(config, facts)?;
    let extra = &config.mimir.extra;
    let flavour = facts.engine.flavour;
    // A Mimir has a ruler, which takes its rules from whoever asks; what stands in has none.
    let static_rules =
        if config.alerts.rules && flavour == Flavour::StandIn { rules::files() } else { Vec::new() };
    let names = static_rules.iter().map(|file| file.path.as_str()).collect();
    let values = context::with_rule_files(&base, names);
    let (ha, context) = (config.mimir.topology == Topology::Ha, Context::new(&values));
    let machine = machine::machine(&renderer, &context, flavour, ha, extra, static_rules.clone())?;
    let values = context::with_bundle(
        &base,
        &machine.digest,
        &machine.startup_script,
        rules::groups(config.alerts.watchdog.is_some())?,
    );
    let (manifests, mut files) = resources::manifests(&renderer, &Context::new(&values))?;
    let endpoint = endpoint_reference(config);
    let path = remote_write_path(facts.engine.flavour);
    files.extend(machine.files);
    files.extend(kubernetes(&renderer, &Context::new(&base))?);
    files.extend(stack::render(
        &renderer,
        &context::with_endpoint(&base, config, facts, &endpoint, PORT, path),
    )?);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut contents = BTreeMap::from([
        (machine.digest.clone(), Content::Bytes(machine.bundle.into())),
        (facts.engine.sha256.clone(), Content::File(facts.engine.path.clone())),
    ]);
    if let Some(private) = &facts.alertmanager {
        contents.insert(private.sha256.clone(), Content::Private(private.clone()));
    }
    Ok(Blueprint {
        deployment: config.name.clone(),
        manifests,
        files,
        contents: Arc::new(contents),
        bundle: machine.digest,
    })
}

/// Values for Grafana's own chart, for whoever grows out of three machines.
/// Nothing in here uses them.
fn kubernetes(renderer: &Renderer<'_>, context: &Context) -> Result<Vec<File>, BlueprintError> {
    let render = |template: String| {
        let contents = renderer.render(&template, context)?.text;
        let path = template.strip_suffix(SUFFIX).unwrap_or(&template).to_owned();
        Ok(File { path, contents, executable: false })
    };
    renderer.names(KUBERNETES).into_iter().map(render).collect()
}
