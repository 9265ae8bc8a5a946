//! What several commands read from the command line, as the values that they make of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use dorainfra_base::shell;
use dorainfra_deploy::workflow::{self, event_sources};
use dorainfra_dora::metrics::Histograms;
use dorainfra_dora::source::webhook;
use dorainfra_engine::ResourceId;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use super::environment::Environment;
use super::error::{CommandError, CommandResult};

/// Flags that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [default: dorainfra.yaml, where there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Google Cloud project; overrides `project` of the configuration
    #[arg(long, global = true, value_name = "ID")]
    pub project: Option<String>,
    /// Override a configuration key, for example `--set mimir.disk_gb=50`
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// A Mimir binary on this machine; the same as `--set mimir.binary=PATH`
    #[arg(long, global = true, value_name = "PATH")]
    pub mimir_binary: Option<PathBuf>,
    /// Use the sandbox that `dorainfra sandbox start` runs, instead of Google
    #[arg(long, global = true)]
    pub sandbox: bool,
    /// Use the sandbox of this folder; implies --sandbox [default: the one that was last started
    /// from here]
    #[arg(long, global = true, value_name = "DIR")]
    pub sandbox_dir: Option<PathBuf>,
    /// Print one JSON event or result a line
    #[arg(long, global = true, conflicts_with = "quiet")]
    pub json: bool,
    /// Print errors, warnings and results only
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print more: what starts, and the fields of what is created
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Print without colours; NO_COLOR does the same
    #[arg(long, global = true)]
    pub no_color: bool,
}

impl Global {
    /// The flags that say which deployment is meant, each with a space behind it, as a shell reads them.
    pub fn deployment(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        if self.sandbox && self.sandbox_dir.is_none() {
            words.push("--sandbox".into());
        }
        let paths = [
            ("--sandbox-dir", &self.sandbox_dir),
            ("--config", &self.config),
            ("--mimir-binary", &self.mimir_binary),
        ];
        let paths =
            paths.into_iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?.display().to_string())));
        let project = self.project.iter().map(|project| ("--project", project.clone()));
        let set = self.set.iter().map(|setting| ("--set", setting.clone()));
        for (flag, value) in paths.chain(project).chain(set) {
            words.extend([flag.to_owned(), shell::quoted(value)]);
        }
        words.iter().map(|word| format!("{word} ")).collect()
    }
}

/// Which resources, and what may be done to them.
#[derive(Clone, Debug, Args)]
pub struct Selection {
    /// Only this resource and what it needs (repeatable), as `kind/name`
    #[arg(long, value_name = "RESOURCE")]
    pub target: Vec<ResourceId>,
    /// Replace this resource although nothing forces it (repeatable)
    #[arg(long, value_name = "RESOURCE")]
    pub replace: Vec<ResourceId>,
    /// Take over resources of the same names that do not carry our mark
    #[arg(long)]
    pub adopt: bool,
    /// Allow to delete or replace what holds data: bucket and data disk
    #[arg(long)]
    pub delete_data: bool,
    /// Make the data disk from this snapshot; with several machines, name each disk that is
    /// meant. One that exists is replaced only with --delete-data
    #[arg(long, value_name = "[DISK=]SNAPSHOT")]
    pub restore_disk: Vec<String>,
}

impl From<Selection> for workflow::Selection {
    fn from(given: Selection) -> Self {
        let Selection { target, replace, adopt, delete_data, restore_disk } = given;
        Self { target, replace, adopt, delete_data, restore_disk }
    }
}

#[derive(Debug, Args)]
pub struct Endpoint {
    /// Write to this endpoint, by remote write: the history, or with --live the present values
    #[arg(id = "remote_write", long = "remote-write", value_name = "URL", conflicts_with_all = ["out", "events", "format"])]
    pub url: Option<String>,
    /// Where the endpoint's name is found [default: as it is resolved]
    #[arg(long, value_name = "ADDRESS:PORT", requires = "remote_write")]
    connect: Option<SocketAddr>,
    /// Folder with ca.crt, client.crt and client.key for the endpoint
    #[arg(long, value_name = "DIR", requires = "remote_write")]
    tls_dir: Option<PathBuf>,
    /// Tenant of the endpoint, sent as X-Scope-OrgID
    #[arg(long, value_name = "NAME", requires = "remote_write")]
    tenant: Option<String>,
    /// Write native histograms, too, for an endpoint that takes them
    #[arg(long, requires = "remote_write")]
    native_histograms: bool,
    /// Lead times and recoveries by service, too
    #[arg(long, conflicts_with_all = ["out", "events", "format"])]
    service_histograms: bool,
}

impl Endpoint {
    /// `folder`: that of the call. `None`: none is named.
    pub fn named(&self, folder: &Path) -> Option<workflow::Endpoint> {
        Some(workflow::Endpoint {
            url: self.url.clone()?,
            connect: self.connect,
            tls_dir: self.tls_dir.as_ref().map(|dir| folder.join(dir)),
            tenant: self.tenant.clone(),
        })
    }

    pub fn histograms(&self) -> Histograms {
        Histograms { native: self.native_histograms, by_service: self.service_histograms }
    }
}

/// The webhooks' secret: of the file, or the variable.
pub fn webhook_secret(environment: &Environment, file: Option<&Path>) -> CommandResult<String> {
    const VARIABLE: &str = "DORAINFRA_WEBHOOK_SECRET";
    let secret = match file {
        Some(file) => event_sources::secret_of(&environment.folder.join(file))?,
        None => environment.get(VARIABLE).unwrap_or_default().to_owned(),
    };
    if secret.is_empty() {
        return Err(CommandError::usage("webhooks need a secret: otherwise anybody could send events").hint(
            format!("set {VARIABLE} or give `--secret-file FILE`, and give the sender the same secret"),
        ));
    }
    Ok(secret)
}

/// A moment as `--at` takes it.
pub fn time(text: &str) -> Result<OffsetDateTime, String> {
    webhook::any_time(text)
        .ok_or_else(|| "give a time like 2026-03-02T15:30:00Z, or seconds since 1970".to_owned())
}

/// A date as `--until` and `--since` take it.
pub fn day(text: &str) -> Result<Date, String> {
    Date::parse(text, format_description!("[year]-[month]-[day]")).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Cli;

    #[test]
    fn what_says_which_deployment_is_meant_is_said_again() {
        let of = |words: &[&str]| {
            Cli::parse_from([&["dorainfra"], words, &["status"]].concat()).global.deployment()
        };
        assert_eq!(of(&["--json", "--quiet"][..1]), "");
        let all = ["--sandbox", "--config", "a b.yaml", "--set", "labels.x=it's", "--project", "my-gcp"];
        let told = of(&all);
        assert_eq!(told, r"--sandbox --config 'a b.yaml' --project my-gcp --set 'labels.x=it'\''s' ",);
        assert_eq!(of(&["--sandbox-dir", "elsewhere"]), "--sandbox-dir elsewhere ");
    }
}
