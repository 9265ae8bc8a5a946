//! A series as it is stored: its name, its labels, its samples.

use std::fmt;

use super::native::Histogram;

/// The label `job` of every series, history and live.
pub const JOB: &str = "dora";

/// One series and its samples, in the order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Metric name.
    pub name: &'static str,
    pub labels: Labels,
    pub samples: Samples,
    /// In the order of time, none later than the last sample.
    pub exemplars: Vec<Exemplar>,
}

/// The samples of one series, each with its time: milliseconds since 1970 (UTC).
/// All are of one kind, as the protocol wants it; so a plain one is 16 bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    Plain(Vec<(i64, f64)>),
    Native(Vec<(i64, Histogram)>),
}

/// What a sample says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Plain(f64),
    Native(&'a Histogram),
}

impl Series {
    /// The same with what is not older than some time; `None`: nothing is.
    pub fn since(&self, time: i64) -> Option<Self> {
        let begin = self.samples.times().take_while(|at| *at < time).count();
        if begin == self.samples.len() {
            return None;
        }
        let samples = match &self.samples {
            Samples::Plain(samples) => Samples::Plain(samples[begin..].to_vec()),
            Samples::Native(samples) => Samples::Native(samples[begin..].to_vec()),
        };
        let exemplars = self.exemplars.iter().filter(|one| one.timestamp_ms >= time).cloned().collect();
        Some(Self { name: self.name, labels: self.labels.clone(), samples, exemplars })
    }
}

impl From<Vec<(i64, f64)>> for Samples {
    fn from(samples: Vec<(i64, f64)>) -> Self {
        Self::Plain(samples)
    }
}

impl Samples {
    pub fn len(&self) -> usize {
        match self {
            Self::Plain(samples) => samples.len(),
            Self::Native(samples) => samples.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_native(&self) -> bool {
        matches!(self, Self::Native(_))
    }

    /// The plain ones; none of a series of native histograms.
    pub fn plain(&self) -> &[(i64, f64)] {
        match self {
            Self::Plain(samples) => samples,
            Self::Native(_) => &[],
        }
    }

    /// Panics where there are not so many.
    #[inline]
    pub fn get(&self, index: usize) -> (i64, Value<'_>) {
        match self {
            Self::Plain(samples) => (samples[index].0, Value::Plain(samples[index].1)),
            Self::Native(samples) => (samples[index].0, Value::Native(&samples[index].1)),
        }
    }

    /// Panics where there are not so many.
    pub fn time(&self, index: usize) -> i64 {
        self.get(index).0
    }

    pub fn times(&self) -> impl DoubleEndedIterator<Item = i64> + '_ {
        (0..self.len()).map(|index| self.time(index))
    }

    pub fn last_time(&self) -> Option<i64> {
        self.times().next_back()
    }

    /// So many plain samples take as much room, roughly.
    pub fn weight(&self) -> u64 {
        match self {
            Self::Plain(samples) => samples.len() as u64,
            Self::Native(samples) => samples.iter().map(|(_, histogram)| histogram.weight()).sum(),
        }
    }
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

    /// These and one more; a label of that name has the new value.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let own = self.iter().filter(|(other, _)| *other != "job");
        Self::new(std::iter::once((name, value)).chain(own))
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
        let more = labels.with("simulated", "true");
        assert_eq!(more.to_string(), "{kind=\"planned\",simulated=\"true\",team=\"orders\"}");
        assert_eq!((more.get("job"), more.with("team", "x").get("team")), (JOB, "x"));
    }

    #[test]
    fn values_are_made_valid() {
        assert_eq!(valid(" a\nb\t"), "a b");
        assert_eq!(valid(&"ü".repeat(500)).chars().count(), LONGEST_VALUE);
        assert_eq!(escaped("a\"b\\c"), "a\\\"b\\\\c");
    }
}
