//! What is asked of a deployment from day to day: which there are, where they are, whether they are as
//! they were applied, and a way to those without an address. Where processes are needed, `main_job` asks.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::deployment::{Deployment, Run};
use serde_json::{Value, json};

fn result(run: &Run) -> Value {
    run.events("result")[0]["result"].clone()
}

#[test]
fn a_deployment_is_listed_named_drawn_and_compared_with_what_was_applied() {
    let deployment = Deployment::of_a_machine();
    deployment.write("dorainfra.yaml", "project: my-gcp\n");

    let before = deployment.calls();
    let listed = deployment.run(&["--sandbox", "--json", "list"]).ends_with(0);
    assert_eq!(deployment.calls() - before, 3, "two aggregated lists, and one of buckets");
    let one = &result(&listed)["deployments"][0];
    assert_eq!(
        (&one["name"], &one["topology"], &one["configured"]),
        (&json!("dorainfra"), &json!("single"), &json!(true))
    );
    assert_eq!(one["machines"], json!({"dorainfra-mimir": "RUNNING"}));
    assert_eq!((&one["regions"], one["since"].is_string()), (&json!(["europe-west1"]), true), "{one}");
    let other = deployment.run(&["--sandbox", "--set", "name=other", "list"]).ends_with(0);
    assert!(other.stdout.contains("dorainfra") && !other.stdout.contains('*'), "{}", other.stdout);

    // A value by itself, and nothing else.
    let address = deployment.run(&["--sandbox", "output", "address"]).ends_with(0);
    assert!(address.stdout.trim_end().parse::<std::net::IpAddr>().is_ok(), "{}", address.stdout);
    let endpoint = deployment.run(&["--sandbox", "output", "endpoint"]).ends_with(0);
    assert_eq!(endpoint.stdout, format!("{}:9009\n", address.stdout.trim_end()));
    let file = deployment.run(&["--sandbox", "output", "client_key_file"]).ends_with(1);
    assert!(file.stdout.is_empty() && file.stderr.contains("stack up"), "{}", file.stderr);
    let unknown = deployment.run(&["--sandbox", "output", "adress"]).ends_with(3);
    assert!(unknown.stdout.is_empty() && unknown.stderr.contains("mimir_url"), "{}", unknown.stderr);
    let all = result(&deployment.run(&["--sandbox", "--json", "output"]).ends_with(0));
    assert_eq!(all["service_account"], "dorainfra-mimir@my-gcp.iam.gserviceaccount.com");
    assert_eq!(all["prometheus_port"], json!(deployment.ports()[0]));

    // What was never made is missing, what somebody changed is told, and what the configuration means
    // to change is neither.
    let drift = |set: &str| {
        let run = deployment.run(&["--sandbox", "--json", "--set", set, "drift"]).ends_with(2);
        let result = result(&run);
        let of = |kind: &str| -> Vec<String> {
            let found = result["found"].as_array().unwrap().iter().filter(|one| one["kind"] == kind);
            found.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
        };
        (of("changed"), of("missing"), result["pending"].clone())
    };
    let disk = "compute.disk/dorainfra-data";
    let (changed, missing, pending) = drift("name=dorainfra");
    assert_eq!((changed, pending), (Vec::new(), json!([])));
    assert!(missing.iter().any(|id| id.starts_with("compute.firewall/")), "{missing:?}");
    let labels = "compute/v1/projects/my-gcp/zones/europe-west1-b/disks/dorainfra-data";
    let read = deployment.google("GET", labels, "");
    let mut more = read["labels"].clone();
    more["team"] = json!("somebodys");
    let body = json!({"labels": more, "labelFingerprint": read["labelFingerprint"]});
    let writes = deployment.changes().len();
    deployment.google("POST", &format!("{labels}/setLabels"), &body.to_string());
    deployment.until("the change is seen", || drift("name=dorainfra").0 == [disk]);
    let (changed, _, pending) = drift("mimir.disk_gb=50");
    assert!(
        changed.is_empty() && pending.as_array().unwrap().contains(&json!(disk)),
        "{changed:?} {pending}"
    );
    assert_eq!(deployment.changes().len(), writes + 1, "nothing is changed by looking");

    // Drawn, and nothing beside.
    for (form, first) in [("mermaid", "flowchart LR\n"), ("dot", "digraph \"dorainfra\" {\n")] {
        let plan = ["--sandbox", "plan", "--detailed-exitcode", "--graph", form];
        let run = deployment.run(&plan).ends_with(2);
        assert!(run.stdout.starts_with(first) && !run.stdout.contains("Plan for"), "{}", run.stdout);
        assert!(run.stdout.contains("compute.disk/dorainfra-data"), "{}", run.stdout);
        assert_eq!(deployment.run(&plan).stdout, run.stdout);
    }

    // What says which deployment is meant is said again.
    let flags = ["--sandbox", "--config", "dorainfra.yaml", "--set", "labels.team=a", "destroy", "--yes"];
    let destroyed = deployment.run(&flags).ends_with(0);
    let next = "dorainfra --sandbox --config dorainfra.yaml --set labels.team=a apply";
    assert!(destroyed.stdout.contains(next), "{}", destroyed.stdout);
    let kept = result(&deployment.run(&["--sandbox", "--json", "list"]).ends_with(0));
    assert_eq!(kept["deployments"][0]["topology"], Value::Null, "{kept}");
}

/// A `gcloud` that listens as the real one does, and says at its end that it was ended.
fn with_gcloud(deployment: &Deployment, script: &str) -> String {
    with_program(deployment, "gcloud", script)
}

/// A PATH on which `name` is a script.
fn with_program(deployment: &Deployment, name: &str, script: &str) -> String {
    let bin = deployment.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let program = bin.join(name);
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = deployment
        .command(&["x"])
        .get_envs()
        .find(|(name, _)| *name == "PATH")
        .unwrap()
        .1
        .unwrap()
        .to_owned();
    format!("{}:{}", bin.display(), path.to_str().unwrap())
}

const LISTENS: &str = r#"#!/bin/sh
# As gcloud does: a script, which starts another program.
python3 - "$@" <<'END'
import os, signal, socket, sys
open("called", "w").write(" ".join(sys.argv[1:]) + "|" + os.environ.get("CLOUDSDK_CONFIG", "") + "|" + os.environ.get("GITHUB_TOKEN", ""))
def end(*_):
    open("ended", "w").write("yes")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
port = next(a for a in sys.argv if a.startswith("--local-host-port=")).rsplit(":", 1)[1]
listening = socket.create_server(("127.0.0.1", int(port)))
print("Listening on port [%s]." % port, flush=True)
while True:
    listening.accept()
END
"#;

#[test]
fn a_tunnel_is_open_while_a_command_runs_and_is_ended_with_it() {
    let deployment = Deployment::empty();
    let private =
        ["--project", "my-gcp", "--set", "access.external=false", "--set", "network.create=true", "connect"];
    let connect = |more: &[&str], path: Option<&str>| {
        let mut command = deployment.command(&[&private, more].concat());
        command.env("CLOUDSDK_CONFIG", "/config").env("GITHUB_TOKEN", "a-secret");
        command.envs(path.map(|path| ("PATH", path)));
        command
    };
    let run = |more: &[&str], path: Option<&str>| Run::of(connect(more, path).output().unwrap());

    // Nothing is started to say how it would be.
    let told = "gcloud compute start-iap-tunnel dorainfra-mimir 9009 --local-host-port=localhost:9009 \
                --zone=europe-west1-b --project=my-gcp\n";
    assert_eq!(run(&["--print"], None).ends_with(0).stdout, told);
    let empty = deployment.path().join("empty").display().to_string();
    let none = run(&["--port", "0"], Some(&empty)).ends_with(1);
    assert!(
        none.stderr.contains("gcloud is not on PATH") && none.stderr.contains("https://"),
        "{}",
        none.stderr
    );

    // The command finds the endpoint, and its exit code is the tunnel's.
    let path = with_gcloud(&deployment, LISTENS);
    let script =
        "echo \"$DORAINFRA_ACCESS_ENDPOINT $DORAINFRA_ENDPOINT $DORAINFRA_MIMIR_URL $GITHUB_TOKEN\"; exit 7";
    let ran = run(&["--port", "0", "--", "sh", "-c", script], Some(&path)).ends_with(7);
    let words: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert!(words[0].starts_with("localhost:") && words[0] == words[1], "{words:?}");
    assert_eq!(words[2..], ["https://mimir.dorainfra.internal:9009", "a-secret"]);
    let called = std::fs::read_to_string(deployment.path().join("called")).unwrap();
    assert!(called.contains("--zone=europe-west1-b") && called.ends_with("|/config|"), "{called}");
    let ended = deployment.path().join("ended");
    // gcloud's script has ended by then, and what it started was asked to.
    deployment.until("gcloud's own program has ended", || ended.exists());
    // It is this program, too, and goes through the tunnel.
    let own = env!("CARGO_BIN_EXE_dorainfra");
    let own = ["--port", "0", "--", own, "--project", "my-gcp", "output", "endpoint"];
    assert!(run(&own, Some(&path)).ends_with(0).stdout.starts_with("localhost:"));

    // Without one it stays until it is asked to end.
    std::fs::remove_file(&ended).unwrap();
    std::fs::remove_file(deployment.path().join("called")).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = run(&["--port", &port], Some(&path)).ends_with(1);
    assert!(refused.stderr.contains("--port 0"), "{}", refused.stderr);
    drop(taken);
    let mut child = connect(&["--port", &port], Some(&path)).spawn().unwrap();
    deployment
        .until("the tunnel is open", || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    Command::new("kill").args(["-INT", &child.id().to_string()]).output().unwrap();
    assert!(child.wait().unwrap().code().is_some_and(|code| code == 0 || code == 130));
    deployment.until("gcloud has ended", || ended.exists());

    // What gcloud says is told.
    let path = with_gcloud(&deployment, "#!/bin/sh\necho 'ERROR: you do not have access' >&2\nexit 1\n");
    let failed = run(&["--port", "0"], Some(&path)).ends_with(1);
    for said in ["you do not have access", "roles/iap.tunnelResourceAccessor"] {
        assert!(failed.stderr.contains(said), "{}", failed.stderr);
    }

    // Where none is needed, none is opened.
    let external = deployment.run(&["--project", "my-gcp", "connect"]).ends_with(3);
    assert!(external.stderr.contains("output endpoint"), "{}", external.stderr);
}

/// A `docker` with two containers; following one of them ends with it.
const DOCKER: &str = r#"#!/bin/sh
case "$1" in
version) echo 20.10.24 ;;
compose) echo 2.20.0 ;;
ps)
    for service in prometheus generator; do
        echo '{"ID":"'$service'-id","State":"running","Status":"Up","Labels":"com.docker.compose.service='$service'"}'
    done ;;
logs)
    shift
    [ "$1" = --follow ] && shift
    echo "$3 of the last $2"
    echo "and an error" >&2 ;;
esac
"#;

#[test]
fn logs_of_containers_come_from_docker_also_as_they_grow() {
    let deployment = Deployment::empty();
    let path = with_program(&deployment, "docker", DOCKER);
    for more in [&["--follow"][..], &[]] {
        let mut command = deployment.command(&[&["logs", "stack", "--lines", "7"], more].concat());
        let run = Run::of(command.env("PATH", &path).output().unwrap()).ends_with(0);
        let mut lines: Vec<&str> = run.stdout.lines().collect();
        lines.sort_unstable();
        let expected = [
            "generator | and an error",
            "generator | generator-id of the last 7",
            "prometheus | and an error",
            "prometheus | prometheus-id of the last 7",
        ];
        assert_eq!(lines, expected, "{more:?}: {}", run.stderr);
    }
}
