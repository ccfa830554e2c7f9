//! Shell lines in a machine, and what is asked through them. Nothing here knows what kind of machine
//! it is: tests/vm has these, too.

use std::time::Duration;

use super::{COMMAND, Machine, now, wait_for};

/// What a command in a machine said.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit status; 124 when its deadline passed, -1 when a signal ended it.
    pub status: i32,
    /// Standard output, without the last line break.
    pub stdout: String,
    /// Standard error, without the last line break.
    pub stderr: String,
}

impl Output {
    /// Whether it ended with status 0.
    pub fn ok(&self) -> bool {
        self.status == 0
    }

    /// Its standard output; panics when it did not end with status 0.
    #[track_caller]
    pub fn expect_ok(self) -> String {
        assert!(
            self.ok(),
            "the command ended with status {}:\n{}\n{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self.stdout
    }
}

impl Machine {
    /// Runs a shell line in the machine as root, 30 s at most.
    #[track_caller]
    pub fn run(&self, line: &str) -> Output {
        self.run_for(COMMAND, line)
    }

    /// Runs a shell line in the machine as root, for `timeout` at most.
    #[track_caller]
    pub fn run_for(&self, timeout: Duration, line: &str) -> Output {
        self.feed(timeout, line, "")
    }

    /// Runs a shell line in the machine and panics when it fails.
    #[track_caller]
    pub fn must(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(
            output.ok(),
            "`{line}` ended with status {}:\n{}\n{}",
            output.status,
            output.stdout,
            output.stderr
        );
        output.stdout
    }

    /// Writes a file in the machine, with the folders above it.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        let line = format!("mkdir -p \"$(dirname '{path}')\" && cat > '{path}'");
        self.feed(COMMAND, &line, text).expect_ok();
    }

    /// Adds a drop-in to a unit (later ones replace it) and has systemd read it.
    #[track_caller]
    pub fn drop_in(&self, unit: &str, text: &str) {
        self.write(&format!("/etc/systemd/system/{unit}.d/50-lab.conf"), text);
        self.must("systemctl daemon-reload");
    }

    /// A file of the machine; None when it cannot be read.
    pub fn read(&self, path: &str) -> Option<String> {
        let output = self.run(&format!("cat '{path}'"));
        output.ok().then_some(output.stdout)
    }

    /// One property of a unit (or of the manager when `unit` is empty), as `systemctl show` has it.
    #[track_caller]
    pub fn unit_property(&self, unit: &str, property: &str) -> String {
        self.must(&format!("systemctl show --property={property} --value -- {unit}"))
    }

    /// Main process of a unit; 0 when it has none.
    #[track_caller]
    pub fn main_pid(&self, unit: &str) -> u32 {
        self.unit_property(unit, "MainPID").parse().unwrap_or(0)
    }

    /// Waits until a property of a unit has a value.
    #[track_caller]
    pub fn wait_property(&self, deadline: Duration, unit: &str, property: &str, value: &str) {
        let mut last = String::new();
        let end = now() + deadline;
        while now() < end {
            last = self.unit_property(unit, property);
            if last == value {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("{unit}: {property} is {last:?}, not {value:?}, after {deadline:?}");
    }

    /// As [`wait_for`], with this machine in mind.
    #[track_caller]
    pub fn wait_for<T>(&self, deadline: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
        wait_for(deadline, what, probe)
    }
}
