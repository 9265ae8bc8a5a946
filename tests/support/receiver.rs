//! A running receiver of webhooks, and what it wrote.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dorainfra_dora::events::{Event, read};
use ring::hmac;
use rustix::process::{Pid, Signal, kill_process};

pub const SECRET: &str = "a secret of this test";

/// A running receiver.
pub struct Receiver {
    pub child: Child,
    pub url: String,
}

impl Receiver {
    pub fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dorainfra"))
            .args(["collect", "--listen", "127.0.0.1:0", "--events", "events.jsonl"])
            .current_dir(folder)
            .env_clear()
            .env("DORAINFRA_WEBHOOK_SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = lines.find_map(|line| line.ok().filter(|line| line.contains("http://")));
        let said = said.expect("it says where it listens");
        let url = said.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    pub fn signal(&mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn signed(body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("sha256={}", hex::encode(hmac::sign(&key, body)))
}

pub fn collected(folder: &Path) -> Vec<Event> {
    let text = std::fs::read(folder.join("events.jsonl")).unwrap_or_default();
    read(text.as_slice()).collect::<Result<_, _>>().unwrap()
}

pub fn http() -> reqwest::Client {
    // A second provider of TLS is no harm; there has to be one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap()
}
