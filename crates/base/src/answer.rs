//! What another program answers over HTTP, within bounds: no more of a body than
//! there is use for, no answer of somebody in between (a redirection, a page of a
//! proxy or a login) taken for the one that was asked for, and no wait that somebody
//! else may choose without a limit.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, DATE, LOCATION};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::error::reason;

/// Of an answer of any API: a list, a page of metrics.
pub const LARGE: usize = 64 << 20;
/// Of a refusal: its words.
const WORDS: usize = 64 << 10;
/// The longest time to come back that is believed. Rate limits of an hour exist.
pub const LONGEST_WAIT: Duration = Duration::from_secs(2 * 60 * 60);

/// A download is on another host, which may have mirrors.
const MOST_REDIRECTS: usize = 10;

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("{}", reason(.0))]
    Lost(#[from] reqwest::Error),
    #[error("the answer is larger than {} MiB", .0 >> 20)]
    TooLarge(usize),
}

/// The body, unless it is larger than `most` bytes.
///
/// # Errors
/// The connection was lost, or there is more: it is not read any further.
pub async fn body(response: Response, most: usize) -> Result<Bytes, BodyError> {
    if response.content_length().is_some_and(|length| length > most as u64) {
        return Err(BodyError::TooLarge(most));
    }
    let mut body = BytesMut::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if chunk.len() > most.saturating_sub(body.len()) {
            return Err(BodyError::TooLarge(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The body as text, up to [`LARGE`].
///
/// # Errors
/// As of [`body`].
pub async fn text(response: Response) -> Result<String, BodyError> {
    let body = body(response, LARGE).await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The beginning of a refusal, for people; empty where it is lost.
pub async fn words(response: Response, characters: usize) -> String {
    let mut text = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        text.extend_from_slice(&chunk);
        if text.len() >= WORDS {
            break;
        }
    }
    String::from_utf8_lossy(&text).trim().chars().take(characters).collect()
}

/// What shows that an answer is not of the program that was asked: it sends somebody
/// elsewhere, or is a page for people.
pub fn of_somebody_else(response: &Response) -> Option<String> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    if response.status().is_redirection() {
        let place = header(LOCATION).unwrap_or("elsewhere");
        let place: String = place.split(['?', '#']).next().unwrap_or_default().chars().take(200).collect();
        return Some(format!("it redirects to {place}"));
    }
    let kind = header(CONTENT_TYPE).unwrap_or_default();
    kind.trim_start()
        .to_ascii_lowercase()
        .starts_with("text/html")
        .then(|| "it answers with a web page".into())
}

/// The time by the answering server's clock, in whole seconds; `None`: it told none.
pub fn time_there(response: &Response) -> Option<OffsetDateTime> {
    let told = response.headers().get(DATE)?.to_str().ok()?;
    OffsetDateTime::parse(told, &Rfc2822).ok()
}

/// Seconds that the answering server's clock is ahead of this one's (negative: behind).
pub fn clock_ahead(response: &Response) -> Option<i64> {
    Some(time_there(response)?.unix_timestamp().saturating_sub(OffsetDateTime::now_utc().unix_timestamp()))
}

/// Whole seconds to come back after, as they were told.
pub fn seconds(told: u64) -> Duration {
    Duration::from_secs(told).min(LONGEST_WAIT)
}

/// How far a download or a forge's API is followed: never from https to where anybody in
/// between can answer.
pub fn redirects() -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(|attempt| {
        let encrypted = attempt.previous().iter().any(|from| from.scheme() == "https");
        if encrypted && attempt.url().scheme() != "https" {
            return attempt.error("it redirects from https to http, where anybody in between can answer");
        }
        match attempt.previous().len() > MOST_REDIRECTS {
            true => attempt.error("it redirects again and again"),
            false => attempt.follow(),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::sync::Arc;

    use axum::Router;
    use axum::body::Body;
    use axum::response::{Html, Redirect};
    use axum::routing::get;

    use super::*;

    async fn server() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let endless = || async {
            let chunks =
                futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 8192])));
            Body::from_stream(chunks)
        };
        let app = Router::new()
            .route("/endless", get(endless))
            .route("/page", get(|| async { Html("<h1>log in</h1>") }))
            .route("/moved", get(|| async { Redirect::temporary("https://login.example/?token=secret") }))
            .route("/past", get(|| async { [(DATE, "Sun, 06 Nov 1994 08:49:37 GMT")] }))
            .route("/short", get(|| async { "12345" }));
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    async fn asked(url: &str, path: &str) -> Response {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        http.build().unwrap().get(format!("{url}{path}")).send().await.unwrap()
    }

    #[tokio::test]
    async fn no_more_is_read_than_there_is_use_for() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = server().await;
        assert!(matches!(body(asked(&url, "/endless").await, 1 << 20).await, Err(BodyError::TooLarge(_))));
        assert!(matches!(body(asked(&url, "/short").await, 4).await, Err(BodyError::TooLarge(4))));
        assert_eq!(body(asked(&url, "/short").await, 5).await.unwrap(), "12345");
        assert_eq!(words(asked(&url, "/endless").await, 10).await, "x".repeat(10));
    }

    #[tokio::test]
    async fn an_answer_of_somebody_in_between_is_told_without_its_secrets() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = server().await;
        let moved = of_somebody_else(&asked(&url, "/moved").await);
        assert_eq!(moved.as_deref(), Some("it redirects to https://login.example/"));
        let page = of_somebody_else(&asked(&url, "/page").await);
        assert_eq!(page.as_deref(), Some("it answers with a web page"));
        assert_eq!(of_somebody_else(&asked(&url, "/short").await), None);
    }

    #[tokio::test]
    async fn the_servers_clock_is_compared_with_ours() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = server().await;
        assert!(clock_ahead(&asked(&url, "/short").await).unwrap().abs() <= 2, "the same machine");
        assert!(clock_ahead(&asked(&url, "/past").await).unwrap() < -900_000_000);
    }

    /// Answers each connection with a redirection to there, over TLS, and its certificate.
    fn redirects_by_tls(to: String) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Arc::new(config);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let server = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::StreamOwned::new(server, stream);
                let _ = stream.read(&mut [0; 4096]);
                let answer = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        (format!("https://localhost:{port}"), made.cert.pem())
    }

    #[tokio::test]
    async fn no_download_is_followed_from_https_to_http() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plain = server().await;
        let client = |certificates: &[&str]| {
            let builder = reqwest::Client::builder().no_proxy().redirect(redirects());
            let trusted =
                certificates.iter().map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()).unwrap());
            trusted.fold(builder, reqwest::ClientBuilder::add_root_certificate).build().unwrap()
        };
        let (first, certificate) = redirects_by_tls(format!("{plain}/short"));
        let refused = client(&[&certificate]).get(&first).send().await.unwrap_err();
        assert!(reason(&refused).contains("from https to http"), "{}", reason(&refused));
        // Over a second host, which is encrypted, too.
        let (second, other) = redirects_by_tls(first);
        let refused = client(&[&certificate, &other]).get(second).send().await.unwrap_err();
        assert!(reason(&refused).contains("from https to http"), "{}", reason(&refused));
        // What was never encrypted may go on as it was: a mirror on loopback.
        let followed = client(&[]).get(format!("{plain}/short")).send().await.unwrap();
        assert_eq!(body(followed, 5).await.unwrap(), "12345");
    }

    #[test]
    fn a_wait_that_somebody_else_chooses_has_an_end() {
        assert_eq!(seconds(7), Duration::from_secs(7));
        assert_eq!(seconds(u64::MAX), LONGEST_WAIT);
    }
}
