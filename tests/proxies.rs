//! Where the internet is reached through a proxy only: calls and tokens go through it,
//! and nothing on this machine does.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod deployment;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use deployment::{Deployment, MACHINE, Run};
use serde_json::{Value, json};

/// A proxy by which every host is the sandbox; it notes the names that it was asked for.
struct Proxy {
    address: String,
    hosts: Arc<Mutex<BTreeSet<String>>>,
}

impl Proxy {
    fn to(port: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let hosts = Arc::new(Mutex::new(BTreeSet::new()));
        let seen = Arc::clone(&hosts);
        // Ends with the process: nothing tells it to.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || Self::pass_on(&client, port, &seen));
            }
        });
        Self { address, hosts }
    }

    /// One request of a connection: `GET http://HOST/PATH` becomes `GET /PATH` of the sandbox.
    fn pass_on(client: &TcpStream, port: u64, hosts: &Mutex<BTreeSet<String>>) -> Option<()> {
        let mut reader = BufReader::new(client.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?, words.next()?);
        let Some((host, path)) = target.strip_prefix("http://").and_then(|rest| rest.split_once('/')) else {
            hosts.lock().unwrap().insert(format!("{method} {target}"));
            return None;
        };
        hosts.lock().unwrap().insert(host.to_owned());
        let mut head = format!("{method} /{path} HTTP/1.1\r\nConnection: close\r\n");
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            if !["host", "connection", "proxy-connection"].contains(&&*name) {
                head.push_str(&line);
            } else if name == "host" {
                head.push_str(&format!("Host: 127.0.0.1:{port}\r\n"));
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut sandbox = TcpStream::connect(format!("127.0.0.1:{port}")).ok()?;
        sandbox.write_all(head.as_bytes()).ok()?;
        let (mut answers, mut to_client) = (sandbox.try_clone().ok()?, client.try_clone().ok()?);
        let body = std::thread::spawn(move || std::io::copy(&mut reader, &mut sandbox));
        let _ = std::io::copy(&mut answers, &mut to_client);
        let _ = client.shutdown(Shutdown::Both);
        let _ = body.join();
        Some(())
    }

    fn hosts(&self) -> Vec<String> {
        self.hosts.lock().unwrap().iter().cloned().collect()
    }
}

/// A run at a Google whose hosts have names that only a proxy can resolve.
fn at_google(deployment: &Deployment, credentials: &Value, arguments: &[&str]) -> Command {
    let mimir = deployment.said_to_be_mimir();
    let common = ["--project", "my-gcp", "--mimir-binary", &mimir, "--set", "mimir.version=3.2.0"];
    let mut command = deployment.command(&[&common, arguments].concat());
    for (api, path) in [
        ("COMPUTE", "compute/v1/"),
        ("STORAGE", "storage/v1/"),
        ("IAM", ""),
        ("CLOUDRESOURCEMANAGER", ""),
        ("SERVICEUSAGE", ""),
        ("SECRETMANAGER", ""),
        ("CLOUDBILLING", ""),
    ] {
        let host = format!("http://{}.test/{path}", api.to_ascii_lowercase());
        command.env(format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"), host);
    }
    let file = deployment.write("credentials.json", &credentials.to_string());
    command.env("GOOGLE_APPLICATION_CREDENTIALS", file);
    command
}

fn key(deployment: &Deployment) -> Value {
    let path = deployment.path().join(".dorainfra/sandbox/key.json");
    let mut key: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    key["token_uri"] = json!("http://oauth2.test/token");
    key
}

fn login() -> Value {
    json!({
        "type": "authorized_user", "client_id": "x.apps.googleusercontent.com", "client_secret": "public",
        "refresh_token": "1//sandbox-owner", "token_uri": "http://oauth2.test/token",
    })
}

const APPLY: [&str; 7] =
    ["apply", "--yes", "--json", "--target", MACHINE, "--set", "access.allow=203.0.113.7/32"];

#[test]
fn calls_tokens_and_objects_go_through_the_proxy() {
    let deployment = Deployment::of_records();
    let proxied = |credentials: &Value, arguments: &[&str]| {
        let proxy = Proxy::to(deployment.port());
        let mut command = at_google(&deployment, credentials, arguments);
        Run::of(command.env("HTTP_PROXY", &proxy.address).output().unwrap()).ends_with(0);
        proxy.hosts()
    };
    let mut hosts = [
        "cloudbilling",
        "cloudresourcemanager",
        "compute",
        "iam",
        "secretmanager",
        "serviceusage",
        "storage",
    ]
    .map(|api| format!("{api}.test"))
    .to_vec();
    assert_eq!(proxied(&key(&deployment), &APPLY), hosts, "a key signs its tokens itself");
    // Whether somebody pays is not asked where there is nothing to make.
    hosts[0] = "oauth2.test".into();
    hosts.sort();
    assert_eq!(proxied(&login(), &["plan", "--set", "access.allow=203.0.113.7/32"]), hosts);
}

#[test]
fn what_is_on_this_machine_is_not_asked_for_at_a_proxy() {
    let deployment = Deployment::of_records();
    let mut command = deployment.command(&[&["--sandbox"], &APPLY[..]].concat());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env(name, "http://127.0.0.1:9");
    }
    Run::of(command.output().unwrap()).ends_with(0);
}

#[test]
fn a_file_of_credentials_is_told_as_what_it_is() {
    let deployment = Deployment::of_records();
    for (credentials, words) in [
        (json!({"type": "external_account_authorized_user"}), "a login through a workforce pool"),
        (json!({"type": "gdch_service_account"}), "a file of the type `gdch_service_account`"),
        (json!({"installed": {"client_id": "x"}}), "it says no `type`"),
    ] {
        let run = Run::of(at_google(&deployment, &credentials, &APPLY).output().unwrap());
        assert!(run.code != 0 && run.stdout.contains(words), "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("credentials.json"), "{}", run.stdout);
    }
}
