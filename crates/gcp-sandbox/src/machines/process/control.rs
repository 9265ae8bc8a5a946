//! The route on a machine's metadata listener by which its `systemctl` and
//! `journalctl` reach the supervisor. Beside the metadata's paths, not among them.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;

use super::supervisor::Supervisor;
use super::systemctl::{journalctl, systemctl};
use crate::machines::metadata;

/// `POST /machine/{systemctl,journalctl}`: one argument a line; answers
/// `STATUS:OUTPUT`.
pub(super) fn routes(supervisor: Arc<Supervisor>) -> Router {
    Router::new().route("/machine/{program}", post(run)).with_state(supervisor)
}

async fn run(
    State(supervisor): State<Arc<Supervisor>>,
    Path(program): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Result<String, StatusCode> {
    // As the metadata's paths: nothing that a browser could be made to send.
    if !metadata::is_from_the_machine(&headers) {
        return Err(StatusCode::FORBIDDEN);
    }
    let arguments: Vec<String> = body.lines().map(str::to_owned).collect();
    let answer = match program.as_str() {
        "systemctl" => systemctl(&supervisor, &arguments).await,
        "journalctl" => journalctl(&supervisor, &arguments),
        _ => return Err(StatusCode::NOT_FOUND),
    };
    Ok(format!("{}:{}", answer.status, answer.output.trim_end_matches('\n')))
}
