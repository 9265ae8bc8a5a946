//! What a machine and a project lack, told before anything is tried; and what is told where there
//! are no credentials, or the wrong project.

use std::net::TcpListener;

use crate::deployment::{Deployment, Run};
use serde_json::{Value, json};

fn checks(run: &Run) -> Vec<Value> {
    run.events("checked").into_iter().map(|event| event["check"].clone()).collect()
}

/// The outcomes of the checks of one name.
fn outcomes<'a>(checks: &'a [Value], name: &str) -> Vec<&'a str> {
    checks
        .iter()
        .filter(|check| check["name"] == name)
        .map(|check| check["outcome"].as_str().unwrap())
        .collect()
}

#[test]
fn doctor_looks_at_everything_and_mends_what_is_safe() {
    let deployment = Deployment::of_records();
    let doctor = |more: &[&str]| deployment.run(&[&["--sandbox", "--json", "doctor"], more].concat());
    let found = doctor(&[]);
    let told = checks(&found);
    for (name, outcome) in [
        ("workspace", "passed"),
        ("disk", ""),
        ("prometheus", ""),
        ("stack.ports.prometheus", "passed"),
        ("stack.ports.pushgateway", "passed"),
        ("credentials", "passed"),
        ("project", "passed"),
        ("clock", "passed"),
        ("billing", "unknown"),
        ("apis", "warning"),
        ("permissions.plan", "passed"),
        ("permissions.apply", "passed"),
        ("permissions.verify", "passed"),
        ("permissions.destroy", "passed"),
        ("policies", "passed"),
        // What only an API that is off knows is not green.
        ("quota", "unknown"),
        ("network", "unknown"),
        ("plan", ""),
    ] {
        let of = outcomes(&told, name);
        assert!(!of.is_empty() && (outcome.is_empty() || of == [outcome]), "{name}: {of:?}\n{told:#?}");
    }
    let credentials = told.iter().find(|check| check["name"] == "credentials").unwrap();
    let words = credentials["found"].as_str().unwrap();
    assert!(words.contains("sandbox-owner@my-gcp.iam") && words.contains("good until"), "{words}");
    assert_eq!(deployment.writes(), Vec::<String>::new(), "it changes nothing");

    // Nobody can be asked here.
    let asked = doctor(&["--fix"]).ends_with(3);
    assert!(asked.stdout.contains("--yes"), "{}", asked.stdout);
    assert_eq!(deployment.writes(), Vec::<String>::new());
    let fixed = doctor(&["--fix", "--yes"]);
    assert_eq!(outcomes(&checks(&fixed), "apis"), ["warning", "passed"], "{}", fixed.stdout);
    let writes = deployment.writes();
    assert!(
        writes.iter().all(|write| write.contains("services:batchEnable")) && !writes.is_empty(),
        "{writes:?}"
    );

    // The network that comes with an API comes a little later.
    deployment.until("its network is seen", || outcomes(&checks(&doctor(&[])), "network") == ["passed"]);
    // What is left of a quota, against what is needed.
    let quota = json!({"region": "europe-west1", "metric": "CPUS", "limit": 1});
    deployment.control("POST", "quota", Some(quota));
    let told = checks(&doctor(&[]).ends_with(1));
    let seen = (outcomes(&told, "quota"), outcomes(&told, "network"));
    assert_eq!(seen, (vec!["failed"], vec!["passed"]), "{told:#?}");
    let quota = told.iter().find(|check| check["name"] == "quota").unwrap();
    assert_eq!(quota["found"], "CPUS in region europe-west1: 2 needed, 1 of 1 left");
    assert!(quota["hint"].as_str().unwrap().contains("`mimir.machine_type`"), "{quota}");

    // A machine without an address needs a subnet that reaches Google.
    let run =
        deployment.run(&["--sandbox", "--json", "--set", "access.external=false", "doctor"]).ends_with(1);
    let told = checks(&run);
    let network = told.iter().find(|check| check["name"] == "network").unwrap();
    let hint = network["hint"].as_str().unwrap();
    assert!(hint.contains("--enable-private-ip-google-access"), "{network}");
    for check in told.iter().filter(|check| check["outcome"] == "failed") {
        assert!(check["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{check}");
    }
}

/// Of another project Secret Manager says that a permission is missing, which is not what is wrong.
#[test]
fn a_wrong_project_is_told_as_that_with_the_account() {
    let deployment = Deployment::of_records();
    let at = |command: &[&str]| {
        deployment.run(&[&["--sandbox", "--project", "no-such-project"], command].concat())
    };
    let words = "the project `no-such-project` is not found, or not visible to sandbox-owner@my-gcp.iam";
    for command in [&["plan"][..], &["apply", "--yes"], &["destroy", "--yes"], &["status"], &["verify"]] {
        let run = at(command).ends_with(1);
        assert!(run.stderr.contains(words), "{command:?}: {}", run.stderr);
        assert!(!run.stderr.to_lowercase().contains("secretmanager"), "{command:?}: {}", run.stderr);
        assert!(run.stderr.contains("gcloud projects list"), "{command:?}: {}", run.stderr);
    }
    let run = at(&["--json", "doctor"]).ends_with(1);
    let told = checks(&run);
    assert_eq!(
        (outcomes(&told, "credentials"), outcomes(&told, "project")),
        (vec!["passed"], vec!["failed"])
    );
    let project = told.iter().find(|check| check["name"] == "project").unwrap();
    assert!(project["found"].as_str().unwrap().contains(words), "{project}");
    // What can't be known of it is not asked.
    assert!(
        outcomes(&told, "permissions.plan").is_empty() && outcomes(&told, "quota").is_empty(),
        "{told:#?}"
    );
}

#[test]
fn without_credentials_nothing_is_looked_for_elsewhere() {
    let deployment = Deployment::empty();
    // Where Google, releases and the caller's address are had from: nobody may come.
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let url = format!("http://{}", elsewhere.local_addr().unwrap());
    let services = format!("access.caller_services=[{url}]");
    // A gcloud without a user is not started: that takes a second.
    let programs = tempfile::tempdir().unwrap();
    let (gcloud, started) = (programs.path().join("gcloud"), programs.path().join("started"));
    std::fs::write(&gcloud, format!("#!/bin/sh\n: >'{}'\nexit 1\n", started.display())).unwrap();
    std::fs::set_permissions(&gcloud, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let login = deployment.path().join(".config/gcloud/credentials.db");
    for command in [
        &["plan"][..],
        &["apply", "--yes"],
        &["destroy", "--yes"],
        &["status"],
        &["verify"],
        &["credentials", "list"],
        &["doctor"],
        // Of one that may have a user it is asked.
        &["plan", "--no-stack"],
    ] {
        if command.contains(&"--no-stack") {
            assert!(!started.exists(), "gcloud was started for nothing");
            std::fs::create_dir_all(login.parent().unwrap()).unwrap();
            std::fs::write(&login, "").unwrap();
        }
        let all = [&["--project", "my-gcp", "--set", &services], command].concat();
        let mut run = deployment.command(&all);
        run.env("PATH", programs.path()).env("DORAINFRA_MIMIR_RELEASES", &url);
        for api in [
            "COMPUTE",
            "STORAGE",
            "IAM",
            "CLOUDRESOURCEMANAGER",
            "CLOUDBILLING",
            "SERVICEUSAGE",
            "SECRETMANAGER",
        ] {
            run.env(format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"), &url);
        }
        let run = Run::of(run.output().unwrap()).ends_with(1);
        let told = format!("{}{}", run.stdout, run.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        for words in [
            "no Google credentials",
            "`gcloud auth application-default login`",
            "export GOOGLE_APPLICATION_CREDENTIALS=KEY.json",
            "workload identity federation",
        ] {
            assert!(told.contains(words), "{command:?}: `{words}` is not in:\n{told}");
        }
    }
    assert!(started.exists(), "gcloud was not asked");
    let nobody = elsewhere.accept().map(|(_, address)| address).map_err(|error| error.kind());
    assert_eq!(nobody.unwrap_err(), std::io::ErrorKind::WouldBlock, "somebody was asked");
}
