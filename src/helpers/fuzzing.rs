//! What helpers look at, and what they leave.
#![allow(clippy::expect_used, reason = "a test, if not by name")]

use super::evidence::{host, journal, processes};
use super::preflight;
use super::result::{Ending, Helper, Report, parse};
use crate::checks;
use crate::fuzzing::kit::{Folder, assert_plain, parts};
use crate::incidents::Evidence;
use crate::judge::Moment;
use crate::plain;

const GROUP: &str = "/system.slice/web.service";

/// Where the parts of an input go.
const FILES: [&str; 17] = [
    "proc/7/stat",
    "proc/7/status",
    "proc/7/cmdline",
    "proc/7/comm",
    "proc/7/cgroup",
    "proc/7/statm",
    "proc/7/limits",
    "proc/7/task/7/wchan",
    "proc/7/smaps_rollup",
    "proc/meminfo",
    "proc/pressure/memory",
    "proc/loadavg",
    "sys/fs/cgroup/system.slice/web.service/cgroup.procs",
    "sys/fs/cgroup/system.slice/web.service/memory.current",
    "sys/fs/cgroup/system.slice/web.service/memory.stat",
    "etc/passwd",
    "run/systemd/sessions/1",
];

/// Files of the kernel; behind them the tables of swaps and of mounts.
pub(crate) fn proc(bytes: &[u8]) {
    thread_local!(static HOST: Folder = {
        let host = Folder::new("proc");
        host.put("sys/fs/cgroup/cgroup.controllers", Some(b""));
        host
    });
    let mut all = parts(bytes);
    HOST.with(|host| host.put_all(&FILES, &mut all));
    let root = HOST.with(|host| host.path().to_owned());
    checks::fuzzing::look_at_host(&root, GROUP);
    let world = checks::World::at(&root);
    let mut lines = processes::lines(&world, Some(GROUP));
    lines.extend(host::memory(&world, Some(GROUP)));
    lines.extend(host::pressure(&world));
    evidence(lines);
    for unit in crate::recovery::units_of_swaps(&String::from_utf8_lossy(all.next().unwrap_or_default())) {
        assert!(unit.ends_with(".swap") && !unit.contains('/'), "{unit:?}");
    }
    checks::fuzzing::mount_of(all.next().unwrap_or_default());
}

fn evidence(lines: Vec<String>) {
    let mut report = Report {
        helper: Helper::Evidence,
        subject: "web".parse().expect("a subject"),
        began: Moment::from_micros(1),
        ending: Ending::Done(lines.concat()),
        lines,
    };
    report.bound();
    assert_bounded(&report);
    let written = serde_json::to_vec_pretty(&report).expect("it can be written");
    assert_eq!(parse(&written).expect("it can be read"), report);
}

fn assert_bounded(report: &Report) {
    assert!(report.lines.len() <= 100);
    report.lines.iter().for_each(|line| assert_plain(line, 500));
    if let Ending::Done(text) | Ending::Failed(text) = &report.ending {
        assert_plain(text, 500);
    }
}

/// What a helper left, as the daemon reads it.
pub(crate) fn result(bytes: &[u8]) {
    let Ok(report) = parse(bytes) else { return };
    let written = serde_json::to_vec(&report).expect("it can be written");
    assert_eq!(parse(&written).expect("it can be read"), report);
    assert_bounded(&report);
    let _ = (preflight::missing(&report), preflight::blind(&report));
    let evidence = Evidence::new(i64::MAX, None, report.lines);
    evidence.lines.iter().for_each(|line| assert_plain(line, 500));
}

/// Anybody's words: in the journal, in names, in answers.
pub(crate) fn text(bytes: &[u8]) {
    let lines = journal::newest(bytes);
    assert!(lines.len() <= 60);
    evidence(lines);
    let text = String::from_utf8_lossy(bytes);
    for most in [1, 2, 40, 200] {
        assert_plain(&plain::cut(&text, most), most);
        assert_plain(&checks::clean(&text, most), most);
    }
    assert_plain(&plain::on_one_line(&text), text.chars().count());
    assert!(!plain::on_lines(&text).contains(|c| c != '\n' && plain::is_hidden(c)));
    let json = plain::in_json(&serde_json::to_string_pretty(&text).expect("it can be written"));
    assert_plain(&json, usize::MAX);
    assert_eq!(serde_json::from_str::<String>(&json).expect("it can be read"), text);
}
