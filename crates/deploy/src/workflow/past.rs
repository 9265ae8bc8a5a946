//! The history that a run's configuration stands for.

use std::path::Path;
use std::sync::Arc;

use dorainfra_base::zone::Zone;
use dorainfra_config::Feeds;
use dorainfra_dora::metrics::Histograms;
use dorainfra_dora::{self as dora, simulator};
use dorainfra_prometheus::Series;
use tokio::task::{JoinError, JoinHandle};

use super::activity::{Activity, History, yesterday};
use super::error::{Error, Result};
use super::event_sources;
use super::run::Run;

impl Run {
    /// What the deployment's teams did: simulated, collected, or nothing.
    pub fn activity(&self) -> Result<Activity> {
        self.activity_of(&self.workspace.collected(&self.project.config.name))
    }

    /// The same with the events of another file than the deployment's own.
    pub(super) fn activity_of(&self, file: &Path) -> Result<Activity> {
        let config = &self.project.config;
        match config.feeds() {
            Feeds::Nothing => return Ok(Activity::Nothing),
            Feeds::Simulated => {
                let teams = simulator::teams(config.generator.teams);
                return Ok(Activity::Simulated { teams, seed: config.generator.seed });
            }
            Feeds::Real => {}
        }
        let events = event_sources::known(file, &*self.operator)?;
        if !events.iter().any(|event| matches!(event, dora::events::Event::Deployment(_))) {
            return Err(Error::NoDeployment);
        }
        Ok(Activity::Collected { events, settle: time::Duration::hours(config.settle_hours.into()) })
    }

    /// Those that this deployment's series are made with.
    pub fn histograms(&self) -> Histograms {
        let config = &self.project.config;
        let native = self.facts.native_histograms(config);
        Histograms { native, by_service: config.generator.service_histograms }
    }

    /// The history that this configuration stands for, once for all phases: what
    /// is proven is what was sent, also when the day ends between the two.
    pub fn past(&self) -> Result<&History> {
        if let Some(history) = self.history.get() {
            return Ok(history);
        }
        let making = self.making()?;
        Ok(self.history.get_or_init(|| Arc::new(making())))
    }

    /// The same, made beside what goes on here meanwhile: a long one would keep the lease from being
    /// renewed.
    pub(super) async fn past_aside(&self) -> Result<&Arc<History>> {
        if let Some(history) = self.history.get() {
            return Ok(history);
        }
        let history = aside(self.making()?).await;
        Ok(self.history.get_or_init(|| Arc::new(history)))
    }

    /// Goes through the series once, and holds none, on a thread of its own, from now on: what is counted in them
    /// is waited for when it is needed.
    pub fn counted_aside<T: Send + 'static, Count>(
        &self,
        count: Count,
    ) -> Result<impl Future<Output = T> + use<T, Count>>
    where
        Count: FnOnce(&mut dyn Iterator<Item = Series>) -> T + Send + 'static,
    {
        let (activity, days) = (self.activity()?, self.project.config.generator.days);
        let (histograms, zone) = (self.histograms(), Zone::configured(&self.project.config.timezone));
        let counting = move || count(&mut *activity.series(yesterday(), days, histograms, &zone));
        Ok(finished(tokio::task::spawn_blocking(counting)))
    }

    fn making(&self) -> Result<impl FnOnce() -> History + Send + use<>> {
        let (activity, days) = (self.activity()?, self.project.config.generator.days);
        let (histograms, zone) = (self.histograms(), Zone::configured(&self.project.config.timezone));
        Ok(move || History::of(activity, yesterday(), days, histograms, zone))
    }

    /// Whether the history is put into the bucket, and does not come there by Mimir.
    pub fn history_as_blocks(&self) -> bool {
        !self.project.config.history_by_ingester()
    }
}

/// Does long work on a thread of its own.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    finished(tokio::task::spawn_blocking(work)).await
}

async fn finished<T>(work: JoinHandle<T>) -> T {
    match work.await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The program ends.
        Err(Err(_)) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What keeps a lease is polled beside the work, by the same thread.
    #[tokio::test]
    async fn long_work_keeps_nobody_from_going_on() {
        let (begun, begins) = std::sync::mpsc::channel();
        let (go_on, goes_on) = std::sync::mpsc::channel();
        let work = aside(move || {
            begun.send(()).unwrap();
            goes_on.recv().unwrap();
            7
        });
        let beside = async {
            // Only while the work is under way.
            while begins.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
            go_on.send(()).unwrap();
        };
        assert_eq!(futures::join!(work, beside).0, 7);
    }
}
