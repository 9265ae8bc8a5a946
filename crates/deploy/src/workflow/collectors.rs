//! Which collectors of this folder run, whatever deployment they are of: for whoever takes away what
//! they write to.

use std::time::Duration;

use dorainfra_config::Config;
use tokio::time::timeout;

use super::workspace::Workspace;
use crate::stack::compose::{self, Engine};
use crate::stack::native::{self, PartState};

/// How long Docker may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// A deployment whose collector runs on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    pub deployment: String,
    /// The parts that run: `prometheus (pid 4711)`, `pushgateway (container)`.
    pub parts: Vec<String>,
}

/// Those that run, in the order of their names. What can't be looked at is passed over.
pub async fn running(workspace: &Workspace) -> Vec<Collector> {
    let Ok(folders) = std::fs::read_dir(workspace.state()) else { return Vec::new() };
    let named = folders.flatten().filter_map(|folder| folder.file_name().into_string().ok());
    let mut names: Vec<String> = named.filter(|name| workspace.stack_folder(name).is_dir()).collect();
    names.sort();
    let mut found = Vec::new();
    for deployment in names {
        let folder = workspace.stack_folder(&deployment);
        let mut parts = Vec::new();
        if let Ok(status) = native::status(&folder).await {
            let alive = status.parts.iter().filter(|part| part.state == PartState::Running);
            parts.extend(alive.map(|part| match part.pid {
                Some(pid) => format!("{} (pid {pid})", part.part.name()),
                None => part.part.name().to_owned(),
            }));
        }
        if folder.join("compose.yaml").exists()
            && let Ok(containers) = timeout(ANSWERS_WITHIN, containers(&deployment)).await
        {
            parts.extend(containers);
        }
        if !parts.is_empty() {
            found.push(Collector { deployment, parts });
        }
    }
    found
}

async fn containers(deployment: &str) -> Vec<String> {
    let Ok(engine) = Engine::find().await else { return Vec::new() };
    let ports = Config::default().stack.ports;
    let Ok(status) = compose::status(&engine, deployment, &ports).await else { return Vec::new() };
    let running = status.containers.into_iter().filter(|one| one.state != compose::State::Exited);
    running.map(|one| format!("{} (container)", one.service)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_run_is_not_named() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path().into(), "dorainfra".into());
        assert_eq!(running(&workspace).await, []);
        std::fs::create_dir_all(workspace.stack_folder("dora")).unwrap();
        assert_eq!(running(&workspace).await, []);
    }

    #[tokio::test]
    async fn what_runs_is_named_with_its_deployment() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path().into(), "dorainfra".into());
        std::fs::create_dir_all(workspace.stack_folder("dora")).unwrap();
        // This very process stands for one, and another that is gone for the other.
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let started: u64 =
            stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
        let part = |process: serde_json::Value| serde_json::json!({"digest": "", "command": [], "port": null, "at": 0, "log_from": 0, "process": process});
        let pid = std::process::id();
        let record = serde_json::json!({"parts": {
            "prometheus": part(serde_json::json!({"pid": pid, "started": started})),
            "generator": part(serde_json::json!({"pid": pid, "started": started + 1})),
        }});
        std::fs::write(workspace.stack_folder("dora").join("stack.json"), record.to_string()).unwrap();
        let parts = vec![format!("prometheus (pid {pid})")];
        assert_eq!(running(&workspace).await, [Collector { deployment: "dora".into(), parts }]);
    }
}
