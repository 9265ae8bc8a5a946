//! Resource policies: snapshot schedules of disks.

use serde_json::{Value, json};

use super::{create, delete, fresh, link, modify, relative, target};
use crate::kernel::call::{Call, Handler};
use crate::kernel::error::ApiError;
use crate::kernel::store::Tx;

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "insert" => insert,
        "patch" => patch,
        "delete" => remove,
        _ => return None,
    })
}

/// Exactly one schedule, on a full hour.
fn check(policy: &Value) -> Result<(), ApiError> {
    let snapshots = &policy["snapshotSchedulePolicy"];
    if !snapshots.is_object() {
        return Err(ApiError::unimplemented("resource policies other than snapshotSchedulePolicy"));
    }
    let schedule = &snapshots["schedule"];
    let kinds = ["hourlySchedule", "dailySchedule", "weeklySchedule"];
    let given: Vec<&str> = kinds.into_iter().filter(|kind| schedule[*kind].is_object()).collect();
    let [kind] = given.as_slice() else {
        return Err(ApiError::invalid(
            "Invalid value for field 'resource.snapshotSchedulePolicy.schedule': ''. Exactly one schedule is \
             required.",
        ));
    };
    if *kind != "weeklySchedule" {
        let field = format!("resource.snapshotSchedulePolicy.schedule.{kind}.startTime");
        let time = schedule[*kind]["startTime"].as_str().unwrap_or_default();
        let hour =
            time.strip_suffix(":00").filter(|hour| hour.len() == 2).and_then(|hour| hour.parse::<u8>().ok());
        if hour.is_none_or(|hour| hour > 23) {
            return Err(ApiError::invalid(format!(
                "Invalid value for field '{field}': '{time}'. The start time has to be a full hour as HH:00."
            )));
        }
    }
    let days = &snapshots["retentionPolicy"]["maxRetentionDays"];
    if snapshots["retentionPolicy"].is_object() && days.as_i64().is_none_or(|days| days < 1) {
        return Err(ApiError::invalid(
            "Invalid value for field 'resource.snapshotSchedulePolicy.retentionPolicy.maxRetentionDays': must be \
             at least 1.",
        ));
    }
    Ok(())
}

/// What Google adds to a schedule.
fn complete(policy: &mut Value) {
    let snapshots = &mut policy["snapshotSchedulePolicy"];
    if snapshots["retentionPolicy"].is_object()
        && snapshots["retentionPolicy"]["onSourceDiskDelete"].is_null()
    {
        snapshots["retentionPolicy"]["onSourceDiskDelete"] = json!("KEEP_AUTO_SNAPSHOTS");
    }
    for (kind, duration) in [("dailySchedule", "PT14400S"), ("hourlySchedule", "PT3600S")] {
        if snapshots["schedule"][kind].is_object() {
            snapshots["schedule"][kind]["duration"] = json!(duration);
        } else {
            snapshots["schedule"].as_object_mut().map(|object| object.remove(kind));
        }
    }
}

fn insert(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, mut record) = fresh(call, tx, "compute#resourcePolicy")?;
    check(&record)?;
    complete(&mut record);
    record["status"] = json!("CREATING");
    create(call, tx, &key, record, json!({"status": "READY"}))
}

fn patch(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, record) = target(call, tx)?;
    let mut members = json!({});
    for field in ["description", "snapshotSchedulePolicy"] {
        if !call.body[field].is_null() {
            members[field] = call.body[field].clone();
        }
    }
    let mut whole = record;
    for (name, value) in members.as_object().into_iter().flatten() {
        whole[name] = value.clone();
    }
    check(&whole)?;
    complete(&mut whole);
    for (name, value) in members.as_object_mut().into_iter().flatten() {
        *value = whole[name.as_str()].clone();
    }
    modify(call, tx, &key, &members)
}

fn remove(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let (key, _) = target(call, tx)?;
    let own = link(&call.cloud.project, &key);
    let user = tx.scan("compute/zones/").into_iter().find(|(_, record)| {
        record["resourcePolicies"].as_array().is_some_and(|links| links.iter().any(|each| *each == own))
    });
    if let Some((user, _)) = user {
        let project = &call.cloud.project;
        return Err(ApiError::new(
            400,
            "resourceInUseByAnotherResource",
            format!(
                "The resource_policy resource '{}' is already being used by '{}'",
                relative(project, &key),
                relative(project, &user)
            ),
        ));
    }
    delete(call, tx, &key, Some("DELETING"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_one_and_on_the_hour() {
        let daily = |time: &str| json!({"snapshotSchedulePolicy": {"schedule": {"dailySchedule": {"daysInCycle": 1, "startTime": time}}}});
        check(&daily("04:00")).unwrap();
        for bad in ["04:30", "4:00", "24:00", ""] {
            assert!(check(&daily(bad)).is_err(), "{bad}");
        }
        assert!(check(&json!({"snapshotSchedulePolicy": {"schedule": {}}})).is_err());
    }
}
