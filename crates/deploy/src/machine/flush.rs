//! Before a machine goes: it is asked, through its metadata, to write what is on
//! its data disk only, and answers as it reports everything. That needs no way to
//! its address.

use std::time::Duration;

use dorainfra_gcp::Error;
use tokio::time::Instant;

use super::Reader;

/// The metadata item that holds the order: any text, another one for each order.
pub const FLUSH_ITEM: &str = "dorainfra-flush";
/// Until the machine has seen the order.
const HEARD: Duration = Duration::from_secs(90);
/// Without a word of it: the unit's stop timeout, and a little. As long as it says how
/// far it is, it may take what it takes.
const SILENT: Duration = Duration::from_secs(330);
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    #[error("it did not answer within {} s", HEARD.as_secs())]
    Deaf,
    #[error("it said nothing for {} s", SILENT.as_secs())]
    TooLate,
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Cloud(Box<Error>),
}

impl From<Error> for FlushError {
    fn from(error: Error) -> Self {
        Self::Cloud(Box::new(error))
    }
}

/// Whether the machine at `path` (`zones/Z/instances/I`) carries out such orders: it
/// has been ready. One that never got as far holds nothing.
pub async fn can_flush(reader: &Reader, path: &str) -> Result<bool, FlushError> {
    Ok(reader.look(path).await?.is_some_and(|report| !report.bundle.is_empty()))
}

/// Waits until the machine has carried the order out, and answers what came of it, in words.
///
/// # Errors
/// It did not answer, or says that not everything could be written.
pub async fn flushed(
    reader: &Reader,
    path: &str,
    order: &str,
    progress: impl Fn(String),
) -> Result<String, FlushError> {
    progress("asked to write what it holds, and to end".into());
    let began = Instant::now();
    let (mut said, mut last) = (String::new(), began);
    loop {
        let report = reader.look(path).await?.unwrap_or_default();
        match report.stage.as_str() {
            "flushed" if report.flushed == order => return Ok(report.message),
            "failed" if report.flushed == order => return Err(FlushError::Failed(report.message)),
            _ => {}
        }
        let heard = report.stage == "flush" || report.flushed == order;
        if heard && report.message != said {
            progress(report.message.clone());
            (said, last) = (report.message, Instant::now());
        }
        match (began.elapsed(), last.elapsed()) {
            (elapsed, _) if elapsed > HEARD && !heard => return Err(FlushError::Deaf),
            (_, silent) if silent > SILENT => return Err(FlushError::TooLate),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}
