//! One service: started, watched, restarted and stopped as its unit says.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use super::host::Host;
use super::tree::{Process, Program};
use super::unit::{Command, KillMode, Kind, RequirementKind, Restart, Unit};
use super::{hostnames, syntax};

/// systemd's words for how a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Inactive,
    Starting,
    Running,
    /// A oneshot that remains after its exit.
    Exited,
    AutoRestart,
    Stopping,
    Failed,
}

impl State {
    pub(super) fn active(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Starting | Self::AutoRestart => "activating",
            Self::Running | Self::Exited => "active",
            Self::Stopping => "deactivating",
            Self::Failed => "failed",
        }
    }

    pub(super) fn sub(self) -> &'static str {
        match self {
            Self::Inactive => "dead",
            Self::Starting => "start",
            Self::AutoRestart => "auto-restart",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Stopping => "stop-sigterm",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Status {
    pub(super) state: State,
    pub(super) main_pid: u32,
    pub(super) restarts: u32,
    pub(super) result: &'static str,
    /// Exit status of the last main process; 128 + signal number where one ended it.
    pub(super) exit: i32,
}

/// Why a service could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("Job for {unit} failed because its assertion on {path} was not met.")]
    Assertion { unit: String, path: String },
    #[error("Job for {unit} failed: it was started too often.")]
    StartLimit { unit: String },
    #[error("Job for {unit} failed because the control process exited with error code ({program}).")]
    Control { unit: String, program: String },
    #[error("Job for {unit} failed: {program} could not be run: {source}.")]
    Spawn { unit: String, program: String, source: std::io::Error },
    #[error("Job for {unit} failed: its environment file {path} could not be read: {source}.")]
    Environment { unit: String, path: String, source: std::io::Error },
    #[error("Job for {unit} failed: {reason}.")]
    Ended { unit: String, reason: String },
    #[error("{0}")]
    Unit(#[from] super::host::LoadError),
}

pub(super) struct Service {
    name: String,
    host: Arc<Host>,
    status: Mutex<Status>,
    starts: Mutex<VecDeque<Instant>>,
    /// Held while a start or stop is carried out.
    run: AsyncMutex<Option<Run>>,
}

struct Run {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Service {
    pub(super) fn new(name: String, host: Arc<Host>) -> Self {
        let status = Status { state: State::Inactive, main_pid: 0, restarts: 0, result: "success", exit: 0 };
        Self {
            name,
            host,
            status: Mutex::new(status),
            starts: Mutex::new(VecDeque::new()),
            run: AsyncMutex::new(None),
        }
    }

    pub(super) fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn enter(&self, state: State, pid: u32) {
        self.update(|status| {
            status.state = state;
            status.main_pid = pid;
        });
    }

    fn fail(&self, result: &'static str) {
        self.update(|status| {
            status.state = State::Failed;
            status.main_pid = 0;
            status.result = result;
        });
        self.host.console.say(&format!("init: {}: Failed with result '{result}'.", self.name));
    }

    pub(super) fn reset_failed(&self) {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.update(|status| {
            if status.state == State::Failed {
                status.state = State::Inactive;
                status.result = "success";
            }
            status.restarts = 0;
        });
    }

    /// Starts it unless it runs; returns once its main process runs (for a
    /// oneshot: has ended).
    pub(super) async fn start(self: &Arc<Self>) -> Result<(), StartError> {
        let mut run = self.run.lock().await;
        if matches!(self.status().state, State::Running | State::Exited | State::Starting) {
            return Ok(());
        }
        Self::end(run.take()).await;
        if self.host.is_closing() {
            let reason = "the machine is going down".to_owned();
            return Err(StartError::Ended { unit: self.name.clone(), reason });
        }
        let unit = self.host.load(&self.name)?;
        self.update(|status| status.restarts = 0);
        if !self.requirements_met(&unit)? {
            return Ok(());
        }
        let first = self.launch(&unit).await.inspect_err(|error| {
            self.host.console.say(&format!("init: {error}"));
            self.fail(match error {
                StartError::StartLimit { .. } => "start-limit-hit",
                StartError::Environment { .. } => "resources",
                _ => "exit-code",
            });
        })?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(self).supervise(unit.clone(), first, stop.clone()));
        if unit.kind == Kind::Oneshot {
            let _ = task.await;
            let status = self.status();
            if status.state == State::Failed {
                let reason = format!("result '{}', exit status {}", status.result, status.exit);
                return Err(StartError::Ended { unit: self.name.clone(), reason });
            }
            return Ok(());
        }
        *run = Some(Run { stop, task });
        Ok(())
    }

    /// Stops it, or its waiting for a restart, and returns when it has ended.
    pub(super) async fn stop(&self) {
        let mut run = self.run.lock().await;
        Self::end(run.take()).await;
        if self.status().state == State::Exited {
            self.enter(State::Inactive, 0);
        }
    }

    pub(super) async fn restart(self: &Arc<Self>) -> Result<(), StartError> {
        self.stop().await;
        self.start().await
    }

    async fn end(run: Option<Run>) {
        if let Some(run) = run {
            run.stop.cancel();
            let _ = run.task.await;
        }
    }

    async fn supervise(self: Arc<Self>, mut unit: Unit, first: Process, stop: CancellationToken) {
        let mut process = first;
        loop {
            let ended = tokio::select! {
                ended = process.wait() => ended,
                () = stop.cancelled() => {
                    self.enter(State::Stopping, process.pid());
                    let group = unit.kill_mode == KillMode::ControlGroup;
                    // Who had to be killed has failed, and what it was at is not done.
                    match process.terminate(&unit.kill_signal, group, unit.stop_timeout).await {
                        Some(status) => match Exit::of(Some(status), &unit) {
                            end if end.clean => self.enter(State::Inactive, 0),
                            end => self.fail(end.result()),
                        },
                        None => self.fail("timeout"),
                    }
                    return;
                }
            };
            process.finish().await;
            let end = Exit::of(ended.ok(), &unit);
            self.update(|status| {
                status.result = end.result();
                status.exit = end.code;
                status.main_pid = 0;
            });
            self.host.console.say(&format!("init: {}: Main process exited, {end}", self.name));
            if !end.restarts(unit.restart) {
                match (end.clean, unit.kind == Kind::Oneshot && unit.remain_after_exit) {
                    (false, _) => self.fail(end.result()),
                    (true, true) => self.enter(State::Exited, 0),
                    (true, false) => self.enter(State::Inactive, 0),
                }
                return;
            }
            process = loop {
                self.enter(State::AutoRestart, 0);
                tokio::select! {
                    () = tokio::time::sleep(unit.restart_after) => {}
                    () = stop.cancelled() => {
                        self.enter(State::Inactive, 0);
                        return;
                    }
                }
                if self.host.is_closing() {
                    self.enter(State::Inactive, 0);
                    return;
                }
                self.update(|status| status.restarts += 1);
                // A unit changed in the meantime holds from this start on.
                match self.host.load(&self.name) {
                    Ok(changed) => unit = changed,
                    Err(error) => self.host.console.say(&format!("init: {error}")),
                }
                match self.launch(&unit).await {
                    Ok(process) => break process,
                    Err(error) => {
                        self.host.console.say(&format!("init: {error}"));
                        if matches!(error, StartError::StartLimit { .. }) {
                            return self.fail("start-limit-hit");
                        }
                        if !matches!(unit.restart, Restart::Always | Restart::OnFailure) {
                            return self.fail("exit-code");
                        }
                    }
                }
            };
        }
    }

    fn requirements_met(&self, unit: &Unit) -> Result<bool, StartError> {
        for requirement in &unit.requirements {
            let path = self.host.rooted(&requirement.path);
            let holds = match requirement.what {
                RequirementKind::PathExists => path.exists(),
                RequirementKind::PathIsMountPoint => self.host.is_mounted(&path),
            };
            if holds != requirement.negated {
                continue;
            }
            if requirement.asserted {
                self.fail("assert");
                let (unit, path) = (self.name.clone(), requirement.path.clone());
                return Err(StartError::Assertion { unit, path });
            }
            self.host.console.say(&format!("init: {} was skipped: {} not met", self.name, requirement.path));
            return Ok(false);
        }
        Ok(true)
    }

    async fn launch(&self, unit: &Unit) -> Result<Process, StartError> {
        {
            let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
            while starts.front().is_some_and(|start| start.elapsed() > unit.start_limit_interval) {
                starts.pop_front();
            }
            if unit.start_limit_interval > Duration::ZERO && starts.len() >= unit.start_limit_burst {
                return Err(StartError::StartLimit { unit: self.name.clone() });
            }
            starts.push_back(Instant::now());
        }
        self.enter(State::Starting, 0);
        // How it ended before is history.
        self.update(|status| status.result = "success");
        let environment = self.environment(unit)?;
        let last = unit.main.len() - 1;
        let earlier = unit.before.iter().chain(&unit.main[..last]);
        for command in earlier {
            let (mut process, program) = self.spawn(unit, command, &environment)?;
            let status = process.wait().await;
            process.finish().await;
            if !command.may_fail && !status.is_ok_and(|status| status.success()) {
                return Err(StartError::Control { unit: self.name.clone(), program });
            }
        }
        let (process, _) = self.spawn(unit, &unit.main[last], &environment)?;
        if unit.kind == Kind::Running {
            self.enter(State::Running, process.pid());
        }
        self.host.console.say(&format!("init: Started {} - {}.", self.name, unit.description));
        Ok(process)
    }

    fn environment(&self, unit: &Unit) -> Result<BTreeMap<String, String>, StartError> {
        let mut all: BTreeMap<String, String> = self.host.environment.iter().cloned().collect();
        all.extend(unit.environment.iter().cloned());
        for (path, optional) in &unit.environment_files {
            match std::fs::read_to_string(self.host.rooted(path)) {
                Ok(text) => all.extend(syntax::environment_file(&text)),
                Err(_) if *optional => {}
                Err(source) => {
                    let (unit, path) = (self.name.clone(), path.clone());
                    return Err(StartError::Environment { unit, path, source });
                }
            }
        }
        for value in all.values_mut() {
            *value = hostnames::resolved(value, &self.host.resolve);
        }
        Ok(all)
    }

    fn spawn(
        &self,
        unit: &Unit,
        command: &Command,
        environment: &BTreeMap<String, String>,
    ) -> Result<(Process, String), StartError> {
        let words: Vec<OsString> = command
            .words
            .iter()
            .flat_map(|word| word.expand(environment))
            .map(|word| self.host.rooted(&word).into_os_string())
            .collect();
        let program = Program {
            words,
            directory: unit
                .working_directory
                .as_deref()
                .map_or_else(|| PathBuf::from("/"), |directory| self.host.rooted(directory)),
            environment: environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            unit: self.name.clone(),
            identifier: unit
                .identifier
                .clone()
                .unwrap_or_else(|| self.name.trim_end_matches(".service").to_owned()),
        };
        let shown = command.words[0].literal().to_owned();
        match Process::spawn(&program, &self.host.console) {
            Ok(process) => Ok((process, shown)),
            Err(source) => Err(StartError::Spawn { unit: self.name.clone(), program: shown, source }),
        }
    }
}
