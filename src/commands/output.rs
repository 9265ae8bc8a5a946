//! `output`: what a deployment is called and where it is reached, for scripts.

use clap::Args;
use dorainfra_deploy::workflow::output::{self, OUTPUTS};
use dorainfra_model::Events;

use super::context::Context;
use super::{CommandError, CommandResult, Exit, screen};
use crate::ui::Outputs;

/// Print values of this deployment, for scripts
///
/// With a name, the bare value and nothing else: `curl --cacert "$(dorainfra output ca_file)" …`.
/// Without one, all of them; `--json` has them as one object. Nothing is secret: of keys and
/// certificates it has the paths.
///
/// `mimir_url` has the name that the server's certificate is for. No DNS knows it: it is found at
/// `endpoint`, as `curl --connect-to "::$(dorainfra output endpoint)"` is told. `query_url` goes on
/// with `/api/v1/query`, `write_url` takes remote write. Several machines or zones are separated by
/// spaces, and a list in JSON.
#[derive(Debug, Args)]
pub struct OutputCommand {
    /// One value: deployment, project, region, zones, topology, machines, bucket, service_account, endpoint,
    /// address, mimir_url, query_url, write_url, tenant, ca_file, client_certificate_file, client_key_file,
    /// prometheus_port, pushgateway_port, generator_port, grafana_url or stack_folder
    #[arg(value_name = "NAME")]
    output: Option<String>,
}

impl OutputCommand {
    pub async fn run(self, context: &Context) -> CommandResult {
        let one = self.output.as_deref().map(known).transpose()?;
        let names = one.map_or(OUTPUTS.to_vec(), |name| vec![name]);
        let project = context.project().await?;
        let asked =
            async |events: &Events| output::outputs(&context.workspace, &project, &names, events).await;
        let outputs = Outputs(screen::with(&context.printer, asked).await?);
        if let (Some(name), Some(lacks)) = (one, outputs.0.first().and_then(|output| output.lacks)) {
            return Err(CommandError::failed(format!("there is no `{name}`")).hint(lacks));
        }
        match one {
            Some(_) if !context.global.json => context.printer.verbatim(&outputs.bare()),
            _ => context.printer.result(&outputs),
        }
        Ok(Exit::Done)
    }
}

/// The name that is meant.
fn known(name: &str) -> CommandResult<&'static str> {
    OUTPUTS.into_iter().find(|known| *known == name).ok_or_else(|| {
        CommandError::usage(format!("there is no output `{name}`"))
            .hint(format!("there are {}", OUTPUTS.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::Cli;
    use super::*;

    #[test]
    fn the_help_names_every_output() {
        let command = Cli::command();
        let help = command.find_subcommand("output").unwrap().clone().render_long_help().to_string();
        let words: Vec<&str> = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
        for name in OUTPUTS {
            assert!(words.contains(&name), "{name}: {help}");
        }
        let error = known("endpont").unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        assert!(error.hint.unwrap().contains("endpoint, address"));
    }
}
