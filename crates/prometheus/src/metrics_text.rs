//! The text that a program serves at `/metrics`.

/// The sum of all series of a metric; `None`: there is none.
pub fn sum(metrics: &str, name: &str) -> Option<f64> {
    metrics
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .reduce(|a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_metric_are_added_up() {
        let text = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"b c\"} 3e+00\nab 7\nabc{} 1\n";
        assert_eq!((sum(text, "a"), sum(text, "ab"), sum(text, "b")), (Some(5.0), Some(7.0), None));
    }
}
