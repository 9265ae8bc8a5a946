//! What the product asks and what the sandbox answers, held to Google's discovery
//! documents: every call of a whole life, and the sandbox's own tables.

use crate::coverage;
use crate::google;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::deployment::Deployment;
use crate::google::Documents;
use serde_json::{Value, json};

/// One life of each: planned, made, changed, taken down with all its data.
const LIVES: &[Life] = &[
    Life { topology: "single", engine: None, apply: &["apply", "--yes"] },
    // Prometheus, which stands in for Mimir elsewhere, cannot do it for three.
    Life {
        topology: "ha",
        engine: Some(include_str!("../support/engine.py")),
        apply: &["apply", "--yes", "--no-stack"],
    },
];

struct Life {
    topology: &'static str,
    /// What takes Mimir's place; none: Prometheus, if it can be had.
    engine: Option<&'static str>,
    apply: &'static [&'static str],
}

#[test]
fn every_call_of_a_whole_life_is_as_google_describes_it() {
    let Some(documents) = google::documents() else { return };
    let mut called = BTreeSet::new();
    let lives = std::thread::scope(|scope| {
        let running: Vec<_> = LIVES.iter().map(|life| (life, scope.spawn(|| lived(life)))).collect();
        running.into_iter().map(|(life, thread)| (life, thread.join().unwrap())).collect::<Vec<_>>()
    });
    for (life, requests) in lives {
        let calls = requests["requests"].as_array().unwrap().len();
        assert!(calls > 60, "{}: {calls} calls", life.topology);
        let (of_this, checked) = (coverage::called(&requests), documents.check_all(&requests));
        assert!(of_this.is_subset(&checked), "not held to a document: {:?}", of_this.difference(&checked));
        called.extend(of_this);
    }
    coverage::holds("own-code", &called);
}

/// The calls of one life, with their bodies.
fn lived(life: &Life) -> Value {
    let deployment = Deployment::empty();
    deployment
        .run(&["sandbox", "start", "--detach", "--as-google", "--record", "--operation", "*=20"])
        .ends_with(0);
    let engine = life.engine.map(|text| {
        let path = deployment.write("engine", text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    });
    let topology = format!("mimir.topology={}", life.topology);
    let run = |arguments: &[&str]| {
        let mut all = vec!["--sandbox", "--set", "generator.teams=2", "--set", "generator.days=7"];
        all.extend(["--set", &topology]);
        if let Some(engine) = &engine {
            // The small engine has no ruler.
            all.extend(["--mimir-binary", engine.to_str().unwrap(), "--set", "alerts.rules=false"]);
        }
        all.extend(arguments);
        deployment.run(&all)
    };
    run(&["plan", "--no-stack", "--detailed-exitcode"]).ends_with(2);
    run(life.apply).ends_with(0);
    run(&["plan", "--no-stack", "--detailed-exitcode"]).ends_with(0);
    run(&["status"]).ends_with(0);
    // What the serial port tells is told by guest attributes, too.
    let serial = |allow: bool| {
        let permission = "compute.instances.getSerialPortOutput";
        let deny = json!({"member": "owner", "permission": permission, "allow": allow});
        deployment.control("POST", "deny", Some(deny));
    };
    serial(false);
    run(&["status"]).ends_with(0);
    serial(true);
    let change = [
        "--set",
        "mimir.limits.out_of_order_window=500d",
        "--set",
        "mimir.disk_gb=60",
        "--set",
        "labels.team=payments",
        "--set",
        "access.allow=[203.0.113.0/24]",
    ];
    run(&[&change[..], life.apply, &["--no-verify"]].concat()).ends_with(0);
    run(&["destroy", "--yes", "--delete-data"]).ends_with(0);
    deployment.control("GET", "requests", None)
}

/// The tables are made by this very script from these very documents.
#[test]
fn the_sandboxs_tables_are_current() {
    let (Some(python), Some(documents)) = (google::python(), google::installed("discovery")) else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fresh = tempfile::tempdir().unwrap();
    let made = Command::new(python)
        .arg(root.join("scripts/sandbox-contract"))
        .arg(documents)
        .arg(fresh.path())
        .status()
        .unwrap();
    assert!(made.success());
    for entry in std::fs::read_dir(fresh.path()).unwrap() {
        let name = entry.unwrap().file_name();
        let read = |folder: &Path| std::fs::read_to_string(folder.join(&name)).unwrap();
        let kept = read(&root.join("crates/gcp-sandbox/src/kernel/contract"));
        assert!(read(fresh.path()) == kept, "{name:?} is stale: scripts/sandbox-contract writes it");
    }
}

/// A small API, as a discovery document describes one.
fn small() -> Documents {
    let string = json!({"type": "string"});
    let disk = json!({"type": "object", "properties": {
        "kind": {"type": "string", "default": "things#disk"},
        "name": {"type": "string", "pattern": "[a-z]+", "annotations": {"required": ["things.disks.insert"]}},
        "sizeGb": {"type": "string", "format": "int64"},
        "count": {"type": "integer", "format": "int32"},
        "type": {"type": "string", "enum": ["FAST", "SLOW"]},
        "on": {"type": "boolean"},
        "key": {"type": "string", "format": "byte"},
        "made": {"type": "string", "format": "date-time"},
        "labels": {"type": "object", "additionalProperties": string},
        "parts": {"type": "array", "items": {"$ref": "Part"}},
    }});
    let page = json!({"type": "integer", "format": "uint32", "location": "query"});
    Documents::new([json!({
        "servicePath": "things/v1/",
        "parameters": {"alt": {"type": "string", "enum": ["json", "media"], "location": "query"}},
        "schemas": {"Disk": disk, "Part": {"type": "object", "properties": {"size": {"type": "integer", "format": "int32"}}}},
        "resources": {"disks": {"methods": {
            "insert": {"id": "things.disks.insert", "httpMethod": "POST", "path": "disks",
                "parameters": {"project": {"type": "string", "required": true, "location": "query"}, "page": page},
                "request": {"$ref": "Disk"}, "response": {"$ref": "Disk"}},
            "patch": {"id": "things.disks.patch", "httpMethod": "PATCH", "path": "disks/{disk}",
                "parameters": {"disk": {"type": "string", "required": true, "location": "path", "pattern": "[a-z]+"}},
                "request": {"$ref": "Disk"}, "response": {"$ref": "Disk"}},
            "delete": {"id": "things.disks.delete", "httpMethod": "DELETE", "path": "disks/{disk}"},
        }}},
    })])
}

fn insert(path: &str, request: Value, response: Value) -> Value {
    json!({"method": "POST", "path": path, "api": "things.disks.insert", "status": 200,
        "bodies": {"request": request, "response": response}})
}

#[test]
fn what_a_document_says_passes() {
    let whole = json!({"kind": "things#disk", "name": "a", "sizeGb": "10", "count": 3, "type": "FAST", "on": true,
        "key": "aGk=", "made": "2026-01-02T03:04:05.678Z", "labels": {"any": "x"}, "parts": [{"size": 1}]});
    let call = insert("/things/v1/disks?project=p&page=2&alt=json", whole.clone(), whole);
    assert_eq!(small().check(&call).unwrap(), "things.disks.insert");
    let patch = json!({"method": "PATCH", "path": "/things/v1/disks/a", "api": "things.disks.patch", "status": 200,
        "bodies": {"request": {"labels": null}, "response": {}}});
    small().check(&patch).unwrap();
    let delete = json!({"method": "DELETE", "path": "/things/v1/disks/a", "api": "things.disks.delete", "status": 204});
    small().check(&delete).unwrap();
    let refused = json!({"method": "DELETE", "path": "/things/v1/disks/a", "api": "things.disks.delete", "status": 404,
        "bodies": {"request": null, "response": {"error": {"code": 404, "message": "none"}}}});
    small().check(&refused).unwrap();
}

#[test]
fn what_no_document_says_fails() {
    let good = "/things/v1/disks?project=p";
    let body = |member: &str, value: Value| {
        let mut body = json!({"name": "a"});
        body[member] = value;
        body
    };
    let (fine, none) = (json!({"name": "a"}), json!({}));
    for (call, words) in [
        (insert("/things/v1/discs?project=p", fine.clone(), none.clone()), "no document has such a method"),
        (insert("/things/v1/disks", fine.clone(), none.clone()), "required parameter project is missing"),
        (insert("/things/v1/disks?project=p&max=1", fine.clone(), none.clone()), "unknown parameter max"),
        (insert("/things/v1/disks?project=p&page=-1", fine.clone(), none.clone()), "parameter page=-1"),
        (insert("/things/v1/disks?project=p&project=q", fine.clone(), none.clone()), "is given twice"),
        (insert("/things/v1/disks?project=p&alt=xml", fine.clone(), none.clone()), "is none of"),
        (
            insert(good, body("size", json!("1")), none.clone()),
            "request.size: the document knows no such field",
        ),
        (insert(good, body("sizeGb", json!(1.5)), none.clone()), "request.sizeGb: 1.5 is no string int64"),
        (insert(good, body("sizeGb", json!("ten")), none.clone()), "is no string int64"),
        (insert(good, body("count", json!(3_000_000_000u64)), none.clone()), "is no integer int32"),
        (insert(good, body("on", json!("true")), none.clone()), "is no boolean"),
        (insert(good, body("type", json!("QUICK")), none.clone()), "is none of"),
        (insert(good, body("key", json!("?")), none.clone()), "is no string byte"),
        (insert(good, body("made", json!("yesterday")), none.clone()), "is no string date-time"),
        (insert(good, body("labels", json!({"a": 1})), none.clone()), "request.labels.a: 1 is no string"),
        (insert(good, body("labels", json!(null)), none.clone()), "request.labels: null is no object"),
        (insert(good, body("parts", json!({})), none.clone()), "is no list"),
        (insert(good, body("parts", json!([{"width": 1}])), none.clone()), "request.parts[0].width"),
        (insert(good, body("name", json!("A")), none.clone()), "does not match"),
        (insert(good, none.clone(), none.clone()), "request.name: is required"),
        (insert(good, Value::Null, none.clone()), "there is no request"),
        (
            insert(good, fine.clone(), json!({"colour": "red"})),
            "response.colour: the document knows no such field",
        ),
        (insert(good, fine.clone(), json!({"sizeGb": 10})), "response.sizeGb"),
        (insert(good, fine.clone(), json!({"kind": "things#disc"})), "is not \"things#disk\""),
        (insert(good, fine.clone(), json!([])), "is no object"),
        (insert(good, fine.clone(), Value::Null), "response: null is no object"),
    ] {
        let problems = small().check(&call).expect_err(words);
        assert!(problems.iter().any(|problem| problem.contains(words)), "{words}: {problems:?}");
    }
    let other = |call: Value, words: &str| {
        let problems = small().check(&call).expect_err(words);
        assert!(problems.iter().any(|problem| problem.contains(words)), "{words}: {problems:?}");
    };
    let path = "/things/v1/disks/a";
    other(json!({"method": "PUT", "path": path}), "no document has such a method");
    other(
        json!({"method": "DELETE", "path": path, "api": "things.disks.get", "status": 204}),
        "the sandbox takes it for",
    );
    let delete = |status: u64, request: Value, response: Value| {
        json!({"method": "DELETE", "path": path, "api": "things.disks.delete", "status": status,
            "bodies": {"request": request, "response": response}})
    };
    other(delete(204, json!({"now": true}), Value::Null), "takes no request");
    other(delete(200, Value::Null, json!({"done": true})), "answers nothing");
    other(delete(404, Value::Null, Value::Null), "error.code is null");
    other(delete(404, Value::Null, json!({"error": {"code": 404}})), "error.message is missing");
    let patch = json!({"method": "PATCH", "path": "/things/v1/disks/A", "api": "things.disks.patch", "status": 200,
        "bodies": {"request": {}, "response": {}}});
    other(patch, "path parameter disk=A");
}
