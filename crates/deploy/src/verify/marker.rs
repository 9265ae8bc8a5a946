//! Does a value pushed now arrive, and how long does it take?

use std::time::{Duration, Instant};

use dorainfra_dora::live::SHOWN;
use dorainfra_model::Check;
use dorainfra_prometheus::exposition::{self, Format};
use dorainfra_prometheus::pushgateway::{Gateway, Group};
use dorainfra_prometheus::query::{self, Query};
use time::OffsetDateTime;

use super::{Known, Live, Report, Request, Stage, freshness, milliseconds};

const METRIC: &str = "dorainfra_verify_marker";
const JOB: &str = "dorainfra-verify";
/// A marker that is older was left behind by a run that was killed.
const ABANDONED_AFTER: f64 = 600.0;

pub(super) async fn check(request: &Request<'_>, query: &Query, stage: Stage, report: &mut Report) -> Check {
    let bound = request.bounds.marker;
    let expected = format!("seen within {} s", bound.as_secs());
    let live = match request.live {
        None => return stage.not_applicable(expected, "no collector stack runs"),
        Some(live) => live,
    };
    if request.known == Some(Known::Unchanged)
        && let Some(age) = in_turn(request, query).await
    {
        return stage.titled("new values pass through the whole stack, each in its turn").passed(
            format!("every team's newest value is not older than {} s", request.bounds.turn.as_secs()),
            format!("the oldest is {age:.0} s old; `dorainfra verify` pushes a value and waits for it"),
        );
    }
    let url = match live {
        Live::Generator => return from_generator(query, stage, bound, expected, report).await,
        Live::Pushgateway(url) => url,
    };
    let gateway = match Gateway::new(url) {
        Ok(gateway) => gateway,
        Err(error) => return stage.failed(expected, error.to_string(), error.hint().unwrap_or_default()),
    };
    remove_abandoned(&gateway).await;

    let run_id = &report.run_id;
    let group = Group::job(JOB).label("run", run_id);
    let value = OffsetDateTime::now_utc().unix_timestamp();
    let mut text = String::new();
    Format::Text.family(&mut text, METRIC, "gauge", "When a verification began, Unix seconds.");
    exposition::sample(&mut text, METRIC, [("run_id", run_id.as_str())], value);
    let pushed = Instant::now();
    if let Err(error) = gateway.put(&group, text).await {
        return stage.failed(expected, error.to_string(), error.hint().unwrap_or_default());
    }
    let seen = wait(query, run_id, value as f64, pushed, bound).await;
    // In any case: a marker that stays is scraped for ever.
    let deleted = gateway.delete(&group).await;

    match seen {
        Ok(latency) => {
            let latency = milliseconds(latency);
            report.marker_latency_ms = Some(latency);
            let mut found = format!("seen after {latency} ms");
            if let Err(error) = deleted {
                found.push_str(&format!("; but its group could not be deleted: {error}"));
            }
            stage.passed(expected, found)
        }
        Err(Some(error)) => stage.failed(expected, error.to_string(), error.hint()),
        Err(None) => stage.failed(
            expected,
            "the Pushgateway has it, the endpoint does not",
            "the Prometheus agent is the part between them: `dorainfra stack status` shows its lag and what \
             failed, and its log the endpoint's answers",
        ),
    }
}

/// How old the newest values are, in seconds, where none of them has missed its turn: the stack
/// was not touched, and a value of this moment would show no more once its turn came.
async fn in_turn(request: &Request<'_>, query: &Query) -> Option<f64> {
    let newest = freshness::newest(query, request.feeds).await.ok()?;
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos() as f64 / 1e9;
    let late = freshness::stale(request.teams, &newest, now, request.bounds.turn.as_secs_f64());
    let oldest = newest.values().copied().reduce(f64::min)?;
    (late.is_empty() && !request.teams.is_empty()).then_some((now - oldest).max(0.0))
}

/// The generator says when it has shown its values. A time after the beginning
/// of this check is a value that came all the way meanwhile.
async fn from_generator(
    query: &Query,
    stage: Stage,
    bound: Duration,
    expected: String,
    report: &mut Report,
) -> Check {
    let begun = Instant::now();
    let began = OffsetDateTime::now_utc().unix_timestamp() as f64;
    let expression = format!("max({SHOWN}{{job=\"{}\"}})", dorainfra_prometheus::JOB);
    loop {
        let found: Vec<query::Instant> = match query.instant(&expression, None).await {
            Ok(found) => found,
            Err(error) => return stage.failed(expected, error.to_string(), error.hint()),
        };
        if let Some(shown) = found.iter().map(query::Instant::value).find(|shown| *shown >= began) {
            let now = OffsetDateTime::now_utc().unix_timestamp_nanos() as f64 / 1e9;
            let latency = milliseconds(Duration::from_secs_f64((now - shown).max(0.0)));
            report.marker_latency_ms = Some(latency);
            return stage.passed(expected, format!("one of the generator's was seen after {latency} ms"));
        }
        if begun.elapsed() >= bound {
            return stage.failed(
                expected,
                "nothing that the generator showed meanwhile is at the endpoint",
                "`dorainfra stack status` shows whether generator and agent run, and `dorainfra stack logs` \
                 what failed",
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The time from push to sight. `Err(None)`: not within the bound.
async fn wait(
    query: &Query,
    run_id: &str,
    value: f64,
    pushed: Instant,
    bound: Duration,
) -> Result<Duration, Option<query::QueryError>> {
    let expression = format!("{METRIC}{{run_id=\"{run_id}\"}}");
    loop {
        let found: Vec<query::Instant> = query.instant(&expression, None).await.map_err(Some)?;
        if found.iter().any(|series| series.value() == value) {
            return Ok(pushed.elapsed());
        }
        if pushed.elapsed() >= bound {
            return Err(None);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn remove_abandoned(gateway: &Gateway) {
    let now = OffsetDateTime::now_utc().unix_timestamp() as f64;
    // If it cannot be listed, the push will say why.
    for group in gateway.groups().await.unwrap_or_default() {
        let ours = group.labels.get("job").is_some_and(|job| job == JOB) && group.labels.len() == 2;
        let abandoned = group.pushed.is_some_and(|pushed| now - pushed > ABANDONED_AFTER);
        if let (true, true, Some(run)) = (ours, abandoned, group.labels.get("run")) {
            // Litter: the next run tries again.
            let _ = gateway.delete(&Group::job(JOB).label("run", run)).await;
        }
    }
}
