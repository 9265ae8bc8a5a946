//! `init`: a commented dorainfra.yaml.

use std::io::Write as _;

use clap::Args;
use dorainfra_config as config;
use dorainfra_gcp_sandbox::Handle;

use super::adoption::Adoption;
use super::context::Context;
use super::environment::TOOL_VARIABLES;
use super::{CommandError, CommandResult, Exit};

/// Write a commented dorainfra.yaml
///
/// Asks on a terminal for what is not given by a flag; takes the defaults
/// otherwise. Never overwrites a file.
#[derive(Debug, Args)]
pub struct Init {
    /// The deployment's name
    #[arg(long)]
    name: Option<String>,
    /// Google Cloud region
    #[arg(long)]
    region: Option<String>,
    /// Who may reach Mimir: CIDRs separated by commas, or `caller` for this machine's address
    #[arg(long, value_name = "CIDRS")]
    allow: Option<String>,
    /// Feed simulated teams, to try things out: on Google nothing is fed without them or `sources`
    #[arg(long)]
    simulate: bool,
    /// Number of simulated teams
    #[arg(long)]
    teams: Option<String>,
    /// Take over a Mimir made by hand in this project: its bucket, with all blocks (docs/adopt.md)
    #[arg(long, value_name = "PROJECT")]
    from_project: Option<String>,
    /// Ask nothing: what is not given takes its default
    #[arg(long, short)]
    yes: bool,
}

impl Init {
    pub async fn run(self, context: &Context) -> CommandResult {
        let path = match &context.global.config {
            Some(path) => context.environment.folder.join(path),
            None => context.environment.folder.join("dorainfra.yaml"),
        };
        let exists = || {
            CommandError::usage(format!("{} exists already: it was not touched", path.display()))
                .hint("edit it, or give another name with `--config FILE`")
        };
        if path.exists() {
            return Err(exists());
        }
        let ask = !self.yes && context.printer.options().interactive();
        let defaults = config::Config::default();
        let adoption = match &self.from_project {
            Some(project) => Some(Adoption::find(context, project).await?),
            None => None,
        };
        let found = adoption.iter().flat_map(|adoption| adoption.settings.clone());
        let mut set: Vec<String> = found.chain(context.global.set.clone()).collect();
        let named = context.global.project.as_ref().or(self.from_project.as_ref());
        let project = match (named, context.global.sandbox) {
            (Some(project), _) => Some(project.clone()),
            (None, true) => Some(Handle::find(&context.sandbox_folder()).await?.project().to_owned()),
            (None, false) if ask => {
                let known = context.environment.get("GOOGLE_CLOUD_PROJECT").unwrap_or_default();
                Some(context.printer.ask("Google Cloud project", known)?).filter(|answer| !answer.is_empty())
            }
            (None, false) => None,
        };
        let questions = [
            ("name", "Name of the deployment", &self.name, defaults.name.clone()),
            ("region", "Region", &self.region, defaults.region.clone()),
            (
                "access.allow",
                "Who may reach Mimir (CIDRs, or caller)",
                &self.allow,
                defaults.access.allow.join(","),
            ),
            (
                "generator.teams",
                "Number of simulated teams",
                &self.teams,
                defaults.generator.teams.to_string(),
            ),
        ];
        if self.simulate || ask && self.asks_to_simulate(context)? {
            set.push("generator.simulate=true".into());
        }
        for (key, question, given, default) in questions {
            let answer = match given {
                Some(answer) => answer.clone(),
                None if adoption.as_ref().is_some_and(|adoption| adoption.says(key)) => continue,
                None if ask => context.printer.ask(question, &default)?,
                None => continue,
            };
            let answer = if key == "access.allow" { format!("[{answer}]") } else { answer };
            set.push(format!("{key}={answer}"));
        }
        // An answer can be as wrong as a key in a file: nothing is written then.
        let sources = config::Sources {
            environment: context.environment.variables.clone().into_iter().collect(),
            tool_variables: TOOL_VARIABLES.iter().map(|&name| name.to_owned()).collect(),
            set,
            project,
            ..config::Sources::default()
        };
        let text = config::template(&config::load(sources)?.config);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(
            |error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => exists(),
                _ => CommandError::failed(format!("{} can't be written: {error}", path.display()))
                    .hint("check the folder's permissions and the free space"),
            },
        )?;
        file.write_all(text.as_bytes()).map_err(|error| {
            CommandError::failed(format!("{} can't be written: {error}", path.display()))
                .hint("check the free space; delete the file before you try again")
        })?;
        let shown = path.strip_prefix(&context.environment.folder).unwrap_or(&path);
        context.printer.note(&format!("wrote {}; next: `dorainfra plan`", shown.display()));
        if let Some(adoption) = adoption {
            adoption.show(context)?;
        }
        Ok(Exit::Done)
    }

    /// Whether simulated teams are wanted until there are sources.
    fn asks_to_simulate(&self, context: &Context) -> CommandResult<bool> {
        let answer = context.printer.ask("Feed simulated teams, to try it out (yes or no)", "no")?;
        match answer.to_lowercase().as_str() {
            "yes" | "y" | "true" => Ok(true),
            "no" | "n" | "false" | "" => Ok(false),
            _ => Err(CommandError::usage(format!("`{answer}` is neither yes nor no: nothing was written"))
                .hint("run it again, or give `--simulate`")),
        }
    }
}
