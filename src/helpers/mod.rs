//! Privileged one-shots: each runs as root for a moment, does its one thing, and is gone.
//!
//! They read the root-owned configuration themselves and believe nothing that the daemon says
//! beyond an app's name. The daemon never calls them; systemd starts them.

mod acting_as;
pub mod clear_caches;
pub mod evidence;
mod folders;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub mod grant;
pub mod oneshot;
pub mod preflight;
pub mod reap;
mod request;
pub mod resolve;
pub mod result;
pub mod units;

pub use request::Request;
