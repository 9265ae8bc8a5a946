//! This machine's address on the internet, which `access.allow: [caller]` stands for.
//!
//! Only what writes the firewall's rule asks for it, of services that are data
//! (`access.caller_services`): such services come and go. Whoever only uses the
//! deployment goes by what was found last, or by the rule that is in the cloud.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use dorainfra_base::error::reason;
use dorainfra_base::{answer, file};
use dorainfra_config::{self as config, Config};
use dorainfra_gcp::{Api, Call, Client};
use dorainfra_model::Events;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};

use super::error::{Error, NAME_CALLER, Result};
use super::project::Project;
use super::workspace::Workspace;
use crate::blueprint::Names;

/// How long one service may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The next service is asked, too, where the one before takes longer than this.
const HEAD_START: Duration = Duration::from_secs(1);
/// The longest answer: an address and a line end.
const LONGEST: usize = 64;
/// What stands for an address that nobody has to know: one for documentation.
pub const NOBODY: &str = "192.0.2.1/32";

/// Whether the configuration means this machine at all.
pub fn is_wanted(config: &Config) -> bool {
    config.access.external && config.access.allow.iter().any(|entry| entry == config::CALLER)
}

/// The address as a network, found out now. Where no service says it, the one that
/// was found last.
///
/// # Errors
/// Nobody says it, and nothing is remembered.
pub async fn found(workspace: &Workspace, project: &Project, events: &Events) -> Result<String> {
    let services = match &project.cloud.sandbox {
        Some(sandbox) => sandbox.caller_services.clone(),
        None => project.config.access.caller_services.clone(),
    };
    let remembered = remembered(workspace, &project.config);
    let here = project.cloud.is_here();
    let answers = ask(&services, &|address| here || is_global(address)).await;
    match answers {
        Ok(address) => {
            let found = format!("{address}/32");
            if let Some(before) = remembered.filter(|before| *before != found) {
                events.note(format!(
                    "your address has changed: {} → {address}; `apply` lets you in",
                    before.trim_end_matches("/32")
                ));
            }
            Ok(found)
        }
        Err(reasons) => {
            let reasons = reasons.join("; ");
            match remembered {
                Some(before) => {
                    events.warn(
                        format!(
                            "no service could tell this machine's address ({reasons}): continuing with {before}, as remembered"
                        ),
                        Some(NAME_CALLER.into()),
                    );
                    Ok(before)
                }
                None => Err(Error::CallerUnknown { reasons }),
            }
        }
    }
}

/// The address that the deployment knows this machine by: as it was found last, or
/// what the rule in the cloud has beside the networks that are named.
pub async fn known(workspace: &Workspace, config: &Config, client: &Client) -> Result<String> {
    if let Some(address) = remembered(workspace, config) {
        return Ok(address);
    }
    let rule = Call::get(Api::Compute, format!("global/firewalls/{}", Names::of(config).firewall));
    let rule = match client.call(&rule).await {
        Ok(rule) => rule,
        // Nobody was let in yet; what else is wrong, the caller's own calls say better.
        Err(_) => Value::Null,
    };
    let named = |range: &str| config.access.allow.iter().any(|entry| entry == range);
    let ranges = rule["sourceRanges"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut others = ranges.filter(|range| range.ends_with("/32") && !named(range));
    Ok(others.next().unwrap_or(NOBODY).to_owned())
}

/// Keeps it for later. That it can't be kept stops nothing.
pub fn remember(workspace: &Workspace, config: &Config, address: &str) {
    let path = place(workspace, config);
    if let Some(folder) = path.parent()
        && workspace.make_state().is_ok()
        && std::fs::create_dir_all(folder).is_ok()
    {
        let text = json!({"address": address}).to_string();
        let _ = file::replace(&path, text.as_bytes(), file::Mode::Private);
    }
}

fn remembered(workspace: &Workspace, config: &Config) -> Option<String> {
    let text = std::fs::read_to_string(place(workspace, config)).ok()?;
    let address = serde_json::from_str::<Value>(&text).ok()?["address"].as_str()?.to_owned();
    address.parse::<ipnet::Ipv4Net>().is_ok().then_some(address)
}

fn place(workspace: &Workspace, config: &Config) -> std::path::PathBuf {
    workspace.state().join(&config.name).join("caller.json")
}

/// The first good answer; each further service is asked when those before have failed
/// or take their time. Else why each of them gave none.
async fn ask(services: &[String], seen: &dyn Fn(Ipv4Addr) -> bool) -> Result<Ipv4Addr, Vec<String>> {
    let client = reqwest::Client::builder()
        // The machine is reached directly, and over IPv4: neither a proxy's address nor an
        // IPv6 one would be let in.
        .no_proxy()
        .local_address(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .user_agent("curl")
        .build()
        .map_err(|error| vec![error.to_string()])?;
    let (mut asked, mut reasons) = (FuturesUnordered::new(), Vec::new());
    let mut services = services.iter();
    let mut next = services.next();
    loop {
        if let Some(url) = next.take() {
            asked.push(one(&client, url, seen));
        }
        if asked.is_empty() {
            return Err(reasons);
        }
        tokio::select! {
            Some(answer) = asked.next() => match answer {
                Ok(address) => return Ok(address),
                Err(reason) => {
                    reasons.push(reason);
                    next = services.next();
                }
            },
            () = tokio::time::sleep(HEAD_START) => next = services.next(),
        }
    }
}

/// Whether packets with it as their source arrive anywhere on the internet: what is private,
/// of a provider's translation, of this link or this machine does not, and is told by
/// whoever stands in between, as a captive portal does.
/// Source: IANA's registry of special-purpose addresses.
fn is_global(address: Ipv4Addr) -> bool {
    const ELSEWHERE: [(Ipv4Addr, u8); 5] = [
        // This network, a provider's translation (RFC 6598), protocols, benchmarks, reserved.
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(192, 0, 0, 0), 24),
        (Ipv4Addr::new(198, 18, 0, 0), 15),
        (Ipv4Addr::new(240, 0, 0, 0), 4),
    ];
    let within = |(net, bits): &(Ipv4Addr, u8)| {
        ipnet::Ipv4Net::new(*net, *bits).is_ok_and(|net| net.contains(&address))
    };
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || ELSEWHERE.iter().any(within))
}

async fn one(
    client: &reqwest::Client,
    url: &str,
    seen: &dyn Fn(Ipv4Addr) -> bool,
) -> Result<Ipv4Addr, String> {
    let wrong = |reason: String| format!("{url}: {reason}");
    let response = client.get(url).send().await.map_err(|error| wrong(reason(&error)))?;
    if let Some(reason) = answer::of_somebody_else(&response) {
        return Err(wrong(reason));
    }
    if response.status() != reqwest::StatusCode::OK {
        return Err(wrong(format!("it answered {}", response.status())));
    }
    let body = answer::body(response, LONGEST)
        .await
        .map_err(|_| wrong("it answered with more than an address".into()))?;
    let text = String::from_utf8_lossy(&body);
    match text.trim().parse() {
        Ok(IpAddr::V4(address)) if !address.is_unspecified() && seen(address) => Ok(address),
        Ok(IpAddr::V4(address)) => Err(wrong(format!("{address} is not an address that Google sees"))),
        Ok(address) => Err(wrong(format!("it answered {address}, which is not an IPv4 address"))),
        Err(_) => Err(wrong("it did not answer with an address".into())),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;

    use super::*;

    #[tokio::test]
    async fn the_first_good_answer_counts_and_each_bad_one_is_told() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let never = || async {
            std::future::pending::<()>().await;
            "203.0.113.9"
        };
        let app = Router::new()
            .route(
                "/gone",
                get(|| async { axum::response::Redirect::permanent("https://elsewhere.example/") }),
            )
            .route("/page", get(|| async { axum::response::Html("203.0.113.9") }))
            .route("/six", get(|| async { "2001:db8::7" }))
            .route("/long", get(|| async { " ".repeat(100) + "203.0.113.9" }))
            .route("/words", get(|| async { "your address is 203.0.113.9" }))
            .route("/never", get(never))
            .route("/portal", get(|| async { "10.1.2.3" }))
            .route("/public", get(|| async { "93.184.216.34" }))
            .route("/good", get(|| async { "203.0.113.7\n" }));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let services =
            |names: &[&str]| names.iter().map(|name| format!("{base}/{name}")).collect::<Vec<String>>();
        let any = |_| true;
        let bad = ["gone", "page", "six", "long", "words", "absent"];
        let reasons = ask(&services(&bad), &any).await.unwrap_err().join("\n");
        for words in
            ["redirects", "web page", "2001:db8::7", "more than an address", "with an address", "404"]
        {
            assert!(reasons.contains(words), "{words}: {reasons}");
        }
        let mixed: Vec<&str> = bad.into_iter().chain(["never", "good"]).collect();
        assert_eq!(ask(&services(&mixed), &any).await, Ok(Ipv4Addr::new(203, 0, 113, 7)));
        assert_eq!(ask(&["http://127.0.0.1:9/".to_owned()], &any).await.unwrap_err().len(), 1);
        // As a captive portal answers.
        let portal = ask(&services(&["portal"]), &is_global).await.unwrap_err().join("\n");
        assert!(portal.contains("10.1.2.3 is not an address that Google sees"), "{portal}");
        assert_eq!(
            ask(&services(&["portal", "public"]), &is_global).await,
            Ok(Ipv4Addr::new(93, 184, 216, 34)),
            "the next one is asked"
        );
    }

    #[test]
    fn an_address_that_is_seen_nowhere_else_is_nobodys_on_the_internet() {
        let global = |text: &str| is_global(text.parse().unwrap());
        for seen in ["93.184.216.34", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.32.0.1", "192.0.1.1"] {
            assert!(global(seen), "{seen}");
        }
        for unseen in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.254",
            "127.0.0.1",
            "127.90.1.2",
            "169.254.1.1",
            "172.16.0.1",
            "192.168.1.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!global(unseen), "{unseen}");
        }
    }
}
