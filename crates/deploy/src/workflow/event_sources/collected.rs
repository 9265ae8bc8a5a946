//! What a round over the sources came to.

use schemars::JsonSchema;
use serde::Serialize;

/// What was collected, by source.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Collected {
    pub sources: Vec<CollectedSource>,
    /// Sources that were not read: `git ../shop`.
    pub failed: Vec<String>,
    /// The file of events.
    pub file: String,
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
    /// Events that the file holds now.
    pub events: u64,
}

impl Collected {
    /// `git ../shop: 12 deployments, 40 changes, 2 failures, 1 recovery`
    pub fn summary(&self) -> String {
        let of = |one: &CollectedSource| {
            let counts = [
                (one.deployments, "deployment", "deployments"),
                (one.changes, "change", "changes"),
                (one.failures, "failure", "failures"),
                (one.recoveries, "recovery", "recoveries"),
            ];
            let counts =
                counts.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }));
            format!("{}: {}", one.source, counts.join(", "))
        };
        self.sources.iter().map(of).collect::<Vec<_>>().join("; ")
    }
}

/// Events that one source tells, by kind.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CollectedSource {
    /// `git ../shop`
    pub source: String,
    pub team: String,
    pub service: String,
    pub deployments: u64,
    pub rework: u64,
    pub changes: u64,
    pub failures: u64,
    pub recoveries: u64,
}
