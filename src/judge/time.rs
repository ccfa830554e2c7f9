//! Moments and lengths of time. The judge never reads a clock; moments are handed to it.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on `CLOCK_MONOTONIC` of this boot, in microseconds: the clock of systemd's
/// `…TimestampMonotonic` properties (org.freedesktop.systemd1(5)), so both compare directly.
/// Negative values lie before this boot; they come from state that was restored after a reboot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(i64);

impl Moment {
    /// The moment that many microseconds after boot.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Reads one of systemd's monotonic timestamps, in which 0 means "never".
    #[must_use]
    pub fn from_systemd(micros: u64) -> Option<Self> {
        (micros != 0).then(|| Self(i64::try_from(micros).unwrap_or(i64::MAX)))
    }

    /// Microseconds since boot.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;
    fn sub(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// A length of time as people write it: `250 ms`, `12 s`, `1 min 30 s`, `2 h`, `3 d 4 h`.
/// At most the two largest units are shown.
#[derive(Clone, Copy)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis < 1_000 {
            return write!(f, "{millis} ms");
        }
        if millis < 10_000 && !millis.is_multiple_of(1_000) {
            return write!(f, "{}.{} s", millis / 1_000, millis % 1_000 / 100);
        }
        let seconds = self.0.as_secs();
        let parts = [
            (seconds / 86_400, "d"),
            (seconds % 86_400 / 3_600, "h"),
            (seconds % 3_600 / 60, "min"),
            (seconds % 60, "s"),
        ];
        let mut shown = 0;
        for (count, unit) in parts {
            if shown == 2 || (count == 0 && shown == 0) {
                continue;
            }
            if shown == 1 {
                // The second unit belongs directly behind the first, and only when there is some.
                shown = 2;
                if count > 0 {
                    write!(f, " {count} {unit}")?;
                }
                continue;
            }
            write!(f, "{count} {unit}")?;
            shown = 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        let shown = |millis| Span(Duration::from_millis(millis)).to_string();
        assert_eq!(shown(0), "0 ms");
        assert_eq!(shown(250), "250 ms");
        assert_eq!(shown(1_500), "1.5 s");
        assert_eq!(shown(12_345), "12 s");
        assert_eq!(shown(90_000), "1 min 30 s");
        assert_eq!(shown(7_200_000), "2 h");
        assert_eq!(shown(3_600_000 + 5_000), "1 h");
        assert_eq!(shown(3 * 86_400_000 + 4 * 3_600_000), "3 d 4 h");
    }

    #[test]
    fn a_moment_in_the_future_was_no_time_ago() {
        let now = Moment::from_micros(5);
        assert_eq!(now.since(now + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!((now + Duration::from_secs(1)).since(now), Duration::from_secs(1));
    }
}
