//! What rendering needs beyond the configuration, found out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dorainfra_base::file;
use dorainfra_config::{self as config, ScrapeJobs};
use dorainfra_gcp as gcp;
use dorainfra_model::Events;

use super::error::{InputError, Result};
use super::project::Project;
use super::workspace::Workspace;
use super::{caller, engine};
use crate::blueprint::{self, AlertmanagerError, Facts, Private};

/// What is done with the deployment, and so has to be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It writes what follows from the configuration: all of it is found out.
    Change,
    /// It says what a change would do, and changes nothing: found out likewise.
    Plan,
    /// It uses what there is, or changes a part of it: by the address that is known.
    Use,
    /// It only looks at what there is: also where no release can be had.
    Look,
    /// It takes everything away: names are enough.
    Removal,
}

/// As far as `purpose` asks for it.
pub async fn find(
    workspace: &Workspace,
    project: &Project,
    client: &gcp::Client,
    purpose: Purpose,
    events: &Events,
) -> Result<Facts> {
    let engine = async {
        match purpose {
            Purpose::Change | Purpose::Plan => engine::chosen(workspace, project, events).await,
            // What stands in for Mimir was told when it was planned.
            Purpose::Use => engine::chosen(workspace, project, &Events::none()).await,
            Purpose::Look => engine::seen(workspace, project, events).await,
            Purpose::Removal => Ok(engine::unknown(&project.config)),
        }
    };
    let caller = async {
        if !caller::is_wanted(&project.config) {
            return Ok(None);
        }
        Ok(Some(match purpose {
            Purpose::Change | Purpose::Plan => caller::found(workspace, project, events).await?,
            Purpose::Use | Purpose::Look => caller::known(workspace, &project.config, client).await?,
            Purpose::Removal => caller::NOBODY.to_owned(),
        }))
    };
    let (engine, caller) = tokio::try_join!(engine, caller)?;
    let (alertmanager, scrape) = match purpose {
        Purpose::Removal => (None, ScrapeJobs::default()),
        Purpose::Change | Purpose::Plan | Purpose::Use | Purpose::Look => {
            (alertmanager(project)?, scrape_jobs(workspace, project)?)
        }
    };
    let (clients, restore_disks) = (Vec::new(), BTreeMap::new());
    Ok(Facts { caller, engine, clients, restore_disks, alertmanager, scrape })
}

/// Without a call: what only one can tell is stood for.
pub async fn placeholders(workspace: &Workspace, project: &Project) -> Result<Facts> {
    Ok(Facts {
        engine: engine::described(workspace, project).await?,
        caller: Some(caller::NOBODY.into()),
        clients: Vec::new(),
        restore_disks: BTreeMap::new(),
        alertmanager: alertmanager(project)?,
        scrape: scrape_jobs(workspace, project)?,
    })
}

/// The user's own jobs for the collector, read and checked.
fn scrape_jobs(workspace: &Workspace, project: &Project) -> Result<ScrapeJobs> {
    let Some(path) = &project.config.stack.scrape_jobs else { return Ok(ScrapeJobs::default()) };
    let shown = workspace.shown(path).display().to_string();
    let text = file::text(path).map_err(|source| InputError::ScrapeJobs { shown: shown.clone(), source })?;
    let folder = path.parent().unwrap_or(&workspace.current);
    let readable = |path: &Path| match file::open(path) {
        // That of a pattern's files.
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(_) => Ok(()),
    };
    Ok(config::scrape_jobs(&shown, &text, folder, &readable)?)
}

/// What the alertmanager is to have: read to know its digest, and that it is a
/// configuration. It has secrets in it, which a parser's error may quote.
fn alertmanager(project: &Project) -> Result<Option<Private>> {
    const CONFIG: &str = "alerts.config";
    const WATCHDOG: &str = "alerts.watchdog";
    let alerts = &project.config.alerts;
    let (path, watchdog) = (alerts.config.clone(), alerts.watchdog.clone());
    if path.is_none() && watchdog.is_none() {
        return Ok(None);
    }
    let wrong = |key: &'static str, path: &Option<PathBuf>, why: String, hint: Option<&'static str>| {
        let file = path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        InputError::Alerts { key, file, why, hint }
    };
    let read = |key: &'static str, path: &Option<PathBuf>| match path {
        Some(file) => {
            let text = file::text(file);
            text.map(Some).map_err(|error| wrong(key, path, format!("can't be read: {error}"), None))
        }
        None => Ok(None),
    };
    let (own, url) = (read(CONFIG, &path)?, read(WATCHDOG, &watchdog)?);
    let text =
        blueprint::alertmanager_config(own.as_deref(), url.as_deref()).map_err(|error| match error {
            AlertmanagerError::NoUrl => wrong(
                WATCHDOG,
                &watchdog,
                error.to_string(),
                Some("it has to hold the URL that the dead man's switch gave you, and nothing else"),
            ),
            _ => wrong(
                CONFIG,
                &path,
                error.to_string(),
                Some("it has to hold the alertmanager's own configuration: `route` and `receivers`"),
            ),
        })?;
    Ok(Some(Private { sha256: blueprint::alertmanager_digest(&text), path, watchdog }))
}
