//! A series as it is stored: its name, its labels, its samples.

use std::fmt;

use super::JOB;

/// One series and its samples, in the order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Metric name.
    pub name: &'static str,
    pub labels: Labels,
    /// Milliseconds since 1970 (UTC), value.
    pub samples: Vec<(i64, f64)>,
    /// In the order of time, none later than the last sample.
    pub exemplars: Vec<Exemplar>,
}

/// One of the things that a histogram counted: where to look when its bucket is
/// too full.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Milliseconds since 1970 (UTC).
    pub timestamp_ms: i64,
    /// Seconds.
    pub value: f64,
    /// The label that names it: `change_id`, for example.
    pub label: &'static str,
    pub id: String,
}

/// All labels but the name, `job="dora"` among them, sorted by their names and
/// each of them once: what two senders have to agree on to mean one series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Vec<(String, String)>);

/// The longest value of a label, in characters. Receivers refuse a whole request
/// for one label that is too long (Mimir: 2048 bytes), and nobody reads it.
pub const LONGEST_VALUE: usize = 128;

impl Labels {
    /// Values are shortened to [`LONGEST_VALUE`]; what no receiver stores, an
    /// empty value, is left out, as it would be there.
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut all = vec![("job".to_owned(), JOB.to_owned())];
        for (name, value) in labels {
            let value = valid(value);
            if !value.is_empty() && !all.iter().any(|(other, _)| other == name) {
                all.push((name.to_owned(), value));
            }
        }
        all.sort();
        Self(all)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A label's value; empty where there is none, as everywhere in Prometheus.
    pub fn get(&self, name: &str) -> &str {
        self.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value)
    }
}

/// `{team="orders"}`: without the job, which is the same everywhere.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.iter().filter(|(name, _)| *name != "job").enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{name}=\"{}\"", escaped(value))?;
        }
        f.write_str("}")
    }
}

/// A label's value as it is sent: no control characters, no spaces around it,
/// not too long. Two names that differ only later become one: the same team.
pub fn valid(value: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let short: String = value.trim().chars().map(clean).take(LONGEST_VALUE).collect();
    short.trim_end().to_owned()
}

/// As the text format wants a label's value.
pub fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_once_and_never_empty() {
        let labels = Labels::new([("team", "orders"), ("kind", "planned"), ("environment", "")]);
        let all: Vec<_> = labels.iter().collect();
        assert_eq!(all, [("job", "dora"), ("kind", "planned"), ("team", "orders")]);
        assert_eq!((labels.get("team"), labels.get("environment")), ("orders", ""));
        assert_eq!(labels.to_string(), r#"{kind="planned",team="orders"}"#);
        assert_eq!(Labels::new([("team", "a"), ("team", "b")]).get("team"), "a");
    }

    #[test]
    fn values_are_made_valid() {
        assert_eq!(valid(" a\nb\t"), "a b");
        assert_eq!(valid(&"ü".repeat(500)).chars().count(), LONGEST_VALUE);
        assert_eq!(escaped("a\"b\\c"), "a\\\"b\\\\c");
    }
}
