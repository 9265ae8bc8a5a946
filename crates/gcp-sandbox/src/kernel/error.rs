//! Errors: what the sandbox answers in Google's shapes ([`ApiError`]), and what
//! can go wrong around the sandbox itself ([`SandboxError`]).

use std::path::PathBuf;

use dorainfra_base::error::Why;
use serde_json::{Value, json};

/// Why a sandbox could not be started, found or stopped.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("port {port} on 127.0.0.1 is in use")]
    PortInUse { port: u16 },
    #[error("a sandbox is already running in {}{}", dir.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    AlreadyRunning { dir: PathBuf, pid: Option<u32> },
    #[error("the sandbox's state in {} is damaged: {why}", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        why: Why,
    },
    #[error("the sandbox in {} belongs to project `{have}`, not `{want}`", dir.display())]
    OtherProject { dir: PathBuf, have: String, want: String },
    #[error("there is no sandbox in {}", dir.display())]
    NothingThere { dir: PathBuf },
    #[error("no sandbox is running in {}", dir.display())]
    NotRunning { dir: PathBuf },
    #[error("the sandbox on 127.0.0.1:{port} does not answer: {why}")]
    NoAnswer {
        port: u16,
        #[source]
        why: Why,
    },
    #[error("cannot {what} {}: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cannot listen on 127.0.0.1: {0}")]
    Listen(std::io::Error),
    #[error("cannot make the sandbox's key: {0}")]
    Key(#[source] Why),
    #[error("the sandbox's machines cannot be started: {0}")]
    Machines(String),
    #[error("the sandbox cannot write its state: {0}")]
    Store(#[source] Why),
}

impl SandboxError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::PortInUse { .. } => "choose another with --port, or --port 0 for a free one".into(),
            Self::AlreadyRunning { .. } => {
                "stop it with `dorainfra sandbox stop`, or use another folder with --dir".into()
            }
            Self::Damaged { .. } => {
                "start afresh with `dorainfra sandbox reset` (everything in it is lost)".into()
            }
            Self::OtherProject { have, .. } => {
                format!("use --project {have}, another folder with --dir, or `dorainfra sandbox reset`")
            }
            Self::NothingThere { .. } | Self::NotRunning { .. } => {
                "start it with `dorainfra sandbox start`; one in \
                another folder is named by `--sandbox-dir DIR`, or DORAINFRA_SANDBOX_DIR"
                    .into()
            }
            Self::NoAnswer { .. } => "start it with `dorainfra sandbox start`".into(),
            Self::File { .. } | Self::Store(_) => "check the folder's permissions and the free space".into(),
            Self::Listen(_) | Self::Key(_) | Self::Machines(_) => return None,
        })
    }
}

/// An error as an API answers it.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub code: u16,
    pub message: String,
    /// The old style's reason (`notFound`), in `errors[]` of Compute and Storage.
    pub reason: &'static str,
    pub domain: &'static str,
    /// Where in the request (`locationType`, `location`), old style.
    pub location: Option<Box<(&'static str, String)>>,
    /// `google.rpc` details.
    pub details: Vec<Value>,
}

impl ApiError {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), reason, domain: "global", location: None, details: Vec::new() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid", message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "notFound", message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "forbidden", message)
    }

    /// A precondition that does not hold: of a header, or of a parameter or field
    /// that stands for one.
    pub fn condition(message: impl Into<String>) -> Self {
        let mut error = Self::new(412, "conditionNotMet", message);
        error.location = Some(Box::new(("header", "If-Match".into())));
        error
    }

    pub fn unimplemented(what: &str) -> Self {
        Self::new(501, "notImplemented", format!("The sandbox does not serve {what}."))
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "backendError", message)
    }

    /// A body or parameter that the API's own description does not allow.
    pub fn bad_request(field: &str, description: String) -> Self {
        let mut error = Self::new(400, "badRequest", description.clone());
        error.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": field, "description": description}],
        }));
        error
    }

    pub fn unauthenticated() -> Self {
        let mut error = Self::new(
            401,
            "authError",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or \
             other valid authentication credential. See \
             https://developers.google.com/identity/sign-in/web/devconsole-project.",
        );
        error.location = Some(Box::new(("header", "Authorization".into())));
        error
    }

    pub fn with_info(mut self, reason: &str, domain: &str, metadata: Value) -> Self {
        self.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason, "domain": domain, "metadata": metadata,
        }));
        self
    }

    /// The canonical status of the code, as `google.rpc.Code` names it.
    pub fn status(&self) -> &'static str {
        match (self.code, self.reason) {
            (400, "failedPrecondition") => "FAILED_PRECONDITION",
            (400, _) => "INVALID_ARGUMENT",
            (401, _) => "UNAUTHENTICATED",
            (403, _) => "PERMISSION_DENIED",
            (404, _) => "NOT_FOUND",
            (409, "aborted") => "ABORTED",
            (409, _) => "ALREADY_EXISTS",
            (412, _) => "FAILED_PRECONDITION",
            (416, _) => "OUT_OF_RANGE",
            (429, _) => "RESOURCE_EXHAUSTED",
            (501, _) => "UNIMPLEMENTED",
            (503, _) => "UNAVAILABLE",
            (504, _) => "DEADLINE_EXCEEDED",
            _ => "INTERNAL",
        }
    }

    /// The body as the API of that name (`compute`, `storage`, …) words it.
    pub fn body(&self, api: &str) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        let old = matches!(api, "compute" | "storage");
        if old {
            let mut item = json!({"message": self.message, "domain": self.domain, "reason": self.reason});
            if let Some((kind, location)) = self.location.as_deref() {
                item["locationType"] = json!(kind);
                item["location"] = json!(location);
            }
            error["errors"] = json!([item]);
        }
        if !old || !self.details.is_empty() || self.code == 401 {
            error["status"] = json!(self.status());
        }
        if !self.details.is_empty() {
            error["details"] = json!(self.details);
        }
        json!({"error": error})
    }
}
