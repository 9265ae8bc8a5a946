//! How a main process ended, and whether its unit has it started again.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::unit::{Kind, Restart, Unit};

/// How a main process ended, classified by its unit.
pub(super) struct Exit {
    pub(super) clean: bool,
    signal: bool,
    /// A signal that dumps core or that nobody sends to end a service in order.
    aborted: bool,
    pub(super) code: i32,
}

impl Exit {
    pub(super) fn of(status: Option<ExitStatus>, unit: &Unit) -> Self {
        let signal = status.and_then(|status| status.signal());
        let code = match (status.and_then(|status| status.code()), signal) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 255,
        };
        // HUP, INT, PIPE and TERM end a service cleanly, unless it is a oneshot.
        let clean = match signal {
            Some(signal) => unit.kind != Kind::Oneshot && [1, 2, 13, 15].contains(&signal),
            None => code == 0 || unit.success_statuses.contains(&code),
        };
        Self { clean, signal: signal.is_some(), aborted: signal.is_some() && !clean, code }
    }

    pub(super) fn result(&self) -> &'static str {
        match (self.clean, self.signal) {
            (true, _) => "success",
            (false, true) => "signal",
            (false, false) => "exit-code",
        }
    }

    pub(super) fn restarts(&self, restart: Restart) -> bool {
        match restart {
            Restart::No => false,
            Restart::Always => true,
            Restart::OnSuccess => self.clean,
            Restart::OnFailure => !self.clean,
            Restart::OnAbnormal | Restart::OnAbort => self.aborted,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.signal {
            write!(f, "code=killed, status={}", self.code - 128)
        } else {
            write!(f, "code=exited, status={}", self.code)
        }
    }
}
