//! Reads what machines tell of themselves. The serial port is asked first: it costs
//! nothing, is there at once, and shows that a machine boots again. Compute Engine
//! serves ten queries a minute of a machine's guest attributes, its own writes among
//! them, so those are asked where the serial port says nothing, and seldom.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dorainfra_gcp::{Api, Call, Client, Error};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::status::{Document, Serial, newest};
use super::{NAMESPACE, Report};

/// Between two queries of a machine's guest attributes: half of the ten a minute that are
/// served. The other half is the machine's own, whose writes are lost beyond them.
const ATTRIBUTES_EVERY: Duration = Duration::from_secs(12);
/// The same, while the serial port shows what they would.
const CHECKED_EVERY: Duration = Duration::from_secs(30);
/// So much of a serial port is read at first, in bytes. Machines repeat themselves
/// every five minutes.
const NEWEST: i64 = 256 << 10;

/// Clones share what they know, and how often they ask.
#[derive(Clone)]
pub struct Reader(Arc<Inner>);

struct Inner {
    client: Client,
    /// By the instance's path.
    known: Mutex<HashMap<String, Arc<Mutex<Known>>>>,
}

/// What is known of one machine.
#[derive(Default)]
struct Known {
    /// Google's number of the instance: a later one of the same name is another.
    id: String,
    /// When the API last started it.
    last_start: String,
    serial: Serial,
    /// From where on the serial port has not been read.
    next: Option<u64>,
    attribute: Option<Document>,
    /// The sequence number that was found first since then.
    first: Option<u64>,
    asked: Option<Instant>,
    /// Why guest attributes, or the serial port, cannot be read.
    attributes_closed: Option<String>,
    serial_closed: Option<String>,
}

impl Reader {
    pub fn new(client: Client) -> Self {
        Self(Arc::new(Inner { client, known: Mutex::default() }))
    }

    pub(super) fn client(&self) -> &Client {
        &self.0.client
    }

    /// What the machine at `path` (`zones/Z/instances/I`) tells; `None`: there is none.
    ///
    /// # Errors
    /// Neither its serial port nor its guest attributes can be read, or the instance can't.
    pub(super) async fn look(&self, path: &str) -> Result<Option<Report>, Error> {
        self.look_at(path, std::future::ready(None)).await
    }

    /// The same where `listed` may know the instance already.
    pub(super) async fn look_at(
        &self,
        path: &str,
        listed: impl Future<Output = Option<Value>>,
    ) -> Result<Option<Report>, Error> {
        let known = Arc::clone(self.0.known.lock().await.entry(path.to_owned()).or_default());
        let mut known = known.lock().await;
        let next = known.next;
        let instance = async {
            match listed.await {
                Some(instance) => Ok(instance),
                None => self.0.client.call(&Call::get(Api::Compute, path)).await,
            }
        };
        let (instance, shown) = tokio::join!(instance, self.serial(path, next));
        let instance = match instance {
            Ok(instance) => instance,
            Err(error)
                if error.is_not_found() || error.api().is_some_and(|api| api.is_service_disabled()) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let id = instance["id"].as_str().unwrap_or_default();
        if known.id != id {
            let anew = !known.id.is_empty();
            *known = Known { id: id.to_owned(), ..Known::default() };
            match anew {
                true => known.show(self.serial(path, None).await)?,
                false => known.show(shown)?,
            }
        } else {
            known.show(shown)?;
        }
        if known.last_start != last_start(&instance) {
            // What was heard before, or just now, may be of the boot before.
            known.last_start = last_start(&instance).to_owned();
            (known.serial.live, known.first) = (false, None);
        }
        if known.wants_attributes(&instance) {
            known.asked = Some(Instant::now());
            known.keep(self.attributes(path).await, &instance)?;
        }
        if let (Some(why), Some(_)) = (&known.serial_closed, &known.attributes_closed) {
            return Err(Error::Unexpected {
                what: format!("the state of {path}"),
                reason: format!("neither its serial port nor its guest attributes can be read: {why}"),
                source: None,
            });
        }
        Ok(Some(known.report(&instance, path.rsplit('/').next().unwrap_or_default())))
    }

    async fn serial(&self, path: &str, next: Option<u64>) -> Result<Value, Error> {
        let start = next.map_or_else(|| (-NEWEST).to_string(), |next| next.to_string());
        self.0.client.call(&Call::get(Api::Compute, format!("{path}/serialPort")).query("start", start)).await
    }

    async fn attributes(&self, path: &str) -> Result<Value, Error> {
        let call = Call::get(Api::Compute, format!("{path}/getGuestAttributes"));
        self.0.client.call(&call.query("queryPath", format!("{NAMESPACE}/")).once()).await
    }
}

impl Known {
    fn show(&mut self, answer: Result<Value, Error>) -> Result<(), Error> {
        let answer = match answer {
            Ok(answer) => answer,
            // It is off, or just being made.
            Err(error) if error.is_not_found() || error.api().is_some_and(|api| api.status == 400) => {
                return Ok(());
            }
            Err(Error::Api(error)) if matches!(error.status, 403 | 412) => {
                self.serial_closed = Some(error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let number = |field: &str| match &answer[field] {
            Value::String(text) => text.parse().unwrap_or_default(),
            other => other.as_u64().unwrap_or_default(),
        };
        let (start, next): (u64, u64) = (number("start"), number("next"));
        match self.next {
            // Its output begins again: what follows is read from there.
            Some(before) if next < before => self.next = None,
            Some(before) if start != before => {
                self.serial.feed("\n");
                self.serial.feed(answer["contents"].as_str().unwrap_or_default());
                self.next = Some(next);
            }
            _ => {
                self.serial.feed(answer["contents"].as_str().unwrap_or_default());
                self.next = Some(next);
            }
        }
        self.serial_closed = None;
        Ok(())
    }

    fn wants_attributes(&self, instance: &Value) -> bool {
        let shown = newest(&self.serial, None, false, last_start(instance));
        let enough = shown.is_some_and(|(_, current)| current) && !self.serial.older;
        match self.asked {
            None => !enough,
            Some(asked) => asked.elapsed() >= if enough { CHECKED_EVERY } else { ATTRIBUTES_EVERY },
        }
    }

    fn keep(&mut self, answer: Result<Value, Error>, instance: &Value) -> Result<(), Error> {
        let error = match answer {
            Ok(answer) => {
                let items = answer["queryValue"]["items"].as_array().map_or(&[][..], Vec::as_slice);
                self.attribute = Document::of_attributes(items);
                self.attributes_closed = None;
                if let Some(document) = &self.attribute {
                    self.first.get_or_insert(document.seq);
                }
                return Ok(());
            }
            Err(error) => error,
        };
        let Error::Api(refusal) = &error else { return Err(error) };
        // Too many have asked, or nothing was ever written: the next time, then.
        if refusal.is_transient() || (error.is_not_found() && are_enabled(instance)) {
            return Ok(());
        }
        if !matches!(refusal.status, 403 | 404 | 412) {
            return Err(error);
        }
        self.attributes_closed = Some(match refusal.constraint() {
            Some(constraint) => format!("by the organisation's policy constraints/{constraint}"),
            None if !are_enabled(instance) => "by the metadata item `enable-guest-attributes`".into(),
            None => format!("to you ({refusal})"),
        });
        Ok(())
    }

    fn report(&self, instance: &Value, name: &str) -> Report {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let anew = self.attribute.as_ref().is_some_and(|kept| self.first.is_some_and(|seq| kept.seq > seq));
        let found = newest(&self.serial, self.attribute.as_ref(), anew, last_start(instance));
        let booting = found.is_none() && self.serial.restarted;
        let (document, current) = found.unwrap_or_default();
        let interface = &instance["networkInterfaces"][0];
        let address = interface["accessConfigs"][0]["natIP"].as_str().or(interface["networkIP"].as_str());
        let mut report = Report {
            machine: name.to_owned(),
            status: text(&instance["status"]),
            address: address.unwrap_or_default().to_owned(),
            boot: document.boot,
            stage: document.stage,
            bundle: document.bundle,
            wanted: document.wanted,
            certificate: document.certificate,
            wanted_certificate: document.wanted_certificate,
            engine: document.engine,
            disk_gb: document.disk_gb,
            flushed: document.flushed,
            message: document.message,
            updated: document.updated,
            retrying: document.retrying,
            older: document.older,
            closed: self.attributes_closed.clone(),
        };
        if booting || (!current && !report.stage.is_empty()) {
            report.stage = "boot".into();
            report.message = "it is booting and has not reported since".into();
            (report.wanted, report.wanted_certificate) = (String::new(), String::new());
            report.retrying = false;
        }
        report
    }
}

/// When the API last started it.
fn last_start(instance: &Value) -> &str {
    instance["lastStartTimestamp"].as_str().unwrap_or_default()
}

fn are_enabled(instance: &Value) -> bool {
    let mut items = instance["metadata"]["items"].as_array().into_iter().flatten();
    items.any(|item| {
        item["key"] == "enable-guest-attributes"
            && item["value"].as_str().is_some_and(|value| value.eq_ignore_ascii_case("true"))
    })
}

#[cfg(test)]
mod tests {
    use dorainfra_gcp::ApiError;
    use serde_json::json;

    use super::*;

    fn refused(status: u16, reason: &str, message: &str) -> Result<Value, Error> {
        let (reason, message) = (reason.into(), message.into());
        Err(Error::Api(ApiError { status, reason, message, ..ApiError::default() }))
    }

    fn instance(enabled: &str) -> Value {
        json!({"metadata": {"items": [{"key": "enable-guest-attributes", "value": enabled}]}})
    }

    /// By what guest attributes are closed after such a refusal.
    fn closed(refusal: Result<Value, Error>, enabled: &str) -> Option<String> {
        let mut known = Known::default();
        known.keep(refusal, &instance(enabled)).unwrap();
        known.attributes_closed
    }

    #[test]
    fn what_closes_guest_attributes_is_named_and_what_passes_closes_nothing() {
        let constraint =
            "Constraint constraints/compute.disableGuestAttributesAccess violated for project 1.";
        let by = closed(refused(412, "conditionNotMet", constraint), "TRUE").unwrap();
        assert!(by.contains("policy constraints/compute.disableGuestAttributesAccess"), "{by}");
        for status in [403, 404, 412] {
            let by = closed(refused(status, "forbidden", "disabled"), "FALSE").unwrap();
            assert!(by.contains("`enable-guest-attributes`"), "{by}");
        }
        let by = closed(refused(403, "forbidden", "Required 'compute.x.y' permission"), "TRUE").unwrap();
        assert!(by.contains("to you"), "{by}");
        // Nothing was written yet, or too many have asked.
        assert_eq!(closed(refused(404, "notFound", "not found"), "TRUE"), None);
        assert_eq!(closed(refused(403, "rateLimitExceeded", "too fast"), "TRUE"), None);
        assert!(Known::default().keep(refused(400, "invalid", "no"), &instance("TRUE")).is_err());
    }

    #[test]
    fn a_serial_port_that_begins_again_is_read_from_there() {
        let said = |seq: u64| format!("x: dorainfra-status {{\"seq\": {seq}}}\n");
        let answer = |start: usize, contents: &str| {
            let next = start + contents.len();
            Ok(json!({"contents": contents, "start": start.to_string(), "next": next.to_string()}))
        };
        let mut known = Known::default();
        let seq = |known: &Known| known.serial.last.as_ref().map(|last| last.seq);
        known.show(answer(5000, &said(1))).unwrap();
        assert_eq!((seq(&known), known.next), (Some(1), Some(5000 + said(1).len() as u64)));
        known.show(answer(0, "boot\n")).unwrap();
        assert_eq!(known.next, None, "what has been read does not count any more");
        known.show(answer(0, &said(2))).unwrap();
        assert_eq!(seq(&known), Some(2));
        // Off, or not to be read: told apart.
        known.show(refused(400, "resourceNotReady", "it is off")).unwrap();
        assert_eq!(known.serial_closed, None);
        known.show(refused(403, "forbidden", "no")).unwrap();
        assert!(known.serial_closed.is_some());
    }
}
