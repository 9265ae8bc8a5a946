//! What goes wrong for users: each gives one clear message with the next step,
//! the exit code that is documented for it, and loses nothing.

use std::io::{BufRead as _, BufReader};
use std::process::Command;

use crate::deployment::Deployment;
use serde_json::json;

#[test]
fn help_and_version_need_nothing() {
    let deployment = Deployment::empty();
    let help = deployment.run(&["--help"]).ends_with(0);
    assert!(help.stdout.contains("Usage: dorainfra"));
    deployment.run(&["--version"]).ends_with(0);
    deployment.run(&["no-such-command"]).ends_with(3);
}

#[test]
fn a_sandbox_that_does_not_run_is_named_with_the_command_that_starts_it() {
    let run = Deployment::empty().run(&["--sandbox", "plan"]).ends_with(1);
    assert!(run.stderr.contains("dorainfra sandbox start"), "{}", run.stderr);
}

#[test]
fn without_a_project_nothing_is_asked_of_google() {
    let run = Deployment::empty().run(&["plan"]).ends_with(3);
    assert!(run.stderr.contains("--project"), "{}", run.stderr);
}

#[test]
fn a_wrong_configuration_is_told_whole_before_any_call() {
    let deployment = Deployment::empty();
    deployment
        .write("dorainfra.yaml", "project: my-gcp\nmimir:\n  disk_bg: 5\naccess:\n  allow: [300.1.1.1/8]\n");
    let run = deployment.run(&["plan"]).ends_with(3);
    for words in ["dorainfra.yaml:3:3", "disk_gb", "dorainfra.yaml:5:", "300.1.1.1/8"] {
        assert!(run.stderr.contains(words), "`{words}` is not in:\n{}", run.stderr);
    }
}

#[test]
fn init_never_overwrites() {
    let deployment = Deployment::empty();
    deployment.run(&["init", "--project", "my-gcp"]).ends_with(0);
    deployment.write("dorainfra.yaml", "mine");
    deployment.run(&["init", "--project", "my-gcp"]).ends_with(3);
    assert_eq!(std::fs::read_to_string(deployment.path().join("dorainfra.yaml")).unwrap(), "mine");
}

/// Nobody is simulated on Google who was not asked for: the file says so, and how to ask.
#[test]
fn init_simulates_nobody_unless_it_is_told_to() {
    let deployment = Deployment::empty();
    let written = |more: &[&str], name: &str| {
        deployment.run(&[&["init", "--project", "my-gcp", "--config", name], more].concat()).ends_with(0);
        std::fs::read_to_string(deployment.path().join(name)).unwrap()
    };
    let usual = written(&[], "usual.yaml");
    assert!(
        usual.contains("\n  # Feed simulated teams") && usual.contains("\n  #simulate: true\n"),
        "{usual}"
    );
    let asked = written(&["--simulate"], "asked.yaml");
    assert!(asked.contains("\n  simulate: true\n"), "{asked}");
}

#[test]
fn render_is_the_same_twice_and_contacts_nothing() {
    let deployment = Deployment::empty();
    deployment.run(&["render", "--out", "a"]).ends_with(0);
    deployment.run(&["render", "--out", "b"]).ends_with(0);
    let diff = Command::new("diff").args(["-r", "a", "b"]).current_dir(deployment.path()).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    assert!(deployment.path().join("a/vm/mimir.yaml").exists());
}

#[test]
fn one_seed_gives_one_year() {
    let deployment = Deployment::empty();
    let year = |seed: &str| {
        deployment
            .run(&["generate", "--seed", seed, "--until", "2026-01-31", "--days", "365"])
            .ends_with(0)
            .stdout
    };
    assert_eq!(year("7"), year("7"));
    assert_ne!(year("7"), year("8"));
}

#[test]
fn credentials_that_are_none_are_told() {
    let deployment = Deployment::empty();
    let key = deployment.write("key.json", "{}");
    let mut command =
        deployment.command(&["--project", "my-gcp", "--set", "access.allow=[203.0.113.7/32]", "plan"]);
    command.env("GOOGLE_APPLICATION_CREDENTIALS", &key).env("DORAINFRA_MIMIR_BINARY", "/bin/true");
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("credentials") && stderr.contains("gcloud auth"), "{stderr}");
}

#[test]
fn a_missing_permission_is_named_with_the_role_that_has_it() {
    let deployment = Deployment::of_records();
    deployment.control(
        "POST",
        "deny",
        Some(json!({"member": "owner", "permission": "compute.addresses.create"})),
    );
    let run = deployment.run(&["--sandbox", "apply", "--yes"]).ends_with(1);
    assert!(
        run.stdout.contains("compute.addresses.create") || run.stderr.contains("compute.addresses.create")
    );
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(all.contains("roles/compute.admin"), "{all}");
    assert!(all.contains("not started"), "{all}");
}

#[test]
fn a_project_that_does_not_exist_is_told() {
    let deployment = Deployment::of_records();
    let run = deployment.run(&["--sandbox", "--project", "no-such-project", "plan"]).ends_with(1);
    assert!(run.stderr.contains("no-such-project"), "{}", run.stderr);
}

#[test]
fn a_bucket_name_of_somebody_else_is_told() {
    let deployment = Deployment::of_records();
    deployment.control("POST", "foreign", Some(json!({"bucket": "taken-by-somebody"})));
    let run = deployment.run(&["--sandbox", "--set", "mimir.bucket=taken-by-somebody", "plan"]).ends_with(1);
    assert!(
        run.stderr.contains("taken-by-somebody") && run.stderr.contains("mimir.bucket"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_plan_file_is_bound_to_its_deployment_and_its_world() {
    let deployment = Deployment::of_records();
    deployment.run(&["--sandbox", "plan", "--out", "p"]).ends_with(0);
    // Another deployment.
    deployment.run(&["--sandbox", "--set", "name=other", "apply", "p", "--yes"]).ends_with(5);
    // Cut in half.
    let text = std::fs::read_to_string(deployment.path().join("p")).unwrap();
    deployment.write("half", &text[..text.len() / 2]);
    let half = deployment.run(&["--sandbox", "apply", "half", "--yes"]).ends_with(3);
    assert!(half.stderr.contains("cut off"), "{}", half.stderr);
    // The world has moved on.
    deployment
        .run(&["--sandbox", "apply", "--yes", "--target", "compute.address/dorainfra-mimir"])
        .ends_with(0);
    let stale = deployment.run(&["--sandbox", "apply", "p", "--yes"]).ends_with(5);
    assert!(stale.stderr.contains("compute.address/dorainfra-mimir"), "{}", stale.stderr);
}

#[test]
fn a_cloud_that_is_gone_is_told_while_it_is_and_the_plan_goes_on_when_it_is_back() {
    let deployment = Deployment::of_records();
    deployment.control(
        "PUT",
        "faults",
        Some(json!([{"method": "GET", "path": "*/addresses*", "action": {"hang": "before"}}])),
    );
    let before = deployment.calls();
    let mut plan = deployment.spawn(&["--sandbox", "--json", "plan"]);
    deployment.until("it reads", || deployment.calls() > before + 5);
    let (port, pid) = (deployment.port().to_string(), deployment.sandbox().unwrap()["pid"].to_string());
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    // It ends by itself where nothing is told.
    let mut lines = BufReader::new(plan.stdout.take().unwrap()).lines().map(Result::unwrap);
    let told = lines
        .find(|line| line.contains("cloud-unreachable") && line.contains("refused"))
        .expect("it is told");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["host"], format!("127.0.0.1:{port}"));
    assert!(told["attempts"].as_u64() > Some(0) && told["left_ms"].as_u64() > Some(0), "{told}");
    deployment.start(&["--machines", "none", "--operation", "*=0", "--port", &port]);
    let rest: Vec<String> = lines.collect();
    Deployment::finish(plan).ends_with(0);
    for kind in ["cloud-reachable", "planned"] {
        assert!(rest.iter().any(|line| line.contains(&format!("\"{kind}\""))), "no {kind} in {rest:#?}");
    }
}

#[test]
fn nobody_to_ask_means_no() {
    let deployment = Deployment::of_records();
    let run = deployment.run(&["--sandbox", "apply"]).ends_with(3);
    assert!(run.stderr.contains("--yes"), "{}", run.stderr);
    assert!(deployment.writes().iter().all(|write| !write.contains("compute")), "{:?}", deployment.writes());
}

#[test]
fn two_at_once_exclude_each_other() {
    let deployment = Deployment::of_records();
    let bucket = ["--sandbox", "apply", "--yes", "--target", "storage.bucket/my-gcp-dorainfra-mimir"];
    deployment.run(&bucket).ends_with(0);
    // The first one hangs in the middle, with the lease.
    deployment.control(
        "PUT",
        "faults",
        Some(json!([{"method": "POST", "path": "*/addresses*", "action": {"hang": "before"}}])),
    );
    let apply = ["--sandbox", "apply", "--yes", "--target", "compute.address/dorainfra-mimir"];
    let leases = || {
        deployment.writes().iter().filter(|write| write.contains("upload") && write.contains("lease")).count()
    };
    let before = leases();
    let first = deployment.spawn(&apply);
    deployment.until("the first one holds the lease", || leases() > before);
    let second = deployment.run(&apply).ends_with(4);
    assert!(second.stderr.contains("lease") || second.stderr.contains("holds"), "{}", second.stderr);
    deployment.control("DELETE", "faults", None);
    Deployment::finish(first).ends_with(0);
}

#[test]
fn an_interrupt_finishes_what_is_in_flight() {
    let deployment = Deployment::of_records();
    deployment.control(
        "PUT",
        "faults",
        Some(json!([{"method": "POST", "path": "*/addresses*", "action": {"hang": "before"}}])),
    );
    let child = deployment.spawn(&["--sandbox", "apply", "--yes"]);
    deployment
        .until("the disk is there", || deployment.writes().iter().any(|write| write.contains("/disks")));
    let kill = |child: &std::process::Child| {
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    };
    kill(&child);
    deployment.control("DELETE", "faults", None);
    let run = Deployment::finish(child).ends_with(130);
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(all.contains("not started") && all.contains("dorainfra"), "{all}");
}

#[test]
fn a_second_interrupt_stops_at_once() {
    let deployment = Deployment::of_records();
    deployment.control(
        "PUT",
        "faults",
        Some(json!([{"method": "POST", "path": "*/addresses*", "action": {"hang": "before"}}])),
    );
    let child = deployment.spawn(&["--sandbox", "apply", "--yes"]);
    deployment
        .until("the disk is there", || deployment.writes().iter().any(|write| write.contains("/disks")));
    // The call that hangs is never answered: only stopping at once ends it. The
    // first may not have been seen yet when the second comes, so they go on.
    let id = child.id().to_string();
    deployment.until("the run has ended", || {
        Command::new("kill").args(["-INT", &id]).status().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.contains(") Z ")
    });
    Deployment::finish(child).ends_with(130);
    // And the next run mends it.
    deployment.control("DELETE", "faults", None);
    deployment
        .run(&["--sandbox", "apply", "--yes", "--target", "compute.address/dorainfra-mimir"])
        .ends_with(0);
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost() {
    let deployment = Deployment::of_records();
    deployment.run(&["--sandbox", "plan", "--out", "kept"]).ends_with(0);
    let before = std::fs::read(deployment.path().join("kept")).unwrap();
    // A file system of one page, in a mount namespace of its own; the folder's
    // file is replaced by it as a whole, and is the old one afterwards.
    let mut command = Command::new("unshare");
    let inner = deployment.command(&["--sandbox", "render", "--out", "full"]);
    let binary = inner.get_program().to_owned();
    std::fs::create_dir(deployment.path().join("full")).unwrap();
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=4096 none full && exec \"$0\" --sandbox render --out full")
        .arg(binary)
        .current_dir(deployment.path())
        .env_clear();
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for words in ["No space left on device", "full/", "hint: the disk is full"] {
        assert!(stderr.contains(words), "`{words}` is not in: {stderr}");
    }
    assert_eq!(std::fs::read(deployment.path().join("kept")).unwrap(), before);
}

#[test]
fn a_port_in_use_is_named_with_its_setting() {
    let deployment = Deployment::empty();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = deployment.run(&["sandbox", "start", "--detach", "--port", &port]).ends_with(1);
    assert!(run.stderr.contains(&port), "{}", run.stderr);
}
