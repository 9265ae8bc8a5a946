//! Whose a source's events are, and the patterns that tell a hotfix or an
//! incident from everyday work.

use wildmatch::WildMatch;

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
        format!("{}/{}@", self.team, self.service)
    }
}

/// Texts with `*` (anything) and `?` (one character); case doesn't matter.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<WildMatch>);

impl Patterns {
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Self {
        let pattern = |text: S| WildMatch::new_case_insensitive(text.as_ref());
        Self(patterns.into_iter().map(pattern).collect())
    }

    pub fn matches(&self, text: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(text))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
