//! Reading REST APIs that answer in pages: links, rate limits, tries again.
//! Which API it is, `github` and `gitlab` know.

use std::time::Duration;

use dorainfra_base::answer::{self, BodyError};
use dorainfra_base::error::Why;
use reqwest::header::{AUTHORIZATION, HeaderMap, LINK, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::SourceError;

/// How an API is reached.
#[derive(Clone)]
pub struct Access {
    pub http: reqwest::Client,
    /// Where the API is: `https://api.github.com`, `https://gitlab.com`.
    pub url: String,
    pub token: Option<String>,
    /// The longest wait for a rate limit; beyond it, [`SourceError::Limited`].
    pub patience: Duration,
    /// The first wait after a failure of the server; each next one is twice as long.
    pub backoff: Duration,
}

/// Without the token.
impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("url", &self.url).field("token", &self.token.is_some()).finish()
    }
}

/// Tries of one request, where the server fails or the answer is cut off.
const TRIES: u32 = 5;
/// What is shown of a refusal.
const SHOWN: usize = 200;

/// One page of a list, and where the next one is.
pub(super) struct Page<T> {
    pub items: T,
    pub next: Option<String>,
}

impl<T> Page<Vec<T>> {
    pub fn map<U>(self, each: impl FnMut(T) -> U) -> Page<Vec<U>> {
        Page { items: self.items.into_iter().map(each).collect(), next: self.next }
    }
}

/// A client of one API.
pub(super) struct Rest<'a> {
    access: &'a Access,
    base: Url,
    headers: Headers,
}

/// What an API wants to be asked with.
pub(super) type Headers = &'static [(&'static str, &'static str)];

/// What to do after a try.
enum Outcome<T> {
    Done(T),
    /// Wait, and try again.
    Again(Duration, SourceError),
    Failed(SourceError),
}

impl<'a> Rest<'a> {
    /// `below` is the API's path on the server: `api/v4`.
    pub fn new(access: &'a Access, below: &str, headers: Headers) -> Result<Self, SourceError> {
        let address = |message: Why| SourceError::Address { url: access.url.clone(), message };
        let whole = format!("{}/{below}", access.url.trim_end_matches('/'));
        let base = Url::parse(&whole).map_err(|error| address(Why::of(error)))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(address("it begins with neither https:// nor http://".into()));
        }
        Ok(Self { access, base, headers })
    }

    /// The address of a path below the API's, with a query.
    pub fn url(&self, path: &str, query: &[(&str, &str)]) -> String {
        let mut url = self.base.clone();
        let whole = format!("{}/{path}", url.path().trim_end_matches('/'));
        url.set_path(&whole);
        url.query_pairs_mut().extend_pairs(query);
        url.into()
    }

    /// One page. Waits for rate limits and tries again what may pass.
    pub async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<Page<T>, SourceError> {
        self.ask(url, None).await
    }

    /// What a GraphQL query answers, in the same way. It changes nothing, so it may be sent again.
    pub async fn query<T: DeserializeOwned>(&self, query: &Value) -> Result<T, SourceError> {
        let mut url = self.base.clone();
        let path = url.path().trim_end_matches('/');
        // GitHub Enterprise Server has both APIs below one path.
        let path = format!("{}/graphql", path.strip_suffix("/v3").unwrap_or(path));
        url.set_path(&path);
        Ok(self.ask(url.as_str(), Some(query)).await?.items)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        url: &str,
        query: Option<&Value>,
    ) -> Result<Page<T>, SourceError> {
        let mut failures = 0;
        let mut waited = Duration::ZERO;
        loop {
            match self.attempt(url, query, failures).await {
                Outcome::Done(page) => return Ok(page),
                Outcome::Failed(error) => return Err(error),
                // REST has a limit of its own, and is asked instead.
                Outcome::Again(_, error @ SourceError::Limited { .. }) if query.is_some() => {
                    return Err(error);
                }
                Outcome::Again(wait, error @ SourceError::Limited { .. }) => {
                    waited = waited.saturating_add(wait);
                    if waited > self.access.patience {
                        return Err(error);
                    }
                    tokio::time::sleep(wait).await;
                }
                Outcome::Again(wait, error) => {
                    failures += 1;
                    if failures == TRIES {
                        return Err(error);
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        url: &str,
        query: Option<&Value>,
        failures: u32,
    ) -> Outcome<Page<T>> {
        let backoff = self.access.backoff * 2u32.pow(failures);
        let shown = || url.split('?').next().unwrap_or(url).to_owned();
        let unreachable = |error: reqwest::Error| SourceError::Unreachable {
            url: shown(),
            message: with_causes(error.without_url()),
        };
        let mut request = match query {
            Some(query) => self.access.http.post(url).json(query),
            None => self.access.http.get(url),
        };
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.access.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_builder() => return Outcome::Failed(unreachable(error)),
            Err(error) => return Outcome::Again(backoff, unreachable(error)),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let body = match answer::body(response, answer::LARGE).await {
            Ok(body) => body,
            Err(BodyError::Lost(error)) => return Outcome::Again(backoff, unreachable(error)),
            Err(error @ BodyError::TooLarge(_)) => {
                return Outcome::Failed(SourceError::Unreadable { url: shown(), message: Why::of(error) });
            }
        };
        if status.is_success() && !(query.is_some() && is_limit(&body)) {
            // A body that ends too early is no list: it is asked for again.
            return match serde_json::from_slice(&body) {
                Ok(items) => match self.next(&headers) {
                    Ok(next) => Outcome::Done(Page { items, next }),
                    Err(error) => Outcome::Failed(error),
                },
                Err(error) => {
                    Outcome::Again(backoff, SourceError::Unreadable { url: shown(), message: Why::of(error) })
                }
            };
        }
        // A query that is over the limit may be answered with 200.
        let status = if status.is_success() { StatusCode::TOO_MANY_REQUESTS } else { status };
        if let Some(wait) = limited(status, &headers, &message(&body), OffsetDateTime::now_utc()) {
            let until = OffsetDateTime::now_utc() + wait;
            let has_token = self.access.token.is_some();
            return Outcome::Again(wait, SourceError::Limited { url: shown(), until, has_token });
        }
        let refused = SourceError::Refused { url: shown(), status: status.as_u16(), message: message(&body) };
        if status.is_server_error() { Outcome::Again(backoff, refused) } else { Outcome::Failed(refused) }
    }

    /// The next page, where there is one. A token goes to the API's own server
    /// and to no other.
    fn next(&self, headers: &HeaderMap) -> Result<Option<String>, SourceError> {
        let Some(next) =
            headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok()).find_map(next_link)
        else {
            return Ok(None);
        };
        match Url::parse(next) {
            Ok(url) if url.origin() == self.base.origin() => Ok(Some(next.to_owned())),
            _ => Err(SourceError::Unreadable {
                url: self.base.to_string(),
                message: format!("its next page is on another server: {next}").into(),
            }),
        }
    }
}

/// `<https://…?page=2>; rel="next", <…>; rel="last"`
fn next_link(header: &str) -> Option<&str> {
    header.split(',').find_map(|link| {
        let (url, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let parameter = parameter.trim();
            parameter == "rel=\"next\"" || parameter == "rel=next"
        });
        is_next.then_some(url)
    })
}

/// How long a rate limit lasts; `None`: it is none. GitHub answers 403 or 429,
/// GitLab 429; both say when to come back. GitHub's secondary limits may say it in words alone:
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>.
fn limited(status: StatusCode, headers: &HeaderMap, message: &str, now: OffsetDateTime) -> Option<Duration> {
    if !matches!(status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) {
        return None;
    }
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    if let Some(seconds) = number(RETRY_AFTER.as_str()) {
        return Some(answer::seconds(seconds));
    }
    // RFC 9110 allows a date as well.
    let date =
        headers.get(RETRY_AFTER).and_then(|value| OffsetDateTime::parse(value.to_str().ok()?, &Rfc2822).ok());
    if let Some(date) = date {
        let left = u64::try_from(date.unix_timestamp().saturating_sub(now.unix_timestamp())).unwrap_or(0);
        return Some(answer::seconds(left.saturating_add(1)));
    }
    let exhausted =
        ["x-ratelimit-remaining", "ratelimit-remaining"].iter().any(|name| number(name) == Some(0));
    let reset = number("x-ratelimit-reset").or_else(|| number("ratelimit-reset"));
    match (exhausted, reset) {
        (true, Some(reset)) => {
            let now = u64::try_from(now.unix_timestamp()).unwrap_or(0);
            // A clock that differs by a second would be too early.
            Some(answer::seconds(reset.saturating_sub(now).saturating_add(1)))
        }
        // A limit that does not say for how long, or a refusal for another reason.
        _ => {
            let said = message.to_ascii_lowercase();
            let secondary = said.contains("secondary rate limit") || said.contains("abuse detection");
            (exhausted || secondary || status == StatusCode::TOO_MANY_REQUESTS)
                .then_some(Duration::from_secs(60))
        }
    }
}

/// Whether a GraphQL answer is that the limit is reached.
/// <https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api>
fn is_limit(body: &[u8]) -> bool {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let errors = parsed.as_ref().and_then(|value| value["errors"].as_array());
    errors.into_iter().flatten().any(|error| {
        let said = error["message"].as_str().unwrap_or_default().to_ascii_lowercase();
        error["type"] == "RATE_LIMITED" || said.contains("secondary rate limit")
    })
}

/// What an API says why: GitHub's and GitLab's `message`, else the text.
fn message(body: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let said = parsed.as_ref().and_then(|value| value["message"].as_str().or(value["error"].as_str()));
    let text = said.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    text.chars().take(SHOWN).collect()
}

fn with_causes(error: reqwest::Error) -> Why {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    Why::said(text, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn the_next_page_is_found_among_the_links() {
        let github = r#"<https://api.github.com/r/1/issues?page=1>; rel="prev", <https://api.github.com/r/1/issues?page=3>; rel="next""#;
        assert_eq!(next_link(github), Some("https://api.github.com/r/1/issues?page=3"));
        assert_eq!(next_link(r#"<https://api.github.com/x?page=1>; rel="first""#), None);
    }

    #[test]
    fn limits_say_how_long_they_last() {
        let headers = |pairs: &[(&'static str, &str)]| {
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
        };
        let now = datetime!(2026-03-02 12:00 UTC);
        let reset = (now.unix_timestamp() + 30).to_string();
        let date = now.format(&Rfc2822).unwrap();
        for (status, pairs, expected) in [
            (429, vec![("retry-after", date.as_str())], Some(1)),
            (403, vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset.as_str())], Some(31)),
            (403, vec![("retry-after", "7")], Some(7)),
            (403, vec![("x-ratelimit-remaining", "11")], None),
            (403, vec![("x-ratelimit-remaining", "0")], Some(60)),
            (429, vec![("ratelimit-remaining", "0"), ("ratelimit-reset", reset.as_str())], Some(31)),
            (429, vec![], Some(60)),
            (404, vec![("retry-after", "7")], None),
            (429, vec![("retry-after", "18446744073709551615")], Some(7200)),
            (
                403,
                vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "18446744073709551615")],
                Some(7200),
            ),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let found = limited(status, &headers(&pairs), "No.", now).map(|wait| wait.as_secs());
            assert_eq!(found, expected, "{status} {pairs:?}");
        }
        // Requests are left, and the limit is another one.
        let left = headers(&[("x-ratelimit-remaining", "4990")]);
        for (said, expected) in [
            ("You have exceeded a secondary rate limit. Please wait a few minutes.", Some(60)),
            ("You have triggered an abuse detection mechanism.", Some(60)),
            ("Resource not accessible by personal access token", None),
        ] {
            let found = limited(StatusCode::FORBIDDEN, &left, said, now).map(|wait| wait.as_secs());
            assert_eq!(found, expected, "{said}");
        }
    }
}
