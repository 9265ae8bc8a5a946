//! Whatever Google's documents describe is served, and then strictly, or refused
//! by its name: never answered with a success that is none.

use crate::google;
use std::collections::BTreeSet;
use std::path::Path;

use crate::google::Example;
use crate::sandbox_support::*;
use futures::StreamExt as _;
use serde_json::{Value, json};

/// The methods of the table in docs/sandbox.md, without their APIs' names.
fn promised() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sandbox.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, table) = page.split_once("<!-- made by").unwrap();
    let (apis, _) = table.split_once("### Metadata server").unwrap_or((table, ""));
    let rows = apis.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(method, _)| method.to_owned()).collect()
}

async fn asked(sandbox: &Sandbox, example: &Example, more: &str, body: Option<Value>) -> (u16, String) {
    let body = body.or(example.takes_body.then(|| json!({})));
    let path = format!("{}{more}", example.path);
    let (status, answer) = sandbox.call(example.verb.parse().unwrap(), &path, body).await;
    (status, answer["error"]["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn every_method_of_the_documents_is_served_or_refused_by_its_name() {
    let Some(documents) = google::documents() else { return };
    let sandbox = start().await;
    let examples = documents.examples();
    assert!(examples.len() > 900, "{} methods", examples.len());
    let answers = futures::stream::iter(&examples)
        .map(|example| {
            let sandbox = &sandbox;
            async move { (example, asked(sandbox, example, "", None).await) }
        })
        .buffer_unordered(8);
    let answers: Vec<(&Example, (u16, String))> = answers.collect().await;
    let (refused, served): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, answer)| answer.0 == 501);
    let misnamed: Vec<String> = refused
        .iter()
        .filter(|(example, (_, message))| *message != format!("The sandbox does not serve {}.", example.id))
        .map(|(example, (_, message))| format!("{} {}: {message}", example.verb, example.path))
        .collect();
    assert!(misnamed.is_empty(), "{} of {}:\n{}", misnamed.len(), refused.len(), misnamed.join("\n"));
    let short = |example: &Example| example.id.split_once('.').unwrap().1.to_owned();
    let found: BTreeSet<String> = served.iter().map(|(example, _)| short(example)).collect();
    assert_eq!(found, promised());

    // What is served takes nothing that its document does not know.
    let mut lenient = Vec::new();
    for (example, _) in &served {
        let (status, message) = asked(&sandbox, example, "&nonsense=1", None).await;
        if status != 400 || !message.contains("Unknown name \"nonsense\": Cannot bind query parameter.") {
            lenient.push(format!("{}?nonsense: {status} {message}", example.id));
        }
        if example.takes_body && example.id != "storage.objects.insert" {
            let (status, message) = asked(&sandbox, example, "", Some(json!({"nonsense": 1}))).await;
            if status != 400 || !message.contains("Unknown name \"nonsense\": Cannot find field.") {
                lenient.push(format!("{} {{nonsense}}: {status} {message}", example.id));
            }
        }
    }
    assert!(lenient.is_empty(), "\n{}", lenient.join("\n"));
    sandbox.stop().await;
}
