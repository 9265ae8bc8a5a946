//! Is the data whole, and is it new? What is shown here is asked of the data
//! itself, and of what agent and engine tell about themselves.

use super::board::{Board, ENVIRONMENT, Teams, page_of, pages};
use super::panel::{DAILY, GREEN, ORANGE, Panel, SKY, Unit, VERMILLION, WEEKLY, now, over_time};

/// Seconds that a newest value may be old.
pub const FRESH: f64 = 300.0;

/// By team: seconds since its newest value came to be. A Pushgateway shows the
/// last value for ever, so the older of the sample's and the push's time counts.
///
/// Who is live tells it; of the others the rules have recorded it, one series for a team:
/// to look at a day of each series of a thousand teams took 80 s.
pub fn age(selector: &str) -> String {
    let sampled = format!(
        "max by (team) (max_over_time(team:dora_newest_sample:timestamp{{{selector}}}[1d]) \
         or timestamp(dora_deployments_total{{{selector}}}))"
    );
    let pushed = "max by (team) (push_time_seconds{job=\"dora\"})";
    format!("time() - (({pushed} < {sampled}) or {sampled})")
}

/// Teams that had a value within `range`, and have none of the last day.
pub fn silent(selector: &str, range: &str) -> String {
    let of = format!("dora_deployments_total{{{selector}}}");
    format!(
        "group by (team) (last_over_time({of}[{range}])) unless group by (team) (last_over_time({of}[1d]))"
    )
}

/// By team, at the end of each day: 1 where a team that had samples before has
/// none of that day. A day's last sample is taken at its end; the one at its
/// beginning belongs to the day before.
pub fn gaps(selector: &str) -> String {
    let of = format!("dora_deployments_total{{{selector}}}");
    format!(
        "group by (team) (last_over_time({of}[35d])) unless group by (team) (last_over_time({of}[86399999ms]))"
    )
}

/// Members of a ring that are there, but not active: a lost replica is `Unhealthy`.
pub fn lost_replicas() -> String {
    "sum(max by (name, state) (cortex_ring_members{state!=\"ACTIVE\"}))".into()
}

pub fn remote(name: &str) -> String {
    format!("prometheus_remote_storage_{name}")
}

/// Where Prometheus stands in for Mimir, it has other names for the same things.
fn of_engine(mimir: &str, stand_in: &str) -> String {
    format!("{mimir} or {stand_in}")
}

pub fn board() -> Board {
    let lag = format!(
        "max by (instance) ({}) - min by (instance) ({} > 0)",
        remote("highest_timestamp_in_seconds"),
        remote("queue_highest_sent_timestamp_seconds")
    );
    // Zero only where there is somebody to be fresh: no rules and no values are no good news.
    let stale = format!("count({0} > {FRESH}) or 0 * count({0})", age(ENVIRONMENT));
    let oldest = page_of(&age(ENVIRONMENT), true);
    let received = of_engine(
        "sum(rate(cortex_distributor_received_samples_total[$__rate_interval]))",
        "sum(rate(prometheus_tsdb_head_samples_appended_total{job=\"mimir\"}[$__rate_interval]))",
    );
    let series = of_engine(
        "max(sum by (instance) (cortex_ingester_memory_series))",
        "sum(prometheus_tsdb_head_series{job=\"mimir\"})",
    );
    let sent = format!(
        "sum(rate({}[$__rate_interval])) - sum(rate({}[$__rate_interval]))",
        remote("samples_total"),
        remote("samples_failed_total")
    );
    Board {
        uid: "dora-pipeline",
        title: "DORA: pipeline integrity",
        description: "Whether the data behind the other dashboards is whole and new.",
        teams: Teams::All,
        choices: vec![pages()],
        from: "now-28d/d",
        rows: vec![
            (
                "At a glance",
                vec![
                    Panel::stat("Stale teams", "Teams whose newest value is older than five minutes.", Unit::Count, now(stale, "")).zero_is_good(),
                    Panel::stat("Silent teams", "Teams with values in the dashboard's range, but none of the last day.", Unit::Count, now(format!("count({}) or vector(0)", silent(ENVIRONMENT, "$__range")), "")).zero_is_good(),
                    Panel::stat("Missing team-days", "Days within the dashboard's range of which a team that had samples before has none, added up over the teams.", Unit::Count, now(format!("sum(sum_over_time(({})[$__range:1d])) or vector(0)", gaps(ENVIRONMENT)), "")).zero_is_good(),
                    Panel::stat("Remote write is behind", "Newest sample that the agent has scraped, less the newest that was accepted.", Unit::Seconds, now(lag.clone(), ""))
                        .thresholds(&[(None, GREEN), (Some(15.0), ORANGE), (Some(60.0), VERMILLION)]),
                    Panel::stat("Samples given up", "Samples of the dashboard's range that the agent could not deliver and has dropped.", Unit::Count, now(format!("sum(increase({}[$__range]))", remote("samples_failed_total")), "")).zero_is_good(),
                    Panel::stat("Lost replicas", "Members of Mimir's rings that are not active, added up over the rings. Prometheus, standing in, has no rings.", Unit::Count, now(lost_replicas(), "")).zero_is_good().no_data_means("no ring"),
                ],
            ),
            (
                "Freshness and gaps",
                vec![
                    Panel::ranked("Age of each team's newest value", "Seconds since the newest value came to be: the older of its sample's and its push's time. Of the last day; who is silent for longer is in the table beside. The oldest first, 25 teams a page.", Unit::Seconds, now(oldest, "{{team}}"))
                        .size(8, 20)
                        .thresholds(&[(None, GREEN), (Some(150.0), ORANGE), (Some(FRESH), VERMILLION)])
                        .leads_to_team(),
                    Panel::states("Days without a sample, by team", "A mark at the end of each day of which a team that had samples before has none. Nothing is shown where no day is missing.", Unit::Count, over_time(gaps(ENVIRONMENT), "{{team}}", DAILY))
                        .size(16, 10)
                        .thresholds(&[(None, VERMILLION)])
                        .no_data_means("no day is missing"),
                    Panel::bars("Samples that close a day", "One for each counter at the end of each day, of histograms for their count: a bar that is lower than its neighbours is a day that was not stored whole. Days since the history was sent have live values instead. `dorainfra verify` compares every sample.", Unit::Count, vec![over_time(format!("count(last_over_time({{__name__=~\"dora_(deployments_total|change_lead_time_seconds_count|deployment_recovery_seconds_count)\",{ENVIRONMENT}}}[1ms]))"), "stored", DAILY)])
                        .size(8, 10),
                    Panel::table("Silent teams", "Teams with values in the dashboard's range, but none of the last day.", Unit::Count, now(silent(ENVIRONMENT, "$__range"), ""), "silent")
                        .size(8, 10)
                        .no_data_means("none"),
                ],
            ),
            (
                "Sent and stored",
                vec![
                    Panel::lines("Samples sent and stored", "What the agent says it delivered, and what the engine says it took. The history is written past the agent: while it is sent, more is stored.", Unit::Rate, vec![over_time(sent, "delivered by the agent", "1m"), over_time(received, "taken by the engine", "1m")]).size(8, 8).of_late("6h"),
                    Panel::lines("Remote write: behind", "Newest sample that the agent has scraped, less the newest that was accepted.", Unit::Seconds, vec![over_time(lag, "{{instance}}", "1m")]).size(8, 8).of_late("6h").colour(ORANGE),
                    Panel::lines("Remote write: queue", "Samples that wait for delivery, and how many a second are tried again.", Unit::Count, vec![over_time(format!("sum({})", remote("samples_pending")), "waiting", "1m"), over_time(format!("sum(rate({}[$__rate_interval]))", remote("samples_retried_total")), "tried again a second", "1m")]).size(8, 8).of_late("6h"),
                ],
            ),
            (
                "Engine",
                vec![
                    Panel::lines("Series", "Series of the DORA metrics that have a value at the end of each seven days, and all that the engine holds in memory.", Unit::Count, vec![over_time(format!("count({{__name__=~\"dora_.+\",{ENVIRONMENT}}})"), "DORA", WEEKLY), over_time(series, "in memory", "5m")]).size(8, 8),
                    Panel::lines("Members of Mimir's rings", "Members of each ring by their state, as any of them sees it. A replica that is lost turns from ACTIVE to Unhealthy. Prometheus, standing in, has no rings.", Unit::Count, vec![over_time("max by (name, state) (cortex_ring_members) > 0", "{{name}} {{state}}", "1m")]).size(8, 8).of_late("6h").series_colours(&[("ACTIVE", GREEN), ("JOINING", SKY), ("PENDING", SKY), ("LEAVING", ORANGE), ("Unhealthy", VERMILLION)])
                    .no_data_means("no ring"),
                    Panel::states("Targets", "Whether each part of the pipeline answered the agent's last scrape: 1 is up.", Unit::Count, over_time("min by (job) (up)", "{{job}}", "5m")).size(8, 8).of_late("6h").thresholds(&[(None, VERMILLION), (Some(1.0), GREEN)]),
                ],
            ),
        ],
        annotations: Vec::new(),
    }
    .with_banner()
}
