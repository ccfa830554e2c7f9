//! Memory of the host: what is available, and how long all work waits for it (PSI).
//!
//! All is well: two small reads, and two for the app's own size. Who uses the most is looked for only
//! while memory is short.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Probe;
use super::identity::{Identity, SHOWN, unit_of};
use super::memory::{number_after, of_cgroup, resident, weigh};
use super::text::{bounded, clean, size, size_up};
use super::world::World;
use crate::judge::{Detail, Fault, HostMemory, Observation, Role};

/// Work that waits for memory for a larger part of the last minute makes the host short of it
/// (JUDGEMENT, `host-memory`), in percent.
const MOST_PRESSURE: u32 = 20;
/// Cgroups and processes that are weighed to find the biggest users.
const MOST_CGROUPS: usize = 2048;
const MOST_PROCESSES: usize = 4096;
/// How many of the biggest are named.
const NAMED: usize = 3;

/// Looks how the host is off.
pub(super) fn check(probe: &Probe) -> Observation {
    let (world, least) = (&probe.world, probe.target.min_available);
    let text = match world.read(&world.path("proc/meminfo"), 8192) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => return bounded(Observation::unknown(format!("cannot read /proc/meminfo: {error}"))),
    };
    let bytes = |name: &str| number_after(&text, name).map(|kib| kib.saturating_mul(1024));
    let Some(available) = bytes("MemAvailable") else {
        return Observation::unknown("/proc/meminfo has no MemAvailable");
    };
    let pressure = pressure(world);
    let (few, pressed) = (available < least, pressure.is_some_and(|share| share > MOST_PRESSURE));
    let mut seen = HostMemory { available, pressure, biggest: Vec::new(), own: own(probe) };
    let waits = match pressure {
        Some(share) if share > 0 => format!(", work waits for memory {share} % of the time"),
        _ => String::new(),
    };
    if !few && !pressed {
        let text = format!("{} available, at least {} wanted{waits}", size(available), size_up(least));
        return bounded(Observation::good(text).with(Detail::HostMemory(seen)));
    }
    seen.biggest = biggest(world);
    let swap = match (bytes("SwapTotal"), bytes("SwapFree")) {
        (Some(total), Some(free)) if total > 0 => {
            format!(", {} of {} swap used", size(total.saturating_sub(free)), size(total))
        }
        _ => String::new(),
    };
    let users: Vec<String> =
        seen.biggest.iter().map(|(name, used)| format!("{} {}", clean(name, SHOWN), size(*used))).collect();
    let users = if users.is_empty() { String::new() } else { format!("; biggest: {}", users.join(", ")) };
    let text =
        format!("{} available, at least {} wanted{waits}{swap}{users}", size(available), size_up(least));
    bounded(Observation::bad(Fault::ShortOfMemory, text).with(Detail::HostMemory(seen)))
}

/// PSI "full" of the last minute in percent, rounded up, so that what is over a limit stays over it.
/// None where the kernel does not tell (psi=0).
fn pressure(world: &World) -> Option<u32> {
    let text = world.read_brief(&world.path("proc/pressure/memory"), 512).ok()?;
    let text = String::from_utf8_lossy(&text);
    let full = text.lines().find_map(|line| line.strip_prefix("full "))?;
    let share = full.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg60="))?;
    // It has two decimals; anything else is not what we know.
    let (whole, fraction) = share.split_once('.')?;
    let whole: u32 = whole.parse().ok()?;
    let more = fraction.bytes().any(|digit| digit != b'0');
    Some(whole.saturating_add(u32::from(more)).min(100))
}

/// What the app's unit uses, unless the check of its memory tells.
fn own(probe: &Probe) -> Option<u64> {
    if probe.target.max_memory.is_some() || probe.target.role != Role::App {
        return None;
    }
    let (used, _) = weigh(&probe.world, probe.control_group.as_deref()?).ok()?;
    Some(used)
}

/// The biggest users: units by their cgroup where the kernel weighs those, else by their processes;
/// processes outside of units by themselves.
fn biggest(world: &World) -> Vec<(String, u64)> {
    let root = world.cgroup_root();
    let mut users = Users::default();
    if !by_cgroup(world, root, &mut users) {
        users = Users::default();
        by_process(world, world.all_pids(), &mut users);
    }
    users.named(world)
}

#[derive(Default)]
struct Users {
    units: HashMap<String, u64>,
    processes: Vec<(u32, u64)>,
}

impl Users {
    fn add(&mut self, unit: String, used: u64) {
        let all = self.units.entry(unit).or_default();
        *all = all.saturating_add(used);
    }

    fn named(self, world: &World) -> Vec<(String, u64)> {
        let mut processes = self.processes;
        processes.sort_by_key(|(pid, used)| (std::cmp::Reverse(*used), *pid));
        let name = |pid| Identity::of(world, pid).map(|known| format!("{} (pid {pid})", known.name));
        let named = processes.into_iter().filter_map(|(pid, used)| Some((name(pid)?, used))).take(NAMED);
        let mut all: Vec<(String, u64)> = named.chain(self.units).filter(|(_, used)| *used > 0).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all.truncate(NAMED);
        all
    }
}

/// Goes down the slices to the units. False where no cgroup is weighed.
fn by_cgroup(world: &World, root: &Path, users: &mut Users) -> bool {
    let mut slices: Vec<PathBuf> = vec![root.to_path_buf()];
    let (mut looked, mut weighed) = (0, false);
    while let Some(slice) = slices.pop() {
        let Ok(entries) = fs::read_dir(&slice) else { continue };
        for entry in entries.flatten() {
            if looked >= MOST_CGROUPS {
                return weighed;
            }
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            looked += 1;
            let path = entry.path();
            if path.extension().is_some_and(|end| end == "slice") {
                slices.push(path);
                continue;
            }
            let Some(used) = of_cgroup(world, &path) else { continue };
            weighed = true;
            let below = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            // Of somebody else than systemd: a container, say.
            users.add(unit_of(&below).unwrap_or_else(|| format!("/{below}")), used);
        }
    }
    if weighed {
        let outside = world.pids_of_top();
        users.processes = outside.into_iter().filter_map(|pid| Some((pid, resident(world, pid)?))).collect();
    }
    weighed
}

fn by_process(world: &World, pids: Vec<u32>, users: &mut Users) {
    for pid in pids.into_iter().take(MOST_PROCESSES) {
        // Parts of the kernel have nothing resident.
        let Some(used) = resident(world, pid).filter(|used| *used > 0) else { continue };
        match world.cgroup_of(pid).as_deref().and_then(unit_of) {
            Some(unit) => users.add(unit, used),
            None => users.processes.push((pid, used)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::world::tests::Fake;
    use super::*;
    use crate::judge::{Finding, Target};

    const MIB: u64 = 1 << 20;

    fn host(available: u64, full: &str) -> Fake {
        let fake = Fake::new();
        fake.file(
            "proc/meminfo",
            format!(
                "MemTotal:        2000000 kB\nMemFree:          9 kB\nMemAvailable:   {} kB\n\
                 SwapCached:            9 kB\nSwapTotal:       1048576 kB\nSwapFree:        524288 kB\n",
                available / 1024
            ),
        );
        fake.file(
            "proc/pressure/memory",
            format!(
                "some avg10=90.00 avg60=90.00 avg300=0.00 total=9\n\
                 full avg10=99.00 avg60={full} avg300=0.00 total=9\n"
            ),
        );
        fake
    }

    fn look(fake: Fake) -> (Finding, String, HostMemory) {
        let target = Target { min_available: 100 * MIB, ..Target::of_unit("web.service".parse().unwrap()) };
        let probe = Probe { target: Arc::new(target), world: Arc::new(fake.world), ..Probe::of_nothing() };
        let seen = check(&probe);
        let detail = match seen.detail.map(|detail| *detail) {
            Some(Detail::HostMemory(detail)) => detail,
            other => panic!("{other:?}"),
        };
        (seen.finding, seen.text, detail)
    }

    fn weighed(fake: &Fake, cgroup: &str, mib: u64) {
        fake.file(&format!("sys/fs/cgroup/{cgroup}/memory.current"), format!("{}\n", (mib + 7) * MIB));
        fake.file(&format!("sys/fs/cgroup/{cgroup}/memory.stat"), format!("inactive_file {}\n", 7 * MIB));
    }

    #[test]
    fn enough_is_good_and_names_nobody() {
        let fake = host(412 * MIB, "0.00");
        weighed(&fake, "system.slice/web.service", 312);
        let (finding, text, detail) = look(fake);
        assert_eq!((finding, text.as_str()), (Finding::Good, "412 MiB available, at least 100 MiB wanted"));
        let known = HostMemory { available: 412 * MIB, pressure: Some(0), ..HostMemory::default() };
        assert_eq!(detail, known);
        assert_eq!(look(host(100 * MIB, "20.00")).0, Finding::Good);
    }

    #[test]
    fn short_names_the_three_biggest_units() {
        let fake = host(48 * MIB, "3.01");
        weighed(&fake, "system.slice/web.service", 312);
        weighed(&fake, "system.slice/system-web.slice/web@1.service", 200);
        weighed(&fake, "user.slice/user-0.slice/session-3.scope", 100);
        weighed(&fake, "system.slice/cron.service", 2);
        // What a unit keeps below itself is weighed with it.
        weighed(&fake, "system.slice/web.service/worker.slice", 300);
        let (finding, text, detail) = look(fake);
        assert_eq!(finding, Finding::Bad(Fault::ShortOfMemory));
        assert_eq!(
            text,
            "48 MiB available, at least 100 MiB wanted, work waits for memory 4 % of the time, \
             512 MiB of 1 GiB swap used; biggest: web.service 312 MiB, web@1.service 200 MiB, session-3.scope 100 MiB"
        );
        assert_eq!((detail.pressure, detail.biggest.len()), (Some(4), 3));
    }

    #[test]
    fn an_app_with_a_long_name_is_found_among_them() {
        let fake = host(48 * MIB, "0.00");
        let unit = format!("{}.service", "a".repeat(100));
        weighed(&fake, &format!("system.slice/{unit}"), 312);
        let (_, text, detail) = look(fake);
        assert_eq!(detail.biggest, [(unit, 312 * MIB)]);
        assert!(text.ends_with(&format!("{}… 312 MiB", "a".repeat(SHOWN - 1))), "{text}");
    }

    #[test]
    fn pressure_alone_is_bad_and_its_absence_is_not() {
        let (finding, text, detail) = look(host(900 * MIB, "20.01"));
        assert_eq!(finding, Finding::Bad(Fault::ShortOfMemory), "{text}");
        assert_eq!((detail.pressure, detail.biggest), (Some(21), Vec::new()));
        for odd in ["", "x", "1", "-1.00", "99999999999.00"] {
            let fake = host(900 * MIB, odd);
            assert_eq!(look(fake).2.pressure, None, "{odd}");
        }
        let fake = host(900 * MIB, "0.00");
        fs::remove_file(fake.dir.path().join("proc/pressure/memory")).unwrap();
        let (finding, _, detail) = look(fake);
        assert_eq!((finding, detail.pressure), (Finding::Good, None));
    }

    #[test]
    fn the_app_is_weighed_while_all_is_well() {
        let own = |max_memory, role| {
            let fake = host(412 * MIB, "0.00");
            weighed(&fake, "system.slice/web.service", 312);
            let target = Target { max_memory, role, ..Target::of_unit("web.service".parse().unwrap()) };
            let probe = Probe {
                target: Arc::new(target),
                control_group: Some("/system.slice/web.service".to_owned()),
                world: Arc::new(fake.world),
                ..Probe::of_nothing()
            };
            match check(&probe).detail.map(|detail| *detail) {
                Some(Detail::HostMemory(detail)) => detail.own,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(own(None, Role::App), Some(312 * MIB));
        assert_eq!(own(Some(MIB), Role::App), None, "the check of its memory tells");
        assert_eq!(own(None, Role::Proxy { of: "web".parse().unwrap() }), None, "it is never accused");
    }

    #[test]
    fn without_the_controller_processes_are_weighed() {
        let fake = host(48 * MIB, "0.00");
        let pages = MIB / rustix::param::page_size() as u64;
        for (pid, cgroup, mib) in [
            (3, "/system.slice/web.service", 20),
            (4, "/system.slice/web.service", 30),
            (5, "/", 40),
            (6, "/system.slice/cron.service", 1),
            (7, "/", 0),
        ] {
            fake.process(pid, 'S', "node", "/usr/bin/node\0", cgroup, &[]);
            fake.file(&format!("proc/{pid}/statm"), format!("9 {} 0 0 0 0 0\n", mib * pages));
        }
        let wanted = [("web.service", 50), ("node (pid 5)", 40), ("cron.service", 1)];
        assert_eq!(look(fake).2.biggest, wanted.map(|(name, mib)| (name.to_owned(), mib * MIB)));
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        let fake = Fake::new();
        let probe = Probe { world: Arc::new(fake.world), ..Probe::of_nothing() };
        assert_eq!(check(&probe).finding, Finding::Unknown);
        let fake = Fake::new();
        fake.file("proc/meminfo", "MemFree: 9 kB\n");
        let probe = Probe { world: Arc::new(fake.world), ..Probe::of_nothing() };
        assert_eq!(check(&probe).finding, Finding::Unknown);
    }

    #[test]
    fn this_host_can_be_read() {
        let probe = Probe { world: Arc::new(World::system()), ..Probe::of_nothing() };
        assert_ne!(check(&probe).finding, Finding::Unknown);
        assert!(!biggest(&probe.world).is_empty());
    }
}
