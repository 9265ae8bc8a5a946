//! `sandbox`: a Google Cloud on loopback, to try everything with no account.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use dorainfra_base::{child, shell};
use dorainfra_deploy::workflow::{self, Collector};
use dorainfra_gcp_sandbox::machine::{BaseSystem, nspawn_machines, process_machines};
use dorainfra_gcp_sandbox::{self as sandbox, Driver, Handle, Options, Profile};
use dorainfra_model::Events;
use serde_json::{Value, json};

use super::context::Context;
use super::{CommandError, CommandResult, Exit, screen};
use crate::ui::{Printer, Style, View};

/// How long a detached sandbox may take until it answers.
const START_WAIT: Duration = Duration::from_secs(60);
/// How long machines may take to stop in order.
const STOP_WAIT: Duration = Duration::from_secs(120);

/// Run a local Google Cloud to try and test against, with no account
#[derive(Debug, Args)]
pub struct Sandbox {
    #[command(subcommand)]
    command: SandboxCommand,
}

#[derive(Debug, Subcommand)]
enum SandboxCommand {
    Start(Start),
    /// Stop the sandbox and its machines; its state stays on disk
    Stop(Place),
    /// Show where it answers, what it holds and which machines run
    Status(Place),
    Reset(Reset),
}

/// Which sandbox.
#[derive(Debug, Args)]
struct Place {
    /// Folder of the sandbox's state; other commands find it from here, or by --sandbox-dir
    /// [default: .dorainfra/sandbox]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Forget everything in it: an empty project again, on the same port
///
/// Asks first. Collectors that write to a Mimir in it are named, and run on.
#[derive(Debug, Args)]
struct Reset {
    #[command(flatten)]
    place: Place,
    /// Ask nothing
    #[arg(long, short)]
    yes: bool,
}

/// Start it, and print the variables that point Google's tools at it
///
/// Runs until interrupted, or in the background with `--detach`. Listens on
/// loopback only.
#[derive(Debug, Args)]
struct Start {
    #[command(flatten)]
    place: Place,
    /// Port [default: the one it had, else a free one]
    #[arg(long)]
    port: Option<u16>,
    /// Milliseconds added to every API call
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// Milliseconds that an operation takes, for example `instances.insert=2000`; `*=0` for all
    #[arg(long, value_name = "METHOD=MS", value_parser = milliseconds)]
    operation: Vec<(String, u64)>,
    /// Be as unkind as Google: changes that are seen late, limits, and projects in which
    /// nothing is prepared, with waiting times shortened
    #[arg(long)]
    as_google: bool,
    /// Milliseconds until the world sees new `service-accounts`, `grants`, `services`, `secrets`,
    /// the `default-network` or the `project` itself, for
    /// example `grants=5000`
    #[arg(long, value_name = "WHAT=MS", value_parser = late)]
    lag: Vec<(Late, u64)>,
    /// Keep what is said in each call, without secrets, in the list of calls
    #[arg(long)]
    record: bool,
    /// The project in it
    #[arg(long = "sandbox-project", value_name = "ID", default_value = "my-gcp")]
    sandbox_project: String,
    /// What an instance is
    #[arg(long, value_enum, default_value_t = Machines::Process)]
    machines: Machines,
    /// Folder of the base system that nspawn machines boot from; built where it is missing
    #[arg(long, value_name = "DIR", default_value = "/var/cache/dorainfra")]
    base_system: PathBuf,
    /// Where Debian is had from to build it
    #[arg(long, value_name = "URL", default_value = "http://deb.debian.org/debian")]
    debian_mirror: String,
    /// Return as soon as it answers, and leave it running
    #[arg(long)]
    detach: bool,
}

/// A change that the world may see late.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Late {
    ServiceAccounts,
    Grants,
    Services,
    Secrets,
    DefaultNetwork,
    Project,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Machines {
    /// Local processes that run what a machine would
    Process,
    /// A Debian under its own systemd, with Google's guest agent (Linux, as root)
    Nspawn,
    /// A record only
    None,
}

impl Machines {
    fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Nspawn => "nspawn",
            Self::None => "none",
        }
    }
}

impl Sandbox {
    pub async fn run(self, context: &Context) -> CommandResult {
        match self.command {
            SandboxCommand::Start(start) if start.detach => start.detached(context).await,
            SandboxCommand::Start(start) => start.run(context).await,
            SandboxCommand::Stop(place) => {
                place.find(context).await?.stop(STOP_WAIT).await?;
                context.printer.note("the sandbox is stopped; its state is kept");
                Ok(Exit::Done)
            }
            SandboxCommand::Status(place) => {
                let status = place.find(context).await?.status().await?;
                context.printer.result(&StatusView(status));
                Ok(Exit::Done)
            }
            SandboxCommand::Reset(reset) => reset.run(context).await,
        }
    }
}

impl Reset {
    async fn run(self, context: &Context) -> CommandResult {
        let folder = self.place.folder(context);
        let shown = context.workspace.shown(&folder).display().to_string();
        let found = self.place.find(context).await;
        let status = match &found {
            Ok(handle) => handle.status().await.ok(),
            Err(_) if !sandbox::is_there(&folder) => {
                return Err(dorainfra_gcp_sandbox::SandboxError::NothingThere { dir: folder }.into());
            }
            Err(_) => None,
        };
        for Collector { deployment, parts } in workflow::collectors(&context.workspace).await {
            let parts = parts.join(", ");
            let message = format!(
                "the collector of `{deployment}` still runs ({parts}), and runs on: what it writes to may be gone then"
            );
            let hint = format!("`dorainfra --set name={deployment} stack down` ends it");
            context.printer.warning(&message, Some(&hint));
        }
        if !self.yes {
            let question = format!("Forget everything in the sandbox in {shown}{}?", holds(status.as_ref()));
            if !context.printer.confirm(&question)? {
                context.printer.note("nothing was touched");
                return Ok(Exit::Done);
            }
        }
        match found {
            Ok(handle) => handle.reset().await?,
            // What is damaged does not run.
            Err(_) => sandbox::forget(&folder)?,
        }
        context.printer.note("the sandbox is empty");
        Ok(Exit::Done)
    }
}

/// ", with 1 machine, 2 buckets"
fn holds(status: Option<&Value>) -> String {
    let Some(status) = status else { return " (it does not run)".into() };
    let count = |what: &str| status["counts"][what].as_u64().unwrap_or_default();
    let machines = status["machines"].as_array().map_or(0, Vec::len) as u64;
    let counts = [("machine", machines), ("bucket", count("buckets")), ("secret", count("secrets"))];
    let words: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }))
        .collect();
    if words.is_empty() { String::new() } else { format!(", with {}", words.join(", ")) }
}

impl Place {
    fn folder(&self, context: &Context) -> PathBuf {
        match &self.dir {
            Some(folder) => context.environment.folder.join(folder),
            None => context.sandbox_folder(),
        }
    }

    async fn find(&self, context: &Context) -> CommandResult<Handle> {
        if self.dir.is_none() && context.named_sandbox().is_none() {
            context.workspace.own_state()?;
        }
        Ok(Handle::find(&self.folder(context)).await?)
    }
}

impl Start {
    /// Where it is started: what was started last elsewhere is no reason to go there again.
    fn folder(&self, context: &Context) -> CommandResult<PathBuf> {
        let named = self.place.dir.as_ref().map(|folder| context.environment.folder.join(folder));
        let usual = named.is_none() && context.named_sandbox().is_none();
        if usual {
            context.workspace.make_state()?;
        }
        Ok(named.or_else(|| context.named_sandbox()).unwrap_or_else(|| context.usual_sandbox()))
    }

    async fn run(self, context: &Context) -> CommandResult {
        let dir = self.folder(context)?;
        let driver = self.driver(context).await?;
        let options = Options {
            port: self.port.unwrap_or_default(),
            latency: Duration::from_millis(self.latency),
            profile: self.profile(),
            operation_ms: self.operation.into_iter().collect(),
            record: self.record,
            machines: driver,
            ..Options::new(dir.clone(), self.sandbox_project)
        };
        let (ready, answers) = tokio::sync::oneshot::channel();
        // As it ends by itself, too: asked to by `sandbox stop`.
        let stop = context.signals.ending().child_token();
        let told = async {
            if answers.await.is_ok()
                && let Ok(handle) = Handle::find(&dir).await
            {
                context.note_sandbox(&dir);
                show(&context.printer, &handle);
            }
        };
        let (served, ()) = tokio::join!(sandbox::serve(options, ready, stop), told);
        served?;
        Ok(Exit::Done)
    }

    /// What the profile says, but for what is named by itself.
    fn profile(&self) -> Profile {
        let mut profile = if self.as_google { Profile::as_google() } else { Profile::default() };
        for (late, ms) in &self.lag {
            match late {
                Late::ServiceAccounts => profile.lag.service_accounts_ms = *ms,
                Late::Grants => profile.lag.grants_ms = *ms,
                Late::Services => profile.lag.services_ms = *ms,
                Late::Secrets => profile.lag.secrets_ms = *ms,
                Late::DefaultNetwork => profile.lag.default_network_ms = *ms,
                Late::Project => profile.lag.project_ms = *ms,
            }
        }
        profile
    }

    async fn driver(&self, context: &Context) -> CommandResult<Driver> {
        Ok(match self.machines {
            Machines::Process => Driver::With(Arc::new(|world, _| Ok(process_machines(world)))),
            Machines::Nspawn => {
                let base = self.base_system(context).await?;
                Driver::With(Arc::new(move |world, dir| nspawn_machines(world, dir, base.clone())))
            }
            Machines::None => Driver::None,
        })
    }

    /// The Debian below all machines, built where it is missing.
    async fn base_system(&self, context: &Context) -> CommandResult<BaseSystem> {
        let folder = context.environment.folder.join(&self.base_system);
        let prepared =
            async |events: &Events| BaseSystem::prepare(&folder, &self.debian_mirror, events).await;
        Ok(screen::with(&context.printer, prepared).await?)
    }

    /// Starts this program again as the server and waits until it answers.
    async fn detached(self, context: &Context) -> CommandResult {
        let dir = self.folder(context)?;
        let fails = |error: std::io::Error| {
            CommandError::failed(format!("the sandbox can't be started: {error}"))
                .hint("check the folder's permissions and the free space")
        };
        sandbox::make_folder(&dir)?;
        if let Ok(handle) = Handle::find(&dir).await {
            context.printer.note("the sandbox is running already");
            context.note_sandbox(&dir);
            show(&context.printer, &handle);
            return Ok(Exit::Done);
        }
        // Here, where somebody sees what takes so long.
        if matches!(self.machines, Machines::Nspawn) {
            self.base_system(context).await?;
        }
        let log_path = dir.join("sandbox.log");
        let log = dorainfra_base::file::create(&log_path).map_err(fails)?;
        let mut command = child::command(&context.environment.executable);
        command.args(["sandbox", "start", "--machines", self.machines.name()]);
        command.arg("--base-system").arg(&self.base_system).args(["--debian-mirror", &self.debian_mirror]);
        command.arg("--dir").arg(&dir).args(["--sandbox-project", &self.sandbox_project]);
        command.args(["--latency", &self.latency.to_string()]);
        if let Some(port) = self.port {
            command.args(["--port", &port.to_string()]);
        }
        for (method, ms) in &self.operation {
            command.args(["--operation", &format!("{method}={ms}")]);
        }
        if self.as_google {
            command.arg("--as-google");
        }
        for (late, ms) in &self.lag {
            let name = late.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
            command.args(["--lag", &format!("{name}={ms}")]);
        }
        if self.record {
            command.arg("--record");
        }
        command.stdout(Stdio::null()).stderr(log).process_group(0);
        let mut child = command.spawn().map_err(fails)?;
        let deadline = tokio::time::Instant::now() + START_WAIT;
        loop {
            if let Ok(handle) = Handle::find(&dir).await {
                context.note_sandbox(&dir);
                show(&context.printer, &handle);
                return Ok(Exit::Done);
            }
            let ended = child.try_wait().map_err(fails)?;
            if ended.is_some() || tokio::time::Instant::now() > deadline {
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                let _ = child.start_kill();
                return Err(CommandError::failed(format!("the sandbox did not start:\n{}", log.trim_end())));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Shows where it answers. The variables go to stdout alone, for `eval`.
fn show(printer: &Printer, handle: &Handle) {
    printer.result(&Exports(handle.exports()));
}

struct Exports(Vec<(String, String)>);

impl View for Exports {
    fn human(&self, _: &Style) -> String {
        self.0.iter().map(|(name, value)| format!("export {name}={}\n", shell::quoted(value))).collect()
    }

    fn json(&self) -> Value {
        let map: serde_json::Map<_, _> =
            self.0.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({"environment": map})
    }
}

struct StatusView(Value);

impl View for StatusView {
    fn human(&self, _: &Style) -> String {
        let fields = self.0.as_object().into_iter().flatten();
        fields
            .map(|(name, value)| match value {
                Value::String(text) => format!("{name:12} {text}\n"),
                other => format!("{name:12} {other}\n"),
            })
            .collect()
    }

    fn json(&self) -> Value {
        self.0.clone()
    }
}

fn milliseconds(text: &str) -> Result<(String, u64), String> {
    let (method, ms) = text.split_once('=').ok_or("write NAME=MS")?;
    Ok((method.to_owned(), ms.parse().map_err(|_| format!("`{ms}` is not a number of milliseconds"))?))
}

fn late(text: &str) -> Result<(Late, u64), String> {
    let (name, ms) = milliseconds(text)?;
    Ok((Late::from_str(&name, false)?, ms))
}
