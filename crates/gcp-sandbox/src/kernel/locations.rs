//! The regions and zones that there are.

/// Regions with the letters of their zones and the third byte of their subnetwork.
const REGIONS: [(&str, &str, u8); 41] = [
    ("africa-south1", "abc", 218),
    ("asia-east1", "abc", 140),
    ("asia-east2", "abc", 170),
    ("asia-northeast1", "abc", 146),
    ("asia-northeast2", "abc", 174),
    ("asia-northeast3", "abc", 178),
    ("asia-south1", "abc", 160),
    ("asia-south2", "abc", 190),
    ("asia-southeast1", "abc", 148),
    ("asia-southeast2", "abc", 184),
    ("australia-southeast1", "abc", 152),
    ("australia-southeast2", "abc", 192),
    ("europe-central2", "abc", 186),
    ("europe-north1", "abc", 166),
    ("europe-southwest1", "abc", 204),
    ("europe-west1", "bcd", 132),
    ("europe-west10", "abc", 214),
    ("europe-west12", "abc", 210),
    ("europe-west2", "abc", 154),
    ("europe-west3", "abc", 156),
    ("europe-west4", "abc", 164),
    ("europe-west6", "abc", 172),
    ("europe-west8", "abc", 198),
    ("europe-west9", "abc", 200),
    ("me-central1", "abc", 212),
    ("me-central2", "abc", 216),
    ("me-west1", "abc", 208),
    ("northamerica-northeast1", "abc", 162),
    ("northamerica-northeast2", "abc", 188),
    ("northamerica-south1", "abc", 224),
    ("southamerica-east1", "abc", 158),
    ("southamerica-west1", "abc", 194),
    ("us-central1", "abcf", 128),
    ("us-east1", "bcd", 142),
    ("us-east4", "abc", 150),
    ("us-east5", "abc", 202),
    ("us-south1", "abc", 206),
    ("us-west1", "abc", 138),
    ("us-west2", "abc", 168),
    ("us-west3", "abc", 180),
    ("us-west4", "abc", 182),
];

pub fn regions() -> impl Iterator<Item = &'static str> {
    REGIONS.iter().map(|(region, _, _)| *region)
}

pub fn zones() -> impl Iterator<Item = String> {
    REGIONS
        .iter()
        .flat_map(|(region, letters, _)| letters.chars().map(move |letter| format!("{region}-{letter}")))
}

pub fn is_region(name: &str) -> bool {
    regions().any(|region| region == name)
}

pub fn is_zone(name: &str) -> bool {
    zones().any(|zone| zone == name)
}

pub fn region_of(zone: &str) -> &str {
    zone.rsplit_once('-').map_or(zone, |(region, _)| region)
}

/// The range of the subnetwork that a network of auto mode has in a region.
pub fn automatic_range(region: &str) -> String {
    let third = REGIONS.iter().find(|(name, ..)| *name == region).map_or(0, |(_, _, third)| *third);
    format!("10.{third}.0.0/20")
}
