//! Panels as values: what a panel needs is an argument, so that none is without
//! a description, a unit or words for when there is no data.

use serde_json::{Value, json};

/// Okabe and Ito's colours, which people with any sight tell apart.
pub const BLUE: &str = "#0072B2";
pub const SKY: &str = "#56B4E9";
pub const ORANGE: &str = "#E69F00";
pub const VERMILLION: &str = "#D55E00";
pub const GREEN: &str = "#009E73";
/// What stands behind something else.
pub const GREY: &str = "#808080";

/// The step of what has one sample a day.
pub const DAILY: &str = "1d";
pub const WEEKLY: &str = "7d";

/// The end of a range without one.
const BEYOND_ALL: f64 = 1e12;

/// Units, by Grafana's names for them.
#[derive(Clone, Copy)]
pub enum Unit {
    /// A number of things.
    Count,
    Seconds,
    /// 0..1
    Share,
    /// Things a second.
    Rate,
    /// Of memory: by 1024.
    Bytes,
}

impl Unit {
    fn id(self) -> &'static str {
        match self {
            Self::Count => "short",
            Self::Seconds => "s",
            Self::Share => "percentunit",
            Self::Rate => "cps",
            Self::Bytes => "bytes",
        }
    }
}

/// What is asked, and how the answer is named.
pub struct Query {
    pub expression: String,
    legend: &'static str,
    /// One value, at the end of the range; else values over time.
    pub instant: bool,
    /// The least time between two values.
    pub step: Option<&'static str>,
    format: &'static str,
}

/// The value at the end of the range.
pub fn now(expression: impl Into<String>, legend: &'static str) -> Query {
    Query { expression: expression.into(), legend, instant: true, step: None, format: "time_series" }
}

/// Values over time, at least `step` apart.
pub fn over_time(expression: impl Into<String>, legend: &'static str, step: &'static str) -> Query {
    Query { expression: expression.into(), legend, instant: false, step: Some(step), format: "time_series" }
}

impl Query {
    /// As rows of a table.
    pub fn into_table(self) -> Self {
        Self { format: "table", ..self }
    }

    /// As buckets of a heatmap.
    pub fn into_heatmap(self) -> Self {
        Self { format: "heatmap", ..self }
    }
}

/// A panel, but for its place.
pub struct Panel {
    pub title: String,
    pub queries: Vec<Query>,
    pub width: u32,
    pub height: u32,
    json: Value,
}

impl Panel {
    fn new(kind: &str, title: &str, description: &str, unit: Option<Unit>, queries: Vec<Query>) -> Self {
        let mut json = json!({
            "type": kind,
            "title": title,
            "description": description,
            "transparent": false,
            "fieldConfig": {"defaults": {"noValue": "no data", "mappings": [], "custom": {}}, "overrides": []},
            "options": {},
        });
        if let Some(unit) = unit {
            json["fieldConfig"]["defaults"]["unit"] = unit.id().into();
        }
        Self { title: title.into(), queries, width: 12, height: 8, json }
    }

    /// One big number for each answer.
    pub fn stat(title: &str, description: &str, unit: Unit, query: Query) -> Self {
        let mut panel = Self::new("stat", title, description, Some(unit), vec![query]).size(4, 4);
        panel.json["options"] = json!({
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "auto",
            "wideLayout": true,
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        });
        panel.thresholds(&[(None, BLUE)])
    }

    /// A line for each answer; a gap where there is none.
    pub fn lines(title: &str, description: &str, unit: Unit, queries: Vec<Query>) -> Self {
        Self::series(
            title,
            description,
            unit,
            queries,
            json!({
                "drawStyle": "line", "lineWidth": 2, "fillOpacity": 0, "showPoints": "auto", "pointSize": 5,
                "spanNulls": false,
            }),
        )
    }

    /// Bars over time, one upon the other.
    pub fn bars(title: &str, description: &str, unit: Unit, queries: Vec<Query>) -> Self {
        Self::series(
            title,
            description,
            unit,
            queries,
            json!({
                "drawStyle": "bars", "lineWidth": 0, "fillOpacity": 85, "showPoints": "never", "barAlignment": -1,
                "stacking": {"mode": "normal", "group": "A"},
            }),
        )
    }

    fn series(title: &str, description: &str, unit: Unit, queries: Vec<Query>, custom: Value) -> Self {
        let mut panel = Self::new("timeseries", title, description, Some(unit), queries);
        panel.json["fieldConfig"]["defaults"]["custom"] = custom;
        panel.json["fieldConfig"]["defaults"]["min"] = 0.into();
        // Any number of series: shades of one colour. A few queries: a colour each.
        panel.json["fieldConfig"]["defaults"]["color"] = json!({"mode": "shades", "fixedColor": BLUE});
        if panel.queries.len() > 1 {
            let colours = [BLUE, ORANGE, SKY, GREEN].iter().zip('A'..).take(panel.queries.len());
            let each = colours.map(|(colour, query)| painted("byFrameRefID", &query.to_string(), colour));
            panel.json["fieldConfig"]["overrides"] = each.collect();
        }
        panel.json["options"] = json!({
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        });
        panel
    }

    /// A bar for each answer, in the order of the answers.
    pub fn ranked(title: &str, description: &str, unit: Unit, query: Query) -> Self {
        let mut panel = Self::new("bargauge", title, description, Some(unit), vec![query]).size(8, 20);
        panel.json["fieldConfig"]["defaults"]["min"] = 0.into();
        panel.json["options"] = json!({
            "displayMode": "basic",
            "orientation": "horizontal",
            "namePlacement": "left",
            "valueMode": "text",
            "showUnfilled": true,
            "sizing": "auto",
            "minVizWidth": 8,
            "minVizHeight": 16,
            "maxVizHeight": 300,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": []},
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        });
        panel.thresholds(&[(None, BLUE)])
    }

    /// How many answers are how large.
    pub fn distribution(title: &str, description: &str, unit: Unit, query: Query) -> Self {
        let mut panel = Self::new("histogram", title, description, Some(unit), vec![query]).size(8, 7);
        panel.json["fieldConfig"]["defaults"]["custom"] = json!({"lineWidth": 1, "fillOpacity": 80});
        panel.json["fieldConfig"]["defaults"]["color"] = json!({"mode": "fixed", "fixedColor": BLUE});
        panel.json["options"] = json!({
            "combine": true,
            "bucketCount": 16,
            "bucketOffset": 0,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        });
        panel
    }

    /// Buckets over time; the answers' label `le` is the upper edge.
    pub fn heatmap(title: &str, description: &str, query: Query) -> Self {
        let mut panel =
            Self::new("heatmap", title, description, Some(Unit::Count), vec![query.into_heatmap()]);
        panel.json["options"] = json!({
            "calculate": false,
            "cellGap": 1,
            // One hue from dark to light: no colour has to be told from another.
            "color": {"mode": "scheme", "scheme": "Blues", "steps": 64, "exponent": 0.5, "fill": "dark-blue", "reverse": false},
            "yAxis": {"axisPlacement": "left", "unit": "s", "reverse": false},
            "rowsFrame": {"layout": "auto"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": true},
            "tooltip": {"mode": "single", "yHistogram": false, "showColorScale": false},
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
        });
        panel
    }

    /// A row for each answer, a column for each label that is named.
    pub fn table(title: &str, description: &str, unit: Unit, query: Query, value: &str) -> Self {
        let mut panel = Self::new("table", title, description, Some(unit), vec![query.into_table()]);
        panel.json["options"] =
            json!({"showHeader": true, "cellHeight": "sm", "sortBy": [{"displayName": value, "desc": true}]});
        panel.json["transformations"] = json!([{
            "id": "organize",
            "options": {"excludeByName": {"Time": true, "__name__": true}, "indexByName": {}, "renameByName": {"Value": value}},
        }]);
        panel
    }

    /// A row for each value of the label that all answers have, a column for each answer.
    /// `columns`: how each query's column is called, and its unit; `beyond`: the value of
    /// a column that means more than it, in words.
    pub fn columns(
        title: &str,
        description: &str,
        label: (&str, &str),
        columns: Vec<(&str, Unit, Query)>,
        beyond: impl Fn(&str) -> Option<(u64, String)>,
    ) -> Self {
        let names: Vec<(String, &str, Unit)> = columns
            .iter()
            .zip('A'..)
            .map(|((name, unit, _), query)| (format!("Value #{query}"), *name, *unit))
            .collect();
        let queries: Vec<Query> = columns.into_iter().map(|(_, _, query)| query.into_table()).collect();
        let mut panel = Self::new("table", title, description, Some(Unit::Count), queries);
        panel.json["options"] = json!({"showHeader": true, "cellHeight": "sm", "sortBy": []});
        let mut renamed: serde_json::Map<String, Value> =
            names.iter().map(|(of, name, _)| (of.clone(), (*name).into())).collect();
        renamed.insert(label.0.into(), label.1.into());
        let order: serde_json::Map<String, Value> = std::iter::once(label.0)
            .chain(names.iter().map(|(of, ..)| of.as_str()))
            .enumerate()
            .map(|(index, of)| (of.to_owned(), index.into()))
            .collect();
        panel.json["transformations"] = json!([
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {
                "excludeByName": {"Time": true}, "indexByName": order, "renameByName": renamed,
            }},
        ]);
        let units = names.iter().map(|(_, name, unit)| {
            // A team without a recovery has no time of one; the panel's own words are for an empty table.
            let mut properties =
                vec![json!({"id": "unit", "value": unit.id()}), json!({"id": "noValue", "value": "–"})];
            properties.extend(beyond(name).map(|(value, words)| {
                json!({"id": "mappings", "value": [
                    {"type": "value", "options": {value.to_string(): {"text": words, "index": 0}}},
                ]})
            }));
            json!({"matcher": {"id": "byName", "options": name}, "properties": properties})
        });
        panel.json["fieldConfig"]["overrides"] = units.collect();
        panel.thresholds(&[(None, BLUE)])
    }

    /// Beside the figure, how many events it is of.
    #[must_use]
    pub fn of(mut self, counted: Query) -> Self {
        self.queries.push(counted);
        self.json["options"]["textMode"] = "value_and_name".into();
        self.json["fieldConfig"]["overrides"] = json!([{
            "matcher": {"id": "byFrameRefID", "options": "B"},
            // `short` would round 1,239 to 1 K.
            "properties": [{"id": "unit", "value": "locale"}, {"id": "decimals", "value": 0}],
        }]);
        self
    }

    /// Behind lines, how many events each point is of: faint bars against an axis of their own.
    #[must_use]
    pub fn points_of(mut self, counted: Query) -> Self {
        self.queries.push(counted);
        let query = ('A'..).nth(self.queries.len() - 1).map(String::from);
        let bars = json!({
            "matcher": {"id": "byFrameRefID", "options": query},
            "properties": [
                {"id": "unit", "value": "locale"},
                {"id": "decimals", "value": 0},
                {"id": "custom.axisPlacement", "value": "right"},
                {"id": "custom.drawStyle", "value": "bars"},
                {"id": "custom.barAlignment", "value": -1},
                {"id": "custom.lineWidth", "value": 0},
                {"id": "custom.fillOpacity", "value": 15},
                {"id": "color", "value": {"mode": "fixed", "fixedColor": GREY}},
            ],
        });
        if let Some(overrides) = self.json["fieldConfig"]["overrides"].as_array_mut() {
            overrides.push(bars);
        }
        self
    }

    /// A row for each answer, coloured by its state over time.
    pub fn states(title: &str, description: &str, unit: Unit, query: Query) -> Self {
        let mut panel = Self::new("status-history", title, description, Some(unit), vec![query]);
        panel.json["fieldConfig"]["defaults"]["custom"] = json!({"lineWidth": 0, "fillOpacity": 90});
        panel.json["options"] = json!({
            "showValue": "never",
            "rowHeight": 0.85,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        });
        panel
    }

    /// Words.
    pub fn text(title: &str, description: &str, markdown: &str) -> Self {
        let mut panel = Self::new("text", title, description, None, Vec::new()).size(24, 8);
        panel.json["options"] = json!({"mode": "markdown", "content": markdown});
        panel
    }

    #[must_use]
    pub fn size(mut self, width: u32, height: u32) -> Self {
        (self.width, self.height) = (width, height);
        self
    }

    /// Colours from a value on; the first is for everything below.
    #[must_use]
    pub fn thresholds(mut self, steps: &[(Option<f64>, &str)]) -> Self {
        let steps: Vec<Value> =
            steps.iter().map(|(from, colour)| json!({"value": from, "color": colour})).collect();
        self.json["fieldConfig"]["defaults"]["thresholds"] = json!({"mode": "absolute", "steps": steps});
        self.json["fieldConfig"]["defaults"]["color"] = json!({"mode": "thresholds"});
        self
    }

    /// The value's colour is behind it; where there is none, there is no colour.
    #[must_use]
    pub fn filled(mut self) -> Self {
        self.json["options"]["colorMode"] = "background".into();
        self.thresholds(&[(None, "transparent")])
    }

    /// Good while it is zero.
    #[must_use]
    pub fn zero_is_good(self) -> Self {
        self.thresholds(&[(None, GREEN), (Some(0.5), VERMILLION)])
    }

    /// Words for ranges of values, given from the lowest on, each up to (not including) its number.
    ///
    /// Grafana takes the first range that a value is in, with both of its ends, so the
    /// highest is first; and it takes an end that is null for zero, so all have numbers.
    #[must_use]
    pub fn words(mut self, ranges: &[(Option<f64>, Option<f64>, String, &str)]) -> Self {
        let mappings: Vec<Value> = ranges
            .iter()
            .rev()
            .enumerate()
            .map(|(index, (from, to, text, colour))| {
                let (from, to) = (from.unwrap_or(-BEYOND_ALL), to.unwrap_or(BEYOND_ALL));
                json!({"type": "range", "options": {"from": from, "to": to, "result": {"text": text, "color": colour, "index": index}}})
            })
            .collect();
        self.json["fieldConfig"]["defaults"]["mappings"] = mappings.into();
        self
    }

    /// A value that means more than it: the last edge of a classic histogram.
    #[must_use]
    pub fn means(mut self, value: Option<u64>, words: &str) -> Self {
        if let Some(value) = value {
            let mapping =
                json!({"type": "value", "options": {value.to_string(): {"text": words, "index": 0}}});
            self.json["fieldConfig"]["defaults"]["mappings"] = json!([mapping]);
        }
        self
    }

    /// What is said where there is no answer, which here is an answer.
    #[must_use]
    pub fn no_data_means(mut self, words: &str) -> Self {
        self.json["fieldConfig"]["defaults"]["noValue"] = words.into();
        self
    }

    /// Of the last hours, whatever relative range the dashboard has: of weeks, each point
    /// would stand for an hour and more, and a new stack has none.
    #[must_use]
    pub fn of_late(mut self, range: &str) -> Self {
        self.json["timeFrom"] = range.into();
        self
    }

    /// A colour for all answers.
    #[must_use]
    pub fn colour(mut self, colour: &str) -> Self {
        self.json["fieldConfig"]["defaults"]["color"] = json!({"mode": "fixed", "fixedColor": colour});
        self
    }

    /// Colours of series, by their names.
    #[must_use]
    pub fn series_colours(mut self, colours: &[(&str, &str)]) -> Self {
        let each = colours.iter().map(|(name, colour)| painted("byRegexp", &format!("/{name}$/"), colour));
        self.json["fieldConfig"]["overrides"] = each.collect();
        self
    }

    /// One such panel for each value of a variable.
    #[must_use]
    pub fn repeated(mut self, variable: &str, in_a_row: u32) -> Self {
        self.json["repeat"] = variable.into();
        self.json["repeatDirection"] = "h".into();
        self.json["maxPerRow"] = in_a_row.into();
        self
    }

    /// A link of each value to the dashboard of its team.
    #[must_use]
    pub fn leads_to_team(self) -> Self {
        self.leads_to("${__field.labels.team}")
    }

    /// The same of a table, whose column `team` is called `name`.
    #[must_use]
    pub fn rows_lead_to_team(self, name: &str) -> Self {
        self.leads_to(&format!("${{__data.fields.{name}}}"))
    }

    fn leads_to(mut self, team: &str) -> Self {
        self.json["fieldConfig"]["defaults"]["links"] = json!([{
            "title": format!("{team} in detail"),
            "url": format!(
                "/d/dora-team?var-team={team}&${{datasource:queryparam}}&${{environment:queryparam}}&${{simulated:queryparam}}&\
                 ${{__url_time_range}}"
            ),
        }]);
        self
    }

    /// With its number and place, and its queries.
    pub fn render(&self, id: u32, (x, y): (u32, u32)) -> Value {
        let mut panel = self.json.clone();
        panel["id"] = id.into();
        panel["gridPos"] = json!({"x": x, "y": y, "w": self.width, "h": self.height});
        if self.queries.is_empty() {
            return panel;
        }
        let source = json!({"type": "prometheus", "uid": "${datasource}"});
        panel["datasource"] = source.clone();
        let targets = self.queries.iter().zip('A'..).map(|(query, name)| {
            let mut target = json!({
                "refId": name.to_string(),
                "datasource": source,
                "expr": query.expression,
                "legendFormat": query.legend,
                "instant": query.instant,
                "range": !query.instant,
                "format": query.format,
                "editorMode": "code",
            });
            if let Some(step) = query.step {
                target["interval"] = step.into();
            }
            target
        });
        panel["targets"] = targets.collect();
        panel
    }
}

/// A colour for the series that a matcher finds.
fn painted(matcher: &str, what: &str, colour: &str) -> Value {
    json!({
        "matcher": {"id": matcher, "options": what},
        "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
    })
}
