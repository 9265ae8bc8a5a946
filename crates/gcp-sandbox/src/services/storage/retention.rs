//! What keeps an object from being deleted or replaced: a hold, and the bucket's
//! retention policy, which can be locked for good.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::bucket;
use super::preconditions::Conditions;
use crate::kernel::call::Call;
use crate::kernel::clock;
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;

/// The longest retention, as Google has it: 100 years.
const LONGEST: i64 = 3_155_760_000;

fn period(bucket: &Value) -> Option<i64> {
    let period = &bucket["retentionPolicy"]["retentionPeriod"];
    period.as_i64().or_else(|| period.as_str()?.parse().ok()).filter(|seconds| *seconds > 0)
}

/// When the bucket's policy lets go of the object; `None`: it has none.
fn expires(bucket: &Value, object: &Value) -> Option<OffsetDateTime> {
    let made = clock::parsed(object["timeCreated"].as_str()?)?;
    Some(made + time::Duration::seconds(period(bucket)?))
}

/// Writes into an object, as it is shown, until when the bucket's policy keeps it.
pub fn show(bucket: &Value, object: &mut Value) {
    if let Some(until) = expires(bucket, object).and_then(|until| until.format(&Rfc3339).ok()) {
        object["retentionExpirationTime"] = json!(until);
    }
}

/// Refuses to delete or replace what is held or retained.
pub fn check(bucket: &Value, object: &Value) -> Result<(), ApiError> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let what = format!("Object '{}/{}'", text("bucket"), text("name"));
    if object["temporaryHold"] == true {
        return Err(ApiError::new(
            403,
            "objectUnderActiveHold",
            format!(
                "{what} is under active Temporary hold and cannot be deleted, overwritten or archived until hold is removed."
            ),
        ));
    }
    match expires(bucket, object).filter(|until| *until > OffsetDateTime::now_utc()) {
        None => Ok(()),
        Some(until) => Err(ApiError::new(
            403,
            "retentionPolicyNotMet",
            format!(
                "{what} is subject to bucket's retention policy or object retention and cannot be deleted or \
                 overwritten until {}",
                until.format(&Rfc3339).unwrap_or_default()
            ),
        )),
    }
}

/// Completes the policy of a changed bucket; a locked one only grows.
pub fn complete(before: Option<&Value>, bucket: &mut Value) -> Result<(), ApiError> {
    let locked = before.is_some_and(|before| before["retentionPolicy"]["isLocked"] == true);
    let had = before.and_then(period);
    let has = period(bucket);
    if locked && has.unwrap_or(0) < had.unwrap_or(0) {
        return Err(ApiError::new(
            403,
            "forbidden",
            format!(
                "Cannot reduce retention duration of a locked Retention Policy for bucket '{}'.",
                bucket["name"].as_str().unwrap_or_default()
            ),
        ));
    }
    if bucket["retentionPolicy"].is_null() {
        return Ok(());
    }
    let Some(seconds) = has.filter(|seconds| *seconds <= LONGEST) else {
        return Err(ApiError::invalid("The retention period has to be between 1 second and 100 years."));
    };
    let since =
        before.filter(|_| had == has).map(|before| before["retentionPolicy"]["effectiveTime"].clone());
    let mut policy = json!({"retentionPeriod": seconds.to_string(), "effectiveTime": since.unwrap_or_else(|| json!(clock::timestamp()))});
    if locked {
        policy["isLocked"] = json!(true);
    }
    bucket["retentionPolicy"] = policy;
    Ok(())
}

/// `buckets.lockRetentionPolicy`.
pub fn lock(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let before = bucket(call, tx)?;
    Conditions::of(call).check(Some(&before), false)?;
    if period(&before).is_none() {
        return Err(ApiError::invalid("The bucket has no retention policy to lock."));
    }
    let mut after = super::buckets::write(tx, &before, before.clone())?;
    after["retentionPolicy"]["isLocked"] = json!(true);
    tx.put(format!("buckets/{}", call.path("bucket")), after.clone());
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_and_a_policy_keep_an_object() {
        let bucket = json!({"retentionPolicy": {"retentionPeriod": "3600"}});
        let now = clock::timestamp();
        let object = |extra: Value| {
            let mut object = json!({"bucket": "b", "name": "o", "timeCreated": now});
            super::super::merge_patch(&mut object, &extra);
            object
        };
        assert!(check(&json!({}), &object(json!({}))).is_ok());
        let held = check(&json!({}), &object(json!({"temporaryHold": true}))).unwrap_err();
        assert_eq!((held.code, held.reason), (403, "objectUnderActiveHold"));
        let retained = check(&bucket, &object(json!({}))).unwrap_err();
        assert!(retained.message.starts_with("Object 'b/o' is subject to bucket's retention policy"));
        assert!(check(&bucket, &object(json!({"timeCreated": "2020-01-01T00:00:00Z"}))).is_ok());
    }

    #[test]
    fn a_locked_policy_only_grows() {
        let before = json!({"name": "b", "retentionPolicy": {"retentionPeriod": "60", "isLocked": true, "effectiveTime": "t"}});
        let after = |policy: Value| {
            let mut bucket = json!({"name": "b", "retentionPolicy": policy});
            complete(Some(&before), &mut bucket).map(|()| bucket["retentionPolicy"].clone())
        };
        assert_eq!(after(json!({"retentionPeriod": "59"})).unwrap_err().code, 403);
        assert_eq!(after(Value::Null).unwrap_err().code, 403);
        assert_eq!(after(json!({"retentionPeriod": "60"})).unwrap(), before["retentionPolicy"]);
        assert_eq!(after(json!({"retentionPeriod": 61})).unwrap()["isLocked"], true);
    }
}
