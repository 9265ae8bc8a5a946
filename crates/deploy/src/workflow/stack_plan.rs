//! What a plan says of the collector stack: what `apply` would do to each of its parts on this machine, by what
//! `apply` makes and by the record that it goes by.

use std::collections::BTreeMap;

use dorainfra_config::{Feeds, NOTHING_IS_FED};
use dorainfra_engine::{Action, Plan};
use dorainfra_model::FeedStep;

use super::error::Result;
use super::run::Run;
use super::stack::{self, Wanted};
use super::status::State;
use crate::stack::compose;
use crate::stack::native::{Intended, intended};

impl Run {
    /// `containers`: what those that run were made of.
    ///
    /// # Errors
    /// The stack could not be started on this machine.
    pub(super) async fn stack_steps(
        &self,
        plan: &Plan,
        containers: &BTreeMap<String, String>,
    ) -> Result<Vec<FeedStep>> {
        let target = self.planned_target(plan).await;
        let parts = match stack::wanted(self, target.as_ref()).await? {
            Wanted::Processes(setup) => {
                let parts = intended(&setup).await?.into_iter();
                parts.map(|(part, intended)| (part.name().to_owned(), (intended, true))).collect()
            }
            Wanted::Containers(_, setup) => self.containers(&compose::made_of(&setup)?, containers).await?,
        };
        Ok(parts.into_iter().map(|(part, (intended, known))| self.step(&part, intended, known)).collect())
    }

    /// What `destroy` does to the stack: however it runs, and whatever of it.
    pub(super) async fn stack_ends(&self) -> Result<Vec<FeedStep>> {
        let there = stack::parts(&self.workspace, &self.project.config).await?;
        let parts = there.into_iter().filter(|one| one.part != stack::DELIVERY);
        let step = |part: stack::PartStatus| FeedStep {
            what: format!("stack.{}", part.part),
            action: Action::Delete,
            reason: "stopped on this machine, before anything is deleted".into(),
        };
        Ok(parts.map(step).collect())
    }

    /// What becomes of each, and whether it is known what it was made of.
    async fn containers(
        &self,
        wanted: &BTreeMap<String, String>,
        made: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, (Intended, bool)>> {
        let there = stack::parts(&self.workspace, &self.project.config).await?;
        let there = there.into_iter().filter(|one| one.part != stack::DELIVERY);
        let there: BTreeMap<String, State> = there.map(|one| (one.part, one.state)).collect();
        let mut parts: BTreeMap<String, (Intended, bool)> = there
            .keys()
            .filter(|part| !wanted.contains_key(*part))
            .map(|part| (part.clone(), (Intended::End, true)))
            .collect();
        parts.extend(wanted.iter().map(|(part, digest)| {
            let known = made.get(part);
            let intended = match there.get(part) {
                None => Intended::Start,
                Some(State::Failed) => Intended::StartAgain,
                Some(_) if known == Some(digest) => Intended::Nothing,
                Some(_) => Intended::Restart,
            };
            (part.clone(), (intended, known.is_some()))
        }));
        Ok(parts)
    }

    fn step(&self, part: &str, intended: Intended, known: bool) -> FeedStep {
        let (action, reason) = match intended {
            Intended::Start => (Action::Create, self.words_of_part(part)),
            Intended::StartAgain => (Action::Update, "it had stopped: started again".into()),
            Intended::Nothing => (Action::NoOp, String::new()),
            Intended::Restart if known => {
                (Action::Update, format!("restarted with {}", self.words_of_part(part)))
            }
            Intended::Restart => (Action::Update, format!("compared with {}", self.words_of_part(part))),
            Intended::End => (Action::Delete, "no longer part of the stack".into()),
        };
        FeedStep { what: format!("stack.{part}"), action, reason }
    }

    fn words_of_part(&self, part: &str) -> String {
        let ports = &self.project.config.stack.ports;
        match part {
            "generator" => self.live_values(),
            "prometheus" => {
                format!("port {} and the rendered scrape and remote-write configuration", ports.prometheus)
            }
            "pushgateway" => format!("port {} of this machine", ports.pushgateway),
            "grafana" => format!("port {}, the dashboards and alerts", ports.grafana),
            _ => "its rendered configuration".into(),
        }
    }

    fn live_values(&self) -> String {
        let config = &self.project.config;
        let every = config.generator.interval_seconds;
        match config.sources.len() {
            0 if config.feeds() == Feeds::Nothing => format!("no values: {NOTHING_IS_FED}"),
            0 => format!("simulated values of {} teams, every {every} s", config.generator.teams),
            1 => format!("events of 1 source, every {every} s"),
            sources => format!("events of {sources} sources, every {every} s"),
        }
    }
}
