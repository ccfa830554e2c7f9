//! The world in, one [`Observation`] out, a deadline around it: the checks of a round.
//!
//! Responsible for asking: who listens on the port (sock_diag), what the health check answers
//! (HTTP), how many processes the unit has (cgroup). Not responsible for the unit itself, which
//! the room `systemd` reads, nor for what an observation means, which the judge decides, nor for
//! when to ask again.
//!
//! Whatever could block (connecting, resolving, `/proc` of a process stuck in the kernel) runs in
//! a bounded [`Pool`]; a check that is stuck blinds itself alone.

mod clock;
mod http;
mod identity;
mod pool;
mod port;
mod processes;
mod sock_diag;
mod text;
mod world;

use std::sync::Arc;
use std::time::Duration;

use crate::judge::{CheckKind, Observation, Target};

pub use identity::Identity;
pub use pool::{Allowance, Limits, Missed, Pool};
pub use sock_diag::{DiagError, Listener, listeners};
pub use world::World;

/// What the checks of one unit need to know about it.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What the app is expected to look like.
    pub target: Arc<Target>,
    /// `ControlGroup` of the unit as last read; none while it has none.
    pub control_group: Option<String>,
    /// A socket unit triggers this one (`TriggeredBy`): a listener of PID 1 is then its own.
    pub socket_activated: bool,
    /// The deadline of the port and process checks. The HTTP check has its own in its target.
    pub timeout: Duration,
    /// Where `/proc`, `/sys` and `/etc` are.
    pub world: Arc<World>,
}

/// Makes one check, once. It never exceeds its deadline by more than a tenth of a second, and
/// whatever keeps it from being made is [`Finding::Unknown`](crate::judge::Finding::Unknown).
/// Dropping the future cancels: the result is thrown away, and a check that had not begun never does.
///
/// A check that is not configured is unknown and says so.
pub async fn observe(kind: CheckKind, probe: &Probe, pool: &Pool) -> Observation {
    let probe = probe.clone();
    let timeout = match (kind, &probe.target.http) {
        (CheckKind::Http, Some(http)) => http.timeout,
        _ => probe.timeout,
    };
    let made = pool.run(timeout, move |allowance| match kind {
        CheckKind::Port => port::check(&probe),
        CheckKind::Http => http::check(&probe.target, allowance),
        CheckKind::Processes => processes::check(&probe),
    });
    match made.await {
        Ok(observation) => observation,
        Err(missed) => Observation::unknown(format!("{kind} check: {missed}")),
    }
}
