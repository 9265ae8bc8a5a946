//! `storage.object`: the machine's bundle and the engine's binary. The name
//! holds the content's digest, so an object never changes.

use async_trait::async_trait;
use dorainfra_engine::{Change, KindSpec, Manifest, Mark, Observed, Owned, Ownership, ResourceId};
use dorainfra_gcp::{Api, ApiError, Body, Call, Error, Upload, encoded};
use dorainfra_model::Events;
use reqwest::Method;
use serde_json::json;

use super::compute::Marked;
use super::{Cloud, Exported, Kind, bucket, mark, text};
use crate::blueprint::Content;

const SPEC: KindSpec = KindSpec {
    immutable: &["bucket", "sha256"],
    lives_in: Some("storage.bucket"),
    ..KindSpec::plain("storage.object")
};

/// Where our objects are: the rest of the bucket is Mimir's.
const PREFIXES: [&str; 2] = ["artifacts/", "bundles/"];

pub struct Object;

fn observed(cloud: &Cloud, bucket: &str, object: serde_json::Value) -> Observed {
    let name = object["name"].as_str().unwrap_or_default().to_owned();
    let body = json!({
        "bucket": bucket,
        "name": name,
        "contentType": object["contentType"],
        "metadata": object["metadata"],
        "sha256": object["metadata"]["sha256"],
    });
    mark::from_labels(&cloud.deployment, ResourceId::new(SPEC.kind, name), body, "metadata")
}

#[async_trait]
impl Kind for Object {
    fn spec(&self) -> &KindSpec {
        &SPEC
    }

    fn exported(&self) -> Exported {
        // The provider imports no object.
        Exported { terraform: None, marked: Some(Marked::Labels) }
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        let bucket = text(&manifest.body, "bucket")?;
        let found = cloud.client.stat_object(bucket, &manifest.name).await?;
        Ok(found.map(|object| observed(cloud, bucket, object)))
    }

    async fn list(&self, cloud: &Cloud, _: &str) -> Result<Owned, Error> {
        let mut all = Vec::new();
        for bucket in bucket::owned(cloud).await? {
            let name = text(&bucket, "name")?;
            let lists = PREFIXES.map(|prefix| cloud.client.list_objects(name, prefix));
            for objects in futures::future::try_join_all(lists).await? {
                all.extend(objects.into_iter().map(|object| observed(cloud, name, object)));
            }
        }
        all.retain(|object: &Observed| object.ownership == Ownership::Ours);
        Ok(all.into())
    }

    async fn create(&self, cloud: &Cloud, manifest: &Manifest, mark: &Mark, _: &Events) -> Result<(), Error> {
        let sha256 = text(&manifest.body, "sha256")?;
        let refused = |reason: &str| Error::Unexpected {
            what: manifest.id().to_string(),
            reason: reason.into(),
            source: None,
        };
        let body = match cloud.contents.get(sha256) {
            Some(Content::Bytes(bytes)) => Body::Bytes(bytes.clone()),
            Some(Content::File(path)) => Body::File(path.clone()),
            Some(Content::Private(_)) => {
                return Err(refused("it holds secrets, and is not kept in the bucket"));
            }
            None => return Err(refused("there is no content with its digest")),
        };
        let mut metadata: Vec<(String, String)> = mark::labelled(&json!({}), mark)
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        metadata.push(("sha256".into(), sha256.to_owned()));
        let upload = Upload {
            content_type: manifest.body["contentType"].as_str().unwrap_or("application/octet-stream").into(),
            metadata,
            if_generation: Some(0),
        };
        let bucket = text(&manifest.body, "bucket")?;
        match cloud.client.put(bucket, &manifest.name, &body, &upload).await {
            Ok(_) => Ok(()),
            // There already: its name is its digest, so it is the same.
            Err(error) if error.api().is_some_and(ApiError::is_stale) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The content is its name's digest; only what is said of it can differ.
    async fn update(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        _: &Observed,
        _: &[Change],
        mark: &Mark,
        _: &Events,
    ) -> Result<(), Error> {
        let mut metadata = mark::labelled(&json!({}), mark);
        metadata["sha256"] = manifest.body["sha256"].clone();
        let path = format!("storage/v1/b/{}/o/{}", text(&manifest.body, "bucket")?, encoded(&manifest.name));
        let body = json!({"metadata": metadata, "contentType": manifest.body["contentType"]});
        cloud.client.call(&Call::idempotent(Api::Storage, Method::PATCH, path).body(body)).await?;
        Ok(())
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observed, _: &Events) -> Result<(), Error> {
        cloud.client.delete_object(text(&observed.body, "bucket")?, &observed.id.name, None).await
    }
}
