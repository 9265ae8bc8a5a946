//! What is told at the moment of the report: each team's newest value, and the collector's deliveries.

use std::collections::BTreeMap;

use dorainfra_dora::metrics::DEPLOYMENTS;
use dorainfra_prometheus::JOB;
use dorainfra_prometheus::query::{Instant, Query, QueryError};

use super::integrity::Delivery;
use super::question::{Question, label};

pub(super) struct Now {
    /// When each team's newest value came to be, Unix seconds; of the last day.
    pub newest: BTreeMap<String, f64>,
    /// Of a collector that scrapes itself.
    pub delivery: Option<Delivery>,
}

/// Which of several answers in one it is.
const WHAT: &str = "what";
/// What `mimir/rules/alerts.yaml` records.
const NEWEST: &str = "team:dora_newest_sample:timestamp";
/// Seconds, the middle of five minutes and one.
const BETWEEN: u32 = 180;

/// Who is live tells its newest value to the second. Of the others the rules have recorded it, and
/// where there are none of these, it is looked for at every four minutes of the day: a series that
/// has a value at one of them and none at the next has its newest between five minutes and one
/// before it. (To have `timestamp()` look at each of them takes 80 s for a thousand teams.)
/// A Pushgateway shows the last value for ever: where the time of the last push is known,
/// the older of the two counts.
pub(super) async fn now(query: &Query, question: &Question) -> Result<Now, QueryError> {
    const OF: &str = "prometheus_remote_storage";
    let selector = question.selector();
    let seen = format!("max_over_time((time() * group by (team) ({DEPLOYMENTS}{{{selector}}}))[1d:4m])");
    let late = format!("{seen} - {BETWEEN} unless group by (team) ({DEPLOYMENTS}{{{selector}}})");
    let several = [
        ("live", format!("max by (team) (timestamp({DEPLOYMENTS}{{{selector}}}))")),
        ("recorded", format!("max by (team) (max_over_time({NEWEST}{{{selector}}}[1d]))")),
        ("pushed", format!("max by (team) (push_time_seconds{{job=\"{JOB}\"}})")),
        (
            "lag",
            format!(
                "max(max by (instance) ({OF}_highest_timestamp_in_seconds) \
                 - min by (instance) ({OF}_queue_highest_sent_timestamp_seconds > 0))"
            ),
        ),
        ("pending", format!("sum({OF}_samples_pending)")),
        ("failed", format!("sum(increase({OF}_samples_failed_total[1d]))")),
    ]
    .map(|(what, expression)| {
        format!("label_replace({expression}, \"{WHAT}\", \"{what}\", \"team\", \".*\")")
    })
    .join(" or ");
    let now = question.now.unix_timestamp() * 1000;
    let (several, late) = tokio::try_join!(
        query.instant::<Instant>(&several, Some(now)),
        query.instant::<Instant>(&late, Some(now)),
    )?;
    let of = |what: &'static str| {
        several.iter().filter(move |one| one.metric.get(WHAT).is_some_and(|found| found == what))
    };
    let mut newest: BTreeMap<String, f64> = BTreeMap::new();
    // What is exact comes last.
    for one in late.iter().chain(of("recorded")).chain(of("live")) {
        newest.insert(label(&one.metric), one.value());
    }
    for one in of("pushed") {
        newest.entry(label(&one.metric)).and_modify(|at| *at = at.min(one.value()));
    }
    let one = |what| of(what).next().map(Instant::value).filter(|value| value.is_finite());
    let delivery = one("lag").map(|lag| Delivery {
        lag: lag.max(0.0),
        pending: one("pending").unwrap_or_default(),
        failed: one("failed").unwrap_or_default(),
    });
    Ok(Now { newest, delivery })
}
