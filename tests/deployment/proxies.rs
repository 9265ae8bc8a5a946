//! Where the internet is reached through a proxy only: calls and tokens go through it,
//! and nothing on this machine does.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::deployment::{Deployment, MACHINE, Run};
use dorainfra_pki::{Authority, Usage};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// A proxy by which every host is the sandbox; it notes the names that it was asked for.
/// What is asked for by `CONNECT` it answers as those hosts would: with certificates of an
/// authority of its own.
struct Proxy {
    address: String,
    hosts: Arc<Mutex<BTreeSet<String>>>,
    /// PEM.
    authority: String,
}

impl Proxy {
    fn to(port: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let hosts = Arc::new(Mutex::new(BTreeSet::new()));
        let day = time::Duration::DAY;
        let authority = Authority::new("a proxy's", day, OffsetDateTime::now_utc()).unwrap();
        let (seen, issuer) = (Arc::clone(&hosts), Arc::new(authority.clone()));
        // Ends with the process: nothing tells it to.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (seen, issuer) = (Arc::clone(&seen), Arc::clone(&issuer));
                std::thread::spawn(move || Self::serve(client, port, &seen, &issuer));
            }
        });
        Self { address, hosts, authority: authority.ca }
    }

    /// One request of a connection: `GET http://HOST/PATH`, or `GET /PATH` after a `CONNECT HOST:443`.
    fn serve(client: TcpStream, port: u64, seen: &Mutex<BTreeSet<String>>, issuer: &Authority) -> Option<()> {
        // So that one thread can see to both directions.
        client.set_read_timeout(Some(Duration::from_millis(5))).ok()?;
        let mut reader = BufReader::new(client);
        let (line, mut head) = read_head(&mut reader)?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?, words.next()?);
        if method == "CONNECT" {
            let host = target.strip_suffix(":443")?;
            seen.lock().unwrap().insert(format!("https://{host}"));
            let mut client = reader.into_inner();
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
            let server = rustls::ServerConnection::new(Arc::new(named(issuer, host))).ok()?;
            let mut reader = BufReader::new(rustls::StreamOwned::new(server, client));
            let (line, head) = read_head(&mut reader)?;
            return relay(reader, port, format!("{line}{head}"));
        }
        let (host, path) = target.strip_prefix("http://")?.split_once('/')?;
        seen.lock().unwrap().insert(format!("http://{host}"));
        head.insert_str(0, &format!("{method} /{path} HTTP/1.1\r\n"));
        relay(reader, port, head)
    }

    fn hosts(&self) -> Vec<String> {
        self.hosts.lock().unwrap().iter().cloned().collect()
    }
}

/// The first line and the headers of a request, but for those that are for the next hop.
fn read_head(reader: &mut impl BufRead) -> Option<(String, String)> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    loop {
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(_) if line.ends_with(b"\n") => lines.push(String::from_utf8(std::mem::take(&mut line)).ok()?),
            Ok(_) => {}
            Err(error) if is_early(&error) => {}
            Err(_) => return None,
        }
        if lines.last().is_some_and(|line| line.trim().is_empty()) {
            break;
        }
    }
    let first = lines.remove(0);
    let hop = |line: &String| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        ["host", "connection", "proxy-connection"].contains(&&*name)
    };
    lines.retain(|line| !hop(line));
    Some((first, lines.concat()))
}

fn is_early(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// Hands a request to the sandbox, and its answer back.
fn relay<S: Read + Write>(mut client: BufReader<S>, port: u64, head: String) -> Option<()> {
    let mut sandbox = TcpStream::connect(format!("127.0.0.1:{port}")).ok()?;
    sandbox.set_read_timeout(Some(Duration::from_millis(5))).ok()?;
    let (line, headers) = head.split_once("\r\n")?;
    let first = format!("{line}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    sandbox.write_all(format!("{first}{headers}").as_bytes()).ok()?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match client.read(&mut buffer) {
            Ok(0) => return None,
            Ok(count) => sandbox.write_all(&buffer[..count]).ok()?,
            Err(error) if is_early(&error) => {}
            Err(_) => return None,
        }
        match sandbox.read(&mut buffer) {
            Ok(0) => return client.get_mut().flush().ok(),
            Ok(count) => client.get_mut().write_all(&buffer[..count]).ok()?,
            Err(error) if is_early(&error) => {}
            Err(_) => return None,
        }
    }
}

/// What a host of that name shows.
fn named(issuer: &Authority, host: &str) -> rustls::ServerConfig {
    use rustls::pki_types::pem::PemObject as _;
    let (day, names) = (time::Duration::DAY, [host.to_owned()]);
    let now = OffsetDateTime::now_utc();
    let shown = issuer.issue(Usage::Server, host, &names, day, issuer.ca.clone(), now).unwrap();
    let chain = rustls::pki_types::CertificateDer::pem_slice_iter(shown.certificate.as_bytes());
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
    rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap()
}

/// A run at a Google whose hosts have names that only a proxy can resolve.
fn at_google(scheme: &str, deployment: &Deployment, credentials: &Value, arguments: &[&str]) -> Command {
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
        let host = format!("{scheme}://{}.test/{path}", api.to_ascii_lowercase());
        command.env(format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"), host);
    }
    let file = deployment.write("credentials.json", &credentials.to_string());
    command.env("GOOGLE_APPLICATION_CREDENTIALS", file);
    command
}

fn key(scheme: &str, deployment: &Deployment) -> Value {
    let path = deployment.path().join(".dorainfra/sandbox/key.json");
    let mut key: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    key["token_uri"] = json!(format!("{scheme}://oauth2.test/token"));
    key
}

fn login(scheme: &str) -> Value {
    json!({
        "type": "authorized_user", "client_id": "x.apps.googleusercontent.com", "client_secret": "public",
        "refresh_token": "1//sandbox-owner", "token_uri": format!("{scheme}://oauth2.test/token"),
    })
}

const PLAN: [&str; 3] = ["plan", "--set", "access.allow=203.0.113.7/32"];
const APPLY: [&str; 7] =
    ["apply", "--yes", "--json", "--target", MACHINE, "--set", "access.allow=203.0.113.7/32"];

#[test]
fn calls_tokens_and_objects_go_through_the_proxy() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for scheme in ["http", "https"] {
        let deployment = Deployment::of_records();
        let proxied = |credentials: &Value, arguments: &[&str]| {
            let proxy = Proxy::to(deployment.port());
            let mut command = at_google(scheme, &deployment, credentials, arguments);
            command.env("SSL_CERT_FILE", deployment.write("authority.pem", &proxy.authority));
            let variable = format!("{}_PROXY", scheme.to_ascii_uppercase());
            Run::of(command.env(variable, &proxy.address).output().unwrap()).ends_with(0);
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
        .map(|api| format!("{scheme}://{api}.test"))
        .to_vec();
        let key = key(scheme, &deployment);
        assert_eq!(proxied(&key, &APPLY), hosts, "a key signs its tokens itself");
        // Whether somebody pays is not asked where there is nothing to make.
        hosts[0] = format!("{scheme}://oauth2.test");
        hosts.sort();
        assert_eq!(proxied(&login(scheme), &PLAN), hosts);
    }
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
        let run = Run::of(at_google("http", &deployment, &credentials, &APPLY).output().unwrap());
        assert!(run.code != 0 && run.stdout.contains(words), "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("credentials.json"), "{}", run.stdout);
        // Whoever comes from a workforce pool is not sent back to where they come from.
        let plain = run.stdout.contains("`gcloud auth application-default login`, or set");
        assert!(!plain || !words.contains("workforce"), "{}", run.stdout);
    }
}

/// What a token could not be had for: named with its file, and with what mends it.
#[test]
fn a_file_that_gives_no_token_is_named_with_what_mends_it() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let deployment = Deployment::of_records();
    let mut damaged = key("http", &deployment);
    damaged["private_key"] = json!("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n");
    let mut revoked = login("http");
    revoked["refresh_token"] = json!("1//revoked");
    let elsewhere = json!({
        "type": "external_account", "audience": "//iam.googleapis.com/x", "token_url": "http://sts.test/v1/token",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "credential_source": {"file": "/nowhere/identity.token"},
    });
    let proxy = Proxy::to(deployment.port());
    for (credentials, words) in [
        (damaged, ["credentials.json", "gcloud iam service-accounts keys create"]),
        (revoked, ["credentials.json", "the login has ended"]),
        (elsewhere, ["/nowhere/identity.token", "may ask for an identity token"]),
    ] {
        let mut command = at_google("http", &deployment, &credentials, &PLAN);
        let run = Run::of(command.env("HTTP_PROXY", &proxy.address).output().unwrap());
        for words in words {
            assert!(run.code != 0 && run.stderr.contains(words), "{words}: {}{}", run.stdout, run.stderr);
        }
    }
    // A proxy that looks inside, and whose authority nobody has named; one that wants a password.
    for (address, words) in [(proxy.address.clone(), "SSL_CERT_FILE"), (closed_proxy(), "NAME:PASSWORD@HOST")]
    {
        let mut command = at_google("https", &deployment, &login("https"), &PLAN);
        let run = Run::of(command.env("HTTPS_PROXY", address).output().unwrap());
        assert!(run.code != 0 && run.stderr.contains(words), "{words}: {}{}", run.stdout, run.stderr);
    }
}

#[test]
fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let deployment = Deployment::of_records();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = format!("http://me:s3same@{free}");
    let place = format!("http://{free} (HTTPS_PROXY)");
    for (credentials, address, words) in [
        (key("https", &deployment), &*refused, [&*place, "Connection refused", "NO_PROXY"]),
        (login("https"), &refused, [&place, "Connection refused", "NO_PROXY"]),
        (
            key("https", &deployment),
            "http://me:s3same@proxy:port",
            ["HTTPS_PROXY", "`proxy:port`", "HOST:PORT"],
        ),
        (login("https"), "socks5://me:s3same@127.0.0.1:1080", ["HTTPS_PROXY", "one for socks5", "HOST:PORT"]),
    ] {
        let mut command = at_google("https", &deployment, &credentials, &PLAN);
        let run = Run::of(command.env("HTTPS_PROXY", address).output().unwrap());
        for words in words {
            assert!(run.code != 0 && run.stderr.contains(words), "{words}: {}{}", run.stdout, run.stderr);
        }
        assert!(!format!("{}{}", run.stdout, run.stderr).contains("s3same"), "{}{}", run.stdout, run.stderr);
    }
}

/// A proxy that lets nobody through without a password.
fn closed_proxy() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut reader = BufReader::new(client);
            if read_head(&mut reader).is_some() {
                let answer = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\
                              Content-Length: 0\r\n\r\n";
                let _ = reader.into_inner().write_all(answer.as_bytes());
            }
        }
    });
    address
}
