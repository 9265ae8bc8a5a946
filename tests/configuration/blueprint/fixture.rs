//! What the blueprint's tests and its benchmark build from.

use dorainfra_config::Config;
use dorainfra_deploy::blueprint::{Engine, Facts};
use dorainfra_prometheus::Flavour;

pub fn config() -> Config {
    Config { project: "acme-metrics".into(), ..Config::default() }.settled(true)
}

pub fn facts(flavour: Flavour) -> Facts {
    let (version, digit) = match flavour {
        Flavour::Mimir => (dorainfra_config::default_version(), "a"),
        Flavour::StandIn => ("2.42.0", "b"),
    };
    Facts {
        caller: Some("203.0.113.7/32".into()),
        clients: Vec::new(),
        engine: Engine {
            flavour,
            version: version.into(),
            sha256: digit.repeat(64),
            path: "/home/someone/cache/engine".into(),
        },
        restore_disks: std::collections::BTreeMap::default(),
        alertmanager: None,
        scrape: dorainfra_config::ScrapeJobs::default(),
    }
}
