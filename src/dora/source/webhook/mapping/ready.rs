//! The mappings that come with the program.

use std::path::Path;

use include_dir::{Dir, include_dir};

use super::Mapping;

static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/mappings");

/// A ready mapping, by its name.
pub fn ready(name: &str) -> Option<Mapping> {
    let file = FILES.get_file(format!("{name}.yaml"))?;
    Mapping::parse(file.contents_utf8()?).ok()
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
