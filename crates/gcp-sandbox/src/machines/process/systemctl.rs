//! `systemctl` and `journalctl` as the machine's scripts call them: shims send
//! their arguments here and print the answer. Only what is carried out is
//! accepted.

use super::service::StartError;
use super::supervisor::Supervisor;

/// What a command printed and its exit status.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u8,
    pub(super) output: String,
}

impl Answer {
    fn ok(output: impl Into<String>) -> Self {
        Self { status: 0, output: output.into() }
    }

    fn failed(status: u8, output: impl Into<String>) -> Self {
        Self { status, output: output.into() }
    }
}

#[derive(Default)]
struct Options {
    quiet: bool,
    no_block: bool,
    now: bool,
    value: bool,
    properties: Vec<String>,
    operands: Vec<String>,
}

fn options(arguments: &[String]) -> Result<Options, Answer> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quiet" | "-q" => options.quiet = true,
            "--no-block" => options.no_block = true,
            "--now" => options.now = true,
            "--value" => options.value = true,
            "--no-pager" | "--system" => {}
            "--property" | "-p" => options.properties.extend(arguments.next().cloned()),
            other => match other.strip_prefix("--property=") {
                Some(list) => options.properties.extend(list.split(',').map(str::to_owned)),
                None if other.starts_with('-') => {
                    return Err(Answer::failed(1, format!("systemctl: unrecognized option '{other}'\n")));
                }
                None => options.operands.push(other.to_owned()),
            },
        }
    }
    Ok(options)
}

/// Carries out one `systemctl` command line (without the program's name).
pub(super) async fn systemctl(supervisor: &std::sync::Arc<Supervisor>, arguments: &[String]) -> Answer {
    let options = match options(arguments) {
        Ok(options) => options,
        Err(answer) => return answer,
    };
    let Some((verb, names)) = options.operands.split_first() else {
        return Answer::failed(1, "systemctl: no command given\n");
    };
    let units: Vec<String> = names
        .iter()
        .map(|name| if name.contains('.') { name.clone() } else { format!("{name}.service") })
        .collect();
    match verb.as_str() {
        "daemon-reload" => {
            supervisor.daemon_reload();
            Answer::ok("")
        }
        "start" | "restart" | "stop" | "enable" | "disable" | "reset-failed" => {
            if options.no_block {
                let (supervisor, verb) = (std::sync::Arc::clone(supervisor), verb.clone());
                tokio::spawn(async move {
                    for unit in units {
                        let _ = change(&supervisor, &verb, &unit, options.now).await;
                    }
                });
                return Answer::ok("");
            }
            let mut answer = Answer::ok("");
            for unit in &units {
                if let Err(error) = change(supervisor, verb, unit, options.now).await {
                    let status = if matches!(error, StartError::Unit(_)) { 5 } else { 1 };
                    answer = Answer::failed(status, format!("{}{error}\n", answer.output));
                }
            }
            answer
        }
        "is-active" | "is-failed" => {
            let wanted: &[&str] = if verb == "is-active" { &["active"] } else { &["failed"] };
            let states: Vec<&str> =
                units.iter().map(|unit| supervisor.service(unit).status().state.active()).collect();
            let status = if states.iter().any(|state| wanted.contains(state)) { 0 } else { 3 };
            let output = if options.quiet { String::new() } else { states.join("\n") + "\n" };
            Answer { status, output }
        }
        "is-enabled" => {
            let enabled = units.iter().all(|unit| supervisor.is_enabled(unit));
            let output = if options.quiet {
                ""
            } else if enabled {
                "enabled\n"
            } else {
                "disabled\n"
            };
            Answer { status: u8::from(!enabled), output: output.into() }
        }
        "show" => show(supervisor, &units, &options),
        "list-units" => Answer::ok(
            supervisor
                .list()
                .into_iter()
                .map(|(name, status)| {
                    format!("{name} loaded {} {}\n", status.state.active(), status.state.sub())
                })
                .collect::<String>(),
        ),
        other => {
            Answer::failed(1, format!("systemctl: {other} is not supported by the sandbox's machines\n"))
        }
    }
}

async fn change(supervisor: &Supervisor, verb: &str, unit: &str, now: bool) -> Result<(), StartError> {
    let service = supervisor.service(unit);
    match verb {
        "start" => service.start().await,
        "restart" => service.restart().await,
        "enable" | "disable" => {
            supervisor.enable(unit, verb == "enable")?;
            match (verb, now) {
                ("enable", true) => service.start().await,
                ("disable", true) => {
                    service.stop().await;
                    Ok(())
                }
                _ => Ok(()),
            }
        }
        "stop" => {
            service.stop().await;
            Ok(())
        }
        _ => {
            service.reset_failed();
            Ok(())
        }
    }
}

fn show(supervisor: &Supervisor, units: &[String], options: &Options) -> Answer {
    let mut output = String::new();
    for unit in units {
        let status = supervisor.service(unit).status();
        let load_state = match supervisor.host.load(unit) {
            Ok(_) => "loaded",
            Err(super::host::LoadError::NotFound(_)) => "not-found",
            Err(_) => "bad-setting",
        };
        for property in &options.properties {
            let value = match property.as_str() {
                "ActiveState" => status.state.active().to_owned(),
                "SubState" => status.state.sub().to_owned(),
                "NRestarts" => status.restarts.to_string(),
                "Result" => status.result.to_owned(),
                "MainPID" => status.main_pid.to_string(),
                "ExecMainStatus" => status.exit.to_string(),
                "LoadState" => load_state.to_owned(),
                other => {
                    return Answer::failed(1, format!("systemctl: property {other} is not supported\n"));
                }
            };
            if options.value {
                output.push_str(&format!("{value}\n"));
            } else {
                output.push_str(&format!("{property}={value}\n"));
            }
        }
    }
    Answer::ok(output)
}

/// The last lines that a unit's processes printed: `--lines N` and either
/// `--unit U` or `_SYSTEMD_UNIT=U`; with `--since @SECONDS` none from before that.
pub(super) fn journalctl(supervisor: &Supervisor, arguments: &[String]) -> Answer {
    let (mut lines, mut unit, mut since) = (10, None, 0.0);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let (name, mut value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        if value.is_none()
            && ["--lines", "-n", "--unit", "-u", "--output", "-o", "--since", "-S"].contains(&name)
        {
            value = arguments.next().cloned();
        }
        match (name, value) {
            ("--lines" | "-n", Some(value)) => match value.parse() {
                Ok(number) => lines = number,
                Err(_) => return Answer::failed(1, format!("Failed to parse lines '{value}'\n")),
            },
            ("--unit" | "-u" | "_SYSTEMD_UNIT", Some(value)) => unit = Some(value),
            ("--since" | "-S", Some(value)) => {
                match value.strip_prefix('@').and_then(|seconds| seconds.parse::<f64>().ok()) {
                    Some(seconds) => since = seconds,
                    None => return Answer::failed(1, format!("Failed to parse timestamp: {value}\n")),
                }
            }
            ("--output" | "-o", Some(value)) if value == "cat" => {}
            ("--no-pager" | "--quiet", None) => {}
            _ => return Answer::failed(1, format!("journalctl: {argument} is not supported\n")),
        }
    }
    let Some(unit) = unit else { return Answer::failed(1, "journalctl: which unit?\n") };
    let found = supervisor.host.console.journal(&unit, lines, since);
    Answer::ok(found.into_iter().map(|line| line + "\n").collect::<String>())
}
