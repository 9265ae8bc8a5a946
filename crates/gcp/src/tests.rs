//! A cloud that does not answer, as calls meet it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use dorainfra_base::error::chain;
use dorainfra_model::{Event, Events};

use super::objects::{Body, Upload};
use super::{Api, Call, Client, Endpoints, Error, Settings};

/// Answers everything that comes with this document.
fn answer(listener: TcpListener, document: &'static str) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let length = document.len();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let _ = write!(stream, "{head}content-length: {length}\r\n\r\n{document}");
        }
    });
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A client of a cloud at an address at which nobody is, and of a login that works.
fn client(folder: &tempfile::TempDir, cloud: SocketAddr, events: Events, retry_for: Duration) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (login, at) = listen();
    answer(login, r#"{"access_token":"t","expires_in":3600,"token_type":"Bearer"}"#);
    let key = folder.path().join("key.json");
    let user = r#""type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r""#;
    std::fs::write(&key, format!(r#"{{{user},"token_uri":"http://{at}/"}}"#)).unwrap();
    let base = format!("http://{cloud}/");
    let endpoints = Endpoints { compute: base.clone(), storage: base, ..Endpoints::default() };
    let (credentials, project) = (Some(key), "p".into());
    Client::new(Settings {
        endpoints,
        credentials,
        person: false,
        gcloud: false,
        project,
        proxy: None,
        events,
        retry_for,
    })
    .unwrap()
}

#[tokio::test]
async fn a_cloud_that_refuses_is_told_before_the_second_attempt_and_named_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (_, cloud) = listen();
    let told = Arc::<Mutex<Vec<Event>>>::default();
    let into = Arc::clone(&told);
    let events = Events::to(move |event| into.lock().unwrap().push(event));
    let client = client(&folder, cloud, events, Duration::from_secs(1));
    let error = client.call(&Call::get(Api::Compute, "zones")).await.unwrap_err();
    {
        let told = told.lock().unwrap();
        let Some(Event::CloudUnreachable { host, error, attempts: 1, left_ms, .. }) = told.first() else {
            panic!("{told:?}");
        };
        assert_eq!(*host, cloud.to_string());
        assert!(error.contains("refused") && (1..=1000).contains(left_ms), "{told:?}");
    }
    let text = error.to_string();
    for words in ["the cloud does not answer", &cloud.to_string(), "refused", "GET zones"] {
        assert!(text.contains(words), "{words} is not in: {text}");
    }
    assert!(error.hint().unwrap().contains("sandbox start"), "{error:?}");
    assert!(chain(&error).count() > 2, "{error:?}");
    assert!(!error.unknown_outcome(), "nothing was ever sent");
    assert!(client.unreachable().is_some());
    // Object data, which Google's own client moves, is of the same cloud: tried for no longer.
    let error = client.read_object("b", "o").await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { host, .. } if *host == cloud.to_string()), "{error:?}");
    assert!(chain(&error).count() > 1, "{error:?}");
}

#[tokio::test]
async fn a_cloud_that_comes_back_is_told_and_the_call_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (_, cloud) = listen();
    let told = Arc::<Mutex<Vec<String>>>::default();
    let into = Arc::clone(&told);
    let events = Events::to(move |event| {
        let name = match event {
            Event::CloudUnreachable { .. } => {
                answer(TcpListener::bind(cloud).unwrap(), r#"{"name":"z"}"#);
                "away"
            }
            Event::CloudReachable { .. } => "back",
            _ => "something else",
        };
        into.lock().unwrap().push(name.to_owned());
    });
    let client = client(&folder, cloud, events, Duration::from_secs(60));
    let zone = client.call(&Call::get(Api::Compute, "zones/z")).await.unwrap();
    assert_eq!(zone["name"], "z");
    assert_eq!(*told.lock().unwrap(), ["away", "back"]);
    assert!(client.unreachable().is_none());
}

#[tokio::test]
async fn a_transfer_that_nobody_takes_is_given_up_as_a_call_is() {
    let folder = tempfile::tempdir().unwrap();
    // Connections wait in its queue, and nobody takes them.
    let (_nobody, cloud) = listen();
    let client = client(&folder, cloud, Events::none(), Duration::from_secs(1));
    let (body, upload) = (Body::Bytes("bytes".into()), Upload::default());
    let (written, read) = tokio::join!(client.put("b", "o", &body, &upload), client.read_object("b", "o"));
    for error in [written.unwrap_err(), read.unwrap_err()] {
        assert!(matches!(&error, Error::Unreachable { host, .. } if *host == cloud.to_string()), "{error:?}");
        assert!(error.to_string().contains("nothing has moved"), "{error}");
    }
}
