//! A dashboard: its variables, its rows of panels, and its links to the others.

use serde_json::{Value, json};

use super::panel::Panel;

/// Columns of Grafana's grid.
const COLUMNS: u32 = 24;

/// What all dashboards ask about, by the variables that all of them have.
pub const ENVIRONMENT: &str = "environment=\"$environment\"";

pub enum Teams {
    /// It is about no team, and no environment.
    None,
    /// No choice: all of them.
    All,
    /// Some, all at first.
    Some,
    One,
}

pub struct Board {
    pub uid: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    pub teams: Teams,
    /// The range at first.
    pub from: &'static str,
    pub rows: Vec<(&'static str, Vec<Panel>)>,
    pub annotations: Vec<Value>,
}

impl Board {
    pub fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.rows.iter().flat_map(|(_, panels)| panels)
    }

    /// As Grafana reads it.
    pub fn json(&self) -> Value {
        let mut panels = Vec::new();
        let (mut id, mut y) = (0, 0);
        for (title, row) in &self.rows {
            id += 1;
            panels.push(json!({
                "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            }));
            y += 1;
            let (mut x, mut tallest) = (0, 0);
            for panel in row {
                if x + panel.width > COLUMNS {
                    (x, y, tallest) = (0, y + tallest, 0);
                }
                id += 1;
                panels.push(panel.render(id, (x, y)));
                x += panel.width;
                tallest = tallest.max(panel.height);
            }
            y += tallest;
        }
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["dora"],
            "schemaVersion": 39,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            // Days are UTC, everywhere.
            "timezone": "utc",
            "weekStart": "monday",
            "time": {"from": self.from, "to": "now"},
            "timepicker": {"refresh_intervals": ["10s", "1m", "5m", "1h"]},
            "refresh": "1m",
            "fiscalYearStartMonth": 0,
            "liveNow": false,
            "links": [{
                "type": "dashboards", "title": "DORA", "icon": "dashboard", "tags": ["dora"], "asDropdown": false,
                "includeVars": true, "keepTime": true, "targetBlank": false, "tooltip": "", "url": "",
            }],
            "annotations": {"list": self.annotations},
            "templating": {"list": self.variables()},
            "panels": panels,
        })
    }

    fn variables(&self) -> Vec<Value> {
        let source = json!({"type": "prometheus", "uid": "${datasource}"});
        let labels = |name: &str, label: &str, expression: String| {
            json!({
                "type": "query", "name": name, "label": label, "datasource": source, "query": {"query": expression, "refId": name}, "refresh": 2, "sort": 1, "regex": "", "hide": 0,
                "skipUrlSync": false, "multi": false, "includeAll": false, "options": [],
            })
        };
        let mut all = vec![
            json!({
                "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus",
                "current": {"text": "Mimir", "value": "mimir", "selected": true}, "hide": 0, "regex": "",
                "skipUrlSync": false, "multi": false, "includeAll": false, "refresh": 1, "options": [],
            }),
            labels("environment", "Environment", "label_values(dora_deployments_total, environment)".into()),
        ];
        all[1]["current"] = json!({"text": "production", "value": "production", "selected": true});
        let mut team =
            labels("team", "Team", format!("label_values(dora_deployments_total{{{ENVIRONMENT}}}, team)"));
        match self.teams {
            Teams::None => return all[..1].to_vec(),
            Teams::All => return all,
            Teams::Some => {
                team["multi"] = true.into();
                team["includeAll"] = true.into();
                team["allValue"] = ".+".into();
                team["current"] = json!({"text": ["All"], "value": ["$__all"], "selected": true});
            }
            Teams::One => {}
        }
        all.push(team);
        all
    }
}
