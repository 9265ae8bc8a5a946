//! A report of two teams with a hole and a stale one, in every format; and one of nothing.

use time::macros::{date, datetime};

use super::*;

fn report() -> Report {
    let figures = Figures {
        deployments: Some(56.0),
        frequency: Some(2.0),
        lead_time: Some(90_000.0),
        failure_rate: Some(0.125),
        recovery: None,
        rework_rate: Some(0.05),
        changes: Some(40.0),
        failed: Some(7.0),
        recoveries: Some(0.0),
        rework: Some(3.0),
    };
    let before = Figures { frequency: Some(1.0), failure_rate: Some(0.1), ..figures };
    let team = |name: &str, deployments: f64, gaps: Vec<Date>, age| Team {
        name: name.into(),
        simulated: false,
        figures: Figures { deployments: Some(deployments), frequency: Some(deployments / 28.0), ..figures },
        days: 28,
        deployments_by_period: vec![Some(deployments / 4.0); 4],
        days_by_period: vec![7; 4],
        age,
        first_day: Some(date!(2026 - 03 - 01)),
        last_day: Some(date!(2026 - 03 - 28)),
        gaps,
        compared: true,
        before: None,
        moves: Vec::new(),
        silent_since: None,
    };
    let teams = vec![
        team("few", 6.0, vec![], Some(3.0)),
        team("many & more", 50.0, vec![date!(2026 - 03 - 07)], None),
    ];
    let day = |day: i64| Day {
        date: date!(2026 - 03 - 01) + time::Duration::days(day),
        stored: 52,
        sent: Some(52),
    };
    let integrity = Integrity {
        series: 52,
        days: (0..28).map(day).collect(),
        delivery: Some(Delivery { lag: 1.0, pending: 0.0, failed: 0.0 }),
        checks: Vec::new(),
    };
    let period = |week: i64| Period {
        until: date!(2026 - 03 - 07) + time::Duration::days(7 * week),
        days: 7,
        figures,
    };
    Report {
        schema: SCHEMA,
        subject: "dora <script>alert(1)</script>".into(),
        source: "https://mimir.dora.internal:9009".into(),
        generated: datetime!(2026-03-29 08:05 UTC),
        environment: "production".into(),
        simulated: false,
        simulated_left_out: 0,
        timezone: "UTC".into(),
        settle_hours: Some(72),
        asked: date!(2026 - 03 - 01),
        first: date!(2026 - 03 - 01),
        until: date!(2026 - 03 - 28),
        days: 28,
        covered_days: 28,
        bands_year: 2023,
        bands: classify(&figures, 2, 2023),
        all: figures,
        previous: Some(before),
        comparison: Some(Comparison {
            now: figures,
            before,
            days: 28,
            moves: Vec::new(),
            without: Vec::new(),
        }),
        period_days: 7,
        periods: (0..4).map(period).collect(),
        integrity: Integrity { checks: integrity::checks(&integrity, &teams, 28, 0), ..integrity },
        ranked_by: None,
        teams,
        services: None,
        other_environments: vec![],
        native_histograms: false,
        queries: 33,
    }
}

fn empty() -> Report {
    let full = report();
    let integrity = Integrity::default();
    Report {
        all: Figures::default(),
        previous: None,
        comparison: None,
        bands: classify(&Figures::default(), 0, 2023),
        periods: vec![],
        teams: vec![],
        integrity: Integrity { checks: integrity::checks(&integrity, &[], 28, 0), ..integrity },
        other_environments: vec!["prod".into()],
        ..full
    }
}

#[test]
fn the_page_says_everything_and_takes_nothing_from_elsewhere() {
    let page = html(&report(), Key::Frequency);
    for words in [
        "2026-03-01 to 2026-03-28 (28 days, UTC)",
        "✗ 2 problems with the data",
        "high · 2023",
        "of all teams; the average team once a day",
        "12.5 %",
        "share of deployments: 7 of 56",
        "median of 40",
        "12.5 % (7 of 50)",
        "count 72 hours after they happened",
        "▲ 100 %</span>",
        "▲ 2.5 points</span>",
        "Needs attention",
        "No team got worse by more than chance would explain. Look at the data first: 1 of 2 teams have no value",
        "“Better” and “worse” are said against the 28 days before",
        "DORA publishes no bands for it",
        "1 of 2 teams have no value of the last 5 minutes: many &amp; more (last on 2026-03-28)",
        "days without a sample: many &amp; more (2026-03-07)",
        "all 1,456 daily samples that were sent are stored",
        "many &amp; more: 2026-03-07 to 2026-03-07 no sample",
        "prefers-color-scheme: dark",
        "histogram_quantile(0.5",
    ] {
        assert!(page.contains(words), "{words} is not in\n{page}");
    }
    assert!(!page.contains("<script"), "nothing of a value is markup");
    assert!(!page.contains("NaN") && !page.contains(">inf"), "every figure is a figure");
    // Addresses are told, not fetched: links stay within the page, or lead to DORA's when followed.
    assert!(!page.contains("src=") && !page.contains("@import") && !page.contains("<link"));
    let links = page.match_indices("href=\"").map(|(at, found)| &page[at + found.len()..]);
    for link in links {
        assert!(
            link.starts_with('#') || link.starts_with("https://dora.dev/capabilities/"),
            "{}",
            &link[..40]
        );
    }
    assert_eq!(page.matches("url(").count(), page.matches("url(#missing)").count());
    let few = page.find(">few</th>").unwrap();
    assert!(page.find(">many &amp; more</th>").unwrap() < few, "ranked by deployments");
}

/// A year's comparison in which one team got worse, one better, one stopped, and one is too small.
fn moving() -> Report {
    let mut report = report();
    let one = report.teams[0].clone();
    let before = Figures {
        deployments: Some(210.0),
        failed: Some(17.0),
        failure_rate: Some(17.0 / 210.0),
        ..one.figures
    };
    let now = Figures {
        deployments: Some(208.0),
        failed: Some(40.0),
        failure_rate: Some(40.0 / 208.0),
        lead_time: Some(180_000.0),
        ..before
    };
    let moved = |metric, better, chance| Move { metric, better, chance };
    let team = |name: &str, figures, moves| Team {
        name: name.into(),
        figures,
        before: Some(before),
        moves,
        age: Some(2.0),
        gaps: Vec::new(),
        ..one.clone()
    };
    report.teams = vec![
        team("calm", before, Vec::new()),
        team("<worse>", now, vec![moved("failure-rate", false, 1e-5), moved("lead-time", false, 1e-4)]),
        team("gone", before, Vec::new()),
        team("improved", before, vec![moved("lead-time", true, 1e-6)]),
        team("tiny", Figures { deployments: Some(3.0), ..before }, Vec::new()),
    ];
    report.teams[2].silent_since = Some(date!(2026 - 03 - 08));
    report.teams[4].before = Some(Figures { deployments: Some(2.0), ..before });
    report.integrity.checks = integrity::checks(&report.integrity, &report.teams, 28, 0);
    report
}

#[test]
fn a_reader_sees_first_what_got_worse_and_what_to_do() {
    let page = html(&moving(), Key::Frequency);
    let attention = page.find("id=\"attention\"").unwrap();
    assert!(attention < page.find("id=\"overview\"").unwrap(), "it comes first");
    for words in [
        "Look at &lt;worse&gt; first: change failure rate 8.1 % → 19.2 % (17 of 210, then 40 of 208).",
        "lead time for changes 1 d → 2.1 d (40, then 40 changes)",
        "<h3>Stopped deploying</h3>",
        "no deployment since 2026-03-08",
        "<h3>Got better</h3>",
        "Too little happened to judge 1 team.",
        "href=\"https://dora.dev/capabilities/test-automation/\"",
        "got worse for 1 team",
        "<small class=\"bad\">▲ 11.1 points, worse</small>",
        "<small class=\"bad\">▲ 100 %, worse</small>",
    ] {
        assert!(page.contains(words), "{words} is not in\n{page}");
    }
    let movers = &page[page.find("id=\"movers\"").unwrap()..];
    let at = |name: &str| movers.find(&format!("<th scope=\"row\">{name}</th>")).unwrap();
    assert!(at("improved") < at("&lt;worse&gt;"), "what chance explains least comes first");
    // Of whom nothing can be said nothing is.
    let groups = &page[attention..page.find("id=\"remedies\"").unwrap()];
    assert!(!groups.contains("calm") && !groups.contains("tiny"), "{groups}");

    // Invented teams are no finding.
    let mut simulated = Report { simulated: true, ..moving() };
    simulated.teams.iter_mut().for_each(|team| team.simulated = true);
    let page = html(&simulated, Key::Frequency);
    let said = page.find("it says nothing about them").unwrap();
    assert!(said < page.find("Look at &lt;worse&gt; first").unwrap());
    assert!(!html(&moving(), Key::Frequency).contains("no finding about any"));

    // Nothing to compare with: nothing is worse.
    let alone = Report { comparison: None, previous: None, ..moving() };
    let alone = Report {
        teams: alone
            .teams
            .iter()
            .map(|team| Team { before: None, moves: Vec::new(), silent_since: None, ..team.clone() })
            .collect(),
        ..alone
    };
    let page = html(&alone, Key::Frequency);
    assert!(
        page.contains("Nothing can be called better or worse: as many days before are not stored."),
        "{page}"
    );
    // What to do is about the lowest band then.
    assert!(page.contains("the weakest of your metrics: medium by the 2023 report"), "{page}");
    let json = serde_json::to_value(moving()).unwrap();
    assert_eq!(json["teams"][1]["moves"][0]["metric"], "failure-rate");
    assert_eq!(
        (&json["teams"][1]["before"]["failed"], &json["teams"][2]["silent_since"]),
        (&17.into(), &"2026-03-08".into())
    );
}

#[test]
fn teams_are_ranked_in_every_format() {
    let by = |key| moving().ranked(key);
    let mut other = by(Key::FailureRate);
    let last = "<worse>";
    assert_eq!(other.teams.last().unwrap().name, last);
    assert_eq!(csv(&other).lines().last().unwrap().split(',').next(), Some(last));
    let md = markdown(&other);
    let row = |name: &str| md.find(&format!("\n| {name} |")).unwrap();
    assert!(row("calm") < row("\\<worse\\>") && row("tiny") < row("\\<worse\\>"), "{md}");
    let json = serde_json::to_value(&other).unwrap();
    assert_eq!((&json["ranked_by"], &json["teams"][4]["name"]), (&"failure-rate".into(), &last.into()));
    let page = html(&other, Key::FailureRate);
    let row = |name: &str| page.find(&format!("left\">{name}</th>")).unwrap();
    assert!(row("tiny") < row("&lt;worse&gt;"));
    // Who deployed nothing has no rank by it.
    other.teams[0].figures = Figures { deployments: Some(0.0), frequency: Some(0.0), ..Figures::default() };
    let name = other.teams[0].name.clone();
    assert_eq!(other.ranked(Key::Frequency).teams.last().unwrap().name, name);
    assert_eq!(serde_json::to_value(moving()).unwrap()["ranked_by"], serde_json::Value::Null);
}

/// Nobody takes invented figures for real ones, in whichever format.
#[test]
fn simulated_data_says_so_in_every_format() {
    let real = report();
    let mut simulated = Report { simulated: true, ..report() };
    simulated.teams.iter_mut().for_each(|team| team.simulated = true);
    let words = "Simulated data: every figure is of 2 simulated teams, not of real ones.";
    let page = html(&simulated, Key::Frequency);
    let (banner, heading) = (page.find(words).unwrap(), page.find("<h1>").unwrap());
    assert!(banner < heading, "the banner is above all else");
    assert!(
        page.contains("2 problems with the simulated data") && page.contains("simulated=&quot;true&quot;")
    );
    let text = markdown(&simulated);
    assert!(text.contains(&format!("\n> **{words}**\n\n")), "{text}");
    let table = csv(&simulated);
    assert!(table.lines().next().unwrap().ends_with(",simulated"));
    assert!(table.lines().skip(1).all(|line| line.ends_with(",true")), "{table}");
    let json = serde_json::to_value(&simulated).unwrap();
    assert_eq!((&json["simulated"], &json["teams"][0]["simulated"]), (&true.into(), &true.into()));
    // The good data of nobody is no good news.
    simulated.integrity.checks.iter_mut().for_each(|check| check.standing = Standing::Good);
    let page = html(&simulated, Key::Frequency);
    assert!(page.contains("! simulated data") && !page.contains("no problem with the data"));

    for (format, shown) in [("html", html(&real, Key::Frequency)), ("md", markdown(&real))] {
        assert!(!shown.contains("imulated data") && !shown.contains("simulated team"), "{format}");
    }
    assert!(csv(&real).lines().skip(1).all(|line| line.ends_with(",false")));
    assert!(html(&real, Key::Frequency).contains("simulated=&quot;&quot;"));
    // What is stored beside is told.
    let beside = Report { simulated_left_out: 39, ..report() };
    for shown in [html(&beside, Key::Frequency), markdown(&beside)] {
        assert!(shown.contains("39 simulated teams are stored, too, and left out."), "{shown}");
    }
    assert_eq!(serde_json::to_value(&beside).unwrap()["simulated_left_out"], 39);
}

/// A thousand teams with names as people give them, two of which lack days.
fn thousand() -> Report {
    let few = report();
    let team = |index: usize| {
        let mut team = few.teams[index % 2].clone();
        team.name = format!("team-of-something-{index:04}");
        team.figures.deployments = Some(5.0 + (index * 37 % 997) as f64);
        team.figures.frequency = team.figures.deployments.map(|count| count / 28.0);
        team.figures.lead_time = Some(60.0 * (1 + index * 61 % 9973) as f64);
        team.figures.recovery = (!index.is_multiple_of(3)).then_some(90.0 * (1 + index * 17 % 997) as f64);
        team.deployments_by_period = (0..12).map(|week| Some(((index + week) * 7 % 40) as f64)).collect();
        team.gaps = if index < 2 { vec![date!(2026 - 03 - 05); index + 1] } else { Vec::new() };
        team.age = Some(if index == 7 { 4_000.0 } else { 4.0 });
        team.before = Some(Figures { lead_time: Some(86_400.0), ..team.figures });
        if index % 4 == 1 {
            let better = team.figures.lead_time < Some(86_400.0);
            team.moves = vec![Move { metric: "lead-time", better, chance: 1e-9 * index as f64 }];
        }
        team
    };
    let teams: Vec<Team> = (0..1000).map(team).collect();
    let integrity =
        Integrity { checks: integrity::checks(&few.integrity, &teams, 28, 0), ..few.integrity.clone() };
    Report { teams, integrity, ..few }
}

#[test]
fn a_page_of_a_thousand_teams_is_small_and_has_each_of_them_without_a_script() {
    let report = thousand();
    let page = html(&report, Key::LeadTime);
    assert!(page.len() < 300_000, "{} bytes", page.len());
    let (before, rest) = page.split_once("<script>").unwrap();
    let (_, after) = rest.split_once("</script>").unwrap();
    assert!(!after.contains("<script") && !page.contains("src="));
    let without = format!("{before}{after}");
    for team in &report.teams {
        assert_eq!(without.matches(&format!("<th scope=row>{}", team.name)).count(), 1, "{}", team.name);
    }
    // Fifty a page, the first of them open; what is hidden is only the search.
    assert_eq!(without.matches("<details class=\"page\"").count(), 20);
    assert_eq!(without.matches("<details class=\"page\" open>").count(), 1);
    assert_eq!(without.matches(" hidden>").count(), 1);
    assert!(without.contains("<summary>51 to 100 <span class=\"faint\">"), "{without}");
    for words in [
        "team-of-something-0001 <b class=bad>lacks 2 d</b>",
        "Of 1,000 teams 2 lack a day, and 1 have no value of the last 5 minutes; here are 3 of them",
        "of 33 queries",
        "its script only searches",
        "<b class=bad>▲ ",
        "<b class=good>▼ ",
        "The JSON has all 250 of them.",
        // On a phone a row is a card, and each figure says what it is.
        "td:nth-child(4)::before { content: \"Lead time\"; }",
    ] {
        assert!(without.contains(words), "{words} is not in\n{without}");
    }
    let best = without.find("team-of-something-0000").unwrap();
    assert!(best < without.find("team-of-something-0003").unwrap(), "ranked by lead time");
    assert!(!page.contains("NaN") && !page.contains(">inf"));
}

#[test]
fn what_a_histogram_does_not_know_is_told_as_over_its_last_edge() {
    assert_eq!(Key::LeadTime.text(Some(60.0 * 86_400.0)), "over 60 d");
    assert_eq!(Key::LeadTime.text(Some(59.0 * 86_400.0)), "59 d");
    assert_eq!(Key::Recovery.text(Some(30.0 * 86_400.0)), "over 30 d");
    assert_eq!(Key::Recovery.text(None), words::NOTHING);
    // What a native one knows is told as it is.
    assert_eq!(Key::LeadTime.text(Some(75.0 * 86_400.0)), "75 d");
}

#[test]
fn what_a_picture_shows_is_told_to_those_who_do_not_see_it() {
    let page = html(&report(), Key::Frequency);
    let pictures = page.matches("<svg").count();
    let told = page.matches("role=\"img\" aria-labelledby=").count();
    let silent = page.matches("aria-hidden=\"true\"").count();
    assert_eq!(pictures, told + silent);
    // Every name that a picture is labelled by is there, once.
    for at in page.match_indices("aria-labelledby=\"").map(|(at, found)| at + found.len()) {
        for id in page[at..].split('"').next().unwrap().split(' ') {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
    }
}

#[test]
fn a_rank_is_by_what_is_asked_for_and_no_figure_comes_last() {
    let mut report = report();
    report.teams[0].figures.lead_time = None;
    let names = |by| {
        let rows = serde_json::to_value(comparison::ranked(&report, by)).unwrap();
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(Key::Frequency), ["many & more", "few"]);
    assert_eq!(names(Key::LeadTime), ["many & more", "few"]);
    report.teams[0].figures.lead_time = Some(60.0);
    let rows = serde_json::to_value(comparison::ranked(&report, Key::LeadTime)).unwrap();
    assert_eq!(rows[0]["name"], "few");
    assert_eq!(rows[0]["cells"][1]["band"], "elite");
}

#[test]
fn an_empty_range_is_no_error() {
    let page = html(&empty(), Key::Frequency);
    for words in
        ["No deployment is stored in this range", "prod (--environment)", "nothing to show", "no data"]
    {
        assert!(page.contains(words), "{words} is not in\n{page}");
    }
    assert!(!page.contains("NaN") && !page.contains("elite ·"));
    let text = markdown(&empty());
    assert!(text.contains("**No deployment is stored in this range.**"), "{text}");
    assert_eq!(csv(&empty()).lines().count(), 2);
    // Nothing is known: that is not zero.
    let json = serde_json::to_value(empty()).unwrap();
    for (figure, value) in json["all"].as_object().unwrap() {
        assert!(value.is_null(), "{figure}: {value}");
    }
    assert!(text.contains("| **all** | – | – |"), "{text}");
    assert!(csv(&empty()).ends_with("(all),2026-03-01,2026-03-28,,,,,,,,,,,,,false\n"), "{}", csv(&empty()));
}

#[test]
fn tables_for_pipelines() {
    insta::assert_snapshot!("csv", csv(&report()));
    insta::assert_snapshot!("markdown", markdown(&report()));
    let json = serde_json::to_value(report()).unwrap();
    assert_eq!(json["first"], "2026-03-01");
    assert_eq!(json["teams"][1]["gaps"][0], "2026-03-07");
    assert_eq!(json["integrity"]["checks"][1]["standing"], "bad");
    assert_eq!(json["bands"][1]["band"], "high");
}

#[test]
fn a_day_that_all_teams_lack_is_told_once() {
    let mut report = report();
    for team in &mut report.teams {
        team.gaps = vec![date!(2026 - 03 - 09)];
        team.age = Some(2.0);
    }
    report.integrity.days[8].stored = 0;
    let checks = integrity::checks(&report.integrity, &report.teams, 28, 0);
    let found = |name: &str| checks.iter().find(|check| check.name == name).unwrap();
    assert_eq!(found("gaps").found, "all teams lack 2026-03-09");
    assert_eq!(found("history").found, "1,404 of 1,456 daily samples are stored; missing on 2026-03-09");
    assert_eq!(found("freshness").standing, Standing::Good);
}

/// WCAG 2: the contrast of two colours, 1 to 21.
fn contrast(a: &str, b: &str) -> f64 {
    let luminance = |colour: &str| {
        let digits = colour.trim_start_matches('#');
        let digits: String =
            if digits.len() == 3 { digits.chars().flat_map(|c| [c, c]).collect() } else { digits.into() };
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&digits[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.03928 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn what_is_written_can_be_read_in_light_dark_and_on_paper() {
    let page = html(&report(), Key::Frequency);
    let schemes: Vec<&str> =
        page.split(":root {").skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
    assert_eq!(schemes.len(), 3);
    for scheme in schemes {
        let colour = |name: &str| {
            let at = scheme.find(&format!("--{name}: #")).unwrap_or_else(|| panic!("{name}: {scheme}"));
            let text = &scheme[at + name.len() + 4..];
            &text[..text.find(';').unwrap()]
        };
        let words = ["ink", "faint", "speed", "stability", "good", "bad", "unknown"];
        let on_paper = words.iter().flat_map(|word| [(*word, "paper"), (*word, "card")]);
        let on_tints =
            [("ink", "tint"), ("good", "good-tint"), ("bad", "bad-tint"), ("unknown", "unknown-tint")];
        for (word, ground) in on_paper.chain(on_tints) {
            let found = contrast(colour(word), colour(ground));
            assert!(found >= 4.5, "{word} on {ground}: {found:.2} in {scheme}");
        }
    }
}
