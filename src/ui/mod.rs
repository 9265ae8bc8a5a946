//! Everything that a person or a script sees. One [`Printer`] owns stdout and
//! stderr; [`run`] renders the event stream in the mode that the caller chose;
//! [`View`]s render the results of commands. Nothing here decides anything,
//! reads the environment or talks to a cloud.
//!
//! Results (a plan, a table, a summary, the rows of `verify`) go to stdout;
//! what happens on the way (progress, notes, warnings, errors, questions) goes
//! to stderr. With `--json` every line goes to stdout.

mod answer;
mod at_once;
mod collected;
mod credentials;
mod diff;
mod drift;
mod explained;
mod graph;
mod labels;
mod lines;
mod listed;
mod live;
mod opened;
mod options;
mod outputs;
mod plan;
mod printer;
mod prompt;
mod recorded;
mod report;
mod run;
mod state;
mod status;
mod style;
mod summary;
mod table;
mod text;
mod timings;
mod trace;
mod validated;
mod watch;
mod written;

pub use answer::Answer;
pub use at_once::events;
pub use credentials::{Credentials, Issued};
pub use drift::DriftView;
pub use explained::ExplainedVersion;
pub use graph::{GraphForm, graph};
pub use listed::Listed;
pub use opened::Opened;
pub use options::{Mode, Options, Terminals};
pub use outputs::Outputs;
pub use plan::PlanView;
pub use printer::{Captured, Printer, View};
pub use prompt::PromptError;
pub use recorded::Recorded;
pub use report::Report;
pub use run::{PhaseTime, Tally, run};
pub use status::{BucketStatus, MachineStatus, ResourceStatus, RingMember, Standing, Status};
pub use style::{Role, Style};
pub use summary::{Failure, Pending, Summary};
pub use table::Table;
pub use text::elapsed;
pub use trace::trace;
pub use validated::Validated;
pub use watch::{Pipeline, Watch};
pub use written::{Planned, Rendered, RenderedFile, Reported, Written};
