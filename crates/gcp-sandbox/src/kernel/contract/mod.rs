//! What the APIs accept and answer: methods, parameters and messages, as
//! Google's discovery documents name them. The tables beside this file hold
//! names and types; `scripts/sandbox-contract` derives them.

mod message;
mod parse;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use percent_encoding::percent_decode_str;

pub use message::{Type, base64_bytes};

/// One method of one API.
#[derive(Debug)]
pub struct Method {
    /// `compute.instances.insert`
    pub id: String,
    /// `compute`, `storage`, `iam`, …: the first part of the id.
    pub api: &'static str,
    pub verb: http::Method,
    pub query: BTreeMap<String, Parameter>,
    /// The request's message, where there is one.
    pub body: Option<String>,
    /// The answer's message, where there is one.
    pub answer: Option<String>,
    /// Whether the sandbox does it; of the others it knows only id and path.
    pub served: bool,
    path: Vec<Segment>,
}

impl Method {
    /// The version of its API, as the path begins (`v3`).
    pub fn version(&self) -> &str {
        match self.path.first() {
            Some(Segment::Literal(text)) => text,
            _ => "",
        }
    }
}

#[derive(Debug)]
pub struct Parameter {
    pub kind: Type,
    pub required: bool,
}

#[derive(Debug)]
enum Segment {
    Literal(String),
    /// A variable and, in a last segment, its custom verb with the colon (`:addVersion`).
    Variable(String, String),
}

#[derive(Debug, Default)]
pub struct Contract {
    methods: Vec<Method>,
    messages: BTreeMap<(&'static str, String), BTreeMap<String, Type>>,
}

/// Parameters that every method of every API takes.
const COMMON: [&str; 14] = [
    "alt",
    "$alt",
    "prettyPrint",
    "$prettyPrint",
    "fields",
    "$fields",
    "key",
    "quotaUser",
    "userIp",
    "access_token",
    "oauth_token",
    "callback",
    "$.xgafv",
    "uploadType",
];

/// The contract of all APIs that the sandbox serves.
pub static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
    let mut contract = Contract::default();
    for (api, table) in [
        ("compute", include_str!("compute.contract")),
        ("storage", include_str!("storage.contract")),
        ("iam", include_str!("iam.contract")),
        ("cloudresourcemanager", include_str!("cloudresourcemanager.contract")),
        ("cloudbilling", include_str!("cloudbilling.contract")),
        ("serviceusage", include_str!("serviceusage.contract")),
        ("secretmanager", include_str!("secretmanager.contract")),
        // Behind those that have paths in common with it.
        ("cloudresourcemanager", include_str!("cloudresourcemanager.v1.contract")),
    ] {
        contract.add(api, table);
    }
    contract
});

/// A method and the variables of the path that named it.
pub struct Matched {
    pub method: &'static Method,
    pub path: BTreeMap<String, String>,
}

impl Contract {
    /// The method at `path` (still percent-encoded, starting with `/`). Where a name
    /// would do as a variable too (`backendServices/listUsable`), it is the name.
    pub fn find(&'static self, verb: &http::Method, path: &str) -> Option<Matched> {
        let segments: Vec<String> = path.trim_start_matches('/').split('/').map(percent_decode).collect();
        let matching = self.methods.iter().filter(|method| method.verb == verb).filter_map(|method| {
            let variables = match_path(&method.path, &segments)?;
            Some(Matched { method, path: variables })
        });
        matching.min_by_key(|matched| matched.path.len())
    }

    /// The method of that id.
    pub fn method(&'static self, id: &str) -> Option<&'static Method> {
        self.methods.iter().find(|method| method.id == id)
    }

    #[cfg(test)]
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.methods.iter()
    }

    /// Whether every API takes this query parameter.
    pub fn is_common(name: &str) -> bool {
        COMMON.contains(&name)
    }
}

fn match_path(pattern: &[Segment], segments: &[String]) -> Option<BTreeMap<String, String>> {
    if pattern.len() != segments.len() {
        return None;
    }
    let mut variables = BTreeMap::new();
    for (at, (expected, given)) in pattern.iter().zip(segments).enumerate() {
        match expected {
            Segment::Literal(text) if text == given => {}
            Segment::Literal(_) => return None,
            Segment::Variable(name, verb) => {
                let value = given.strip_suffix(verb.as_str())?;
                // Only the name of an object has colons of its own.
                let object = name.to_ascii_lowercase().ends_with("object");
                let plain = verb.is_empty() && at + 1 == pattern.len() && !object;
                if value.is_empty() || (plain && value.contains(':')) {
                    return None;
                }
                variables.insert(name.clone(), value.to_owned());
            }
        }
    }
    Some(variables)
}

/// Decodes `%XX`; anything that is not UTF-8 becomes the replacement character.
pub fn percent_decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use dorainfra_gcp::encoded;

    use super::*;

    fn id(verb: &str, path: &str) -> Option<String> {
        let verb: http::Method = verb.parse().unwrap();
        CONTRACT.find(&verb, path).map(|found| found.method.id.clone())
    }

    #[test]
    fn paths_name_methods() {
        assert_eq!(
            id("POST", "/compute/v1/projects/p/zones/z/instances").as_deref(),
            Some("compute.instances.insert")
        );
        assert_eq!(
            id("POST", "/v1/projects/p/secrets/s:addVersion").as_deref(),
            Some("secretmanager.projects.secrets.addVersion")
        );
        assert_eq!(
            id("GET", "/v1/projects/p/secrets/s").as_deref(),
            Some("secretmanager.projects.secrets.get")
        );
        assert_eq!(
            id("POST", "/v1/projects/p/services:batchEnable").as_deref(),
            Some("serviceusage.services.batchEnable")
        );
        assert_eq!(id("GET", "/storage/v1/b/b/o/a%2Fb%3Ac").as_deref(), Some("storage.objects.get"));
        assert_eq!(
            id("GET", "/compute/v1/projects/p/global/backendServices/listUsable").as_deref(),
            Some("compute.backendServices.listUsable")
        );
        assert_eq!(
            id("POST", "/v1/projects/p:getIamPolicy").as_deref(),
            Some("cloudresourcemanager.projects.getIamPolicy")
        );
        assert_eq!(id("GET", "/v1/projects/p/secrets/s:nothing"), None);
        assert_eq!(id("GET", "/compute/v2/projects/p"), None);
    }

    #[test]
    fn an_object_name_keeps_its_slashes() {
        let found = CONTRACT.find(&http::Method::GET, "/storage/v1/b/b/o/a%2Fb%20c").unwrap();
        assert_eq!(found.path["object"], "a/b c");
    }

    #[test]
    fn encoding_is_the_inverse_of_decoding() {
        let text = "a b/ü%+:~";
        assert_eq!(percent_decode(&encoded(text)), text);
        assert_eq!(encoded("a/b"), "a%2Fb");
    }
}
