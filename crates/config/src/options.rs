//! What is known of Mimir's own keys: which ones a version has, and which ones
//! are not the user's, because they decide who can read Mimir or where its data
//! lies.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::problem::{Place, Problem, quoted};
use super::suggest::nearest;
use super::versions::{exactly, mimir_versions};

/// Ours, with all that is below them, and where to say the same instead.
const OURS: &[(&str, &str)] = &[
    ("target", "one process is all of Mimir"),
    ("multitenancy_enabled", "`mimir.tenant` names the tenant"),
    ("no_auth_tenant", "`mimir.tenant` names the tenant"),
    ("server.http_listen_address", WHERE),
    ("server.http_listen_port", WHERE),
    ("server.http_listen_network", WHERE),
    ("server.grpc_listen_address", WHERE),
    ("server.grpc_listen_port", WHERE),
    ("server.grpc_listen_network", WHERE),
    ("server.http_tls_config", "the machine's certificate and who may connect are dorainfra's"),
    ("common.storage", BUCKET),
    ("blocks_storage.backend", BUCKET),
    ("blocks_storage.gcs", BUCKET),
    ("blocks_storage.storage_prefix", BUCKET),
    ("ruler_storage.backend", BUCKET),
    ("ruler_storage.gcs", BUCKET),
    ("ruler_storage.storage_prefix", BUCKET),
    ("alertmanager_storage.backend", BUCKET),
    ("alertmanager_storage.gcs", BUCKET),
    ("alertmanager_storage.storage_prefix", BUCKET),
    ("blocks_storage.tsdb.dir", DISK),
    ("blocks_storage.bucket_store.sync_dir", DISK),
    ("compactor.data_dir", DISK),
    ("ruler.rule_path", DISK),
    ("alertmanager.data_dir", DISK),
    ("activity_tracker.filepath", DISK),
];
const WHERE: &str = "the firewall and the health checks are made for dorainfra's addresses and ports";
const BUCKET: &str = "`mimir.bucket` names the bucket, and dorainfra names its folders";
const DISK: &str = "data lies on the data disk only";

/// The user's to set, with all that is below them, but a plan says loudly what they may cost.
const DANGERS: &[(&str, &str)] = &[
    ("blocks_storage.bucket_store.ignore_blocks_within", HIDES),
    ("blocks_storage.tsdb.close_idle_tsdb_timeout", "deletes what is on the data disk of an idle tenant"),
    (
        "blocks_storage.tsdb.flush_blocks_on_shutdown",
        "a stop may take longer than it is given, and be killed",
    ),
    ("blocks_storage.tsdb.retention_period", "deletes blocks on the data disk that queries may still need"),
    ("blocks_storage.tsdb.ship_interval", "0 ends the way to the bucket: the data disk is the only copy"),
    ("compactor.block_ranges", "blocks of the history may be refused, or never be compacted"),
    ("compactor.deletion_delay", "deletes replaced blocks while queries may still read them"),
    ("compactor.disabled_tenants", "nothing is compacted, indexed or deleted any more"),
    ("compactor.enabled_tenants", "nothing of other tenants is compacted, indexed or deleted any more"),
    ("compactor.tenant_cleanup_delay", "deletes what is left of a deleted tenant"),
    ("distributor.ha_tracker", DROPS),
    ("ingest_storage", "writes go to Kafka, and are lost where there is none"),
    ("ingester.ring.replication_factor", COPIES),
    ("ingester.ring.unregister_on_shutdown", COPIES),
    ("ingester.ring.zone_awareness_enabled", COPIES),
    ("limits.accept_ha_samples", DROPS),
    ("limits.compactor_blocks_retention_period", "deletes all that is older; `mimir.retention` is checked"),
    ("limits.compactor_partial_block_deletion_delay", "deletes blocks whose upload takes longer"),
    ("limits.drop_labels", DROPS),
    ("limits.ingestion_tenant_shard_size", COPIES),
    ("limits.label_value_length_over_limit_strategy", DROPS),
    ("limits.max_query_lookback", HIDES),
    ("limits.metric_relabel_configs", DROPS),
    ("limits.native_histograms_ingestion_enabled", DROPS),
    ("limits.out_of_order_time_window", "what comes later is refused and lost"),
    ("limits.past_grace_period", "what comes later is refused and lost"),
    ("limits.query_ingesters_within", HIDES),
    ("querier.query_store_after", HIDES),
    ("runtime_config.file", "what it sets goes before all limits here, and no plan shows it"),
    ("store_gateway.sharding_ring.replication_factor", COPIES),
];
const HIDES: &str = "queries may not see what is stored";
const DROPS: &str = "samples are dropped, or become one another's";
const COPIES: &str = "fewer copies: a zone that is away may take samples with it";

/// `KEY: WHY` for each key of `mimir.extra` that may cost data, in their order.
pub fn dangers(extra: &Map<String, Value>) -> Vec<String> {
    let set = |path: &str| {
        let mut fields = Some(extra);
        for name in path.split('.') {
            let Some(value) = fields.and_then(|fields| fields.get(name)) else { return false };
            fields = value.as_object();
        }
        true
    };
    DANGERS.iter().filter(|(path, _)| set(path)).map(|(path, why)| format!("{path}: {why}")).collect()
}

/// Whether it turns the upload of blocks off.
pub(super) fn takes_no_blocks(extra: &Map<String, Value>) -> bool {
    extra.get("limits").is_some_and(|limits| limits["compactor_block_upload_enabled"] == false)
}

struct List {
    /// Full paths of keys.
    keys: BTreeSet<&'static str>,
    /// Keys whose value has keys of its own.
    open: BTreeSet<&'static str>,
    /// Everything above a key.
    sections: BTreeSet<&'static str>,
}

/// In the order of the versions.
static PARSED: LazyLock<Vec<List>> =
    LazyLock::new(|| mimir_versions().iter().map(|one| List::parse(one.options())).collect());

impl List {
    fn parse(text: &'static str) -> Self {
        let mut list = Self { keys: BTreeSet::new(), open: BTreeSet::new(), sections: BTreeSet::new() };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let key = line.strip_suffix(".*").unwrap_or(line);
            if key != line {
                list.open.insert(key);
            }
            list.keys.insert(key);
            list.sections.extend(key.match_indices('.').map(|(at, _)| &key[..at]));
        }
        list
    }

    fn of(version: &str) -> Option<&'static Self> {
        PARSED.get(exactly(version)?)
    }

    fn has(&self, path: &str) -> bool {
        self.keys.contains(path)
            || self.sections.contains(path)
            || path.match_indices('.').any(|(at, _)| self.open.contains(&path[..at]))
    }
}

/// Whether this version of Mimir has a key or a section of this path; `None`:
/// its keys are not known here.
pub fn known(version: &str, path: &str) -> Option<bool> {
    List::of(version).map(|list| list.has(path))
}

/// All keys of this version; `None`: they are not known here.
pub fn keys(version: &str) -> Option<impl Iterator<Item = &'static str>> {
    List::of(version).map(|list| list.keys.iter().copied())
}

/// What is wrong with the keys of `mimir.extra`, in their order. Below a key
/// that is wrong nothing more is said.
pub(super) fn problems(version: &str, keys: &[(String, Place)]) -> Vec<Problem> {
    let mut found: Vec<(&str, Problem)> = Vec::new();
    for (path, place) in keys {
        let below = |other: &str| within(path, other);
        if found.iter().any(|(wrong, _)| below(wrong)) {
            continue;
        }
        let ours = OURS.iter().find(|(ours, _)| path == ours || below(ours));
        if let Some((_, why)) = ours {
            let message = format!("`mimir.extra`: {} is not for `mimir.extra`", quoted(path));
            found.push((path, Problem::new(place.clone(), message).help(Some((*why).to_owned()))));
        } else if is_section(version, path) && !keys.iter().any(|(other, _)| within(other, path)) {
            // A value in its place would take away all that is below it.
            let message = format!("`mimir.extra`: {} takes keys of its own, not a value", quoted(path));
            found.push((path, Problem::new(place.clone(), message)));
        } else if let Some(list) = List::of(version).filter(|list| !list.has(path)) {
            found.push((path, unknown(version, path, place, list)));
        }
    }
    found.into_iter().map(|(_, problem)| problem).collect()
}

fn within(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

fn is_section(version: &str, path: &str) -> bool {
    let listed =
        List::of(version).is_some_and(|list| list.sections.contains(path) && !list.keys.contains(path));
    listed || OURS.iter().any(|(ours, _)| within(ours, path))
}

fn unknown(version: &str, path: &str, place: &Place, list: &List) -> Problem {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let inside = |full: &&'static str| match full.strip_prefix(parent) {
        Some(rest) if parent.is_empty() => !rest.contains('.'),
        Some(rest) => rest.strip_prefix('.').is_some_and(|rest| !rest.is_empty() && !rest.contains('.')),
        None => false,
    };
    let leaf = |full: &'static str| full.rsplit('.').next().unwrap_or(full);
    let all = || list.keys.iter().chain(&list.sections).copied();
    let beside = nearest(name, all().filter(inside).map(leaf));
    let near =
        beside.map(|near| if parent.is_empty() { near.to_owned() } else { format!("{parent}.{near}") });
    // The right name in another section.
    let near = near.or_else(|| all().find(|full| leaf(full) == name).map(str::to_owned));
    Problem::new(place.clone(), format!("`mimir.extra`: Mimir {version} has no key {}", quoted(path)))
        .help(near.map(|near| format!("did you mean `{near}`?")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(version: &str, keys: &[&str]) -> Vec<String> {
        let keys: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), Place::default_value())).collect();
        let told = |problem: Problem| format!("{} → {}", problem.message, problem.help.unwrap_or_default());
        problems(version, &keys).into_iter().map(told).collect()
    }

    #[test]
    fn keys_are_known_by_version() {
        assert_eq!(known("3.0.4", "limits.ingestion_rate"), Some(true));
        assert_eq!(known("3.0.1", "limits"), Some(true));
        assert_eq!(known("3.0.4", "limits.cost_attribution_labels_structured.anything.at.all"), Some(true));
        assert_eq!(known("3.0.4", "limits.ingestion"), Some(false));
        assert_eq!(known("3.2.0-rc.0", "limits.ingestion"), Some(false));
        assert_eq!(known("2.17.0", "limits.ingestion"), None);
        assert_eq!(known("3.20.0", "limits.ingestion"), None);
        let ring = |version| known(version, "querier.ring.instance_addr");
        assert_eq!((ring("3.0.6"), ring("3.1.0"), ring("3.2.1")), (Some(false), Some(true), Some(true)));
    }

    #[test]
    fn each_wrong_key_is_told_once_with_what_to_write() {
        insta::assert_snapshot!(
            told(
                "3.0.4",
                &[
                    "limits.ingestion_rte",
                    "limit",
                    "limit.ingestion_rate",
                    "querier.max_label_names_per_series",
                    "server",
                    "server.http_tls_config",
                    "server.http_tls_config.client_auth_type",
                    "blocks_storage.tsdb.dir",
                    "blocks_storage.tsdb.retention_period",
                    "nonsense",
                    "common",
                    "limits.cost_attribution_labels_structured",
                ]
            )
            .join("\n")
        );
    }

    #[test]
    fn of_an_unknown_version_only_our_keys_are_told() {
        assert_eq!(told("9.0.0", &["limits.anything"]), Vec::<String>::new());
        assert_eq!(told("9.0.0", &["common.storage.backend"]).len(), 1);
        assert_eq!(told("9.0.0", &["common"]).len(), 1);
    }

    #[test]
    fn what_may_cost_data_is_told_with_its_reason() {
        let extra = json!({
            "limits": {"ingestion_rate": 5, "compactor_blocks_retention_period": "1d"},
            "distributor": {"ha_tracker": {"enable_ha_tracker": true}},
            "compactor": {"compaction_concurrency": 2},
        });
        let told = dangers(extra.as_object().unwrap());
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("distributor.ha_tracker: ") && told[1].contains("deletes"), "{told:?}");
        let hidden = json!({"limits": {"max_query_lookback": "1h"}, "runtime_config": {"file": "x.yaml"}});
        assert_eq!(dangers(hidden.as_object().unwrap()).len(), 2);
        assert_eq!(dangers(&Map::new()), Vec::<String>::new());
        assert!(!takes_no_blocks(extra.as_object().unwrap()));
        let off = json!({"limits": {"compactor_block_upload_enabled": false}});
        assert!(takes_no_blocks(off.as_object().unwrap()));
    }

    #[test]
    fn what_is_ours_exists() {
        for version in mimir_versions() {
            for (ours, _) in OURS.iter().chain(DANGERS) {
                assert_eq!(known(&version.newest, ours), Some(true), "{ours} in {}", version.newest);
            }
        }
    }
}
