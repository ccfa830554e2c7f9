//! Ends processes: TERM, and KILL for those that are still there a while later.
//!
//! A pid is anybody's as soon as its process has gone. A pidfd is one process's for ever: once it is
//! open, start time and cgroup have to be those that were judged, and only then a signal goes out.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::super::result::now;
use super::Doomed;
use crate::checks::World;
use crate::checks::straggler::ProcessFacts;
use crate::judge::Moment;

/// How long they are given to end by themselves.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the kernel is given to carry a SIGKILL out.
const KILLED: Duration = Duration::from_secs(1);

/// What became of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum How {
    /// It had gone, or become another, before anything was sent.
    Gone,
    /// Ended.
    Ended {
        /// It took a SIGKILL.
        killed: bool,
    },
    /// Not ended, and why.
    Failed(String),
}

/// Ends them side by side, by `until` at the latest.
pub(super) fn end(world: &World, doomed: Vec<Doomed>, until: Moment) -> Vec<(Doomed, How)> {
    let mut all: Vec<(Doomed, Option<OwnedFd>, How)> = doomed
        .into_iter()
        .map(|doomed| match seize(world, &doomed.facts) {
            Ok(handle) => (doomed, Some(handle), How::Ended { killed: false }),
            Err(how) => (doomed, None, how),
        })
        .collect();
    signal(&mut all, Signal::TERM);
    wait(&all, until.min(now() + PATIENCE));
    let late: Vec<bool> =
        all.iter().map(|(_, handle, _)| handle.as_ref().is_some_and(|h| !gone(h))).collect();
    for ((_, handle, how), late) in all.iter_mut().zip(late) {
        if late {
            *how = How::Ended { killed: true };
        } else {
            *handle = None;
        }
    }
    signal(&mut all, Signal::KILL);
    wait(&all, now() + KILLED);
    all.into_iter()
        .map(|(doomed, handle, how)| match handle {
            Some(handle) if !gone(&handle) => (doomed, How::Failed("SIGKILL has no effect on it".to_owned())),
            _ => (doomed, how),
        })
        .collect()
}

/// A handle of the process that was judged, and of no other.
fn seize(world: &World, judged: &ProcessFacts) -> Result<OwnedFd, How> {
    let pid = judged.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1);
    let (Some(number), Some(pid)) = (judged.pid, pid.and_then(Pid::from_raw)) else { return Err(How::Gone) };
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return Err(How::Gone),
        Err(error) => return Err(How::Failed(error.to_string())),
    };
    let now = ProcessFacts::of(world, number);
    let same = now.is_some_and(|now| {
        now.started.is_some() && now.started == judged.started && now.control_group == judged.control_group
    });
    if same { Ok(handle) } else { Err(How::Gone) }
}

fn signal(all: &mut [(Doomed, Option<OwnedFd>, How)], signal: Signal) {
    for (_, handle, how) in all {
        let Some(open) = &handle else { continue };
        match pidfd_send_signal(open, signal) {
            // Gone by itself, in the moment.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => {
                *how = How::Failed(error.to_string());
                *handle = None;
            }
        }
    }
}

/// Waits until all of them have gone.
fn wait(all: &[(Doomed, Option<OwnedFd>, How)], until: Moment) {
    for (_, handle, _) in all {
        let Some(handle) = handle else { continue };
        let mut ready = [PollFd::new(handle, PollFlags::IN)];
        let left = Timespec::try_from(until.since(now())).ok();
        // Whatever comes of it, `gone` tells.
        let _ = poll(&mut ready, left.as_ref());
    }
}

/// A pidfd can be read once its process has ended (pidfd_open(2)).
fn gone(handle: &OwnedFd) -> bool {
    let mut ready = [PollFd::new(handle, PollFlags::IN)];
    poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}
