use dorainfra_prometheus::exposition::Format;
use time::macros::{date, datetime};
use time::{Date, OffsetDateTime};

use super::*;
use crate::events::{Kind, read};

fn events(lines: &str) -> Vec<Event> {
    read(lines.as_bytes()).collect::<Result<_, _>>().unwrap()
}

const LINES: &str = r#"
{"type":"change","id":"c1","team":"orders","service":"cart","at":"2026-03-01T09:00:00Z"}
{"type":"deployment","id":"d1","team":"orders","service":"cart","at":"2026-03-02T23:30:00Z","changes":["c1","lost"]}
{"type":"failure","id":"f1","team":"orders","service":"cart","at":"2026-03-02T23:42:00Z","deployment":"d1"}
{"type":"deployment","id":"d2","team":"orders","service":"cart","at":"2026-03-03T00:05:00Z","kind":"rework"}
{"type":"recovery","failure":"f1","at":"2026-03-03T00:10:00Z","deployment":"d2"}
{"type":"recovery","failure":"f1","at":"2026-03-03T00:20:00Z"}
{"type":"failure","id":"f2","team":"orders","service":"cart","at":"2026-03-03T00:42:00Z"}
{"type":"recovery","failure":"f2","at":"2026-03-03T00:50:00Z"}
{"type":"deployment","id":"d3","team":"orders","service":"cart","at":"2026-03-04T00:05:00+02:00"}
{"type":"failure","id":"f3","team":"orders","service":"cart","at":"2026-03-08T00:42:00Z","deployment":"d3"}
"#;

/// The values of a series, without its times.
fn values(series: &[Series], name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
    let matching =
        |one: &&Series| one.name == name && labels.iter().all(|(name, value)| one.labels.get(name) == *value);
    let mut all = series.iter().filter(matching);
    let values = all.next().unwrap().samples.plain().iter().map(|(_, value)| *value).collect();
    assert!(all.next().is_none(), "{name} {labels:?} is more than one series");
    values
}

#[test]
fn what_counts_is_counted_on_its_day() {
    let series = series(&events(LINES), date!(2026 - 03 - 02), date!(2026 - 03 - 04));
    let count = |outcome, kind| values(&series, DEPLOYMENTS, &[("outcome", outcome), ("kind", kind)]);
    // The third is on the 3rd in UTC; what failed after five days stays a success.
    assert_eq!(count("success", "planned"), [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(count("failure", "planned"), [0.0, 1.0, 1.0, 1.0]);
    assert_eq!(count("success", "rework"), [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(count("failure", "rework"), [0.0; 4]);
    let lead = |le| values(&series, "dora_change_lead_time_seconds_bucket", &[("le", le)]);
    assert_eq!((lead("86400.0"), lead("172800.0")), (vec![0.0; 4], vec![0.0, 1.0, 1.0, 1.0]));
    assert_eq!(lead("+Inf"), [0.0, 1.0, 1.0, 1.0]);
    let sum = values(&series, "dora_change_lead_time_seconds_sum", &[]);
    assert_eq!(sum, [0.0, 138_600.0, 138_600.0, 138_600.0]);
    // Recovered after midnight, once, and only what a deployment caused.
    assert_eq!(values(&series, "dora_deployment_recovery_seconds_count", &[]), [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(values(&series, "dora_deployment_recovery_seconds_sum", &[])[3], 1680.0);
    let times: Vec<i64> = series[0].samples.times().collect();
    assert_eq!(times[0], datetime!(2026-03-02 0:00 UTC).unix_timestamp() * 1000);
    assert_eq!(times[3], datetime!(2026-03-05 0:00 UTC).unix_timestamp() * 1000);
}

/// One deployment, and a failure so many hours after it that lasted an hour.
fn failed_after(hours: &[i64]) -> Vec<Event> {
    let at = datetime!(2026-03-02 12:00 UTC);
    let mut lines =
        r#"{"type":"deployment","id":"d","team":"t","service":"s","at":"2026-03-02T12:00:00Z"}"#.to_owned();
    for (number, hours) in hours.iter().enumerate() {
        let time = |hours: i64| {
            let at = at + time::Duration::hours(hours);
            at.format(&time::format_description::well_known::Rfc3339).unwrap()
        };
        let (begun, over) = (time(*hours), time(*hours + 1));
        lines += &format!(
            r#"
{{"type":"failure","id":"f{number}","team":"t","service":"s","at":"{begun}","deployment":"d"}}
{{"type":"recovery","failure":"f{number}","at":"{over}"}}"#
        );
    }
    events(&lines)
}

#[test]
fn failures_that_count_are_the_same_in_the_rate_and_in_the_recoveries() {
    use crate::truth::{Days, summary};
    for (hours, failed, recoveries) in [
        (&[1][..], 1, 1),
        (&[72], 1, 1),
        // Three days and an hour later, or before it: no failure of this deployment.
        (&[73], 0, 0),
        (&[-1], 0, 0),
        (&[-1, 1], 1, 1),
        (&[1, 2, 17 * 24], 1, 2),
    ] {
        let events = failed_after(hours);
        let (first, until) = (date!(2026 - 03 - 01), date!(2026 - 03 - 31));
        let series = series(&events, first, until);
        let last = |name, labels: &[(&str, &str)]| *values(&series, name, labels).last().unwrap();
        let failures = [("outcome", "failure"), ("kind", "planned")];
        let counted = (last(DEPLOYMENTS, &failures), last("dora_deployment_recovery_seconds_count", &[]));
        assert_eq!(counted, (f64::from(failed), f64::from(recoveries)), "{hours:?}");
        let truth = summary(&events, Days { first, until }, "production", &[]);
        assert_eq!((truth.failed, truth.recoveries.len()), (failed as u64, recoveries as usize), "{hours:?}");
        let rows = gauges::rows(&observe(&events), first, date!(2026 - 03 - 22));
        let row = rows.last().unwrap().1;
        assert_eq!(row[2], Some(f64::from(failed)), "{hours:?}");
        assert_eq!(row[3].is_some(), recoveries > 0, "{hours:?}");
    }
    // Real events wait less long, if it is said so: neither counts then.
    let late = failed_after(&[30]);
    let counted = |hours| {
        let all = settled(&late, time::Duration::hours(hours));
        let failed = all.iter().any(|one| matches!(one.observed, Observed::Deployment { failed: true, .. }));
        (failed, all.iter().any(|one| matches!(one.observed, Observed::Recovery(_))))
    };
    assert_eq!((counted(72), counted(24)), ((true, true), (false, false)));
}

#[test]
fn the_former_gauges_are_computed_from_the_same_events() {
    let series = series(&events(LINES), date!(2026 - 03 - 02), date!(2026 - 03 - 04));
    let gauge = |name| values(&series, name, &[("team", "orders")]);
    assert_eq!(gauge("dora_deployment_frequency"), [1.0, 2.0, 0.0]);
    assert_eq!(gauge("dora_lead_time_ms"), [138_600_000.0; 3]);
    assert_eq!(gauge("dora_change_failure_rate"), [1.0, 1.0 / 3.0, 1.0 / 3.0]);
    // Nothing had been recovered from on the first day.
    assert_eq!(gauge("dora_mttr_minutes"), [28.0, 28.0]);
    let mttr = series.iter().find(|one| one.name == "dora_mttr_minutes").unwrap();
    assert_eq!(mttr.samples.time(0), datetime!(2026-03-04 0:00 UTC).unix_timestamp() * 1000);
}

#[test]
fn buckets_name_what_they_counted() {
    let series = series(&events(LINES), date!(2026 - 03 - 02), date!(2026 - 03 - 04));
    let exemplars: Vec<_> = series
        .iter()
        .flat_map(|one| one.exemplars.iter().map(|exemplar| (one.labels.get("le"), exemplar)))
        .map(|(le, exemplar)| (le, exemplar.value, exemplar.label, exemplar.id.as_str()))
        .collect();
    assert_eq!(
        exemplars,
        [("172800.0", 138_600.0, "change_id", "c1"), ("1800.0", 1680.0, "failure_id", "f1")]
    );
}

#[test]
fn gauges_look_back_28_days() {
    let line = |day: u32| {
        format!(
            r#"{{"type":"deployment","id":"d{day}","team":"t","service":"s","at":"2026-03-{day:02}T10:00:00Z"}}
{{"type":"failure","id":"f{day}","team":"t","service":"s","at":"2026-03-{day:02}T11:00:00Z","deployment":"d{day}"}}
"#
        )
    };
    let ok = r#"{"type":"deployment","id":"ok","team":"t","service":"s","at":"2026-03-20T10:00:00Z"}"#;
    let events = events(&(line(1) + ok));
    let rows = gauges::rows(&observe(&events), date!(2026 - 03 - 28), date!(2026 - 04 - 17));
    let rates: Vec<_> = rows.iter().map(|(_, row)| row[2]).collect();
    // The 28th is the last day whose window holds the 1st; on 17 April the 20th is out, too.
    assert_eq!(rates[..2], [Some(0.5), Some(0.0)]);
    assert_eq!(rates[19..], [Some(0.0), None]);
    // A range that begins later has the same values.
    assert_eq!(gauges::rows(&observe(&events), date!(2026 - 04 - 01), date!(2026 - 04 - 17)), rows[4..]);
}

#[test]
fn the_order_of_events_does_not_matter() {
    let mut reversed = events(LINES);
    reversed.reverse();
    let range = (date!(2026 - 03 - 02), date!(2026 - 03 - 04));
    assert_eq!(series(&reversed, range.0, range.1), series(&events(LINES), range.0, range.1));
}

#[test]
fn cardinality_is_known_before() {
    let names = simulator::teams(20);
    let all: Vec<Series> =
        simulated(names.clone(), 1, date!(2025 - 06 - 30), 2, Histograms::CLASSIC).collect();
    let scopes = names.iter().map(|name| Scope::of(&Team::new(name, 1)));
    assert_eq!(cardinality(scopes.clone(), Histograms::CLASSIC), all.len() as u64);
    // A native one of each, for each team.
    let both = simulated(names.clone(), 1, date!(2025 - 06 - 30), 2, Histograms::NATIVE);
    assert_eq!(cardinality(scopes, Histograms::NATIVE), both.count() as u64);
    // README.md and docs/metrics.md say how many the usual ones are.
    let usual = simulator::teams(39).into_iter().map(|name| Scope::of(&Team::new(&name, 1)));
    assert_eq!(cardinality(usual.clone(), Histograms::CLASSIC), 1474);
    assert_eq!(cardinality(usual.clone(), Histograms::NATIVE), 1474 + 2 * 39);
    // And what it costs to have them by service: docs/metrics.md.
    let services = 76;
    assert_eq!(cardinality(usual.clone(), Histograms::CLASSIC.by_service(true)), 1474 + 26 * services);
    assert_eq!(cardinality(usual, Histograms::NATIVE.by_service(true)), 1474 + 2 * 39 + 28 * services);
    let thousand = simulator::teams(1000).into_iter().map(|name| Scope::of(&Team::new(&name, 1)));
    let by_service = cardinality(thousand.clone(), Histograms::CLASSIC.by_service(true));
    assert_eq!((cardinality(thousand, Histograms::CLASSIC), by_service), (37_460, 85_950));
}

/// Two services of a team: each has its own lead times and recoveries, and the team has both.
#[test]
fn services_have_histograms_of_their_own_where_they_are_wanted() {
    let lines = r#"
{"type":"change","id":"c1","team":"t","service":"cart","at":"2026-03-02T09:30:00Z"}
{"type":"change","id":"c2","team":"t","service":"cart","at":"2026-03-02T04:00:00Z"}
{"type":"deployment","id":"d1","team":"t","service":"cart","at":"2026-03-02T10:00:00Z","changes":["c1","c2"]}
{"type":"change","id":"c3","team":"t","service":"pay","at":"2026-02-20T10:00:00Z"}
{"type":"deployment","id":"d2","team":"t","service":"pay","at":"2026-03-02T10:00:00Z","changes":["c3"]}
{"type":"failure","id":"f1","team":"t","service":"pay","at":"2026-03-02T11:00:00Z","deployment":"d2"}
{"type":"recovery","failure":"f1","at":"2026-03-02T11:20:00Z"}"#;
    let events = events(lines);
    let day = date!(2026 - 03 - 02);
    let of = |histograms: Histograms| {
        history(&scopes(&events), &events, day, day, Start::WithTheRange, histograms)
    };
    let all = of(Histograms::CLASSIC.by_service(true));
    let last = |name: &str, service: &str, le: &str| {
        *values(&all, name, &[("service", service), ("le", le)]).last().unwrap()
    };
    let lead = "dora_service_change_lead_time_seconds_bucket";
    assert_eq!((last(lead, "cart", "3600.0"), last(lead, "cart", "+Inf")), (1.0, 2.0));
    assert_eq!((last(lead, "pay", "604800.0"), last(lead, "pay", "1.2096e+06")), (0.0, 1.0));
    let recovery = "dora_service_deployment_recovery_seconds";
    assert_eq!(last(&format!("{recovery}_bucket"), "pay", "900.0"), 0.0);
    assert_eq!(last(&format!("{recovery}_bucket"), "pay", "1800.0"), 1.0);
    assert_eq!(last(&format!("{recovery}_sum"), "pay", ""), 1200.0);
    assert_eq!(last(&format!("{recovery}_count"), "cart", ""), 0.0);
    // Each begins with a zero, and the team's are what they would be without.
    assert!(
        all.iter()
            .filter(|one| one.name.starts_with("dora_service_"))
            .all(|one| { !one.labels.get("service").is_empty() && one.samples.plain()[0].1 == 0.0 })
    );
    let (theirs, others): (Vec<Series>, Vec<Series>) =
        all.into_iter().partition(|one| one.name.starts_with("dora_service_"));
    assert_eq!((others, theirs.len()), (of(Histograms::CLASSIC), 2 * 26));
    // And as native ones.
    let native = of(Histograms::NATIVE.by_service(true));
    let native = native.iter().filter(|one| one.samples.is_native());
    let named: Vec<_> = native.map(|one| (one.name, one.labels.get("service"))).collect();
    assert_eq!(
        named,
        [
            (LEAD_TIME, ""),
            (RECOVERY, ""),
            (SERVICE_LEAD_TIME, "cart"),
            (SERVICE_LEAD_TIME, "pay"),
            (SERVICE_RECOVERY, "cart"),
            (SERVICE_RECOVERY, "pay"),
        ]
    );
    // The text of a push has them, and their families only then.
    let now = datetime!(2026-03-03 0:00 UTC);
    for by_service in [false, true] {
        let histograms = Histograms::CLASSIC.by_service(by_service);
        let live = Live::of(&scopes(&events), observe(&events), histograms, now);
        let text = text(std::iter::once(&live), Format::Text, &["job", "team"]);
        for family in [SERVICE_LEAD_TIME, SERVICE_RECOVERY] {
            assert_eq!(text.contains(&format!("# TYPE {family} histogram")), by_service, "{text}");
        }
        let line =
            "dora_service_deployment_recovery_seconds_sum{environment=\"production\",service=\"pay\"} 1200\n";
        assert_eq!(text.contains(line), by_service, "{text}");
    }
}

/// A deployment at 23:30 UTC is of the next day in Berlin; what is stored for days of UTC stays.
#[test]
fn a_zones_days_have_ends_of_their_own_beside_those_of_utc() {
    let berlin = Zone::named("Europe/Berlin").unwrap();
    let (first, until) = (date!(2026 - 03 - 02), date!(2026 - 03 - 03));
    let events = events(LINES);
    let all = history::history_in(&berlin, &scopes(&events), &events, first, until, Histograms::CLASSIC);
    let failed = all.iter().find(|one| {
        one.name == DEPLOYMENTS
            && (one.labels.get("outcome"), one.labels.get("kind")) == ("failure", "planned")
    });
    let found: Vec<_> = failed.unwrap().samples.plain().to_vec();
    let at = |at: OffsetDateTime| at.unix_timestamp() * 1000;
    assert_eq!(
        found,
        [
            (at(datetime!(2026-03-02 0:00 UTC)), 0.0),
            (at(datetime!(2026-03-02 23:00 UTC)), 0.0),
            (at(datetime!(2026-03-03 0:00 UTC)), 1.0),
            (at(datetime!(2026-03-03 23:00 UTC)), 1.0),
            (at(datetime!(2026-03-04 0:00 UTC)), 1.0),
        ]
    );
    // A year with both changes of clocks and the counters' restart.
    let (names, until) = (simulator::teams(1), date!(2025 - 11 - 30));
    let utc = simulated(names.clone(), 1, until, 365, Histograms::NATIVE);
    let new_york = Zone::named("America/New_York").unwrap();
    let zoned = simulated_in(new_york.clone(), names, 1, until, 365, Histograms::NATIVE);
    for (utc, zoned) in utc.zip(zoned).filter(|(utc, _)| !GAUGES.contains(&utc.name)) {
        let times: Vec<i64> = zoned.samples.times().collect();
        assert!(times.is_sorted_by(|a, b| a < b));
        assert_eq!(zoned.samples.len(), utc.samples.len() + 365);
        assert!(utc.samples.times().all(|at| times.contains(&at)));
        let ends = (0..365).map(|back| at(new_york.begin(until - time::Duration::days(back))));
        assert!(ends.into_iter().all(|end| times.contains(&end)), "{:?}", zoned.name);
    }
}

#[test]
fn counters_never_go_down_but_at_new_year_when_all_are_zero() {
    let new_year = datetime!(2025-01-01 0:00:01 UTC).unix_timestamp() * 1000;
    let all = simulated(simulator::teams(4), 1, date!(2025 - 02 - 10), 90, Histograms::CLASSIC);
    for series in all.filter(|series| !GAUGES.contains(&series.name)) {
        assert_eq!(series.samples.len(), 92);
        for pair in series.samples.plain().windows(2) {
            assert!(pair[0].0 < pair[1].0);
            assert!(pair[0].1 <= pair[1].1 || pair[1] == (new_year, 0.0), "{series:?}");
        }
    }
}

#[test]
fn a_day_has_one_value_whatever_the_range() {
    let range = |until: Date, days| {
        simulated(simulator::teams(3), 9, until, days, Histograms::NATIVE).collect::<Vec<_>>()
    };
    let (short, long) = (range(date!(2025 - 01 - 20), 30), range(date!(2025 - 02 - 20), 100));
    for (short, long) in short.iter().zip(&long) {
        assert_eq!((short.name, &short.labels), (long.name, &long.labels));
        if short.samples.is_empty() {
            continue;
        }
        let begin = long.samples.times().position(|time| time == short.samples.time(0)).unwrap();
        for index in 0..short.samples.len() {
            assert_eq!(long.samples.get(begin + index), short.samples.get(index));
        }
    }
}

/// What nobody did is told by its label, on each way that series are made; what somebody did has none.
#[test]
fn every_simulated_series_says_so_and_no_real_one_does() {
    let histograms = Histograms::NATIVE.by_service(true);
    let until = date!(2025 - 06 - 30);
    let berlin = Zone::named("Europe/Berlin").unwrap();
    let simulated: Vec<Series> = simulated(simulator::teams(2), 1, until, 3, histograms)
        .chain(simulated_in(berlin, simulator::teams(2), 1, until, 3, histograms))
        .collect();
    for name in [DEPLOYMENTS, LEAD_TIME, RECOVERY, SERVICE_LEAD_TIME].into_iter().chain(GAUGES) {
        assert!(simulated.iter().any(|one| one.name.starts_with(name)), "{name}");
    }
    assert!(simulated.iter().any(|one| one.samples.is_native()));
    for one in &simulated {
        assert_eq!(one.labels.get(SIMULATED), "true", "{}{}", one.name, one.labels);
    }
    let now = datetime!(2025-06-30 12:00 UTC);
    let live = Live::new("search", 1, histograms, now);
    let labels = || live.values().map(|one| one.1).chain(live.natives().map(|one| one.1));
    assert!(labels().count() > 50);
    assert!(labels().all(|labels| labels.get(SIMULATED) == "true"));
    // Whoever pushes or scrapes sees it.
    for format in [Format::Text, Format::OpenMetrics] {
        let text = text(std::iter::once(&live), format, &["job", "team"]);
        let samples = || text.lines().filter(|line| !line.starts_with('#'));
        assert!(samples().count() > 50);
        assert!(samples().all(|line| line.contains("simulated=\"true\"")), "{text}");
    }

    let events = events(LINES);
    let (first, settle) = (date!(2026 - 03 - 02), time::Duration::ZERO);
    let real: Vec<Series> = collected(&[], &events, settle, first, 2, histograms)
        .chain(history(&scopes(&events), &events, first, first, Start::EachYear, histograms))
        .chain(series(&events, first, first))
        .collect();
    assert!(real.len() > 50 && real.iter().all(|one| one.labels.get(SIMULATED).is_empty()));
    let live = Live::of(&scopes(&events), observe(&events), histograms, now);
    assert!(live.values().all(|one| one.1.get(SIMULATED).is_empty()));
    assert!(live.natives().all(|one| one.1.get(SIMULATED).is_empty()));
}

#[test]
fn live_goes_on_where_the_history_ends() {
    let until = date!(2025 - 01 - 12);
    let history: Vec<Series> = simulated(vec!["search".into()], 1, until, 60, Histograms::CLASSIC).collect();
    let at = |time: OffsetDateTime, live: &Live| {
        let milliseconds = time.unix_timestamp() * 1000;
        for ((name, labels, value), series) in live.values().zip(&history) {
            assert_eq!((name, labels), (series.name, &series.labels));
            let stored = series.samples.plain().iter().find(|(time, _)| *time == milliseconds);
            assert_eq!(stored.map(|(_, value)| *value), Some(value as f64), "{name}{labels} at {time}");
        }
    };
    // From before the new year, step by step and by jumps.
    let mut now = datetime!(2024-12-10 0:00 UTC);
    let mut live = Live::new("search", 1, Histograms::CLASSIC, now);
    at(now, &live);
    for hours in [1, 23, 48, 7, 17, 24 * 10, 24 * 12, 24] {
        now += time::Duration::hours(hours);
        live.advance(now);
        if now.hour() == 0 && now.ordinal() != 1 {
            at(now, &live);
        }
    }
    let later = datetime!(2025-01-13 0:00 UTC);
    assert!(live.advance(later));
    at(later, &live);
    at(later, &Live::new("search", 1, Histograms::CLASSIC, later));
    assert!(!live.advance(later));
}

#[test]
fn a_push_is_in_the_text_format() {
    let live = Live::new("search", 1, Histograms::CLASSIC, datetime!(2025-01-13 0:00 UTC));
    let text = text(std::iter::once(&live), Format::Text, &["job", "team"]);
    for line in [
        "# TYPE dora_deployments_total counter",
        "# TYPE dora_change_lead_time_seconds histogram",
        "# TYPE dora_deployment_recovery_seconds histogram",
    ] {
        assert_eq!(text.matches(line).count(), 1, "{text}");
    }
    let labels = r#"{environment="production",le="+Inf",simulated="true"} "#;
    assert!(text.contains(&format!("dora_change_lead_time_seconds_bucket{labels}")), "{text}");
    assert!(!text.contains("team=") && !text.contains("job="));
}

#[test]
fn edges_are_written_as_prometheus_writes_them() {
    let edges: Vec<String> =
        [300, 604_800, 1_209_600, 2_592_000, 5_184_000, 1_000_000].map(counters::le).to_vec();
    assert_eq!(edges, ["300.0", "604800.0", "1.2096e+06", "2.592e+06", "5.184e+06", "1e+06"]);
}

#[test]
fn a_failed_rework_is_both() {
    let lines = r#"
{"type":"deployment","id":"d1","team":"t","service":"s","at":"2026-03-02T10:00:00Z","kind":"rework"}
{"type":"failure","id":"f1","team":"t","service":"s","at":"2026-03-02T10:10:00Z","deployment":"d1"}"#;
    let observed: Vec<_> = observe(&events(lines)).into_iter().map(|one| one.observed).collect();
    assert_eq!(observed, [Observed::Deployment { failed: true, kind: Kind::Rework }]);
}

#[test]
fn a_change_that_a_deployment_names_twice_came_once() {
    let all = events(
        r#"{"type":"change","id":"c1","team":"t","service":"s","at":"2026-03-02T09:00:00Z"}
{"type":"deployment","id":"d1","team":"t","service":"s","at":"2026-03-02T10:00:00Z","changes":["c1","c1"]}
"#,
    );
    let lead_times = |observed: &Observation| matches!(observed.observed, Observed::LeadTime(_));
    assert_eq!(observe(&all).iter().filter(|one| lead_times(one)).count(), 1);
}

/// Its rate and its recoveries are one team's and one service's: those of the deployment.
#[test]
fn a_recovery_is_of_the_team_whose_deployment_failed() {
    let lines = r#"{"type":"deployment","id":"d","team":"o","service":"cart","at":"2026-03-02T10:00:00Z"}
{"type":"failure","id":"f","team":"p","service":"pay","at":"2026-03-02T11:00:00Z","deployment":"d"}
{"type":"recovery","failure":"f","at":"2026-03-02T12:00:00Z"}"#;
    let observed = observe(&events(lines));
    let of: Vec<_> = observed.iter().map(|one| (one.team.as_str(), one.service.as_str())).collect();
    assert_eq!(of, [("o", "cart"), ("o", "cart")], "{observed:?}");
}
