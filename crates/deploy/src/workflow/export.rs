//! The deployment as it is, to be written down for other tools.

use std::collections::BTreeMap;

use dorainfra_engine::{Manifest, Provider as _};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::error::Result;
use super::run::Run;
use crate::export::Deployed;
use crate::resource::lives_in_mimir;

/// How many resources are read at a time.
const AT_ONCE: usize = 16;

impl Run {
    /// What should be and what of it is there. Nothing is changed, and no secret is read.
    pub async fn deployed(&self) -> Result<Deployed> {
        let google = |manifest: &&Manifest| !lives_in_mimir(&manifest.kind);
        let read = |manifest: &'_ Manifest| {
            let (provider, manifest) = (self.provider.clone(), manifest.clone());
            async move { Ok::<_, super::Error>((manifest.id(), provider.read(&manifest).await?)) }
        };
        let reads: Vec<_> = self.blueprint.manifests.iter().filter(google).map(read).collect();
        let read: Vec<_> = stream::iter(reads).buffer_unordered(AT_ONCE).try_collect().await?;
        let observed: BTreeMap<_, _> =
            read.into_iter().filter_map(|(id, observed)| Some((id, observed?))).collect();
        let config = &self.project.config;
        Ok(Deployed {
            project: config.project.clone(),
            region: config.region.clone(),
            deployment: config.name.clone(),
            manifests: self.blueprint.manifests.clone(),
            observed,
            contents: self.blueprint.contents.clone(),
        })
    }
}
