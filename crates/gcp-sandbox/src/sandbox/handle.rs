//! Finding a sandbox that runs, and talking to its control routes.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dorainfra_base::error::Why;
use dorainfra_gcp::Endpoints;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

use crate::kernel::error::SandboxError;
use crate::kernel::files::{StateFile, control_token, key_file};

/// A sandbox that answered a moment ago.
#[derive(Clone, Debug)]
pub struct Handle {
    state: StateFile,
    http: reqwest::Client,
}

impl Handle {
    /// The sandbox of a folder. It has to answer within two seconds.
    pub async fn find(dir: &Path) -> Result<Self, SandboxError> {
        let state = StateFile::read(dir).ok_or_else(|| SandboxError::NotRunning { dir: dir.to_owned() })?;
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .connect_timeout(Duration::from_secs(2))
            .no_proxy()
            .build()
            .map_err(|error| SandboxError::NoAnswer { port: state.port, why: Why::of(error) })?;
        let handle = Self { state, http };
        let status = handle.status().await.map_err(|error| match error {
            // A crash leaves the file behind.
            SandboxError::NoAnswer { .. } => SandboxError::NotRunning { dir: dir.to_owned() },
            other => other,
        })?;
        if status["project"] != handle.state.project.as_str() {
            return Err(SandboxError::NotRunning { dir: dir.to_owned() });
        }
        Ok(handle)
    }

    pub fn state(&self) -> &StateFile {
        &self.state
    }

    pub fn project(&self) -> &str {
        &self.state.project
    }

    /// `http://127.0.0.1:PORT/`
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}/", self.state.port)
    }

    pub fn endpoints(&self) -> Endpoints {
        let base = self.base();
        Endpoints {
            compute: format!("{base}compute/v1/"),
            storage: base.clone(),
            iam: base.clone(),
            cloudresourcemanager: base.clone(),
            cloudbilling: base.clone(),
            serviceusage: base.clone(),
            secretmanager: base,
        }
    }

    /// Services that say which address a caller has, as the internet has them: some have
    /// closed down, some answer for IPv6.
    pub fn caller_services(&self) -> Vec<String> {
        ["caller/closed", "caller/ipv6", "caller"]
            .map(|route| format!("{}sandbox/{route}", self.base()))
            .to_vec()
    }

    /// The owner's key file.
    pub fn credentials(&self) -> PathBuf {
        key_file(&self.state.dir)
    }

    /// What the controls say of the sandbox (`GET /sandbox/status`).
    pub async fn status(&self) -> Result<Value, SandboxError> {
        self.control(reqwest::Method::GET, "status", None).await
    }

    /// Asks it to end; machines are stopped first. Answers when the port is free and its process
    /// has ended, or `patience` is over. Whoever was told so may delete its folder, or count
    /// what is left.
    pub async fn stop(&self, patience: Duration) -> Result<(), SandboxError> {
        // Opened before it is asked: the number may belong to another process soon after.
        let process = Some(self.state.pid).filter(|pid| *pid != std::process::id()).and_then(Process::open);
        self.control(reqwest::Method::POST, "stop", None).await?;
        let gone = async {
            while self.status().await.is_ok()
                || StateFile::read(&self.state.dir).is_some()
                || process.as_ref().is_some_and(|process| !process.has_ended())
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(patience, gone).await.map_err(|_| SandboxError::NoAnswer {
            port: self.state.port,
            why: format!("it has not ended within {} s", patience.as_secs()).into(),
        })
    }

    /// Takes everything in it away.
    pub async fn reset(&self) -> Result<(), SandboxError> {
        self.control(reqwest::Method::POST, "reset", None).await.map(drop)
    }

    /// One call of a route below `/sandbox/`.
    pub async fn control(
        &self,
        method: reqwest::Method,
        route: &str,
        body: Option<&Value>,
    ) -> Result<Value, SandboxError> {
        let failed = |error: reqwest::Error| SandboxError::NoAnswer {
            port: self.state.port,
            why: Why::of(error.without_url()),
        };
        let mut request = self.http.request(method, format!("{}sandbox/{route}", self.base()));
        // Where it can't be read, the sandbox says what is missing.
        if let Ok(token) = std::fs::read_to_string(control_token(&self.state.dir)) {
            request = request.bearer_auth(token.trim());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(failed)?;
        let ok = response.status().is_success();
        let value: Value = response.json().await.map_err(failed)?;
        if ok {
            return Ok(value);
        }
        let why = value["error"]["message"].as_str().unwrap_or_default().into();
        Err(SandboxError::NoAnswer { port: self.state.port, why })
    }

    /// The variables that point Google's tools, and this one, at the sandbox.
    pub fn exports(&self) -> Vec<(String, String)> {
        let endpoints = self.endpoints();
        let overrides = [
            ("COMPUTE", endpoints.compute),
            ("STORAGE", format!("{}storage/v1/", endpoints.storage)),
            ("IAM", endpoints.iam),
            ("CLOUDRESOURCEMANAGER", endpoints.cloudresourcemanager),
            ("CLOUDBILLING", endpoints.cloudbilling),
            ("SERVICEUSAGE", endpoints.serviceusage),
            ("SECRETMANAGER", endpoints.secretmanager),
        ];
        let mut exports: Vec<(String, String)> = overrides
            .into_iter()
            .map(|(api, endpoint)| (format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"), endpoint))
            .collect();
        let base = self.base();
        let (key, project) = (self.credentials().display().to_string(), self.state.project.clone());
        let mut also = |name: &str, value: String| exports.push((name.to_owned(), value));
        // gcloud takes credentials and project by names of its own.
        also("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", key.clone());
        also("CLOUDSDK_AUTH_TOKEN_HOST", format!("{base}token"));
        also("CLOUDSDK_CORE_PROJECT", project.clone());
        // Terraform's google provider.
        for (api, path) in [
            ("COMPUTE", "compute/v1/"),
            ("STORAGE", "storage/v1/"),
            ("IAM_BETA", "v1/"),
            ("RESOURCE_MANAGER", "v1/"),
            ("RESOURCE_MANAGER_V3", "v3/"),
            ("SERVICE_USAGE", "v1/"),
            ("SECRET_MANAGER", "v1/"),
        ] {
            also(&format!("GOOGLE_{api}_CUSTOM_ENDPOINT"), format!("{base}{path}"));
        }
        // By this name, clients need no credentials (see `server`).
        also("STORAGE_EMULATOR_HOST", format!("http://localhost:{}", self.state.port));
        also("GOOGLE_APPLICATION_CREDENTIALS", key);
        also("GOOGLE_CLOUD_PROJECT", project);
        exports
    }
}

/// A process that is somebody else's child. Its `/proc` says little while it ends: its command
/// line is empty before its threads are gone. The kernel says when all of them are.
struct Process(OwnedFd);

impl Process {
    /// `None` where it has ended already.
    fn open(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        pidfd_open(pid, PidfdFlags::empty()).ok().map(Self)
    }

    fn has_ended(&self) -> bool {
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&Timespec::default())) == Ok(1)
    }
}
