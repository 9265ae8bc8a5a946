//! `init`: a commented dorainfra.yaml.

use clap::Args;
use dorainfra_base::file;
use dorainfra_config::{self as config, Config};
use dorainfra_gcp_sandbox::Handle;

use super::adoption::Adoption;
use super::context::Context;
use super::{CommandError, CommandResult, Exit};
use crate::ui;

/// Write a commented dorainfra.yaml
///
/// Asks on a terminal for what is not given by a flag, and again where an answer can't be; takes the
/// defaults otherwise. What environment variables say is not written into the file: they win over it
/// wherever they are set. Never overwrites a file.
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

/// What is known so far.
#[derive(Clone, Default)]
struct Answers {
    project: Option<String>,
    /// `key=value`
    set: Vec<String>,
}

impl Answers {
    /// The configuration that follows; an answer can be as wrong as a key in a file.
    fn config(&self) -> Result<Config, config::ConfigErrors> {
        let sources =
            config::Sources { set: self.set.clone(), project: self.project.clone(), ..Default::default() };
        Ok(config::load(sources)?.config)
    }

    fn with(&self, key: &str, answer: &str) -> Self {
        let mut more = self.clone();
        match key {
            PROJECT => more.project = Some(answer.to_owned()).filter(|answer| !answer.is_empty()),
            ALLOW => more.set.push(format!("{key}=[{answer}]")),
            _ => more.set.push(format!("{key}={answer}")),
        }
        more
    }
}

const PROJECT: &str = "project";
const ALLOW: &str = "access.allow";
const TEAMS: &str = "generator.teams";

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
        let adoption = match &self.from_project {
            Some(project) => Some(Adoption::find(context, project).await?),
            None => None,
        };
        let answers = self.given(context, adoption.as_ref()).await?;
        // What was given is checked before anything is asked.
        answers.config()?;
        let answers = match !self.yes && context.printer.options().interactive() {
            true => self.asked(context, answers, adoption.as_ref())?,
            false => answers,
        };
        let text = config::template(&answers.config()?);
        file::create_whole(&path, text.as_bytes(), file::Mode::Public).map_err(|error| {
            match error.kind() {
                std::io::ErrorKind::AlreadyExists => exists(),
                _ => CommandError::failed(format!("{} can't be written: {error}", path.display()))
                    .hint("check the folder's permissions and the free space"),
            }
        })?;
        let shown = path.strip_prefix(&context.environment.folder).unwrap_or(&path);
        context.printer.note(&format!("wrote {}; next: `dorainfra plan`", shown.display()));
        match adoption {
            Some(adoption) => adoption.show(context)?,
            None => context.printer.conclude(&ui::Written::of(&shown.display().to_string())),
        }
        Ok(Exit::Done)
    }

    /// By flags, and by what was found to be taken over.
    async fn given(&self, context: &Context, adoption: Option<&Adoption>) -> CommandResult<Answers> {
        let found = adoption.into_iter().flat_map(|adoption| adoption.settings.clone());
        // Somebody's real data is there, also where a sandbox would simulate by itself.
        let real = adoption.map(|_| "generator.simulate=false".to_owned());
        let set = found.chain(real).chain(context.global.set.clone()).collect();
        let mut answers = Answers { project: None, set };
        let named = context.global.project.as_ref().or(self.from_project.as_ref());
        answers.project = match (named, context.global.sandbox) {
            (Some(project), _) => Some(project.clone()),
            (None, true) => Some(Handle::find(&context.sandbox_folder()).await?.project().to_owned()),
            (None, false) => None,
        };
        for (key, flag) in
            [("name", &self.name), ("region", &self.region), (ALLOW, &self.allow), (TEAMS, &self.teams)]
        {
            if let Some(answer) = flag {
                answers = answers.with(key, answer);
            }
        }
        if self.simulate {
            answers.set.push("generator.simulate=true".into());
        }
        Ok(answers)
    }

    /// By somebody at the terminal, as far as no flag says it.
    fn asked(
        &self,
        context: &Context,
        mut answers: Answers,
        adoption: Option<&Adoption>,
    ) -> CommandResult<Answers> {
        let defaults = Config::default();
        let variable = context.environment.get("GOOGLE_CLOUD_PROJECT").unwrap_or_default();
        if answers.project.is_none() {
            let why = match variable.is_empty() {
                true => {
                    "The project that everything is made in. Empty: named later, by --project or in the file."
                }
                false => {
                    "The project that everything is made in; the default is what GOOGLE_CLOUD_PROJECT says."
                }
            };
            answers = ask(context, &answers, PROJECT, "Google Cloud project", variable, why)?;
        }
        let questions = [
            (
                "name",
                "Name of the deployment",
                &self.name,
                defaults.name.clone(),
                "All names begin with it. The default does for a project's only deployment.",
            ),
            (
                "region",
                "Region",
                &self.region,
                defaults.region.clone(),
                "Where the machine and its disk will be. The default is in the EU; take the one nearest to your teams.",
            ),
            (
                ALLOW,
                "Who may reach Mimir (CIDRs, or caller)",
                &self.allow,
                defaults.access.allow.join(","),
                "The firewall limits access to these, and a client certificate is needed, too. `caller` is this \
                 machine's address, looked up by each apply; a CI needs its own, such as 203.0.113.0/24.",
            ),
        ];
        for (key, question, given, default, why) in questions {
            if given.is_none() && !adoption.is_some_and(|adoption| adoption.says(key)) {
                answers = ask(context, &answers, key, question, &default, why)?;
            }
        }
        let simulate = self.simulate || asks_to_simulate(context)?;
        if !self.simulate {
            // A no, too: a sandbox simulates where nothing is said.
            answers.set.push(format!("generator.simulate={simulate}"));
        }
        if simulate && self.teams.is_none() {
            let default = defaults.generator.teams.to_string();
            let why = "Each gets a year of history; the default is enough to rank and compare.";
            answers = ask(context, &answers, TEAMS, "Number of simulated teams", &default, why)?;
        }
        Ok(answers)
    }
}

/// Asks until the answer can be.
fn ask(
    context: &Context,
    answers: &Answers,
    key: &str,
    question: &str,
    default: &str,
    why: &str,
) -> CommandResult<Answers> {
    context.printer.note(why);
    loop {
        let answer = context.printer.ask(question, default)?;
        let more = answers.with(key, &answer);
        match more.config() {
            Ok(_) => return Ok(more),
            Err(errors) => {
                for problem in errors.problems() {
                    let allowed =
                        problem.allowed.as_ref().map(|words| format!(" ({words})")).unwrap_or_default();
                    context.printer.note(&format!("✗ {}{allowed}", problem.message));
                    if let Some(help) = &problem.help {
                        context.printer.note(&format!("  {help}"));
                    }
                }
            }
        }
    }
}

/// Whether simulated teams are wanted until there are sources.
fn asks_to_simulate(context: &Context) -> CommandResult<bool> {
    context.printer.note(
        "Without `sources` nothing is fed. Simulated teams show what it looks like; the default keeps invented \
         data out of a real Mimir.",
    );
    Ok(context.printer.confirm("Feed simulated teams, to try it out?")?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser as _;

    use super::super::interrupt::Signals;
    use super::super::{Cli, Command, Environment};
    use super::*;
    use crate::ui::{Captured, Mode, Options, Printer, Terminals};

    /// `init` by somebody who types these lines.
    async fn init(folder: &std::path::Path, more: &[&str], lines: &str) -> (CommandResult, Captured) {
        let cli = Cli::try_parse_from(["dorainfra", "init"].iter().chain(more)).unwrap();
        let Command::Init(init) = cli.command else { panic!("{:?}", cli.command) };
        let environment = Environment {
            variables: BTreeMap::from([
                ("GOOGLE_CLOUD_PROJECT".into(), "of-a-variable".into()),
                ("DORAINFRA_MIMIR_DISK_GB".into(), "777".into()),
                ("DORAINFRA_REGION".into(), "us-east1".into()),
            ]),
            folder: folder.into(),
            executable: folder.join("dorainfra"),
        };
        let terminals = Terminals { stdin: true, stdout: true, stderr: true };
        let (printer, captured) =
            Printer::captured(Options { terminals, ..Options::plain(Mode::Human) }, lines);
        let context = Context::new(cli.global, environment, printer, Signals::default());
        (init.run(&context).await, captured)
    }

    #[tokio::test]
    async fn each_answer_is_checked_when_it_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let lines = "No Such Project\nacme-metrics\nTeam_1\nteam-1\nmoon\neurope-west4\n300.1.1.1/8\n\
                     203.0.113.0/24\nperhaps\nyes\n-3\n5\n";
        let (result, captured) = init(folder.path(), &[], lines).await;
        let told = captured.stderr();
        result.unwrap();
        for (answer, again) in [
            ("No Such Project", "Google Cloud project"),
            ("Team_1", "Name of the deployment"),
            ("moon", "Region"),
            ("300.1.1.1/8", "Who may reach Mimir"),
        ] {
            assert_eq!(told.matches(again).count(), 2, "{again} is asked for again: {told}");
            assert!(told.contains(answer), "what is wrong with {answer} is told: {told}");
        }
        assert_eq!(told.matches("Number of simulated teams").count(), 2, "{told}");
        assert!(told.contains("please answer yes or no"), "{told}");
        let text = std::fs::read_to_string(folder.path().join("dorainfra.yaml")).unwrap();
        for line in
            ["project: acme-metrics", "name: team-1", "region: europe-west4", "simulate: true", "teams: 5"]
        {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[tokio::test]
    async fn what_variables_say_is_not_written_into_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (result, _) = init(folder.path(), &["--yes"], "").await;
        result.unwrap();
        let text = std::fs::read_to_string(folder.path().join("dorainfra.yaml")).unwrap();
        for words in ["777", "us-east1", "of-a-variable"] {
            assert!(!text.contains(words), "{words}: {text}");
        }
        // What somebody takes as an answer was asked for.
        std::fs::remove_file(folder.path().join("dorainfra.yaml")).unwrap();
        let (result, captured) = init(folder.path(), &[], "\n\n\n\n\n").await;
        result.unwrap();
        let text = std::fs::read_to_string(folder.path().join("dorainfra.yaml")).unwrap();
        assert!(text.contains("project: of-a-variable") && !text.contains("777"), "{text}");
        assert!(text.contains("\n  simulate: false"), "a no is an answer: {text}");
        let told = captured.stderr().replace('\n', " ");
        for why in ["GOOGLE_CLOUD_PROJECT", "nearest to your teams", "looked up by each apply", "invented"] {
            assert!(told.contains(why), "{why}: {told}");
        }
    }

    #[tokio::test]
    async fn what_is_given_wrong_is_told_before_anything_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let (result, captured) = init(folder.path(), &["--region", "moon"], "\n\n\n\n\n").await;
        assert_eq!(result.unwrap_err().exit, Exit::Usage);
        assert_eq!(captured.stderr(), "");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn who_stops_in_the_middle_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let (result, _) = init(folder.path(), &[], "acme-metrics\nteam-1\n").await;
        assert!(result.is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
