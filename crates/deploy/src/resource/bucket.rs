//! `storage.bucket`: where Mimir's blocks, the bundles and the lease live. Its
//! name is global; whoever creates it first has it.

use async_trait::async_trait;
use dorainfra_engine::{
    Change, KindSpec, Manifest, Mark, Observed, Owned, Ownership, ResourceId, UNFINISHED,
};
use dorainfra_gcp::{Api, ApiError, Call, Error};
use dorainfra_model::{Event, Events};
use reqwest::Method;
use serde_json::{Value, json};

use super::compute::Marked;
use super::permissions::Permissions;
use super::{Cloud, Exported, Kind, found, mark};

const SPEC: KindSpec =
    KindSpec { whole: &["labels"], immutable: &["location"], ..KindSpec::plain("storage.bucket") };

pub struct Bucket;

#[async_trait]
impl Kind for Bucket {
    fn spec(&self) -> &KindSpec {
        &SPEC
    }

    fn exported(&self) -> Exported {
        Exported { terraform: Some("google_storage_bucket"), marked: Some(Marked::Labels) }
    }

    fn permissions(&self) -> &'static [Permissions] {
        &[
            (
                "storage.buckets",
                &["create", "delete", "get", "getIamPolicy", "list", "setIamPolicy", "update"],
            ),
            ("storage.objects", &["create", "delete", "get", "list"]),
        ]
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        let call = Call::get(Api::Storage, path(&manifest.name));
        match found(cloud.client.call(&call).await) {
            Ok(answer) => Ok(answer.map(|answer| observed(cloud, answer))),
            Err(error) => Err(explained(error, &manifest.name)),
        }
    }

    async fn list(&self, cloud: &Cloud, _: &str) -> Result<Owned, Error> {
        let buckets = owned(cloud).await?;
        Ok(buckets.into_iter().map(|bucket| observed(cloud, bucket)).collect::<Vec<_>>().into())
    }

    async fn create(&self, cloud: &Cloud, manifest: &Manifest, mark: &Mark, _: &Events) -> Result<(), Error> {
        let mut body = manifest.body.clone();
        // `null` says that a field must not be there: a new bucket has none.
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        body["name"] = json!(manifest.name);
        body["labels"] = mark::labelled(&manifest.body["labels"], mark);
        let call = Call::write(Api::Storage, Method::POST, "storage/v1/b")
            .query("project", cloud.client.project())
            .body(body);
        match cloud.client.call(&call).await {
            Ok(_) => Ok(()),
            // Ours already (a run beside this one, or a lost answer), or
            // somebody else's: only reading tells.
            Err(error) if error.api().is_some_and(ApiError::is_conflict) => {
                match self.read(cloud, manifest).await? {
                    Some(bucket) if bucket.ownership == Ownership::Ours => Ok(()),
                    _ => Err(explained(error, &manifest.name)),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn update(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        observed: &Observed,
        _: &[Change],
        mark: &Mark,
        _: &Events,
    ) -> Result<(), Error> {
        let mut body = manifest.body.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.remove("location");
        }
        let mut labels = mark::labelled(&manifest.body["labels"], mark);
        // A patch removes a label only when told so.
        for name in observed.body["labels"].as_object().into_iter().flat_map(|labels| labels.keys()) {
            if labels[name].is_null() {
                labels[name] = Value::Null;
            }
        }
        body["labels"] = labels;
        let call = Call::idempotent(Api::Storage, Method::PATCH, path(&manifest.name)).body(body);
        cloud.client.call(&call).await?;
        Ok(())
    }

    /// Empties it first: deleting was asked for by name by now. What a writer
    /// adds meanwhile is deleted, too.
    async fn delete(&self, cloud: &Cloud, observed: &Observed, events: &Events) -> Result<(), Error> {
        const ROUNDS: usize = 5;
        let name = &observed.id.name;
        let progress = |done, total| {
            events.send(Event::ResourceProgress {
                id: observed.id.clone(),
                message: format!("{done} of {total} objects deleted"),
            });
        };
        self.end_soft_delete(cloud, name, events).await?;
        for round in 1.. {
            cloud.client.empty_bucket(name, progress).await?;
            let deleted =
                found(cloud.client.call(&Call::write(Api::Storage, Method::DELETE, path(name))).await);
            match deleted {
                Err(error) if error.api().is_some_and(ApiError::is_conflict) && round < ROUNDS => {}
                other => return other.map(|_| ()),
            }
        }
        Ok(())
    }
}

impl Bucket {
    /// What is deleted now is to be gone, and not kept and billed for days. What was
    /// deleted before stays until its time: that is told.
    async fn end_soft_delete(&self, cloud: &Cloud, name: &str, events: &Events) -> Result<(), Error> {
        let Some(bucket) = found(cloud.client.call(&Call::get(Api::Storage, path(name))).await)? else {
            return Ok(());
        };
        if bucket["softDeletePolicy"]["retentionDurationSeconds"] == "0" {
            return Ok(());
        }
        // Cut off from here on, it is not somebody in the cloud who has changed it.
        let unfinished = json!({mark::DIGEST: UNFINISHED});
        let body = json!({"softDeletePolicy": {"retentionDurationSeconds": "0"}, "labels": unfinished});
        cloud.client.call(&Call::idempotent(Api::Storage, Method::PATCH, path(name)).body(body)).await?;
        let call = Call::get(Api::Storage, format!("storage/v1/b/{name}/o"))
            .query("softDeleted", "true")
            .query("fields", "items(hardDeleteTime),nextPageToken");
        let kept = cloud.client.list(call, "items").await?;
        let until = kept.iter().filter_map(|object| object["hardDeleteTime"].as_str()).max();
        if let Some(until) = until {
            events.note(format!(
                "{} objects of {name} that were deleted before are kept and billed until {until}",
                kept.len()
            ));
        }
        Ok(())
    }
}

/// The buckets of the project that carry our mark.
pub async fn owned(cloud: &Cloud) -> Result<Vec<Value>, Error> {
    let call = Call::get(Api::Storage, "storage/v1/b").query("project", cloud.client.project());
    let buckets = cloud.ask_list(call, "items").await?;
    Ok(buckets.into_iter().filter(|bucket| bucket["labels"][mark::DEPLOYMENT] == *cloud.deployment).collect())
}

fn path(bucket: &str) -> String {
    format!("storage/v1/b/{bucket}")
}

fn observed(cloud: &Cloud, answer: Value) -> Observed {
    let name = answer["name"].as_str().unwrap_or_default().to_owned();
    mark::from_labels(&cloud.deployment, ResourceId::new(SPEC.kind, name), answer, "labels")
}

/// A bucket that we may not even see is somebody else's: the name is taken.
fn explained(error: Error, name: &str) -> Error {
    match error {
        Error::Api(api) if api.status == 409 || (api.status == 403 && !api.is_service_disabled()) => {
            Error::Api(ApiError {
                message: format!(
                    "the bucket name `{name}` can't be used: {} (names are global: if somebody else has it, \
                     choose another with `mimir.bucket`)",
                    api.message.trim_end_matches('.')
                ),
                ..api
            })
        }
        other => other,
    }
}
