//! What an app does while its answer is missing: whether it takes connections from its queue, and
//! whether it works.
//!
//! Two looks, one when the answer is late and one just before the deadline, are compared. An answer in good
//! time is never looked at, so that this costs an ordinary round nothing.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::Probe;
use super::super::pool::Allowance;
use super::super::sock_diag::{Connection, Listener, connections, listeners};
use super::super::world::{Waiting, World};
use crate::judge::{Detail, Moment};
use crate::wire::{LOOK, now};

/// An answer that takes longer is late, if the check may take long enough.
const LATE: Duration = Duration::from_millis(500);
/// So long before the deadline, but no more than an eighth of the check, the second look is taken: the
/// kernel needs some milliseconds for it, a busy host some more, and they are not ours any more after it.
const RESERVE: Duration = Duration::from_millis(150);
/// What waited is compared with what waited that long ago at most.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Below that, one tick of the clock is more than what is measured.
const SHORTEST: Duration = Duration::from_millis(50);

/// One check that is watched. Clones are the same watch.
#[derive(Clone, Debug)]
pub(in crate::checks) struct Watch(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    world: Arc<World>,
    group: Option<String>,
    /// When the answer is late, and when it will hardly come any more.
    late: Moment,
    last: Moment,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    /// Where the connection goes, and once there is one, where it comes from.
    to: Option<SocketAddr>,
    from: Option<SocketAddr>,
    first: Option<Look>,
    last: Option<Look>,
}

/// The connections of the port at one moment, and the time in which the unit was busy until then.
#[derive(Debug)]
struct Look {
    at: Moment,
    usage: Option<u64>,
    seen: Option<(Vec<Connection>, bool)>,
    /// The listeners that the check's connection goes to, and what waits for them.
    queue: Option<(Vec<u32>, Waiting)>,
}

impl Watch {
    /// Watches the unit of `probe` during a check that has `allowance`.
    pub(super) fn new(probe: &Probe, allowance: &Allowance) -> Self {
        let left = allowance.left().unwrap_or_default();
        Self(Arc::new(Watched {
            world: Arc::clone(&probe.world),
            group: probe.control_group.clone(),
            late: now() + LATE.min(left / 4),
            last: allowance.until - RESERVE.min(left / 8),
            inside: Mutex::default(),
        }))
    }

    /// A connection is made there now; what was seen of another says nothing about it.
    pub(super) fn aim(&self, to: SocketAddr) {
        *self.0.inside.lock().unwrap_or_else(PoisonError::into_inner) =
            Inside { to: Some(to), ..Inside::default() };
    }

    /// It stands, and this is our end of it.
    pub(super) fn connected(&self, from: Option<SocketAddr>) {
        self.0.inside.lock().unwrap_or_else(PoisonError::into_inner).from = from;
    }

    /// Called whenever the check waits; for how long it may wait until the next call.
    pub(super) fn turn(&self) -> Duration {
        let mut inside = self.0.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = &mut *inside;
        let Some(to) = inside.to else { return LOOK };
        let now = now();
        let (look, next) = match (&inside.first, &inside.last) {
            (None, _) => (&mut inside.first, self.0.late),
            (Some(_), None) => (&mut inside.last, self.0.last),
            (Some(_), Some(_)) => return LOOK,
        };
        let left = next.since(now);
        if left.is_zero() {
            *look = Some(self.0.look(to));
            return Duration::ZERO;
        }
        left.min(LOOK)
    }

    /// What was seen, now that there is no answer.
    pub(super) fn silence(&self) -> Detail {
        let mut inside = self.0.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = &mut *inside;
        let Some(to) = inside.to else { return Detail::Silence { taken: None, cpu: None } };
        let queue = inside.last.as_mut().or(inside.first.as_mut()).and_then(|look| look.queue.take());
        let first = inside.first.as_ref();
        let Some(last) = inside.last.as_ref().or(first) else {
            return Detail::Silence { taken: None, cpu: None };
        };
        let visible = || listeners(to.port()).is_ok_and(|rows| rows.iter().any(|row| row.takes(to.ip())));
        let taken = last.seen.as_ref().and_then(|(now, _)| {
            let before = first.filter(|_| inside.last.is_some()).and_then(|look| look.seen.as_ref());
            taken(inside.from, before, now, visible)
        });
        let moved = queue.is_some_and(|(listeners, now)| self.0.queue_moved(last.at, listeners, now));
        let taken = if moved { Some(true) } else { taken };
        Detail::Silence { taken, cpu: first.and_then(|first| used(first, last)) }
    }
}

impl Watched {
    fn look(&self, to: SocketAddr) -> Look {
        let port = to.port();
        let before = listeners(port).ok();
        let seen = connections(port).ok();
        let after = listeners(port).ok();
        let queue = before.zip(after).zip(seen.as_ref());
        let queue = queue.and_then(|((before, after), seen)| waiting(to.ip(), &before, seen, &after));
        Look { seen, queue, usage: self.usage(), at: now() }
    }

    /// Whether any connection that waited when an answer was missing before has left the queue since.
    /// A busy event loop may take connections every few seconds only, longer than one check lasts. One
    /// that was closed by its client stays in the queue until it is taken (tcp(7), CLOSE_WAIT).
    fn queue_moved(&self, at: Moment, listeners: Vec<u32>, now: Waiting) -> bool {
        let mut waits = self.world.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.retain(|_, (seen, _)| at.since(*seen) < REMEMBERED);
        // Of these listeners alone: those of another start have other inodes.
        let moved = waits.get(&listeners).is_some_and(|(_, before)| left(before, &now));
        waits.insert(listeners, (at, now));
        moved
    }

    /// Microseconds in which the unit worked, or wanted to and had to wait for a core: on a host that is
    /// short of them a busy app gets next to none. A cgroup counts both whatever its controllers are;
    /// a kernel without PSI counts the first alone.
    fn usage(&self) -> Option<u64> {
        let group = self.world.cgroup(self.group.as_deref()?)?;
        let number = |file: &str, before: &str| -> Option<u64> {
            let text = self.world.read(&group.join(file), 4096).ok()?;
            let text = String::from_utf8_lossy(&text);
            text.split_once(before)?.1.split_whitespace().next()?.parse().ok()
        };
        // cgroup-v2, "CPU Interface Files".
        let used = number("cpu.stat", "usage_usec ")?;
        Some(used + number("cpu.pressure", "total=").unwrap_or(0))
    }
}

/// What waits for the listeners that take connections to that address. None where there is no such
/// listener, they changed meanwhile, or not all connections were seen.
fn waiting(
    to: IpAddr,
    before: &[Listener],
    (seen, all): &(Vec<Connection>, bool),
    after: &[Listener],
) -> Option<(Vec<u32>, Waiting)> {
    let of = |rows: &[Listener]| -> (Vec<u32>, u64) {
        let ours = || rows.iter().filter(|row| row.takes(to));
        let mut inodes: Vec<u32> = ours().map(|row| row.inode).collect();
        inodes.sort_unstable();
        (inodes, ours().map(|row| u64::from(row.queued)).sum())
    };
    let taking: Vec<&Listener> = before.iter().filter(|row| row.takes(to)).collect();
    let ((listeners, before), (same, after)) = (of(before), of(after));
    if !all || listeners.is_empty() || listeners != same {
        return None;
    }
    // Another listener of the port has a queue of its own.
    let waits = |row: &&Connection| !row.accepted && taking.iter().any(|listener| listener.takes(row.local));
    let peers = seen.iter().filter(waits).map(|row| row.peer).collect();
    Some((listeners, Waiting { peers, before, after }))
}

/// Whether any connection must have left the queue between two looks: fewer wait than those that waited
/// then and those that can be seen to have come since.
fn left(before: &Waiting, now: &Waiting) -> bool {
    let come = now.peers.difference(&before.peers).count() as u64;
    before.before + come > now.after
}

/// Percent of one core between two looks.
fn used(first: &Look, last: &Look) -> Option<u32> {
    let time = last.at.since(first.at);
    let used = last.usage?.checked_sub(first.usage?)?;
    if time < SHORTEST {
        return None;
    }
    u32::try_from(u128::from(used) * 100 / time.as_micros()).ok()
}

/// Whether connections are taken. `from` is our end of our own; `before` may be missing.
fn taken(
    from: Option<SocketAddr>,
    before: Option<&(Vec<Connection>, bool)>,
    now: &[Connection],
    visible: impl FnOnce() -> bool,
) -> Option<bool> {
    let own = from.and_then(|from| now.iter().find(|row| row.peer == from));
    if own.is_some_and(|own| own.accepted) {
        return Some(true);
    }
    let Some((before, all)) = before else { return own.map(|_| false) };
    // Those that came after the first look and have been taken by the second prove as much as those
    // that waited, if the first saw all.
    let key = |row: &Connection| -> (IpAddr, SocketAddr) { (row.local, row.peer) };
    let accepted: HashSet<_> = before.iter().filter(|row| row.accepted).map(key).collect();
    let waited: HashSet<_> = before.iter().filter(|row| !row.accepted).map(key).collect();
    let moved = now
        .iter()
        .filter(|row| row.accepted)
        .any(|row| waited.contains(&key(row)) || (*all && !accepted.contains(&key(row))));
    if moved {
        return Some(true);
    }
    match (from, own) {
        (_, Some(_)) => Some(false),
        // Its other end is in another network namespace, or gone.
        (Some(_), None) => None,
        // The queue is full, and nothing of it moves.
        (None, None) => visible().then_some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::world::tests::Fake;
    use super::*;

    fn row(peer: u16, accepted: bool) -> Connection {
        let local = "127.0.0.1".parse().unwrap();
        Connection { local, peer: SocketAddr::new(local, peer), accepted }
    }

    #[test]
    fn what_moves_is_told_from_what_waits() {
        let own = Some(row(9, false).peer);
        let waiting = (vec![row(1, true), row(2, false), row(9, false)], true);
        let cut = (waiting.0.clone(), false);
        let gone = [row(1, true)];
        let idle = [row(1, true), row(2, false), row(9, false)];
        let other = [row(1, true), row(2, true), row(9, false)];
        let newer = [row(1, true), row(2, false), row(3, true), row(9, false)];
        let answered = [row(9, true)];
        for (from, before, now, visible, wanted) in [
            (own, Some(&waiting), &idle[..], true, Some(false)),
            (own, Some(&waiting), &other[..], true, Some(true)),
            (own, Some(&waiting), &newer[..], true, Some(true)),
            (own, Some(&cut), &newer[..], true, Some(false)),
            (own, Some(&waiting), &answered[..], true, Some(true)),
            (own, None, &answered[..], true, Some(true)),
            (own, None, &idle[..], true, Some(false)),
            (own, Some(&waiting), &gone[..], true, None),
            (None, Some(&waiting), &idle[..], true, Some(false)),
            (None, Some(&waiting), &idle[..], false, None),
            (None, Some(&waiting), &other[..], false, Some(true)),
            (None, None, &idle[..], true, None),
        ] {
            assert_eq!(taken(from, before, now, || visible), wanted, "{before:?} {now:?}");
        }
    }

    #[test]
    fn a_queue_has_moved_when_fewer_wait_than_must() {
        let queue = |peers: &[u16], queued: u64| Waiting {
            peers: peers.iter().map(|port| row(*port, false).peer).collect(),
            before: queued,
            after: queued,
        };
        for (before, now, moved) in [
            (queue(&[1, 2], 2), queue(&[1, 2], 2), false),
            (queue(&[1, 2], 2), queue(&[1], 1), true),
            // Reset by its client, it cannot be seen, but waits; others have come.
            (queue(&[1, 2], 2), queue(&[1], 2), false),
            (queue(&[1, 2], 2), queue(&[1, 3, 4], 4), false),
            (queue(&[1, 2], 2), queue(&[3, 4], 3), true),
            // One that had been reset before was taken.
            (queue(&[1, 2], 3), queue(&[1, 2], 2), true),
            (queue(&[1, 2], 3), queue(&[1, 2, 3], 3), true),
            (queue(&[], 0), queue(&[5], 1), false),
        ] {
            assert_eq!(left(&before, &now), moved, "{before:?} {now:?}");
        }
        // One that came while it was looked is no proof.
        let between = Waiting { after: 3, ..queue(&[1, 2, 3], 2) };
        assert!(!left(&queue(&[1, 2], 2), &between));
        assert!(!left(&Waiting { after: 3, ..queue(&[1, 2], 2) }, &queue(&[1, 2, 3], 3)));
    }

    #[test]
    fn a_list_that_was_cut_is_compared_with_nothing() {
        let listener = |inode, address: &str| Listener {
            address: address.parse().unwrap(),
            port: 3000,
            v6_only: false,
            inode,
            uid: 0,
            cgroup: None,
            queued: 1,
        };
        let to = "127.0.0.1".parse().unwrap();
        let (ours, other) = (listener(7, "127.0.0.1"), listener(8, "::1"));
        let both = [ours.clone(), other.clone()];
        let theirs = Connection { local: "::1".parse().unwrap(), ..row(2, false) };
        let seen = (vec![row(1, false), theirs, row(3, true)], true);
        let (listeners, found) = waiting(to, &both, &seen, &both).unwrap();
        assert_eq!((listeners, found.before, found.after), (vec![7], 1, 1));
        assert_eq!(found.peers, [row(1, false).peer].into());
        assert!(waiting(to, &both, &(seen.0.clone(), false), &both).is_none());
        assert!(waiting(to, &both, &seen, &[listener(9, "127.0.0.1")]).is_none());
        assert!(waiting(to, std::slice::from_ref(&other), &seen, std::slice::from_ref(&other)).is_none());
    }

    #[test]
    fn time_spent_waiting_for_a_core_is_work() {
        let fake = Fake::new();
        let group = |file: &str| format!("sys/fs/cgroup/system.slice/web.service/{file}");
        let usage = || {
            let watched = Watched {
                world: Arc::new(World::at(fake.dir.path())),
                group: Some("/system.slice/web.service".into()),
                late: Moment::default(),
                last: Moment::default(),
                inside: Mutex::default(),
            };
            watched.usage()
        };
        assert_eq!(usage(), None);
        fake.file(&group("cpu.stat"), "usage_usec 400000\nuser_usec 300000\n");
        assert_eq!(usage(), Some(400_000));
        let some = "some avg10=9.00 avg60=0.05 avg300=0.00 total=1500000";
        fake.file(
            &group("cpu.pressure"),
            format!("{some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"),
        );
        assert_eq!(usage(), Some(1_900_000));
    }

    #[test]
    fn cpu_is_percent_of_a_core() {
        let look = |millis: i64, usage| Look {
            at: Moment::from_micros(millis * 1000),
            usage,
            seen: None,
            queue: None,
        };
        assert_eq!(used(&look(0, Some(1_000)), &look(2000, Some(401_000))), Some(20));
        assert_eq!(used(&look(0, Some(0)), &look(1000, Some(3_000_000))), Some(300));
        assert_eq!(used(&look(0, None), &look(1000, Some(5))), None);
        assert_eq!(used(&look(0, Some(9)), &look(1000, Some(5))), None);
        assert_eq!(used(&look(0, Some(0)), &look(10, Some(10_000))), None);
    }
}
