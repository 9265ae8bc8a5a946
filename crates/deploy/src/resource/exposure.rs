//! Who reaches the machine's ports besides those that this deployment lets in, what keeps
//! those out, and what keeps the machine from Google's APIs: firewall rules and policies that others made, in the order in which
//! Google looks at them. Of a hierarchical policy nobody in the project may be able to see
//! more than this.

use dorainfra_engine::{Finding, Manifest, ResourceId};
use dorainfra_gcp::{Api, Call, Error};
use ipnet::Ipv4Net;
use serde_json::Value;

use super::{Cloud, absent, short};

/// What listens on a machine: SSH, Mimir's port, that for health checks, and those by which
/// replicas talk to each other.
const PORTS: [u16; 5] = [22, 9009, 9010, 9095, 7946];
/// Where machines of one network are, for rules that name their sources otherwise.
const PRIVATE: [&str; 3] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Allow,
    Deny,
    /// On to the next level.
    Next,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Direction {
    In,
    Out,
}

impl Direction {
    fn is_of(self, rule: &Value) -> bool {
        (rule["direction"] == "EGRESS") == (self == Self::Out)
    }
}

/// A rule of either kind that concerns what comes in to the machine, or goes out.
#[derive(Clone, Debug)]
struct Rule {
    /// For people, with its place.
    name: String,
    instead: String,
    /// `None`: of a policy, which is looked at before all rules of the network.
    priority: Option<i64>,
    verdict: Verdict,
    /// Where it comes from, or goes to. None: not told by ranges (tags, accounts, names).
    sources: Option<Vec<Ipv4Net>>,
    /// `(protocol, ports)`; no ports: all.
    what: Vec<(String, Vec<String>)>,
}

impl Rule {
    fn concerns(&self, port: u16) -> bool {
        self.what.iter().any(|(protocol, ports)| {
            matches!(protocol.as_str(), "tcp" | "6" | "all")
                && (ports.is_empty() || ports.iter().any(|range| holds(range, port)))
        })
    }

    fn is_for_everybody(&self) -> bool {
        self.sources.as_ref().is_some_and(|nets| nets.iter().any(|net| net.prefix_len() == 0))
    }

    fn overlaps(&self, nets: &[Ipv4Net]) -> bool {
        let Some(sources) = &self.sources else { return false };
        sources.iter().any(|one| nets.iter().any(|other| one.contains(other) || other.contains(one)))
    }

    /// Whether all that it lets in comes from these networks.
    fn is_within(&self, nets: &[Ipv4Net]) -> bool {
        let held = |source: &Ipv4Net| nets.iter().any(|net| net.contains(source));
        self.sources.as_ref().is_some_and(|sources| sources.iter().all(held))
    }

    fn whom(&self) -> String {
        match &self.sources {
            None => "some sources".into(),
            Some(nets) => nets.iter().map(Ipv4Net::to_string).collect::<Vec<_>>().join(", "),
        }
    }
}

fn holds(range: &str, port: u16) -> bool {
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    matches!((from.parse::<u16>(), to.parse::<u16>()), (Ok(from), Ok(to)) if (from..=to).contains(&port))
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Ranges; `None` where there are none and something else tells the sources.
fn sources(ranges: &Value, others: bool) -> Option<Vec<Ipv4Net>> {
    let nets: Vec<Ipv4Net> = strings(ranges)
        .filter_map(|text| {
            text.parse().ok().or_else(|| text.parse::<std::net::Ipv4Addr>().ok().map(Ipv4Net::from))
        })
        .collect();
    match (nets.is_empty(), others) {
        (true, true) => None,
        // Of version 6 only: of no concern to a machine without such an address.
        (true, false) if strings(ranges).next().is_some() => Some(Vec::new()),
        (true, false) => Some(vec![Ipv4Net::default()]),
        (false, _) => Some(nets),
    }
}

/// What rules tell the machine by.
struct Machine {
    network: String,
    account: String,
    tags: Vec<String>,
}

impl Machine {
    fn of(manifests: &[Manifest], project: &str) -> Option<(Self, ResourceId)> {
        let machine = manifests.iter().find(|manifest| manifest.kind == "compute.instance")?;
        // Of a reference its name: `${compute.network/NAME.name}`.
        let named = |text: &str| match text.strip_prefix("${") {
            Some(rest) => rest.split('/').nth(1).and_then(|rest| rest.split('.').next()).map(str::to_owned),
            None => Some(text.to_owned()),
        };
        let body = &machine.body;
        let account = body["serviceAccounts"][0]["email"].as_str().unwrap_or_default();
        let account = match account.starts_with("${") {
            true => format!("{}@{project}.iam.gserviceaccount.com", named(account)?),
            false => account.to_owned(),
        };
        let network = named(body["networkInterfaces"][0]["network"].as_str()?)?;
        let tags = strings(&body["tags"]["items"]).map(str::to_owned).collect();
        Some((Self { network, account, tags }, machine.id()))
    }

    fn is_meant(&self, rule: &Value) -> bool {
        let (tags, accounts) = (&rule["targetTags"], &rule["targetServiceAccounts"]);
        let all = strings(tags).next().is_none() && strings(accounts).next().is_none();
        all || strings(tags).any(|tag| self.tags.iter().any(|own| own == tag))
            || strings(accounts).any(|account| account == self.account)
    }
}

/// A rule of the network.
fn classic(rule: &Value) -> Rule {
    let (name, priority) =
        (rule["name"].as_str().unwrap_or_default(), rule["priority"].as_i64().unwrap_or(1000));
    let allows = rule["allowed"].is_array();
    let entries = rule[if allows { "allowed" } else { "denied" }].as_array().cloned().unwrap_or_default();
    let others =
        ["sourceTags", "sourceServiceAccounts"].iter().any(|field| strings(&rule[*field]).next().is_some());
    Rule {
        name: format!("the firewall rule `{name}` (priority {priority})"),
        instead: format!(
            "narrow it, or give it a priority above 110: `gcloud compute firewall-rules describe {name}` shows it"
        ),
        priority: Some(priority),
        verdict: if allows { Verdict::Allow } else { Verdict::Deny },
        sources: match Direction::Out.is_of(rule) {
            true => sources(&rule["destinationRanges"], false),
            false => sources(&rule["sourceRanges"], others),
        },
        what: entries
            .iter()
            .map(|entry| {
                let protocol = entry["IPProtocol"].as_str().unwrap_or_default().to_ascii_lowercase();
                (protocol, strings(&entry["ports"]).map(str::to_owned).collect())
            })
            .collect(),
    }
}

/// A rule of a policy.
fn of_policy(policy: &str, rule: &Value) -> Rule {
    let matches = &rule["match"];
    let (side, ranges) = match Direction::Out.is_of(rule) {
        true => ("dest", "destIpRanges"),
        false => ("src", "srcIpRanges"),
    };
    let others = matches.as_object().into_iter().flatten().any(|(name, value)| {
        name.starts_with(side) && name != ranges && !value.is_null() && *value != "UNSPECIFIED"
    });
    Rule {
        name: format!("rule {} of the firewall policy `{policy}`", rule["priority"]),
        instead: format!(
            "whoever administers the firewall policy `{policy}` can make an exception for this network"
        ),
        priority: None,
        verdict: match rule["action"].as_str() {
            Some("goto_next") => Verdict::Next,
            Some("deny") => Verdict::Deny,
            _ => Verdict::Allow,
        },
        sources: sources(&matches[ranges], others),
        what: matches["layer4Configs"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|entry| {
                let protocol = entry["ipProtocol"].as_str().unwrap_or_default().to_ascii_lowercase();
                (protocol, strings(&entry["ports"]).map(str::to_owned).collect())
            })
            .collect(),
    }
}

/// All that concern the machine, in Google's order; without `own`.
fn in_order(
    effective: &Value,
    policies_first: bool,
    machine: &Machine,
    own: &[&str],
    direction: Direction,
) -> Vec<Rule> {
    let mut rules = Vec::new();
    for policy in effective["firewallPolicys"].as_array().into_iter().flatten() {
        // Those of the network itself come where the network says; the others first.
        if policy["type"] == "NETWORK" && !policies_first {
            continue;
        }
        let name = ["shortName", "displayName", "name"].iter().find_map(|field| policy[*field].as_str());
        let mut of: Vec<&Value> = policy["rules"].as_array().into_iter().flatten().collect();
        of.sort_by_key(|rule| rule["priority"].as_i64());
        let ours = |rule: &&Value| {
            let networks = &rule["targetResources"];
            let here = strings(networks).next().is_none()
                || strings(networks).any(|network| short(network) == machine.network);
            direction.is_of(rule)
                && rule["disabled"] != true
                && rule["targetSecureTags"].as_array().is_none_or(Vec::is_empty)
                && here
                && machine.is_meant(rule)
        };
        rules.extend(of.into_iter().filter(ours).map(|rule| of_policy(name.unwrap_or_default(), rule)));
    }
    let mut of: Vec<&Value> = effective["firewalls"].as_array().into_iter().flatten().collect();
    of.sort_by_key(|rule| (rule["priority"].as_i64().unwrap_or(1000), rule["denied"].is_null()));
    let concerns = |rule: &&Value| {
        direction.is_of(rule)
            && rule["disabled"] != true
            && !own.contains(&rule["name"].as_str().unwrap_or_default())
            && machine.is_meant(rule)
    };
    rules.extend(of.into_iter().filter(concerns).map(classic));
    rules
}

/// What is looked at before a rule of ours: `allows`: ours does.
fn before(rules: &[Rule], priority: i64, allows: bool) -> impl Iterator<Item = &Rule> {
    rules.iter().filter(move |rule| match rule.priority {
        None => true,
        // At the same priority what denies is first.
        Some(other) => other < priority || (other == priority && allows && rule.verdict == Verdict::Deny),
    })
}

fn exposed_by(rules: &[Rule], manifests: &[Manifest], subject: &ResourceId) -> Vec<Finding> {
    let ours = || manifests.iter().filter(|manifest| manifest.kind == "compute.firewall");
    let priority = |manifest: &Manifest| manifest.body["priority"].as_i64().unwrap_or(1000);
    let mut findings = Vec::new();
    let mut tell = |rule: &Rule, does: String| {
        findings.push(Finding {
            subject: subject.clone(),
            problem: format!("{} {does}", rule.name),
            instead: rule.instead.clone(),
            refuses: true,
        });
    };
    // Who comes in before our rule that denies.
    let last =
        ours().filter(|manifest| manifest.body["denied"].is_array()).map(priority).min().unwrap_or(i64::MAX);
    let mut doors: Vec<(&Rule, Vec<String>)> = Vec::new();
    let doorways: Vec<Rule> =
        ours().filter(|manifest| manifest.body["allowed"].is_array()).map(|own| classic(&own.body)).collect();
    for port in PORTS {
        let meant: Vec<Ipv4Net> = doorways
            .iter()
            .filter(|own| own.concerns(port))
            .flat_map(|own| own.sources.clone())
            .flatten()
            .collect();
        for rule in before(rules, last, false).filter(|rule| rule.concerns(port)) {
            match rule.verdict {
                // Whom this deployment lets in as well, it opens to nobody else.
                Verdict::Allow if !rule.is_within(&meant) => {
                    match doors.iter_mut().find(|(door, _)| door.name == rule.name) {
                        Some((_, ports)) => ports.push(port.to_string()),
                        None => doors.push((rule, vec![port.to_string()])),
                    }
                }
                // Nobody gets further.
                Verdict::Deny if rule.is_for_everybody() => break,
                _ => {}
            }
        }
    }
    for (rule, ports) in doors {
        tell(
            rule,
            format!(
                "lets {} reach {} of the machine, whatever this deployment allows",
                rule.whom(),
                ports.join(", ")
            ),
        );
    }
    // Who is kept out before our rules that allow.
    for manifest in ours().filter(|manifest| manifest.body["allowed"].is_array()) {
        let own = classic(&manifest.body);
        let whom = own
            .sources
            .clone()
            .unwrap_or_else(|| PRIVATE.iter().filter_map(|net| net.parse().ok()).collect());
        let ports = own.what.iter().flat_map(|(_, ports)| ports).filter_map(|port| port.parse::<u16>().ok());
        for port in ports {
            for rule in before(rules, priority(manifest), true).filter(|rule| rule.concerns(port)) {
                match rule.verdict {
                    Verdict::Deny if rule.overlaps(&whom) => {
                        tell(
                            rule,
                            format!("keeps out what `{}` lets in: {} to {port}", manifest.name, rule.whom()),
                        );
                        break;
                    }
                    Verdict::Allow | Verdict::Next if rule.is_for_everybody() => break,
                    _ => {}
                }
            }
        }
    }
    findings
}

/// By which Google's APIs are reached without an external address: `private.googleapis.com`
/// and `restricted.googleapis.com`. Source: "Configure Private Google Access".
const APIS: [&str; 2] = ["199.36.153.8/30", "199.36.153.4/30"];

/// What keeps the machine from its bucket and its secrets: out everything may go, unless
/// somebody says otherwise.
fn shut_in(rules: &[Rule], subject: &ResourceId) -> Option<Finding> {
    let apis: Vec<Ipv4Net> = APIS.iter().filter_map(|net| net.parse().ok()).collect();
    for rule in rules.iter().filter(|rule| rule.concerns(443)) {
        match rule.verdict {
            Verdict::Allow if rule.is_for_everybody() || rule.overlaps(&apis) => return None,
            Verdict::Deny if rule.is_for_everybody() => {
                return Some(Finding {
                    subject: subject.clone(),
                    problem: format!(
                        "{} keeps the machine from Google's APIs, where its bucket and its secrets are",
                        rule.name
                    ),
                    instead: format!(
                        "let port 443 out by a rule with a lower number: to everybody, or to {}, if the names of \
                         Google's APIs lead there",
                        APIS[0]
                    ),
                    refuses: true,
                });
            }
            _ => {}
        }
    }
    None
}

/// Rules and policies of others that open or close the machine's ports, or its way out.
pub(super) async fn findings(cloud: &Cloud, manifests: &[Manifest]) -> Vec<Finding> {
    let Some((machine, subject)) = Machine::of(manifests, cloud.client.project()) else { return Vec::new() };
    let path = format!("global/networks/{}", machine.network);
    let (network, rules) = (
        Call::get(Api::Compute, path.clone()),
        Call::get(Api::Compute, format!("{path}/getEffectiveFirewalls")),
    );
    let answers: Result<(Value, Value), Error> =
        futures::try_join!(cloud.client.call(&network), cloud.client.call(&rules));
    match answers {
        Ok((network, effective)) => {
            let first = network["networkFirewallPolicyEnforcementOrder"] == "BEFORE_CLASSIC_FIREWALL";
            let own: Vec<&str> = manifests
                .iter()
                .filter(|manifest| manifest.kind == "compute.firewall")
                .map(|manifest| manifest.name.as_str())
                .collect();
            let of = |direction| in_order(&effective, first, &machine, &own, direction);
            let mut found = exposed_by(&of(Direction::In), manifests, &subject);
            found.extend(shut_in(&of(Direction::Out), &subject));
            found
        }
        // Not there yet, and nobody's rules either.
        Err(error) if absent(&error) => Vec::new(),
        Err(error) => vec![Finding {
            subject,
            problem: format!("the firewall that holds for the network `{}` can't be read: {error}", machine.network),
            instead: "roles/compute.securityAdmin lets these credentials read it; until then, whether others can reach the machine is not known"
                .into(),
            refuses: false,
        }],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifests() -> Vec<Manifest> {
        let of = |kind: &str, name: &str, body: Value| Manifest::new(kind, name, body);
        vec![
            of(
                "compute.instance",
                "m",
                json!({"networkInterfaces": [{"network": "default"}], "tags": {"items": ["m"]},
                    "serviceAccounts": [{"email": "${iam.serviceAccount/m.email}"}]}),
            ),
            of(
                "compute.firewall",
                "m",
                json!({"priority": 100, "sourceRanges": ["203.0.113.7/32"],
                    "allowed": [{"IPProtocol": "tcp", "ports": ["9009"]}]}),
            ),
            of(
                "compute.firewall",
                "ssh",
                json!({"priority": 100, "sourceRanges": ["35.235.240.0/20"],
                    "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}]}),
            ),
            of("compute.firewall", "deny", json!({"priority": 110, "denied": [{"IPProtocol": "all"}]})),
        ]
    }

    fn told(effective: &Value, policies_first: bool) -> Vec<String> {
        let manifests = manifests();
        let (machine, subject) = Machine::of(&manifests, "p").unwrap();
        assert_eq!((&*machine.network, &*machine.account), ("default", "m@p.iam.gserviceaccount.com"));
        let rules = in_order(effective, policies_first, &machine, &["m", "ssh", "deny"], Direction::In);
        exposed_by(&rules, &manifests, &subject).into_iter().map(|finding| finding.problem).collect()
    }

    fn rule(priority: u64, kind: &str, sources: &str, more: Value) -> Value {
        let mut rule = json!({"name": "theirs", "direction": "INGRESS", "priority": priority, "sourceRanges": [sources]});
        rule[kind] = json!([{"IPProtocol": "tcp", "ports": ["9000-9100"]}]);
        for (name, value) in more.as_object().into_iter().flatten() {
            rule[name] = value.clone();
        }
        json!({"firewalls": [rule]})
    }

    #[test]
    fn a_rule_counts_where_it_is_looked_at_before_ours_and_means_the_machine() {
        let none = json!({});
        let opened = told(&rule(50, "allowed", "0.0.0.0/0", none.clone()), false);
        assert!(
            opened.len() == 1
                && opened[0].contains("`theirs` (priority 50) lets 0.0.0.0/0 reach 9009, 9010, 9095"),
            "{opened:?}"
        );
        let closed = told(&rule(100, "denied", "0.0.0.0/0", none.clone()), false);
        assert!(closed.len() == 1 && closed[0].contains("keeps out what `m` lets in"), "{closed:?}");
        for quiet in [
            rule(110, "allowed", "0.0.0.0/0", none.clone()),
            rule(1000, "allowed", "0.0.0.0/0", none.clone()),
            rule(101, "denied", "0.0.0.0/0", none.clone()),
            rule(50, "denied", "198.51.100.0/24", none.clone()),
            rule(50, "allowed", "fd00::/8", none),
            rule(50, "allowed", "0.0.0.0/0", json!({"targetTags": ["other"]})),
            rule(50, "allowed", "0.0.0.0/0", json!({"disabled": true})),
            rule(50, "allowed", "0.0.0.0/0", json!({"direction": "EGRESS"})),
            rule(50, "allowed", "0.0.0.0/0", json!({"allowed": [{"IPProtocol": "udp"}]})),
        ] {
            assert_eq!(told(&quiet, false), Vec::<String>::new(), "{quiet}");
        }
        let meant = rule(
            50,
            "allowed",
            "0.0.0.0/0",
            json!({"targetServiceAccounts": ["m@p.iam.gserviceaccount.com"]}),
        );
        assert_eq!(told(&meant, false).len(), 1);
    }

    #[test]
    fn ssh_is_open_to_no_more_than_the_deployments_own_rule_says() {
        let ssh = |sources: &str, entry: Value| rule(16, "allowed", sources, json!({"allowed": [entry]}));
        for entry in [
            json!({"IPProtocol": "tcp", "ports": ["22"]}),
            json!({"IPProtocol": "tcp", "ports": ["20-25"]}),
            json!({"IPProtocol": "tcp"}),
            json!({"IPProtocol": "all"}),
        ] {
            for sources in ["0.0.0.0/0", "10.0.0.0/8", "35.235.0.0/16"] {
                let opened = told(&ssh(sources, entry.clone()), false);
                let words = format!("`theirs` (priority 16) lets {sources} reach 22");
                assert!(opened.len() == 1 && opened[0].contains(&words), "{entry}: {opened:?}");
            }
        }
        // No more than is open already.
        let tcp = |port: &str| json!({"IPProtocol": "tcp", "ports": [port]});
        for (sources, port) in
            [("35.235.240.0/20", "22"), ("35.235.241.0/24", "22"), ("203.0.113.7/32", "9009")]
        {
            assert_eq!(told(&ssh(sources, tcp(port)), false), Vec::<String>::new(), "{sources} {port}");
        }
        assert_eq!(told(&ssh("203.0.113.7/32", tcp("22")), false).len(), 1, "another port's sources");
        assert_eq!(told(&ssh("0.0.0.0/0", json!({"IPProtocol": "icmp"})), false), Vec::<String>::new());
    }

    #[test]
    fn a_policy_is_looked_at_first_and_hands_on_what_it_says_to() {
        let policy = |kind: &str, rules: Value| json!({"firewallPolicys": [{"type": kind, "shortName": "org", "rules": rules}]});
        let entry = |priority: u64, action: &str, sources: &str| {
            json!({"priority": priority, "action": action, "direction": "INGRESS", "match":
                {"srcIpRanges": [sources], "layer4Configs": [{"ipProtocol": "tcp", "ports": ["9009"]}]}})
        };
        let denies =
            policy("HIERARCHY", json!([entry(1, "deny", "0.0.0.0/0"), entry(2, "allow", "0.0.0.0/0")]));
        let told_of = told(&denies, false);
        assert!(
            told_of.len() == 1 && told_of[0].contains("rule 1 of the firewall policy `org` keeps out"),
            "{told_of:?}"
        );
        let allows = policy("HIERARCHY", json!([entry(1, "allow", "10.0.0.0/8")]));
        assert!(told(&allows, false)[0].contains("lets 10.0.0.0/8 reach 9009"), "{:?}", told(&allows, false));
        let hands_on =
            policy("HIERARCHY", json!([entry(1, "goto_next", "0.0.0.0/0"), entry(2, "deny", "0.0.0.0/0")]));
        assert_eq!(told(&hands_on, false), Vec::<String>::new());
        let of_the_network = policy("NETWORK", json!([entry(1, "allow", "0.0.0.0/0")]));
        assert_eq!(told(&of_the_network, false), Vec::<String>::new(), "behind our rule that denies");
        assert_eq!(told(&of_the_network, true).len(), 1);
    }
}
