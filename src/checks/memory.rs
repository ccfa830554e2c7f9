//! Memory of the unit: its whole cgroup without what the kernel can have back at any moment, else
//! the resident memory of its processes.
//!
//! Resident memory counts what several processes share once in each of them; telling better takes
//! a privilege that the monitor does not have (smaps). It is the fallback of hosts without the
//! memory controller only, and says so.

use std::io;
use std::path::Path;

use super::Probe;
use super::text::{bounded, plural, size, size_up};
use super::world::World;
use crate::judge::{Detail, Fault, Observation};

/// Weighs the unit.
pub(super) fn check(probe: &Probe) -> Observation {
    let Some(most) = probe.target.max_memory else {
        return Observation::unknown("no limit of memory is configured");
    };
    let Some(control_group) = &probe.control_group else {
        return Observation::unknown("the unit has no cgroup whose memory could be told");
    };
    let (used, how) = match weigh(&probe.world, control_group) {
        Ok(weighed) => weighed,
        Err(error) => {
            let text = format!("cannot tell the memory of cgroup {control_group}: {error}");
            return bounded(Observation::unknown(text));
        }
    };
    let limit = size(most);
    let seen = if used > most {
        Observation::bad(Fault::OverMemory, format!("uses {} of at most {limit} ({how})", size_up(used)))
    } else {
        Observation::good(format!("uses {} of at most {limit} ({how})", size(used)))
    };
    bounded(seen.with(Detail::Memory(used)))
}

/// Memory of a cgroup with all below it, and by which means it was found.
pub(super) fn weigh(world: &World, control_group: &str) -> io::Result<(u64, String)> {
    let dir = world.cgroup(control_group).ok_or(io::ErrorKind::InvalidInput)?;
    if let Some(used) = of_cgroup(world, &dir) {
        return Ok((used, "cgroup".to_owned()));
    }
    let pids = world.roll(control_group)?.pids;
    let mut counted = 0;
    let mut used = 0_u64;
    for resident in pids.iter().filter_map(|pid| resident(world, *pid)) {
        counted += 1;
        used = used.saturating_add(resident);
    }
    if counted == 0 && !pids.is_empty() {
        return Err(io::Error::other("none of its processes can be seen"));
    }
    let shared = if counted > 1 { ", what they share counted in each" } else { "" };
    Ok((used, format!("resident in {}{shared}", plural(counted, "process", "processes"))))
}

/// `memory.current` without page cache and slab that can be had back (cgroup-v2.rst, "Memory
/// Interface Files"). None without the controller. Pages of tmpfs and shared memory are no cache: they
/// are on the anonymous lists.
pub(super) fn of_cgroup(world: &World, dir: &Path) -> Option<u64> {
    let read =
        |name: &str| Some(String::from_utf8_lossy(&world.read(&dir.join(name), 8192).ok()?).into_owned());
    let current: u64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let spare = ["inactive_file", "active_file", "slab_reclaimable"]
        .iter()
        .filter_map(|name| number_after(&stat, name))
        .fold(0, u64::saturating_add);
    // The two files are not read at one moment.
    Some(current.saturating_sub(spare))
}

/// The number in the line `NAME NUMBER`, or `NAME: NUMBER`.
pub(super) fn number_after(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = rest.strip_prefix(':').or_else(|| rest.strip_prefix(' '))?;
        rest.split_ascii_whitespace().next()?.parse().ok()
    })
}

/// Resident memory of a process: the second field of `statm` (proc_pid_statm(5)), in pages.
pub(super) fn resident(world: &World, pid: u32) -> Option<u64> {
    let statm = world.read(&world.path(&format!("proc/{pid}/statm")), 256).ok()?;
    let pages: u64 = String::from_utf8_lossy(&statm).split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(rustix::param::page_size() as u64))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::world::tests::Fake;
    use super::*;
    use crate::judge::{Finding, Target};

    const UNIT: &str = "/system.slice/web.service";
    const MIB: u64 = 1 << 20;

    fn look(fake: Fake, most: u64) -> Observation {
        let target = Target { max_memory: Some(most), ..Target::of_unit("web.service".parse().unwrap()) };
        let probe = Probe {
            target: Arc::new(target),
            control_group: Some(UNIT.to_owned()),
            world: Arc::new(fake.world),
            ..Probe::of_nothing()
        };
        check(&probe)
    }

    fn cgroup(current: u64, cache: u64) -> Fake {
        let fake = Fake::new();
        fake.procs(UNIT, &[3]);
        fake.file(&format!("sys/fs/cgroup{UNIT}/memory.current"), format!("{current}\n"));
        let third = cache / 3;
        fake.file(
            &format!("sys/fs/cgroup{UNIT}/memory.stat"),
            format!("anon 5\nfile 9\ninactive_file_x 9\ninactive_file {third}\nactive_file {third}\nslab_reclaimable {third}\nslab 7\n"),
        );
        fake
    }

    #[test]
    fn page_cache_does_not_count() {
        let seen = look(cgroup(900 * MIB, 600 * MIB), 300 * MIB);
        assert_eq!(
            (seen.finding, seen.text.as_str()),
            (Finding::Good, "uses 300 MiB of at most 300 MiB (cgroup)")
        );
        assert_eq!(seen.detail.as_deref(), Some(&Detail::Memory(300 * MIB)));
        let seen = look(cgroup(912 * MIB + 5, 600 * MIB), 300 * MIB);
        assert_eq!(seen.finding, Finding::Bad(Fault::OverMemory));
        assert_eq!(seen.text, "uses 313 MiB of at most 300 MiB (cgroup)");
        assert_eq!(seen.detail.as_deref(), Some(&Detail::Memory(312 * MIB + 5)));
        // More cache than memory: read a moment apart.
        assert_eq!(look(cgroup(5, 600 * MIB), MIB).detail.as_deref(), Some(&Detail::Memory(0)));
    }

    #[test]
    fn without_the_controller_the_processes_are_weighed() {
        let fake = Fake::new();
        fake.procs(UNIT, &[3]);
        fake.procs(&format!("{UNIT}/below"), &[4, 5]);
        let pages = MIB / rustix::param::page_size() as u64;
        for pid in [3, 4] {
            fake.file(&format!("proc/{pid}/statm"), format!("9999999 {} 7 7 0 7 0\n", pages * 100));
        }
        let seen = look(fake, 150 * MIB);
        assert_eq!(seen.finding, Finding::Bad(Fault::OverMemory));
        assert_eq!(
            seen.text,
            "uses 200 MiB of at most 150 MiB (resident in 2 processes, what they share counted in each)"
        );
    }

    #[test]
    fn what_cannot_be_told_is_unknown() {
        assert_eq!(look(Fake::new(), MIB).finding, Finding::Unknown);
        let fake = Fake::new();
        fake.procs(UNIT, &[3]);
        assert_eq!(look(fake, MIB).finding, Finding::Unknown);
        let fake = Fake::new();
        fake.procs(UNIT, &[]);
        assert_eq!(look(fake, MIB).finding, Finding::Good);
        assert_eq!(check(&Probe::of_nothing()).finding, Finding::Unknown);
    }

    #[test]
    fn this_process_weighs_something() {
        let resident = resident(&World::system(), std::process::id()).unwrap();
        assert!((MIB / 2..4096 * MIB).contains(&resident), "{resident}");
    }
}
