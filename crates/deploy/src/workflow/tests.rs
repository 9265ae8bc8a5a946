//! Plan, apply and destroy as a program does it that has no command line.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use dorainfra_config::{Config, Feeds};
use dorainfra_gcp_sandbox::{self as sandbox, Handle, Options};
use dorainfra_model::{Event, Events};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::apply::{self, Extent};
use super::{Cloud, Project, Purpose, Run, Sandbox, Selection, Settings, Unattended, Workspace, destroy};

/// Nobody starts it: of a part of the deployment only its version and digest are asked for.
fn mimir(folder: &Path) -> String {
    let path = folder.join("mimir");
    let version = Config::default().mimir.version;
    std::fs::write(&path, format!("#!/bin/sh\necho 'Mimir, version {version}'\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("mimir.binary={}", path.display())
}

async fn begin(workspace: &Arc<Workspace>, cloud: &Handle, purpose: Purpose, selection: &Selection) -> Run {
    let settings = Settings {
        set: vec![mimir(&workspace.folder), "stack.runtime=native".into()],
        project: Some(cloud.project().to_owned()),
        ..Settings::default()
    };
    let cloud = Cloud {
        endpoints: cloud.endpoints(),
        credentials: Some(cloud.credentials()),
        sandbox: Some(Sandbox { caller_services: cloud.caller_services() }),
        ..Cloud::default()
    };
    let project = Project::load(workspace, cloud, settings).unwrap();
    let (workspace, operator) = (Arc::clone(workspace), Arc::new(Unattended));
    Run::begin(workspace, operator, project, purpose, selection, &Events::none()).await.unwrap()
}

/// What is fed depends on where it goes: it is decided when the configuration meets the cloud.
#[test]
fn nothing_is_simulated_on_google_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path().into(), folder.path().join("dorainfra"));
    let here = || {
        let mut cloud = Cloud::default();
        cloud.endpoints.compute = "http://127.0.0.1:9/compute/v1/".into();
        cloud
    };
    let feeds = |cloud, set: &[&str]| {
        let set = set.iter().map(|&set| set.to_owned()).collect();
        Project::load(&workspace, cloud, Settings { set, ..Settings::default() }).unwrap().config.feeds()
    };
    assert_eq!(feeds(Cloud::default(), &[]), Feeds::Nothing);
    assert_eq!(feeds(Cloud::default(), &["generator.simulate=true"]), Feeds::Simulated);
    assert_eq!(feeds(here(), &[]), Feeds::Simulated);
    assert_eq!(feeds(here(), &["generator.simulate=false"]), Feeds::Nothing);
    let sources = ["sources=[{type: file, path: events.csv}]"];
    assert_eq!((feeds(here(), &sources), feeds(Cloud::default(), &sources)), (Feeds::Real, Feeds::Real));
}

#[tokio::test]
async fn a_program_plans_applies_and_destroys_without_a_command_line() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let (ready, started) = oneshot::channel();
    let stop = CancellationToken::new();
    let options = Options::new(folder.path().join("sandbox"), "my-gcp");
    let serving = tokio::spawn(sandbox::serve(options, ready, stop.clone()));
    started.await.unwrap();
    let cloud = Handle::find(&folder.path().join("sandbox")).await.unwrap();
    let workspace = Arc::new(Workspace::new(folder.path().into(), folder.path().join("dorainfra")));
    let bucket = "storage.bucket/my-gcp-dorainfra-mimir";
    let selection = Selection { target: vec![bucket.parse().unwrap()], ..Selection::default() };

    // What it would do, and nothing else.
    let run = begin(&workspace, &cloud, Purpose::Change, &selection).await;
    let planned = apply::plan(&run, &selection, true, &Events::none()).await.unwrap();
    assert!(planned.has_changes() && planned.follow_up.is_empty(), "of a part, the resources only");

    // It does that, and tells each step.
    let extent = Extent { stack: true, verify: true, unchanged: false };
    let (events, mut told) = Events::channel();
    let applied = apply::apply(&run, &planned.plan, extent, &events).await;
    applied.result.unwrap();
    let mut finished = Vec::new();
    while let Ok(event) = told.try_recv() {
        if let Event::ResourceFinished { id, .. } = event {
            finished.push(id.to_string());
        }
    }
    assert_eq!(finished.iter().filter(|id| *id == bucket).count(), 1, "{finished:?}");
    assert_eq!(applied.outcome.unwrap().done.len(), finished.len());

    // Another run finds nothing to do.
    let run = begin(&workspace, &cloud, Purpose::Change, &selection).await;
    let planned = apply::plan(&run, &selection, true, &Events::none()).await.unwrap();
    assert!(!planned.has_changes(), "{:?}", planned.plan.steps);

    // And takes it away again.
    let run = begin(&workspace, &cloud, Purpose::Removal, &Selection::default()).await;
    let planned = destroy::plan(&run, true, &Events::none()).await.unwrap();
    let destroyed = destroy::destroy(&run, &planned, &Events::none()).await;
    destroyed.result.unwrap();
    assert!(destroyed.remains.unwrap().left.is_empty());

    stop.cancel();
    serving.await.unwrap().unwrap();
}
