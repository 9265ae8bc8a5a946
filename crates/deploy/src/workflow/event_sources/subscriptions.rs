//! From `sources` to what a receiver knows of its senders.

use std::path::Path;

use dorainfra_config::{Source, SourceKind};
use dorainfra_dora::events::PRODUCTION;
use dorainfra_dora::source::Patterns;
use dorainfra_dora::source::forges::{self, Known};
use dorainfra_dora::source::webhook::mapping::{self, Mapping};
use dorainfra_dora::source::webhook::{Intake, Reading, Sender, Subscribed, Subscriptions};

use super::super::error::{InputError, Result};
use super::files::{CHECK_THE_PATH, Files};
use super::owner::{deployed, owner, rules, unit};

/// What the configuration says of whoever sends something.
pub fn subscriptions(configured: &[Source], files: &Files) -> Result<Subscriptions> {
    let mut known = Subscriptions::default();
    for source in configured {
        if let Some(forge) = forges::named(source.kind.name()) {
            known.projects.push(project(Sender::Forge(Known(forge)), source, files));
            continue;
        }
        match source.kind {
            SourceKind::Git => known.elsewhere.push(owner(source)),
            SourceKind::Cdevents => known.intakes.push(intake(Sender::Cdevents, source, None)),
            SourceKind::Webhook => {
                let mapping = mapping_of(source)?;
                known.intakes.push(intake(Sender::Webhook, source, Some(mapping)));
            }
            _ => {}
        }
    }
    Ok(known)
}

fn project(sender: Sender, source: &Source, files: &Files) -> Subscribed {
    Subscribed {
        sender,
        project: source.project.clone().unwrap_or_default(),
        reading: reading(source),
        owner: owner(source),
        rules: rules(source),
        state: Some(files.of_source(source)),
    }
}

fn intake(sender: Sender, source: &Source, mapping: Option<Mapping>) -> Intake {
    Intake {
        sender,
        hook: source.hook().unwrap_or_default(),
        mapping,
        services: source.services.as_ref().map(Patterns::new),
        team: source.team.clone(),
        service: source.service.clone(),
        teams: teams(source),
        rules: rules(source),
        reading: reading(source),
        names_environment: source.environment.is_some(),
    }
}

fn teams(source: &Source) -> Vec<(Patterns, String)> {
    let pairs = source.teams.iter().flatten().filter_map(|pair| pair.rsplit_once('='));
    pairs.map(|(pattern, team)| (Patterns::new([pattern.trim()]), team.trim().to_owned())).collect()
}

fn reading(source: &Source) -> Reading {
    Reading {
        environment: source.environment.clone().unwrap_or_else(|| PRODUCTION.to_owned()),
        deployed: deployed(source),
        unit: unit(source),
        workflows: Patterns::new(source.workflows.iter().flatten()),
    }
}

fn mapping_of(source: &Source) -> Result<Mapping> {
    if let Some(path) = &source.path {
        return read(path);
    }
    let name = source.mapping.as_deref().unwrap_or_default();
    mapping::ready(name).ok_or_else(|| {
        let known = mapping::names().collect::<Vec<_>>().join(", ");
        InputError::NoMapping { name: name.to_owned(), known }.into()
    })
}

fn read(path: &Path) -> Result<Mapping> {
    let text = dorainfra_base::file::text(path).map_err(|source| InputError::Unreadable {
        path: path.to_path_buf(),
        source,
        hint: CHECK_THE_PATH,
    })?;
    Mapping::parse(&text)
        .map_err(|why| InputError::Mapping { path: path.to_path_buf(), why: why.to_string() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_all_ready_mappings() {
        let mut ready: Vec<&str> = mapping::names().collect();
        ready.sort_unstable();
        assert_eq!(ready, dorainfra_config::MAPPINGS);
    }
}
