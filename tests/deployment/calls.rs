//! How many calls of Google's APIs a plan and an apply make. A number that grows is to be looked at: the
//! calls are told with it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::deployment::Deployment;

/// Calls that are not counted: those of the lease, which is renewed by the clock, and those by which each
/// refusal is looked into that comes before the project is seen.
const BY_CHANCE: [&str; 3] = ["dorainfra%2Flease", "name=dorainfra/lease", "GET /v3/projects/my-gcp"];

/// `METHOD path` of each call since there were so many.
fn since(deployment: &Deployment, before: usize) -> Vec<String> {
    let requests = deployment.control("GET", "requests", None)["requests"].clone();
    let calls = requests.as_array().unwrap().iter().skip(before).map(|entry| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default();
        format!("{} {}", text("method"), text("path"))
    });
    calls.collect()
}

struct Counted<'a> {
    deployment: &'a Deployment,
    options: Vec<String>,
    told: BTreeMap<&'static str, Vec<String>>,
}

impl Counted<'_> {
    fn run(&mut self, what: &'static str, command: &[&str]) -> Vec<Value> {
        let before = self.deployment.calls();
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let run =
            self.deployment.run(&[&["--sandbox", "--json"], &options[..], command].concat()).ends_with(0);
        let mut calls = since(self.deployment, before);
        // What changes nothing asks nobody whether it may.
        assert!(command[0] != "plan" || !calls.iter().any(|call| call.contains("lease")), "{calls:#?}");
        calls.retain(|call| !BY_CHANCE.iter().any(|part| call.contains(part)));
        self.told.insert(what, calls);
        run.events("planned")
    }

    /// What is more than it may be, with what is asked.
    fn more_than(&self, most: [(&str, usize); 4]) -> Vec<String> {
        let told = |(what, most): (&str, usize)| {
            let calls = &self.told[what];
            (calls.len() > most).then(|| {
                format!("{what}: {} calls, more than {most}\n  {}\n", calls.len(), calls.join("\n  "))
            })
        };
        most.into_iter().filter_map(told).collect()
    }
}

/// Counts for a deployment of records: all of it that is Google's, of which no machine ever reports.
fn counted(options: &[&str], most: [(&str, usize); 4]) {
    let deployment = Deployment::empty();
    let records = ["sandbox", "start", "--detach", "--machines", "none", "--operation", "*=0"];
    deployment.run(&records).ends_with(0);
    let mimir = deployment.said_to_be_mimir();
    let usual = ["--mimir-binary", &mimir, "--set", "mimir.version=3.2.0", "--set", "alerts.rules=false"];
    let options = usual.iter().chain(options).map(|option| (*option).to_owned()).collect();
    let mut counted = Counted { deployment: &deployment, options, told: BTreeMap::new() };
    let planned = counted.run("first plan", &["plan", "--no-stack"]);
    let steps = planned[0]["plan"]["steps"].as_array().unwrap();
    let targets: Vec<&str> =
        steps.iter().flat_map(|step| ["--target", step["id"].as_str().unwrap()]).collect();
    counted.run("first apply", &[&["apply", "--yes"], &targets[..]].concat());
    // It ends with 2 where there is something to do.
    counted.run("second plan", &["plan", "--no-stack", "--detailed-exitcode"]);
    counted.run("second apply", &[&["apply", "--yes"], &targets[..]].concat());
    for what in ["second plan", "second apply"] {
        let mut calls = counted.told[what].clone();
        calls.sort();
        let twice: Vec<&String> =
            calls.windows(2).filter(|two| two[0] == two[1]).map(|two| &two[0]).collect();
        assert!(twice.is_empty(), "{what}: asked twice: {twice:#?}");
    }
    let wrong = counted.more_than(most);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn calls_of_the_default_deployment() {
    counted(&[], [("first plan", 38), ("first apply", 215), ("second plan", 27), ("second apply", 27)]);
}

#[test]
fn calls_of_three_machines() {
    let ha = ["--set", "mimir.topology=ha"];
    counted(&ha, [("first plan", 52), ("first apply", 288), ("second plan", 36), ("second apply", 36)]);
}
