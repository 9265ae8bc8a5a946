//! What `scripts/setup --tests` gets for tests.

use std::path::{Path, PathBuf};

/// Something below `.tools/`; `None`, with the reason told, where it is not
/// installed. In CI that is a failure.
#[allow(clippy::print_stderr, reason = "a skipped test says why")]
pub fn installed(what: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools").join(what);
    if path.exists() {
        return Some(path);
    }
    #[expect(clippy::disallowed_methods, reason = "CI says of itself that it is CI")]
    let ci = std::env::var_os("CI").is_some();
    assert!(!ci, ".tools/{what} is not there: scripts/setup --tests");
    eprintln!("skipped: .tools/{what} is not there (scripts/setup --tests)");
    None
}
