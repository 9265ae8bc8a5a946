//! How a run fails: what failed and why, and by [`Error::hint`] what to do next. What that means for a
//! process, such as its exit code, is for whoever runs it to say.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use dorainfra_base::error::Why;
use dorainfra_config::{ConfigErrors, ProjectMissing};
use dorainfra_dora::live::LiveError;
use dorainfra_dora::source::SourceError;
use dorainfra_engine::{EngineError, ProviderError, ResourceId};
use dorainfra_gcp as gcp;
use dorainfra_pki::FilesError;
use dorainfra_prometheus::TargetError;
use dorainfra_prometheus::pushgateway::GatewayError;
use dorainfra_prometheus::query::QueryError;
use dorainfra_prometheus::remote_write::WriteError;
use dorainfra_prometheus::upload::UploadError;
use dorainfra_render::RenderError;

use super::tunnel::TunnelError;
use crate::artifact::ArtifactError;
use crate::blueprint::BlueprintError;
use crate::export::ExportError;
use crate::machine::{self, MachineError};
use crate::resource::ReachError;
use crate::stack::compose::ComposeError;
use crate::stack::native::StackError;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Blueprint(#[from] BlueprintError),
    #[error(transparent)]
    Cloud(#[from] gcp::Error),
    #[error(transparent)]
    Compose(#[from] ComposeError),
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Project(#[from] ProjectMissing),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Stack(#[from] StackError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Write(#[from] WriteError),

    /// What was given is wrong: nothing was done.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A saved plan is no longer what would be done.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The operator asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),

    #[error("{path} can't be written: {source}", path = .path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("{path} can't be made: {source}", path = .path.display())]
    Unmakeable { path: PathBuf, source: io::Error },
    #[error("no HTTP client: {0}")]
    Http(#[source] reqwest::Error),
    #[error("no service could tell this machine's address: {reasons}")]
    CallerUnknown { reasons: String },
    #[error("no Mimir ({reason}) and no Prometheus to stand in for it")]
    NoEngine { reason: String },
    #[error("`topology: ha` needs a Mimir: Prometheus cannot replace three replicas")]
    StandInsForHa,
    #[error("no source has a deployment")]
    NoDeployment,
    #[error("{different} samples of the history are stored with different values: {first}")]
    OtherHistory { different: u64, first: String },
    #[error("reading ended early: {0}")]
    EndedEarly(#[from] tokio::task::JoinError),
    #[error("no machine answers: {machines}")]
    Down { machines: String },
    #[error("Mimir runs, but {connect} cannot be reached from here: {reason}")]
    Unreachable {
        connect: SocketAddr,
        #[source]
        reason: Why,
        hint: String,
    },
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    #[error("this deployment has no machine yet")]
    NoMachine,
    #[error("{} can't be read: {source}", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{failed} {} failed{}", if *.failed == 1 { "resource" } else { "resources" }, also(*.not_started))]
    Incomplete { failed: usize, not_started: usize },
    #[error("{services} is off in {project}: what it keeps of {deployment} may still be there, and billed")]
    ServicesOff { services: String, project: String, deployment: String },
    #[error("{count} of its resources are still there")]
    Remaining { count: usize },
}

fn also(count: usize) -> String {
    if count > 0 { format!(", {count} not started because of that") } else { String::new() }
}

fn unseen_also(unseen: &[String]) -> String {
    if unseen.is_empty() { String::new() } else { format!(" (not seen: {})", unseen.join("; ")) }
}

/// What was given is wrong.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("{folder} {what}, and keys would be kept in it", folder = .folder.display())]
    StateNotOwn { folder: PathBuf, what: &'static str },
    #[error("{path} can't be read: {source}", path = .path.display())]
    Unreadable { path: PathBuf, source: io::Error, hint: &'static str },
    #[error("`stack.scrape_jobs`: {shown} can't be read: {source}")]
    ScrapeJobs { shown: String, source: io::Error },
    #[error("{file}: {reason}", file = .file.display())]
    Authorities { file: PathBuf, reason: String },
    #[error("`{key}`: {file} {why}")]
    Alerts { key: &'static str, file: String, why: String, hint: Option<&'static str> },
    #[error("{variable} names no proxy that can be used: {why}")]
    Proxy { variable: &'static str, why: String },
    #[error("--restore-disk {word}: {why}")]
    RestoreDisk { word: String, why: String, disks: Vec<String> },
    #[error("{disk} exists: it is not made from `{snapshot}`")]
    DiskInTheWay { disk: ResourceId, snapshot: String },
    #[error(
        "Mimir can't go from {from} to {to} at once: replicas are changed one after the other, and \
         those of the two do not work side by side"
    )]
    Versions { from: String, to: String, stops: Vec<&'static str> },
    #[error("{name} `{value}` is not valid: {why}")]
    Text { name: &'static str, value: String, why: String },
    #[error(
        "{service} is what both {one} and {other} are: each would delete the other's events, so neither is read"
    )]
    SharedService { service: String, one: String, other: String },
    #[error("there is no mapping called `{name}`")]
    NoMapping { name: String, known: String },
    #[error("{path} is not a mapping: {why}", path = .path.display())]
    Mapping { path: PathBuf, why: String },
    #[error("no Mimir was found in {project}: no bucket has blocks in it{}", unseen_also(.unseen))]
    NothingToAdopt { project: String, looked: Vec<String>, unseen: Vec<String> },
    #[error("{project} has blocks of more than one Mimir or tenant: {}", .found.join("; "))]
    SeveralToAdopt { project: String, found: Vec<String> },
    #[error("`{url}` is not an address for remote write: {why}")]
    Endpoint {
        url: String,
        #[source]
        why: Why,
    },
    #[error("{path} {what}: {source}", path = .path.display())]
    PlanFile { path: PathBuf, what: &'static str, source: serde_json::Error },
}

/// Why a saved plan is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("{path} was made by dorainfra {theirs}; this is {ours}", path = .path.display())]
    Version { path: PathBuf, theirs: String, ours: &'static str },
    #[error("the plan does not show what has to be done now: {what}, {reason}")]
    Lacks { what: String, reason: String },
    #[error(
        "the plan is of deployment `{theirs}` in project `{their_project}`, but this is `{ours}` in `{our_project}`"
    )]
    OfAnother { theirs: String, their_project: String, ours: String, our_project: String },
}

/// What was left undone.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Interrupted {
    #[error("interrupted before everything was done")]
    Before,
    #[error("interrupted: not everything was done")]
    Resources,
    #[error("interrupted: the rest is still there")]
    Destroying,
}

/// What to do where nobody says which address this machine has.
pub(super) const NAME_CALLER: &str = "name it yourself: `--set access.allow='[203.0.113.7/32]'`, or other services: \
                                      `access.caller_services`";
const WRITABLE: &str = "check the folder's permissions and the free space";
const PLAN_AGAIN: &str = "make it again: `dorainfra plan --out FILE`";
const PLAN_AGAIN_UNCHANGED: &str = "make it again: `dorainfra plan --out FILE`; nothing was changed";

impl Error {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Artifact(error) => return error.hint(),
            Self::Blueprint(error) => return error.hint(),
            Self::Cloud(error) => return error.hint(),
            Self::Compose(error) => return error.hint(),
            Self::Config(error) => return error.hint(),
            Self::Engine(error) => return error.hint(),
            Self::Export(error) => return error.hint(),
            Self::Files(error) => return error.hint(),
            Self::Gateway(error) => return error.hint(),
            Self::Live(error) => return error.hint(),
            Self::Machine(error) => return error.hint(),
            Self::Project(error) => return error.hint(),
            Self::Provider(error) => return error.hint.clone(),
            Self::Query(error) => return Some(error.hint()),
            Self::Reach(error) => return error.hint(),
            Self::Render(error) => return error.hint(),
            Self::Source(error) => return error.hint(),
            Self::Stack(error) => return error.hint(),
            Self::Target(error) => return error.hint(),
            Self::Tunnel(error) => return Some(error.hint()),
            Self::Upload(error) => return error.hint(),
            Self::Write(error) => return error.hint(),
            Self::Input(error) => return error.hint(),
            Self::Plan(error) => error.hint(),
            Self::Interrupted(what) => what.hint(),
            Self::Unwritable { .. } => WRITABLE,
            Self::Unmakeable { .. } => "give a file in a folder that can be written to",
            Self::Http(_) | Self::EndedEarly(_) => return None,
            Self::CallerUnknown { .. } => NAME_CALLER,
            Self::NoEngine { .. } => "`apt-get install prometheus`, or give a Mimir: `--mimir-binary PATH`",
            Self::StandInsForHa => "give a Mimir binary: `--mimir-binary PATH`; `render` works without one",
            Self::NoDeployment => {
                "`dorainfra collect` shows the events of each source; docs/sources.md says what counts"
            }
            Self::OtherHistory { .. } => {
                "other values are stored for these days: simulated with another `generator.seed`, or of `sources` that were \
             read differently since; the stored ones stay, or name another `mimir.tenant`"
            }
            Self::Down { .. } => machine::STARTS,
            Self::Unreachable { hint, .. } => hint,
            Self::Unreadable { .. } => "check the permissions of the file and of its folder",
            Self::NoMachine => "`dorainfra apply` makes everything that is missing",
            Self::Incomplete { .. } => {
                "fix the cause and run the same command again: what is done stays done"
            }
            Self::ServicesOff { services, project, .. } => {
                return Some(format!(
                    "`gcloud services enable {services} --project {project}`, and run the same command again"
                ));
            }
            Self::Remaining { .. } => "run the same command again: it continues from what is there",
        };
        Some(hint.to_owned())
    }
}

impl InputError {
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::StateNotOwn { .. } => {
                "look at what it is, and move it away; a folder of your own is made in its place"
            }
            Self::Unreadable { hint, .. } => hint,
            Self::ScrapeJobs { .. } => "it takes a file with a list of Prometheus's `scrape_configs`",
            Self::Authorities { .. } => "`ca` names a file with the authorities' certificates, in PEM",
            Self::Alerts { hint, .. } => return hint.map(str::to_owned),
            Self::Proxy { variable, .. } => {
                return Some(format!(
                    "{variable}=http://HOST:PORT, or http://NAME:PASSWORD@HOST:PORT; without a proxy: unset \
                     {variable}"
                ));
            }
            Self::RestoreDisk { disks, .. } => {
                return Some(format!("--restore-disk {}=SNAPSHOT", disks.join("|")));
            }
            Self::DiskInTheWay { .. } => {
                "--delete-data replaces it, and the machine with it: what is on it and not in the bucket is lost"
            }
            Self::Versions { to, stops, .. } => {
                return Some(format!(
                    "go through {}: set `mimir.version` to it, `dorainfra apply`, and then to {to}",
                    stops.join(", then ")
                ));
            }
            Self::Text { .. } => return None,
            Self::SharedService { .. } => "give one of them another `service`, or say its `team`",
            Self::NoMapping { known, .. } => return Some(format!("take one of {known}")),
            Self::Mapping { .. } => "docs/sources.md describes the form; mappings/ has examples",
            Self::NothingToAdopt { looked, .. } => {
                return Some(match looked.is_empty() {
                    true => "there is no bucket to look into: name the project that has it".into(),
                    false => format!("looked into {}; name another project", looked.join(", ")),
                });
            }
            Self::SeveralToAdopt { .. } => "say which: `--set mimir.bucket=BUCKET --set mimir.tenant=TENANT`",
            Self::Endpoint { .. } => "give it as https://HOST:PORT/api/v1/push",
            Self::PlanFile { .. } => PLAN_AGAIN_UNCHANGED,
        };
        Some(hint.to_owned())
    }
}

impl PlanError {
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Version { .. } => PLAN_AGAIN,
            Self::Lacks { .. } => PLAN_AGAIN_UNCHANGED,
            Self::OfAnother { .. } => "apply it where it was made, or make a plan of this deployment",
        }
    }
}

impl Interrupted {
    pub fn hint(self) -> &'static str {
        match self {
            Self::Before | Self::Resources => "run the same command again: it continues from here",
            Self::Destroying => "run the same command again: it continues from what is there",
        }
    }
}
