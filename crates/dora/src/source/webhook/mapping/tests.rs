//! Each ready mapping against a payload as its sender describes or sends it:
//! tests/fixtures/README.md says where each is from.

use serde_json::{Value, json};
use time::macros::datetime;

use super::*;

const RECEIVED: OffsetDateTime = datetime!(2026-03-02 12:00 UTC);

/// Payloads by the file's name.
fn payload(name: &str) -> Value {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/senders");
    let text = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn fixed(hook: &str) -> Fixed<'_> {
    let workflows = Patterns::new(["deploy-cart", "unit tests*"]);
    Fixed { hook, service: None, environment: "production", workflows }
}

fn read(mapping: &str, body: &Value) -> Result<Vec<ServiceFacts>, Wrong> {
    ready(mapping).unwrap().read(body, &fixed(mapping), RECEIVED)
}

fn text(at: OffsetDateTime) -> String {
    let rfc = time::format_description::well_known::Rfc3339;
    at.to_offset(time::UtcOffset::UTC).format(&rfc).unwrap()
}

/// One line a fact: whose it is, what it is, and when.
fn reported(mapping: &str, body: &Value) -> String {
    let mut lines = String::new();
    for ServiceFacts { team, service, facts } in read(mapping, body).unwrap() {
        for fact in facts {
            let fact = match fact {
                Fact::Ran { id, deployment: ran } => {
                    let status = ran.statuses[0];
                    let what = match (status.ok, ran.mends) {
                        (false, _) => "broken",
                        (true, true) => "rework",
                        (true, false) => "deployed",
                    };
                    let at = text(status.at);
                    format!("{what} {id} {at} in {} {} {}", ran.environment, ran.name, ran.revision)
                }
                Fact::Landed { id, change } => {
                    format!("change {id} {} {}", text(change.at.unwrap()), change.title)
                }
                Fact::Failed { id, failure } => {
                    let status = failure.statuses[0];
                    let what = if status.ok { "over" } else { "failure" };
                    format!("{what} {id} {} in {}", text(status.at), failure.environment)
                }
                Fact::Reported { id, incident } => format!(
                    "issue {id} {} until {} {:?} as of {}",
                    text(incident.opened),
                    incident.closed.map_or("now".into(), text),
                    incident.labels,
                    text(incident.updated)
                ),
                other => format!("{other:?}"),
            };
            let team = team.as_deref().unwrap_or("?");
            lines += &format!("{team}/{service}: {}\n", fact.trim_end());
        }
    }
    lines
}

#[test]
fn argo_cd() {
    let mut app = payload("argocd-application");
    insta::assert_snapshot!(reported("argocd", &app), @"?/my-app: deployed argocd:123-2018-09-21T23:50:29Z 2018-09-21T23:50:29Z in production  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    app["status"]["health"] = json!({"status": "Degraded", "lastTransitionTime": "2018-09-22T01:00:00Z"});
    insta::assert_snapshot!(reported("argocd", &app), @"?/my-app: broken argocd:123-2018-09-21T23:50:29Z 2018-09-22T01:00:00Z in production");
    app["status"]["operationState"]["phase"] = "Running".into();
    assert_eq!(reported("argocd", &app), "");
}

#[test]
fn flux() {
    assert_eq!(reported("flux", &payload("flux-failed")), "", "nothing changed for users");
    let mut applied = payload("flux-applied");
    insta::assert_snapshot!(reported("flux", &applied), @"?/webapp: deployed flux:7d0cdc51-ddcf-4743-b223-83ca5c699632-main@sha1:731f7eaddfb6af01cb2173e18f0f75b0ba780ef1 2026-03-02T09:00:00Z in production  731f7eaddfb6af01cb2173e18f0f75b0ba780ef1");
    let first = ids("flux", &applied);
    // Applied again, for whatever reason, the same revision deploys nothing.
    applied["timestamp"] = "2026-03-02T10:00:00Z".into();
    assert_eq!(ids("flux", &applied), first);
    for (reason, message) in [
        ("Progressing", "Health check passed in 20.1s"),
        ("Progressing", "Dependencies do not meet ready condition, retrying in 30s"),
        ("Progressing", "Deployment/apps/webapp deleted"),
        ("ReconciliationSucceeded", "Reconciliation finished in 1.2s, next run in 10m0s"),
    ] {
        (applied["reason"], applied["message"]) = (reason.into(), message.into());
        assert_eq!(reported("flux", &applied), "", "{message}");
    }
    let mut release = payload("flux-upgraded");
    insta::assert_snapshot!(reported("flux", &release), @"?/webapp: deployed flux:b380efb3-1234-4234-a421-cd1e39b22e93-2026-03-02T09:00:00Z 2026-03-02T09:00:00Z in production  1.2.3");
    release["reason"] = "UpgradeFailed".into();
    insta::assert_snapshot!(reported("flux", &release), @"?/webapp: broken flux:b380efb3-1234-4234-a421-cd1e39b22e93-2026-03-02T09:00:00Z 2026-03-02T09:00:00Z in production  1.2.3");
    release["reason"] = "RollbackSucceeded".into();
    release["metadata"] = json!({"env": "staging", "team": "web", "revision": "1.2.2"});
    insta::assert_snapshot!(reported("flux", &release), @"web/webapp: rework flux:b380efb3-1234-4234-a421-cd1e39b22e93-2026-03-02T09:00:00Z 2026-03-02T09:00:00Z in staging");
}

/// The ids of all that a payload tells.
fn ids(mapping: &str, body: &Value) -> Vec<String> {
    ids_at(mapping, body, RECEIVED)
}

fn ids_at(mapping: &str, body: &Value, received: OffsetDateTime) -> Vec<String> {
    let reported = ready(mapping).unwrap().read(body, &fixed(mapping), received);
    let facts = reported.unwrap().into_iter().flat_map(|reported| reported.facts);
    let id = |fact| match fact {
        Fact::Ran { id, .. }
        | Fact::Landed { id, .. }
        | Fact::Failed { id, .. }
        | Fact::Reported { id, .. } => id,
        other => panic!("{other:?}"),
    };
    facts.map(id).collect()
}

/// A deployment's id that is another one's, too, is a deployment that is lost.
#[test]
fn what_makes_two_is_in_the_ids_of_each_mapping() {
    let mut bitbucket = payload("bitbucket-status");
    bitbucket["commit_status"]["commit"] = json!({"hash": "a".repeat(40)});
    let mut merged = payload("bitbucket-merged");
    merged["pullrequest"]["state"] = "MERGED".into();
    let mut opsgenie = payload("opsgenie-create");
    opsgenie["alert"]["entity"] = "cart".into();
    let mut jenkins = payload("jenkins-completed");
    jenkins["build"]["timestamp"] = 1_772_445_600_000_u64.into();
    let old = payload("jenkins-completed");
    // Each of these in one place, and the values that tell another one.
    #[allow(clippy::type_complexity, reason = "a table of cases")]
    let cases: [(&str, Value, &[(&str, &str)]); 17] = [
        (
            "alertmanager",
            payload("grafana-firing"),
            &[("/alerts/0/fingerprint", "f"), ("/alerts/0/startsAt", "2026-03-02T11:00:00Z")],
        ),
        (
            "argo-rollouts",
            payload("argo-rollouts-completed"),
            &[
                ("/rollout/metadata/uid", "another"),
                ("/rollout/metadata/annotations/rollout.argoproj.io~1revision", "8"),
            ],
        ),
        (
            "argocd",
            payload("argocd-application"),
            &[("/metadata/uid", "another"), ("/status/operationState/finishedAt", "2018-09-21T23:51:00Z")],
        ),
        ("azure-devops", payload("azure-deployment-completed"), &[("/id", "another")]),
        ("azure-devops", payload("azure-stage-completed"), &[("/id", "another")]),
        (
            "bitbucket",
            bitbucket,
            &[
                ("/commit_status/commit/hash", "b"),
                ("/commit_status/url", "https://ci.example/8"),
                ("/commit_status/key", "k"),
            ],
        ),
        (
            "bitbucket",
            payload("bitbucket-status"),
            &[
                ("/commit_status/links/self/href", "https://x/commit/b/statuses/build/k"),
                ("/commit_status/url", "https://ci.example/8"),
            ],
        ),
        ("bitbucket", merged, &[("/pullrequest/merge_commit/hash", "b")]),
        (
            "flux",
            payload("flux-applied"),
            &[("/involvedObject/uid", "another"), ("/metadata/revision", "main@sha1:b")],
        ),
        (
            "flux",
            payload("flux-upgraded"),
            &[("/involvedObject/uid", "another"), ("/timestamp", "2026-03-02T10:00:00Z")],
        ),
        ("grafana-oncall", payload("grafana-oncall-resolved"), &[("/alert_group/id", "another")]),
        // Folders, another Jenkins, a job that is made anew.
        (
            "jenkins",
            jenkins,
            &[
                ("/build/full_url", "https://jenkins.shop.example/job/x/job/deploy-cart/57/"),
                ("/build/timestamp", "1772445700000"),
            ],
        ),
        ("jenkins", old, &[("/build/full_url", "https://jenkins.shop.example/job/x/job/deploy-cart/57/")]),
        ("jira", payload("jira-created"), &[("/issue/id", "another")]),
        ("opsgenie", opsgenie, &[("/alert/alertId", "another")]),
        ("pagerduty", payload("pagerduty-triggered"), &[("/event/data/id", "another")]),
        ("pagerduty", payload("pagerduty-priority-updated"), &[("/event/data/id", "another")]),
    ];
    for (mapping, body, differences) in &cases {
        let first = ids(mapping, body);
        assert!(!first.is_empty(), "{mapping}");
        // Redelivered, a moment later.
        assert_eq!(ids_at(mapping, body, RECEIVED + time::Duration::minutes(5)), first, "{mapping}");
        for (pointer, value) in *differences {
            let mut other = body.clone();
            let place = other.pointer_mut(pointer).unwrap_or_else(|| panic!("{mapping} has no {pointer}"));
            *place = (*value).into();
            assert_ne!(ids(mapping, &other), first, "{mapping}: {pointer}");
        }
    }
    let covered: std::collections::BTreeSet<&str> = cases.iter().map(|(mapping, ..)| *mapping).collect();
    assert_eq!(covered, names().collect(), "each ready mapping is looked at");
}

#[test]
fn jenkins() {
    let mut build = payload("jenkins-completed");
    insta::assert_snapshot!(reported("jenkins", &build), @"?/deploy-cart: deployed jenkins:https://jenkins.shop.example/job/deploy-cart/57/ 2026-03-02T12:00:00Z in production  3f8a1c07d95e4b62a0d7c9e81b54f6230ac7de19");
    build["build"]["timestamp"] = 1_772_445_600_000_u64.into();
    build["build"]["parameters"] = json!({"SERVICE": "cart", "ENVIRONMENT": "staging"});
    insta::assert_snapshot!(reported("jenkins", &build), @"?/cart: deployed jenkins:https://jenkins.shop.example/job/deploy-cart/57/-1772445600000 2026-03-02T10:00:00Z in staging  3f8a1c07d95e4b62a0d7c9e81b54f6230ac7de19");
    build["build"]["status"] = "FAILURE".into();
    assert_eq!(reported("jenkins", &build), "");
    build["build"]["status"] = "SUCCESS".into();
    build["name"] = "tests".into();
    assert_eq!(reported("jenkins", &build), "", "no job of `workflows`");
}

#[test]
fn azure_devops() {
    let mut event = payload("azure-deployment-completed");
    insta::assert_snapshot!(reported("azure-devops", &event), @"?/Fabrikam: deployed azure-devops:c3e52c57-187a-45c4-abe2-184a48291bad 2016-09-19T13:03:28.5345098Z in Dev Release-1");
    event["resource"]["environment"]["status"] = "rejected".into();
    assert_eq!(reported("azure-devops", &event), "");
    // Of a YAML pipeline, a stage is the environment.
    let mut event = payload("azure-stage-completed");
    insta::assert_snapshot!(reported("azure-devops", &event), @"?/cart: deployed azure-devops:0b1f6c9e-2d54-4a87-9a35-6c1e0d7f4b21 2026-03-02T09:58:22.731Z in production 20260302.4");
    event["resource"]["stage"]["result"] = "failed".into();
    assert_eq!(reported("azure-devops", &event), "");
    let stage = event["resource"]["stage"].as_object_mut().unwrap();
    stage.remove("result");
    stage.insert("state".into(), "running".into());
    assert_eq!(reported("azure-devops", &event), "");
}

#[test]
fn argo_rollouts() {
    let mut event = payload("argo-rollouts-completed");
    insta::assert_snapshot!(reported("argo-rollouts", &event), @"orders/cart: deployed argo-rollouts:f2a6d0c4-3b1e-4a57-9c08-6e5d7b9f1a23-7 2026-03-02T12:00:00Z in production 4.2.0");
    // Reported again, it is the same one.
    let labels = event["rollout"]["metadata"].as_object_mut().unwrap().remove("labels");
    assert!(labels.is_some());
    insta::assert_snapshot!(reported("argo-rollouts", &event), @"?/cart: deployed argo-rollouts:f2a6d0c4-3b1e-4a57-9c08-6e5d7b9f1a23-7 2026-03-02T12:00:00Z in production");
    event["event"] = "aborted".into();
    assert_eq!(reported("argo-rollouts", &event), "", "nothing changed for users");
}

#[test]
fn grafana_oncall() {
    let mut event = payload("grafana-oncall-resolved");
    insta::assert_snapshot!(reported("grafana-oncall", &event), @r#"
    orders/cart: failure grafana-oncall:I9B3XKQ5M7R2T 2026-03-02T10:04:12.90531Z in production
    orders/cart: over grafana-oncall:I9B3XKQ5M7R2T 2026-03-02T10:31:40.118204Z in production
    "#);
    event["event"] = json!({"type": "unresolve", "time": "2026-03-02T10:40:00+00:00"});
    event["alert_group"]["resolved_at"] = Value::Null;
    event["alert_group"]["labels"] = json!({});
    event["alert_payload"] = json!({});
    insta::assert_snapshot!(reported("grafana-oncall", &event), @r#"
    orders/Shop alerts: failure grafana-oncall:I9B3XKQ5M7R2T 2026-03-02T10:04:12.90531Z in production
    orders/Shop alerts: failure grafana-oncall:I9B3XKQ5M7R2T 2026-03-02T10:40:00Z in production
    "#);
}

#[test]
fn bitbucket() {
    insta::assert_snapshot!(reported("bitbucket", &payload("bitbucket-status")), @"?/team_name/repo_name: deployed bitbucket:http://api.bitbucket.org/2.0/repositories/tk/test/commit/9fec847784abb10b2fa567ee63b85bd238955d0e/statuses/build/mybuildtool-https://my-build-tool.com/builds/MY-PROJECT/BUILD-792 2015-11-20T08:01:16.433108Z in production  9fec847784abb10b2fa567ee63b85bd238955d0e");
    let mut merged = payload("bitbucket-merged");
    assert_eq!(reported("bitbucket", &merged), "", "the description names all states at once");
    merged["pullrequest"]["state"] = "MERGED".into();
    insta::assert_snapshot!(reported("bitbucket", &merged), @"?/team_name/repo_name: change 764413d85e29 2015-04-06T15:23:38.179678Z Title of pull request");
}

#[test]
fn pager_duty() {
    insta::assert_snapshot!(reported("pagerduty", &payload("pagerduty-triggered")), @"?/pig208: failure pagerduty:PFQZPSY 2021-06-04T13:35:29.781Z in production");
    insta::assert_snapshot!(reported("pagerduty", &payload("pagerduty-resolved")), @"?/pig208: over pagerduty:PCPZE64 2021-06-04T13:16:53.816Z in production");
    // What comes later tells when it was created, too.
    insta::assert_snapshot!(reported("pagerduty", &payload("pagerduty-priority-updated")), @"orders/cart: failure pagerduty:Q2KX9WT4ZB 2026-03-02T10:04:12Z in production");
}

#[test]
fn opsgenie() {
    insta::assert_snapshot!(reported("opsgenie", &payload("opsgenie-create")), @"?/Server: failure opsgenie:ec03dad6-62c8-4c94-b38b-d88f398e900f 2017-08-14T11:25:56.288Z in production");
    let mut close = payload("opsgenie-close");
    let wrong = read("opsgenie", &close).unwrap_err();
    assert_eq!(wrong.place, "/alert/details/service or /alert/entity");
    close["alert"]["details"] = json!({"service": "cart", "team": "orders"});
    insta::assert_snapshot!(reported("opsgenie", &close), @r#"
    orders/cart: failure opsgenie:052652ac-5d1c-464a-812a-7dd18bbfba8c 2015-01-05T10:03:11.104Z in production
    orders/cart: over opsgenie:052652ac-5d1c-464a-812a-7dd18bbfba8c 2015-01-05T10:06:14.669001603Z in production
    "#);
    // The configuration may name the service of all of them.
    let fixed = Fixed { service: Some("shop"), ..fixed("opsgenie") };
    let reported = ready("opsgenie").unwrap().read(&payload("opsgenie-close"), &fixed, RECEIVED).unwrap();
    assert_eq!((reported[0].service.as_str(), reported[0].facts.len()), ("shop", 2));
}

#[test]
fn jira() {
    for name in ["jira-created", "jira-resolved", "jira-reopened"] {
        insta::assert_snapshot!(name, reported("jira", &payload(name)));
    }
}

#[test]
fn alertmanager_and_grafana() {
    insta::assert_snapshot!(reported("alertmanager", &payload("alertmanager-resolved")), @r#"
    ?/High CPU Temperature: failure alertmanager:a1bc48475b20e73d-2020-02-06T00:17:58.432911368Z 2020-02-06T00:17:58.432911368Z in production
    ?/High CPU Temperature: over alertmanager:a1bc48475b20e73d-2020-02-06T00:17:58.432911368Z 2026-03-02T12:00:00Z in production
    "#);
    insta::assert_snapshot!(reported("alertmanager", &payload("grafana-firing")), @r#"
    orders/The cart answers slowly: failure alertmanager:7be1d20c94f3a685-2026-03-02T11:04:30.25+01:00 2026-03-02T10:04:30.25Z in production
    orders/The cart fails: failure alertmanager:c05a9f3e6b7d1482-2026-03-02T11:06:00+01:00 2026-03-02T10:06:00Z in production
    "#);
    let wrong = read("alertmanager", &json!({"status": "firing"})).unwrap_err();
    assert_eq!(wrong.to_string(), "/alerts: a list is needed here");
    let wrong = read("alertmanager", &json!({"alerts": [{"status": "firing"}]})).unwrap_err();
    assert_eq!(
        wrong.place,
        "/alerts/0/fingerprint or /alerts/0/startsAt or /alerts/0/labels/alertname or /alerts/0/startsAt"
    );
}

#[test]
fn a_time_that_is_none_is_refused_with_its_place() {
    let mut event = payload("pagerduty-triggered");
    event["event"]["occurred_at"] = "soon".into();
    let wrong = read("pagerduty", &event).unwrap_err();
    assert_eq!(wrong.place, "/event/occurred_at");
    assert!(wrong.message.contains("\"soon\" is no time"), "{wrong}");
    event["event"]["occurred_at"] = Value::Null;
    assert!(read("pagerduty", &event).unwrap_err().message.contains("missing or empty"));
}

#[test]
fn a_mapping_that_can_not_be_read_is_told() {
    for (text, expected) in [
        ("sender: x\nrules: []", "no `rules`"),
        ("sender: x\nrules: [{kind: deploy, id: a, service: b}]", "deploy"),
        ("sender: x\nrules: [{kind: deployment, id: a, service: b}]", "needs `at`"),
        ("sender: x\nrules: [{kind: issue, id: a, service: b, opened: \"{/a}\"}]", "needs `labels`"),
        ("sender: x\nrules: [{kind: failure, id: a, at: \"{b}\", service: c}]", "JSON pointer"),
        (
            "sender: x\nrules: [{kind: failure, id: a, at: b, service: c, when: {x: y}}]",
            "x is no JSON pointer",
        ),
        ("sender: x\neach: alerts\nrules: [{kind: failure, id: a, at: b, service: c}]", "`each`"),
        ("sender: x\nrules: [{kind: failure, id: a, at: b, servise: c}]", "servise"),
    ] {
        let why = Mapping::parse(text).unwrap_err();
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn fuzzed_payloads_are_told_or_read() {
    let mappings: Vec<Mapping> = names().filter_map(ready).collect();
    dorainfra_testutils::fuzzing::five_seconds("mapped-webhooks", |input| {
        let _ = Mapping::parse(&String::from_utf8_lossy(input)).map(|mapping| format!("{mapping:?}"));
        let Ok(body) = serde_json::from_slice::<Value>(input) else { return };
        for mapping in &mappings {
            let _ = mapping.read(&body, &fixed("x"), RECEIVED).map(|reported| format!("{reported:?}"));
        }
    });
}
