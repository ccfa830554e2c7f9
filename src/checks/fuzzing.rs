//! What the kernel says: rows of sock_diag, and files of /proc and of cgroups.
#![allow(clippy::expect_used, reason = "a test, if not by name")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::identity::{self, Identity, unit_of};
use super::netlink::{self, DiagError};
use super::straggler::{Place, ProcessFacts, UnitFacts, classify};
use super::{Probe, World, disk, host_memory, memory, processes, sock_diag};
use crate::fuzzing::kit::assert_plain;
use crate::judge::{Stragglers, Target};

/// One datagram.
pub(crate) fn netlink(bytes: &[u8]) {
    const KIND: u16 = 20;
    let (mut listeners, mut connections) = (Vec::new(), Vec::new());
    let mut take = |payload: &[u8]| {
        listeners.extend(sock_diag::listener(payload)?);
        connections.extend(sock_diag::connection(payload, 3000)?);
        Some(())
    };
    let read = netlink::parse(bytes, 7, KIND, &mut take);
    if let Err(DiagError::Refused(errno)) = read {
        assert!((1..4096).contains(&errno.raw_os_error()), "{errno:?}");
    }
    // A row has 16 and 72 bytes at least, and is one or the other.
    assert!(listeners.len() + connections.len() <= bytes.len() / 88);
    for listener in &listeners {
        assert!(listener.address == listener.address.to_canonical());
        assert!(listener.address.is_unspecified() || listener.takes(listener.address));
        assert!(listener.cgroup != Some(0));
    }
}

/// Below this root lies what the kernel says of process 7 and of the host. What checks tell of it.
pub(crate) fn look_at_host(root: &Path, group: &str) {
    let world = Arc::new(World::at(root));
    let target = Target {
        min_processes: 1,
        process: Some("node".to_owned()),
        max_memory: Some(1 << 20),
        min_available: 1 << 20,
        ..Target::of_unit("web.service".parse().expect("a unit"))
    };
    let probe = Probe {
        target: Arc::new(target),
        control_group: Some(group.to_owned()),
        proxy_group: None,
        socket_activated: false,
        down: true,
        working_directory: None,
        timeout: Duration::from_secs(1),
        world: Arc::clone(&world),
    };
    for told in [processes::check(&probe), memory::check(&probe), host_memory::check(&probe)] {
        assert_plain(&told.text, 200);
    }
    if let Some(known) = Identity::of(&world, 7) {
        assert_plain(&known.to_string(), 200);
    }
    if let Some(facts) = ProcessFacts::of(&world, 7) {
        let unit = UnitFacts {
            name: "web.service".to_owned(),
            live: false,
            user: facts.user,
            executables: Vec::new(),
            working_directory: None,
        };
        for stragglers in [Stragglers::Never, Stragglers::Own, Stragglers::Port] {
            // What cannot be seen whole is nobody's to end.
            assert!(!classify(&facts, &unit, stragglers).reapable() || facts.place.is_some());
        }
    }
    let group = world.cgroup_of(7).unwrap_or_default();
    if let Some(unit) = unit_of(&group) {
        assert!(!unit.contains('/'));
    }
    let _ = Place::of(&world, &group);
    assert!(world.cgroup(&group).is_none_or(|path| path.starts_with(world.cgroup_root())));
    let _ = identity::user_name(&world, 33);
}

/// The mount point that a path is below.
pub(crate) fn mount_of(mounts: &[u8]) {
    let path = Path::new("/var/lib/app-monitor");
    assert!(disk::mount_of(mounts, path).is_none_or(|mount| path.starts_with(&mount.point)));
}
