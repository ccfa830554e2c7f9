//! app-monitor: keeps the web applications of one server alive through systemd.
//!
//! Arrows between the rooms point one way: `judge` is pure and knows nobody; `config` knows the
//! judge's policy types; `wire` is the connection that a question or a message goes over, below `checks` and
//! `alerts`, which do not know each other; these, `systemd` and `recovery` turn the world into
//! observations and decisions into jobs; `incidents` keeps what happened for people; `replay` plays the
//! judge what could happen; `daemon` is the one loop that joins them; `helpers` are the privileged
//! one-shots; `server` looks at what else runs on the host; `cli` holds one file per command.

pub mod alerts;
pub mod checks;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod files;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod helpers;
pub mod incidents;
pub mod judge;
pub mod plain;
pub mod recovery;
pub mod replay;
pub mod server;
pub mod systemd;
mod wire;
