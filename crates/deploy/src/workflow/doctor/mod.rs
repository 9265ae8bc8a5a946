//! What this machine and this project lack, before anything is tried: one file a subject. All of it
//! is asked at once, and changes nothing; what it finds that can be mended safely is a [`Repair`].

mod cloud;
mod dns;
mod folder;
mod permissions;
mod repair;
mod stack;

use std::future::Future;
use std::time::Duration;

use dorainfra_engine::Finding;
use dorainfra_model::{Check, Event, Events, Outcome};
use futures::StreamExt as _;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesOrdered;
use tokio::time::Instant;

use super::error::Result;
use super::project::Project;
use super::workspace::Workspace;

pub use self::repair::{Repair, mend};

/// What was found.
#[derive(Debug, Default)]
pub struct Diagnosis {
    pub checks: Vec<Check>,
    pub repairs: Vec<Repair>,
}

impl Diagnosis {
    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|check| check.outcome == Outcome::Failed).count()
    }

    fn add(&mut self, check: Check) {
        self.checks.push(check);
    }
}

/// Looks at everything; each check is told as soon as it and those before it are known.
///
/// # Errors
/// What is configured is wrong. What else could be looked at is told all the same.
pub async fn look(workspace: &Workspace, project: &Project, events: &Events) -> Result<Diagnosis> {
    project.config.require_project()?;
    let mut parts: FuturesOrdered<LocalBoxFuture<'_, Result<Diagnosis>>> = FuturesOrdered::new();
    parts.push_back(Box::pin(async { Ok(folder::checks(workspace)) }));
    parts.push_back(Box::pin(stack::checks(workspace, &project.config)));
    parts.push_back(Box::pin(async {
        let names = dns::checks(project).await;
        // Where nobody finds Google, nobody has to wait for it.
        if names.failed() > 0 {
            return Ok(names);
        }
        let mut all = names;
        let Diagnosis { checks, repairs } = cloud::checks(workspace, project).await?;
        all.checks.extend(checks);
        all.repairs.extend(repairs);
        Ok(all)
    }));
    let (mut all, mut error) = (Diagnosis::default(), None);
    while let Some(part) = parts.next().await {
        match part {
            Ok(Diagnosis { checks, repairs }) => {
                for check in &checks {
                    events.send(Event::Checked { check: check.clone() });
                }
                all.checks.extend(checks);
                all.repairs.extend(repairs);
            }
            Err(failure) => error = error.or(Some(failure)),
        }
    }
    error.map_or(Ok(all), Err)
}

/// What a piece of work came to, and how long it took.
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let done = work.await;
    (done, began.elapsed())
}

fn check(name: &str, title: impl Into<String>, outcome: Outcome, found: impl Into<String>) -> Check {
    Check {
        name: name.into(),
        title: title.into(),
        outcome,
        expected: String::new(),
        found: found.into(),
        hint: None,
        elapsed_ms: 0,
    }
}

fn passed(name: &str, title: impl Into<String>, found: impl Into<String>) -> Check {
    check(name, title, Outcome::Passed, found)
}

fn failed(name: &str, title: impl Into<String>, found: impl Into<String>, hint: impl Into<String>) -> Check {
    Check { hint: Some(hint.into()), ..check(name, title, Outcome::Failed, found) }
}

/// What could not be found out, which stops nothing.
fn unknown(name: &str, title: impl Into<String>, found: impl Into<String>) -> Check {
    check(name, title, Outcome::Unknown, found)
}

/// To be known, and stops nothing.
fn warning(name: &str, title: impl Into<String>, found: impl Into<String>) -> Check {
    check(name, title, Outcome::Warning, found)
}

fn of_finding(name: &str, title: &str, finding: Finding) -> Check {
    match finding.refuses {
        true => failed(name, title, finding.problem, finding.instead),
        false => unknown(name, title, format!("{}: {}", finding.problem, finding.instead)),
    }
}

impl From<Vec<Check>> for Diagnosis {
    fn from(checks: Vec<Check>) -> Self {
        Self { checks, repairs: Vec::new() }
    }
}
