//! The wall clock jumps by hours: intervals, cooldowns and what is remembered do not care.

use std::time::Duration;

use super::seen::Seen;
use super::show;
use crate::machine::{AppSpec, Machine, now};
use crate::pace::{SOON, watch};
use crate::support::{let_pass, view};

/// How long a jump is looked at.
const AFTERWARDS: Duration = Duration::from_secs(6);
/// Between two recoveries.
const COOLDOWN: Duration = Duration::from_secs(20);

#[test]
fn clock() {
    let m = Machine::boot("clock", "640M");
    let cooldown = COOLDOWN.as_secs();
    watch(
        &m,
        &AppSpec::new("web", 3000),
        &format!("cooldown = {cooldown}\ncooldown_max = {cooldown}\nmax_attempts = 9"),
    );
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
    let first = m.fault("web", "crash");
    m.wait_event(SOON, "web", "recovery-verified", first);
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
    let apart = started.at.saturating_sub(last.map_or(started.at, |event| event.at));
    let right = COOLDOWN..COOLDOWN + Duration::from_secs(20);
    seen.and(moved.abs() >= hours.abs() - 1, || format!("the clock moved by {moved} h"))
        .and(right.contains(&apart), || format!("recoveries {apart:.1?} apart, cooldown {COOLDOWN:?}"))
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
