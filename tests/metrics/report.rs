//! `report` over a real Prometheus: its figures are those of the events, what is
//! damaged is said, and what cannot be asked is an error.

use crate::collector;
use crate::collector::{Receiver, ReceiverOptions};
use crate::deployment::{Deployment, json_schema};
use dorainfra_dora::events::{Event, PRODUCTION};
use dorainfra_dora::metrics::{self, Histograms};
use dorainfra_dora::simulator::{self, Team};
use dorainfra_dora::truth::{Days, Summary, summary, summary_where};
use dorainfra_model::Events;
use dorainfra_prometheus::remote_write::{Client, Limits};
use dorainfra_prometheus::{Samples, Series};
use dorainfra_report::Key;
use serde_json::{Value, json};
use time::macros::date;
use time::{Date, Duration};

const FIRST: Date = date!(2025 - 01 - 20);
const UNTIL: Date = date!(2025 - 03 - 16);
/// More than twice the range, so that there is something before it to compare with.
const STORED_DAYS: u32 = 120;

fn close(found: &Value, expected: Option<f64>, what: &str) {
    match (found.as_f64(), expected) {
        (Some(found), Some(expected)) => {
            assert!(
                (found - expected).abs() <= 1e-4 * expected.abs().max(1.0),
                "{what}: {found}, not {expected}"
            );
        }
        (found, expected) => assert_eq!(found, expected, "{what}"),
    }
}

fn equal(figures: &Value, truth: &Summary, what: &str) {
    close(&figures["deployments"], Some(truth.deployments as f64), what);
    close(&figures["frequency"], Some(truth.frequency_per_day), what);
    close(&figures["failure_rate"], truth.failure_rate, what);
    for (count, of) in [
        ("failed", truth.failed),
        ("rework", truth.rework),
        ("changes", truth.lead_times.len() as u64),
        ("recoveries", truth.recoveries.len() as u64),
    ] {
        close(&figures[count], Some(of as f64), &format!("{count} of {what}"));
    }
    close(&figures["rework_rate"], truth.rework_rate, what);
    assert_eq!(figures["lead_time"].is_null(), truth.lead_times.is_empty(), "{what}");
    assert_eq!(figures["recovery"].is_null(), truth.recoveries.is_empty(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_those_of_the_events_and_damage_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let options = ReceiverOptions { out_of_order_window: "5000d", tls: None };
    let receiver = Receiver::start_keeping(dir.path(), options, "5000d").await;
    let names = simulator::teams(4);
    let mut series: Vec<_> =
        metrics::simulated(names.clone(), 7, UNTIL, STORED_DAYS, Histograms::CLASSIC.by_service(true))
            .collect();
    // Those of one team's services end within the range, as where they are wanted no more.
    let ended = date!(2025 - 03 - 10).midnight().assume_utc().unix_timestamp() * 1000;
    for one in series.iter_mut().filter(|one| one.name.starts_with("dora_service_")) {
        let Samples::Plain(samples) = &mut one.samples else { continue };
        samples.retain(|(at, _)| one.labels.get("team") != names[3] || *at <= ended);
    }
    // One team lacks a day.
    let hole = date!(2025 - 02 - 10);
    let end_of_hole = hole.next_day().unwrap().midnight().assume_utc().unix_timestamp() * 1000;
    for one in series.iter_mut().filter(|one| one.labels.get("team") == names[2]) {
        let Samples::Plain(samples) = &mut one.samples else { continue };
        samples.retain(|(at, _)| *at != end_of_hole);
    }
    let client = Client::new(&receiver.target).unwrap();
    client.send(&series, Limits::default(), 0, &Events::none()).await.unwrap();

    let events: Vec<Event> = names
        .iter()
        .flat_map(|name| {
            let team = Team::new(name, 7);
            simulator::episodes(&team, FIRST - Duration::days(120), UNTIL).collect::<Vec<_>>()
        })
        .flat_map(|episode| episode.0)
        .collect();
    let days = Days { first: FIRST, until: UNTIL };

    let here = Deployment::empty();
    let endpoint = format!("{}/prometheus", receiver.target.base_url);
    let (first, until) = (FIRST.to_string(), UNTIL.to_string());
    let range = ["report", "--endpoint", &endpoint, "--from", &first, "--to", &until];
    let report = |more: &[&str]| here.run(&[range.as_slice(), more].concat());

    let run = report(&["--format", "json"]).ends_with(0);
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json_schema::wrong("report", &json), None);
    let line = report(&["--format", "json", "--json"]).ends_with(0);
    assert_eq!(json_schema::assert_lines(&line.stdout)["all"], json["all"]);
    equal(&json["all"], &summary(&events, days, PRODUCTION, &[]), "all");
    for (index, name) in names.iter().enumerate() {
        let found = json["teams"].as_array().unwrap().iter().find(|team| team["name"] == **name).unwrap();
        equal(found, &summary(&events, days, PRODUCTION, &[name]), name);
        let gaps = found["gaps"].as_array().unwrap();
        assert_eq!(gaps.len(), usize::from(index == 2), "{name}: {gaps:?}");
    }
    // Weeks of all teams add up to the whole.
    let weeks: f64 =
        json["periods"].as_array().unwrap().iter().map(|week| week["deployments"].as_f64().unwrap()).sum();
    close(&json["all"]["deployments"], Some(weeks), "weeks");
    assert_eq!(json["periods"].as_array().unwrap().len(), 8);
    let range_before = Days { first: FIRST - Duration::days(56), until: FIRST - Duration::days(1) };
    equal(&json["previous"], &summary(&events, range_before, PRODUCTION, &[]), "the 56 days before");
    let check = |name: &str| {
        let checks = json["integrity"]["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).cloned().unwrap()
    };
    assert_eq!(check("gaps")["found"], format!("days without a sample: {} ({hole})", names[2]));
    assert_eq!(check("freshness")["standing"], "bad", "nothing is live");
    assert_eq!(check("history")["standing"], "unknown", "who sent it is not known");

    // Of more than is stored only what is stored is told, and compared with nothing: there
    // are not as many days before.
    let begun = UNTIL - Duration::days(i64::from(STORED_DAYS) - 1);
    let (long, shorter) =
        ((begun - Duration::days(54)).to_string(), (FIRST - Duration::days(20)).to_string());
    for (from, first, lacking) in [(long, begun, 54), (shorter, FIRST - Duration::days(20), 0)] {
        let range = ["report", "--endpoint", &endpoint, "--from", &from, "--to", &until, "--format", "json"];
        let json: Value = serde_json::from_str(&here.run(&range).ends_with(0).stdout).unwrap();
        assert_eq!((&json["asked"], &json["first"]), (&json!(from), &json!(first.to_string())));
        let days = Days { first, until: UNTIL };
        equal(&json["all"], &summary(&events, days, PRODUCTION, &[]), &from);
        equal(&json["teams"][0], &summary(&events, days, PRODUCTION, &[&names[0]]), &from);
        assert_eq!(json["previous"], Value::Null, "{from}");
        let checks = json["integrity"]["checks"].as_array().unwrap();
        let gaps = checks.iter().find(|check| check["name"] == "gaps").unwrap();
        let said = format!("nothing is stored of the first {lacking} of {} days", days.count() + lacking);
        assert_eq!(gaps["found"].as_str().unwrap().contains(&said), lacking > 0, "{gaps}");
        assert_eq!(gaps["standing"], "bad");
    }

    // As many queries for one team as for all; and few: what is stored (2), figures of the range and
    // of the one before it (3), of the weeks (3), who is stored before (1), what is live (2), and what
    // closes the days (2).
    let queries = |json: &Value| json["queries"].as_u64().unwrap();
    let asked = queries(&json);
    assert_eq!(asked, 13);
    let told = report(&["--format", "csv", "--verbose"]).ends_with(0).stderr;
    assert!(
        told.contains("13 queries; the report took ") && told.contains("✓ what is stored  2 queries"),
        "{told}"
    );
    assert!(told.contains("✓ figures and checks  11 queries"), "{told}");

    // Each service; nothing of what is not stored whole.
    let run = report(&["--format", "json", "--services"]).ends_with(0);
    assert!(run.stderr.contains("are not stored for all of the range"), "{}", run.stderr);
    let services: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(json.get("services").is_none(), "they are asked for");
    let services = services["services"].as_array().unwrap();
    assert!(services.len() > names.len(), "{services:?}");
    let mut medians = 0;
    for service in services {
        let (team, name) = (service["team"].as_str().unwrap(), service["name"].as_str().unwrap());
        let truth = summary_where(&events, days, PRODUCTION, |of, by| of == team && by == name);
        close(&service["deployments"], Some(truth.deployments as f64), name);
        close(&service["frequency"], Some(truth.frequency_per_day), name);
        close(&service["failure_rate"], truth.failure_rate, name);
        close(&service["rework_rate"], truth.rework_rate, name);
        let known = team != names[3];
        let count = |values: &[u64]| known.then_some(values.len() as f64);
        close(&service["changes"], count(&truth.lead_times), name);
        close(&service["recoveries"], count(&truth.recoveries), name);
        for (key, values) in [("lead_time", &truth.lead_times), ("recovery", &truth.recoveries)] {
            assert_eq!(service[key].is_null(), !known || values.is_empty(), "{key} of {service}");
            let Some(median) = service[key].as_f64() else { continue };
            let edges = if key == "lead_time" { metrics::LEAD_TIME_EDGES } else { metrics::RECOVERY_EDGES };
            let bucket =
                |value: f64| edges.partition_point(|edge| (*edge as f64) < value * (1.0 - 1e-6)).min(9);
            let middle = [values[(values.len() - 1) / 2], values[values.len() / 2]];
            let [low, high] = middle.map(|value| bucket(value as f64));
            assert!((low..=high).contains(&bucket(median)), "{key} of {service}: {middle:?}");
            medians += 1;
        }
    }
    assert!(medians > 6, "{medians}");
    let csv = report(&["--format", "csv", "--services"]).ends_with(0).stdout;
    assert!(csv.lines().all(|line| line.split(',').count() == 17), "{csv}");
    assert_eq!(csv.lines().count(), 2 + names.len() + services.len());
    let md = report(&["--format", "md", "--services"]).ends_with(0).stdout;
    let row = |service: &Value| {
        let start =
            format!("| {} | {} |", service["team"].as_str().unwrap(), service["name"].as_str().unwrap());
        md.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{start}: {md}"))
    };
    let lacking = |service: &Value| row(service).contains("not stored");
    assert!(services.iter().all(|one| lacking(one) == (one["team"] == names[3])), "{md}");
    let page = report(&["--services", "--out", "-"]).ends_with(0).stdout;
    assert!(page.contains("<h3 id=\"services\">") && page.contains("<td>not stored"), "{page}");

    // The page shows by which query each figure is had; the engine's own answer to it is the figure.
    let page = report(&["--out", "-"]).ends_with(0).stdout;
    let shown: Vec<String> = page
        .split("<summary>As PromQL</summary><code>")
        .skip(1)
        .map(|rest| {
            rest.split("</code>")
                .next()
                .unwrap()
                .replace("&quot;", "\"")
                .replace("&gt;", ">")
                .replace("&#x2f;", "/")
        })
        .collect();
    let http = receiver.target.http_client().unwrap();
    let end = UNTIL.next_day().unwrap().midnight().assume_utc().unix_timestamp().to_string();
    for (key, query) in Key::ALL.iter().zip(&shown) {
        let url = receiver.target.query_url("/api/v1/query");
        let request = http.get(url).query(&[("query", query.as_str()), ("time", &end)]);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let rows = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}"));
        let field = key.id().replace('-', "_").replace("rework", "rework_rate");
        assert_eq!(rows.len(), names.len(), "{query}");
        for row in rows {
            let teams = json["teams"].as_array().unwrap();
            let team = teams.iter().find(|team| team["name"] == row["metric"]["team"]).unwrap();
            let value: f64 = row["value"][1].as_str().unwrap().parse().unwrap();
            let found = team[&field].as_f64().unwrap();
            // The JSON is read to fifteen digits.
            assert!((found - value).abs() <= 1e-15 * value, "{field} of {}: {found}, {value}", team["name"]);
        }
    }

    // Ranked in every format, and by name unless that is asked for.
    let first = |format: &str| {
        let text =
            report(&["--format", format, "--rank-by", "failure-rate", "--out", "-"]).ends_with(0).stdout;
        let at = |name: &String| text.find(name.as_str()).unwrap();
        names.iter().min_by_key(|name| at(name)).unwrap().clone()
    };
    let rate = |team: &&Value| (team["failure_rate"].as_f64().unwrap() * 1e9) as u64;
    let best = json["teams"].as_array().unwrap().iter().min_by_key(rate).unwrap()["name"].clone();
    for format in ["json", "csv"] {
        assert_eq!(json!(first(format)), best, "{format}");
    }
    let order: Vec<&Value> = json["teams"].as_array().unwrap().iter().map(|team| &team["name"]).collect();
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(json!(order), json!(sorted));

    // One team, by its name.
    let one = report(&["--format", "json", "--teams", &names[1]]).ends_with(0);
    let json: Value = serde_json::from_str(&one.stdout).unwrap();
    assert_eq!(json["teams"].as_array().unwrap().len(), 1);
    equal(&json["all"], &summary(&events, days, PRODUCTION, &[&names[1]]), "one team");
    assert_eq!(queries(&json), asked);
    let none = report(&["--format", "csv", "--teams", "nobody", "--out", "kept.csv"]).ends_with(3);
    assert!(none.stderr.contains("the team `nobody` has no samples"), "{}", none.stderr);
    assert!(none.stderr.contains(&format!("`{}`", names[0])), "{}", none.stderr);
    assert!(!here.path().join("kept.csv").exists());

    // The page is a file; the other formats are lines of standard output.
    let page = report(&[]).ends_with(0);
    assert!(page.stdout.is_empty() && page.stderr.contains("dora-report.html"), "{}", page.stderr);
    let page = std::fs::read_to_string(here.path().join("dora-report.html")).unwrap();
    assert!(page.contains(&format!("{hole} to {hole} no sample")) && !page.contains("NaN"));
    assert_eq!(report(&["--format", "csv"]).ends_with(0).stdout.lines().count(), 2 + names.len());
    assert!(report(&["--format", "md"]).ends_with(0).stdout.contains("| **all** |"));

    // Where there is nothing, that is said, and what there is instead.
    for unknown in ["nowhere", "Production"] {
        let other = report(&["--environment", unknown]).ends_with(3);
        let said = format!("the environment `{unknown}` has no samples");
        assert!(
            other.stderr.contains(&said) && other.stderr.contains(&format!("`{PRODUCTION}`")),
            "{}",
            other.stderr
        );
    }
    assert!(!report(&["--format", "json"]).ends_with(0).stderr.contains("there is also"));
}

/// Three teams: one is stored all along, one began within the period before, one within the range.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_stored_is_no_zero_and_who_began_later_is_not_compared() {
    let dir = tempfile::tempdir().unwrap();
    let options = ReceiverOptions { out_of_order_window: "5000d", tls: None };
    let receiver = Receiver::start_keeping(dir.path(), options, "5000d").await;
    let names = simulator::teams(3);
    let began = [None, Some(date!(2024 - 12 - 20)), Some(date!(2025 - 02 - 10))];
    let mut series: Vec<_> =
        metrics::simulated(names.clone(), 7, UNTIL, STORED_DAYS, Histograms::CLASSIC).collect();
    for one in &mut series {
        let Samples::Plain(samples) = &mut one.samples else { continue };
        let of = names.iter().position(|name| name == one.labels.get("team")).unwrap();
        let first = began[of].map_or(0, |day| day.midnight().assume_utc().unix_timestamp() * 1000);
        samples.retain(|(at, _)| *at >= first);
    }
    let client = Client::new(&receiver.target).unwrap();
    client.send(&series, Limits::default(), 0, &Events::none()).await.unwrap();
    let team = Team::new(&names[0], 7);
    let events: Vec<Event> = simulator::episodes(&team, FIRST - Duration::days(120), UNTIL)
        .flat_map(|episode| episode.0)
        .collect();

    let here = Deployment::empty();
    let endpoint = format!("{}/prometheus", receiver.target.base_url);
    let report = |from: Date, until: Date, more: &[&str]| {
        let (from, until) = (from.to_string(), until.to_string());
        let range = ["report", "--endpoint", &endpoint, "--from", &from, "--to", &until];
        here.run(&[range.as_slice(), more].concat()).ends_with(0).stdout
    };
    let json = |from, until, more: &[&str]| -> Value {
        serde_json::from_str(&report(from, until, &[&["--format", "json"], more].concat())).unwrap()
    };
    let found = json(FIRST, UNTIL, &[]);
    let truth = |days| summary(&events, days, PRODUCTION, &[&names[0]]);
    let before = Days { first: FIRST - Duration::days(56), until: FIRST - Duration::days(1) };
    assert_eq!(found["previous"], Value::Null, "`all` has teams that began later");
    let comparison = &found["comparison"];
    equal(&comparison["now"], &truth(Days { first: FIRST, until: UNTIL }), "now");
    equal(&comparison["before"], &truth(before), "before");
    let mut later = vec![&names[1], &names[2]];
    later.sort();
    assert_eq!(comparison["without"], json!(later));
    let compared = |index: usize| found["teams"][index]["compared"].clone();
    let order: Vec<&str> =
        found["teams"].as_array().unwrap().iter().map(|team| team["name"].as_str().unwrap()).collect();
    for (index, name) in order.iter().enumerate() {
        assert_eq!(compared(index), json!(*name == names[0]), "{name}");
    }
    let page = report(FIRST, UNTIL, &["--out", "-"]);
    let note = format!("not of {}, {}, of which not all of both is stored", later[0], later[1]);
    assert!(page.contains(&note), "{page}");
    assert_eq!(page.matches("not compared</small>").count(), 2, "a note by each of the two");
    // Of who began within the range what happened since counts, and nothing that is made up at its edge.
    let own: Vec<Event> = simulator::episodes(&Team::new(&names[2], 7), FIRST - Duration::days(120), UNTIL)
        .flat_map(|episode| episode.0)
        .collect();
    let since = Days { first: date!(2025 - 02 - 10), until: UNTIL };
    let late = found["teams"].as_array().unwrap().iter().find(|team| team["name"] == *names[2]).unwrap();
    equal(late, &summary(&own, since, PRODUCTION, &[&names[2]]), "began later");
    let counts = found["teams"].as_array().unwrap().iter().map(|team| team["deployments"].as_u64().unwrap());
    assert_eq!(found["all"]["deployments"], json!(counts.sum::<u64>()));
    // Of the third no week before it began is known.
    let weeks: Vec<bool> =
        late["deployments_by_period"].as_array().unwrap().iter().map(Value::is_null).collect();
    assert_eq!(weeks, [true, true, true, false, false, false, false, false]);
    // All of them began before: all are compared.
    let since = date!(2025 - 03 - 01);
    let found = json(since, UNTIL - Duration::days(8), &[]);
    assert_eq!(found["comparison"]["without"], json!([]));
    assert_eq!(found["comparison"]["now"], found["all"]);
    assert_eq!(found["comparison"]["before"], found["previous"]);

    // Nothing is stored of what is asked: nothing is known, which is not zero.
    let (from, until) = (date!(2019 - 12 - 25), date!(2020 - 01 - 05));
    let found = json(from, until, &[]);
    for (figure, value) in found["all"].as_object().unwrap() {
        assert!(value.is_null(), "{figure}: {value}");
    }
    for period in found["periods"].as_array().unwrap() {
        assert!(period["deployments"].is_null() && period["frequency"].is_null(), "{period}");
    }
    assert_eq!((&found["previous"], &found["comparison"]), (&Value::Null, &Value::Null));
    let csv = report(from, until, &["--format", "csv"]);
    assert_eq!(csv.lines().nth(1).unwrap(), format!("(all),{from},{until},,,,,,,,,,,,,false"), "{csv}");
    let md = report(from, until, &["--format", "md"]);
    assert!(md.contains("| **all** | – | – | – | – | – | – |"), "{md}");
    let page = report(from, until, &["--out", "-"]);
    assert!(page.matches("no data").count() >= 5, "{page}");
    // And where there is nothing to compare with, that is said.
    let page = report(FIRST, UNTIL, &["--out", "-", "--teams", &names[2]]);
    assert!(page.contains("There is no comparison with the 35 days before"), "{page}");
}

/// Five deployments around the night in which clocks in Berlin were set forward, and three around
/// the one in which they were set back; both nights end a week.
#[tokio::test(flavor = "multi_thread")]
async fn days_and_weeks_are_those_of_the_zone_or_none_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let options = ReceiverOptions { out_of_order_window: "5000d", tls: None };
    let receiver = Receiver::start_keeping(dir.path(), options, "5000d").await;
    let here = Deployment::empty();
    let deployed: String = [
        "2025-03-29T23:30:00Z",
        "2025-03-30T20:00:00Z",
        "2025-03-30T21:30:00Z",
        "2025-03-30T22:30:00Z",
        "2025-03-30T22:45:00Z",
        "2025-10-25T22:30:00Z",
        "2025-10-26T22:30:00Z",
        "2025-10-26T23:30:00Z",
    ]
    .iter()
    .map(|at| {
        format!(
            "{{\"type\":\"deployment\",\"id\":\"{at}\",\"team\":\"t\",\"service\":\"s\",\"at\":\"{at}\"}}\n"
        )
    })
    .collect();
    here.write("events.jsonl", &deployed);
    let (endpoint, write) = (format!("{}/prometheus", receiver.target.base_url), receiver.target.write_url());
    let history = |zone: &str| {
        let set = format!("timezone={zone}");
        here.run(&[
            "generate",
            "--follow",
            "events.jsonl",
            "--settle-hours",
            "0",
            "--remote-write",
            &write,
            "--until",
            "2025-11-05",
            "--days",
            "300",
            "--set",
            &set,
        ])
        .ends_with(0);
    };
    let report = |zone: &str, from: &str, to: &str| {
        here.run(&[
            "report",
            "--endpoint",
            &endpoint,
            "--format",
            "json",
            "--timezone",
            zone,
            "--from",
            from,
            "--to",
            to,
        ])
    };
    let deployments = |zone: &str, from: &str, to: &str| -> (f64, Vec<f64>) {
        let json: Value = serde_json::from_str(&report(zone, from, to).ends_with(0).stdout).unwrap();
        assert_eq!((&json["timezone"], &json["first"]), (&json!(zone), &json!(from)));
        let of = |figures: &Value| figures["deployments"].as_f64().unwrap();
        (of(&json["all"]), json["periods"].as_array().unwrap().iter().map(of).collect())
    };
    // Cut at the ends of UTC's days alone, it says nothing of others.
    history("UTC");
    let refused = report("Europe/Berlin", "2025-03-30", "2025-03-30").ends_with(1);
    assert!(
        refused.stderr.contains("nothing is stored at the beginning of 2025-03-30 in Europe/Berlin")
            && refused.stderr.contains("set `timezone`"),
        "{}",
        refused.stderr
    );
    assert_eq!(deployments("UTC", "2025-03-30", "2025-03-30").0, 4.0);

    history("Europe/Berlin");
    let day = |zone: &str, day: &str| deployments(zone, day, day).0;
    for (of, berlin, utc) in [
        ("2025-03-29", 0.0, 1.0),
        ("2025-03-30", 3.0, 4.0),
        ("2025-03-31", 2.0, 0.0),
        ("2025-10-25", 0.0, 1.0),
        ("2025-10-26", 2.0, 2.0),
        ("2025-10-27", 1.0, 0.0),
    ] {
        assert_eq!((day("Europe/Berlin", of), day("UTC", of)), (berlin, utc), "{of}");
    }
    let weeks = |zone: &str, from: &str, to: &str| deployments(zone, from, to).1;
    assert_eq!(weeks("Europe/Berlin", "2025-03-10", "2025-04-06"), [0.0, 0.0, 3.0, 2.0]);
    assert_eq!(weeks("UTC", "2025-03-10", "2025-04-06"), [0.0, 0.0, 5.0, 0.0]);
    assert_eq!(weeks("Europe/Berlin", "2025-10-06", "2025-11-02"), [0.0, 0.0, 2.0, 1.0]);
    assert_eq!(weeks("UTC", "2025-10-06", "2025-11-02"), [0.0, 0.0, 3.0, 0.0]);
    // Of a zone whose days end elsewhere again there is nothing.
    report("Asia/Kolkata", "2025-03-30", "2025-03-30").ends_with(1);
    let wrong = report("Europe/Atlantis", "2025-03-30", "2025-03-30").ends_with(3);
    assert!(wrong.stderr.contains("Europe/Berlin"), "{}", wrong.stderr);
}

/// Once there is a real team, no simulated one is reported, not even one of the same name.
#[tokio::test(flavor = "multi_thread")]
async fn real_teams_are_never_reported_together_with_simulated_ones() {
    let dir = tempfile::tempdir().unwrap();
    let options = ReceiverOptions { out_of_order_window: "5000d", tls: None };
    let receiver = Receiver::start_keeping(dir.path(), options, "5000d").await;
    let send = async |series: Vec<Series>| {
        let client = Client::new(&receiver.target).unwrap();
        client.send(&series, Limits::default(), 0, &Events::none()).await.unwrap();
    };
    let here = Deployment::empty();
    let endpoint = format!("{}/prometheus", receiver.target.base_url);
    let first = UNTIL - Duration::days(27);
    let (from, to) = (first.to_string(), UNTIL.to_string());
    let report = |more: &[&str]| {
        let range = ["report", "--endpoint", &endpoint, "--from", &from, "--to", &to, "--format"];
        here.run(&[&range[..], more].concat()).ends_with(0)
    };
    let data = |more: &[&str]| -> Value {
        serde_json::from_str(&report(&[&["json"], more].concat()).stdout).unwrap()
    };
    let names = |report: &Value| -> Vec<String> {
        let teams = report["teams"].as_array().unwrap().iter();
        teams.map(|team| team["name"].as_str().unwrap().to_owned()).collect()
    };
    let simulated = simulator::teams(3);
    send(metrics::simulated(simulated.clone(), 7, UNTIL, 60, Histograms::CLASSIC).collect()).await;
    let run = report(&["csv"]);
    assert!(run.stderr.contains("Simulated data: every figure is of 3 simulated teams"), "{}", run.stderr);
    let json = data(&[]);
    assert_eq!((&json["simulated"], &json["simulated_left_out"]), (&json!(true), &json!(0)));
    assert_eq!(names(&json), simulated);

    let lines = format!(
        r#"{{"type":"change","id":"c","team":"{0}","service":"s","at":"2025-03-03T10:00:00Z"}}
{{"type":"deployment","id":"d1","team":"{0}","service":"s","at":"2025-03-03T11:00:00Z","changes":["c"]}}
{{"type":"deployment","id":"d2","team":"shop","service":"s","at":"2025-03-04T11:00:00Z"}}
{{"type":"failure","id":"f","team":"shop","service":"s","at":"2025-03-04T12:00:00Z","deployment":"d2"}}"#,
        simulated[0]
    );
    let events: Vec<Event> =
        dorainfra_dora::events::read(lines.as_bytes()).collect::<Result<_, _>>().unwrap();
    send(metrics::series(&events, first, UNTIL)).await;
    let json = data(&["--services"]);
    assert_eq!((&json["simulated"], &json["simulated_left_out"]), (&json!(false), &json!(3)));
    assert_eq!(names(&json), [&simulated[0], "shop"]);
    let days = Days { first, until: UNTIL };
    equal(&json["all"], &summary(&events, days, PRODUCTION, &[]), "all");
    equal(&json["teams"][0], &summary(&events, days, PRODUCTION, &[&simulated[0]]), "a name of both kinds");
    assert_eq!(json["services"].as_array().unwrap().len(), 2, "{}", json["services"]);
    let weeks = json["periods"].as_array().unwrap().iter().map(|week| week["deployments"].as_f64().unwrap());
    close(&json!(weeks.sum::<f64>()), Some(2.0), "weeks");
    // One counter of each outcome and kind, and two histograms, of each of two teams.
    assert_eq!(json["integrity"]["series"], 2 * (4 + 26));
    let run = report(&["md"]);
    assert!(run.stderr.contains("3 simulated teams are stored, too, and left out"), "{}", run.stderr);
    assert!(!run.stdout.contains(&format!("| {} |", simulated[1])), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_wants_a_certificate_is_shown_one() {
    let dir = tempfile::tempdir().unwrap();
    let (client, server) = collector::credentials();
    let options = ReceiverOptions { tls: Some((client.clone(), server)), ..ReceiverOptions::default() };
    let receiver = Receiver::start(dir.path(), options).await;
    let here = Deployment::empty();
    for (name, text) in [("ca.crt", &client.ca), ("me.crt", &client.certificate), ("me.key", &client.key)] {
        here.write(name, text);
    }
    let endpoint = format!("https://localhost:{}/prometheus", receiver.target.connect.port());
    let report = |more: &[&str]| {
        here.run(&[&["report", "--format", "md", "--endpoint", &endpoint][..], more].concat())
    };
    let (ca, own) = (["--ca", "ca.crt"], ["--cert", "me.crt", "--key", "me.key"]);
    let run = report(&[&ca[..], &own].concat()).ends_with(0);
    assert!(run.stdout.contains("No deployment is stored in this range"), "{}", run.stdout);
    let nobody = report(&ca).ends_with(1);
    assert!(nobody.stderr.contains("--cert"), "{}", nobody.stderr);
    let unknown = report(&own).ends_with(1);
    assert!(unknown.stderr.contains("certificate"), "{}", unknown.stderr);
}

#[test]
fn what_cannot_be_asked_is_an_error_with_something_to_do() {
    let here = Deployment::empty();
    // A port that was free a moment ago.
    let endpoint = format!("http://127.0.0.1:{}/prometheus", collector::free_port());
    let run = here.run(&["report", "--endpoint", &endpoint]).ends_with(1);
    assert!(run.stderr.contains(&endpoint) && run.stderr.contains("hint"), "{}", run.stderr);
    assert!(!here.path().join("dora-report.html").exists(), "no page of nothing");

    for (arguments, words) in [
        (["--to", "2999-01-01"], "is not over yet"),
        (["--range", "12h"], "must be a whole number of days"),
        (["--from", "2025-02-30"], "--from"),
        (["--cert", "client.crt"], "--key"),
    ] {
        let report = ["report", "--endpoint", &endpoint];
        let run = here.run(&[report.as_slice(), arguments.as_slice()].concat()).ends_with(3);
        assert!(run.stderr.contains(words), "{arguments:?}: {}", run.stderr);
    }
    let run = here.run(&["report", "--endpoint", "ftp://x"]).ends_with(3);
    assert!(run.stderr.contains("neither http nor https"), "{}", run.stderr);
    let run = here.run(&["report", "--endpoint", &endpoint, "--ca", "absent.crt"]).ends_with(3);
    assert!(run.stderr.contains("absent.crt"), "{}", run.stderr);
}
