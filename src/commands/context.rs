//! What every command starts from: flags, surroundings, printer; and the steps
//! that several commands share (configuration, sandbox, client, facts).

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dorainfra_base::file;
use dorainfra_config::{self as config, Config, ScrapeJobs};
use dorainfra_deploy::artifact;
use dorainfra_deploy::blueprint::Private;
use dorainfra_deploy::blueprint::{self, AlertmanagerError, Blueprint, Facts};
use dorainfra_gcp as gcp;
use dorainfra_gcp_sandbox::Handle;
use dorainfra_model::Events;
use dorainfra_render as render;

use super::environment::TOOL_VARIABLES;
use super::interrupt::Signals;
use super::{CommandError, CommandResult, Environment, Global, caller, engine, proxy};
use crate::ui::{self, Mode, Printer};

pub fn printer(global: &Global, environment: &Environment) -> Printer {
    let mode = match (global.json, global.quiet) {
        (true, _) => Mode::Json,
        (_, true) => Mode::Quiet,
        _ => Mode::Human,
    };
    let detected = ui::Options::detect(mode, !global.no_color && environment.get("NO_COLOR").is_none());
    Printer::new(ui::Options {
        verbose: global.verbose,
        live: detected.live && environment.get("TERM") != Some("dumb"),
        ..detected
    })
}

/// What a command does with the deployment, and so has to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It writes what follows from the configuration: all of it is found out.
    Change,
    /// It uses what there is, or changes a part of it: by the address that is known.
    Use,
    /// It only looks at what there is: also where no release can be had.
    Look,
    /// It takes everything away: names are enough.
    Removal,
}

pub struct Context {
    pub global: Global,
    pub environment: Environment,
    pub printer: Printer,
    pub signals: Signals,
}

/// A configuration together with the cloud that it is meant for.
pub struct Project {
    pub config: Config,
    pub overrides: render::Overrides,
    /// The running sandbox, under `--sandbox`.
    pub sandbox: Option<Handle>,
}

impl Context {
    pub fn new(global: Global, environment: Environment, printer: Printer, signals: Signals) -> Self {
        Self { global, environment, printer, signals }
    }

    /// The configuration file, if there is one.
    pub fn config_file(&self) -> Option<PathBuf> {
        match &self.global.config {
            Some(path) => Some(self.environment.folder.join(path)),
            None => Some(self.environment.folder.join("dorainfra.yaml")).filter(|path| path.exists()),
        }
    }

    /// The folder that the configuration is in: local state lies beside it.
    pub fn folder(&self) -> PathBuf {
        self.config_file()
            .and_then(|file| file.parent().map(Path::to_path_buf))
            .unwrap_or_else(|| self.environment.folder.clone())
    }

    /// Local state: `.dorainfra/`, which keeps itself out of version control.
    pub fn state(&self) -> PathBuf {
        self.folder().join(".dorainfra")
    }

    /// Refuses a folder of local state that is somebody else's, or a way to one: keys and
    /// tokens are in it.
    pub fn own_state(&self) -> CommandResult<()> {
        let folder = self.state();
        let wrong = match std::fs::symlink_metadata(&folder) {
            Err(_) => None,
            Ok(found) if found.is_symlink() => Some("is a link"),
            Ok(found) if !found.is_dir() => Some("is no folder"),
            Ok(found) if found.uid() != rustix::process::geteuid().as_raw() => {
                Some("belongs to somebody else")
            }
            Ok(found) if found.mode() & 0o002 != 0 => Some("can be written to by everybody"),
            Ok(_) => None,
        };
        wrong.map_or(Ok(()), |wrong| {
            Err(CommandError::usage(format!("{} {wrong}, and keys would be kept in it", folder.display()))
                .hint("look at what it is, and move it away; a folder of your own is made in its place"))
        })
    }

    pub fn make_state(&self) -> CommandResult<PathBuf> {
        self.own_state()?;
        let folder = self.state();
        let ignore = folder.join(".gitignore");
        std::fs::create_dir_all(&folder)
            .and_then(|()| if ignore.exists() { Ok(()) } else { std::fs::write(&ignore, "*\n") })
            .map_err(|error| {
                CommandError::failed(format!("{} can't be written: {error}", folder.display()))
                    .hint("check the folder's permissions and the free space")
            })?;
        Ok(folder)
    }

    pub fn sandbox_folder(&self) -> PathBuf {
        match self.environment.get("DORAINFRA_SANDBOX_DIR") {
            Some(folder) => self.environment.folder.join(folder),
            None => self.state().join("sandbox"),
        }
    }

    /// Where the stack of a deployment keeps its files, logs and records.
    pub fn stack_folder(&self, deployment: &str) -> PathBuf {
        self.state().join(deployment).join("stack")
    }

    /// The events that a deployment has collected. In a folder of its own, which
    /// the generator's container sees.
    pub fn collected(&self, deployment: &str) -> PathBuf {
        self.state().join(deployment).join("events").join("events.jsonl")
    }

    /// Configuration from file, environment and flags; nothing is contacted but
    /// a running sandbox, under `--sandbox`.
    pub async fn project(&self) -> CommandResult<Project> {
        self.own_state()?;
        let sandbox = match self.global.sandbox {
            true => Some(Handle::find(&self.sandbox_folder()).await?),
            false => None,
        };
        let file = match self.config_file() {
            Some(path) => {
                let text = file::text(&path).map_err(|error| {
                    CommandError::usage(format!("{} can't be read: {error}", path.display()))
                        .hint("`dorainfra init` writes one")
                })?;
                let shown = path.strip_prefix(&self.environment.folder).unwrap_or(&path).to_path_buf();
                Some((shown, text))
            }
            None => None,
        };
        let sources = config::Sources {
            file,
            environment: self.environment.variables.clone().into_iter().collect(),
            tool_variables: TOOL_VARIABLES.iter().map(|&name| name.to_owned()).collect(),
            set: self.settings(),
            project: self.global.project.clone(),
        };
        let mut config = config::load(sources.clone())?.config;
        if let (true, Some(sandbox)) = (config.project.is_empty(), &sandbox) {
            let project = Some(sandbox.project().to_owned());
            config = config::load(config::Sources { project, ..sources })?.config;
        }
        // Paths are relative to the folder that the program runs in by now.
        let folder = &self.environment.folder;
        for path in [&mut config.mimir.binary, &mut config.stack.prometheus, &mut config.stack.pushgateway]
            .into_iter()
            .flatten()
        {
            *path = folder.join(&*path);
        }
        for path in [&mut config.alerts.config, &mut config.alerts.watchdog, &mut config.stack.scrape_jobs]
            .into_iter()
            .flatten()
        {
            *path = folder.join(&*path);
        }
        for source in &mut config.sources {
            for path in [&mut source.path, &mut source.token_file, &mut source.ca].into_iter().flatten() {
                *path = folder.join(&*path);
            }
        }
        let overrides = match &config.templates_dir {
            Some(dir) => render::read_overrides(&folder.join(dir))?,
            None => render::Overrides::default(),
        };
        Ok(Project { config, overrides, sandbox })
    }

    /// The keys set by flags. Later ones win.
    fn settings(&self) -> Vec<String> {
        let binary = self
            .global
            .mimir_binary
            .as_ref()
            .map(|path| format!("mimir.binary={}", self.environment.folder.join(path).display()));
        self.global.set.iter().cloned().chain(binary).collect()
    }

    /// A client of the project's cloud. No call is made yet.
    pub fn client(&self, project: &Project) -> CommandResult<gcp::Client> {
        let endpoints = match &project.sandbox {
            Some(sandbox) => sandbox.endpoints(),
            None => self.endpoints(),
        };
        let settings = gcp::Settings {
            proxy: proxy::of(&self.environment, &endpoints.compute)?,
            endpoints,
            credentials: match &project.sandbox {
                Some(sandbox) => Some(sandbox.credentials()),
                None => self.credentials(),
            },
            // Cloud Shell's metadata server knows who is sitting there.
            person: self.environment.get("CLOUD_SHELL").is_some(),
            project: project.config.project.clone(),
        };
        Ok(gcp::Client::new(settings)?)
    }

    /// The key file that Google's tools would take: the variable's, else the
    /// application default credentials; `None`: neither is there.
    fn credentials(&self) -> Option<PathBuf> {
        if let Some(file) = self.environment.get("GOOGLE_APPLICATION_CREDENTIALS") {
            return Some(self.environment.folder.join(file));
        }
        let folder = match self.environment.get("CLOUDSDK_CONFIG") {
            Some(folder) => PathBuf::from(folder),
            None => Path::new(self.environment.get("HOME")?).join(".config/gcloud"),
        };
        Some(folder.join("application_default_credentials.json")).filter(|file| file.is_file())
    }

    /// Whether the Google that is asked is on this machine, and so sees it on loopback.
    pub fn google_is_here(&self, project: &Project) -> bool {
        project.sandbox.is_some() || self.endpoints().compute.starts_with("http://127.")
    }

    /// Google's addresses, unless the variables that Google's tools use say otherwise.
    fn endpoints(&self) -> gcp::Endpoints {
        let default = gcp::Endpoints::default();
        let of = |api: &str, default: String| {
            let name = format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}");
            self.environment
                .get(&name)
                .map(|base| format!("{}/", base.trim_end_matches('/')))
                .unwrap_or(default)
        };
        let storage = match self.environment.get("STORAGE_EMULATOR_HOST") {
            Some(host) if host.contains("://") => format!("{}/", host.trim_end_matches('/')),
            Some(host) => format!("http://{host}/"),
            // gcloud's form ends in storage/v1/; object data lives beside it.
            None => {
                let base = of("STORAGE", default.storage);
                base.strip_suffix("storage/v1/").map(str::to_owned).unwrap_or(base)
            }
        };
        gcp::Endpoints {
            compute: of("COMPUTE", default.compute),
            storage,
            iam: of("IAM", default.iam),
            cloudresourcemanager: of("CLOUDRESOURCEMANAGER", default.cloudresourcemanager),
            cloudbilling: of("CLOUDBILLING", default.cloudbilling),
            serviceusage: of("SERVICEUSAGE", default.serviceusage),
            secretmanager: of("SECRETMANAGER", default.secretmanager),
        }
    }

    pub fn releases(&self) -> &str {
        self.environment.get("DORAINFRA_MIMIR_RELEASES").unwrap_or(artifact::RELEASES)
    }

    /// What rendering needs beyond the configuration, as far as `purpose` asks for it.
    pub async fn facts(
        &self,
        project: &Project,
        client: &gcp::Client,
        purpose: Purpose,
        events: &Events,
    ) -> CommandResult<Facts> {
        let engine = async {
            match purpose {
                Purpose::Change | Purpose::Use => self.engine(project, events).await,
                Purpose::Look => self.seen_engine(project, events).await,
                Purpose::Removal => Ok(engine::unknown(&project.config)),
            }
        };
        let caller = async {
            if !caller::is_wanted(&project.config) {
                return Ok(None);
            }
            Ok::<_, CommandError>(Some(match purpose {
                Purpose::Change => caller::found(self, project, events).await?,
                Purpose::Use | Purpose::Look => caller::known(self, &project.config, client).await?,
                Purpose::Removal => caller::NOBODY.to_owned(),
            }))
        };
        let (engine, caller) = tokio::try_join!(engine, caller)?;
        let (alertmanager, scrape) = match purpose {
            Purpose::Removal => (None, ScrapeJobs::default()),
            Purpose::Change | Purpose::Use | Purpose::Look => {
                (alertmanager(project)?, self.scrape_jobs(project)?)
            }
        };
        let (clients, restore_disks) = (Vec::new(), BTreeMap::new());
        Ok(Facts { caller, engine, clients, restore_disks, alertmanager, scrape })
    }

    /// The user's own jobs for the collector, read and checked.
    pub fn scrape_jobs(&self, project: &Project) -> CommandResult<ScrapeJobs> {
        let Some(path) = &project.config.stack.scrape_jobs else { return Ok(ScrapeJobs::default()) };
        let shown = path.strip_prefix(&self.environment.folder).unwrap_or(path).display().to_string();
        let text = file::text(path).map_err(|error| {
            CommandError::usage(format!("`stack.scrape_jobs`: {shown} can't be read: {error}"))
                .hint("it takes a file with a list of Prometheus's `scrape_configs`")
        })?;
        let folder = path.parent().unwrap_or(&self.environment.folder);
        let readable = |path: &Path| match file::open(path) {
            // That of a pattern's files.
            Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(_) => Ok(()),
        };
        Ok(config::scrape_jobs(&shown, &text, folder, &readable)?)
    }

    /// A plain client for downloads, without anybody's credentials.
    ///
    /// # Errors
    /// `ca`, a file of authorities beside the system's, can't be read or holds none.
    pub fn web(&self, ca: Option<&Path>) -> CommandResult<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .redirect(dorainfra_base::answer::redirects())
            .connect_timeout(std::time::Duration::from_secs(10))
            .read_timeout(std::time::Duration::from_secs(30));
        if let Some(file) = ca {
            let wrong = |why: &dyn std::fmt::Display| {
                CommandError::usage(format!("{}: {why}", file.display()))
                    .hint("`ca` names a file with the authorities' certificates, in PEM")
            };
            let text = std::fs::read(file).map_err(|error| wrong(&error))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&text).map_err(|error| wrong(&error))?;
            if certificates.is_empty() {
                return Err(wrong(&"there is no certificate in it"));
            }
            for certificate in certificates {
                builder = builder.add_root_certificate(certificate);
            }
        }
        builder.build().map_err(|error| CommandError::failed(format!("no HTTP client: {error}")))
    }

    /// Where programs are searched for: PATH, then `.tools/bin` here and beside
    /// this program's own checkout.
    pub fn search(&self) -> Vec<PathBuf> {
        let path = self.environment.get("PATH").unwrap_or_default();
        let own =
            self.environment.executable.ancestors().skip(1).take(4).map(|folder| folder.join(".tools/bin"));
        std::env::split_paths(path).chain([self.folder().join(".tools/bin")]).chain(own).collect()
    }

    /// A program: as configured, else where programs are searched for.
    pub fn program(&self, name: &str, configured: Option<&Path>) -> Option<PathBuf> {
        match configured {
            Some(path) => Some(path.to_path_buf()),
            None => self.search().into_iter().map(|folder| folder.join(name)).find(|path| path.is_file()),
        }
    }

    pub fn blueprint(&self, project: &Project, facts: &Facts) -> CommandResult<Arc<Blueprint>> {
        project.config.require_project()?;
        Ok(Arc::new(blueprint::build(&project.config, facts, &project.overrides)?))
    }

    /// Who holds the lease, for whoever finds it taken.
    pub fn holder(&self) -> String {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let user = self.environment.get("USER").unwrap_or("somebody");
        format!("{user}@{} (pid {})", host.trim(), std::process::id())
    }
}

/// What the alertmanager is to have: read to know its digest, and that it is a
/// configuration. It has secrets in it, which a parser's error may quote.
pub fn alertmanager(project: &Project) -> CommandResult<Option<Private>> {
    let alerts = &project.config.alerts;
    let (path, watchdog) = (alerts.config.clone(), alerts.watchdog.clone());
    if path.is_none() && watchdog.is_none() {
        return Ok(None);
    }
    let wrong = |key: &str, path: &Option<PathBuf>, why: String| {
        let file = path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        CommandError::usage(format!("`{key}`: {file} {why}"))
    };
    let read = |key: &str, path: &Option<PathBuf>| match path {
        Some(file) => {
            let text = file::text(file);
            text.map(Some).map_err(|error| wrong(key, path, format!("can't be read: {error}")))
        }
        None => Ok(None),
    };
    let (own, url) = (read("alerts.config", &path)?, read("alerts.watchdog", &watchdog)?);
    let text =
        blueprint::alertmanager_config(own.as_deref(), url.as_deref()).map_err(|error| match error {
            AlertmanagerError::NoUrl => wrong("alerts.watchdog", &watchdog, error.to_string())
                .hint("it takes the URL that the dead man's switch gave you, and nothing else"),
            _ => wrong("alerts.config", &path, error.to_string())
                .hint("it takes the alertmanager's own configuration: `route` and `receivers`"),
        })?;
    Ok(Some(Private { sha256: blueprint::alertmanager_digest(&text), path, watchdog }))
}
