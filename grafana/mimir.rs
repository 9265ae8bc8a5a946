//! Mimir itself: how it is, what it takes, what it is asked, and what becomes of it in the
//! bucket. The metrics are those of mimir/metrics-3.1.txt; what fires is mimir/rules/mimir.yaml.
//! Where Prometheus stands in for Mimir there are none of them.

use super::board::{Board, Teams};
use super::panel::{GREEN, ORANGE, Panel, Query, Unit, VERMILLION, now, over_time};

const STEP: &str = "1m";
const PUSH: &str = "route=~\"api_v1_push|otlp_v1_metrics\"";
const QUERY: &str = "route=~\"prometheus_api_v1_query(_range)?\"";
const BUCKET: &str = "thanos_objstore_bucket_operation";

fn rate(by: &str, series: &str) -> String {
    format!("sum by ({by}) (rate({series}[$__rate_interval]))")
}

/// How long ago, of a metric that holds a time; one that never was is left out.
fn age(by: &str, series: &str) -> String {
    format!("time() - max by ({by}) ({series} > 0)")
}

/// Of what every Go program shows, that of Mimir alone.
fn its(series: &str) -> String {
    format!("({series} and on (instance) cortex_build_info)")
}

fn quantile(share: &str, by: &str, series: &str) -> String {
    format!("histogram_quantile({share}, {})", rate(&format!("{by}le"), series))
}

fn lines(title: &str, description: &str, unit: Unit, queries: &[(String, &'static str)]) -> Panel {
    let queries: Vec<Query> =
        queries.iter().map(|(expression, legend)| over_time(expression.clone(), legend, STEP)).collect();
    Panel::lines(title, description, unit, queries).size(8, 8)
}

fn stat(title: &str, description: &str, unit: Unit, expression: impl Into<String>) -> Panel {
    Panel::stat(title, description, unit, now(expression, ""))
}

fn requests(title: &str, of: &str) -> Panel {
    lines(
        title,
        "By the status of the answer. One of 5xx is an error of Mimir's own, one of 4xx is the asker's.",
        Unit::Rate,
        &[(
            rate("status_code", &format!("cortex_request_duration_seconds_count{{{of}}}")),
            "{{status_code}}",
        )],
    )
}

fn latency(title: &str, of: &str) -> Panel {
    let buckets = format!("cortex_request_duration_seconds_bucket{{{of}}}");
    lines(
        title,
        "Half, nine in ten and ninety-nine in a hundred are faster. Estimated within the histogram's bounds.",
        Unit::Seconds,
        &[
            (quantile("0.5", "", &buckets), "half"),
            (quantile("0.9", "", &buckets), "9 in 10"),
            (quantile("0.99", "", &buckets), "99 in 100"),
        ],
    )
}

fn board(
    uid: &'static str,
    title: &'static str,
    description: &'static str,
    rows: Vec<(&'static str, Vec<Panel>)>,
) -> Board {
    Board {
        uid,
        title,
        description,
        teams: Teams::None,
        choices: Vec::new(),
        from: "now-6h",
        rows,
        annotations: Vec::new(),
    }
}

pub fn boards() -> [Board; 6] {
    [overview(), writes(), reads(), compactor(), object_store(), ruler()]
}

fn overview() -> Board {
    let memory = its("process_resident_memory_bytes");
    let kept_within = its("go_gc_gomemlimit_bytes");
    let last_block = age("instance", "cortex_ingester_shipper_last_successful_upload_timestamp_seconds");
    board(
        "mimir-overview",
        "Mimir: overview",
        "Whether Mimir is well: what fires, what it takes and holds, and how near its limits are.",
        vec![
            (
                "At a glance",
                vec![
                    stat("Alerts that fire", "Of all rules in Mimir's ruler, but for the Watchdog, which always does.", Unit::Count, "count(ALERTS{alertstate=\"firing\",alertname!=\"Watchdog\"}) or vector(0)").zero_is_good(),
                    stat("Members that are lost", "Members of Mimir's rings that are not active, added up over the rings.", Unit::Count, super::pipeline::lost_replicas()).zero_is_good(),
                    stat("Series by their limit", "Series in memory, as a share of those that may be.", Unit::Share, "max(sum by (instance) (cortex_ingester_memory_series)) / max(cortex_limits_defaults{limit_name=\"max_global_series_per_user\"})")
                        .thresholds(&[(None, GREEN), (Some(0.8), ORANGE), (Some(0.95), VERMILLION)]),
                    stat("Memory by its limit", "Resident memory, as a share of what Go is told to keep within: four fifths of the machine's.", Unit::Share, format!("max({memory} / {kept_within})"))
                        .thresholds(&[(None, GREEN), (Some(0.8), ORANGE), (Some(0.95), VERMILLION)]),
                    stat("Newest block stored", "How long ago a block of live values was shipped. Each two hours one is cut.", Unit::Seconds, format!("max({last_block})"))
                        .thresholds(&[(None, GREEN), (Some(14_400.0), ORANGE), (Some(28_800.0), VERMILLION)])
                        .no_data_means("none yet"),
                    stat("List of blocks", "How old the list of the blocks in the bucket is. It is written each minute.", Unit::Seconds, age("user", "cortex_bucket_index_last_successful_update_timestamp_seconds"))
                        .thresholds(&[(None, GREEN), (Some(300.0), ORANGE), (Some(900.0), VERMILLION)]),
                ],
            ),
            (
                "What goes in and out",
                vec![
                    lines("Samples", "Samples a second that are taken.", Unit::Rate, &[(rate("instance", "cortex_distributor_received_samples_total"), "{{instance}}")]),
                    requests("Requests", "route!=\"ready\""),
                    lines("Series in memory", "Series that had a sample within the last hours.", Unit::Count, &[("sum by (instance) (cortex_ingester_memory_series)".into(), "{{instance}}")]),
                ],
            ),
            (
                "The machine",
                vec![
                    lines("Memory", "Resident memory of Mimir, and what Go is told to keep within.", Unit::Bytes, &[(format!("max by (instance) ({memory})"), "resident"), (format!("max by (instance) ({kept_within})"), "to keep within")]),
                    lines("Processor", "Processors that Mimir keeps busy.", Unit::Count, &[(format!("max by (instance) ({})", its("rate(process_cpu_seconds_total[$__rate_interval])")), "{{instance}}")]),
                    lines("Starts", "Starts of the process within an hour. A changed configuration is one.", Unit::Count, &[(format!("max by (instance) ({})", its("changes(process_start_time_seconds[1h])")), "{{instance}}")]),
                ],
            ),
        ],
    )
}

fn writes() -> Board {
    board(
        "mimir-writes",
        "Mimir: writes",
        "From the request to the write-ahead log: what comes, how fast it is taken, and what is refused.",
        vec![
            (
                "Requests",
                vec![
                    requests("Writes", PUSH),
                    latency("How long a write takes", PUSH),
                    lines("Writes at the same time", "Requests that are being worked on. Beyond 2,000 they are refused for now.", Unit::Count, &[("sum by (instance) (cortex_distributor_inflight_push_requests)".into(), "{{instance}}")]),
                ],
            ),
            (
                "Samples",
                vec![
                    lines("Taken", "Samples a second that came, and that each ingester has in its log.", Unit::Rate, &[("sum(rate(cortex_distributor_received_samples_total[$__rate_interval]))".into(), "came"), ("max(sum by (instance) (rate(cortex_ingester_ingested_samples_total[$__rate_interval])))".into(), "in the log")]),
                    lines("Refused, by reason", "Samples that are not stored, by Mimir's own words for why.", Unit::Rate, &[(rate("reason", "cortex_discarded_samples_total"), "{{reason}}")]).no_data_means("none"),
                    lines("Rate by its limit", "Samples a second, as a share of those that may come.", Unit::Share, &[("sum(rate(cortex_distributor_received_samples_total[$__rate_interval])) / max(cortex_limits_defaults{limit_name=\"ingestion_rate\"})".into(), "share")]),
                ],
            ),
            (
                "Memory and log",
                vec![
                    lines("Series", "In the memory of each ingester, and how many a second are new.", Unit::Count, &[("max(sum by (instance) (cortex_ingester_memory_series))".into(), "in memory"), ("max(sum by (instance) (rate(cortex_ingester_memory_series_created_total[$__rate_interval])))".into(), "new a second")]),
                    lines("Blocks that are made of it", "Compactions of what is in memory within an hour, and those that failed.", Unit::Count, &[("sum(increase(cortex_ingester_tsdb_compactions_total[1h]))".into(), "made"), ("sum(increase(cortex_ingester_tsdb_compactions_failed_total[1h]))".into(), "failed")]),
                    lines("Damage of the log", "Parts of the write-ahead log that were found damaged at a start, and writes to it that failed.", Unit::Count, &[("sum(cortex_ingester_tsdb_wal_corruptions_total)".into(), "damaged"), ("sum(cortex_ingester_tsdb_wal_writes_failed_total)".into(), "failed writes")]),
                ],
            ),
        ],
    )
}

fn reads() -> Board {
    board(
        "mimir-reads",
        "Mimir: reads",
        "From the question to the blocks: how many, how fast, and what store-gateways have at hand.",
        vec![
            (
                "Queries",
                vec![
                    requests("Queries", QUERY),
                    latency("How long a query takes", QUERY),
                    lines("Waiting for a querier", "Queries that wait, and how long nine in ten of them do.", Unit::Count, &[("sum(cortex_query_scheduler_queue_length)".into(), "waiting"), (quantile("0.9", "", "cortex_query_scheduler_queue_duration_seconds_bucket"), "seconds, 9 in 10")]),
                ],
            ),
            (
                "Store-gateway",
                vec![
                    lines("Blocks", "Blocks that each store-gateway has at hand, and those that the bucket lists.", Unit::Count, &[("sum by (instance) (cortex_bucket_store_blocks_loaded{component=\"store-gateway\"})".into(), "at hand"), ("max(cortex_bucket_blocks_count)".into(), "listed")]),
                    lines("Last look", "How long ago it looked for new blocks. It does so twice a minute.", Unit::Seconds, &[(age("instance", "cortex_bucket_stores_blocks_last_successful_sync_timestamp_seconds"), "{{instance}}")]),
                    lines("Queries that miss blocks", "Within an hour: some block that is listed was not at hand, so the query failed.", Unit::Count, &[("sum by (instance) (increase(cortex_querier_blocks_consistency_checks_failed_total[1h]))".into(), "{{instance}}")]),
                ],
            ),
            (
                "Caches",
                vec![
                    lines("Index cache: found", "Share of what is asked of the index cache that is in it.", Unit::Share, &[("sum(rate(thanos_store_index_cache_hits_total[$__rate_interval])) / (sum(rate(thanos_store_index_cache_requests_total[$__rate_interval])) > 0)".into(), "found")]),
                    lines("Index cache: size", "What it holds and may hold: a sixteenth of the machine's memory.", Unit::Bytes, &[("sum by (instance) (thanos_store_index_cache_total_size_bytes)".into(), "holds"), ("max by (instance) (thanos_store_index_cache_max_size_bytes)".into(), "may hold")]),
                ],
            ),
        ],
    )
}

fn compactor() -> Board {
    board(
        "mimir-compactor",
        "Mimir: compactor",
        "What becomes of blocks in the bucket: merged, indexed, and deleted in the end.",
        vec![
            (
                "At a glance",
                vec![
                    stat("Last run", "How long ago a run ended well. One begins each hour.", Unit::Seconds, format!("max({})", age("instance", "cortex_compactor_last_successful_run_timestamp_seconds")))
                        .thresholds(&[(None, GREEN), (Some(7200.0), ORANGE), (Some(21_600.0), VERMILLION)])
                        .no_data_means("none yet"),
                    stat("Last clean-up", "How long ago retention and deletions were last looked after, and the list written.", Unit::Seconds, format!("max({})", age("instance", "cortex_compactor_block_cleanup_last_successful_run_timestamp_seconds")))
                        .thresholds(&[(None, GREEN), (Some(300.0), ORANGE), (Some(900.0), VERMILLION)]),
                    stat("Blocks", "Blocks in the bucket.", Unit::Count, "max(cortex_bucket_blocks_count)"),
                    stat("To be deleted", "Blocks that are replaced or too old, and go within hours.", Unit::Count, "max(cortex_bucket_blocks_marked_for_deletion_count)"),
                    stat("In part only", "Blocks whose upload began and is not done.", Unit::Count, "max(cortex_bucket_blocks_partials_count)"),
                    stat("Left out for good", "Blocks that the compactor does not touch any more.", Unit::Count, "sum(cortex_compactor_blocks_marked_for_no_compaction_total)").zero_is_good(),
                ],
            ),
            (
                "Work",
                vec![
                    lines("Runs within a day", "Runs that ended well, and those that failed.", Unit::Count, &[("sum(increase(cortex_compactor_runs_completed_total[1d]))".into(), "well"), ("sum(increase(cortex_compactor_runs_failed_total{reason!=\"shutdown\"}[1d]))".into(), "failed")]),
                    lines("Jobs that wait", "Merges that the compactor would still make.", Unit::Count, &[("sum by (type) (cortex_bucket_index_estimated_compaction_jobs)".into(), "{{type}}")]),
                    lines("Merges", "Merges an hour, and those that failed.", Unit::Count, &[("sum(increase(cortex_compactor_group_compactions_total[1h]))".into(), "made"), ("sum(increase(cortex_compactor_group_compactions_failures_total[1h]))".into(), "failed")]),
                    lines("Blocks over time", "Blocks in the bucket. After a history was uploaded they become fewer.", Unit::Count, &[("max(cortex_bucket_blocks_count)".into(), "blocks")]),
                    lines("Deleted, by reason", "Blocks that were marked for deletion within a day.", Unit::Count, &[("sum by (reason) (increase(cortex_compactor_blocks_marked_for_deletion_total[1d]))".into(), "{{reason}}")]),
                    lines("Clean-ups that failed", "Looks after retention and deletions that failed within an hour.", Unit::Count, &[("sum(increase(cortex_compactor_block_cleanup_failures_total[1h]))".into(), "failed")]),
                ],
            ),
        ],
    )
}

fn object_store() -> Board {
    let failures = format!("{BUCKET}_failures_total");
    let all = format!("{BUCKET}s_total");
    board(
        "mimir-object-store",
        "Mimir: object store",
        "What Mimir asks of Cloud Storage, how that goes, and what has not come there yet.",
        vec![
            (
                "On the way there",
                vec![
                    lines(
                        "Oldest block that is not there",
                        "How long a block waits that is on a data disk only. Nothing where none waits.",
                        Unit::Seconds,
                        &[(
                            age("instance", "cortex_ingester_oldest_unshipped_block_timestamp_seconds"),
                            "{{instance}}",
                        )],
                    )
                    .no_data_means("none waits"),
                    lines(
                        "Blocks shipped",
                        "Within a day, and attempts that failed.",
                        Unit::Count,
                        &[
                            ("sum(increase(cortex_ingester_shipper_uploads_total[1d]))".into(), "shipped"),
                            (
                                "sum(increase(cortex_ingester_shipper_upload_failures_total[1d]))".into(),
                                "failed",
                            ),
                        ],
                    ),
                    lines(
                        "Newest block there",
                        "How long ago a block was shipped. Each two hours one is cut.",
                        Unit::Seconds,
                        &[(
                            age(
                                "instance",
                                "cortex_ingester_shipper_last_successful_upload_timestamp_seconds",
                            ),
                            "{{instance}}",
                        )],
                    )
                    .no_data_means("none yet"),
                ],
            ),
            (
                "Operations",
                vec![
                    lines(
                        "Operations",
                        "Calls a second, by what they do.",
                        Unit::Rate,
                        &[(rate("operation", &all), "{{operation}}")],
                    ),
                    lines(
                        "That fail",
                        "Share of them that fails. A `get` of what is not there yet counts as one.",
                        Unit::Share,
                        &[(
                            format!("{} / ({} > 0)", rate("operation", &failures), rate("operation", &all)),
                            "{{operation}}",
                        )],
                    ),
                    lines(
                        "How long they take",
                        "Nine in ten are faster, by what they do.",
                        Unit::Seconds,
                        &[(
                            quantile("0.9", "operation, ", &format!("{BUCKET}_duration_seconds_bucket")),
                            "{{operation}}",
                        )],
                    ),
                    lines(
                        "By part",
                        "Calls a second, by the part of Mimir that makes them.",
                        Unit::Rate,
                        &[(rate("component", &all), "{{component}}")],
                    ),
                ],
            ),
        ],
    )
}

fn ruler() -> Board {
    board(
        "mimir-ruler",
        "Mimir: ruler and alertmanager",
        "Rules that are evaluated, alerts that come of them, and whether anybody is told.",
        vec![
            (
                "Rules",
                vec![
                    lines("How long a group takes", "The last evaluation, as a share of the time until the next.", Unit::Share, &[("max by (rule_group) (cortex_prometheus_rule_group_last_duration_seconds / cortex_prometheus_rule_group_interval_seconds)".into(), "{{rule_group}}")]),
                    lines("Rules that fail", "Evaluations within an hour that failed.", Unit::Count, &[("sum by (rule_group) (increase(cortex_prometheus_rule_evaluation_failures_total[1h]))".into(), "{{rule_group}}")]),
                    lines("Left out", "Evaluations within an hour that were left out, as the one before was not done.", Unit::Count, &[("sum by (rule_group) (increase(cortex_prometheus_rule_group_iterations_missed_total[1h]))".into(), "{{rule_group}}")]),
                ],
            ),
            (
                "Alerts",
                vec![
                    Panel::table("Alerts that fire", "Of all rules in Mimir's ruler.", Unit::Count, now("ALERTS{alertstate=\"firing\"}", ""), "fires").size(12, 8).no_data_means("none"),
                    lines("Given to the alertmanager", "Alerts within an hour that were given to it, and that were dropped.", Unit::Count, &[("sum(increase(cortex_prometheus_notifications_sent_total[1h]))".into(), "given"), ("sum(increase(cortex_prometheus_notifications_dropped_total[1h]))".into(), "dropped")]).size(12, 8),
                    lines("Notifications", "Within an hour, by the way they go.", Unit::Count, &[("sum by (integration) (increase(cortex_alertmanager_notifications_total[1h]))".into(), "{{integration}}")]).size(12, 8).no_data_means("none"),
                    lines("Notifications that fail", "Within an hour, by the way they should go.", Unit::Count, &[("sum by (integration) (increase(cortex_alertmanager_notifications_failed_total[1h]))".into(), "{{integration}}")]).size(12, 8).no_data_means("none"),
                ],
            ),
        ],
    )
}

/// Names and values.
type Labels = Vec<(&'static str, &'static str)>;

/// What a Mimir that is well shows, for whoever asks the panels' queries: name, labels, and
/// whether it is a count that grows, a time that is now, or a number that stays.
pub fn shown() -> Vec<(&'static str, Labels, Shown)> {
    use Shown::{Grows, Now, Stays};
    let push = ("route", "api_v1_push");
    let query = ("route", "prometheus_api_v1_query");
    let mut all = vec![
        ("ALERTS", vec![("alertname", "TeamStale"), ("alertstate", "firing")], Stays(1.0)),
        ("cortex_alertmanager_notifications_failed_total", vec![("integration", "webhook")], Grows),
        ("cortex_alertmanager_notifications_total", vec![("integration", "webhook")], Grows),
        ("cortex_bucket_blocks_count", vec![], Stays(105.0)),
        ("cortex_build_info", vec![("version", "3.1.0")], Stays(1.0)),
        ("cortex_bucket_blocks_marked_for_deletion_count", vec![], Stays(0.0)),
        ("cortex_bucket_blocks_partials_count", vec![], Stays(0.0)),
        ("cortex_bucket_index_estimated_compaction_jobs", vec![("type", "merge")], Stays(52.0)),
        ("cortex_bucket_index_last_successful_update_timestamp_seconds", vec![("user", "dora")], Now),
        ("cortex_bucket_store_blocks_loaded", vec![("component", "store-gateway")], Stays(105.0)),
        ("cortex_bucket_stores_blocks_last_successful_sync_timestamp_seconds", vec![], Now),
        ("cortex_compactor_block_cleanup_failures_total", vec![], Grows),
        ("cortex_compactor_block_cleanup_last_successful_run_timestamp_seconds", vec![], Now),
        ("cortex_compactor_blocks_marked_for_deletion_total", vec![("reason", "compaction")], Grows),
        ("cortex_compactor_blocks_marked_for_no_compaction_total", vec![("reason", "critical")], Stays(0.0)),
        ("cortex_compactor_group_compactions_failures_total", vec![], Grows),
        ("cortex_compactor_group_compactions_total", vec![], Grows),
        ("cortex_compactor_last_successful_run_timestamp_seconds", vec![], Now),
        ("cortex_compactor_runs_completed_total", vec![], Grows),
        ("cortex_compactor_runs_failed_total", vec![("reason", "error")], Grows),
        ("cortex_discarded_samples_total", vec![("reason", "sample-too-old")], Grows),
        ("cortex_distributor_inflight_push_requests", vec![], Stays(1.0)),
        ("cortex_ingester_ingested_samples_total", vec![], Grows),
        ("cortex_ingester_memory_series_created_total", vec![], Grows),
        ("cortex_ingester_oldest_unshipped_block_timestamp_seconds", vec![], Now),
        ("cortex_ingester_shipper_last_successful_upload_timestamp_seconds", vec![], Now),
        ("cortex_ingester_shipper_upload_failures_total", vec![], Grows),
        ("cortex_ingester_shipper_uploads_total", vec![], Grows),
        ("cortex_ingester_tsdb_compactions_failed_total", vec![], Grows),
        ("cortex_ingester_tsdb_compactions_total", vec![], Grows),
        ("cortex_ingester_tsdb_wal_corruptions_total", vec![], Stays(0.0)),
        ("cortex_ingester_tsdb_wal_writes_failed_total", vec![], Stays(0.0)),
        ("cortex_limits_defaults", vec![("limit_name", "ingestion_rate")], Stays(200_000.0)),
        ("cortex_limits_defaults", vec![("limit_name", "max_global_series_per_user")], Stays(150_000.0)),
        ("cortex_prometheus_notifications_dropped_total", vec![], Grows),
        ("cortex_prometheus_notifications_sent_total", vec![], Grows),
        ("cortex_prometheus_rule_evaluation_failures_total", vec![("rule_group", "g")], Grows),
        ("cortex_prometheus_rule_group_interval_seconds", vec![("rule_group", "g")], Stays(60.0)),
        ("cortex_prometheus_rule_group_iterations_missed_total", vec![("rule_group", "g")], Grows),
        ("cortex_prometheus_rule_group_last_duration_seconds", vec![("rule_group", "g")], Stays(0.3)),
        ("cortex_querier_blocks_consistency_checks_failed_total", vec![], Grows),
        ("cortex_query_scheduler_queue_duration_seconds_bucket", vec![("le", "0.1")], Grows),
        ("cortex_query_scheduler_queue_duration_seconds_bucket", vec![("le", "+Inf")], Grows),
        ("cortex_query_scheduler_queue_length", vec![], Stays(0.0)),
        ("go_gc_gomemlimit_bytes", vec![], Stays(3e9)),
        ("process_cpu_seconds_total", vec![], Grows),
        ("process_resident_memory_bytes", vec![], Stays(4e8)),
        ("process_start_time_seconds", vec![], Stays(1.7e9)),
        (
            "thanos_objstore_bucket_operation_duration_seconds_bucket",
            vec![("operation", "get"), ("le", "0.1")],
            Grows,
        ),
        (
            "thanos_objstore_bucket_operation_duration_seconds_bucket",
            vec![("operation", "get"), ("le", "+Inf")],
            Grows,
        ),
        ("thanos_objstore_bucket_operation_failures_total", vec![("operation", "get")], Grows),
        (
            "thanos_objstore_bucket_operations_total",
            vec![("operation", "get"), ("component", "compactor")],
            Grows,
        ),
        ("thanos_store_index_cache_hits_total", vec![], Grows),
        ("thanos_store_index_cache_max_size_bytes", vec![], Stays(2.5e8)),
        ("thanos_store_index_cache_requests_total", vec![], Grows),
        ("thanos_store_index_cache_total_size_bytes", vec![], Stays(1e6)),
    ];
    for route in [push, query] {
        all.push(("cortex_request_duration_seconds_count", vec![route, ("status_code", "200")], Grows));
        all.push(("cortex_request_duration_seconds_bucket", vec![route, ("le", "0.1")], Grows));
        all.push(("cortex_request_duration_seconds_bucket", vec![route, ("le", "+Inf")], Grows));
    }
    for (_, labels, _) in &mut all {
        labels.push(("instance", "dorainfra-mimir"));
    }
    all
}

pub enum Shown {
    Grows,
    Now,
    Stays(f64),
}
