//! The metadata as a tree, made from the instance resource, and its renderings:
//! a value, a directory's listing, a whole subtree as JSON or as text.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// One entry of the metadata.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// `own_keys`: the keys are the user's, and spelled in JSON as they are;
    /// Google's own become camelCase there.
    Dir {
        entries: BTreeMap<String, Node>,
        own_keys: bool,
    },
    /// A directory with numbered entries; in JSON a list.
    List(Vec<Node>),
    Text(String),
    /// A number in JSON (an id).
    Number(u64),
    /// Lines in text, a list in JSON.
    Lines(Vec<String>),
    /// JSON in either form.
    Json(Value),
}

pub(super) struct Project<'a> {
    pub(super) id: &'a str,
    pub(super) number: u64,
    pub(super) attributes: BTreeMap<String, String>,
}

fn dir<const N: usize>(entries: [(&str, Node); N]) -> Node {
    let entries = entries.into_iter().map(|(name, node)| (name.to_owned(), node)).collect();
    Node::Dir { entries, own_keys: false }
}

fn attributes(entries: impl IntoIterator<Item = (String, String)>) -> Node {
    let entries = entries.into_iter().map(|(key, value)| (key, Node::Text(value))).collect();
    Node::Dir { entries, own_keys: true }
}

fn text(value: impl Into<String>) -> Node {
    Node::Text(value.into())
}

/// A JSON list of strings; anything else is empty.
pub(super) fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The last part of a resource's URL: its short name.
fn short(value: &Value) -> &str {
    value.as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default()
}

fn list<'a>(value: &'a Value, each: impl Fn(usize, &'a Value) -> Node) -> Node {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    Node::List(items.iter().enumerate().map(|(index, item)| each(index, item)).collect())
}

/// The whole tree of one machine.
pub(super) fn build(
    project: &Project<'_>,
    zone: &str,
    name: &str,
    instance: &Value,
    forwarded: &[String],
    guest: BTreeMap<String, BTreeMap<String, String>>,
) -> Node {
    let number = project.number;
    let string = |field: &str| text(instance[field].as_str().unwrap_or_default());
    let items = instance["metadata"]["items"].as_array().into_iter().flatten();
    let own =
        items.filter_map(|item| Some((item["key"].as_str()?.to_owned(), item["value"].as_str()?.to_owned())));
    let hostname = instance["hostname"]
        .as_str()
        .map_or_else(|| format!("{name}.{zone}.c.{}.internal", project.id), str::to_owned);
    let id = instance["id"].as_str().and_then(|id| id.parse().ok()).or(instance["id"].as_u64());
    let flag = |value: &Value, default: bool| {
        text(if value.as_bool().unwrap_or(default) { "TRUE" } else { "FALSE" })
    };
    let scheduling = &instance["scheduling"];
    let guest = guest.into_iter().map(|(namespace, values)| (namespace, attributes(values))).collect();
    dir([
        (
            "instance",
            dir([
                ("attributes", attributes(own)),
                ("cpu-platform", string("cpuPlatform")),
                ("description", string("description")),
                ("disks", list(&instance["disks"], disk)),
                ("guest-attributes", Node::Dir { entries: guest, own_keys: true }),
                ("hostname", text(hostname)),
                ("id", Node::Number(id.unwrap_or_default())),
                (
                    "machine-type",
                    text(format!("projects/{number}/machineTypes/{}", short(&instance["machineType"]))),
                ),
                ("maintenance-event", text("NONE")),
                ("name", text(name)),
                (
                    "network-interfaces",
                    list(&instance["networkInterfaces"], |at, interface| {
                        // What a load balancer passes on arrives at the first.
                        network_interface(number, interface, if at == 0 { forwarded } else { &[] })
                    }),
                ),
                ("preempted", text("FALSE")),
                (
                    "scheduling",
                    dir([
                        ("automatic-restart", flag(&scheduling["automaticRestart"], true)),
                        (
                            "on-host-maintenance",
                            text(scheduling["onHostMaintenance"].as_str().unwrap_or("MIGRATE")),
                        ),
                        ("preemptible", flag(&scheduling["preemptible"], false)),
                    ]),
                ),
                ("service-accounts", service_accounts(&instance["serviceAccounts"])),
                ("tags", Node::Json(json!(strings(&instance["tags"]["items"])))),
                ("virtual-clock", dir([("drift-token", text("0"))])),
                ("zone", text(format!("projects/{number}/zones/{zone}"))),
            ]),
        ),
        (
            "project",
            dir([
                ("attributes", attributes(project.attributes.clone())),
                ("numeric-project-id", Node::Number(number)),
                ("project-id", text(project.id)),
            ]),
        ),
    ])
}

fn disk(index: usize, disk: &Value) -> Node {
    let string = |field: &str, default: &str| text(disk[field].as_str().unwrap_or(default));
    dir([
        ("device-name", string("deviceName", "persistent-disk-0")),
        ("index", Node::Number(index as u64)),
        ("interface", string("interface", "SCSI")),
        ("mode", string("mode", "READ_WRITE")),
        ("type", text("PERSISTENT-BALANCED")),
    ])
}

fn network_interface(project_number: u64, interface: &Value, forwarded: &[String]) -> Node {
    let access = |_: usize, config: &Value| {
        dir([
            ("external-ip", text(config["natIP"].as_str().unwrap_or_default())),
            ("type", text(config["type"].as_str().unwrap_or("ONE_TO_ONE_NAT"))),
        ])
    };
    dir([
        ("access-configs", list(&interface["accessConfigs"], access)),
        ("dns-servers", Node::Lines(vec!["169.254.169.254".into()])),
        ("forwarded-ips", Node::List(forwarded.iter().map(text).collect())),
        ("ip", text(interface["networkIP"].as_str().unwrap_or_default())),
        ("ip-aliases", Node::List(Vec::new())),
        (
            "mac",
            text(
                interface["networkIP"].as_str().and_then(|ip| ip.parse().ok()).map_or_else(String::new, mac),
            ),
        ),
        ("mtu", Node::Number(1460)),
        ("network", text(format!("projects/{project_number}/networks/{}", short(&interface["network"])))),
    ])
}

/// The hardware address that Google derives from an address: `42:01:0a:84:00:02`.
pub(in crate::machines) fn mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("42:01:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Each account under its email, and the first under `default` too.
fn service_accounts(accounts: &Value) -> Node {
    let mut entries = BTreeMap::new();
    for (index, account) in accounts.as_array().into_iter().flatten().enumerate() {
        let email = account["email"].as_str().unwrap_or_default();
        let aliases: &[&str] = if index == 0 { &["default"] } else { &[] };
        let node = dir([
            ("aliases", Node::Lines(aliases.iter().map(|&alias| alias.to_owned()).collect())),
            ("email", text(email)),
            ("scopes", Node::Lines(strings(&account["scopes"]))),
        ]);
        if index == 0 {
            entries.insert("default".to_owned(), node.clone());
        }
        entries.insert(email.to_owned(), node);
    }
    Node::Dir { entries, own_keys: true }
}

impl Node {
    fn child(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Dir { entries, .. } => entries.get(name),
            Self::List(items) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        }
    }

    fn is_dir(&self) -> bool {
        matches!(self, Self::Dir { .. } | Self::List(_))
    }

    fn children(&self) -> Vec<(String, &Self)> {
        match self {
            Self::Dir { entries, .. } => entries.iter().map(|(name, node)| (name.clone(), node)).collect(),
            Self::List(items) => {
                items.iter().enumerate().map(|(index, node)| (index.to_string(), node)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The names in a directory, directories with a `/`.
    fn listing(&self) -> Vec<String> {
        let slash = |node: &Self| if node.is_dir() { "/" } else { "" };
        self.children().into_iter().map(|(name, node)| name + slash(node)).collect()
    }

    fn json(&self) -> Value {
        match self {
            Self::Dir { entries, own_keys } => {
                let spell = |key: &String| if *own_keys { key.clone() } else { camel_case(key) };
                Value::Object(
                    entries.iter().map(|(key, node)| (spell(key), node.json())).collect::<Map<_, _>>(),
                )
            }
            Self::List(items) => items.iter().map(Self::json).collect(),
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::Lines(lines) => json!(lines),
            Self::Json(value) => value.clone(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Dir { .. } | Self::List(_) => self.listing().into_iter().map(|name| name + "\n").collect(),
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Lines(lines) => lines.iter().map(|line| format!("{line}\n")).collect(),
            Self::Json(value) => value.to_string(),
        }
    }

    /// Every leaf of the subtree as `path value`, one a line.
    fn flat(&self, path: &str, out: &mut String) {
        if self.is_dir() {
            for (name, node) in self.children() {
                let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                node.flat(&path, out);
            }
        } else {
            out.push_str(&format!("{path} {}\n", self.text().trim_end()));
        }
    }
}

fn camel_case(name: &str) -> String {
    let mut parts = name.split('-');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |mut all, part| {
        let mut letters = part.chars();
        all.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        all.push_str(letters.as_str());
        all
    })
}

/// What a request for a path gets.
#[derive(Clone, Debug)]
pub(super) enum View {
    Missing,
    /// A directory asked for without its `/`.
    Moved,
    /// The ETag is that of the content: the same content, the same tag.
    Content {
        etag: String,
        json: bool,
        body: String,
    },
}

impl View {
    /// `path` is relative to `computeMetadata/v1/`. `json`: what `alt` says; by
    /// itself, a recursive answer is JSON and any other is text.
    pub(super) fn of(root: &Node, path: &str, recursive: bool, json: Option<bool>) -> Self {
        let mut node = root;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match node.child(part) {
                Some(child) => node = child,
                None => return Self::Missing,
            }
        }
        let slash = path.is_empty() || path.ends_with('/');
        match (node.is_dir(), slash) {
            (true, false) if !recursive => return Self::Moved,
            (false, true) => return Self::Missing,
            _ => {}
        }
        let json = json.unwrap_or(recursive);
        let body = match (node.is_dir(), recursive, json) {
            (true, false, true) => json!(node.listing()).to_string(),
            (_, _, true) => node.json().to_string(),
            (true, true, false) => {
                let mut flat = String::new();
                node.flat("", &mut flat);
                flat
            }
            (_, _, false) => node.text(),
        };
        let etag = hex::encode(&Sha256::digest(body.as_bytes())[..8]);
        Self::Content { etag, json, body }
    }
}
