//! sd_notify(3): what the daemon tells systemd about itself. Without `NOTIFY_SOCKET` all of it
//! does nothing, so the daemon also runs in the foreground.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// systemd shows a status line of any length; nobody reads more than this.
const STATUS_LIMIT: usize = 500;

/// The service manager, as the daemon talks to it.
#[derive(Debug, Default)]
pub struct Notifier {
    status: String,
}

impl Notifier {
    /// One that has said nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `READY=1`: start-up, or a reload, is over.
    ///
    /// # Errors
    /// When the socket cannot be written to.
    pub fn ready(&self) -> io::Result<()> {
        sd_notify::notify(&[NotifyState::Ready])
    }

    /// `RELOADING=1`, with the moment, which systemd 253 and later insist on.
    ///
    /// # Errors
    /// As [`Notifier::ready`].
    pub fn reloading(&self) -> io::Result<()> {
        sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
    }

    /// `STOPPING=1`.
    ///
    /// # Errors
    /// As [`Notifier::ready`].
    pub fn stopping(&self) -> io::Result<()> {
        sd_notify::notify(&[NotifyState::Stopping])
    }

    /// `WATCHDOG=1`. Only for the loop that does the work.
    ///
    /// # Errors
    /// As [`Notifier::ready`].
    pub fn watchdog(&self) -> io::Result<()> {
        sd_notify::notify(&[NotifyState::Watchdog])
    }

    /// `STATUS=`, sent only when it changed; true if it was. On one line, 500 characters at most.
    ///
    /// # Errors
    /// As [`Notifier::ready`]; it is sent again next time then.
    pub fn status(&mut self, status: &str) -> io::Result<bool> {
        let line: String =
            status.chars().take(STATUS_LIMIT).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if line == self.status {
            return Ok(false);
        }
        sd_notify::notify(&[NotifyState::Status(&line)])?;
        self.status = line;
        Ok(true)
    }
}

/// How often systemd wants to hear `WATCHDOG=1` at the latest (`WATCHDOG_USEC`); send it twice as
/// often (sd_watchdog_enabled(3)). None when it does not want to.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_sent_once() {
        let mut notifier = Notifier::new();
        assert!(notifier.status("1 app healthy").unwrap());
        assert!(!notifier.status("1 app healthy").unwrap());
        assert!(notifier.status("two\nlines").unwrap());
        assert!(!notifier.status("two lines").unwrap());
    }
}
