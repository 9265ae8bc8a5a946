//! The one table of keys: what `dorainfra.yaml`, `--set` and the `DORAINFRA_*`
//! variables may say. Checks, the file that `init` writes and the reference in
//! docs/ are all read from it. Default values are `Config::default()`'s.

use super::key::{PORT, SECONDS, plain};
use super::rules;

pub use super::key::{Key, Kind, Section, VARIABLE_PREFIX};
pub use super::sections::SECTIONS;

pub fn key(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

pub fn section(path: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.path == path)
}

/// The names that may stand in a section: keys first, then sections.
pub fn names_in(section: &str) -> impl Iterator<Item = &'static str> {
    let keys = KEYS.iter().map(Key::split);
    let sections = SECTIONS.iter().filter_map(Section::split);
    keys.chain(sections).filter(move |(parent, _)| *parent == section).map(|(_, name)| name)
}

pub const KEYS: &[Key] = &[
    Key {
        path: "project",
        kind: Kind::Text(rules::PROJECT),
        doc: "Google Cloud project id. Needed by everything that calls Google; `GOOGLE_CLOUD_PROJECT` \
              serves where nothing else names one.",
        example: "my-gcp-project",
        derived: Some("none"),
    },
    Key {
        path: "name",
        kind: Kind::Text(rules::NAME),
        doc: "Name of the deployment: the prefix of every resource's name and its mark of ownership. \
              Another name is another deployment.",
        example: "dora-staging",
        derived: None,
    },
    plain(
        "region",
        Kind::Text(rules::REGION),
        "Google Cloud region of the machine, its disks and its address.",
        "us-central1",
    ),
    Key {
        path: "zones",
        kind: Kind::List(rules::ZONE),
        doc: "Zones of the machines, in `region`: one for `topology: single`, three for `ha`. The first one is \
              that of the first machine in both.",
        example: "[europe-west1-c]",
        derived: Some("`<region>-b`; with `ha` also `-c`, and `-a` or `-d`"),
    },
    Key {
        path: "labels",
        kind: Kind::Labels,
        doc: "Labels for every resource that takes labels, beside the deployment's own.",
        example: "{cost-center: platform}",
        derived: None,
    },
    plain(
        "sources",
        Kind::Sources,
        "Where real events come from: git repositories, GitHub, GitLab, files, CDEvents, webhooks of other \
         tools. Without them nothing is fed, except simulated teams where `generator.simulate` asks for them.",
        "[{type: git, path: ../shop, team: orders}]",
    ),
    plain(
        "settle_hours",
        Kind::Whole(&[(0, 720)]),
        "Hours after which an event of `sources` counts. A failure that is known by then counts \
         against its deployment; what is known later changes nothing any more.",
        "24",
    ),
    plain(
        "timezone",
        Kind::Text(rules::TIMEZONE),
        "Time zone of the report's days and weeks. The history gets a sample where these days end, too.",
        "Europe/Berlin",
    ),
    Key {
        path: "templates_dir",
        kind: Kind::Path,
        doc: "Folder whose files override the built-in templates of the same path.",
        example: "templates",
        derived: Some("none: the built-in templates"),
    },
    Key {
        path: "mimir.version",
        kind: Kind::Text(rules::VERSION),
        doc: "Version of Mimir that the machine runs.",
        example: "3.1.4",
        derived: None,
    },
    plain(
        "mimir.topology",
        Kind::Choice(&["single", "ha"], &[]),
        "How many machines: `single` is one, and not highly available; `ha` is three in three zones, \
         each with all the data, behind a load balancer.",
        "ha",
    ),
    plain(
        "mimir.machine_type",
        Kind::Text(rules::MACHINE_TYPE),
        "Compute Engine machine type. Mimir with a year of 39 teams took 0.6 GB of memory at most (docs/sizing.md).",
        "e2-standard-2",
    ),
    plain(
        "mimir.boot_disk_gb",
        Kind::Whole(&[(10, 2000)]),
        "Size of the boot disk in GB. It holds no data.",
        "20",
    ),
    plain(
        "mimir.boot_disk_type",
        Kind::Choice(&["pd-balanced", "pd-ssd", "pd-standard", "hyperdisk-balanced"], &[]),
        "Disk type of the boot disk. Newer machine series (N4, C4, C4A and their like) take `hyperdisk-balanced` only.",
        "hyperdisk-balanced",
    ),
    plain(
        "mimir.disk_gb",
        Kind::Whole(&[(10, 65_536)]),
        "Size of the data disk in GB: the write-ahead log, blocks not yet in the bucket, caches. \
         It can grow in place, never shrink.",
        "50",
    ),
    plain(
        "mimir.disk_type",
        Kind::Choice(&["pd-balanced", "pd-ssd", "pd-standard", "hyperdisk-balanced"], &[]),
        "Type of the data disk.",
        "pd-ssd",
    ),
    Key {
        path: "mimir.log_level",
        kind: Kind::Choice(&["debug", "info", "warn", "error"], &[]),
        doc: "What Mimir writes to its log, which is the machine's journal and its serial port.",
        example: "warn",
        derived: None,
    },
    plain(
        "mimir.snapshot_days",
        Kind::Whole(&[(1, 3650)]),
        "Days that the daily snapshots of the data disk are kept.",
        "30",
    ),
    Key {
        path: "mimir.bucket",
        kind: Kind::Text(rules::BUCKET),
        doc: "Cloud Storage bucket of the blocks. Bucket names are global: no two projects of the world \
              share one.",
        example: "example-dora-metrics",
        derived: Some("`<project>-<name>-mimir`"),
    },
    Key {
        path: "mimir.bucket_location",
        kind: Kind::Text(rules::BUCKET_LOCATION),
        doc: "Location of the bucket. It cannot change once the bucket exists.",
        example: "EU",
        derived: Some("`region`'s value"),
    },
    Key {
        path: "mimir.soft_delete_days",
        kind: Kind::Whole(&[(0, 0), (7, 90)]),
        doc: "Days that Cloud Storage keeps (and bills) deleted objects; 0 turns that off.",
        example: "0",
        derived: None,
    },
    Key {
        path: "mimir.retention",
        kind: Kind::Text(rules::RETENTION),
        doc: "How long samples are kept. Not shorter than the history that the generator writes.",
        example: "400d",
        derived: Some("`2y`, or `generator.days` and a year more where that is longer"),
    },
    Key {
        path: "mimir.tenant",
        kind: Kind::Text(rules::TENANT),
        doc: "Mimir tenant that all samples belong to: the folder of their blocks in the bucket. Clients need not name it.",
        example: "platform",
        derived: None,
    },
    Key {
        path: "mimir.service_account",
        kind: Kind::Text(rules::SERVICE_ACCOUNT),
        doc: "A service account that exists, for the machine to run as, where none may be made \
              (`iam.disableServiceAccountCreation`) or one is prescribed. It is granted its roles on the bucket and \
              on the server's secret, and never changed or deleted itself. The firewall tells the machine by \
              a network tag then, as other machines may run as that account.",
        example: "mimir@my-gcp-project.iam.gserviceaccount.com",
        derived: Some("none: an account of the deployment's own is made"),
    },
    Key {
        path: "mimir.binary",
        kind: Kind::Path,
        doc: "A Mimir binary on this machine, used instead of the pinned download. It has to be of `mimir.version`.",
        example: "/usr/local/bin/mimir",
        derived: Some("none: the pinned download"),
    },
    Key {
        path: "mimir.extra",
        kind: Kind::Options,
        doc: "More of Mimir's configuration, in Mimir's own keys: laid over what dorainfra writes, mappings \
              merged, everything else replaced. A key that this version of Mimir does not have is an error, \
              and so is one that decides who can read Mimir or where its data lies.",
        example: "{limits: {max_label_names_per_series: 40}}",
        derived: None,
    },
    Key {
        path: "mimir.limits.max_series",
        kind: Kind::Whole(&[(1, 1_000_000_000)]),
        doc: "Series in memory. Not fewer than the generator writes: about 50 for each team, 180 by service.",
        example: "500000",
        derived: Some("twice what `generator.teams` and the parts' own metrics make, at least 150000"),
    },
    Key {
        path: "mimir.limits.ingestion_rate",
        kind: Kind::Whole(&[(1, 1_000_000_000)]),
        doc: "Samples a second, lasting.",
        example: "50000",
        derived: Some("the whole history in a minute, at least 200000"),
    },
    Key {
        path: "mimir.limits.ingestion_burst",
        kind: Kind::Whole(&[(1, 1_000_000_000)]),
        doc: "Samples at once.",
        example: "1000000",
        derived: Some("ten times `mimir.limits.ingestion_rate`'s default"),
    },
    Key {
        path: "mimir.limits.out_of_order_window",
        kind: Kind::Text(rules::DURATION),
        doc: "How far behind the newest sample older ones may still be written. A history that goes \
              through the ingester, and not to the bucket as blocks, has to fit into it: `generator.days` and one \
              day more. What stands in for Mimir always has room for that.",
        example: "800d",
        derived: Some(
            "`6h`, which is what the collector keeps while Mimir is away; with `sources`, or where Mimir takes \
             no blocks, `generator.days` and 35 days more, at least 400d",
        ),
    },
    Key {
        path: "network.name",
        kind: Kind::Text(rules::NETWORK),
        doc: "VPC network of the project that the machine joins.",
        example: "platform",
        derived: None,
    },
    Key {
        path: "network.subnet",
        kind: Kind::Text(rules::NETWORK),
        doc: "Subnet of that network in `region`. It needs Private Google Access where `access.external` is \
              `false`.",
        example: "platform-europe",
        derived: Some("none: the one that a network in auto mode has in each region"),
    },
    Key {
        path: "network.create",
        kind: Kind::Flag,
        doc: "Make a network and a subnet of the deployment's own, named after it, with Private Google Access \
              and no way in but those of `access`. `network.name` and `network.subnet` are not given then.",
        example: "true",
        derived: None,
    },
    Key {
        path: "network.range",
        kind: Kind::Text(rules::SUBNET_RANGE),
        doc: "Range of the subnet that `network.create` makes.",
        example: "10.42.0.0/24",
        derived: None,
    },
    Key {
        path: "access.allow",
        kind: Kind::List(rules::CIDR),
        doc: "Networks that may reach port 9009. `caller` stands for the address that this machine has on \
              the internet.",
        example: "[caller, 203.0.113.0/24]",
        derived: None,
    },
    Key {
        path: "access.caller_services",
        kind: Kind::List(rules::URL),
        doc: "Services that answer with the caller's address and nothing else, over IPv4: asked in turn by \
              `plan` and `apply`, where `access.allow` says `caller`. The first good answer counts.",
        example: "[https://checkip.amazonaws.com]",
        derived: None,
    },
    Key {
        path: "access.external",
        kind: Kind::Flag,
        doc: "Whether Mimir has an address on the internet. Without one it is reached from inside the \
              network (name its ranges in `access.allow`; `caller` is no such range and counts for nothing) \
              or through Google's Identity-Aware Proxy, by the command that `dorainfra status` prints. The load \
              balancer of `topology: ha` is an internal one then.",
        example: "false",
        derived: None,
    },
    Key {
        path: "access.external_machines",
        kind: Kind::Flag,
        doc: "Whether each machine of `topology: ha` has an address on the internet, beside the load balancer's. \
              Nothing needs them, and each is billed; without them the subnet needs Private Google Access \
              (`network.create: true` has it).",
        example: "false",
        derived: None,
    },
    Key {
        path: "access.endpoint",
        kind: Kind::Text(rules::ENDPOINT),
        doc: "Where this machine reaches port 9009, if not at the machine's own address: the near end of a \
              tunnel.",
        example: "localhost:9009",
        derived: Some("none: the machine's own address"),
    },
    Key {
        path: "access.public",
        kind: Kind::Choice(&["i-understand"], &[]),
        doc: "Consent to networks as wide as the internet in `access.allow` (0.0.0.0/0, ::/0, and any \
              IPv4 network wider than /8 or IPv6 network wider than /16).",
        example: "i-understand",
        derived: Some("none: such networks are refused"),
    },
    Key {
        path: "access.tls",
        kind: Kind::Choice(&["mutual", "server", "off"], &[]),
        doc: "Who shows a certificate on port 9009: `mutual` server and client, `server` the server only \
              (whoever reaches the port reads and writes), `off` nobody, in plain text. Each plan marks the \
              latter two.",
        example: "server",
        derived: None,
    },
    Key {
        path: "secrets.locations",
        kind: Kind::List(rules::REGION),
        doc: "Regions that secrets are kept in, each a replica: for a policy that allows some locations only \
              (`gcp.resourceLocations`). It cannot change for a secret that exists: another value makes all \
              certificates anew.",
        example: "[europe-west1]",
        derived: Some("none: Google chooses, worldwide"),
    },
    Key {
        path: "alerts.rules",
        kind: Kind::Flag,
        doc: "Whether Mimir's ruler has the recording and alert rules, in the namespace `dorainfra`.",
        example: "false",
        derived: None,
    },
    Key {
        path: "alerts.config",
        kind: Kind::Path,
        doc: "Your own configuration of the alertmanager. Only its SHA-256 is ever shown.",
        example: "alertmanager.yaml",
        derived: Some("none: alerts can be queried, but nobody is notified"),
    },
    Key {
        path: "alerts.watchdog",
        kind: Kind::Path,
        doc: "File with the URL of a dead man's switch outside (a heartbeat check of Healthchecks, PagerDuty, \
              Better Stack and the like): the alert `Watchdog`, which always fires, is sent there as a webhook \
              each minute, and whoever owns the switch tells you when that ends. The URL is in no output.",
        example: "watchdog.url",
        derived: Some("none: nobody is notified when Mimir itself is down"),
    },
    Key {
        path: "alerts.url",
        kind: Kind::Text(rules::URL),
        doc: "Where people look at metrics: what the link of an alert to its expression begins with.",
        example: "https://prometheus.example.com",
        derived: Some("none: Mimir's own query API"),
    },
    Key {
        path: "stack.runtime",
        kind: Kind::Choice(&["auto", "native", "compose"], &[]),
        doc: "How the stack runs: `native` processes, Docker `compose`, or `auto`: Compose where a Docker \
              engine answers, else native.",
        example: "native",
        derived: None,
    },
    Key {
        path: "stack.grafana",
        kind: Kind::Choice(&["run", "none"], &[]),
        doc: "Whether Grafana runs in the Compose stack. The native stack has none.",
        example: "none",
        derived: None,
    },
    Key {
        path: "stack.live",
        kind: Kind::Choice(&["pushgateway", "scrape", "remote-write"], &[]),
        doc: "How live values reach Mimir: the generator pushes them to a Pushgateway that the collector \
              scrapes (`pushgateway`), is scraped itself (`scrape`), or writes them itself (`remote-write`).",
        example: "scrape",
        derived: None,
    },
    Key {
        path: "stack.scrape_seconds",
        kind: Kind::Whole(SECONDS),
        doc: "Seconds between two scrapes of the Pushgateway, or of the generator.",
        example: "15",
        derived: None,
    },
    Key {
        path: "stack.scrape_jobs",
        kind: Kind::Path,
        doc: "File of your own jobs for the collector: a list of Prometheus's `scrape_configs`, as in \
              `prometheus/example.yaml`. The files that it names, relative to it, are copied for the \
              collector by `apply` and `stack up`. Secrets have to be in files of their own.",
        example: "scrape.yaml",
        derived: Some("none: only what is dorainfra's"),
    },
    Key {
        path: "stack.prometheus",
        kind: Kind::Path,
        doc: "Prometheus binary.",
        example: "/usr/bin/prometheus",
        derived: Some("none: the one on `PATH`"),
    },
    Key {
        path: "stack.pushgateway",
        kind: Kind::Path,
        doc: "Pushgateway binary.",
        example: "/usr/bin/prometheus-pushgateway",
        derived: Some("none: the one on `PATH`"),
    },
    plain("stack.ports.prometheus", Kind::Whole(PORT), "Port of the Prometheus agent.", "19090"),
    plain("stack.ports.pushgateway", Kind::Whole(PORT), "Port of the Pushgateway.", "19091"),
    plain("stack.ports.grafana", Kind::Whole(PORT), "Port of Grafana.", "13000"),
    plain(
        "stack.ports.generator",
        Kind::Whole(PORT),
        "Port of the generator, where `stack.live` is not `pushgateway`.",
        "19464",
    ),
    plain(
        "stack.images.pushgateway",
        Kind::Text(rules::IMAGE),
        "Image of the Pushgateway.",
        "mirror.example/prom/pushgateway:v1.11.1",
    ),
    plain(
        "stack.images.prometheus",
        Kind::Text(rules::IMAGE),
        "Image of the Prometheus agent, of version 3.",
        "mirror.example/prom/prometheus:v3.5.0",
    ),
    plain(
        "stack.images.grafana",
        Kind::Text(rules::IMAGE),
        "Image of Grafana.",
        "mirror.example/grafana/grafana:12.1.1",
    ),
    Key {
        path: "generator.simulate",
        kind: Kind::Flag,
        doc: "Feed simulated teams, to try things out: they do not exist, and every series of them says so. \
              Where this is not set, they are fed in the sandbox only, and only without `sources`.",
        example: "true",
        derived: Some("`true` in the sandbox without `sources`, else `false`"),
    },
    plain(
        "generator.teams",
        Kind::Whole(&[(1, 10_000)]),
        "Number of simulated teams, up to 50 series each.",
        "5",
    ),
    plain(
        "generator.days",
        Kind::Whole(&[(1, 3650)]),
        "Days of history written with their true dates, ending today.",
        "90",
    ),
    plain(
        "generator.seed",
        Kind::Whole(&[(0, u64::MAX)]),
        "The same seed gives the same history, byte for byte.",
        "42",
    ),
    plain(
        "generator.interval_seconds",
        Kind::Whole(SECONDS),
        "Seconds between two rounds of live values.",
        "10",
    ),
    plain(
        "generator.native_histograms",
        Kind::Flag,
        "Write lead times and recoveries as native histograms, too, beside the classic ones. Live values \
         of them need `stack.live: remote-write`: a Pushgateway and a scraped page are text, which has none.",
        "true",
    ),
    plain(
        "generator.service_histograms",
        Kind::Flag,
        "Write lead times and recoveries by service, too: 26 series for each service and environment, or 28.",
        "true",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::Config;

    fn leaves(value: &Value, path: &str, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) if !["labels", "mimir.extra"].contains(&path) => {
                for (name, field) in fields {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    leaves(field, &path, into);
                }
            }
            _ => assert!(into.insert(path.to_owned())),
        }
    }

    #[test]
    fn the_table_names_every_field_of_config_and_no_other() {
        let mut fields = BTreeSet::new();
        leaves(&serde_json::to_value(Config::default()).unwrap(), "", &mut fields);
        let keys: BTreeSet<String> = KEYS.iter().map(|key| key.path.to_owned()).collect();
        assert_eq!(fields, keys);
        assert_eq!(keys.len(), KEYS.len(), "a key is there twice");
    }

    #[test]
    fn every_key_is_in_a_section_and_no_two_share_a_variable() {
        let variables: BTreeSet<String> = KEYS.iter().map(Key::variable).collect();
        assert_eq!(variables.len(), KEYS.len());
        for key in KEYS {
            assert!(section(key.split().0).is_some(), "{}", key.path);
            assert!(key.doc.ends_with('.'), "{}", key.path);
        }
        for section in SECTIONS {
            assert!(names_in(section.path).next().is_some(), "{}", section.path);
        }
    }
}
