//! A configuration together with the cloud that it is meant for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dorainfra_base::file;
use dorainfra_config::{self as config, Config};
use dorainfra_gcp as gcp;
use dorainfra_model::Events;
use dorainfra_render as render;

use super::error::{InputError, Result};
use super::proxy;
use super::workspace::Workspace;
use crate::blueprint::{self, Blueprint, Facts};

pub struct Project {
    pub config: Config,
    pub overrides: render::Overrides,
    pub cloud: Cloud,
}

/// What a configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// Variables, of which those count that are keys.
    pub variables: BTreeMap<String, String>,
    /// Variables like keys that are none.
    pub tool_variables: Vec<String>,
    /// `key=value`; later ones win.
    pub set: Vec<String>,
    /// The project at Google.
    pub project: Option<String>,
    /// The one that is meant where nothing names one.
    pub usual_project: Option<String>,
}

/// Where Google is reached, and as whom: itself, or what stands in for it on this machine.
#[derive(Clone, Debug, Default)]
pub struct Cloud {
    pub endpoints: gcp::Endpoints,
    /// A key file; `None`: search where Google's tools do.
    pub credentials: Option<PathBuf>,
    /// The metadata server's tokens are a person's, as in Cloud Shell.
    pub person: bool,
    /// gcloud may have a user, and is asked where there is nothing else.
    pub gcloud: bool,
    /// The variables that name proxies, and their exceptions.
    pub proxies: BTreeMap<String, String>,
    /// A sandbox.
    pub sandbox: Option<Sandbox>,
    /// Hears when it does not answer, whatever else is shown then.
    pub events: Events,
}

#[derive(Clone, Debug, Default)]
pub struct Sandbox {
    /// Who says there which address this machine has.
    pub caller_services: Vec<String>,
}

impl Cloud {
    /// Whether the Google that is asked is on this machine, and so sees it on loopback.
    pub fn is_here(&self) -> bool {
        self.sandbox.is_some() || self.endpoints.compute.starts_with("http://127.")
    }
}

impl Project {
    /// Reads and checks the configuration. Nothing is contacted.
    ///
    /// # Errors
    /// A file can't be read, or what is configured is wrong: all of it is told.
    pub fn load(workspace: &Workspace, cloud: Cloud, settings: Settings) -> Result<Self> {
        let file = match settings.file {
            Some(path) => {
                let text = file::text(&path).map_err(|source| InputError::Unreadable {
                    path: path.clone(),
                    source,
                    hint: "`dorainfra init` writes one",
                })?;
                Some((workspace.shown(&path).to_path_buf(), text))
            }
            None => None,
        };
        let sources = config::Sources {
            file,
            environment: settings.variables.into_iter().collect(),
            tool_variables: settings.tool_variables,
            set: settings.set,
            project: settings.project,
        };
        let mut config = config::load(sources.clone())?.config;
        if let (true, Some(project)) = (config.project.is_empty(), settings.usual_project) {
            config = config::load(config::Sources { project: Some(project), ..sources })?.config;
        }
        config = config.settled(cloud.is_here());
        // Paths are relative to the folder that is worked in by now.
        let folder = &workspace.current;
        let (mimir, stack, alerts) = (&mut config.mimir, &mut config.stack, &mut config.alerts);
        let paths = [&mut mimir.binary, &mut stack.prometheus, &mut stack.pushgateway]
            .into_iter()
            .chain([&mut alerts.config, &mut alerts.watchdog, &mut stack.scrape_jobs])
            .chain(
                config
                    .sources
                    .iter_mut()
                    .flat_map(|source| [&mut source.path, &mut source.token_file, &mut source.ca]),
            );
        for path in paths.flatten() {
            *path = folder.join(&*path);
        }
        let overrides = match &config.templates_dir {
            Some(dir) => render::read_overrides(&folder.join(dir))?,
            None => render::Overrides::default(),
        };
        Ok(Self { config, overrides, cloud })
    }

    /// A client of the project's cloud. No call is made yet.
    pub fn client(&self) -> Result<gcp::Client> {
        let Cloud { endpoints, credentials, person, gcloud, proxies, events, .. } = &self.cloud;
        let settings = gcp::Settings {
            proxy: proxy::of(proxies, &endpoints.compute)?,
            endpoints: endpoints.clone(),
            credentials: credentials.clone(),
            person: *person,
            gcloud: *gcloud,
            project: self.config.project.clone(),
            events: events.clone(),
            retry_for: gcp::RETRY_FOR,
        };
        Ok(gcp::Client::new(settings)?)
    }

    pub fn blueprint(&self, facts: &Facts) -> Result<Arc<Blueprint>> {
        self.config.require_project()?;
        Ok(Arc::new(blueprint::build(&self.config, facts, &self.overrides)?))
    }
}
