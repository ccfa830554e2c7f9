//! Who listens on the app's port: the unit, its socket, somebody else, nobody.
//!
//! Whose a listener is, is told by the cgroup of its creator, which sock_diag shows to everybody,
//! and, where that says "not the unit's", by who holds it open (a unit may hold what systemd's
//! file descriptor store or its socket unit created for it). What is left in the cgroup of a unit that
//! is down is not its own. Names the holder of a foreign one, and says whether it may be ended as far
//! as that can be seen; what becomes of it is not decided here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;

use super::Probe;
use super::identity::{Identity, SHOWN, unit_of, user_name};
use super::sock_diag::Listener;
use super::straggler::{Class, Place, ProcessFacts, UnitFacts, classify};
use super::text::{bounded, clean};
use super::world::Holder;
use crate::judge::{Address, Detail, Fault, Observation, Stragglers};

/// How far the holder of a socket is looked for where the cgroup does not tell: processes, and open
/// files of each. A listener is opened early; a busy app has thousands of connections behind it.
const PROCESSES: usize = 256;
const FILES: usize = 1024;

/// Whose a listener is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    /// The unit's, and the process that holds it, if that can be seen.
    Unit(Option<u32>),
    /// PID 1's, on behalf of the unit's socket unit.
    Socket,
    /// Not the unit's.
    Foreign,
    /// Nobody can tell.
    Unseen,
}

/// Looks who listens.
pub(super) fn check(probe: &Probe) -> Observation {
    let Some(port) = probe.target.port else {
        return Observation::unknown("no port is configured");
    };
    let rows = match probe.world.census.listeners_at(port, &wanted(probe.target.address)) {
        Ok(rows) => rows,
        Err(error) => {
            return bounded(Observation::unknown(format!("cannot see who listens on port {port}: {error}")));
        }
    };
    bounded(judge(probe, port, &rows))
}

fn judge(probe: &Probe, port: u16, rows: &[Listener]) -> Observation {
    let wanted = wanted(probe.target.address);
    let (fitting, elsewhere): (Vec<&Listener>, Vec<&Listener>) =
        rows.iter().partition(|row| takes_any(row, &wanted));
    if fitting.is_empty() {
        let mut text = format!("nobody listens on port {port}");
        if !elsewhere.is_empty() {
            let place = match probe.target.address {
                Address::Localhost => "localhost".to_owned(),
                Address::Ip(address) => address.to_string(),
            };
            text = format!("{text} of {place}, only on {}", addresses(&elsewhere));
        }
        return Observation::bad(Fault::NotListening, text);
    }
    // SO_REUSEPORT has a row for each worker, all of one cgroup: one of them tells of all.
    let mut owners: Vec<(&Listener, Owner)> = Vec::with_capacity(fitting.len());
    for row in &fitting {
        let alike = owners.iter().find(|(known, _)| known.cgroup.is_some() && known.cgroup == row.cgroup);
        let owner = alike.map_or_else(|| owner(probe, row), |(_, owner)| *owner);
        owners.push((row, owner));
    }
    let of = |which: fn(Owner) -> bool| -> Vec<&Listener> {
        owners.iter().filter(|(_, owner)| which(*owner)).map(|(row, _)| *row).collect()
    };
    let own = of(|owner| matches!(owner, Owner::Unit(_)));
    let socket = of(|owner| owner == Owner::Socket);
    let unseen = of(|owner| owner == Owner::Unseen);
    let foreign = of(|owner| owner == Owner::Foreign);
    let beside = match foreign.first() {
        Some(row) => format!("; {} is held by {}", addresses(&foreign), holder(probe, row).0),
        None => String::new(),
    };
    if !own.is_empty() {
        let pid = owners.iter().find_map(|(_, owner)| match owner {
            Owner::Unit(pid) => *pid,
            _ => None,
        });
        let pid = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
        return Observation::good(format!("port {port} listens on {}{pid}{beside}", addresses(&own)));
    }
    if !socket.is_empty() {
        let text =
            format!("port {port} listens on {} (socket unit, held by systemd){beside}", addresses(&socket));
        return Observation::good(text);
    }
    if !unseen.is_empty() {
        let text = format!("port {port} listens on {} (owner cannot be seen)", addresses(&unseen));
        return Observation::good(text);
    }
    let holders: Vec<(String, Class)> =
        one_of_each(&foreign).into_iter().map(|row| holder(probe, row)).collect();
    let left = if holders.iter().all(|(_, class)| *class == Class::Orphan) { ", left over" } else { "" };
    let who = holders.first().map(|(who, _)| who.as_str()).unwrap_or_default();
    let text = format!("port {port} is listened on by {who}{left} on {}", addresses(&foreign));
    Observation::bad(Fault::ForeignListener, text).with(Detail::Holder {
        reapable: holders.iter().all(|(_, class)| class.reapable()),
        own_orphan: holders.iter().all(|(_, class)| *class == Class::Orphan),
    })
}

/// One row of each cgroup: its workers share its fate.
fn one_of_each<'a>(rows: &[&'a Listener]) -> Vec<&'a Listener> {
    let mut found: Vec<&Listener> = Vec::new();
    for row in rows {
        if row.cgroup.is_none() || found.iter().all(|known| known.cgroup != row.cgroup) {
            found.push(row);
        }
    }
    found
}

/// The addresses at which a listener would do; any one of them.
pub(super) fn wanted(address: Address) -> Vec<IpAddr> {
    match address {
        Address::Localhost => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        Address::Ip(IpAddr::V4(ip)) if ip.is_unspecified() => vec![Ipv4Addr::LOCALHOST.into()],
        Address::Ip(IpAddr::V6(ip)) if ip.is_unspecified() => vec![Ipv6Addr::LOCALHOST.into()],
        Address::Ip(ip) => vec![ip.to_canonical()],
    }
}

/// Whether a connection to one of those addresses comes to that listener.
pub(super) fn takes_any(row: &Listener, wanted: &[IpAddr]) -> bool {
    wanted.iter().any(|to| row.takes(*to))
}

fn owner(probe: &Probe, row: &Listener) -> Owner {
    let world = &probe.world;
    let id = row.cgroup.filter(|_| world.has_cgroup_ids());
    let group = probe.control_group.as_deref().filter(|_| !probe.down);
    let roll = group.and_then(|group| world.roll(group).ok());
    let at_top = |id| roll.as_ref().is_some_and(|roll| roll.id == id);
    let below = |id| group.is_some_and(|group| world.cgroup_has_id(group, id));
    let foreign_by_cgroup = id.map(|id| !at_top(id) && !below(id));
    let pids = roll.map(|roll| roll.pids).unwrap_or_default();
    if foreign_by_cgroup == Some(false) {
        // Which of several processes it is would take a look at all their files, at every round.
        return Owner::Unit(if let [pid] = pids[..] { Some(pid) } else { None });
    }
    let held = world.holder_among(pids.into_iter().take(PROCESSES), row.inode, FILES);
    match (held, foreign_by_cgroup) {
        (Holder::Pid(pid), _) => Owner::Unit(Some(pid)),
        (_, Some(_)) if probe.socket_activated && is_init(probe, id) => Owner::Socket,
        (_, Some(_)) => Owner::Foreign,
        (Holder::Nobody, None) if probe.socket_activated && row.uid == 0 => Owner::Unseen,
        (Holder::Nobody, None) => Owner::Foreign,
        (Holder::Hidden, None) => Owner::Unseen,
    }
}

/// Whether that is the cgroup of PID 1, which creates the listeners of all socket units.
fn is_init(probe: &Probe, id: Option<u64>) -> bool {
    let world = &probe.world;
    let group = world.cgroup_of(1).unwrap_or_else(|| "/init.scope".to_owned());
    let dir = if group == "/" { Some(world.cgroup_root().to_path_buf()) } else { world.cgroup(&group) };
    let inode = dir.and_then(|dir| std::fs::metadata(dir).ok()).map(|meta| meta.ino());
    id.is_some() && id == inode
}

/// Names whoever holds a foreign listener and says what they are to the app, as well as can be seen.
fn holder(probe: &Probe, row: &Listener) -> (String, Class) {
    let world = &probe.world;
    let id = row.cgroup.filter(|_| world.has_cgroup_ids());
    let group = id.and_then(|id| world.cgroup_by_id(id));
    // Mostly it still lives where it was created; all of /proc is looked through only if not.
    let near = group.as_deref().and_then(|group| world.pids(group).ok()).unwrap_or_default();
    let held = match world.holder_among(near.iter().copied(), row.inode, FILES) {
        Holder::Pid(pid) => Holder::Pid(pid),
        _ => world.holder_among(world.all_pids(), row.inode, FILES),
    };
    let pid = match (held, near.as_slice()) {
        (Holder::Pid(pid), _) => Some(pid),
        // The only process of its cgroup: it can hardly be another.
        (_, [only]) => Some(*only),
        _ => None,
    };
    let facts = pid.and_then(|pid| ProcessFacts::of(world, pid)).unwrap_or_else(|| ProcessFacts {
        user: Some(row.uid),
        place: group.as_deref().map(|group| Place::of(world, group)),
        control_group: group.clone(),
        ..ProcessFacts::default()
    });
    // Its cgroup has gone, so that it lives elsewhere by now: somebody with privilege finds out where.
    let moved = facts.place.is_none() && id.is_some() && probe.target.stragglers != Stragglers::Never;
    let class = if moved { Class::Unproven } else { classify(&facts, &unit(probe), probe.target.stragglers) };
    let name = match pid.and_then(|pid| Identity::of(world, pid)) {
        Some(identity) => identity.to_string(),
        None => {
            let user = user_name(world, row.uid);
            match group.as_deref().map(unit_of) {
                Some(Some(unit)) => format!("a process of {} (user {user})", clean(&unit, SHOWN)),
                None if id.is_some() => {
                    format!("a process of user {user} left over from a unit that has ended")
                }
                _ => format!("a process of user {user}"),
            }
        }
    };
    (name, class)
}

/// The unit as far as the monitor knows it. What it executes, and as whom, the helper finds out.
fn unit(probe: &Probe) -> UnitFacts {
    UnitFacts {
        name: probe.target.unit.to_string(),
        live: !probe.down,
        user: None,
        executables: Vec::new(),
        working_directory: probe.working_directory().map(Into::into),
    }
}

/// `127.0.0.1`, `[::1] and 127.0.0.1`, `any address`.
fn addresses(rows: &[&Listener]) -> String {
    let mut words: Vec<String> = rows
        .iter()
        .map(|row| match row.address {
            IpAddr::V6(ip) if ip.is_unspecified() && !row.v6_only => "any address".to_owned(),
            IpAddr::V6(ip) if ip.is_unspecified() => "any IPv6 address".to_owned(),
            IpAddr::V4(ip) if ip.is_unspecified() => "any IPv4 address".to_owned(),
            ip => ip.to_string(),
        })
        .collect();
    words.sort();
    words.dedup();
    let more = words.len().saturating_sub(3);
    words.truncate(3);
    let text = words.join(" and ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::lonely;
    use super::super::world::World;
    use super::super::world::tests::Fake;
    use super::*;
    use crate::judge::{Finding, Target};

    const UNIT: &str = "/system.slice/web.service";

    fn probe(world: World, port: u16) -> Probe {
        let target = Target {
            port: Some(port),
            address: Address::Localhost,
            http: None,
            min_processes: 0,
            process: None,
            ..Target::of_unit("web.service".parse().unwrap())
        };
        Probe {
            target: Arc::new(target),
            control_group: Some(UNIT.to_owned()),
            world: Arc::new(world),
            ..Probe::of_nothing()
        }
    }

    fn row(address: &str, inode: u32, cgroup: Option<u64>) -> Listener {
        let address = address.parse().unwrap();
        Listener { address, port: 3000, v6_only: false, inode, uid: 33, cgroup, queued: 0 }
    }

    struct Scene {
        _dir: tempfile::TempDir,
        probe: Probe,
        own: u64,
        other: u64,
        init: u64,
    }

    fn scene() -> Scene {
        let fake = Fake::new();
        let own = fake.procs(UNIT, &[812]);
        let other = fake.procs("/system.slice/other.service", &[900, 901]);
        let init = fake.procs("/init.scope", &[1]);
        fake.process(1, 'S', "systemd", "/sbin/init\0", "/init.scope", &[60]);
        fake.process(812, 'S', "node", "node\0app.js\0", UNIT, &[70]);
        fake.process(900, 'S', "sh", "sh\0", "/system.slice/other.service", &[]);
        fake.process(901, 'S', "python3", "/usr/bin/python3\0", "/system.slice/other.service", &[80]);
        Scene { _dir: fake.dir, probe: probe(fake.world, 3000), own, other, init }
    }

    fn seen(scene: &Scene, rows: &[Listener]) -> (Finding, String) {
        let seen = judge(&scene.probe, 3000, rows);
        (seen.finding, seen.text)
    }

    #[test]
    fn the_unit_listens() {
        let s = scene();
        for (address, text) in [
            ("127.0.0.1", "port 3000 listens on 127.0.0.1 (pid 812)"),
            ("::1", "port 3000 listens on ::1 (pid 812)"),
            ("::", "port 3000 listens on any address (pid 812)"),
            ("0.0.0.0", "port 3000 listens on any IPv4 address (pid 812)"),
        ] {
            assert_eq!(seen(&s, &[row(address, 70, Some(s.own))]), (Finding::Good, text.to_owned()));
        }
        // Created by the unit, whose only process is known without a look at its files; held by it,
        // but created by another.
        let only = seen(&s, &[row("127.0.0.1", 71, Some(s.own))]);
        assert_eq!(only, (Finding::Good, "port 3000 listens on 127.0.0.1 (pid 812)".to_owned()));
        assert_eq!(seen(&s, &[row("127.0.0.1", 70, Some(s.init))]).0, Finding::Good);
    }

    #[test]
    fn nobody_listens_where_it_would_do() {
        let s = scene();
        let bad = Finding::Bad(Fault::NotListening);
        assert_eq!(seen(&s, &[]), (bad, "nobody listens on port 3000".to_owned()));
        let elsewhere = seen(&s, &[row("10.0.0.5", 70, Some(s.own))]);
        assert_eq!(elsewhere, (bad, "nobody listens on port 3000 of localhost, only on 10.0.0.5".to_owned()));
    }

    #[test]
    fn somebody_else_is_named() {
        let s = scene();
        let bad = Finding::Bad(Fault::ForeignListener);
        let named = seen(&s, &[row("127.0.0.1", 80, Some(s.other))]);
        let text = "port 3000 is listened on by python3 (pid 901, user www-data, other.service) on 127.0.0.1";
        assert_eq!(named, (bad, text.to_owned()));
        let unheld = seen(&s, &[row("127.0.0.1", 81, Some(s.other))]);
        assert_eq!(unheld.0, bad);
        assert!(unheld.1.contains("a process of other.service (user www-data)"), "{}", unheld.1);
        let straggler = seen(&s, &[row("127.0.0.1", 81, Some(u64::MAX))]);
        assert!(straggler.1.contains("left over from a unit that has ended"), "{}", straggler.1);
    }

    fn detail(scene: &Scene, rows: &[Listener]) -> (bool, bool) {
        match judge(&scene.probe, 3000, rows).detail.as_deref() {
            Some(Detail::Holder { reapable, own_orphan }) => (*reapable, *own_orphan),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_left_of_the_unit_is_its_orphan() {
        let mut s = scene();
        s.probe.down = true;
        let rows = [row("127.0.0.1", 70, Some(s.own))];
        let (finding, text) = seen(&s, &rows);
        assert_eq!(finding, Finding::Bad(Fault::ForeignListener));
        let wanted =
            "port 3000 is listened on by node (pid 812, user www-data, web.service), left over on 127.0.0.1";
        assert_eq!(text, wanted);
        assert_eq!(detail(&s, &rows), (true, true));
        let both = [row("127.0.0.1", 70, Some(s.own)), row("::1", 80, Some(s.other))];
        assert_eq!(detail(&s, &both), (false, false));
    }

    #[test]
    fn who_may_be_ended() {
        let mut s = scene();
        assert_eq!(detail(&s, &[row("127.0.0.1", 80, Some(s.other))]), (false, false));
        assert_eq!(detail(&s, &[row("127.0.0.1", 60, Some(s.init))]), (false, false));
        // Its cgroup has gone.
        assert_eq!(detail(&s, &[row("127.0.0.1", 99, Some(u64::MAX))]), (true, false));
        let fake = Fake::new();
        let nowhere = fake.procs("/by-hand", &[905]);
        fake.process(905, 'S', "node", "node\0", "/by-hand", &[90]);
        let rows = [row("127.0.0.1", 90, Some(nowhere))];
        s.probe.world = Arc::new(fake.world);
        assert_eq!(detail(&s, &rows), (true, false));
        let never = Target { stragglers: Stragglers::Never, ..(*s.probe.target).clone() };
        s.probe.target = Arc::new(never);
        assert_eq!(detail(&s, &rows), (false, false));
        assert_eq!(detail(&s, &[row("127.0.0.1", 99, Some(u64::MAX))]), (false, false));
    }

    #[test]
    fn one_own_address_is_enough() {
        let s = scene();
        let rows = [row("127.0.0.1", 80, Some(s.other)), row("::1", 70, Some(s.own))];
        let (finding, text) = seen(&s, &rows);
        assert_eq!(finding, Finding::Good);
        assert!(
            text.starts_with("port 3000 listens on ::1 (pid 812); 127.0.0.1 is held by python3"),
            "{text}"
        );
    }

    #[test]
    fn a_socket_unit_listens_through_pid_1() {
        let mut s = scene();
        let rows = [row("127.0.0.1", 60, Some(s.init))];
        assert_eq!(seen(&s, &rows).0, Finding::Bad(Fault::ForeignListener));
        s.probe.socket_activated = true;
        assert_eq!(seen(&s, &rows).0, Finding::Good);
        let foreign = [row("127.0.0.1", 80, Some(s.other))];
        assert_eq!(seen(&s, &foreign).0, Finding::Bad(Fault::ForeignListener));
    }

    #[test]
    fn a_unit_without_cgroup_owns_nothing() {
        let mut s = scene();
        s.probe.control_group = None;
        assert_eq!(seen(&s, &[row("127.0.0.1", 80, Some(s.other))]).0, Finding::Bad(Fault::ForeignListener));
    }

    #[test]
    fn without_cgroup_ids_open_files_tell() {
        let s = scene();
        assert_eq!(seen(&s, &[row("127.0.0.1", 70, None)]).0, Finding::Good);
        assert_eq!(seen(&s, &[row("127.0.0.1", 80, None)]).0, Finding::Bad(Fault::ForeignListener));
        std::fs::remove_dir_all(s.probe.world.path("proc/812/fd")).unwrap();
        let (finding, text) = seen(&s, &[row("127.0.0.1", 70, None)]);
        assert_eq!((finding, text.ends_with("(owner cannot be seen)")), (Finding::Good, true));
    }

    #[test]
    fn real_sockets_of_this_process() {
        let socket = lonely("::1");
        let port = socket.local_addr().unwrap().port();
        let mut probe = probe(World::system(), port);
        probe.control_group = None;
        let seen = check(&probe);
        assert_eq!(seen.finding, Finding::Bad(Fault::ForeignListener), "{}", seen.text);
        assert!(seen.text.contains(&format!("(pid {}", std::process::id())), "{}", seen.text);
        drop(socket);
        // Who listened is remembered for 10 ms.
        probe.world = Arc::new(World::system());
        assert_eq!(check(&probe).finding, Finding::Bad(Fault::NotListening));
    }
}
