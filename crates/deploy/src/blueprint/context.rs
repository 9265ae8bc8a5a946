//! The values that templates see, from the configuration and the facts alone.
//!
#![doc = include_str!("../../../../docs/templates.md")]

use dorainfra_config::{self as config, CALLER, Config, Grafana, Runtime, Tls, Topology};
use dorainfra_prometheus::Flavour;
use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{BlueprintError, Client, Facts};

/// Mimir's HTTP port on the machine.
pub const PORT: u16 = 9009;
/// With `ha`: where a machine tells the load balancer's health checks whether Mimir is ready.
const READINESS_PORT: u16 = 9010;
/// The client that every deployment has: the collector stack.
pub const STACK: &str = "stack";
/// How long a server's or client's certificate lives, unless told otherwise.
pub const LEAF_SECONDS: u64 = 365 * DAY;
/// How long an authority lives.
const AUTHORITY_SECONDS: u64 = 10 * 365 * DAY;
const DAY: u64 = 24 * 60 * 60;

/// Where Google's Identity-Aware Proxy comes from.
const IAP: &str = "35.235.240.0/20";

/// The names of everything that is made, from the configuration alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The bucket, configured or `PROJECT-NAME-mimir`.
    pub bucket: String,
    /// What the server's certificate is for.
    pub server_name: String,
    /// One machine for `topology: single`, three for `ha`.
    pub replicas: Vec<Replica>,
    /// The kind `compute.address`: where clients reach Mimir. The machine's own,
    /// or the load balancer's.
    pub endpoint: String,
    /// The kind `compute.firewall`: the rule that lets clients reach Mimir.
    pub firewall: String,
    /// The kinds `secretmanager.secret` and `.secretVersion`.
    pub ca: String,
    pub server: String,
    /// The stack's own.
    pub client: String,
}

/// One machine. The first has the same names in both topologies, so that its
/// disk and its data stay when the topology changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replica {
    pub zone: String,
    /// The kinds `compute.instance`, `.instanceGroup` and `.instanceGroupMember`.
    pub instance: String,
    /// The kind `compute.disk`.
    pub disk: String,
    /// The name that Google's DNS knows the machine by, inside its network.
    pub host: String,
}

impl Replica {
    fn all(config: &Config) -> Vec<Self> {
        let name = &config.name;
        let of = |(index, zone): (usize, &String)| {
            let more = if index == 0 { String::new() } else { format!("-{}", index + 1) };
            let instance = format!("{name}-mimir{more}");
            Self {
                host: format!("{instance}.{zone}.c.{}.internal", config.project),
                zone: zone.clone(),
                instance,
                disk: format!("{name}-data{more}"),
            }
        };
        config.zones.iter().enumerate().map(of).collect()
    }
}

impl Names {
    pub fn of(config: &Config) -> Self {
        let name = &config.name;
        let bucket = match config.mimir.bucket.as_str() {
            "" => format!("{}-{name}-mimir", config.project),
            bucket => bucket.to_owned(),
        };
        Self {
            bucket,
            server_name: format!("mimir.{name}.internal"),
            replicas: Replica::all(config),
            endpoint: match config.mimir.topology {
                Topology::Single => format!("{name}-mimir"),
                Topology::Ha => format!("{name}-endpoint"),
            },
            firewall: format!("{name}-mimir"),
            ca: format!("{name}-ca"),
            server: format!("{name}-server"),
            client: Self::of_client(config, STACK),
        }
    }

    /// The secret that holds a client's certificate.
    pub fn of_client(config: &Config, client: &str) -> String {
        format!("{}-client-{client}", config.name)
    }

    /// The secret that holds the authority which signs it.
    pub fn of_authority(config: &Config, client: &str) -> String {
        format!("{}-authority-{client}", config.name)
    }
}

/// The values of the column "all".
///
/// # Errors
/// An access list that cannot be meant, a value that would read as a reference.
pub(super) fn base(config: &Config, facts: &Facts) -> Result<Value, BlueprintError> {
    let names = Names::of(config);
    if names.replicas.is_empty() {
        return Err(BlueprintError::NoZone);
    }
    let name = &config.name;
    let allow = allowed(config, facts)?;
    let open = allow.iter().any(|net| net.prefix_len() == 0);
    if open && config.access.public.as_deref() != Some("i-understand") {
        return Err(BlueprintError::OpenToTheWorld);
    }
    let engine = &facts.engine;
    if engine.sha256.len() != 64 || !engine.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(BlueprintError::BadDigest(engine.sha256.clone()));
    }
    let stand_in = engine.flavour == Flavour::StandIn;
    let (network, subnetwork) = match config.network.create {
        true => (name, Some(name)),
        false => (&config.network.name, config.network.subnet.as_ref()),
    };
    let mut values = serde_json::to_value(config).expect("a configuration is plain data with string keys");
    let fields = values.as_object_mut().expect("a configuration is a struct");
    fields.remove("templates_dir");
    // What is read, and with which token, is no file's business.
    fields.remove("sources");
    // `extra` is not for templates: laid over what they render.
    remove(fields, "mimir", &["binary", "extra"]);
    remove(fields, "stack", &["prometheus", "pushgateway", "scrape_jobs"]);
    let alertmanager = facts.alertmanager.as_ref().map(|file| file.sha256.as_str());
    fields.extend(object(json!({
        "ha": config.mimir.topology == Topology::Ha,
        "replicas": names.replicas,
        "access": {
            "allow": allow.iter().map(Ipv4Net::to_string).collect::<Vec<_>>(),
            "open": open,
            "tls": config.access.tls,
            "external": config.access.external,
            "machines": external_machines(config),
        },
        "secrets": {"replication": replication(&config.secrets.locations)},
        "clients": clients(config, facts),
        // Of the user's own file its digest only: it has secrets in it.
        "alerts": {"rules": config.alerts.rules, "config": alertmanager, "url": config.alerts.url},
        "leaf_ttl": seconds(LEAF_SECONDS),
        "authority_ttl": seconds(AUTHORITY_SECONDS),
        "restore_disks": facts.restore_disks,
        "engine": {
            "flavour": engine.flavour,
            "stand_in": stand_in,
            "version": engine.version,
            "sha256": engine.sha256,
            "label": engine.label(),
            "querier_ring": config::mimir_version(&config.mimir.version).querier_ring,
        },
        // Found out after `failures` × `interval` at most, and the way of that to each part of
        // the load balancer takes seconds more. Google gives a machine that is stopped 90 s.
        "health": {
            "port": READINESS_PORT, "path": "/ready", "interval": 2, "timeout": 2, "failures": 2,
            "leave": 15, "draining": 30,
        },
        "kubernetes": {"zones": config.three_zones()},
        "bucket": names.bucket,
        "server_name": names.server_name,
        "names": {
            "service_account": format!("{name}-mimir"),
            "tag": format!("{name}-mimir"),
            "reads_binding": format!("{name}-mimir-reads"),
            "objects_binding": format!("{name}-mimir-objects"),
            "ca": names.ca,
            "server": names.server,
            "client": names.client,
            "server_accessor": format!("{name}-server-accessor"),
            "address": format!("{name}-mimir"),
            "endpoint": names.endpoint,
            "balancer": format!("{name}-mimir"),
            "readiness": format!("{name}-ready"),
            "firewall": names.firewall,
            "firewall_ssh": format!("{name}-ssh"),
            "firewall_replicas": format!("{name}-replicas"),
            "firewall_health": format!("{name}-health"),
            "firewall_deny": format!("{name}-deny"),
            "network": network,
            "subnetwork": subnetwork,
            "schedule": format!("{name}-daily"),
            "artifact_object": format!("artifacts/{}", engine.sha256),
        },
    })));
    // Overrides of templates know this name: they simulate nobody who was not asked for.
    fields["generator"]["teams"] = config.simulated_teams().into();
    fields["generator"]["follows"] = (!config.sources.is_empty()).into();
    fields["generator"]["native_histograms"] = facts.native_histograms(config).into();
    fields["mimir"]["bucket"] = Value::String(names.bucket);
    fields["mimir"]["dangers"] = match config::dangers(&config.mimir.extra).join("; ") {
        none if none.is_empty() => Value::Null,
        dangers => dangers.into(),
    };
    if stand_in {
        fields["mimir"]["limits"]["out_of_order_window"] = window_of_the_stand_in(config).into();
    }
    no_references(&values, &mut String::new())?;
    Ok(values)
}

/// It takes no blocks: the history goes the way of live samples, and has to fit.
fn window_of_the_stand_in(config: &Config) -> String {
    let (given, needed) =
        (&config.mimir.limits.out_of_order_window, config::history_window(config.generator.days));
    let long = |text: &str| config::parse_duration(text).unwrap_or_default();
    if long(given) < long(&needed) { needed } else { given.clone() }
}

/// Everybody with a certificate of the deployment, by name; the stack always is
/// one, unless nobody shows any.
fn clients(config: &Config, facts: &Facts) -> Vec<Value> {
    if config.access.tls == Tls::Off {
        return Vec::new();
    }
    let stack = Client { name: STACK.into(), ttl_seconds: LEAF_SECONDS };
    let mut clients = facts.clients.clone();
    if !clients.iter().any(|client| client.name == STACK) {
        clients.push(stack);
    }
    clients.sort_by(|a, b| a.name.cmp(&b.name));
    let values = clients.iter().map(|client| {
        json!({
            "name": client.name,
            "common_name": super::stack::common_name(config, &client.name),
            "ttl": seconds(client.ttl_seconds),
            "secret": Names::of_client(config, &client.name),
            "authority": Names::of_authority(config, &client.name),
        })
    });
    values.collect()
}

/// Whether machines have external addresses of their own.
fn external_machines(config: &Config) -> bool {
    config.access.external && (config.access.external_machines || config.mimir.topology == Topology::Single)
}

/// How Secret Manager is told where to keep something.
fn replication(locations: &[String]) -> Value {
    let replicas: Vec<Value> = locations.iter().map(|location| json!({"location": location})).collect();
    match replicas.is_empty() {
        true => json!({"automatic": {}}),
        false => json!({"userManaged": {"replicas": replicas}}),
    }
}

/// As Google spells a duration.
fn seconds(seconds: u64) -> String {
    format!("{seconds}s")
}

/// What the machine's files see besides.
pub(super) fn with_rule_files(base: &Value, names: Vec<&str>) -> Value {
    let mut values = base.clone();
    values["rule_files"] = names.into();
    values
}

/// What resources see besides.
pub(super) fn with_bundle(base: &Value, bundle: &str, startup_script: &str, rules: Vec<Value>) -> Value {
    let mut values = base.clone();
    values["rule_groups"] = rules.into();
    values["bundle"] = bundle.into();
    values["names"]["bundle_object"] = format!("bundles/{bundle}.tar").into();
    values["startup_script"] = startup_script.into();
    values
}

/// What the collector stack sees besides.
pub(super) fn with_endpoint(
    base: &Value,
    config: &Config,
    facts: &Facts,
    endpoint: &str,
    port: u16,
    remote_write_path: &str,
) -> Value {
    let mut values = base.clone();
    // In containers the parts find each other by name, at the images' own ports,
    // unless the collector has to use this machine's own network.
    let loopback = endpoint.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    let ports = &config.stack.ports;
    let at = |port: u16| format!("127.0.0.1:{port}");
    let [pushgateway, generator, prometheus] = match config.stack.runtime {
        Runtime::Auto | Runtime::Compose if !loopback => {
            ["pushgateway:9091", "generator:9464", "127.0.0.1:9090"].map(str::to_owned)
        }
        _ => [ports.pushgateway, ports.generator, ports.prometheus].map(at),
    };
    values["stack"]["endpoint_on_loopback"] = loopback.into();
    values["stack"]["grafana"] = (config.stack.grafana == Grafana::Run).into();
    // These are not looked through for references: `${1}` is what a relabelling takes.
    values["stack"]["jobs"] = facts.scrape.jobs.clone().into();
    values["tool_version"] = env!("CARGO_PKG_VERSION").into();
    values["stack"]["pushgateway_address"] = pushgateway.into();
    values["stack"]["generator_address"] = generator.into();
    values["stack"]["prometheus_address"] = prometheus.into();
    values["endpoint"] = endpoint.into();
    let scheme = if config.access.tls == Tls::Off { "http" } else { "https" };
    values["mimir_address"] = format!("{endpoint}:{port}").into();
    values["remote_write_url"] = format!("{scheme}://{endpoint}:{port}{remote_write_path}").into();
    // By the name in the server's certificate, for whoever is told the address besides.
    let by_name = values["server_name"].as_str().unwrap_or(endpoint).to_owned();
    values["named_write_url"] = format!("{scheme}://{by_name}:{port}{remote_write_path}").into();
    values["query_url"] = format!("{scheme}://{endpoint}:{port}/prometheus").into();
    values
}

/// The CIDRs that may reach Mimir's port: `caller` resolved, in their canonical
/// form, merged where they touch, so that 0.0.0.0/1 and 128.0.0.0/1 are seen for
/// what they are.
fn allowed(config: &Config, facts: &Facts) -> Result<Vec<Ipv4Net>, BlueprintError> {
    let mut nets = Vec::new();
    // Without an external address nobody comes from the caller's; tunnels do.
    let named = config.access.allow.iter().map(String::as_str);
    let named = named.filter(|entry| config.access.external || *entry != CALLER);
    for entry in named.chain((!config.access.external).then_some(IAP)) {
        let cidr = match entry {
            CALLER => facts.caller.as_deref().ok_or(BlueprintError::UnknownCaller)?,
            cidr => cidr,
        };
        match cidr.parse::<IpNet>() {
            Ok(IpNet::V4(net)) => nets.push(net.trunc()),
            Ok(IpNet::V6(_)) => return Err(BlueprintError::Ipv6(cidr.to_owned())),
            Err(_) => return Err(BlueprintError::BadCidr(cidr.to_owned())),
        }
    }
    let mut nets = Ipv4Net::aggregate(&nets);
    nets.sort();
    Ok(nets)
}

/// No value may read as one of the engine's references: those are made by `ref` only.
fn no_references(value: &Value, path: &mut String) -> Result<(), BlueprintError> {
    let mut inside = |name: &str, value: &Value| {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(name);
        if name.contains("${") {
            return Err(BlueprintError::Reserved { field: path.clone() });
        }
        no_references(value, path)?;
        path.truncate(length);
        Ok(())
    };
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| inside(name, value)),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, value)| inside(&index.to_string(), value))
        }
        Value::String(text) if text.contains("${") => Err(BlueprintError::Reserved { field: path.clone() }),
        _ => Ok(()),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn remove(fields: &mut Map<String, Value>, section: &str, names: &[&str]) {
    if let Some(Value::Object(section)) = fields.get_mut(section) {
        names.iter().for_each(|name| {
            section.remove(*name);
        });
    }
}
