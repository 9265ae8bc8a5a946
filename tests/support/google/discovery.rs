//! Calls, as the sandbox lists them, held to Google's discovery documents. Knows
//! nothing of the sandbox's own tables: what both were wrong about would pass.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::schema::{Direction, Schemas};

const DOCUMENTS: [&str; 8] = [
    "compute.v1",
    "storage.v1",
    "iam.v1",
    "cloudresourcemanager.v3",
    "cloudbilling.v1",
    "serviceusage.v1",
    "secretmanager.v1",
    // Behind those that have paths in common with it.
    "cloudresourcemanager.v1",
];

/// Google's description of several APIs.
pub struct Documents {
    apis: Vec<Api>,
}

struct Api {
    methods: Vec<Method>,
    /// Parameters that each method takes.
    common: Value,
    schemas: Schemas,
}

struct Method {
    id: String,
    verb: String,
    paths: Vec<Template>,
    parameters: Value,
    request: Option<String>,
    response: Option<String>,
}

/// A template of a path: literals and `{variables}`, with a `:verb` at the end or not.
struct Template {
    segments: Vec<String>,
    /// Bytes come or go by this one, and the JSON is about them.
    media: bool,
}

/// A request as a document describes it, for resources that are not there.
pub struct Example {
    /// The method's id.
    pub id: String,
    pub verb: String,
    /// With the parameters that are required.
    pub path: String,
    pub takes_body: bool,
}

impl Documents {
    /// One for each method.
    pub fn examples(&self) -> Vec<Example> {
        self.apis.iter().flat_map(|api| &api.methods).map(Method::example).collect()
    }

    pub fn read(folder: &Path) -> Self {
        let documents = DOCUMENTS.iter().map(|name| {
            let path = folder.join(format!("{name}.json"));
            let text =
                std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            serde_json::from_str(&text).unwrap()
        });
        Self::new(documents)
    }

    pub fn new(documents: impl IntoIterator<Item = Value>) -> Self {
        Self { apis: documents.into_iter().map(Api::new).collect() }
    }

    /// Holds one call of the list to the documents. Answers its method.
    ///
    /// # Errors
    /// Everything that the documents do not say, each with its place.
    pub fn check(&self, entry: &Value) -> Result<String, Vec<String>> {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        let (verb, whole) = (text("method"), text("path"));
        let (path, query) = whole.split_once('?').unwrap_or((whole, ""));
        let segments: Vec<String> = path.trim_start_matches('/').split('/').map(decoded).collect();
        let found = self.apis.iter().find_map(|api| {
            let mut methods =
                api.methods.iter().filter(|method| method.verb == verb || method.continued(verb, query));
            methods.find_map(|method| method.matched(&segments).map(|found| (api, method, found)))
        });
        let Some((api, method, (path, variables))) = found else {
            return Err(vec![format!("{verb} {}: no document has such a method", whole)]);
        };
        let mut call = Checked { api, method, entry, problems: Vec::new() };
        if text("api") != method.id {
            call.problem(format!("the sandbox takes it for `{}`", text("api")));
        }
        let pairs: Vec<(String, String)> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " "))))
            .collect();
        call.path(&variables);
        call.query(&pairs, path.media);
        call.bodies(&pairs, path.media);
        if call.problems.is_empty() { Ok(method.id.clone()) } else { Err(call.problems) }
    }

    /// Holds a list of calls (`GET /sandbox/requests`, recorded with bodies) to the
    /// documents; answers the methods. Calls that are of no JSON API are left out.
    #[track_caller]
    pub fn check_all(&self, requests: &Value) -> BTreeSet<String> {
        self.check_each(requests, |entry| self.check(entry))
    }

    /// The same for the answers alone. What Google's own clients send is what
    /// Google takes: nulls, and fields left out that a document calls required;
    /// and a test has them send what is to be refused.
    #[track_caller]
    pub fn check_answers(&self, requests: &Value) -> BTreeSet<String> {
        self.check_each(requests, |entry| {
            self.check(entry).or_else(|mut problems| {
                problems.retain(|problem| !problem.contains(": request"));
                let method = entry["api"].as_str().unwrap_or_default().to_owned();
                if problems.is_empty() { Ok(method) } else { Err(problems) }
            })
        })
    }

    #[track_caller]
    fn check_each(
        &self,
        requests: &Value,
        check: impl Fn(&Value) -> Result<String, Vec<String>>,
    ) -> BTreeSet<String> {
        let entries = requests["requests"].as_array().expect("the list of calls");
        let mut methods = BTreeSet::new();
        let mut problems = Vec::new();
        for entry in entries.iter().filter(|entry| is_json_api(entry)) {
            match check(entry) {
                Ok(method) => {
                    methods.insert(method);
                }
                Err(more) => problems.extend(more),
            }
        }
        problems.sort();
        problems.dedup();
        assert!(!methods.is_empty() || !problems.is_empty(), "no call was recorded");
        assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
        methods
    }
}

/// Tokens have no document, and neither has the XML API's `/BUCKET/OBJECT`.
fn is_json_api(entry: &Value) -> bool {
    let path = entry["path"].as_str().unwrap_or_default();
    let versioned = ["/v1/", "/v3/", "/compute/", "/storage/", "/upload/", "/resumable/", "/download/"];
    let xml = entry["api"].as_str().is_some_and(|id| id.starts_with("storage.objects."))
        && !versioned.iter().any(|prefix| path.starts_with(prefix));
    path != "/token" && !xml
}

impl Api {
    fn new(document: Value) -> Self {
        let mut methods = Vec::new();
        collect(&document, document["servicePath"].as_str().unwrap_or_default(), &mut methods);
        let common = document["parameters"].clone();
        Self { methods, common, schemas: Schemas::new(document["schemas"].clone()) }
    }
}

fn collect(node: &Value, service: &str, methods: &mut Vec<Method>) {
    for method in node["methods"].as_object().into_iter().flat_map(|methods| methods.values()) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let flat = text(&method["flatPath"]).or(text(&method["path"])).unwrap_or_default();
        let mut paths = vec![Template::new(&format!("{service}{flat}"), false)];
        for protocol in
            method["mediaUpload"]["protocols"].as_object().into_iter().flat_map(|all| all.values())
        {
            paths.push(Template::new(protocol["path"].as_str().unwrap_or_default(), true));
        }
        if method["supportsMediaDownload"] == true {
            paths.push(Template::new(&format!("download/{service}{flat}"), true));
        }
        methods.push(Method {
            id: text(&method["id"]).unwrap_or_default(),
            verb: text(&method["httpMethod"]).unwrap_or_default(),
            paths,
            parameters: method["parameters"].clone(),
            request: text(&method["request"]["$ref"]),
            response: text(&method["response"]["$ref"]),
        });
    }
    for resource in node["resources"].as_object().into_iter().flat_map(|resources| resources.values()) {
        collect(resource, service, methods);
    }
}

impl Template {
    fn new(template: &str, media: bool) -> Self {
        let segments = template.trim_start_matches('/').split('/').map(str::to_owned).collect();
        Self { segments, media }
    }

    fn matched(&self, given: &[String]) -> Option<BTreeMap<String, String>> {
        if self.segments.len() != given.len() {
            return None;
        }
        let mut variables = BTreeMap::new();
        for (template, given) in self.segments.iter().zip(given) {
            match template.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
                None if template == given => {}
                None => return None,
                Some((name, verb)) => {
                    let value = given.strip_suffix(verb)?;
                    // `secrets/{secret}` is not `secrets/s:addVersion`; an object's name has colons.
                    let custom =
                        verb.is_empty() && value.contains(':') && !name.to_lowercase().contains("object");
                    if value.is_empty() || custom {
                        return None;
                    }
                    variables.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        Some(variables)
    }
}

impl Method {
    fn example(&self) -> Example {
        let segments = self.paths[0].segments.iter().map(|segment| {
            match segment.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
                Some((_, verb)) => format!("x{verb}"),
                None => segment.clone(),
            }
        });
        let path = segments.collect::<Vec<_>>().join("/");
        let parameters = self.parameters.as_object().into_iter().flatten();
        let required = parameters
            .filter(|(_, described)| described["required"] == true && described["location"] == "query");
        let query = required.map(|(name, described)| {
            let value = match described["type"].as_str() {
                Some("integer") => "1",
                Some("string") if described["format"].is_string() => "1",
                Some("boolean") => "true",
                _ => "x",
            };
            format!("&{name}={value}")
        });
        Example {
            id: self.id.clone(),
            verb: self.verb.clone(),
            path: format!("{path}?alt=json{}", query.collect::<String>()),
            takes_body: self.request.is_some(),
        }
    }

    fn matched(&self, segments: &[String]) -> Option<(&Template, BTreeMap<String, String>)> {
        self.paths.iter().find_map(|path| Some((path, path.matched(segments)?)))
    }

    /// A resumable upload goes on, and ends, by other verbs at its own address.
    fn continued(&self, verb: &str, query: &str) -> bool {
        self.paths.iter().any(|path| path.media)
            && self.verb == "POST"
            && matches!(verb, "PUT" | "DELETE")
            && query.contains("upload_id=")
    }
}

struct Checked<'a> {
    api: &'a Api,
    method: &'a Method,
    entry: &'a Value,
    problems: Vec<String>,
}

impl Checked<'_> {
    fn problem(&mut self, what: String) {
        self.problems.push(format!("{}: {what}", self.method.id));
    }

    fn path(&mut self, variables: &BTreeMap<String, String>) {
        for (name, value) in variables {
            // Newer APIs describe `{+name}`, and its parts only in the flat path.
            let described = self.method.parameters[name].clone();
            if let Err(why) = Schemas::parameter(&described, value) {
                self.problem(format!("path parameter {name}={value}: {why}"));
            }
        }
    }

    fn query(&mut self, pairs: &[(String, String)], media: bool) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, value) in pairs {
            *seen.entry(name).or_default() += 1;
            let own = &self.method.parameters[name.as_str()];
            let described = if own["location"] == "query" { own } else { &self.api.common[name.as_str()] };
            // Part of an upload session's address, which the server makes.
            let session = media && name == "upload_id";
            // gcloud sends it with each of its lists: the real service takes it, its
            // document does not tell of it.
            let untold = name == "returnPartialSuccess" && self.method.id.ends_with(".aggregatedList");
            if described.is_null() && !session && !untold {
                self.problem(format!("unknown parameter {name}"));
                continue;
            }
            let described = described.clone();
            if let Err(why) = Schemas::parameter(&described, value) {
                self.problem(format!("parameter {name}={value}: {why}"));
            }
            if seen[name.as_str()] > 1 && described["repeated"] != true {
                self.problem(format!("parameter {name} is given twice"));
            }
        }
        let parameters = self.method.parameters.as_object().cloned().unwrap_or_default();
        for (name, described) in parameters {
            let needed = described["required"] == true && described["location"] == "query";
            let continued = pairs.iter().any(|(name, _)| name == "upload_id");
            if needed && !continued && !pairs.iter().any(|(given, _)| *given == name) {
                self.problem(format!("required parameter {name} is missing"));
            }
        }
    }

    fn bodies(&mut self, pairs: &[(String, String)], media: bool) {
        let (request, response) = (&self.entry["bodies"]["request"], &self.entry["bodies"]["response"]);
        let status = self.entry["status"].as_u64().unwrap_or(0);
        let has = |name: &str, value: &str| pairs.iter().any(|(n, v)| n == name && v == value);
        let session = pairs.iter().any(|(name, _)| name == "upload_id");
        match &self.method.request {
            _ if session => {}
            Some(schema) if !request.is_null() => {
                let direction =
                    Direction::Request { method: &self.method.id, patch: self.method.verb == "PATCH" };
                let found = self.api.schemas.check(schema, request, direction);
                found.into_iter().for_each(|problem| self.problem(format!("request{problem}")));
            }
            Some(schema) => {
                let direction = Direction::Request { method: &self.method.id, patch: true };
                let found = self.api.schemas.check(schema, &serde_json::json!({}), direction);
                // Without a body, or with one of bytes only, nothing that is required is there.
                if !media && !found.is_empty() {
                    self.problem(format!("there is no request{}", found.join(", ")));
                }
            }
            None if request.is_null() || request.as_object().is_some_and(serde_json::Map::is_empty) => {}
            None => self.problem(format!("takes no request: {request}")),
        }
        if status >= 400 {
            let found = error(status, response);
            found.into_iter().for_each(|problem| self.problem(problem));
            return;
        }
        let bytes = has("alt", "media") || (media && self.method.verb == "GET");
        // Not answered, not modified, no more to come, or the address of a session.
        let empty =
            matches!(status, 0 | 304 | 308 | 499) || (has("uploadType", "resumable") && !session) || bytes;
        match (&self.method.response, response) {
            (_, Value::Null) if empty => {}
            (None, Value::Null) => {}
            (None, _) => self.problem(format!("answers nothing: {response}")),
            (Some(_), Value::Null) if session => {}
            (Some(schema), _) => {
                let found = self.api.schemas.check(schema, response, Direction::Response);
                found.into_iter().for_each(|problem| self.problem(format!("response{problem}")));
            }
        }
    }
}

/// An error's body has one form in all APIs.
fn error(status: u64, body: &Value) -> Vec<String> {
    let error = &body["error"];
    let mut problems = Vec::new();
    if error["code"] != status {
        problems.push(format!("error.code is {} and the status {status}", error["code"]));
    }
    if error["message"].as_str().is_none_or(str::is_empty) {
        problems.push("error.message is missing".to_owned());
    }
    problems
}

fn decoded(text: &str) -> String {
    let raw = text.as_bytes();
    let mut bytes = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        let code = (raw[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(byte.unwrap_or(raw[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8(bytes).unwrap()
}
