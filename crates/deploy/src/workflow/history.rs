//! How the history gets to the endpoint: into the bucket as blocks where Mimir takes
//! them, and else by remote write.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use dorainfra_config::NOTHING_IS_FED;
use dorainfra_dora::metrics;
use dorainfra_model::Events;
use dorainfra_prometheus::Flavour;
use dorainfra_prometheus::Target;
use dorainfra_prometheus::query::Query;
use dorainfra_prometheus::remote_write::{self, Checkpoint};
use dorainfra_prometheus::upload::Uploader;
use dorainfra_prometheus::{Extent, Past, Series, Since, tsdb};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::activity::{Activity, History};
use super::error::{Error, Result};
use super::run::Run;
use crate::verify::{self, Known, Stored};

/// A block must not be ahead of Mimir's clock, which may be another one.
const TOO_NEW: Duration = Duration::from_secs(10 * 60);
/// Until queries see blocks: Mimir lists the bucket each minute, and reads what it
/// found twice a minute (templates/vm/mimir.yaml.j2).
const SEEN_WITHIN: Duration = Duration::from_secs(5 * 60);
/// Until the last replica sees them, once any does.
pub(super) const SEEN_BY_ALL_WITHIN: Duration = Duration::from_secs(2 * 60);
/// Replicas see them at different times, and any of them may answer.
const SEEN_IN_A_ROW: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

impl Run {
    /// Says how many series there will be, before any of them is sent.
    fn cardinality(&self, activity: &Activity, events: &Events) {
        let (series, most) = (
            metrics::cardinality(activity.scopes(), self.histograms()),
            self.project.config.mimir.limits.max_series,
        );
        events.note(format!("history: {series} series of {} teams", activity.teams().len()));
        if series > most.into() {
            events.warn(
                format!("{series} series are more than `mimir.limits.max_series` allows ({most})"),
                Some("raise the limit (and the machine's memory), or lower `generator.teams`".into()),
            );
        }
    }

    /// Sends the history. Samples that are there already are the same ones, and
    /// are taken again without harm.
    /// `unchanged`: there was nothing to do until here.
    pub async fn history(&self, target: &Target, unchanged: bool, events: &Events) -> Result<()> {
        let history = &**self.past_aside().await?;
        let samples = history.extent().samples;
        if matches!(history.activity, Activity::Nothing) {
            events.note(format!("history: none; {NOTHING_IS_FED}"));
            return Ok(());
        }
        self.cardinality(&history.activity, events);
        let query = Query::new(target)?;
        if self.is_as_proven(&query, target, unchanged).await {
            events.note(format!("history: all {samples} samples are stored, as they were compared before"));
            return Ok(());
        }
        let stored = verify::stored(&query, history).await;
        if stored.as_ref().is_ok_and(|stored| stored.equal == samples) {
            let _ = self.history_known.set(Known::Compared);
            events.note(format!("history: all {samples} samples are stored already"));
            return Ok(());
        }
        if let Ok(Stored { different: different @ 1.., first_different, .. }) = &stored {
            self.history_differs.get_or_init(|| ());
            // Whatever were sent beside it would stay when the change is taken back.
            if matches!(history.activity, Activity::Simulated { .. }) {
                let first = first_different.as_ref().map(ToString::to_string).unwrap_or_default();
                return Err(Error::OtherHistory { different: *different, first });
            }
        }
        self.wrote_history.get_or_init(|| ());
        if target.flavour == Flavour::Mimir {
            let uploader = Uploader::new(target)?;
            if !uploader.is_taken().await? {
                events.warn(
                    "Mimir takes no blocks: the history goes through its ingester",
                    Some("`limits.compactor_block_upload_enabled` has to be true: see `mimir.extra`".into()),
                );
            // Events that were told late change later counts; a receiver takes the rest.
            } else if stored.as_ref().is_ok_and(|stored| stored.different > 0)
                && matches!(history.activity, Activity::Collected { .. })
            {
                events.warn(
                    "some of the history is stored with other values: events were reported late, or again; the rest \
                     goes through the ingester",
                    Some("docs/sources.md says what late events are; `dorainfra verify` names the samples".into()),
                );
            } else {
                // Of two blocks that contradict each other both would be taken: not unseen.
                return as_blocks(&uploader, target, history, &stored?, events).await;
            }
        }
        self.by_remote_write(target, history, events).await
    }

    async fn by_remote_write(&self, target: &Target, history: &History, events: &Events) -> Result<()> {
        let checkpoint = self.history_checkpoint(target, history);
        let client = remote_write::Client::new(target)?.with_checkpoint(checkpoint);
        let limits = remote_write::Limits::default();
        let accepted = client.send(history.series(), limits, history.extent().samples, events).await?;
        if accepted.before > 0 {
            events.note(format!("history: continued after {} samples of an earlier run", accepted.before));
        }
        events.note(format!(
            "history: {} samples{} accepted in {} requests, {:.2} s",
            accepted.samples,
            natives(accepted.native),
            accepted.requests,
            accepted.elapsed.as_secs_f64()
        ));
        Ok(())
    }

    /// How far this very history has come at this very endpoint: one that was made
    /// again has another authority, and holds nothing.
    fn history_checkpoint(&self, target: &Target, history: &History) -> Checkpoint {
        let config = &self.project.config;
        let Extent { series, samples, newest, .. } = history.extent();
        let key = format!(
            "{} at {}, authority {}, tenant {}: {} samples of {} series by team up to {}, {}",
            target.write_url(),
            target.connect,
            target.tls.as_ref().map_or("none".into(), |tls| hex::encode(Sha256::digest(&tls.ca))),
            config.mimir.tenant,
            samples,
            series,
            newest.unwrap_or_default(),
            history.activity.digest()
        );
        Checkpoint::new(self.workspace.state().join(&config.name).join("history.json"), key)
    }
}

/// The windows that lack something as blocks, and what is too new for one by remote write.
async fn as_blocks(
    uploader: &Uploader,
    target: &Target,
    history: &History,
    stored: &Stored,
    events: &Events,
) -> Result<()> {
    // A receiver would refuse these; a block would be one of two that contradict each other.
    if let Stored { different, first_different: Some(first), .. } = stored {
        return Err(Error::OtherHistory { different: *different, first: first.to_string() });
    }
    let now = OffsetDateTime::now_utc() - TOO_NEW;
    let before = now.unix_timestamp() * 1000;
    let mut windows = tsdb::windows(history, before);
    windows.retain(|window| stored.missing.range(window.start..window.end).next().is_some());
    let samples = tsdb::samples(history, &windows);
    let uploaded = uploader.send(tsdb::blocks(history, &windows), samples, events).await?;
    events.note(format!(
        "history: {} samples{} in {} blocks, {:.2} s{}",
        uploaded.samples,
        natives(uploaded.native),
        uploaded.blocks,
        uploaded.elapsed.as_secs_f64(),
        match uploaded.before {
            0 => String::new(),
            before => format!("; {before} of them were there already"),
        }
    ));
    let newest = Since { past: history, time: before };
    let rest = newest.extent().samples;
    if rest > 0 {
        let limits = remote_write::Limits::default();
        let accepted = remote_write::Client::new(target)?.send(newest.series(), limits, rest, events).await?;
        events.note(format!("history: the newest {} samples by remote write", accepted.samples));
    }
    seen(target, history, stored, events).await;
    Ok(())
}

/// Waits until queries see the blocks, by a series that lacked samples.
async fn seen(target: &Target, history: &History, stored: &Stored, events: &Events) {
    let Some(lacks) = &stored.lacks else { return };
    let lacked =
        |series: &Cow<'_, Series>| series.name == lacks.metric && series.labels.to_string() == lacks.labels;
    let probe: Vec<Series> = history.series().filter(lacked).map(Cow::into_owned).collect();
    events.note("history: waiting until Mimir has found the blocks in its bucket");
    let began = Instant::now();
    let mut in_a_row = 0;
    while began.elapsed() < SEEN_WITHIN {
        in_a_row = if verify::history_stored(target, &probe).await { in_a_row + 1 } else { 0 };
        if in_a_row == SEEN_IN_A_ROW {
            events.note(format!("history: seen by queries after {:.0} s", began.elapsed().as_secs_f64()));
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    events.warn(
        format!(
            "queries do not see the history after {} s, though it is in the bucket",
            SEEN_WITHIN.as_secs()
        ),
        Some(
            "Mimir's log says more (`store-gateway`, `bucket index`); `dorainfra verify` looks again".into(),
        ),
    );
}

/// How many of the samples are native histograms, where there are any.
pub fn natives(count: u64) -> String {
    if count > 0 { format!(" ({count} of them native histograms)") } else { String::new() }
}
