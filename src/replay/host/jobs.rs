//! What systemd does in the host in miniature: for us, and for somebody else.

use std::time::Duration;

use super::{Coming, Stage, running};
use crate::judge::{ActId, ActiveState, Event, Exit, JobId, JobResult, Outcome, Step, Subject};
use crate::replay::script::Kind;

impl Stage {
    pub(super) fn happen(&mut self, subject: &Subject, coming: Coming) {
        match coming {
            Coming::Deliver(event) => self.send(subject, event),
            Coming::Reading => {
                if let Some(actor) = self.actors.get(subject) {
                    let unit = Box::new(actor.unit.clone());
                    self.send(subject, Event::Unit(unit));
                }
            }
            Coming::StopDone(act, step, job) => {
                self.go_down(subject, true);
                if let Some(actor) = self.actors.get_mut(subject) {
                    actor.unit.job = Some(job);
                }
                self.later(5, subject, Coming::StepDone(act, step, job));
            }
            Coming::StepDone(act, step, job) => {
                if let Some(actor) = self.actors.get_mut(subject) {
                    actor.unit.job = None;
                }
                match step {
                    Step::Restart { .. } | Step::Start => self.come_up(subject),
                    Step::Stop { .. } => self.go_down(subject, true),
                    _ => {}
                }
                self.send(subject, Event::JobRemoved(job, JobResult::Done));
                self.send(subject, Event::StepEnded(act, Outcome::Done));
                self.later(3, subject, Coming::Deliver(Event::Changed));
            }
        }
    }

    pub(super) fn perform(&mut self, subject: &Subject, act: ActId, step: Step) {
        if matches!(step, Step::ResetFailed | Step::KillLeftovers)
            && let Some(actor) = self.actors.get_mut(subject)
        {
            actor.unit.active = ActiveState::Inactive;
        }
        let on_the_unit =
            matches!(step, Step::Restart { .. } | Step::Start | Step::Stop { .. } | Step::Reload);
        if !on_the_unit {
            // A helper, a hook, or nothing but a call.
            let outcome = match step {
                Step::Preflight if self.held(Kind::ConfigMissing) => {
                    Outcome::Failed("keys or files that a start needs are missing".to_owned())
                }
                _ => Outcome::Done,
            };
            self.later(50, subject, Coming::Deliver(Event::StepEnded(act, outcome)));
            return;
        }
        self.job += 1;
        let job = JobId(self.job);
        let silent = self.actors.get_mut(subject).is_some_and(|actor| {
            actor.unit.job = Some(job);
            matches!(actor.ill, Some(Kind::Freeze | Kind::Overload))
        });
        self.later(1, subject, Coming::Deliver(Event::JobNew(job)));
        self.later(2, subject, Coming::Deliver(Event::StepQueued(act, job)));
        match step {
            Step::Restart { kill_after } | Step::Stop { kill_after } => {
                // An event loop that is blocked runs no SIGTERM handler.
                let stop = if silent { kill_after } else { Duration::from_millis(100) };
                let millis = u64::try_from(stop.as_millis()).unwrap_or(u64::MAX);
                let half = match step {
                    Step::Restart { .. } => Coming::StopDone(act, step, job),
                    _ => Coming::StepDone(act, step, job),
                };
                self.later(millis, subject, half);
            }
            _ => self.later(20, subject, Coming::StepDone(act, step, job)),
        }
    }

    fn come_up(&mut self, subject: &Subject) {
        let now = self.now;
        let dies = self.held_for(Kind::Crash, subject);
        let Some(actor) = self.actors.get_mut(subject) else { return };
        if !actor.unit.active.is_down() {
            return;
        }
        actor.runs = actor.runs.wrapping_add(1).max(1);
        actor.unit = running(actor.runs, now);
        actor.up_since = now;
        actor.ill = None;
        if dies {
            self.go_down(subject, false);
            self.later(3, subject, Coming::Deliver(Event::Changed));
        }
    }

    fn go_down(&mut self, subject: &Subject, by_job: bool) {
        let now = self.now;
        let Some(actor) = self.actors.get_mut(subject) else { return };
        let unit = &mut actor.unit;
        if unit.active.is_down() {
            return;
        }
        let before = |millis| now - Duration::from_millis(millis);
        if by_job {
            (unit.active, unit.sub, unit.result) = (ActiveState::Inactive, "dead".into(), "success".into());
            // What a job stops leaves before its process ends.
            (unit.active_exit, unit.main_exit) = (Some(before(2)), Some(before(1)));
            unit.exit = Some(Exit::Signal(15));
        } else {
            (unit.active, unit.sub, unit.result) = (ActiveState::Failed, "failed".into(), "exit-code".into());
            (unit.active_exit, unit.main_exit) = (Some(now), Some(now));
            unit.exit = Some(Exit::Status(1));
        }
        unit.inactive_enter = Some(now);
        unit.main_pid = None;
        unit.control_group = None;
    }

    pub(super) fn fall(&mut self, subject: &Subject) {
        self.go_down(subject, false);
        self.later(3, subject, Coming::Deliver(Event::Changed));
    }

    fn foreign_job(&mut self, subject: &Subject) {
        self.job += 1;
        let job = JobId(self.job);
        self.send(subject, Event::JobNew(job));
        self.send(subject, Event::JobRemoved(job, JobResult::Done));
        self.later(3, subject, Coming::Deliver(Event::Changed));
    }

    /// `systemctl stop` replaces whatever job of ours is pending.
    pub(super) fn somebody_stops(&mut self, subject: &Subject) {
        let ours: Vec<_> = self
            .coming
            .iter()
            .filter_map(|(key, (whose, coming))| match coming {
                Coming::StopDone(act, _, job) | Coming::StepDone(act, _, job) if whose == subject => {
                    Some((*key, *act, *job))
                }
                _ => None,
            })
            .collect();
        self.go_down(subject, true);
        for (key, act, job) in ours {
            self.coming.remove(&key);
            if let Some(actor) = self.actors.get_mut(subject) {
                actor.unit.job = None;
            }
            self.send(subject, Event::JobRemoved(job, JobResult::Canceled));
            self.send(subject, Event::StepEnded(act, Outcome::Canceled));
        }
        self.foreign_job(subject);
    }

    pub(super) fn somebody_starts(&mut self, subject: &Subject) {
        self.come_up(subject);
        self.foreign_job(subject);
    }

    pub(super) fn somebody_restarts(&mut self, subject: &Subject) {
        self.go_down(subject, true);
        self.come_up(subject);
        self.foreign_job(subject);
    }
}
