//! The receiver of webhooks: checks who sent it, has it on the disk, answers,
//! and then makes events of it.
//!
//! What is answered with 2xx is in the journal, durably, and in there once,
//! however often it was delivered. The file of events is made from the journal:
//! a killed receiver loses nothing, and the next one goes on.

mod github;
mod gitlab;
mod journal;
mod payload;
mod refused;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use ring::hmac;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use self::journal::{Delivery, Forge};
use self::journal::{Journal, Opened};
use self::refused::Refused;
use super::SourceError;
use super::forge::{Deployed, Unit};
use super::judge;
use super::project::{Fact, Project};
use super::rules::{Owner, Patterns, Rules};
use super::state;
use super::store::{Merged, Store};
use crate::event::Events;
use crate::serve;

/// The largest payload that GitHub sends.
const LARGEST: usize = 25 * 1024 * 1024;
/// Nearly all payloads are smaller than this, and many of them are read at once; of
/// larger ones, and of those that do not say how large they are, few. Together they
/// bound what is held in memory for whoever does not know the secret: 82 MiB.
const SMALL: usize = 1024 * 1024;
const SMALL_AT_ONCE: usize = 32;
const LARGE_AT_ONCE: usize = 2;
/// How long a payload may take to arrive, its wait for a place included.
const ARRIVAL: Duration = Duration::from_secs(30);
/// Deliveries that wait to be written.
const WAITING: usize = 1024;
/// Between two times that the file of events is written.
const PAUSE: Duration = Duration::from_millis(500);

pub struct Settings {
    pub listen: SocketAddr,
    /// Shared with the senders: GitHub signs with it, GitLab sends it.
    pub secret: String,
    pub journal: PathBuf,
    /// The file of events.
    pub events: PathBuf,
    /// What is known beforehand; others are taken with [`Subscribed::unknown`].
    pub projects: Vec<Subscribed>,
}

/// A project, and how its deliveries are read.
#[derive(Clone, Debug)]
pub struct Subscribed {
    pub forge: Forge,
    /// `owner/name`
    pub project: String,
    pub owner: Owner,
    pub rules: Rules,
    pub reading: Reading,
    /// What the REST source of the same project keeps, if there is one.
    pub state: Option<PathBuf>,
}

/// What of a delivery is a fact.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Of releases, which know none.
    pub environment: String,
    pub deployed: Deployed,
    pub unit: Unit,
    /// Names of the workflows and pipelines that are deployments by themselves,
    /// where no deployments are reported.
    pub workflows: Patterns,
}

impl Subscribed {
    /// A project that nothing was said about: its group is the team.
    pub fn unknown(forge: Forge, project: &str) -> Self {
        let environment = crate::dora::events::PRODUCTION.to_owned();
        let (team, service) = project.rsplit_once('/').unwrap_or((project, project));
        Self {
            forge,
            project: project.to_owned(),
            owner: Owner {
                team: team.to_owned(),
                service: service.to_owned(),
                environment: environment.clone(),
            },
            rules: Rules::default(),
            reading: Reading {
                environment,
                deployed: Deployed::Deployments,
                unit: Unit::Commits,
                workflows: Patterns::default(),
            },
            state: None,
        }
    }
}

/// All that webhooks told of a project so far.
pub fn facts(journal: &Path, forge: Forge, project: &str) -> Result<Project, SourceError> {
    let mut known = Project::default();
    for delivery in journal::read(journal)? {
        if delivery.forge == forge && delivery.project.eq_ignore_ascii_case(project) {
            delivery.facts.into_iter().for_each(|fact| known.add(fact));
        }
    }
    Ok(known)
}

/// Receives until `stop` is cancelled; what was received by then is in the file
/// of events at the end.
pub async fn run(settings: Settings, stop: &CancellationToken, events: &Events) -> Result<(), SourceError> {
    let (listener, address) = serve::bind(settings.listen)
        .await
        .map_err(|source| SourceError::Listen { address: settings.listen.to_string(), source })?;
    let Opened { journal, deliveries: past, bad } =
        Journal::open(&settings.journal, journal::Compaction::default())?;
    for line in &bad {
        events.warn(
            line.described(&settings.journal),
            Some(format!("it is in {}.refused; nothing else was lost", settings.journal.display())),
        );
    }
    let (writer, queue) = mpsc::channel(WAITING);
    let (written, new) = mpsc::unbounded_channel();
    let key = hmac::Key::new(hmac::HMAC_SHA256, settings.secret.as_bytes());
    let token = hmac::sign(&key, settings.secret.as_bytes());
    let subscriptions = Arc::new(Subscriptions(settings.projects));
    let mut maker = Maker::new(settings.events, subscriptions.clone());
    maker.add(past);
    let told = maker.make()?;
    events.note(format!("webhooks are received at http://{address}/ ({} events known)", told.total));

    let write = tokio::task::spawn_blocking(move || write(journal, queue, &written));
    let make = tokio::spawn(make(maker, new, events.clone()));
    let receiver = Arc::new(Receiver {
        key,
        token,
        subscriptions,
        writer,
        refused: Refused::of(&settings.journal),
        small: Semaphore::new(SMALL_AT_ONCE),
        large: Semaphore::new(LARGE_AT_ONCE),
    });
    let app = Router::new()
        .route("/healthz", get(|| async { "ready\n" }))
        .fallback(post(receive))
        .with_state(receiver);
    serve::serve(listener, app, stop).await;
    // The last sender is gone with the server: both come to their ends.
    let fails = |error: tokio::task::JoinError| SourceError::Journal(error.to_string());
    write.await.map_err(fails)?;
    make.await.map_err(fails)?
}

struct Receiver {
    key: hmac::Key,
    /// Of the secret itself: comparing tags takes the same time for any other.
    token: hmac::Tag,
    subscriptions: Arc<Subscriptions>,
    writer: mpsc::Sender<Waiting>,
    refused: Refused,
    /// Places for payloads that are being read.
    small: Semaphore,
    large: Semaphore,
}

/// A delivery that its sender waits for.
struct Waiting {
    delivery: Delivery,
    /// Whether it was new; an error if it is not on the disk.
    answer: oneshot::Sender<Result<bool, String>>,
}

struct Subscriptions(Vec<Subscribed>);

impl Subscriptions {
    fn of(&self, forge: Forge, project: &str) -> Subscribed {
        let known = self.0.iter().find(|one| one.forge == forge && one.project.eq_ignore_ascii_case(project));
        known.cloned().unwrap_or_else(|| Subscribed::unknown(forge, project))
    }
}

type Answer = (StatusCode, String);

async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Body) -> Answer {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (forge, event) = match (header("x-github-event"), header("x-gitlab-event")) {
        (Some(event), _) => (Forge::Github, event),
        (None, Some(event)) => (Forge::Gitlab, event),
        (None, None) => return (StatusCode::BAD_REQUEST, "neither GitHub's nor GitLab's webhook\n".into()),
    };
    const STRANGER: &str = "the signature or the token is missing or wrong\n";
    // Nothing is read for somebody who shows no secret. A signature needs the payload.
    let signature = header("x-hub-signature-256").and_then(signature);
    let may_send = match forge {
        Forge::Github => signature.is_some(),
        Forge::Gitlab => receiver.knows_secret(header("x-gitlab-token")),
    };
    if !may_send {
        return (StatusCode::UNAUTHORIZED, STRANGER.into());
    }
    let length = header(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
    let body = match tokio::time::timeout(ARRIVAL, receiver.payload(body, length)).await {
        Ok(Ok(body)) => body,
        Ok(Err(answer)) => return answer,
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the payload did not arrive in time\n".into()),
    };
    if signature.is_some_and(|tag| hmac::verify(&receiver.key, &body, &tag).is_err()) {
        return (StatusCode::UNAUTHORIZED, STRANGER.into());
    }
    let form = header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with(FORM));
    let body = if form { payload_of_form(&body) } else { body };
    let id = match forge {
        Forge::Github => header("x-github-delivery"),
        Forge::Gitlab => header("idempotency-key").or(header("x-gitlab-event-uuid")),
    };
    // Without an id, the same content is the same delivery.
    let id =
        id.map_or_else(|| hex::encode(ring::digest::digest(&ring::digest::SHA256, &body)), str::to_owned);
    let read = |project: &str| receiver.subscriptions.of(forge, project).reading;
    let parsed = match forge {
        Forge::Github => github::facts(event, &body, read),
        Forge::Gitlab => gitlab::facts(event, &body, read),
    };
    let (project, facts) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            return receiver.refuse(&id, event, format!("not a payload of `{event}`: {error}"), &body);
        }
    };
    if facts.is_empty() {
        return (StatusCode::OK, "nothing in it counts\n".into());
    }
    // What is answered with 2xx has to be readable for ever.
    if let Some(problem) = problem(&project, &facts) {
        return receiver.refuse(&id, event, problem, &body);
    }
    let (answer, written) = oneshot::channel();
    let waiting = Waiting { delivery: Delivery { id, forge, project, facts }, answer };
    if receiver.writer.send(waiting).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into());
    }
    match written.await {
        Ok(Ok(true)) => (StatusCode::ACCEPTED, "kept\n".into()),
        Ok(Ok(false)) => (StatusCode::OK, "known already\n".into()),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("not kept: {error}\n")),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into()),
    }
}

/// What GitHub sends where a webhook's content type is this one, its usual one.
const FORM: &str = "application/x-www-form-urlencoded";

/// The JSON of a form's field `payload`.
fn payload_of_form(body: &[u8]) -> Bytes {
    let mut fields = form_urlencoded::parse(body);
    let payload = fields.find(|(name, _)| name == "payload");
    payload.map(|(_, value)| Bytes::from(value.into_owned())).unwrap_or_default()
}

/// The HMAC in `sha256=` and hexadecimal digits.
fn signature(text: &str) -> Option<Vec<u8>> {
    let tag = hex::decode(text.strip_prefix("sha256=")?).ok()?;
    (tag.len() == hmac::HMAC_SHA256.digest_algorithm().output_len()).then_some(tag)
}

/// What is wrong with what a genuine payload says.
fn problem(project: &str, facts: &[Fact]) -> Option<String> {
    let named = project.rsplit_once('/').is_some_and(|(owner, name)| {
        [owner, name].iter().all(|part| !part.trim_matches('/').trim().is_empty())
    });
    if !named {
        return Some(format!("the project is called `{project}`, not `owner/name`"));
    }
    facts.iter().find_map(Fact::problem)
}

impl Receiver {
    /// All of a payload, once there is a place for it.
    async fn payload(&self, body: Body, length: Option<usize>) -> Result<Bytes, Answer> {
        let (places, largest) = match length {
            Some(length) if length <= SMALL => (&self.small, SMALL),
            Some(length) if length > LARGEST => {
                return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("at most {LARGEST} bytes\n")));
            }
            _ => (&self.large, LARGEST),
        };
        let stopping = |_| (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
        let _place = places.acquire().await.map_err(stopping)?;
        let broken =
            |_| (StatusCode::BAD_REQUEST, "the payload is too large, or did not arrive whole\n".into());
        axum::body::to_bytes(body, largest).await.map_err(broken)
    }

    /// Tells the sender why, and keeps it aside for a person.
    fn refuse(&self, id: &str, event: &str, reason: String, body: &[u8]) -> Answer {
        let kept = tokio::task::block_in_place(|| self.refused.keep(id, event, &reason, body));
        let aside = if matches!(kept, Ok(true)) { "it is kept aside" } else { "it could not be kept aside" };
        (StatusCode::UNPROCESSABLE_ENTITY, format!("{reason}; {aside}\n"))
    }

    fn knows_secret(&self, token: Option<&str>) -> bool {
        token.is_some_and(|token| hmac::verify(&self.key, token.as_bytes(), self.token.as_ref()).is_ok())
    }
}

/// Writes what waits, many at once: one flush of the disk serves all of them.
fn write(
    mut journal: Journal,
    mut queue: mpsc::Receiver<Waiting>,
    written: &mpsc::UnboundedSender<Delivery>,
) {
    let mut waiting = Vec::new();
    while queue.blocking_recv_many(&mut waiting, WAITING) > 0 {
        let (deliveries, answers): (Vec<Delivery>, Vec<_>) =
            waiting.drain(..).map(|one| (one.delivery, one.answer)).unzip();
        match journal.append(&deliveries) {
            Ok(new) => {
                for ((delivery, answer), new) in deliveries.into_iter().zip(answers).zip(new) {
                    // Whoever does not wait any more will send it again.
                    let _ = answer.send(Ok(new));
                    if new {
                        let _ = written.send(delivery);
                    }
                }
            }
            Err(error) => answers.into_iter().for_each(|answer| {
                let _ = answer.send(Err(error.to_string()));
            }),
        }
    }
}

/// Makes events of what was written, a moment after it came.
async fn make(
    mut maker: Maker,
    mut new: mpsc::UnboundedReceiver<Delivery>,
    events: Events,
) -> Result<(), SourceError> {
    let mut arrived = Vec::new();
    let mut away = false;
    while new.recv_many(&mut arrived, WAITING).await > 0 {
        // What comes at the same time is written at the same time.
        if !new.is_closed() {
            tokio::time::sleep(PAUSE).await;
        }
        while let Ok(delivery) = new.try_recv() {
            arrived.push(delivery);
        }
        maker.add(arrived.drain(..));
        match tokio::task::block_in_place(|| maker.make()) {
            Ok(_) => away = false,
            // It is in the journal: the next delivery, or the next start, makes it.
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    events.warn(format!("events wait in the journal: {error}"), error.hint());
                }
            }
        }
    }
    maker.make().map(|_| ())
}

/// The projects as the journal tells them, and the file of events.
struct Maker {
    events: PathBuf,
    subscriptions: Arc<Subscriptions>,
    /// As they were called first, whose events their ids name, and what is known of them.
    projects: BTreeMap<(Forge, String), (String, Project)>,
    changed: BTreeSet<(Forge, String)>,
}

impl Maker {
    fn new(events: PathBuf, subscriptions: Arc<Subscriptions>) -> Self {
        Self { events, subscriptions, projects: BTreeMap::new(), changed: BTreeSet::new() }
    }

    fn add(&mut self, deliveries: impl IntoIterator<Item = Delivery>) {
        for delivery in deliveries {
            let key = delivery.about();
            let (_, project) =
                self.projects.entry(key.clone()).or_insert_with(|| (delivery.project, Project::default()));
            delivery.facts.into_iter().for_each(|fact| project.add(fact));
            self.changed.insert(key);
        }
    }

    fn make(&mut self) -> Result<Merged, SourceError> {
        let mut store = Store::open(&self.events)?;
        let mut all = Merged::default();
        for key in &self.changed {
            let Some((name, told)) = self.projects.get(key) else { continue };
            let subscribed = self.subscriptions.of(key.0, name);
            let mut project = match &subscribed.state {
                Some(state) => state::project(state)?,
                None => Project::default(),
            };
            project.merge(told.clone());
            project.is_called(Some(name));
            let events = judge::events(&project, &subscribed.owner, &subscribed.rules);
            all.add(store.replace(&subscribed.owner.prefix(), events));
        }
        if !all.is_empty() {
            store.save()?;
        }
        self.changed.clear();
        Ok(Merged { total: store.total(), ..all })
    }
}
