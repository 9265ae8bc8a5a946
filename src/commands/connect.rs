//! `connect`: a tunnel to a deployment without an external address, for as long as it is needed.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};

use clap::Args;
use dorainfra_base::child::{self, Child};
use dorainfra_deploy::blueprint::PORT;
use dorainfra_deploy::workflow::output;
use dorainfra_deploy::workflow::tunnel::{Tunnel, Tunnelled};
use dorainfra_model::Events;

use super::context::Context;
use super::environment::CONNECTED_VARIABLES;
use super::{CommandError, CommandResult, Exit};

/// Open a tunnel to a deployment that has no external address
///
/// Through Google's Identity-Aware Proxy, by `gcloud compute start-iap-tunnel`, which has to be on PATH and
/// logged in. It stays open until Ctrl-C; with a command, until that ends, and its exit code is the
/// command's: `dorainfra connect -- dorainfra verify`.
///
/// The command sees DORAINFRA_ACCESS_ENDPOINT, by which dorainfra itself goes through the tunnel, and
/// DORAINFRA_ENDPOINT (where the port is here), DORAINFRA_MIMIR_URL, DORAINFRA_TENANT, and, where the
/// files are there, DORAINFRA_CA_FILE, DORAINFRA_CLIENT_CERTIFICATE_FILE and DORAINFRA_CLIENT_KEY_FILE.
#[derive(Debug, Args)]
pub struct Connect {
    /// Port of this machine; 0: any that is free
    #[arg(long, value_name = "PORT", default_value_t = PORT)]
    port: u16,
    /// Through this machine, of several
    #[arg(id = "by_machine", long = "machine", value_name = "NAME")]
    machine: Option<String>,
    /// Print the command that opens the tunnel, and start nothing
    #[arg(long)]
    print: bool,
    /// What to run while it is open
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Connect {
    pub async fn run(self, context: &Context) -> CommandResult {
        let project = context.project().await?;
        let config = &project.config;
        config.require_project()?;
        if config.access.external {
            return Err(CommandError::usage(format!(
                "{} has an external address: it needs no tunnel",
                config.name
            ))
            .hint("`dorainfra output endpoint` says it; `access.external: false` takes it away"));
        }
        if context.global.sandbox {
            return Err(CommandError::usage("the sandbox has no Identity-Aware Proxy: it needs no tunnel")
                .hint("its machines are on this one: `dorainfra --sandbox output endpoint`"));
        }
        let to = Tunnelled::of(config, self.machine.as_deref(), self.port)?;
        if self.print {
            context.printer.verbatim(&(to.command() + "\n"));
            return Ok(Exit::Done);
        }
        let to = to.with_free_port()?;
        let gcloud = context.workspace.program("gcloud", None);
        // Where gcloud finds its login and settings.
        let variables = context.environment.variables.iter();
        let variables = variables.filter(|(name, _)| name.starts_with("CLOUDSDK_"));
        let variables = variables.map(|(name, value)| (name.clone(), value.clone())).collect();
        context.printer.note(&to.command());
        // From here on there is something to end.
        let stop = context.signals.ending();
        let opening = Tunnel::open(gcloud, &to, variables);
        let mut tunnel = tokio::select! {
            tunnel = opening => tunnel?,
            () = stop.cancelled() => return Ok(context.signals.code()),
        };
        let endpoint = format!("localhost:{}", to.port);
        let Some((program, arguments)) = self.command.split_first() else {
            context.printer.note(&format!(
                "{} answers at {endpoint}, until Ctrl-C. In another terminal: dorainfra --set \
                 access.endpoint={endpoint} status",
                to.machine.instance
            ));
            let ended = tokio::select! {
                error = tunnel.broken() => Err(error.into()),
                () = stop.cancelled() => Ok(Exit::Done),
            };
            tunnel.close().await;
            return ended;
        };
        // Like `env`: it is the user's own command, and sees all that the user's shell has.
        let mut command = child::bare(program);
        command.args(arguments).stdin(Stdio::inherit()).kill_on_drop(true);
        command.envs(&context.environment.variables).envs(variables_of(context, &endpoint).await?);
        let status = match command.spawn() {
            Ok(running) => ended(context, running, &mut tunnel).await,
            Err(error) => Err(error),
        };
        tunnel.close().await;
        let status = status.map_err(|error| {
            CommandError::usage(format!("{} can't be run: {error}", program.to_string_lossy()))
                .hint("what follows `--` is a program and its arguments, as a shell would start it")
        })?;
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        Ok(match code.and_then(|code| u8::try_from(code).ok()) {
            Some(0) => Exit::Done,
            Some(code) => Exit::Of(code),
            None => Exit::Failed,
        })
    }
}

/// Waits for the command.
async fn ended(context: &Context, mut running: Child, tunnel: &mut Tunnel) -> std::io::Result<ExitStatus> {
    let stop = context.signals.asked();
    let (mut asked, mut broken) = (false, false);
    loop {
        tokio::select! {
            status = running.wait() => return status,
            error = tunnel.broken(), if !broken => {
                broken = true;
                context.printer.warning(&error.to_string(), None);
            }
            () = stop.cancelled(), if !asked => {
                asked = true;
                // Ctrl-C comes to all that a terminal runs; SIGTERM came to this process alone.
                if context.signals.code() == Exit::Terminated {
                    child::terminate(&running);
                }
            }
        }
    }
}

/// What the command finds the endpoint by.
async fn variables_of(context: &Context, endpoint: &str) -> CommandResult<Vec<(&'static str, String)>> {
    let mut project = context.project().await?;
    project.config.access.endpoint = Some(endpoint.to_owned());
    let names = CONNECTED_VARIABLES.map(|(_, output)| output);
    let outputs = output::outputs(&context.workspace, &project, &names, &Events::none()).await?;
    let values = CONNECTED_VARIABLES.iter().zip(outputs);
    let mut variables: Vec<(&'static str, String)> = values
        .filter_map(|((variable, _), output)| Some((*variable, output.value.as_str()?.to_owned())))
        .collect();
    variables.push(("DORAINFRA_ACCESS_ENDPOINT", endpoint.to_owned()));
    Ok(variables)
}
