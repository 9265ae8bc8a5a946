//! Lists: filtered, in pages, of one scope or of all.

use serde_json::{Value, json};

use super::{catalogue, collection, link, scope};
use crate::sandbox::call::{Call, page};
use crate::sandbox::error::ApiError;
use crate::sandbox::filter::Filter;
use crate::sandbox::operation;
use crate::sandbox::store::Tx;

/// `instances` → `instance`, as kinds name a collection.
fn singular(collection: &str) -> String {
    match collection {
        "addresses" => "address".into(),
        "resourcePolicies" => "resourcePolicy".into(),
        other => other.trim_end_matches('s').to_owned(),
    }
}

fn page_size(call: &Call) -> Result<usize, ApiError> {
    match call.number("maxResults") {
        None => Ok(500),
        Some(number @ 0..=500) => Ok(if number == 0 { 500 } else { number.unsigned_abs() as usize }),
        Some(number) => Err(ApiError::invalid(format!(
            "Invalid value for field 'maxResults': '{number}'. Must be less than or equal to 500"
        ))),
    }
}

/// Sorts by name (which the keys do by themselves), or the newest first: the keys
/// that pages go on from are made to sort so.
fn order(by: Option<&str>, items: &mut [(String, Value)]) -> Result<(), ApiError> {
    match by {
        None | Some("name") => Ok(()),
        Some("creationTimestamp desc") => {
            for (key, item) in items.iter_mut() {
                let time = item["creationTimestamp"].as_str().unwrap_or_default();
                let newest_first =
                    |digit: char| digit.to_digit(10).map_or(digit, |value| char::from(b'9' - value as u8));
                *key = format!("{} {key}", time.chars().map(newest_first).collect::<String>());
            }
            items.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(())
        }
        Some(other) => Err(ApiError::invalid(format!(
            "Invalid value for field 'orderBy': '{other}'. Lists are sorted by 'name' or by 'creationTimestamp \
             desc'."
        ))),
    }
}

/// The items that the filter lets through, one page of them, as a list.
pub fn answer(call: &Call, kind: &str, path: &str, items: Vec<(String, Value)>) -> Result<Value, ApiError> {
    let filter = Filter::parse(call.query("filter"))?;
    let mut matching: Vec<(String, Value)> =
        items.into_iter().filter(|(_, item)| filter.matches(item)).collect();
    order(call.query("orderBy"), &mut matching)?;
    let (items, next) = page(matching, page_size(call)?, call.query("pageToken"))?;
    let project = &call.cloud.project;
    let mut list = json!({
        "kind": format!("compute#{kind}List"),
        "id": format!("projects/{project}/{path}"),
        "selfLink": link(project, &format!("compute/{path}")),
    });
    if !items.is_empty() {
        list["items"] = json!(items);
    }
    if let Some(next) = next {
        list["nextPageToken"] = json!(next);
    }
    Ok(list)
}

pub fn list(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let path = format!("{}/{}", scope(call)?, collection(call));
    answer(call, &singular(collection(call)), &path, tx.scan(&format!("compute/{path}/")))
}

pub fn operations(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let scope = scope(call)?;
    let records = tx.scan(&format!("operations/{scope}/"));
    let items = records.into_iter().map(|(key, record)| (key, operation::shown(&record))).collect();
    answer(call, "operation", &format!("{scope}/operations"), items)
}

/// All scopes of the collection's kind; those without an item carry a warning.
pub fn aggregated(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let collection = collection(call);
    let zonal = matches!(collection, "disks" | "instances" | "instanceGroups");
    let mut scopes: Vec<String> = if zonal {
        catalogue::zones().map(|zone| format!("zones/{zone}")).collect()
    } else {
        catalogue::regions().map(|region| format!("regions/{region}")).collect()
    };
    if matches!(collection, "addresses" | "backendServices" | "forwardingRules" | "healthChecks") {
        scopes.insert(0, "global".into());
    }
    let mut found = Vec::new();
    for scope in &scopes {
        found.extend(tx.scan(&format!("compute/{scope}/{collection}/")));
    }
    // Google's own spelling, which has one exception.
    let kind = match collection {
        "healthChecks" => collection.to_owned(),
        other => singular(other),
    };
    let mut list = answer(call, &format!("{kind}Aggregated"), &format!("aggregated/{collection}"), found)?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let place = if zonal { "zone" } else { "region" };
    let mut by_scope = serde_json::Map::new();
    for scope in scopes {
        let here = link(&call.cloud.project, &format!("compute/{scope}"));
        let inside = |item: &&Value| match scope.as_str() {
            "global" => item[place].is_null(),
            _ => item[place] == here.as_str(),
        };
        let items: Vec<&Value> = items.iter().filter(inside).collect();
        let unreachable = call.cloud.profile().unreachable;
        let entry = if unreachable.iter().any(|zone| scope == format!("zones/{zone}")) {
            json!({"warning": {
                "code": "UNREACHABLE",
                "message": format!("The scope '{scope}' is unreachable."),
                "data": [{"key": "scope", "value": scope}],
            }})
        } else if items.is_empty() {
            json!({"warning": {
                "code": "NO_RESULTS_ON_PAGE",
                "message": format!("There are no results for scope '{scope}' on this page."),
                "data": [{"key": "scope", "value": scope}],
            }})
        } else {
            json!({collection: items})
        };
        by_scope.insert(scope, entry);
    }
    list["items"] = Value::Object(by_scope);
    Ok(list)
}
