//! `compute.instanceGroupMember`: a machine's place in an instance group. A group
//! is no field of the machine and its members are none of the group, so this is
//! a resource of its own: it goes with the machine when that is made anew, before
//! it, and comes back after it.

use async_trait::async_trait;
use dorainfra_engine::{Change, KindSpec, Manifest, Mark, Observed, Ownership};
use dorainfra_gcp::{Api, Call, Error};
use dorainfra_model::Events;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Cloud, Exported, Kind, absent, found, short, text};

const SPEC: KindSpec = KindSpec {
    immutable: &["zone", "instanceGroup", "instance"],
    markable: false,
    ..KindSpec::plain("compute.instanceGroupMember")
};

pub struct GroupMember;

fn call(body: &Value, verb: &str) -> Result<String, Error> {
    Ok(format!("zones/{}/instanceGroups/{}/{verb}", text(body, "zone")?, text(body, "instanceGroup")?))
}

/// As `addInstances` and `removeInstances` take it.
fn instances(cloud: &Cloud, body: &Value) -> Result<Value, Error> {
    let (zone, instance) = (text(body, "zone")?, text(body, "instance")?);
    let link = format!("projects/{}/zones/{zone}/instances/{instance}", cloud.client.project());
    Ok(json!({"instances": [{"instance": link}]}))
}

#[async_trait]
impl Kind for GroupMember {
    fn spec(&self) -> &KindSpec {
        &SPEC
    }

    fn exported(&self) -> Exported {
        Exported { terraform: Some("google_compute_instance_group_membership"), marked: None }
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        let zone = text(&manifest.body, "zone")?;
        // By the manifest's own name: what the body refers to may not be known yet.
        let group = format!("zones/{zone}/instanceGroups/{}/listInstances", manifest.name);
        let list = Call::idempotent(Api::Compute, Method::POST, group).body(json!({}));
        let Some(answer) = found(cloud.client.call(&list).await)? else { return Ok(None) };
        let members = answer["items"].as_array().into_iter().flatten();
        let mut names = members.filter_map(|member| member["instance"].as_str()).map(short);
        let Some(instance) = names.find(|name| *name == manifest.name) else { return Ok(None) };
        Ok(Some(Observed {
            id: manifest.id(),
            body: json!({"zone": zone, "instanceGroup": manifest.name, "instance": instance}),
            ownership: Ownership::Unmarked,
            applied: None,
        }))
    }

    async fn create(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        _mark: &Mark,
        events: &Events,
    ) -> Result<(), Error> {
        let body = instances(cloud, &manifest.body)?;
        let add = Call::write(Api::Compute, Method::POST, call(&manifest.body, "addInstances")?).body(body);
        cloud.client.compute(&add, &manifest.id(), events).await?;
        Ok(())
    }

    async fn update(
        &self,
        _cloud: &Cloud,
        _manifest: &Manifest,
        _observed: &Observed,
        _changes: &[Change],
        _mark: &Mark,
        _events: &Events,
    ) -> Result<(), Error> {
        // There is nothing in it that could change.
        Ok(())
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observed, events: &Events) -> Result<(), Error> {
        let body = instances(cloud, &observed.body)?;
        let remove =
            Call::write(Api::Compute, Method::POST, call(&observed.body, "removeInstances")?).body(body);
        match cloud.client.compute(&remove, &observed.id, events).await {
            Ok(_) => Ok(()),
            Err(error) if absent(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
