//! A dashboard: its variables, its rows of panels, and its links to the others.

use serde_json::{Value, json};

use super::panel::{Panel, Unit, VERMILLION, now};

/// Columns of Grafana's grid.
const COLUMNS: u32 = 24;

/// What all dashboards ask about, by the variables that all of them have.
pub const ENVIRONMENT: &str = "environment=\"$environment\",simulated=~\"$simulated\"";

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
    /// What else can be chosen.
    pub choices: Vec<Value>,
    /// The range at first.
    pub from: &'static str,
    pub rows: Vec<(&'static str, Vec<Panel>)>,
    pub annotations: Vec<Value>,
}

/// A variable with some values, and what each is called; the first of them at first.
pub fn choice(name: &str, label: &str, values: &[(&str, &str)]) -> Value {
    let options: Vec<Value> = values
        .iter()
        .enumerate()
        .map(|(index, (text, value))| json!({"text": text, "value": value, "selected": index == 0}))
        .collect();
    let query: Vec<String> = values
        .iter()
        .map(|(text, value)| if text == value { (*value).to_owned() } else { format!("{text} : {value}") })
        .collect();
    json!({
        "type": "custom", "name": name, "label": label, "query": query.join(","), "options": options,
        "current": {"text": values[0].0, "value": values[0].1, "selected": true}, "hide": 0,
        "skipUrlSync": false, "multi": false, "includeAll": false,
    })
}

/// Teams on a page. What is shown of each team is shown of so many at once.
pub const PAGE: u32 = 25;

/// Which page of the teams.
pub fn pages() -> Value {
    let numbers: Vec<String> = (1..=80).map(|page| page.to_string()).collect();
    let values: Vec<(&str, &str)> = numbers.iter().map(|page| (page.as_str(), page.as_str())).collect();
    choice("page", "Page of the teams", &values)
}

/// Of one value for each team those that are on the chosen page, largest (or smallest)
/// first. Where many have the same value, one may be on two pages; each is on one.
pub fn page_of(values: &str, largest_first: bool) -> String {
    let (top, sort) = if largest_first { ("topk", "sort_desc") } else { ("bottomk", "sort") };
    format!("{sort}({top}({PAGE} * $page, {values}) unless {top}({PAGE} * ($page - 1), {values}))")
}

/// The values of the label `team` of an expression's answers, all of them chosen, and seen
/// by nobody.
pub fn teams_of(name: &str, expression: &str) -> Value {
    json!({
        "type": "query", "name": name, "label": "", "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": format!("query_result({expression})"), "refId": name}, "refresh": 2, "sort": 0,
        "regex": "/team=\"([^\"]+)\"/", "hide": 2, "skipUrlSync": true, "multi": true, "includeAll": true,
        "options": [], "current": {"text": ["All"], "value": ["$__all"], "selected": true},
    })
}

/// Whether real teams are shown or simulated ones, by the answers of [`kinds`]: `real` comes first
/// and is what is shown where there is any in the range, as Grafana takes the first value where none
/// is chosen, or one that is not there. The values are what the label `simulated` is matched with.
fn kind() -> Value {
    json!({
        "type": "query", "name": "simulated", "label": "Data",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": format!("query_result({})", kinds()), "refId": "simulated"}, "refresh": 2, "sort": 1,
        "regex": KIND, "hide": 0, "skipUrlSync": false, "multi": false, "includeAll": false, "options": [],
    })
}

/// An answer for each kind of series that is there, by the label `kind`: `real|`, which is also
/// a regular expression for no label at all, and `simulated|true`.
pub fn kinds() -> String {
    let there = "group by (simulated) (last_over_time(dora_deployments_total{environment=\"$environment\"}[$__range]))";
    format!(
        "label_replace(label_replace({there}, \"kind\", \"real|\", \"simulated\", \"\"), \
         \"kind\", \"simulated|true\", \"simulated\", \"true\")"
    )
}

/// Of such an answer the value, and what it is called.
pub const KIND: &str = "/kind=\"(?<value>(?<text>[a-z]+)[^\"]*)\"/";

/// Above all else: that what is shown is simulated, where it is.
fn banner() -> Panel {
    let simulated = format!("dora_deployments_total{{{ENVIRONMENT},simulated=\"true\"}}");
    Panel::stat(
        "Whose data",
        "Whether the teams that are shown are real or simulated. The choice above says which are shown: where there \
         are real ones in the range, these, unless somebody chooses otherwise.",
        Unit::Count,
        now(format!("count(group by (team) (last_over_time({simulated}[$__range])))"), ""),
    )
    .words(&[(Some(0.5), None, "SIMULATED DATA: no team that is shown is real".into(), VERMILLION)])
    .no_data_means("no simulated team is shown")
    .filled()
    .size(COLUMNS, 3)
}

impl Board {
    /// With words above all else where what is shown is simulated.
    pub fn with_banner(mut self) -> Self {
        if let Some((_, panels)) = self.rows.first_mut() {
            panels.insert(0, banner());
        }
        self
    }

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
            // How far each column is filled: a panel goes as high up as there is room for it.
            let mut filled = [y; COLUMNS as usize];
            for panel in row {
                let columns = |x: u32| x as usize..(x + panel.width) as usize;
                let top = |x: &u32| filled[columns(*x)].iter().copied().max().unwrap_or(y);
                let x = (0..=COLUMNS - panel.width).min_by_key(top).expect("a panel fits into the grid");
                let top = top(&x);
                id += 1;
                panels.push(panel.render(id, (x, top)));
                filled[columns(x)].fill(top + panel.height);
            }
            y = filled.into_iter().max().unwrap_or(y);
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
        let mut all = self.of_all_boards();
        all.extend(self.choices.iter().cloned());
        all
    }

    fn of_all_boards(&self) -> Vec<Value> {
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
        all.push(kind());
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
