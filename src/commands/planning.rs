//! The plans of a run: what is compared with Google's cloud, and with what is in
//! Mimir, as far as that can be reached.

use std::collections::BTreeSet;
use std::sync::Arc;

use dorainfra_config as config;
use dorainfra_deploy::blueprint::Names;
use dorainfra_deploy::resource::{self, Google, Mimir, VersionChange, lives_in_mimir};
use dorainfra_engine::{self as engine, Action, Manifest, Plan, PlanOptions, ResourceId};
use dorainfra_model::Events;
use dorainfra_prometheus::Flavour;

use super::pipeline::Run;
use super::selection::Selection;
use super::{CommandError, CommandResult};

impl Run<'_> {
    /// Machines go at once, and need not write first what is on their data disk only.
    pub fn without_flush(mut self) -> Self {
        self.provider = Arc::new(self.google().without_flush());
        self
    }

    /// The provider of what is Google's alone.
    pub(super) fn google(&self) -> Google {
        let contents = self.blueprint.contents.clone();
        let machines = self.provider.machines().clone();
        Google::new(self.client.clone(), machines, &self.blueprint.deployment, contents)
            .interrupted_by(self.interrupt.clone())
    }

    /// Has the providers follow the blueprint.
    pub(super) fn connected(mut self) -> Self {
        self.mimir = (self.facts.engine.flavour == Flavour::Mimir).then(|| {
            let (deployment, contents) = (&self.blueprint.deployment, self.blueprint.contents.clone());
            let (client, interrupt) = (self.client.clone(), self.interrupt.clone());
            let machines = self.provider.machines().clone();
            Arc::new(Mimir::new(client, machines, self.reach(), deployment, contents, interrupt))
        });
        let google = self.google();
        self.provider = Arc::new(match &self.mimir {
            Some(mimir) => google.with_mimir(mimir.clone()),
            None => google,
        });
        self
    }

    /// Prometheus can stand in for one Mimir, not for three that are one: each would
    /// have a third of the data.
    pub fn refuse_stand_ins(&self) -> CommandResult<()> {
        let topology = self.project.config.mimir.topology;
        if topology != config::Topology::Ha || self.facts.engine.flavour != Flavour::StandIn {
            return Ok(());
        }
        Err(CommandError::failed(
            "`topology: ha` needs a Mimir: Prometheus cannot stand in for three that are one",
        )
        .hint("give a Mimir binary: `--mimir-binary PATH`; `render` works without one"))
    }

    pub async fn plan(&self, selection: &Selection, events: &Events) -> CommandResult<Plan> {
        self.plan_of(self.blueprint.manifests.clone(), selection, events).await
    }

    /// As [`plan`](Self::plan), to see what there is: what could not be done is no error.
    pub async fn survey(&self, events: &Events) -> CommandResult<Plan> {
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
    ) -> CommandResult<Plan> {
        self.planned(manifests, selection, &selection.options(), events).await
    }

    async fn planned(
        &self,
        mut manifests: Vec<Manifest>,
        selection: &Selection,
        options: &PlanOptions,
        events: &Events,
    ) -> CommandResult<Plan> {
        let name = &self.blueprint.deployment;
        // Together: what is in Mimir is read with the rest, unless it turns out that it can't be.
        let (unknown, whole) = tokio::join!(
            self.look_into_mimir(selection),
            engine::plan(name, manifests.clone(), &*self.provider, options, events)
        );
        let unknown = unknown?;
        let mut plan = match unknown {
            None => whole?,
            Some(_) => {
                manifests.retain(|manifest| !lives_in_mimir(&manifest.kind));
                engine::plan(name, manifests, &self.google(), options, events).await?
            }
        };
        plan.warnings.extend(unknown);
        plan.warnings.extend(self.lacks_native_histograms());
        let bucket = Names::of(&self.project.config).bucket;
        let versions = resource::show_files(&mut plan, &self.blueprint, &bucket, &self.client, events).await;
        self.side_by_side(&plan, &versions)?;
        self.restores(&plan)?;
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
    async fn look_into_mimir(&self, selection: &Selection) -> CommandResult<Option<String>> {
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
    fn side_by_side(&self, plan: &Plan, versions: &[VersionChange]) -> CommandResult<()> {
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
                let message = format!(
                    "Mimir can't go from {from} to {to} at once: replicas are changed one after the other, and \
                     those of the two do not work side by side"
                );
                return Err(CommandError::usage(message).hint(format!(
                    "go by {}: set `mimir.version` to it, `dorainfra apply`, and then to {to}",
                    stops.join(", then ")
                )));
            }
        }
        Ok(())
    }

    /// An error where a disk that is there stands in the way of the one that is to be restored.
    fn restores(&self, plan: &Plan) -> CommandResult<()> {
        let kept =
            plan.steps.iter().filter(|step| step.id.kind == "compute.disk" && step.action == Action::Keep);
        let mut in_the_way =
            kept.filter_map(|step| Some((step, self.facts.restore_disks.get(&step.id.name)?)));
        let Some((disk, snapshot)) = in_the_way.next() else { return Ok(()) };
        Err(CommandError::usage(format!("{} exists: it is not made from `{snapshot}`", disk.id)).hint(
            "--delete-data replaces it, and the machine with it: what is on it and not in the bucket is lost",
        ))
    }

    pub async fn plan_destroy(&self, selection: &Selection, events: &Events) -> CommandResult<Plan> {
        let (name, manifests) = (&self.blueprint.deployment, self.blueprint.manifests.clone());
        // What is in Mimir goes with the bucket.
        Ok(engine::plan_destroy(name, manifests, &self.google(), &selection.options(), events).await?)
    }
}
