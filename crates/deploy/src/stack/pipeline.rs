//! One look at the whole pipeline, stage by stage, by what each tells of itself.
//! Rates are for whoever looks twice: here are only totals. Nothing that does
//! not answer is an error of the look; it is what the look finds.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use dorainfra_base::answer;
use dorainfra_base::error::reason;
use dorainfra_base::number::counted;
use dorainfra_dora::live::SHOWN;
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::JOB;
use dorainfra_prometheus::Target;
use dorainfra_prometheus::metrics_text::sum;
use dorainfra_prometheus::pushgateway::Gateway;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

/// A value that is older than this, seconds, is not live any more.
const LIVE: f64 = 60.0;

/// Where the stages are asked.
pub struct Sources<'a> {
    pub live: Live,
    /// The agent's port on loopback.
    pub agent: u16,
    pub target: &'a Target,
    /// `None`: the target's own client can't be made; why.
    pub http: Result<reqwest::Client, String>,
}

/// How live values come.
pub enum Live {
    /// Through the Pushgateway at this address.
    Pushgateway(String),
    /// From the generator, which is served there; and how, in words.
    Generator(SocketAddr, &'static str),
}

/// How a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Good,
    /// It runs, and something is wrong or late.
    Trouble,
    /// It does not answer.
    Down,
    /// It is no part of this pipeline.
    None,
}

/// A stage as one look finds it. What it does not tell, is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Stage {
    pub name: &'static str,
    pub health: Health,
    /// How many `unit` have passed since its start.
    #[serde(serialize_with = "whole")]
    #[schemars(with = "Option<u64>")]
    pub total: Option<f64>,
    pub unit: &'static str,
    /// Seconds behind.
    pub lag: Option<f64>,
    /// How many `unit` wait.
    #[serde(serialize_with = "whole")]
    #[schemars(with = "Option<u64>")]
    pub queue: Option<f64>,
    pub detail: String,
    pub error: Option<String>,
}

/// Metrics are floating-point numbers; a count is none.
fn whole<S: Serializer>(count: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    count.map(|count| count.round().max(0.0) as u64).serialize(to)
}

impl Stage {
    /// A stage that tells nothing yet.
    pub fn new(name: &'static str, unit: &'static str) -> Self {
        Self {
            name,
            health: Health::Good,
            total: None,
            unit,
            lag: None,
            queue: None,
            detail: String::new(),
            error: None,
        }
    }

    pub fn down(self, error: impl Into<String>) -> Self {
        Self { health: Health::Down, error: Some(error.into()), ..self }
    }
}

/// Generator, Pushgateway, agent and engine, in this order. `now`: Unix seconds.
pub async fn look(sources: &Sources<'_>, now: f64) -> Vec<Stage> {
    let live = async {
        match &sources.live {
            Live::Pushgateway(url) => pushed(url, now).await,
            Live::Generator(address, how) => served(*address, how, now).await,
        }
    };
    let (live, agent, engine) = tokio::join!(live, agent(sources), engine(sources));
    let [generator, gateway] = live;
    vec![generator, gateway, agent, engine]
}

/// The generator is seen by what it has pushed.
async fn pushed(url: &str, now: f64) -> [Stage; 2] {
    let generator = Stage::new("generator", "pushes");
    let gateway = Stage::new("Pushgateway", "pushes");
    let client = match Gateway::new(url) {
        Ok(client) => client,
        Err(error) => {
            let error = error.to_string();
            return [generator.down("the Pushgateway can't be asked"), gateway.down(error)];
        }
    };
    let address = format!("{url}/metrics");
    let (groups, metrics) = tokio::join!(client.groups(), plain(&address));
    let (groups, metrics) = match (groups, metrics) {
        (Ok(groups), Ok(metrics)) => (groups, metrics),
        (Err(_), Err(error)) | (Ok(_), Err(error)) => {
            return [generator.down("the Pushgateway does not answer"), gateway.down(error)];
        }
        (Err(error), Ok(_)) => {
            return [generator.down("the Pushgateway does not answer"), gateway.down(error.to_string())];
        }
    };
    // The oldest of the newest: a team that is not pushed any more is seen.
    let of_us = groups.iter().filter(|group| group.labels.get("job").is_some_and(|job| job == JOB));
    let (teams, itself): (Vec<_>, Vec<_>) = of_us.partition(|group| group.labels.contains_key("team"));
    // Without a team, there is the generator's own.
    let ours = if teams.is_empty() { itself } else { teams.clone() };
    let ours: Vec<f64> = ours.iter().filter_map(|group| group.pushed).collect();
    let pushes = sum(&metrics, "pushgateway_http_push_duration_seconds_count");
    let lag = ours.iter().copied().reduce(f64::min).map(|oldest| (now - oldest).max(0.0));
    let generator = Stage {
        total: pushes,
        lag,
        health: match lag {
            Some(lag) if lag <= LIVE => Health::Good,
            Some(_) => Health::Trouble,
            None => Health::Down,
        },
        detail: counted(teams.len() as u64, "team"),
        error: match lag {
            None => Some("nothing was pushed yet".into()),
            Some(lag) if lag > LIVE => Some(format!("a team was not pushed for {lag:.0} s")),
            Some(_) => None,
        },
        ..generator
    };
    let gateway = Stage { total: pushes, detail: format!("{} groups", groups.len()), ..gateway };
    [generator, gateway]
}

/// The generator is seen by what it serves; there is no Pushgateway.
async fn served(address: SocketAddr, how: &str, now: f64) -> [Stage; 2] {
    let generator = Stage::new("generator", "rounds");
    let gateway = Stage {
        health: Health::None,
        detail: format!("none: values are {how}"),
        ..Stage::new("Pushgateway", "pushes")
    };
    let metrics = match plain(&format!("http://{address}/metrics")).await {
        Ok(metrics) => metrics,
        Err(error) => return [generator.down(error), gateway],
    };
    let lag = sum(&metrics, SHOWN).map(|shown| (now - shown).max(0.0));
    let late = lag.filter(|lag| *lag > LIVE);
    let generator = Stage {
        lag,
        health: if late.is_some() { Health::Trouble } else { Health::Good },
        detail: how.to_owned(),
        error: late.map(|lag| format!("nothing was counted for {lag:.0} s")),
        ..generator
    };
    [generator, gateway]
}

async fn agent(sources: &Sources<'_>) -> Stage {
    let stage = Stage::new("agent", "samples");
    let metrics = match plain(&format!("http://127.0.0.1:{}/metrics", sources.agent)).await {
        Ok(metrics) => metrics,
        Err(error) => return stage.down(error),
    };
    let told = super::native::RemoteWrite::read(&metrics);
    let trouble = told.failed > 0 || told.lag_seconds > LIVE;
    Stage {
        total: Some(told.sent as f64),
        lag: Some(told.lag_seconds),
        queue: Some(told.pending as f64),
        health: if trouble { Health::Trouble } else { Health::Good },
        detail: format!("{} tried again", told.retried),
        error: (told.failed > 0).then(|| format!("{} samples given up", told.failed)),
        ..stage
    }
}

async fn engine(sources: &Sources<'_>) -> Stage {
    let name = match sources.target.flavour {
        Flavour::Mimir => "Mimir",
        Flavour::StandIn => "Prometheus",
    };
    let stage = Stage::new(name, "samples");
    let http = match &sources.http {
        Ok(http) => http,
        Err(error) => return stage.down(error.clone()),
    };
    let metrics = match get(http, &sources.target.metrics_url()).await {
        Ok(metrics) => metrics,
        Err(error) => return stage.down(error),
    };
    let of = |mimir: &str, stand_in: &str| match sources.target.flavour {
        Flavour::Mimir => sum(&metrics, mimir),
        Flavour::StandIn => sum(&metrics, stand_in),
    };
    let discarded = sum(&metrics, "cortex_discarded_samples_total").unwrap_or_default();
    let series = of("cortex_ingester_memory_series", "prometheus_tsdb_head_series").unwrap_or_default();
    Stage {
        total: of("cortex_distributor_received_samples_total", "prometheus_tsdb_head_samples_appended_total"),
        detail: format!("{series:.0} series"),
        health: if discarded > 0.0 { Health::Trouble } else { Health::Good },
        error: (discarded > 0.0).then(|| format!("{discarded:.0} samples refused")),
        ..stage
    }
}

/// From this machine, without TLS.
async fn plain(url: &str) -> Result<String, String> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
    get(&client.map_err(|error| reason(&error))?, url).await
}

async fn get(http: &reqwest::Client, url: &str) -> Result<String, String> {
    let response = http.get(url).timeout(Duration::from_secs(5)).send().await;
    let response = response.and_then(reqwest::Response::error_for_status).map_err(|error| reason(&error))?;
    answer::text(response).await.map_err(|error| error.to_string())
}

/// The last line of a log that tells of an error or a warning, in its words.
pub fn last_error(log: &str) -> Option<String> {
    let bad = |line: &&str| {
        line.contains("level=error") || line.contains("level=warn") || line.starts_with("error:")
    };
    let line = log.lines().rev().find(bad)?;
    let field = |name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}="))?;
        Some(match rest.strip_prefix('"') {
            Some(quoted) => {
                quoted.split("\" ").next().unwrap_or(quoted).trim_end_matches('"').replace("\\\"", "\"")
            }
            None => rest.split(' ').next().unwrap_or(rest).to_owned(),
        })
    };
    match (field("msg"), field("err")) {
        (Some(message), Some(error)) => Some(format!("{message}: {error}")),
        (Some(message), None) | (None, Some(message)) => Some(message),
        (None, None) => Some(line.to_owned()),
    }
}

/// By the stage's name: the last error of each log.
pub type LastErrors = BTreeMap<&'static str, String>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_its_last_error() {
        let log = "ts=1 level=error msg=\"first\"\n\
                   ts=2 caller=x level=warn component=remote msg=\"Failed to send batch, retrying\" err=\"Post \\\"https://m/push\\\": refused\"\n\
                   ts=3 level=info msg=fine\n";
        assert_eq!(
            last_error(log).as_deref(),
            Some("Failed to send batch, retrying: Post \"https://m/push\": refused")
        );
        assert_eq!(last_error("level=info msg=fine\n"), None);
    }

    #[tokio::test]
    async fn what_does_not_answer_is_down_and_says_why() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = ([127, 0, 0, 1], port).into();
        let target = Target::new(Flavour::Mimir, format!("http://127.0.0.1:{port}"), address);
        let sources = Sources {
            live: Live::Pushgateway(format!("http://127.0.0.1:{port}")),
            agent: port,
            http: target.http_client().map_err(|error| error.to_string()),
            target: &target,
        };
        let stages = look(&sources, 0.0).await;
        assert_eq!(
            stages.iter().map(|stage| stage.name).collect::<Vec<_>>(),
            ["generator", "Pushgateway", "agent", "Mimir"]
        );
        assert!(
            stages.iter().all(|stage| stage.health == Health::Down && stage.error.is_some()),
            "{stages:?}"
        );
    }
}
