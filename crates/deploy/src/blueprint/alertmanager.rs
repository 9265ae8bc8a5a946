//! The configuration of Mimir's alertmanager: the user's own, and the way of the alert
//! `Watchdog` to a dead man's switch outside. Both have secrets in them: nothing of them is
//! rendered, and no error quotes them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Files with secrets in them: nothing of them is rendered, shown or kept but the digest
/// of what is made of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Private {
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// The user's own configuration.
    pub path: Option<PathBuf>,
    /// A file with the URL of a dead man's switch.
    #[serde(default)]
    pub watchdog: Option<PathBuf>,
}

/// Why there is no configuration; of the files only where it is wrong in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertmanagerError {
    #[error("is not YAML: line {0}")]
    NotYaml(u64),
    #[error("has no `{0}`")]
    Missing(&'static str),
    #[error("holds no URL: one line that begins with https:// or http://")]
    NoUrl,
}

const WATCHDOG: &str = "dorainfra-watchdog";

/// The text that Mimir gets; the user's own as it is where there is no watchdog.
///
/// # Errors
/// Of `own` ([`AlertmanagerError::NoUrl`]: of `watchdog`).
pub fn alertmanager_config(own: Option<&str>, watchdog: Option<&str>) -> Result<String, AlertmanagerError> {
    let options = serde_saphyr::options! { strict_booleans: true };
    let mut document = match own {
        Some(text) => serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            AlertmanagerError::NotYaml(error.without_snippet().location().map_or(1, |place| place.line()))
        })?,
        None => json!({"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}),
    };
    for key in ["route", "receivers"] {
        if document.get(key).is_none() {
            return Err(AlertmanagerError::Missing(key));
        }
    }
    let Some(url) = watchdog.map(str::trim) else { return Ok(own.unwrap_or_default().to_owned()) };
    let is_url =
        ["https://", "http://"].iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme));
    if !is_url || url.contains(char::is_whitespace) {
        return Err(AlertmanagerError::NoUrl);
    }
    // First, so that nobody else's route takes it.
    let way = json!({
        "receiver": WATCHDOG,
        "matchers": ["alertname=\"Watchdog\""],
        "group_by": ["alertname"],
        "group_wait": "0s",
        "group_interval": "1m",
        // Less than the interval: else every other one is left out as too early.
        "repeat_interval": "50s",
    });
    // Nobody is told that it is over: it is never meant to be.
    let receiver = json!({
        "name": WATCHDOG,
        "webhook_configs": [{"url": url, "send_resolved": false}],
    });
    let put = |list: &mut Value, at_end: bool, item: Value| {
        if !list.is_array() {
            *list = json!([]);
        }
        if let Some(list) = list.as_array_mut() {
            list.insert(if at_end { list.len() } else { 0 }, item);
        }
    };
    if !document["route"].is_object() {
        return Err(AlertmanagerError::Missing("route"));
    }
    put(&mut document["route"]["routes"], false, way);
    put(&mut document["receivers"], true, receiver);
    Ok(document.to_string())
}

/// As the manifest names it.
pub fn alertmanager_digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "# mine\nroute:\n  receiver: pager\n  routes: [{receiver: chat, matchers: [severity=warning]}]\n\
                       receivers: [{name: pager}, {name: chat}]\n";

    #[test]
    fn without_a_watchdog_the_users_own_text_is_kept() {
        assert_eq!(alertmanager_config(Some(OWN), None).unwrap(), OWN);
    }

    #[test]
    fn the_watchdogs_route_is_the_first_and_the_users_own_stay() {
        let text = alertmanager_config(Some(OWN), Some(" https://switch.example/ping/4711\n")).unwrap();
        let made: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(made["route"]["receiver"], "pager");
        assert_eq!(made["route"]["routes"][0]["receiver"], made["receivers"][2]["name"]);
        assert_eq!(made["route"]["routes"][1]["receiver"], "chat");
        assert_eq!(made["receivers"][2]["webhook_configs"][0]["url"], "https://switch.example/ping/4711");
    }

    #[test]
    fn a_watchdog_alone_tells_nobody_else() {
        let text = alertmanager_config(None, Some("http://switch.example/ping")).unwrap();
        let made: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(made["receivers"][0], json!({"name": "nobody"}));
        assert_eq!(made["route"]["receiver"], "nobody");
    }

    #[test]
    fn what_is_wrong_is_told_without_a_word_of_the_files() {
        let of =
            |own: Option<&str>, url: Option<&str>| alertmanager_config(own, url).unwrap_err().to_string();
        assert_eq!(of(Some("route: [\n"), None).split(':').next(), Some("is not YAML"));
        assert_eq!(of(Some("route: {receiver: s3cret}\n"), None), "has no `receivers`");
        for url in ["", "s3cret", "https://", "https://a.example/s3cret\nhttps://b.example"] {
            let said = of(None, Some(url));
            assert!(said.starts_with("holds no URL") && !said.contains("s3cret"), "{said}");
        }
    }
}
