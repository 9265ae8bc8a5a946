//! The five metrics: what they are called, what they mean, and the PromQL that
//! asks for them. Report and dashboards ask by this one definition
//! (docs/metrics.md explains it; `tests/metrics/truth.rs` proves it).

use dorainfra_dora::bands::{Measured, Thresholds};
use dorainfra_dora::metrics::{
    DEPLOYMENTS, LEAD_TIME, LEAD_TIME_EDGES, ONLY_REAL, ONLY_SIMULATED, RECOVERY, RECOVERY_EDGES,
    SERVICE_LEAD_TIME, SERVICE_RECOVERY,
};

use super::words;

/// A metric. The first two are about speed, the others about stability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Frequency,
    LeadTime,
    FailureRate,
    Recovery,
    Rework,
}

impl Key {
    pub const ALL: [Self; 5] =
        [Self::Frequency, Self::LeadTime, Self::FailureRate, Self::Recovery, Self::Rework];

    /// For arguments and data: `lead-time`.
    pub fn id(self) -> &'static str {
        match self {
            Self::Frequency => "frequency",
            Self::LeadTime => "lead-time",
            Self::FailureRate => "failure-rate",
            Self::Recovery => "recovery",
            Self::Rework => "rework",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Frequency => "Deployment frequency",
            Self::LeadTime => "Lead time for changes",
            Self::FailureRate => "Change failure rate",
            Self::Recovery => "Failed deployment recovery time",
            Self::Rework => "Rework rate",
        }
    }

    /// A name that fits above a column.
    pub fn short(self) -> &'static str {
        match self {
            Self::Frequency => "Deployments / day",
            Self::LeadTime => "Lead time",
            Self::FailureRate => "Failure rate",
            Self::Recovery => "Recovery",
            Self::Rework => "Rework",
        }
    }

    /// The same where each value says its unit.
    pub(super) fn column(self) -> &'static str {
        if self == Self::Frequency { "Frequency" } else { self.short() }
    }

    /// Which figure it is of all that could be taken.
    pub fn statistic(self) -> &'static str {
        match self {
            Self::Frequency => "per day",
            Self::LeadTime | Self::Recovery => "median",
            Self::FailureRate | Self::Rework => "share of deployments",
        }
    }

    pub fn meaning(self) -> &'static str {
        match self {
            Self::Frequency => {
                "How often code is deployed: deployments to the environment, divided by the days of the range."
            }
            Self::LeadTime => {
                "How long a change takes from its commit or merge until a deployment brings it to the \
                 environment. Half of all changes take less. Read from a histogram, so it is exact to the bucket."
            }
            Self::FailureRate => {
                "How often a deployment causes a failure that begins within three days of it: such deployments, \
                 divided by all deployments."
            }
            Self::Recovery => {
                "How long a failure that a deployment caused lasts, from its beginning until it is over. Half of \
                 all last less. Formerly called mean time to restore; exact to the bucket."
            }
            Self::Rework => {
                "How often a deployment is unplanned and mends something that users suffered from: such \
                 deployments, divided by all deployments. In DORA's reports since 2024, which publish no bands for it."
            }
        }
    }

    pub fn more_is_better(self) -> bool {
        self == Self::Frequency
    }

    /// A value with its unit.
    pub fn text(self, value: Option<f64>) -> String {
        match self {
            Self::Frequency => value.map_or(words::NOTHING.into(), words::often),
            // A classic histogram knows nothing beyond its last edge.
            Self::LeadTime | Self::Recovery if value.is_some_and(|value| self.is_over(value)) => {
                format!("over {}", words::duration(value))
            }
            Self::LeadTime | Self::Recovery => words::duration(value),
            Self::FailureRate | Self::Rework => words::share(value),
        }
    }

    /// The last edge of its classic histogram, seconds: a median beyond it is told as this.
    pub fn longest(self) -> Option<u64> {
        match self {
            Self::LeadTime => LEAD_TIME_EDGES.last().copied(),
            Self::Recovery => RECOVERY_EDGES.last().copied(),
            Self::Frequency | Self::FailureRate | Self::Rework => None,
        }
    }

    /// That very edge; what a native histogram tells is never on it but by chance.
    fn is_over(self, value: f64) -> bool {
        self.longest().is_some_and(|longest| (value - longest as f64).abs() < 0.5)
    }

    /// As the bands take it; the rework rate has none.
    pub fn measured(self, value: f64) -> Option<Measured> {
        match self {
            Self::Frequency => Some(Measured::Frequency(value)),
            Self::LeadTime => Some(Measured::LeadTime(value)),
            Self::FailureRate => Some(Measured::FailureRate(value)),
            Self::Recovery => Some(Measured::Recovery(value)),
            Self::Rework => None,
        }
    }

    /// Where elite, high and medium end, as far as a year's report tells.
    pub fn limits(self, of: &Thresholds) -> Option<[f64; 3]> {
        match self {
            Self::Frequency => of.frequency,
            Self::LeadTime => of.lead_time,
            Self::FailureRate => of.failure_rate,
            Self::Recovery => of.recovery,
            Self::Rework => None,
        }
    }

    /// The metric as one query; no answer (and no `NaN`) where nothing happened.
    pub fn promql(self, ask: &Ask) -> String {
        let share = |part: String| format!("{part} / ({} > 0)", ask.deployments());
        match self {
            Self::Frequency => format!("{} / {}", ask.deployments(), ask.days),
            Self::LeadTime => format!("{} >= 0", ask.lead_time(0.5)),
            Self::FailureRate => share(ask.failed()),
            Self::Recovery => format!("{} >= 0", ask.recovery(0.5)),
            Self::Rework => share(ask.rework()),
        }
    }
}

/// What is asked about: which series, over which range, by which labels.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Matchers that all series have: `environment="production"`.
    pub selector: String,
    /// The range as PromQL writes it: `28d125ms`. A little more than whole days has the
    /// sample at its very beginning (see [`MORE_MS`]).
    pub window: String,
    /// The whole days themselves: `28d`.
    pub range: String,
    /// The same range in days: `28`.
    pub days: String,
    /// Labels that are kept: `team`, or none.
    pub by: &'static str,
    /// Whether quantiles are read from native histograms, where those hold all of the range.
    pub native: bool,
}

impl Ask {
    /// Over whole days that end where the query is evaluated.
    pub fn over_days(selector: impl Into<String>, days: i64, by: &'static str) -> Self {
        Self::over(selector, days, days * DAY_MS, by)
    }

    /// The same of days that are not of 24 hours each, where clocks change.
    pub fn over(selector: impl Into<String>, days: i64, milliseconds: i64, by: &'static str) -> Self {
        Self {
            selector: selector.into(),
            window: format!("{}ms", milliseconds + MORE_MS),
            range: format!("{milliseconds}ms"),
            days: days.to_string(),
            by,
            native: false,
        }
    }

    /// Reads quantiles from native histograms, where they are. Prometheus knows them from 2.40
    /// on.
    #[must_use]
    pub fn native_where_whole(self, native: bool) -> Self {
        Self { native, ..self }
    }

    pub fn deployments(&self) -> String {
        self.increase(DEPLOYMENTS, "", self.by)
    }

    pub fn failed(&self) -> String {
        self.increase(DEPLOYMENTS, ",outcome=\"failure\"", self.by)
    }

    pub fn rework(&self) -> String {
        self.increase(DEPLOYMENTS, ",kind=\"rework\"", self.by)
    }

    pub fn lead_time(&self, quantile: f64) -> String {
        self.quantile(LEAD_TIME, quantile)
    }

    pub fn recovery(&self, quantile: f64) -> String {
        self.quantile(RECOVERY, quantile)
    }

    /// How many lead times are known.
    pub fn changes(&self) -> String {
        self.count(LEAD_TIME)
    }

    /// How many failures of deployments are over.
    pub fn recoveries(&self) -> String {
        self.count(RECOVERY)
    }

    /// The same by service and team, where the services hold all that the team does.
    pub fn lead_time_by_service(&self, quantile: f64) -> String {
        self.of_services(|ask| format!("{} >= 0", ask.quantile(SERVICE_LEAD_TIME, quantile)), LEAD_TIME)
    }

    pub fn recovery_by_service(&self, quantile: f64) -> String {
        self.of_services(|ask| format!("{} >= 0", ask.quantile(SERVICE_RECOVERY, quantile)), RECOVERY)
    }

    pub fn changes_by_service(&self) -> String {
        self.of_services(|ask| ask.count(SERVICE_LEAD_TIME), LEAD_TIME)
    }

    pub fn recoveries_by_service(&self) -> String {
        self.of_services(|ask| ask.count(SERVICE_RECOVERY), RECOVERY)
    }

    /// Those of services are written where they are wanted: they may have begun within the
    /// range, or ended. They are believed of a team whose counters they add up to at the end of
    /// the range, at its beginning and over it; of others nothing is told. (Over it alone is
    /// not enough: an increase is extrapolated where samples lack, and may be right by chance.)
    fn of_services(&self, expression: impl Fn(&Self) -> String, histogram: &str) -> String {
        let by = |by| Self { by, ..self.clone() };
        let services = if histogram == LEAD_TIME { SERVICE_LEAD_TIME } else { SERVICE_RECOVERY };
        let over = format!("{} == {}", by("team").count(services), by("team").count(histogram));
        let value = |of: &str, offset: &str| {
            format!("sum by (team) (last_over_time({of}_count{{{}}}[1d]{offset}))", self.selector)
        };
        let equal = |offset: &str| format!("{} == {}", value(services, offset), value(histogram, offset));
        let beginning = format!(" offset {}", self.range);
        format!(
            "({}) and on (team) ({over}) and on (team) ({}) unless on (team) ({} unless on (team) ({}))",
            expression(&by("team, service")),
            equal(""),
            value(histogram, &beginning),
            equal(&beginning),
        )
    }

    fn count(&self, histogram: &str) -> String {
        self.increase(&format!("{histogram}_count"), "", self.by)
    }

    /// Deployments by outcome and kind: parts that are added up, and rounded then.
    pub(super) fn deployments_of_each(&self) -> String {
        format!(
            "sum by ({}outcome, kind) (increase({DEPLOYMENTS}{{{}}}[{}]))",
            self.before(),
            self.selector,
            self.window
        )
    }

    /// The buckets of a histogram and its count, which has no `le`; likewise.
    pub(super) fn observed(&self, histogram: &str) -> String {
        format!(
            "sum by ({}le) (increase({{__name__=~\"{histogram}_(bucket|count)\",{}}}[{}]))",
            self.before(),
            self.selector,
            self.window
        )
    }

    /// A quantile of a native histogram, where it holds all that the classic one does: it may have
    /// begun within the range, or ended.
    pub(super) fn native_quantile(&self, histogram: &str, quantile: f64) -> String {
        let by = if self.by.is_empty() { String::new() } else { format!(" by ({}) ", self.by) };
        let native = format!("sum{by}(increase({histogram}{{{}}}[{}]))", self.selector, self.window);
        let counted = self.count(histogram);
        format!("histogram_quantile({quantile}, {native}) and round(histogram_count({native})) == {counted}")
    }

    /// Labels that are kept, before another one.
    fn before(&self) -> String {
        if self.by.is_empty() { String::new() } else { format!("{}, ", self.by) }
    }

    /// Deployments by labels of the caller's choice.
    pub fn deployments_by(&self, by: &str) -> String {
        self.increase(DEPLOYMENTS, "", by)
    }

    /// The buckets of the lead time, by `le`.
    pub fn lead_time_buckets(&self) -> String {
        self.increase(&format!("{LEAD_TIME}_bucket"), "", "le")
    }

    fn quantile(&self, histogram: &str, quantile: f64) -> String {
        let buckets = self.increase(&format!("{histogram}_bucket"), "", &format!("{}le", self.before()));
        let classic = format!("histogram_quantile({quantile}, {buckets})");
        match self.native {
            true => format!("({} or {classic})", self.native_quantile(histogram, quantile)),
            false => classic,
        }
    }

    /// Whole numbers: `increase` extrapolates to the range's edges. What it adds is less than
    /// a millionth, and yet makes a median of an empty bucket, where two buckets that hold the
    /// same differ by it.
    fn increase(&self, series: &str, more: &str, by: &str) -> String {
        let by = if by.is_empty() { String::new() } else { format!(" by ({by}) ") };
        format!("round(sum{by}(increase({series}{{{}{more}}}[{}])))", self.selector, self.window)
    }
}

/// Milliseconds by which a range of whole days is longer, to have the sample at its very
/// beginning: Mimir 3 and Prometheus 3 leave it out of a range that begins there. An eighth
/// of a second is exact in Mimir's seconds (floating point) for any number of days; of a
/// thousandth nothing is left with 195 to 208 days.
pub const MORE_MS: i64 = 125;
const DAY_MS: i64 = 86_400_000;

/// A range of whole days with the sample at its very beginning.
pub fn window(days: i64) -> String {
    format!("{}ms", days * DAY_MS + MORE_MS)
}

/// The matcher of the series that a report is of: real or simulated, and never both.
pub(super) fn of_kind(simulated: bool) -> &'static str {
    if simulated { ONLY_SIMULATED } else { ONLY_REAL }
}

/// A text as a regular expression that matches it and nothing else.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_is_asked_for_by_its_very_name() {
        assert_eq!(literal("a.b|c"), r"a\.b\|c");
        assert_eq!(literal("orders-2"), "orders-2");
    }

    #[test]
    fn a_metric_is_one_query() {
        let ask = Ask::over_days("environment=\"production\"", 7, "team");
        assert_eq!(
            Key::Frequency.promql(&ask),
            "round(sum by (team) (increase(dora_deployments_total{environment=\"production\"}[604800125ms]))) / 7"
        );
        assert_eq!(
            Key::Recovery.promql(&Ask { by: "", window: "1d125ms".into(), ..ask.clone() }),
            "histogram_quantile(0.5, round(sum by (le) (increase(dora_deployment_recovery_seconds_bucket\
             {environment=\"production\"}[1d125ms])))) >= 0"
        );
        let native = ask.native_where_whole(true).recovery(0.5);
        let of = "increase(dora_deployment_recovery_seconds{environment=\"production\"}[604800125ms])";
        assert!(
            native.contains(&format!("histogram_quantile(0.5, sum by (team) ({of})) and round(")),
            "{native}"
        );
        assert!(native.contains(" or histogram_quantile(0.5, round(sum by (team, le)"), "{native}");
    }

    #[test]
    fn services_are_believed_where_they_add_up_to_their_team() {
        let ask = Ask::over_days("team=\"a\"", 1, "");
        let count = |of: &str, by: &str| {
            format!("round(sum by ({by}) (increase({of}_count{{team=\"a\"}}[86400125ms])))")
        };
        let (services, team) = ("dora_service_change_lead_time_seconds", "dora_change_lead_time_seconds");
        let value = |of: &str, more: &str| {
            format!("sum by (team) (last_over_time({of}_count{{team=\"a\"}}[1d]{more}))")
        };
        assert_eq!(
            ask.changes_by_service(),
            format!(
                "({}) and on (team) ({} == {}) and on (team) ({} == {}) \
                 unless on (team) ({} unless on (team) ({} == {}))",
                count(services, "team, service"),
                count(services, "team"),
                count(team, "team"),
                value(services, ""),
                value(team, ""),
                value(team, " offset 86400000ms"),
                value(services, " offset 86400000ms"),
                value(team, " offset 86400000ms"),
            )
        );
        let recovery = ask.recovery_by_service(0.5);
        assert!(recovery.starts_with("(histogram_quantile(0.5, round(sum by (team, service, le) (increase("));
        assert!(recovery.contains("dora_service_deployment_recovery_seconds_bucket{"), "{recovery}");
        assert!(!recovery.contains("lead_time"), "{recovery}");
    }

    #[test]
    fn the_beginning_of_a_range_is_not_rounded_away() {
        // As Mimir 3 takes a range: seconds as a float, and those as whole milliseconds.
        let milliseconds = |days: i64, more: i64| {
            let seconds = (days * 86_400_000 + more) as f64 / 1000.0;
            (seconds * 1000.0) as i64 - days * 86_400_000
        };
        let lost = |more| (1..=10_000).filter(|days| milliseconds(*days, more) < 1).count();
        assert_eq!(lost(MORE_MS), 0);
        assert!(lost(1) > 0, "a millisecond is too little for some");
    }
}
