//! docs/commands.md is made from the commands themselves; to write it again:
//! `cargo test --test project reference -- --ignored`.

use std::path::Path;

fn page() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md")
}

#[test]
fn the_command_reference_is_current() {
    let current = std::fs::read_to_string(page()).unwrap();
    assert!(
        current == dorainfra::commands::reference(),
        "docs/commands.md is stale: cargo test --test project reference -- --ignored"
    );
}

#[test]
#[ignore = "writes docs/commands.md"]
fn write_the_command_reference() {
    std::fs::write(page(), dorainfra::commands::reference()).unwrap();
}
