//! The one event stream: what every step of a run tells the outside.
//!
//! Producers (engine, machine, stack, dora, verify, sandbox) send; `ui` renders
//! the stream for people, as JSON lines, or not at all. Nothing in here formats
//! or prints. The JSON form is an interface: fields are added, never renamed.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::Check;
use crate::{Action, Cost, Plan, ResourceId};

/// The version of the JSON form, in each line's `schema` field.
pub const SCHEMA: u32 = 1;

/// The phases of `apply`, in their order, and those of the other commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Reading the cloud and comparing.
    Plan,
    /// Fetching or finding the engine's binary, once, on the operator's machine.
    Artifact,
    /// Creating, changing and deleting resources.
    Resources,
    /// Waiting until each machine runs its bundle and is ready.
    Machine,
    /// Starting the collector stack.
    Stack,
    /// Writing the history with its true dates.
    History,
    /// Proving that every sample arrived.
    Verify,
    /// Taking resources down.
    Destroy,
}

/// One of the steps that come after the resources: a part of the collector stack on this
/// machine, the sources, the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedStep {
    /// `stack.generator`, `stack.prometheus`, `sources`, `history`.
    pub what: String,
    pub action: Action,
    /// One line for people.
    pub reason: String,
}

impl FeedStep {
    /// Whether it changes anything.
    pub fn is_change(&self) -> bool {
        self.action != Action::NoOp
    }
}

/// One thing that happened. Times are milliseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    PhaseStarted {
        phase: Phase,
    },
    PhaseFinished {
        phase: Phase,
        elapsed_ms: u64,
        ok: bool,
    },
    /// The plan, whole; sent once, before anything is changed.
    Planned {
        plan: Plan,
        /// What is done after the resources.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        feed: Vec<FeedStep>,
        /// What it costs by the month; `None` where it is of certificates only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<Box<Cost>>,
    },
    /// An action on a resource has begun.
    ResourceStarted {
        id: ResourceId,
        action: Action,
    },
    /// What a running action is doing now ("operation RUNNING 40 %").
    ResourceProgress {
        id: ResourceId,
        message: String,
    },
    ResourceFinished {
        id: ResourceId,
        action: Action,
        elapsed_ms: u64,
    },
    ResourceFailed {
        id: ResourceId,
        action: Action,
        error: String,
        hint: Option<String>,
        elapsed_ms: u64,
    },
    /// Not attempted: something it needs failed, or the run was interrupted.
    ResourceSkipped {
        id: ResourceId,
        action: Action,
        because: String,
    },
    /// A machine reported a stage of its own start or of an installation.
    MachineStage {
        machine: String,
        stage: String,
        message: String,
    },
    /// A line of a machine's serial port, shown when it does not get ready.
    MachineLog {
        machine: String,
        line: String,
    },
    /// A part of the collector stack changed its state.
    StackPart {
        part: String,
        state: String,
        detail: String,
    },
    /// A measurable step: `done` of `total` units (`unit`: "samples", "bytes").
    Progress {
        what: String,
        done: u64,
        total: u64,
        unit: &'static str,
    },
    /// One finished check of `verify`.
    Checked {
        check: Check,
    },
    /// Something the user should know; the run goes on.
    Warning {
        message: String,
        hint: Option<String>,
    },
    /// A plain statement ("history: 56,940 samples already there").
    Note {
        message: String,
    },
}

/// Where producers send. Cheap to clone; sending never blocks or fails.
#[derive(Clone, Debug)]
pub struct Events(Option<mpsc::UnboundedSender<Event>>);

impl Events {
    /// A stream and its receiving end.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(Some(sender)), receiver)
    }

    /// A stream nobody listens to, for tests and dry calculations.
    pub fn none() -> Self {
        Self(None)
    }

    /// Sends one event. An event nobody listens for is dropped.
    pub fn send(&self, event: Event) {
        if let Some(sender) = &self.0 {
            let _ = sender.send(event);
        }
    }

    pub fn note(&self, message: impl Into<String>) {
        self.send(Event::Note { message: message.into() });
    }

    pub fn warn(&self, message: impl Into<String>, hint: Option<String>) {
        self.send(Event::Warning { message: message.into(), hint });
    }
}
