//! The metadata server of one machine: what a VM is told about itself, its
//! tokens, and the guest attributes that it writes. As Google's: the
//! `Metadata-Flavor` header is required and given back, forwarded requests are
//! refused, directories end in `/`, and a request can wait for a change.

mod faults;
mod tree;
mod wait;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::tree::Node;
pub(super) use self::tree::mac;
use super::{Boot, World};
use crate::kernel::guard;

/// A guest attribute's value may have this many bytes.
const VALUE_LIMIT: usize = 256 << 10;
const V1: &str = "/computeMetadata/v1/";

/// A request that a metadata server has answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    pub machine: String,
    pub method: String,
    /// With its query.
    pub path: String,
    /// The client, as it names itself.
    pub agent: String,
    pub status: u16,
}

/// Which machine a metadata server answers for.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    project: String,
    zone: String,
    name: String,
    /// The driver's own notice of changed metadata.
    changes: watch::Receiver<u64>,
}

impl Subject {
    pub(super) fn new(boot: &Boot, changes: watch::Receiver<u64>) -> Self {
        Self { project: boot.project.clone(), zone: boot.zone.clone(), name: boot.name.clone(), changes }
    }
}

/// A metadata server that runs.
pub(super) struct Serving {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Serving {
    /// Serves until the end; `shutdown` is what `routes` were given.
    pub(super) fn start(listener: TcpListener, routes: Router, shutdown: CancellationToken) -> Self {
        let stop = shutdown.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = axum::serve(listener, routes) => {}
                () = stop.cancelled() => {}
            }
        });
        Self { shutdown, task }
    }

    /// Returns once its port is free for the next boot.
    pub(super) async fn end(self) {
        self.shutdown.cancel();
        let _ = self.task.await;
    }
}

struct Server {
    world: Arc<dyn World>,
    subject: Subject,
    shutdown: CancellationToken,
}

/// The routes of the metadata server. `shutdown` ends requests that wait.
pub(super) fn routes(world: Arc<dyn World>, subject: Subject, shutdown: CancellationToken) -> Router {
    let server = Arc::new(Server { world, subject, shutdown });
    Router::new().fallback(answer).layer(DefaultBodyLimit::max(VALUE_LIMIT + 1)).with_state(server)
}

/// The value of a metadata item of an instance resource.
pub(super) fn item<'a>(instance: &'a Value, key: &str) -> Option<&'a str> {
    let items = instance["metadata"]["items"].as_array()?;
    items.iter().find(|item| item["key"] == key)?["value"].as_str()
}

/// Whether a request was made on purpose and by the machine itself: it carries
/// the header, and no proxy or browser stood in between.
pub(super) fn is_from_the_machine(headers: &HeaderMap) -> bool {
    let asked = headers.get("metadata-flavor").is_some_and(|value| value == "Google")
        || headers.get("x-google-metadata-request").is_some_and(|value| value == "True");
    asked && !headers.contains_key("x-forwarded-for")
}

async fn answer(
    State(server): State<Arc<Server>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (world, name, path) = (&*server.world, &server.subject.name, uri.to_string());
    let work = server.answer(&method, &uri, &headers, &body);
    let mut response = faults::answered(world, name, method.as_str(), &path, work).await;
    server.world.asked(Asked {
        machine: server.subject.name.clone(),
        method: method.to_string(),
        path: uri.to_string(),
        agent: headers
            .get(header::USER_AGENT)
            .map_or_else(String::new, |agent| String::from_utf8_lossy(agent.as_bytes()).into_owned()),
        status: response.status().as_u16(),
    });
    response.headers_mut().insert("metadata-flavor", HeaderValue::from_static("Google"));
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static("Metadata Server for VM"));
    response
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, format!("{message}\n")).into_response()
}

fn not_found() -> Response {
    refuse(StatusCode::NOT_FOUND, "The requested URL was not found on this server.")
}

/// What the query says.
#[derive(Debug, Default)]
struct Query {
    recursive: bool,
    /// `Some(true)`: JSON.
    json: Option<bool>,
    wait: wait::Wait,
    parameters: Vec<(String, String)>,
}

impl Query {
    /// The error says what is wrong with the query.
    fn parse(uri: &Uri) -> Result<Self, String> {
        let parameters: Vec<(String, String)> = axum::extract::Query::try_from_uri(uri)
            .map(|axum::extract::Query(parameters)| parameters)
            .map_err(|error| error.to_string())?;
        let mut query = Self::default();
        for (name, value) in &parameters {
            let truth = value.eq_ignore_ascii_case("true");
            match name.as_str() {
                "recursive" => query.recursive = truth,
                "alt" if value == "json" => query.json = Some(true),
                "alt" if value == "text" => query.json = Some(false),
                "alt" => return Err("alt is json or text".into()),
                "wait_for_change" => query.wait.for_change = truth,
                "last_etag" => query.wait.last_etag = Some(value.clone()),
                "timeout_sec" => {
                    let seconds = value.parse().map_err(|_| "timeout_sec is a number of seconds")?;
                    query.wait.timeout_seconds = Some(seconds);
                }
                _ => {}
            }
        }
        query.parameters = parameters;
        Ok(query)
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Server {
    async fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Response {
        // A page's own name that points here would be of the same origin, and could send
        // the header.
        if !guard::ours(headers) {
            return refuse(StatusCode::FORBIDDEN, "Ask for metadata.google.internal.");
        }
        if headers.contains_key("x-forwarded-for") {
            return refuse(StatusCode::FORBIDDEN, "Requests with X-Forwarded-For are not accepted.");
        }
        // Clients find out by these whether there is a metadata server at all.
        match uri.path() {
            "/" => return "computeMetadata/\n".into_response(),
            "/computeMetadata" | "/computeMetadata/" => return "v1/\n".into_response(),
            _ => {}
        }
        let Some(path) = uri.path().strip_prefix(V1).or((uri.path() == "/computeMetadata/v1").then_some(""))
        else {
            return not_found();
        };
        if !is_from_the_machine(headers) {
            return refuse(StatusCode::FORBIDDEN, "Missing required header \"Metadata-Flavor\": \"Google\".");
        }
        if let Some(rest) = path.strip_prefix("instance/guest-attributes/") {
            if !self.guest_attributes_enabled() {
                return refuse(StatusCode::FORBIDDEN, "Guest attributes endpoint access is disabled.");
            }
            let Subject { project, zone, name, .. } = &self.subject;
            let served = self.world.guest_attributes_served(project, zone, name);
            if matches!(*method, Method::PUT | Method::DELETE) {
                return self.write_guest_attribute(method, rest, body, served);
            }
            if !served {
                return refuse(StatusCode::TOO_MANY_REQUESTS, "Too many queries of guest attributes.");
            }
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "Only guest attributes can be written.");
        }
        let query = match Query::parse(uri) {
            Ok(query) => query,
            Err(why) => return refuse(StatusCode::BAD_REQUEST, &why),
        };
        if let Some(response) = self.credential(path, &query) {
            return response;
        }
        self.read(path, &query).await
    }

    fn instance(&self) -> Value {
        let Subject { project, zone, name, .. } = &self.subject;
        self.world.instance(project, zone, name).unwrap_or_else(|| json!({}))
    }

    fn guest_attributes_enabled(&self) -> bool {
        item(&self.instance(), "enable-guest-attributes")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// `served`: what is not is answered as if it were.
    fn write_guest_attribute(&self, method: &Method, path: &str, body: &Bytes, served: bool) -> Response {
        let valid = |name: &str| {
            !name.is_empty()
                && name.len() <= 128
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let Some((namespace, key)) = path.split_once('/').filter(|(a, b)| valid(a) && valid(b)) else {
            return refuse(StatusCode::BAD_REQUEST, "A guest attribute is written as NAMESPACE/KEY.");
        };
        let value = if *method == Method::DELETE {
            None
        } else if body.len() > VALUE_LIMIT {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "The value is larger than 256 KiB.");
        } else {
            match String::from_utf8(body.to_vec()) {
                Ok(value) => Some(value),
                Err(_) => return refuse(StatusCode::BAD_REQUEST, "The value is not UTF-8."),
            }
        };
        let Subject { project, zone, name, .. } = &self.subject;
        if served {
            self.world.set_guest_attribute(project, zone, name, namespace, key, value);
        }
        StatusCode::OK.into_response()
    }

    /// Tokens: made for each request, so they are no part of the tree.
    fn credential(&self, path: &str, query: &Query) -> Option<Response> {
        let (account, what) = path.strip_prefix("instance/service-accounts/")?.split_once('/')?;
        if !matches!(what, "token" | "identity") {
            return None;
        }
        let instance = self.instance();
        let accounts = instance["serviceAccounts"].as_array();
        let found = accounts
            .and_then(|accounts| accounts.iter().find(|one| account == "default" || one["email"] == account));
        let Some(found) = found else { return Some(not_found()) };
        let email = found["email"].as_str().unwrap_or_default();
        if what == "identity" {
            let Some(audience) = query.parameter("audience") else {
                return Some(refuse(StatusCode::BAD_REQUEST, "non-empty audience parameter required"));
            };
            return Some(self.world.identity(email, audience).map_or_else(
                || refuse(StatusCode::NOT_IMPLEMENTED, "Identity tokens are not supported here."),
                IntoResponse::into_response,
            ));
        }
        let granted: Vec<String> = tree::strings(&found["scopes"]);
        let scopes = match query.parameter("scopes") {
            Some(scopes) if !scopes.is_empty() => scopes.split([',', ' ']).map(str::to_owned).collect(),
            _ => granted,
        };
        let Subject { zone, name, .. } = &self.subject;
        let (token, expires_in) = self.world.token(zone, name, email, &scopes);
        let body = json!({"access_token": token, "expires_in": expires_in, "token_type": "Bearer"});
        Some(axum::Json(body).into_response())
    }

    fn tree(&self) -> Node {
        let Subject { project, zone, name, .. } = &self.subject;
        let attributes = if self.guest_attributes_enabled() {
            self.world.guest_attributes(project, zone, name)
        } else {
            std::collections::BTreeMap::new()
        };
        tree::build(
            &tree::Project {
                id: project,
                number: self.world.project_number(project),
                attributes: self.world.project_attributes(project),
            },
            zone,
            name,
            &self.instance(),
            &self.world.forwarded_ips(project, zone, name),
            attributes,
        )
    }

    async fn read(&self, path: &str, query: &Query) -> Response {
        let mut world = {
            let Subject { project, zone, name, .. } = &self.subject;
            self.world.subscribe(project, zone, name)
        };
        let mut changes = self.subject.changes.clone();
        let view = || tree::View::of(&self.tree(), path, query.recursive, query.json);
        let view = wait::changed(&query.wait, view, [&mut world, &mut changes], &self.shutdown).await;
        match view {
            tree::View::Missing => not_found(),
            tree::View::Moved => {
                let query = if query.parameters.is_empty() { String::new() } else { original_query(query) };
                let place = format!("{V1}{path}/{query}");
                (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, place)]).into_response()
            }
            tree::View::Content { etag, json, body } => {
                let kind = if json { "application/json" } else { "application/text" };
                let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::ETAG, etag)];
                (headers, body).into_response()
            }
        }
    }
}

fn original_query(query: &Query) -> String {
    let pairs: Vec<String> = query.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("?{}", pairs.join("&"))
}
