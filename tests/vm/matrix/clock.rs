//! The wall clock jumps by hours: intervals, cooldowns and what is remembered do not care.

use std::time::Duration;

use super::seen::Seen;
use super::show;
use crate::machine::{AppSpec, Machine, now};
use crate::pace::{SOON, watch};
use crate::support::{let_pass, view};

/// How long a jump is looked at.
const AFTERWARDS: Duration = Duration::from_secs(6);
/// Between two recoveries; longer than a recovery and the look at the jump take on a busy host.
const COOLDOWN: Duration = Duration::from_secs(45);
/// What is due may take so long until it is seen to happen, on an emulated machine of a busy host; a clock that
/// counts is wrong by hours.
const LATE: Duration = Duration::from_secs(120);

#[test]
fn clock() {
    let m = Machine::boot("clock", "640M");
    let cooldown = COOLDOWN.as_secs();
    watch(
        &m,
        &AppSpec::new("web", 3000),
        &format!("cooldown = {cooldown}\ncooldown_max = {cooldown}\nmax_attempts = 9"),
    );
    let first = m.fault("web", "crash");
    m.wait_event(SOON, "web", "recovery-verified", first);
    show(&m, &[("clock_forward", forward), ("clock_back", back)]);
}

fn forward(m: &Machine) -> Seen {
    jumped(m, 5)
}

fn back(m: &Machine) -> Seen {
    jumped(m, -11)
}

/// The clock jumps after a recovery: nothing comes of it, and the next recovery waits for its
/// cooldown, not less and not hours more.
fn jumped(m: &Machine, hours: i64) -> Seen {
    let before = wall(m);
    let at = now();
    m.must(&format!("date --set '{hours} hours'"));
    let moved = (wall(m) - before) / 3600;
    let_pass(AFTERWARDS);
    let seen = Seen::since(m, at, view(m, "web")["verdict"].as_str().unwrap_or("?"));

    let again = m.fault("web", "crash");
    let started = m.wait_event(SOON, "web", "recovery-started", again);
    m.wait_event(SOON, "web", "recovery-verified", again);
    let last = m.events_since("web", Duration::ZERO);
    let last = last.iter().rfind(|event| event.name == "recovery-started" && event.at < at);
    let last = last.map_or(started.at, |event| event.at);
    let apart = started.at.saturating_sub(last);
    let due = (last + COOLDOWN).max(again);
    let right = apart >= COOLDOWN && started.at < due + LATE;
    seen.and(moved.abs() >= hours.abs() - 1, || format!("the clock moved by {moved} h"))
        .and(right, || format!("recoveries {apart:.1?} apart, cooldown {COOLDOWN:?}"))
        .figure(format!(
            "next recovery after {:.0} s, cooldown {} s",
            apart.as_secs_f64(),
            COOLDOWN.as_secs()
        ))
}

/// Seconds since the epoch in the machine.
fn wall(m: &Machine) -> i64 {
    m.must("date +%s").parse().unwrap_or(0)
}
