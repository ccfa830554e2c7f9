//! For tests: a unit that runs, one that is down, and a health check.

use std::time::Duration;

use super::target::HttpTarget;
use super::time::Moment;
use super::unit::{ActiveState, InvocationId, UnitReading};

/// Up as invocation `n`, since `n` × 10 µs.
pub fn up(n: u8) -> UnitReading {
    let began = Moment::from_micros(i64::from(n) * 10);
    UnitReading::running(InvocationId([n; 16]), 100 + u32::from(n), began)
}

/// The same, down.
pub fn down(n: u8) -> UnitReading {
    UnitReading {
        active: ActiveState::Inactive,
        sub: "dead".into(),
        main_pid: None,
        control_group: None,
        ..up(n)
    }
}

/// A health check as it is by default, within 10 s.
pub fn http(url: &str) -> HttpTarget {
    HttpTarget::get(url, Duration::from_secs(10))
}
