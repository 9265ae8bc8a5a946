//! The machine from outside: what it reports of itself through guest
//! attributes, and its serial port when it does not get ready; and what it is
//! asked to do before it goes (`flush`). What happens on it is in `templates/vm`.

mod flush;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, Events};
use crate::gcp::{Api, Call, Client, Error};

pub use self::flush::{FLUSH_ITEM, FlushError, can_flush, flushed};

/// The guest attributes' namespace that the machine writes to.
const NAMESPACE: &str = "dorainfra";
/// How many lines of the serial port tell why.
const LOG_LINES: usize = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

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
    pub message: String,
    /// RFC 3339.
    pub updated: String,
}

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
    #[error("interrupted while waiting for {0}: it goes on by itself")]
    Interrupted(String),
    #[error(transparent)]
    Cloud(#[from] Error),
}

impl MachineError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { .. } | Self::TooLate { .. } => Some(
                "its log is above; mend the configuration and run `dorainfra apply` again, \
                 or make the machine anew: `--replace compute.instance/NAME` (its data disk stays)"
                    .into(),
            ),
            Self::RolledBack { .. } => Some(
                "nothing is lost and Mimir runs; mend the configuration and run `dorainfra apply` again"
                    .into(),
            ),
            Self::Absent(_) => Some("`dorainfra apply` makes it".into()),
            Self::Interrupted(_) => {
                Some("`dorainfra status` shows it; `dorainfra apply` goes on from here".into())
            }
            Self::Cloud(error) => error.hint(),
        }
    }
}

/// What the machine reports now; `None`: there is no such machine.
pub async fn report(client: &Client, machine: &Machine) -> Result<Option<Report>, Error> {
    let instance = Call::get(Api::Compute, path(machine));
    let (instance, attributes) = tokio::join!(client.call(&instance), attributes(client, machine));
    let instance = match instance {
        Ok(instance) => instance,
        Err(error) if error.is_not_found() || error.api().is_some_and(|api| api.is_service_disabled()) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut report = attributes?;
    report.status = instance["status"].as_str().unwrap_or_default().to_owned();
    let interface = &instance["networkInterfaces"][0];
    let address = interface["accessConfigs"][0]["natIP"].as_str().or(interface["networkIP"].as_str());
    report.address = address.unwrap_or_default().to_owned();
    Ok(Some(report))
}

/// Waits until the machine runs its bundle and is ready; tells each stage.
///
/// # Errors
/// What the machine says went wrong, after the last lines of its serial port.
pub async fn wait_ready(
    client: &Client,
    machine: &Machine,
    events: &Events,
    bound: Duration,
    interrupt: &CancellationToken,
) -> Result<Report, MachineError> {
    let deadline = Instant::now() + bound;
    let mut pause = FIRST_PAUSE;
    let mut last = Report::default();
    loop {
        let report = attributes(client, machine).await?;
        // Stages of an earlier bundle or certificate say nothing about this one.
        let concerns_us = report.wanted == machine.bundle && report.wanted_certificate == machine.certificate;
        let runs = report.bundle == machine.bundle
            && report.certificate == machine.certificate
            && report.disk_gb == machine.disk_gb.to_string();
        if concerns_us && (&report.stage, &report.message) != (&last.stage, &last.message) {
            pause = FIRST_PAUSE;
            events.send(Event::MachineStage {
                machine: machine.instance.clone(),
                stage: report.stage.clone(),
                message: report.message.clone(),
            });
        }
        let (name, message) = (machine.instance.clone(), report.message.clone());
        match report.stage.as_str() {
            "ready" if runs => return Ok(report),
            "failed" if concerns_us => {
                log(client, machine, events).await;
                return Err(MachineError::Failed { machine: name, message });
            }
            "rolled-back" if concerns_us => {
                log(client, machine, events).await;
                return Err(MachineError::RolledBack { machine: name, message });
            }
            _ => {}
        }
        if Instant::now() > deadline {
            log(client, machine, events).await;
            let (stage, minutes) = (report.stage, bound.as_secs() / 60);
            return Err(MachineError::TooLate { machine: name, minutes, stage, message });
        }
        last = report;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = interrupt.cancelled() => return Err(MachineError::Interrupted(name)),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn path(machine: &Machine) -> String {
    format!("zones/{}/instances/{}", machine.zone, machine.instance)
}

/// The machine's own words. None yet is an empty report.
async fn attributes(client: &Client, machine: &Machine) -> Result<Report, Error> {
    let call = Call::get(Api::Compute, format!("{}/getGuestAttributes", path(machine)))
        .query("queryPath", format!("{NAMESPACE}/"));
    let mut report = Report { machine: machine.instance.clone(), ..Report::default() };
    let answer = match client.call(&call).await {
        Ok(answer) => answer,
        Err(error) if error.is_not_found() || error.api().is_some_and(|api| api.is_service_disabled()) => {
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    for item in answer["queryValue"]["items"].as_array().into_iter().flatten() {
        let value = item["value"].as_str().unwrap_or_default().to_owned();
        match item["key"].as_str().unwrap_or_default() {
            "stage" => report.stage = value,
            "bundle" => report.bundle = value,
            "wanted" => report.wanted = value,
            "certificate" => report.certificate = value,
            "wanted-certificate" => report.wanted_certificate = value,
            "engine" => report.engine = value,
            "disk-gb" => report.disk_gb = value,
            "message" => report.message = value,
            "updated" => report.updated = value,
            _ => {}
        }
    }
    Ok(report)
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
    let lines: Vec<&str> = contents.lines().collect();
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        events.send(Event::MachineLog { machine: machine.instance.clone(), line: (*line).to_owned() });
    }
}
