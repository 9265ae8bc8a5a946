//! The result of `collect`: what each source told, and what the file holds now.

use dorainfra_deploy::workflow::event_sources::Collected;
use serde_json::Value;

use super::text::{count, visible};
use super::{Role, Style, Table, View};

impl View for Collected {
    fn human(&self, style: &Style) -> String {
        let mut table = Table::new([
            "SOURCE",
            "TEAM",
            "SERVICE",
            "DEPLOYMENTS",
            "REWORK",
            "CHANGES",
            "FAILURES",
            "RECOVERIES",
        ]);
        for one in &self.sources {
            let counts = [one.deployments, one.rework, one.changes, one.failures, one.recoveries].map(count);
            let names = [one.source.clone(), one.team.clone(), one.service.clone()];
            table.row(names.into_iter().chain(counts).map(|cell| (Role::Plain, cell)));
        }
        let news = match self.added + self.changed + self.removed {
            0 => "nothing new".to_owned(),
            _ => format!(
                "{} added, {} changed, {} removed",
                count(self.added),
                count(self.changed),
                count(self.removed)
            ),
        };
        let events = format!("{} event{}", count(self.events), if self.events == 1 { "" } else { "s" });
        let file = style.paint(Role::Faint, visible(&self.file));
        format!("{}{news}; {events} in {file}\n", table.render(style))
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).expect("counts are plain data with string keys")
    }
}
