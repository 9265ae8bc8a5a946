//! The events of many teams in one order of time, made while they are read.

use std::collections::BTreeMap;

use time::{Date, OffsetDateTime};

use super::super::events::Event;
use super::{LONGEST_AFTERMATH_DAYS, LONGEST_LEAD_DAYS, Team, dates, days_after, midnight};

/// Every event of the days (UTC) from `first` to `until`, sorted by time. What
/// happened before `first` in the same episodes comes with it, so that whatever
/// an event refers to is there: the changes of a deployment, for example.
///
/// Held in memory are the days that changes may wait, however long the range.
pub fn events(teams: Vec<Team>, first: Date, until: Date) -> impl Iterator<Item = Event> {
    let begin = days_after(first, -LONGEST_AFTERMATH_DAYS);
    let last = days_after(until, LONGEST_LEAD_DAYS + 1);
    let (from, end) = (midnight(first), midnight(days_after(until, 1)));
    let mut waiting: BTreeMap<Date, Vec<Event>> = BTreeMap::new();
    let mut days = dates(begin, last);
    let mut more = true;
    std::iter::from_fn(move || {
        if !more {
            return None;
        }
        let mut ready = match days.next() {
            Some(date) => {
                for team in &teams {
                    for episode in team.day(date).into_iter().filter_map(|e| e.within(from, end)) {
                        for event in episode.0 {
                            waiting.entry(utc(event.at()).date()).or_default().push(event);
                        }
                    }
                }
                // Nothing that begins later has an event before this day. A
                // team's own day may begin on the day before in UTC.
                let settled = days_after(date, -LONGEST_LEAD_DAYS - 1);
                let rest = waiting.split_off(&settled);
                std::mem::replace(&mut waiting, rest)
            }
            None => {
                more = false;
                std::mem::take(&mut waiting)
            }
        };
        let mut events: Vec<Event> = Vec::new();
        while let Some((_, mut day)) = ready.pop_first() {
            day.sort_by(|a, b| a.order().cmp(&b.order()));
            events.append(&mut day);
        }
        Some(events)
    })
    .flatten()
}

fn utc(at: OffsetDateTime) -> OffsetDateTime {
    at.to_offset(time::UtcOffset::UTC)
}
