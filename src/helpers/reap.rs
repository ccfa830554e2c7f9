//! Ends stragglers.

use super::oneshot::Request;
use super::result::{Helper, Report, now};

/// Ends them.
#[must_use]
pub fn run(request: &Request) -> Report {
    request.failed(Helper::Reap, now(), "not made by this version")
}
