//! `collect`: real events, from git, GitHub, GitLab, files and webhooks, into a
//! file of events.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use dorainfra_config::{ChangesAre, DeployedBy, Source, SourceKind};
use dorainfra_deploy::workflow::event_sources::{self, Ask, Collected, Collecting, Failed, Files};
use dorainfra_dora as dora;
use dorainfra_dora::source::webhook;
use dorainfra_model::Events;
use tempfile::TempDir;
use time::{Date, OffsetDateTime};

use super::arguments::{day, webhook_secret};
use super::context::Context;
use super::{CommandError, CommandResult, Exit, screen};

/// Collect real events: from git, GitHub, GitLab, files, or webhooks
///
/// Without a source, from all `sources` of the configuration, into the deployment's
/// file of events, each once; `apply` reads and feeds them. A source that is named
/// here is written to stdout, or to the file that `--events` names. Running it again
/// goes on from where it was. docs/sources.md says what counts as what.
#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true)]
pub struct Collect {
    #[command(subcommand)]
    source: Option<SourceCommand>,
    /// File of events, JSON lines [default: stdout for a source that is named here, else the
    /// deployment's, below .dorainfra/]
    #[arg(long, global = true, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Ask GitHub and GitLab for nothing older [default: 400 days ago]
    #[arg(long, global = true, value_name = "YYYY-MM-DD", value_parser = day)]
    since: Option<Date>,
    /// Collect again, this many seconds after the last time, until interrupted
    #[arg(long, global = true, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    every: Option<u64>,
    /// Receive webhooks at this address until interrupted; the secret is read from DORAINFRA_WEBHOOK_SECRET
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "every")]
    listen: Option<SocketAddr>,
    /// File with the webhooks' secret
    #[arg(long, value_name = "FILE", requires = "listen")]
    secret_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum SourceCommand {
    /// A local git repository: tags, or what lands on a branch, as deployments
    Git {
        /// The repository's folder
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// Tags that are deployments [default: v*]
        #[arg(long, value_name = "PATTERN", conflicts_with = "branch")]
        tags: Option<String>,
        /// Take each commit on this branch's first-parent line as a deployment
        #[arg(long)]
        branch: Option<String>,
        /// A folder or file of the service: other commits are no changes of it (repeatable)
        #[arg(long, value_name = "PATH")]
        paths: Vec<String>,
        #[command(flatten)]
        owner: OwnerArguments,
        #[command(flatten)]
        titles: TitleArguments,
    },
    /// GitHub: deployments or releases, pull requests, issues; the token is read from GITHUB_TOKEN
    Github {
        /// The repository
        #[arg(id = "repository", value_name = "OWNER/REPO")]
        project: String,
        #[command(flatten)]
        forge: ForgeArguments,
        #[command(flatten)]
        owner: OwnerArguments,
        #[command(flatten)]
        titles: TitleArguments,
    },
    /// GitLab: deployments or releases, merge requests, issues; the token is read from GITLAB_TOKEN
    Gitlab {
        /// The project
        #[arg(id = "repository", value_name = "GROUP/PROJECT")]
        project: String,
        #[command(flatten)]
        forge: ForgeArguments,
        #[command(flatten)]
        owner: OwnerArguments,
        #[command(flatten)]
        titles: TitleArguments,
    },
    /// A file of events: CSV (`.csv`) or JSON lines, as docs/events.md has them
    File {
        #[arg(value_name = "FILE")]
        path: PathBuf,
    },
}

#[derive(Debug, Args)]
struct OwnerArguments {
    /// The team [default: the project's group, or the folder's name]
    #[arg(long)]
    team: Option<String>,
    /// The service [default: the project's name]
    #[arg(long)]
    service: Option<String>,
    /// The environment whose deployments count [default: production]
    #[arg(long)]
    environment: Option<String>,
}

#[derive(Debug, Args)]
struct TitleArguments {
    /// Titles, tags and branches that mend what users suffered from (repeatable)
    #[arg(long, value_name = "PATTERN")]
    hotfix: Vec<String>,
    /// Titles of changes that take back another one (repeatable)
    #[arg(long, value_name = "PATTERN")]
    revert: Vec<String>,
    /// Tags and releases that are no deployments (repeatable) [default: prereleases, and names that move]
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
}

#[derive(Debug, Args)]
struct ForgeArguments {
    /// The API's address [default: https://api.github.com, https://gitlab.com]
    #[arg(long)]
    url: Option<String>,
    /// File with the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with authorities (PEM) that the server's certificate is checked by, beside the
    /// system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// What is a deployment
    #[arg(long, value_enum, default_value_t = DeploymentsArgument::Deployments)]
    deployments: DeploymentsArgument,
    /// What is a change: commits, or merged requests
    #[arg(long, value_enum, default_value_t = ChangesArgument::Commits)]
    changes: ChangesArgument,
    /// Labels of issues that are failures (repeatable) [default: incident]
    #[arg(long, value_name = "PATTERN")]
    incident_label: Vec<String>,
    /// Labels of requests that mend what users suffered from (repeatable) [default: hotfix]
    #[arg(long, value_name = "PATTERN")]
    hotfix_label: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DeploymentsArgument {
    Deployments,
    Releases,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ChangesArgument {
    Commits,
    Requests,
}

impl Collect {
    pub async fn run(self, context: &Context) -> CommandResult {
        let given = self.source.as_ref().map(SourceCommand::source);
        if given.is_some() && self.listen.is_some() {
            return Err(CommandError::usage("`--listen` receives from all projects at once").hint(
                "leave out the source; `sources` in the configuration says which team a project belongs to",
            ));
        }
        let scratch = match (&given, &self.events) {
            (Some(_), None) => Some(self.scratch(context)?),
            _ => None,
        };
        // A source that is named needs no configuration.
        let (file, configured) = match (&self.events, &scratch) {
            (_, Some(folder)) => (folder.path().join("events.jsonl"), Vec::new()),
            (Some(file), None) if given.is_some() => (context.environment.folder.join(file), Vec::new()),
            (file, None) => {
                let config = context.project().await?.config;
                let own = || context.workspace.collected(&config.name);
                let file = file.as_ref().map_or_else(own, |file| context.environment.folder.join(file));
                if self.events.is_none() {
                    context.workspace.make_state()?;
                }
                (file, config.sources)
            }
        };
        let files = Files::of(file)?;
        // A single reading may be cut off anywhere: the next one goes on from there.
        let stop = match self.listen.is_some() || self.every.is_some() {
            true => context.signals.finishing(),
            false => context.signals.asked(),
        };
        if let Some(address) = self.listen {
            let secret = webhook_secret(&context.environment, self.secret_file.as_deref())?;
            // What somebody sends has to be somebody's.
            let configured =
                event_sources::with_teams(&context.workspace, configured, &files, Ask::Now).await?;
            let settings = webhook::Settings {
                listen: address,
                secret,
                journal: files.journal(),
                events: files.events.clone(),
                subscriptions: event_sources::subscriptions(&configured, &files)?,
            };
            let receiving = async |events: &Events| webhook::run(settings, &stop, events).await;
            screen::with(&context.printer, receiving).await?;
            return Ok(Exit::Done);
        }
        let is_given = given.is_some();
        let wanted = match given {
            Some(source) => vec![event_sources::checked(source, &context.environment.folder)?],
            None if configured.is_empty() => {
                return Err(CommandError::usage("no source is named")
                    .hint("name one: `dorainfra collect git PATH`; or write `sources` into dorainfra.yaml"));
            }
            None => configured,
        };
        loop {
            let since =
                self.since.map_or_else(event_sources::usual_since, |date| date.midnight().assume_utc());
            let round = Round { wanted: &wanted, is_given, since };
            let once = async |events: &Events| round.collect(context, &files, events).await;
            let result = screen::with(&context.printer, once).await;
            match (self.every, result) {
                (None, Ok((collected, None))) if scratch.is_some() => {
                    context.printer.verbatim(&written(&files.events)?);
                    context.printer.note(&collected.summary());
                    return Ok(Exit::Done);
                }
                (None, Ok((_, Some(error)))) if scratch.is_some() => return Err(error),
                (None, Ok((collected, failed))) => {
                    // Where nothing was read, the reason is all that there is to say.
                    if collected.failed.len() < wanted.len() || failed.is_none() {
                        context.printer.conclude(&collected);
                    }
                    return failed.map_or(Ok(Exit::Done), Err);
                }
                (None, Err(error)) => return Err(error),
                (Some(_), Ok((collected, failed))) => {
                    context.printer.result(&collected);
                    if let Some(error) = failed {
                        context.printer.warning(&error.to_string(), error.hint.as_deref());
                    }
                }
                // A forge that is away now may be back the next time.
                (Some(_), Err(error)) => context.printer.warning(&error.to_string(), error.hint.as_deref()),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(Exit::Done),
                () = tokio::time::sleep(Duration::from_secs(self.every.unwrap_or_default())) => {}
            }
        }
    }
}

impl Collect {
    /// Where the events of a source that is named are kept until they are printed.
    fn scratch(&self, context: &Context) -> CommandResult<TempDir> {
        for (given, flag) in [(self.every.is_some(), "--every"), (context.global.json, "--json")] {
            if given {
                return Err(CommandError::usage(format!("`{flag}` needs a file of events"))
                    .hint("name one: `--events FILE`"));
            }
        }
        tempfile::tempdir().map_err(|error| {
            CommandError::failed(format!("no temporary folder can be made: {error}"))
                .hint("name a file: `--events FILE`")
                .because(error)
        })
    }
}

fn written(events: &Path) -> CommandResult<String> {
    match std::fs::read_to_string(events) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|error| {
            CommandError::failed(format!("{} can't be read: {error}", events.display()))
                .hint("name a file: `--events FILE`")
                .because(error)
        }),
    }
}

/// One reading of all sources.
struct Round<'a> {
    wanted: &'a [Source],
    /// Somebody names the source; else these are all of the configuration.
    is_given: bool,
    since: OffsetDateTime,
}

impl Round<'_> {
    /// What was collected; and the error that it ends with, where a source was not read.
    async fn collect(
        &self,
        context: &Context,
        files: &Files,
        events: &Events,
    ) -> CommandResult<(Collected, Option<CommandError>)> {
        let workspace = &context.workspace;
        let configured = self.wanted.to_vec();
        let (sources, mut failed) =
            event_sources::with_known_teams(workspace, configured, files, Ask::Now).await;
        let mut all = match self.is_given {
            true => Collecting::of_some(files, &sources)?,
            false => Collecting::begin(files, &sources)?,
        };
        failed.extend(all.collect_all(workspace, &sources, self.since, events).await);
        // Of the whole file: what refers to each other may come from two sources.
        for (what, hint) in dora::source::loose(&event_sources::known(&files.events, &*context.operator())?) {
            events.warn(what, Some(hint.to_owned()));
        }
        let collected = all.end(workspace.shown(&files.events), &failed);
        if self.wanted.len() == 1 {
            return Ok((collected, failed.pop().map(|failed| failed.error.into())));
        }
        failed.iter().for_each(|failed| failed.warn(events));
        Ok((collected, (!failed.is_empty()).then(|| incomplete(&failed, self.wanted.len()))))
    }
}

fn incomplete(failed: &[Failed], wanted: usize) -> CommandError {
    let names: Vec<&str> = failed.iter().map(|failed| failed.source.as_str()).collect();
    CommandError::failed(format!(
        "{} of {wanted} sources could not be read: {}",
        failed.len(),
        names.join(", ")
    ))
    .hint("the events of the others are stored; fix these, and run the same command again")
}

impl SourceCommand {
    /// The same as an item of `sources`.
    fn source(&self) -> Source {
        match self {
            Self::Git { path, tags, branch, paths, owner, titles } => Source {
                paths: some(paths),
                path: Some(path.clone()),
                tags: tags.clone(),
                branch: branch.clone(),
                ..titles.add(owner.add(Source::new(SourceKind::Git)))
            },
            Self::Github { project, forge, owner, titles } => {
                forge.add(project, titles.add(owner.add(Source::new(SourceKind::Github))))
            }
            Self::Gitlab { project, forge, owner, titles } => {
                forge.add(project, titles.add(owner.add(Source::new(SourceKind::Gitlab))))
            }
            Self::File { path } => Source { path: Some(path.clone()), ..Source::new(SourceKind::File) },
        }
    }
}

impl OwnerArguments {
    fn add(&self, source: Source) -> Source {
        Source {
            team: self.team.clone(),
            service: self.service.clone(),
            environment: self.environment.clone(),
            ..source
        }
    }
}

impl TitleArguments {
    fn add(&self, source: Source) -> Source {
        Source {
            hotfix: some(&self.hotfix),
            revert: some(&self.revert),
            exclude: some(&self.exclude),
            ..source
        }
    }
}

impl ForgeArguments {
    fn add(&self, project: &str, source: Source) -> Source {
        Source {
            project: Some(project.to_owned()),
            url: self.url.clone(),
            token_file: self.token_file.clone(),
            ca: self.ca.clone(),
            deployments: Some(match self.deployments {
                DeploymentsArgument::Deployments => DeployedBy::Deployments,
                DeploymentsArgument::Releases => DeployedBy::Releases,
            }),
            changes: Some(match self.changes {
                ChangesArgument::Commits => ChangesAre::Commits,
                ChangesArgument::Requests => ChangesAre::Requests,
            }),
            incident_labels: some(&self.incident_label),
            hotfix_labels: some(&self.hotfix_label),
            ..source
        }
    }
}

fn some(patterns: &[String]) -> Option<Vec<String>> {
    (!patterns.is_empty()).then(|| patterns.to_vec())
}
