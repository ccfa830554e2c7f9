//! For tests: a unit that runs, one that is down, and a health check.

use std::time::Duration;

use super::target::HttpTarget;
use super::time::Moment;
use super::unit::{ActiveState, InvocationId, LoadState, UnitReading};

/// Up as invocation `n`, since `n` × 10 µs.
pub fn up(n: u8) -> UnitReading {
    let began = Moment::from_micros(i64::from(n) * 10);
    UnitReading {
        load: LoadState::Loaded,
        active: ActiveState::Active,
        sub: "running".into(),
        job: None,
        invocation: Some(InvocationId([n; 16])),
        enabled: true,
        frozen: false,
        traced: false,
        dumping: false,
        inactive_exit: Some(began),
        active_enter: Some(began),
        active_exit: None,
        inactive_enter: None,
        main_exit: None,
        main_pid: Some(100 + u32::from(n)),
        exit: None,
        result: "success".into(),
        condition_failed: false,
        restarts: 0,
        restart: "no".into(),
        restart_delay: Some(Duration::from_millis(100)),
        timeout_start: Some(Duration::from_secs(90)),
        timeout_stop: Some(Duration::from_secs(90)),
        kill_mode: "control-group".into(),
        socket_listening: false,
        dependencies: Vec::new(),
        working_directory: None,
        cache_directory: false,
        control_group: Some("/system.slice/web.service".into()),
    }
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
