//! What can be mended from here: what costs nothing, opens nothing, and is the same when done twice.

use dorainfra_engine::{Manifest, Mark, Provider as _};
use dorainfra_model::Events;

use super::super::error::Result;
use super::super::project::Project;
use super::super::workspace::Workspace;
use super::cloud;

#[derive(Clone, Debug, PartialEq)]
pub enum Repair {
    /// The folder of local state is made.
    Folder { shown: String },
    /// APIs are enabled; the manifest is of all that have to be on.
    Services { manifest: Manifest, off: Vec<String> },
}

impl Repair {
    /// What is asked before it is done.
    pub fn question(&self, project: &str) -> String {
        match self {
            Self::Folder { shown } => format!("Make the folder {shown}?"),
            Self::Services { off, .. } => {
                format!("Enable {} in {project}? It costs nothing by itself.", off.join(", "))
            }
        }
    }

    /// The same, as something that was done.
    pub fn done(&self) -> String {
        match self {
            Self::Folder { shown } => format!("made {shown}"),
            Self::Services { off, .. } => format!("enabled {}", off.join(", ")),
        }
    }
}

/// Carries it out.
pub async fn mend(repair: &Repair, workspace: &Workspace, project: &Project, events: &Events) -> Result<()> {
    match repair {
        Repair::Folder { .. } => {
            workspace.make_state()?;
        }
        Repair::Services { manifest, .. } => {
            let (_, google) = cloud::google(workspace, project, project.client()?).await?;
            let mark = Mark { deployment: project.config.name.clone(), digest: String::new() };
            google.create(manifest, &mark, events).await?;
        }
    }
    Ok(())
}
