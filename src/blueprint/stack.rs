//! `templates/stack/*` → the collector stack's files, and Grafana's dashboards and
//! alert rules, which are generated from `grafana/*.rs` and taken as they are.

use include_dir::{Dir, include_dir};

use super::context::{self, Names};
use super::{BlueprintError, Facts, File, Flavour};
use crate::config::Config;
use crate::render::{Context, Overrides, Renderer, SUFFIX};

static DASHBOARDS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/grafana/dashboards");
static ALERTING: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/grafana/alerting");

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

/// The stack's files, for Mimir at `endpoint`: an IPv4 address, or
/// [`endpoint_reference`] as long as there is none.
///
/// # Errors
/// As [`super::build`], of the configuration and the stack's templates.
pub fn stack_files(
    config: &Config,
    facts: &Facts,
    overrides: &Overrides,
    endpoint: &str,
    remote_write_path: &str,
) -> Result<Vec<File>, BlueprintError> {
    let base = context::base(config, facts)?;
    let renderer = Renderer::new(overrides);
    render(&renderer, &context::with_endpoint(&base, config, endpoint, remote_write_path))
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
