//! Scenarios on a real systemd: each boots a machine of its own, breaks something, and asserts on
//! what systemd, the journal and the app say. See README.md in this folder.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: it runs programs, and a scenario that cannot go on has failed"
)]

mod admin;
mod alerts;
mod answers;
mod away;
mod budget;
mod commands;
mod configuration;
mod crash;
mod dependencies;
mod deploy;
mod distribution;
mod doctor;
mod frozen;
mod full;
mod hanging;
mod helpers;
mod incidents;
mod init;
mod machine;
mod manual;
mod matrix;
mod memory;
mod monitor;
mod package;
mod polkit;
mod privileges;
mod proof;
mod reaction;
mod receiver;
mod service;
mod smoke;
mod state;
mod strangers;
mod support;
mod telling;
mod terminal;
mod trust;
mod upgrade;
