//! Clears caches.

use super::oneshot::Request;
use super::result::{Helper, Report, now};

/// Clears them.
#[must_use]
pub fn run(request: &Request) -> Report {
    request.failed(Helper::ClearCaches, now(), "not made by this version")
}
