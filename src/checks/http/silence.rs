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
use super::super::clock;
use super::super::connect::LOOK;
use super::super::pool::Allowance;
use super::super::sock_diag::{Connection, connections, listeners};
use super::super::world::World;
use crate::judge::{Detail, Moment};

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
}

impl Watch {
    /// Watches the unit of `probe` during a check that has `allowance`.
    pub(super) fn new(probe: &Probe, allowance: &Allowance) -> Self {
        let left = allowance.left().unwrap_or_default();
        Self(Arc::new(Watched {
            world: Arc::clone(&probe.world),
            group: probe.control_group.clone(),
            late: clock::now() + LATE.min(left / 4),
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
        let now = clock::now();
        let (look, next) = match (&inside.first, &inside.last) {
            (None, _) => (&mut inside.first, self.0.late),
            (Some(_), None) => (&mut inside.last, self.0.last),
            (Some(_), Some(_)) => return LOOK,
        };
        let left = next.since(now);
        if left.is_zero() {
            *look = Some(self.0.look(to.port()));
            return Duration::ZERO;
        }
        left.min(LOOK)
    }

    /// What was seen, now that there is no answer.
    pub(super) fn silence(&self) -> Detail {
        let inside = self.0.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(to) = inside.to else { return Detail::Silence { taken: None, cpu: None } };
        let first = inside.first.as_ref();
        let Some(last) = inside.last.as_ref().or(first) else {
            return Detail::Silence { taken: None, cpu: None };
        };
        let visible = || listeners(to.port()).is_ok_and(|rows| rows.iter().any(|row| row.takes(to.ip())));
        let taken = last.seen.as_ref().and_then(|(now, _)| {
            let before = first.filter(|_| inside.last.is_some()).and_then(|look| look.seen.as_ref());
            taken(inside.from, before, now, visible)
        });
        let moved = last.seen.as_ref().is_some_and(|(now, _)| self.0.queue_moved(to, last.at, now));
        let taken = if moved { Some(true) } else { taken };
        Detail::Silence { taken, cpu: first.and_then(|first| used(first, last)) }
    }
}

impl Watched {
    fn look(&self, port: u16) -> Look {
        Look { seen: connections(port).ok(), usage: self.usage(), at: clock::now() }
    }

    /// Whether any connection that waited when an answer was missing before has left the queue since.
    /// A busy event loop may take connections every few seconds only, longer than one check lasts. One
    /// that was closed by its client stays in the queue until it is taken (tcp(7), CLOSE_WAIT).
    fn queue_moved(&self, to: SocketAddr, at: Moment, now: &[Connection]) -> bool {
        // Of this listener alone: that of another start has another inode.
        let Ok(rows) = listeners(to.port()) else { return false };
        let Some(listener) = rows.iter().find(|row| row.takes(to.ip())) else { return false };
        let waiting: HashSet<SocketAddr> =
            now.iter().filter(|row| !row.accepted).map(|row| row.peer).collect();
        let mut waits = self.world.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.retain(|_, (seen, _)| at.since(*seen) < REMEMBERED);
        let before = waits.insert(listener.inode, (at, waiting.clone()));
        before.is_some_and(|(_, before)| before.iter().any(|peer| !waiting.contains(peer)))
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
        let look = |millis: i64, usage| Look { at: Moment::from_micros(millis * 1000), usage, seen: None };
        assert_eq!(used(&look(0, Some(1_000)), &look(2000, Some(401_000))), Some(20));
        assert_eq!(used(&look(0, Some(0)), &look(1000, Some(3_000_000))), Some(300));
        assert_eq!(used(&look(0, None), &look(1000, Some(5))), None);
        assert_eq!(used(&look(0, Some(9)), &look(1000, Some(5))), None);
        assert_eq!(used(&look(0, Some(0)), &look(10, Some(10_000))), None);
    }
}
