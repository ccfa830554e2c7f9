//! Days that never were: a host in miniature, on which things go wrong as they are told to, under the
//! judge that is at work.
//!
//! It answers what the monitor would have done, with a configuration that is not in force yet. Nothing
//! here touches a unit, a clock or a file. It is no proof of the judge: its host is a well-behaved one.

mod host;
mod script;

pub use host::{Told, play};
pub use script::{Happening, Kind, Script};
