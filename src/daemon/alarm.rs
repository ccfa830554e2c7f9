//! When the loop turns although nothing happened.
//!
//! A timerfd(2) on CLOCK_MONOTONIC rather than a timer of the runtime, whose wheel wakes the process
//! once more on the way to a timer that is not near: with a round each second that is a third of all
//! that the loop does.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::judge::Moment;

/// Rings at a moment.
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
    set: Option<Moment>,
}

impl Alarm {
    /// One that is not set yet.
    ///
    /// # Errors
    /// When there is no file descriptor left.
    #[allow(
        deprecated,
        reason = "what is unsound is a type whose descriptor may change; an OwnedFd keeps its own"
    )]
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)?;
        Ok(Self { timer, set: None })
    }

    /// Sets it. A moment that is over rings at once.
    ///
    /// # Errors
    /// Never on a timer that exists, as far as timerfd_settime(2) tells.
    pub fn set(&mut self, at: Moment) -> io::Result<()> {
        if self.set == Some(at) {
            return Ok(());
        }
        // Zero would disarm it.
        let at_least = Duration::from_micros(u64::try_from(at.as_micros()).unwrap_or(0).max(1));
        let value = Timespec::try_from(at_least).map_err(|_| Errno::INVAL)?;
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
        self.set = Some(at);
        Ok(())
    }

    /// Waits until it rings. May be dropped at any time.
    pub async fn rings(&mut self) {
        let Ok(mut ready) = self.timer.readable().await else { return };
        // A timer that was set anew meanwhile has nothing to read: then it has not rung.
        let _ = rustix::io::read(self.timer.get_ref(), &mut [0_u8; 8]);
        ready.clear_ready();
        self.set = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock;
    use super::*;

    #[test]
    fn it_rings_when_it_is_time_and_again_when_set_anew() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut alarm = Alarm::new().unwrap();
            for wait in [30, 0, 60] {
                let at = clock::now() + Duration::from_millis(wait);
                alarm.set(at).unwrap();
                alarm.rings().await;
                assert!(clock::now() >= at, "not before its time");
            }
            alarm.set(clock::now() + Duration::from_secs(3_600)).unwrap();
            assert!(tokio::time::timeout(Duration::from_millis(50), alarm.rings()).await.is_err());
            alarm.set(Moment::from_micros(-5)).unwrap();
            alarm.rings().await;
        });
    }
}
