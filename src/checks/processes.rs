//! How many processes the unit has in its cgroup.
//!
//! Processes outside it never count as the unit's, whatever their parent or name.

use std::io;

use super::text::{bounded, clean};
use super::world::World;
use super::{Probe, identity};
use crate::judge::{Fault, Observation};

/// Counts them, without zombies, and only those of the configured name where there is one: the base name
/// of argv\[0\], or comm, since Node and Next.js rewrite one or the other.
pub(super) fn check(probe: &Probe) -> Observation {
    let target = &probe.target;
    let Some(control_group) = &probe.control_group else {
        return Observation::unknown("the unit has no cgroup to count processes in");
    };
    let world = &probe.world;
    let pids = match world.roll(control_group) {
        Ok(roll) => roll.pids,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return bounded(Observation::unknown(format!(
                "the unit\u{2019}s cgroup {control_group} does not exist"
            )));
        }
        Err(error) => {
            return bounded(Observation::unknown(format!("cannot read cgroup {control_group}: {error}")));
        }
    };
    let (count, text) = match &target.process {
        None => {
            let living = pids.iter().filter(|pid| is_alive(world, **pid)).count();
            (living, plural(living, ""))
        }
        Some(name) => {
            let (mut living, mut count) = (0, 0);
            for pid in pids {
                // Whoever has gone, or is a zombie, has no command line any more: one look for most.
                if identity::by_command_line(world, pid).as_deref() == Some(name) {
                    (living, count) = (living + 1, count + 1);
                } else if is_alive(world, pid) {
                    living += 1;
                    count += usize::from(identity::by_comm(world, pid).as_deref() == Some(name));
                }
            }
            let quoted = format!(" named \"{}\"", clean(name, 60));
            let among = if count < living { format!(" among {living}") } else { String::new() };
            (count, plural(count, &quoted) + &among)
        }
    };
    let least = target.min_processes;
    if count >= least as usize {
        return bounded(Observation::good(text));
    }
    let wanted = if least > 1 { format!(" ({least} wanted)") } else { String::new() };
    bounded(Observation::bad(Fault::TooFewProcesses, text + &wanted))
}

fn plural(count: usize, what: &str) -> String {
    match count {
        0 => format!("no process{what}"),
        1 => format!("1 process{what}"),
        _ => format!("{count} processes{what}"),
    }
}

/// Neither gone nor a zombie. `stat` takes no lock that a process stuck in the kernel could hold.
fn is_alive(world: &World, pid: u32) -> bool {
    match world.read_brief(&world.path(&format!("proc/{pid}/stat")), 512) {
        Ok(stat) => !matches!(state(&stat), Some(b'Z' | b'X' | b'x')),
        // hidepid= or another namespace: it is in cgroup.procs, so it is there.
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// The state letter of a `stat` line: it follows the last bracket, since comm may contain any
/// (proc_pid_stat(5)).
fn state(stat: &[u8]) -> Option<u8> {
    let end = stat.iter().rposition(|b| *b == b')')?;
    stat.get(end + 2).copied()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::world::tests::Fake;
    use super::*;
    use crate::judge::{Address, Finding, Target};

    const UNIT: &str = "/system.slice/web.service";

    fn look(fake: Fake, least: u32, process: Option<&str>) -> Observation {
        let target = Target {
            port: None,
            address: Address::Localhost,
            http: None,
            min_processes: least,
            process: process.map(str::to_owned),
            ..Target::of_unit("web.service".parse().unwrap())
        };
        let probe = Probe {
            target: Arc::new(target),
            control_group: Some(UNIT.to_owned()),
            world: Arc::new(fake.world),
            ..Probe::of_nothing()
        };
        let seen = check(&probe);
        drop(fake.dir);
        seen
    }

    fn three() -> Fake {
        let fake = Fake::new();
        fake.procs(UNIT, &[3, 4]);
        fake.procs(&format!("{UNIT}/below"), &[5, 6, 7]);
        fake.process(3, 'S', "MainThread", "/usr/bin/node\0app.js\0", UNIT, &[]);
        fake.process(4, 'R', "next-server (v1", "next-server (v14.1)\0", UNIT, &[]);
        fake.process(5, 'Z', "node", "", UNIT, &[]);
        fake.process(6, 'D', "a) Z (b", "\0", UNIT, &[]);
        fake
    }

    #[test]
    fn zombies_and_the_gone_do_not_count() {
        let seen = look(three(), 1, None);
        assert_eq!((seen.finding, seen.text.as_str()), (Finding::Good, "3 processes"));
        let seen = look(three(), 4, None);
        assert_eq!(seen.finding, Finding::Bad(Fault::TooFewProcesses));
        assert_eq!(seen.text, "3 processes (4 wanted)");
    }

    #[test]
    fn names_are_argv0_or_comm() {
        for (name, text) in [
            ("node", "1 process named \"node\" among 3"),
            ("MainThread", "1 process named \"MainThread\" among 3"),
            ("next-server (v14.1)", "1 process named \"next-server (v14.1)\" among 3"),
        ] {
            let seen = look(three(), 1, Some(name));
            assert_eq!((seen.finding, seen.text.as_str()), (Finding::Good, text));
        }
        let seen = look(three(), 1, Some("ruby"));
        assert_eq!(seen.finding, Finding::Bad(Fault::TooFewProcesses));
        assert_eq!(seen.text, "no process named \"ruby\" among 3");
    }

    #[test]
    fn an_empty_cgroup_is_bad_and_a_missing_one_unknown() {
        let fake = Fake::new();
        fake.procs(UNIT, &[]);
        let seen = look(fake, 1, None);
        assert_eq!((seen.finding, seen.text.as_str()), (Finding::Bad(Fault::TooFewProcesses), "no process"));
        assert_eq!(look(Fake::new(), 1, None).finding, Finding::Unknown);
    }

    #[test]
    fn states_survive_strange_names() {
        assert_eq!(state(b"1 (a) b) Z 1"), Some(b'Z'));
        assert_eq!(state(b""), None);
        assert_eq!(state(b"1 (a)"), None);
    }
}
