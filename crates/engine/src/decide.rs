//! What is to be done with one resource of a manifest, and why. Pure: from what
//! is declared and what was read to an action.

use super::desired::Desired;
use super::diff::{Difference, diff};
use super::error::ForeignWhy;
use super::{
    Action, Change, KindSpec, Manifest, Observed, Ownership, PlanOptions, ResourceId, UNFINISHED, digest,
};

/// All that the decision depends on.
pub(super) struct Case<'a> {
    pub manifest: &'a Manifest,
    pub spec: &'a KindSpec,
    /// The body with its references resolved as far as they are known.
    pub desired: &'a Desired,
    pub observed: Option<&'a Observed>,
    /// It was found by its mark, but not where the manifest says.
    pub moved: bool,
    /// What holds it, or it hangs on, if that is replaced: it goes with it.
    pub goes_with: Option<&'a ResourceId>,
    pub options: &'a PlanOptions,
}

#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Do {
        action: Action,
        reason: String,
        changes: Vec<Change>,
        warning: Option<String>,
    },
    /// Not ours to change.
    Foreign(ForeignWhy),
}

impl Verdict {
    fn plain(action: Action, reason: impl Into<String>, changes: Vec<Change>) -> Self {
        Self::Do { action, reason: reason.into(), changes, warning: None }
    }
}

pub(super) fn decide(case: &Case<'_>) -> Verdict {
    let Some(observed) = case.observed else {
        return Verdict::plain(Action::Create, "does not exist yet", Vec::new());
    };
    let adopting = match &observed.ownership {
        Ownership::Other(deployment) => {
            return Verdict::Foreign(ForeignWhy::OtherDeployment(deployment.clone()));
        }
        Ownership::Unmarked if case.spec.markable => {
            if !case.options.adopt {
                return Verdict::Foreign(ForeignWhy::Unmarked);
            }
            true
        }
        Ownership::Unmarked | Ownership::Ours => false,
    };
    let differences = diff(case.desired, &observed.body, case.spec);
    let cause = Cause::of(case.manifest, observed, &differences);
    let forced: Vec<&Difference> =
        differences.iter().filter(|difference| difference.change.forces_replacement).collect();
    let asked = case.options.replace.contains(&case.manifest.id());
    if adopting && !forced.is_empty() && !asked {
        let fields = forced.iter().map(|difference| difference.change.path.clone()).collect();
        return Verdict::Foreign(ForeignWhy::CannotAdopt(fields));
    }
    let replacement = if asked {
        Some("you asked for it".to_owned())
    } else if !forced.is_empty() {
        Some(cause.replacement(&forced))
    } else if case.moved {
        Some("it is in another place".to_owned())
    } else {
        case.goes_with.map(|holder| format!("it goes with {holder}, which is replaced"))
    };
    let reason = cause.update();
    let changes: Vec<Change> = differences.into_iter().map(|difference| difference.change).collect();
    match replacement {
        Some(because) if case.manifest.protect && !case.options.delete_data => Verdict::Do {
            action: Action::Keep,
            warning: Some(format!(
                "{} would be replaced, because {because}, but it holds data: it stays as it is. \
                 --delete-data replaces it, and its data is lost",
                case.manifest.id(),
            )),
            reason: "it holds data; --delete-data replaces it".into(),
            changes,
        },
        Some(because) => Verdict::plain(Action::Replace, format!("replace, because {because}"), changes),
        None if adopting => {
            Verdict::plain(Action::Adopt, "exists without our mark, and --adopt was given", changes)
        }
        // Also when only the digest in the mark is an old one: the resource is
        // as it should be, and a write would be noise. The digest is renewed by
        // the next change; until then a drift may be called a change of the
        // configuration, nothing worse.
        None if changes.is_empty() => Verdict::plain(Action::NoOp, "up to date", changes),
        None => Verdict::plain(Action::Update, reason, changes),
    }
}

/// Where the differences come from.
enum Cause {
    /// The manifest is not the one that was applied.
    Configuration,
    /// Nobody marks such a resource: the two can't be told apart.
    Unmarked,
    /// The manifest is the one that was applied.
    Cloud,
    /// A run of ours did not end.
    Unfinished,
    /// New values come from resources that are made anew, or were since.
    Others(Vec<ResourceId>),
}

impl Cause {
    fn of(manifest: &Manifest, observed: &Observed, differences: &[Difference]) -> Self {
        let mut others: Vec<ResourceId> = Vec::new();
        for id in differences.iter().flat_map(|difference| &difference.via) {
            if !others.contains(id) {
                others.push(id.clone());
            }
        }
        let all_from_others = differences.iter().all(|difference| !difference.via.is_empty());
        match &observed.applied {
            Some(applied) if applied == UNFINISHED => Self::Unfinished,
            Some(applied) if *applied != digest(manifest) => Self::Configuration,
            _ if all_from_others && !others.is_empty() => Self::Others(others),
            Some(_) => Self::Cloud,
            None => Self::Unmarked,
        }
    }

    fn update(&self) -> String {
        match self {
            Self::Configuration => "you changed the configuration".into(),
            Self::Unmarked => "differs from the configuration".into(),
            Self::Cloud => "somebody changed it in the cloud".into(),
            Self::Unfinished => "an earlier run began to take it down, and did not end".into(),
            Self::Others(others) => format!("takes what is new in {}", and(others)),
        }
    }

    fn replacement(&self, forced: &[&Difference]) -> String {
        let fields: Vec<String> =
            forced.iter().map(|difference| format!("`{}`", difference.change.path)).collect();
        let fields = and(&fields);
        match self {
            Self::Configuration | Self::Unmarked | Self::Unfinished => format!("{fields} cannot change"),
            Self::Cloud => {
                format!("somebody changed {fields} in the cloud, which cannot be changed back")
            }
            Self::Others(others) => {
                format!("{fields} cannot change, and {} is new", and(others))
            }
        }
    }
}

fn and(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    match items.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {

    use serde_json::{Value, json};

    use super::*;

    const SPEC: KindSpec = KindSpec { immutable: &["zone"], ..KindSpec::plain("mem.disk") };

    fn manifest() -> Manifest {
        Manifest::new("mem.disk", "data", json!({"zone": "a", "size": 50}))
    }

    fn observed(body: Value) -> Observed {
        Observed { id: manifest().id(), body, ownership: Ownership::Ours, applied: Some(digest(&manifest())) }
    }

    /// The verdict in a line.
    fn told(manifest: &Manifest, observed: Option<&Observed>, options: &PlanOptions) -> String {
        let desired = Desired::literal(manifest.body.clone());
        let case = Case {
            manifest,
            spec: &SPEC,
            desired: &desired,
            observed,
            moved: false,
            goes_with: None,
            options,
        };
        match decide(&case) {
            Verdict::Do { action, reason, warning, .. } => {
                let warning = warning.map(|text| format!(" ({text})")).unwrap_or_default();
                format!("{action:?}: {reason}{warning}")
            }
            Verdict::Foreign(why) => format!("foreign: {why:?}"),
        }
    }

    #[test]
    fn each_action_has_its_reason() {
        let plain = PlanOptions::default();
        let adopt = PlanOptions { adopt: true, ..plain.clone() };
        let replace = PlanOptions { replace: vec![manifest().id()], ..plain.clone() };
        let data = PlanOptions { delete_data: true, ..plain.clone() };
        let same = observed(json!({"zone": "a", "size": "50", "more": 1}));
        let bigger = observed(json!({"zone": "a", "size": 60}));
        let moved = observed(json!({"zone": "b", "size": 50}));
        let earlier = |observed: &Observed| Observed { applied: Some("0".repeat(32)), ..observed.clone() };
        let unfinished =
            |observed: &Observed| Observed { applied: Some(UNFINISHED.to_owned()), ..observed.clone() };
        let owned_by = |observed: &Observed, ownership: Ownership| Observed {
            ownership,
            applied: None,
            ..observed.clone()
        };
        let unmarked = |observed: &Observed| owned_by(observed, Ownership::Unmarked);
        let protected = Manifest { protect: true, ..manifest() };
        let lines = [
            told(&manifest(), None, &plain),
            told(&manifest(), Some(&same), &plain),
            told(&manifest(), Some(&earlier(&same)), &plain),
            told(&manifest(), Some(&bigger), &plain),
            told(&manifest(), Some(&earlier(&bigger)), &plain),
            told(&manifest(), Some(&unfinished(&bigger)), &plain),
            told(&manifest(), Some(&moved), &plain),
            told(&manifest(), Some(&earlier(&moved)), &plain),
            told(&manifest(), Some(&same), &replace),
            told(&protected, Some(&earlier(&moved)), &plain),
            told(&protected, Some(&earlier(&moved)), &data),
            told(&protected, Some(&bigger), &plain),
            told(&manifest(), Some(&unmarked(&same)), &plain),
            told(&manifest(), Some(&unmarked(&same)), &adopt),
            told(&manifest(), Some(&unmarked(&bigger)), &adopt),
            told(&manifest(), Some(&unmarked(&moved)), &adopt),
            told(&manifest(), Some(&owned_by(&same, Ownership::Other("prod".into()))), &adopt),
        ];
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn what_cannot_carry_a_mark_is_ours_by_its_place() {
        let spec = KindSpec { markable: false, ..SPEC };
        let (manifest, options) = (manifest(), PlanOptions::default());
        let desired = Desired::literal(manifest.body.clone());
        let observed = Observed {
            ownership: Ownership::Unmarked,
            applied: None,
            ..observed(json!({"zone": "a", "size": 1}))
        };
        let holder = ResourceId::new("mem.bucket", "b");
        let mut case = Case {
            manifest: &manifest,
            spec: &spec,
            desired: &desired,
            observed: Some(&observed),
            moved: false,
            goes_with: None,
            options: &options,
        };
        assert!(matches!(
            decide(&case),
            Verdict::Do { action: Action::Update, reason, .. } if reason == "differs from the configuration"
        ));
        case.goes_with = Some(&holder);
        assert!(matches!(
            decide(&case),
            Verdict::Do { action: Action::Replace, reason, .. }
                if reason == "replace, because it goes with mem.bucket/b, which is replaced"
        ));
    }
}
