//! The receiver of webhooks and CDEvents: checks who sent it, has it on the disk, answers,
//! and then makes events of it.
//!
//! What is answered with 2xx is in the journal, durably, and in there once,
//! however often it was delivered. The file of events is made from the journal:
//! a killed receiver loses nothing, and the next one goes on.

mod cdevents;
mod forges;
mod github;
mod gitlab;
mod intake;
mod journal;

mod events_by_owner;
mod maker;
pub mod mapping;
mod payload;
mod record;
mod refused;
mod subscriptions;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::{get, post};
use base64::Engine as _;
use dorainfra_base::error::Why;
use ring::hmac;
use time::OffsetDateTime;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::cdevents::Mode;
use self::forges::{Hooks, Shows};
use self::intake::{ServiceFacts, Wrong};
pub use self::journal::{Delivery, Sender};
use self::journal::{Journal, Opened};
use self::maker::Maker;
pub use self::maker::{Facts, facts};
pub use self::payload::any_time;
pub use self::record::{OF_EVENT, Recorded, make_others, record};
use self::record::{cdevent, counts_not};
use self::refused::Refused;
use self::subscriptions::problem;
pub use self::subscriptions::{Intake, Reading, Subscribed, Subscriptions};
use dorainfra_base::serve;
use dorainfra_model::Events;

use super::SourceError;
use super::forges::Known;

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
    /// What is known beforehand; others are taken for what they say.
    pub subscriptions: Subscriptions,
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
    let subscriptions = Arc::new(settings.subscriptions);
    let maker = Maker::new(&settings.journal, settings.events, subscriptions.clone());
    maker.add(past);
    let reported = maker.make()?;
    events.note(format!("webhooks are received at http://{address}/ ({} events known)", reported.total));

    let kept = maker.clone();
    let write = tokio::task::spawn_blocking(move || write(journal, queue, &kept, &written));
    let make = tokio::spawn(make(maker.clone(), new, events.clone()));
    let receiver = Arc::new(Receiver {
        key,
        token,
        subscriptions,
        maker,
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
    let fails = |error: tokio::task::JoinError| SourceError::Journal(Why::of(error));
    write.await.map_err(fails)?;
    make.await.map_err(fails)?
}

struct Receiver {
    key: hmac::Key,
    /// Of the secret itself: comparing tags takes the same time for any other.
    token: hmac::Tag,
    subscriptions: Arc<Subscriptions>,
    /// Knows what was kept so far.
    maker: Maker,
    writer: mpsc::Sender<Waiting>,
    refused: Refused,
    /// Places for payloads that are being read.
    small: Semaphore,
    large: Semaphore,
}

/// What one request reported, whose sender waits.
struct Waiting {
    deliveries: Vec<Delivery>,
    /// Whether anything was new; an error if it is not on the disk.
    answer: oneshot::Sender<Result<bool, String>>,
}

type Answer = (StatusCode, String);

/// What sends a request, by its head.
enum Origin<'a> {
    /// With what happened.
    Forge(&'static Hooks, &'a str),
    Cdevents(Mode),
    Hook(Box<Intake>),
}

/// The webhooks of all forges.
const FORGES: [&Hooks; 2] = [&github::HOOKS, &gitlab::HOOKS];

const UNKNOWN: &str = "neither GitHub's nor GitLab's webhook, nor a CloudEvent, and no mapped webhook is \
                       called like this path\n";
const STRANGER: &str = "the signature or the token is missing or wrong\n";

/// Payloads of whoever may send, and what signed them.
enum Shown {
    Secret,
    Signature(Vec<u8>),
}

async fn receive(State(receiver): State<Arc<Receiver>>, uri: Uri, headers: HeaderMap, body: Body) -> Answer {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let forge = FORGES.iter().find_map(|hooks| Some(Origin::Forge(hooks, header(hooks.event)?)));
    let from = match (forge, Mode::of(&headers)) {
        (Some(forge), _) => forge,
        (None, Some(mode)) => Origin::Cdevents(mode),
        (None, None) => match receiver.subscriptions.hook(uri.path().trim_matches('/')) {
            Some(intake) => Origin::Hook(Box::new(intake)),
            None => return (StatusCode::BAD_REQUEST, UNKNOWN.into()),
        },
    };
    // Nothing is read for somebody who shows no secret. A signature needs the payload.
    let Some(shown) = receiver.shown(&from, &headers) else {
        return (StatusCode::UNAUTHORIZED, STRANGER.into());
    };
    if let Origin::Cdevents(Mode::Other) = from {
        let why = "content-type: one CloudEvent a request, in JSON: no batches and no other formats\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, why.into());
    }
    let length = header(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
    let body = match tokio::time::timeout(ARRIVAL, receiver.payload(body, length)).await {
        Ok(Ok(body)) => body,
        Ok(Err(answer)) => return answer,
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the payload did not arrive in time\n".into()),
    };
    if let Shown::Signature(tag) = shown
        && hmac::verify(&receiver.key, &body, &tag).is_err()
    {
        return (StatusCode::UNAUTHORIZED, STRANGER.into());
    }
    let form = header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with(FORM));
    let body = if form { payload_of_form(&body) } else { body };
    let id = match from {
        Origin::Forge(hooks, _) => hooks.delivery.iter().find_map(|name| header(name)),
        Origin::Cdevents(_) | Origin::Hook(_) => None,
    };
    // Without an id, the same content is the same delivery.
    let id =
        id.map_or_else(|| hex::encode(ring::digest::digest(&ring::digest::SHA256, &body)), str::to_owned);
    match receiver.read(&from, id.clone(), &headers, &body) {
        Ok(deliveries) if deliveries.is_empty() => (StatusCode::OK, "nothing in it counts\n".into()),
        Ok(deliveries) => receiver.keep(&id, from.event(), deliveries, &body).await,
        Err(Unread::Unused(kind)) => (StatusCode::OK, format!("not used: {kind}\n")),
        Err(Unread::Wrong(why)) => receiver.refuse(&id, from.event(), why, &body),
    }
}

impl Origin<'_> {
    /// For people.
    fn event(&self) -> &str {
        match self {
            Self::Forge(_, event) => event,
            Self::Cdevents(_) => "CDEvents",
            Self::Hook(intake) => &intake.hook,
        }
    }
}

/// A payload that is kept nowhere.
enum Unread {
    /// Of a type that tells nothing that counts.
    Unused(String),
    Wrong(String),
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

    /// What whoever sends this shows, before anything of the payload is read.
    fn shown(&self, from: &Origin<'_>, headers: &HeaderMap) -> Option<Shown> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let signed = |name: &str| header(name).and_then(signature).map(Shown::Signature);
        match from {
            Origin::Forge(hooks, _) => match hooks.shows {
                Shows::Signature(name) => signed(name),
                Shows::Secret(name) => self.knows_secret(header(name)).then_some(Shown::Secret),
            },
            Origin::Cdevents(_) => self.authorized(headers).then_some(Shown::Secret),
            // Bitbucket and Jira sign, and so does Flux.
            Origin::Hook(_) => match self.authorized(headers) {
                true => Some(Shown::Secret),
                false => signed("x-hub-signature").or_else(|| signed("x-signature")),
            },
        }
    }

    /// `Authorization: Bearer SECRET`, or the secret as a password.
    fn authorized(&self, headers: &HeaderMap) -> bool {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, shown)) = header.and_then(|value| value.split_once(' ')) else { return false };
        let shown = shown.trim();
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => self.knows_secret(Some(shown)),
            "basic" => {
                let decoded = base64::engine::general_purpose::STANDARD.decode(shown).unwrap_or_default();
                let decoded = String::from_utf8(decoded).unwrap_or_default();
                self.knows_secret(decoded.split_once(':').map(|(_, password)| password))
            }
            _ => false,
        }
    }

    fn read(
        &self,
        from: &Origin<'_>,
        id: String,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Vec<Delivery>, Unread> {
        let wrong = |wrong: Wrong| Unread::Wrong(wrong.to_string());
        match from {
            Origin::Forge(hooks, event) => {
                let sender = Sender::Forge(Known(hooks.forge));
                let reading = |project: &str| self.subscriptions.of(sender, project).reading;
                match (hooks.facts)(event, body, &reading) {
                    Ok((project, facts)) if !facts.is_empty() => {
                        Ok(vec![Delivery { id, sender, project, team: None, hook: None, facts }])
                    }
                    Ok(_) => Ok(Vec::new()),
                    Err(error) => Err(Unread::Wrong(format!("not a payload of `{event}`: {error}"))),
                }
            }
            Origin::Cdevents(mode) => {
                match cdevent(&self.subscriptions, *mode, headers, body).map_err(wrong)? {
                    Ok(delivery) => Ok(vec![delivery]),
                    Err(kind) => Err(Unread::Unused(kind)),
                }
            }
            Origin::Hook(intake) => {
                let reported = intake.read(body, OffsetDateTime::now_utc()).map_err(wrong)?;
                let several = reported.len() > 1;
                let reported = reported.into_iter().enumerate().map(|(number, reported)| {
                    let ServiceFacts { team, service, facts } = reported;
                    let id = if several { format!("{id}/{number}") } else { id.clone() };
                    let hook = Some(intake.hook.clone());
                    Delivery { id, sender: Sender::Webhook, project: service, team, hook, facts }
                });
                Ok(reported.collect())
            }
        }
    }

    /// Has it on the disk before it is answered.
    async fn keep(&self, id: &str, event: &str, deliveries: Vec<Delivery>, body: &[u8]) -> Answer {
        // What is answered with 2xx has to be readable for ever.
        let problem = |one: &Delivery| problem(one.sender, &one.project, &one.facts);
        if let Some(problem) = deliveries.iter().find_map(problem) {
            return self.refuse(id, event, problem, body);
        }
        // Its sender may want to know, in one line.
        let mut notes: Vec<String> =
            deliveries.iter().find_map(|one| counts_not(&self.subscriptions, one)).into_iter().collect();
        for one in &deliveries {
            // What can't be looked up now is no reason not to keep it.
            let unknown = tokio::task::block_in_place(|| self.maker.unknown(one)).ok().flatten();
            match unknown.map(|unknown| unknown.reported(one)) {
                // Who reported it waits, and can correct it: nothing of it has to be kept aside.
                Some(Err(mistake)) => return (StatusCode::UNPROCESSABLE_ENTITY, format!("{mistake}\n")),
                note => notes.extend(note.and_then(Result::ok)),
            }
        }
        let note: String = notes.iter().map(|note| format!("; {note}")).collect();
        let (answer, written) = oneshot::channel();
        if self.writer.send(Waiting { deliveries, answer }).await.is_err() {
            return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into());
        }
        match written.await {
            Ok(Ok(true)) => (StatusCode::ACCEPTED, format!("kept{note}\n")),
            Ok(Ok(false)) => (StatusCode::OK, format!("known already{note}\n")),
            Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("not kept: {error}\n")),
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into()),
        }
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
    maker: &Maker,
    written: &mpsc::UnboundedSender<()>,
) {
    let mut waiting = Vec::new();
    while queue.blocking_recv_many(&mut waiting, WAITING) > 0 {
        let (reported, answers): (Vec<Vec<Delivery>>, Vec<_>) =
            waiting.drain(..).map(|one| (one.deliveries, one.answer)).unzip();
        let deliveries: Vec<Delivery> = reported.iter().flatten().cloned().collect();
        match journal.append(&deliveries) {
            Ok(new) => {
                let mut of_each = new.iter();
                let is_new: Vec<bool> = reported
                    .iter()
                    .map(|deliveries| of_each.by_ref().take(deliveries.len()).any(|new| *new))
                    .collect();
                // Known from the moment on at which it is answered.
                maker.add(deliveries.into_iter().zip(&new).filter(|(_, new)| **new).map(|(one, _)| one));
                let _ = written.send(());
                for (is_new, answer) in is_new.into_iter().zip(answers) {
                    // Whoever does not wait any more will send it again.
                    let _ = answer.send(Ok(is_new));
                }
            }
            Err(error) => answers.into_iter().for_each(|answer| {
                let _ = answer.send(Err(error.to_string()));
            }),
        }
    }
}

/// Makes events of what was written, a moment after it came.
async fn make(maker: Maker, mut new: mpsc::UnboundedReceiver<()>, events: Events) -> Result<(), SourceError> {
    let mut arrived = Vec::new();
    let mut away = false;
    while new.recv_many(&mut arrived, WAITING).await > 0 {
        // What comes at the same time is written at the same time.
        if !new.is_closed() {
            tokio::time::sleep(PAUSE).await;
        }
        while new.try_recv().is_ok() {}
        arrived.clear();
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
