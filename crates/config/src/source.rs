//! `sources`: where real events come from, and the check of the list by the table of an
//! item's keys.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::rules::Rule;
use super::schema::Kind;
pub use super::source_keys::MAPPINGS;
pub(super) use super::source_keys::{FIELDS, Field, instead};
pub use super::source_kind::SourceKind;

/// One source: what it is read from, whose events it gives, and what counts.
/// What a type does not take is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    #[serde(rename = "type")]
    pub kind: SourceKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// A repository's folder, or a file of events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Tags and releases that are no deployments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<String>>,
    /// `owner/name` or `group/project`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Authorities beside the system's, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployments: Option<DeployedBy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<ChangesAre>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflows: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotfix: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotfix_labels: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_labels: Option<Vec<String>>,
    /// A ready mapping's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
    /// The path that a mapped webhook is sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team_from: Option<TeamFrom>,
    /// `PATTERN=TEAM`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teams: Option<Vec<String>>,
    /// Services and repositories, as CDEvents call them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TeamFrom {
    Codeowners,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeployedBy {
    Deployments,
    Releases,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangesAre {
    Commits,
    Requests,
}

impl Source {
    /// A source with nothing said but what it is.
    pub fn new(kind: SourceKind) -> Self {
        Self {
            kind,
            team: None,
            service: None,
            environment: None,
            path: None,
            tags: None,
            branch: None,
            paths: None,
            exclude: None,
            project: None,
            url: None,
            token_file: None,
            ca: None,
            deployments: None,
            changes: None,
            workflows: None,
            hotfix: None,
            revert: None,
            hotfix_labels: None,
            incident_labels: None,
            mapping: None,
            name: None,
            services: None,
            team_from: None,
            teams: None,
        }
    }

    /// The path that a mapped webhook is sent to: its name, its mapping's, or its file's.
    pub fn hook(&self) -> Option<String> {
        let file = || self.path.as_ref()?.file_stem()?.to_str().map(str::to_owned);
        self.name.clone().or_else(|| self.mapping.clone()).or_else(file)
    }
}

/// Checks one value as the command line gives it, by the rule of the file's key.
pub fn check_text(name: &str, value: &str) -> Result<(), String> {
    let Some(field) = FIELDS.iter().find(|field| field.name() == name) else { return Ok(()) };
    let (Kind::Text(Rule { check, allowed }) | Kind::List(Rule { check, allowed })) = &field.key.kind else {
        return Ok(());
    };
    check(value).map_err(|fault| format!("it {}: give {allowed}", fault.what))
}
