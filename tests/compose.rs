//! The Compose stack on a real Docker engine: the main job in a sandbox, with the
//! collector in containers. Grafana has no image that could be built here, and is
//! left out. Run by `scripts/test docker`, which sees to engine and images.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod deployment;

use std::process::Command;

use deployment::Deployment;

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

#[test]
#[ignore = "needs a Docker engine: scripts/test docker"]
fn the_main_job_runs_in_containers() {
    let deployment = Deployment::new();
    let name = format!("compose-{}", deployment.port());
    let run = |arguments: &[&str]| {
        let name = format!("name={name}");
        let settings = [
            "stack.runtime=compose",
            "stack.grafana=none",
            "stack.images.pushgateway=prom/pushgateway:debian",
            "stack.images.prometheus=prom/prometheus:debian",
            &name,
        ];
        let settings = settings.map(|setting| ["--set", setting]).concat();
        deployment.run(&[&["--sandbox"], &settings[..], arguments].concat())
    };
    run(&["apply", "--yes"]).ends_with(0);
    let status = run(&["stack", "status"]).ends_with(0).stdout;
    for service in ["generator", "prometheus", "pushgateway"] {
        assert!(status.contains(&format!("✓  {service}")), "{status}");
        let id = docker(&["ps", "--quiet", "--filter", &format!("name={name}.*{service}")]);
        let inspect = |format: &str| docker(&["inspect", "--format", format, id.trim()]);
        assert!(!inspect("{{.Config.User}}").starts_with("0"), "{service} is not root");
        assert_eq!(inspect("{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}").trim(), "true [ALL]");
        let limits = inspect("{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}");
        assert!(
            limits.split_whitespace().all(|limit| limit.parse::<u64>().unwrap() > 0),
            "{service}: {limits}"
        );
        let bound = inspect("{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{end}}{{end}}");
        assert!(bound.split_whitespace().all(|ip| ip == "127.0.0.1"), "{service}: {bound}");
    }
    assert!(run(&["stack", "logs"]).ends_with(0).stdout.contains("prometheus: "));

    // Again: nothing is made anew.
    let before = docker(&["ps", "--quiet", "--filter", &format!("name={name}")]);
    run(&["stack", "up"]).ends_with(0);
    assert_eq!(docker(&["ps", "--quiet", "--filter", &format!("name={name}")]), before);

    run(&["verify"]).ends_with(0);
    run(&["destroy", "--yes", "--delete-data"]).ends_with(0);
    assert_eq!(left(&name), Vec::<String>::new());
}
