//! The commands: one file each. They talk to the daemon over the bus or read what is in force, and
//! never reach into the daemon.

pub mod config;
