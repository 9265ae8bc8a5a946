//! `open`: a page of this deployment in the browser.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::{Args, ValueEnum};
use dorainfra_base::child;
use dorainfra_config::Tls;
use dorainfra_deploy::workflow::output;
use dorainfra_model::Events;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::context::Context;
use super::environment::Environment;
use super::{CommandError, CommandResult, Exit};
use crate::ui::Opened;

/// What every page of `report` says of itself.
const OURS: &str = "<meta name=\"generator\" content=\"dorainfra ";
/// How much of a page is read to find that.
const HEAD: u64 = 2048;
/// How long what opens a browser has to fail. A browser itself may run on.
const FAILS_WITHIN: Duration = Duration::from_secs(2);
/// What a browser needs beside what any program gets: its screen, and the session that it may run in.
const SCREEN: &[&str] = &[
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_CURRENT_DESKTOP",
    "XDG_SESSION_TYPE",
    "XDG_DATA_DIRS",
    "XDG_CONFIG_DIRS",
    "XDG_CONFIG_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "DESKTOP_SESSION",
    "BROWSER",
];

/// Open the newest report, Grafana or Mimir in the browser
///
/// By BROWSER, else by xdg-open or open. Where there is no screen, as over SSH, the address is printed.
#[derive(Debug, Args)]
pub struct Open {
    /// Which page
    #[arg(value_enum, default_value_t = Page::Report)]
    page: Page,
    /// Print the address, and open nothing
    #[arg(long)]
    print: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Page {
    /// The newest page in this folder that `report` wrote
    Report,
    /// Its dashboards, where the stack runs in containers
    Grafana,
    /// Its own pages; the browser has to show a client certificate
    Mimir,
}

impl Open {
    pub async fn run(self, context: &Context) -> CommandResult {
        let address = match self.page {
            Page::Report => report(&context.environment.folder)?,
            Page::Grafana => grafana(context).await?,
            Page::Mimir => mimir(context).await?,
        };
        let opened = !self.print && browse(&context.environment, &address).await;
        context.printer.result(&Opened { address, opened });
        Ok(Exit::Done)
    }
}

/// The newest page in `folder` that this program wrote.
fn report(folder: &Path) -> CommandResult<String> {
    let entries = std::fs::read_dir(folder).map_err(|error| {
        CommandError::failed(format!("{} can't be read: {error}", folder.display()))
            .hint("check its permissions")
    })?;
    let pages = entries.flatten().map(|entry| entry.path()).filter(|path| is_report(path));
    let written = |path: &PathBuf| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    let newest = pages.max_by_key(written).ok_or_else(|| {
        CommandError::failed(format!("no report is in {}", folder.display()))
            .hint("`dorainfra report` writes one")
    })?;
    Ok(reqwest::Url::from_file_path(&newest).map_or_else(|()| newest.display().to_string(), String::from))
}

fn is_report(path: &Path) -> bool {
    use std::io::Read as _;
    let mut head = Vec::new();
    path.extension().is_some_and(|extension| extension == "html")
        && path.is_file()
        && std::fs::File::open(path).is_ok_and(|file| file.take(HEAD).read_to_end(&mut head).is_ok())
        && String::from_utf8_lossy(&head).contains(OURS)
}

async fn grafana(context: &Context) -> CommandResult<String> {
    let mut project = context.project().await?;
    // It is on this machine, whatever the project.
    project.config = project.config.with_placeholder_project();
    let outputs = output::outputs(&context.workspace, &project, &["grafana_url"], &Events::none()).await?;
    let none = |why: &str| CommandError::failed("Grafana does not run here").hint(why);
    let Some(found) = outputs.into_iter().next() else { return Err(none("")) };
    let url = match (found.value.as_str(), found.lacks) {
        (Some(url), _) => url.to_owned(),
        (None, lacks) => return Err(none(lacks.unwrap_or_default())),
    };
    let port = project.config.stack.ports.grafana;
    match timeout(FAILS_WITHIN, TcpStream::connect(("127.0.0.1", port))).await {
        Ok(Ok(_)) => Ok(url),
        _ => Err(none("`dorainfra stack up` starts it, with the rest of the stack")),
    }
}

async fn mimir(context: &Context) -> CommandResult<String> {
    let project = context.project().await?;
    let outputs = output::outputs(&context.workspace, &project, &["endpoint"], &Events::none()).await?;
    let endpoint = outputs.first().and_then(|found| found.value.as_str()).ok_or_else(|| {
        CommandError::failed("there is no Mimir yet")
            .hint("`dorainfra apply` makes everything that is missing")
    })?;
    let tls = project.config.access.tls;
    if tls == Tls::Mutual {
        context.printer.warning(
            "Mimir answers who shows a certificate, and its own is of an authority that no browser knows",
            Some(
                "`dorainfra credentials issue NAME` makes one, for the browser to import; `query` needs none",
            ),
        );
    }
    let scheme = if tls == Tls::Off { "http" } else { "https" };
    Ok(format!("{scheme}://{endpoint}/"))
}

/// Programs that open an address, each with its arguments, in the order in which they are tried.
fn browsers(environment: &Environment, address: &str) -> Vec<Vec<String>> {
    if let Some(named) = environment.get("BROWSER") {
        // As xdg-open and Python read it: several by `:`, `%s` where the address goes.
        let words = |one: &str| -> Vec<String> {
            let mut words: Vec<String> =
                one.split_whitespace().map(|word| word.replace("%s", address)).collect();
            if !one.contains("%s") {
                words.push(address.to_owned());
            }
            words
        };
        return named.split(':').filter(|one| !one.trim().is_empty()).map(words).collect();
    }
    let opener =
        match (cfg!(target_os = "macos"), environment.get("DISPLAY"), environment.get("WAYLAND_DISPLAY")) {
            (true, ..) => "open",
            (false, None, None) => return Vec::new(),
            _ => "xdg-open",
        };
    vec![vec![opener.into(), address.into()]]
}

/// Whether something opened it.
async fn browse(environment: &Environment, address: &str) -> bool {
    for words in browsers(environment, address) {
        let Some((program, arguments)) = words.split_first() else { continue };
        let mut command = child::command(program);
        child::hand_on(&mut command, SCREEN);
        // Ctrl-C here is not meant for a browser.
        command.args(arguments).process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { continue };
        match timeout(FAILS_WITHIN, child.wait()).await {
            Ok(Ok(status)) if status.success() => return true,
            Ok(_) => {}
            Err(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Vec<Vec<String>> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        browsers(
            &Environment { variables, folder: PathBuf::new(), executable: PathBuf::new() },
            "file:///r.html",
        )
    }

    #[test]
    fn a_browser_is_the_one_that_is_named_and_none_without_a_screen() {
        assert_eq!(
            of(&[("BROWSER", "firefox -new-tab %s::chromium --incognito")]),
            [
                vec!["firefox", "-new-tab", "file:///r.html"],
                vec!["chromium", "--incognito", "file:///r.html"]
            ]
        );
        #[cfg(not(target_os = "macos"))]
        {
            assert_eq!(of(&[]), Vec::<Vec<String>>::new());
            assert_eq!(of(&[("DISPLAY", ":0")]), [["xdg-open", "file:///r.html"]]);
        }
    }

    #[test]
    fn the_newest_report_is_found_and_no_other_page() {
        let folder = tempfile::tempdir().unwrap();
        assert!(report(folder.path()).unwrap_err().hint.unwrap().contains("dorainfra report"));
        let page = format!("<!doctype html><html><head>{OURS}1.0\">");
        for (name, text, age) in [
            ("old.html", &*page, 60),
            ("a new.html", &page, 10),
            ("other.html", "<html>", 0),
            ("r.md", &page, 0),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        let found = report(folder.path()).unwrap();
        assert!(found.starts_with("file:///") && found.ends_with("/a%20new.html"), "{found}");
    }
}
