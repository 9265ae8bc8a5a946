//! Whether somebody pays for the project: without that the first write is refused, and
//! what was made before somebody took the account away stops.

use dorainfra_engine::{Finding, Manifest, ResourceId};
use dorainfra_gcp::{Api, Call};

use super::super::Cloud;
use super::Found;

/// Kinds that need an account that pays.
const PAID: [&str; 4] = ["serviceusage.services", "compute.disk", "compute.instance", "storage.bucket"];

pub(super) async fn findings(cloud: &Cloud, manifests: &[&Manifest]) -> Found {
    match manifests.iter().find(|manifest| PAID.contains(&manifest.kind.as_str())) {
        Some(first) => asked(cloud, first.id()).await,
        None => Found::default(),
    }
}

/// The same, whatever is made.
pub async fn billing(cloud: &Cloud) -> Option<Finding> {
    let project = ResourceId::new("serviceusage.services", cloud.client.project());
    asked(cloud, project).await.findings.pop()
}

async fn asked(cloud: &Cloud, subject: ResourceId) -> Found {
    let mut found = Found::default();
    let project = cloud.client.project();
    let call = Call::get(Api::Billing, format!("v1/projects/{project}/billingInfo"));
    match cloud.client.call(&call).await {
        Ok(info) if info["billingEnabled"] == true => {}
        Ok(_) => found.findings.push(Finding {
            subject,
            problem: format!("the project {project} has no billing account, or one that is closed"),
            instead: format!(
                "`gcloud billing projects link {project} --billing-account ACCOUNT` (`gcloud billing accounts list` \
                 shows yours)"
            ),
            refuses: true,
        }),
        Err(error) => found.unread(
            subject,
            "whether somebody pays for the project (Cloud Billing API) is",
            &error,
            "roles/browser",
        ),
    }
    found
}
