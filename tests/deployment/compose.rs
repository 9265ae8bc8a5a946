//! The Compose stack on a real Docker engine: the main job in a sandbox, with the
//! collector in containers. Grafana has no image that could be built here, and is
//! left out. Run by `scripts/test docker`, which sees to engine and images.

use std::process::Command;

use crate::deployment::Deployment;

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything of a deployment's stack that the engine has.
fn left(name: &str) -> Vec<String> {
    let filter = format!("label=com.docker.compose.project={name}");
    let containers = docker(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]);
    let networks = docker(&["network", "ls", "--filter", &filter, "--format", "{{.Name}}"]);
    containers.lines().chain(networks.lines()).map(str::to_owned).collect()
}

/// Each container of a deployment is one that can do no harm.
fn confined(name: &str, service: &str) {
    let id = docker(&["ps", "--quiet", "--filter", &format!("name={name}.*{service}")]);
    let inspect = |format: &str| docker(&["inspect", "--format", format, id.trim()]);
    assert!(!inspect("{{.Config.User}}").starts_with('0'), "{service} is not root");
    assert_eq!(inspect("{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}").trim(), "true [ALL]");
    let limits = inspect("{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}");
    assert!(limits.split_whitespace().all(|limit| limit.parse::<u64>().unwrap() > 0), "{service}: {limits}");
    let bound = inspect("{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{end}}{{end}}");
    assert!(bound.split_whitespace().all(|ip| ip == "127.0.0.1"), "{service}: {bound}");
}

/// What the agent says of the target of one job: `up`, once it has scraped it.
fn health(port: u16, job: &str) -> String {
    let url = format!("http://127.0.0.1:{port}/api/v1/targets?state=active");
    let output = Command::new("curl").args(["-sS", "--fail", &url]).output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let targets = answer["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
    let ours = targets.iter().find(|target| target["labels"]["job"] == job);
    ours.and_then(|target| target["health"].as_str()).unwrap_or("absent").to_owned()
}

#[test]
#[ignore = "needs a Docker engine: scripts/test docker"]
fn the_main_job_runs_in_containers_by_each_way_of_live_values() {
    let deployment = Deployment::new();
    let name = format!("compose-{}", deployment.port());
    // A user's own job, with a file that the collector's container has to find.
    let [agent, ..] = deployment.ports();
    deployment.write("scrape.yaml", "- job_name: own\n  file_sd_configs: [{files: ['targets-*.json']}]\n");
    deployment.write("targets-1.json", &format!("[{{\"targets\": [\"127.0.0.1:{agent}\"]}}]"));
    let run = |live: &str, arguments: &[&str]| {
        let settings = [
            "stack.runtime=compose",
            "stack.grafana=none",
            "stack.images.pushgateway=prom/pushgateway:debian",
            "stack.images.prometheus=prom/prometheus:debian",
            "stack.scrape_jobs=scrape.yaml",
            &format!("name={name}"),
            &format!("stack.live={live}"),
        ];
        let settings = settings.map(|setting| ["--set", setting]).concat();
        deployment.run(&[&["--sandbox"], &settings[..], arguments].concat())
    };
    let containers = || docker(&["ps", "--quiet", "--filter", &format!("name={name}")]);
    for (live, services) in [
        ("pushgateway", &["generator", "prometheus", "pushgateway"][..]),
        ("scrape", &["generator", "prometheus"]),
        ("remote-write", &["generator", "prometheus"]),
    ] {
        // The proof at its end sees live values arrive by this way.
        run(live, &["apply", "--yes"]).ends_with(0);
        let status = run(live, &["stack", "status"]).ends_with(0).stdout;
        assert_eq!(containers().lines().count(), services.len(), "{live}: {status}");
        for service in services {
            assert!(status.contains(&format!("✓  {service}")), "{live}: {status}");
            confined(&name, service);
        }
        deployment.until("the user's own job is scraped", || health(agent, "own") == "up");
        let live_job = if live == "remote-write" { "absent" } else { "up" };
        assert_eq!(health(agent, "live"), live_job, "{live}");

        // Again: nothing is made anew.
        let before = containers();
        run(live, &["stack", "up"]).ends_with(0);
        assert_eq!(containers(), before, "{live}");
    }
    let logs = run("remote-write", &["stack", "logs"]).ends_with(0).stdout;
    assert!(logs.contains("prometheus | ") && logs.contains("generator | "), "{logs}");

    run("remote-write", &["destroy", "--yes", "--delete-data"]).ends_with(0);
    assert_eq!(left(&name), Vec::<String>::new());
}
