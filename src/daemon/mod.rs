//! The one loop that joins the rooms: what happens goes to the judge, what the judge decides is
//! carried out, and the outcome comes back as something that happened.
//!
//! It decides nothing itself and spawns no process. What blocks runs in the bounded pool of the
//! checks; what talks to systemd is a task with deadlines; the loop itself never waits for either.

mod alarm;
mod clock;
mod effects;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod helping;
mod link;
mod looping;
mod performing;
mod process;
mod proving;
mod requests;
mod service;
mod signals;
mod start;
mod state;
mod telling;

pub use start::run;
