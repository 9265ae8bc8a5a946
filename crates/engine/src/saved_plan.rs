//! Saved plans: whether the world is still the one that a plan was made from.

use std::collections::BTreeSet;

use dorainfra_model::Events;

use super::{EngineError, Plan, Provider, ResourceId, Stale, plan, plan_destroy};

/// Compares a saved plan with one made now from the same manifests.
///
/// # Errors
/// [`Stale`] names every resource that was read otherwise, appeared or is gone.
pub fn check_fresh(saved: &Plan, now: &Plan) -> Result<(), Stale> {
    let (before, after) = (&saved.basis.digests, &now.basis.digests);
    let ids: BTreeSet<&ResourceId> = before.keys().chain(after.keys()).collect();
    let changed: Vec<ResourceId> =
        ids.into_iter().filter(|id| before.get(id) != after.get(id)).cloned().collect();
    let same = changed.is_empty()
        && saved.observed == now.observed
        && saved.deployment == now.deployment
        && saved.manifests == now.manifests;
    if same { Ok(()) } else { Err(Stale { changed }) }
}

/// Makes a saved plan again, in the way it was made, and answers the new one,
/// which can be applied, if it is the same.
///
/// # Errors
/// [`EngineError::OtherDeployment`] for another deployment's plan,
/// [`EngineError::Stale`] when the world has changed, and all that planning can
/// fail with.
pub async fn replan(
    saved: &Plan,
    deployment: &str,
    provider: &dyn Provider,
    events: &Events,
) -> Result<Plan, EngineError> {
    if saved.deployment != deployment {
        return Err(EngineError::OtherDeployment {
            plan: saved.deployment.clone(),
            here: deployment.to_owned(),
        });
    }
    let (manifests, options) = (saved.manifests.clone(), &saved.basis.options);
    let now = if saved.basis.destroy {
        plan_destroy(deployment, manifests, provider, options, events).await?
    } else {
        plan(deployment, manifests, provider, options, events).await?
    };
    check_fresh(saved, &now)?;
    Ok(now)
}
