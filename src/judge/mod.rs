//! The judge decides; others carry it out. Pure: it knows no clock, socket, file or bus.
//!
//! It is responsible for verdicts, conditions, thresholds, the budget and the plan of a recovery,
//! and for nothing that touches the world. `Host::handle(now, app, event)` returns effects; whoever
//! performs them comes back with events.

mod acting;
mod app;
mod around;
mod budget;
mod chronicle;
mod companion;
mod diagnose;
mod effect;
mod errands;
mod history;
mod host;
mod incident;
mod inherited;
mod instances;
mod judging;
mod leaning;
mod level;
mod life;
mod loops;
mod memory;
#[cfg(feature = "mutations")]
pub mod mutation;
#[cfg(not(feature = "mutations"))]
mod mutation;
mod names;
mod noting;
mod observation;
mod permission;
mod plan;
mod policy;
mod probing;
mod reading;
mod record;
mod recovery;
mod rehearsal;
mod restless;
mod surroundings;
mod suspected;
mod target;
#[cfg(test)]
mod testing;
mod time;
mod unit;
mod verb;
mod verdict;
mod verifying;
mod view;
mod wanting;

pub use acting::LastWill;
pub use app::App;
pub use budget::{Breaker, Budget, Gate};
pub use chronicle::{Chronicle, Figure};
pub use companion::CompanionMemory;
pub use diagnose::{Facts, diagnose};
pub use effect::{ActId, Effect, Event, Pause, Request, RoundId};
pub use history::{Confirmed, History, RoundResult};
pub use host::{Effects, Host};
pub use incident::Incident;
pub use level::Level;
pub use life::{Change, Ending, Life, LifeMemory, Starter};
pub use memory::{AppMemory, Clocks, MEMORY_VERSION, Memory};
pub use names::{AppName, NameError, Subject, UnitName};
pub use noting::ConditionState;
pub use observation::{CheckKind, Detail, Fault, Finding, HostMemory, Observation};
pub use permission::Denial;
pub use plan::{Circumstances, Margins, Outcome, Step, plan};
pub use policy::{ClearCaches, GiveUp, Mode, Policy, Window};
pub use record::{EventKind, Record, StepReport};
pub use recovery::Intent;
pub use rehearsal::{Rehearsal, RehearsedStep};
pub use target::{
    Address, DatabasePlace, DatabaseProtocol, DatabaseTarget, HttpTarget, PreflightTarget, PublicTarget,
    Role, Secret, StatusSet, Stragglers, Target,
};
pub use time::{Moment, Span};
pub use unit::{
    ActiveState, Dependency, Exit, InvocationId, JobId, JobResult, LoadState, UnitReading, signal_name,
};
pub use verb::{Verb, Verbs};
pub use verdict::{Condition, Verdict};
pub use view::{AppView, CheckView, ConditionView, NO_APP};
