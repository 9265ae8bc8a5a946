//! One call of an API: what is asked of whom, and whether it may be repeated.

use reqwest::Method;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Of the deployment's project.
    Compute,
    /// Of whatever project the path begins with (`projects/debian-cloud/…`).
    ComputeOfAll,
    Storage,
    Iam,
    ResourceManager,
    Billing,
    ServiceUsage,
    SecretManager,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) api: Api,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
    pub(super) repeatable: bool,
    /// Not again where it was too much: the caller asks again by itself, later.
    pub(super) once: bool,
}

impl Call {
    /// A read: may always be repeated.
    pub fn get(api: Api, path: impl Into<String>) -> Self {
        Self::new(api, Method::GET, path, true)
    }

    /// A write: repeated only where the API says it is safe. Compute writes are,
    /// by their request id.
    pub fn write(api: Api, method: Method, path: impl Into<String>) -> Self {
        let mut call = Self::new(api, method, path, api == Api::Compute);
        if api == Api::Compute {
            call.query.push(("requestId", uuid::Uuid::new_v4().to_string()));
        }
        call
    }

    /// A `POST` that changes nothing, or that is the same when done twice.
    pub fn idempotent(api: Api, method: Method, path: impl Into<String>) -> Self {
        Self::new(api, method, path, true)
    }

    fn new(api: Api, method: Method, path: impl Into<String>, repeatable: bool) -> Self {
        Self { api, method, path: path.into(), query: Vec::new(), body: None, repeatable, once: false }
    }

    /// Whether its answer says that the project is there.
    pub(super) fn names_project(&self, project: &str) -> bool {
        let named = format!("projects/{project}");
        self.api == Api::Compute
            || self.path.contains(&named)
            || self
                .query
                .iter()
                .any(|(name, value)| (*name == "project" && value == project) || value.contains(&named))
    }

    /// What tells it from every other call.
    pub fn key(&self) -> String {
        format!("{:?} {} {} {:?} {:?}", self.api, self.method, self.path, self.query, self.body)
    }

    /// A refusal that passes is the caller's affair.
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Whether it is answered only when what it asks about has ended.
    pub(super) fn holds(&self) -> bool {
        self.path.ends_with("/wait")
    }

    /// The call for people: no host, no query.
    pub(super) fn what(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}
