//! Whether the database accepts connections, asked in its own protocol without logging in.

use super::Probe;
use super::pool::Allowance;
use crate::judge::Observation;

pub(super) fn check(_probe: &Probe, _allowance: Allowance) -> Observation {
    Observation::unknown("not checked by this version")
}
