//! `credentials`: who may talk to Mimir. Each client has an authority of its
//! own, which the server trusts; all of it is in Secret Manager, and nothing
//! about it on this machine.

mod change;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use dorainfra_config::{Tls, parse_duration};
use dorainfra_deploy::blueprint::{self, Client, ClientPaths, Names, STACK};
use dorainfra_deploy::resource::{self, Held, OVERLAPPING, ROTATED, SUCCEEDED};
use dorainfra_model::Events;
use dorainfra_pki::ClientFiles;
use time::OffsetDateTime;

use self::change::{Change, Consent};
use super::context::{Context, Purpose};
use super::pipeline::Run;
use super::{CommandError, CommandResult, Exit, screen};
use crate::ui::{self, CredentialStatus, State};

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
    /// Without a word: the server's and all clients'. Those that are out there
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
                return Err(CommandError::failed(format!("{MOST_CLIENTS} clients are the most"))
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
        Change::default().carry_out(context, &run, &consent).await?;

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
            change.carry_out(context, &run, &consent).await?;
        } else {
            let revoked = secrets.into_iter().cloned().collect();
            let clients = run.facts.clients.iter().filter(|client| client.name != *name).cloned().collect();
            let run = run.for_clients(clients)?;
            Change { words: Vec::new(), revoked }.carry_out(context, &run, &consent).await?;
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
                Some("Clients whose files are older than the rotation are cut off. Has each got them anew?"),
                "The server uses the new CA. The old one is gone, and its key with it.",
            ),
            (Some(What::Ca), false) => (
                vec![(names.ca, OVERLAPPING)],
                None,
                "Clients trust the new CA as well. Write the files of each anew (`dorainfra credentials \
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
                None,
                "There are new certificates; `dorainfra credentials issue NAME --out DIR` writes the files \
                 of clients.",
            ),
        };
        let consent = Consent { yes: self.yes, question: question.map(str::to_owned) };
        Change { words, revoked: Vec::new() }.carry_out(context, &run, &consent).await?;
        show(context, Some(done.to_owned())).await
    }
}

fn paths(files: &ClientFiles) -> ClientPaths {
    let text = |path: &std::path::Path| path.display().to_string();
    ClientPaths { ca: text(&files.ca), certificate: text(&files.certificate), key: text(&files.key) }
}

/// A run of a deployment whose port asks for certificates.
async fn begin(context: &Context) -> CommandResult<Run<'_>> {
    let begun = async |events: &Events| Run::begin(context, Purpose::Use, events).await;
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
    let client = context.client(&project)?;
    let held = resource::held(&client, &project.config.name).await?;
    context.printer.result(&ui::Credentials {
        deployment: project.config.name.clone(),
        project: project.config.project.clone(),
        done,
        credentials: rows(&held),
    });
    Ok(Exit::Done)
}

/// The clients that the cloud knows, for the blueprint.
pub fn clients(held: &[Held]) -> Vec<Client> {
    let clients = held.iter().filter(|held| held.material == "client" && !held.revoked);
    let mut clients: Vec<Client> = clients
        .filter_map(|held| {
            let ttl_seconds = held.ttl.unwrap_or(blueprint::LEAF_SECONDS);
            Some(Client { name: held.client.clone()?, ttl_seconds })
        })
        .collect();
    clients.sort_by(|a, b| a.name.cmp(&b.name));
    clients
}

/// CA, server, then the clients by name, as they are shown. An authority of a
/// client is shown only where there is something to say of it.
pub fn rows(held: &[Held]) -> Vec<CredentialStatus> {
    let now = OffsetDateTime::now_utc();
    let order = ["ca", "server", "client", "authority"];
    let place =
        |held: &Held| order.iter().position(|material| held.material == *material).unwrap_or(order.len());
    let mut held: Vec<&Held> = held.iter().filter(|held| place(held) < 3 || is_late(held, now)).collect();
    held.sort_by_key(|held| (place(held), held.client.clone()));
    held.into_iter().map(|held| row(held, now)).collect()
}

fn row(held: &Held, now: OffsetDateTime) -> CredentialStatus {
    let ends = held.validity.map(|validity| validity.not_after);
    let (state, detail) = match held.validity {
        _ if held.revoked => {
            (State::Changed, "is being revoked: run `dorainfra credentials revoke` again".to_owned())
        }
        None => (State::Changed, "has no certificate yet: `dorainfra apply` makes it".to_owned()),
        Some(validity) if validity.is_over(now) => {
            (State::Failed, format!("ended on {}; {}", validity.not_after.date(), remedy(held)))
        }
        Some(validity) => {
            let days = (validity.not_after - now).whole_days();
            let ends = format!("ends on {}, in {days} days", validity.not_after.date());
            match (is_late(held, now), held.overlapping) {
                (true, _) => (State::Changed, format!("{ends}; {}", remedy(held))),
                (_, true) => (
                    State::Changed,
                    format!(
                        "{ends}; its successor is trusted: `credentials rotate ca --finish` has the server use it"
                    ),
                ),
                _ => (State::Ok, ends),
            }
        }
    };
    CredentialStatus {
        name: held.client.clone().unwrap_or_else(|| held.material.clone()),
        kind: held.material.clone(),
        state,
        ends: ends.map(|end| end.date().to_string()),
        version: held.version.clone(),
        detail,
    }
}

/// Whether something has to be done about it. Authorities a year ahead: what
/// they sign ends with them.
fn is_late(held: &Held, now: OffsetDateTime) -> bool {
    let authority = matches!(held.material.as_str(), "ca" | "authority");
    held.validity.is_some_and(|validity| {
        validity.is_due(now) || (authority && validity.not_after - now < time::Duration::days(365))
    })
}

fn remedy(held: &Held) -> String {
    match (held.material.as_str(), held.client.as_deref()) {
        ("ca", _) => "`dorainfra credentials rotate ca` makes the next one".into(),
        ("authority", Some(name)) => format!("revoke `{name}` and issue it again"),
        ("client", Some(name)) if name != STACK => {
            format!(
                "`dorainfra apply` renews it, `dorainfra credentials issue {name} --out DIR` writes its files"
            )
        }
        _ => "`dorainfra apply` renews it".into(),
    }
}

/// Warns of what has ended, or ends within 30 days.
pub fn warn_of_ends(held: &[Held], events: &Events) {
    let now = OffsetDateTime::now_utc();
    for held in held.iter().filter(|held| is_late(held, now)) {
        let whose = match (held.material.as_str(), held.client.as_deref()) {
            ("client", Some(name)) => format!("the certificate of client `{name}`"),
            ("authority", Some(name)) => format!("the authority of client `{name}`"),
            ("ca", _) => "the CA".into(),
            _ => "the server's certificate".into(),
        };
        let Some(validity) = held.validity else { continue };
        let (date, days) = (validity.not_after.date(), (validity.not_after - now).whole_days());
        let when = match validity.is_over(now) {
            true => format!("ended on {date}"),
            false => format!("ends on {date}, in {days} days"),
        };
        events.warn(format!("{whose} {when}"), Some(remedy(held)));
    }
}

#[cfg(test)]
mod tests {
    use dorainfra_model::Event;
    use dorainfra_pki::Validity;
    use time::Duration;

    use super::*;

    fn held(material: &str, client: Option<&str>, days: i64) -> Held {
        let now = OffsetDateTime::now_utc();
        Held {
            secret: "s".into(),
            material: material.into(),
            client: client.map(str::to_owned),
            ttl: Some(7_776_000),
            version: "1".into(),
            validity: Some(Validity {
                not_before: now - Duration::days(300),
                not_after: now + Duration::days(days) + Duration::hours(1),
            }),
            overlapping: false,
            revoked: false,
        }
    }

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

    #[test]
    fn what_ends_within_30_days_is_warned_of_and_says_what_to_do() {
        let all = [
            held("server", None, 29),
            held("client", Some("grafana"), 31),
            held("client", Some("old"), -1),
            held("ca", None, 3000),
            held("authority", Some("stack"), 364),
        ];
        let (events, mut received) = Events::channel();
        warn_of_ends(&all, &events);
        drop(events);
        let mut said = Vec::new();
        while let Ok(Event::Warning { message, hint }) = received.try_recv() {
            said.push(format!("{message} ({})", hint.unwrap()));
        }
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].contains("the server's certificate ends on") && said[0].contains("in 29 days"));
        assert!(said[1].contains("client `old` ended on") && said[1].contains("issue old --out"), "{said:?}");
        assert!(said[2].contains("the authority of client `stack`"), "{said:?}");
    }

    #[test]
    fn a_client_that_is_being_revoked_is_none() {
        let revoked = Held { revoked: true, ..held("client", Some("a"), 90) };
        let all = [revoked, held("client", Some("b"), 90), held("authority", Some("b"), 3000)];
        assert_eq!(clients(&all), [Client { name: "b".into(), ttl_seconds: 7_776_000 }]);
        let rows = rows(&all);
        assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(rows[0].detail.contains("being revoked"));
    }
}
