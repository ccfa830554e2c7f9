//! Is somebody at work on a process? Two lines of /proc/PID/status.

use std::path::Path;

/// `TracerPid` and `CoreDumping` of a process (proc_pid_status(5)).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attended {
    /// A debugger holds it.
    pub traced: bool,
    /// It is writing a core dump.
    pub dumping: bool,
}

/// Looks at a process; a process that is gone is not attended.
#[must_use]
pub fn attended(proc: &Path, pid: u32) -> Attended {
    let process = procfs::process::Process::new_with_root(proc.join(pid.to_string()));
    process.and_then(|process| process.status()).map_or_else(
        |_| Attended::default(),
        |status| Attended { traced: status.tracerpid != 0, dumping: status.core_dumping == Some(true) },
    )
}
