//! Endpoints that are none, or mean harm: `report` says what answered, within bounds
//! of time and memory.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::deployment::Deployment;

/// Serves each connection by `answer`, until the test ends.
fn endpoint(answer: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                answer(&mut stream);
            });
        }
    });
    url
}

fn says(text: &'static str) -> impl Fn(&mut TcpStream) + Send + Sync {
    move |stream| {
        let _ = stream.write_all(text.as_bytes());
    }
}

#[test]
fn what_answers_instead_of_the_query_api_is_told() {
    let deployment = Deployment::empty();
    for (answer, words) in [
        (
            "HTTP/1.1 302 Found\r\nLocation: https://login.example/?token=secret\r\nContent-Length: 0\r\n\r\n",
            "redirects to https://login.example/",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n<h1>x", "web page"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]",
            "cannot be read",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n", "larger than"),
        ("\u{0}\u{1}nonsense\r\n\r\n", "cannot be reached"),
    ] {
        let url = endpoint(says(answer));
        let run =
            deployment.run(&["report", "--endpoint", &url, "--out", "-", "--format", "json"]).ends_with(1);
        assert!(run.stderr.contains(words), "`{words}` is not in:\n{}", run.stderr);
        assert!(!run.stderr.contains("secret"), "{}", run.stderr);
        assert!(run.stdout.is_empty(), "{}", run.stdout);
    }
}

#[test]
fn an_answer_without_an_end_takes_a_bounded_amount_of_memory() {
    let deployment = Deployment::empty();
    let url = endpoint(|stream| {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"data\":{\"result\":[");
        while stream.write_all(&[b' '; 65536]).is_ok() {}
    });
    let mut command = deployment.command(&["report", "--endpoint", &url, "--out", "-"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let mut peak = 0;
    let status = loop {
        let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or_default() / 1024);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "it reads on");
        std::thread::park_timeout(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(1));
    // Eight queries are answered at once, each within its bound; a buffer that grows is
    // there twice for a moment.
    assert!(peak < 1200, "{peak} MiB");
}

#[test]
fn an_endpoint_that_never_answers_is_given_up_after_a_minute() {
    let deployment = Deployment::empty();
    // It holds the connection until the other side ends it.
    let url = endpoint(|stream| drop(stream.read(&mut [0; 1])));
    let began = Instant::now();
    let run = deployment.run(&["report", "--endpoint", &url, "--out", "-"]).ends_with(1);
    assert!(run.stderr.contains("no answer within"), "{}", run.stderr);
    assert!(began.elapsed() < Duration::from_secs(100), "{:?}", began.elapsed());
}
