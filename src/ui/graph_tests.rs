use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn plan() -> Plan {
    let id = |text: &str| text.parse::<ResourceId>().unwrap();
    let step = |name: &str, action, needs: &[&str]| Step {
        id: id(name),
        action,
        reason: String::new(),
        changes: Vec::new(),
        needs: needs.iter().map(|need| id(need)).collect(),
        notes: BTreeMap::new(),
    };
    let (disk, network, machine) =
        ("compute.disk/dorainfra-data", "compute.network/dorainfra", "compute.instance/dorainfra-mimir");
    Plan {
        deployment: "dorainfra".into(),
        steps: vec![
            step(network, Action::NoOp, &[]),
            step(disk, Action::Keep, &[]),
            step(machine, Action::Replace, &[network, disk, network]),
            step("mem.odd/a\"b<c>#1\\", Action::Create, &[machine, "compute.disk/not-in-the-plan"]),
            step("compute.firewall/old", Action::Delete, &[]),
        ],
        ..Plan::default()
    }
}

#[test]
fn a_plan_is_drawn_the_same_whatever_its_order() {
    insta::assert_snapshot!(graph(&plan(), GraphForm::Mermaid));
    insta::assert_snapshot!(graph(&plan(), GraphForm::Dot));
    let mut other = plan();
    other.steps.reverse();
    for form in [GraphForm::Mermaid, GraphForm::Dot] {
        assert_eq!(graph(&other, form), graph(&plan(), form));
    }
}

/// What a text of DOT says, read by its grammar (<https://graphviz.org/doc/info/lang.html>); of its
/// statements those of nodes, edges and attributes.
#[derive(Debug, Default, PartialEq)]
struct Drawn {
    name: String,
    nodes: BTreeMap<String, BTreeMap<String, String>>,
    edges: BTreeSet<(String, String)>,
}

#[derive(Debug, PartialEq)]
enum Token {
    Id(String),
    Sign(&'static str),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    const SIGNS: [&str; 8] = ["->", "{", "}", "[", "]", "=", ";", ","];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (token, length) = if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            (Token::Sign(sign), sign.len())
        } else if let Some(inside) = rest.strip_prefix('"') {
            let (mut id, mut escaped, mut end) = (String::new(), false, None);
            for (at, c) in inside.char_indices() {
                match (escaped, c) {
                    // Only a quote is escaped in the language itself; `\n` and `\\` are the labels' own.
                    (true, '"') => id.push('"'),
                    (true, c) => id.extend(['\\', c]),
                    (false, '"') => {
                        end = Some(at);
                        break;
                    }
                    (false, '\\') => {}
                    (false, c) => id.push(c),
                }
                escaped = !escaped && c == '\\';
            }
            (Token::Id(id), end.ok_or("a quote does not end")? + 2)
        } else {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let length = rest.find(|c| !plain(c)).unwrap_or(rest.len());
            let id = &rest[..length];
            if id.is_empty() || id.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(format!("no ID: {rest}"));
            }
            (Token::Id(id.to_owned()), length)
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Reader(std::vec::IntoIter<Token>);

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.0.as_slice().first()
    }

    fn takes(&mut self, sign: &'static str) -> bool {
        let is = self.peek() == Some(&Token::Sign(sign));
        if is {
            self.0.next();
        }
        is
    }

    fn sign(&mut self, sign: &'static str) -> Result<(), String> {
        if self.takes(sign) { Ok(()) } else { Err(format!("`{sign}` is missing at {:?}", self.peek())) }
    }

    fn id(&mut self) -> Result<String, String> {
        match self.0.next() {
            Some(Token::Id(id)) => Ok(id),
            other => Err(format!("no ID: {other:?}")),
        }
    }

    fn attributes(&mut self) -> Result<BTreeMap<String, String>, String> {
        let mut attributes = BTreeMap::new();
        while self.takes("[") {
            while !self.takes("]") {
                let name = self.id()?;
                self.sign("=")?;
                attributes.insert(name, self.id()?);
                let _ = self.takes(";") || self.takes(",");
            }
        }
        Ok(attributes)
    }

    fn graph(mut self) -> Result<Drawn, String> {
        let mut drawn = Drawn::default();
        (self.id()? == "digraph").then_some(()).ok_or("no digraph")?;
        drawn.name = self.id()?;
        self.sign("{")?;
        while !self.takes("}") {
            let subject = self.id()?;
            if self.takes("=") {
                self.id()?;
            } else if self.takes("->") {
                drawn.edges.insert((subject, self.id()?));
                self.attributes()?;
            } else {
                let attributes = self.attributes()?;
                if !["node", "edge", "graph"].contains(&subject.as_str()) {
                    drawn.nodes.insert(subject, attributes);
                }
            }
            let _ = self.takes(";");
        }
        if self.peek().is_none() { Ok(drawn) } else { Err("something follows the graph".into()) }
    }
}

fn read(text: &str) -> Result<Drawn, String> {
    Reader(tokens(text)?.into_iter()).graph()
}

#[test]
fn dot_is_read_by_its_grammar_and_says_what_the_plan_says() {
    let drawn = read(&graph(&plan(), GraphForm::Dot)).unwrap();
    assert_eq!(drawn.name, "dorainfra");
    let labels: BTreeMap<&str, &str> =
        drawn.nodes.iter().map(|(node, attributes)| (attributes["label"].as_str(), node.as_str())).collect();
    let node = |label: &str| labels[label].to_owned();
    let machine = node("compute.instance/dorainfra-mimir\\nreplace");
    let odd = node("mem.odd/a\"b<c>#1\\\\\\ncreate");
    let expected = BTreeSet::from([
        (machine.clone(), node("compute.network/dorainfra\\nleave")),
        (machine.clone(), node("compute.disk/dorainfra-data\\nkeep")),
        (odd, machine),
    ]);
    assert_eq!(drawn.edges, expected);
    assert!(labels.contains_key("compute.firewall/old\\ndelete"), "{labels:?}");
    // The reader itself takes no more than the language is.
    for wrong in
        ["digraph x { a -> }", "digraph x { a [b] }", "digraph x { \"a }", "graph x { a }", "digraph { 1a }"]
    {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
