//! The samples that CDEvents' SDKs are tested with, in both modes.

use std::path::{Path, PathBuf};

use axum::http::{HeaderName, HeaderValue};
use serde_json::json;

use super::*;

const VERSIONS: [&str; 3] = ["0.3", "0.4", "0.5"];

fn samples(version: &str) -> Vec<(String, Value)> {
    let folder: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/cdevents").join(version);
    let mut all: Vec<(String, Value)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn sample(version: &str, name: &str) -> Value {
    samples(version).into_iter().find(|(sample, _)| sample == name).unwrap().1
}

fn envelope(event: &Value) -> Value {
    let context = &event["context"];
    json!({"specversion": "1.0", "id": context["id"], "source": context["source"],
        "type": context["type"], "datacontenttype": "application/json", "data": event})
}

fn usual(_: Option<&str>) -> Reading {
    Reading { service: None, deployed: Deployed::Deployments }
}

fn structured(event: &Value) -> Result<Read, Wrong> {
    let body = envelope(event).to_string();
    read(Mode::Structured, &HeaderMap::new(), body.as_bytes(), usual)
}

fn headers(event: &Value) -> HeaderMap {
    let context = &event["context"];
    let mut headers = HeaderMap::new();
    let fields = [
        ("ce-specversion", "1.0"),
        ("ce-id", context["id"].as_str().unwrap()),
        ("ce-source", context["source"].as_str().unwrap()),
        ("ce-type", context["type"].as_str().unwrap()),
    ];
    for (name, value) in fields {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn used(read: Read) -> ServiceFacts {
    match read {
        Read::Used { reported, .. } => reported,
        Read::Unused(kind) => panic!("{kind} is not used"),
    }
}

#[test]
fn each_sample_of_each_version_is_read_the_same_in_both_modes() {
    for version in VERSIONS {
        let mut lines = String::new();
        for (name, event) in samples(version) {
            let reported = structured(&event).unwrap_or_else(|why| panic!("{version} {name}: {why}"));
            let body = event.to_string();
            let binary = read(Mode::Binary, &headers(&event), body.as_bytes(), usual).unwrap();
            assert_eq!(reported, binary, "{version} {name}");
            lines += &match reported {
                Read::Used { reported, .. } => {
                    format!(
                        "{name}: {} {}\n",
                        reported.service,
                        serde_json::to_string(&reported.facts).unwrap()
                    )
                }
                Read::Unused(kind) => format!("{name}: not used: {kind}\n"),
            };
        }
        insta::assert_snapshot!(version, lines);
    }
}

#[test]
fn what_is_published_counts_instead_of_what_is_deployed_where_the_source_says_so() {
    let published = |_: Option<&str>| Reading { service: None, deployed: Deployed::Releases };
    let read = |name: &str| {
        let body = envelope(&sample("0.4", name)).to_string();
        read(Mode::Structured, &HeaderMap::new(), body.as_bytes(), published).unwrap()
    };
    assert!(matches!(read("service_published"), Read::Used { .. }));
    assert!(matches!(read("service_deployed"), Read::Unused(_)));
    let rolled_back = used(read("service_rolledback"));
    assert!(matches!(&rolled_back.facts[0], Fact::Ran { deployment, .. } if deployment.mends));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    type Break = fn(&mut Value);
    let cases: [(&str, Break, &str); 15] = [
        (
            "service_deployed",
            |it| it["data"]["customData"] = json!({"dorainfra": 5}),
            "/data/customData/dorainfra",
        ),
        (
            "service_deployed",
            |it| it["data"]["customData"] = json!({"dorainfra": {"rework": "true"}}),
            "/data/customData/dorainfra/rework",
        ),
        ("service_deployed", |it| it["specversion"] = "2.0".into(), "/specversion"),
        ("service_deployed", |it| it["id"] = Value::Null, "/id"),
        ("service_deployed", |it| it["data"] = Value::Null, "/data/context/specversion"),
        (
            "service_deployed",
            |it| it["data"]["context"]["version"] = "1.0.0".into(),
            "/data/context/specversion",
        ),
        ("service_deployed", |it| it["data"]["context"]["id"] = "another".into(), "/data/context/id"),
        ("service_deployed", |it| it["data"]["context"]["source"] = "".into(), "/data/context/source"),
        ("service_deployed", |it| it["type"] = "dev.cdevents.service.deployed.1.0.0".into(), "type"),
        ("service_deployed", |it| it["type"] = "dev.cdevents.service.deployed".into(), "type"),
        (
            "service_deployed",
            |it| it["data"]["context"]["timestamp"] = "2023-03-20T14:27:05".into(),
            "/data/context/timestamp",
        ),
        ("service_deployed", |it| it["data"]["subject"]["id"] = " ".into(), "/data/subject/id"),
        (
            "service_deployed",
            |it| it["data"]["subject"]["content"]["environment"] = json!({}),
            "/data/subject/content/environment/id",
        ),
        (
            "incident_detected",
            |it| it["data"]["subject"]["content"]["service"] = Value::Null,
            "/data/subject/content/service/id",
        ),
        (
            "service_deployed",
            |it| it["data"]["customData"] = json!({"dorainfra": {"changes": [{"id": "a", "at": "soon"}]}}),
            "/data/customData/dorainfra/changes/0/at",
        ),
    ];
    for (name, breaks, place) in cases {
        let mut event = envelope(&sample("0.4", name));
        breaks(&mut event);
        let body = event.to_string();
        let wrong = read(Mode::Structured, &HeaderMap::new(), body.as_bytes(), usual).unwrap_err();
        assert_eq!(wrong.place, place, "{wrong}");
    }
    let event = sample("0.4", "service_deployed");
    let mut without = headers(&event);
    without.remove("ce-id");
    let wrong = read(Mode::Binary, &without, event.to_string().as_bytes(), usual).unwrap_err();
    assert_eq!(wrong.place, "ce-id");
    let wrong = read(Mode::Structured, &HeaderMap::new(), b"{", usual).unwrap_err();
    assert_eq!(wrong.place, "the body");
}

#[test]
fn other_types_are_not_used_whatever_they_hold() {
    for kind in
        ["dev.cdevents.pipelinerun.finished.0.2.0", "dev.cdeventsx.mine.0.1.0", "com.example.happened"]
    {
        let event = json!({"specversion": "1.0", "id": "1", "source": "/x", "type": kind, "data": {}});
        let read = read(Mode::Structured, &HeaderMap::new(), event.to_string().as_bytes(), usual).unwrap();
        assert_eq!(read, Read::Unused(kind.into()));
    }
}

#[test]
fn a_sender_may_say_what_cdevents_has_no_place_for() {
    let mut event = sample("0.4", "service_deployed");
    event["customData"] = json!({"dorainfra": {"team": "orders", "service": "cart", "rework": true,
        "revision": "ABCDEF0123", "name": "v1.2.3",
        "changes": [{"id": "abcdef0123", "at": 1_772_452_800, "title": "Add a cart"}, {"id": "c2"}]}});
    let reported = used(structured(&event).unwrap());
    assert_eq!((reported.team.as_deref(), reported.service.as_str()), (Some("orders"), "cart"));
    insta::assert_json_snapshot!(reported.facts.iter().map(|fact| json!(fact)).collect::<Vec<_>>());
    let read = Reading { service: Some("basket".into()), deployed: Deployed::Deployments };
    let body = envelope(&event).to_string();
    let reported = super::read(Mode::Structured, &HeaderMap::new(), body.as_bytes(), |about| {
        assert_eq!(about, Some("cart"));
        Reading { service: read.service.clone(), deployed: read.deployed }
    });
    assert_eq!(used(reported.unwrap()).service, "basket");
}

#[test]
fn fuzzed_events_are_told_or_read() {
    dorainfra_testutils::fuzzing::five_seconds("cdevents", |input| {
        let _ = read(Mode::Structured, &HeaderMap::new(), input, usual).map(|read| format!("{read:?}"));
        let event = sample_headers();
        let _ = read(Mode::Binary, &event, input, usual).map(|read| format!("{read:?}"));
    });
}

fn sample_headers() -> HeaderMap {
    let context =
        json!({"context": {"id": "i", "source": "s", "type": "dev.cdevents.service.deployed.0.2.0"}});
    headers(&context)
}
