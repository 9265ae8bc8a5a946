//! What begins on one date of one team.

use rand_chacha::ChaCha8Rng;
use time::{Date, Duration, OffsetDateTime, UtcOffset};

use super::super::draw::{exponential, normal, poisson, unit};
use super::super::events::{Change, Deployment, Event, Failure, Kind, PRODUCTION, Recovery};
use super::team::{Form, Team, index};
use super::{Episode, LONGEST_LEAD_DAYS, calendar};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;

/// Days between two outages that hit many teams, on average.
const OUTAGE_EVERY_DAYS: f64 = 25.0;

impl Team {
    /// The episodes that begin on a date of the team's own calendar.
    pub fn day(&self, date: Date) -> Vec<Episode> {
        let mut random = self.random(date);
        let form = self.form(date);
        let offset = self.place.offset(date);
        let mean = self.rate * form.pace * self.place.intensity(date);
        let count = poisson(&mut random, mean);
        let mut times: Vec<OffsetDateTime> = (0..count).map(|_| instant(&mut random, date, offset)).collect();
        times.sort_unstable();
        let mut episodes: Vec<Episode> = (1..)
            .zip(times)
            .map(|(number, at)| {
                let id = format!("{}-{date}-{number}", self.name);
                Planned { team: self, id, at, form: &form }.episode(&mut random)
            })
            .collect();
        episodes.extend(self.outage(date));
        episodes
    }

    /// An outage of something that teams share: a failure of each team that it
    /// hits, caused by none of their deployments.
    fn outage(&self, date: Date) -> Option<Episode> {
        let mut common = self.common_random(date);
        if unit(&mut common) * OUTAGE_EVERY_DAYS >= 1.0 {
            return None;
        }
        let reach = 0.1 + 0.5 * unit(&mut common);
        let begun = instant(&mut common, date, UtcOffset::UTC);
        let lasted = (45.0 * MINUTE * lognormal(&mut common, 1.0)).clamp(5.0 * MINUTE, 2.0 * DAY);
        let mut random = self.outage_random(date);
        if unit(&mut random) >= reach {
            return None;
        }
        let service = self.services[index(unit(&mut random), self.services.len())].clone();
        let noticed = begun + seconds(10.0 * MINUTE * unit(&mut random));
        let over = begun + seconds(lasted + 15.0 * MINUTE * (1.0 + unit(&mut random)));
        let id = format!("outage-{date}-{}", self.name);
        Some(Episode(vec![
            Event::Failure(Failure {
                id: id.clone(),
                team: self.name.clone(),
                service,
                at: self.local(noticed),
                deployment: None,
            }),
            Event::Recovery(Recovery { failure: id, at: self.local(over), deployment: None }),
        ]))
    }
}

impl Team {
    /// As the team's clocks show it.
    fn local(&self, at: OffsetDateTime) -> OffsetDateTime {
        at.to_offset(self.place.offset(at.to_offset(UtcOffset::UTC).date()))
    }
}

/// A planned deployment, and what comes of it.
struct Planned<'a> {
    team: &'a Team,
    id: String,
    at: OffsetDateTime,
    form: &'a Form,
}

impl Planned<'_> {
    fn episode(self, random: &mut ChaCha8Rng) -> Episode {
        let team = self.team;
        let service = team.services[index(unit(random), team.services.len())].clone();
        let mean = team.batch * (0.4 + 1.2 * unit(random));
        let size = 1 + poisson(random, mean).min(40);
        let mut events = Vec::with_capacity(size as usize + 1);
        let mut changes = Vec::with_capacity(size as usize);
        for number in 1..=size {
            let id = format!("{}.{number}", self.id);
            // Who collects many changes lets each of them wait.
            let waits = self.form.strain * (1.0 + 0.08 * (size - 1) as f64);
            let lead = (team.lead * waits * lognormal(random, 0.8))
                .clamp(5.0 * MINUTE, LONGEST_LEAD_DAYS as f64 * DAY);
            changes.push(id.clone());
            events.push(self.change(id, &service, self.at - seconds(lead)));
        }
        events.push(self.deployment(self.id.clone(), &service, self.at, Kind::Planned, changes));

        let risk = team.failure * self.form.strain * (0.85 + 0.15 * size as f64);
        if unit(random) < risk.min(0.6) {
            self.fail(random, &service, &mut events);
        }
        events.sort_by_key(Event::at);
        Episode(events)
    }

    /// The failure, the rework that mends it, and now and then a rework that
    /// fails itself and needs another one.
    fn fail(&self, random: &mut ChaCha8Rng, service: &str, events: &mut Vec<Event>) {
        let noticed = (20.0 * MINUTE * lognormal(random, 1.2)).clamp(MINUTE, 2.0 * DAY);
        let lasted =
            (self.team.recovery * self.form.strain * lognormal(random, 1.2)).clamp(4.0 * MINUTE, 20.0 * DAY);
        let begun = self.at + seconds(noticed);
        let over = begun + seconds(lasted);
        // The fix runs a moment before users are well again.
        let mended = over - seconds(MINUTE + 2.0 * MINUTE * unit(random));
        let failure = format!("{}-failure", self.id);
        let fix = format!("{}-fix", self.id);
        events.push(self.failure(failure.clone(), service, begun, &self.id));

        if unit(random) < 0.5 * self.team.failure {
            let first = format!("{}-attempt", self.id);
            let tried = begun + seconds(lasted * (0.3 + 0.2 * unit(random)));
            let seen = tried + seconds(lasted * 0.1 * unit(random));
            self.rework(random, first.clone(), service, (begun, tried), events);
            let again = format!("{first}-failure");
            events.push(self.failure(again.clone(), service, seen, &first));
            events.push(self.recovery(again, over, &fix));
        }
        self.rework(random, fix.clone(), service, (begun, mended), events);
        events.push(self.recovery(failure, over, &fix));
    }

    /// A deployment of one change that was made after the failure began.
    fn rework(
        &self,
        random: &mut ChaCha8Rng,
        id: String,
        service: &str,
        (begun, at): (OffsetDateTime, OffsetDateTime),
        events: &mut Vec<Event>,
    ) {
        let whole = (at - begun).whole_seconds() as f64;
        let lead = whole * (0.1 + 0.5 * unit(random));
        let change = format!("{id}.1");
        events.push(self.change(change.clone(), service, at - seconds(lead)));
        events.push(self.deployment(id, service, at, Kind::Rework, vec![change]));
    }

    fn change(&self, id: String, service: &str, at: OffsetDateTime) -> Event {
        Event::Change(Change {
            id,
            team: self.team.name.clone(),
            service: service.to_owned(),
            at: self.team.local(at),
        })
    }

    fn deployment(
        &self,
        id: String,
        service: &str,
        at: OffsetDateTime,
        kind: Kind,
        changes: Vec<String>,
    ) -> Event {
        Event::Deployment(Deployment {
            id,
            team: self.team.name.clone(),
            service: service.to_owned(),
            environment: PRODUCTION.to_owned(),
            at: self.team.local(at),
            kind,
            changes,
        })
    }

    fn failure(&self, id: String, service: &str, at: OffsetDateTime, deployment: &str) -> Event {
        Event::Failure(Failure {
            id,
            team: self.team.name.clone(),
            service: service.to_owned(),
            at: self.team.local(at),
            deployment: Some(deployment.to_owned()),
        })
    }

    fn recovery(&self, failure: String, at: OffsetDateTime, deployment: &str) -> Event {
        let at = self.team.local(at);
        Event::Recovery(Recovery { failure, at, deployment: Some(deployment.to_owned()) })
    }
}

/// A moment of a date, as its hours are weighted.
fn instant(random: &mut ChaCha8Rng, date: Date, offset: UtcOffset) -> OffsetDateTime {
    let hours = calendar::hours(date);
    let total: u32 = hours.iter().sum();
    let mut drawn = (unit(random) * f64::from(total)) as u32;
    let mut hour = 0;
    for weight in hours {
        if drawn < *weight {
            break;
        }
        drawn -= weight;
        hour += 1;
    }
    date.midnight().assume_offset(offset) + seconds(f64::from(hour) * HOUR + (unit(random) * HOUR).floor())
}

/// Log-normal with median 1.
fn lognormal(random: &mut ChaCha8Rng, sigma: f64) -> f64 {
    exponential(sigma * normal(random))
}

/// Whole seconds.
fn seconds(seconds: f64) -> Duration {
    Duration::seconds(seconds.floor() as i64)
}
