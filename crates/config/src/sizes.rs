//! How large Mimir's limits are where nobody says: from teams and days. A limit
//! is there to stop a mistake, so it leaves room for everything that is meant.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    pub max_series: u32,
    /// Samples per second.
    pub ingestion_rate: u32,
    pub ingestion_burst: u32,
    /// How far back samples may be written: a Prometheus duration.
    pub out_of_order_window: String,
}

/// Stored series of one team, rounded up: what the simulator makes is counted
/// by a test.
pub const SERIES_PER_TEAM: u32 = 50;
/// And of its native histograms, where they are wanted.
pub const NATIVE_SERIES_PER_TEAM: u32 = 2;
/// And by service, of a team with five of them.
pub const BY_SERVICE_SERIES_PER_TEAM: u32 = 5 * 26;
pub const NATIVE_BY_SERVICE_SERIES_PER_TEAM: u32 = 5 * 2;
/// Series of the parts' own metrics: Mimir's, the Pushgateway's, the agent's.
const OWN_SERIES: u32 = 20_000;

/// How far back the out-of-order window reaches beyond the history.
const WINDOW_MARGIN: u32 = 35;
const YEAR: u32 = 365;
/// How late a live sample may be: the collector keeps what is not accepted for four
/// hours, and looks each two hours whether it has kept something for too long. What
/// the ruler writes meanwhile makes all of that out of order.
const LATEST: &str = "6h";

/// A window that holds a history of `days` which goes through the ingester.
pub fn history_window(days: u32) -> String {
    format!("{}d", (days + WINDOW_MARGIN).max(400))
}

/// What a team has at most, of lead times and recoveries as they are wanted.
pub fn series_per_team(native: bool, by_service: bool) -> u32 {
    let more = [
        (native, NATIVE_SERIES_PER_TEAM),
        (by_service, BY_SERVICE_SERIES_PER_TEAM),
        (native && by_service, NATIVE_BY_SERVICE_SERIES_PER_TEAM),
    ];
    SERIES_PER_TEAM + more.iter().filter(|(wanted, _)| *wanted).map(|(_, series)| series).sum::<u32>()
}

/// For a history of `days` of so many teams; `by_ingester`: it is written like live
/// samples, and not as blocks.
pub(super) fn limits(teams: u32, days: u32, by_ingester: bool, by_service: bool) -> Limits {
    let series = teams * series_per_team(false, by_service);
    // A sample a day and the one that begins the first day.
    let history = u64::from(series) * u64::from(days + 1);
    let rate = u32::try_from(history / 60).unwrap_or(u32::MAX).clamp(200_000, 5_000_000);
    Limits {
        max_series: (2 * (series + OWN_SERIES)).max(150_000),
        ingestion_rate: rate,
        ingestion_burst: rate * 10,
        out_of_order_window: if by_ingester { history_window(days) } else { LATEST.into() },
    }
}

pub(super) fn retention(days: u32) -> String {
    if days < 2 * YEAR { "2y".into() } else { format!("{}d", days + YEAR) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_deployment_has_room_and_a_large_one_has_what_it_needs() {
        let small = limits(39, 365, false, false);
        assert_eq!(
            (small.max_series, small.ingestion_rate, small.ingestion_burst),
            (150_000, 200_000, 2_000_000)
        );
        assert_eq!((small.out_of_order_window.as_str(), retention(365).as_str()), ("6h", "2y"));
        assert_eq!(limits(39, 365, true, false).out_of_order_window, "400d");
        let large = limits(10_000, 3650, true, false);
        assert_eq!((large.max_series, large.ingestion_rate), (1_040_000, 5_000_000));
        assert_eq!(limits(1000, 365, false, true).max_series, 2 * (180_000 + 20_000));
        assert_eq!((large.out_of_order_window.as_str(), retention(3650).as_str()), ("3685d", "4015d"));
    }
}
