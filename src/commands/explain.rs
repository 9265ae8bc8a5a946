//! `explain`: what a key of the configuration, an error or a kind of resource means, without a page to look it up in.

use clap::Args;
use dorainfra_config as config;
use dorainfra_deploy::blueprint::{self, Upgrade};
use dorainfra_deploy::resource;
use serde_json::Value;

use super::context::Context;
use super::{CommandError, CommandResult, Exit, troubleshooting};
use crate::ui::ExplainedVersion;

/// Its explanation says what newer ones bring.
const VERSION: &str = "mimir.version";

/// Explain a key of dorainfra.yaml, an error or a kind of resource: what it means, and what to do
///
/// `dorainfra explain mimir` lists what is in a section, `dorainfra explain` everything
/// that the file may begin with, `dorainfra explain mimir.version` what an upgrade of Mimir brings and
/// takes, and by which versions it goes. What an error names as `lease-held` is a section of
/// docs/troubleshooting.md. Of a kind, as `compute.disk`: what replaces one, what `destroy` does with it, which
/// permissions it takes.
#[derive(Debug, Args)]
pub struct Explain {
    /// The key or section, as `--set` takes it: mimir.disk_gb; an error's topic: lease-held; or a kind: compute.disk
    #[arg(default_value = "", hide_default_value = true)]
    key: String,
    /// Print a JSON Schema of the whole file, for an editor: save it beside dorainfra.yaml as
    /// dorainfra.schema.json, where the line `# yaml-language-server: $schema=…` that `init` writes names it
    #[arg(long, conflicts_with = "key")]
    schema: bool,
}

impl Explain {
    pub async fn run(self, context: &Context) -> CommandResult {
        if self.schema {
            context.printer.verbatim(&format!("{:#}\n", config::json_schema()));
            return Ok(Exit::Done);
        }
        if let Some(section) = troubleshooting::section(&self.key) {
            context.printer.result(&section);
            return Ok(Exit::Done);
        }
        if let Some(facts) = resource::kind_facts(&self.key) {
            context.printer.result(&facts);
            return Ok(Exit::Done);
        }
        let explanation = config::explain(&self.key).map_err(|near| {
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let topics: Vec<&str> =
                        troubleshooting::sections().map(|section| section.topic).collect();
                    format!(
                        "`dorainfra explain` lists keys and sections; of errors there are: {}; of kinds of \
                         resources: {}",
                        topics.join(", "),
                        resource::kind_names().join(", ")
                    )
                }
            };
            CommandError::usage(format!("there is no key, error or kind of resource `{}`", self.key))
                .hint(hint)
        })?;
        match explanation.path == VERSION {
            true => {
                let upgrades = upgrades(context).await;
                context.printer.result(&ExplainedVersion { explanation, upgrades });
            }
            false => context.printer.result(&explanation),
        }
        Ok(Exit::Done)
    }
}

/// From the version of this folder's configuration; one that is wrong is no reason to explain nothing.
async fn upgrades(context: &Context) -> Vec<Upgrade> {
    let project = context.project().await;
    let mimir =
        project.map(|project| project.config.mimir).unwrap_or_else(|_| config::Config::default().mimir);
    let mut keys = Vec::new();
    dotted(&serde_json::to_value(&mimir.extra).unwrap_or_default(), String::new(), &mut keys);
    blueprint::upgrades(&mimir.version, mimir.topology == config::Topology::Ha, &keys)
}

/// The keys of nested mappings, with dots.
fn dotted(value: &Value, path: String, keys: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                dotted(inner, path, keys);
            }
        }
        _ if path.is_empty() => {}
        _ => keys.push(path),
    }
}
