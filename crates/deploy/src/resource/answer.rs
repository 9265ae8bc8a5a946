//! What all kinds read of an answer.

use std::collections::BTreeSet;

use dorainfra_engine::ResourceId;
use dorainfra_gcp as gcp;
use serde_json::Value;

/// `None` where Google says that it isn't there. A service that is not enabled
/// yet holds nothing, either: the plan enables it first.
pub(crate) fn found(answer: Result<Value, gcp::Error>) -> Result<Option<Value>, gcp::Error> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a list holds. A service that is off answers none: which one is kept in `off`.
pub(crate) fn listed(
    answer: Result<Vec<Value>, gcp::Error>,
    off: &mut BTreeSet<String>,
) -> Result<Vec<Value>, gcp::Error> {
    match answer {
        Err(error) if absent(&error) => {
            if let Some(api) = error.api().filter(|api| api.is_service_disabled()) {
                off.insert(api.service.clone().unwrap_or_else(|| "a service".into()));
            }
            Ok(Vec::new())
        }
        other => other,
    }
}

pub(crate) fn absent(error: &gcp::Error) -> bool {
    error
        .api()
        .is_some_and(|api| (api.is_not_found() && !api.is_project_unseen()) || api.is_service_disabled())
}

/// The last segment of a link.
pub(crate) fn short(link: &str) -> &str {
    link.rsplit('/').next().unwrap_or(link)
}

pub(crate) fn id(kind: &str, resource: &Value) -> ResourceId {
    ResourceId::new(kind, short(resource["name"].as_str().unwrap_or_default()))
}

/// A string field of a manifest's body, or of an observed one.
pub(crate) fn text<'a>(body: &'a Value, field: &str) -> Result<&'a str, gcp::Error> {
    body[field].as_str().ok_or_else(|| gcp::Error::Unexpected {
        what: "the manifest".into(),
        reason: format!("`{field}` is missing or not a string"),
        source: None,
    })
}
