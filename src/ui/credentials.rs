//! The results of `credentials`: the certificates that there are, and what a
//! client does with its own. No key is ever part of them.

use dorainfra_deploy::workflow::credentials::CredentialStatus;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::state::mark;
use super::{Role, Style, Table, View};

/// All of a deployment's.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Credentials {
    pub deployment: String,
    pub project: String,
    /// What was done, in a sentence.
    pub done: Option<String>,
    pub credentials: Vec<CredentialStatus>,
}

pub(super) fn table(credentials: &[CredentialStatus]) -> Table {
    let mut table = Table::bare().indent(2);
    for one in credentials {
        let (role, symbol) = mark(one.state);
        table.row([
            (role, symbol),
            (Role::Plain, &one.name),
            (Role::Faint, if one.kind == one.name { "" } else { &one.kind }),
            (Role::Faint, &one.detail),
        ]);
    }
    table
}

impl View for Credentials {
    fn human(&self, style: &Style) -> String {
        let mut out = format!(
            "{} of {} in {}\n",
            style.paint(Role::Heading, "Certificates"),
            self.deployment,
            self.project
        );
        match self.credentials.is_empty() {
            true => out.push_str("  none yet: `dorainfra apply` makes them\n"),
            false => out.push_str(&table(&self.credentials).render(style)),
        }
        if let Some(done) = &self.done {
            out.push_str(&format!(
                "\n{} {}\n",
                style.paint(Role::Good, "✓"),
                super::text::hang(done, 2, style)
            ));
        }
        out
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).expect("a list is plain data with string keys")
    }
}

/// A client's certificate, and what to write into its configuration.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Issued {
    pub client: String,
    pub detail: String,
    /// The secret that holds certificate and key.
    pub secret: String,
    /// Whether the files are there; else where they are thought to be put.
    pub written: bool,
    pub ca: String,
    pub certificate: String,
    pub key: String,
    /// Parts of configuration files, YAML.
    pub prometheus: String,
    pub grafana: String,
}

impl View for Issued {
    fn human(&self, style: &Style) -> String {
        let heading = |text: &str| style.paint(Role::Heading, text);
        let mut out = format!("{} {}, {}\n", heading("Certificate of"), self.client, self.detail);
        out.push_str(&format!("  in Secret Manager as {}\n", self.secret));
        match self.written {
            true => {
                for path in [&self.ca, &self.certificate, &self.key] {
                    out.push_str(&format!("  {path}\n"));
                }
            }
            false => out.push_str(&format!(
                "  no file was written: `dorainfra credentials issue {} --out DIR` writes them\n",
                self.client
            )),
        }
        for (title, text) in [
            ("Prometheus, in prometheus.yml", &self.prometheus),
            ("Grafana, in provisioning/datasources", &self.grafana),
        ] {
            out.push_str(&format!("\n{}\n{}\n", heading(title), text.trim_end()));
        }
        out
    }

    fn brief(&self, _: &Style) -> String {
        match self.written {
            true => format!("{}\n{}\n{}\n", self.ca, self.certificate, self.key),
            false => String::new(),
        }
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).expect("a certificate's paths are plain data with string keys")
    }
}
