//! The world in, one [`Observation`] out, a deadline around it: the checks of a round.
//!
//! Responsible for asking: who listens on the port (sock_diag), what the health check answers
//! (HTTP), how many processes and how much memory the unit has (cgroup), how the host is off for
//! memory and disk, whether the database accepts. Not responsible for the unit itself, which
//! the room `systemd` reads, nor for what an observation means, which the judge decides, nor for
//! when to ask again.
//!
//! Whatever could block (connecting, resolving, `/proc` of a process stuck in the kernel) runs in
//! a bounded [`Pool`]; a check that is stuck blinds itself alone.

mod database;
mod disk;
mod egress;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod host_memory;
mod http;
mod identity;
mod memory;
mod neighbours;
mod netlink;
mod pool;
mod port;
mod processes;
mod public;
mod resolve;
mod roll;
mod sock_diag;
pub mod straggler;
mod text;
mod world;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::judge::{CheckKind, Observation, Target};

pub use http::look::{FirstAnswer, first_answer, redirected_to, whole as whole_health_check};
pub use identity::Identity;
pub use pool::{Allowance, Limits, Missed, Pool};
pub use sock_diag::{DiagError, Listener, all_listeners, listeners};
pub(crate) use world::Holder;
pub use world::World;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use {
    database::fuzzing::answers as database_answers,
    http::fuzzing::answers as http_answers,
    http::fuzzing::{json_path, location},
    text::clean,
};

/// What the checks of one unit need to know about it.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What the app is expected to look like.
    pub target: Arc<Target>,
    /// `ControlGroup` of the unit as last read; none while it has none.
    pub control_group: Option<String>,
    /// A socket unit triggers this one (`TriggeredBy`): a listener of PID 1 is then its own.
    pub socket_activated: bool,
    /// The unit is down, or waits for its automatic restart: whoever still runs in its cgroup is left
    /// over.
    pub down: bool,
    /// `WorkingDirectory` of the unit, where the target names none.
    pub working_directory: Option<PathBuf>,
    /// `ControlGroup` of the reverse proxy's unit as last read; none while it has none, or none is
    /// configured.
    pub proxy_group: Option<String>,
    /// The deadline of the port and process checks. The HTTP check has its own in its target.
    pub timeout: Duration,
    /// Where `/proc`, `/sys` and `/etc` are.
    pub world: Arc<World>,
}

impl Probe {
    /// Root of the app's files: as configured, else as the unit has it.
    fn working_directory(&self) -> Option<&Path> {
        self.target.working_directory.as_deref().or(self.working_directory.as_deref())
    }
}

/// Makes one check, once. It never exceeds its deadline by more than a tenth of a second, and
/// whatever keeps it from being made is [`Finding::Unknown`](crate::judge::Finding::Unknown).
/// Dropping the future cancels: the result is thrown away, and a check that had not begun never does.
///
/// A check that is not configured is unknown and says so.
pub async fn observe(kind: CheckKind, probe: &Probe, pool: &Pool) -> Observation {
    let probe = probe.clone();
    let timeout = timeout_of(kind, &probe);
    match pool.run(timeout, move |allowance| make(kind, &probe, allowance)).await {
        Ok(observation) => observation,
        Err(missed) => unmade_for(kind, missed),
    }
}

/// Makes the checks of a round one after the other on one thread: waking a thread for each costs more
/// than the checks themselves. The health check goes first, and has its whole time; the others look
/// at the host, mostly within microseconds, and have a second of their own behind it: who holds the
/// port must be known above all when the health check had no answer. What is stuck makes itself and
/// the ones behind it unknown, and nobody waits longer for the round than for its longest check and
/// that second.
pub async fn observe_in_turn(
    kinds: Vec<CheckKind>,
    probe: &Probe,
    pool: &Pool,
) -> Vec<(CheckKind, Observation)> {
    in_turn(kinds, probe, pool, make).await
}

/// What the checks behind the health check are given together.
const BEHIND: Duration = Duration::from_secs(1);

async fn in_turn(
    mut kinds: Vec<CheckKind>,
    probe: &Probe,
    pool: &Pool,
    make: fn(CheckKind, &Probe, Allowance) -> Observation,
) -> Vec<(CheckKind, Observation)> {
    kinds.sort_by_key(|kind| *kind != CheckKind::Http);
    let timeouts = kinds.iter().map(|kind| timeout_of(*kind, probe));
    let longest = timeouts.max().unwrap_or(probe.timeout);
    let first = kinds.first().copied().filter(|kind| *kind == CheckKind::Http);
    let whole = if first.is_some() && kinds.len() > 1 { longest + BEHIND } else { longest };
    let seen: Arc<Mutex<Vec<(CheckKind, Observation)>>> = Arc::default();
    let (notes, probe, asked) = (Arc::clone(&seen), probe.clone(), kinds.clone());
    let made = pool.run(whole, move |allowance| {
        for kind in asked {
            let behind = first.is_some_and(|first| first != kind);
            let allowance = match behind {
                true => allowance.clone(),
                false => allowance.clone().at_most(timeout_of(kind, &probe)),
            };
            let observation = make(kind, &probe, allowance);
            notes.lock().unwrap_or_else(PoisonError::into_inner).push((kind, observation));
        }
    });
    let missed = made.await.err();
    let mut seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(missed) = missed {
        let unmade = kinds.into_iter().filter(|kind| seen.iter().all(|(made, _)| made != kind));
        let unknown: Vec<_> = unmade.map(|kind| (kind, unmade_for(kind, missed))).collect();
        seen.extend(unknown);
    }
    seen
}

/// What a check is given, wall to wall.
fn timeout_of(kind: CheckKind, probe: &Probe) -> Duration {
    let own = match kind {
        CheckKind::Http => probe.target.http.as_ref().map(|http| http.timeout),
        CheckKind::Database => probe.target.database.as_ref().map(|database| database.timeout),
        _ => None,
    };
    own.unwrap_or(probe.timeout)
}

fn make(kind: CheckKind, probe: &Probe, allowance: Allowance) -> Observation {
    match kind {
        CheckKind::Port => port::check(probe),
        CheckKind::Http => http::check(probe, allowance),
        CheckKind::Processes => processes::check(probe),
        CheckKind::Memory => memory::check(probe),
        CheckKind::HostMemory => host_memory::check(probe),
        CheckKind::Disk => disk::check(probe),
        CheckKind::Database => database::check(probe, allowance),
        CheckKind::Proxy => public::through_proxy(probe, allowance),
        CheckKind::Public => public::check(probe, allowance),
        CheckKind::Egress => egress::check(probe, allowance),
        // Somebody who may read the app's files makes it: app-monitor-preflight@.service.
        CheckKind::Preflight => Observation::unknown("made by its helper unit alone"),
    }
}

fn unmade_for(kind: CheckKind, missed: Missed) -> Observation {
    Observation::unknown(format!("{kind} check: {missed}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{IpAddr, SocketAddr, TcpListener};
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;
    use crate::judge::{Fault, Finding};

    /// Listens at that address on a port that nobody else uses, in either family: below the range
    /// from which the kernel hands out the ports of all other tests.
    pub(super) fn lonely(address: &str) -> TcpListener {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let address: IpAddr = address.parse().unwrap();
        let first = u16::try_from(std::process::id() % 100).unwrap() * 100;
        for _ in 0..1000 {
            let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
            let free = |ip: &str| TcpListener::bind(SocketAddr::new(ip.parse().unwrap(), port)).is_ok();
            if free("0.0.0.0")
                && free("::")
                && let Ok(listener) = TcpListener::bind(SocketAddr::new(address, port))
            {
                return listener;
            }
        }
        panic!("no port is free");
    }

    impl Probe {
        /// A unit that nothing is known of.
        pub(super) fn of_nothing() -> Self {
            Self {
                target: Arc::new(Target::of_unit("web.service".parse().unwrap())),
                control_group: None,
                proxy_group: None,
                socket_activated: false,
                down: false,
                working_directory: None,
                timeout: Duration::from_secs(1),
                world: Arc::new(World::system()),
            }
        }
    }

    fn serve(rounds: usize) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for _ in 0..rounds {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK");
            }
        });
        port
    }

    fn probe(port: u16) -> Probe {
        let mut target = http::tests::target(&format!("http://localhost:{port}/"));
        target.port = Some(port);
        target.min_processes = 1;
        Probe { target: Arc::new(target), ..Probe::of_nothing() }
    }

    #[test]
    fn a_round_side_by_side() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let probe = probe(serve(1));
        let pool = Pool::new(Limits::default());
        let (port, http, processes) = runtime.block_on(async {
            tokio::join!(
                observe(CheckKind::Port, &probe, &pool),
                observe(CheckKind::Http, &probe, &pool),
                observe(CheckKind::Processes, &probe, &pool),
            )
        });
        // The listener is this process, which is no unit's.
        assert_eq!(port.finding, Finding::Bad(Fault::ForeignListener), "{}", port.text);
        assert_eq!(http.finding, Finding::Good, "{}", http.text);
        assert_eq!(processes.finding, Finding::Unknown, "{}", processes.text);
    }

    #[test]
    fn a_round_on_one_thread_has_every_answer_though_the_app_hangs() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
        let probe = probe(deaf.local_addr().unwrap().port());
        let pool = Pool::new(Limits::default());
        let kinds = vec![CheckKind::Port, CheckKind::Http, CheckKind::Processes];
        let seen = runtime.block_on(observe_in_turn(kinds, &probe, &pool));
        let finding = |kind| seen.iter().find(|(seen, _)| *seen == kind).map(|(_, seen)| seen.finding);
        assert_eq!(finding(CheckKind::Http), Some(Finding::Bad(Fault::Unanswered)), "{seen:?}");
        assert_eq!(finding(CheckKind::Port), Some(Finding::Bad(Fault::ForeignListener)), "{seen:?}");
        assert_eq!(finding(CheckKind::Processes), Some(Finding::Unknown), "{seen:?}");
        assert_eq!(pool.threads(), 1);
    }

    #[test]
    fn what_is_behind_a_silent_app_has_time_of_its_own() {
        fn slow(kind: CheckKind, _: &Probe, allowance: Allowance) -> Observation {
            let left = allowance.left().unwrap_or_default();
            std::thread::sleep(if kind == CheckKind::Http { left } else { Duration::from_millis(150) });
            Observation::good(if left.is_zero() { "late" } else { "in time" })
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let pool = Pool::new(Limits::default());
        let kinds = vec![CheckKind::Port, CheckKind::Http, CheckKind::HostMemory];
        let seen = runtime.block_on(in_turn(kinds, &probe(9), &pool, slow));
        assert!(seen.iter().all(|(_, seen)| seen.text == "in time"), "{seen:?}");
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn hanging_apps_delay_nobody_else() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let pool = Pool::new(Limits::default());
        let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
        let hung = probe(deaf.local_addr().unwrap().port());
        let well = probe(serve(20));
        runtime.block_on(async {
            let hanging =
                futures_util::future::join_all((0..30).map(|_| observe(CheckKind::Http, &hung, &pool)));
            let others = async {
                for _ in 0..20 {
                    let seen = observe(CheckKind::Http, &well, &pool).await;
                    assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
                    assert!(
                        seen.latency.is_some_and(|took| took < Duration::from_millis(300)),
                        "{}",
                        seen.text
                    );
                }
            };
            let (hanging, ()) = tokio::join!(hanging, others);
            // On a host with no time left, one may be cut off before it can say what it saw.
            let bad = |seen: &&Observation| seen.finding == Finding::Bad(Fault::Unanswered);
            assert!(hanging.iter().all(|seen| seen.finding != Finding::Good), "{hanging:?}");
            assert!(hanging.iter().filter(bad).count() >= hanging.len() / 2, "{hanging:?}");
        });
    }
}
