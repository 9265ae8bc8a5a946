//! Before a machine goes: it is asked, through its metadata, to write what is on
//! its data disk only, and answers through its guest attributes. That needs no
//! way to its address.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::NAMESPACE;
use crate::gcp::{Api, Call, Client, Error};

/// The metadata item that holds the order: any text, another one for each order.
pub const FLUSH_ITEM: &str = "dorainfra-flush";
/// Until the machine has seen the order.
const HEARD: Duration = Duration::from_secs(90);
/// Without a word of it: the unit's stop timeout, and a little. As long as it says how
/// far it is, it may take what it takes.
const SILENT: Duration = Duration::from_secs(330);
const PAUSE: Duration = Duration::from_millis(300);

#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    #[error("it did not answer within {} s", HEARD.as_secs())]
    Deaf,
    #[error("it said nothing for {} s", SILENT.as_secs())]
    TooLate,
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Cloud(#[from] Error),
}

/// Whether the machine at `path` (`zones/Z/instances/I`) has reported that it
/// carries out such orders. One that never got as far holds nothing.
pub async fn can_flush(client: &Client, path: &str) -> Result<bool, FlushError> {
    Ok(!value(&attributes(client, path).await?, "disk-gb").is_empty())
}

/// Waits until the machine has carried the order out.
///
/// # Errors
/// It did not answer, or says that not everything could be written.
pub async fn flushed(
    client: &Client,
    path: &str,
    order: &str,
    progress: impl Fn(String),
) -> Result<(), FlushError> {
    progress("asked to write what it holds, and to end".into());
    let began = Instant::now();
    let (mut said, mut last) = (String::new(), began);
    loop {
        let attributes = attributes(client, path).await?;
        let (stage, message) = (value(&attributes, "stage"), value(&attributes, "message"));
        if value(&attributes, "flushed") == order {
            return if stage == "flushed" { Ok(()) } else { Err(FlushError::Failed(message)) };
        }
        let heard = stage == "flush";
        if heard && message != said {
            progress(message.clone());
            (said, last) = (message, Instant::now());
        }
        match (began.elapsed(), last.elapsed()) {
            (elapsed, _) if elapsed > HEARD && !heard => return Err(FlushError::Deaf),
            (_, silent) if silent > SILENT => return Err(FlushError::TooLate),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn attributes(client: &Client, path: &str) -> Result<Value, FlushError> {
    let call = Call::get(Api::Compute, format!("{path}/getGuestAttributes"))
        .query("queryPath", format!("{NAMESPACE}/"));
    match client.call(&call).await {
        Err(error) if error.is_not_found() => Ok(Value::Null),
        other => Ok(other?),
    }
}

fn value(attributes: &Value, key: &str) -> String {
    let items = attributes["queryValue"]["items"].as_array().into_iter().flatten();
    let found = items.filter(|item| item["key"] == key).find_map(|item| item["value"].as_str());
    found.unwrap_or_default().to_owned()
}
