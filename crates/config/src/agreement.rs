//! What keys say to each other: each value is right by itself, the pair is not.

use std::collections::BTreeSet;
use std::time::Duration;

use super::duration::parse_duration;
use super::problem::{Place, Problem, quoted};
use super::reading::Reading;
use super::{Config, Live, Topology, options, rules, series_per_team};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything that doesn't agree. Keys with a wrong value are left out: what
/// they should have said isn't known.
pub(super) fn problems(config: &Config, reading: &Reading) -> Vec<Problem> {
    let settings = Settings { reading };
    let mut found = Vec::new();
    found.extend(zones(config, settings));
    found.extend(public_networks(config, settings));
    if config.history_by_ingester() {
        found.extend(history_against(
            config,
            settings,
            "mimir.limits.out_of_order_window",
            &config.mimir.limits.out_of_order_window,
            "Mimir would reject the oldest samples",
        ));
    }
    found.extend(history_against(
        config,
        settings,
        "mimir.retention",
        &config.mimir.retention,
        "Mimir would delete the oldest samples",
    ));
    found.extend(series(config, settings));
    found.extend(ports(config, settings));
    found.extend(labels(config, settings));
    found.extend(derived_bucket(config, settings));
    found.extend(own_network(config, settings));
    found.extend(machines_addresses(config, settings));
    found.extend(native_histograms(config, settings));
    found.extend(watchdog(config, settings));
    found.extend(simulated_beside_real(config, settings));
    found.extend(mimir_options(config, settings));
    found
}

#[derive(Clone, Copy)]
struct Settings<'a> {
    reading: &'a Reading,
}

impl Settings<'_> {
    fn sound(&self, paths: &[&str]) -> bool {
        paths.iter().all(|path| !self.reading.broken.contains(path))
    }

    fn given(&self, path: &str) -> bool {
        self.reading.settings.contains_key(path)
    }

    /// Where the first of the paths that was given at all was given.
    fn place(&self, paths: &[&str]) -> Place {
        paths
            .iter()
            .find_map(|path| self.reading.settings.get(path))
            .map_or_else(Place::default_value, |setting| setting.place.clone())
    }

    fn item(&self, path: &str, index: usize) -> Place {
        let place = self.reading.settings.get(path).and_then(|setting| setting.items.get(index));
        place.cloned().unwrap_or_else(|| self.place(&[path]))
    }

    /// `(default)` or `(dorainfra.yaml:3:9)`
    fn origin(&self, path: &str) -> String {
        format!("({})", self.place(&[path]).origin)
    }
}

fn zones(config: &Config, settings: Settings<'_>) -> Vec<Problem> {
    if !settings.sound(&["region", "zones", "mimir.topology"]) || !settings.given("zones") {
        return Vec::new();
    }
    let region = &config.region;
    let mut found: Vec<Problem> = config
        .zones
        .iter()
        .enumerate()
        .filter(|(_, zone)| zone.rsplit_once('-').is_none_or(|(of, _)| of != region))
        .map(|(index, zone)| {
            let message = format!("`zones`: {} is not in the region `{region}`", quoted(zone));
            Problem::new(settings.item("zones", index), message).allowed(format!("zones of `{region}`")).help(
                Some(format!(
                    "`region` is `{region}` {}; without `zones` the first is `{region}-b`",
                    settings.origin("region")
                )),
            )
        })
        .collect();
    let count = config.zones.len();
    let distinct = config.zones.iter().collect::<BTreeSet<_>>().len();
    let (message, allowed) = match config.mimir.topology {
        Topology::Single if count != 1 => {
            (format!("`zones`: {count} zones for the one machine of `topology: single`"), "one zone")
        }
        Topology::Ha if count != 3 || distinct != 3 => (
            format!(
                "`zones`: {} for the three machines of `topology: ha`",
                match distinct == count {
                    true => format!("{count} {}", if count == 1 { "zone" } else { "zones" }),
                    false => "one zone twice".to_owned(),
                }
            ),
            "three zones, each another one",
        ),
        Topology::Single | Topology::Ha => return found,
    };
    let problem = Problem::new(settings.place(&["zones"]), message).allowed(allowed);
    found.push(problem.help(Some("the first zone is that of the first machine and its data disk: keep it")));
    found
}

fn public_networks(config: &Config, settings: Settings<'_>) -> Vec<Problem> {
    if config.access.public.is_some() || !settings.sound(&["access.allow", "access.public"]) {
        return Vec::new();
    }
    let networks = config.access.allow.iter().enumerate().filter(|(_, network)| rules::is_public(network));
    networks
        .map(|(index, network)| {
            let message = format!("`access.allow`: {} opens Mimir to the internet", quoted(network));
            Problem::new(settings.item("access.allow", index), message)
                .allowed("`caller` or the networks that need it, IPv4 from /8 and IPv6 from /16 on")
                .help(Some("if that is meant, set `access.public` to `i-understand`"))
        })
        .collect()
}

/// The history must fit into the span of time that `path` names, with a day to
/// spare: the oldest sample gets older while the day of the run passes.
fn history_against(
    config: &Config,
    settings: Settings<'_>,
    path: &str,
    span: &str,
    otherwise: &str,
) -> Vec<Problem> {
    const DAYS: &str = "generator.days";
    let days = config.generator.days;
    let (Ok(held), true) = (parse_duration(span), settings.sound(&[path, DAYS])) else { return Vec::new() };
    if held >= DAY * (days + 1) {
        return Vec::new();
    }
    let most = (held.as_secs() / DAY.as_secs()).saturating_sub(1);
    let shorter = if most > 0 { format!(", or `{DAYS}` to {most} or less") } else { String::new() };
    let message = format!(
        "`{DAYS}`: a history of {days} days does not fit into `{path}`, which is `{span}`: {otherwise}"
    );
    vec![Problem::new(settings.place(&[DAYS, path]), message).help(Some(format!(
        "set `{path}` {} to `{}d` or more{shorter}; `{DAYS}` is {days} {}",
        settings.origin(path),
        days + 1,
        settings.origin(DAYS),
    )))]
}

fn series(config: &Config, settings: Settings<'_>) -> Vec<Problem> {
    const PATHS: [&str; 2] = ["generator.teams", "mimir.limits.max_series"];
    let (teams, most) = (config.generator.teams, config.mimir.limits.max_series);
    let each = series_per_team(config.generator.native_histograms, config.generator.service_histograms);
    let written = teams * each;
    if !settings.sound(&PATHS) || written <= most {
        return Vec::new();
    }
    let message = format!(
        "`generator.teams`: {teams} teams write up to {written} series, more than the {most} of \
         `mimir.limits.max_series`"
    );
    vec![Problem::new(settings.place(&PATHS), message).help(Some(format!(
        "set `mimir.limits.max_series` {} to {written} or more, or `generator.teams` {} to {} or less",
        settings.origin(PATHS[1]),
        settings.origin(PATHS[0]),
        (most / each).max(1),
    )))]
}

fn ports(config: &Config, settings: Settings<'_>) -> Vec<Problem> {
    let ports = [
        ("stack.ports.prometheus", config.stack.ports.prometheus),
        ("stack.ports.pushgateway", config.stack.ports.pushgateway),
        ("stack.ports.grafana", config.stack.ports.grafana),
        ("stack.ports.generator", config.stack.ports.generator),
    ];
    let mut found = Vec::new();
    for (index, (path, port)) in ports.iter().enumerate() {
        let same = ports[..index].iter().find(|(_, other)| other == port);
        if let Some((earlier, _)) = same.filter(|(earlier, _)| settings.sound(&[path, earlier])) {
            let (to_blame, other) = if settings.given(path) { (path, earlier) } else { (earlier, path) };
            let message = format!("`{to_blame}`: `{other}` is {port} too {}", settings.origin(other));
            found.push(Problem::new(settings.place(&[to_blame]), message).allowed("a port for each"));
        }
    }
    found
}

fn labels(config: &Config, settings: Settings<'_>) -> Vec<Problem> {
    let count = config.labels.len();
    if count <= rules::MOST_LABELS {
        return Vec::new();
    }
    let message = format!("`labels`: {count} labels are too many");
    vec![Problem::new(settings.place(&["labels"]), message).allowed(rules::LABELS_ALLOWED)]
}

/// A project's or deployment's name may make a bucket's name that Google refuses.
fn derived_bucket(config: &Config, settings: Settings<'_>) -> Vec<Problem> {
    let bucket = &config.mimir.bucket;
    if bucket.is_empty()
        || settings.given("mimir.bucket")
        || !settings.sound(&["project", "name", "mimir.bucket"])
    {
        return Vec::new();
    }
    let Err(fault) = (rules::BUCKET.check)(bucket) else { return Vec::new() };
    let message = format!("`project`: the bucket would be called {}, which {}", quoted(bucket), fault.what);
    vec![
        Problem::new(settings.place(&["project", "name"]), message)
            .allowed(rules::BUCKET.allowed)
            .help(Some("name another bucket with `mimir.bucket`")),
    ]
}

/// A network of the deployment's own beside one that is there.
fn own_network(config: &Config, settings: Settings<'_>) -> Vec<Problem> {
    let existing = ["network.name", "network.subnet"];
    if !config.network.create || !settings.sound(&["network.create", existing[0], existing[1]]) {
        return Vec::new();
    }
    let named = existing.into_iter().filter(|path| settings.given(path));
    named
        .map(|path| {
            let message = format!("`{path}`: a network that exists, but `network.create` makes one");
            Problem::new(settings.place(&[path]), message)
                .allowed("one of the two")
                .help(Some(format!("`network.create` is `true` {}", settings.origin("network.create"))))
        })
        .collect()
}

/// Machines without addresses of their own need something in front of them that has one.
fn machines_addresses(config: &Config, settings: Settings<'_>) -> Vec<Problem> {
    const PATHS: [&str; 3] = ["access.external_machines", "mimir.topology", "access.external"];
    if config.access.external_machines
        || !config.access.external
        || config.mimir.topology == Topology::Ha
        || !settings.sound(&PATHS)
    {
        return Vec::new();
    }
    let message = format!("`{}`: `false`, and the one machine is reached by its own address", PATHS[0]);
    vec![Problem::new(settings.place(&PATHS), message).help(Some(
        "set `access.external` to `false`, or `mimir.topology` to `ha`: a load balancer has the address then",
    ))]
}

/// Native histograms of the past whose series would end where live values begin.
fn native_histograms(config: &Config, settings: Settings<'_>) -> Vec<Problem> {
    const PATHS: [&str; 2] = ["generator.native_histograms", "stack.live"];
    let live = config.stack.live;
    if !config.generator.native_histograms || live == Live::RemoteWrite || !settings.sound(&PATHS) {
        return Vec::new();
    }
    let way = if live == Live::Scrape { "a scraped page" } else { "a Pushgateway" };
    let message = format!("`{}`: {way} takes none, so their series would end with the history", PATHS[0]);
    vec![Problem::new(settings.place(&PATHS), message).help(Some(format!(
        "set `{}` {} to `remote-write`: the generator writes live values to Mimir itself then",
        PATHS[1],
        settings.origin(PATHS[1]),
    )))]
}

/// A switch that is never pressed tells of a death that is none.
fn watchdog(config: &Config, settings: Settings<'_>) -> Vec<Problem> {
    const PATHS: [&str; 2] = ["alerts.watchdog", "alerts.rules"];
    if config.alerts.watchdog.is_none() || config.alerts.rules || !settings.sound(&PATHS) {
        return Vec::new();
    }
    let message =
        format!("`{}`: without the rules no `Watchdog` is sent, which looks like a death", PATHS[0]);
    let origin = settings.origin(PATHS[1]);
    vec![
        Problem::new(settings.place(&PATHS), message)
            .help(Some(format!("set `{}` to `true`; it is `false` {origin}", PATHS[1]))),
    ]
}

/// Simulated teams beside real ones: nobody could tell which figures are whose.
fn simulated_beside_real(config: &Config, settings: Settings<'_>) -> Vec<Problem> {
    const PATHS: [&str; 2] = ["generator.simulate", "sources"];
    if config.generator.simulate != Some(true) || config.sources.is_empty() || !settings.sound(&PATHS) {
        return Vec::new();
    }
    let message = format!("`{}`: `true`, but `{}` has real events to feed", PATHS[0], PATHS[1]);
    vec![Problem::new(settings.place(&PATHS), message).allowed("one of the two").help(Some(format!(
        "remove `{}` {} to feed what is real, or `{}` {} to feed simulated teams",
        PATHS[0],
        settings.origin(PATHS[0]),
        PATHS[1],
        settings.origin(PATHS[1]),
    )))]
}

/// Mimir's own keys: known to the version that is wanted, and the user's to set.
fn mimir_options(config: &Config, settings: Settings<'_>) -> Vec<Problem> {
    const EXTRA: &str = "mimir.extra";
    if !settings.sound(&[EXTRA, "mimir.version"]) {
        return Vec::new();
    }
    let given = settings.reading.settings.get(EXTRA);
    given.map_or_else(Vec::new, |setting| options::problems(&config.mimir.version, &setting.options))
}
