//! The result of `query`: series and their values.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Role, Style, Table, View};

/// What an endpoint answers to an expression.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Answer {
    pub series: Vec<Series>,
}

/// A series with its samples; a scalar has no labels.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Series {
    pub labels: Map<String, Value>,
    /// Seconds since 1970, and the value as text: it may be `NaN` or `+Inf`.
    pub samples: Vec<(f64, String)>,
}

impl Answer {
    /// Of the items of `data.result`: of a vector, a matrix, or a scalar's two numbers.
    pub fn of(items: Vec<Value>) -> Self {
        let sample = |pair: &Value| {
            let value = pair[1].as_str().map_or_else(|| pair[1].to_string(), str::to_owned);
            (pair[0].as_f64().unwrap_or_default(), value)
        };
        if items.first().is_some_and(Value::is_number) {
            let samples = vec![sample(&Value::Array(items))];
            return Self { series: vec![Series { labels: Map::new(), samples }] };
        }
        let series = items.iter().map(|item| {
            let labels = item["metric"].as_object().cloned().unwrap_or_default();
            let own = [&item["value"], &item["histogram"]].into_iter().filter(|pair| pair.is_array());
            let of_range = [&item["values"], &item["histograms"]].into_iter().filter_map(Value::as_array);
            Series { labels, samples: own.chain(of_range.flatten()).map(sample).collect() }
        });
        let mut series: Vec<Series> = series.collect();
        series.sort_by_key(|one| name(&one.labels));
        Self { series }
    }
}

/// As PromQL writes it: `up{job="a"}`.
fn name(labels: &Map<String, Value>) -> String {
    let metric = labels.get("__name__").and_then(Value::as_str).unwrap_or_default();
    let own = labels.iter().filter(|(label, _)| *label != "__name__");
    let own: Vec<String> = own.map(|(label, value)| format!("{label}={value}")).collect();
    if own.is_empty() && !metric.is_empty() {
        metric.to_owned()
    } else {
        format!("{metric}{{{}}}", own.join(", "))
    }
}

impl View for Answer {
    fn human(&self, style: &Style) -> String {
        if self.series.is_empty() {
            return "no series\n".into();
        }
        let mut table = Table::new(["VALUE", "SERIES"]);
        for one in &self.series {
            for (_, value) in &one.samples {
                table.row([(Role::Plain, value.clone()), (Role::Plain, name(&one.labels))]);
            }
        }
        table.render(style)
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).expect("series are plain data with string keys")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(items: Value) -> String {
        let Value::Array(items) = items else { panic!("a list") };
        Answer::of(items).human(&Style::plain())
    }

    #[test]
    fn vectors_matrices_and_scalars_are_lines() {
        assert_eq!(shown(json!([])), "no series\n");
        let vector = json!([
            {"metric": {"team": "orders", "__name__": "up"}, "value": [1700000000.5, "3"]},
            {"metric": {"team": "cart"}, "value": [1700000000.5, "NaN"]},
            {"metric": {"__name__": "up"}, "value": [1, "1"]},
        ]);
        let lines = "VALUE  SERIES\n1      up\n3      up{team=\"orders\"}\nNaN    {team=\"cart\"}\n";
        assert_eq!(shown(vector), lines);
        assert_eq!(shown(json!([1700000000.5, "42"])), "VALUE  SERIES\n42     {}\n");
        let matrix = json!([{"metric": {}, "values": [[1, "1"], [2, "2"]]}]);
        assert_eq!(shown(matrix), "VALUE  SERIES\n1      {}\n2      {}\n");
    }
}
