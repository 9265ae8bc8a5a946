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

/// One more deployment, of an hour ago: it counts in some days.
fn later(prefix: &str, team: &str) -> String {
    let now = OffsetDateTime::now_utc();
    let at = |hours: i64| (now - time::Duration::hours(hours)).format(&Rfc3339).unwrap();
    format!(
        "change,{prefix}new,{team},api,{},,,,\ndeployment,{prefix}new,{team},api,{},{prefix}new,,,\n",
        at(2),
        at(1)
    )
}

#[test]
fn real_events_take_the_simulators_place() {
    let deployment = Deployment::new();
    let told = table("a", ["orders", "search"]);
    deployment.write("events.csv", &told);
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

    // What they tell since is in the plan, and nothing of it is kept by that.
    let plan = |expected| {
        deployment.run(&["--sandbox", "--json", "plan", "--detailed-exitcode"]).ends_with(expected)
    };
    let steps = |run: &crate::deployment::Run| run.events("planned")[0]["feed"].as_array().unwrap().clone();
    let changes = |run: &crate::deployment::Run| -> Vec<String> {
        let steps = steps(run).into_iter().filter(|step| step["action"] != "no-op");
        steps.map(|step| format!("{} {}", step["what"], step["reason"]).replace('"', "")).collect()
    };
    deployment.write("events.csv", &(told + &later("a", "orders")));
    for _ in 0..2 {
        let shown = changes(&plan(2));
        assert!(
            shown[0].starts_with("sources ") && shown[0].contains("2 events added, 0 changed"),
            "{shown:?}"
        );
        assert!(shown[1].starts_with("history events were collected since"), "{shown:?}");
    }
    deployment.run(&["--sandbox", "apply", "--yes"]).ends_with(0);
    assert_eq!(changes(&plan(0)), [""; 0]);
    let left = std::fs::read_dir(deployment.path().join(".dorainfra/dorainfra")).unwrap();
    assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with("ahead")));

    // What is collected later is pushed without anything being started again.
    deployment.write("more.csv", &table("b", ["payments", "search"]));
    let fed = ".dorainfra/dorainfra/events/events.jsonl";
    let collected = deployment.run(&["--json", "collect", "file", "more.csv", "--events", fed]).ends_with(0);
    let result = &collected.events("result")[0]["result"];
    assert_eq!(result["added"], 42, "{result}");
    let url = format!("http://127.0.0.1:{}/metrics", deployment.ports()[1]);
    deployment.until("both teams are pushed", || {
        let text = std::process::Command::new("curl").args(["-fsS", &url]).output().unwrap().stdout;
        let text = String::from_utf8_lossy(&text);
        ["orders", "payments"].iter().all(|team| text.contains(&format!("team=\"{team}\"")))
    });
    // It changes days that are stored: that is said before, with the way out, and again as long as it is so.
    let warned = |run: &crate::deployment::Run| {
        let shown = changes(run);
        let history = shown.iter().find(|step| step.starts_with("history")).unwrap();
        assert!(history.contains("stored samples have other values now"), "{shown:?}");
        assert!(history.contains("another `mimir.tenant`"), "{shown:?}");
    };
    warned(&plan(2));
    deployment.run(&["--sandbox", "apply", "--yes"]).ends_with(6);
    warned(&plan(2));
    deployment.run(&["--sandbox", "destroy", "--yes", "--delete-data"]).ends_with(0);
}

/// From simulated teams to real ones, one of which has the name of a simulated one, and to nothing at all.
#[test]
fn simulated_teams_leave_the_view_when_real_ones_come() {
    let deployment = Deployment::new();
    let write = |generator: &str, sources: &str| {
        let text = format!("project: my-gcp\ngenerator: {{{generator}}}\n{sources}");
        deployment.write("dorainfra.yaml", &text);
    };
    let sandbox = |arguments: &[&str]| deployment.run(&[&["--sandbox", "--json"], arguments].concat());
    let feed = |what: &str| -> String {
        let plan = sandbox(&["plan"]).ends_with(0).events("planned")[0].clone();
        let steps = plan["feed"].as_array().unwrap();
        steps.iter().find(|step| step["what"] == what).map_or(String::new(), |step| step.to_string())
    };
    let report = || -> serde_json::Value {
        let said =
            deployment.run(&["--sandbox", "report", "--range", "14d", "--format", "json"]).ends_with(0);
        serde_json::from_str(&said.stdout).unwrap()
    };
    let names = |report: &serde_json::Value| -> Vec<String> {
        let teams = report["teams"].as_array().unwrap().iter();
        teams.map(|team| team["name"].as_str().unwrap().to_owned()).collect()
    };
    let pushed = || {
        let url = format!("http://127.0.0.1:{}/metrics", deployment.ports()[1]);
        let text = std::process::Command::new("curl").args(["-fsS", &url]).output().unwrap().stdout;
        String::from_utf8(text).unwrap()
    };
    let verified = |run: &crate::deployment::Run| run.events("result")[0]["result"]["verified"].clone();

    write("days: 20, teams: 3", "");
    let apply = sandbox(&["apply", "--yes"]).ends_with(0);
    let proof = verified(&apply);
    assert_eq!((&proof["feeds"], &proof["teams"]), (&"simulated".into(), &3.into()), "{proof}");
    for command in ["verify", "status"] {
        let said = deployment.run(&["--sandbox", command]).ends_with(0).stdout;
        assert!(said.contains("! simulated data: 3 teams"), "{said}");
    }
    let before = report();
    assert_eq!((&before["simulated"], names(&before).len()), (&true.into(), 3), "{before}");
    assert!(pushed().contains("simulated=\"true\""));

    // Both at once is refused, with the places.
    deployment.write("events.csv", &table("a", ["accounts", "shop"]));
    let sources = "sources:\n  - {type: file, path: events.csv}\n";
    write("days: 20, simulate: true", sources);
    let both = deployment.run(&["--sandbox", "plan"]).ends_with(3).stderr;
    assert!(both.contains("dorainfra.yaml:2:") && both.contains("`generator.simulate`"), "{both}");
    assert!(both.contains("remove") && both.contains("dorainfra.yaml:4:"), "{both}");

    write("days: 20", sources);
    assert!(feed("stack.generator").contains("events of 1 source"));
    let planned = feed("history");
    assert!(
        planned.contains("the simulated series stay stored, but no longer show in the report"),
        "{planned}"
    );
    let proof = verified(&sandbox(&["apply", "--yes"]).ends_with(0));
    assert_eq!((&proof["feeds"], &proof["teams"]), (&"real".into(), &2.into()), "{proof}");
    let after = report();
    assert_eq!((&after["simulated"], &after["simulated_left_out"]), (&false.into(), &3.into()), "{after}");
    assert_eq!(names(&after), ["accounts", "shop"]);
    let said = deployment.run(&["--sandbox", "verify"]).ends_with(0).stdout;
    assert!(!said.contains("simulated"), "{said}");
    assert!(!pushed().contains("simulated"), "{}", pushed());

    // Without sources, and asked for nobody: the stack runs on, and there is nothing to prove.
    write("days: 20, simulate: false", "");
    let planned = feed("history");
    assert!(planned.contains("no data is fed until") && planned.contains("\"no-op\""), "{planned}");
    let proof = verified(&sandbox(&["apply", "--yes"]).ends_with(0));
    assert_eq!((&proof["feeds"], &proof["samples_sent"]), (&"nothing".into(), &0.into()), "{proof}");
    assert_eq!(feed("history"), planned);
    let said = deployment.run(&["--sandbox", "verify"]).ends_with(0).stdout;
    assert!(said.contains("· nothing to prove: no samples were sent"), "{said}");
    assert!(said.contains("not applicable: no team is expected to be live"), "{said}");
    let stack = deployment.run(&["--sandbox", "status"]).ends_with(0).stdout;
    assert!(stack.contains("generator") && stack.contains("no data is fed until"), "{stack}");
    deployment.until("nobody is pushed any more", || {
        let text = pushed();
        !text.contains("team=") && text.contains("dora_live_shown_timestamp_seconds")
    });

    // Back again: the real ones are what is shown, as long as they are in the range.
    write("days: 20, teams: 3", "");
    assert!(feed("history").contains("the real series stay stored"), "{}", feed("history"));
    sandbox(&["apply", "--yes"]).ends_with(0);
    let back = report();
    assert_eq!((&back["simulated"], names(&back)), (&false.into(), names(&after)), "{back}");
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
