//! What GitHub and GitLab once answered, as two Python clients recorded it, and a
//! server on loopback that answers the same again. `scripts/setup --tests` gets
//! the recordings; tests/fixtures/README.md says whose they are.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::installed;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderName;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::options::NonFiniteFloatPolicy;

pub use installed::installed;

/// What was answered to one request.
pub struct Answer {
    /// Path and query, as it was asked for.
    pub target: String,
    pub status: u16,
    /// With lower-case names.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// A recording of PyGithub: requests in ten lines each, of which the 5th is the
/// target, the 8th the status, the 9th the headers (as Python writes a list of
/// pairs) and the 10th the body.
pub fn pygithub(folder: &Path, name: &str) -> Vec<Answer> {
    let path = folder.join("tests/ReplayData").join(format!("{name}.txt"));
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let requests = lines.split(|line| line.is_empty()).filter(|request| request.len() >= 10);
    let answers: Vec<Answer> = requests
        .map(|request| Answer {
            target: request[4].to_owned(),
            status: request[7].parse().unwrap(),
            headers: pairs(request[8]),
            body: request[9].to_owned(),
        })
        .collect();
    assert!(!answers.is_empty(), "{name} holds no answers");
    answers
}

/// `[('name', 'value'), ('other', 'value')]`
fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.trim_start_matches("[('").trim_end_matches("')]").split("'), ('");
    let pairs = pairs.filter_map(|pair| pair.split_once("', '"));
    pairs.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect()
}

/// A recording of ogr: YAML, with the answers by method and address. Of an
/// address that was asked for more than once, the last one; of them all, those
/// whose address holds `part`, since the largest files have sixteen megabytes.
pub fn ogr(folder: &Path, name: &str, part: &str) -> Vec<Answer> {
    #[derive(Deserialize)]
    struct Cassette {
        #[serde(rename = "requests.sessions")]
        sessions: Sessions,
    }
    #[derive(Deserialize)]
    struct Sessions {
        send: Methods,
    }
    #[derive(Deserialize)]
    struct Methods {
        #[serde(rename = "GET")]
        get: BTreeMap<String, Vec<Exchange>>,
    }
    #[derive(Deserialize)]
    struct Exchange {
        output: Output,
    }
    #[derive(Deserialize)]
    struct Output {
        #[serde(rename = "_content")]
        content: Value,
        headers: BTreeMap<String, String>,
        status_code: u16,
    }

    let path = folder.join("tests/integration").join(format!("{name}.yaml"));
    let text = std::fs::read_to_string(path).unwrap();
    let options = serde_saphyr::options! {
        budget: None,
        // Python leaves the hash 684e8547 without quotes; nothing here reads short ones.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    let cassette: Cassette = serde_saphyr::from_str_with_options(&addresses(&text, part), options).unwrap();
    let answers = cassette.sessions.send.get.into_iter().filter_map(|(address, mut exchanges)| {
        let output = exchanges.pop()?.output;
        let target = address.split_once("://")?.1.split_once('/')?.1;
        let headers = output.headers.into_iter().map(|(name, value)| (name.to_lowercase(), value));
        Some(Answer {
            target: format!("/{target}"),
            status: output.status_code,
            headers: headers.collect(),
            body: output.content.to_string(),
        })
    });
    let answers: Vec<Answer> = answers.collect();
    assert!(!answers.is_empty(), "{name} holds no answers of {part}");
    answers
}

/// The lines of a cassette without those of other addresses. An address is a key
/// of the fourth level.
fn addresses(text: &str, part: &str) -> String {
    let mut wanted = true;
    let mut kept = String::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let address = line.trim_start().trim_start_matches("? ").starts_with("https://");
        // Texts have empty lines.
        if indent < 6 && !line.is_empty() {
            wanted = true;
        } else if indent == 6 && address {
            wanted = line.contains(part);
        }
        if wanted {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// A forge that answers what was recorded of it.
///
/// An address that was recorded is answered with just that, so each next page is
/// reached by its own link only. A list that was asked for in other words (another
/// size of pages, another time to begin with) is answered with its recorded first
/// page. Of lists that nobody recorded nothing is in them, and all else is 404.
pub struct Replay {
    answers: Vec<Answer>,
    asked: Mutex<Vec<String>>,
}

impl Replay {
    /// Serves; answers the address.
    pub async fn serve(answers: Vec<Answer>) -> (String, Arc<Self>) {
        let replay = Arc::new(Self { answers, asked: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(reply).with_state((replay.clone(), url.clone()));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (url, replay)
    }

    /// Targets that were asked for and hold `part`, in order.
    pub fn asked(&self, part: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|target| target.contains(part)).cloned().collect()
    }

    fn answer(&self, target: &str) -> Option<&Answer> {
        let path = |target: &str| target.split('?').next().unwrap_or_default().to_owned();
        let first = |answer: &&Answer| {
            let query = answer.target.split_once('?').map_or("", |(_, query)| query);
            let later = query.split('&').any(|pair| pair.starts_with("page=") && pair != "page=1");
            path(&answer.target) == path(target) && !later
        };
        let recorded = self.answers.iter().find(|answer| answer.target == target);
        recorded.or_else(|| self.answers.iter().find(first))
    }
}

async fn reply(State((replay, url)): State<(Arc<Replay>, String)>, request: Request) -> Response {
    let target = request.uri().to_string();
    replay.asked.lock().unwrap().push(target.clone());
    let respond =
        |status: u16, body: String| Response::builder().status(status).body(Body::from(body)).unwrap();
    let Some(answer) = replay.answer(&target) else {
        let lists = ["/deployments", "/releases", "/pulls", "/merge_requests", "/issues", "/statuses"];
        let is_list = lists.iter().any(|name| request.uri().path().ends_with(name));
        return if is_list {
            respond(200, "[]".into())
        } else {
            respond(404, r#"{"message":"Not Found"}"#.into())
        };
    };
    let mut response = respond(answer.status, filtered(&answer.body, &target));
    // The other headers are of the connection that was recorded, not of this one.
    let kept = |name: &str| name == "link" || name == "retry-after" || name.contains("ratelimit");
    for (name, value) in answer.headers.iter().filter(|(name, _)| kept(name)) {
        let here = value.replace("https://api.github.com", &url).replace("https://gitlab.com", &url);
        response.headers_mut().insert(name.parse::<HeaderName>().unwrap(), here.parse().unwrap());
    }
    response
}

/// `state=merged` was not asked for when merge requests were recorded: the others
/// are left out, as GitLab does it.
fn filtered(body: &str, target: &str) -> String {
    match serde_json::from_str(body) {
        Ok(Value::Array(mut items)) if target.contains("/merge_requests") => {
            items.retain(|item| item["state"] == "merged");
            Value::Array(items).to_string()
        }
        _ => body.to_owned(),
    }
}
