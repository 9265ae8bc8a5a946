//! That all of a history was compared, sample by sample, is remembered in `.dorainfra/NAME/proven.json`: with
//! where it was, in which boot of which machines, and what the configuration and this program were. As
//! long as all of that is the same, an `apply` with nothing to do proves it by numbers and sums
//! (`verify::Sums`), and anything that is another has every sample compared.

use std::path::PathBuf;
use std::sync::Arc;

use dorainfra_prometheus::Target;
use dorainfra_prometheus::query::Query;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::past::aside;
use super::run::Run;
use super::workspace::Workspace;
use crate::machine;
use crate::stack::private;
use crate::verify::{Known, Sums};

#[derive(Serialize, Deserialize)]
struct Record {
    /// A digest of all that the proof depends on.
    of: String,
}

/// All that a proof depends on.
#[derive(Clone)]
struct Basis<'a> {
    target: &'a Target,
    /// As they were when they were ready.
    machines: &'a [machine::Report],
    history: &'a str,
    config: &'a str,
    bundle: &'a str,
    engine: &'a str,
    program: &'a str,
}

impl Basis<'_> {
    /// `None`: a machine does not tell which boot it is in.
    fn digest(&self) -> Option<String> {
        if self.machines.is_empty() || self.machines.iter().any(|machine| machine.boot.is_empty()) {
            return None;
        }
        let (target, connect) = (self.target, self.target.connect.to_string());
        let (write, tenant) = (target.write_url(), target.tenant.clone().unwrap_or_default());
        let authority = target.tls.as_ref().map_or("", |tls| tls.ca.as_str());
        let mut of = vec![write.as_str(), &target.base_url, &connect, &tenant, authority];
        of.extend([self.history, self.config, self.bundle, self.engine, self.program]);
        for one in self.machines {
            of.extend([one.machine.as_str(), &one.boot, &one.bundle, &one.certificate]);
        }
        let mut digest = Sha256::new();
        for text in of {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
        Some(hex::encode(digest.finalize()))
    }
}

impl Run {
    /// Whether the history is what was compared before; `unchanged`: this run has nothing to do. What
    /// can't be told counts as no.
    pub(super) async fn is_as_proven(&self, query: &Query, target: &Target, unchanged: bool) -> bool {
        let Some(kept) = self.kept_proof().filter(|_| unchanged) else { return false };
        let Some(sums) = self.sums().await else { return false };
        if self.proof(target, sums) != Some(kept) {
            return false;
        }
        let stored = sums.are_stored(query).await.unwrap_or(false);
        if stored {
            let _ = self.history_known.set(Known::Unchanged);
        }
        stored
    }

    /// Keeps that everything was found as it has to be, or that it was not.
    pub(super) async fn keep_proof(&self, target: &Target, proven: bool) {
        if !proven {
            let _ = std::fs::remove_file(self.proof_file());
            return;
        }
        // Of what was not compared by this run nothing new is known.
        if self.history_known.get() == Some(&Known::Unchanged) {
            return;
        }
        let Some(sums) = self.sums().await else { return };
        let Some(of) = self.proof(target, sums) else { return };
        let text = serde_json::to_vec_pretty(&Record { of }).unwrap_or_default();
        let _ = private::write(&self.proof_file(), &text, None);
    }

    fn proof_file(&self) -> PathBuf {
        self.workspace.state().join(&self.project.config.name).join("proven.json")
    }

    fn kept_proof(&self) -> Option<String> {
        let text = dorainfra_base::file::text(&self.proof_file()).ok()?;
        serde_json::from_str::<Record>(&text).ok().map(|record| record.of)
    }

    async fn sums(&self) -> Option<&Sums> {
        if let Some(sums) = self.history_sums.get() {
            return Some(sums);
        }
        let history = Arc::clone(self.past_aside().await.ok()?);
        let sums = aside(move || Sums::of(&*history)).await;
        Some(self.history_sums.get_or_init(|| sums))
    }

    fn proof(&self, target: &Target, sums: &Sums) -> Option<String> {
        let basis = Basis {
            target,
            machines: self.machines_found.get()?,
            history: sums.digest(),
            config: &serde_json::to_string(&self.project.config).ok()?,
            bundle: &self.blueprint.bundle,
            engine: &self.facts.engine.sha256,
            program: &self.program(),
        };
        basis.digest()
    }

    /// This program: another one may compare otherwise.
    fn program(&self) -> String {
        let program = std::fs::metadata(&self.workspace.executable);
        program.map(|data| format!("{} {:?}", data.len(), data.modified().ok())).unwrap_or_default()
    }
}

/// Nothing is proven any more: the deployment is gone.
pub(super) fn forget(workspace: &Workspace, deployment: &str) {
    let _ = std::fs::remove_file(workspace.state().join(deployment).join("proven.json"));
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use dorainfra_prometheus::Flavour;

    use super::*;

    #[test]
    fn a_proof_is_of_one_endpoint_boot_history_and_configuration() {
        let connect = SocketAddr::from((Ipv4Addr::LOCALHOST, 9009));
        let target = Target::new(Flavour::Mimir, "https://mimir:9009", connect);
        let machine = |boot: &str| machine::Report { boot: boot.into(), ..machine::Report::default() };
        let (machines, again) = ([machine("a")], [machine("b")]);
        let (elsewhere, tenant) = (
            Target { connect: SocketAddr::from((Ipv4Addr::LOCALHOST, 9010)), ..target.clone() },
            target.clone().with_tenant("other"),
        );
        let basis = Basis {
            target: &target,
            machines: &machines,
            history: "h",
            config: "{}",
            bundle: "b",
            engine: "e",
            program: "p",
        };
        let first = basis.digest().unwrap();
        assert_eq!(basis.digest().unwrap(), first);
        for other in [
            Basis { target: &elsewhere, ..basis.clone() },
            Basis { target: &tenant, ..basis.clone() },
            Basis { machines: &again, ..basis.clone() },
            Basis { history: "i", ..basis.clone() },
            Basis { config: "{ }", ..basis.clone() },
            Basis { bundle: "c", ..basis.clone() },
            Basis { engine: "f", ..basis.clone() },
            Basis { program: "q", ..basis.clone() },
        ] {
            assert_ne!(other.digest().unwrap(), first);
        }
        // Who does not say which boot it is in may have begun anew.
        assert_eq!(Basis { machines: &[machine("")], ..basis.clone() }.digest(), None);
        assert_eq!(Basis { machines: &[], ..basis }.digest(), None);
    }
}
