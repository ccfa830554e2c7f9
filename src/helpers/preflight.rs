//! Looks whether everything is there that a start needs.

use super::oneshot::Request;
use super::result::{Helper, Report, now};

/// Looks.
#[must_use]
pub fn run(request: &Request) -> Report {
    request.failed(Helper::Preflight, now(), "not made by this version")
}

/// How a finding about files and keys begins, in the lines of a report.
pub const ABSENT: &str = "absent: ";
/// How a finding about the port begins.
pub const PORT: &str = "port: ";

/// The files and keys that are absent, by a report; none when all are there.
#[must_use]
pub fn missing(report: &Report) -> Option<String> {
    let found: Vec<&str> = report.lines.iter().filter_map(|line| line.strip_prefix(ABSENT)).collect();
    (!found.is_empty()).then(|| found.join("; "))
}
