//! Every method of the APIs by its path, served or not: one that is not served is
//! refused by its name, and a path of no method is not found.

use std::sync::LazyLock;

use super::parse::segment;
use super::{Segment, match_path, percent_decode};

struct Known {
    id: String,
    verb: http::Method,
    path: Vec<Segment>,
}

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let lines = include_str!("known.contract").lines().filter(|line| !line.starts_with('#'));
    let known = lines.map(|line| {
        let mut words = line.split(' ').skip(1);
        let (Some(id), Some(verb), Some(path)) = (words.next(), words.next(), words.next()) else {
            unreachable!("the table names id, verb and path: {line}")
        };
        let verb = verb.parse().expect("the table names HTTP methods");
        Known { id: id.to_owned(), verb, path: path.split('/').map(segment).collect() }
    });
    known.collect()
});

/// The id of the method at `path` (still percent-encoded), whoever serves it.
pub fn id_of(verb: &http::Method, path: &str) -> Option<&'static str> {
    let segments: Vec<String> = path.trim_start_matches('/').split('/').map(percent_decode).collect();
    let found = KNOWN.iter().find(|known| known.verb == verb && match_path(&known.path, &segments).is_some());
    found.map(|known| known.id.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::CONTRACT;
    use super::*;

    #[test]
    fn what_is_not_served_has_a_name() {
        let id = |path: &str| id_of(&http::Method::GET, path);
        assert_eq!(id("/compute/v1/projects/p/global/urlMaps/m"), Some("compute.urlMaps.get"));
        assert_eq!(id("/storage/v1/b/bucket/acl"), Some("storage.bucketAccessControls.list"));
        assert_eq!(id("/storage/v1/nothing"), None);
    }

    #[test]
    fn what_is_served_is_known() {
        let ids: std::collections::BTreeSet<&str> = KNOWN.iter().map(|known| known.id.as_str()).collect();
        assert!(CONTRACT.methods().all(|method| ids.contains(method.id.as_str())));
    }
}
