//! Headless Chromium as a camera: a page's picture, and what is in it, both of the same
//! moment. Chromium's own clock runs ahead only while nothing is under way on the
//! network, so a page has the time that it takes, and nobody sleeps.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::collector::search;

/// How far the page's clock runs before the picture, ms.
const BUDGET: u32 = 30_000;

pub fn chromium() -> Option<PathBuf> {
    let there = |name: &str| search().into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    there("chromium").or_else(|| there("chromium-browser"))
}

/// Photographs a page; returns its DOM. `size`: width and height in pixels. Panics with
/// Chromium's words where there is no picture.
pub fn photograph(chromium: &Path, url: &str, (width, height): (u32, u32), picture: &Path) -> String {
    let _ = fs::remove_file(picture);
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("timeout")
        .args(["--kill-after=5", "180"])
        .arg(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--virtual-time-budget={BUDGET}"))
        .arg(format!("--screenshot={}", picture.display()))
        .args(["--dump-dom", url])
        .output()
        .unwrap();
    let (dom, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && picture.is_file(), "Chromium took no picture of {url}:\n{said}");
    dom.into_owned()
}

/// The size at which a dashboard is seen whole: Grafana draws a panel only when it comes
/// into view. A laptop's width, and the height of all rows (30 px a row of the grid and 8
/// between two) below the head of the page.
pub fn window(dashboard: &serde_json::Value) -> (u32, u32) {
    let end = |panel: &serde_json::Value| {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap_or_default();
        at("y") + at("h")
    };
    let rows = dashboard["panels"].as_array().into_iter().flatten().map(end).max().unwrap_or_default();
    (1366, u32::try_from(rows).unwrap() * 38 + 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that shows its panel after some time, as an application does.
    #[test]
    fn a_page_is_photographed_when_it_is_done() {
        let Some(chromium) = chromium() else {
            eprintln!("skipped: there is no chromium");
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let page = dir.path().join("page.html");
        let script = "setTimeout(() => { const panel = document.createElement('section'); \
                      panel.dataset.testid = 'data-testid Panel header Lead & time'; \
                      panel.style.background = 'red'; panel.textContent = innerWidth; \
                      document.body.append(panel) }, 8000)";
        fs::write(&page, format!("<!doctype html><body><script>{script}</script></body>")).unwrap();
        let picture = dir.path().join("page.png");
        let dom = photograph(&chromium, &format!("file://{}", page.display()), (1366, 500), &picture);
        assert!(super::super::answers::wrong_in_page(&dom, &["Lead & time".into()]).is_empty(), "{dom}");
        let bytes = fs::read(picture).unwrap();
        let size = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((&bytes[1..4], size(16), size(20)), (&b"PNG"[..], 1366, 500));
    }
}
