//! A deployment written down for other tools, so that nobody has to stay: Terraform that imports what is
//! there, and gcloud commands that make the same. What is said of a kind is a template of its name in
//! `templates/export/TOOL`; what Terraform calls it and where it carries the mark, the kind says itself
//! (`resource`). No value of a secret is read for it.

mod gcloud;
mod hcl;
mod terraform;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dorainfra_engine::{self as engine, Manifest, Mark, Observed, Ownership, Piece, Reference, ResourceId};
use dorainfra_render::{Context, Overrides, RenderError, Renderer};
use serde_json::{Map, Value, json};

use crate::blueprint::Content;
use crate::resource::{self, Exported, lives_in_mimir};

pub use gcloud::gcloud;
pub use terraform::terraform;

/// What is written down: what should be, and what of it is there.
#[derive(Debug)]
pub struct Deployed {
    pub project: String,
    pub region: String,
    pub deployment: String,
    pub manifests: Vec<Manifest>,
    pub observed: BTreeMap<ResourceId, Observed>,
    /// By SHA-256, what objects of the bucket hold.
    pub contents: Arc<BTreeMap<String, Content>>,
}

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    pub path: String,
    pub contents: Vec<u8>,
    pub executable: bool,
}

impl Sheet {
    /// `None`: it is no text.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.contents).ok().filter(|text| !text.contains('\0'))
    }

    /// Whether it is a file that the others refer to, in a language of its own.
    pub fn is_referred_to(&self) -> bool {
        self.path.starts_with(FILES)
    }
}

/// Everything that a tool is told.
#[derive(Debug)]
pub struct Export {
    pub sheets: Vec<Sheet>,
    /// What is not in it, for people.
    pub lacks: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error("`{kind}` has no export")]
    NoExport { kind: String },
    #[error("{id} has a field `{field}`, which {template} does not export")]
    Field { id: ResourceId, field: String, template: String },
    #[error("{id} has a reference that is not whole: {text}")]
    Reference { id: ResourceId, text: String },
}

impl ExportError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Render(error) => error.hint(),
            Self::Field { template, .. } => Some(format!(
                "the field is of a manifest in your `templates_dir`: put {template} there, too, with the field"
            )),
            Self::NoExport { .. } | Self::Reference { .. } => {
                Some("this is a fault in dorainfra: please report it".into())
            }
        }
    }
}

/// Where files beside the text are.
const FILES: &str = "files";

/// A resource, ready to be told.
struct Item<'a> {
    manifest: &'a Manifest,
    exported: Exported,
    /// As it is at Google: with its mark.
    body: Value,
    /// `None`: it isn't there, or isn't ours.
    observed: Option<&'a Observed>,
}

impl Item<'_> {
    fn id(&self) -> ResourceId {
        self.manifest.id()
    }
}

impl Deployed {
    fn known(&self) -> impl Fn(&ResourceId) -> bool {
        |id| self.manifests.iter().any(|manifest| manifest.kind == id.kind && manifest.name == id.name)
    }

    /// What is Google's, each after what it needs.
    fn items(&self) -> Result<Vec<Item<'_>>, ExportError> {
        let google: Vec<&Manifest> =
            self.manifests.iter().filter(|manifest| !lives_in_mimir(&manifest.kind)).collect();
        let item = |manifest| {
            let manifest: &Manifest = manifest;
            let exported = resource::exported(&manifest.kind)
                .ok_or_else(|| ExportError::NoExport { kind: manifest.kind.clone() })?;
            let there = self.observed.get(&manifest.id());
            let digest = there.and_then(|there| there.applied.clone());
            let mark = Mark {
                deployment: self.deployment.clone(),
                digest: digest.unwrap_or_else(|| engine::digest(manifest)),
            };
            Ok(Item {
                manifest,
                exported,
                body: resource::marked(&manifest.body, exported.marked, &mark),
                observed: there
                    .filter(|there| exported.marked.is_none() || there.ownership == Ownership::Ours),
            })
        };
        ordered(&google, &self.known())?.into_iter().map(item).collect()
    }

    /// The values that each template sees.
    fn values(&self, item: &Item<'_>, body: Value) -> Map<String, Value> {
        let values = json!({
            "project": self.project,
            "region": self.region,
            "deployment": self.deployment,
            "name": item.manifest.name,
            "protect": item.manifest.protect,
            "exists": item.observed.is_some(),
            "observed": item.observed.map_or(Value::Null, |observed| observed.body.clone()),
            "body": body,
        });
        match values {
            Value::Object(values) => values,
            _ => Map::new(),
        }
    }

    /// What is not in an export, whichever the tool.
    fn lacks(&self, items: &[Item<'_>]) -> Vec<String> {
        let mut lacks = Vec::new();
        let inside = self.manifests.len() - items.len();
        if inside > 0 {
            lacks.push(format!(
                "{inside} rule groups and configurations that live in Mimir itself: `mimirtool rules load` and \
                 `mimirtool alertmanager load` take them"
            ));
        }
        let others: Vec<String> = items
            .iter()
            .filter(|item| item.observed.is_none() && self.observed.contains_key(&item.id()))
            .map(|item| item.id().to_string())
            .collect();
        if !others.is_empty() {
            lacks.push(format!(
                "what is there under these names is not this deployment's: {}",
                others.join(", ")
            ));
        }
        lacks
    }
}

/// The manifests, each after those that it refers to or depends on, else as they are.
fn ordered<'a>(
    manifests: &[&'a Manifest],
    known: &dyn Fn(&ResourceId) -> bool,
) -> Result<Vec<&'a Manifest>, ExportError> {
    fn visit<'a>(
        manifest: &'a Manifest,
        needs: &BTreeMap<ResourceId, Vec<ResourceId>>,
        all: &BTreeMap<ResourceId, &'a Manifest>,
        seen: &mut BTreeSet<ResourceId>,
        order: &mut Vec<&'a Manifest>,
    ) {
        // The blueprint has no circles; a second visit ends here either way.
        if !seen.insert(manifest.id()) {
            return;
        }
        for needed in needs.get(&manifest.id()).into_iter().flatten().filter_map(|id| all.get(id)) {
            visit(needed, needs, all, seen, order);
        }
        order.push(manifest);
    }
    let all: BTreeMap<ResourceId, &Manifest> =
        manifests.iter().map(|manifest| (manifest.id(), *manifest)).collect();
    let mut needs = BTreeMap::new();
    for manifest in manifests {
        let mut ids = manifest.depends_on.clone();
        ids.extend(references(manifest, known)?.into_iter().map(|reference| reference.to));
        needs.insert(manifest.id(), ids);
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    manifests.iter().for_each(|manifest| visit(manifest, &needs, &all, &mut seen, &mut order));
    Ok(order)
}

/// What a manifest refers to.
fn references(
    manifest: &Manifest,
    known: &dyn Fn(&ResourceId) -> bool,
) -> Result<Vec<Reference>, ExportError> {
    let mut found = Vec::new();
    let mut error = None;
    let _ = rewritten(&manifest.body, &mut |text| {
        match engine::pieces(text, known) {
            Ok(pieces) => found.extend(pieces.into_iter().filter_map(|piece| match piece {
                Piece::Reference(reference) => Some(reference),
                Piece::Text(_) => None,
            })),
            Err(bad) => error = Some(ExportError::Reference { id: manifest.id(), text: bad.0 }),
        }
        None
    });
    error.map_or(Ok(found), Err)
}

/// A body with other texts in it; `None` leaves one as it is.
fn rewritten(body: &Value, rewrite: &mut dyn FnMut(&str) -> Option<String>) -> Value {
    match body {
        Value::String(text) => json!(rewrite(text).unwrap_or_else(|| text.clone())),
        Value::Array(items) => items.iter().map(|item| rewritten(item, rewrite)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), rewritten(value, rewrite))).collect()
        }
        other => other.clone(),
    }
}

/// How a reference is written down.
enum Spelled {
    /// In the tool's own language.
    Expression(String),
    /// As a part of a text.
    Text(String),
}

/// Spells the references in a rendered text. Of a word that is one and nothing else the quotes go; within
/// a longer one it is put between `inside`.
struct Speller<'a> {
    quote: char,
    inside: [&'a str; 2],
    known: &'a dyn Fn(&ResourceId) -> bool,
}

impl Speller<'_> {
    fn spell(
        &self,
        text: &str,
        id: &ResourceId,
        spell: &mut dyn FnMut(&Reference) -> Spelled,
    ) -> Result<String, ExportError> {
        let pieces = engine::pieces(text, self.known)
            .map_err(|bad| ExportError::Reference { id: id.clone(), text: bad.0 })?;
        let mut out = String::new();
        // A quote that the expression before has made needless.
        let mut swallow = false;
        for (at, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::Text(text) => {
                    out.push_str(if swallow { text.strip_prefix(self.quote).unwrap_or(text) } else { text });
                    swallow = false;
                }
                Piece::Reference(reference) => match spell(reference) {
                    Spelled::Text(text) => out.push_str(&text),
                    Spelled::Expression(expression) => {
                        let ends = matches!(pieces.get(at + 1), Some(Piece::Text(text)) if text.starts_with(self.quote));
                        if ends && out.ends_with(self.quote) {
                            out.pop();
                            out.push_str(&expression);
                            swallow = true;
                        } else {
                            out.push_str(&format!("{}{expression}{}", self.inside[0], self.inside[1]));
                        }
                    }
                },
            }
        }
        Ok(out)
    }
}

/// The template of a tool for a kind, as it is for this item: rendered, after a look whether it exports
/// every field that the manifest has.
fn rendered(
    renderer: &Renderer<'_>,
    template: &str,
    item: &Item<'_>,
    values: Map<String, Value>,
) -> Result<String, ExportError> {
    let uses = renderer.uses(template)?;
    for field in item.manifest.body.as_object().into_iter().flat_map(Map::keys) {
        let path = format!("body.{field}");
        let told = field == "labels"
            || uses.iter().any(|used| {
                used == "body"
                    || used.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
        if !told {
            return Err(ExportError::Field {
                id: item.id(),
                field: field.clone(),
                template: template.to_owned(),
            });
        }
    }
    Ok(renderer.render(template, &Context::new(&Value::Object(values)))?.text)
}

fn renderer(overrides: &Overrides) -> Renderer<'_> {
    Renderer::new(overrides)
}

/// The long texts of a machine's metadata as files, each content once.
#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// The name of the file that holds it.
    fn keep(&mut self, name: &str, contents: &[u8]) -> String {
        let mut path = format!("{FILES}/{name}");
        let mut count = 1;
        while self.0.get(&path).is_some_and(|there| there != contents) {
            count += 1;
            path = format!("{FILES}/{name}-{count}");
        }
        self.0.entry(path.clone()).or_insert_with(|| contents.to_vec());
        path
    }

    /// The body of a machine with its long texts taken out; `named` says how their files are named.
    fn taken_out(&mut self, mut body: Value, named: &dyn Fn(&str) -> String) -> Value {
        for item in body["metadata"]["items"].as_array_mut().into_iter().flatten() {
            let (Some(key), Some(value)) = (item["key"].as_str(), item["value"].as_str()) else { continue };
            if value.contains('\n') {
                let file = self.keep(key, value.as_bytes());
                *item = json!({"key": key, "file": named(&file)});
            }
        }
        body
    }

    fn sheets(self) -> impl Iterator<Item = Sheet> {
        self.0.into_iter().map(|(path, contents)| Sheet { path, contents, executable: false })
    }
}

#[cfg(test)]
mod tests;
