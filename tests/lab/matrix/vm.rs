//! Rows that tests/vm shows: what a container has no say over.

use super::{Place, Row};

const fn row(
    name: &'static str,
    fault: &'static str,
    expect: &'static str,
    actions: &'static str,
    starts: usize,
) -> Row {
    Row { name, fault, expect, actions, starts, place: Place::Vm }
}

pub(super) const ROWS: &[Row] = &[
    row("oom_kill", "killed by the OOM killer at MemoryMax", "crashed", "reset-failed, start", 1),
    row("app_memory", "leaks over max_memory", "app-memory", "restart", 1),
    row("host_memory", "the host is short of memory, the app is well", "host-memory", "none", 0),
    row(
        "swap_reclaimed",
        "answers 500 while the host is short of memory, and swaps",
        "erroring",
        "stop, reclaim swap, reset-failed, start",
        1,
    ),
    row(
        "host_starved",
        "the app grew, and all work waits for memory",
        "host-memory",
        "stop, reclaim swap, reset-failed, start",
        1,
    ),
    row("clock_forward", "wall clock stepped forward by hours", "healthy", "none", 0),
    row("clock_back", "wall clock stepped back by hours", "healthy", "none", 0),
    row("reboot", "rebooted in the middle of an incident", "crashed", "none", 1),
    row("disk_full", "the state's file system is full", "disk-low", "none", 0),
];
