//! `status --watch`: looks at the pipeline again and again, until told to end.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use dorainfra_config::Live;
use dorainfra_deploy::blueprint::Names;
use dorainfra_deploy::stack::native;
use dorainfra_deploy::stack::pipeline::{self, Health, LastErrors, Sources, Stage};
use dorainfra_deploy::workflow::{Purpose, Run};
use dorainfra_model::Events;
use dorainfra_prometheus::Flavour;
use time::OffsetDateTime;

use super::super::context::Context;
use super::super::{CommandError, CommandResult, Exit, screen};
use crate::ui::{Pipeline, Watch};

/// How often keys are looked for.
const KEYS: Duration = Duration::from_millis(100);
/// How often the bucket is counted: a list of it costs money.
const BUCKET_EVERY: u64 = 15;
/// How much of a log is read for its last error.
const TAIL: u64 = 64 * 1024;

pub async fn watch(context: &Context, every: u32) -> CommandResult {
    let begun = async |events: &Events| {
        let run = context.run(Purpose::Look, events).await?;
        let target = run.target().await?;
        Ok::<_, CommandError>((run, target))
    };
    let (run, target) = screen::with(&context.printer, begun).await?;
    let config = &run.project.config;
    let ports = &config.stack.ports;
    let served = ([127, 0, 0, 1], ports.generator).into();
    let sources = Sources {
        live: match config.stack.live {
            Live::Pushgateway => {
                pipeline::Live::Pushgateway(format!("http://127.0.0.1:{}", ports.pushgateway))
            }
            Live::Scrape => pipeline::Live::Generator(served, "scraped"),
            Live::RemoteWrite => pipeline::Live::Generator(served, "written directly"),
        },
        agent: ports.prometheus,
        target: &target,
        http: target.http_client().map_err(|error| error.to_string()),
    };
    let broken = |error: std::io::Error| {
        CommandError::failed(format!("the terminal can't be used: {error}"))
            .hint("`dorainfra status --watch | cat` prints lines instead")
            .because(error)
    };
    let mut pipeline =
        Pipeline::new(&run.blueprint.deployment, &format!("{} at {}", target.base_url, target.connect.ip()));
    let mut watch = Watch::open(&context.printer).map_err(broken)?;
    let mut bucket = Stage::new("bucket", "objects");
    let mut looks: u64 = 0;
    let stop = context.signals.ending();
    loop {
        if looks.is_multiple_of(BUCKET_EVERY) {
            bucket = look_at_bucket(&run).await;
        }
        looks += 1;
        let at = OffsetDateTime::now_utc();
        let now = at.unix_timestamp_nanos() as f64 / 1e9;
        let mut stages = pipeline::look(&sources, now).await;
        stages.push(bucket.clone());
        let errors = last_errors(context, &config.name).await;
        for stage in &mut stages {
            if stage.error.is_none() {
                stage.error = errors.get(stage.name).map(|error| format!("last: {error}"));
            }
        }
        let clock = format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second());
        pipeline.look(stages, now, clock);
        watch.show(&pipeline).map_err(broken)?;

        let next = tokio::time::sleep(Duration::from_secs(every.into()));
        tokio::pin!(next);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(Exit::Done),
                () = &mut next => break,
                () = tokio::time::sleep(KEYS) => {}
            }
            if watch.ended().map_err(broken)? {
                return Ok(Exit::Done);
            }
        }
    }
}

/// What the engine has shipped.
async fn look_at_bucket(run: &Run) -> Stage {
    let stage = Stage::new("bucket", "objects");
    if run.facts.engine.flavour == Flavour::StandIn {
        let detail = "Prometheus, standing in, writes no blocks".into();
        return Stage { health: Health::None, detail, ..stage };
    }
    let config = &run.project.config;
    let (bucket, prefix) = (Names::of(config).bucket, format!("blocks/{}/", config.mimir.tenant));
    match run.client.list_objects(&bucket, &prefix).await {
        Ok(objects) => {
            Stage { total: Some(objects.len() as f64), detail: format!("{bucket}/{prefix}"), ..stage }
        }
        Err(error) => stage.down(error.to_string()),
    }
}

/// The last error in the log of each part that runs on this machine.
async fn last_errors(context: &Context, name: &str) -> LastErrors {
    let mut errors = LastErrors::new();
    let Ok(stack) = native::status(&context.workspace.stack_folder(name)).await else { return errors };
    for part in &stack.parts {
        let stage = match part.part {
            native::Part::Generator => "generator",
            native::Part::Pushgateway => "Pushgateway",
            native::Part::Prometheus => "agent",
        };
        let tail = tail(&part.log).unwrap_or_default();
        if let Some(error) = pipeline::last_error(&String::from_utf8_lossy(&tail)) {
            errors.insert(stage, error);
        }
    }
    errors
}

fn tail(log: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(bytes)
}
