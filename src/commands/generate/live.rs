//! `generate --live`: where live values go, by its arguments; and `--check`, which
//! asks whether they do.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::{ArgGroup, Args};
use dorainfra_dora::feed::Feed;
use dorainfra_dora::live::{self, Clock, Outlet, Pushed, SHOWN, Served, Settings, Speed, Written};
use dorainfra_model::Events;
use dorainfra_prometheus::JOB;
use dorainfra_prometheus::pushgateway::Gateway;
use time::OffsetDateTime;

use super::super::arguments::Endpoint;
use super::super::context::Context;
use super::super::{CommandError, CommandResult, Exit, screen};

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
    pub async fn run(
        &self,
        context: &Context,
        feed: Feed,
        endpoint: &Endpoint,
        usual_interval: u32,
    ) -> CommandResult {
        if self.check {
            return self.check().await;
        }
        let interval = Duration::from_secs(self.interval.unwrap_or(usual_interval).into());
        let settings =
            Settings { feed, histograms: endpoint.histograms(), interval, withdraw: self.withdraw };
        let clock = Clock::new(OffsetDateTime::now_utc, self.speed);
        let stop = context.signals.finishing();
        screen::with(&context.printer, async |events| {
            let mut outlets = self.outlets(context, endpoint, events).await?;
            if !self.speed.is_real() {
                events.warn(
                    format!(
                        "the simulated world runs at {}: its values are ahead of any history",
                        self.speed
                    ),
                    Some("for an endpoint of its own; --seed and --teams choose another world".into()),
                );
            }
            live::run(&settings, &mut outlets, &clock, &stop, events).await?;
            Ok(Exit::Done)
        })
        .await
    }

    /// What is served comes first: nobody has to be waited for there.
    async fn outlets(
        &self,
        context: &Context,
        endpoint: &Endpoint,
        events: &Events,
    ) -> CommandResult<Vec<Box<dyn Outlet>>> {
        let mut outlets: Vec<Box<dyn Outlet>> = Vec::new();
        if let Some(address) = self.listen {
            outlets.push(Box::new(Served::at(address, events).await?));
        }
        if let Some(url) = &self.pushgateway {
            outlets.push(Box::new(Pushed::to(Gateway::new(url)?)));
        }
        if let Some(named) = endpoint.named(&context.environment.folder) {
            let connect = named.connect().await?;
            outlets.push(Box::new(Written::by(Box::new(connect), endpoint.histograms())?));
        }
        Ok(outlets)
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
            .hint(format!("`{SHOWN}` shows when, and the generator's log why"))),
        }
    }
}
