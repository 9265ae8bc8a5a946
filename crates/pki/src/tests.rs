//! Chains, names, ends and successions.

use super::*;

const YEAR: Duration = Duration::days(365);
const DECADE: Duration = Duration::days(3650);

fn ca(name: &str, now: OffsetDateTime) -> Authority {
    Authority::new(name, DECADE, now).unwrap()
}

fn der(pem: &str) -> Vec<u8> {
    blocks(pem).unwrap().swap_remove(0).contents
}

/// Whether `leaf` is signed by one of the authorities in `trust`.
fn is_trusted(leaf: &str, trust: &str) -> bool {
    let each = trust.split_inclusive("-----END CERTIFICATE-----\n");
    each.filter(|one| one.contains("BEGIN")).any(|one| is_signed_by(leaf, one).unwrap())
}

#[test]
fn a_certificate_is_signed_by_its_authority_and_says_what_it_is_for() {
    let now = OffsetDateTime::now_utc();
    let ca = ca("test CA", now);
    let names = ["mimir.test.internal".to_owned()];
    let server = ca.issue(Usage::Server, "mimir", &names, YEAR, ca.ca.clone(), now).unwrap();
    assert_eq!(server.ca, ca.certificate);
    assert!(is_trusted(&server.certificate, &ca.certificate));
    let der = der(&server.certificate);
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth && !certificate.is_ca());
    let alternative = certificate.subject_alternative_name().unwrap().unwrap().value;
    let alternative: Vec<String> = alternative.general_names.iter().map(ToString::to_string).collect();
    assert_eq!(alternative, ["DNSName(mimir.test.internal)"]);

    let client = ca.issue(Usage::Client, "c", &[], YEAR, ca.ca.clone(), now).unwrap();
    let der = self::der(&client.certificate);
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    assert!(!certificate.extended_key_usage().unwrap().unwrap().value.server_auth, "it can't pose as Mimir");
    assert!(!is_trusted(&client.certificate, &self::ca("test CA", now).certificate), "another key");
}

#[test]
fn a_certificate_lives_as_long_as_asked_and_never_longer_than_its_authority() {
    let now = OffsetDateTime::now_utc();
    let ca = Authority::new("short CA", Duration::days(100), now).unwrap();
    let ends = |life: Duration| {
        let leaf = ca.issue(Usage::Client, "c", &[], life, ca.ca.clone(), now).unwrap();
        (Validity::of(&leaf.certificate).unwrap().not_after - now).whole_hours()
    };
    assert!((90 * 24 - 1..=90 * 24).contains(&ends(Duration::days(90))));
    assert!((100 * 24 - 1..=100 * 24).contains(&ends(YEAR)));
}

#[test]
fn a_certificate_is_due_a_month_before_its_end_or_in_its_last_third() {
    let begin = OffsetDateTime::UNIX_EPOCH;
    let validity = |days| Validity { not_before: begin, not_after: begin + Duration::days(days) };
    for (life, quiet, due) in [(365, 334, 336), (90, 59, 61), (9, 5, 7)] {
        assert!(!validity(life).is_due(begin + Duration::days(quiet)), "{life} days, {quiet} gone");
        assert!(validity(life).is_due(begin + Duration::days(due)), "{life} days, {due} gone");
    }
    assert!(validity(9).is_over(begin + Duration::days(9)));
    assert!(!validity(9).is_over(begin + Duration::days(8)));
}

#[test]
fn a_successor_is_trusted_before_it_signs_and_the_old_one_goes_with_its_key() {
    let now = OffsetDateTime::now_utc();
    let old = ca("test CA", now);
    let both = old.clone().overlapping("test CA", DECADE, now).unwrap();
    assert_eq!(fingerprints(&both.ca).unwrap().len(), 2);
    assert_eq!(both.clone().overlapping("test CA", DECADE, now).unwrap(), both, "one successor at a time");
    let before = both.issue(Usage::Server, "m", &[], YEAR, both.ca.clone(), now).unwrap();
    assert!(is_trusted(&before.certificate, &old.certificate), "the old one still signs");

    let new = both.clone().succeeded().unwrap();
    let after = new.issue(Usage::Server, "m", &[], YEAR, new.ca.clone(), now).unwrap();
    assert!(is_trusted(&after.certificate, &both.ca), "who holds both trusts the new one");
    assert!(!is_trusted(&after.certificate, &old.ca));
    assert!(!is_trusted(&before.certificate, &new.ca));
    assert!(!serde_json::to_string(&new).unwrap().contains(&serde_json::json!(old.key).to_string()));
    assert!(matches!(new.succeeded(), Err(TlsError::NoSuccessor)));
}

#[test]
fn the_payload_of_an_earlier_version_is_read() {
    let ca = ca("test CA", OffsetDateTime::now_utc());
    let text = serde_json::to_string(&ca).unwrap();
    assert!(!text.contains("successor"), "nothing but the three fields that there always were");
    assert_eq!(serde_json::from_str::<Authority>(&text).unwrap(), ca);
}

#[test]
fn a_key_is_never_shown() {
    let now = OffsetDateTime::now_utc();
    let ca = ca("test CA", now);
    let leaf = ca.issue(Usage::Client, "c", &[], YEAR, ca.ca.clone(), now).unwrap();
    let both = ca.overlapping("test CA", DECADE, now).unwrap();
    assert!(!format!("{both:?} {leaf:?}").contains("PRIVATE"));
}

#[test]
fn damage_is_told() {
    assert!(Validity::of("nothing").is_err());
    assert!(fingerprints("").is_err());
}
