//! Reads the tables. They are part of the program, so a bad line is a bug and
//! stops at once.

use std::collections::BTreeMap;

use super::{Contract, Method, Parameter, Segment, Type};

impl Contract {
    pub(super) fn add(&mut self, api: &'static str, table: &str) {
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["METHOD", id, verb, path, query, body, ">", answer] => {
                    self.methods.push(Method {
                        id: (*id).to_owned(),
                        api,
                        verb: verb.parse().expect("the table names HTTP methods"),
                        query: parameters(query.trim_start_matches('?')),
                        body: named(body),
                        answer: named(answer),
                        served: true,
                        path: path.split('/').map(segment).collect(),
                    });
                }
                ["UNSERVED", id, verb, path] => {
                    self.methods.push(Method {
                        id: (*id).to_owned(),
                        api,
                        verb: verb.parse().expect("the table names HTTP methods"),
                        query: BTreeMap::new(),
                        body: None,
                        answer: None,
                        served: false,
                        path: path.split('/').map(segment).collect(),
                    });
                }
                ["MESSAGE", name, fields @ ..] => {
                    let fields = fields.iter().map(|field| {
                        let (name, kind) = field.split_once(':').expect("the table writes name:type");
                        (name.to_owned(), Type::parse(kind))
                    });
                    self.messages.insert((api, (*name).to_owned()), fields.collect());
                }
                _ => unreachable!("the table of {api} has a line of no kind: {line}"),
            }
        }
    }
}

fn named(word: &str) -> Option<String> {
    (word != "-").then(|| word.to_owned())
}

fn parameters(list: &str) -> BTreeMap<String, Parameter> {
    let each = list.split(',').filter(|item| !item.is_empty()).map(|item| {
        let (name, kind) = item.split_once(':').expect("the table writes name:type");
        let required = kind.ends_with('!');
        (name.to_owned(), Parameter { kind: Type::parse(kind.trim_end_matches('!')), required })
    });
    each.collect()
}

pub(super) fn segment(text: &str) -> Segment {
    match text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((name, verb)) => Segment::Variable(name.to_owned(), verb.to_owned()),
        None => Segment::Literal(text.to_owned()),
    }
}
