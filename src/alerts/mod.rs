//! Tells people: over HTTP, by mail, or by starting a unit of theirs, which then does what they like.
//!
//! What waits is a queue per channel ([`Queue`]), a pure state machine that survives restarts and
//! reboots as one file; [`Desk`] surrounds it with threads, files and the bus. A message counts as sent
//! as soon as the other side has taken it: a crash between that and the writing of the queue tells it
//! twice. This room does not judge what is worth telling.

mod delivery;
mod desk;
mod details;
mod forms;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod http;
mod item;
mod lane;
mod message;
mod queue;
mod smtp;
mod store;
mod unit;
mod wire;

pub use delivery::Credentials;
pub use desk::{Desk, Outcome, Surroundings};
pub use item::Item;
pub use lane::Last;
pub use queue::{ChannelView, Queue, Stored};
pub use store::Places;
