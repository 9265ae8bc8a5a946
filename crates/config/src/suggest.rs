//! "Did you mean": the nearest of the allowed names.

use strsim::osa_distance;

use super::schema::KEYS;

/// The candidate that `typed` most likely stands for, if one is near enough.
/// `diskGb` and `disk-gb` count as `disk_gb`.
pub(super) fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = plain(typed);
    // A third of the letters may be wrong: past that a suggestion is a guess.
    let limit = (typed.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (osa_distance(&typed, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < plain(candidate).chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The key that an unknown path most likely stands for; its name may be right, and its section not.
pub(super) fn key_like(path: &str) -> Option<&'static str> {
    let paths = || KEYS.iter().map(|key| key.path);
    let name = path.rsplit('.').next().unwrap_or(path);
    let in_any_section = || {
        let name = nearest(name, KEYS.iter().map(|key| key.split().1))?;
        paths().find(|path| path.rsplit('.').next() == Some(name))
    };
    nearest(path, paths()).or_else(in_any_section)
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let keys = ["disk_gb", "disk_type", "bucket", "bucket_location", "name", "zones"];
        for (typed, expected) in [
            ("disk", None),
            ("diskGb", Some("disk_gb")),
            ("disk-size-gb", None),
            ("dsik_gb", Some("disk_gb")),
            ("bukcet", Some("bucket")),
            ("zone", Some("zones")),
            ("nmae", Some("name")),
            ("x", None),
            ("", None),
            ("colour", None),
        ] {
            assert_eq!(nearest(typed, keys), expected, "{typed}");
        }
    }
}
