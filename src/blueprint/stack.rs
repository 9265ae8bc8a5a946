//! `templates/stack/*` → the collector stack's files.

use super::context::{self, Names};
use super::{BlueprintError, Facts, File, Flavour};
use crate::config::Config;
use crate::render::{Context, Overrides, Renderer, SUFFIX};

/// Where the engine takes remote writes.
pub fn remote_write_path(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Mimir => "/api/v1/push",
        Flavour::StandIn => "/prometheus/api/v1/write",
    }
}

/// The reference to the machine's address, which stands for it before it is known.
pub fn endpoint_reference(config: &Config) -> String {
    format!("${{compute.address/{}.address}}", Names::of(config).address)
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
    render(&renderer, &context::with_endpoint(&base, config, endpoint, port, remote_write_path))
}

pub(super) fn render(
    renderer: &Renderer<'_>,
    values: &serde_json::Value,
) -> Result<Vec<File>, BlueprintError> {
    let context = Context::new(values);
    renderer
        .names("stack/")
        .into_iter()
        .map(|template| {
            let contents = renderer.render(&template, &context)?.text;
            let path = template.strip_suffix(SUFFIX).unwrap_or(&template).to_owned();
            Ok(File { path, contents, executable: false })
        })
        .collect()
}
