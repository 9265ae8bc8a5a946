//! What runs, and how far behind the agent is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dorainfra_base::answer;
use dorainfra_prometheus::metrics_text;
use serde::Serialize;
use time::OffsetDateTime;

use super::error::StackError;
use super::part::Part;
use super::record::{self, Record};
use super::{LOG_LINES, process};

/// The stack, part by part. No parts: it was never started, or it was stopped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    pub parts: Vec<PartStatus>,
    /// From the agent's own metrics, when it answers.
    pub remote_write: Option<RemoteWrite>,
}

impl Status {
    /// Whether all parts run: the generator is started last.
    pub fn running(&self) -> bool {
        self.parts.iter().any(|status| status.part == Part::Generator)
            && self.parts.iter().all(|status| status.state == PartState::Running)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartState {
    Running,
    /// It was started and runs no more, though nobody stopped it.
    Died,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartStatus {
    pub part: Part,
    pub state: PartState,
    pub pid: Option<i32>,
    pub uptime_seconds: Option<u64>,
    /// `127.0.0.1:9091`, for the parts that listen.
    pub address: Option<String>,
    pub log: PathBuf,
    /// The last lines of the log, of a part that died.
    pub last_lines: Vec<String>,
}

/// The agent's side of remote write. Counters are since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RemoteWrite {
    /// Newest sample scraped less newest sample delivered, seconds; of one that has delivered
    /// nothing yet, since its start.
    pub lag_seconds: f64,
    /// Newest sample scraped, Unix seconds.
    #[serde(skip)]
    pub scraped_to: f64,
    /// Newest sample delivered, or the agent's start where there was none since; Unix seconds.
    #[serde(skip)]
    pub delivered_to: f64,
    /// Samples that wait for delivery.
    pub pending: u64,
    pub sent: u64,
    /// Samples that were given up.
    pub failed: u64,
    pub retried: u64,
}

/// Looks at the stack in `dir`; changes nothing.
pub async fn status(dir: &Path) -> Result<Status, StackError> {
    let record = Record::load(dir)?;
    let mut status = Status { parts: Vec::new(), remote_write: None };
    for (part, started) in &record.parts {
        let process = started.process.filter(|process| process::alive(*process));
        let log = record::log_file(dir, *part);
        status.parts.push(PartStatus {
            part: *part,
            state: if process.is_some() { PartState::Running } else { PartState::Died },
            pid: process.map(|process| process.pid),
            uptime_seconds: process.map(|_| uptime(dir, *part, started.at)),
            address: started.port.map(|port| format!("127.0.0.1:{port}")),
            last_lines: match process {
                Some(_) => Vec::new(),
                None => record::tail(&log, started.log_from, LOG_LINES),
            },
            log,
        });
        if let (Part::Prometheus, Some(_), Some(port)) = (part, process, started.port) {
            status.remote_write = remote_write(port).await;
        }
    }
    Ok(status)
}

/// Seconds since the part was started, last: it writes down who it is then.
fn uptime(dir: &Path, part: Part, first: i64) -> u64 {
    let now = OffsetDateTime::now_utc();
    let written = std::fs::metadata(record::identity_file(dir, part)).and_then(|data| data.modified());
    let last = written.map_or(first, |written| OffsetDateTime::from(written).unix_timestamp());
    u64::try_from(now.unix_timestamp().saturating_sub(last)).unwrap_or_default()
}

/// What the agent on a port of loopback tells of its deliveries, when it answers.
pub async fn remote_write(port: u16) -> Option<RemoteWrite> {
    get(port, "metrics").await.map(|text| RemoteWrite::read(&text))
}

/// Whether the agent on `port` says that it is ready.
pub(super) async fn ready(port: u16) -> bool {
    get(port, "-/ready").await.is_some()
}

async fn get(port: u16, path: &str) -> Option<String> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().ok()?;
    let response = http.get(format!("http://127.0.0.1:{port}/{path}")).send().await.ok()?;
    answer::text(response.error_for_status().ok()?).await.ok()
}

impl RemoteWrite {
    /// From the agent's `/metrics`; sums over its endpoints, of which there is one.
    pub fn read(text: &str) -> Self {
        let sum = |name: &str| metrics_text::sum(text, name).unwrap_or_default();
        let count = |name: &str| sum(name) as u64;
        let scraped = sum("prometheus_remote_storage_highest_timestamp_in_seconds");
        let delivered = sum("prometheus_remote_storage_queue_highest_sent_timestamp_seconds")
            .max(sum("process_start_time_seconds"));
        Self {
            lag_seconds: (scraped - delivered).max(0.0),
            scraped_to: scraped,
            delivered_to: delivered,
            pending: count("prometheus_remote_storage_samples_pending"),
            sent: count("prometheus_remote_storage_samples_total"),
            failed: count("prometheus_remote_storage_samples_failed_total"),
            retried: count("prometheus_remote_storage_samples_retried_total"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_metrics_are_read() {
        let text = "\
# TYPE prometheus_remote_storage_samples_pending gauge
prometheus_remote_storage_samples_pending{remote_name=\"x\",url=\"https://m/api v1\"} 12
prometheus_remote_storage_samples_total{remote_name=\"x\"} 3e+03
prometheus_remote_storage_samples_failed_total{remote_name=\"x\"} 2
prometheus_remote_storage_highest_timestamp_in_seconds 1.7e+09
prometheus_remote_storage_queue_highest_sent_timestamp_seconds{remote_name=\"x\"} 1.699999995e+09
";
        let expected = RemoteWrite {
            lag_seconds: 5.0,
            scraped_to: 1.7e9,
            delivered_to: 1_699_999_995.0,
            pending: 12,
            sent: 3000,
            failed: 2,
            retried: 0,
        };
        assert_eq!(RemoteWrite::read(text), expected);
        let new = "process_start_time_seconds 1.699999998e+09\n\
                   prometheus_remote_storage_highest_timestamp_in_seconds 1.7e+09\n\
                   prometheus_remote_storage_queue_highest_sent_timestamp_seconds 0\n";
        assert_eq!(RemoteWrite::read(new).lag_seconds, 2.0);
    }
}
