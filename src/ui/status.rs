//! The result of `status`: what exists, what runs, and where to reach it.

use dorainfra_config::Feeds;
use dorainfra_deploy::workflow::State;
use dorainfra_deploy::workflow::credentials::CredentialStatus;
use dorainfra_deploy::workflow::stack::PartStatus;
use dorainfra_engine::ResourceId;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::credentials;
use super::state::mark;
use super::text::{self, count, plural};
use super::{Role, Style, Table, View, labels};

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ResourceStatus {
    pub id: ResourceId,
    pub state: State,
    /// "as configured", "does not exist", "differs: machineType".
    pub detail: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MachineStatus {
    pub name: String,
    pub state: State,
    /// The last stage that the machine reported.
    pub stage: String,
    /// SHA-256 of the bundle that runs; empty before the first.
    pub bundle: String,
    pub engine: String,
    pub address: String,
    /// Detail or error, in the machine's words.
    pub message: String,
}

/// One replica, as the others see it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RingMember {
    pub name: String,
    pub state: State,
    pub zone: String,
    /// `active`, `unhealthy`, `leaving`.
    pub says: String,
    pub address: String,
    /// When it was heard of last: RFC 3339, or in the ring's own words.
    pub heard: String,
}

/// How much of the history is in the bucket, and what is newer than that.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BucketStatus {
    pub state: State,
    pub blocks: u64,
    pub samples_sent: u64,
    pub samples_in_bucket: u64,
    /// Of which a listing does not tell whether they are there.
    pub samples_unsure: u64,
    /// The first millisecond since 1970 that no block has.
    pub newest_ms: Option<i64>,
    /// The last moment that a block reaches to: RFC 3339.
    pub newest: Option<String>,
    /// Samples that are newer; `None`: they could not be counted.
    pub samples_newer: Option<u64>,
    /// Blocks that lack a file: name, file, and what is wrong.
    pub damaged: Vec<String>,
}

impl BucketStatus {
    /// What is in the bucket, and what is not.
    fn words(&self) -> [String; 2] {
        let (sent, held) = (self.samples_sent, self.samples_in_bucket);
        let history = format!("{} of {} samples of the history", count(held), count(sent));
        let mut missing = Vec::new();
        let samples = |number| plural(usize::try_from(number).unwrap_or(usize::MAX), "sample");
        let lacking = sent.saturating_sub(held).saturating_sub(self.samples_unsure);
        if lacking > 0 {
            missing.push(format!("{} not there", samples(lacking)));
        }
        missing.extend(self.newest.as_ref().map(|newest| match self.samples_newer {
            Some(0) => format!("nothing is newer than {newest}"),
            Some(newer) => format!("{} newer than {newest} on the machine only", samples(newer)),
            None => format!("up to {newest}"),
        }));
        let mut missing = missing.join("; ");
        if self.samples_unsure > 0 {
            let separator = if missing.is_empty() { "" } else { "; " };
            let unsure = samples(self.samples_unsure);
            missing.push_str(&format!(
                "{separator}{unsure} may be in blocks with live values: `dorainfra verify` reads them"
            ));
        }
        for damaged in &self.damaged {
            missing.push_str(&format!("; {damaged}"));
        }
        let blocks = plural(usize::try_from(self.blocks).unwrap_or(usize::MAX), "block");
        [format!("{history} in {blocks}"), missing]
    }
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Status {
    pub deployment: String,
    pub project: String,
    /// Where this looked: "Google Cloud" or "the sandbox on port N".
    pub cloud: String,
    /// Where Mimir's port is: `https://203.0.113.9:9009`.
    pub endpoint: Option<String>,
    /// The name in its certificate.
    pub server_name: Option<String>,
    /// What is fed, and of how many simulated teams; `None`: it is about the stack alone.
    pub feeds: Option<Feeds>,
    pub simulated_teams: u32,
    /// The sources that are fed: `git ../shop`.
    pub sources: Vec<String>,
    pub resources: Vec<ResourceStatus>,
    pub machines: Vec<MachineStatus>,
    /// Empty where there is one machine, or where nobody answers.
    pub ring: Vec<RingMember>,
    /// `None`: Prometheus stands in for Mimir, and writes no blocks.
    pub bucket: Option<BucketStatus>,
    pub stack: Vec<PartStatus>,
    pub credentials: Vec<CredentialStatus>,
    /// The command that opens a tunnel to a machine without an external address.
    pub tunnel: Option<String>,
    /// A command that asks the endpoint something.
    pub ask: Option<String>,
}

/// The result of `status`, and of `stack status`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Status")]
pub struct Standing {
    /// Whether everything is as it should be.
    ok: bool,
    #[serde(flatten)]
    status: Status,
}

impl Status {
    /// Whether everything is as it should be.
    pub fn ok(&self) -> bool {
        let resources = self.resources.iter().map(|resource| resource.state);
        let machines = self.machines.iter().map(|machine| machine.state);
        let ring = self.ring.iter().map(|member| member.state);
        let stack = self.stack.iter().map(|part| part.state);
        let credentials = self.credentials.iter().map(|one| one.state);
        // What is not there yet is not wrong yet.
        let bucket = self.bucket.iter().map(|one| one.state).filter(|state| *state == State::Failed);
        resources
            .chain(machines)
            .chain(ring)
            .chain(bucket)
            .chain(stack)
            .chain(credentials)
            .all(|state| state == State::Ok)
    }
}

impl View for Status {
    fn human(&self, style: &Style) -> String {
        let mut resources = Table::bare().indent(2);
        for resource in &self.resources {
            let id = labels::id(&resource.id);
            resources.row([mark(resource.state), (Role::Plain, &id), (Role::Faint, &resource.detail)]);
        }
        let mut machines = Table::bare().indent(2);
        for machine in &self.machines {
            let bundle: String = machine.bundle.chars().take(12).collect();
            machines.row([
                mark(machine.state),
                (Role::Plain, &machine.name),
                (Role::Plain, &machine.stage),
                (Role::Plain, &machine.engine),
                (Role::Plain, &machine.address),
                (Role::Faint, &bundle),
                (Role::Faint, if machine.state == State::Ok { "" } else { &machine.message }),
            ]);
        }
        let mut ring = Table::bare().indent(2);
        for member in &self.ring {
            ring.row([
                mark(member.state),
                (Role::Plain, &member.name),
                (Role::Plain, &member.zone),
                (Role::Plain, &member.says),
                (Role::Plain, &member.address),
                (Role::Faint, &member.heard),
            ]);
        }
        let mut bucket = Table::bare().indent(2);
        if let Some(found) = &self.bucket {
            let [held, missing] = found.words();
            bucket.row([mark(found.state), (Role::Plain, &held), (Role::Faint, &missing)]);
        }
        let mut stack = Table::bare().indent(2);
        for part in &self.stack {
            stack.row([mark(part.state), (Role::Plain, &part.part), (Role::Faint, &part.detail)]);
        }

        let mut out = self.brief(style);
        let certificates = credentials::table(&self.credentials);
        let tables = [
            ("Resources", resources),
            ("Machines", machines),
            ("Ring", ring),
            ("Bucket", bucket),
            ("Stack", stack),
            ("Certificates", certificates),
        ];
        for (title, table) in tables {
            if !table.is_empty() {
                out.push_str(&format!("\n{}\n{}", style.paint(Role::Heading, title), table.render(style)));
            }
        }
        for (title, command) in [("Reach it from outside", &self.tunnel), ("Ask it", &self.ask)] {
            if let Some(command) = command {
                let command = text::command(command, 2, style);
                out.push_str(&format!("\n{}\n  {command}\n", style.paint(Role::Heading, title)));
            }
        }
        out
    }

    fn brief(&self, style: &Style) -> String {
        let heading = style.paint(Role::Heading, &self.deployment);
        let name = self.server_name.as_deref().map_or_else(String::new, |name| format!(" ({name})"));
        let endpoint =
            self.endpoint.as_deref().map(|url| format!("  {}{name}", style.paint(Role::Accent, url)));
        let caution = match self.feeds.and_then(|feeds| feeds.caution(self.simulated_teams.into())) {
            Some(words) => format!("{} {words}\n", style.paint(Role::Caution, "!")),
            None if !self.sources.is_empty() => format!("data of {}\n", self.sources.join(", ")),
            None => String::new(),
        };
        format!("{heading} in {} ({}){}\n{caution}", self.project, self.cloud, endpoint.unwrap_or_default())
    }

    fn json(&self) -> Value {
        serde_json::to_value(Standing { ok: self.ok(), status: self.clone() })
            .expect("a status is plain data with string keys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_at_a_glance() {
        let resource = |id: &str, state, detail: &str| ResourceStatus {
            id: id.parse().unwrap(),
            state,
            detail: detail.into(),
        };
        let part =
            |part: &str, state, detail: &str| PartStatus { part: part.into(), state, detail: detail.into() };
        let certificate = |name: &str, state, detail: &str| CredentialStatus {
            name: name.into(),
            kind: if name == "server" { "server" } else { "client" }.into(),
            state,
            ends: None,
            version: "1".into(),
            detail: detail.into(),
        };
        let status = Status {
            deployment: "dorainfra".into(),
            project: "my-gcp".into(),
            cloud: "the sandbox on port 41234".into(),
            endpoint: Some("https://127.90.1.2:9009".into()),
            server_name: None,
            feeds: Some(Feeds::Simulated),
            simulated_teams: 39,
            sources: Vec::new(),
            resources: vec![
                resource("storage.bucket/my-gcp-dorainfra-mimir", State::Ok, "as configured"),
                resource("compute.firewall/dorainfra-ssh", State::Changed, "differs: sourceRanges"),
                resource("compute.disk/dorainfra-data", State::Absent, "does not exist"),
            ],
            machines: vec![MachineStatus {
                name: "dorainfra-mimir".into(),
                state: State::Ok,
                stage: "ready".into(),
                bundle: "0a1b2c3d4e5f60718293a4b5c6d7e8f9".into(),
                engine: "mimir 3.0.4".into(),
                address: "127.90.1.2".into(),
                message: String::new(),
            }],
            ring: vec![RingMember {
                name: "dorainfra-mimir-2".into(),
                state: State::Failed,
                zone: "europe-west1-c".into(),
                says: "unhealthy".into(),
                address: "10.132.0.3:9095".into(),
                heard: "2026-01-02T03:04:05Z".into(),
            }],
            bucket: Some(BucketStatus {
                state: State::Changed,
                blocks: 104,
                samples_sent: 539_885,
                samples_in_bucket: 538_411,
                samples_unsure: 0,
                newest_ms: Some(1_767_312_000_000),
                newest: Some("2026-01-01T23:59:59.999Z".into()),
                samples_newer: Some(7_776),
                damaged: Vec::new(),
            }),
            stack: vec![
                part("pushgateway", State::Ok, "running, pid 4711, 127.0.0.1:9091"),
                part("generator", State::Failed, "ended with code 1"),
            ],
            credentials: vec![
                certificate("server", State::Ok, "ends on 2027-11-26, in 365 days"),
                certificate("stack", State::Changed, "ends on 2026-12-20, in 24 days"),
            ],
            tunnel: Some("gcloud compute start-iap-tunnel dorainfra-mimir 9009".into()),
            ask: Some("curl https://127.90.1.2:9009/prometheus/api/v1/labels".into()),
        };
        insta::assert_snapshot!(status.human(&Style::plain()));
        assert!(!status.ok());
        assert_eq!(status.json()["machines"][0]["state"], "ok");
    }
}
