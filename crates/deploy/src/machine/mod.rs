//! The machine from outside: what it reports of itself on its serial port and
//! through guest attributes, and the end of that port's log when it does not get
//! ready; and what it is asked to do before it goes (`flush`). What happens on it is
//! in `templates/vm`.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

mod flush;
mod reader;
mod status;

use std::time::Duration;

use dorainfra_gcp::{Api, Call, Client, Error};
use dorainfra_model::{Event, Events};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::flush::{FLUSH_ITEM, FlushError, can_flush, flushed};
pub use self::reader::Reader;

/// The guest attributes' namespace that the machine writes to.
const NAMESPACE: &str = "dorainfra";
/// How many lines of the serial port tell why.
const LOG_LINES: usize = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A grant takes ten minutes at times, and a boot comes on top of it: a machine that
/// goes on trying is waited for so many times as long.
const PATIENCE: u32 = 2;

/// Which machine, and the bundle that it should run.
#[derive(Clone, Debug)]
pub struct Machine {
    pub instance: String,
    pub zone: String,
    /// SHA-256.
    pub bundle: String,
    /// `VERSION:SHA-256` of the server's certificate; `none` where there is none.
    pub certificate: String,
    /// The size that its data disk should have, as its metadata says it.
    pub disk_gb: u32,
}

/// What a machine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub machine: String,
    /// The instance's status in Google's words: `RUNNING`, `STOPPING`, …
    pub status: String,
    /// The external one where there is one; empty before it has any.
    pub address: String,
    /// Which boot of it reports; empty where an earlier release does.
    pub boot: String,
    /// `boot` … `ready`, `failed`, `rolled-back`; empty before the first report.
    pub stage: String,
    /// The bundle that runs.
    pub bundle: String,
    /// The bundle that was installed last, successfully or not.
    pub wanted: String,
    /// The certificate that is served, and the one that was installed last,
    /// successfully or not; as in [`Machine::certificate`].
    pub certificate: String,
    pub wanted_certificate: String,
    /// `mimir 3.0.4`, or what stands in for it.
    pub engine: String,
    /// GB that the data disk's file system was grown to.
    pub disk_gb: String,
    /// The order to flush that was carried out last.
    pub flushed: String,
    pub message: String,
    /// RFC 3339.
    pub updated: String,
    /// It goes on trying by itself: for a grant that is on its way, for example.
    pub retrying: bool,
    /// What runs on it is of an earlier release.
    pub older: bool,
    /// By what its guest attributes are closed: then its serial port alone tells.
    pub closed: Option<String>,
}

/// What a machine is that does not run, by its instance's status: nothing answers there,
/// however long one waits; `None`: it runs, or comes up.
pub fn down(status: &str) -> Option<&'static str> {
    match status {
        "TERMINATED" | "STOPPED" => Some("stopped"),
        "SUSPENDED" => Some("suspended"),
        "STOPPING" | "PENDING_STOP" => Some("stopping"),
        "SUSPENDING" => Some("suspending"),
        _ => None,
    }
}

/// How it gets to run.
pub const STARTS: &str = "`dorainfra apply` starts it";

impl Report {
    /// One line for people.
    pub fn summary(&self) -> String {
        let stage = if self.stage.is_empty() { "has not reported yet" } else { &self.stage };
        let mut line = format!("{} {}: {stage}", self.machine, self.status.to_ascii_lowercase());
        if !self.engine.is_empty() {
            line.push_str(&format!(", {}", self.engine));
        }
        if !self.bundle.is_empty() {
            line.push_str(&format!(", bundle {:.12}", self.bundle));
        }
        if !self.message.is_empty() && self.stage != "ready" {
            line.push_str(&format!(" ({})", self.message));
        }
        line
    }

    /// Where the state comes from, as far as that is not the usual way.
    pub fn note(&self) -> Option<String> {
        if let Some(by) = &self.closed {
            return Some(format!(
                "guest attributes are disabled {by}: the state of {} is read from its serial port",
                self.machine
            ));
        }
        self.older.then(|| {
            format!(
                "{} runs scripts of an earlier release, whose reports can be lost: `dorainfra apply` installs those of this one",
                self.machine
            )
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("{machine} did not get ready: {message}")]
    Failed { machine: String, message: String },
    #[error("{machine} runs its last good configuration again: the new one failed: {message}")]
    RolledBack { machine: String, message: String },
    #[error("{machine} did not get ready within {minutes} minutes; its last stage is `{stage}`: {message}")]
    TooLate { machine: String, minutes: u64, stage: String, message: String },
    #[error("{0} does not exist")]
    Absent(String),
    #[error("interrupted while waiting for {0}: it continues by itself")]
    Interrupted(String),
    #[error(transparent)]
    Cloud(#[from] Error),
}

impl MachineError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { .. } | Self::TooLate { .. } => Some(
                "its log is above; fix the configuration and run `dorainfra apply` again, \
                 or replace the machine: `--replace compute.instance/NAME` (its data disk stays)"
                    .into(),
            ),
            Self::RolledBack { .. } => Some(
                "nothing is lost and Mimir runs; fix the configuration and run `dorainfra apply` again"
                    .into(),
            ),
            Self::Absent(_) => Some("`dorainfra apply` makes it".into()),
            Self::Interrupted(_) => {
                Some("`dorainfra status` shows it; `dorainfra apply` continues from here".into())
            }
            Self::Cloud(error) => error.hint(),
        }
    }
}

/// What the machine reports now; `None`: there is no such machine.
pub async fn report(reader: &Reader, machine: &Machine) -> Result<Option<Report>, Error> {
    reader.look(&path(machine)).await
}

/// The same where `listed` may know the instance already, as Google answers it.
pub async fn report_at(
    reader: &Reader,
    machine: &Machine,
    listed: impl Future<Output = Option<Value>>,
) -> Result<Option<Report>, Error> {
    reader.look_at(&path(machine), listed).await
}

/// Waits until the machine runs its bundle and is ready; tells each stage.
///
/// # Errors
/// What the machine says went wrong, after the last lines of its serial port.
pub async fn wait_ready(
    reader: &Reader,
    machine: &Machine,
    events: &Events,
    bound: Duration,
    interrupt: &CancellationToken,
) -> Result<Report, MachineError> {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut last = Report::default();
    let client = reader.client();
    loop {
        let found = reader.look(&path(machine)).await?;
        let report = found.ok_or_else(|| MachineError::Absent(machine.instance.clone()))?;
        // Stages of an earlier bundle or certificate say nothing about this one.
        let concerns_us = report.wanted == machine.bundle && report.wanted_certificate == machine.certificate;
        let runs = report.status == "RUNNING"
            && report.bundle == machine.bundle
            && report.certificate == machine.certificate
            && report.disk_gb == machine.disk_gb.to_string();
        let boots = report.stage == "boot" && !report.message.is_empty();
        if (concerns_us || boots) && (&report.stage, &report.message) != (&last.stage, &last.message) {
            pause = FIRST_PAUSE;
            events.send(Event::MachineStage {
                machine: machine.instance.clone(),
                stage: report.stage.clone(),
                message: report.message.clone(),
            });
        }
        if let Some(note) = report.note().filter(|note| Some(note) != last.note().as_ref()) {
            events.note(note);
        }
        let (name, message) = (machine.instance.clone(), report.message.clone());
        match report.stage.as_str() {
            "ready" if runs => return Ok(report),
            // Whoever goes on trying is waited for.
            "failed" if concerns_us && !report.retrying => {
                log(client, machine, events).await;
                return Err(MachineError::Failed { machine: name, message });
            }
            "rolled-back" if concerns_us && !report.retrying => {
                log(client, machine, events).await;
                return Err(MachineError::RolledBack { machine: name, message });
            }
            _ => {}
        }
        let bound = if report.retrying { bound.saturating_mul(PATIENCE) } else { bound };
        if began.elapsed() > bound {
            log(client, machine, events).await;
            let stage = match report.status.as_str() {
                "RUNNING" => report.stage,
                status => status.to_ascii_lowercase(),
            };
            let minutes = bound.as_secs() / 60;
            return Err(MachineError::TooLate { machine: name, minutes, stage, message });
        }
        last = report;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = interrupt.cancelled() => return Err(MachineError::Interrupted(name)),
        }
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

fn path(machine: &Machine) -> String {
    format!("zones/{}/instances/{}", machine.zone, machine.instance)
}

/// Sends the end of the serial port's log. That it can't be read must not hide
/// why it is wanted.
async fn log(client: &Client, machine: &Machine, events: &Events) {
    let call = Call::get(Api::Compute, format!("{}/serialPort", path(machine)));
    let contents = match client.call(&call).await {
        Ok(answer) => answer["contents"].as_str().unwrap_or_default().to_owned(),
        Err(error) => {
            events.warn(format!("the serial port can't be read: {error}"), error.hint());
            return;
        }
    };
    // The same is said beside it, for people.
    let lines: Vec<&str> = contents.lines().filter(|line| !line.contains(status::MARK)).collect();
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        events.send(Event::MachineLog { machine: machine.instance.clone(), line: (*line).to_owned() });
    }
}
