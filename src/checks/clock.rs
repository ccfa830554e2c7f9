//! The one place of this room that reads a clock: checks measure how long an answer took, and
//! whether their deadline is over.

use rustix::time::{ClockId, clock_gettime};

use crate::judge::Moment;

/// `CLOCK_MONOTONIC`: it stands still while the machine is suspended, so that a suspend does not
/// turn into a timeout.
pub(crate) fn now() -> Moment {
    let time = clock_gettime(ClockId::Monotonic);
    Moment::from_micros(time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000))
}
