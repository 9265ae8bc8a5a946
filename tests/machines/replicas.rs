//! `topology: ha`, the whole binary, in a sandbox with three real machines and a
//! load balancer. A small engine takes Mimir's place; with a Mimir in
//! `DORAINFRA_MIMIR_BINARY`, it goes the same way with data.

#![allow(clippy::print_stderr, reason = "figures for whoever reads them")]

use crate::traffic;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::deployment::{Deployment, Run, one_after_the_other};
use crate::traffic::{Outcome, Traffic};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const ENGINE: &str = include_str!("../support/engine.py");
const ALL: [&str; 3] = ["dorainfra-mimir", "dorainfra-mimir-2", "dorainfra-mimir-3"];

struct Replicas {
    deployment: Deployment,
    engine: PathBuf,
    /// Settings of every run.
    always: &'static [&'static str],
}

impl Replicas {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let deployment = Deployment::new();
        let engine = deployment.write("engine", ENGINE);
        std::fs::set_permissions(&engine, std::fs::Permissions::from_mode(0o755)).unwrap();
        // Where no client is to notice nothing, nobody has to be waited for.
        deployment.write("dorainfra.yaml", "mimir: {extra: {shutdown_delay: 0s}}\n");
        // The small engine has no ruler.
        Self { deployment, engine, always: &["--set", "alerts.rules=false"] }
    }

    /// With the time that a replica takes to leave.
    fn that_drain() -> Self {
        let replicas = Self::new();
        std::fs::remove_file(replicas.deployment.path().join("dorainfra.yaml")).unwrap();
        replicas
    }

    /// Where the load balancer is, and a client's files.
    fn front(&self) -> (SocketAddr, PathBuf) {
        let path = "compute/v1/projects/my-gcp/regions/europe-west1/forwardingRules/dorainfra-mimir";
        let rule = self.deployment.google("GET", path, "");
        let at = SocketAddr::new(rule["IPAddress"].as_str().unwrap().parse().unwrap(), 9009);
        (at, self.deployment.path().join(".dorainfra/dorainfra/stack/tls"))
    }

    /// From now on, through the load balancer, with a collector beside it.
    fn traffic(&self, collector: bool) -> Traffic {
        if collector {
            self.run(&["mimir.topology=ha"], &["stack", "up"]).ends_with(0);
        }
        let (at, tls) = self.front();
        let traffic = Traffic::start(at, &tls, collector.then(|| self.deployment.ports()[0]));
        self.deployment.until("traffic flows", || traffic.writes() > 10);
        traffic
    }

    fn run(&self, settings: &[&str], command: &[&str]) -> Run {
        let mut all = vec!["--sandbox", "--json", "--mimir-binary", self.engine.to_str().unwrap()];
        all.extend(self.always);
        settings.iter().for_each(|setting| all.extend(["--set", setting]));
        all.extend(command);
        self.deployment.run(&all)
    }

    fn apply(&self, settings: &[&str]) -> Run {
        self.run(settings, &["apply", "--yes", "--no-stack"])
    }

    fn status(&self, settings: &[&str]) -> Value {
        self.run(settings, &["status"]).ends_with(0).events("result")[0]["result"].clone()
    }

    /// Which members of the ring are in this state, as seen through the load balancer.
    fn ring(&self, state: &str) -> usize {
        let status = self.status(&["mimir.topology=ha"]);
        status["ring"].as_array().unwrap().iter().filter(|member| member["says"] == state).count()
    }
}

#[test]
fn prometheus_cannot_stand_in_for_three() {
    let deployment = Deployment::new();
    let run = |command: &[&str]| {
        let mut all = vec!["--sandbox", "--json", "--set", "mimir.topology=ha"];
        all.extend(command);
        deployment.run(&all)
    };
    run(&["render", "--out", "rendered"]).ends_with(0);
    // Who is in a group is asked by a POST.
    let writes = || deployment.writes().into_iter().filter(|call| !call.ends_with("/listInstances")).count();
    let before = writes();
    for command in [&["plan"][..], &["apply", "--yes"]] {
        let error = run(command).ends_with(1).events("error")[0].to_string();
        assert!(
            error.contains("Prometheus cannot replace three replicas") && error.contains("--mimir-binary"),
            "{error}"
        );
    }
    assert_eq!(writes(), before);
}

#[test]
fn three_replicas_live_from_single_and_back() {
    let replicas = Replicas::new();
    let ha = "mimir.topology=ha";
    let [.., older, _] = dorainfra_config::mimir_versions() else { panic!("one version only") };
    let older = format!("mimir.version={}", older.newest);
    let older = older.as_str();
    replicas.apply(&[older]).ends_with(0);

    // Two more, while the first one serves; then that one joins them.
    let grown = replicas.apply(&[ha, older]).ends_with(0);
    // What is missing is told, and not that it is ready.
    assert!(!grown.stdout.contains("readyno"), "{}", grown.stdout);
    let changed = grown.machines_changed();
    assert_eq!(changed[4..], ["started dorainfra-mimir", "finished dorainfra-mimir"], "{changed:?}");
    let status = replicas.status(&[ha]);
    assert!(status["machines"].as_array().unwrap().iter().all(|one| one["state"] == "ok"), "{status}");
    let names: Vec<&str> =
        status["machines"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ALL);
    assert_eq!(replicas.ring("active"), 3);
    replicas.run(&[ha, older], &["plan", "--no-stack", "--detailed-exitcode"]).ends_with(0);

    // A change goes from one to the next, and so does the next version of Mimir.
    let changed = replicas.apply(&[ha, "mimir.limits.out_of_order_window=500d"]).ends_with(0);
    assert_eq!(changed.machines_changed(), one_after_the_other(ALL));

    // One is made anew; its place behind the load balancer comes back with it.
    let window = "mimir.limits.out_of_order_window=500d";
    let anew = ["apply", "--yes", "--no-stack", "--replace", "compute.instance/dorainfra-mimir-3"];
    replicas.run(&[ha, window], &anew).ends_with(0);
    replicas.run(&[ha, window], &["plan", "--no-stack", "--detailed-exitcode"]).ends_with(0);

    // A zone is away: the endpoint answers, and the next change begins with it.
    let place = "compute/v1/projects/my-gcp/zones/europe-west1-c/instances/dorainfra-mimir-2";
    replicas.deployment.google("POST", &format!("{place}/stop"), "");
    replicas.deployment.until("one is seen to be away", || replicas.ring("unhealthy") == 1);
    // Back to the version before, too.
    let mended = replicas.apply(&[ha, older]).ends_with(0);
    let mended = mended.machines_changed();
    let orders = [[ALL[1], ALL[0], ALL[2]], [ALL[1], ALL[2], ALL[0]]];
    assert!(orders.map(one_after_the_other).contains(&mended), "{mended:?}");
    replicas.deployment.until("all are back", || replicas.ring("active") == 3);

    // What the first one refuses never reaches the others, and all go on.
    let refused = replicas.apply(&[ha, "mimir.limits.out_of_order_window=900d"]).ends_with(1);
    assert_eq!(
        refused.machines_changed(),
        ["started", "failed"]
            .map(|what| format!("{what} {}", ALL[0]))
            .into_iter()
            .chain(ALL[1..].iter().map(|name| format!("skipped {name}")))
            .collect::<Vec<_>>()
    );
    assert_eq!(replicas.ring("active"), 3);
    replicas.apply(&[ha]).ends_with(0);

    // Back to one: what holds data stays, and is taken up again.
    let shrunk = replicas.apply(&[]).ends_with(0);
    let changed = shrunk.machines_changed();
    assert_eq!(changed[..2], ["started dorainfra-mimir", "finished dorainfra-mimir"], "{changed:?}");
    let starts = |name: &str| {
        let disks = replicas.deployment.path().join(".dorainfra/sandbox");
        find(&disks, &format!("{name}/fs/tsdb/starts")).map(|path| std::fs::read_to_string(path).unwrap())
    };
    let before = starts("dorainfra-data-2").expect("the disk is kept").lines().count();
    replicas.apply(&[ha]).ends_with(0);
    assert!(starts("dorainfra-data-2").unwrap().lines().count() > before);
    assert_eq!(replicas.ring("active"), 3);

    replicas.run(&[ha], &["destroy", "--yes", "--delete-data"]).ends_with(0);
    replicas.deployment.until("no machine is left", || {
        !replicas.deployment.processes().iter().any(|process| process.contains("/engine"))
    });
}

/// Whatever is done to replicas on purpose, one after the other, clients notice nothing. Another
/// version, and a machine made anew, in `scripts/nightly` only.
#[test]
fn no_request_is_lost_while_replicas_change() {
    let replicas = Replicas::that_drain();
    let ha = "mimir.topology=ha";
    let window = "mimir.limits.out_of_order_window=500d";
    let [.., older, _] = dorainfra_config::mimir_versions() else { panic!("one version only") };
    let older = format!("mimir.version={}", older.newest);
    #[expect(clippy::disallowed_methods, reason = "the tests' own switch for what takes longer")]
    let nightly = std::env::var_os("NIGHTLY").is_some();
    let first: &[&str] = if nightly { &[ha, &older] } else { &[ha] };
    replicas.apply(first).ends_with(0);
    let traffic = replicas.traffic(true);

    // A change of the configuration, another version of Mimir, and a machine made anew.
    replicas.apply(&[first, &[window]].concat()).ends_with(0);
    if nightly {
        replicas.apply(&[ha, window]).ends_with(0);
        let anew = ["apply", "--yes", "--no-stack", "--replace", "compute.instance/dorainfra-mimir-3"];
        replicas.run(&[ha, window], &anew).ends_with(0);
    }
    // One is shut down, and started again.
    let place = "compute/v1/projects/my-gcp/zones/europe-west1-c/instances/dorainfra-mimir-2";
    replicas.deployment.google("POST", &format!("{place}/stop"), "");
    replicas
        .deployment
        .until("it is down", || replicas.deployment.google("GET", place, "")["status"] == "TERMINATED");
    replicas.deployment.google("POST", &format!("{place}/start"), "");
    replicas.deployment.until("it is back", || replicas.ring("active") == 3);
    let outcome = traffic.stop();
    // Minutes without the drain; on a busy machine more than the 15 s that are aimed at.
    let bound = if nightly { 15.0 } else { 60.0 };
    assert!(outcome.looks > 20 && outcome.behind <= bound, "the collector was {} s behind", outcome.behind);
    nothing_was_lost(&outcome, f64::INFINITY);

    // To one machine: its address is another one, and the load balancer's serves until it is deleted.
    let traffic = replicas.traffic(false);
    replicas.apply(&[window]).ends_with(0);
    let requests = replicas.deployment.control("GET", "requests", None);
    let gone = requests["requests"].as_array().unwrap().iter().rfind(|entry| {
        entry["method"] == "DELETE"
            && entry["path"].as_str().unwrap().contains("/forwardingRules/dorainfra-mimir")
    });
    let gone = gone.expect("it is deleted")["time"].as_str().unwrap();
    let gone = OffsetDateTime::parse(gone, &Rfc3339).unwrap().unix_timestamp_nanos() as f64 / 1e9;
    nothing_was_lost(&traffic.stop(), gone);
}

/// Until this moment, in Unix seconds.
fn nothing_was_lost(outcome: &Outcome, until: f64) {
    let Outcome { writes, queries, repeated, failed, behind, looks } = outcome;
    eprintln!(
        "{writes} writes, {queries} queries, {} of them the second time ({:?} …); the collector at most \
         {behind:.1} s behind in {looks} looks",
        repeated.len(),
        repeated.first()
    );
    let failed: Vec<_> = failed.iter().filter(|(when, _)| *when < until).collect();
    assert!(failed.is_empty(), "{} failed: {:#?}", failed.len(), &failed[..failed.len().min(20)]);
    assert!(*writes > 200 && *queries > 200, "{writes} {queries}");
}

/// Its load balancer asks Mimir's own port for a connection, and its machines tell nothing at
/// another one. Each turn waits until the others are healthy, by whatever check there is then.
#[test]
fn a_health_check_of_an_earlier_release_is_replaced() {
    let replicas = Replicas::new();
    let ha = "mimir.topology=ha";
    let earlier = |template: &str, changes: &[(&str, &str)]| {
        let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates").join(template);
        let mut text = std::fs::read_to_string(own).unwrap();
        for (now, then) in changes {
            assert!(text.contains(now), "{template} has no `{now}`");
            text = text.replace(now, then);
        }
        let path = replicas.deployment.path().join("earlier").join(template);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let check = "type: HTTP\n  httpHealthCheck: {port: {{ health.port }}, requestPath: {{ health.path }}}";
    let changes =
        [("names.readiness", "names.balancer"), (check, "type: TCP\n  tcpHealthCheck: {port: 9009}")];
    earlier("resources/load-balancer.yaml.j2", &changes);
    earlier("resources/network.yaml.j2", &[("health.port | string", "\"9009\"")]);
    let silent = [("/var/lib/dorainfra/current/readiness", "/bin/sleep infinity")];
    earlier("vm/dorainfra-readiness.service.j2", &silent);
    let before = ["mimir.topology=ha", "templates_dir=earlier"];
    replicas.apply(&before).ends_with(0);

    let changed = replicas.apply(&[ha]).ends_with(0).machines_changed();
    assert_eq!(changed, one_after_the_other(ALL));
    replicas.run(&[ha], &["plan", "--no-stack", "--detailed-exitcode"]).ends_with(0);
    let checks = "compute/v1/projects/my-gcp/regions/europe-west1/healthChecks";
    let checks = replicas.deployment.google("GET", checks, "");
    let checks: Vec<&Value> = checks["items"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(checks, ["dorainfra-ready"]);
    // The next change finds all healthy.
    let changed = replicas.apply(&[ha, "mimir.limits.out_of_order_window=500d"]).ends_with(0);
    assert_eq!(changed.machines_changed(), one_after_the_other(ALL));
}

/// Without external addresses the load balancer is an internal one. And one replica's
/// disk is made anew from a snapshot, while the other two keep theirs.
#[test]
fn private_replicas_are_behind_an_internal_balancer_and_one_disk_is_restored() {
    let replicas = Replicas::new();
    let private = ["mimir.topology=ha", "access.external=false", "network.create=true"];
    let google =
        |path: &str| replicas.deployment.google("GET", &format!("compute/v1/projects/my-gcp/{path}"), "");
    replicas.apply(&private).ends_with(0);
    replicas.run(&private, &["plan", "--no-stack", "--detailed-exitcode"]).ends_with(0);
    let rule = google("regions/europe-west1/forwardingRules/dorainfra-mimir");
    assert_eq!(rule["loadBalancingScheme"], "INTERNAL");
    assert!(rule["subnetwork"].as_str().unwrap().ends_with("/subnetworks/dorainfra"), "{rule}");
    let zones = ["europe-west1-b", "europe-west1-c", "europe-west1-d"];
    for (zone, name) in zones.into_iter().zip(ALL) {
        let machine = google(&format!("zones/{zone}/instances/{name}"));
        assert!(machine["networkInterfaces"][0].get("accessConfigs").is_none(), "{machine}");
    }
    let status = replicas.status(&private);
    assert_eq!(status["ring"].as_array().unwrap().len(), 3, "{status}");

    let disk = "compute/v1/projects/my-gcp/zones/europe-west1-c/disks/dorainfra-data-2/createSnapshot";
    replicas.deployment.google("POST", disk, r#"{"name": "before"}"#);
    replicas.deployment.until("snapshot", || google("global/snapshots/before")["status"] == "READY");
    let restore = |word: &str| {
        let restore = ["apply", "--yes", "--no-stack", "--delete-data", "--restore-disk", word];
        replicas.run(&private, &restore)
    };
    let refused = restore("before").ends_with(3);
    assert!(refused.stdout.contains("which one?"), "{}", refused.stdout);
    let restored = restore("dorainfra-data-2=before").ends_with(0);
    let plan = &restored.events("planned")[0]["plan"];
    let replaced = |kind: &str| -> Vec<String> {
        let steps = plan["steps"].as_array().unwrap().iter();
        steps
            .filter(|step| step["action"] == "replace")
            .filter_map(|step| Some(step["id"].as_str()?.strip_prefix(kind)?.to_owned()))
            .collect()
    };
    assert_eq!(replaced("compute.disk/"), ["dorainfra-data-2"]);
    assert_eq!(replaced("compute.instance/"), [ALL[1]]);
    let disk = google("zones/europe-west1-c/disks/dorainfra-data-2");
    assert!(disk["sourceSnapshot"].as_str().unwrap().ends_with("/before"), "{disk}");
    replicas.run(&private, &["plan", "--no-stack", "--detailed-exitcode"]).ends_with(0);
}

/// The same way with a Mimir and with data: each `apply` ends with the proof that
/// every sample of the history is found and that live values pass through.
#[test]
#[ignore = "needs a Mimir (DORAINFRA_MIMIR_BINARY): scripts/nightly"]
fn three_mimirs_lose_nothing() {
    #[expect(clippy::disallowed_methods, reason = "names a Mimir that this machine has")]
    let Some(engine) = std::env::var_os("DORAINFRA_MIMIR_BINARY") else {
        panic!("DORAINFRA_MIMIR_BINARY names no Mimir");
    };
    let replicas = Replicas { deployment: Deployment::new(), engine: engine.into(), always: &[] };
    let apply = |settings: &[&str]| {
        replicas.run(&[&["generator.teams=5"][..], settings].concat(), &["apply", "--yes"])
    };
    let ha = "mimir.topology=ha";
    apply(&[ha, "generator.days=30"]).ends_with(0);
    assert_eq!(replicas.ring("active"), 3);

    // A zone loses power in the middle of ingest. No longer than this: a replica that stops
    // writes each two hours of it to the bucket first.
    let days = "generator.days=100";
    let lost = std::thread::scope(|scope| {
        let longer = scope.spawn(|| apply(&[ha, days]));
        let processes = replicas.deployment.processes();
        let of_the_zone =
            |process: &&String| process.contains("/dorainfra-mimir-2/") && process.contains("engine");
        let engine = processes.iter().find(of_the_zone).expect("the second machine runs").clone();
        let pid = engine.split(' ').next().unwrap();
        assert!(std::process::Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
        longer.join().unwrap()
    });
    lost.ends_with(0);

    // Changed one after the other, while live values arrive; to one machine, and back.
    let rolled = apply(&[ha, days, "mimir.limits.out_of_order_window=500d"]).ends_with(0);
    // The lost one first, if it is not ready again by then.
    let orders = [ALL, [ALL[1], ALL[0], ALL[2]]];
    let rolled = rolled.machines_changed();
    assert!(orders.map(one_after_the_other).contains(&rolled), "{rolled:?}");
    apply(&[days]).ends_with(0);
    apply(&[ha, days]).ends_with(0);
}

/// What clients notice of a change, of three Mimirs.
#[test]
#[ignore = "needs a Mimir (DORAINFRA_MIMIR_BINARY): scripts/nightly"]
fn three_mimirs_that_change_lose_no_request() {
    #[expect(clippy::disallowed_methods, reason = "names a Mimir that this machine has")]
    let Some(engine) = std::env::var_os("DORAINFRA_MIMIR_BINARY") else {
        panic!("DORAINFRA_MIMIR_BINARY names no Mimir");
    };
    let replicas = Replicas { deployment: Deployment::new(), engine: engine.into(), always: &[] };
    let (ha, few) = ("mimir.topology=ha", "generator.teams=5");
    replicas.apply(&[ha, few]).ends_with(0);
    let traffic = replicas.traffic(true);
    replicas.apply(&[ha, few, "mimir.limits.out_of_order_window=7h"]).ends_with(0);
    let outcome = traffic.stop();
    nothing_was_lost(&outcome, f64::INFINITY);
    assert!(outcome.looks > 50 && outcome.behind <= 15.0, "the collector was {} s behind", outcome.behind);
    let (at, tls) = replicas.front();
    let stored = traffic::stored(at, &tls);
    assert!(stored >= outcome.writes, "{} were acknowledged, {stored} are found", outcome.writes);
    // Each shows what it is by itself, under its own name; the collector could not tell them apart.
    let each = "count(count by (instance) (up{job=\"mimir\", instance=~\"dorainfra-mimir(-[23])?\"} == 1
        and on (instance) cortex_ingester_memory_series > 0 and on (instance) dorainfra_replicas == 3))";
    replicas
        .deployment
        .until("three replicas write their own metrics", || traffic::asked(at, &tls, each) == Some(3.0));
    let other = "count(up{job=\"mimir\"}) - count(up{job=\"mimir\", instance=~\"dorainfra-mimir(-[23])?\"})";
    assert_eq!(traffic::asked(at, &tls, other), Some(0.0));
}

/// A file whose path ends so.
fn find(folder: &std::path::Path, end: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.ends_with(end) {
            return Some(path);
        }
        if path.is_dir()
            && !path.is_symlink()
            && let Some(found) = find(&path, end)
        {
            return Some(found);
        }
    }
    None
}
