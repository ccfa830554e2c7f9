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
    let text = std::fs::read_to_string(proc.join(pid.to_string()).join("status")).unwrap_or_default();
    let value =
        |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim).unwrap_or_default();
    Attended {
        traced: value("TracerPid:").parse::<u32>().is_ok_and(|tracer| tracer != 0),
        dumping: value("CoreDumping:") == "1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_lines_are_found() {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir(proc.path().join("7")).unwrap();
        std::fs::write(proc.path().join("7/status"), "Name:\tnode\nTracerPid:\t12\nCoreDumping:\t0\n")
            .unwrap();
        assert_eq!(attended(proc.path(), 7), Attended { traced: true, dumping: false });
        assert_eq!(attended(proc.path(), 8), Attended::default());
    }
}
