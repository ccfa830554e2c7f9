//! The judge over simulated time: how fast, how often, and what it never does.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "test code")]

mod crowd;
mod faults;
mod never;
mod world;
