//! What a deployment leaves behind that no manifest names: snapshots that a schedule
//! made outlive the schedule and the disk. And the proof, by fresh lists, of what is
//! left of it in the project.

use std::collections::BTreeSet;
use std::time::Duration;

use dorainfra_engine::{Provider as _, ProviderError, ResourceId};
use dorainfra_gcp::{Api, Call, Client, Error};
use dorainfra_model::Events;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::Method;

use super::compute::whole;
use super::{Google, absent, mark};

/// Deletions under way at once.
const DELETES: usize = 8;
const LISTS: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(1);
const KIND: &str = "compute.snapshot";

/// The snapshots that carry the deployment's labels, whoever made them.
pub async fn snapshots(client: &Client, deployment: &str) -> Result<Vec<ResourceId>, Error> {
    let call = Call::get(Api::Compute, "global/snapshots")
        .query("filter", format!("labels.{}={deployment}", mark::DEPLOYMENT));
    let found = match client.list(call, "items").await {
        Err(error) if absent(&error) => Vec::new(),
        other => other?,
    };
    let ours = found.iter().filter(|snapshot| {
        snapshot["labels"][mark::DEPLOYMENT] == deployment
            && snapshot["labels"][mark::MANAGED_BY] == mark::MANAGER
    });
    Ok(ours.map(|snapshot| super::id(KIND, snapshot)).collect())
}

/// Deletes them; those that are gone already are no error.
pub async fn delete_snapshots(client: &Client, ids: &[ResourceId], events: &Events) -> Result<(), Error> {
    let deletions = ids.iter().map(|id| async move {
        let call = Call::write(Api::Compute, Method::DELETE, format!("global/snapshots/{}", id.name));
        match client.compute(&call, id, events).await {
            Err(error) if absent(&error) => Ok(()),
            other => other.map(|_| ()),
        }
    });
    stream::iter(deletions.collect::<Vec<_>>()).buffer_unordered(DELETES).try_collect::<()>().await
}

/// What is left of a deployment, as far as it can be seen.
#[derive(Debug)]
pub struct Remains {
    pub left: Vec<ResourceId>,
    /// Services that are off: what they keep is in no list.
    pub off: BTreeSet<String>,
}

impl Google {
    /// What of the deployment is in the project. "Nothing" is said after three
    /// lists in a row: what a run made that was cut off a moment ago is seen by some
    /// replicas first.
    ///
    /// # Errors
    /// A list could not be read whole: then nothing can be said.
    pub async fn remains(&self) -> Result<Remains, ProviderError> {
        for _ in 1..LISTS {
            let remains = self.listed().await?;
            if !remains.left.is_empty() {
                return Ok(remains);
            }
            tokio::time::sleep(BETWEEN).await;
        }
        self.listed().await
    }

    async fn listed(&self) -> Result<Remains, ProviderError> {
        let deployment = &self.cloud.deployment;
        let snapshots = async { Ok(snapshots(&self.cloud.client, deployment).await?) };
        let (owned, snapshots) = futures::try_join!(self.list_owned(deployment), snapshots)?;
        whole(&owned.unseen)?;
        let mut left: Vec<ResourceId> =
            owned.found.into_iter().map(|observed| observed.id).chain(snapshots).collect();
        left.sort();
        Ok(Remains { left, off: owned.off })
    }
}
