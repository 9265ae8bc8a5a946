//! The names that machines have in their network. At Google its DNS answers
//! them; on this host nobody does, and a program asks this host. So a service
//! finds addresses where its environment was given names.

use std::borrow::Cow;
use std::sync::Arc;

use crate::machines::World;

/// From such a name to an address, while there is such a machine.
pub(super) type Resolve = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// `NAME.ZONE.c.PROJECT.internal`, as Google's DNS knows them.
pub(super) fn of_the_world(world: Arc<dyn World>, project: String) -> Resolve {
    Box::new(move |name| world.resolve(&project, name))
}

/// The text with an address for each name that has one.
pub(super) fn resolved(text: &str, resolve: &Resolve) -> String {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        let (word, more) = rest.split_at(end);
        let known = Some(word).filter(|word| word.ends_with(".internal")).and_then(resolve);
        out.push_str(&known.map_or(Cow::Borrowed(word), Cow::Owned));
        let between = more.find(inside).unwrap_or(more.len());
        out.push_str(&more[..between]);
        rest = &more[between..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_addresses_and_all_else_stays() {
        let resolve: Resolve = Box::new(|name| (name == "a.z.c.p.internal").then(|| "127.0.0.9".to_owned()));
        for (text, expected) in [
            ("a.z.c.p.internal,b.z.c.p.internal", "127.0.0.9,b.z.c.p.internal"),
            ("http://a.z.c.p.internal:7946/x", "http://127.0.0.9:7946/x"),
            ("mimir.dora.internal", "mimir.dora.internal"),
            (" ü, ", " ü, "),
            ("", ""),
        ] {
            assert_eq!(resolved(text, &resolve), expected);
        }
    }
}
