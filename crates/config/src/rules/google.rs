//! Google's rules: ids, names, places, labels, machine types.

use super::{Fault, Rule, characters, length, lower_or_digit, require};

pub const PROJECT: Rule = Rule {
    allowed: "a project id: 6 to 30 lower-case letters, digits and hyphens, a letter first, no hyphen last",
    check: |text| {
        if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
            return Err(Fault::new("is a project number, not an id")
                .help("`gcloud projects list` shows the id beside the number"));
        }
        if text.contains(':') {
            return Err(Fault::new("is a domain-scoped project id, which is not supported"));
        }
        length(text, 6, 30)?;
        characters(text, |c| lower_or_digit(c) || c == '-')?;
        require(text.starts_with(|c: char| c.is_ascii_lowercase()), "begins with no letter")?;
        require(!text.ends_with('-'), "ends with a hyphen")
    },
};

/// Longest deployment name: `NAME-mimir` is a service account id of at most 30
/// characters, and a few are left for names to come.
pub const NAME_LENGTH: usize = 20;

pub const NAME: Rule = Rule {
    allowed: "1 to 20 lower-case letters, digits and hyphens, a letter first, no hyphen last",
    check: |text| {
        length(text, 1, NAME_LENGTH)?;
        characters(text, |c| lower_or_digit(c) || c == '-')?;
        require(text.starts_with(|c: char| c.is_ascii_lowercase()), "begins with no letter")?;
        require(!text.ends_with('-'), "ends with a hyphen")
    },
};

pub const REGION: Rule = Rule {
    allowed: "a Compute Engine region such as `europe-west1`",
    check: |text| {
        if is_region(text) {
            return Ok(());
        }
        let fault = Fault::new("is not a region");
        Err(match text.rsplit_once('-') {
            Some((region, _)) if is_region(region) => {
                fault.help(format!("`{text}` is a zone; its region is `{region}`"))
            }
            _ => fault,
        })
    },
};

fn is_region(text: &str) -> bool {
    let letters = text.trim_end_matches(|c: char| c.is_ascii_digit());
    letters.len() < text.len()
        && letters.contains('-')
        && letters.split('-').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase()))
}

pub const ZONE: Rule = Rule {
    allowed: "a zone of `region`, such as `europe-west1-b`",
    check: |text| {
        if is_region(text) {
            return Err(Fault::new("is a region, not a zone").help(format!("one of its zones: `{text}-b`")));
        }
        let zone = text.rsplit_once('-').is_some_and(|(region, letter)| {
            is_region(region)
                && letter.starts_with(|c: char| c.is_ascii_lowercase())
                && letter.chars().all(lower_or_digit)
        });
        require(zone, "is not a zone")
    },
};

pub const SERVICE_ACCOUNT: Rule = Rule {
    allowed: "a service account's address, such as `mimir@my-gcp-project.iam.gserviceaccount.com`",
    check: |text| {
        let Some((name, domain)) = text.split_once('@') else {
            return Err(Fault::new("is not an address")
                .help("write it in full: `NAME@PROJECT.iam.gserviceaccount.com`"));
        };
        require(domain.ends_with(".gserviceaccount.com"), "is not a service account's address")?;
        characters(name, |c| lower_or_digit(c) || c == '-')?;
        characters(domain, |c| lower_or_digit(c) || c == '-' || c == '.')?;
        require(!name.is_empty(), "has no name before the `@`")
    },
};

/// Multi-regions and predefined dual-regions of Cloud Storage.
const WIDE_LOCATIONS: [&str; 9] = ["US", "EU", "ASIA", "NAM4", "EUR4", "EUR5", "EUR7", "EUR8", "ASIA1"];

pub const BUCKET_LOCATION: Rule = Rule {
    allowed: "a region such as `europe-west1`, or one of US, EU, ASIA, NAM4, EUR4, EUR5, EUR7, EUR8, ASIA1",
    check: |text| {
        let wide = WIDE_LOCATIONS.iter().any(|location| location.eq_ignore_ascii_case(text));
        if wide {
            Ok(())
        } else {
            (REGION.check)(text)
                .map_err(|fault| Fault { what: "is not a location of buckets".into(), ..fault })
        }
    },
};

pub const BUCKET: Rule = Rule {
    allowed: "3 to 63 lower-case letters, digits, hyphens and underscores, a letter or digit first and last, \
              not beginning with `goog`, no `google` in it",
    check: |text| {
        if text.starts_with("gs://") {
            return Err(Fault::new("is a URL, not a name").help("write the name behind `gs://`"));
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Err(Fault::new("is an IP address, which Google refuses as a bucket's name"));
        }
        if text.contains('.') {
            return Err(Fault::new(
                "has a dot, which makes it a domain name whose owner Google verifies first",
            )
            .help(format!("write `{}`", text.replace('.', "-"))));
        }
        length(text, 3, 63)?;
        // First: small letters alone would not help such a name.
        let keeps = "begins with `goog`, which Google keeps for itself";
        require(!text.to_ascii_lowercase().starts_with("goog"), keeps)?;
        characters(text, |c| lower_or_digit(c) || c == '-' || c == '_')?;
        require(text.starts_with(lower_or_digit), "begins with no letter or digit")?;
        require(text.ends_with(lower_or_digit), "ends with no letter or digit")?;
        // Google refuses close misspellings too, and names this one.
        let spelled_out = text.replace('0', "o").replace('1', "l").replace('3', "e");
        require(!spelled_out.contains("google"), "contains `google` or a look-alike, which Google refuses")
    },
};

/// Longest label key and value, in characters.
const LABEL_LENGTH: usize = 63;
/// Labels that every resource gets from dorainfra itself.
const OWN_LABELS: [&str; 7] = [
    "managed-by",
    "deployment",
    "dorainfra-digest",
    "dorainfra-material",
    "dorainfra-client",
    "dorainfra-ttl",
    "dorainfra-revoked",
];
/// Google takes 64 labels on a resource.
pub const MOST_LABELS: usize = 64 - OWN_LABELS.len();

pub const LABELS_ALLOWED: &str = "a mapping of at most 57 labels; keys of 1 to 63 and values of 0 to 63 lower-case \
     letters, digits, hyphens and underscores, a letter first in a key, no key beginning with `goog`";

/// Google takes lower-case letters of every script, and those of scripts without case.
fn label_letter(c: char) -> bool {
    c.is_alphabetic() && !c.is_uppercase()
}

fn label_character(c: char) -> bool {
    label_letter(c) || c.is_numeric() || c == '-' || c == '_'
}

pub fn label_key(text: &str) -> Result<(), Fault> {
    if OWN_LABELS.contains(&text) {
        return Err(Fault::new("is a label that dorainfra sets itself"));
    }
    length(text, 1, LABEL_LENGTH)?;
    characters(text, label_character)?;
    require(text.starts_with(label_letter), "begins with no letter")?;
    require(!text.starts_with("goog"), "begins with `goog`, which Google keeps for itself")
}

pub fn label_value(text: &str) -> Result<(), Fault> {
    length(text, 0, LABEL_LENGTH).or_else(|fault| if text.is_empty() { Ok(()) } else { Err(fault) })?;
    characters(text, label_character)
}

/// Series with Arm processors.
const ARM_SERIES: [&str; 3] = ["t2a-", "c4a-", "n4a-"];

pub const MACHINE_TYPE: Rule = Rule {
    allowed: "an x86-64 machine type such as `e2-medium` or `n2-custom-4-8192`",
    check: |text| {
        let parts: Vec<&str> = text.split('-').collect();
        let shaped = parts.len() >= 2
            && text.len() <= 63
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && parts.iter().all(|part| !part.is_empty() && part.chars().all(lower_or_digit));
        require(shaped, "is not a machine type")?;
        require(
            !ARM_SERIES.iter().any(|series| text.starts_with(series)),
            "has an Arm processor; the machine's image and programs are for x86-64",
        )
    },
};

#[cfg(test)]
mod tests {
    use super::super::verdicts;
    use super::*;

    #[test]
    fn projects() {
        insta::assert_snapshot!(verdicts(
            PROJECT,
            &[
                "my-gcp",
                "a23456",
                "",
                "short",
                "My-Project",
                "1-project",
                "my-project-",
                "123456789012",
                "example.com:my-project",
                "my_project",
                "a123456789012345678901234567890"
            ]
        ));
    }

    #[test]
    fn names() {
        insta::assert_snapshot!(verdicts(
            NAME,
            &[
                "dorainfra",
                "a",
                "a2345678901234567890",
                "a23456789012345678901",
                "",
                "1a",
                "a-",
                "-a",
                "Dora",
                "a_b",
                "a b",
                "dörà"
            ]
        ));
    }

    #[test]
    fn regions_and_zones() {
        insta::assert_snapshot!(verdicts(
            REGION,
            &[
                "europe-west1",
                "northamerica-northeast2",
                "us-east5",
                "europe-west1-b",
                "europe",
                "EU",
                "west1",
                ""
            ]
        ));
        insta::assert_snapshot!(verdicts(
            ZONE,
            &[
                "europe-west1-b",
                "us-central1-ai1a",
                "europe-west1",
                "europe-west1-",
                "europe-west1-B",
                "b",
                ""
            ]
        ));
        insta::assert_snapshot!(verdicts(
            BUCKET_LOCATION,
            &["eu", "US", "europe-west1", "europe-west1-b", "Mars"]
        ));
    }

    #[test]
    fn buckets() {
        let (longest, too_long) = ("a".repeat(63), "a".repeat(64));
        insta::assert_snapshot!(verdicts(
            BUCKET,
            &[
                "my-metrics",
                "1_2",
                &longest,
                &too_long,
                "ab",
                "",
                "My-Metrics",
                "-ab",
                "ab_",
                "a b",
                "192.168.5.4",
                "example.com",
                "goog-metrics",
                "Goog_Metrics",
                "my-google-metrics",
                "my-g00gle",
                "gs://metrics",
                "mätrics"
            ]
        ));
    }

    #[test]
    fn service_accounts() {
        let good = |text: &str| (SERVICE_ACCOUNT.check)(text).is_ok();
        assert!(good("mimir@my-gcp.iam.gserviceaccount.com"));
        assert!(good("123-compute@developer.gserviceaccount.com"));
        for bad in
            ["mimir", "me@example.com", "@my-gcp.iam.gserviceaccount.com", "a b@x.gserviceaccount.com", ""]
        {
            assert!(!good(bad), "{bad}");
        }
    }

    #[test]
    fn machine_types() {
        insta::assert_snapshot!(verdicts(
            MACHINE_TYPE,
            &[
                "e2-medium",
                "n2-custom-4-8192",
                "custom-2-4096",
                "e2",
                "E2-medium",
                "e2--medium",
                "t2a-standard-1",
                ""
            ]
        ));
    }

    #[test]
    fn labels() {
        let too_long = "a".repeat(64);
        insta::assert_snapshot!(verdicts(
            Rule { allowed: "", check: label_key },
            &[
                "team",
                "équipe",
                "部門",
                "a-b_c1",
                "",
                "Team",
                "1team",
                "a.b",
                "goog-x",
                "managed-by",
                &too_long
            ]
        ));
        insta::assert_snapshot!(verdicts(
            Rule { allowed: "", check: label_value },
            &["platform", "", "1", "-", "Platform", "a b", "a@b", &too_long]
        ));
    }
}
