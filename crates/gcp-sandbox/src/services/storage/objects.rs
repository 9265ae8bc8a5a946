//! Objects' metadata: read, list, change, delete.

use serde_json::{Value, json};

use super::preconditions::Conditions;
use super::{
    bucket, find, media, merge_patch, object, object_key, retention, shown, soft_delete, version_key,
};
use crate::kernel::call::{Call, Handler, page};
use crate::kernel::clock;
use crate::kernel::error::ApiError;
use crate::kernel::store::{After, Tx};

pub fn handler(verb: &str) -> Option<Handler> {
    Some(match verb {
        "get" => get,
        "list" => list,
        "patch" => patch,
        "update" => update,
        "delete" => delete,
        _ => return None,
    })
}

pub fn get(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let bucket = bucket(call, tx)?;
    let object = if call.flag("softDeleted") { soft_delete::object(call, tx)? } else { object(call, tx)? };
    Conditions::of(call).check(Some(&object), true)?;
    Ok(shown(&call.cloud, &bucket, &object))
}

enum Entry {
    Item(Value),
    Prefix(String),
}

fn list(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let whole = bucket(call, tx)?;
    for parameter in ["matchGlob", "filter"] {
        if call.query(parameter).is_some() {
            return Err(ApiError::unimplemented(&format!("objects.list with {parameter}")));
        }
    }
    let (bucket, prefix) = (call.path("bucket"), call.query("prefix").unwrap_or_default());
    let mut objects = tx.scan(&format!("objects/{bucket}/{prefix}"));
    if call.flag("versions") {
        objects.extend(tx.scan(&format!("versions/{bucket}/{prefix}")));
    }
    if call.flag("softDeleted") {
        if call.flag("versions") {
            return Err(ApiError::invalid("softDeleted and versions cannot be asked for together."));
        }
        objects = soft_delete::list(tx, bucket, prefix);
    }
    let mut entries: std::collections::BTreeMap<String, Entry> = std::collections::BTreeMap::new();
    for (_, object) in objects {
        let name = object["name"].as_str().unwrap_or_default().to_owned();
        let below = call.query("startOffset").is_some_and(|start| name.as_str() < start);
        let beyond = call.query("endOffset").is_some_and(|end| name.as_str() >= end);
        if below || beyond {
            continue;
        }
        let tail = name.get(prefix.len()..).unwrap_or_default();
        let folder = call.query("delimiter").and_then(|delimiter| {
            let at = tail.find(delimiter)? + delimiter.len();
            (at < tail.len() || !call.flag("includeTrailingDelimiter"))
                .then(|| format!("{prefix}{}", &tail[..at]))
        });
        match folder {
            Some(folder) => entries.insert(folder.clone(), Entry::Prefix(folder)),
            None => {
                let generation = object["generation"].as_str().unwrap_or_default();
                entries.insert(format!("{name}\n{generation:0>20}"), Entry::Item(object))
            }
        };
    }
    let size = usize::try_from(call.number("maxResults").unwrap_or(1000)).unwrap_or(1000).clamp(1, 1000);
    let (entries, next) = page(entries.into_iter().collect(), size, call.query("pageToken"))?;
    let mut answer = json!({"kind": "storage#objects"});
    let (mut items, mut prefixes) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::Item(object) => items.push(shown(&call.cloud, &whole, &object)),
            Entry::Prefix(folder) => prefixes.push(folder),
        }
    }
    if !items.is_empty() {
        answer["items"] = json!(items);
    }
    if !prefixes.is_empty() {
        answer["prefixes"] = json!(prefixes);
    }
    if let Some(next) = next {
        answer["nextPageToken"] = json!(next);
    }
    Ok(answer)
}

/// What a client may set on an object; everything else is Google's.
pub const SETTABLE: [&str; 8] = [
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "metadata",
    "temporaryHold",
];

/// Refuses what an object may say at Google and this sandbox would not heed.
pub fn check_given(bucket: &Value, given: &Value) -> Result<(), ApiError> {
    for field in ["contexts", "retention", "eventBasedHold"] {
        if !given[field].is_null() && given[field] != false {
            return Err(ApiError::unimplemented(&format!("objects with `{field}`")));
        }
    }
    if given["acl"].as_array().is_none_or(Vec::is_empty) {
        return Ok(());
    }
    Err(match bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] == true {
        true => ApiError::invalid(
            "Cannot use ACL API to set object policy when uniform bucket-level access is enabled.",
        ),
        false => ApiError::unimplemented("objects with `acl`"),
    })
}

/// Once set, the time only goes forward.
fn check_custom_time(before: &Value, wanted: &Value) -> Result<(), ApiError> {
    let time = |object: &Value| clock::parsed(object["customTime"].as_str()?);
    match (time(before), time(wanted)) {
        (Some(was), wanted) if wanted.is_none_or(|wanted| wanted < was) => Err(ApiError::invalid(
            "Custom time cannot be removed or set to a time earlier than the existing custom time.",
        )),
        _ => Ok(()),
    }
}

fn change(call: &Call, tx: &mut Tx, merge: bool) -> Result<Value, ApiError> {
    let whole = bucket(call, tx)?;
    check_given(&whole, &call.body)?;
    let before = object(call, tx)?;
    Conditions::of(call).check(Some(&before), false)?;
    if !merge || call.body.get("customTime").is_some() {
        check_custom_time(&before, &call.body)?;
    }
    let mut after = before.clone();
    for field in SETTABLE {
        match &call.body[field] {
            Value::Null if merge && call.body.get(field).is_none() => {}
            Value::Null => {
                after.as_object_mut().map(|object| object.remove(field));
            }
            value if merge => merge_patch(&mut after[field], value),
            value => after[field] = value.clone(),
        }
    }
    let number: u64 = before["metageneration"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
    after["metageneration"] = json!((number + 1).to_string());
    after["etag"] = json!(clock::fingerprint());
    after["updated"] = json!(clock::timestamp());
    let (bucket, name) = (call.path("bucket"), call.path("object"));
    let live =
        tx.get(&object_key(bucket, name)).is_some_and(|live| live["generation"] == before["generation"]);
    let key = if live {
        object_key(bucket, name)
    } else {
        version_key(bucket, name, before["generation"].as_str().unwrap_or_default())
    };
    tx.put(key, after.clone());
    Ok(shown(&call.cloud, &whole, &after))
}

fn patch(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    change(call, tx, true)
}

fn update(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    change(call, tx, false)
}

pub fn delete(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let bucket = bucket(call, tx)?;
    let (bucket_name, name) = (call.path("bucket"), call.path("object"));
    let wanted = call.query("generation");
    let object = find(tx, bucket_name, name, wanted);
    Conditions::of(call).check(object.as_ref(), false)?;
    let object =
        object.ok_or_else(|| ApiError::not_found(format!("No such object: {bucket_name}/{name}")))?;
    remove(call, tx, &bucket, &object, wanted.is_none())?;
    Ok(Value::Null)
}

/// Takes an object out of the way, unless something keeps it. One that was live
/// becomes an old version where the bucket has versions; else it is soft-deleted,
/// or gone, as the bucket's policy says.
pub fn remove(call: &Call, tx: &mut Tx, bucket: &Value, object: &Value, live: bool) -> Result<(), ApiError> {
    let keep = live && bucket["versioning"]["enabled"] == true;
    if !keep {
        retention::check(bucket, object)?;
    }
    let whole = bucket;
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let (bucket, name, generation) = (text("bucket"), text("name"), text("generation"));
    let live_key = object_key(&bucket, &name);
    let old = version_key(&bucket, &name, &generation);
    if tx.get(&live_key).is_some_and(|each| each["generation"] == generation.as_str()) {
        tx.remove(live_key);
    }
    if keep {
        let mut object = object.clone();
        object["timeDeleted"] = json!(clock::timestamp());
        tx.put(old, object);
    } else {
        tx.remove(old);
        if !soft_delete::keep(tx, whole, object) {
            tx.after(After::Discard(media::path(&call.cloud.dir, &generation)));
        }
    }
    Ok(())
}
