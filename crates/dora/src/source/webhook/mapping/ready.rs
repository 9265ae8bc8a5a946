//! The mappings that come with the program.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use include_dir::{Dir, include_dir};

use super::Mapping;

static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../mappings");

/// Each is read once: strangers may ask for their names.
static READY: LazyLock<BTreeMap<&str, Mapping>> = LazyLock::new(|| {
    let read = |name: &'static str| {
        let file = FILES.get_file(format!("{name}.yaml"))?;
        Some((name, Mapping::parse(file.contents_utf8()?).ok()?))
    };
    names().filter_map(read).collect()
});

/// A ready mapping, by its name.
pub fn ready(name: &str) -> Option<Mapping> {
    READY.get(name).cloned()
}

/// The names of all ready mappings.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.files().filter_map(|file| Path::new(file.path()).file_stem()?.to_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_can_be_read_and_says_where_its_payload_is_described() {
        assert!(names().count() >= 9);
        for file in FILES.files() {
            let text = file.contents_utf8().unwrap();
            let mapping =
                Mapping::parse(text).unwrap_or_else(|why| panic!("{}: {why}", file.path().display()));
            assert!(mapping.documented.starts_with("https://"), "{}", file.path().display());
            let name = file.path().file_stem().unwrap().to_str().unwrap();
            assert!(ready(name).is_some());
        }
        assert!(ready("another").is_none());
    }
}
