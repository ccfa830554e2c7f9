//! Scenarios in virtual machines: what a container has no say over, such as memory, the clock, power
//! and disks. See README.md in this folder.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: it runs programs, and a scenario that cannot go on has failed"
)]

mod machine;
mod matrix;
mod pace;
#[path = "../lab/support.rs"]
#[allow(dead_code, reason = "shared with the lab, which needs other parts of it")]
mod support;
