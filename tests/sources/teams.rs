//! Whose a project on a forge is, as its `CODEOWNERS` says.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use serde_json::{Value, json};

/// What a forge holds, and what it was asked for.
#[derive(Default)]
struct Forge {
    /// The file, as both forges' paths name it, and its text.
    owners: Option<(&'static str, &'static str)>,
    away: bool,
    asked: Vec<String>,
}

impl Forge {
    fn answer(&mut self, path: &str) -> (u16, Value) {
        let gitlab = "/api/v4/projects/example%2Fshop/";
        let path = path.replace(gitlab, "").replace("/repos/example/shop/", "");
        self.asked.push(path.clone());
        if self.away {
            return (429, json!({"message": "Too many"}));
        }
        let at = "2026-03-02T08:00:00Z";
        match (path.as_str(), self.owners) {
            ("releases", _) => (
                200,
                json!([{"tag_name": "v1", "draft": false, "prerelease": false,
                "published_at": at, "released_at": at}]),
            ),
            ("pulls" | "merge_requests" | "issues", _) => (200, json!([])),
            (path, Some((file, text))) if path == file => {
                let packed = base64::engine::general_purpose::STANDARD.encode(text);
                // As both answer it: in lines.
                let (first, rest) = packed.split_at(packed.len() / 2);
                (200, json!({"encoding": "base64", "content": format!("{first}\n{rest}\n")}))
            }
            _ => (404, json!({"message": "Not Found"})),
        }
    }
}

async fn serve() -> (String, Arc<Mutex<Forge>>) {
    let forge = Arc::new(Mutex::new(Forge::default()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let own = Arc::clone(&forge);
    let app = Router::new().fallback(move |request: Request| {
        let (status, body) = own.lock().unwrap().answer(request.uri().path());
        async move {
            let response = Response::builder().status(status).header("retry-after", "3600");
            response.body(Body::from(body.to_string())).unwrap()
        }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, forge)
}

/// Exit code and what was said.
async fn run(folder: &Path, arguments: &'static [&'static str]) -> (i32, String) {
    let folder = folder.to_owned();
    let done = tokio::task::spawn_blocking(move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
        command.current_dir(&folder).env_clear().args(arguments);
        command.output().unwrap()
    });
    let output = done.await.unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn ids(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("events.jsonl")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut ids: Vec<String> = events.map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_says_who_owns_a_project() {
    const COLLECT: &[&str] = &["collect", "--events", "events.jsonl"];
    for (kind, file) in
        [("github", "contents/docs/CODEOWNERS"), ("gitlab", "repository/files/docs%2FCODEOWNERS")]
    {
        let folder = tempfile::tempdir().unwrap();
        let (url, forge) = serve().await;
        let text = format!(
            "sources:\n- {{type: {kind}, project: example/shop, url: \"{url}\", team_from: codeowners, \
             deployments: releases}}\n"
        );
        std::fs::write(folder.path().join("dorainfra.yaml"), text).unwrap();

        let (code, said) = run(folder.path(), COLLECT).await;
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("example/shop: there is no CODEOWNERS in it") && said.contains("team: NAME"),
            "{said}"
        );
        forge.lock().unwrap().owners = Some((file, "/cart/ @example/orders\n"));
        let (_, said) = run(folder.path(), COLLECT).await;
        assert!(said.contains("names nobody for all of it"), "{said}");

        forge.lock().unwrap().owners = Some((file, "* @example/platform\n/cart/ @example/orders\n"));
        assert_eq!(run(folder.path(), COLLECT).await.0, 0);
        assert_eq!(ids(folder.path()), ["platform/shop@v1"], "{kind}");
        // A pipeline's event asks nobody again.
        forge.lock().unwrap().asked.clear();
        let event: &[&str] =
            &["event", "deploy", "--events", "events.jsonl", "--team", "a", "--service", "b", "--id", "1"];
        let (code, said) = run(folder.path(), event).await;
        assert_eq!(code, 0, "{said}");
        assert_eq!(forge.lock().unwrap().asked, Vec::<String>::new());
        // The team changes its name: what it did is there once, and a service of its own stays.
        forge.lock().unwrap().owners = Some((file, "* @example/core\n"));
        assert_eq!(run(folder.path(), COLLECT).await.0, 0);
        assert_eq!(
            ids(folder.path()),
            ["a/b@cdevents:/dorainfra/event/a/b/production#1", "core/shop@v1"],
            "{kind}"
        );
        // The forge answers no more for now: what it said before is still so.
        forge.lock().unwrap().away = true;
        let (_, said) = run(folder.path(), COLLECT).await;
        assert!(said.contains("/releases allows no more requests"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_forge_can_not_tell_is_said_with_what_can() {
    let folder = tempfile::tempdir().unwrap();
    for (source, expected) in [
        ("{type: github, project: example/shop, paths: [cart]}", "`type: git` with `paths`"),
        ("{type: gitlab, project: example/shop, paths: [cart]}", "`environment` of its own"),
        ("{type: github, project: example/shop, teams: [\"cart=orders\"]}", "`team_from: codeowners`"),
        ("{type: gitlab, project: example/shop, teams: [\"cart=orders\"]}", "`team_from: codeowners`"),
        ("{type: github, project: a/b, team: a, team_from: codeowners}", "two ways to say whose it is"),
        ("{type: gitlab, project: a/b, pathz: [cart]}", "has no `pathz`"),
    ] {
        std::fs::write(folder.path().join("dorainfra.yaml"), format!("sources:\n- {source}\n")).unwrap();
        let (code, said) = run(folder.path(), &["collect", "--events", "events.jsonl"]).await;
        assert!(code == 3 && said.contains(expected), "{source}: {code}: {said}");
    }
}
