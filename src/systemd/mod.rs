//! systemd as seen over the bus: the dozen members in use, unit readings, jobs, signals; and the
//! two ways in which the daemon speaks back, sd_notify(3) and the journal.
//!
//! It is responsible for deadlines on every call, for telling errors apart, and for turning what
//! systemd says into the judge's plain types. It decides nothing, repeats nothing and reconnects
//! to nothing: a lost bus is an [`Event::Disconnected`], after which the daemon makes a new
//! [`Bus`].

mod bus;
mod error;
mod exec;
mod execution;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod jobs;
pub mod journal;
pub mod notify;
mod path;
mod proof;
mod properties;
mod services;
mod setting;
mod sight;
mod signals;
mod speakers;
mod timers;
mod unit;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use bus::{Bus, CALL_DEADLINE, Hand};
pub use error::Error;
pub use exec::{Exec, Power};
pub use execution::{Execution, SwapReading};
pub use jobs::{Job, PendingJob, SIGKILL};
pub use path::{unit_from_path, unit_path};
pub use proof::Obstacle;
pub use services::ServiceReading;
pub use setting::Setting;
pub use sight::Sight;
pub use signals::{Event, Events};
pub use timers::TimerReading;
