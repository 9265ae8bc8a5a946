//! Custom machine types: `n2-custom-4-8192`, `custom-2-4096` (N1), `e2-custom-small-2048`.

/// The series that take custom types: name, the most CPUs, MB of memory for each
/// CPU (least and most), and whether a suffix `-ext` lifts the most.
const SERIES: [(&str, u32, u32, u32, bool); 6] = [
    ("n1", 96, 922, 6656, true),
    ("n2", 128, 512, 8192, true),
    ("n2d", 224, 512, 8192, true),
    ("n4", 80, 2048, 8192, true),
    ("n4d", 96, 2048, 8192, true),
    ("e2", 32, 512, 8192, false),
];

/// CPUs and MB of memory of a custom type; `None`: it is none that Google makes.
pub fn size(name: &str) -> Option<(u32, u32)> {
    let (series, rest) = match name.strip_prefix("custom-") {
        Some(rest) => ("n1", rest),
        None => name.split_once("-custom-")?,
    };
    let (_, most_cpus, least, most, extends) = SERIES.iter().find(|(each, ..)| *each == series)?;
    let (rest, extended) = match rest.strip_suffix("-ext") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let (cpus, memory) = rest.split_once('-')?;
    let memory: u32 = memory.parse().ok()?;
    if !memory.is_multiple_of(256) || (extended && !extends) {
        return None;
    }
    // Shared cores, which E2 has by name.
    let shared = [("micro", 1024, 2048), ("small", 2048, 4096), ("medium", 4096, 8192)];
    if let Some((_, least, most)) = shared.iter().find(|(each, ..)| series == "e2" && *each == cpus) {
        return (*least..=*most).contains(&memory).then_some((2, memory));
    }
    let cpus: u32 = cpus.parse().ok()?;
    let even = cpus.is_multiple_of(2) || (cpus == 1 && series == "n1");
    let enough = memory >= (cpus * least).next_multiple_of(256);
    let not_too_much = extended || memory <= cpus * most;
    (even && (1..=*most_cpus).contains(&cpus) && enough && not_too_much).then_some((cpus, memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_types_have_the_limits_of_their_series() {
        for (name, expected) in [
            ("n2-custom-4-8192", Some((4, 8192))),
            ("custom-1-3840", Some((1, 3840))),
            ("custom-2-4096", Some((2, 4096))),
            ("e2-custom-small-2048", Some((2, 2048))),
            ("e2-custom-4-4096", Some((4, 4096))),
            ("n2-custom-2-32768-ext", Some((2, 32_768))),
            // Odd, beside 256 MB, too little, too much, not extended, no such series.
            ("n2-custom-3-8192", None),
            ("n2-custom-4-8000", None),
            ("n2-custom-4-1024", None),
            ("n2-custom-2-32768", None),
            ("e2-custom-2-32768-ext", None),
            ("c3-custom-4-8192", None),
            ("e2-medium", None),
        ] {
            assert_eq!(size(name), expected, "{name}");
        }
    }
}
