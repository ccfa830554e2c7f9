//! Memory: of one app, and of the host.

use std::time::Duration;

use super::seen::{Seen, condition, recovered};
use super::show;
use crate::machine::{AppSpec, Machine, now};
use crate::pace::{watch, watch_anew};
use crate::support::{let_pass, said_at};

#[test]
fn memory() {
    let m = Machine::boot("memory", "768M");
    let app = AppSpec {
        sigterm_handler: true,
        service_lines: "MemoryMax=300M\nMemorySwapMax=0".to_owned(),
        ..AppSpec::new("web", 3000)
    };
    // What systemd says takes longer to arrive here than three refused connections.
    watch(&m, &app, "failures = 6");
    show(&m, &[("oom_kill", oom_kill), ("app_memory", app_memory), ("host_memory", host_memory)]);
}

fn oom_kills(m: &Machine) -> usize {
    m.entries("-b UNIT=web.service UNIT_RESULT=oom-kill").len()
}

/// The kernel kills it at its MemoryMax.
fn oom_kill(m: &Machine) -> Seen {
    let at = m.fault("web", "hoard 400");
    let seen = recovered(m, at);
    let kills = oom_kills(m);
    seen.and(kills == 1, || format!("systemd saw {kills} OOM kills"))
}

/// It leaks towards its MemoryMax, and is asked to end before the kernel makes it.
fn app_memory(m: &Machine) -> Seen {
    watch_anew(m, "max_memory = \"110M\"");
    let before = oom_kills(m);
    let at = m.fault("web", "leak 500");
    let seen = recovered(m, at);
    let (kills, asked) = (oom_kills(m) - before, said_at(m, "web.service", "closing", at).len());
    seen.and(kills == 0, || "the kernel was faster".to_owned())
        .and(asked == 1, || format!("its SIGTERM handler ran {asked} times"))
}

/// Somebody else takes what the host has; the app, which is small and well, is left alone.
fn host_memory(m: &Machine) -> Seen {
    watch_anew(m, "min_available = \"170M\"");
    let at = now();
    // What lies in a tmpfs cannot be had back without swap.
    m.must(
        "mkdir -p /run/taken && mount -t tmpfs -o size=100% taken /run/taken && \
         free=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo) && \
         dd if=/dev/zero of=/run/taken/file bs=1M count=$((free - 125))",
    );
    let seen = condition(m, at, "host-memory");
    let events = m.events_since("web", at);
    let told = events.iter().find(|event| event.name == "condition-began");
    let text = told.map_or("", |event| event.message.as_str()).to_owned();
    m.must("umount /run/taken");
    seen.and(text.contains("biggest: "), || format!("it does not name who uses most: {text}"))
}

/// With swap, and work that waits for memory.
#[test]
fn pressure() {
    let m = Machine::boot("pressure", "768M");
    m.must(
        "dd if=/dev/zero of=/swapfile bs=1M count=128 2>/dev/null && chmod 600 /swapfile && mkswap /swapfile && \
         printf '[Swap]\\nWhat=/swapfile\\n' >/etc/systemd/system/swapfile.swap && \
         systemctl daemon-reload && systemctl start swapfile.swap",
    );
    watch(&m, &AppSpec::new("web", 3000), "");
    show(&m, &[("swap_reclaimed", swap_reclaimed), ("host_starved", host_starved)]);
}

/// Megabytes that the host has swapped out.
fn swapped(m: &Machine) -> u64 {
    let line = m.must("awk 'NR > 1 { used += $4 } END { print int(used / 1024) }' /proc/swaps");
    line.parse().unwrap_or(0)
}

/// Has so many megabytes in swap, which nobody asks for.
fn swap_out(m: &Machine, megabytes: u64) {
    m.must(&format!(
        "mkdir -p /run/idle && {{ mountpoint -q /run/idle || mount -t tmpfs idle /run/idle; }} && \
         systemd-run --quiet --wait --unit=idle -p Delegate=yes \
         /bin/sh -c 'dd if=/dev/zero of=/run/idle/file bs=1M count={megabytes} 2>/dev/null; \
         echo {megabytes}M >/sys/fs/cgroup/system.slice/idle.service/memory.reclaim; true'"
    ));
}

/// The host is short of memory, with pages swapped out, and the app breaks: it comes back to a host
/// that has its memory back.
fn swap_reclaimed(m: &Machine) -> Seen {
    // Short by its own measure alone, so that there is room for what comes back.
    watch_anew(m, "min_available = \"2G\"");
    let began = now();
    swap_out(m, 60);
    let before = swapped(m);
    condition(m, began, "host-memory");
    let at = m.fault("web", "status 500");
    let seen = recovered(m, at);
    let after = swapped(m);
    let enabled = m.unit_property("swapfile.swap", "ActiveState");
    m.must("umount /run/idle");
    seen.and(before >= 30, || format!("only {before} MiB were swapped out"))
        .and(after < before / 4, || format!("{after} of {before} MiB are still swapped out"))
        .and(enabled == "active", || format!("the swap is {enabled}"))
        .figure(format!("{before} MiB had back"))
}

/// All work waits for memory most of the time, and the app, which answers, is why: by far the
/// biggest, and grown by half since it settled.
fn host_starved(m: &Machine) -> Seen {
    watch_anew(m, "min_available = \"50M\"");
    swap_out(m, 60);
    let at = now();
    // Above MemoryHigh with nothing to reclaim, a process is made to wait for every page.
    m.must(
        "systemd-run --quiet --unit=starved -p MemoryHigh=8M -p MemorySwapMax=0 -p MemoryMax=200M \
         sh -c 'for i in 1 2 3 4; do tail /dev/zero & done; wait'",
    );
    // It settles for a minute.
    let pid = m.main_pid("web.service");
    seldom(Duration::from_secs(180), || {
        let age = m.must(&format!("ps -o etimes= -p {pid}"));
        age.trim().parse::<u64>().unwrap_or(0) >= 70
    });
    m.fault("web", "hoard 200");
    let mut most = 0.0_f64;
    let over = seldom(Duration::from_secs(240), || {
        most = most.max(starving(m));
        m.events_since("web", at).iter().any(|event| event.name == "incident-closed")
    });
    m.run("systemctl stop starved; umount /run/idle");
    let verdict = super::seen::conditions(m, at).join("+");
    Seen::since(m, at, &verdict)
        .and(over, || format!("no recovery, PSI full {most} % of the last minute at most"))
        .figure(format!("PSI full {most:.0} %"))
}

/// All work has waited for memory for so many percent of the last minute.
fn starving(m: &Machine) -> f64 {
    let share = m.must("sed -n 's/^full.*avg60=\\([0-9.]*\\).*/\\1/p' /proc/pressure/memory");
    share.parse().unwrap_or(0.0)
}

/// Looks seldom: looking is work that waits for no memory, and there is none of it to be measured
/// where all waits.
fn seldom(patience: Duration, mut probe: impl FnMut() -> bool) -> bool {
    let end = now() + patience;
    while now() < end {
        let_pass(Duration::from_secs(5));
        if probe() {
            return true;
        }
    }
    false
}
