//! Compute kinds that differ only in a row of a table: addresses, firewall
//! rules, networks, snapshot schedules, the parts of load balancers. What
//! instances and disks share with them is here, too: marks, deletions. How a
//! value is spelled is `links`' affair.

mod table;

use std::collections::BTreeSet;

use async_trait::async_trait;
use dorainfra_engine::{Change, KindSpec, Manifest, Mark, Observed, Owned, ResourceId, UNFINISHED};
use dorainfra_gcp::{Api, Call, Client, Error};
use dorainfra_model::Events;
use reqwest::Method;
use serde_json::{Value, json};

use super::links::{Link, linked, spelled};
use super::permissions::Permissions;
use super::{Cloud, Exported, Kind, absent, found, id, listed, mark, text};

pub use super::links::Scope;
pub use table::TABLE;

/// Where a kind carries our mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    Labels,
    Description,
}

/// One kind.
pub struct Row {
    pub spec: KindSpec,
    pub collection: &'static str,
    pub scope: Scope,
    pub marked: Marked,
    /// Labels can't be given at the insert, only by `setLabels`.
    pub labels_later: bool,
    /// A change has to name the fingerprint of what it changes.
    pub fingerprint: bool,
    /// Fields that are changed by a call of their own, and that call. Of a row
    /// that has such, nothing else can change.
    pub switches: &'static [(&'static str, &'static str)],
    pub links: &'static [Link],
    pub permissions: &'static [Permissions],
    /// What Terraform calls one.
    pub terraform: &'static str,
}

/// A row with none of the exceptions.
pub const ROW: Row = Row {
    spec: KindSpec::plain(""),
    collection: "",
    scope: Scope::Global,
    marked: Marked::Labels,
    labels_later: false,
    fingerprint: false,
    switches: &[],
    links: &[],
    permissions: &[],
    terraform: "",
};

/// The row of a kind that the table has.
pub const fn row(kind: &str) -> &'static Row {
    let mut at = 0;
    while !equal(TABLE[at].spec.kind, kind) {
        at += 1;
    }
    &TABLE[at]
}

const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// A kind that the table describes whole.
pub struct Compute(pub &'static Row);

impl Row {
    pub const fn exported(&self) -> Exported {
        Exported { terraform: Some(self.terraform), marked: Some(self.marked) }
    }

    /// `zones/Z/disks`, from a manifest's or an observed body.
    pub fn place(&self, body: &Value) -> Result<String, Error> {
        Ok(match self.scope {
            Scope::Zone => format!("zones/{}/{}", text(body, "zone")?, self.collection),
            Scope::Region => format!("regions/{}/{}", text(body, "region")?, self.collection),
            Scope::Global => format!("global/{}", self.collection),
        })
    }

    pub fn path(&self, body: &Value, name: &str) -> Result<String, Error> {
        Ok(format!("{}/{name}", self.place(body)?))
    }

    /// What Google said, in the manifests' spelling, with the mark taken out.
    pub fn observed(&self, cloud: &Cloud, answer: Value) -> Observed {
        let id = id(self.spec.kind, &answer);
        let body = spelled(answer);
        match self.marked {
            Marked::Labels if self.labels_later && body["labels"][mark::DEPLOYMENT].is_null() => {
                let mut observed = mark::from_description(&cloud.deployment, id, body);
                // Not finished: the labels are still to come.
                observed.applied = None;
                observed
            }
            Marked::Labels => mark::from_labels(&cloud.deployment, id, body, "labels"),
            Marked::Description => mark::from_description(&cloud.deployment, id, body),
        }
    }

    pub async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        let call = Call::get(Api::Compute, self.path(&manifest.body, &manifest.name)?);
        let answer = found(cloud.client.call(&call).await)?;
        Ok(answer.map(|answer| self.observed(cloud, answer)))
    }

    /// Everything of this kind, in every place, that carries the mark.
    pub async fn list(&self, cloud: &Cloud, deployment: &str) -> Result<Owned, Error> {
        let (mut unseen, mut off) = (BTreeSet::new(), BTreeSet::new());
        let items = match self.scope {
            Scope::Global => {
                let call = Call::get(Api::Compute, format!("global/{}", self.collection));
                cloud.client.list(call, "items").await
            }
            Scope::Zone | Scope::Region => self.aggregated(cloud, deployment, &mut unseen).await,
        };
        let items = listed(items, &mut off)?;
        let ours = |observed: &Observed| observed.ownership == dorainfra_engine::Ownership::Ours;
        let found = items.into_iter().map(|item| self.observed(cloud, item)).filter(ours).collect();
        Ok(Owned { found, unseen, off })
    }

    async fn aggregated(
        &self,
        cloud: &Cloud,
        deployment: &str,
        unseen: &mut BTreeSet<String>,
    ) -> Result<Vec<Value>, Error> {
        let filter = match self.marked {
            Marked::Labels => Some(format!("labels.{}={deployment}", mark::DEPLOYMENT)),
            Marked::Description => None,
        };
        everywhere(&cloud.client, self.collection, filter.as_deref(), unseen).await
    }

    /// The manifest as an insert takes it: with name and mark, without the place.
    pub fn insertable(&self, project: &str, manifest: &Manifest, mark: &Mark) -> Value {
        let mut body = manifest.body.as_object().cloned().unwrap_or_default();
        body.remove("zone");
        body.remove("region");
        // What it is to become is no field of an insert.
        body.remove("status");
        body.insert("name".into(), json!(manifest.name));
        let (field, value) = match self.marked {
            Marked::Labels => ("labels", mark::labelled(&manifest.body["labels"], mark)),
            Marked::Description => ("description", mark::described(&manifest.body["description"], mark)),
        };
        body.insert(field.into(), value);
        linked(self.links, project, Value::Object(body), &manifest.body)
    }

    pub async fn insert(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        mark: &Mark,
        events: &Events,
    ) -> Result<(), Error> {
        let mut body = self.insertable(cloud.client.project(), manifest, mark);
        if self.labels_later {
            // Until the labels are there, the description says whose it is.
            if let Some(fields) = body.as_object_mut() {
                fields.remove("labels");
                fields.insert("description".into(), mark::described(&Value::Null, mark));
            }
        }
        let call = Call::write(Api::Compute, Method::POST, self.place(&manifest.body)?).body(body);
        cloud.client.compute(&call, &manifest.id(), events).await?;
        match self.labels_later {
            true => self.set_labels(cloud, manifest, mark, events).await,
            false => Ok(()),
        }
    }

    pub async fn delete(&self, cloud: &Cloud, observed: &Observed, events: &Events) -> Result<(), Error> {
        let path = self.path(&observed.body, &observed.id.name)?;
        let call = Call::write(Api::Compute, Method::DELETE, path);
        match cloud.client.compute(&call, &observed.id, events).await {
            Ok(_) => Ok(()),
            Err(error) if absent(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the call of each switch that is to change.
    async fn switch(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        changes: &[Change],
        events: &Events,
    ) -> Result<(), Error> {
        let path = self.path(&manifest.body, &manifest.name)?;
        for (field, verb) in self.switches {
            if changes.iter().any(|change| change.path == *field) {
                let call = Call::write(Api::Compute, Method::POST, format!("{path}/{verb}"))
                    .body(json!({*field: manifest.body[field]}));
                cloud.client.compute(&call, &manifest.id(), events).await?;
            }
        }
        Ok(())
    }

    /// Writes into the mark that what differs from here on is a run's own doing.
    pub async fn unfinished(
        &self,
        cloud: &Cloud,
        path: &str,
        id: &ResourceId,
        events: &Events,
    ) -> Result<(), Error> {
        let write = |current: &Value| {
            let mut labels = current["labels"].clone();
            labels[mark::DIGEST] = json!(UNFINISHED);
            let body = json!({"labels": labels, "labelFingerprint": current["labelFingerprint"]});
            Call::write(Api::Compute, Method::POST, format!("{path}/setLabels")).body(body)
        };
        fingerprinted(cloud, path, write, id, events).await
    }

    /// Writes the labels, mark included, under the fingerprint just read; read
    /// again when somebody else wrote meanwhile.
    pub async fn set_labels(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        mark: &Mark,
        events: &Events,
    ) -> Result<(), Error> {
        let path = self.path(&manifest.body, &manifest.name)?;
        let declared = mark::labelled(&manifest.body["labels"], mark);
        fingerprinted(
            cloud,
            &path,
            |current| {
                let labels = mark::with_googles(declared.clone(), &current["labels"]);
                let body = json!({"labels": labels, "labelFingerprint": current["labelFingerprint"]});
                Call::write(Api::Compute, Method::POST, format!("{path}/setLabels")).body(body)
            },
            &manifest.id(),
            events,
        )
        .await
    }
}

/// What all zones and regions have of a collection. Places that can't be asked are kept in `unseen`.
pub async fn everywhere(
    client: &Client,
    collection: &str,
    filter: Option<&str>,
    unseen: &mut BTreeSet<String>,
) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    let mut page = None::<String>;
    loop {
        let mut call = Call::get(Api::Compute, format!("aggregated/{collection}"));
        if let Some(filter) = filter {
            call = call.query("filter", filter);
        }
        if let Some(token) = &page {
            call = call.query("pageToken", token.clone());
        }
        let mut answer = client.call(&call).await?;
        unseen.extend(unreachable(&answer));
        if let Value::Object(places) = answer["items"].take() {
            for place in places.into_iter().map(|(_, place)| place) {
                let items = place.get(collection).and_then(Value::as_array).into_iter().flatten();
                // What is no object is no resource.
                found.extend(items.filter(|item| item.is_object()).cloned());
            }
        }
        match answer["nextPageToken"].as_str() {
            Some(token) if !token.is_empty() => page = Some(token.to_owned()),
            _ => return Ok(found),
        }
    }
}

/// The places that an aggregated list lacks. It says so in warnings, and is answered with
/// 200 all the same.
fn unreachable(answer: &Value) -> impl Iterator<Item = String> {
    let of_scopes =
        answer["items"].as_object().into_iter().flatten().map(|(scope, place)| (scope.as_str(), place));
    of_scopes
        .chain([("a part of the project", answer)])
        .filter(|(_, place)| place["warning"]["code"] == "UNREACHABLE")
        .map(|(scope, _)| scope.to_owned())
}

/// # Errors
/// Which places could not be asked.
pub fn whole(unseen: &BTreeSet<String>) -> Result<(), Error> {
    match unseen.first() {
        None => Ok(()),
        Some(place) => Err(Error::Unexpected {
            what: "a list of all places".into(),
            reason: format!("{place} can't be asked now, so what is there is not known; try again later"),
            source: None,
        }),
    }
}

/// Makes a write that is bound to a fingerprint: reads, writes, and does both
/// again on a conflict.
pub async fn fingerprinted(
    cloud: &Cloud,
    path: &str,
    write: impl Fn(&Value) -> Call,
    id: &ResourceId,
    events: &Events,
) -> Result<(), Error> {
    const ATTEMPTS: usize = 5;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let current = cloud.client.call(&Call::get(Api::Compute, path)).await?;
        match cloud.client.compute(&write(&current), id, events).await {
            Ok(_) => return Ok(()),
            Err(Error::Api(error)) if error.is_stale() && attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
}

#[async_trait]
impl Kind for Compute {
    fn spec(&self) -> &KindSpec {
        &self.0.spec
    }

    fn exported(&self) -> Exported {
        self.0.exported()
    }

    fn permissions(&self) -> &'static [Permissions] {
        self.0.permissions
    }

    async fn read(&self, cloud: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, Error> {
        self.0.read(cloud, manifest).await
    }

    async fn list(&self, cloud: &Cloud, deployment: &str) -> Result<Owned, Error> {
        self.0.list(cloud, deployment).await
    }

    async fn create(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        mark: &Mark,
        events: &Events,
    ) -> Result<(), Error> {
        self.0.insert(cloud, manifest, mark, events).await
    }

    async fn update(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        _observed: &Observed,
        changes: &[Change],
        mark: &Mark,
        events: &Events,
    ) -> Result<(), Error> {
        if !self.0.switches.is_empty() {
            return self.0.switch(cloud, manifest, changes, events).await;
        }
        match self.0.marked {
            // Of a labelled row only the labels can change.
            Marked::Labels => self.0.set_labels(cloud, manifest, mark, events).await,
            Marked::Description => {
                let path = self.0.path(&manifest.body, &manifest.name)?;
                let body = self.0.insertable(cloud.client.project(), manifest, mark);
                let patch = |current: Option<&Value>| {
                    let mut body = body.clone();
                    if let Some(current) = current {
                        body["fingerprint"] = current["fingerprint"].clone();
                    }
                    // A patch would leave what a rule selected machines by before.
                    let rule = self.0.spec.kind == "compute.firewall";
                    let method = if rule { Method::PUT } else { Method::PATCH };
                    Call::write(Api::Compute, method, &path).body(body)
                };
                if self.0.fingerprint {
                    let write = |current: &Value| patch(Some(current));
                    return fingerprinted(cloud, &path, write, &manifest.id(), events).await;
                }
                cloud.client.compute(&patch(None), &manifest.id(), events).await?;
                Ok(())
            }
        }
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observed, events: &Events) -> Result<(), Error> {
        self.0.delete(cloud, observed, events).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_insert_has_name_and_mark_and_no_place() {
        let manifest =
            Manifest::new("compute.address", "a", json!({"region": "r", "addressType": "EXTERNAL"}));
        let mark = Mark { deployment: "d".into(), digest: "0".into() };
        let body = TABLE[0].insertable("p", &manifest, &mark);
        assert_eq!(
            body,
            json!({"name": "a", "addressType": "EXTERNAL", "labels":
                {"managed-by": "dorainfra", "deployment": "d", "dorainfra-digest": "0"}})
        );
    }
}
