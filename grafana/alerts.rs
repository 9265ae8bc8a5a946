//! What somebody should be told without looking: the pipeline's own failures.
//! Alerts on the metrics themselves are each organisation's own.

use serde_json::{Value, json};

use super::pipeline::{FRESH, age, lost_replicas, remote, silent};

const REAL: &str = "environment=\"production\",simulated=\"\"";
const SIMULATED: &str = "environment=\"production\",simulated=\"true\"";

/// Of real teams; of simulated ones only where there was no real one within `range`: they end when
/// real ones begin, and nobody has to be told.
fn of_real_teams_if_any(of: impl Fn(&str) -> String, range: &str) -> String {
    format!(
        "({}) or (({}) unless on () group(last_over_time(dora_deployments_total{{{REAL}}}[{range}])))",
        of(REAL),
        of(SIMULATED)
    )
}

pub struct Alert {
    uid: &'static str,
    title: &'static str,
    pub expression: String,
    /// Fires above this.
    above: f64,
    /// For so long.
    lasting: &'static str,
    summary: &'static str,
    description: &'static str,
    panel: &'static str,
}

pub fn alerts() -> Vec<Alert> {
    vec![
        Alert {
            uid: "dora-stale-team",
            title: "A team's values are stale",
            expression: of_real_teams_if_any(age, "1d"),
            above: FRESH,
            lasting: "5m",
            summary: "No new value of the team {{ $labels.team }} for more than five minutes",
            description: "The generator does not push this team, or the agent does not deliver: dorainfra stack status.",
            panel: "Age of each team's newest value",
        },
        Alert {
            uid: "dora-silent-team",
            title: "A team has fallen silent",
            expression: of_real_teams_if_any(|selector| silent(selector, "7d"), "7d"),
            above: 0.5,
            lasting: "10m",
            summary: "The team {{ $labels.team }} had values within the week, and has none of the last day",
            description: "If the team is no more, this ends by itself after a week.",
            panel: "Silent teams",
        },
        Alert {
            uid: "dora-samples-given-up",
            title: "The agent gives samples up",
            expression: format!("sum(increase({}[10m]))", remote("samples_failed_total")),
            above: 0.5,
            lasting: "0s",
            summary: "Samples could not be delivered and are lost",
            description: "The endpoint refuses them: the agent's log says why (dorainfra stack logs); dorainfra verify says which are missing.",
            panel: "Samples given up",
        },
        Alert {
            uid: "dora-lost-replica",
            title: "A replica is lost",
            expression: lost_replicas(),
            above: 0.5,
            lasting: "5m",
            summary: "A member of Mimir's rings is not active",
            description: "With three replicas, writes and queries go on; a second loss would end that. dorainfra status shows the machines.",
            panel: "Members of Mimir's rings",
        },
    ]
}

/// Grafana's provisioning file. `dashboard` has the panels that alerts lead to.
pub fn json(dashboard: &Value) -> Value {
    let rule = |alert: &Alert| {
        let panels = dashboard["panels"].as_array().into_iter().flatten();
        let panel =
            panels.into_iter().find(|panel| panel["title"] == alert.panel).expect("the panel is there");
        json!({
            "uid": alert.uid,
            "title": alert.title,
            "condition": "above",
            "for": alert.lasting,
            "dashboardUid": dashboard["uid"],
            "panelId": panel["id"],
            // Nothing to be stale, and no ring, is no alarm; a query that fails is one.
            "noDataState": "OK",
            "execErrState": "Error",
            "labels": {"source": "dorainfra"},
            "annotations": {
                // In annotations Grafana leaves `$name` alone, unlike in all else of the file.
                "summary": alert.summary,
                "description": alert.description,
                "__dashboardUid__": dashboard["uid"],
                "__panelId__": panel["id"].to_string(),
            },
            "data": [
                {
                    "refId": "value",
                    "datasourceUid": "mimir",
                    "relativeTimeRange": {"from": 600, "to": 0},
                    "model": {"refId": "value", "expr": alert.expression, "instant": true, "range": false},
                },
                {
                    "refId": "above",
                    "datasourceUid": "__expr__",
                    "relativeTimeRange": {"from": 0, "to": 0},
                    "model": {
                        "refId": "above",
                        "type": "threshold",
                        "expression": "value",
                        "conditions": [{"evaluator": {"type": "gt", "params": [alert.above]}}],
                    },
                },
            ],
        })
    };
    json!({
        "apiVersion": 1,
        "groups": [{
            "orgId": 1,
            "name": "pipeline",
            "folder": "DORA",
            "interval": "1m",
            "rules": alerts().iter().map(rule).collect::<Vec<_>>(),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Grafana replaces `$name` in all of the file but annotations and queries, and there
    /// nothing is escaped: `$$labels` would be no template.
    #[test]
    fn a_dollar_stands_where_grafana_leaves_it_alone_and_once() {
        let rules = json(&super::super::pipeline::board().json());
        let mut templates = 0;
        for rule in rules["groups"][0]["rules"].as_array().unwrap() {
            let mut rest = rule.clone();
            let annotations = rest.as_object_mut().unwrap().remove("annotations").unwrap().to_string();
            for query in rest["data"].as_array_mut().unwrap() {
                query["model"] = Value::Null;
            }
            assert!(!rest.to_string().contains('$'), "{rest}");
            assert!(!annotations.contains("$$"), "{annotations}");
            templates += annotations.matches("{{ $labels.").count();
            assert_eq!(rule["annotations"]["__panelId__"], rule["panelId"].to_string());
        }
        assert!(templates > 1);
    }
}
