//! The one event stream: what every step of a run tells the outside.
//!
//! Producers (engine, machine, stack, dora, verify, sandbox) send; `ui` renders
//! the stream for people, as JSON lines, or not at all. Nothing in here formats
//! or prints. The JSON form is an interface: fields are added, never renamed.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::Check;
use crate::{Action, Cost, Plan, ResourceId, document};

/// The version of the JSON form, in each line's `schema` field.
pub const SCHEMA: u32 = 1;

/// The phases of `apply`, in their order, and those of the other commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
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

/// A step within a phase, or beside the phases, that takes time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Signing in.
    Credentials,
    /// Reading the lease as it was before anything else.
    Lease,
    /// What rendering needs beyond the configuration: the engine's version, the caller's address, the clients.
    Facts,
    /// From the configuration to manifests and files.
    Rendering,
    /// Of the plan: what files that would change hold now.
    Files,
    /// What comes after the resources.
    FollowUp,
}

/// One of the steps that come after the resources: a part of the collector stack on this
/// machine, the sources, the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
    /// A step has ended. It is told so that one can see what a run waited for.
    StageFinished {
        stage: Stage,
        elapsed_ms: u64,
    },
    /// The plan, whole; sent once, before anything is changed.
    Planned {
        #[serde(serialize_with = "document::write")]
        #[schemars(with = "document::PlanDocument")]
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
        /// Of what it had to wait for, what ended last.
        #[serde(skip_serializing_if = "Option::is_none")]
        waited_for: Option<ResourceId>,
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
    /// A line of the log of a part of the collector stack.
    StackLog {
        part: String,
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
    /// The cloud does not answer: sent before it is tried again, and every few seconds from then on.
    CloudUnreachable {
        /// `HOST`, with the port where it is no usual one.
        host: String,
        /// What the last attempt came to.
        error: String,
        /// How many attempts have failed, those of all calls together.
        attempts: u32,
        /// For how long nobody has answered.
        for_ms: u64,
        /// How much longer it is tried.
        left_ms: u64,
    },
    /// It answers again.
    CloudReachable {
        host: String,
        /// How long it did not.
        after_ms: u64,
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
#[derive(Clone, Default)]
pub struct Events(Option<Sink>);

#[derive(Clone)]
enum Sink {
    Channel(mpsc::UnboundedSender<Event>),
    Function(Arc<dyn Fn(Event) + Send + Sync>),
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Events" } else { "Events(nobody)" })
    }
}

impl Events {
    /// A stream and its receiving end.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(Some(Sink::Channel(sender))), receiver)
    }

    /// To a function that is called at once, by whoever sends: it must not wait for anything.
    pub fn to(take: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Some(Sink::Function(Arc::new(take))))
    }

    /// A stream nobody listens to, for tests and dry calculations.
    pub fn none() -> Self {
        Self(None)
    }

    /// Sends one event. An event nobody listens for is dropped.
    pub fn send(&self, event: Event) {
        match &self.0 {
            Some(Sink::Channel(sender)) => drop(sender.send(event)),
            Some(Sink::Function(take)) => take(event),
            None => {}
        }
    }

    pub fn note(&self, message: impl Into<String>) {
        self.send(Event::Note { message: message.into() });
    }

    pub fn warn(&self, message: impl Into<String>, hint: Option<String>) {
        self.send(Event::Warning { message: message.into(), hint });
    }
}
