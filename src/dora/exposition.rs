//! The Prometheus text format, as much of it as is needed.

use std::fmt::Write;

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
    fn a_gauge_is_in_the_text_format() {
        let mut text = String::new();
        super::gauge(&mut text, "dora_marker", "When it was pushed.", r#"{run_id="7"}"#, 42.5);
        insta::assert_snapshot!(text, @r#"
        # HELP dora_marker When it was pushed.
        # TYPE dora_marker gauge
        dora_marker{run_id="7"} 42.5
        "#);
    }
}
