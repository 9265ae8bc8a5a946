//! A manifest: what one resource should be, as a document in the provider's
//! own field names, with `${kind/name.field}` where a value is known only once
//! another resource exists.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `kind/name`: unique within a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId {
    pub kind: String,
    pub name: String,
}

impl ResourceId {
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), name: name.into() }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl FromStr for ResourceId {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Self, ManifestError> {
        match text.split_once('/') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(Self::new(kind, name)),
            _ => Err(ManifestError::BadId(text.to_owned())),
        }
    }
}

impl Serialize for ResourceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ResourceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ResourceId {
    fn schema_name() -> Cow<'static, str> {
        "ResourceId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[^/]+/.+$", "description": "`kind/name`"})
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("`{0}` is not a resource: write kind/name, for example compute.instance/dorainfra-mimir")]
    BadId(String),
}

/// What one resource should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Manifest {
    pub kind: String,
    pub name: String,
    /// Holds the user's data: never deleted or replaced unless asked for by name.
    #[serde(default)]
    pub protect: bool,
    /// The first resource made, before the lease can be taken: the lease lives in it.
    #[serde(default)]
    pub arbiter: bool,
    /// Serves one thing together with all others that name the same group: those
    /// that are there are taken down one at a time, while the others serve.
    #[serde(default)]
    pub rolling: Option<String>,
    /// Edges beyond those that the references in `body` draw.
    #[serde(default)]
    pub depends_on: Vec<ResourceId>,
    /// For people: `access` (what is reachable from where), `cost` (what is billed).
    #[serde(default)]
    pub notes: BTreeMap<String, String>,
    /// The declared fields, in the provider's field names. Only these are compared.
    pub body: Value,
}

impl Manifest {
    /// One without anything special about it.
    pub fn new(kind: impl Into<String>, name: impl Into<String>, body: Value) -> Self {
        Self {
            kind: kind.into(),
            name: name.into(),
            protect: false,
            arbiter: false,
            rolling: None,
            depends_on: Vec::new(),
            notes: BTreeMap::new(),
            body,
        }
    }

    pub fn id(&self) -> ResourceId {
        ResourceId::new(&self.kind, &self.name)
    }
}
