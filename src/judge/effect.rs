//! What goes in and what comes out of the judge.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::UnitName;
use super::observation::{CheckKind, Observation};
use super::permission::Denial;
use super::plan::{Outcome, Step};
use super::record::Record;
use super::time::Moment;
use super::unit::{JobId, JobResult, UnitReading};

/// A round of checks, so that answers find their way back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RoundId(pub u64);

/// A recovery, so that the outcome of its steps finds its way back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActId(pub u64);

/// Something that happened to one app.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// The unit was read.
    Unit(Box<UnitReading>),
    /// It could not be read, for that reason.
    UnitUnreadable(String),
    /// Something about the unit, or about one that it depends on, changed: it has to be read.
    Changed,
    /// Signals may have been lost (the bus was away).
    SignalsLost,
    /// A job was queued on the unit.
    JobNew(JobId),
    /// A job on the unit ended.
    JobRemoved(JobId, JobResult),
    /// A job was queued on that unit, which it depends on.
    JobBeside(UnitName, JobId),
    /// A job on what it depends on ended.
    JobBesideRemoved(JobId),
    /// A check of a round was answered.
    Check(RoundId, CheckKind, Observation),
    /// The step under way was queued as that job, which is therefore ours.
    StepQueued(ActId, JobId),
    /// SIGKILL went out to help the step along.
    StepKilled(ActId),
    /// The step ended.
    StepEnded(ActId, Outcome),
    /// The host goes down (or does not any more).
    Stopping(bool),
    /// We were not running for so long: rounds under way are void.
    Gap(Duration),
    /// What is missing for it was proven; nothing, if it may be recovered.
    Permission(Option<Denial>),
    /// A person asked for something.
    Asked(Request),
}

/// What a person can ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Watch, but do not act, for that long.
    Pause {
        /// How long.
        length: Duration,
        /// Why, in the person's words.
        reason: Option<String>,
        /// Who asked.
        by: Option<String>,
    },
    /// Act again.
    Resume {
        /// Who asked.
        by: Option<String>,
    },
    /// Recover now, uncounted.
    Recover {
        /// Who asked.
        by: Option<String>,
    },
    /// Forget attempts and close the breaker.
    Reset {
        /// Who asked.
        by: Option<String>,
    },
}

/// What is to be done for one app, in this order.
#[derive(Clone, PartialEq, Debug)]
#[must_use]
pub enum Effect {
    /// Read the unit again.
    ReadUnit,
    /// Make these checks, each answered by `Event::Check`.
    Check(RoundId, Vec<CheckKind>),
    /// The memory changed: write it before anything that follows.
    Persist,
    /// Carry out this step, answered by `Event::StepEnded`.
    Perform(ActId, Step),
    /// Start a hook's unit; nothing waits for it.
    Hook(UnitName),
    /// Gather evidence now, in the background: something is suspected or has fallen. What comes of it
    /// belongs to the incident that is open, or opens within a minute.
    GatherEvidence,
    /// Tell the journal, and people where it says so.
    Record(Record),
}

/// Somebody works on the app.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pause {
    /// It ends by itself then.
    pub until: Moment,
    /// Why, in the person's words.
    pub reason: Option<String>,
    /// Who asked for it.
    #[serde(default)]
    pub by: Option<String>,
}
