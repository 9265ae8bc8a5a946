//! The one table of the keys that an item of `sources` may have.

use super::rules;
use super::schema::{Key, Kind};
use super::source_kind::SourceKind::{self, Cdevents, File, Git, Webhook};

/// A key of an item of `sources`.
pub struct Field {
    pub key: Key,
    /// The types that take it.
    pub types: Types,
    /// Of those, the ones that need it.
    pub needed: Types,
}

impl Field {
    pub fn name(&self) -> &'static str {
        self.key.split().1
    }
}

/// Some types of sources.
#[derive(Clone, Copy)]
pub enum Types {
    All,
    These(&'static [SourceKind]),
    /// All forges, and these.
    ForgesAnd(&'static [SourceKind]),
}

impl Types {
    pub fn has(self, kind: SourceKind) -> bool {
        match self {
            Self::All => true,
            Self::These(kinds) => kinds.contains(&kind),
            Self::ForgesAnd(kinds) => kind.is_forge() || kinds.contains(&kind),
        }
    }
}

const NONE: Types = Types::These(&[]);
const GIT: Types = Types::These(&[Git]);
const CDEVENTS: Types = Types::These(&[Cdevents]);
const WEBHOOK: Types = Types::These(&[Webhook]);
const FORGES: Types = Types::ForgesAnd(&[]);
const PROJECTS: Types = Types::ForgesAnd(&[Git]);
const OWNED: Types = Types::ForgesAnd(&[Git, Cdevents, Webhook]);
const ISSUES: Types = Types::ForgesAnd(&[Webhook]);
const RAN: Types = Types::ForgesAnd(&[Webhook]);
const TOLD: Types = Types::ForgesAnd(&[Cdevents]);

/// The mappings that come with the program: `mappings/`.
pub const MAPPINGS: [&str; 11] = [
    "alertmanager",
    "argo-rollouts",
    "argocd",
    "azure-devops",
    "bitbucket",
    "flux",
    "grafana-oncall",
    "jenkins",
    "jira",
    "opsgenie",
    "pagerduty",
];

pub const FIELDS: &[Field] = &[
    field(
        "sources.type",
        Kind::Choice(SourceKind::NAMES, &[]),
        Types::All,
        Types::All,
        "What it is read from.",
        "git",
    ),
    field(
        "sources.path",
        Kind::Path,
        Types::These(&[Git, File, Webhook]),
        Types::These(&[Git, File]),
        "The repository's folder; the file: `.csv`, else JSON lines; a mapping of one's own, instead of `mapping`.",
        "../shop",
    ),
    field(
        "sources.project",
        Kind::Text(rules::FORGE_PROJECT),
        FORGES,
        FORGES,
        "The project on the forge.",
        "example/shop",
    ),
    field(
        "sources.team",
        Kind::Text(rules::LABEL_TEXT),
        OWNED,
        NONE,
        "Whose it is; default: the project's group, of a folder its name, else what the sender says.",
        "orders",
    ),
    field(
        "sources.service",
        Kind::Text(rules::LABEL_TEXT),
        OWNED,
        NONE,
        "What is deployed; default: the project's name, or what the sender says.",
        "cart",
    ),
    field(
        "sources.environment",
        Kind::Text(rules::LABEL_TEXT),
        OWNED,
        NONE,
        "Whose deployments count, as the forge or the sender names it; default: `production`.",
        "production",
    ),
    field(
        "sources.tags",
        Kind::Text(rules::PATTERN),
        GIT,
        NONE,
        "Tags that are deployments; default: `v*`.",
        "release-*",
    ),
    field(
        "sources.branch",
        Kind::Text(rules::LABEL_TEXT),
        GIT,
        NONE,
        "Takes each commit on this branch's first-parent line as a deployment, instead of tags.",
        "main",
    ),
    field(
        "sources.exclude",
        Kind::List(rules::PATTERN),
        PROJECTS,
        NONE,
        "Tags and releases that are no deployments; default: prereleases (`v2.0.0-rc.1`) and names that move (`latest`, `v1` beside `v1.2.3`).",
        "[\"*-internal\"]",
    ),
    field(
        "sources.paths",
        Kind::List(rules::INSIDE),
        GIT,
        NONE,
        "The service's folders and files in the repository: only commits that change one of them are its changes; default: all of it.",
        "[services/cart, proto]",
    ),
    field(
        "sources.url",
        Kind::Text(rules::URL),
        FORGES,
        NONE,
        "The API's address; default: `https://api.github.com`, `https://gitlab.com`.",
        "https://github.example.com/api/v3",
    ),
    field(
        "sources.token_file",
        Kind::Path,
        FORGES,
        NONE,
        "File with the token; default: the variable `GITHUB_TOKEN` or `GITLAB_TOKEN`.",
        "/run/secrets/github",
    ),
    field(
        "sources.ca",
        Kind::Path,
        FORGES,
        NONE,
        "File with authorities (PEM) that the server's certificate is checked by, beside the system's.",
        "/etc/ssl/example-ca.pem",
    ),
    field(
        "sources.deployments",
        Kind::Choice(&["deployments", "releases"], &[]),
        TOLD,
        NONE,
        "What is a deployment; default: `deployments`. Of CDEvents, `releases` are `service.published`.",
        "releases",
    ),
    field(
        "sources.changes",
        Kind::Choice(&["commits", "requests"], &[]),
        FORGES,
        NONE,
        "What is a change: each commit, from when it was written, or each merged request, from when it was opened; default: `commits`.",
        "requests",
    ),
    field(
        "sources.workflows",
        Kind::List(rules::PATTERN),
        RAN,
        NONE,
        "Workflows, pipelines and jobs that are deployments by themselves, for webhooks; default: none.",
        "[Deploy]",
    ),
    field(
        "sources.hotfix",
        Kind::List(rules::PATTERN),
        OWNED,
        NONE,
        "Titles of changes, tags and branches that mend what users suffered from.",
        "[hotfix*]",
    ),
    field(
        "sources.revert",
        Kind::List(rules::PATTERN),
        OWNED,
        NONE,
        "Titles of changes that take back another one.",
        "[\"revert *\"]",
    ),
    field(
        "sources.hotfix_labels",
        Kind::List(rules::PATTERN),
        FORGES,
        NONE,
        "Labels of requests that mend; default: `hotfix`.",
        "[hotfix]",
    ),
    field(
        "sources.incident_labels",
        Kind::List(rules::PATTERN),
        ISSUES,
        NONE,
        "Labels of issues that are failures; default: `incident`.",
        "[incident, outage]",
    ),
    field(
        "sources.team_from",
        Kind::Choice(&["codeowners"], &[]),
        PROJECTS,
        NONE,
        "Takes the team from the repository's `CODEOWNERS`: who owns the first of `paths`, or all of it.",
        "codeowners",
    ),
    field(
        "sources.teams",
        Kind::List(rules::TEAM),
        Types::These(&[Cdevents, Webhook]),
        NONE,
        "Whose services are, by their names: `PATTERN=TEAM`, the first that fits; others are whose the sender says.",
        "[\"cart*=orders\", \"ledger=bank\"]",
    ),
    field(
        "sources.mapping",
        Kind::Choice(&MAPPINGS, &[]),
        WEBHOOK,
        NONE,
        "A ready mapping: whose payloads are sent.",
        "pagerduty",
    ),
    field(
        "sources.name",
        Kind::Text(rules::HOOK),
        WEBHOOK,
        NONE,
        "The path that its payloads are sent to, at the receiver; default: the mapping's name.",
        "pagerduty-orders",
    ),
    field(
        "sources.services",
        Kind::List(rules::PATTERN),
        CDEVENTS,
        NONE,
        "The services and repositories, as their events call them, that this is said of; default: all.",
        "[shop/*]",
    ),
];

/// What does what a key would that a type does not have.
pub(super) fn instead(kind: SourceKind, name: &str) -> Option<&'static str> {
    Some(match (name, kind) {
        ("paths", kind) if kind.is_forge() => {
            "a forge tells the files of a commit only by a request for each commit: read a clone instead, \
             `type: git` with `paths`; or give each service a source with an `environment` of its own"
        }
        ("teams", kind) if PROJECTS.has(kind) => {
            "this source is one service: name its `team`, or take it from the repository: `team_from: codeowners`"
        }
        _ => return None,
    })
}

const fn field(
    path: &'static str,
    kind: Kind,
    types: Types,
    needed: Types,
    doc: &'static str,
    example: &'static str,
) -> Field {
    Field { key: Key { path, kind, doc, example, derived: None }, types, needed }
}
