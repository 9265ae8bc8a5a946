//! The one HTTP server: finds out what a request is, lets faults strike, and has
//! it answered in the words of its API.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::route::{self, Kind, Route};
use super::{batch, control, dispatch, recording};
use crate::kernel::call::{Call, parse_query};
use crate::kernel::clock;
use crate::kernel::cloud::Cloud;
use crate::kernel::connection::Cutter;
use crate::kernel::contract::Matched;
use crate::kernel::error::ApiError;
use crate::kernel::faults::{Action, Moment, Strike};
use crate::kernel::guard::{self, Unread};
use crate::kernel::requests::{Bodies, Entry};
use crate::kernel::response::{damaged, error_response, json_response};
use crate::kernel::token::{self, Caller};
use crate::services;
use crate::services::compute::machines::reaches_google;
use crate::services::storage::xml;

/// Whether a method changes nothing although it is a POST.
fn only_asks(id: &str) -> bool {
    let verb = id.rsplit_once('.').map_or("", |(_, verb)| verb);
    ["getEffectiveOrgPolicy", "getIamPolicy", "testIamPermissions"].contains(&verb)
}

pub async fn handle(
    State(cloud): State<Arc<Cloud>>,
    ConnectInfo(cutter): ConnectInfo<Cutter>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let route = route::route(&parts);
    if matches!(route, Route::Control) {
        return control::handle(&cloud, &parts, body).await;
    }
    if matches!(route, Route::Batch) {
        return match guard::read(&parts, body, guard::largest(false, false)).await {
            Ok(bytes) => all_of(&cloud, &cutter, &parts, &bytes).await,
            Err(Unread::TooLarge(error)) => error_response("", &error),
            Err(Unread::Broken) => Response::new(Body::empty()),
        };
    }
    let began = Instant::now();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let id = match &route {
        Route::Api(matched, _) => matched.method.id.as_str(),
        _ => "",
    };
    let kind = match &route {
        Route::Api(_, kind) => *kind,
        _ => Kind::Json,
    };
    let caller = match &route {
        Route::Api(matched, _) if emulated(&parts, matched) => Some(cloud.owner_caller()),
        _ => caller(&cloud, &parts),
    };
    let name = match &caller {
        Some(caller) if caller.email == cloud.owner => "owner",
        Some(caller) => caller.email.as_str(),
        None => "anonymous",
    };
    let strike = cloud.faults.strike(parts.method.as_str(), &path, id, name);
    let mut entry = Entry {
        time: clock::timestamp(),
        caller: name.to_owned(),
        method: parts.method.to_string(),
        path: recording::path(&path),
        client: ["x-goog-api-client", "user-agent"]
            .iter()
            .find_map(|name| parts.headers.get(*name)?.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
        api: id.to_owned(),
        status: 0,
        latency_ms: 0,
        write: !matches!(parts.method, http::Method::GET | http::Method::HEAD) && !only_asks(id),
        bodies: None,
    };
    let mut heard = Bytes::new();
    let work = answer(&cloud, &parts, body, route, caller, strike, &mut heard);
    let mut response = tokio::select! {
        response = work => response,
        () = cloud.stop.cancelled() => None,
    };
    if cloud.requests.records() && !entry.api.is_empty() {
        let request = recording::request(kind, &parts, &heard);
        let mut said = Value::Null;
        if let Some(whole) = response {
            let (whole, json) = recording::response(kind, &parts, whole).await;
            (response, said) = (Some(whole), json);
        }
        entry.bodies = Some(Bodies { request, response: said });
    }
    entry.status = response.as_ref().map_or(0, |response| response.status().as_u16());
    entry.latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    cloud.requests.add(entry);
    response.unwrap_or_else(|| {
        cutter.reset();
        Response::new(Body::empty())
    })
}

/// Carries out every call of a batch, in order.
async fn all_of(cloud: &Arc<Cloud>, cutter: &Cutter, parts: &Parts, body: &Bytes) -> Response {
    let calls = match batch::read(parts, body) {
        Ok(calls) => calls,
        Err(error) => return error_response("", &error),
    };
    let mut answers = batch::Answers::new();
    for (id, request) in calls {
        let response = match batch::refused(&request) {
            Some(refusal) => refusal,
            None => Box::pin(handle(State(Arc::clone(cloud)), ConnectInfo(cutter.clone()), request)).await,
        };
        answers.add(id, response).await;
    }
    answers.whole()
}

/// The answer, with what faults make of it; `None`: the connection is cut.
/// `heard` is the request's body, once it is there.
async fn answer(
    cloud: &Arc<Cloud>,
    parts: &Parts,
    body: Body,
    route: Route,
    caller: Option<Caller>,
    strike: Option<Strike>,
    heard: &mut Bytes,
) -> Option<Response> {
    tokio::time::sleep(cloud.latency).await;
    let api = match &route {
        Route::Api(matched, _) => matched.method.api,
        _ => "",
    };
    let most = largest(cloud, parts, &route, caller.as_ref());
    if let Some(strike) = &strike {
        pause(strike.action.delay_before_ms).await;
        stop_at(cloud, strike, Moment::Before).await?;
        if let Some(answer) = injected(api, &strike.action, Moment::Before) {
            // The request is read to its end, as a server in front would.
            let _ = guard::read(parts, body, most).await;
            return Some(answer);
        }
    }
    if let Some(machine) = caller.as_ref().and_then(|caller| caller.machine.as_deref())
        && !reaches_google(cloud, machine)
    {
        tokio::time::sleep(NO_WAY).await;
        return None;
    }
    let fault = strike.as_ref().map(|strike| strike.action.clone()).unwrap_or_default();
    let response = match guard::read(parts, body, most).await {
        Err(Unread::Broken) => return None,
        Err(Unread::TooLarge(error)) => return Some(error_response(api, &error)),
        // In a task of its own: what has begun is finished although the client may go away.
        Ok(bytes) => {
            *heard = bytes.clone();
            let (cloud, parts) = (Arc::clone(cloud), parts.clone());
            let work = async move { respond(&cloud, &parts, bytes, route, caller, fault).await };
            tokio::spawn(work).await.ok()?
        }
    };
    if let Some(strike) = &strike {
        pause(strike.action.delay_after_ms).await;
        stop_at(cloud, strike, Moment::After).await?;
        if let Some(answer) = injected(api, &strike.action, Moment::After) {
            return Some(answer);
        }
        if let Some(damage) = strike.action.body {
            return Some(damaged(response, damage).await);
        }
    }
    Some(response)
}

/// How much of a body is read, bytes.
fn largest(cloud: &Cloud, parts: &Parts, route: &Route, caller: Option<&Caller>) -> usize {
    let Route::Api(_, kind) = route else { return guard::largest(false, false) };
    let media = matches!(kind, Kind::Upload | Kind::Xml);
    let query = parse_query(parts.uri.query().unwrap_or_default());
    // Whoever goes on with an upload is known by it; whoever needs no credentials is nobody.
    let known = || caller.is_some() || dispatch::opened(cloud, *kind, &query).is_some();
    guard::largest(media, media && known())
}

async fn pause(ms: Option<u64>) {
    if let Some(ms) = ms {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// Hangs or cuts, where the fault says so at this moment.
async fn stop_at(cloud: &Cloud, strike: &Strike, moment: Moment) -> Option<()> {
    if strike.action.hang == Some(moment) {
        cloud.faults.removed(strike).await;
    }
    (strike.action.reset != Some(moment)).then_some(())
}

fn injected(api: &str, action: &Action, moment: Moment) -> Option<Response> {
    if action.status_at.unwrap_or(Moment::Before) != moment {
        return None;
    }
    let code = action.status?;
    if let Some(answer) = &action.answer {
        return Some(json_response(StatusCode::from_u16(code).ok()?, answer));
    }
    let reason: &'static str = match (action.reason.as_deref(), code) {
        (Some(reason), _) => known_reason(reason),
        (None, 403) => "forbidden",
        (None, 404) => "notFound",
        (None, 409) => "conflict",
        (None, 412) => "conditionNotMet",
        (None, 429) => "rateLimitExceeded",
        (None, _) => "backendError",
    };
    let message = action.message.clone().unwrap_or_else(|| {
        StatusCode::from_u16(code)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Error")
            .to_owned()
    });
    let mut error = ApiError::new(code, reason, message);
    if matches!(reason, "rateLimitExceeded" | "quotaExceeded") {
        error.domain = "usageLimits";
    }
    Some(error_response(api, &error))
}

/// How long a machine without a way to Google's APIs waits for nothing. Its packets get
/// lost at Google, and its connections time out after some two minutes.
const NO_WAY: Duration = Duration::from_millis(500);

/// What a signed URL has, of either version.
const SIGNATURES: [&str; 3] = ["X-Goog-Signature", "x-goog-signature", "Signature"];

/// Reasons that Google gives; anything else is told as `backendError`.
fn known_reason(reason: &str) -> &'static str {
    const KNOWN: [&str; 14] = [
        "rateLimitExceeded",
        "userRateLimitExceeded",
        "quotaExceeded",
        "forbidden",
        "notFound",
        "conflict",
        "conditionNotMet",
        "backendError",
        "internalError",
        "accessNotConfigured",
        "authError",
        "invalid",
        "resourceNotReady",
        "resourceInUseByAnotherResource",
    ];
    KNOWN.iter().find(|each| **each == reason).copied().unwrap_or("backendError")
}

/// Whether a client of Cloud Storage talks to an emulator: with STORAGE_EMULATOR_HOST
/// those of Go and Node send no credentials, and take it that none are needed. Our
/// variable of that name, and no other, says `localhost`.
fn emulated(parts: &Parts, matched: &Matched) -> bool {
    let host = parts.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let anonymous = !parts.headers.contains_key("authorization");
    matched.method.api == "storage" && anonymous && host.split(':').next() == Some("localhost")
}

fn caller(cloud: &Cloud, parts: &Parts) -> Option<Caller> {
    let value = parts.headers.get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    cloud.tokens.verify(token.trim()).or_else(|| {
        let account = cloud.read(&format!("serviceAccounts/{}", cloud.owner))?;
        token::self_signed(token.trim(), &cloud.owner, account["uniqueId"].as_str()?, &cloud.owner_key)
    })
}

async fn respond(
    cloud: &Arc<Cloud>,
    parts: &Parts,
    bytes: Bytes,
    route: Route,
    caller: Option<Caller>,
    fault: Action,
) -> Response {
    match route {
        Route::Control | Route::Batch => Response::new(Body::empty()),
        Route::Token => dispatch::token(cloud, parts, &bytes),
        Route::Unknown => {
            let what = format!("{} {}", parts.method, parts.uri.path());
            error_response("", &ApiError::unimplemented(&what))
        }
        Route::Api(matched, kind) => {
            let query = parse_query(parts.uri.query().unwrap_or_default());
            let name = matched.method.api;
            if kind == Kind::Xml && SIGNATURES.iter().any(|each| query.contains_key(*each)) {
                return xml::error(&ApiError::unimplemented("signed URLs"));
            }
            let Some(caller) = dispatch::identify(cloud, parts, &matched, caller, kind, &query) else {
                let error = ApiError::unauthenticated();
                let mut response =
                    if kind == Kind::Xml { xml::error(&error) } else { error_response(name, &error) };
                response.headers_mut().insert(
                    "www-authenticate",
                    HeaderValue::from_static("Bearer realm=\"https://accounts.google.com/\""),
                );
                return response;
            };
            let Some(service) = services::named(name) else {
                return error_response(name, &ApiError::unimplemented(&matched.method.id));
            };
            let (method, path) = (matched.method, matched.path.clone());
            let call = Call {
                cloud: Arc::clone(cloud),
                service,
                method,
                path,
                query,
                body: Value::Null,
                caller,
                fault,
            };
            match dispatch::carry_out(call, parts, bytes, &matched, kind).await {
                Ok(response) => response,
                Err(error) if kind == Kind::Xml => xml::error(&error),
                Err(error) => error_response(name, &error),
            }
        }
    }
}
