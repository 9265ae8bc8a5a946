//! The collector stack of a run on this machine, however it runs: as processes, or in containers.

use std::collections::BTreeMap;

use dorainfra_config::{Config, Live, Runtime};
use dorainfra_model::Events;
use dorainfra_prometheus::pushgateway::{Gateway, Group};
use dorainfra_prometheus::{Flavour, Target};
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;

use super::error::{Error, Result};
use super::run::Run;
use super::status::State;
use super::workspace::Workspace;
use crate::stack::compose::{self, Engine};
use crate::stack::native::{self, Binaries, PartState, RemoteWrite};
use crate::{blueprint, resource};

/// Also told by the machine, of its own: see `templates/vm/machine.sh.j2`.
const CERTIFICATE_END: &str = "dorainfra_certificate_end_seconds";

/// A row of [`parts`] that is no part, but what the agent has delivered.
pub const DELIVERY: &str = "remote write";

/// A part, as it is shown.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PartStatus {
    pub part: String,
    pub state: State,
    /// "running, pid 4711, 127.0.0.1:9091".
    pub detail: String,
}

/// What the stack of a run is to be, however it runs: `up` makes it, and a plan compares it.
pub(super) enum Wanted {
    Containers(Engine, Box<compose::Setup>),
    Processes(Box<native::Setup>),
}

/// `target`: where it feeds; `None`: its address is not known yet.
pub(super) async fn wanted(run: &Run, target: Option<&Target>) -> Result<Wanted> {
    let workspace = &run.workspace;
    let mut config = run.project.config.clone();
    config.generator.native_histograms = run.facts.native_histograms(&config);
    config.generator.teams = config.simulated_teams();
    let dir = workspace.stack_folder(&config.name);
    let engine = runtime(workspace, &config).await?;
    config.stack.runtime = if engine.is_some() { Runtime::Compose } else { Runtime::Native };
    let (address, target) = match target {
        Some(target) => (target.connect.ip().to_string(), target.clone()),
        None => (blueprint::endpoint_reference(&config), run.unknown_target()),
    };
    let (overrides, port, path) = (&run.project.overrides, target.connect.port(), &target.write_path);
    let files = blueprint::stack_files(&config, &run.facts, overrides, &address, port, path)?;
    let (generator, tls) = (workspace.executable.clone(), target.tls.clone());
    let job_files = run.facts.scrape.files.clone();
    if let Some(engine) = engine {
        let ports = config.stack.ports.clone();
        let setup = compose::Setup { dir, name: config.name, files, job_files, tls, generator, ports };
        return Ok(Wanted::Containers(engine, Box::new(setup)));
    }
    let binaries = Binaries {
        generator,
        prometheus: config.stack.prometheus,
        pushgateway: config.stack.pushgateway,
        search: workspace.search.clone(),
    };
    let follow = (!config.sources.is_empty()).then(|| native::Follow {
        path: workspace.collected(&config.name),
        settle_hours: config.settle_hours,
    });
    let live = match config.stack.live {
        Live::Pushgateway => native::Live::Pushgateway,
        Live::Scrape => native::Live::Scrape,
        Live::RemoteWrite => native::Live::RemoteWrite {
            url: target.write_url(),
            connect: target.connect,
            tenant: target.tenant.clone(),
        },
    };
    let (ports, generator) = (config.stack.ports, config.generator);
    Ok(Wanted::Processes(Box::new(native::Setup {
        dir,
        files,
        job_files,
        tls,
        binaries,
        ports,
        generator,
        follow,
        live,
        target,
    })))
}

/// Makes the stack of a run's configuration feed `target`.
pub async fn up(run: &Run, target: &Target, events: &Events) -> Result<()> {
    run.workspace.make_state()?;
    // A generator without a team would never be ready.
    run.activity()?;
    let wanted = wanted(run, Some(target)).await?;
    // From here on parts are started.
    run.operator.finishing();
    match &wanted {
        Wanted::Containers(engine, setup) => {
            compose::up(engine, setup, events).await?;
            run.stack_was_made(compose::made_of(setup)?);
        }
        Wanted::Processes(setup) => {
            native::up(setup, events).await?;
            run.stack_was_made(BTreeMap::new());
        }
    }
    tell_of_ends(run, events).await;
    Ok(())
}

/// Pushes when each certificate ends, for the alert, where there is a Pushgateway.
/// Of the server's the machine tells itself, where it can.
async fn tell_of_ends(run: &Run, events: &Events) {
    let config = &run.project.config;
    if config.stack.live != Live::Pushgateway {
        return;
    }
    let pushed = async {
        let held = match run.as_planned.get() {
            Some(_) => run.held.clone(),
            None => resource::held(&run.client, &config.name).await?,
        };
        let mut text = format!("# TYPE {CERTIFICATE_END} gauge\n");
        let mut told = false;
        for held in held.iter().filter(|held| !held.revoked) {
            let by_machine = held.material == "server" && run.facts.engine.flavour == Flavour::Mimir;
            let Some(validity) = held.validity.filter(|_| !by_machine) else { continue };
            let prefix = format!("{}-", config.name);
            let name = held.secret.strip_prefix(&prefix).unwrap_or(&held.secret);
            let end = validity.not_after.unix_timestamp();
            text.push_str(&format!("{CERTIFICATE_END}{{certificate=\"{name}\"}} {end}\n"));
            told = true;
        }
        let gateway = Gateway::new(&format!("http://127.0.0.1:{}", config.stack.ports.pushgateway))?;
        // Under their own job: they are no team's.
        let group = Group::job("dorainfra");
        match told {
            true => gateway.put(&group, text).await?,
            false => gateway.delete(&group).await?,
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = pushed.await {
        events.warn(format!("no alert will warn before certificates expire: {error}"), error.hint());
    }
}

/// The Docker engine that the stack is to run in; `None`: it runs natively. What
/// runs already stays where it is.
pub(super) async fn runtime(workspace: &Workspace, config: &Config) -> Result<Option<Engine>> {
    match config.stack.runtime {
        Runtime::Native => Ok(None),
        Runtime::Compose => Ok(Some(Engine::find().await?)),
        Runtime::Auto => {
            let native = native::status(&workspace.stack_folder(&config.name)).await?;
            if native.parts.is_empty() { Ok(Engine::find().await.ok()) } else { Ok(None) }
        }
    }
}

/// Ends the stack, however it runs.
pub async fn down(workspace: &Workspace, name: &str, events: &Events) -> Result<()> {
    let dir = workspace.stack_folder(name);
    native::down(&dir, events).await?;
    if let Ok(engine) = Engine::find().await {
        compose::down(&engine, &dir, name, events).await?;
    }
    Ok(())
}

/// The stack's parts as they are shown, however they run; with the agent's
/// delivery, where known.
pub async fn parts(workspace: &Workspace, config: &Config) -> Result<Vec<PartStatus>> {
    let now = OffsetDateTime::now_utc().unix_timestamp() as f64;
    let delivered = |write| delivery(write, f64::from(config.stack.scrape_seconds), now);
    let native = native::status(&workspace.stack_folder(&config.name)).await?;
    if native.parts.is_empty()
        && config.stack.runtime != Runtime::Native
        && let Ok(engine) = Engine::find().await
    {
        let stack = compose::status(&engine, &config.name, &config.stack.ports).await?;
        let containers = stack.containers.into_iter().map(|container| PartStatus {
            part: container.service,
            state: match container.state {
                compose::State::Healthy => State::Ok,
                compose::State::Starting => State::Changed,
                compose::State::Restarting | compose::State::Unhealthy | compose::State::Exited => {
                    State::Failed
                }
            },
            detail: format!("container, {}", container.words),
        });
        return Ok(containers.chain(stack.remote_write.map(delivered)).collect());
    }
    let processes = native.parts.iter().map(|part| PartStatus {
        part: part.part.name().to_owned(),
        state: match part.state {
            PartState::Running => State::Ok,
            PartState::Died => State::Failed,
        },
        detail: match (part.state, part.pid) {
            (PartState::Running, Some(pid)) => {
                let address = part.address.as_deref().map(|at| format!(", {at}")).unwrap_or_default();
                format!("pid {pid}{address}")
            }
            _ => format!("died: {}", part.last_lines.last().map_or("", String::as_str)),
        },
    });
    Ok(processes.chain(native.remote_write.map(delivered)).collect())
}

/// What has been collected is delivered so many seconds later, with room for a busy machine.
const DELIVERED_WITHIN: f64 = 20.0;

/// What the agent scrapes every so often waits for seconds, where it is delivered at all.
fn delivery(write: RemoteWrite, scraped_every: f64, now: f64) -> PartStatus {
    let RemoteWrite { sent, pending, failed, lag_seconds, delivered_to, .. } = write;
    let silent = now - delivered_to;
    let late = pending > 0 && silent > scraped_every + DELIVERED_WITHIN;
    let given_up = if failed > 0 { format!(", {failed} given up") } else { String::new() };
    let waiting = match late {
        true => format!("{pending} waiting: nothing was delivered for {}", roughly(silent)),
        false => format!("{pending} waiting, {lag_seconds:.0} s behind"),
    };
    PartStatus {
        part: DELIVERY.into(),
        state: match (failed > 0, late) {
            (true, _) => State::Failed,
            (false, true) => State::Changed,
            (false, false) => State::Ok,
        },
        detail: format!("{sent} sent, {waiting}{given_up}"),
    }
}

/// "50 s", "4 min", "3 h".
fn roughly(seconds: f64) -> String {
    match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.0} h", seconds / 3600.0),
    }
}

/// The parts of a stack that does not run, as they are shown.
pub fn stopped(config: &Config) -> Vec<PartStatus> {
    let gateway = (config.stack.live == Live::Pushgateway).then_some("pushgateway");
    let parts = ["generator", "prometheus"].into_iter().chain(gateway);
    let row = |part: &str| PartStatus {
        part: part.to_owned(),
        state: State::Absent,
        detail: "does not run: `dorainfra stack up` starts it".into(),
    };
    parts.map(row).collect()
}

/// Whether all of the stack runs.
pub async fn running(workspace: &Workspace, config: &Config) -> Result<bool> {
    let parts = parts(workspace, config).await?;
    // What waits is not for the stack to mend.
    let runs = |part: &PartStatus| match part.state {
        State::Changed => part.part == DELIVERY,
        state => state == State::Ok,
    };
    Ok(!parts.is_empty() && parts.iter().all(runs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_and_is_not_delivered_is_not_well() {
        let write =
            |pending, delivered_to| RemoteWrite { sent: 5, pending, delivered_to, ..RemoteWrite::default() };
        let shown = |write: RemoteWrite| {
            let row = delivery(write, 60.0, 1000.0);
            (row.state, row.detail)
        };
        // A round that was just scraped waits for a moment; the next one is a minute away.
        assert_eq!(shown(write(7888, 940.0)), (State::Ok, "5 sent, 7888 waiting, 0 s behind".into()));
        assert_eq!(shown(write(0, 100.0)).0, State::Ok);
        let late = "5 sent, 7888 waiting: nothing was delivered for 15 min";
        assert_eq!(shown(write(7888, 100.0)), (State::Changed, late.into()));
        let (state, detail) = shown(RemoteWrite { failed: 2, ..write(1, 100.0) });
        assert!(state == State::Failed && detail.ends_with("for 15 min, 2 given up"), "{detail}");
    }
}
