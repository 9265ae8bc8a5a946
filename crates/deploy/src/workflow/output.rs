//! What a deployment is called and where it is reached, as names and values for scripts. Of what is
//! secret the paths, and never what is in them.

use dorainfra_config::{Grafana, Tls, Topology};
use dorainfra_gcp::{Api, Call};
use dorainfra_model::Events;
use dorainfra_prometheus::{Flavour, Target};
use serde_json::{Value, json};

use super::error::Result;
use super::project::Project;
use super::workspace::Workspace;
use super::{engine, stack};
use crate::blueprint::{Names, PORT};
use crate::resource;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub name: &'static str,
    pub value: Value,
    /// Why there is none, and what makes it.
    pub lacks: Option<&'static str>,
}

/// All names, in the order in which they are shown.
pub const OUTPUTS: [&str; 22] = [
    "deployment",
    "project",
    "region",
    "zones",
    "topology",
    "machines",
    "bucket",
    "service_account",
    "endpoint",
    "address",
    "mimir_url",
    "query_url",
    "write_url",
    "tenant",
    "ca_file",
    "client_certificate_file",
    "client_key_file",
    "prometheus_port",
    "pushgateway_port",
    "generator_port",
    "grafana_url",
    "stack_folder",
];

const NO_ADDRESS: &str = "it has no address yet: `dorainfra apply` makes one";
const NO_FILE: &str = "the file is not on this machine: `dorainfra stack up` writes it";
const NO_TLS: &str = "`access.tls` is off: nothing is encrypted";
const NO_CLIENTS: &str = "`access.tls` is not mutual: clients show no certificate";
const NO_GRAFANA: &str = "Grafana runs with the stack in containers only (`stack.runtime`, `stack.grafana`)";

/// The values of these names, or all of them. Only an address, and which engine takes what is written,
/// are asked for; everything else follows from the configuration.
///
/// # Errors
/// No project is named, or the cloud does not say the address.
pub async fn outputs(
    workspace: &Workspace,
    project: &Project,
    names: &[&'static str],
    events: &Events,
) -> Result<Vec<Output>> {
    let config = &project.config;
    config.require_project()?;
    let wants = |asked: &[&str]| names.iter().any(|name| asked.contains(name));
    let address = match wants(&["address"]) || (wants(&["endpoint"]) && config.access.endpoint.is_none()) {
        true => address(project).await?,
        false => None,
    };
    let write_path = match wants(&["write_url"]) {
        true => {
            Target::new(engine::seen(workspace, project, events).await?.flavour, "", nowhere()).write_path
        }
        false => String::new(),
    };
    let grafana = wants(&["grafana_url"])
        && config.stack.grafana == Grafana::Run
        && matches!(stack::runtime(workspace, config).await, Ok(Some(_)));
    let resources = Names::of(config);
    let tls = workspace.stack_folder(&config.name).join("tls");
    let scheme = if config.access.tls == Tls::Off { "http" } else { "https" };
    let mimir = format!("{scheme}://{}:{PORT}", resources.server_name);
    let machines = resources.replicas.iter();
    let value = |name: &'static str| -> (Value, Option<&'static str>) {
        let or = |value: Option<String>, lacks: &'static str| match value {
            Some(value) => (json!(value), None),
            None => (Value::Null, Some(lacks)),
        };
        let file = |name: &str| {
            let path = tls.join(name);
            or(path.exists().then(|| path.display().to_string()), NO_FILE)
        };
        let value = match name {
            "deployment" => json!(config.name),
            "project" => json!(config.project),
            "region" => json!(config.region),
            "zones" => json!(machines.clone().map(|one| &one.zone).collect::<Vec<_>>()),
            "topology" => json!(match config.mimir.topology {
                Topology::Single => "single",
                Topology::Ha => "ha",
            }),
            "machines" => json!(machines.clone().map(|one| &one.instance).collect::<Vec<_>>()),
            "bucket" => json!(resources.bucket),
            "service_account" => json!(service_account(project)),
            "endpoint" => match &config.access.endpoint {
                Some(endpoint) => json!(endpoint),
                None => return or(address.as_ref().map(|at| format!("{at}:{PORT}")), NO_ADDRESS),
            },
            "address" => return or(address.clone(), NO_ADDRESS),
            "mimir_url" => json!(mimir),
            "query_url" => json!(Target::new(Flavour::Mimir, mimir.clone(), nowhere()).query_url("")),
            "write_url" => json!(format!("{mimir}{write_path}")),
            "tenant" => json!(config.mimir.tenant),
            "ca_file" | "client_certificate_file" | "client_key_file" if config.access.tls == Tls::Off => {
                return (Value::Null, Some(NO_TLS));
            }
            "ca_file" => return file("ca.crt"),
            "client_certificate_file" | "client_key_file" if config.access.tls != Tls::Mutual => {
                return (Value::Null, Some(NO_CLIENTS));
            }
            "client_certificate_file" => return file("client.crt"),
            "client_key_file" => return file("client.key"),
            "prometheus_port" => json!(config.stack.ports.prometheus),
            "pushgateway_port" => json!(config.stack.ports.pushgateway),
            "generator_port" => json!(config.stack.ports.generator),
            "grafana_url" => {
                let url = format!("http://127.0.0.1:{}", config.stack.ports.grafana);
                return or(grafana.then_some(url), NO_GRAFANA);
            }
            "stack_folder" => json!(workspace.stack_folder(&config.name)),
            _ => Value::Null,
        };
        (value, None)
    };
    let output = |name: &&'static str| {
        let (value, lacks) = value(name);
        Output { name, value, lacks }
    };
    Ok(names.iter().map(output).collect())
}

/// For a target of which the paths alone are wanted.
fn nowhere() -> std::net::SocketAddr {
    ([0, 0, 0, 0], PORT).into()
}

/// Who the machines are.
fn service_account(project: &Project) -> String {
    let config = &project.config;
    let own = || format!("{}-mimir@{}.iam.gserviceaccount.com", config.name, config.project);
    config.mimir.service_account.clone().unwrap_or_else(own)
}

/// Where Mimir is reached, as the cloud has it; `None`: it is not made yet.
async fn address(project: &Project) -> Result<Option<String>> {
    let config = &project.config;
    let path = format!("regions/{}/addresses/{}", config.region, Names::of(config).endpoint);
    let answer = resource::found(project.client()?.call(&Call::get(Api::Compute, path)).await)?;
    Ok(answer.and_then(|answer| answer["address"].as_str().map(str::to_owned)))
}
