//! `compute.subnetwork`: the range of a network in one region. Private Google
//! Access is switched by a call of its own; the rest cannot change.

use async_trait::async_trait;
use reqwest::Method;
use serde_json::json;

use super::compute::{Marked, Row, Scope};
use super::{Cloud, Kind};
use crate::engine::{Change, KindSpec, Manifest, Mark, Observed};
use crate::event::Events;
use crate::gcp::{Api, Call, Error};

const ROW: Row = Row {
    spec: KindSpec {
        immutable: &["region", "network", "ipCidrRange"],
        ..KindSpec::plain("compute.subnetwork")
    },
    collection: "subnetworks",
    scope: Scope::Region,
    marked: Marked::Description,
    labels_later: false,
    fingerprint: false,
};

pub struct Subnetwork;

#[async_trait]
impl Kind for Subnetwork {
    fn spec(&self) -> &KindSpec {
        const { &ROW.spec }
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        ROW.read(cloud, manifest).await
    }

    async fn list(&self, cloud: &Cloud, deployment: &str) -> Result<Vec<Observed>, Error> {
        ROW.list(cloud, deployment).await
    }

    async fn create(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        mark: &Mark,
        events: &Events,
    ) -> Result<(), Error> {
        ROW.insert(cloud, manifest, mark, events).await
    }

    async fn update(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        _observed: &Observed,
        changes: &[Change],
        _mark: &Mark,
        events: &Events,
    ) -> Result<(), Error> {
        if changes.iter().any(|change| change.path == "privateIpGoogleAccess") {
            let path = ROW.path(&manifest.body, &manifest.name)?;
            let call = Call::write(Api::Compute, Method::POST, format!("{path}/setPrivateIpGoogleAccess"))
                .body(json!({"privateIpGoogleAccess": manifest.body["privateIpGoogleAccess"]}));
            cloud.client.compute(&call, &manifest.id(), events).await?;
        }
        Ok(())
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observed, events: &Events) -> Result<(), Error> {
        ROW.delete(cloud, observed, events).await
    }
}
