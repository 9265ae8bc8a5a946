//! Making a plan: read the world in one wave, then decide for each resource, in
//! the order of the graph, as a decision may make a value of a later one unknown.

use std::collections::BTreeMap;

use dorainfra_model::Events;
use serde_json::Value;

use super::decide::{Case, Verdict, decide};
use super::desired::{Answer, Desired, Resolver, Unresolved};
use super::error::Foreign;
use super::graph::Graph;
use super::observed_state::ObservedState;
use super::orphans;
use super::planning::{all_observed, doubles, finish, read, seen, specs};
use super::reference::{NAME, Reference, lookup};
use super::selection::Selection;
use super::{
    Action, Basis, Change, EngineError, Finding, KindSpec, Manifest, Observed, Plan, PlanOptions, Provider,
    ResourceId, Step,
};

/// Compares `manifests` with the cloud and says what applying them would do.
/// Changes nothing.
///
/// Resources of this deployment that no manifest names are deleted, after
/// everything else. A protected resource is neither deleted nor replaced unless
/// `options.delete_data`; nor is an orphan of a kind of which a manifest is
/// protected, as an orphan has no manifest of its own to say so.
///
/// # Errors
/// Manifests that contradict themselves, a read that failed, and resources that
/// are not this deployment's ([`EngineError::NotOurs`] names all of them), changes that
/// the cloud cannot make ([`EngineError::Impossible`]), and something to make while places
/// can't be asked where it may be already ([`EngineError::Unseen`]).
pub async fn plan(
    deployment: &str,
    manifests: Vec<Manifest>,
    provider: &dyn Provider,
    options: &PlanOptions,
    events: &Events,
) -> Result<Plan, EngineError> {
    let graph = Graph::new(&manifests)?;
    let specs = specs(&manifests, provider)?;
    let mut selection = Selection::for_apply(&manifests, &graph, options);
    let state = read(deployment, &manifests, &selection, provider, options, events).await?;
    selection.settle(&state);
    selection.check(&graph, &state, options)?;

    let mut planning = Planning {
        manifests: &manifests,
        graph: &graph,
        specs: &specs,
        provider,
        state: &state,
        options,
        decisions: (0..manifests.len()).map(|_| None).collect(),
        steps: Vec::new(),
        digests: BTreeMap::new(),
        foreign: Vec::new(),
        impossible: Vec::new(),
        warnings: doubles(&state),
    };
    for &position in graph.order.iter().filter(|&&position| selection.included[position]) {
        planning.decide(position)?;
    }
    if !planning.foreign.is_empty() {
        return Err(EngineError::NotOurs { resources: planning.foreign });
    }
    planning.look_out_for_unseen()?;
    planning.preflight().await;
    if options.survey {
        let obstacles = std::mem::take(&mut planning.impossible);
        planning.warnings.extend(obstacles.iter().map(told));
    }
    if !planning.impossible.is_empty() {
        return Err(EngineError::Impossible { findings: planning.impossible });
    }
    let ends = planning.last_changes();
    let Planning { mut steps, mut digests, mut warnings, .. } = planning;
    let orphans = orphans::Orphans::of(&state, &manifests, &graph, &selection, options.delete_data);
    digests.extend(orphans.digests());
    warnings.extend(orphans.warnings());
    orphans.add_steps(&mut steps, &ends, &graph, provider);
    let basis = Basis { destroy: false, options: options.clone(), digests, observed: all_observed(state) };
    Ok(finish(deployment, manifests, steps, warnings, basis))
}

/// What was decided for a manifest, as far as those that refer to it care.
struct Decision<'a> {
    spec: &'a KindSpec,
    action: Action,
    desired: Desired,
    changes: Vec<Change>,
    observed: Option<&'a Observed>,
}

impl Decision<'_> {
    fn answer(&self, reference: &Reference) -> Answer {
        let field = reference.field.as_str();
        if field == NAME {
            return Answer::Known(Value::String(reference.to.name.clone()));
        }
        let observed = self.observed.and_then(|observed| lookup(&observed.body, field)).cloned();
        match self.action {
            Action::Create | Action::Replace | Action::Delete => Answer::Unknown,
            Action::NoOp | Action::Keep => observed.map_or(Answer::Missing, Answer::Known),
            Action::Update | Action::Adopt if self.spec.renewed.contains(&field) => Answer::Unknown,
            Action::Update | Action::Adopt => {
                let top = |path: &str| path.split(['.', '[']).next().unwrap_or_default().to_owned();
                let touched = self.changes.iter().any(|change| top(&change.path) == top(field));
                let declared = self.desired.lookup(field).filter(|_| touched);
                match declared {
                    Some(declared) => declared.value().map_or(Answer::Unknown, Answer::Known),
                    None => observed.map_or(Answer::Unknown, Answer::Known),
                }
            }
        }
    }
}

fn told(finding: &Finding) -> String {
    format!("{}: {}: {}", finding.subject, finding.problem, finding.instead)
}

struct Planning<'a> {
    manifests: &'a [Manifest],
    graph: &'a Graph,
    specs: &'a [&'a KindSpec],
    provider: &'a dyn Provider,
    state: &'a ObservedState,
    options: &'a PlanOptions,
    /// By position; filled in the order of the graph.
    decisions: Vec<Option<Decision<'a>>>,
    steps: Vec<Step>,
    digests: BTreeMap<ResourceId, String>,
    foreign: Vec<Foreign>,
    impossible: Vec<Finding>,
    warnings: Vec<String>,
}

impl<'a> Planning<'a> {
    fn decide(&mut self, position: usize) -> Result<(), EngineError> {
        let (manifest, id) = (&self.manifests[position], &self.graph.ids[position]);
        let read = self.state.read.get(id);
        let observed: Option<&'a Observed> = read.or_else(|| self.state.owned.get(id));
        let desired = self.resolve(position)?;
        let verdict = decide(&Case {
            manifest,
            spec: self.specs[position],
            desired: &desired,
            observed,
            moved: read.is_none() && observed.is_some(),
            goes_with: self.replaced_holder(position),
            options: self.options,
        });
        let (action, reason, changes) = match verdict {
            Verdict::Do { action, reason, changes, warning } => {
                self.warnings.extend(warning);
                (action, reason, changes)
            }
            Verdict::Foreign(why) => {
                self.foreign.push(Foreign { id: id.clone(), why });
                // Go on, to find all of them: there will be no plan, but what
                // refers to it needs an answer.
                (Action::Update, String::new(), Vec::new())
            }
        };
        if let (Action::Update | Action::Adopt | Action::Keep, Some(observed)) = (action, observed) {
            self.impossible.extend(self.provider.impossible(manifest, observed, &changes));
        }
        self.digests.insert(id.clone(), seen(observed, action, &changes));
        self.steps.push(Step {
            id: id.clone(),
            action,
            reason,
            changes: changes.clone(),
            needs: self.graph.needs[position].iter().map(|&need| self.graph.ids[need].clone()).collect(),
            notes: manifest.notes.clone(),
        });
        self.decisions[position] =
            Some(Decision { spec: self.specs[position], action, desired, changes, observed });
        Ok(())
    }

    /// What can't be asked where it may be already is not made a second time: a data disk in
    /// another place, say, of which an empty one would take the place.
    fn look_out_for_unseen(&mut self) -> Result<(), EngineError> {
        let unseen = &self.state.unseen;
        if unseen.is_empty() {
            return Ok(());
        }
        let creates = self.decisions.iter().flatten().any(|decision| decision.action == Action::Create);
        if creates && !self.options.survey {
            return Err(EngineError::Unseen { places: unseen.clone() });
        }
        self.warnings.extend(unseen.iter().map(|place| {
            format!(
                "{place} can't be asked now: what else of this deployment may be there is left as it is, \
                 and not part of this plan"
            )
        }));
        Ok(())
    }

    /// Has the provider look at what will be made.
    async fn preflight(&mut self) {
        let makes = |(manifest, decision): (&'a Manifest, &Option<Decision<'a>>)| {
            let decision = decision.as_ref()?;
            matches!(decision.action, Action::Create | Action::Replace).then_some(manifest)
        };
        let creating: Vec<&Manifest> = self.manifests.iter().zip(&self.decisions).filter_map(makes).collect();
        let changes = |(manifest, decision): (&'a Manifest, &'_ Option<Decision<'a>>)| {
            let decision = decision.as_ref()?;
            (decision.action == Action::Update).then(|| (manifest, decision.changes.clone()))
        };
        let changing: Vec<(&Manifest, Vec<Change>)> =
            self.manifests.iter().zip(&self.decisions).filter_map(changes).collect();
        if creating.is_empty() && changing.is_empty() {
            return;
        }
        let changing: Vec<(&Manifest, &[Change])> =
            changing.iter().map(|(manifest, changes)| (*manifest, changes.as_slice())).collect();
        for finding in self.provider.preflight(&creating, &changing).await {
            match finding.refuses {
                true => self.impossible.push(finding),
                false => self.warnings.push(told(&finding)),
            }
        }
    }

    fn resolve(&self, position: usize) -> Result<Desired, EngineError> {
        let answer = |reference: &Reference| match self.decision(&reference.to) {
            Some(decision) => decision.answer(reference),
            // Its own name.
            None => Answer::Known(Value::String(reference.to.name.clone())),
        };
        let resolver = Resolver { known: &|id| self.graph.contains(id), answer: &answer };
        resolver.body(&self.manifests[position].body).map_err(|unresolved| {
            let from = self.graph.ids[position].clone();
            match unresolved {
                Unresolved::Missing(Reference { to, field }) => EngineError::MissingField { from, to, field },
                Unresolved::Malformed(text) => EngineError::BadReference { from, text },
            }
        })
    }

    fn decision(&self, id: &ResourceId) -> Option<&Decision<'a>> {
        self.decisions[self.graph.position(id)?].as_ref()
    }

    /// What holds this resource, if that is replaced: its kind's holder, or,
    /// for what has no mark and so is ours by its place, anything it needs.
    fn replaced_holder(&self, position: usize) -> Option<&'a ResourceId> {
        let holder = self.specs[position].lives_in;
        let placed = !self.specs[position].markable;
        self.graph.needs[position]
            .iter()
            .find(|&&need| {
                let replaced =
                    self.decisions[need].as_ref().is_some_and(|decision| decision.action == Action::Replace);
                replaced && (placed || holder.is_some_and(|kind| kind == self.graph.ids[need].kind))
            })
            .map(|&need| &self.graph.ids[need])
    }

    /// The changed resources that no other changed one needs: when all of them
    /// are done, everything is.
    fn last_changes(&self) -> Vec<ResourceId> {
        let mut followed = vec![false; self.graph.ids.len()];
        let mut ends = Vec::new();
        for &position in self.graph.order.iter().rev() {
            let Some(decision) = &self.decisions[position] else { continue };
            let changes = !matches!(decision.action, Action::NoOp | Action::Keep);
            if changes && !followed[position] {
                ends.push(self.graph.ids[position].clone());
            }
            if changes || followed[position] {
                for &need in &self.graph.needs[position] {
                    followed[need] = true;
                }
            }
        }
        ends.reverse();
        ends
    }
}
