//! The plans of a run: what is compared with Google's cloud, and with what is in
//! Mimir, as far as that can be reached.

use std::collections::BTreeSet;

use dorainfra_config as config;
use dorainfra_engine::{self as engine, Action, Manifest, Plan, PlanOptions, ResourceId};
use dorainfra_model::{Events, FeedStep, Stage};
use dorainfra_prometheus::Flavour;

use super::error::{Error, InputError, Result};
use super::phase::stage;
use super::run::Run;
use super::selection::Selection;
use crate::blueprint::Names;
use crate::resource::{self, VersionChange, lives_in_mimir};

/// What is to be done: to resources, and after them.
#[derive(Clone, Debug)]
pub struct Planned {
    pub plan: Plan,
    pub follow_up: Vec<FeedStep>,
}

impl Planned {
    pub fn has_changes(&self) -> bool {
        self.plan.has_changes() || self.follow_up.iter().any(FeedStep::is_change)
    }
}

impl Run {
    /// Prometheus can stand in for one Mimir, not for three that are one: each would
    /// have a third of the data.
    pub fn refuse_stand_ins(&self) -> Result<()> {
        let topology = self.project.config.mimir.topology;
        if topology != config::Topology::Ha || self.facts.engine.flavour != Flavour::StandIn {
            return Ok(());
        }
        Err(Error::StandInsForHa)
    }

    pub async fn plan(&self, selection: &Selection, events: &Events) -> Result<Plan> {
        self.plan_of(self.blueprint.manifests.clone(), selection, events).await
    }

    /// As [`plan`](Self::plan), to see what there is: what could not be done is no error.
    pub async fn survey(&self, events: &Events) -> Result<Plan> {
        let selection = Selection::default();
        let options = PlanOptions { survey: true, ..selection.options() };
        self.planned(self.blueprint.manifests.clone(), &selection, &options, events).await
    }

    /// Of other manifests than the blueprint's very own.
    pub async fn plan_of(
        &self,
        manifests: Vec<Manifest>,
        selection: &Selection,
        events: &Events,
    ) -> Result<Plan> {
        self.planned(manifests, selection, &selection.options(), events).await
    }

    async fn planned(
        &self,
        manifests: Vec<Manifest>,
        selection: &Selection,
        options: &PlanOptions,
        events: &Events,
    ) -> Result<Plan> {
        self.while_it_answers(Box::pin(self.compared(manifests, selection, options, events))).await
    }

    async fn compared(
        &self,
        mut manifests: Vec<Manifest>,
        selection: &Selection,
        options: &PlanOptions,
        events: &Events,
    ) -> Result<Plan> {
        let name = &self.blueprint.deployment;
        let wave = self.wave();
        let reading = self.provider.reading(wave);
        // Together: what is in Mimir is read with the rest, unless it turns out that it can't be.
        let (unknown, whole) = tokio::join!(
            self.look_into_mimir(selection),
            engine::plan(name, manifests.clone(), &reading, options, events)
        );
        let unknown = unknown?;
        let mut plan = match unknown {
            None => whole?,
            Some(_) => {
                manifests.retain(|manifest| !lives_in_mimir(&manifest.kind));
                engine::plan(name, manifests, &reading.without_mimir(), options, events).await?
            }
        };
        plan.warnings.extend(unknown);
        plan.warnings.extend(self.lacks_native_histograms());
        let bucket = Names::of(&self.project.config).bucket;
        let shown = resource::show_files(&mut plan, &self.blueprint, &bucket, &self.client, events);
        let versions = stage(events, Stage::Files, shown).await;
        // To see what is there is not to do anything.
        if !options.survey {
            self.side_by_side(&plan, &versions)?;
            self.restores(&plan)?;
            plan.warnings.extend(self.boot_disks(&plan).await);
        }
        Ok(plan)
    }

    /// What the configuration wants and this engine can't have.
    fn lacks_native_histograms(&self) -> Option<String> {
        let config = &self.project.config;
        let lacks = config.generator.native_histograms && !self.facts.native_histograms(config);
        lacks.then(|| {
            format!(
                "{} takes no native histograms out of order, so it can have no history of them: \
                 `generator.native_histograms` counts for nothing here, and classic ones are written",
                self.facts.engine.label()
            )
        })
    }

    /// Why what is in Mimir cannot be compared, if so: Mimir is there, but not for
    /// whoever asks from here. The rest of a plan is as good without.
    async fn look_into_mimir(&self, selection: &Selection) -> Result<Option<String>> {
        let named: Vec<&ResourceId> = selection.target.iter().chain(&selection.replace).collect();
        let named_inside = named.iter().any(|id| lives_in_mimir(&id.kind));
        let Some(mimir) = &self.mimir else { return Ok(None) };
        // What is named needs nothing that is in Mimir.
        if !selection.target.is_empty() && !named_inside {
            return Ok(None);
        }
        match mimir.look().await {
            Ok(()) => Ok(None),
            Err(error) if named_inside => Err(error.into()),
            Err(error) => Ok(Some(format!(
                "{error}: its rules and its alertmanager are not compared and stay as they are. {}",
                error.hint.as_deref().unwrap_or_default().replace('\n', " ")
            ))),
        }
    }

    /// An error where replicas of two versions would have to work together, while one after
    /// the other is changed, and can't.
    fn side_by_side(&self, plan: &Plan, versions: &[VersionChange]) -> Result<()> {
        let wanted = self.blueprint.manifests.iter().map(|manifest| (&manifest.kind, &manifest.name));
        let there = plan.steps.iter().map(|step| (&step.id.kind, &step.id.name));
        let machines: BTreeSet<_> =
            wanted.chain(there).filter(|(kind, _)| *kind == "compute.instance").collect();
        if machines.len() < 2 {
            return Ok(());
        }
        for VersionChange { from, to } in versions {
            let stops = config::mimir_stops(from, to);
            if !stops.is_empty() {
                let (from, to) = (from.clone(), to.clone());
                return Err(InputError::Versions { from, to, stops }.into());
            }
        }
        Ok(())
    }

    /// An error where a disk that is there stands in the way of the one that is to be restored.
    fn restores(&self, plan: &Plan) -> Result<()> {
        let kept =
            plan.steps.iter().filter(|step| step.id.kind == "compute.disk" && step.action == Action::Keep);
        let mut in_the_way =
            kept.filter_map(|step| Some((step, self.facts.restore_disks.get(&step.id.name)?)));
        let Some((disk, snapshot)) = in_the_way.next() else { return Ok(()) };
        Err(InputError::DiskInTheWay { disk: disk.id.clone(), snapshot: snapshot.clone() }.into())
    }

    pub async fn plan_destroy(&self, selection: &Selection, events: &Events) -> Result<Plan> {
        let (name, manifests) = (&self.blueprint.deployment, self.blueprint.manifests.clone());
        // What is in Mimir goes with the bucket.
        let (google, options) = (self.google().reading(self.wave()), selection.options());
        let plan = Box::pin(engine::plan_destroy(name, manifests, &google, &options, events));
        self.while_it_answers(Box::pin(async { Ok(plan.await?) })).await
    }
}
