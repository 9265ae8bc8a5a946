//! The proof that what a run's configuration stands for has arrived.

use std::time::Duration;

use dorainfra_config::Live;
use dorainfra_model::Events;
use dorainfra_prometheus::Target;

use super::bucket::{BucketObjects, blocks_prefix};
use super::error::Result;
use super::history::SEEN_BY_ALL_WITHIN;
use super::run::Run;
use crate::verify;

impl Run {
    pub async fn verify(&self, target: &Target, events: &Events) -> Result<verify::Report> {
        let config = &self.project.config;
        let history = &**self.past_aside().await?;
        let teams = history.activity.teams();
        let objects = BucketObjects::of(self);
        let pushgateway = format!("http://127.0.0.1:{}", config.stack.ports.pushgateway);
        let request = verify::Request {
            target,
            live: Some(match config.stack.live {
                Live::Pushgateway => verify::Live::Pushgateway(&pushgateway),
                Live::Scrape | Live::RemoteWrite => verify::Live::Generator,
            }),
            history,
            feeds: config.feeds(),
            teams: &teams,
            bucket: Some(verify::Bucket { objects: &objects, prefix: blocks_prefix(self) }),
            as_blocks: self.history_as_blocks(),
            known: self.history_known.get().copied(),
            bounds: verify::Bounds {
                history: self.wrote_history.get().map_or(Duration::ZERO, |()| SEEN_BY_ALL_WITHIN),
                ..verify::Bounds::of(config.generator.interval_seconds, config.stack.scrape_seconds)
            },
        };
        Ok(verify::run(&request, events).await)
    }

    /// The proof by the bucket alone: nothing else has to exist.
    pub async fn verify_bucket(&self, events: &Events) -> Result<verify::Report> {
        let objects = BucketObjects::of(self);
        let bucket = verify::Bucket { objects: &objects, prefix: blocks_prefix(self) };
        let history = self.past()?;
        let report = verify::from_bucket(history, &bucket, events).await;
        let teams = history.activity.teams().len() as u64;
        Ok(verify::Report { feeds: self.project.config.feeds(), teams, ..report })
    }
}
