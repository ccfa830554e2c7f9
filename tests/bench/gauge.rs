//! What a service of a machine costs: figures of its main process out of /proc, of all its
//! processes out of its control group.

use crate::machine::Machine;

/// The figures of one moment. Sizes in kB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// CPU time of the whole unit since its start, microseconds (`cpu.stat` of its group: threads
    /// that have ended are in it).
    pub cpu: u64,
    /// Resident memory (`smaps_rollup`, which counts exactly; VmRSS of `status` is a rough sum).
    pub rss: u64,
    /// The part of it that no file backs.
    pub anonymous: u64,
    /// The most that was ever resident (VmHWM), since the start or [`forget_peak`].
    pub peak: u64,
    /// Threads.
    pub threads: u64,
    /// Bytes that it caused to be sent to a disk (`io`).
    pub written: u64,
    /// Times that its main thread gave the processor away: how often it woke.
    pub wakes: u64,
}

/// Main process and control group of a unit.
pub struct Gauge {
    pid: u32,
    group: String,
}

impl Gauge {
    /// Of a unit that runs.
    #[track_caller]
    pub fn of(machine: &Machine, unit: &str) -> Self {
        let gauge = Self { pid: machine.main_pid(unit), group: machine.unit_property(unit, "ControlGroup") };
        assert!(gauge.pid != 0, "{unit} does not run");
        gauge
    }

    /// Its main process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Reads all figures. Costs the unit nothing: what reads them lies outside its group.
    #[track_caller]
    pub fn read(&self, machine: &Machine) -> Sample {
        let Self { pid, group } = self;
        let text = machine.must(&format!(
            "cat /proc/{pid}/smaps_rollup /proc/{pid}/status /proc/{pid}/io /sys/fs/cgroup{group}/cpu.stat"
        ));
        let find = |name: &str| -> u64 {
            let mut lines = text.lines().map(str::split_whitespace);
            let value = lines.find_map(|mut words| {
                let key = words.next()?.trim_end_matches(':');
                if key == name { words.next() } else { None }
            });
            value
                .and_then(|value| value.parse().ok())
                .unwrap_or_else(|| panic!("no {name} of process {pid}, group {group}:\n{text}"))
        };
        Sample {
            cpu: find("usage_usec"),
            rss: find("Rss"),
            anonymous: find("Anonymous"),
            peak: find("VmHWM"),
            threads: find("Threads"),
            written: find("write_bytes"),
            wakes: find("voluntary_ctxt_switches"),
        }
    }

    /// Has the kernel begin its peak of resident memory anew (proc_pid_clear_refs(5)).
    #[track_caller]
    pub fn forget_peak(&self, machine: &Machine) {
        machine.must(&format!("echo 5 > /proc/{}/clear_refs", self.pid));
    }
}

/// CPU time of a control group that has no main process to look at, microseconds.
#[track_caller]
pub fn cpu_of(machine: &Machine, group: &str) -> u64 {
    let text = machine.must(&format!("cat /sys/fs/cgroup/{group}/cpu.stat"));
    let value = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no usage_usec of {group}:\n{text}"))
}

/// The middle one, and others by their share (0.0 to 1.0); 0 of nothing.
pub fn at_share(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}
