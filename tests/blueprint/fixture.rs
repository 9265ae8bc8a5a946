//! What the blueprint's tests and its benchmark build from: machine templates of
//! their own (the real ones may change without changing these tests) and facts.

use std::collections::BTreeMap;

use dorainfra::blueprint::{Engine, Facts, Flavour};
use dorainfra::config::Config;
use dorainfra::render::Overrides;

pub fn machine_templates() -> BTreeMap<String, String> {
    macro_rules! templates {
        ($($name:literal),* $(,)?) => {
            BTreeMap::from([$((concat!("vm/", $name).to_owned(), include_str!(concat!("../fixtures/vm/", $name)).to_owned())),*])
        };
    }
    templates![
        "startup-script.sh.j2",
        "machine.sh.j2",
        "bundle.json.j2",
        "dorainfra-agent.service.j2",
        "mimir.service.j2",
        "mimir.yaml.j2",
        "standin-prometheus.yml.j2",
        "standin-web.yml.j2",
    ]
}

pub fn overrides() -> Overrides {
    Overrides::from_map(machine_templates())
}

pub fn config() -> Config {
    Config { project: "acme-metrics".into(), ..Config::default() }
}

pub fn facts(flavour: Flavour) -> Facts {
    let (version, digit) = match flavour {
        Flavour::Mimir => ("3.0.4", "a"),
        Flavour::StandIn => ("2.42.0", "b"),
    };
    Facts {
        caller: Some("203.0.113.7/32".into()),
        engine: Engine {
            flavour,
            version: version.into(),
            sha256: digit.repeat(64),
            path: "/home/someone/cache/engine".into(),
        },
    }
}
