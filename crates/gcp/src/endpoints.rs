//! Where each API answers: Google, or the sandbox.

use serde::{Deserialize, Serialize};

/// Base addresses of the APIs, each ending in `/`; in the form that gcloud's
/// `CLOUDSDK_API_ENDPOINT_OVERRIDES_<API>` uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// `https://compute.googleapis.com/compute/v1/`
    pub compute: String,
    /// `https://storage.googleapis.com/` (without `storage/v1/`: object data and
    /// uploads live beside it)
    pub storage: String,
    /// `https://iam.googleapis.com/`
    pub iam: String,
    /// `https://cloudresourcemanager.googleapis.com/`
    pub cloudresourcemanager: String,
    /// `https://cloudbilling.googleapis.com/`
    pub cloudbilling: String,
    /// `https://serviceusage.googleapis.com/`
    pub serviceusage: String,
    /// `https://secretmanager.googleapis.com/`
    pub secretmanager: String,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            compute: "https://compute.googleapis.com/compute/v1/".into(),
            storage: "https://storage.googleapis.com/".into(),
            iam: "https://iam.googleapis.com/".into(),
            cloudresourcemanager: "https://cloudresourcemanager.googleapis.com/".into(),
            cloudbilling: "https://cloudbilling.googleapis.com/".into(),
            serviceusage: "https://serviceusage.googleapis.com/".into(),
            secretmanager: "https://secretmanager.googleapis.com/".into(),
        }
    }
}
