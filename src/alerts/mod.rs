//! Tells people. So far by starting a unit of theirs, which then does what they like.
//!
//! It is responsible for who is told of what, for the details that the unit finds in a file, and for
//! telling one thing after the other. It does not judge what is worth telling.

mod desk;
mod details;

pub use desk::Desk;
