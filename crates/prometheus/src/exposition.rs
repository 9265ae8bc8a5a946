//! The Prometheus text format and OpenMetrics, as much of them as is needed.

use std::fmt::Write;

use super::escaped;

/// What is written, as whoever asks for it can read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The Prometheus text format, 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// By a request's `Accept`: OpenMetrics where it is named, as Prometheus does.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What stands before the lines of one family.
    pub fn family(self, text: &mut String, name: &str, kind: &str, help: &str) {
        // In OpenMetrics a counter's family has not the ending of its samples.
        let name = match self {
            Self::OpenMetrics if kind == "counter" => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// What stands after all families.
    pub fn end(self, text: &mut String) {
        if self == Self::OpenMetrics {
            text.push_str("# EOF\n");
        }
    }
}

/// One line of a family.
pub fn sample<'a>(
    text: &mut String,
    name: &str,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    value: impl std::fmt::Display,
) {
    text.push_str(name);
    let mut before = '{';
    for (label, of) in labels {
        let _ = write!(text, "{before}{label}=\"{}\"", escaped(of));
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_written_as_they_are_defined() {
        let write = |format: Format| {
            let mut text = String::new();
            format.family(&mut text, "dora_deployments_total", "counter", "Deployments.");
            sample(&mut text, "dora_deployments_total", [("team", "a\"b"), ("kind", "planned")], 3);
            format.family(&mut text, "dora_marker", "gauge", "When it was pushed.");
            sample(&mut text, "dora_marker", [], 42.5);
            format.end(&mut text);
            text
        };
        insta::assert_snapshot!(write(Format::Text), @r#"
        # HELP dora_deployments_total Deployments.
        # TYPE dora_deployments_total counter
        dora_deployments_total{team="a\"b",kind="planned"} 3
        # HELP dora_marker When it was pushed.
        # TYPE dora_marker gauge
        dora_marker 42.5
        "#);
        insta::assert_snapshot!(write(Format::OpenMetrics), @r#"
        # HELP dora_deployments Deployments.
        # TYPE dora_deployments counter
        dora_deployments_total{team="a\"b",kind="planned"} 3
        # HELP dora_marker When it was pushed.
        # TYPE dora_marker gauge
        dora_marker 42.5
        # EOF
        "#);
    }

    #[test]
    fn openmetrics_is_written_to_whoever_asks_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("text/html,*/*;q=0.8"), Format::Text);
        assert_eq!(Format::accepted(""), Format::Text);
    }
}
