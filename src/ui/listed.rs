//! The result of `list`: the deployments of a project.

use dorainfra_deploy::resource::Deployment;
use serde_json::{Value, json};

use super::text::visible;
use super::{Role, Style, Table, View};

pub struct Listed {
    pub project: String,
    /// The deployment that this folder's configuration means.
    pub own: String,
    pub deployments: Vec<Deployment>,
}

/// By its machines: without one it is not known.
fn topology(of: &Deployment) -> Option<&'static str> {
    match of.machines.len() {
        0 => None,
        1 => Some("single"),
        _ => Some("ha"),
    }
}

/// "3 running", "2 running, 1 terminated"; "none: data is kept".
fn machines(of: &Deployment) -> (Role, String) {
    let mut statuses: Vec<&String> = of.machines.values().collect();
    statuses.sort();
    let counted = statuses.chunk_by(|a, b| a == b).filter_map(|same| Some((same.len(), same.first()?)));
    let words: Vec<String> =
        counted.map(|(count, status)| format!("{count} {}", status.to_lowercase())).collect();
    match words.as_slice() {
        [] => (Role::Faint, "none: data is kept".into()),
        words if of.machines.values().all(|status| status == "RUNNING") => (Role::Good, words.join(", ")),
        words => (Role::Caution, words.join(", ")),
    }
}

/// In fewer columns a deployment is several lines.
const WIDE: usize = 72;

impl Listed {
    fn stacked(&self, one: &Deployment, style: &Style) -> String {
        let (role, machines) = machines(one);
        let mark = if one.name == self.own { " *" } else { "" };
        let name = style.paint(Role::Heading, visible(&one.name));
        let mut table = Table::bare().indent(2);
        for (what, role, text) in [
            ("topology", Role::Plain, topology(one).unwrap_or("-").to_owned()),
            ("since", Role::Plain, since(one)),
            ("region", Role::Plain, joined(&one.regions)),
            ("machines", role, machines),
        ] {
            table.row([(Role::Faint, what.to_owned()), (role, text)]);
        }
        format!("{name}{}\n{}", style.paint(Role::Accent, mark), table.render(style))
    }
}

fn since(one: &Deployment) -> String {
    one.since.map_or_else(|| "-".into(), |at| at.date().to_string())
}

fn joined<'a>(items: impl IntoIterator<Item = &'a String>) -> String {
    let items: Vec<&str> = items.into_iter().map(String::as_str).collect();
    if items.is_empty() { "-".into() } else { items.join(", ") }
}

impl View for Listed {
    fn human(&self, style: &Style) -> String {
        if self.deployments.is_empty() {
            return format!("no deployment is in {}\n", visible(&self.project));
        }
        if style.width < WIDE {
            return self.deployments.iter().map(|one| self.stacked(one, style)).collect();
        }
        let mut table = Table::new(["", "NAME", "TOPOLOGY", "SINCE", "REGION", "MACHINES"]);
        for one in &self.deployments {
            let (role, machines) = machines(one);
            table.row([
                (Role::Accent, if one.name == self.own { "*" } else { "" }.to_owned()),
                (Role::Plain, one.name.clone()),
                (Role::Plain, topology(one).unwrap_or("-").to_owned()),
                (Role::Plain, since(one)),
                (Role::Plain, joined(&one.regions)),
                (role, machines),
            ]);
        }
        table.render(style)
    }

    fn json(&self) -> Value {
        let deployments = self.deployments.iter().map(|one| {
            let mut fields = serde_json::to_value(one).expect("texts are plain data with string keys");
            fields["topology"] = json!(topology(one));
            fields["configured"] = json!(one.name == self.own);
            fields
        });
        json!({"project": self.project, "deployments": deployments.collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use time::macros::datetime;

    use super::*;

    #[test]
    fn each_deployment_is_a_line() {
        let set = |name: &str| BTreeSet::from([name.to_owned()]);
        let machine = |name: &str, status: &str| (name.to_owned(), status.to_owned());
        let pay = Deployment {
            name: "pay".into(),
            regions: set("europe-west1"),
            machines: BTreeMap::from([
                machine("pay-mimir", "RUNNING"),
                machine("pay-mimir-2", "TERMINATED"),
                machine("pay-mimir-3", "RUNNING"),
            ]),
            since: Some(datetime!(2026-03-02 7:00 UTC)),
            ..Deployment::default()
        };
        let old = Deployment { name: "old".into(), buckets: set("old-mimir"), ..Deployment::default() };
        let listed = Listed { project: "p".into(), own: "pay".into(), deployments: vec![old, pay] };
        assert_eq!(
            listed.human(&Style::plain()),
            "   NAME  TOPOLOGY  SINCE       REGION        MACHINES\n\
             \x20  old   -         -           -             none: data is kept\n\
             *  pay   ha        2026-03-02  europe-west1  2 running, 1 terminated\n"
        );
        assert_eq!(
            listed.human(&Style { width: 40, ..Style::plain() }),
            "old\n  topology  -\n  since     -\n  region    -\n  machines  none: data is kept\n\
             pay *\n  topology  ha\n  since     2026-03-02\n  region    europe-west1\n  \
             machines  2 running, 1 terminated\n"
        );
        let json = listed.json();
        assert_eq!(json["deployments"][1]["configured"], true);
        assert_eq!(json["deployments"][1]["since"], "2026-03-02T07:00:00Z");
        assert_eq!(json["deployments"][0]["topology"], Value::Null);
        let none = Listed { deployments: Vec::new(), ..listed };
        assert_eq!(none.human(&Style::plain()), "no deployment is in p\n");
    }
}
