//! Terraform: what the deployment consists of in HCL, and an `import` block for each resource that is
//! there. References between manifests become Terraform's own.

use std::collections::{BTreeMap, BTreeSet};

use dorainfra_engine::{Piece, Reference, ResourceId, pieces};
use dorainfra_render::{Context, Overrides};
use serde_json::{Value, json};

use super::{
    Deployed, Export, ExportError, Files, Item, Sheet, Spelled, Speller, hcl, rendered, renderer, rewritten,
};

const FOLDER: &str = "export/terraform";

/// Expressions and files that are no resources: templates name them as if they were.
const EXPRESSION: &str = "export.expression";
const FILE: &str = "export.file";

/// What Terraform's resources tell of themselves by the same name as Google's.
const ATTRIBUTES: [&str; 6] = ["id", "name", "self_link", "email", "address", "version"];

/// `versions.tf`, `main.tf`, `imports.tf`, and what they read.
///
/// # Errors
/// A template of the user's that is wrong, or lacks what a manifest of theirs has.
pub fn terraform(deployed: &Deployed, overrides: &Overrides) -> Result<Export, ExportError> {
    let renderer = renderer(overrides);
    let items = deployed.items()?;
    let (labels, known) = (labels(deployed, &items), deployed.known());
    let with_names = |id: &ResourceId| id.kind == EXPRESSION || id.kind == FILE || known(id);
    let speller = Speller { quote: '"', inside: ["${", "}"], known: &with_names };
    let (mut resources, mut imports, mut files) = (Vec::new(), Vec::new(), Files::default());
    let mut variables = BTreeMap::new();
    let mut absent = Vec::new();
    for item in &items {
        let id = item.id();
        let body = rewritten(&item.body, &mut |text| linked(text, &known));
        let named = |file: &str| format!("${{{FILE}/{file}.path}}");
        let mut values = deployed.values(item, files.taken_out(body, &named));
        values.insert("label".into(), json!(labels.get(&id)));
        values.insert("itself".into(), json!(format!("${{{id}.self}}")));
        values.insert("needs".into(), needs(item, &items, &known)?);
        let template = format!("{FOLDER}/{}.tf.j2", item.manifest.kind);
        let text = rendered(&renderer, &template, item, values)?;
        let mut spell = |reference: &Reference| spelled(reference, &items, &labels, &mut variables);
        let text = speller.spell(&text, &id, &mut spell)?;
        for block in hcl::blocks(&text) {
            if block.starts_with("import ") { imports.push(block) } else { resources.push(block) }
        }
        if item.observed.is_none() && item.exported.terraform.is_some() {
            absent.push(id.to_string());
        }
    }
    let mut sheets = vec![text_sheet("main.tf", &resources)];
    let mut plain = |name: &str, values: Value| {
        let text = renderer.render(&format!("{FOLDER}/{name}.j2"), &Context::new(&values))?.text;
        sheets.push(text_sheet(name, &hcl::blocks(&text)));
        Ok::<_, ExportError>(())
    };
    let (project, region, name) = (&deployed.project, &deployed.region, &deployed.deployment);
    plain("terraform.tf", json!({"project": project, "region": region, "deployment": name}))?;
    if !variables.is_empty() {
        let all = variables.iter().map(|(name, what)| json!({"name": name, "description": what}));
        plain("variables.tf", json!({"variables": all.collect::<Vec<_>>()}))?;
    }
    if !imports.is_empty() {
        sheets.push(text_sheet("imports.tf", &imports));
    }
    sheets.sort_by(|a, b| a.path.cmp(&b.path));
    sheets.extend(files.sheets());
    let mut lacks = deployed.lacks(&items);
    if !absent.is_empty() {
        lacks.push(format!("not there yet, so that Terraform would make it: {}", absent.join(", ")));
    }
    Ok(Export { sheets, lacks })
}

fn text_sheet(path: &str, blocks: &[String]) -> Sheet {
    Sheet { path: path.into(), contents: blocks.join("\n").into_bytes(), executable: false }
}

/// What Terraform calls each resource: its name without what all of them begin with.
fn labels(deployed: &Deployed, items: &[Item<'_>]) -> BTreeMap<ResourceId, String> {
    let prefixes =
        [format!("{}-{}-", deployed.project, deployed.deployment), format!("{}-", deployed.deployment)];
    let mut taken = BTreeSet::new();
    let mut labels = BTreeMap::new();
    for item in items {
        let name = &item.manifest.name;
        let short = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix.as_str())).unwrap_or(name);
        let plain: String = short
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '_' })
            .collect();
        let plain =
            if plain.starts_with(|c: char| c.is_ascii_alphabetic()) { plain } else { format!("_{plain}") };
        let kind = item.exported.terraform.unwrap_or_default();
        let numbered = (2..).map(|count| format!("{plain}_{count}"));
        let label = std::iter::once(plain.clone())
            .chain(numbered)
            .find(|label| taken.insert((kind, label.clone())))
            .unwrap_or(plain.clone());
        labels.insert(item.id(), label);
    }
    labels
}

/// What a manifest depends on and does not refer to anyway.
fn needs(
    item: &Item<'_>,
    items: &[Item<'_>],
    known: &dyn Fn(&ResourceId) -> bool,
) -> Result<Value, ExportError> {
    let referred: BTreeSet<ResourceId> =
        super::references(item.manifest, known)?.into_iter().map(|reference| reference.to).collect();
    let own = |id: &&ResourceId| {
        let there =
            items.iter().find(|other| other.manifest.kind == id.kind && other.manifest.name == id.name);
        let owned = there.is_some_and(|other| other.exported.terraform.is_some());
        // What a binding is on is a reference in its template.
        owned
            && !referred.contains(id)
            && !["storage.bucket", "secretmanager.secret"].contains(&id.kind.as_str())
    };
    Ok(item.manifest.depends_on.iter().filter(own).map(|id| format!("${{{id}.self}}")).collect())
}

/// A manifest says a name where Terraform's custom is the id: for a text that is one, or a path with one.
fn linked(text: &str, known: &dyn Fn(&ResourceId) -> bool) -> Option<String> {
    let found = pieces(text, known).ok()?;
    let (before, reference) = match &found[..] {
        [Piece::Reference(reference)] => ("", reference),
        [Piece::Text(before), Piece::Reference(reference)] => (*before, reference),
        _ => return None,
    };
    let path = before.is_empty() || before.starts_with("zones/");
    (path && reference.field == "name").then(|| format!("${{{}.id}}", reference.to))
}

fn spelled(
    reference: &Reference,
    items: &[Item<'_>],
    labels: &BTreeMap<ResourceId, String>,
    variables: &mut BTreeMap<String, String>,
) -> Spelled {
    let Reference { to, field } = reference;
    match to.kind.as_str() {
        EXPRESSION => return Spelled::Expression(to.name.clone()),
        FILE => return Spelled::Text(format!("${{path.module}}/{}", to.name)),
        _ => {}
    }
    let item = items.iter().find(|item| item.manifest.kind == to.kind && item.manifest.name == to.name);
    let Some(item) = item else { return Spelled::Text(to.name.clone()) };
    let looked_at = item.exported.terraform.is_some_and(|kind| kind.starts_with("data."));
    let is_told = ATTRIBUTES.contains(&field.as_str()) && (!looked_at || item.observed.is_some());
    match (item.exported.terraform, labels.get(to)) {
        (Some(kind), Some(label)) if field == "self" => Spelled::Expression(format!("{kind}.{label}")),
        (Some(kind), Some(label)) if is_told => Spelled::Expression(format!("{kind}.{label}.{field}")),
        (_, label) => match item.observed.map(|observed| &observed.body[field.as_str()]) {
            Some(Value::String(text)) => Spelled::Text(text.clone()),
            _ => {
                let label = label.cloned().unwrap_or_default();
                let name = format!("{label}_{field}");
                variables.insert(name.clone(), format!("`{field}` of {to}"));
                Spelled::Expression(format!("var.{name}"))
            }
        },
    }
}
