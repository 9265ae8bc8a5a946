//! A deployment that is fed with real events: `sources` in the configuration
//! take the simulator's place, from the history to the live values.

use crate::deployment::Deployment;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Some deployments of two teams over the last weeks, as a table; ids begin with
/// `prefix`.
fn table(prefix: &str, teams: [&str; 2]) -> String {
    let now = OffsetDateTime::now_utc();
    let at = |hours: i64| (now - time::Duration::hours(hours)).format(&Rfc3339).unwrap();
    let mut rows = vec!["type,id,team,service,at,changes,deployment,failure,kind".to_owned()];
    for (number, team) in (0..20).zip(teams.into_iter().cycle()) {
        let hours = 24 * (20 - number) + 100;
        rows.push(format!("change,{prefix}c{number},{team},api,{},,,,", at(hours + 30)));
        rows.push(format!("deployment,{prefix}d{number},{team},api,{},{prefix}c{number},,,", at(hours)));
    }
    let (noticed, over) = (at(24 * 16 + 99), at(24 * 16 + 97));
    rows.push(format!("failure,{prefix}f,{},api,{noticed},,{prefix}d4,,", teams[0]));
    rows.push(format!("recovery,,,,{over},,{prefix}d6,{prefix}f,"));
    rows.join("\n") + "\n"
}

#[test]
fn real_events_take_the_simulators_place() {
    let deployment = Deployment::new();
    deployment.write("events.csv", &table("a", ["orders", "search"]));
    let configuration =
        "project: my-gcp\ngenerator: {days: 60}\nsources:\n  - {type: file, path: events.csv}\n";
    // One source whose team nobody tells keeps none of the others from being read.
    let nobody = "  - {type: git, path: ., team_from: codeowners}\n";
    deployment.write("dorainfra.yaml", &format!("{configuration}{nobody}"));
    let apply = deployment.run(&["--sandbox", "--json", "apply", "--yes"]).ends_with(0);
    assert!(apply.stdout.contains("there is no CODEOWNERS in it"), "{}", apply.stdout);
    deployment.write("dorainfra.yaml", configuration);
    let result = &apply.events("result")[0]["result"];
    assert_eq!(result["ok"], true, "{result}");
    // Two teams with one service: 60 counters, each with the days' ends; and gauges.
    let samples = |name: &str| result["verified"][name].as_u64().unwrap();
    assert!(samples("samples_sent") > 60 * 61, "{result}");
    assert_eq!(samples("samples_found"), samples("samples_sent"));

    // What is collected later is pushed without anything being started again.
    deployment.write("more.csv", &table("b", ["payments", "search"]));
    let collected = deployment.run(&["--json", "collect", "file", "more.csv"]).ends_with(0);
    let result = &collected.events("result")[0]["result"];
    assert_eq!(result["added"], 42, "{result}");
    let url = format!("http://127.0.0.1:{}/metrics", deployment.ports()[1]);
    deployment.until("both teams are pushed", || {
        let text = std::process::Command::new("curl").args(["-fsS", &url]).output().unwrap().stdout;
        let text = String::from_utf8_lossy(&text);
        ["orders", "payments"].iter().all(|team| text.contains(&format!("team=\"{team}\"")))
    });
    deployment.run(&["--sandbox", "destroy", "--yes", "--delete-data"]).ends_with(0);
}

#[test]
fn a_wrong_source_is_told_with_its_place_before_anything_is_called() {
    let deployment = Deployment::empty();
    deployment.write(
        "dorainfra.yaml",
        "project: my-gcp
sources:
  - type: git
    path: ../shop
    tag: v*
  - {type: github, tokens_file: x}
  - {type: svn}
  - {type: gitlab, project: \"https://gitlab.com/a/b\", incident_labels: incident}
  - {type: git, path: x, tags: v*, branch: main}
  - path: x
",
    );
    let said = deployment.run(&["collect"]).ends_with(3);
    insta::assert_snapshot!(said.stderr);
}

/// Each would have deleted the other's events in every round.
#[test]
fn two_sources_of_one_service_are_refused_with_their_lines() {
    let deployment = Deployment::empty();
    deployment.write(
        "dorainfra.yaml",
        "project: my-gcp
sources:
  - {type: github, project: example/shop}
  - {type: file, path: incidents.csv}
  - {type: git, path: ../clone, team: example, service: shop}
  - {type: github, project: example/shop, environment: staging}
  - {type: github, project: example/shop, environment: staging, service: shop-staging}
",
    );
    let said = deployment.run(&["collect"]).ends_with(3).stderr;
    assert!(said.contains("dorainfra.yaml:5:") && said.contains("dorainfra.yaml:6:"), "{said}");
    assert_eq!(said.matches("the other is in line 3").count(), 2, "{said}");
    assert!(!said.contains("dorainfra.yaml:7:") && !said.contains("dorainfra.yaml:4:"), "{said}");
}
