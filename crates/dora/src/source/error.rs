//! Why a source can't be read, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use dorainfra_base::error::Why;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{} {what}: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} holds something else than events: {message}", path.display())]
    NoEvents { path: PathBuf, message: String },
    /// Every line that is wrong, as `path:line:column: what`.
    #[error("{} can't be read as events:\n{}", path.display(), problems.join("\n"))]
    Malformed { path: PathBuf, problems: Vec<String> },
    #[error("{} can't be read as a git repository: {message}", path.display())]
    Git {
        path: PathBuf,
        #[source]
        message: Why,
        hint: &'static str,
    },
    /// Who owns a project of a forge is not reported.
    #[error("{project}: {message}")]
    Owner { project: String, message: String },
    #[error("{url} can't be reached: {message}")]
    Unreachable {
        url: String,
        #[source]
        message: Why,
    },
    #[error("{url} refused: {status} {message}")]
    Refused { url: String, status: u16, message: String },
    #[error("{url} allows no more requests until {}", time(*until))]
    Limited { url: String, until: OffsetDateTime, has_token: bool },
    #[error("{url} gave an answer that can't be read: {message}")]
    Unreadable {
        url: String,
        #[source]
        message: Why,
    },
    #[error("`{url}` is not the address of an API: {message}")]
    Address {
        url: String,
        #[source]
        message: Why,
    },
    #[error("can't listen on {address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error("the webhooks' journal stopped: {0}")]
    Journal(#[source] Why),
    #[error("{0} is another process's: a receiver is running, or something is being recorded")]
    Taken(String),
    /// Two repositories would be one service.
    #[error(
        "{} has events of {owner} that {other} told, and this tells none of them: it is another repository",
        path.display()
    )]
    Others { owner: String, other: String, path: PathBuf },
    #[error("the event can't be recorded: {0}")]
    Event(String),
}

impl SourceError {
    /// Whether another process has what is needed, so that it may be free soon.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Taken(_))
    }

    pub(super) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }

    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File { .. } => "check the path, its permissions and the free space".into(),
            Self::NoEvents { .. } => "name another file for the events: this one is left as it is".into(),
            Self::Malformed { .. } => "docs/events.md describes the form of both kinds of files".into(),
            Self::Git { hint, .. } => (*hint).into(),
            Self::Owner { .. } => {
                "name the team instead: `team: NAME`; or check that the token may read the project's files"
                    .into()
            }
            Self::Unreachable { .. } => {
                "run it again: what was read is kept, and it goes on from there".into()
            }
            Self::Refused { status: 401, .. } => {
                "the token is missing, expired or wrong: see docs/sources.md for where it is read from".into()
            }
            Self::Refused { status: 403 | 404, .. } => {
                "check the project's name, and that the token may read its code, deployments and issues"
                    .into()
            }
            Self::Refused { .. } => "run it again later: what was read is kept".into(),
            Self::Limited { has_token, .. } => {
                let more = if *has_token { "" } else { ". A token raises the limit" };
                format!("run it again then: what was read is kept, and it goes on from there{more}")
            }
            Self::Unreadable { .. } => "check that `url` is the API's address, and not the website's".into(),
            Self::Address { .. } => {
                "give it as https://github.example.com/api/v3, or https://gitlab.example.com".into()
            }
            Self::Listen { .. } => "give an address of this machine and a free port: 127.0.0.1:8085".into(),
            Self::Taken(_) => {
                "send it to the receiver (`dorainfra event … --to URL`), or stop it first".into()
            }
            Self::Others { .. } => {
                "give it another `--service` or `--team`: with these, each would delete the other's events"
                    .into()
            }
            Self::Event(_) => {
                "docs/events.md describes what `dorainfra event deploy` and its like take".into()
            }
            Self::Journal(_) => {
                "every delivery that was answered is in the journal; start it again when there is space"
                    .into()
            }
        })
    }
}

fn time(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}
