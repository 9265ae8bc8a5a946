//! `templates/vm/*` → the startup script, and the bundle that it fetches: one
//! tar with everything that the machine installs, named by its digest.

use dorainfra_prometheus::Flavour;
use dorainfra_render::{Context, Renderer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{BlueprintError, File, extra};

/// Template and file name in the bundle.
const SHARED: [(&str, &str); 5] = [
    ("vm/machine.sh.j2", "machine"),
    ("vm/bundle.json.j2", "bundle.json"),
    ("vm/dorainfra-agent.service.j2", "dorainfra-agent.service"),
    ("vm/dorainfra-grow.service.j2", "dorainfra-grow.service"),
    // The one unit for either engine.
    ("vm/mimir.service.j2", "mimir.service"),
];
const MIMIR: [(&str, &str); 1] = [("vm/mimir.yaml.j2", MIMIR_YAML)];
const MIMIR_YAML: &str = "mimir.yaml";
/// Behind a load balancer.
const REPLICA: [(&str, &str); 4] = [
    ("vm/readiness.py.j2", "readiness"),
    ("vm/dorainfra-readiness.service.j2", "dorainfra-readiness.service"),
    ("vm/metrics.py.j2", "metrics"),
    ("vm/dorainfra-metrics.service.j2", "dorainfra-metrics.service"),
];
const EXECUTABLE: [&str; 3] = ["machine", "readiness", "metrics"];
const STAND_IN: [(&str, &str); 2] = [
    ("vm/standin-prometheus.yml.j2", "standin-prometheus.yml"),
    ("vm/standin-web.yml.j2", "standin-web.yml"),
];
const STARTUP_SCRIPT: &str = "vm/startup-script.sh.j2";

pub(super) struct Machine {
    pub startup_script: String,
    /// A tar of the files that are not the startup script.
    pub bundle: Vec<u8>,
    /// Lower-case hex SHA-256 of `bundle`.
    pub digest: String,
    /// `vm/…`, the startup script included.
    pub files: Vec<File>,
}

/// Renders the machine's files for one engine, for one of three replicas where `ha`; `extra` are Mimir's own keys, laid
/// over its configuration; `more` are files that are taken as they are.
pub(super) fn machine(
    renderer: &Renderer<'_>,
    context: &Context,
    flavour: Flavour,
    ha: bool,
    extra: &Map<String, Value>,
    more: Vec<File>,
) -> Result<Machine, BlueprintError> {
    let own: &[(&str, &str)] = match flavour {
        Flavour::Mimir => &MIMIR,
        Flavour::StandIn => &STAND_IN,
    };
    let replica: &[(&str, &str)] = if ha { &REPLICA } else { &[] };
    let mut files = SHARED
        .iter()
        .chain(own)
        .chain(replica)
        .map(|(template, name)| {
            let rendered = renderer.render(template, context)?.text;
            Ok(File {
                path: (*name).to_owned(),
                contents: match *name {
                    MIMIR_YAML => extra::laid_over(rendered, extra)?,
                    _ => rendered,
                },
                executable: EXECUTABLE.contains(name),
            })
        })
        .collect::<Result<Vec<File>, BlueprintError>>()?;
    files.extend(more);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let bundle = tar(&files);
    let digest = hex::encode(Sha256::digest(&bundle));
    let startup_script = renderer.render(STARTUP_SCRIPT, context)?.text;
    files.push(File { path: "startup-script.sh".into(), contents: startup_script.clone(), executable: true });
    files.iter_mut().for_each(|file| file.path.insert_str(0, "vm/"));
    Ok(Machine { startup_script, bundle, digest, files })
}

/// The same files always make the same bytes: no times, no owners, the given order.
fn tar(files: &[File]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(file.contents.len() as u64);
        header.set_mode(if file.executable { 0o755 } else { 0o644 });
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive
            .append_data(&mut header, &file.path, file.contents.as_bytes())
            .expect("short names and a vector to write to leave nothing to fail");
    }
    archive.into_inner().expect("writing to a vector does not fail")
}
