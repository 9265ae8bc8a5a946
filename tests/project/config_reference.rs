//! docs/configuration.md is what the table of keys says.

use std::path::Path;

use dorainfra_config::reference;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

#[test]
fn the_reference_is_current() {
    let committed = std::fs::read_to_string(Path::new(PAGE)).unwrap();
    assert!(
        committed == reference(),
        "docs/configuration.md is not what crates/config/src/schema.rs says; write it again with\n    \
         cargo test --test project config_reference -- --ignored"
    );
}

/// Not a check: writes the page again.
#[test]
#[ignore = "writes docs/configuration.md"]
fn write_the_reference() {
    std::fs::write(Path::new(PAGE), reference()).unwrap();
}
