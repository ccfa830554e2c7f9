//! Looks whether everything is there that a start needs.

use super::oneshot::Request;
use super::result::{Helper, Report, now};

/// Looks.
#[must_use]
pub fn run(request: &Request) -> Report {
    request.failed(Helper::Preflight, now(), "not made by this version")
}
