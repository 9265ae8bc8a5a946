//! A sandbox in a folder of its own: found again, named in what is printed for a shell, and emptied
//! only by whoever says so.

use std::process::Command;

use crate::deployment::{Deployment, Run};

/// With what a shell makes something of, and letters of other alphabets.
const FOLDER: &str = "säńdbox of $HOME's";

#[test]
fn a_sandbox_of_another_folder_is_found_again_and_keeps_its_port() {
    let deployment = Deployment::empty();
    let start = ["sandbox", "start", "--detach", "--machines", "none", "--dir", FOLDER];
    let exports = deployment.run(&start).ends_with(0).stdout;
    let folder = deployment.path().join(FOLDER);
    let shell = |script: &str| {
        let output =
            Command::new("sh").args(["-c", script]).env_clear().env("EXPORTS", &exports).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let key = shell("eval \"$EXPORTS\"; printf %s \"$GOOGLE_APPLICATION_CREDENTIALS\"");
    assert_eq!(key, folder.join("key.json").display().to_string());

    let port = |run: &Run| run.events("result")[0]["result"]["port"].as_u64().unwrap();
    let status = ["--json", "sandbox", "status"];
    let first = port(&deployment.run(&status).ends_with(0));
    deployment.run(&["--sandbox", "plan"]).ends_with(0);

    // From elsewhere by its name.
    let elsewhere = tempfile::tempdir().unwrap();
    let from = |more: &[&str], variable: Option<&str>| {
        let mut command = deployment.command(&[&status[..], more].concat());
        command.current_dir(elsewhere.path());
        if let Some(folder) = variable {
            command.env("DORAINFRA_SANDBOX_DIR", folder);
        }
        Run::of(command.output().unwrap())
    };
    let named = folder.display().to_string();
    assert_eq!(port(&from(&["--sandbox-dir", &named], None).ends_with(0)), first);
    assert_eq!(port(&from(&[], Some(&named)).ends_with(0)), first);
    let lost = from(&[], None).ends_with(1);
    assert!(lost.stdout.contains("--sandbox-dir DIR"), "{}", lost.stdout);
    // It implies the sandbox: nobody asks Google by mistake.
    let plan = deployment.run(&["--sandbox-dir", "nowhere", "plan"]).ends_with(1);
    assert!(plan.stderr.contains("no sandbox is running"), "{}", plan.stderr);

    // Nobody says yes: nothing is lost, and what would be is told.
    deployment
        .run(&["--sandbox", "apply", "--yes", "--target", "compute.address/dorainfra-mimir"])
        .ends_with(0);
    let stack = deployment.path().join(".dorainfra/dorainfra/stack");
    std::fs::create_dir_all(&stack).unwrap();
    let mut collector = Command::new("sleep").arg("600").spawn().unwrap();
    std::fs::write(stack.join("stack.json"), record_of(collector.id())).unwrap();
    let asked = deployment.run(&["sandbox", "reset"]).ends_with(3);
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    let named = format!("the collector of `dorainfra` still runs (prometheus (pid {})", collector.id());
    collector.kill().unwrap();
    collector.wait().unwrap();
    assert!(asked.stderr.contains(&named) && asked.stderr.contains("stack down"), "{}", asked.stderr);
    let compute = |run: &Run| run.events("result")[0]["result"]["counts"]["compute"].as_u64().unwrap();
    assert!(compute(&deployment.run(&status)) > 0);
    deployment.run(&["sandbox", "reset", "--yes"]).ends_with(0);
    let empty = deployment.run(&status).ends_with(0);
    assert_eq!((compute(&empty), port(&empty)), (0, first));

    // One that does not run is found by the next start on the port that it had, too.
    deployment.run(&["sandbox", "stop"]).ends_with(0);
    deployment.run(&["sandbox", "reset", "--yes"]).ends_with(0);
    deployment.run(&["sandbox", "reset", "--yes"]).ends_with(1);
    deployment.run(&start).ends_with(0);
    assert_eq!(port(&deployment.run(&status).ends_with(0)), first);
    deployment.run(&["sandbox", "stop"]).ends_with(0);

    // The usual one is the usual one again.
    deployment.run(&["sandbox", "start", "--detach", "--machines", "none"]).ends_with(0);
    let status = deployment.run(&status).ends_with(0);
    assert!(status.stdout.contains("/.dorainfra/sandbox\""), "{}", status.stdout);
    deployment.run(&["sandbox", "stop"]).ends_with(0);
}

/// The record of a stack of which one part runs.
fn record_of(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let started: u64 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    serde_json::json!({"parts": {"prometheus": {
        "digest": "", "command": [], "port": null, "at": 0, "log_from": 0,
        "process": {"pid": pid, "started": started},
    }}})
    .to_string()
}
