//! `templates/stack/*` → the collector stack's files, and Grafana's dashboards and
//! alert rules, which are generated from `grafana/*.rs` and taken as they are.

use dorainfra_config::Config;
use dorainfra_prometheus::Flavour;
use dorainfra_render::{Context, Overrides, Renderer, SUFFIX};
use include_dir::{Dir, include_dir};
use serde_json::json;

use super::context::{self, Names, PORT};
use super::{BlueprintError, Facts, File};

static DASHBOARDS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../grafana/dashboards");
static ALERTING: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../grafana/alerting");

/// Where the engine takes remote writes.
pub fn remote_write_path(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Mimir => "/api/v1/push",
        Flavour::StandIn => "/prometheus/api/v1/write",
    }
}

/// The reference to the endpoint's address, which stands for it before it is known.
pub fn endpoint_reference(config: &Config) -> String {
    format!("${{compute.address/{}.address}}", Names::of(config).endpoint)
}

/// The stack's files, for Mimir at `endpoint` and `port`: an IPv4 address, or
/// [`endpoint_reference`] as long as there is none.
///
/// # Errors
/// As [`super::build`], of the configuration and the stack's templates.
pub fn stack_files(
    config: &Config,
    facts: &Facts,
    overrides: &Overrides,
    endpoint: &str,
    port: u16,
    remote_write_path: &str,
) -> Result<Vec<File>, BlueprintError> {
    let base = context::base(config, facts)?;
    let renderer = Renderer::new(overrides);
    render(&renderer, &context::with_endpoint(&base, config, facts, endpoint, port, remote_write_path))
}

/// Where a client has its files, as its configuration is to name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPaths {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

/// What a client's certificate is issued for.
pub fn common_name(config: &Config, client: &str) -> String {
    format!("{} client {client}", config.name)
}

/// What a client of Mimir at `endpoint` writes into its own configuration:
/// Prometheus's, Grafana's.
///
/// # Errors
/// As [`super::build`], of the configuration and these templates.
pub fn snippets(
    config: &Config,
    facts: &Facts,
    overrides: &Overrides,
    endpoint: &str,
    files: &ClientPaths,
) -> Result<[String; 2], BlueprintError> {
    let base = context::base(config, facts)?;
    let path = remote_write_path(facts.engine.flavour);
    let mut values = context::with_endpoint(&base, config, facts, endpoint, PORT, path);
    values["files"] = json!({"ca": files.ca, "certificate": files.certificate, "key": files.key});
    let (renderer, context) = (Renderer::new(overrides), Context::new(&values));
    let text = |template: &str| Ok::<_, BlueprintError>(renderer.render(template, &context)?.text);
    Ok([text("credentials/remote-write.yml.j2")?, text("credentials/datasource.yaml.j2")?])
}

pub(super) fn render(
    renderer: &Renderer<'_>,
    values: &serde_json::Value,
) -> Result<Vec<File>, BlueprintError> {
    let context = Context::new(values);
    let rendered = renderer.names("stack/").into_iter().map(|template| {
        let contents = renderer.render(&template, &context)?.text;
        let path = template.strip_suffix(SUFFIX).unwrap_or(&template).to_owned();
        Ok(File { path, contents, executable: false })
    });
    rendered.chain(pictures().map(Ok)).collect()
}

/// What Grafana provisions; a dashboard's folder is its folder in Grafana.
fn pictures() -> impl Iterator<Item = File> {
    [(&DASHBOARDS, "stack/grafana/dashboards/DORA"), (&ALERTING, "stack/grafana/provisioning/alerting")]
        .into_iter()
        .flat_map(|(files, folder)| files.files().map(move |file| (file, folder)))
        .filter_map(|(file, folder)| {
            let name = file.path().to_str()?;
            let contents = file.contents_utf8()?.to_owned();
            Some(File { path: format!("{folder}/{name}"), contents, executable: false })
        })
}
