//! A service unit file, read as strictly as the machine's behaviour depends on
//! it: a directive that the supervisor carries out is parsed, one that only a
//! kernel with namespaces could carry out is passed over by name, and any other
//! is an error. A unit that works here means the same under systemd.

use std::path::PathBuf;
use std::time::Duration;

use super::syntax::{self, Word};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `simple` and `exec`.
    Running,
    Oneshot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    No,
    Always,
    OnSuccess,
    OnFailure,
    OnAbnormal,
    OnAbort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KillMode {
    ControlGroup,
    Mixed,
    Process,
}

/// A command line. `may_fail`: written with a leading `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: Vec<Word>,
    pub(super) may_fail: bool,
}

/// `Condition…=` (not met: the start is skipped) and `Assert…=` (not met: it fails).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Requirement {
    pub(super) what: RequirementKind,
    pub(super) path: String,
    pub(super) negated: bool,
    pub(super) asserted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequirementKind {
    PathExists,
    PathIsMountPoint,
}

/// What a service unit says. Paths are as written: the supervisor knows where
/// the machine's file system begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unit {
    pub(super) description: String,
    pub(super) kind: Kind,
    pub(super) remain_after_exit: bool,
    pub(super) before: Vec<Command>,
    pub(super) main: Vec<Command>,
    pub(super) working_directory: Option<String>,
    pub(super) environment: Vec<(String, String)>,
    /// Path, and whether it may be missing.
    pub(super) environment_files: Vec<(String, bool)>,
    pub(super) restart: Restart,
    pub(super) restart_after: Duration,
    pub(super) kill_signal: String,
    pub(super) kill_mode: KillMode,
    pub(super) stop_timeout: Duration,
    pub(super) success_statuses: Vec<i32>,
    pub(super) start_limit_interval: Duration,
    pub(super) start_limit_burst: usize,
    pub(super) requirements: Vec<Requirement>,
    pub(super) identifier: Option<String>,
    pub(super) wanted_by: Vec<String>,
}

/// Why a unit file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnitError {
    #[error("{}:{line}: {what}", path.display())]
    Line { path: PathBuf, line: usize, what: String },
    #[error("{}: has no ExecStart=", path.display())]
    NoCommand { path: PathBuf },
}

/// Directives of `[Service]` that confine, account for or tune a service; here
/// everything runs as the user who runs the sandbox.
const PASSED_OVER: &[&str] = &[
    "User",
    "Group",
    "SupplementaryGroups",
    "UMask",
    "LimitNOFILE",
    "OOMScoreAdjust",
    "MemoryMax",
    "MemoryHigh",
    "StandardOutput",
    "StandardError",
    "AmbientCapabilities",
    "CapabilityBoundingSet",
    "DeviceAllow",
    "DevicePolicy",
    "IPAddressDeny",
    "KeyringMode",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoNewPrivileges",
    "PrivateDevices",
    "PrivateMounts",
    "PrivateNetwork",
    "PrivateTmp",
    "PrivateUsers",
    "ProcSubset",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "InaccessiblePaths",
    "RemoveIPC",
    "RestrictAddressFamilies",
    "RestrictFileSystems",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "SystemCallArchitectures",
    "SystemCallErrorNumber",
    "SystemCallFilter",
    "TimeoutStartSec",
];

/// Directives of `[Unit]` that order this unit among others that this
/// supervisor does not have.
const PASSED_OVER_IN_UNIT: &[&str] = &["Documentation", "After", "Before", "RequiresMountsFor"];

impl Unit {
    /// Parses the text of the unit file at `path` (which only errors mention).
    pub(super) fn parse(path: &std::path::Path, text: &str) -> Result<Self, UnitError> {
        let mut unit = Self {
            description: String::new(),
            kind: Kind::Running,
            remain_after_exit: false,
            before: Vec::new(),
            main: Vec::new(),
            working_directory: None,
            environment: Vec::new(),
            environment_files: Vec::new(),
            restart: Restart::No,
            restart_after: Duration::from_millis(100),
            kill_signal: "TERM".into(),
            kill_mode: KillMode::ControlGroup,
            stop_timeout: Duration::from_secs(90),
            success_statuses: Vec::new(),
            start_limit_interval: Duration::from_secs(10),
            start_limit_burst: 5,
            requirements: Vec::new(),
            identifier: None,
            wanted_by: Vec::new(),
        };
        let mut section = String::new();
        for (line, content) in logical_lines(text) {
            let at = |what: String| UnitError::Line { path: path.to_owned(), line, what };
            if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                if !matches!(name, "Unit" | "Service" | "Install") && !name.starts_with("X-") {
                    return Err(at(format!("section [{name}] is not supported")));
                }
                name.clone_into(&mut section);
                continue;
            }
            let (key, value) =
                content.split_once('=').ok_or_else(|| at(format!("`{content}` is not `Directive=value`")))?;
            let (key, value) = (key.trim(), value.trim());
            match section.as_str() {
                "Unit" => unit.set_in_unit(key, value),
                "Service" => unit.set_in_service(key, value),
                "Install" => unit.set_in_install(key, value),
                "" => Err("a directive before any section".into()),
                _ => Ok(()),
            }
            .map_err(at)?;
        }
        if unit.main.is_empty() {
            return Err(UnitError::NoCommand { path: path.to_owned() });
        }
        Ok(unit)
    }

    fn set_in_unit(&mut self, key: &str, value: &str) -> Result<(), String> {
        let (condition, asserted) = match (key.strip_prefix("Condition"), key.strip_prefix("Assert")) {
            (Some(what), _) => (Some(what), false),
            (_, Some(what)) => (Some(what), true),
            _ => (None, false),
        };
        if let Some(what) = condition {
            let what = match what {
                "PathExists" => RequirementKind::PathExists,
                "PathIsMountPoint" => RequirementKind::PathIsMountPoint,
                _ => return Err(format!("{key}= is not supported")),
            };
            let (path, negated) = value.strip_prefix('!').map_or((value, false), |path| (path, true));
            self.requirements.push(Requirement { what, path: path.into(), negated, asserted });
            return Ok(());
        }
        match key {
            "Description" => value.clone_into(&mut self.description),
            "Wants" | "Requires" | "BindsTo" | "PartOf" => {
                // Mounts and targets are there from the start; another service would not be.
                if let Some(other) = value.split_whitespace().find(|name| name.ends_with(".service")) {
                    return Err(format!("{key}={other}: services that need services are not supported"));
                }
            }
            "StartLimitIntervalSec" => self.start_limit_interval = syntax::time_span(value)?,
            "StartLimitBurst" => {
                self.start_limit_burst = value.parse().map_err(|_| format!("`{value}` is not a number"))?;
            }
            _ if PASSED_OVER_IN_UNIT.contains(&key) => {}
            _ => return Err(format!("{key}= is not supported in [Unit]")),
        }
        Ok(())
    }

    fn set_in_install(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "WantedBy" | "RequiredBy" => {
                self.wanted_by.extend(value.split_whitespace().map(str::to_owned));
                Ok(())
            }
            _ => Err(format!("{key}= is not supported in [Install]")),
        }
    }

    fn set_in_service(&mut self, key: &str, value: &str) -> Result<(), String> {
        let unknown = || format!("{key}={value} is not supported");
        match key {
            "Type" => {
                self.kind = match value {
                    "simple" | "exec" => Kind::Running,
                    "oneshot" => Kind::Oneshot,
                    _ => return Err(unknown()),
                }
            }
            "RemainAfterExit" => self.remain_after_exit = boolean(value)?,
            "ExecStartPre" => push_command(&mut self.before, value)?,
            "ExecStart" => push_command(&mut self.main, value)?,
            "WorkingDirectory" => self.working_directory = Some(absolute(value)?.to_owned()),
            "Environment" if value.is_empty() => self.environment.clear(),
            "Environment" => {
                for word in syntax::split(value)? {
                    let (name, value) =
                        word.literal().split_once('=').ok_or_else(|| "not `NAME=value`".to_owned())?;
                    self.environment.push((name.into(), value.into()));
                }
            }
            "EnvironmentFile" if value.is_empty() => self.environment_files.clear(),
            "EnvironmentFile" => {
                let (path, optional) = value.strip_prefix('-').map_or((value, false), |path| (path, true));
                self.environment_files.push((absolute(path)?.to_owned(), optional));
            }
            "Restart" => {
                self.restart = match value {
                    "no" => Restart::No,
                    "always" => Restart::Always,
                    "on-success" => Restart::OnSuccess,
                    "on-failure" => Restart::OnFailure,
                    "on-abnormal" => Restart::OnAbnormal,
                    "on-abort" => Restart::OnAbort,
                    _ => return Err(unknown()),
                }
            }
            "RestartSec" => self.restart_after = syntax::time_span(value)?,
            "KillSignal" => self.kill_signal = signal(value).ok_or_else(unknown)?.to_owned(),
            "KillMode" => {
                self.kill_mode = match value {
                    "control-group" => KillMode::ControlGroup,
                    "mixed" => KillMode::Mixed,
                    "process" => KillMode::Process,
                    _ => return Err(unknown()),
                }
            }
            "TimeoutStopSec" => self.stop_timeout = syntax::time_span(value)?,
            "SuccessExitStatus" => {
                for status in value.split_whitespace() {
                    self.success_statuses.push(status.parse().map_err(|_| unknown())?);
                }
            }
            "SyslogIdentifier" => self.identifier = Some(value.to_owned()),
            _ if PASSED_OVER.contains(&key) => {}
            _ => return Err(format!("{key}= is not supported in [Service]")),
        }
        Ok(())
    }
}

/// Lines with their numbers; comments and blanks left out, continuations joined.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, raw) in text.lines().enumerate() {
        let trimmed = raw.trim();
        if trimmed.starts_with(['#', ';']) || (trimmed.is_empty() && open.is_none()) {
            continue;
        }
        let (number, mut content) = open.take().unwrap_or((index + 1, String::new()));
        match trimmed.strip_suffix('\\') {
            Some(continued) => {
                content.push_str(continued);
                content.push(' ');
                open = Some((number, content));
            }
            None => {
                content.push_str(trimmed);
                lines.push((number, content));
            }
        }
    }
    lines.extend(open);
    lines
}

/// An empty value takes back the commands before it, as in systemd.
fn push_command(commands: &mut Vec<Command>, value: &str) -> Result<(), String> {
    if value.is_empty() {
        commands.clear();
        return Ok(());
    }
    let (line, may_fail) = value.strip_prefix('-').map_or((value, false), |line| (line, true));
    let words = syntax::split(line)?;
    let program = words.first().map_or("", Word::literal);
    absolute(program)?;
    commands.push(Command { words, may_fail });
    Ok(())
}

fn absolute(path: &str) -> Result<&str, String> {
    if path.starts_with('/') { Ok(path) } else { Err(format!("`{path}` is not an absolute path")) }
}

fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err(format!("`{value}` is neither yes nor no")),
    }
}

/// The name that `kill` takes: without `SIG`.
fn signal(value: &str) -> Option<&str> {
    let name = value.strip_prefix("SIG").unwrap_or(value);
    ["TERM", "INT", "QUIT", "HUP", "KILL", "USR1", "USR2", "ABRT"].contains(&name).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Unit, String> {
        Unit::parse(Path::new("/u/a.service"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_unit() {
        let unit = parse(
            "# comment\n[Unit]\nDescription=A thing\nAfter=network-online.target\nStartLimitIntervalSec=0\n\
             AssertPathIsMountPoint=/data\nConditionPathExists=!/off\n\n[Service]\nType=exec\nUser=x\n\
             WorkingDirectory=/w\nEnvironment=A=1 \"B=2 3\"\nEnvironmentFile=-/e\n\
             ExecStart=/bin/run \\\n  --one \\\n  # in between\n  --two\nRestart=on-failure\nRestartSec=2\n\
             KillSignal=SIGINT\nKillMode=mixed\nTimeoutStopSec=5min\nSuccessExitStatus=3 4\n\
             ProtectSystem=strict\nCapabilityBoundingSet=\n[Install]\nWantedBy=multi-user.target\n",
        )
        .unwrap();
        assert_eq!(unit.description, "A thing");
        assert_eq!(
            unit.main[0].words.iter().map(Word::literal).collect::<Vec<_>>(),
            ["/bin/run", "--one", "--two"]
        );
        assert_eq!(unit.environment, [("A".into(), "1".into()), ("B".into(), "2 3".into())]);
        assert_eq!(unit.environment_files, [("/e".into(), true)]);
        assert_eq!((unit.restart, unit.restart_after), (Restart::OnFailure, Duration::from_secs(2)));
        assert_eq!((unit.kill_signal.as_str(), unit.kill_mode), ("INT", KillMode::Mixed));
        assert_eq!(unit.stop_timeout, Duration::from_secs(300));
        assert_eq!(unit.start_limit_interval, Duration::ZERO);
        assert_eq!(unit.success_statuses, [3, 4]);
        assert!(unit.requirements[0].asserted && !unit.requirements[0].negated);
        assert!(unit.requirements[1].negated && !unit.requirements[1].asserted);
        assert_eq!(unit.wanted_by, ["multi-user.target"]);
    }

    #[test]
    fn an_empty_command_takes_back_those_before() {
        let unit = parse("[Service]\nExecStart=/bin/a\nExecStart=\nExecStart=/bin/b\n").unwrap();
        assert_eq!(unit.main.len(), 1);
        assert_eq!(unit.main[0].words[0].literal(), "/bin/b");
    }

    #[test]
    fn errors_name_file_and_line() {
        let errors: Vec<String> = [
            "[Service]\nExecStart=/bin/a\nRestrat=always\n",
            "[Service]\nExecStart=run\n",
            "[Service]\nType=notify\nExecStart=/bin/a\n",
            "[Service]\nExecReload=/bin/a\n",
            "[Service]\nExecStart=/bin/a\nRestartSec=soon\n",
            "[Timer]\n",
            "ExecStart=/bin/a\n",
            "[Service]\nwhat\n",
            "[Unit]\nRequires=other.service\n",
            "[Unit]\nConditionVirtualization=yes\n",
            "[Service]\nExecStart=!/bin/a\n",
            "[Unit]\nDescription=x\n",
        ]
        .iter()
        .map(|text| parse(text).unwrap_err())
        .collect();
        insta::assert_snapshot!(errors.join("\n"), @r"
        /u/a.service:3: Restrat= is not supported in [Service]
        /u/a.service:2: `run` is not an absolute path
        /u/a.service:2: Type=notify is not supported
        /u/a.service:2: ExecReload= is not supported in [Service]
        /u/a.service:3: `soon` is not a time span (5s, 1min 30s, infinity)
        /u/a.service:1: section [Timer] is not supported
        /u/a.service:1: a directive before any section
        /u/a.service:2: `what` is not `Directive=value`
        /u/a.service:2: Requires=other.service: services that need services are not supported
        /u/a.service:2: ConditionVirtualization= is not supported
        /u/a.service:2: `!/bin/a` is not an absolute path
        /u/a.service: has no ExecStart=
        ");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = parse(&text);
            let _ = parse(&format!("[Service]\n{text}"));
        }
    }
}
