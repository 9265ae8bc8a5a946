//! Lists: filtered, in pages, of one scope or of all.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::collections::{self, Collection, Place};
use super::{last, link, scope};
use crate::kernel::call::{Call, page};
use crate::kernel::error::ApiError;
use crate::kernel::filter::Filter;
use crate::kernel::store::Tx;
use crate::kernel::{locations, operation};

/// The collection of records that a list is of.
fn listed(call: &Call) -> Result<&'static Collection, ApiError> {
    let id = call.short_id().split_once('.').map_or("", |(id, _)| id);
    collections::named(id).ok_or_else(|| ApiError::unimplemented(&call.method.id))
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
    let collection = listed(call)?;
    let path = format!("{}/{}", scope(call)?, collection.path);
    answer(call, collection.kind, &path, tx.scan(&format!("compute/{path}/")))
}

pub fn operations(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let scope = scope(call)?;
    let records = tx.scan(&format!("operations/{scope}/"));
    let items = records.into_iter().map(|(key, record)| (key, operation::shown(&record))).collect();
    answer(call, "operation", &format!("{scope}/operations"), items)
}

/// Those of every scope.
pub fn all_operations(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let records =
        tx.scan("operations/").into_iter().filter(|(key, _)| !key.starts_with("operations/services/"));
    let items = records.map(|(key, record)| (key, operation::shown(&record))).collect();
    let scopes = std::iter::once("global".to_owned()).chain(regional()).chain(zonal()).collect();
    by_scope(call, "operation", "operations", items, scopes)
}

fn zonal() -> impl Iterator<Item = String> {
    locations::zones().map(|zone| format!("zones/{zone}"))
}

fn regional() -> impl Iterator<Item = String> {
    locations::regions().map(|region| format!("regions/{region}"))
}

/// All scopes of the collection's kind.
pub fn aggregated(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    let Collection { path, kind, places, .. } = listed(call)?;
    let scopes = places.iter().flat_map(|place| match place {
        Place::Global => vec!["global".to_owned()],
        Place::Region => regional().collect(),
        Place::Zone => zonal().collect(),
    });
    let scopes: Vec<String> = scopes.collect();
    let found = scopes.iter().flat_map(|scope| tx.scan(&format!("compute/{scope}/{path}/"))).collect();
    // Google's own spelling, which has one exception.
    let kind = if *path == "healthChecks" { path } else { kind };
    by_scope(call, kind, path, found, scopes)
}

/// What every zone has, in the form of an aggregated list.
pub fn of_zones(
    call: &Call,
    kind: &str,
    collection: &str,
    of_zone: impl Fn(&str) -> Vec<(String, Value)>,
) -> Result<Value, ApiError> {
    let of_zone = &of_zone;
    let items = locations::zones().flat_map(|zone| {
        of_zone(&zone).into_iter().map(move |(name, item)| (format!("{zone}/{name}"), item))
    });
    by_scope(call, kind, collection, items.collect(), zonal().collect())
}

/// Where an item is. It names its place by a link, or by its name alone.
fn scope_of(item: &Value) -> String {
    for place in ["zone", "region"] {
        if let Some(text) = item[place].as_str() {
            return format!("{place}s/{}", last(text));
        }
    }
    "global".into()
}

/// A page of items sorted into scopes; those without one carry a warning.
fn by_scope(
    call: &Call,
    kind: &str,
    collection: &str,
    items: Vec<(String, Value)>,
    scopes: Vec<String>,
) -> Result<Value, ApiError> {
    let mut list = answer(call, &format!("{kind}Aggregated"), &format!("aggregated/{collection}"), items)?;
    let mut inside: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for item in list["items"].as_array().into_iter().flatten() {
        inside.entry(scope_of(item)).or_default().push(item.clone());
    }
    let unreachable = call.cloud.profile().unreachable;
    let entries = scopes.into_iter().map(|scope| {
        let unreachable = unreachable.iter().any(|zone| scope == format!("zones/{zone}"));
        let entry = match inside.remove(&scope) {
            _ if unreachable => json!({"warning": {
                "code": "UNREACHABLE",
                "message": format!("The scope '{scope}' is unreachable."),
                "data": [{"key": "scope", "value": scope}],
            }}),
            Some(items) => json!({collection: items}),
            None => json!({"warning": {
                "code": "NO_RESULTS_ON_PAGE",
                "message": format!("There are no results for scope '{scope}' on this page."),
                "data": [{"key": "scope", "value": scope}],
            }}),
        };
        (scope, entry)
    });
    list["items"] = Value::Object(entries.collect());
    Ok(list)
}
