//! `generate --live`: where live values go, by its arguments; and `--check`, which
//! asks whether they do.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use time::OffsetDateTime;

use super::context::Context;
use super::screen::Screen;
use super::{CommandError, CommandResult, Exit, interrupt};
use crate::blueprint::Flavour;
use crate::dora::JOB;
use crate::dora::feed::Feed;
use crate::dora::live::{self, Clock, LiveError, Outlet, Pushed, SHOWN, Served, Settings, Speed, Written};
use crate::dora::pushgateway::Gateway;
use crate::dora::remote_write::Client;
use crate::event::Events;
use crate::stack::Target;
use crate::tls::{ClientFiles, Credentials};

/// Values that are older are not live, seconds.
const LATELY: f64 = 60.0;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("way").args(["pushgateway", "listen", "remote_write"]).multiple(true))]
pub struct Live {
    /// Show live values until interrupted, by one of --pushgateway, --listen, --remote-write
    #[arg(long, requires = "way")]
    live: bool,
    /// See whether live values have been shown lately, and show none: a health check
    #[arg(long, requires = "way", conflicts_with_all = ["live", "days", "remote_write"])]
    check: bool,
    /// Push live values to this Pushgateway, a group for each team
    #[arg(long, value_name = "URL", conflicts_with = "remote_write")]
    pushgateway: Option<String>,
    /// Serve live values at /metrics, to be scraped; a port alone is one of loopback
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Write live values straight to this endpoint, by remote write
    #[arg(long, value_name = "URL")]
    remote_write: Option<String>,
    /// Where the endpoint's name is found [default: as it is resolved]
    #[arg(long, value_name = "ADDRESS:PORT", requires = "remote_write")]
    connect: Option<SocketAddr>,
    /// Folder with ca.crt, client.crt and client.key for the endpoint
    #[arg(long, value_name = "DIR", requires = "remote_write")]
    tls_dir: Option<PathBuf>,
    /// Tenant of the endpoint, sent as X-Scope-OrgID
    #[arg(long, value_name = "NAME", requires = "remote_write")]
    tenant: Option<String>,
    /// Seconds between two rounds [default: of the configuration]
    #[arg(long, value_name = "SECONDS", requires = "live", value_parser = clap::value_parser!(u32).range(1..=3600))]
    interval: Option<u32>,
    /// For demonstrations: so many seconds of the simulated world pass each second, as 60x
    #[arg(long, value_name = "FACTOR", requires = "live", default_value_t = Speed::REAL)]
    speed: Speed,
    /// At the end, delete the Pushgateway's groups, or mark what was written as ended
    #[arg(long, requires = "live")]
    withdraw: bool,
}

/// A port stands for one of loopback: anything wider is typed in full.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| "give a port, or an address of this machine and a port: 127.0.0.1:9464".into())
}

impl Live {
    /// Whether it is about live values at all.
    pub fn wanted(&self) -> bool {
        self.live || self.check
    }

    /// Shows what `feed` has, or checks whether somebody does.
    pub async fn run(&self, context: &Context, feed: Feed, usual_interval: u32) -> CommandResult {
        if self.check {
            return self.check().await;
        }
        let interval = Duration::from_secs(self.interval.unwrap_or(usual_interval).into());
        let settings = Settings { feed, interval, withdraw: self.withdraw };
        let clock = Clock::new(OffsetDateTime::now_utc, self.speed);
        let stop = interrupt::watch(&context.printer, &context.stop_now);
        let screen = Screen::open(&context.printer);
        let result = async {
            let mut outlets = self.outlets(context, &screen.events).await?;
            if !self.speed.is_real() {
                screen.events.warn(
                    format!(
                        "the simulated world runs at {}: its values are ahead of any history",
                        self.speed
                    ),
                    Some("for an endpoint of its own; --seed and --teams choose another world".into()),
                );
            }
            live::run(&settings, &mut outlets, &clock, &stop, &screen.events).await?;
            Ok(Exit::Done)
        }
        .await;
        screen.close().await;
        result
    }

    /// What is served comes first: nobody has to be waited for there.
    async fn outlets(&self, context: &Context, events: &Events) -> CommandResult<Vec<Box<dyn Outlet>>> {
        let mut outlets: Vec<Box<dyn Outlet>> = Vec::new();
        if let Some(address) = self.listen {
            outlets.push(Box::new(Served::at(address, events).await?));
        }
        if let Some(url) = &self.pushgateway {
            outlets.push(Box::new(Pushed::to(Gateway::new(url)?)));
        }
        if let Some(url) = &self.remote_write {
            let target = self.target(url).await?;
            let folder = self.tls_dir.as_ref().map(|dir| context.environment.folder.join(dir));
            let connect = move || {
                let target = target.clone();
                let target = match &folder {
                    Some(folder) => target.with_tls(credentials(folder)?),
                    None => target,
                };
                Ok(Client::new(&target)?)
            };
            outlets.push(Box::new(Written::by(Box::new(connect))?));
        }
        Ok(outlets)
    }

    /// The endpoint that an URL of remote write names.
    async fn target(&self, url: &str) -> CommandResult<Target> {
        let wrong = |message: String| {
            CommandError::usage(format!("`{url}` is not an address for remote write: {message}"))
                .hint("give it as https://HOST:PORT/api/v1/push")
        };
        let parsed = reqwest::Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        let (Some(host), Some(port), "http" | "https") =
            (parsed.host_str(), parsed.port_or_known_default(), parsed.scheme())
        else {
            return Err(wrong("it is neither http nor https, or names no host".into()));
        };
        let connect = match self.connect {
            Some(connect) => connect,
            None => {
                let found = tokio::net::lookup_host((host, port)).await;
                let found = found.map_err(|error| wrong(format!("{host} is not found: {error}")))?;
                found.into_iter().next().ok_or_else(|| wrong(format!("{host} has no address")))?
            }
        };
        let mut target = Target::new(Flavour::Mimir, format!("{}://{host}:{port}", parsed.scheme()), connect);
        parsed.path().clone_into(&mut target.write_path);
        target.tenant.clone_from(&self.tenant);
        Ok(target)
    }

    /// Whether any team's values were shown within the last minute.
    async fn check(&self) -> CommandResult {
        let now = OffsetDateTime::now_utc().unix_timestamp() as f64;
        let lately = |shown: f64| now - shown < LATELY;
        let mut there = true;
        let mut asked = Vec::new();
        if let Some(url) = &self.pushgateway {
            let groups = Gateway::new(url)?.groups().await?;
            let ours = groups.iter().filter(|group| group.labels.get("job").is_some_and(|job| job == JOB));
            there &= ours.filter_map(|group| group.pushed).any(lately);
            asked.push(url.clone());
        }
        if let Some(address) = self.listen {
            there &= Served::shown(address).await.is_some_and(lately);
            asked.push(address.to_string());
        }
        match there {
            true => Ok(Exit::Done),
            false => Err(CommandError::failed(format!(
                "no live value was shown at {} within a minute",
                asked.join(" and ")
            ))
            .hint(format!("`{SHOWN}` tells when, and the generator's log why"))),
        }
    }
}

/// As they are now: they may have been renewed.
fn credentials(folder: &std::path::Path) -> Result<Credentials, LiveError> {
    let files = ClientFiles::in_folder(folder);
    files.read().map_err(LiveError::from)
}
