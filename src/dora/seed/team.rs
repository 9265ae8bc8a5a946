//! One team's days: what kind of team it is, and what happened to it when.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};
use time::{Date, Month, Weekday};

use super::super::draw::{exponential, normal, poisson, unit};

/// What happened on one day, in integers: sums of them do not depend on order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Day {
    pub deployments: u64,
    pub failures: u64,
    pub lead_time_ms: u64,
    pub recovery_seconds: u64,
}

impl Day {
    pub fn add(&mut self, other: &Day) {
        self.deployments += other.deployments;
        self.failures += other.failures;
        self.lead_time_ms += other.lead_time_ms;
        self.recovery_seconds += other.recovery_seconds;
    }

    pub fn subtract(&mut self, other: &Day) {
        self.deployments -= other.deployments;
        self.failures -= other.failures;
        self.lead_time_ms -= other.lead_time_ms;
        self.recovery_seconds -= other.recovery_seconds;
    }
}

/// What kind of team it is, drawn from its name and the seed.
pub(super) struct Profile {
    key: [u8; 32],
    /// 0: everything by hand, 1: on demand and without fear.
    pub maturity: f64,
    /// Deployments on a full working day, before drift.
    rate: f64,
    /// Median lead time, hours.
    lead_hours: f64,
    /// Share of deployments that fail.
    failure: f64,
    /// Median recovery, minutes.
    recovery_minutes: f64,
}

impl Profile {
    pub fn of(team: &str, seed: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"dorainfra seed 1\0");
        hash.update(seed.to_le_bytes());
        hash.update(team.as_bytes());
        let key: [u8; 32] = hash.finalize().into();
        let mut random = ChaCha8Rng::from_seed(key);
        random.set_stream(PROFILE_STREAM);
        let maturity = 0.05 + 0.9 * (unit(&mut random) + unit(&mut random)) / 2.0;
        let gap = 1.0 - maturity;
        Self {
            key,
            maturity,
            rate: 0.25 + 9.0 * maturity * maturity * (0.5 + unit(&mut random)),
            lead_hours: 1.5 + 260.0 * gap * gap * (0.5 + unit(&mut random)),
            failure: 0.02 + 0.18 * gap * (0.5 + unit(&mut random)),
            recovery_minutes: 8.0 + 520.0 * gap * gap * (0.5 + unit(&mut random)),
        }
    }

    pub fn source(&self) -> Source {
        let mut day = ChaCha8Rng::from_seed(self.key);
        day.set_stream(DAY_STREAM);
        let mut drift = ChaCha8Rng::from_seed(self.key);
        drift.set_stream(DRIFT_STREAM);
        Source { day, drift }
    }

    pub fn day(&self, source: &mut Source, date: Date) -> Day {
        let number = i64::from(date.to_julian_day());
        // Slow and slower: a quarter's ups and downs over half a year's trend.
        let pace = 1.0 + 0.30 * source.drift(number, 42, 0) + 0.25 * source.drift(number, 182, 1);
        let health = 1.0 + 0.25 * source.drift(number, 56, 2) + 0.20 * source.drift(number, 182, 3);

        let random = source.at(number);
        let mut day =
            Day { deployments: poisson(random, self.rate * pace * calendar(date)), ..Day::default() };
        for _ in 0..day.deployments {
            // A rare deployment carries more changes, so it waited longer and fails more.
            let batch = 0.5 + unit(random) + (1.0 - self.maturity) * unit(random);
            let lead_hours = self.lead_hours * health * batch * exponential(0.7 * normal(random));
            day.lead_time_ms += (lead_hours * 3_600_000.0).round() as u64;
            if unit(random) < self.failure * health * (0.5 + 0.5 * batch) {
                day.failures += 1;
                let minutes = self.recovery_minutes * health * exponential(0.9 * normal(random));
                day.recovery_seconds += ((minutes * 60.0).round() as u64).max(60);
            }
        }
        day
    }
}

const PROFILE_STREAM: u64 = 0;
const DAY_STREAM: u64 = 1;
const DRIFT_STREAM: u64 = 2;
/// Words (u32) kept apart for each day; the busiest day takes a few hundred.
const WORDS_PER_DAY: u128 = 4096;

/// Addressed randomness of one team: a position for each day and each knot.
pub(super) struct Source {
    day: ChaCha8Rng,
    drift: ChaCha8Rng,
}

impl Source {
    fn at(&mut self, number: i64) -> &mut ChaCha8Rng {
        self.day.set_word_pos(offset(number) * WORDS_PER_DAY);
        &mut self.day
    }

    /// A smooth course in -1..1 through random knots, `period` days apart.
    fn drift(&mut self, number: i64, period: i64, course: u128) -> f64 {
        let knot = number.div_euclid(period);
        let position = number.rem_euclid(period) as f64 / period as f64;
        let (before, after) = (self.knot(knot, course), self.knot(knot + 1, course));
        let eased = position * position * (3.0 - 2.0 * position);
        before + (after - before) * eased
    }

    fn knot(&mut self, knot: i64, course: u128) -> f64 {
        self.drift.set_word_pos((offset(knot) * 8 + course) * 2);
        2.0 * unit(&mut self.drift) - 1.0
    }
}

/// Julian days go below zero; positions in a stream do not.
fn offset(number: i64) -> u128 {
    u128::from((number + (1 << 24)).unsigned_abs())
}

/// How much of a full working day a date is.
pub(super) fn calendar(date: Date) -> f64 {
    let freeze = (date.month() == Month::December && date.day() >= 20)
        || (date.month() == Month::January && date.day() <= 2);
    if freeze {
        return 0.04;
    }
    match date.weekday() {
        Weekday::Monday => 0.9,
        Weekday::Tuesday | Weekday::Wednesday => 1.15,
        Weekday::Thursday => 1.1,
        Weekday::Friday => 0.6,
        Weekday::Saturday => 0.05,
        Weekday::Sunday => 0.04,
    }
}
