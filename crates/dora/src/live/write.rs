//! Straight to the endpoint, by remote write: a sample for each series and round,
//! at its real time. The series of a team that went are marked as ended, as a
//! Prometheus does with what it scrapes no more.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use dorainfra_model::Events;
use dorainfra_prometheus::native::Histogram;
use dorainfra_prometheus::remote_write::{Client, Limits, Retry, WriteError};
use dorainfra_prometheus::{Labels, Samples, Series};
use time::OffsetDateTime;

use super::{LiveError, Outlet, Round, SHOWN, Summary};
use crate::metrics::{Histograms, Live};

/// Makes the client, anew when the endpoint does not take the old one's
/// certificate: the files may hold a renewed one.
pub type Connect = Box<dyn Fn() -> Result<Client, LiveError> + Send + Sync>;

/// An endpoint that values are written to.
pub struct Written {
    connect: Connect,
    client: Client,
    histograms: Histograms,
    /// What was written last, by team: its series end with the team.
    known: BTreeMap<String, Vec<Series>>,
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
    pub fn by(connect: Connect, histograms: Histograms) -> Result<Self, LiveError> {
        Ok(Self { client: connect()?, connect, histograms, known: BTreeMap::new() })
    }

    /// All series of a team, each with its present value.
    fn series(&self, live: &Live, at: OffsetDateTime) -> Vec<Series> {
        let values = live.values();
        let mut all: Vec<Series> =
            values.map(|(name, labels, value)| plain(name, labels, at, value as f64)).collect();
        if self.histograms.native {
            all.extend(live.natives().map(|(name, labels, value)| native(name, labels, at, value.clone())));
        }
        all
    }

    async fn send(&mut self, series: Vec<&Series>) -> Result<(), LiveError> {
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

fn milliseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn plain(name: &'static str, labels: &Labels, at: OffsetDateTime, value: f64) -> Series {
    let samples = Samples::Plain(vec![(milliseconds(at), value)]);
    Series { name, labels: labels.clone(), samples, exemplars: Vec::new() }
}

fn native(name: &'static str, labels: &Labels, at: OffsetDateTime, value: Histogram) -> Series {
    let samples = Samples::Native(vec![(milliseconds(at), value)]);
    Series { name, labels: labels.clone(), samples, exemplars: Vec::new() }
}

/// The end of some series. That of a native histogram is one with such a sum.
fn ended<'a>(series: impl IntoIterator<Item = &'a Series>, at: OffsetDateTime) -> Vec<Series> {
    let stale = f64::from_bits(STALE);
    let end = |one: &Series| match one.samples.is_native() {
        false => plain(one.name, &one.labels, at, stale),
        true => native(one.name, &one.labels, at, Histogram { sum: stale, ..Histogram::default() }),
    };
    series.into_iter().map(end).collect()
}

fn shown(at: OffsetDateTime) -> Series {
    plain(SHOWN, &Labels::new([]), at, at.unix_timestamp() as f64)
}

#[async_trait]
impl Outlet for Written {
    async fn show(&mut self, round: &Round<'_>, summary: &mut Summary) -> Result<(), LiveError> {
        let of = |(team, live): (&str, &Live)| (team.to_owned(), self.series(live, round.at));
        let known: BTreeMap<String, Vec<Series>> = round.teams.iter().map(of).collect();
        let gone: BTreeMap<_, _> = self.known.iter().filter(|(team, _)| !known.contains_key(*team)).collect();
        let mut series = vec![shown(round.at)];
        series.extend(ended(gone.values().copied().flatten(), round.at));
        let gone: Vec<String> = gone.into_keys().cloned().collect();
        let all = series.iter().chain(known.values().flatten()).collect();
        if let Err(error) = self.send(all).await {
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
        let series = ended(self.known.values().flatten().chain([&shown(last.at)]), last.at);
        self.send(series.iter().collect()).await?;
        last.events.note(format!("the series of {} teams are marked as ended", self.known.len()));
        Ok(())
    }
}
