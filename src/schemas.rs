//! JSON Schemas of what programs read, made from the types that are written: docs/schemas.

use std::borrow::Cow;
use std::collections::BTreeMap;

use dorainfra_config::Explanation;
use dorainfra_deploy::resource::KindFacts;
use dorainfra_deploy::workflow::SavedPlan;
use dorainfra_deploy::workflow::event_sources::Collected;
use dorainfra_deploy::workflow::output::OUTPUTS;
use dorainfra_model::{Event, PlanDocument, ResourceId, SCHEMA};
use dorainfra_report::Report;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::ui;

/// What of `--json` is no event: how a command ends.
#[derive(JsonSchema)]
#[schemars(tag = "type", rename_all = "kebab-case")]
#[expect(dead_code, clippy::large_enum_variant, reason = "a description")]
enum Ending {
    /// What failed, of a command that fails. Its result follows.
    Error {
        message: String,
        /// The nearest first.
        causes: Vec<String>,
        /// What to do next.
        hints: Vec<String>,
        /// The exit code.
        code: u8,
    },
    /// The last line of each command. One that goes on until it is told to end writes one a round, too.
    Result { result: CommandResult },
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, clippy::large_enum_variant, reason = "a description")]
enum CommandResult {
    /// `apply`, `destroy`
    Summary(ui::Summary),
    /// `verify`
    Proof(ui::Report),
    /// `status`, `stack status`
    Status(ui::Standing),
    /// `status --watch`, one a look
    Pipeline(ui::Pipeline),
    /// `plan`
    Planned(ui::Planned),
    /// `report --format json`
    Report(Report),
    /// `query`
    Answer(ui::Answer),
    /// `collect`
    Collected(Collected),
    /// `event`
    Recorded(ui::Recorded),
    /// `credentials list`, `revoke` and `rotate`
    Credentials(ui::Credentials),
    /// `credentials issue`
    Issued(ui::Issued),
    /// `render`
    Rendered(ui::Rendered),
    /// `validate`
    Validated(ui::Validated),
    /// `output`
    Outputs(Outputs),
    /// `list`
    Listed(Listed),
    /// `drift`
    Drift(Drift),
    /// `open`
    Opened(Opened),
    /// `explain`
    Explanation(Explanation),
    /// `explain mimir.version`
    ExplainedVersion(ExplainedVersion),
    /// `explain` of a kind of resource
    Kind(KindFacts),
    /// `explain` of an error's topic
    Topic(Topic),
    /// `init`, and `report` into a file
    Written(ui::Written),
    /// `sandbox start`
    Exports(Exports),
    /// `sandbox status`
    Sandbox(SandboxStatus),
    /// A command whose result is a text: `completions`, `generate`, `--help`
    Text(Text),
    /// Any other command, and each that failed before it had a result
    Ended(Ended),
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
struct Text {
    text: String,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
struct Ended {
    ok: bool,
    /// The exit code.
    code: u8,
}

/// Each name with its value, or `null` where there is none.
struct Outputs;

impl JsonSchema for Outputs {
    fn schema_name() -> Cow<'static, str> {
        "Outputs".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: serde_json::Map<String, Value> =
            OUTPUTS.iter().map(|name| ((*name).to_owned(), json!(true))).collect();
        json_schema!({
            "type": "object",
            "description": "Each name with its value, or `null` where there is none.",
            "properties": names,
            "minProperties": 1,
        })
    }
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
struct Listed {
    project: String,
    deployments: Vec<ListedDeployment>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
struct ListedDeployment {
    name: String,
    /// `single`, `ha`; `null` without a machine.
    topology: Option<String>,
    regions: Vec<String>,
    /// Each with its status, as `RUNNING`.
    machines: BTreeMap<String, String>,
    disks: Vec<String>,
    buckets: Vec<String>,
    /// RFC 3339.
    since: Option<String>,
    /// This folder's configuration means it.
    configured: bool,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
struct Drift {
    deployment: String,
    project: String,
    drift: bool,
    /// Anything is there that carries the deployment's mark.
    exists: bool,
    found: Vec<Drifted>,
    /// What the configuration means to change.
    pending: Vec<ResourceId>,
    /// How many are as they were applied.
    same: usize,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
struct Drifted {
    id: ResourceId,
    kind: DriftKind,
    fields: Vec<Differs>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "a description")]
enum DriftKind {
    Changed,
    Missing,
    Unmarked,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
struct Differs {
    path: String,
    expected: Value,
    found: Value,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
struct Opened {
    address: String,
    /// In a browser.
    opened: bool,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
struct ExplainedVersion {
    #[schemars(flatten)]
    explanation: Explanation,
    upgrades: Vec<Upgrade>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
struct Upgrade {
    from: String,
    to: String,
    notes: Vec<String>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
struct Topic {
    topic: String,
    title: String,
    /// Markdown.
    text: String,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
struct Exports {
    /// The variables that point Google's tools at the sandbox.
    environment: BTreeMap<String, String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "a description")]
struct SandboxStatus {
    project: String,
    port: u16,
    pid: u32,
    /// The folder of its state.
    dir: String,
    /// RFC 3339.
    time: String,
    /// The account that its key file is of.
    owner: String,
    /// The machines that run.
    machines: Vec<String>,
    /// Milliseconds that are added to each call.
    latency_ms: u64,
    /// How many there are, by kind.
    counts: BTreeMap<String, u64>,
}

/// Each schema with its name, which is that of its file.
pub fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("dorainfra", dorainfra_config::json_schema()),
        ("events", lines()),
        ("plan", of::<PlanDocument>("The plan of a line of type `planned`")),
        ("report", of::<Report>("What `dorainfra report --format json` writes")),
        ("saved-plan", of::<SavedPlan>("What `dorainfra plan --out FILE` writes")),
        ("status", of::<ui::Standing>("The result of `dorainfra status --json`")),
    ]
}

/// A schema as its file has it: keys in their order, whatever a build takes that for.
pub fn text(schema: &Value) -> String {
    format!("{:#}\n", sorted(schema))
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<&String, Value> = fields
                .iter()
                .map(|(name, value)| match value {
                    Value::String(text) if name == "description" => (name, words(text).into()),
                    value => (name, sorted(value)),
                })
                .collect();
            Value::Object(fields.into_iter().map(|(name, value)| (name.clone(), value)).collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        scalar => scalar.clone(),
    }
}

/// A comment on a type, for whoever sees JSON.
fn words(comment: &str) -> String {
    comment.replace("`None`", "`null`").replace("[`", "`").replace("`]", "`").replace('\n', " ")
}

/// Of what is written: a field that is never left out is required.
fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().for_serialize().into_generator()
}

fn of<T: JsonSchema>(title: &str) -> Value {
    let mut schema = Value::from(generator().into_root_schema_for::<T>());
    schema["title"] = title.into();
    schema
}

/// A line of `--json`: an event, or how the command ended.
fn lines() -> Value {
    let mut generator = generator();
    let kinds = [generator.subschema_for::<Event>(), generator.subschema_for::<Ending>()];
    let mut definitions = Value::Object(generator.take_definitions(true));
    for name in ["Event", "Ending"] {
        for kind in definitions[name]["oneOf"].as_array_mut().into_iter().flatten() {
            kind["properties"]["schema"] = json!({"const": SCHEMA});
            if let Some(required) = kind["required"].as_array_mut() {
                required.insert(0, "schema".into());
            }
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of `dorainfra … --json`",
        "oneOf": kinds.map(Value::from),
        "$defs": definitions,
    })
}
