//! Memory: of one app, and of the host.

use super::seen::{Seen, recovered};
use super::show;
use crate::machine::{AppSpec, Machine};
use crate::pace::watch;

#[test]
fn memory() {
    let m = Machine::boot("memory", "640M");
    let app =
        AppSpec { service_lines: "MemoryMax=160M\nMemorySwapMax=0".to_owned(), ..AppSpec::new("web", 3000) };
    watch(&m, &app, "");
    show(&m, &[("oom_kill", oom_kill)]);
}

/// The kernel kills it at its MemoryMax.
fn oom_kill(m: &Machine) -> Seen {
    let at = m.fault("web", "hoard 400");
    let seen = recovered(m, at);
    let result = m.entries("-b UNIT=web.service UNIT_RESULT=oom-kill").len();
    seen.and(result == 1, || format!("systemd saw {result} OOM kills"))
}
