//! Straight to the endpoint, by remote write: a sample for each series and round,
//! at its real time. The series of a team that went are marked as ended, as a
//! Prometheus does with what it scrapes no more.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{LiveError, Outlet, Round, SHOWN, Summary};
use crate::dora::remote_write::{Client, Limits, Retry, WriteError};
use crate::dora::{Labels, Series};
use crate::event::Events;

/// Makes the client, anew when the endpoint does not take the old one's
/// certificate: the files may hold a renewed one.
pub type Connect = Box<dyn Fn() -> Result<Client, LiveError> + Send + Sync>;

/// An endpoint that values are written to.
pub struct Written {
    connect: Connect,
    client: Client,
    /// What was written last, by team: its series end with the team.
    known: BTreeMap<String, Vec<(&'static str, Labels)>>,
}

/// The next round has newer values.
const FEW: Retry = Retry {
    attempts: 2,
    base: Duration::from_millis(200),
    longest: Duration::from_secs(1),
    budget: Duration::from_secs(3),
};

/// The value by which Prometheus says that a series has ended: one of many NaNs.
const STALE: u64 = 0x7ff0_0000_0000_0002;

impl Written {
    /// # Errors
    /// There can be no client: an address or a certificate is none.
    pub fn by(connect: Connect) -> Result<Self, LiveError> {
        Ok(Self { client: connect()?, connect, known: BTreeMap::new() })
    }

    async fn send(&mut self, series: &[Series]) -> Result<(), LiveError> {
        let client = self.client.clone().with_retry(FEW);
        let sent = client.send(series, Limits::default(), 0, &Events::none()).await;
        if let Err(WriteError::Tls { .. }) = sent {
            // What can't be read now may be half written; the next round looks again.
            self.client = (self.connect)().unwrap_or(client);
        }
        sent?;
        Ok(())
    }
}

fn sample(name: &'static str, labels: &Labels, at: OffsetDateTime, value: f64) -> Series {
    let milliseconds = i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX);
    Series { name, labels: labels.clone(), samples: vec![(milliseconds, value)], exemplars: Vec::new() }
}

fn ended<'a>(
    series: impl IntoIterator<Item = &'a (&'static str, Labels)>,
    at: OffsetDateTime,
) -> Vec<Series> {
    let end = |(name, labels): &(&'static str, Labels)| sample(name, labels, at, f64::from_bits(STALE));
    series.into_iter().map(end).collect()
}

#[async_trait]
impl Outlet for Written {
    async fn show(&mut self, round: &Round<'_>, summary: &mut Summary) -> Result<(), LiveError> {
        let mut series = vec![sample(SHOWN, &Labels::new([]), round.at, round.at.unix_timestamp() as f64)];
        let mut known = BTreeMap::new();
        for (team, live) in round.teams.iter() {
            let values = live.values();
            series.extend(values.map(|(name, labels, value)| sample(name, labels, round.at, value as f64)));
            let names = live.values().map(|(name, labels, _)| (name, labels.clone())).collect();
            known.insert(team.to_owned(), names);
        }
        let gone: BTreeMap<_, _> = self.known.iter().filter(|(team, _)| !known.contains_key(*team)).collect();
        series.extend(ended(gone.values().copied().flatten(), round.at));
        let gone: Vec<String> = gone.into_keys().cloned().collect();
        if let Err(error) = self.send(&series).await {
            summary.failures += 1;
            return Err(error);
        }
        summary.shown += known.len() as u64;
        summary.removed += gone.len() as u64;
        for team in gone {
            round.events.note(format!("team {team} went: its series are marked as ended"));
        }
        self.known = known;
        Ok(())
    }

    async fn close(&mut self, last: &Round<'_>, withdraw: bool) -> Result<(), LiveError> {
        if !withdraw {
            return Ok(());
        }
        let mut series = ended(self.known.values().flatten(), last.at);
        series.extend(ended([&(SHOWN, Labels::new([]))], last.at));
        self.send(&series).await?;
        last.events.note(format!("the series of {} teams are marked as ended", self.known.len()));
        Ok(())
    }
}
