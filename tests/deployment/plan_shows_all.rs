//! Whatever `apply` does is in the plan before: the stack, the sources and the history, too.

use crate::deployment::{Deployment, Run};
use serde_json::Value;

const FEW: [&str; 4] = ["--set", "generator.teams=3", "--set", "generator.days=20"];

fn run(deployment: &Deployment, arguments: &[&str]) -> Run {
    deployment.run(&[&["--sandbox", "--json"], &FEW[..], arguments].concat())
}

/// What comes after the resources and changes something: what, action, reason.
fn feed(run: &Run) -> Vec<(String, String, String)> {
    let planned = run.events("planned");
    let text = |step: &Value, name: &str| step[name].as_str().unwrap().to_owned();
    let steps = planned[0]["feed"].as_array().cloned().unwrap_or_default();
    let changes = steps.iter().filter(|step| step["action"] != "no-op");
    changes.map(|step| (text(step, "what"), text(step, "action"), text(step, "reason"))).collect()
}

fn names(run: &Run) -> Vec<String> {
    feed(run).into_iter().map(|(what, action, _)| format!("{action} {what}")).collect()
}

/// What runs of the stack, and since which process.
fn parts(deployment: &Deployment) -> Vec<String> {
    let status = run(deployment, &["stack", "status"]).ends_with(0);
    let parts = status.events("result")[0]["result"]["stack"].as_array().unwrap().clone();
    let own = parts.iter().filter(|part| part["part"] != "remote write" && part["state"] != "absent");
    own.map(|part| format!("{} {}", part["part"], part["detail"])).collect()
}

#[test]
fn the_stack_and_the_history_are_steps_of_the_plan() {
    let deployment = Deployment::new();
    let plan = |more: &[&str]| run(&deployment, &[&["plan", "--detailed-exitcode"], more].concat());
    let first = plan(&[]).ends_with(2);
    let all =
        ["create stack.generator", "create stack.prometheus", "create stack.pushgateway", "create history"];
    assert_eq!(names(&first), all);
    let (_, _, history) = &feed(&first)[3];
    assert!(history.contains("samples of 3 teams, 20"), "{history}");
    assert_eq!(names(&plan(&["--no-stack"]).ends_with(2)), [""; 0]);
    let bucket = plan(&["--target", "storage.bucket/my-gcp-dorainfra-mimir"]).ends_with(2);
    assert_eq!(names(&bucket), [""; 0]);
    // Nor does a saved plan of a part do more than it shows.
    let part = ["--target", "storage.bucket/my-gcp-dorainfra-mimir", "--out", "part.json"];
    plan(&part).ends_with(2);
    run(&deployment, &["apply", "part.json"]).ends_with(0);
    assert_eq!(parts(&deployment), [""; 0]);
    // What does not run is shown as that, with whose data would be fed.
    let stopped = run(&deployment, &["stack", "status"]).ends_with(0).events("result")[0]["result"].clone();
    let shown: Vec<&str> =
        stopped["stack"].as_array().unwrap().iter().map(|part| part["part"].as_str().unwrap()).collect();
    assert_eq!(shown, ["generator", "prometheus", "pushgateway"], "{stopped}");
    assert!(stopped["stack"].to_string().contains("`dorainfra stack up` starts it"), "{stopped}");
    assert_eq!((&stopped["feeds"], &stopped["simulated_teams"]), (&"simulated".into(), &3.into()));

    run(&deployment, &["apply", "--yes"]).ends_with(0);
    let again = plan(&[]).ends_with(0);
    assert_eq!(feed(&again), []);
    let before = parts(&deployment);

    // Fewer teams: the generator is restarted, and who did not say yes is asked.
    let fewer = ["--set", "generator.teams=2"];
    let shown = plan(&fewer).ends_with(2);
    assert_eq!(names(&shown), ["update stack.generator"]);
    assert!(feed(&shown)[0].2.contains("2 teams"), "{shown:?}", shown = feed(&shown));
    let asked = run(&deployment, &[&["apply"], &fewer[..]].concat());
    assert_ne!(asked.code, 0);
    assert_eq!(parts(&deployment), before);

    // A part that listens elsewhere is restarted, and no other.
    let elsewhere = crate::deployment::Deployment::empty().ports()[0];
    let shown = plan(&["--set", &format!("stack.ports.prometheus={elsewhere}")]).ends_with(2);
    assert_eq!(names(&shown), ["update stack.prometheus"]);
    // What cannot be started is told before anything is done.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("stack.ports.prometheus={}", listener.local_addr().unwrap().port());
    let refused = plan(&["--set", &taken]).ends_with(1);
    assert!(refused.stdout.contains("is in use"), "{}", refused.stdout);

    // Another seed is another history of the same days, which nobody can store: neither planned nor begun, and
    // nothing is left of it.
    for command in [&["plan"][..], &["apply", "--yes"]] {
        let refused = run(&deployment, &[command, &["--set", "generator.seed=2"]].concat()).ends_with(1);
        assert!(refused.stdout.contains("stored with different values"), "{}", refused.stdout);
        assert!(refused.stdout.contains("mimir.tenant"), "{}", refused.stdout);
    }
    assert_eq!(parts(&deployment), before);
    assert_eq!(feed(&plan(&[]).ends_with(0)), []);

    // More: their history, and no other.
    let more = ["--set", "generator.teams=5"];
    let shown = plan(&more).ends_with(2);
    assert_eq!(names(&shown), ["update stack.generator", "create history"]);
    assert!(feed(&shown)[1].2.contains("samples of 2 teams"), "{:?}", feed(&shown));
    let saved = plan(&[&more[..], &["--out", "plan.json"]].concat()).ends_with(2);
    assert_eq!(names(&saved), names(&shown));
    let applied = run(&deployment, &["apply", "plan.json"]).ends_with(0);
    assert_eq!(names(&applied), names(&shown));
    assert_eq!(feed(&plan(&more).ends_with(0)), []);

    // What a saved plan does not show is not done. The one from before shows less than is to do.
    run(&deployment, &[&["plan", "--out", "nothing.json"], &more[..]].concat()).ends_with(0);
    run(&deployment, &["stack", "down"]).ends_with(0);
    assert_eq!(names(&plan(&more).ends_with(2)), all[..3]);
    let stale = run(&deployment, &["apply", "nothing.json"]).ends_with(5);
    assert!(stale.stdout.contains("stack.generator"), "{}", stale.stdout);
    assert_eq!(parts(&deployment), [""; 0]);

    // Another machine knows nothing of what was done; nor does one whose first `apply` ended before the history.
    std::fs::remove_file(deployment.path().join(".dorainfra/dorainfra/fed.json")).unwrap();
    assert_eq!(names(&plan(&more).ends_with(2)), [&all[..3], &["update history"]].concat());
    let compared = run(&deployment, &[&["apply", "--yes"], &more[..]].concat()).ends_with(0);
    assert_eq!(feed(&plan(&more).ends_with(0)), []);
    // Nothing to do for another one: what was compared has the same numbers and sums. `verify` compares again.
    let title = |run: &Run, name: &str| {
        let checks = run.events("checked");
        let check = checks.iter().find(|event| event["check"]["name"] == name).unwrap();
        check["check"]["title"].as_str().unwrap().to_owned()
    };
    let again = run(&deployment, &[&["apply", "--yes"], &more[..]].concat()).ends_with(0);
    assert_eq!(title(&again, "history"), "the history is stored as it was compared before");
    assert_eq!(title(&again, "marker"), "new values pass through the whole stack, each in its turn");
    let verified = run(&deployment, &[&["verify"], &more[..]].concat()).ends_with(0);
    for run in [&compared, &verified] {
        assert_eq!(title(run, "history"), "every sample of the history is stored");
        assert_eq!(title(run, "marker"), "a new value passes through the whole stack");
    }
    let destroyed = run(&deployment, &["destroy", "--yes", "--delete-data"]).ends_with(0);
    assert_eq!(names(&destroyed).len(), 3, "{:?}", feed(&destroyed));
    for (what, action, reason) in feed(&destroyed) {
        assert!(
            what.starts_with("stack.") && action == "delete" && reason.contains("stopped"),
            "{what}: {reason}"
        );
    }
    assert_eq!(names(&plan(&[]).ends_with(2)), all);
}
