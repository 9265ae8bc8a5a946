//! One call of one method, as the handlers see it: parsed, checked against the
//! contract, its caller known.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Extensions;
use serde_json::Value;

use super::cloud::{Cloud, Hooks};
use super::contract::{CONTRACT, Contract, Matched, Method, percent_decode};
use super::error::ApiError;
use super::faults::Action;
use super::store::Tx;
use super::token::Caller;

/// What a method does, within one transaction.
pub type Handler = fn(&Call, &mut Tx) -> Result<Value, ApiError>;

/// A permission, and the key of the record of the policy that may grant it besides the
/// project's.
pub type Permission = (String, String);

/// Whether a call may be carried out.
pub type Check = fn(&Call, &Tx) -> Result<(), ApiError>;

/// One of Google's APIs, as it gives itself to the kernel.
pub struct Service {
    /// `compute`, whose address is `compute.googleapis.com`.
    pub name: &'static str,
    pub handler: fn(&Method) -> Option<Handler>,
    /// What a method needs, by the collection and the verb of its id; `None`: whoever is
    /// authenticated may call it.
    pub permission: fn(&Call, &str, &str) -> Option<Permission>,
    /// The refusal of a call for want of a permission.
    pub denied: fn(&Call, &str) -> ApiError,
    /// The project that a call names, where it names one that has to be the sandbox's.
    pub project: fn(&Call) -> Option<&str>,
    /// The refusal of another project; `None`: the refusal for want of the permission.
    pub unknown_project: Option<fn(&Call, &str) -> ApiError>,
    /// Whether a new project is unknown to it for a while.
    pub project_is_late: bool,
    /// Scopes besides `cloud-platform` that are enough to read, and to write.
    pub scopes: [&'static [&'static str]; 2],
    /// Verbs of methods that read although they are POSTs.
    pub reads: &'static [&'static str],
    /// Whether a person's call counts against the project that it is about.
    pub consumer_is_target: bool,
    /// What the organisation's policies forbid.
    pub constraints: Option<Check>,
    pub hooks: Option<&'static Hooks>,
    /// Puts in what it keeps in memory ([`Cloud::state`]).
    pub state: Option<fn(&mut Extensions)>,
}

impl Service {
    /// One with nothing of its own besides.
    pub const fn new(
        name: &'static str,
        handler: fn(&Method) -> Option<Handler>,
        permission: fn(&Call, &str, &str) -> Option<Permission>,
        denied: fn(&Call, &str) -> ApiError,
    ) -> Self {
        Self {
            name,
            handler,
            permission,
            denied,
            project: |call| call.path.get("projectsId").map(String::as_str),
            unknown_project: None,
            project_is_late: false,
            scopes: [&["cloud-platform.read-only"], &[]],
            reads: &[],
            consumer_is_target: false,
            constraints: None,
            hooks: None,
            state: None,
        }
    }
}

#[derive(Clone)]
pub struct Call {
    pub cloud: Arc<Cloud>,
    pub service: &'static Service,
    pub method: &'static Method,
    pub path: BTreeMap<String, String>,
    pub query: BTreeMap<String, Vec<String>>,
    /// `Null` where the method takes none.
    pub body: Value,
    pub caller: Caller,
    /// What a fault rule does to the operation that this call starts.
    pub fault: Action,
}

impl Call {
    /// A variable of the path; empty where the method has none of that name.
    pub fn path(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    pub fn query(&self, name: &str) -> Option<&str> {
        self.query
            .get(name)
            .and_then(|values| values.last())
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    pub fn flag(&self, name: &str) -> bool {
        self.query(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// A number that the contract has checked already.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.query(name).and_then(|text| text.parse().ok())
    }

    /// A member of the body; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_default()
    }

    /// `instances.insert` of `compute.instances.insert`.
    pub fn short_id(&self) -> &str {
        self.method.id.split_once('.').map_or("", |(_, rest)| rest)
    }
}

/// Splits a query string; names and values decoded.
pub fn parse_query(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| percent_decode(&text.replace('+', " "));
        query.entry(decode(name)).or_default().push(decode(value));
    }
    query
}

/// Checks names, types and presence of the parameters.
pub fn check_query(method: &Method, query: &BTreeMap<String, Vec<String>>) -> Result<(), ApiError> {
    for (name, values) in query {
        match method.query.get(name) {
            Some(parameter) => {
                if let Some(bad) =
                    values.iter().find(|value| !value.is_empty() && !parameter.kind.takes(value))
                {
                    return Err(parameter.kind.refuse_parameter(name, bad));
                }
            }
            None if Contract::is_common(name) => {}
            None => {
                return Err(ApiError::bad_request(
                    "",
                    format!(
                        "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. \
                         Field '{name}' could not be found in request message."
                    ),
                ));
            }
        }
    }
    for (name, parameter) in &method.query {
        if parameter.required && query.get(name).is_none_or(|values| values.iter().all(String::is_empty)) {
            let mut error = ApiError::new(400, "required", format!("Required parameter: {name}"));
            error.location = Some(Box::new(("parameter", name.clone())));
            return Err(error);
        }
    }
    Ok(())
}

/// Reads the body that the method takes.
pub fn check_body(matched: &Matched, bytes: &[u8]) -> Result<Value, ApiError> {
    let method = matched.method;
    let Some(message) = &method.body else {
        // Node's client writes an empty text where it has no message.
        let empty: [&[u8]; 4] = [b"", b"{}", b"null", b"\"\""];
        return if empty.contains(&bytes.trim_ascii()) {
            Ok(Value::Null)
        } else if method.verb == http::Method::GET || method.verb == http::Method::DELETE {
            Err(ApiError::new(400, "badRequest", format!("The HTTP method {} takes no body.", method.verb)))
        } else {
            let names = serde_json::from_slice::<Value>(bytes).ok();
            let name =
                names.as_ref().and_then(Value::as_object).and_then(|object| object.keys().next().cloned());
            Err(ApiError::bad_request(
                "",
                format!(
                    "Invalid JSON payload received. Unknown name \"{}\": Root element must be a message.",
                    name.unwrap_or_default()
                ),
            ))
        };
    };
    let trimmed = bytes.trim_ascii();
    let mut value: Value = if trimmed.is_empty() {
        Value::Object(serde_json::Map::new())
    } else {
        serde_json::from_slice(trimmed).map_err(|error| {
            ApiError::new(400, "parseError", format!("Invalid JSON payload received. {error}"))
        })?
    };
    CONTRACT.check(method.api, message, &value, "resource")?;
    // A patch says with null what it removes.
    CONTRACT.normalize(method.api, message, &mut value, method.verb != http::Method::PATCH);
    Ok(value)
}

/// `page_size` items from where `token` says, and the token of the next page.
pub fn page<T>(
    items: Vec<(String, T)>,
    page_size: usize,
    token: Option<&str>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let from = match token {
        None => None,
        Some(token) => {
            let key = engine.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            Some(key.ok_or_else(|| {
                ApiError::invalid(format!("Invalid value for field 'pageToken': '{token}'"))
            })?)
        }
    };
    let mut rest =
        items.into_iter().filter(|(key, _)| from.as_ref().is_none_or(|from| key > from)).peekable();
    let mut taken = Vec::new();
    let mut last = String::new();
    while taken.len() < page_size.max(1) {
        let Some((key, item)) = rest.next() else { break };
        last = key;
        taken.push(item);
    }
    let next = rest.peek().is_some().then(|| engine.encode(last));
    Ok((taken, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_checked_by_name_type_and_presence() {
        let check = |id: &str, query: &str| check_query(CONTRACT.method(id).unwrap(), &parse_query(query));
        let refused = |id: &str, query: &str| check(id, query).unwrap_err().message;
        check("compute.disks.list", "filter=a%3Db&maxResults=5&alt=json&prettyPrint=false").unwrap();
        assert!(refused("compute.disks.list", "max=5").contains("Unknown name \"max\""));
        assert!(refused("compute.disks.list", "maxResults=-1").contains("TYPE_UINT32"));
        assert_eq!(refused("storage.buckets.list", ""), "Required parameter: project");
    }

    #[test]
    fn pages_hold_every_item_once() {
        let items: Vec<(String, usize)> = (0..10).map(|at| (format!("k{at}"), at)).collect();
        let (mut seen, mut token) = (Vec::new(), None);
        loop {
            let (taken, next) = page(items.clone(), 3, token.as_deref()).unwrap();
            seen.extend(taken);
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        assert!(page(items, 3, Some("!")).is_err());
    }
}
