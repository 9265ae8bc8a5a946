//! The certificates of a deployment: whose they are, how they stand, and which of them end soon.

use dorainfra_model::Events;
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;

use super::status::State;
use crate::blueprint::{self, Client, STACK};
use crate::resource::Held;

/// One certificate, as it is shown.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CredentialStatus {
    /// `ca`, `server`, or the client's name.
    pub name: String,
    /// `ca`, `server`, `client`, `authority`.
    pub kind: String,
    pub state: State,
    /// The day that it ends on, `2027-01-31`.
    pub ends: Option<String>,
    /// The version of its secret.
    pub version: String,
    pub detail: String,
}

/// The clients that the cloud knows, for the blueprint.
pub fn clients(held: &[Held]) -> Vec<Client> {
    let clients = held.iter().filter(|held| held.material == "client" && !held.revoked);
    let mut clients: Vec<Client> = clients
        .filter_map(|held| {
            let ttl_seconds = held.ttl.unwrap_or(blueprint::LEAF_SECONDS);
            Some(Client { name: held.client.clone()?, ttl_seconds })
        })
        .collect();
    clients.sort_by(|a, b| a.name.cmp(&b.name));
    clients
}

/// CA, server, then the clients by name, as they are shown. An authority of a
/// client is shown only where there is something to say of it.
pub fn rows(held: &[Held]) -> Vec<CredentialStatus> {
    let now = OffsetDateTime::now_utc();
    let order = ["ca", "server", "client", "authority"];
    let place =
        |held: &Held| order.iter().position(|material| held.material == *material).unwrap_or(order.len());
    let mut held: Vec<&Held> = held.iter().filter(|held| place(held) < 3 || is_late(held, now)).collect();
    held.sort_by_key(|held| (place(held), held.client.clone()));
    held.into_iter().map(|held| row(held, now)).collect()
}

fn row(held: &Held, now: OffsetDateTime) -> CredentialStatus {
    let ends = held.validity.map(|validity| validity.not_after);
    let (state, detail) = match held.validity {
        _ if held.revoked => {
            (State::Changed, "is being revoked: run `dorainfra credentials revoke` again".to_owned())
        }
        None => (State::Changed, "has no certificate yet: `dorainfra apply` makes it".to_owned()),
        Some(validity) if validity.is_over(now) => {
            (State::Failed, format!("ended on {}; {}", validity.not_after.date(), remedy(held)))
        }
        Some(validity) => {
            let ends = ends_in(validity.not_after, now);
            match (is_late(held, now), held.overlapping) {
                (true, _) => (State::Changed, format!("{ends}; {}", remedy(held))),
                (_, true) => (
                    State::Changed,
                    format!(
                        "{ends}; its successor is trusted: `credentials rotate ca --finish` makes the server use it"
                    ),
                ),
                // One with a life of hours: not due yet, and nothing to rely on.
                _ if validity.not_after - now < time::Duration::DAY => (State::Changed, ends),
                _ => (State::Ok, ends),
            }
        }
    };
    CredentialStatus {
        name: held.client.clone().unwrap_or_else(|| held.material.clone()),
        kind: held.material.clone(),
        state,
        ends: ends.map(|end| end.date().to_string()),
        version: held.version.clone(),
        detail,
    }
}

/// "ends on 2027-01-31, in 62 days"; "ends on 2027-01-31 at 14:05 UTC, in 3 hours".
fn ends_in(end: OffsetDateTime, now: OffsetDateTime) -> String {
    let left = end - now;
    let at = format!("ends on {} at {:02}:{:02} UTC", end.date(), end.hour(), end.minute());
    match (left.whole_days(), left.whole_hours()) {
        (2.., _) => format!("ends on {}, in {} days", end.date(), left.whole_days()),
        (_, 2..) => format!("{at}, in {} hours", left.whole_hours()),
        _ => format!("{at}, in {} minutes", left.whole_minutes()),
    }
}

/// Whether something has to be done about it. Authorities a year ahead: what
/// they sign ends with them.
fn is_late(held: &Held, now: OffsetDateTime) -> bool {
    let authority = matches!(held.material.as_str(), "ca" | "authority");
    held.validity.is_some_and(|validity| {
        validity.is_due(now) || (authority && validity.not_after - now < time::Duration::days(365))
    })
}

fn remedy(held: &Held) -> String {
    match (held.material.as_str(), held.client.as_deref()) {
        ("ca", _) => "`dorainfra credentials rotate ca` makes the next one".into(),
        ("authority", Some(name)) => format!("revoke `{name}` and issue it again"),
        ("client", Some(name)) if name != STACK => {
            format!(
                "`dorainfra apply` renews it, `dorainfra credentials issue {name} --out DIR` writes its files"
            )
        }
        _ => "`dorainfra apply` renews it".into(),
    }
}

/// Warns of what has ended, or ends within 30 days.
pub fn warn_of_ends(held: &[Held], events: &Events) {
    let now = OffsetDateTime::now_utc();
    for held in held.iter().filter(|held| is_late(held, now)) {
        let whose = match (held.material.as_str(), held.client.as_deref()) {
            ("client", Some(name)) => format!("the certificate of client `{name}`"),
            ("authority", Some(name)) => format!("the authority of client `{name}`"),
            ("ca", _) => "the CA".into(),
            _ => "the server's certificate".into(),
        };
        let Some(validity) = held.validity else { continue };
        let when = match validity.is_over(now) {
            true => format!("ended on {}", validity.not_after.date()),
            false => ends_in(validity.not_after, now),
        };
        events.warn(format!("{whose} {when}"), Some(remedy(held)));
    }
}

#[cfg(test)]
mod tests {
    use dorainfra_model::Event;
    use dorainfra_pki::Validity;
    use time::Duration;

    use super::*;

    fn held(material: &str, client: Option<&str>, days: i64) -> Held {
        let now = OffsetDateTime::now_utc();
        Held {
            secret: "s".into(),
            material: material.into(),
            client: client.map(str::to_owned),
            ttl: Some(7_776_000),
            version: "1".into(),
            validity: Some(Validity {
                not_before: now - Duration::days(300),
                not_after: now + Duration::days(days) + Duration::hours(1),
            }),
            overlapping: false,
            revoked: false,
        }
    }

    #[test]
    fn what_ends_within_30_days_is_warned_of_and_says_what_to_do() {
        let all = [
            held("server", None, 29),
            held("client", Some("grafana"), 31),
            held("client", Some("old"), -1),
            held("ca", None, 3000),
            held("authority", Some("stack"), 364),
        ];
        let (events, mut received) = Events::channel();
        warn_of_ends(&all, &events);
        drop(events);
        let mut said = Vec::new();
        while let Ok(Event::Warning { message, hint }) = received.try_recv() {
            said.push(format!("{message} ({})", hint.unwrap()));
        }
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].contains("the server's certificate ends on") && said[0].contains("in 29 days"));
        assert!(said[1].contains("client `old` ended on") && said[1].contains("issue old --out"), "{said:?}");
        assert!(said[2].contains("the authority of client `stack`"), "{said:?}");
    }

    #[test]
    fn the_last_hours_are_told_as_hours_and_are_not_well() {
        let now = time::macros::datetime!(2026-03-01 12:00 UTC);
        let shown = |life: Duration, left: Duration| {
            let validity = Validity { not_before: now + left - life, not_after: now + left };
            let row = row(&Held { validity: Some(validity), ..held("client", Some("a"), 0) }, now);
            (row.state, row.detail)
        };
        let of_days = Duration::days(90);
        let (state, detail) = shown(of_days, Duration::minutes(61));
        assert!(
            state == State::Changed && detail.starts_with("ends on 2026-03-01 at 13:01 UTC, in 61 minutes;")
        );
        let (state, detail) = shown(of_days, Duration::hours(30));
        assert!(
            state == State::Changed && detail.contains("in 30 hours; `dorainfra apply` renews it"),
            "{detail}"
        );
        assert_eq!(shown(of_days, Duration::days(60)), (State::Ok, "ends on 2026-04-30, in 60 days".into()));
        // A life of an hour: not due before its last third, and shown as what it is.
        let (state, detail) = shown(Duration::HOUR, Duration::minutes(59));
        assert_eq!((state, &*detail), (State::Changed, "ends on 2026-03-01 at 12:59 UTC, in 59 minutes"));
    }

    #[test]
    fn a_client_that_is_being_revoked_is_none() {
        let revoked = Held { revoked: true, ..held("client", Some("a"), 90) };
        let all = [revoked, held("client", Some("b"), 90), held("authority", Some("b"), 3000)];
        assert_eq!(clients(&all), [Client { name: "b".into(), ttl_seconds: 7_776_000 }]);
        let rows = rows(&all);
        assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(rows[0].detail.contains("being revoked"));
    }
}
