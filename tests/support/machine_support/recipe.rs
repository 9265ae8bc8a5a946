//! Bundles: the templates rendered as the product renders them, with an engine.

use std::path::Path;

use dorainfra_render::{Context, Overrides, Renderer};
use serde_json::json;

use super::{PROJECT, SERVER_NAME, sha256};

/// A program to run on the machine, and its SHA-256.
#[derive(Clone)]
pub struct Engine {
    pub bytes: bytes::Bytes,
    pub sha256: String,
}

impl Engine {
    /// The digest comes from coreutils: of a hundred megabytes, an unoptimized
    /// build of ours would take half a minute.
    pub fn of(binary: &Path) -> Self {
        let output = std::process::Command::new("sha256sum").arg(binary).output().unwrap();
        let sha256 = String::from_utf8(output.stdout).unwrap()[..64].to_owned();
        Self { bytes: std::fs::read(binary).unwrap().into(), sha256 }
    }
}

/// What a bundle is made from.
#[derive(Clone)]
pub struct Recipe {
    pub flavour: &'static str,
    pub version: &'static str,
    pub engine: Engine,
    pub out_of_order_window: String,
    /// Replaces the bundle's `machine`.
    pub machine: Option<&'static str>,
}

impl Recipe {
    /// A stand-in engine that listens at once: see `ENGINE`.
    pub fn quick() -> Self {
        Self {
            flavour: "stand-in",
            version: "2.42.0",
            engine: Engine { bytes: ENGINE.into(), sha256: sha256(ENGINE.as_bytes()) },
            out_of_order_window: "400d".into(),
            machine: None,
        }
    }

    pub fn window(mut self, window: &str) -> Self {
        self.out_of_order_window = window.into();
        self
    }

    pub fn render(&self, template: &str) -> String {
        let label = match self.flavour {
            "mimir" => format!("mimir {}", self.version),
            _ => format!("prometheus {} (standing in for mimir)", self.version),
        };
        let values = json!({
            "name": "dora",
            "project": PROJECT,
            "region": "europe-west1",
            "ha": false,
            "replicas": [],
            "bucket": "lab-bucket",
            "server_name": SERVER_NAME,
            "access": {"tls": "mutual"},
            "rule_files": [],
            "generator": {"native_histograms": false},
            "engine": {
                "flavour": self.flavour, "version": self.version, "sha256": self.engine.sha256,
                "label": label,
                "querier_ring": dorainfra_config::mimir_version(self.version).querier_ring,
            },
            "alerts": {"url": null},
            "mimir": {
                "log_level": "info",
                "retention": "2y",
                "tenant": "dora",
                "limits": {
                    "max_series": 150_000,
                    "ingestion_rate": 200_000,
                    "ingestion_burst": 2_000_000,
                    "out_of_order_window": &self.out_of_order_window,
                },
            },
        });
        let name = format!("vm/{template}");
        Renderer::new(&Overrides::none()).render(&name, &Context::new(&values)).unwrap().text
    }

    pub fn bundle(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, contents: &str| {
            let mut header = tar::Header::new_ustar();
            header.set_size(contents.len() as u64);
            header.set_mode(if name == "machine" { 0o755 } else { 0o644 });
            tar.append_data(&mut header, name, contents.as_bytes()).unwrap();
        };
        add("machine", &self.machine.map_or_else(|| self.render("machine.sh.j2"), str::to_owned));
        for template in [
            "mimir.service.j2",
            "dorainfra-agent.service.j2",
            "dorainfra-grow.service.j2",
            "mimir.yaml.j2",
            "standin-prometheus.yml.j2",
            "standin-web.yml.j2",
            "bundle.json.j2",
        ] {
            add(template.trim_end_matches(".j2"), &self.render(template));
        }
        tar.into_inner().unwrap()
    }
}

/// Mutual TLS and a readiness route, as the stand-in has them; a line in
/// `data/starts` for each start, and an early end for a configuration that it
/// does not understand.
const ENGINE: &str = include_str!("engine.py");
