//! What GitHub's GraphQL API tells of many things at once, where REST takes a request for each:
//! statuses of deployments, commits of squashed requests. It answers nobody without a token;
//! what it does not tell, REST is asked for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;

use super::super::forge::{self, Reader};
use super::super::project::Status;
use super::super::{SourceError, state};
use super::{State, runs};

/// Things that are asked for at once: GraphQL takes no more ids.
pub(super) const AT_ONCE: usize = 100;
/// Requests with up to a hundred commits each.
const REQUESTS: usize = 50;
const STATUSES: &str = "query($ids: [ID!]!) { nodes(ids: $ids) { ... on Deployment \
    { statuses(first: 100) { nodes { state createdAt } pageInfo { hasNextPage } } } } }";

#[derive(Deserialize)]
struct Answer<T> {
    data: Option<T>,
}

#[derive(Deserialize)]
struct Nodes {
    nodes: Vec<Option<Node>>,
}

#[derive(Deserialize)]
struct Node {
    statuses: Option<Statuses>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statuses {
    nodes: Vec<DeploymentStatus>,
    page_info: PageInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeploymentStatus {
    state: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    has_next_page: bool,
}

#[derive(Deserialize)]
struct Repository {
    repository: Option<BTreeMap<String, Option<Request>>>,
}

#[derive(Deserialize)]
struct Request {
    commits: Commits,
}

#[derive(Deserialize)]
struct Commits {
    nodes: Vec<MergedChange>,
}

#[derive(Deserialize)]
struct MergedChange {
    commit: Written,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default, deserialize_with = "forge::lenient")]
    authored_date: Option<OffsetDateTime>,
}

impl Statuses {
    /// `None`: there are more of them.
    fn all(self) -> Option<Vec<Status>> {
        let reported = self.nodes.into_iter().filter_map(|one| {
            runs(&one.state.to_ascii_lowercase()).map(|ok| Status { at: one.created_at, ok })
        });
        (!self.page_info.has_next_page).then(|| reported.collect())
    }
}

impl Reader<'_, State> {
    /// The statuses of deployments, in their order; those that are missing are to be asked for
    /// one by one.
    pub(super) async fn statuses_at_once(
        &mut self,
        nodes: &[&str],
    ) -> Result<Vec<Option<Vec<Status>>>, SourceError> {
        let mut all = Vec::new();
        for ids in nodes.chunks(AT_ONCE) {
            // Who asks for one needs no other API for it; without a name there is no answer.
            if ids.len() < 2 || ids.contains(&"") {
                all.extend(ids.iter().map(|_| None));
                continue;
            }
            let query = json!({"query": STATUSES, "variables": {"ids": ids}});
            let reported =
                self.ask::<Nodes>(&query).await?.map(|reported| reported.nodes).unwrap_or_default();
            // Of another length, nobody knows whose they are.
            let reported = Some(reported).filter(|reported| reported.len() == ids.len()).unwrap_or_default();
            let mut reported = reported.into_iter().map(|node| node?.statuses?.all());
            all.extend(ids.iter().map(|_| reported.next().flatten()));
        }
        Ok(all)
    }

    /// When work on squashed requests began, of as many as it tells.
    pub(super) async fn first_commits_at_once(&mut self) -> Result<(), SourceError> {
        let squashed = state::squashed(&self.state.project, '#', &self.state.without_commits);
        let Some((owner, name)) = self.settings.project.split_once('/') else { return Ok(()) };
        for requests in squashed.chunks(REQUESTS).filter(|requests| requests.len() > 1) {
            let each = requests.iter().filter_map(|(_, request)| {
                let number: u64 = request[1..].parse().ok()?;
                Some(format!(
                    "r{number}: pullRequest(number: {number}) \
                     {{ commits(first: 100) {{ nodes {{ commit {{ authoredDate }} }} }} }}"
                ))
            });
            let mut each: Vec<String> = each.collect();
            each.sort_unstable();
            each.dedup();
            let query = format!(
                "query($owner: String!, $name: String!) \
                 {{ repository(owner: $owner, name: $name) {{ {} }} }}",
                each.join(" ")
            );
            let query = json!({"query": query, "variables": {"owner": owner, "name": name}});
            let reported = self.ask::<Repository>(&query).await?;
            let reported = reported.and_then(|reported| reported.repository).unwrap_or_default();
            for (id, request) in requests {
                let Some(Some(own)) = reported.get(&format!("r{}", &request[1..])) else { continue };
                let begun = own.commits.nodes.iter().filter_map(|one| one.commit.authored_date).min();
                state::began(&mut self.state.project, id.clone(), begun);
            }
            self.save()?;
        }
        Ok(())
    }

    /// `None`: it does not tell, and REST is asked. An older server, a token that may not, a
    /// proxy that knows REST only, or its limit, which is another one than REST's: then it is
    /// not asked again in this run.
    async fn ask<T: serde::de::DeserializeOwned>(
        &mut self,
        query: &serde_json::Value,
    ) -> Result<Option<T>, SourceError> {
        if self.settings.access.token.is_none() || self.state.rest_only {
            return Ok(None);
        }
        match self.rest.query::<Answer<T>>(query).await {
            Ok(answer) => {
                self.state.rest_only = answer.data.is_none();
                Ok(answer.data)
            }
            Err(error @ SourceError::Unreachable { .. }) => Err(error),
            Err(_) => {
                self.state.rest_only = true;
                Ok(None)
            }
        }
    }
}
