//! For whoever scrapes: `/metrics`, in the text format or OpenMetrics, whichever
//! is asked for; `/-/ready` once there is something to be seen. It is as old as
//! the last round, which [`SHOWN`] tells.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dorainfra_base::answer;
use dorainfra_base::serve;
use dorainfra_model::Events;
use dorainfra_prometheus::JOB;
use dorainfra_prometheus::exposition::{self, Format};
use dorainfra_prometheus::metrics_text;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{LiveError, Outlet, Round, SHOWN, Summary};
use crate::metrics;

/// A server of the present values.
pub struct Served {
    address: SocketAddr,
    page: Arc<RwLock<Page>>,
    end: CancellationToken,
    server: Option<JoinHandle<()>>,
}

/// What was shown last, in both formats. Empty: nothing yet.
#[derive(Clone, Default)]
struct Page {
    text: Bytes,
    open_metrics: Bytes,
}

/// How long a health check waits for an answer.
const ANSWER: Duration = Duration::from_secs(5);

impl Served {
    /// Listens at once, so that an address that can't be had is told before
    /// anything else happens. Port 0: any, [`Served::address`] says which.
    pub async fn at(address: SocketAddr, events: &Events) -> Result<Self, LiveError> {
        let (listener, address) =
            serve::bind(address).await.map_err(|source| LiveError::Listen { address, source })?;
        let page = Arc::new(RwLock::new(Page::default()));
        let app = Router::new()
            .route("/metrics", get(metrics_page))
            .route("/-/ready", get(ready))
            .with_state(page.clone());
        let app = match address.ip().is_loopback() {
            true => app.layer(axum::middleware::from_fn(loopback_only)),
            false => app,
        };
        let end = CancellationToken::new();
        let ended = end.clone();
        let server = tokio::spawn(async move { serve::serve(listener, app, &ended).await });
        let all = match address.ip().is_loopback() {
            true => "",
            false => "; whoever reaches this address can read them",
        };
        events.note(format!("live values are at http://{address}/metrics{all}"));
        Ok(Self { address, page, end, server: Some(server) })
    }

    /// When the values served at an address were counted, Unix seconds, if
    /// anybody says so.
    pub async fn shown(address: SocketAddr) -> Option<f64> {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER).build().ok()?;
        let response = http.get(format!("http://{address}/metrics")).send().await.ok()?;
        metrics_text::sum(&answer::text(response.error_for_status().ok()?).await.ok()?, SHOWN)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What is served on loopback is read under a name of loopback, and not under one that
/// somebody's page has made point here.
async fn loopback_only(request: Request, next: Next) -> Response {
    match serve::asks_loopback(request.headers()) {
        true => next.run(request).await,
        false => (StatusCode::MISDIRECTED_REQUEST, "ask for localhost\n").into_response(),
    }
}

fn present(page: &RwLock<Page>) -> Page {
    page.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
}

async fn metrics_page(State(page): State<Arc<RwLock<Page>>>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let page = present(&page);
    let body = match format {
        Format::Text => page.text,
        Format::OpenMetrics => page.open_metrics,
    };
    if body.is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, "nothing is counted yet\n").into_response();
    }
    ([(CONTENT_TYPE, format.content_type())], body).into_response()
}

async fn ready(State(page): State<Arc<RwLock<Page>>>) -> (StatusCode, &'static str) {
    match present(&page).text.is_empty() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "nothing is counted yet\n"),
        false => (StatusCode::OK, "ready\n"),
    }
}

fn write(round: &Round<'_>, format: Format) -> Bytes {
    let mut text = metrics::text(round.teams.iter().map(|(_, live)| live), format, &[]);
    format.family(&mut text, SHOWN, "gauge", "When these values were counted, Unix seconds.");
    exposition::sample(&mut text, SHOWN, [("job", JOB)], round.at.unix_timestamp());
    format.end(&mut text);
    text.into()
}

#[async_trait]
impl Outlet for Served {
    async fn show(&mut self, round: &Round<'_>, summary: &mut Summary) -> Result<(), LiveError> {
        let page = Page { text: write(round, Format::Text), open_metrics: write(round, Format::OpenMetrics) };
        *self.page.write().unwrap_or_else(std::sync::PoisonError::into_inner) = page;
        summary.shown += round.teams.iter().count() as u64;
        Ok(())
    }

    /// Whoever scrapes sees that nobody answers, and ends the series by itself.
    async fn close(&mut self, _: &Round<'_>, _: bool) -> Result<(), LiveError> {
        self.end.cancel();
        match self.server.take() {
            Some(server) => server.await.map_err(|error| LiveError::Serve(std::io::Error::other(error))),
            None => Ok(()),
        }
    }
}
