//! Whose the events of a source are, and by which rules what it tells becomes events.

use dorainfra_config::{ChangesAre, DeployedBy, Source};
use dorainfra_dora::events::PRODUCTION;
use dorainfra_dora::source::{Exclude, Owner, Patterns, Rules, forge};

use super::super::error::InputError;
use super::super::workspace::Workspace;
use super::{Failed, is_git, is_nobodys, name};

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

/// Of each source whether it can't be read, as another one has its team and service: whose a
/// repository is may be known only when it was asked.
pub fn shared(workspace: &Workspace, sources: &[Source]) -> Vec<Option<Failed>> {
    let owners: Vec<Option<Owner>> = sources
        .iter()
        .map(|source| (makes_events(source) && !is_nobodys(source)).then(|| owner(source)))
        .collect();
    let prefixes: Vec<Option<String>> =
        owners.iter().map(|owner| owner.as_ref().map(Owner::prefix)).collect();
    let of = |index: usize| {
        let owner = owners[index].as_ref()?;
        let same = |other: &usize| *other != index && prefixes[*other] == prefixes[index];
        let other = (0..sources.len()).find(same)?;
        let error = InputError::SharedService {
            service: format!("{}/{}", owner.team, owner.service),
            one: name(workspace, &sources[index]),
            other: name(workspace, &sources[other]),
        };
        Some(Failed { source: name(workspace, &sources[index]), error: error.into() })
    };
    (0..sources.len()).map(of).collect()
}

/// Whether its events are of one team's service, which it says.
pub fn makes_events(source: &Source) -> bool {
    source.project.is_some() || is_git(source)
}

/// What of a file is told as another team's or service's than before, in words.
pub fn moved(events: &[(&str, String)]) -> Option<String> {
    const NAMED: usize = 3;
    let named = events.iter().take(NAMED).map(|(id, owner)| format!("`{id}` ({owner})"));
    let more = if events.len() > NAMED { ", …" } else { "" };
    let named = format!("{}{more}", named.collect::<Vec<_>>().join(", "));
    (!events.is_empty()).then(|| {
        format!(
            "events of another team or service had these ids before, and are gone ({}): {named}",
            events.len()
        )
    })
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
