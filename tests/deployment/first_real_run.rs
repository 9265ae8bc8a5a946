//! The script for a first run in a project of Google's, rehearsed: all its steps pass
//! in a sandbox that is as unkind as Google, and what it makes is deleted, also where
//! the script itself is killed.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::deployment::Deployment;

/// The rehearsal.
fn script(deployment: &Deployment) -> Command {
    let mut run = at(deployment, Path::new(env!("CARGO_BIN_EXE_dorainfra")));
    run.arg("--sandbox");
    run
}

fn at(deployment: &Deployment, binary: &Path) -> Command {
    let given = deployment.command(&[]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut run = Command::new(root.join("scripts/first-real-run"));
    run.args(["--yes", "--report", "run", "--binary"])
        .arg(binary)
        .current_dir(deployment.path())
        .env_clear()
        .stdin(Stdio::null());
    run.envs(given.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run
}

#[test]
fn every_step_of_the_rehearsal_passes_and_nothing_is_left() {
    let deployment = Deployment::empty();
    let output = script(&deployment).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let report = std::fs::read_to_string(deployment.path().join("run/report.md")).unwrap_or_default();
    assert!(output.status.success(), "{shown}\n{}\n{report}", String::from_utf8_lossy(&output.stderr));
    assert!(report.contains("| clean-up | nothing is left |"), "{report}");
    if has_gcloud() {
        assert!(!report.contains("could not be asked"), "{report}");
    }
    for step in ["a change in place", "certificates are rotated", "verify over its data"] {
        assert!(report.contains(&format!("| {step} | 0 |")), "{step}:\n{report}");
    }
    // It is made to be sent to others.
    for private in ["my-gcp", "first-run-", "127.0.0.1"] {
        assert!(!report.contains(private), "{private}:\n{report}");
    }
}

/// What an empty project holds: its accounts are the sandbox's owner and Compute Engine's own.
const CLEAN: [u64; 4] = [0, 0, 0, 2];

/// The buckets, objects, secrets and accounts of the sandbox that was started in `folder`.
fn counts(deployment: &Deployment, folder: &Path) -> [u64; 4] {
    let status = deployment.command(&["sandbox", "status", "--json"]).current_dir(folder).output();
    let text = String::from_utf8(status.unwrap().stdout).unwrap();
    let status: serde_json::Value = serde_json::from_str(text.trim()).unwrap_or_default();
    let count = |kind: &str| status["result"]["counts"][kind].as_u64().unwrap_or_default();
    ["buckets", "objects", "secrets", "serviceAccounts"].map(count)
}

fn has_gcloud() -> bool {
    Command::new("gcloud").arg("--version").output().is_ok()
}

/// The script's way at Google, where it is given neither `--sandbox` nor `--set`: a program
/// that goes to the sandbox of this deployment all the same.
fn at_google(deployment: &Deployment) -> Command {
    let sandbox = deployment.path().join(".dorainfra/sandbox");
    let wrapper = deployment.write(
        "wrapper",
        &format!(
            "#!/bin/sh\nexport DORAINFRA_SANDBOX_DIR='{}'\nexec '{}' --sandbox \"$@\"\n",
            sandbox.display(),
            env!("CARGO_BIN_EXE_dorainfra")
        ),
    );
    std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut run = at(deployment, &wrapper);
    run.args(["--project", "my-gcp", "--without-ha"]);
    run
}

#[test]
fn the_guard_of_a_run_without_options_deletes_what_it_made() {
    let deployment = Deployment::new();
    let mut run = at_google(&deployment).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    deployment.until("something is made", || counts(&deployment, deployment.path())[2] > 2);
    run.kill().unwrap();
    run.wait().unwrap();
    deployment.until("the guard has deleted it", || deployment.path().join("run/.clean").exists());
    assert_eq!(counts(&deployment, deployment.path()), CLEAN, "the guard says that it is clean");
}

#[test]
fn what_gcloud_still_finds_or_does_not_see_is_told_without_names_of_others() {
    let deployment = Deployment::new();
    // So that it ends at its first step.
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = format!("stack.ports.prometheus={}", busy.local_addr().unwrap().port());
    let answers = |left: &str| {
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in\n  'compute disks list'*) {left} ;;\n  *) echo 'WARNING: keys were not present' >&2 ;;\nesac\n"
        );
        let path = deployment.write("gcloud", &script);
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let _ = std::fs::remove_dir_all(deployment.path().join("run"));
        let mut run = at_google(&deployment);
        let path = run.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
        let path = format!("{}:{}", deployment.path().display(), path.to_str().unwrap());
        let output = run.args(["--set", &busy]).env("PATH", path).output().unwrap();
        assert!(!output.status.success());
        std::fs::read_to_string(deployment.path().join("run/report.md")).unwrap()
    };
    let name = r#"sed -n 's/^name: //p' dorainfra.yaml"#;
    for (left, words) in [
        ("exit 0", "| clean-up | nothing is left |"),
        (name, "| clean-up | **something is left** |"),
        ("echo 'ERROR: no permission' >&2; exit 1", "- disks: ERROR: no permission"),
        // As gcloud ends where a zone does not answer.
        (
            "printf 'WARNING: %s\\n - %s\\n' 'Some requests did not succeed.' 'zone z-7' >&2; echo 'Listed 0 items.' >&2",
            "- disks: WARNING: Some requests did not succeed. - zone z-7",
        ),
    ] {
        let report = answers(left);
        assert!(report.contains(words), "{left}:\n{report}");
    }
    // The report is made to be sent: Google's words name more than the project.
    let private = [
        "114816883330",
        "a@b.c",
        "anna.b+c@example.org",
        "01A2B3-C4D5E6-F70819",
        "65432",
        "987654321",
        "2001:db8::7",
        "/home/anna",
    ];
    let words = "API has not been used in project 114816883330; user:a@b.c and anna.b+c@example.org do not have \
                 access; billingAccounts/01A2B3-C4D5E6-F70819, organizations/65432, folder: 987654321; 2001:db8::7; \
                 /home/anna/key.json";
    assert!(private.iter().all(|one| words.contains(one)));
    let report = answers(&format!("echo 'ERROR: {words}' >&2; exit 1"));
    assert!(report.contains("ERROR: API has not been used in project NUMBER"), "{report}");
    for one in private {
        assert!(!report.contains(one), "{one}:\n{report}");
    }
}

#[test]
fn what_a_killed_run_has_made_is_deleted_by_its_guard() {
    let deployment = Deployment::empty();
    let mut run = script(&deployment).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let folder = deployment.path().join("run/work");
    deployment.until("something is made", || folder.is_dir() && counts(&deployment, &folder)[2] > 2);
    run.kill().unwrap();
    run.wait().unwrap();
    deployment.until("the guard has deleted it", || deployment.path().join("run/.clean").exists());
    assert_eq!(counts(&deployment, &folder), CLEAN, "the guard says that it is clean");
}

#[test]
fn what_would_cost_too_much_or_names_no_project_is_refused_before_anything_happens() {
    let refused = |arguments: &[&str]| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(root.join("scripts/first-real-run")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&[]).contains("--project"));
    assert!(refused(&["--project", "p", "--budget", "0.10"]).contains("cents"));
    assert!(refused(&["--project", "p", "--minutes", "soon"]).contains("--minutes"));
}
