//! Prices: that none is old, that what the documentation names has one, and the examples in docs/cost.md,
//! which are written by `cargo test --test project -- --ignored cost::`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use dorainfra_config::{Config, ScrapeJobs, Topology};
use dorainfra_deploy::blueprint::{self, Engine, Facts};
use dorainfra_deploy::cost::{cost, prices};
use dorainfra_engine::{Action, Plan, Step};
use dorainfra_model::Cost;
use dorainfra_prometheus::Flavour;
use dorainfra_render::Overrides;
use time::{Date, OffsetDateTime, macros::format_description};

const BEGIN: &str = "<!-- made by tests/project/cost.rs -->\n";
const END: &str = "<!-- end -->\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> PathBuf {
    root().join("docs/cost.md")
}

/// A deployment with all defaults, that is yet to be made.
fn example(topology: Topology) -> Cost {
    let mut config = Config { project: "my-gcp".into(), ..Config::default() };
    config.mimir.topology = topology;
    config.mimir.bucket = "my-gcp-dorainfra-mimir".into();
    if topology == Topology::Ha {
        config.zones = ["b", "c", "d"].map(|zone| format!("{}-{zone}", config.region)).into();
    }
    let engine = Engine {
        flavour: Flavour::Mimir,
        version: dorainfra_config::default_version().into(),
        sha256: "a".repeat(64),
        path: "/engine".into(),
    };
    let facts = Facts {
        caller: Some("203.0.113.7/32".into()),
        clients: Vec::new(),
        engine,
        restore_disks: Default::default(),
        alertmanager: None,
        scrape: ScrapeJobs::default(),
    };
    let manifests = blueprint::build(&config, &facts, &Overrides::none()).unwrap().manifests;
    let step = |manifest: &dorainfra_engine::Manifest| Step {
        id: manifest.id(),
        action: Action::Create,
        reason: String::new(),
        changes: Vec::new(),
        needs: Vec::new(),
        notes: Default::default(),
    };
    cost(&Plan { steps: manifests.iter().map(step).collect(), manifests, ..Plan::default() })
}

fn examples() -> String {
    let mut text = String::new();
    for (title, topology) in [("single", Topology::Single), ("ha", Topology::Ha)] {
        let cost = example(topology);
        writeln!(text, "### `topology: {title}`: ${:.2} a month\n", cost.monthly).unwrap();
        text.push_str("| resource | for | a month |\n| --- | --- | --- |\n");
        for item in &cost.items {
            let id = item.id.as_ref().map_or("traffic".into(), |id| format!("`{id}`"));
            writeln!(text, "| {id} | {} | ${:.2} |", item.what, item.after).unwrap();
        }
        for lacks in &cost.unpriced {
            let id = lacks.id.as_ref().map_or("traffic".into(), |id| format!("`{id}`"));
            writeln!(text, "| {id} | {} | no price |", lacks.what).unwrap();
        }
        text.push('\n');
    }
    writeln!(text, "Prices as of {}.", prices().as_of()).unwrap();
    text
}

fn with_examples(page: &str) -> String {
    let (before, rest) = page.split_once(BEGIN).expect("the page has a place for the examples");
    let (_, after) = rest.split_once(END).expect("and an end of it");
    format!("{before}{BEGIN}{}{END}{after}", examples())
}

#[test]
fn the_examples_are_what_the_table_comes_to() {
    let committed = std::fs::read_to_string(page()).unwrap();
    assert!(
        committed == with_examples(&committed),
        "the examples in docs/cost.md are not what the prices come to; write them again with\n    \
         cargo test --test project -- --ignored cost::"
    );
    // The one above all is of `single`.
    let first = format!(
        "≈ ${:.2} a month at Google (+${:.2} by this plan)",
        example(Topology::Single).monthly,
        example(Topology::Single).monthly
    );
    assert!(committed.contains(&first), "docs/cost.md does not say {first}");
}

/// Not a check: writes the examples again.
#[test]
#[ignore = "writes docs/cost.md"]
fn write_the_examples() {
    let committed = std::fs::read_to_string(page()).unwrap();
    std::fs::write(page(), with_examples(&committed)).unwrap();
}

/// Prices change, if seldom. CONTRIBUTING.md says how the table is renewed.
#[test]
fn no_price_is_older_than_a_year() {
    let today = OffsetDateTime::now_utc().date();
    for (name, source) in &prices().sources {
        let as_of = Date::parse(&source.as_of, format_description!("[year]-[month]-[day]")).unwrap();
        let days = (today - as_of).whole_days();
        assert!(
            days <= 366,
            "prices of `{name}` are {days} days old: renew crates/deploy/data/prices.yaml (CONTRIBUTING.md says how)"
        );
    }
}

/// Words of a text that may be names of machine types, disk types and the like.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter(|word| word.contains('-'))
}

fn is_machine(word: &str) -> bool {
    let series = ["e2", "n1", "n2", "n2d", "n4", "c2", "c2d", "c3", "c3d", "c4", "c4a", "t2a", "t2d"];
    let families = ["standard", "highmem", "highcpu", "custom", "medium", "small", "micro"];
    let (first, rest) = word.split_once('-').unwrap_or_default();
    series.contains(&first) && families.contains(&rest.split('-').next().unwrap_or_default())
}

/// Of machine types and disk types that somebody is told of, each has a price where the others have one, or a
/// reason for having none.
#[test]
fn what_is_named_has_a_price() {
    let mut texts = vec![serde_json::to_string(&Config::default()).unwrap()];
    for folder in ["docs", "."] {
        let pages = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        texts.extend(pages.map(|page| std::fs::read_to_string(page).unwrap()));
    }
    let words: BTreeSet<&str> = texts.iter().flat_map(|text| words(text)).collect();
    let reasoned = |word: &str| prices().unpriced.keys().any(|name| word.contains(name.as_str()));
    let machines: Vec<&str> = words.iter().copied().filter(|word| is_machine(word)).collect();
    let disks: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| word.starts_with("pd-") || word.starts_with("hyperdisk-"))
        .collect();
    assert!(machines.contains(&"e2-medium") && disks.contains(&"pd-balanced"), "{machines:?} {disks:?}");
    for region in prices().regions() {
        for name in machines.iter().filter(|name| !reasoned(name)) {
            assert!(prices().machine(name, region).is_some(), "{name} has no price in {region}");
        }
        for name in disks.iter().filter(|name| !reasoned(name)) {
            assert!(prices().disk(name, 1.0, region).is_some(), "{name} has no price in {region}");
        }
    }
    assert!(prices().regions().any(|region| region == Config::default().region));
}
