//! The judge decides; others carry it out. Pure: it knows no clock, socket, file or bus.
//!
//! It is responsible for verdicts, conditions, thresholds, the budget and the plan of a recovery,
//! and for nothing that touches the world.

mod names;
mod observation;
mod policy;
mod target;
mod time;
mod unit;

pub use names::{AppName, NameError, UnitName};
pub use observation::{CheckKind, Fault, Finding, Observation};
pub use policy::{GiveUp, Mode, Policy, Window};
pub use target::{Address, HttpTarget, Secret, StatusSet, Target};
pub use time::{Moment, Span};
pub use unit::{
    ActiveState, Dependency, Exit, InvocationId, JobId, JobResult, LoadState, UnitReading, signal_name,
};
