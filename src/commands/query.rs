//! `query`: an expression, asked at the endpoint with this deployment's credentials.

use clap::Args;
use dorainfra_deploy::workflow::Purpose;
use dorainfra_model::Events;
use dorainfra_prometheus::query::{Query, QueryError};
use serde_json::Value;
use time::OffsetDateTime;

use super::arguments::time;
use super::context::Context;
use super::{CommandError, CommandResult, Exit, screen};
use crate::ui::Answer;

/// Ask the endpoint a PromQL expression
///
/// With this deployment's certificate and tenant, so that no other program needs them. For
/// example: dorainfra query 'sum by (team) (increase(dora_deployments_total[7d]))'
#[derive(Debug, Args)]
pub struct QueryCommand {
    /// The expression
    #[arg(value_name = "PROMQL")]
    expression: String,
    /// As of this time, as RFC 3339 or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<OffsetDateTime>,
}

impl QueryCommand {
    pub async fn run(self, context: &Context) -> CommandResult {
        let at = self.at.map(|at| (at.unix_timestamp_nanos() / 1_000_000) as i64);
        let asked = async |events: &Events| {
            let run = context.run(Purpose::Look, events).await?;
            let query = Query::new(&run.target().await?)?;
            query.instant::<Value>(&self.expression, at).await.map_err(|error| match error {
                QueryError::Refused { status: 400, message } => {
                    CommandError::usage(format!("the expression can't be evaluated: {message}"))
                        .hint("docs/metrics.md has the metrics and expressions to begin with")
                }
                other => other.into(),
            })
        };
        let answer = Answer::of(screen::with(&context.printer, asked).await?);
        context.printer.result(&answer);
        Ok(Exit::Done)
    }
}
