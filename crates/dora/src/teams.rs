//! The names of simulated teams.

/// The most teams that one deployment is meant for.
pub const MAX_TEAMS: u32 = 10_000;

const NAMED: [&str; 39] = [
    "accounts",
    "analytics",
    "api-gateway",
    "audit",
    "authentication",
    "billing",
    "booking",
    "catalogue",
    "checkout",
    "compliance",
    "content",
    "crm",
    "customer-portal",
    "data-platform",
    "delivery",
    "developer-experience",
    "documents",
    "fraud",
    "identity",
    "insights",
    "inventory",
    "ledger",
    "logistics",
    "loyalty",
    "marketing",
    "messaging",
    "mobile-android",
    "mobile-ios",
    "notifications",
    "observability",
    "orders",
    "partner-api",
    "payments",
    "pricing",
    "recommendations",
    "reporting",
    "search",
    "subscriptions",
    "web-storefront",
];

/// The first `count` team names: 39 that read well, then `team-0040` and on.
pub fn teams(count: u32) -> Vec<String> {
    (0..count as usize)
        .map(|index| match NAMED.get(index) {
            Some(name) => (*name).to_owned(),
            None => format!("team-{:04}", index + 1),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_up_to_the_largest_size() {
        let names = teams(MAX_TEAMS);
        assert_eq!(names.len(), MAX_TEAMS as usize);
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
        assert_eq!(&names[38..40], ["web-storefront", "team-0040"]);
    }
}
