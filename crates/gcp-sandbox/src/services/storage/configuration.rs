//! What a bucket's configuration may say, and what Google makes of it.

use serde_json::{Value, json};

use crate::kernel::error::ApiError;
use crate::kernel::{clock, labels, locations};

const CLASSES: [&str; 4] = ["STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"];

/// A name that Google takes.
pub fn check_name(name: &str) -> Result<(), ApiError> {
    let ends = |each: char| each.is_ascii_lowercase() || each.is_ascii_digit();
    let parts_ok = name.split('.').all(|part| (1..=63).contains(&part.len()));
    let most = if name.contains('.') { 222 } else { 63 };
    let good = (3..=most).contains(&name.len())
        && parts_ok
        && name.chars().all(|each| ends(each) || "-_.".contains(each))
        && name.starts_with(ends)
        && name.ends_with(ends)
        && name.parse::<std::net::Ipv4Addr>().is_err()
        && !name.starts_with("goog")
        // Close misspellings of it neither.
        && !name.replace('0', "o").contains("google");
    if good { Ok(()) } else { Err(ApiError::invalid(format!("Invalid bucket name: '{name}'"))) }
}

/// Checks a whole bucket and fills in what Google fills in.
pub fn complete(bucket: &mut Value) -> Result<(), ApiError> {
    labels::check(&bucket["labels"], "labels")?;
    for (path, heeded_not) in [
        ("/autoclass/enabled", json!(true)),
        ("/billing/requesterPays", json!(true)),
        ("/defaultEventBasedHold", json!(true)),
        ("/hierarchicalNamespace/enabled", json!(true)),
        ("/ipFilter/mode", json!("Enabled")),
        ("/softDeletePolicy/hardDeletePause/enabled", json!(true)),
    ] {
        if bucket.pointer(path) == Some(&heeded_not) {
            return Err(not_heeded(path));
        }
    }
    for path in ["/customPlacementConfig", "/encryption", "/logging", "/objectRetention"] {
        if bucket.pointer(path).is_some_and(|value| value.as_object().is_some_and(|map| !map.is_empty())) {
            return Err(not_heeded(path));
        }
    }
    place(bucket)?;
    access(bucket)?;
    soft_delete(bucket)?;
    for rule in bucket["lifecycle"]["rule"].as_array().into_iter().flatten() {
        let kind = rule["action"]["type"].as_str().unwrap_or_default();
        let known = ["Delete", "SetStorageClass", "AbortIncompleteMultipartUpload"].contains(&kind);
        if !known || rule["condition"].as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(ApiError::invalid(
                "A lifecycle rule has to have a valid action and at least one condition.",
            ));
        }
    }
    Ok(())
}

/// What a bucket may have at Google, and this sandbox would not act on.
fn not_heeded(path: &str) -> ApiError {
    ApiError::unimplemented(&format!("buckets with `{}`", path.trim_start_matches('/').replace('/', ".")))
}

fn place(bucket: &mut Value) -> Result<(), ApiError> {
    let location = bucket["location"].as_str().unwrap_or("US").to_ascii_uppercase();
    let multi = ["US", "EU", "ASIA"].contains(&location.as_str());
    if !multi && !locations::is_region(&location.to_ascii_lowercase()) {
        return Err(ApiError::invalid("The specified location constraint is not valid."));
    }
    bucket["locationType"] = json!(if multi { "multi-region" } else { "region" });
    if multi {
        bucket["rpo"] = json!("DEFAULT");
    }
    bucket["location"] = json!(location);
    let class = bucket["storageClass"].as_str().unwrap_or("STANDARD").to_owned();
    if !CLASSES.contains(&class.as_str()) {
        return Err(ApiError::invalid(format!("Invalid storage class {class}.")));
    }
    bucket["storageClass"] = json!(class);
    Ok(())
}

fn access(bucket: &mut Value) -> Result<(), ApiError> {
    let wanted = &bucket["iamConfiguration"];
    let uniform = wanted["uniformBucketLevelAccess"]["enabled"] == true
        || (wanted["uniformBucketLevelAccess"].is_null() && wanted["bucketPolicyOnly"]["enabled"] == true);
    let prevention = wanted["publicAccessPrevention"].as_str().unwrap_or("inherited").to_owned();
    if !["inherited", "enforced"].contains(&prevention.as_str()) {
        return Err(ApiError::invalid(format!("Invalid value for publicAccessPrevention: {prevention}")));
    }
    let locked = wanted["uniformBucketLevelAccess"]["lockedTime"].clone();
    let mut access = json!({"enabled": uniform});
    if uniform {
        let ninety_days = clock::rfc3339(clock::seconds() + 90 * 86_400);
        access["lockedTime"] = if locked.is_null() { json!(ninety_days) } else { locked };
        for field in ["acl", "defaultObjectAcl"] {
            if bucket[field].as_array().is_some_and(|entries| !entries.is_empty()) {
                return Err(ApiError::invalid(
                    "Cannot use ACL API to set bucket policy when uniform bucket-level access is enabled.",
                ));
            }
        }
    }
    bucket["iamConfiguration"] = json!({
        "uniformBucketLevelAccess": access, "bucketPolicyOnly": access, "publicAccessPrevention": prevention,
    });
    Ok(())
}

fn soft_delete(bucket: &mut Value) -> Result<(), ApiError> {
    let policy = &bucket["softDeletePolicy"];
    let given = &policy["retentionDurationSeconds"];
    let seconds = match given {
        Value::Null => 604_800,
        Value::String(text) => text.parse().unwrap_or(-1),
        number => number.as_i64().unwrap_or(-1),
    };
    if seconds != 0 && !(604_800..=7_776_000).contains(&seconds) {
        return Err(ApiError::invalid(format!(
            "Soft delete policy retention duration must be 0 or between 604800 and 7776000 seconds, not {seconds}."
        )));
    }
    let since = match &policy["effectiveTime"] {
        Value::Null => json!(clock::timestamp()),
        kept => kept.clone(),
    };
    bucket["softDeletePolicy"] =
        json!({"retentionDurationSeconds": seconds.to_string(), "effectiveTime": since});
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names() {
        for (name, good) in [
            ("my-project-dorainfra-mimir", true),
            ("ab", false),
            ("Upper", false),
            ("-starts", false),
            ("ends-", false),
            ("127.0.0.1", false),
            ("goog-x", false),
            ("my-google-x", false),
            ("a.b.example", true),
            ("a..b", false),
        ] {
            assert_eq!(check_name(name).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn a_bucket_gets_googles_defaults() {
        let mut bucket = json!({"location": "europe-west1"});
        complete(&mut bucket).unwrap();
        assert_eq!(bucket["location"], "EUROPE-WEST1");
        assert_eq!(bucket["softDeletePolicy"]["retentionDurationSeconds"], "604800");
        assert_eq!(bucket["iamConfiguration"]["publicAccessPrevention"], "inherited");
        assert!(complete(&mut json!({"location": "moon-west1"})).is_err());
        assert_eq!(complete(&mut json!({"autoclass": {"enabled": true}})).unwrap_err().code, 501);
        assert_eq!(complete(&mut json!({"encryption": {"defaultKmsKeyName": "k"}})).unwrap_err().code, 501);
        assert!(complete(&mut json!({"softDeletePolicy": {"retentionDurationSeconds": 5}})).is_err());
    }
}
