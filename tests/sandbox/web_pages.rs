//! What a web page can do to what listens on this machine: nothing. Any page that
//! somebody has open may send requests to loopback (a form, `fetch` without CORS), and
//! may make a name of its own point there (DNS rebinding).

use std::path::PathBuf;
use std::process::Command;

use crate::sandbox_support::{PROJECT, Sandbox, answer, start};
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a browser adds to a page's request, by the way in which it asks.
const PAGES: [(&str, &[(&str, &str)]); 5] = [
    (
        "a form posted from elsewhere",
        &[
            ("origin", "https://evil.example"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        ],
    ),
    ("a form of a page without an origin", &[("origin", "null"), ("content-type", "text/plain")]),
    ("a picture", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]),
    ("a page of another port", &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")]),
    ("a name that points here", &[("host", "evil.example")]),
];

/// What such a page would like.
fn wishes() -> Vec<(Method, String)> {
    let mut wishes: Vec<(Method, String)> = [
        ("POST", "sandbox/reset"),
        ("POST", "sandbox/stop"),
        ("PUT", "sandbox/faults"),
        ("DELETE", "sandbox/requests"),
        ("GET", "sandbox/status"),
        ("GET", "sandbox/requests"),
        ("GET", "sandbox/caller"),
        ("POST", "token"),
        ("POST", "batch/storage/v1"),
        ("GET", "storage/v1/b/kept"),
        ("GET", "kept/note"),
    ]
    .map(|(method, path)| (method.parse().unwrap(), path.to_owned()))
    .into();
    wishes.push((Method::POST, format!("storage/v1/b?project={PROJECT}")));
    wishes.push((Method::POST, "upload/storage/v1/b/kept/o?uploadType=media&name=planted".into()));
    wishes.push((Method::DELETE, "storage/v1/b/kept/o/note".into()));
    wishes
}

/// A sandbox with something to lose.
async fn filled() -> Sandbox {
    let sandbox = start().await;
    sandbox.bucket("kept").await;
    sandbox.upload("kept", "note", b"mine").await;
    sandbox
}

async fn is_whole(sandbox: &Sandbox) {
    let buckets = sandbox.read(&format!("storage/v1/b?project={PROJECT}")).await;
    assert_eq!(buckets["items"].as_array().unwrap().len(), 1, "{buckets}");
    let objects = sandbox.read("storage/v1/b/kept/o").await;
    assert_eq!(objects["items"].as_array().unwrap().len(), 1, "{objects}");
}

#[tokio::test]
async fn no_request_that_a_page_can_make_is_answered() {
    let sandbox = filled().await;
    for (who, headers) in PAGES {
        for (method, path) in wishes() {
            // By the name with which Cloud Storage needs no credentials.
            let url = format!("http://localhost:{}/{path}", sandbox.state.port);
            let mut request = sandbox.http.request(method.clone(), url).body("{\"name\": \"planted\"}");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let response = request.send().await.unwrap();
            let cors = response.headers().contains_key("access-control-allow-origin");
            let (status, body) = answer(response).await;
            assert!(matches!(status, 403 | 421), "{who}, {method} {path}: {status} {body}");
            assert!(!cors, "{who}, {method} {path}");
        }
    }
    is_whole(&sandbox).await;
}

/// A page that is not allowed to ask with headers of its own asks for that first.
#[tokio::test]
async fn no_page_is_told_that_it_may_ask() {
    let sandbox = filled().await;
    for (_, path) in wishes() {
        let request = sandbox
            .http
            .request(Method::OPTIONS, sandbox.url(&path))
            .header("origin", "https://evil.example")
            .header("access-control-request-method", "DELETE")
            .header("access-control-request-private-network", "true")
            .header("access-control-request-headers", "authorization");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 403, "{path}");
        let allowed: Vec<_> =
            response.headers().keys().filter(|name| name.as_str().starts_with("access-control")).collect();
        assert!(allowed.is_empty(), "{path}: {allowed:?}");
    }
}

#[tokio::test]
async fn the_controls_ask_for_the_token_that_only_the_owner_can_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = filled().await;
    let file = sandbox.state.dir.join("control.token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    for (method, path) in wishes().into_iter().filter(|(_, path)| path.starts_with("sandbox/")) {
        if path == "sandbox/caller" {
            // What a service on the internet says of a caller is for everybody.
            continue;
        }
        for wrong in [None, Some(""), Some("x"), Some(&token[1..]), Some(&sandbox.token)] {
            let mut request = sandbox.http.request(method.clone(), sandbox.url(&path));
            if let Some(wrong) = wrong {
                request = request.bearer_auth(wrong);
            }
            let (status, body) = answer(request.send().await.unwrap()).await;
            assert_eq!(status, 401, "{method} {path}: {body}");
            let message = body["error"]["message"].as_str().unwrap();
            assert!(message.contains("control.token"), "it says where the token is: {message}");
        }
    }
    is_whole(&sandbox).await;
    let request = sandbox.http.get(sandbox.url("sandbox/status")).bearer_auth(&token);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let known = sandbox.state.dir.clone();
    sandbox.stop().await;
    assert!(!known.join("control.token").exists(), "it ends with the sandbox");
}

/// How much of an endless body is taken before the answer, bytes.
async fn taken(sandbox: &Sandbox, head: &str) -> (usize, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", sandbox.state.port)).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut said = vec![0; 4096];
    let mut sent = 0;
    let chunk = vec![b'x'; 1 << 20];
    let piece = [format!("{:x}\r\n", chunk.len()).as_bytes(), &chunk, b"\r\n"].concat();
    loop {
        tokio::select! {
            biased;
            count = read.read(&mut said) => {
                let said = String::from_utf8_lossy(&said[..count.unwrap_or(0)]).into_owned();
                return (sent, said);
            }
            written = write.write_all(&piece) => {
                // Whoever was refused has an answer that waits.
                if written.is_err() {
                    let count = read.read(&mut said).await.unwrap_or(0);
                    return (sent, String::from_utf8_lossy(&said[..count]).into_owned());
                }
                sent += piece.len();
                assert!(sent < 2 << 30, "two gigabytes were taken of: {head}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_body_is_read_without_a_bound() {
    let sandbox = filled().await;
    let token = format!("Authorization: Bearer {}\r\n", sandbox.token);
    let small = 16 << 20;
    // Whoever is nobody, and what is JSON: a little. Media of somebody who is known: as
    // large as the programs that machines run.
    for (path, who, most) in [
        ("token", "", small),
        ("batch/storage/v1", token.as_str(), small),
        ("sandbox/faults", "", small),
        ("upload/storage/v1/b/kept/o?uploadType=media&name=planted", "", small),
        ("storage/v1/b?project=sandbox-test", token.as_str(), small),
        ("upload/storage/v1/b/kept/o?uploadType=media&name=planted", token.as_str(), 512 << 20),
    ] {
        let head = format!(
            "POST /{path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{who}Transfer-Encoding: chunked\r\n\r\n",
            sandbox.state.port
        );
        let (sent, said) = taken(&sandbox, &head).await;
        assert!(sent <= most + (32 << 20), "{path}: {sent} bytes were taken");
        assert!(said.starts_with("HTTP/1.1 4"), "{path}: {said}");
    }
    // What says its length is refused by that.
    let head = format!(
        "POST /token HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 200000000\r\n\r\n",
        sandbox.state.port
    );
    let (_, said) = taken(&sandbox, &head).await;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    is_whole(&sandbox).await;
}

fn chromium() -> PathBuf {
    ["/usr/bin/chromium", "/usr/bin/chromium-browser"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.is_file())
        .expect("there is no chromium")
}

/// What a page has become once all that it waits for is there.
async fn dom(chromium: PathBuf, url: String) -> String {
    tokio::task::spawn_blocking(move || {
        let profile = tempfile::tempdir().unwrap();
        let output = Command::new("timeout")
            .args(["--kill-after=5", "120"])
            .arg(chromium)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            // A name of the page's own that points here, as in DNS rebinding.
            .args(["--host-resolver-rules=MAP evil.example 127.0.0.1", "--no-proxy-server"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(["--virtual-time-budget=10000", "--dump-dom", &url])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    })
    .await
    .unwrap()
}

/// Serves one page to whoever asks.
async fn page(html: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let head = format!("Content-Type: text/html\r\nContent-Length: {}\r\n", html.len());
            let answer = format!("HTTP/1.1 200 OK\r\n{head}Connection: close\r\n\r\n{html}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/nightly"]
async fn a_page_in_a_browser_changes_and_reads_nothing() {
    let chromium = chromium();
    let sandbox = filled().await;
    let port = sandbox.state.port;
    let here = page(format!(
        "<!doctype html><body><iframe name=sink></iframe>\
         <form method=post target=sink action='http://127.0.0.1:{port}/sandbox/reset'></form>\
         <img src='http://127.0.0.1:{port}/sandbox/status'>\
         <script>
         document.forms[0].submit();
         const ask = (url, more) => fetch(url, {{mode: 'no-cors', method: 'POST', body: '{{\"name\": \"planted\"}}', ...more}})
             .then(() => 'sent', () => 'refused');
         Promise.all([
             ask('http://127.0.0.1:{port}/sandbox/stop'),
             ask('http://localhost:{port}/storage/v1/b?project={PROJECT}'),
             ask('http://localhost:{port}/upload/storage/v1/b/kept/o?uploadType=media&name=planted'),
             ask('http://localhost:{port}/sandbox/faults', {{mode: 'cors', method: 'PUT'}}),
         ]).then(all => document.body.dataset.done = all.join(' '));
         </script>"
    ))
    .await;
    let seen = dom(chromium.clone(), format!("http://127.0.0.1:{here}/")).await;
    assert!(seen.contains("data-done="), "the page has asked: {seen}");
    is_whole(&sandbox).await;
    // Its own name, once it points here: of the same origin, so that all could be read.
    for path in ["sandbox/status", "sandbox/requests", "kept/note", "storage/v1/b/kept/o"] {
        let seen = dom(chromium.clone(), format!("http://evil.example:{port}/{path}")).await;
        assert!(seen.contains("ask for"), "{path}: {seen}");
        for secret in ["mine", PROJECT, "storage#"] {
            assert!(!seen.contains(secret), "{path}: {seen}");
        }
    }
    is_whole(&sandbox).await;
}
