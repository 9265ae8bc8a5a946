//! gcloud: a script of commands that make the same from nothing.

use std::collections::BTreeSet;

use dorainfra_engine::{Piece, Reference, pieces};
use dorainfra_render::{Context, Overrides};
use serde_json::{Value, json};

use super::{Deployed, Export, ExportError, Files, Sheet, Spelled, Speller, rendered, renderer, rewritten};
use crate::blueprint::Content;

const FOLDER: &str = "export/gcloud";
const SCRIPT: &str = "make.sh";

/// `make.sh`, and what it uploads.
///
/// # Errors
/// As [`super::terraform`].
pub fn gcloud(deployed: &Deployed, overrides: &Overrides) -> Result<Export, ExportError> {
    let renderer = renderer(overrides);
    let (items, known) = (deployed.items()?, deployed.known());
    let speller = Speller { quote: '\'', inside: ["'", "'"], known: &known };
    let (mut commands, mut files, mut arrays) = (Vec::new(), Files::default(), BTreeSet::new());
    for item in &items {
        let id = item.id();
        let body = rewritten(&item.body, &mut |text| named(deployed, text, &known));
        let mut values = deployed.values(item, files.taken_out(body, &str::to_owned));
        let file = match deployed.contents.get(item.body["sha256"].as_str().unwrap_or_default()) {
            Some(Content::Bytes(bytes)) => {
                let name = item.manifest.name.rsplit('/').next().unwrap_or_default();
                json!(files.keep(name, bytes))
            }
            _ => Value::Null,
        };
        values.insert("file".into(), file);
        values.insert("labels".into(), json!(list(&item.body["labels"])));
        let of_snapshots = &item.body["snapshotSchedulePolicy"]["snapshotProperties"]["labels"];
        values.insert("snapshot_labels".into(), json!(list(of_snapshots)));
        let template = format!("{FOLDER}/{}.sh.j2", item.manifest.kind);
        let text = rendered(&renderer, &template, item, values)?;
        let assigned: &[&str] = match (item.manifest.kind.as_str(), item.observed) {
            ("compute.address", _) => &["address"],
            ("secretmanager.secretVersion", Some(_)) => &["version"],
            ("secretmanager.secretVersion", None) => &["version", "fingerprint"],
            _ => &[],
        };
        arrays.extend(assigned.iter().map(|&array| array.to_owned()));
        let mut spell = |Reference { to, field }: &Reference| {
            arrays.insert(field.clone());
            Spelled::Expression(format!("\"${{{field}[{}]}}\"", to.name))
        };
        commands.push(speller.spell(&text, &id, &mut spell)?);
    }
    let begin = json!({
        "project": deployed.project,
        "deployment": deployed.deployment,
        "arrays": arrays,
        "secrets": items.iter().any(|item| item.manifest.kind == "secretmanager.secretVersion"),
    });
    let begin = renderer.render(&format!("{FOLDER}/_begin.sh.j2"), &Context::new(&begin))?.text;
    let script = std::iter::once(begin).chain(commands).collect::<Vec<_>>().join("\n");
    let mut sheets = vec![Sheet { path: SCRIPT.into(), contents: script.into_bytes(), executable: true }];
    sheets.extend(files.sheets());
    Ok(Export { sheets, lacks: deployed.lacks(&items) })
}

/// As gcloud takes a mapping.
fn list(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(",")
}

/// What is known before it is made: names, whoever is named after one, and what is there.
fn named(
    deployed: &Deployed,
    text: &str,
    known: &dyn Fn(&dorainfra_engine::ResourceId) -> bool,
) -> Option<String> {
    let found = pieces(text, known).ok()?;
    let piece = |piece: &Piece<'_>| match piece {
        Piece::Text(text) => (*text).to_owned(),
        Piece::Reference(Reference { to, field }) => match field.as_str() {
            "name" => to.name.clone(),
            "email" => format!("{}@{}.iam.gserviceaccount.com", to.name, deployed.project),
            // A new one is given out when the script makes it.
            "address" | "version" => format!("${{{to}.{field}}}"),
            _ => match deployed.observed.get(to).map(|observed| &observed.body[field.as_str()]) {
                Some(Value::String(text)) => text.clone(),
                _ => format!("${{{to}.{field}}}"),
            },
        },
    };
    Some(found.iter().map(piece).collect())
}
