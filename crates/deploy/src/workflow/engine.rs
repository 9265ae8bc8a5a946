//! Which Mimir is meant: a program that is given, a release, or what stands in for it in
//! the sandbox; and what is known of it where nobody needs the program.

use std::path::PathBuf;

use dorainfra_config::Config;
use dorainfra_model::Events;
use dorainfra_prometheus::Flavour;

use super::error::{Error, Result};
use super::project::Project;
use super::workspace::{self, Workspace};
use crate::artifact::{self, ArtifactError};
use crate::blueprint::Engine;

/// How long the sandbox looks for a release before Prometheus stands in.
const SANDBOX_RELEASE_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

/// Of an engine that is not pinned yet, or that nobody has to know.
const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Stands for the engine where nothing of it has to be there: neither a program nor a
/// lock file that can be read.
pub(super) fn unknown(config: &Config) -> Engine {
    let version = config.mimir.version.clone();
    Engine { flavour: Flavour::Mimir, version, sha256: NO_DIGEST.into(), path: PathBuf::new() }
}

/// The engine's binary: the given one, or the pinned release, or (sandbox
/// only, where no release can be had) Debian's Prometheus standing in.
pub(super) async fn chosen(workspace: &Workspace, project: &Project, events: &Events) -> Result<Engine> {
    let config = &project.config;
    if let Some(path) = &config.mimir.binary {
        let known = artifact::Known::in_folder(&workspace.make_state()?);
        return Ok(artifact::given(path, &config.mimir.version, &known).await?);
    }
    let cache = workspace.make_state()?.join("cache").join("artifacts");
    let lock = workspace.folder.join("dorainfra.lock");
    let web = workspace::http(None)?;
    let released = artifact::released(&config.mimir.version, &workspace.releases, &lock, &cache, &web);
    if project.cloud.sandbox.is_none() {
        return Ok(released.await?);
    }
    // The sandbox works without the internet: a release that is pinned or
    // can be had serves, else Prometheus stands in.
    let reason = match tokio::time::timeout(SANDBOX_RELEASE_WAIT, released).await {
        Ok(Ok(engine)) => return Ok(engine),
        Ok(Err(error @ (ArtifactError::BadLock { .. } | ArtifactError::Mismatch { .. }))) => {
            return Err(error.into());
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", SANDBOX_RELEASE_WAIT.as_secs()),
    };
    let prometheus = workspace
        .program("prometheus", config.stack.prometheus.as_deref())
        .ok_or(Error::NoEngine { reason })?;
    let engine = artifact::stand_in(&prometheus, &artifact::Known::in_folder(&workspace.state())).await?;
    events.note(format!(
        "Prometheus {} stands in for Mimir {} in the sandbox (--mimir-binary PATH uses a real one)",
        engine.version, config.mimir.version
    ));
    if config.alerts.rules || config.alerts.config.is_some() {
        events.note(
            "it has no ruler and no alertmanager: the rules are in its own configuration, and its alerts can be queried, but nobody is notified",
        );
    }
    Ok(engine)
}

/// The same for whoever only looks: where the release can't be had, what follows from
/// its digest is not known, and everything else is.
pub(super) async fn seen(workspace: &Workspace, project: &Project, events: &Events) -> Result<Engine> {
    let config = &project.config;
    if project.cloud.sandbox.is_some() || config.mimir.binary.is_some() {
        // What stands in for it was told when it was planned.
        return chosen(workspace, project, &Events::none()).await;
    }
    // A release that is pinned need not be asked for.
    let engine = described(workspace, project).await?;
    if engine.sha256 != NO_DIGEST {
        return Ok(engine);
    }
    let cache = workspace.make_state()?.join("cache").join("artifacts");
    let lock = workspace.folder.join("dorainfra.lock");
    let released = artifact::released(
        &config.mimir.version,
        &workspace.releases,
        &lock,
        &cache,
        &workspace::http(None)?,
    )
    .await;
    released.or_else(|error| match error {
        ArtifactError::Download { .. } => {
            events.warn(
                format!("{error}: what the machine should install is shown as changed"),
                Some(
                    "commit dorainfra.lock, which `plan` and `apply` write: then it does not have to be looked up"
                        .into(),
                ),
            );
            Ok(engine)
        }
        error => Err(error.into()),
    })
}

/// The engine's version and digest, for whoever does not need the program: those of
/// the given one, or of the release as far as it is pinned.
pub(super) async fn described(workspace: &Workspace, project: &Project) -> Result<Engine> {
    let config = &project.config;
    if let Some(path) = &config.mimir.binary {
        let known = artifact::Known::in_folder(&workspace.state());
        return Ok(artifact::given(path, &config.mimir.version, &known).await?);
    }
    let mut engine = unknown(config);
    let lock = artifact::Lock::read(&workspace.folder.join("dorainfra.lock"))?;
    if let Some(sha256) = lock.sha256(&engine.version) {
        engine.sha256 = sha256.to_owned();
    }
    Ok(engine)
}
