//! Through a Pushgateway: one `PUT` for each team, in a group of its own
//! (`job="dora"`, `team`). Groups of teams that went are deleted. Where there is no
//! team at all, a group without one says that somebody is there.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use dorainfra_prometheus::JOB;
use dorainfra_prometheus::exposition::{self, Format};
use dorainfra_prometheus::pushgateway::{Gateway, GatewayError, Group};
use futures::StreamExt;

use super::{LiveError, Outlet, Round, SHOWN, Summary};
use crate::metrics;

/// A Pushgateway that values are pushed to.
pub struct Pushed {
    gateway: Gateway,
    concurrency: usize,
    /// The teams whose groups are there, once others are known to be deleted.
    known: Option<BTreeSet<String>>,
}

/// Pushes under way at the same time.
const CONCURRENCY: usize = 16;

impl Pushed {
    pub fn to(gateway: Gateway) -> Self {
        Self { gateway, concurrency: CONCURRENCY, known: None }
    }

    /// At least 1.
    #[must_use]
    pub fn with_concurrency(self, concurrency: usize) -> Self {
        Self { concurrency: concurrency.max(1), ..self }
    }

    /// Deletes the groups of this job whose team is not in `present`.
    async fn delete_others(
        &self,
        present: &BTreeSet<String>,
        mut deleted: impl FnMut(&str),
    ) -> Result<(), GatewayError> {
        for group in self.gateway.groups().await? {
            let ours = group.labels.get("job").is_some_and(|job| job == JOB);
            if ours && group.labels.len() == 1 && !present.is_empty() {
                self.gateway.delete(&Group::job(JOB)).await?;
                continue;
            }
            let team = match group.labels.get("team") {
                Some(team) if ours => team,
                _ => continue,
            };
            if group.labels.len() == 2 && !present.contains(team) {
                self.gateway.delete(&Group::job(JOB).label("team", team)).await?;
                deleted(team);
            }
        }
        Ok(())
    }
}

/// When this was shown, which is all that there is to be shown.
fn nobody(round: &Round<'_>) -> String {
    let mut text = String::new();
    Format::Text.family(&mut text, SHOWN, "gauge", "When these values were counted, Unix seconds.");
    exposition::sample(&mut text, SHOWN, [], round.at.unix_timestamp());
    text
}

#[async_trait]
impl Outlet for Pushed {
    /// Ends early when the Pushgateway is away or a stop is asked for.
    async fn show(&mut self, round: &Round<'_>, summary: &mut Summary) -> Result<(), LiveError> {
        let gateway = &self.gateway;
        let mut bodies: Vec<(Group, Bytes)> = round
            .teams
            .iter()
            .map(|(team, live)| {
                let text = metrics::text(std::iter::once(live), Format::Text, &["job", "team"]);
                (Group::job(JOB).label("team", team), text.into())
            })
            .collect();
        if bodies.is_empty() {
            bodies.push((Group::job(JOB), nobody(round).into()));
        }
        let teams = round.teams.iter().count();
        let mut pushes = futures::stream::iter(bodies)
            .take_while(|_| std::future::ready(!round.stop.is_cancelled()))
            .map(|(group, body)| async move { gateway.put(&group, body).await })
            .buffer_unordered(self.concurrency);
        let mut first_error = None;
        while let Some(result) = pushes.next().await {
            match result {
                Ok(()) => summary.shown += u64::from(teams > 0),
                Err(error) => {
                    summary.failures += 1;
                    let away = matches!(error, GatewayError::Unreachable { .. });
                    first_error.get_or_insert(error);
                    if away {
                        break;
                    }
                }
            }
        }
        drop(pushes);
        if let Some(error) = first_error {
            return Err(error.into());
        }
        let present: BTreeSet<String> = round.teams.iter().map(|(team, _)| team.to_owned()).collect();
        if self.known.as_ref() != Some(&present) && !round.stop.is_cancelled() {
            self.delete_others(&present, |team| {
                summary.removed += 1;
                round.events.note(format!("team {team} went: its group at the Pushgateway is deleted"));
            })
            .await?;
            self.known = Some(present);
        }
        Ok(())
    }

    async fn close(&mut self, last: &Round<'_>, withdraw: bool) -> Result<(), LiveError> {
        if !withdraw {
            return Ok(());
        }
        if last.teams.iter().next().is_none() {
            self.gateway.delete(&Group::job(JOB)).await?;
        }
        for (team, _) in last.teams.iter() {
            self.gateway.delete(&Group::job(JOB).label("team", team)).await?;
        }
        let url = self.gateway.url();
        last.events.note(format!("the groups of {} teams at {url} are deleted", last.teams.iter().count()));
        Ok(())
    }
}
