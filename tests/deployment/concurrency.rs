//! Two commands at once on one deployment, in each pair (by sample; all of them in `scripts/nightly`):
//! both end as docs/exit-codes.md says, with a next step where they fail, the next `apply`
//! finds nothing that it can't mend, and nothing is lost.

use crate::deployment;
use crate::deployment::{Deployment, Run};
use crate::matrix;
use serde_json::Value;

const BUCKET: &str = "storage/v1/b/my-gcp-dorainfra-mimir";
const DISK: &str = "compute/v1/projects/my-gcp/zones/europe-west1-b/disks/dorainfra-data";

struct Case {
    deployment: Deployment,
    round: usize,
}

impl Case {
    fn new() -> Self {
        Self { deployment: Deployment::new(), round: 0 }
    }

    fn arguments(&self, command: &str) -> Vec<String> {
        // Something to change for `apply`; the others come to what is there.
        let changes = ["apply", "plan", "list"].contains(&command);
        let label = format!("labels.round=r{}", self.round.saturating_sub(usize::from(!changes)));
        let (client, out) = (format!("client-{}", self.round), format!("out-{}", self.round));
        let always = ["--sandbox", "--json", "--set", &label];
        let own: &[&str] = match command {
            "apply" => &["apply", "--yes", "--no-stack"],
            "destroy" => &["destroy", "--yes"],
            "credentials rotate" => &["credentials", "rotate", "--yes"],
            "credentials issue" => &["credentials", "issue", &client, "--out", &out, "--yes"],
            "plan" => &["plan", "--no-stack", "--detailed-exitcode"],
            "list" => &["credentials", "list"],
            _ => &["verify"],
        };
        [&always[..], own].concat().into_iter().map(str::to_owned).collect()
    }

    fn run(&self, command: &str) -> Run {
        let arguments = self.arguments(command);
        self.deployment.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn both(&self, pair: [&str; 2]) -> [Run; 2] {
        let children = pair.map(|command| {
            let arguments = self.arguments(command);
            self.deployment.spawn(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        });
        // Each is read to its end beside the other: neither waits for a reader.
        let waiting = children.map(|child| std::thread::spawn(|| Deployment::finish(child)));
        waiting.map(|run| run.join().unwrap())
    }
}

/// What is wrong with how a command ended.
fn lacks(run: &Run) -> Option<String> {
    let errors = run.events("error");
    let told = |hint: &Value| hint.as_str().is_some_and(|hint| !hint.trim().is_empty());
    match run.code {
        0 => None,
        // A verification that fails has its hints below the checks.
        6 => None,
        // Who comes second is told who came first, or that the world has changed under its plan: with
        // a code of its own, as nothing has failed.
        4 | 5 if errors.iter().any(|error| error["hints"].as_array().unwrap().iter().any(told)) => None,
        code => Some(format!("code {code}\n{}\n{}", run.stdout, run.stderr)),
    }
}

/// The codes of both, and what the one said that failed.
fn said(runs: &[Run; 2]) -> String {
    let codes = format!("{} and {}", runs[0].code, runs[1].code);
    let errors = runs.iter().flat_map(|run| run.events("error")).next();
    errors.map_or(codes.clone(), |error| format!("{codes}: {}", error["message"].as_str().unwrap()))
}

#[test]
fn two_commands_at_once_end_as_they_should_and_nothing_is_lost() {
    let whole = deployment::nightly();
    let matrix = matrix::Matrix::new(
        "Two commands at once",
        "Both are started at the same moment. Each ends with a documented exit code and a next step; the next \
         `apply` ends with 0 and leaves nothing to do; bucket, objects, data disk and issued clients are there.",
        "concurrency two_commands_at_once_end_as_they_should_and_nothing_is_lost",
        whole,
    );
    let commands = ["apply", "destroy", "credentials rotate", "credentials issue", "verify"];
    let all: Vec<[&str; 2]> =
        (0..5).flat_map(|one| (one..5).map(move |other| [commands[one], commands[other]])).collect();
    // Of the sample: apply with destroy, and rotate with issue.
    let step = if whole { 1 } else { 9 };
    let mut case = Case::new();
    case.run("apply").ends_with(0);
    let upload = format!("upload/{BUCKET}/o?uploadType=media&name=blocks%2Fanonymous%2Fkept");
    case.deployment.google("POST", &upload, "data");
    let disk = case.deployment.google("GET", DISK, "")["id"].clone();
    for pair in all.into_iter().skip(usize::from(!whole)).step_by(step) {
        case.round += 1;
        case.run("apply").ends_with(0);
        case.round += 1;
        let runs = case.both(pair);
        let mut wrong: Vec<String> = runs.iter().filter_map(lacks).collect();
        // One gets through: what both are refused would be refused alone, too. (Nothing was sent
        // here that `verify` could find.)
        let changes = pair.iter().zip(&runs).filter(|(command, _)| **command != "verify");
        let codes: Vec<i32> = changes.map(|(_, run)| run.code).collect();
        if !codes.is_empty() && !codes.contains(&0) {
            wrong.push(format!("neither got through: {codes:?}"));
        }
        // A lease of one that ended is given back: nothing has to be waited for.
        let mended = case.run("apply");
        let settled = case.run("plan");
        let mut lost = Vec::new();
        if case.deployment.try_google(&format!("{BUCKET}/o/blocks%2Fanonymous%2Fkept")).is_null() {
            lost.push("an object of Mimir's".to_owned());
        }
        if case.deployment.google("GET", DISK, "")["id"] != disk {
            lost.push("the data disk".to_owned());
        }
        let clients = case.run("list").ends_with(0).stdout;
        for (command, run) in pair.iter().zip(&runs) {
            let issued = format!("client-{}", case.round);
            // Certificates go with the deployment.
            if *command == "credentials issue"
                && run.code == 0
                && !pair.contains(&"destroy")
                && !clients.contains(&issued)
            {
                lost.push(issued);
            }
        }
        let survived = wrong.is_empty() && mended.code == 0 && settled.code == 0 && lost.is_empty();
        matrix.tried(&format!("{} and {}", pair[0], pair[1]), survived, Some(said(&runs)));
        assert!(
            survived,
            "{pair:?}: {wrong:?}, lost {lost:?}\n--- apply\n{}{}\n--- plan\n{}",
            mended.stdout, mended.stderr, settled.stdout
        );
    }
}

/// Its machine, its collector and its history are a run's, too: who comes meanwhile changes nothing.
#[test]
fn a_run_is_alone_until_its_proof() {
    let deployment = Deployment::new();
    let few = ["--sandbox", "--json", "--set", "generator.teams=2", "--set", "generator.days=3"];
    let with = |own: &[&'static str]| [&few[..], own].concat();
    let first = deployment.spawn(&with(&["apply", "--yes"]));
    let parts = deployment.path().join(".dorainfra/dorainfra/stack/stack.json");
    deployment.until("the stack is started", || parts.exists());
    let calls = deployment.changes().len();
    for second in [&["destroy", "--yes"][..], &["credentials", "rotate", "--yes"], &["apply", "--yes"]] {
        let refused = deployment.run(&with(second)).ends_with(4);
        let error = refused.events("error")[0].clone();
        assert!(error["message"].as_str().unwrap().contains("holds the lease"), "{error}");
    }
    assert_eq!(deployment.changes().split_off(calls), [""; 0]);
    Deployment::finish(first).ends_with(0);
    let again = deployment.run(&with(&["plan", "--detailed-exitcode"])).ends_with(0);
    assert_eq!(again.code, 0);
    deployment.run(&with(&["destroy", "--yes"])).ends_with(0);
    assert!(!parts.exists());
}
