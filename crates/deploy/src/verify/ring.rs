//! Who is in the ingesters' ring, in the engine's own words.

use dorainfra_base::answer;
use dorainfra_base::error::Why;
use dorainfra_prometheus::{Target, tls_failure};
use reqwest::header::ACCEPT;
use serde::Deserialize;

use super::QueryError;

/// One ingester. Each replica runs one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RingMember {
    pub id: String,
    /// `ACTIVE`, `LEAVING`, `JOINING`, `UNHEALTHY`, …
    pub state: String,
    /// `host:port`
    #[serde(default)]
    pub address: String,
    /// When it was heard of last.
    #[serde(rename = "timestamp", default)]
    pub heard: String,
    #[serde(default)]
    pub zone: String,
}

#[derive(Deserialize)]
struct Page {
    /// `null` while nobody has joined.
    shards: Option<Vec<RingMember>>,
}

/// Asks whichever replica answers, and sorts by name.
///
/// # Errors
/// Nobody answers, or not with a ring.
pub async fn ring(target: &Target) -> Result<Vec<RingMember>, QueryError> {
    let http = target.http_client().map_err(|error| QueryError::Unreachable(Why::of(error)))?;
    let url = format!("{}/ingester/ring", target.base_url.trim_end_matches('/'));
    let response = http.get(url).header(ACCEPT, "application/json").send().await;
    let response = response.map_err(|error| match tls_failure(&error) {
        Some(tls) => QueryError::Tls(Why::said(tls, error)),
        None => QueryError::Unreachable(Why::reason(error)),
    })?;
    let status = response.status();
    let body = answer::body(response, answer::LARGE)
        .await
        .map_err(|error| QueryError::Unreachable(Why::of(error)))?;
    if !status.is_success() {
        let message = String::from_utf8_lossy(&body).trim().to_owned();
        return Err(QueryError::Refused { status: status.as_u16(), message });
    }
    members(&body).map_err(|error| QueryError::Unreadable(Why::of(error)))
}

fn members(body: &[u8]) -> Result<Vec<RingMember>, serde_json::Error> {
    let page: Page = serde_json::from_slice(body)?;
    let mut members = page.shards.unwrap_or_default();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Mimir 3.0.4 answers, its tokens shortened.
    #[test]
    fn the_members_of_a_ring() {
        let page = br#"{"shards":[
            {"id":"m-2","state":"UNHEALTHY","address":"10.0.0.3:9095","timestamp":"2026-01-02T03:04:05Z",
             "registered_timestamp":"2026-01-02T03:00:00Z","zone":"europe-west1-c","tokens":[1],"num_tokens":1},
            {"id":"m","state":"ACTIVE","address":"10.0.0.2:9095","timestamp":"2026-01-02T03:04:15Z",
             "registered_timestamp":"2026-01-02T03:00:00Z","zone":"europe-west1-b","tokens":[2],"num_tokens":1}
        ],"now":"2026-01-02T03:04:16Z"}"#;
        let members = members(page).unwrap();
        let told: Vec<(&str, &str, &str)> =
            members.iter().map(|one| (&*one.id, &*one.state, &*one.zone)).collect();
        assert_eq!(told, [("m", "ACTIVE", "europe-west1-b"), ("m-2", "UNHEALTHY", "europe-west1-c")]);
        assert_eq!(super::members(br#"{"shards":null,"now":"2026-01-02T03:04:16Z"}"#).unwrap(), []);
        assert!(super::members(b"<html>").is_err());
    }
}
