//! Faults of the metadata server, by the rules of the sandbox whose `api` is `metadata`.

use std::future::Future;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::kernel::faults::{Faults, Moment, Strike};
use crate::kernel::response;
use crate::machines::World;

/// What `work` answers, with what a rule for the machine's request makes of it.
pub(super) async fn answered(
    world: &dyn World,
    machine: &str,
    method: &str,
    path: &str,
    work: impl Future<Output = Response>,
) -> Response {
    let Some(faults) = world.faults() else { return work.await };
    let Some(strike) = faults.strike(method, path, "metadata", machine) else { return work.await };
    if let Some(instead) = at(faults, &strike, Moment::Before).await {
        return instead;
    }
    let response = work.await;
    if let Some(instead) = at(faults, &strike, Moment::After).await {
        return instead;
    }
    match strike.action.body {
        Some(damage) => response::damaged(response, damage).await,
        None => response,
    }
}

async fn at(faults: &Faults, strike: &Strike, moment: Moment) -> Option<Response> {
    let action = &strike.action;
    let delay = if moment == Moment::Before { action.delay_before_ms } else { action.delay_after_ms };
    if let Some(delay) = delay {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    if action.hang == Some(moment) {
        faults.removed(strike).await;
    }
    if action.reset == Some(moment) {
        let nothing = StatusCode::SERVICE_UNAVAILABLE.into_response();
        return Some(response::cut(nothing));
    }
    if action.status_at.unwrap_or(Moment::Before) != moment {
        return None;
    }
    let code = StatusCode::from_u16(action.status?).ok()?;
    Some((code, action.message.clone().unwrap_or_default()).into_response())
}
