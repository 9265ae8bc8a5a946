//! All that a journal tells, by what it is about; and of an incident that moves, whose it is now.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use time::OffsetDateTime;

use super::super::super::project::{Fact, Project};
use super::{About, Delivery, Sender};

#[derive(Default)]
pub(in crate::source::webhook) struct JournalContents {
    /// As they were called first, whose events their ids name, and what is known of them.
    projects: BTreeMap<About, (String, Project)>,
    /// What tells of an incident that has this id at its sender.
    incidents: HashMap<Incident, BTreeSet<About>>,
}

type Incident = (Sender, Option<String>, String);

impl JournalContents {
    pub fn of(deliveries: impl IntoIterator<Item = Delivery>) -> Self {
        let mut all = Self::default();
        for delivery in deliveries {
            all.add(delivery);
        }
        all
    }

    /// Answers what the delivery is about, and all that an incident moved from or to.
    pub fn add(&mut self, delivery: Delivery) -> BTreeSet<About> {
        let about = delivery.about();
        let mut touched = BTreeSet::from([about.clone()]);
        self.projects.entry(about.clone()).or_insert_with(|| (delivery.project, Project::default()));
        for fact in delivery.facts {
            let place = self.place(&about, &fact, &mut touched);
            if let Some((_, project)) = self.projects.get_mut(&place) {
                project.add(fact);
            }
            touched.insert(place);
        }
        touched
    }

    /// Whose a fact is. What is known of an incident elsewhere comes to where it is now.
    fn place(&mut self, about: &About, fact: &Fact, touched: &mut BTreeSet<About>) -> About {
        let (id, moved) = match fact {
            Fact::Failed { id, failure } => (id, failure.moved),
            Fact::Reported { id, incident } => (id, incident.moved),
            _ => return about.clone(),
        };
        let known = self.incidents.entry((about.sender, about.hook.clone(), id.clone())).or_default();
        let Some(moved) = moved else {
            known.insert(about.clone());
            return about.clone();
        };
        let reported =
            |other: &&About| self.projects.get(*other).and_then(|(_, project)| moved_at(project, id));
        if let Some(newer) = known.iter().filter(|other| reported(other) > Some(moved)).max_by_key(reported) {
            return newer.clone();
        }
        let before = std::mem::replace(known, BTreeSet::from([about.clone()]));
        for other in before.into_iter().filter(|other| other != about) {
            let Some((_, project)) = self.projects.get_mut(&other) else { continue };
            let failure = project.failures.remove(id).map(|failure| Fact::Failed { id: id.clone(), failure });
            let issue =
                project.incidents.remove(id).map(|incident| Fact::Reported { id: id.clone(), incident });
            touched.insert(other);
            if let Some((_, project)) = self.projects.get_mut(about) {
                failure.into_iter().chain(issue).for_each(|fact| project.add(fact));
            }
        }
        about.clone()
    }

    pub fn get(&self, about: &About) -> Option<&(String, Project)> {
        self.projects.get(about)
    }

    /// When an incident began, as its sender has reported, of whichever service it is now.
    pub fn began(&self, sender: Sender, id: &str) -> Option<OffsetDateTime> {
        let its = self.projects.iter().filter(|(about, _)| about.sender == sender);
        its.filter_map(|(_, (_, project))| project.failures.get(id)?.begun()).min()
    }

    /// When an incident was over of which only that is reported.
    pub fn ended(&self, sender: Sender, id: &str) -> Option<OffsetDateTime> {
        let its = self.projects.iter().filter(|(about, _)| about.sender == sender);
        let ends = its.filter_map(|(_, (_, project))| {
            let failure = project.failures.get(id).filter(|failure| failure.begun().is_none())?;
            failure.statuses.iter().map(|end| end.at).max()
        });
        ends.max()
    }

    pub fn into_projects(self) -> BTreeMap<About, (String, Project)> {
        self.projects
    }
}

fn moved_at(project: &Project, id: &str) -> Option<OffsetDateTime> {
    let failure = project.failures.get(id).and_then(|failure| failure.moved);
    failure.max(project.incidents.get(id).and_then(|incident| incident.moved))
}

#[cfg(test)]
mod tests {
    use super::super::super::super::project::{Failed, Status};
    use super::*;
    use time::macros::datetime;

    /// An incident of one id, reported of a service at an hour.
    fn word(service: &str, hour: u8, ok: bool, moves: bool) -> Delivery {
        let at = datetime!(2026-03-02 00:00 UTC) + time::Duration::hours(hour.into());
        let failure =
            Failed { statuses: vec![Status { at, ok }], moved: moves.then_some(at), ..Failed::default() };
        Delivery {
            id: format!("{service} {hour}"),
            sender: Sender::Webhook,
            project: service.into(),
            team: None,
            hook: Some("pagerduty".into()),
            facts: vec![Fact::Failed { id: "pagerduty:Q1".into(), failure }],
        }
    }

    fn whose(reported: JournalContents) -> Vec<(String, usize)> {
        let all = reported.into_projects().into_values();
        all.filter_map(|(name, project)| Some((name, project.failures.get("pagerduty:Q1")?.statuses.len())))
            .collect()
    }

    #[test]
    fn an_incident_that_moves_is_the_newest_service_s_in_whichever_order_it_is_told() {
        let story =
            [word("cart", 10, false, true), word("search", 11, false, true), word("search", 12, true, true)];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut reported = JournalContents::default();
            let mut touched = BTreeSet::new();
            for number in order.into_iter().chain(order) {
                touched.append(&mut reported.add(story[number].clone()));
            }
            assert_eq!(touched.len(), 2);
            assert_eq!(whose(reported), [("search".to_owned(), 3)], "{order:?}");
        }
        // Two services' incidents of one number, at a sender that counts each by itself.
        let own = [word("cart", 10, false, false), word("search", 11, false, false)];
        assert_eq!(whose(JournalContents::of(own)), [("cart".to_owned(), 1), ("search".to_owned(), 1)]);
    }
}
