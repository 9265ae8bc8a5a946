//! The rules of Grafana's dashboard-linter, restated, as far as they are about
//! dashboards like these. Not taken over: those that want the variables `job` and
//! `instance` (the series of teams have no instance, and one job), and
//! `$__rate_interval` in every range (the past has one sample a day; what is
//! asked over whole days is exact, see docs/metrics.md).

use std::collections::BTreeSet;

use serde_json::Value;

use super::boards;

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// Panels that show something; rows are headings.
fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    list(board, "panels").iter().filter(|panel| panel["type"] != "row")
}

fn each(mut check: impl FnMut(&str, &Value)) {
    for board in boards() {
        let json = board.json();
        check(board.uid, &json);
    }
}

#[test]
fn template_datasource_rule() {
    each(|uid, board| {
        let variable = &list(&board["templating"], "list")[0];
        assert_eq!(
            (&variable["name"], &variable["type"]),
            (&"datasource".into(), &"datasource".into()),
            "{uid}"
        );
        assert_eq!(variable["query"], "prometheus", "{uid}");
    });
}

#[test]
fn template_on_time_change_reload_rule() {
    each(|uid, board| {
        for variable in list(&board["templating"], "list").iter().filter(|one| one["type"] == "query") {
            assert_eq!(variable["refresh"], 2, "{uid}: {}", variable["name"]);
        }
    });
}

#[test]
fn panel_datasource_rule() {
    each(|uid, board| {
        for panel in panels(board) {
            for target in list(panel, "targets") {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{uid}: {}", panel["title"]);
            }
        }
    });
}

#[test]
fn panel_title_description_rule() {
    each(|uid, board| {
        for panel in panels(board) {
            let (title, description) =
                (panel["title"].as_str().unwrap(), panel["description"].as_str().unwrap());
            assert!(!title.is_empty() && description.len() > 20, "{uid}: {title}: {description}");
            assert!(description.ends_with('.'), "{uid}: {title}: {description}");
        }
    });
}

#[test]
fn panel_units_rule() {
    each(|uid, board| {
        for panel in panels(board).filter(|panel| panel["type"] != "text") {
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{uid}: {}", panel["title"]);
        }
    });
}

#[test]
fn panel_no_targets_rule() {
    each(|uid, board| {
        for panel in panels(board).filter(|panel| panel["type"] != "text") {
            assert!(!list(panel, "targets").is_empty(), "{uid}: {}", panel["title"]);
        }
    });
}

#[test]
fn target_counter_agg_rule() {
    each(|uid, board| {
        for panel in panels(board) {
            for target in list(panel, "targets") {
                let expression = target["expr"].as_str().unwrap();
                // A counter's bare value depends on when it began.
                let counted = expression.contains("_total{") || expression.contains("_bucket{");
                let by_change = ["increase(", "rate(", "last_over_time(", "timestamp("];
                assert!(
                    !counted || by_change.iter().any(|of| expression.contains(of)),
                    "{uid}: {}: {expression}",
                    panel["title"]
                );
            }
        }
    });
}

/// And ours: nothing is where something else is, no number is twice, nobody is
/// left with an empty panel and no word.
#[test]
fn panels_have_a_place_a_number_and_words_for_no_data() {
    each(|uid, board| {
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in list(board, "panels") {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{uid}: {}", panel["title"]);
            let of = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            assert!(of("x") + of("w") <= 24, "{uid}: {}", panel["title"]);
            for x in of("x")..of("x") + of("w") {
                for y in of("y")..of("y") + of("h") {
                    assert!(taken.insert((x, y)), "{uid}: {} covers another", panel["title"]);
                }
            }
        }
        for panel in panels(board) {
            assert!(panel["fieldConfig"]["defaults"]["noValue"].is_string(), "{uid}: {}", panel["title"]);
        }
        // Grafana's own palettes are not for every sight.
        assert!(!board.to_string().contains("palette-classic"), "{uid}");
        assert_eq!(list(board, "links")[0]["tags"][0], "dora", "{uid}: links to the others");
        assert_eq!((&board["timezone"], &board["uid"]), (&"utc".into(), &uid.into()));
    });
}

/// A classic histogram knows nothing beyond its last edge, and tells that edge: as "over" it,
/// wherever a percentile is shown in figures.
#[test]
fn a_time_beyond_the_last_bucket_is_told_as_over_it() {
    let mut shown = 0;
    each(|uid, board| {
        for panel in panels(board).filter(|panel| panel["type"] != "histogram") {
            let of = list(panel, "targets").iter().any(|target| {
                let expression = target["expr"].as_str().unwrap();
                expression.contains("dora_")
                    && (expression.contains("histogram_quantile(") || expression.contains(":p"))
            });
            // The bands of a report end long before.
            if !of || panel["title"].as_str().unwrap().contains(": band of ") {
                continue;
            }
            let config = panel["fieldConfig"].to_string();
            assert!(
                config.contains("\"over 60 d\"") || config.contains("\"over 30 d\""),
                "{uid}: {}",
                panel["title"]
            );
            shown += 1;
        }
    });
    assert!(shown > 8, "{shown}");
}

/// Grafana's own rule for ranges (`getValueMappingResult`): the first that the value is in,
/// both ends counted, and an end that is null is zero.
fn called(panel: &Value, value: f64) -> Option<&str> {
    let end = |of: &Value| of.as_f64().unwrap_or(0.0);
    list(&panel["fieldConfig"]["defaults"], "mappings")
        .iter()
        .map(|mapping| &mapping["options"])
        .find(|range| value >= end(&range["from"]) && value <= end(&range["to"]))
        .and_then(|range| range["result"]["text"].as_str())
}

#[test]
fn each_value_has_its_band_by_grafanas_rule_for_ranges() {
    const DAY: f64 = 86_400.0;
    let cases: [(&str, &[(f64, &str)]); 4] = [
        (
            "Deployments / day",
            &[(0.0, "low"), (0.1, "medium"), (0.5, "high"), (1.0, "elite"), (30.0, "elite")],
        ),
        ("Lead time", &[(3600.0, "elite"), (DAY, "high"), (8.0 * DAY, "medium"), (90.0 * DAY, "low")]),
        ("Failure rate", &[(0.0, "elite"), (0.07, "high"), (0.12, "medium"), (0.4, "low")]),
        ("Recovery", &[(60.0, "elite"), (2.0 * DAY, "medium"), (60.0 * DAY, "low")]),
    ];
    let board = boards().into_iter().find(|board| board.uid == "dora-overview").unwrap().json();
    for (key, values) in cases {
        let panel = panels(&board)
            .find(|panel| {
                panel["title"].as_str().is_some_and(|title| title.starts_with(&format!("{key}: band of ")))
            })
            .unwrap();
        for (value, band) in values {
            assert_eq!(called(panel, *value), Some(*band), "{key}: {value}");
        }
    }
}

/// Grafana moves a panel up as far as it can: where it could, what is seen is not what
/// was meant, and there is a hole.
#[test]
fn each_panel_is_as_high_as_it_can_be() {
    let place = |panel: &Value| {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        (at("x")..at("x") + at("w"), at("y")..at("y") + at("h"))
    };
    each(|uid, board| {
        let all: Vec<_> = list(board, "panels").iter().map(|panel| (&panel["title"], place(panel))).collect();
        let columns_of = |from: u64| {
            all.iter()
                .filter(move |(_, (_, rows))| rows.end == from)
                .flat_map(|(_, (columns, _))| columns.clone())
        };
        for (title, (columns, rows)) in &all {
            let supported = rows.start == 0
                || columns.clone().any(|column| columns_of(rows.start).any(|one| one == column));
            assert!(supported, "{uid}: {title} hangs in the air");
        }
    });
}
