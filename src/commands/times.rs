//! How long a command takes, and for what it waits: `--timings` and `--trace`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use dorainfra_base::file::{self, Mode};
use dorainfra_model::{Events, Timeline, Timings};

use super::context::Context;
use super::{CommandError, CommandResult};
use crate::ui;

/// What is told of a run's time.
#[derive(Clone, Debug, Args)]
pub struct Told {
    /// Show where the time went: by stage and by resource, what each waited for, and the critical path
    #[arg(long)]
    timings: bool,
    /// Write what happened when to a file that Perfetto (ui.perfetto.dev) and chrome://tracing show
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// The clock of a command, over all stretches of its events.
pub struct Times {
    began: Instant,
    timeline: Arc<Mutex<Timeline>>,
    told: Told,
}

impl Told {
    /// The clock begins. A place in which no trace can be written is found before anything is done.
    pub fn begin(&self, context: &Context) -> CommandResult<Times> {
        if let Some(trace) = &self.trace {
            let path = context.environment.folder.join(trace);
            let folder = path.parent().is_some_and(|folder| folder.is_dir());
            if path.is_dir() || !folder {
                let why = if folder { "it is a folder" } else { "there is no such folder" };
                return Err(CommandError::usage(format!(
                    "no trace can be written to {}: {why}",
                    trace.display()
                ))
                .hint("name a file in a folder that exists"));
            }
        }
        Ok(Times { began: Instant::now(), timeline: Arc::default(), told: self.clone() })
    }
}

impl Times {
    /// The same stream, and what is sent is remembered with its time.
    pub fn heard(&self, events: &Events) -> Events {
        let (began, timeline, events) = (self.began, Arc::clone(&self.timeline), events.clone());
        Events::to(move |event| {
            timeline.lock().unwrap_or_else(PoisonError::into_inner).take(began.elapsed(), &event);
            events.send(event);
        })
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// For the result, where they are asked for.
    pub fn timings(&self) -> Option<Timings> {
        self.told.timings.then(|| self.seen(|timeline| timeline.timings(self.elapsed())))
    }

    /// Writes the trace, where one is asked for.
    pub fn write_trace(&self, context: &Context, command: &str) -> CommandResult<()> {
        let Some(shown) = &self.told.trace else { return Ok(()) };
        let trace = self.seen(|timeline| ui::trace(timeline, command, self.elapsed()));
        let path = context.environment.folder.join(shown);
        file::output(&path, trace.to_string().as_bytes(), Mode::Public).map_err(|error| {
            CommandError::failed(format!("no trace can be written to {}: {error}", shown.display()))
                .hint("what the command did is done; name another file the next time")
                .because(error)
        })
    }

    fn seen<T>(&self, look: impl FnOnce(&Timeline) -> T) -> T {
        look(&self.timeline.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
