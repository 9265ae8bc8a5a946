//! What every command starts from: flags, surroundings, printer, signals; and what the application
//! below is given of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dorainfra_base::{file, shell};
use dorainfra_deploy::artifact;
use dorainfra_deploy::workflow::{
    Cloud, Operator, Project, Purpose, Run, Sandbox, Selection, Settings, Tokens, Workspace,
};
use dorainfra_gcp as gcp;
use dorainfra_gcp_sandbox::Handle;
use dorainfra_model::Events;
use tokio_util::sync::CancellationToken;

use super::arguments::Global;
use super::environment::{Environment, PROXY_VARIABLES, TOOL_VARIABLES};
use super::error::CommandResult;
use super::interrupt::Signals;
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
        // For as long as the program runs.
        deployment: global.deployment().leak(),
        live: detected.live && environment.get("TERM") != Some("dumb"),
        ..detected
    })
}

pub struct Context {
    pub global: Global,
    pub environment: Environment,
    pub printer: Printer,
    pub signals: Signals,
    pub workspace: Arc<Workspace>,
}

/// The person at the terminal.
struct Terminal {
    printer: Printer,
    signals: Signals,
}

impl Operator for Terminal {
    fn interrupt(&self) -> CancellationToken {
        self.signals.asked()
    }

    fn finishing(&self) {
        self.signals.finishing();
    }

    fn warn(&self, message: &str) {
        self.printer.warning(message, None);
    }
}

impl Context {
    pub fn new(global: Global, environment: Environment, printer: Printer, signals: Signals) -> Self {
        let workspace = Arc::new(workspace(&global, &environment));
        Self { global, environment, printer, signals, workspace }
    }

    pub fn operator(&self) -> Arc<dyn Operator> {
        Arc::new(Terminal { printer: self.printer.clone(), signals: self.signals.clone() })
    }

    /// The configuration file, if there is one.
    pub fn configuration(&self) -> Option<PathBuf> {
        config_file(&self.global, &self.environment)
    }

    /// The folder of the sandbox that is meant: as named, else the one that was last started from here.
    pub fn sandbox_folder(&self) -> PathBuf {
        let noted = || {
            let text = std::fs::read_to_string(self.sandbox_note()).ok()?;
            Some(text.trim().to_owned()).filter(|folder| !folder.is_empty()).map(PathBuf::from)
        };
        self.named_sandbox().or_else(noted).unwrap_or_else(|| self.usual_sandbox())
    }

    /// By a flag or a variable.
    pub fn named_sandbox(&self) -> Option<PathBuf> {
        let variable = || self.environment.get("DORAINFRA_SANDBOX_DIR").map(PathBuf::from);
        let named = self.global.sandbox_dir.clone().or_else(variable)?;
        Some(self.environment.folder.join(named))
    }

    /// Where it is unless somebody says otherwise.
    pub fn usual_sandbox(&self) -> PathBuf {
        self.workspace.state().join("sandbox")
    }

    /// Notes that a sandbox was started in `folder`, for the commands that follow. Without the
    /// note they have to be told, which is no reason not to start it.
    pub fn note_sandbox(&self, folder: &Path) {
        let note = self.sandbox_note();
        let noted = match folder == self.usual_sandbox() {
            true => match std::fs::remove_file(&note) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
                _ => Ok(()),
            },
            false => self.workspace.make_state().map_err(|error| error.to_string()).and_then(|_| {
                let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
                let text = format!("{}\n", path.display());
                file::replace(&note, text.as_bytes(), file::Mode::Private).map_err(|error| error.to_string())
            }),
        };
        if let Err(why) = noted {
            let folder = shell::quoted(folder.display());
            let hint =
                format!("name it: `--sandbox-dir {folder}`, or `export DORAINFRA_SANDBOX_DIR={folder}`");
            self.printer.warning(&format!("where the sandbox is can't be noted: {why}"), Some(&hint));
        }
    }

    fn sandbox_note(&self) -> PathBuf {
        self.workspace.state().join("sandbox-dir")
    }

    /// Configuration from file, environment and flags; nothing is contacted but
    /// a running sandbox, under `--sandbox`.
    pub async fn project(&self) -> CommandResult<Project> {
        self.workspace.own_state()?;
        let sandbox = match self.global.sandbox {
            true => Some(Handle::find(&self.sandbox_folder()).await?),
            false => None,
        };
        let settings = Settings {
            file: self.configuration(),
            variables: self.environment.variables.clone(),
            tool_variables: TOOL_VARIABLES.iter().map(|&name| name.to_owned()).collect(),
            set: self.settings(),
            project: self.global.project.clone(),
            usual_project: sandbox.as_ref().map(|sandbox| sandbox.project().to_owned()),
        };
        Ok(Project::load(&self.workspace, self.cloud(sandbox.as_ref()), settings)?)
    }

    /// A client of a project that no configuration names yet.
    pub async fn client_of(&self, project: &str) -> CommandResult<gcp::Client> {
        let sandbox = match self.global.sandbox {
            true => Some(Handle::find(&self.sandbox_folder()).await?),
            false => None,
        };
        let settings = Settings { project: Some(project.to_owned()), ..Settings::default() };
        Ok(Project::load(&self.workspace, self.cloud(sandbox.as_ref()), settings)?.client()?)
    }

    /// A run for all of the deployment.
    pub async fn run(&self, purpose: Purpose, events: &Events) -> CommandResult<Run> {
        self.run_for(purpose, &Selection::default(), events).await
    }

    pub async fn run_for(
        &self,
        purpose: Purpose,
        selection: &Selection,
        events: &Events,
    ) -> CommandResult<Run> {
        let (project, workspace) = (self.project().await?, Arc::clone(&self.workspace));
        Ok(Run::begin(workspace, self.operator(), project, purpose, selection, events).await?)
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

    fn cloud(&self, sandbox: Option<&Handle>) -> Cloud {
        let proxies = PROXY_VARIABLES.into_iter();
        let proxies: BTreeMap<String, String> = proxies
            .filter_map(|name| Some((name.to_owned(), self.environment.get(name)?.to_owned())))
            .collect();
        let (endpoints, credentials) = match sandbox {
            Some(sandbox) => (sandbox.endpoints(), Some(sandbox.credentials())),
            None => (self.endpoints(), self.credentials()),
        };
        Cloud {
            endpoints,
            credentials,
            // Cloud Shell's metadata server knows who is sitting there.
            person: self.environment.get("CLOUD_SHELL").is_some(),
            gcloud: sandbox.is_none() && self.has_gcloud_user(),
            proxies,
            sandbox: sandbox.map(|sandbox| Sandbox { caller_services: sandbox.caller_services() }),
            events: ui::events(&self.printer),
        }
    }

    /// The key file that Google's tools would take: the variable's, else the
    /// application default credentials; `None`: neither is there.
    fn credentials(&self) -> Option<PathBuf> {
        if let Some(file) = self.environment.get("GOOGLE_APPLICATION_CREDENTIALS") {
            return Some(self.environment.folder.join(file));
        }
        Some(self.gcloud_folder()?.join("application_default_credentials.json")).filter(|file| file.is_file())
    }

    /// Where gcloud keeps what it knows.
    fn gcloud_folder(&self) -> Option<PathBuf> {
        match self.environment.get("CLOUDSDK_CONFIG") {
            Some(folder) => Some(PathBuf::from(folder)),
            None => Some(Path::new(self.environment.get("HOME")?).join(".config/gcloud")),
        }
    }

    /// Whether gcloud may have somebody signed in: by a login, or by what a variable or a configuration
    /// of it names. It starts for a second, and says no where it has nobody.
    fn has_gcloud_user(&self) -> bool {
        if self.environment.variables.keys().any(|name| name.starts_with("CLOUDSDK_AUTH_")) {
            return true;
        }
        let Some(folder) = self.gcloud_folder() else { return false };
        let logins = ["credentials.db", "legacy_credentials"];
        let configured = || {
            let files = std::fs::read_dir(folder.join("configurations")).into_iter().flatten().flatten();
            let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
            texts.into_iter().any(|text| text.contains("[auth]"))
        };
        logins.iter().any(|name| folder.join(name).exists()) || configured()
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
}

/// The configuration file, if there is one.
fn config_file(global: &Global, environment: &Environment) -> Option<PathBuf> {
    match &global.config {
        Some(path) => Some(environment.folder.join(path)),
        None => Some(environment.folder.join("dorainfra.yaml")).filter(|path| path.exists()),
    }
}

fn workspace(global: &Global, environment: &Environment) -> Workspace {
    let own = |name: &str| environment.get(name).map(str::to_owned);
    let folder = config_file(global, environment)
        .and_then(|file| file.parent().map(Path::to_path_buf))
        .unwrap_or_else(|| environment.folder.clone());
    Workspace {
        current: environment.folder.clone(),
        executable: environment.executable.clone(),
        search: search(environment, &folder),
        releases: own("DORAINFRA_MIMIR_RELEASES").unwrap_or_else(|| artifact::RELEASES.to_owned()),
        user: own("USER").unwrap_or_else(|| "somebody".to_owned()),
        tokens: Tokens::found(own),
        folder,
    }
}

/// Where programs are searched for: PATH, then `.tools/bin` in the configuration's folder and beside
/// this program's own checkout.
fn search(environment: &Environment, folder: &Path) -> Vec<PathBuf> {
    let path = environment.get("PATH").unwrap_or_default();
    let own = environment.executable.ancestors().skip(1).take(4).map(|folder| folder.join(".tools/bin"));
    std::env::split_paths(path).chain([folder.join(".tools/bin")]).chain(own).collect()
}
