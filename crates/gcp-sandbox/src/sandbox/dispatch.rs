//! From a request to the method that it calls: identity, contract, media, and
//! the check of the sandbox's own answer against the contract.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::route::Kind;
use crate::kernel::call::{Call, Handler, check_body, check_query, parse_query};
use crate::kernel::cloud::Cloud;
use crate::kernel::contract::{CONTRACT, Matched, Method};
use crate::kernel::error::ApiError;
use crate::kernel::fields::Mask;
use crate::kernel::response::json_response;
use crate::kernel::token::{self, Caller};
use crate::kernel::{access, consumer, operation};
use crate::services::storage::preconditions::{IF_MATCH, IF_NONE_MATCH};
use crate::services::storage::rate_limit::WriteRate;
use crate::services::storage::{media, resumable, transcoding, upload, xml};
use crate::services::{compute, storage};

/// `POST /token`.
pub fn token(cloud: &Cloud, parts: &Parts, bytes: &[u8]) -> Response {
    let refuse = |error: &str, description: &str| {
        json_response(StatusCode::BAD_REQUEST, &json!({"error": error, "error_description": description}))
    };
    if parts.method != http::Method::POST {
        return refuse("invalid_request", "A token is asked for by POST.");
    }
    // Google's newest clients send JSON, all others a form.
    let form: Vec<(String, String)> = match serde_json::from_slice::<BTreeMap<String, String>>(bytes) {
        Ok(fields) => fields.into_iter().collect(),
        Err(_) => parse_query(&String::from_utf8_lossy(bytes))
            .into_iter()
            .flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)))
            .collect(),
    };
    match token::exchange(&form, &cloud.owner, &cloud.owner_key) {
        Err((error, description)) => refuse(error, description),
        Ok(grant) => {
            let account = cloud.read(&format!("serviceAccounts/{}", grant.email)).unwrap_or_default();
            let unique_id = account["uniqueId"].as_str().unwrap_or_default();
            let token = cloud.tokens.issue(&grant, unique_id, token::LIFETIME);
            json_response(
                StatusCode::OK,
                &json!({"access_token": token, "expires_in": token::LIFETIME, "token_type": "Bearer"}),
            )
        }
    }
}

/// Who calls. The address of an upload session stands for whoever opened it, and
/// of Cloud Storage anybody may ask: a bucket can be everybody's.
pub fn identify(
    cloud: &Cloud,
    parts: &Parts,
    matched: &Matched,
    caller: Option<Caller>,
    kind: Kind,
    query: &BTreeMap<String, Vec<String>>,
) -> Option<Caller> {
    if caller.is_some() {
        return caller;
    }
    if kind == Kind::Upload && query.contains_key("upload_id") {
        return opened(cloud, kind, query);
    }
    let anonymous = matched.method.api == "storage" && !parts.headers.contains_key("authorization");
    anonymous.then(Caller::anonymous)
}

/// Who opened the upload that a request goes on with.
pub fn opened(cloud: &Cloud, kind: Kind, query: &BTreeMap<String, Vec<String>>) -> Option<Caller> {
    let id = query.get("upload_id").filter(|_| kind == Kind::Upload)?.first()?;
    let session = cloud.read(&format!("uploads/{id}"))?;
    serde_json::from_value(session["caller"].clone()).ok()
}

/// What of the answer is asked for.
fn mask(call: &Call) -> Result<Option<Mask>, ApiError> {
    let asked = ["fields", "$fields"].iter().find_map(|name| call.query(name));
    asked.map(Mask::parse).transpose()
}

/// Puts the headers that stand for preconditions among the parameters. Only Cloud
/// Storage heeds them.
fn preconditions(call: &mut Call, parts: &Parts) {
    for name in [IF_MATCH, IF_NONE_MATCH].iter().filter(|_| call.method.api == "storage") {
        if let Some(value) = upload::header(&parts.headers, name) {
            call.query.insert((*name).to_owned(), vec![value.to_owned()]);
        }
    }
}

/// A resource's answer; Cloud Storage tells its ETag in a header too.
fn answered(method: &Method, answer: &Value) -> Response {
    let mut response = json_response(StatusCode::OK, answer);
    if method.api == "storage"
        && let Some(etag) = answer["etag"].as_str().and_then(|etag| HeaderValue::try_from(etag).ok())
    {
        response.headers_mut().insert("etag", etag);
    }
    response
}

/// Carries a request out, whatever kind it is of.
pub async fn carry_out(
    mut call: Call,
    parts: &Parts,
    bytes: Bytes,
    matched: &Matched,
    kind: Kind,
) -> Result<Response, ApiError> {
    if !matched.method.served {
        return Err(ApiError::unimplemented(&matched.method.id));
    }
    consumer::check_consumer(&call, &parts.headers)?;
    if call.cloud.profile().storage_pace {
        call.cloud.state::<WriteRate>().check(&call)?;
    }
    if kind != Kind::Json && parts.headers.contains_key("x-goog-encryption-algorithm") {
        return Err(ApiError::unimplemented("encryption keys of the customer's own"));
    }
    match kind {
        Kind::Xml => xml::handle(call, &parts.method, &parts.headers, bytes).await,
        Kind::Upload => uploaded(call, parts, bytes).await,
        Kind::Json | Kind::Download => {
            check_query(call.method, &call.query)?;
            let mask = mask(&call)?;
            preconditions(&mut call, parts);
            let media = kind == Kind::Download || call.query("alt") == Some("media");
            if call.method.id == "storage.objects.get" && media {
                let cloud = Arc::clone(&call.cloud);
                let object = cloud.transact(move |tx| {
                    access::check(&call, tx)?;
                    storage::handler("storage.objects.get").map_or(Ok(Value::Null), |get| get(&call, tx))
                });
                let range = upload::header(&parts.headers, "range");
                let gzip = transcoding::takes_gzip(&parts.headers);
                return media::respond(&cloud, &object.await?, range, gzip, false).await;
            }
            if call.method.id == "storage.objects.insert" {
                return Err(ApiError::new(
                    400,
                    "wrongUrlForUpload",
                    "Upload requests must be uploaded to /upload/* URL.",
                ));
            }
            call.body = check_body(matched, &bytes)?;
            let mut answer = answer(call, matched.method).await?;
            let whole = answered(matched.method, &answer);
            if let Some(mask) = mask {
                mask.apply(&mut answer);
                return Ok(with_body(whole, &answer));
            }
            Ok(match answer {
                Value::Null => {
                    let mut response = Response::new(Body::empty());
                    *response.status_mut() = StatusCode::NO_CONTENT;
                    response
                }
                _ => whole,
            })
        }
    }
}

async fn answer(call: Call, method: &'static Method) -> Result<Value, ApiError> {
    let cloud = Arc::clone(&call.cloud);
    let waits = method.id.ends_with("Operations.wait");
    let key = if waits { compute::operations::key(&call)? } else { String::new() };
    let handler =
        if waits { Some(compute::operations::get as Handler) } else { (call.service.handler)(method) };
    let handler = handler.ok_or_else(|| ApiError::unimplemented(&method.id))?;
    let mut answer = cloud
        .transact(move |tx| {
            access::check(&call, tx)?;
            if call.method.api == "compute"
                && let Some(earlier) = compute::operations::replay(&call, tx)?
            {
                return Ok(earlier);
            }
            if let Some(check) = call.service.constraints {
                check(&call, tx)?;
            }
            handler(&call, tx)
        })
        .await?;
    if waits && let Some(done) = operation::wait(&cloud, &key).await {
        answer = done;
    }
    if let Some(message) = &method.answer {
        CONTRACT.normalize(method.api, message, &mut answer, true);
        if cfg!(debug_assertions) {
            CONTRACT.check(method.api, message, &answer, "response").map_err(|error| {
                ApiError::internal(format!(
                    "The answer of {} breaks the contract: {}",
                    method.id, error.message
                ))
            })?;
        }
    }
    Ok(answer)
}

async fn uploaded(mut call: Call, parts: &Parts, bytes: Bytes) -> Result<Response, ApiError> {
    let session = call.query("upload_id").map(str::to_owned);
    call.query.remove("upload_id");
    check_query(call.method, &call.query)?;
    let mask = mask(&call)?;
    preconditions(&mut call, parts);
    let method = call.method;
    if let Some(id) = session {
        let session = call.cloud.read(&format!("uploads/{id}")).filter(|_| {
            // Ids name files; only those that we gave out do.
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        let session = session.ok_or_else(|| ApiError::not_found("The upload session was not found."))?;
        call.path.insert("bucket".into(), session["bucket"].as_str().unwrap_or_default().to_owned());
        if let Ok(caller) = serde_json::from_value(session["caller"].clone()) {
            call.caller = caller;
        }
        return match parts.method {
            http::Method::DELETE => resumable::cancel(&call.cloud, &id).await,
            _ => resumable::resume(call, &id, session, &parts.headers, bytes).await,
        };
    }
    if parts.method != http::Method::POST && parts.method != http::Method::PUT {
        return Err(ApiError::unimplemented(&format!("{} of an upload", parts.method)));
    }
    let mut object = match call.query("uploadType") {
        Some("media") => upload::simple(call, &parts.headers, bytes).await?,
        Some("multipart") => upload::multipart(call, &parts.headers, bytes).await?,
        Some("resumable") => return resumable::begin(call, &parts.headers, &bytes).await,
        other => {
            let other = other.unwrap_or_default();
            return Err(ApiError::new(400, "badRequest", format!("Invalid uploadType: '{other}'")));
        }
    };
    let whole = answered(method, &object);
    Ok(match mask {
        None => whole,
        Some(mask) => {
            mask.apply(&mut object);
            with_body(whole, &object)
        }
    })
}

fn with_body(response: Response, value: &Value) -> Response {
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, Body::from(value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services;

    #[test]
    fn every_method_of_the_contract_is_served() {
        let missing: Vec<&str> = CONTRACT
            .methods()
            .filter(|method| method.served && !method.id.ends_with("Operations.wait"))
            .filter(|method| method.id != "storage.objects.insert")
            .filter(|method| {
                services::named(method.api).and_then(|service| (service.handler)(method)).is_none()
            })
            .map(|method| method.id.as_str())
            .collect();
        assert_eq!(missing, Vec::<&str>::new());
    }
}
