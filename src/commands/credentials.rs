//! `credentials`: who may talk to Mimir. Each client has an authority of its
//! own, which the server trusts; all of it is in Secret Manager, and nothing
//! about it on this machine.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use dorainfra_config::{Tls, parse_duration};
use dorainfra_deploy::blueprint::{self, Client, ClientPaths, Names, STACK};
use dorainfra_deploy::resource::{self, Held, OVERLAPPING, ROTATED, SUCCEEDED};
use dorainfra_deploy::workflow::credential_change::{self, Change};
use dorainfra_deploy::workflow::credentials::rows;
use dorainfra_deploy::workflow::{Purpose, Run};
use dorainfra_model::Events;
use dorainfra_pki::ClientFiles;

use super::context::Context;
use super::{CommandError, CommandResult, Exit, screen};
use crate::ui;

/// The most clients: the server's secret holds the certificate of an authority
/// for each, and a secret may be 64 KiB.
const MOST_CLIENTS: usize = 60;
const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// Issue, list, revoke and rotate the certificates that Mimir's port asks for
///
/// A client is a name with a certificate: a Prometheus, a Grafana, a person. The
/// collector stack of the deployment is the client `stack`.
#[derive(Debug, Args)]
pub struct Credentials {
    #[command(subcommand)]
    command: CredentialsCommand,
}

#[derive(Debug, Subcommand)]
enum CredentialsCommand {
    /// Give a client a certificate, or write the files of one that has it
    ///
    /// A new client makes Mimir start again, as it reads only then whom it
    /// trusts; the collector sends afterwards what it could not meanwhile.
    Issue(Issue),
    /// Show every certificate and when it ends
    List,
    /// Refuse a client from now on, whatever certificates of it are out there
    ///
    /// In effect when the command ends. `stack` gets another certificate at once.
    Revoke(Revoke),
    /// Make new certificates in the place of valid ones
    ///
    /// Without an argument: the certificates of the server and of all clients. Those that are out there
    /// go on to be accepted until they end; `revoke` refuses them. A new CA takes two
    /// steps: `rotate ca` has clients trust both, `rotate ca --finish` has the
    /// server use the new one, once each client has its files anew.
    Rotate(Rotate),
}

#[derive(Debug, Args)]
struct Issue {
    /// The client: lower-case letters, digits and dashes
    #[arg(value_parser = client_name)]
    name: String,
    /// Write ca.crt, client.crt and client.key to this folder, readable by you only
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How long its certificates live, for example `30d` [default: 90d]
    #[arg(long, value_parser = ttl)]
    ttl: Option<u64>,
    /// Do not ask, whatever else has to be changed
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    /// The client
    #[arg(value_parser = client_name)]
    name: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Args)]
struct Rotate {
    what: Option<What>,
    /// Only this client's
    #[arg(long, value_parser = client_name)]
    client: Option<String>,
    /// With `ca`: have the server use the new CA, and forget the old one
    #[arg(long)]
    finish: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    Server,
    Client,
    Ca,
}

fn client_name(text: &str) -> Result<String, String> {
    let good = (1..=30).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    match good {
        true => Ok(text.to_owned()),
        false => Err("at most 30 lower-case letters, digits and dashes, a letter first".into()),
    }
}

/// Seconds.
fn ttl(text: &str) -> Result<u64, String> {
    let seconds = parse_duration(text).map_err(|error| format!("it {error}"))?.as_secs();
    match (HOUR..=3650 * DAY).contains(&seconds) {
        true => Ok(seconds),
        false => Err("an hour at least, ten years at most".into()),
    }
}

impl Credentials {
    pub async fn run(self, context: &Context) -> CommandResult {
        match self.command {
            CredentialsCommand::Issue(command) => command.run(context).await,
            CredentialsCommand::List => list(context).await,
            CredentialsCommand::Revoke(command) => command.run(context).await,
            CredentialsCommand::Rotate(command) => command.run(context).await,
        }
    }
}

impl Issue {
    async fn run(self, context: &Context) -> CommandResult {
        let run = begin(context).await?;
        let config = run.project.config.clone();
        let folder = self.out.as_ref().map(|folder| context.environment.folder.join(folder));
        if let Some(folder) = &folder {
            ClientFiles::check(folder, &blueprint::common_name(&config, &self.name))?;
        }
        if run.held.iter().any(|held| held.revoked && held.client.as_deref() == Some(&self.name)) {
            return Err(CommandError::failed(format!("`{}` is being revoked", self.name))
                .hint(format!("finish that first: `dorainfra credentials revoke {}`", self.name)));
        }
        let mut clients = run.facts.clients.clone();
        let full = clients.len() >= MOST_CLIENTS;
        match clients.iter_mut().find(|client| client.name == self.name) {
            Some(present) => present.ttl_seconds = self.ttl.unwrap_or(present.ttl_seconds),
            None if full => {
                return Err(CommandError::failed(format!("there can be at most {MOST_CLIENTS} clients"))
                    .hint("revoke one that is not needed, or make a second deployment"));
            }
            None => {
                let default = if self.name == STACK { blueprint::LEAF_SECONDS } else { 90 * DAY };
                let ttl_seconds = self.ttl.unwrap_or(default);
                clients.push(Client { name: self.name.clone(), ttl_seconds });
            }
        }
        let run = run.for_clients(clients)?;
        let consent = Consent { yes: self.yes, question: None };
        consent.carry_out(context, &run, Change::default()).await?;

        let credentials = run.client_credentials(&self.name).await?;
        let (files, written) = match &folder {
            Some(folder) => (ClientFiles::write(folder, &credentials)?, true),
            None => (ClientFiles::in_folder(format!("/etc/dorainfra/{}", self.name).as_ref()), false),
        };
        let paths = paths(&files);
        let address = run.address().await?.to_string();
        let [prometheus, grafana] =
            blueprint::snippets(&config, &run.facts, &run.project.overrides, &address, &paths)?;
        let held = resource::held(&run.client, &config.name).await?;
        let row = rows(&held).into_iter().find(|row| row.name == self.name);
        context.printer.result(&ui::Issued {
            client: self.name.clone(),
            detail: row.map(|row| row.detail).unwrap_or_default(),
            secret: Names::of_client(&config, &self.name),
            written,
            ca: paths.ca,
            certificate: paths.certificate,
            key: paths.key,
            prometheus,
            grafana,
        });
        Ok(Exit::Done)
    }
}

impl Revoke {
    async fn run(self, context: &Context) -> CommandResult {
        let run = begin(context).await?;
        let name = &self.name;
        let theirs = |held: &&Held| held.client.as_ref() == Some(name);
        let secrets: Vec<&Held> = run.held.iter().filter(theirs).collect();
        if secrets.is_empty() {
            return Err(CommandError::failed(format!("there is no client `{name}`"))
                .hint("`dorainfra credentials list` shows all of them"));
        }
        let question = format!("Refuse every certificate of `{name}` from now on?");
        let consent = Consent { yes: self.yes, question: Some(question) };
        if name == STACK {
            // The deployment's own client: it goes on, as another one.
            let config = &run.project.config;
            let rotate = [Names::of_authority(config, name), Names::of_client(config, name)];
            let change = Change { words: rotate.map(|secret| (secret, ROTATED)).into(), revoked: Vec::new() };
            consent.carry_out(context, &run, change).await?;
        } else {
            let revoked = secrets.into_iter().cloned().collect();
            let clients = run.facts.clients.iter().filter(|client| client.name != *name).cloned().collect();
            let run = run.for_clients(clients)?;
            consent.carry_out(context, &run, Change { words: Vec::new(), revoked }).await?;
        }
        show(context, Some(format!("`{name}` is revoked: none of its certificates is accepted any more.")))
            .await
    }
}

impl Rotate {
    async fn run(self, context: &Context) -> CommandResult {
        if self.finish && self.what != Some(What::Ca) {
            return Err(CommandError::usage("`--finish` belongs to `rotate ca`"));
        }
        if self.client.is_some() && self.what != Some(What::Client) {
            return Err(CommandError::usage("`--client` belongs to `rotate client`"));
        }
        let run = begin(context).await?;
        let names = Names::of(&run.project.config);
        let overlapping = run.held.iter().any(|held| held.overlapping);
        let clients: Vec<String> = run
            .held
            .iter()
            .filter(|held| held.material == "client" && !held.revoked)
            .filter(|held| self.client.is_none() || held.client == self.client)
            .map(|held| held.secret.clone())
            .collect();
        if let (Some(name), true) = (&self.client, clients.is_empty()) {
            return Err(CommandError::failed(format!("there is no client `{name}`"))
                .hint("`dorainfra credentials list` shows all of them"));
        }
        let all = |secrets: Vec<String>| secrets.into_iter().map(|secret| (secret, ROTATED)).collect();
        let (words, question, done) = match (self.what, self.finish) {
            (Some(What::Ca), true) if !overlapping => {
                return Err(CommandError::failed("no rotation of the CA is under way")
                    .hint("`dorainfra credentials rotate ca` begins one"));
            }
            (Some(What::Ca), true) => (
                vec![(names.ca, SUCCEEDED)],
                Some(
                    "Clients whose files are older than the rotation will be cut off. Does each have new ones?",
                ),
                "The server uses the new CA. The old one is gone, and its key with it.",
            ),
            (Some(What::Ca), false) => (
                vec![(names.ca, OVERLAPPING)],
                None,
                "Clients trust the new CA as well. Write new files for each (`dorainfra credentials \
                 issue NAME --out DIR`), then `dorainfra credentials rotate ca --finish`.",
            ),
            (Some(What::Server), _) => (all(vec![names.server]), None, "The server has a new certificate."),
            (Some(What::Client), _) => (
                all(clients),
                None,
                "There are new certificates; `dorainfra credentials issue NAME --out DIR` writes their files.",
            ),
            (None, _) => (
                all(clients.into_iter().chain([names.server]).collect()),
                Some(
                    "New certificates for the server and for every client? Mimir starts again, and clients need \
                     their new files before the old certificates end.",
                ),
                "There are new certificates; `dorainfra credentials issue NAME --out DIR` writes the files \
                 of clients.",
            ),
        };
        let consent = Consent { yes: self.yes, question: question.map(str::to_owned) };
        consent.carry_out(context, &run, Change { words, revoked: Vec::new() }).await?;
        show(context, Some(done.to_owned())).await
    }
}

/// What the user has agreed to, or has to.
#[derive(Debug)]
struct Consent {
    yes: bool,
    /// What is to be asked first.
    question: Option<String>,
}

impl Consent {
    /// Plans the change, has it agreed to where more than certificates is concerned, and does it.
    async fn carry_out(self, context: &Context, run: &Run, change: Change) -> CommandResult<()> {
        let plan = screen::with(&context.printer, async |events| change.plan(run, events).await).await?;
        let mut questions: Vec<String> = self.question.into_iter().collect();
        let others = credential_change::others(&plan);
        if !others.is_empty() {
            let others: Vec<String> = others.iter().map(|step| step.id.to_string()).collect();
            questions.push(format!(
                "The deployment is not as configured: this changes {} as well. Go on?",
                others.join(", ")
            ));
        }
        for question in questions {
            if !self.yes && !context.printer.confirm(&question)? {
                return Err(CommandError::declined("cancelled: nothing was changed"));
            }
        }
        screen::with(&context.printer, async |events| change.apply(run, &plan, events).await).await?;
        Ok(())
    }
}

fn paths(files: &ClientFiles) -> ClientPaths {
    let text = |path: &std::path::Path| path.display().to_string();
    ClientPaths { ca: text(&files.ca), certificate: text(&files.certificate), key: text(&files.key) }
}

/// A run of a deployment whose port asks for certificates.
async fn begin(context: &Context) -> CommandResult<Run> {
    let begun = async |events: &Events| context.run(Purpose::Use, events).await;
    let run = screen::with(&context.printer, begun).await?;
    if run.project.config.access.tls == Tls::Off {
        return Err(CommandError::usage("with `access.tls: off` there are no certificates")
            .hint("set `access.tls: mutual` and run `dorainfra apply`"));
    }
    Ok(run)
}

async fn list(context: &Context) -> CommandResult {
    show(context, None).await
}

async fn show(context: &Context, done: Option<String>) -> CommandResult {
    let project = context.project().await?;
    project.config.require_project()?;
    let client = project.client()?;
    let held = resource::held(&client, &project.config.name).await?;
    context.printer.result(&ui::Credentials {
        deployment: project.config.name.clone(),
        project: project.config.project.clone(),
        done,
        credentials: rows(&held),
    });
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lives_of_clients_are_checked() {
        for good in ["a", "grafana-2", &"a".repeat(30)] {
            assert!(client_name(good).is_ok(), "{good}");
        }
        for bad in ["", "2a", "A", "a_b", "a-", "../x", &"a".repeat(31)] {
            assert!(client_name(bad).is_err(), "{bad}");
        }
        assert_eq!(ttl("90d"), Ok(7_776_000));
        for bad in ["59m", "11y", "90", "soon"] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }
}
