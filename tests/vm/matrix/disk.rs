//! The file system of the state is full: what happens is kept all the same, and told.

use super::seen::{Seen, condition};
use super::show;
use crate::machine::{AppSpec, Machine, now};
use crate::pace::{SOON, watch};
use crate::support::{count, wait_view};

const STATE: &str = "/var/lib/app-monitor";

#[test]
fn disk() {
    let m = Machine::boot("disk", "640M");
    m.must(&format!(
        "systemctl stop app-monitor && mount /dev/vdb /mnt && \
         cp -a {STATE}/. /mnt/ && chown --reference={STATE} /mnt && chmod --reference={STATE} /mnt && \
         umount /mnt && mount /dev/vdb {STATE} && systemctl start app-monitor"
    ));
    watch(&m, &AppSpec::new("web", 3000), "min_disk = \"4M\"");
    show(&m, &[("disk_full", disk_full)]);
}

fn disk_full(m: &Machine) -> Seen {
    let at = now();
    m.must(&format!("dd if=/dev/zero of={STATE}/filler bs=64k 2>/dev/null; df {STATE} | grep -q '100%'"));
    let seen = condition(m, at, "disk-low");

    // Watching goes on, and so does recovering.
    let crashed = m.fault("web", "crash");
    m.wait_event(SOON, "web", "recovery-verified", crashed);
    let said = m.journal_of("app-monitor.service");
    let lines = said.lines().filter(|line| line.contains("cannot write the state")).count();
    // Nothing is lost when it starts anew on a full disk: neither what it remembers, of which a pause is
    // the plainest, nor what it wrote down.
    m.must("app-monitor pause web --for 20m --reason full && systemctl restart app-monitor");
    let paused = wait_view(m, "web", "it is watched again", |view| view["paused_seconds"].as_u64());
    m.must("app-monitor resume web");
    let told = outcome(m);

    // With room again, the state is written where it belongs.
    let at = now();
    m.must(&format!("rm {STATE}/filler"));
    m.wait_event(SOON, "web", "condition-ended", at);
    let crashed = m.fault("web", "crash");
    m.wait_event(SOON, "web", "recovery-verified", crashed);
    let incidents = format!("cd {STATE}/incidents && grep -q recovered web-1.json web-2.json");
    m.wait_for(SOON, "incidents are written where they belong", || m.run(&incidents).ok().then_some(()));
    let aside = m.must("ls /run/app-monitor/incidents");
    let kept = m.run(&format!("cmp {STATE}/state.json /run/app-monitor/state.json")).ok();
    let failed = count(m, "web", "recovery-failed", at);
    seen.and(lines == 1, || format!("said {lines} times that the state cannot be written"))
        .and(paused > 1000, || format!("{paused} s of pause left after a restart"))
        .and(kept && failed == 0, || "the state on disk is not the one in force".to_owned())
        .and(told == "recovered", || format!("the incident on the full disk is {told}"))
        .and(aside.is_empty(), || format!("still aside: {aside}"))
}

/// What came of the first incident, as it is told.
fn outcome(m: &Machine) -> String {
    let incident = m.run("app-monitor incidents web-1 --json").stdout;
    let incident: serde_json::Value = serde_json::from_str(&incident).unwrap_or_default();
    incident["outcome"].as_str().unwrap_or("not there").to_owned()
}
