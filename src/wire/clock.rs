//! The clock of whoever waits for somebody else: how long an answer took, and whether its time is over.

use rustix::time::{ClockId, clock_gettime};

use crate::judge::Moment;

/// `CLOCK_MONOTONIC`: it stands still while the machine is suspended, so that a suspend does not
/// turn into a timeout.
pub(crate) fn now() -> Moment {
    let time = clock_gettime(ClockId::Monotonic);
    Moment::from_micros(time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000))
}
