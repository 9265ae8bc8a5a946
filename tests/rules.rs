//! The recording rules: Prometheus's own tool runs their unit tests.

// In a test a panic is the report; clippy knows that of #[test] functions only.
#![allow(clippy::unwrap_used)]

mod collector;

use std::path::Path;
use std::process::Command;

#[test]
fn recording_rules_compute_what_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mimir/rules");
    for arguments in [["check", "rules", "dora.yaml"], ["test", "rules", "dora_test.yaml"]] {
        let output = Command::new(collector::program("promtool"))
            .args(arguments)
            .current_dir(&folder)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }
}
