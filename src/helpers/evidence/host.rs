//! Memory of the unit by kind, its accept queue, and how the host is off.

use crate::checks::{World, listeners};

/// Kinds of memory that a person can do something about (cgroup v2's memory.stat).
const KINDS: [&str; 7] = ["anon", "file", "shmem", "kernel", "slab", "sock", "swapcached"];
/// The same of one process (proc_pid_smaps(5), smaps_rollup).
const OF_PROCESS: [&str; 5] = ["Rss", "Pss_Anon", "Pss_File", "Pss_Shmem", "Swap"];

fn mebibytes(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} K", bytes >> 10),
        whole => format!("{whole} M"),
    }
}

fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()?.trim_end_matches(':') == name).then(|| words.next()?.parse().ok())?
    })
}

/// Memory by kind: of the whole unit, or, where no controller counts it, of its first process.
pub fn memory(world: &World, control_group: Option<&str>) -> Vec<String> {
    let Some(group) = control_group else { return Vec::new() };
    let counted = world.cgroup(group).and_then(|folder| world.read(&folder.join("memory.stat"), 16_384).ok());
    if let Some(stat) = counted {
        let stat = String::from_utf8_lossy(&stat);
        let kinds = KINDS.iter().filter_map(|kind| Some((*kind, number(&stat, kind)?)));
        return vec![listed("unit", kinds.filter(|(_, bytes)| *bytes > 0))];
    }
    let Some(first) = world.pids(group).ok().and_then(|pids| pids.first().copied()) else {
        return Vec::new();
    };
    let Ok(rollup) = world.read(&world.path(&format!("proc/{first}/smaps_rollup")), 8192) else {
        return Vec::new();
    };
    let rollup = String::from_utf8_lossy(&rollup);
    let kinds =
        OF_PROCESS.iter().filter_map(|kind| Some((*kind, number(&rollup, kind)?.saturating_mul(1024))));
    vec![listed(&format!("pid {first}"), kinds)]
}

fn listed<'a>(of: &str, kinds: impl Iterator<Item = (&'a str, u64)>) -> String {
    let kinds: Vec<String> = kinds.map(|(kind, bytes)| format!("{kind} {}", mebibytes(bytes))).collect();
    format!("{of}: {}", kinds.join(", "))
}

/// How many connections wait to be accepted, at each address.
pub fn queue(port: u16) -> Vec<String> {
    match listeners(port) {
        Ok(rows) if rows.is_empty() => vec![format!("nobody listens on port {port}")],
        Ok(rows) => rows
            .iter()
            .take(8)
            .map(|row| match row.queued {
                0 => format!("port {port} on {}: no connection waits to be accepted", row.address),
                1 => format!("port {port} on {}: 1 connection waits to be accepted", row.address),
                more => format!("port {port} on {}: {more} connections wait to be accepted", row.address),
            })
            .collect(),
        Err(error) => vec![format!("port {port} cannot be looked at: {error}")],
    }
}

/// Load, free memory, and how long work waits (PSI).
pub fn pressure(world: &World) -> Vec<String> {
    let text = |path: &str| {
        let bytes = world.read(&world.path(path), 4096).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut lines = Vec::new();
    if let Some(load) = text("proc/loadavg") {
        let load: Vec<&str> = load.split_whitespace().take(3).collect();
        lines.push(format!("load {}", load.join(" ")));
    }
    if let Some(memory) = text("proc/meminfo") {
        let size = |name: &str| number(&memory, name).map(|kib| mebibytes(kib.saturating_mul(1024)));
        if let (Some(available), Some(total)) = (size("MemAvailable"), size("MemTotal")) {
            let swap = size("SwapFree").unwrap_or_default();
            lines.push(format!("memory: {available} of {total} available, {swap} of swap free"));
        }
    }
    for what in ["cpu", "io", "memory"] {
        let waits = text(&format!("proc/pressure/{what}")).unwrap_or_default();
        lines.extend(waits.lines().take(2).map(|line| format!("pressure {what}: {line}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(files: &[(&str, &str)]) -> (tempfile::TempDir, World) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let world = World::at(folder.path());
        (folder, world)
    }

    #[test]
    fn memory_is_that_of_the_unit_or_of_its_first_process() {
        let group = "sys/fs/cgroup/web.service";
        let procs = (format!("{group}/cgroup.procs"), "7\n");
        let stat = (format!("{group}/memory.stat"), "anon 104857600\nfile 2048\nkernel 0\n");
        let rollup = ("proc/7/smaps_rollup", "00-ff ---p [rollup]\nRss:   2048 kB\nSwap:  0 kB\n");
        let controllers = ("sys/fs/cgroup/cgroup.controllers", "");
        let (_kept, with) = world(&[controllers, (&procs.0, procs.1), (&stat.0, stat.1), rollup]);
        assert_eq!(memory(&with, Some("/web.service")), ["unit: anon 100 M, file 2 K"]);
        let (_kept, without) = world(&[controllers, (&procs.0, procs.1), rollup]);
        assert_eq!(memory(&without, Some("/web.service")), ["pid 7: Rss 2 M, Swap 0 K"]);
        assert!(memory(&without, None).is_empty());
    }

    #[test]
    fn the_host_is_told_in_a_few_lines() {
        let (_kept, world) = world(&[
            ("proc/loadavg", "0.50 0.40 0.30 1/200 4711\n"),
            ("proc/meminfo", "MemTotal: 2048000 kB\nMemAvailable: 1024000 kB\nSwapFree: 0 kB\n"),
            ("proc/pressure/memory", "some avg10=0.00\nfull avg10=0.00\n"),
        ]);
        assert_eq!(
            pressure(&world),
            [
                "load 0.50 0.40 0.30",
                "memory: 1000 M of 2000 M available, 0 K of swap free",
                "pressure memory: some avg10=0.00",
                "pressure memory: full avg10=0.00"
            ]
        );
    }
}
