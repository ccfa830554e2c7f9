//! Gathers what needs privilege to see, while a fault is being confirmed: what the unit's processes
//! wait for, what they have open, memory by kind, the accept queue, pressure, the last lines of the
//! journal.
//!
//! Environments and command lines are never read: both hold secrets. Each part is looked at on a
//! thread of its own, so that one that is stuck in the kernel takes nothing else with it.

pub(super) mod host;
pub(super) mod journal;
pub(super) mod processes;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::request::Request;
use super::result::{Ending, Helper, Report, now};
use crate::checks::World;
use crate::judge::{Target, UnitReading};
use crate::systemd::Bus;

/// All of it may take so long; the unit's own limit is longer.
const WITHIN: Duration = Duration::from_secs(6);
/// How long systemd may take to say where the unit's processes are.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// Gathers.
#[must_use]
pub fn run(request: &Request) -> Report {
    let began = now();
    let target = match request.member() {
        Ok(member) => member.target,
        Err(why) => return request.failed(Helper::Evidence, began, why),
    };
    let reading = read_unit(&target);
    let lines = gather(&request.root, &target, reading, WITHIN);
    let ending =
        if lines.is_empty() { Ending::Nothing } else { Ending::Done(format!("{} lines", lines.len())) };
    request.report(Helper::Evidence, began, ending, lines)
}

fn read_unit(target: &Target) -> Result<UnitReading, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let read = async { Bus::connect().await?.read_unit_alone(&target.unit).await };
        match tokio::time::timeout(ASK_WITHIN, read).await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(_) => Err("systemd does not answer".to_owned()),
        }
    })
}

/// A part of the evidence: what it is called, and how it is looked at.
type Part = (&'static str, Box<dyn FnOnce() -> Vec<String> + Send>);

fn gather(
    root: &Path,
    target: &Target,
    reading: Result<UnitReading, String>,
    within: Duration,
) -> Vec<String> {
    let mut lines = vec![unit_line(target, &reading)];
    let world = Arc::new(World::at(root));
    let group = reading.as_ref().ok().and_then(|unit| unit.control_group.clone());
    let (port, unit) = (target.port, target.unit.clone());
    let (first, second, third) = (Arc::clone(&world), Arc::clone(&world), world);
    let of_processes = group.clone();
    let root = root.to_owned();
    let parts: Vec<Part> = vec![
        ("process", Box::new(move || processes::lines(&first, of_processes.as_deref()))),
        ("memory", Box::new(move || host::memory(&second, group.as_deref()))),
        ("queue", Box::new(move || port.map(host::queue).unwrap_or_default())),
        ("host", Box::new(move || host::pressure(&third))),
        ("journal", Box::new(move || journal::lines(&root, &unit))),
    ];
    let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
    let until = now() + within;
    let (done, seen) = mpsc::channel();
    for (at, (_, look)) in parts.into_iter().enumerate() {
        let done = done.clone();
        let _ = std::thread::Builder::new().spawn(move || {
            let _ = done.send((at, look()));
        });
    }
    drop(done);
    let mut found: Vec<Option<Vec<String>>> = vec![None; names.len()];
    while let Ok((at, lines)) = seen.recv_timeout(until.since(now())) {
        if let Some(place) = found.get_mut(at) {
            *place = Some(lines);
        }
    }
    for (name, found) in names.into_iter().zip(found) {
        match found {
            Some(part) => lines.extend(part.into_iter().map(|line| format!("{name}: {line}"))),
            None => lines.push(format!("{name}: cannot be looked at, it is stuck in the kernel")),
        }
    }
    lines
}

fn unit_line(target: &Target, reading: &Result<UnitReading, String>) -> String {
    match reading {
        Err(why) => format!("unit: {} cannot be read: {why}", target.unit),
        Ok(unit) => {
            let pid = unit.main_pid.map_or_else(String::new, |pid| format!(", main pid {pid}"));
            let exit = unit.exit.map_or_else(String::new, |exit| format!(", last exit: {exit}"));
            let restarts = match unit.restarts {
                0 => String::new(),
                times => format!(", restarted by systemd {times} times"),
            };
            format!("unit: {} is {}, result {}{pid}{exit}{restarts}", target.unit, unit.sub, unit.result)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Target;

    #[test]
    fn what_is_stuck_takes_nothing_else_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("usr/bin/journalctl");
        std::fs::create_dir_all(journal.parent().unwrap()).unwrap();
        std::fs::write(&journal, "#!/bin/sh\nsleep 60 & echo \"$!\" > \"$0.pid\"; wait\n").unwrap();
        std::fs::set_permissions(&journal, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let target = Target { port: Some(1), ..Target::of_unit("web.service".parse().unwrap()) };
        let before = now();
        let lines = gather(folder.path(), &target, Err("no answer".to_owned()), Duration::from_millis(300));
        assert!(now().since(before) < Duration::from_secs(2));
        assert_eq!(lines[0], "unit: web.service cannot be read: no answer");
        assert_eq!(lines.last().unwrap(), "journal: cannot be looked at, it is stuck in the kernel");
        let pid = std::fs::read_to_string(folder.path().join("usr/bin/journalctl.pid")).unwrap_or_default();
        if let Some(pid) = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
