//! The whole main job on a Debian under its own systemd, started by Google's
//! guest agent: fed while it reboots, its engine killed, its disk filled, its
//! configuration broken and changed, its sandbox killed.
//!
//! Needs root and what `scripts/setup --tests` installs for root.

use crate::coverage;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::Command;

use crate::booted::{Host, Machine, connects, is_skipped};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const NAME: &str = "dorainfra-mimir";
/// What the good configuration changes.
const WINDOW: &str = "mimir.limits.out_of_order_window=500d";

#[test]
fn a_debian_machine_does_the_whole_job_and_survives_what_happens_to_machines() {
    if is_skipped() {
        return;
    }
    let host = Host::new();
    let machine = host.machine(NAME);
    let first = the_machine_reboots_while_it_is_fed(machine);
    what_the_guest_agent_asks_is_served(machine);
    only_what_a_rule_allows_gets_through(machine);
    a_disk_comes_and_goes_while_the_machine_runs(machine);
    the_engine_is_killed_and_comes_back(machine);
    a_full_disk_is_told_and_recovers(machine);
    assert_eq!(machine.boot_id(), first, "nothing of this needs a reboot");
    a_broken_configuration_is_rolled_back_and_a_good_one_installed(machine);
    a_certificate_is_the_engines_to_read_and_nobodys_to_change(machine);
    assert_eq!(machine.boot_id(), first, "nothing of this needs a reboot");
    coverage::holds("guest-agent", &asked_by_google(machine));
    ready_from_before_a_reboot_is_not_believed(machine);
    a_killed_sandbox_leaves_nothing_and_goes_on(machine);
    machine.run(&["destroy", "--yes", "--delete-data"]).ends_with(0);
    machine.deployment.run(&["sandbox", "stop"]).ends_with(0);
    assert_eq!(machine.traces(), Vec::<String>::new());
}

/// Answers the boot id after it.
fn the_machine_reboots_while_it_is_fed(machine: Machine<'_>) -> String {
    let mut apply = machine.deployment.spawn(&["--sandbox", "--json", "apply", "--yes"]);
    let mut lines = BufReader::new(apply.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut seen = String::new();
    // The history is being written.
    let progress = |event: &Value| event["type"] == "progress" && event["unit"] == "samples";
    for line in lines.by_ref() {
        let event: Value = serde_json::from_str(&line).unwrap();
        seen += &format!("{line}\n");
        if progress(&event) {
            break;
        }
    }
    let before = machine.try_inside("cat /proc/sys/kernel/random/boot_id");
    assert!(before.is_some(), "no machine runs\n{seen}\n{}", machine.serial());
    machine.inside("systemctl reboot");
    let rest: Vec<String> = lines.collect();
    let code = apply.wait().unwrap().code();
    let told = |event: &&String| event.contains("every sample of the history is stored");
    let missing = rest.iter().find(told).is_some_and(|check| check.contains(" missing"));
    let result: Value = if code == Some(6) && missing {
        // What stands in is to blame: Prometheus 2.42 answers for samples out of order whose
        // log it could not write while it stopped (tsdb/head_append.go, Commit: that error is
        // only logged). It is seen, and does what it is told to do about it.
        machine.run(&["apply", "--yes"]).ends_with(0).events("result")[0].clone()
    } else {
        assert_eq!(code, Some(0), "{seen}{}\n{}", rest.join("\n"), machine.serial());
        serde_json::from_str(rest.last().unwrap()).unwrap()
    };
    let verified = &result["result"]["verified"];
    let number = |a: &str, b: &str| verified[a].as_u64().or(verified[b].as_u64());
    let sent = number("samplesSent", "samples_sent");
    assert!(sent.is_some_and(|sent| sent > 400_000), "{result}");
    assert_eq!(number("samplesFound", "samples_found"), sent, "an acknowledged sample is lost");
    let after = machine.boot_id();
    assert_ne!(Some(&after), before.as_ref(), "it has not rebooted");
    after
}

fn what_the_guest_agent_asks_is_served(machine: Machine<'_>) {
    let asked = machine.deployment.control("GET", "metadata", None);
    let asked = asked["requests"].as_array().unwrap();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
    let served = |method: &str, path: &str, parts: &[&str]| {
        let mut found = asked.iter().filter(|entry| {
            let (agent, whole) = (text(entry, "agent"), text(entry, "path"));
            // Google's programs are written in Go; our own scripts use curl.
            !agent.starts_with("curl")
                && entry["method"] == method
                && whole.split('?').next().unwrap().trim_end_matches('/').ends_with(path)
                && parts.iter().all(|part| whole.contains(part))
        });
        assert!(found.any(|entry| entry["status"] == 200), "{method} {path} {parts:?}: {asked:#?}");
    };
    served(
        "GET",
        "/computeMetadata/v1",
        &["recursive=true", "alt=json", "wait_for_change=true", "last_etag=", "timeout_sec="],
    );
    served("GET", "/instance/attributes", &["recursive=true", "alt=json"]);
    served("PUT", "/guest-attributes/guest-agent/sshable", &[]);
    // Our own scripts ask for items that nobody may have set.
    let optional = |entry: &Value| {
        let path = text(entry, "path");
        // And guest attributes are limited, and lost beyond that.
        entry["status"] == 404 && path.contains("/dorainfra-") || path.ends_with("/dorainfra/status")
    };
    let refused: Vec<&Value> =
        asked.iter().filter(|entry| entry["status"].as_u64() >= Some(400) && !optional(entry)).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    // What the agent does not ask, asked from inside.
    let status = |headers: &[&str], path: &str| {
        let headers: String = headers.iter().map(|header| format!("-H '{header}' ")).collect();
        let url = format!("http://metadata.google.internal/computeMetadata/v1/instance/{path}");
        machine.inside(&format!("curl -s -o /dev/null -w '%{{http_code}}' {headers} '{url}'"))
    };
    let flavor = "Metadata-Flavor: Google";
    assert_eq!(status(&[flavor], "?recursive=true&alt=text"), "200");
    assert_eq!(status(&[], "id"), "403", "without the header");
    assert_eq!(status(&[flavor, "X-Forwarded-For: 10.0.0.1"], "id"), "403");
    assert_eq!(status(&[flavor], "service-accounts/default/token"), "200");
    let identity = "service-accounts/default/identity?audience=https://example.com";
    assert_eq!(status(&[flavor], identity), "200");
    let script = "curl -s -D - -o /dev/null -H 'Metadata-Flavor: Google' http://metadata/computeMetadata/v1/instance/id";
    assert!(machine.inside(script).to_lowercase().contains("metadata-flavor: google"));
    // The startup script that ran is the one in the metadata, to the byte.
    let startup = machine.inside(
        "curl -sf -H 'Metadata-Flavor: Google' \
         http://metadata/computeMetadata/v1/instance/attributes/startup-script | sha256sum | cut -d' ' -f1",
    );
    let rendered = machine.deployment.path().join("rendered");
    machine.run(&["render", "--out", rendered.to_str().unwrap()]).ends_with(0);
    let script = std::fs::read(rendered.join("vm/startup-script.sh")).unwrap();
    assert_eq!(startup, hex::encode(Sha256::digest(script)));
    assert!(machine.console().contains("startup-script: dorainfra: ready"), "{}", machine.serial());
}

/// What Google's programs on it have asked the metadata server and were answered.
fn asked_by_google(machine: Machine<'_>) -> BTreeSet<String> {
    let asked = machine.deployment.control("GET", "metadata", None);
    let entries = asked["requests"].as_array().unwrap().iter();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
    let theirs = entries.filter(|entry| entry["status"] == 200 && !text(entry, "agent").starts_with("curl"));
    theirs
        .map(|entry| {
            let path = text(entry, "path");
            let path = path.split('?').next().unwrap().trim_start_matches("/computeMetadata/v1");
            format!("metadata.{} /{}", text(entry, "method"), path.trim_matches('/'))
        })
        .collect()
}

fn only_what_a_rule_allows_gets_through(machine: Machine<'_>) {
    let address = machine.inside(
        "curl -sf -H 'Metadata-Flavor: Google' \
         http://metadata/computeMetadata/v1/instance/network-interfaces/0/ip",
    );
    assert_eq!(connects(&address, 9009), Some(true));
    // 22 is open to Google's proxy only, and 9095 to nobody: silence, not a refusal.
    assert_eq!(connects(&address, 22), None);
    assert_eq!(connects(&address, 9095), None);
    // A rule that goes takes effect while the machine runs, and one that comes.
    let rules = "compute/v1/projects/my-gcp/global/firewalls";
    machine.deployment.google("PATCH", &format!("{rules}/{NAME}"), r#"{"disabled": true}"#);
    machine.until("9009 is closed", || connects(&address, 9009).is_none());
    machine.deployment.google("PATCH", &format!("{rules}/{NAME}"), r#"{"disabled": false}"#);
    machine.until("9009 is open", || connects(&address, 9009) == Some(true));
    // Nothing beyond the sandbox is reached: neither the host's services nor the world.
    let host = address.rsplit_once('.').map(|(net, _)| format!("{net}.1")).unwrap();
    let port = machine.deployment.port();
    for url in [format!("http://{host}:{port}/"), "http://192.0.2.1/".into()] {
        let fails = machine.inside(&format!("curl -s -m 5 {url} >/dev/null && echo reached || echo refused"));
        assert_eq!(fails, "refused", "{url}");
    }
}

fn a_disk_comes_and_goes_while_the_machine_runs(machine: Machine<'_>) {
    let aggregated = machine.deployment.google("GET", "compute/v1/projects/my-gcp/aggregated/instances", "");
    let zones = aggregated["items"].as_object().unwrap().iter();
    let zone = zones.filter(|(_, scope)| scope["instances"].is_array()).map(|(zone, _)| zone).next().unwrap();
    let base = format!("compute/v1/projects/my-gcp/{zone}");
    machine.deployment.google("POST", &format!("{base}/disks"), r#"{"name": "extra", "sizeGb": "10"}"#);
    let ready = || machine.deployment.google("GET", &format!("{base}/disks/extra"), "")["status"] == "READY";
    machine.until("the disk is made", ready);
    let body = format!(r#"{{"source": "projects/my-gcp/{zone}/disks/extra", "deviceName": "extra"}}"#);
    machine.deployment.google("POST", &format!("{base}/instances/{NAME}/attachDisk"), &body);
    let disk = "/dev/disk/by-id/google-extra";
    machine.until("the disk is attached", || machine.try_inside(&format!("[ -b {disk} ]")).is_some());
    assert_eq!(machine.inside(&format!("blockdev --getsize64 {disk}")), (10u64 << 30).to_string());
    machine
        .inside(&format!("mkfs.ext4 -q {disk} && mount {disk} /mnt && echo kept >/mnt/file && umount /mnt"));
    machine.deployment.google("POST", &format!("{base}/instances/{NAME}/detachDisk?deviceName=extra"), "");
    machine.until("the disk is detached", || machine.try_inside(&format!("[ ! -e {disk} ]")).is_some());
    let free = || machine.deployment.google("GET", &format!("{base}/disks/extra"), "")["users"].is_null();
    machine.until("nobody uses the disk", free);
    machine.deployment.google("DELETE", &format!("{base}/disks/extra"), "");
}

fn the_engine_is_killed_and_comes_back(machine: Machine<'_>) {
    machine.inside("kill -KILL \"$(systemctl show --property MainPID --value mimir.service)\"");
    machine.until("the engine is started again", || {
        let state =
            machine.try_inside("systemctl show --property NRestarts,ActiveState --value mimir.service");
        state.is_some_and(|state| state.contains("active") && !state.lines().any(|line| line == "0"))
    });
}

fn a_full_disk_is_told_and_recovers(machine: Machine<'_>) {
    let data = "/var/lib/dorainfra/data";
    let fill = format!(
        "free=$(df --output=avail --block-size=1 {data} | tail -n 1); fallocate -l \"$free\" {data}/filler"
    );
    machine.inside(&format!("{fill} || true; sync"));
    // What comes live is refused, with its reason; what is there can be read.
    machine.until("the full disk is told", || machine.console().contains("no space left on device"));
    // The stand-in may end over it, again and again: nobody gives it up.
    assert_ne!(machine.inside("systemctl show --property ActiveState --value mimir.service"), "failed");
    machine.inside(&format!("rm {data}/filler"));
    machine.verified("there is room again");
}

fn a_broken_configuration_is_rolled_back_and_a_good_one_installed(machine: Machine<'_>) {
    let folder = machine.deployment.path().join("broken/vm");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("standin-prometheus.yml.j2"), "no_such_key: true\n").unwrap();
    let broken =
        machine.run(&["--set", "templates_dir=broken", "apply", "--yes", "--no-verify"]).ends_with(1);
    let stages = broken.events("machine-stage");
    assert!(stages.iter().any(|event| event["stage"] == "rolled-back"), "{}", broken.stdout);
    assert!(machine.inside("systemctl is-active mimir.service") == "active");
    machine.run(&["--set", WINDOW, "apply", "--yes", "--no-verify"]).ends_with(0);
    assert!(machine.inside("cat /var/lib/dorainfra/current/standin-prometheus.yml").contains("500d"));
}

/// Owner, group and mode of what is served, and that the engine's account reads it.
fn only_the_engine_reads_its_certificate(machine: Machine<'_>) {
    let home = "/var/lib/dorainfra";
    let stat =
        machine.inside(&format!("cd {home} && stat --format '%U:%G %a' certificates tls/. tls/server.key"));
    assert_eq!(stat, "root:mimir 750\nroot:mimir 750\nroot:mimir 640");
    let as_user = |user: &str, test: &str| {
        let script =
            format!("setpriv --reuid={user} --regid={user} --clear-groups test {test} {home}/tls/server.key");
        machine.try_inside(&script).is_some()
    };
    assert!(as_user("mimir", "-r") && !as_user("mimir", "-w"));
    assert!(!as_user("games", "-r"));
}

fn a_certificate_is_the_engines_to_read_and_nobodys_to_change(machine: Machine<'_>) {
    only_the_engine_reads_its_certificate(machine);
    let served = || machine.inside("cat /var/lib/dorainfra/tls/version");
    let before = served();
    // A new one, which the agent installs without the right to change owners.
    let capabilities = "systemctl show --property CapabilityBoundingSet --value dorainfra-agent.service";
    assert_eq!(machine.inside(capabilities), "cap_dac_read_search");
    machine.run(&["--set", WINDOW, "credentials", "issue", "ops", "--out", "ops", "--yes"]).ends_with(0);
    assert_ne!(served(), before);
    only_the_engine_reads_its_certificate(machine);
    // As machines of earlier versions have it; the next boot is to mend that.
    machine.inside("chown -R mimir:mimir /var/lib/dorainfra/certificates && chmod -R g=,o= /var/lib/dorainfra/certificates");
}

/// The machine reboots itself: the API knows nothing of it.
fn ready_from_before_a_reboot_is_not_believed(machine: Machine<'_>) {
    let address = machine.inside(
        "curl -sf -H 'Metadata-Flavor: Google' \
         http://metadata/computeMetadata/v1/instance/network-interfaces/0/ip",
    );
    let boots = || machine.console().matches(&format!("kernel: {NAME} boots")).count();
    let before = boots();
    machine.inside("systemctl reboot");
    machine.until("it boots again", || boots() > before);
    assert!(machine.console().contains("dorainfra: stopping: "), "{}", machine.serial());
    machine.run(&["--set", WINDOW, "apply", "--yes", "--no-stack"]).ends_with(0);
    assert_eq!(connects(&address, 9009), Some(true), "told to be ready\n{}", machine.serial());
}

fn a_killed_sandbox_leaves_nothing_and_goes_on(machine: Machine<'_>) {
    let before = machine.boot_id();
    let killed = Command::new("kill").args(["-KILL", &machine.sandbox_pid()]).status().unwrap();
    assert!(killed.success());
    machine.until("the guard has taken everything away", || machine.traces().is_empty());
    machine.start_sandbox();
    machine.until("it boots again", || machine.try_inside("systemctl is-active mimir.service").is_some());
    assert_ne!(machine.boot_id(), before);
    machine.verified("the sandbox was killed");
    only_the_engine_reads_its_certificate(machine);
}
