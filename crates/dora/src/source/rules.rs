//! Whose a source's events are, and what tells a hotfix or an incident from everyday work.

use super::patterns::Patterns;
use super::releases::Exclude;

/// Whose a source's events are: one service of one team, in one environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub team: String,
    pub service: String,
    /// As events name it. A source that knows environments takes those of this name.
    pub environment: String,
}

impl Owner {
    /// What the ids of this owner's events begin with: tags and issue numbers are
    /// unique in their own project only.
    pub fn prefix(&self) -> String {
        Self::prefix_of(&self.team, &self.service)
    }

    pub(super) fn prefix_of(team: &str, service: &str) -> String {
        format!("{team}/{service}@")
    }
}

/// What of a project's facts means what.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Titles of changes, and names of deployments (tags, branches), that mend
    /// what users suffered from.
    pub hotfix: Patterns,
    /// Titles of changes that take back another one.
    pub revert: Patterns,
    /// Labels of merged requests that mend what users suffered from.
    pub hotfix_labels: Patterns,
    /// Labels of issues that are failures.
    pub incident_labels: Patterns,
    /// Tags and releases that are no deployments. What they brought is the next one's.
    pub exclude: Exclude,
}

impl Rules {
    pub const HOTFIX: [&str; 3] = ["hotfix*", "merge*hotfix*", "*[hotfix]*"];
    pub const REVERT: [&str; 2] = ["revert *", "revert: *"];
    pub const HOTFIX_LABELS: [&str; 1] = ["hotfix"];
    pub const INCIDENT_LABELS: [&str; 1] = ["incident"];
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            hotfix: Patterns::new(Self::HOTFIX),
            revert: Patterns::new(Self::REVERT),
            hotfix_labels: Patterns::new(Self::HOTFIX_LABELS),
            incident_labels: Patterns::new(Self::INCIDENT_LABELS),
            exclude: Exclude::Usual,
        }
    }
}
