//! `topology: ha` on three machines that boot a Debian of their own, behind a load
//! balancer that passes packets on and a firewall that holds.
//!
//! Needs root and what `scripts/setup --tests` installs for root. A small engine takes
//! Mimir's place; with a Mimir in `DORAINFRA_MIMIR_BINARY`, it goes the same way, with data.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::booted::{Host, connects, is_skipped};
use crate::deployment::{Run, one_after_the_other};
use crate::traffic::Traffic;
use serde_json::Value;

const ENGINE: &str = include_str!("../support/engine.py");
const ALL: [&str; 3] = ["dorainfra-mimir", "dorainfra-mimir-2", "dorainfra-mimir-3"];
const ZONES: [&str; 3] = ["europe-west1-b", "europe-west1-c", "europe-west1-d"];
/// Few: a replica that restarts writes each two hours of them to the bucket first.
const DAYS: &str = "generator.days=60";
const PROJECT: &str = "compute/v1/projects/my-gcp";

struct Replicas {
    host: Host,
    /// Whether a Mimir takes data.
    is_mimir: bool,
}

impl Replicas {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "names a Mimir that this machine has")]
        let mimir = std::env::var_os("DORAINFRA_MIMIR_BINARY").map(PathBuf::from);
        let host = Host::new();
        let engine = mimir.clone().unwrap_or_else(|| {
            let engine = host.deployment.write("engine", ENGINE);
            std::fs::set_permissions(&engine, std::fs::Permissions::from_mode(0o755)).unwrap();
            engine
        });
        let mut host =
            host.always(&["--mimir-binary", engine.to_str().unwrap(), "--set", "mimir.topology=ha"]);
        if mimir.is_none() {
            // It has no ruler.
            host = host.always(&["--set", "alerts.rules=false"]);
        }
        Self { host, is_mimir: mimir.is_some() }
    }

    fn apply(&self, settings: &[&str]) -> Run {
        let mut all = vec!["apply", "--yes"];
        if self.is_mimir {
            all.extend(["--set", "generator.teams=5"]);
        } else {
            all.push("--no-stack");
        }
        settings.iter().for_each(|setting| all.extend(["--set", setting]));
        self.host.run(&all)
    }

    fn google(&self, method: &str, path: &str, body: &str) -> Value {
        self.host.deployment.google(method, &format!("{PROJECT}/{path}"), body)
    }

    /// Which members of the ring are in this state, as seen through the load balancer.
    fn ring(&self, state: &str) -> usize {
        let run = self.host.run(&["status"]);
        if run.code != 0 {
            return 0;
        }
        let status = &run.events("result")[0]["result"];
        status["ring"].as_array().into_iter().flatten().filter(|member| member["says"] == state).count()
    }

    /// From now on, through the load balancer.
    fn traffic(&self) -> Traffic {
        let rule = self.google("GET", "regions/europe-west1/forwardingRules/dorainfra-mimir", "");
        let at = SocketAddr::new(rule["IPAddress"].as_str().unwrap().parse().unwrap(), 9009);
        let tls = self.host.deployment.path().join(".dorainfra/dorainfra/stack/tls");
        let traffic = Traffic::start(at, &tls, Some(self.host.deployment.ports()[0]));
        self.host.until("traffic flows", || traffic.writes() > 10);
        traffic
    }

    /// How many backends pass their health check.
    fn healthy(&self) -> usize {
        let services = "regions/europe-west1/backendServices/dorainfra-mimir/getHealth";
        let of = |zone: &str, name: &str| {
            let group = format!(r#"{{"group": "projects/my-gcp/zones/{zone}/instanceGroups/{name}"}}"#);
            self.google("POST", services, &group)["healthStatus"][0]["healthState"] == "HEALTHY"
        };
        ZONES.into_iter().zip(ALL).filter(|(zone, name)| of(zone, name)).count()
    }
}

#[test]
#[ignore = "takes minutes: scripts/nightly"]
fn three_machines_behind_a_load_balancer_that_passes_packets_on() {
    if is_skipped() {
        return;
    }
    let replicas = Replicas::new();
    let host = &replicas.host;
    replicas.apply(&["generator.days=20"]).ends_with(0);
    // The guest agents take a moment to make the load balancer's address their own.
    host.until("all answer there", || replicas.ring("active") == 3);
    packets_arrive_as_they_were_sent(&replicas);
    only_health_checkers_and_clients_get_through(&replicas);
    a_zone_is_lost(&replicas);

    // One after the other, each ready before the next begins, and clients notice nothing.
    let window = "mimir.limits.out_of_order_window=500d";
    if !replicas.is_mimir {
        host.run(&["stack", "up"]).ends_with(0);
    }
    let traffic = replicas.traffic();
    let rolled = replicas.apply(&[DAYS, window]).ends_with(0).machines_changed();
    // The lost one first, if it is not ready again by then.
    let orders = [ALL, [ALL[1], ALL[0], ALL[2]], [ALL[1], ALL[2], ALL[0]]];
    assert!(orders.map(one_after_the_other).contains(&rolled), "{rolled:?}");
    assert_eq!(replicas.ring("active"), 3);
    // Nor when somebody reboots one.
    host.machine(ALL[2]).inside("systemctl --no-block reboot");
    host.until("it goes down", || replicas.healthy() == 2);
    host.until("it is back", || replicas.ring("active") == 3 && replicas.healthy() == 3);
    let outcome = traffic.stop();
    assert!(outcome.writes > 100 && outcome.queries > 100, "{outcome:?}");
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    assert!(outcome.looks > 20 && outcome.behind <= 15.0, "{} s behind", outcome.behind);
    assert!(!host.console().contains("mimir.service: State 'stop-sigterm' timed out"));

    host.run(&["destroy", "--yes", "--delete-data"]).ends_with(0);
    host.deployment.run(&["sandbox", "stop"]).ends_with(0);
    assert_eq!(host.traces(), Vec::<String>::new());
}

/// What is for the load balancer arrives with its address, which each machine has to know as
/// one of its own: Google's guest agent reads it from the metadata.
fn packets_arrive_as_they_were_sent(replicas: &Replicas) {
    let address = replicas.google("GET", "regions/europe-west1/forwardingRules/dorainfra-mimir", "");
    let address = address["IPAddress"].as_str().unwrap();
    for name in ALL {
        let machine = replicas.host.machine(name);
        let local = machine.inside("ip route show table local");
        assert!(local.contains(&format!("local {address} ")), "{name}: {local}");
    }
    // A client is seen as itself: the connection is one of its own with the machine.
    assert_eq!(connects(address, 9009), Some(true));
    for closed in [22, 7946, 9010, 9095] {
        assert_eq!(connects(address, closed), None, "{closed}");
    }
}

fn only_health_checkers_and_clients_get_through(replicas: &Replicas) {
    let host = &replicas.host;
    host.until("all are healthy", || replicas.healthy() == 3);
    let rule = "global/firewalls/dorainfra-health";
    replicas.google("PATCH", rule, r#"{"disabled": true}"#);
    host.until("no health checker gets through", || replicas.healthy() == 0);
    // With none healthy, all are tried, as at Google.
    assert_eq!(replicas.ring("active"), 3);
    replicas.google("PATCH", rule, r#"{"disabled": false}"#);
    host.until("health checkers get through", || replicas.healthy() == 3);
    // A health check needs no certificate, and is told nothing but whether Mimir is ready.
    let asked = |path: &str| {
        let ask = format!("curl -s -w ' %{{http_code}}' http://127.0.0.1:9010{path}");
        host.machine(ALL[1]).inside(&ask)
    };
    assert_eq!((asked("/ready").as_str(), asked("/metrics").as_str()), ("ready\n 200", "not found\n 404"));
    // What the replicas tell each other, nobody else hears.
    let own = "curl -sf -H 'Metadata-Flavor: Google' \
               http://metadata/computeMetadata/v1/instance/network-interfaces/0/ip";
    let [first, second] = [ALL[0], ALL[1]].map(|name| host.machine(name).inside(own));
    assert_eq!(connects(&first, 9010), None);
    for port in [7946, 9095] {
        assert_eq!(connects(&first, port), None, "{port}");
        // Taken or refused, but not kept out: 124 is the word for silence.
        let script = format!("timeout 3 bash -c '</dev/tcp/{second}/{port}' 2>/dev/null || echo $?");
        assert_ne!(host.machine(ALL[0]).inside(&script), "124", "{port}");
    }
}

fn a_zone_is_lost(replicas: &Replicas) {
    let host = &replicas.host;
    let lost = format!("zones/{}/instances/{}", ZONES[1], ALL[1]);
    if replicas.is_mimir {
        // In the middle of ingest: every acknowledged sample is found afterwards.
        let longer = std::thread::scope(|scope| {
            let longer = scope.spawn(|| replicas.apply(&[DAYS]));
            replicas.google("POST", &format!("{lost}/reset"), "");
            longer.join().unwrap()
        });
        longer.ends_with(0);
    } else {
        replicas.google("POST", &format!("{lost}/stop"), "");
        host.until("one is seen to be away", || replicas.ring("unhealthy") == 1);
        assert_eq!(replicas.healthy(), 2);
        replicas.google("POST", &format!("{lost}/start"), "");
    }
    host.until("all are back", || replicas.ring("active") == 3 && replicas.healthy() == 3);
}
