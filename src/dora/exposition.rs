//! The Prometheus text format, as much of it as is needed.

use std::fmt::Write;

use super::seed::METRICS;

const HELP: [&str; 4] = [
    "Deployments to production on this day.",
    "Mean lead time for changes over 28 days, milliseconds.",
    "Share of deployments that failed, over 28 days.",
    "Mean time to recover from a failed deployment over 28 days, minutes.",
];

/// The four gauges, without labels: a Pushgateway adds those of the group.
pub fn gauges(values: &[f64; 4]) -> String {
    let mut text = String::with_capacity(512);
    for ((name, help), value) in METRICS.iter().zip(HELP).zip(values) {
        gauge(&mut text, name, help, "", *value);
    }
    text
}

/// What stands before the lines of one family.
pub fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// One gauge; `labels` is empty or like `{run_id="7"}`, already escaped.
pub fn gauge(text: &mut String, name: &str, help: &str, labels: &str, value: f64) {
    family(text, name, "gauge", help);
    let _ = writeln!(text, "{name}{labels} {value}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn gauges_are_in_the_text_format() {
        insta::assert_snapshot!(super::gauges(&[3.0, 7_200_000.0, 0.125, 42.5]), @r"
        # HELP dora_deployment_frequency Deployments to production on this day.
        # TYPE dora_deployment_frequency gauge
        dora_deployment_frequency 3
        # HELP dora_lead_time_ms Mean lead time for changes over 28 days, milliseconds.
        # TYPE dora_lead_time_ms gauge
        dora_lead_time_ms 7200000
        # HELP dora_change_failure_rate Share of deployments that failed, over 28 days.
        # TYPE dora_change_failure_rate gauge
        dora_change_failure_rate 0.125
        # HELP dora_mttr_minutes Mean time to recover from a failed deployment over 28 days, minutes.
        # TYPE dora_mttr_minutes gauge
        dora_mttr_minutes 42.5
        ");
    }
}
