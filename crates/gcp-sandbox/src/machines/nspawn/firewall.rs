//! Compute's firewall rules as nftables, in the router's namespace: what may
//! reach a machine (nothing, unless a rule allows it), and what a machine may
//! reach; and which machine gets what is addressed to a load balancer. Pure: rules
//! and machines in, the text of a whole ruleset out.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::Value;

use super::network::{METADATA, line, mark};
use crate::machines::Front;

/// Google's name servers have none of these; its protocols by number do.
const PROTOCOLS: &[(&str, u8)] =
    &[("icmp", 1), ("ipip", 4), ("tcp", 6), ("udp", 17), ("esp", 50), ("ah", 51), ("sctp", 132)];

/// What rules select machines by.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) address: Ipv4Addr,
    pub(super) tags: Vec<String>,
    pub(super) accounts: Vec<String>,
}

impl Member {
    pub(super) fn of(address: Ipv4Addr, instance: &Value) -> Self {
        let accounts = instance["serviceAccounts"].as_array().into_iter().flatten();
        Self {
            address,
            tags: strings(&instance["tags"]["items"]),
            accounts: accounts.filter_map(|one| one["email"].as_str()).map(str::to_owned).collect(),
        }
    }
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The whole ruleset. `port`: of the sandbox's APIs.
pub(super) fn ruleset(
    rules: &[Value],
    policy: &[Value],
    members: &[Member],
    fronts: &[Front],
    port: u16,
) -> String {
    let policy = policy_chain(policy, members);
    let ingress = chain(rules, members, "INGRESS");
    let egress = chain(rules, members, "EGRESS");
    let mut balance: String = fronts.iter().map(passing).collect();
    // Silence, as Google keeps it, on what no rule forwards.
    let places = fronts.iter().map(|front| front.address).collect::<BTreeSet<_>>();
    balance.extend(places.iter().map(|address| format!("    ip daddr {address} meta mark 0 drop\n")));
    // The first two lines empty the table, so that loading replaces it.
    format!(
        "table ip sandbox\n\
         delete table ip sandbox\n\
         table ip sandbox {{\n\
         \x20 chain balance {{\n\
         \x20   type filter hook prerouting priority mangle; policy accept;\n\
         {balance}\x20 }}\n\
         \x20 chain input {{\n\
         \x20   type filter hook input priority 0; policy drop;\n\
         \x20   ct state established,related accept\n\
         \x20   iifname \"vm*\" ip daddr {METADATA} tcp dport {{ 80, {port} }} accept\n\
         \x20   iifname \"vm*\" ip daddr {METADATA} udp dport 53 accept\n\
         \x20   iifname \"vm*\" reject\n\
         \x20 }}\n\
         \x20 chain forward {{\n\
         \x20   type filter hook forward priority 0; policy drop;\n\
         \x20   ct state established,related accept\n\
         \x20   iifname \"vm*\" jump egress\n\
         \x20   oifname \"vm*\" jump ingress\n\
         \x20   iifname \"vm*\" oifname \"uplink\" reject\n\
         \x20 }}\n\
         \x20 chain network {{\n{ingress}\x20 }}\n\
         \x20 chain ingress {{\n{policy}    goto network\n\x20 }}\n\
         \x20 chain egress {{\n{egress}\x20 }}\n\
         }}\n"
    )
}

/// Marks what is for a load balancer, each connection for one machine. A connection
/// keeps its machine, well or not, as behind Google's load balancers that pass packets on.
fn passing(front: &Front) -> String {
    let Front { address, port, backends } = front;
    let chosen: Vec<String> =
        backends.iter().enumerate().map(|(at, backend)| format!("{at} : {}", mark(*backend))).collect();
    if chosen.is_empty() {
        return String::new();
    }
    let (place, of, map) = (format!("ip daddr {address} tcp dport {port}"), chosen.len(), chosen.join(", "));
    format!(
        "\x20   {place} ct state new ct mark set jhash ip saddr . tcp sport mod {of} map {{ {map} }}\n\
         \x20   {place} meta mark set ct mark\n"
    )
}

/// The lines of one direction, in the order in which Google looks at them: by
/// priority, and at the same one what denies first.
fn chain(rules: &[Value], members: &[Member], direction: &str) -> String {
    let mut chosen: Vec<&Value> = rules
        .iter()
        .filter(|rule| rule["disabled"] != true && rule["direction"].as_str() == Some(direction))
        .collect();
    chosen.sort_by_key(|rule| (rule["priority"].as_i64().unwrap_or(1000), rule["denied"].is_null()));
    chosen.into_iter().flat_map(|rule| lines(rule, members)).collect()
}

/// The lines of a firewall policy: what it does not decide, the network's rules do.
fn policy_chain(policy: &[Value], members: &[Member]) -> String {
    let mut chosen: Vec<&Value> = policy.iter().filter(|rule| rule["disabled"] != true).collect();
    chosen.sort_by_key(|rule| rule["priority"].as_i64());
    let as_rule = |rule: &&Value| {
        let entries = rule["match"]["layer4Configs"].as_array().cloned().unwrap_or_default();
        let entries: Vec<Value> = entries
            .iter()
            .map(|entry| serde_json::json!({"IPProtocol": entry["ipProtocol"], "ports": entry["ports"]}))
            .collect();
        let field = if rule["action"] == "deny" { "denied" } else { "allowed" };
        let sources = &rule["match"]["srcIpRanges"];
        let everywhere = serde_json::json!(["0.0.0.0/0"]);
        serde_json::json!({
            "name": format!("policy {}", rule["priority"]), "direction": "INGRESS", field: entries,
            "sourceRanges": if sources.is_array() { sources } else { &everywhere },
            "targetServiceAccounts": rule["targetServiceAccounts"],
        })
    };
    let written = chosen.iter().flat_map(|rule| {
        let hands_on = rule["action"] == "goto_next";
        let lines = lines(&as_rule(rule), members);
        lines
            .into_iter()
            .map(move |line| if hands_on { line.replace(" accept ", " goto network ") } else { line })
    });
    written.collect()
}

fn lines(rule: &Value, members: &[Member]) -> Vec<String> {
    let Some(name) = rule["name"].as_str() else { return Vec::new() };
    let targets = selected(rule, "target", members);
    let ingress = rule["direction"] != "EGRESS";
    let ranges = |field: &str| -> Vec<Ipv4Net> {
        strings(&rule[field]).iter().filter_map(|text| range(text)).collect()
    };
    // Either names its sources in two ways, of which one is enough.
    let mut sources = ranges("sourceRanges");
    if named(rule, "source") {
        sources.extend(selected(rule, "source", members).into_iter().map(Ipv4Net::from));
    }
    let destinations = ranges("destinationRanges");
    if targets.is_empty()
        || (ingress && sources.is_empty())
        || (!ingress && destinations.is_empty() && !rule["destinationRanges"].is_null())
    {
        return Vec::new();
    }
    // By its line, not its address: it may be reached by a load balancer's.
    let lines: Vec<String> = targets.into_iter().map(|target| format!("\"{}\"", line(target))).collect();
    let place = if ingress {
        format!("{}oifname {{ {} }} ", addresses("saddr", &sources), lines.join(", "))
    } else {
        format!("iifname {{ {} }} {}", lines.join(", "), addresses("daddr", &destinations))
    };
    let (field, verdict) = match (rule["denied"].is_null(), ingress) {
        (true, true) => ("allowed", "accept"),
        // What may leave has still to be let in.
        (true, false) => ("allowed", "return"),
        (false, _) => ("denied", "drop"),
    };
    let entries = rule[field].as_array().into_iter().flatten();
    entries
        .filter_map(protocol)
        .map(|what| format!("    {place}{what}counter {verdict} comment \"{name}\"\n"))
        .collect()
}

/// A network or an address; `None` for one of version 6, which no machine has.
fn range(text: &str) -> Option<Ipv4Net> {
    text.parse::<Ipv4Net>().ok().or_else(|| text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from))
}

fn named(rule: &Value, side: &str) -> bool {
    ["Tags", "ServiceAccounts"].iter().any(|kind| !strings(&rule[format!("{side}{kind}")]).is_empty())
}

/// The machines that a rule's tags or service accounts select; all where it names none.
fn selected(rule: &Value, side: &str, members: &[Member]) -> Vec<Ipv4Addr> {
    let (tags, accounts) =
        (strings(&rule[format!("{side}Tags")]), strings(&rule[format!("{side}ServiceAccounts")]));
    let all = !named(rule, side);
    members
        .iter()
        .filter(|member| {
            all || member.tags.iter().any(|tag| tags.contains(tag))
                || member.accounts.iter().any(|account| accounts.contains(account))
        })
        .map(|member| member.address)
        .collect()
}

fn addresses(what: &str, nets: &[Ipv4Net]) -> String {
    // Everything needs no word; and in a set one may not lie in another.
    let nets = Ipv4Net::aggregate(&nets.to_vec());
    if nets.is_empty() || nets.iter().any(|net| net.prefix_len() == 0) {
        return String::new();
    }
    let texts: Vec<String> = nets.iter().map(Ipv4Net::to_string).collect();
    format!("ip {what} {{ {} }} ", texts.join(", "))
}

/// `tcp dport { 80, 443 } `; `None` for what this host cannot know.
fn protocol(entry: &Value) -> Option<String> {
    let name = entry["IPProtocol"].as_str()?.to_ascii_lowercase();
    if name == "all" {
        return Some(String::new());
    }
    let number = PROTOCOLS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
        .or_else(|| name.parse().ok())?;
    let ports = strings(&entry["ports"]);
    let transport = match number {
        6 => "tcp",
        17 => "udp",
        132 => "sctp",
        _ => return Some(format!("ip protocol {number} ")),
    };
    if ports.is_empty() {
        return Some(format!("ip protocol {number} "));
    }
    Some(format!("{transport} dport {{ {} }} ", ports.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn members() -> Vec<Member> {
        let mimir = json!({
            "tags": {"items": ["mimir"]},
            "serviceAccounts": [{"email": "mimir@p.iam.gserviceaccount.com"}]
        });
        let other = json!({"tags": {"items": ["other"]}});
        vec![Member::of(Ipv4Addr::new(10, 0, 0, 2), &mimir), Member::of(Ipv4Addr::new(10, 0, 0, 3), &other)]
    }

    fn of(rules: Value) -> String {
        chain(rules.as_array().unwrap(), &members(), "INGRESS")
    }

    #[test]
    fn a_rule_selects_machines_and_sources() {
        let rule = json!({
            "name": "mimir", "direction": "INGRESS", "priority": 1000, "sourceRanges": ["10.0.0.1/32", "fd00::/8"],
            "allowed": [{"IPProtocol": "tcp", "ports": ["9009", "7000-7010"]}],
            "targetServiceAccounts": ["mimir@p.iam.gserviceaccount.com"]
        });
        assert_eq!(
            of(json!([rule])),
            "    ip saddr { 10.0.0.1/32 } oifname { \"vm2\" } tcp dport { 9009, 7000-7010 } counter accept \
             comment \"mimir\"\n"
        );
        let by_tag = json!({
            "name": "gossip", "direction": "INGRESS", "sourceTags": ["mimir"], "targetTags": ["mimir", "other"],
            "allowed": [{"IPProtocol": "all"}]
        });
        assert_eq!(
            of(json!([by_tag])),
            "    ip saddr { 10.0.0.2/32 } oifname { \"vm2\", \"vm3\" } counter accept comment \"gossip\"\n"
        );
    }

    #[test]
    fn what_is_for_a_load_balancer_is_marked_for_one_machine() {
        let machine = |last| Ipv4Addr::new(10, 0, 0, last);
        let front = |backends| Front { address: machine(9), port: 9009, backends };
        assert_eq!(
            passing(&front(vec![machine(2), machine(4)])),
            "    ip daddr 10.0.0.9 tcp dport 9009 ct state new ct mark set jhash ip saddr . tcp sport mod 2 \
             map { 0 : 2, 1 : 4 }\n    ip daddr 10.0.0.9 tcp dport 9009 meta mark set ct mark\n"
        );
        assert_eq!(passing(&front(Vec::new())), "");
        let rules = ruleset(&[], &[], &members(), &[front(vec![machine(2)])], 80);
        assert!(rules.contains("prerouting") && rules.contains("map { 0 : 2 }"), "{rules}");
        assert!(rules.contains("    ip daddr 10.0.0.9 meta mark 0 drop\n  }\n"), "{rules}");
    }

    #[test]
    fn what_selects_nothing_allows_nothing() {
        let base = json!({"name": "r", "direction": "INGRESS", "allowed": [{"IPProtocol": "tcp"}]});
        for (field, value) in [
            ("targetTags", json!(["nobody"])),
            ("sourceTags", json!(["nobody"])),
            ("sourceRanges", json!(["fd00::/8"])),
            ("disabled", json!(true)),
            ("direction", json!("EGRESS")),
        ] {
            let mut rule = base.clone();
            rule["sourceRanges"] = json!([]);
            if field != "sourceTags" {
                rule["sourceRanges"] = json!(["10.0.0.1/32"]);
            }
            rule[field] = value;
            assert_eq!(of(json!([rule])), "", "{field}");
        }
    }

    #[test]
    fn a_policy_comes_before_the_networks_rules_and_hands_on_what_it_says_to() {
        let rule = |priority: u64, action: &str| {
            json!({"priority": priority, "action": action, "direction": "INGRESS", "match":
                {"srcIpRanges": ["10.9.0.0/16"], "layer4Configs": [{"ipProtocol": "tcp", "ports": ["9009"]}]}})
        };
        let text = policy_chain(&[rule(2, "goto_next"), rule(1, "deny"), rule(3, "allow")], &members());
        let verdicts: Vec<&str> = text
            .lines()
            .map(|line| line.split("counter ").nth(1).unwrap().split(" comment").next().unwrap())
            .collect();
        assert_eq!(verdicts, ["drop", "goto network", "accept"]);
        let whole = ruleset(&[], &[rule(1, "deny")], &members(), &[], 80);
        let (network, ingress) = (whole.find("chain network").unwrap(), whole.find("chain ingress").unwrap());
        assert!(
            network < ingress
                && whole[ingress..].contains("drop")
                && whole[ingress..].contains("goto network")
        );
    }

    #[test]
    fn the_lowest_priority_is_first_and_denial_before_allowance() {
        let rule = |name: &str, priority: i64, kind: &str| {
            let mut rule = json!({"name": name, "direction": "INGRESS", "priority": priority,
                "sourceRanges": ["0.0.0.0/0"], "targetTags": ["mimir"]});
            rule[kind] = json!([{"IPProtocol": "icmp"}]);
            rule
        };
        let text =
            of(json!([rule("c", 1000, "allowed"), rule("b", 1000, "denied"), rule("a", 5, "allowed")]));
        let order: Vec<&str> = text.lines().filter_map(|line| line.rsplit('"').nth(1)).collect();
        assert_eq!(order, ["a", "b", "c"]);
        assert!(text.starts_with("    oifname { \"vm2\" } ip protocol 1 counter accept"), "{text}");
        assert!(text.lines().nth(1).unwrap().contains("counter drop"));
    }
}
