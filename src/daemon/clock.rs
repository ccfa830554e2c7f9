//! The one place that reads clocks.

use std::sync::atomic::{AtomicI64, Ordering};

use rustix::time::{ClockId, clock_gettime};

use crate::judge::{Clocks, Moment};

fn micros(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000)
}

/// CLOCK_MONOTONIC: the clock of every interval, and of systemd's timestamps.
#[must_use]
pub fn now() -> Moment {
    Moment::from_micros(micros(ClockId::Monotonic))
}

/// How long this host was suspended since boot, in microseconds: CLOCK_BOOTTIME counts that,
/// CLOCK_MONOTONIC does not (clock_gettime(2)).
#[must_use]
pub fn suspended() -> i64 {
    micros(ClockId::Boottime) - micros(ClockId::Monotonic)
}

/// CLOCK_REALTIME, in seconds since the epoch: for people, never for intervals.
#[must_use]
pub fn wall() -> i64 {
    micros(ClockId::Realtime) / 1_000_000
}

/// The same in milliseconds.
#[must_use]
pub fn wall_ms() -> i64 {
    micros(ClockId::Realtime) / 1_000
}

/// A moment as CLOCK_REALTIME, in microseconds since the epoch. The same moment gives the same number,
/// until somebody sets the clock.
#[must_use]
pub fn real_micros(at: Moment) -> u64 {
    static OFFSET: AtomicI64 = AtomicI64::new(0);
    /// What the two clocks drift apart by slewing is nobody's setting of the clock.
    const DRIFT: i64 = 1_000_000;
    let offset = micros(ClockId::Realtime) - micros(ClockId::Monotonic);
    let known = OFFSET.load(Ordering::Relaxed);
    let used = if (offset - known).abs() > DRIFT {
        OFFSET.store(offset, Ordering::Relaxed);
        offset
    } else {
        known
    };
    u64::try_from(at.as_micros().saturating_add(used)).unwrap_or(0)
}

/// All that is needed to read a moment in another boot.
#[must_use]
pub fn clocks() -> Clocks {
    Clocks { boot: boot(), monotonic: now(), wall: wall() }
}

/// Which boot this is: random(4)'s boot id, and when PID 1 began. A container has the boot id of
/// its host, and keeps it over its own reboots; daemon-reexec keeps both.
fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let began = procfs::process::Process::new(1).and_then(|init| init.stat());
    let began = began.map_or_else(|_| String::new(), |stat| format!("/{}", stat.starttime));
    format!("{}{began}", id.trim())
}
