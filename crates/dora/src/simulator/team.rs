//! What kind of team it is: drawn once from its name and the seed, with a slow
//! drift over the year; and the addresses of its random numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};
use time::Date;

use super::super::draw::unit;
use super::calendar::{PLACES, Place};

/// One simulated team.
#[derive(Clone, Debug)]
pub struct Team {
    pub name: String,
    key: [u8; 32],
    /// What all teams of this seed share: the outages.
    pub(super) common: [u8; 32],
    /// 0: everything by hand, 1: on demand and without fear.
    pub maturity: f64,
    pub(super) place: Place,
    pub(super) services: Vec<String>,
    /// Planned deployments on a full working day.
    pub(super) rate: f64,
    /// Changes in a deployment, beyond the first one.
    pub(super) batch: f64,
    /// Median lead time of a change that is deployed alone, seconds.
    pub(super) lead: f64,
    /// Share of deployments of one change that fail.
    pub(super) failure: f64,
    /// Median recovery, seconds.
    pub(super) recovery: f64,
}

/// How a team does on a day, against its own average.
pub(super) struct Form {
    pub pace: f64,
    /// Above 1: changes wait longer, and more goes wrong.
    pub strain: f64,
}

const SUFFIXES: [&str; 6] = ["api", "worker", "web", "gateway", "jobs", "store"];

impl Team {
    pub fn new(name: &str, seed: u64) -> Self {
        let key = key(&[b"dorainfra events 1\0", &seed.to_le_bytes(), name.as_bytes()]);
        let common = key_of_all(seed);
        let mut random = ChaCha8Rng::from_seed(key);
        random.set_stream(PROFILE);
        let maturity = 0.05 + 0.9 * (unit(&mut random) + unit(&mut random)) / 2.0;
        let gap = 1.0 - maturity;
        let place = PLACES[index(unit(&mut random), PLACES.len())];
        // Most teams have one to three services; the suffixes begin anywhere.
        let count = 1 + index(unit(&mut random) * unit(&mut random), 5);
        let begin = index(unit(&mut random), SUFFIXES.len());
        let services =
            (0..count).map(|at| format!("{name}-{}", SUFFIXES[(begin + at) % SUFFIXES.len()])).collect();
        Self {
            name: name.to_owned(),
            key,
            common,
            maturity,
            place,
            services,
            rate: 0.12 + 8.0 * maturity * maturity * (0.5 + unit(&mut random)),
            batch: 0.3 + 9.0 * gap * gap * (0.5 + unit(&mut random)),
            lead: 3600.0 * (1.0 + 190.0 * gap * gap * (0.5 + unit(&mut random))),
            failure: 0.015 + 0.16 * gap * (0.5 + unit(&mut random)),
            recovery: 60.0 * (10.0 + 480.0 * gap * gap * (0.5 + unit(&mut random))),
        }
    }

    /// The names of its services; each is deployed by itself.
    pub fn services(&self) -> &[String] {
        &self.services
    }

    /// Random numbers of one date, and of nothing else.
    pub(super) fn random(&self, date: Date) -> ChaCha8Rng {
        dated(self.key, DAYS, date)
    }

    /// Random numbers of one date's outage, as it hits this team.
    pub(super) fn outage_random(&self, date: Date) -> ChaCha8Rng {
        dated(self.key, OUTAGES, date)
    }

    /// Random numbers of one date's outage, the same for all teams of the seed.
    pub(super) fn common_random(&self, date: Date) -> ChaCha8Rng {
        dated(self.common, OUTAGES, date)
    }

    pub(super) fn form(&self, date: Date) -> Form {
        let number = i64::from(date.to_julian_day());
        // Ups and downs over a few weeks, on a trend over half a year.
        let pace = 1.0 + 0.30 * self.course(number, 42, 0) + 0.25 * self.course(number, 182, 1);
        let strain = 1.0 + 0.25 * self.course(number, 56, 2) + 0.30 * self.course(number, 182, 3);
        Form { pace, strain }
    }

    /// A smooth course in -1..1 through random knots, `period` days apart.
    fn course(&self, number: i64, period: i64, course: u64) -> f64 {
        let knot = number.div_euclid(period);
        let position = number.rem_euclid(period) as f64 / period as f64;
        let (before, after) = (self.knot(knot, course), self.knot(knot + 1, course));
        let eased = position * position * (3.0 - 2.0 * position);
        before + (after - before) * eased
    }

    fn knot(&self, knot: i64, course: u64) -> f64 {
        let mut random = ChaCha8Rng::from_seed(self.key);
        random.set_stream(DRIFT + 4 * above_zero(knot) + course);
        2.0 * unit(&mut random) - 1.0
    }
}

// Streams of one key; a day has a stream of its own, so no day can reach
// another one's numbers however much happens on it.
const PROFILE: u64 = 0;
const DAYS: u64 = 1 << 40;
const OUTAGES: u64 = 2 << 40;
const DRIFT: u64 = 3 << 40;

fn dated(key: [u8; 32], kind: u64, date: Date) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::from_seed(key);
    random.set_stream(kind + above_zero(date.to_julian_day().into()));
    random
}

/// Julian days go below zero; streams do not.
fn above_zero(number: i64) -> u64 {
    (number + (1 << 24)).unsigned_abs()
}

fn key_of_all(seed: u64) -> [u8; 32] {
    key(&[b"dorainfra outages 1\0", &seed.to_le_bytes()])
}

fn key(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// A place in a list of `length`, from a number in 0..1.
pub(super) fn index(drawn: f64, length: usize) -> usize {
    ((drawn * length as f64) as usize).min(length.saturating_sub(1))
}
