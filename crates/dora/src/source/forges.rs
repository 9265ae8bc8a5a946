//! The forges that there are. Who reads, receives or finds tokens goes by this list.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::forge::Forge;
use super::github::Github;
use super::gitlab::Gitlab;

pub const FORGES: &[&dyn Forge] = &[&Github, &Gitlab];

/// A forge by its name.
pub fn named(name: &str) -> Option<&'static dyn Forge> {
    FORGES.iter().copied().find(|forge| forge.name() == name)
}

/// One of them: a forge is known by its name.
#[derive(Clone, Copy)]
pub struct Known(pub &'static dyn Forge);

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for Known {}

impl PartialOrd for Known {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Known {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name().cmp(other.0.name())
    }
}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name().hash(state);
    }
}
