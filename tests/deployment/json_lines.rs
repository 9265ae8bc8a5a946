//! Every command with `--json`: each line is what docs/schemas says, and the last one is a result.

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use serde_json::Value;

use crate::deployment::{Deployment, MACHINE, json_schema};

/// A command, arguments of it, and the exit code. What needs a real Mimir is called in a way that
/// ends before: what it prints otherwise is checked where tests have one (`Run::events`).
const CALLS: &[(&str, &[&str], i32)] = &[
    ("init", &["--yes", "--config", "new.yaml", "--project", "my-gcp"], 0),
    ("validate", &[], 0),
    ("explain", &["mimir.disk_gb"], 0),
    ("explain", &["mimir.version"], 0),
    ("explain", &["lease-held"], 0),
    ("explain", &["compute.disk"], 0),
    ("explain", &["no.such.key"], 3),
    ("completions", &["bash"], 0),
    ("man", &["--out", "pages"], 0),
    ("render", &["--project", "my-gcp", "--set", "access.allow=203.0.113.0/24"], 0),
    ("render", &["--project", "my-gcp", "--set", "access.allow=203.0.113.0/24", "--out", "rendered"], 0),
    ("generate", &["--teams", "1", "--days", "2"], 0),
    ("generate", &["--teams", "1", "--days", "2", "--events", "simulated.jsonl"], 0),
    ("collect", &[], 3),
    ("collect git", &["nowhere", "--events", "e.jsonl"], 1),
    ("collect github", &["owner/repository"], 3),
    ("collect gitlab", &["group/project"], 3),
    ("collect file", &["simulated.jsonl", "--events", "e.jsonl"], 0),
    ("event deploy", &["--events", "e.jsonl", "--team", "t", "--service", "s", "--id", "1"], 0),
    ("event incident", &["--events", "e.jsonl", "--team", "t", "--service", "s", "--id", "2"], 0),
    ("event recover", &["--events", "e.jsonl", "--team", "t", "--service", "s", "--id", "2"], 0),
    ("sandbox start", &["--detach"], 0),
    ("sandbox status", &[], 0),
    ("plan", &["--sandbox", "--target", MACHINE, "--out", "saved"], 0),
    ("plan", &["--sandbox", "--target", MACHINE, "--detailed-exitcode", "--timings"], 2),
    ("plan", &["--sandbox", "--trace", "missing/trace.json"], 3),
    ("apply", &["--sandbox", "--yes", "--target", MACHINE, "--timings", "--trace", "trace.json"], 0),
    ("apply", &["--sandbox", "--yes", "--target", "compute.instance/another"], 3),
    ("status", &["--sandbox"], 0),
    ("list", &["--sandbox"], 0),
    ("output", &["--sandbox"], 0),
    ("drift", &["--sandbox"], 2),
    ("logs", &["stack"], 0),
    ("open", &["--print"], 1),
    ("export terraform", &["--sandbox", "--config", "missing.yaml"], 3),
    ("export gcloud", &["--sandbox", "--config", "missing.yaml"], 3),
    ("connect", &["--sandbox", "--config", "missing.yaml"], 3),
    ("doctor", &["--sandbox", "--config", "missing.yaml"], 3),
    ("verify", &["--sandbox", "--config", "missing.yaml"], 3),
    ("query", &["up", "--sandbox", "--config", "missing.yaml"], 3),
    ("report", &["--sandbox", "--config", "missing.yaml"], 3),
    ("stack up", &["--sandbox", "--config", "missing.yaml"], 3),
    ("stack status", &[], 0),
    ("stack logs", &[], 0),
    ("stack down", &[], 0),
    ("credentials issue", &["x", "--sandbox", "--config", "missing.yaml"], 3),
    ("credentials list", &["--sandbox"], 0),
    ("credentials revoke", &["nobody", "--sandbox", "--yes"], 1),
    ("credentials rotate", &["server", "--finish"], 3),
    ("destroy", &["--sandbox", "--yes", "--no-flush", "--timings"], 0),
    ("sandbox reset", &["--yes"], 0),
    ("sandbox stop", &[], 0),
];

/// Each command that does something, by its words.
fn commands(command: &clap::Command, words: &str, found: &mut BTreeSet<String>) {
    if !command.is_subcommand_required_set() && !words.is_empty() {
        found.insert(words.to_owned());
    }
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        commands(inner, format!("{words} {}", inner.get_name()).trim_start(), found);
    }
}

/// Each resource began when what it waited for had ended, and the longest chain is no longer than all of it.
fn timings(result: &Value) {
    let timings = &result["timings"];
    let number = |value: &Value| value.as_u64().unwrap();
    let resources = timings["resources"].as_array().unwrap();
    assert_eq!(resources.len(), result["done"].as_array().unwrap().len());
    let mut waited = 0;
    for resource in resources.iter().filter(|resource| !resource["waited_for"].is_null()) {
        let need = resources.iter().find(|other| other["id"] == resource["waited_for"]).unwrap();
        assert!(number(&need["began_ms"]) + number(&need["elapsed_ms"]) <= number(&resource["began_ms"]));
        waited += 1;
    }
    assert!(waited > 0, "{timings}");
    let path = &timings["critical_path"];
    let steps = path["resources"].as_array().unwrap();
    assert_eq!(steps.iter().map(|step| number(&step["elapsed_ms"])).sum::<u64>(), number(&path["length_ms"]));
    let longest = resources.iter().map(|resource| number(&resource["elapsed_ms"])).max().unwrap();
    assert!((longest..=number(&path["wall_ms"])).contains(&number(&path["length_ms"])), "{path}");
    assert!(steps.len() > 1, "{path}");
}

#[test]
fn every_command_prints_lines_of_the_schema_and_ends_with_a_result() {
    let mut all = BTreeSet::new();
    commands(&dorainfra::commands::Cli::command(), "", &mut all);
    let called = CALLS.iter().map(|(command, ..)| (*command).to_owned()).collect();
    assert_eq!(all, called, "each command has a row here");

    let deployment = Deployment::of_records();
    for (command, arguments, code) in CALLS {
        let words: Vec<&str> = ["--json"].into_iter().chain(command.split(' ')).collect();
        let run = deployment.run(&[&words, *arguments].concat()).ends_with(*code);
        assert_eq!(run.stderr, "", "{command}");
        let result = json_schema::assert_lines(&run.stdout);
        let errors = run.events("error");
        match code {
            0 | 2 => assert!(errors.is_empty(), "{errors:?}"),
            code => {
                assert_eq!(errors.len(), 1, "{command}: {errors:?}");
                assert_eq!(errors[0]["code"], *code, "{command}");
            }
        }
        match *command {
            "init" => {
                let text = std::fs::read_to_string(deployment.path().join("new.yaml")).unwrap();
                assert!(text.contains("\n# yaml-language-server: $schema=dorainfra.schema.json\n"), "{text}");
                let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
                let file: Value = serde_saphyr::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap();
                assert_eq!(json_schema::wrong("dorainfra", &file), None, "what `init` writes");
            }
            "status" => {
                assert_eq!(json_schema::wrong("status", &result), None);
                let endpoint = result["endpoint"].as_str().unwrap();
                assert!(endpoint.starts_with("https://") && !endpoint.contains(' '), "{endpoint}");
            }
            "plan" if *code == 3 => assert_eq!(result["ok"], false),
            "apply" if *code == 0 => {
                timings(&result);
                let trace = std::fs::read(deployment.path().join("trace.json")).unwrap();
                let trace: Value = serde_json::from_slice(&trace).unwrap();
                let slices =
                    trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X");
                let names: Vec<&str> = slices.map(|slice| slice["name"].as_str().unwrap()).collect();
                for name in ["dorainfra apply".to_owned(), "resources".into(), format!("create {MACHINE}")] {
                    assert!(names.contains(&name.as_str()), "{name}: {names:?}");
                }
            }
            "destroy" => timings(&result),
            "plan" => {
                assert_eq!(json_schema::wrong("plan", &run.events("planned")[0]["plan"]), None);
                assert_eq!(result["changes"], true);
                let stages = result["timings"]["stages"].as_array();
                assert_eq!(stages.is_some(), arguments.contains(&"--timings"));
                for stage in stages.into_iter().flatten() {
                    assert!(stage["began_ms"].as_u64() <= result["timings"]["total_ms"].as_u64(), "{stage}");
                }
                if result["file"] == "saved" {
                    let saved = std::fs::read(deployment.path().join("saved")).unwrap();
                    let saved: Value = serde_json::from_slice(&saved).unwrap();
                    assert_eq!(json_schema::wrong("saved-plan", &saved), None);
                }
            }
            "generate" if arguments.len() == 4 => {
                assert!(result["text"].as_str().unwrap().lines().count() > 2, "{result}");
            }
            "completions" => assert!(result["text"].as_str().unwrap().contains("complete -F")),
            _ => {}
        }
    }
    // What clap says is no line of a command, and has the same form.
    for (arguments, code) in
        [(&["--json", "aply"][..], 3), (&["--json", "sandbox"], 3), (&["--json", "--help"], 0)]
    {
        let run = deployment.run(arguments).ends_with(code);
        assert_eq!(run.stderr, "");
        json_schema::assert_lines(&run.stdout);
    }
}
