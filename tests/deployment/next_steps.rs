//! Whatever a command ends with, it says what to do next: each kind of error of the
//! cloud's, once and for ever, and answers that are none.

use crate::deployment;
use crate::matrix;
use std::time::{Duration, Instant};

use crate::deployment::{Deployment, Run};
use serde_json::{Value, json};

/// The longest that a run may take, whatever it is answered.
const LONGEST: Duration = Duration::from_secs(150);

/// What a call may come to. (What passes by itself is asked again for minutes: its hint
/// is looked at once, below.)
fn kinds() -> Vec<(&'static str, Value)> {
    let mut kinds: Vec<(&'static str, Value)> =
        [400, 401, 403, 404, 409, 412].map(|status| ("status", json!({"status": status}))).into();
    kinds.extend([
        ("no list", json!({"status": 200, "answer": []})),
        ("no object", json!({"status": 200, "answer": "here"})),
        (
            "lists of nothing",
            json!({"status": 200, "answer": {
                "items": [1, "x", [], null, {}], "bindings": [1, "x", {"members": 3}, {"role": "r", "members": [7]}],
                "secrets": [1, {}], "versions": [[], {}], "accounts": [{}], "services": [null, {}], "policy": 3,
                "labels": 5, "metadata": [], "nextPageToken": 4, "error": "x", "name": 9, "status": {},
            }}),
        ),
        (
            "times beyond all",
            json!({"status": 200, "answer": {
                "updated": "9999-12-31T23:59:59-23:59", "timeCreated": "9999-12-31T23:59:59Z",
                "generation": "9223372036854775807", "metageneration": "-9223372036854775808",
                "sizeGb": "18446744073709551615", "retentionPolicy": {"retentionPeriod": "-1"},
                "lastStartTimestamp": "0000-01-01T00:00:00+23:59", "items": [{"sizeGb": "-1"}],
            }}),
        ),
    ]);
    kinds
}

/// What is wrong with how a run ended: its last error has a next step.
fn lacks(run: &Run) -> Option<String> {
    if !(0..=6).contains(&run.code) {
        return Some(format!("code {}: {}", run.code, run.stderr));
    }
    let errors = run.events("error");
    let told = |hint: &Value| hint.as_str().is_some_and(|hint| !hint.trim().is_empty());
    let failed = run.events("resource-failed").into_iter().find(|failed| !told(&failed["hint"]));
    let last = errors.into_iter().find(|error| !error["hints"].as_array().unwrap().iter().any(told));
    let silent = (run.code != 0 && run.events("error").is_empty()).then(|| json!("it ends without an error"));
    failed.or(last).or(silent).map(|what| what.to_string())
}

/// What a run that failed said, and what to do next.
fn told(run: &Run) -> Option<String> {
    let error = run.events("error").into_iter().next()?;
    Some(format!("{} → {}", error["message"].as_str()?, error["hints"][0].as_str()?))
}

/// Those that a plan, an apply and a destroy ask.
fn methods(deployment: &Deployment) -> Vec<String> {
    let requests = deployment.control("GET", "requests", None);
    let mut all: Vec<String> = requests["requests"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["api"].as_str())
        .filter(|api| !api.is_empty())
        .map(str::to_owned)
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Every `of` of the pairs of a method and a kind of answer; all of them in `scripts/nightly`.
fn matrix(test: &str, arguments: &[&str], of: usize, prepare: impl Fn(&Deployment)) {
    let results = matrix::Matrix::new(
        &format!("Answers to `{}`", arguments[0]),
        "Each API method that the command calls is answered wrongly: reads for ever, writes once. The command \
         ends within 150 seconds, with a documented exit code; where it fails, it says what to do next.",
        &format!("next_steps {test}"),
        deployment::nightly(),
    );
    let of = if deployment::nightly() { 1 } else { of };
    let deployment = Deployment::of_records();
    prepare(&deployment);
    deployment.control("DELETE", "requests", None);
    let whole = [&["--sandbox", "--json"], arguments].concat();
    deployment.run(&whole).ends_with(0);
    let methods = methods(&deployment);
    assert!(methods.len() > 3, "{methods:?}");
    let mut lacking = Vec::new();
    // What is polled is polled for as long as operations may take.
    let asked = methods.iter().filter(|method| !method.to_lowercase().contains("operation"));
    for (row, method) in asked.enumerate() {
        for (column, (kind, action)) in kinds().into_iter().enumerate() {
            if !(row + column).is_multiple_of(of) {
                continue;
            }
            prepare(&deployment);
            // Reads again and again, writes once: the read after it may heal.
            let times = (method.ends_with("insert") || method.ends_with("delete")).then_some(1);
            deployment.control(
                "PUT",
                "faults",
                Some(json!([{"api": method, "times": times, "action": action}])),
            );
            let began = Instant::now();
            let run = deployment.run(&whole);
            let late = (began.elapsed() > LONGEST).then(|| format!("it took {:?}", began.elapsed()));
            deployment.control("DELETE", "faults", None);
            let wrong = late.or_else(|| lacks(&run));
            let kind =
                action["status"].as_u64().filter(|_| kind == "status").map_or(kind.into(), |s| s.to_string());
            results.tried(&kind, wrong.is_none(), told(&run));
            lacking.extend(wrong.map(|what| format!("{method}: {kind} {action}:\n    {what}")));
        }
    }
    assert!(lacking.is_empty(), "{}", lacking.join("\n"));
}

#[test]
fn each_error_of_a_plan_says_what_is_next() {
    let test = "each_error_of_a_plan_says_what_is_next";
    matrix(test, &["plan"], 4, |_| {});
}

#[test]
fn each_error_of_an_apply_says_what_is_next() {
    let test = "each_error_of_an_apply_says_what_is_next";
    let target = ["apply", "--yes", "--target", "compute.disk/dorainfra-data"];
    matrix(test, &target, 6, |_| {});
}

#[test]
fn each_error_of_a_destroy_says_what_is_next() {
    let test = "each_error_of_a_destroy_says_what_is_next";
    let target = ["--sandbox", "apply", "--yes", "--target", "compute.disk/dorainfra-data"];
    matrix(test, &["destroy", "--yes", "--delete-data"], 23, |deployment| {
        deployment.run(&target).ends_with(0);
    });
}

/// For people it is the same, in words.
#[test]
fn people_are_told_too() {
    let deployment = Deployment::of_records();
    for status in [401, 403, 404, 409, 412] {
        let rule = json!([{"api": "storage.buckets.get", "action": {"status": status}}]);
        deployment.control("PUT", "faults", Some(rule));
        let run = deployment.run(&["--sandbox", "plan"]);
        // That a bucket is not there is no error.
        assert_eq!(run.code, i32::from(status != 404), "{status}: {}", run.stderr);
        assert!(run.code == 0 || run.stderr.contains("hint:"), "{status}: {}", run.stderr);
    }
}

/// A token that has ended meanwhile is renewed for the lease, too, which is read and
/// written by another client than the rest.
#[test]
fn a_refused_token_is_renewed_for_the_lease() {
    let deployment = Deployment::of_records();
    let target = ["--sandbox", "apply", "--yes", "--target", "compute.disk/dorainfra-data"];
    deployment.run(&target).ends_with(0);
    for path in ["*dorainfra%2Flease*", "*dorainfra/lease*"] {
        let rule = json!([{"path": path, "times": 1, "action": {"status": 401, "reason": "authError"}}]);
        deployment.control("PUT", "faults", Some(rule));
        deployment.run(&[&target[..], &["--set", "mimir.disk_gb=60"]].concat()).ends_with(0);
    }
    let rule =
        json!([{"path": "*uploadType=*", "times": 1, "action": {"status": 401, "reason": "authError"}}]);
    deployment.control("PUT", "faults", Some(rule));
    deployment.run(&[&target[..], &["--set", "mimir.disk_gb=70"]].concat()).ends_with(0);
    let struck = deployment.control("GET", "faults", None);
    assert_eq!(struck["struck"][0], 1, "a write of the lease was refused: {struck}");
}

/// A record of the lease that ends in another age is a record like any other.
#[test]
fn a_lease_that_ends_in_the_year_9999_is_no_panic() {
    let deployment = Deployment::of_records();
    let target = ["--sandbox", "--json", "apply", "--yes", "--target", "compute.disk/dorainfra-data"];
    deployment.run(&target).ends_with(0);
    let buckets = deployment.google("GET", "storage/v1/b?project=my-gcp", "");
    let bucket = buckets["items"][0]["name"].as_str().unwrap().to_owned();
    for expires in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00+23:59", "never"]
    {
        let record = json!({"holder": "ada@host", "id": "1", "acquired": "9999-12-31T23:59:59-23:59", "expires": expires});
        deployment.google(
            "POST",
            &format!("upload/storage/v1/b/{bucket}/o?uploadType=media&name=dorainfra%2Flease"),
            &record.to_string(),
        );
        let run = deployment.run(&[&target[..], &["--set", "mimir.disk_gb=60"]].concat());
        assert_eq!(lacks(&run), None, "{expires}");
        assert!(matches!(run.code, 0 | 4), "{expires}: {}\n{}", run.code, run.stdout);
    }
}
