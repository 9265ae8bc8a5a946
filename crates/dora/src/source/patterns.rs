//! Patterns of names and titles, as a user writes them.

use wildmatch::WildMatch;

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
