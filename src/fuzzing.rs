//! What reads the words of others, as functions that take any bytes: the targets of fuzz/.
//!
//! Each looks for more than a panic: what is said of the input is bounded and plain, what is written
//! reads back, and none of it takes long. Seeds, among them every input that once found something,
//! lie in fuzz/seeds/TARGET and are replayed by the unit tests. Never part of what is shipped.
#![allow(clippy::expect_used, clippy::panic, reason = "a test, if not by name")]

pub(crate) mod kit;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// One way in.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: a file in fuzz/fuzz_targets, a folder in fuzz/seeds.
    pub name: &'static str,
    /// Reads the input, and panics where something is amiss.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// All of them.
pub const TARGETS: [Target; 18] = [
    target("alerts", crate::alerts::fuzzing::alerts),
    target("config", crate::config::fuzzing::config),
    target("database", crate::checks::database_answers),
    target("dbus", crate::systemd::fuzzing::dbus),
    target("env_file", crate::config::fuzzing::env_file),
    target("http", crate::checks::http_answers),
    target("incident", crate::cli::fuzzing::incident),
    target("json_path", crate::checks::json_path),
    target("netlink", crate::checks::fuzzing::netlink),
    target("nginx", crate::server::nginx_fuzzed),
    target("proc", crate::helpers::fuzzing::proc),
    target("result", crate::helpers::fuzzing::result),
    target("smtp", crate::alerts::fuzzing::smtp),
    target("state", crate::daemon::fuzzing::state),
    target("text", crate::helpers::fuzzing::text),
    target("unit_file", crate::config::fuzzing::unit_file),
    target("url", url),
    target("value", crate::config::fuzzing::value),
];

/// URLs as people write them, and as servers lead on to them.
fn url(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        crate::config::fuzzing::url(text);
        crate::checks::location(text);
    }
}

/// No input takes longer than that on its thread: with what a debug build costs on top.
const LONGEST: Duration = Duration::from_secs(5);

/// Runs a target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("no target is called {name}"));
    let before = spent();
    (target.run)(bytes);
    let took = spent().saturating_sub(before);
    assert!(took < LONGEST, "{name}: {took:?} for {} bytes", bytes.len());
}

/// CPU time of this thread: whatever else keeps the host busy is no matter.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests;
