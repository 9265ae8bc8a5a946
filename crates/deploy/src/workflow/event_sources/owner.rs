//! Whose the events of a source are, and by which rules what it tells becomes events.

use dorainfra_config::{ChangesAre, DeployedBy, Source};
use dorainfra_dora::events::PRODUCTION;
use dorainfra_dora::source::{Exclude, Owner, Patterns, Rules, forge};

/// Whose the events of a source are.
pub fn owner(source: &Source) -> Owner {
    let project = source.project.as_deref().unwrap_or_default();
    let folder = source.path.as_ref().and_then(|path| path.canonicalize().ok());
    let folder =
        folder.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    let folder = folder.unwrap_or_else(|| "repository".into());
    let (group, name) = project.rsplit_once('/').unwrap_or((&folder, &folder));
    Owner {
        team: source.team.clone().unwrap_or_else(|| group.to_owned()),
        service: source.service.clone().unwrap_or_else(|| name.to_owned()),
        environment: source.environment.clone().unwrap_or_else(|| PRODUCTION.to_owned()),
    }
}

pub fn rules(source: &Source) -> Rules {
    let usual = Rules::default();
    let given = |patterns: &Option<Vec<String>>, usual: Patterns| match patterns {
        Some(patterns) => Patterns::new(patterns),
        None => usual,
    };
    Rules {
        hotfix: given(&source.hotfix, usual.hotfix),
        revert: given(&source.revert, usual.revert),
        hotfix_labels: given(&source.hotfix_labels, usual.hotfix_labels),
        incident_labels: given(&source.incident_labels, usual.incident_labels),
        exclude: exclude(source),
    }
}

pub fn exclude(source: &Source) -> Exclude {
    source.exclude.as_ref().map_or(Exclude::Usual, |patterns| Exclude::Patterns(Patterns::new(patterns)))
}

pub fn deployed(source: &Source) -> forge::Deployed {
    match source.deployments {
        Some(DeployedBy::Releases) => forge::Deployed::Releases,
        Some(DeployedBy::Deployments) | None => forge::Deployed::Deployments,
    }
}

pub fn unit(source: &Source) -> forge::Unit {
    match source.changes {
        Some(ChangesAre::Requests) => forge::Unit::Requests,
        Some(ChangesAre::Commits) | None => forge::Unit::Commits,
    }
}
