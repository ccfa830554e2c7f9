//! The readings of the unit: when it is read, and what a reading changes.
//!
//! Who started or ended it is told by `life`; what follows from it is for `judging`.

use std::time::Duration;

use super::app::{App, RECONCILE, SETTLE};
use super::effect::Effect;
use super::level::Level;
use super::life::{Change, Ending, Starter};
use super::record::EventKind;
use super::recovery::Recovery;
use super::time::Moment;
use super::unit::{ActiveState, Dependency, LoadState, UnitReading};
use super::verdict::Verdict;

/// A reading that was asked for and never came is asked for again after this long.
pub(super) const READ_AGAIN: Duration = Duration::from_secs(10);

impl App {
    pub(super) fn read_due(&self) -> Option<Moment> {
        if let Some(asked) = self.read_asked {
            return Some(asked + READ_AGAIN);
        }
        match (self.down_seen, self.read_at) {
            (Some(seen), Some(read)) if read < seen + SETTLE => Some(seen + SETTLE),
            (_, read) => read.map(|read| read + self.reconcile_every()),
        }
    }

    /// States that wait for another unit, or for what sends no signal, are looked at more often.
    pub(super) fn reconcile_every(&self) -> Duration {
        match self.verdict {
            Verdict::StoppedWithDependency
            | Verdict::NotStarted
            | Verdict::Changing
            | Verdict::Unknown
            // Neither a thawed cgroup nor a debugger that leaves sends a signal.
            | Verdict::Paused => self.policy.check_interval.min(RECONCILE),
            // Many apps are not read all at once.
            _ => RECONCILE.mul_f64(0.75 + 0.25 * self.share),
        }
    }

    pub(super) fn ask_reading(&mut self, now: Moment, out: &mut Vec<Effect>) {
        // One at a time; a reading that never came is asked for again.
        if self.read_asked.is_some_and(|asked| now.since(asked) < READ_AGAIN) {
            self.read_again = true;
            return;
        }
        self.read_asked = Some(now);
        self.read_again = false;
        out.push(Effect::ReadUnit);
    }

    pub(super) fn take_reading(&mut self, now: Moment, unit: UnitReading, out: &mut Vec<Effect>) {
        self.read_at = Some(now);
        self.read_begun = Some(self.read_asked.take().unwrap_or(now));
        self.job_over = self.job_over.filter(|over| self.read_begun.is_some_and(|begun| begun < *over));
        self.unreadable_since = None;
        if std::mem::take(&mut self.read_again) {
            self.ask_reading(now, out);
        }
        let restarts = self.unit.as_ref().map_or(unit.restarts, |before| before.restarts);
        self.loops.restarted(now, unit.restarts.saturating_sub(restarts));
        // Of a unit that goes round, every reading may show the same state of another round.
        let class = |unit: &UnitReading| {
            (unit.active, unit.auto_restarting(), unit.job.is_some(), unit.invocation, unit.restarts)
        };
        if self.unit.as_ref().map(class) != Some(class(&unit)) {
            self.state_since = now;
        }
        self.dumping_since = unit.dumping.then(|| self.dumping_since.unwrap_or(now));
        let file_gone = !matches!(unit.load, LoadState::Loaded | LoadState::Other);
        self.load_bad_since = file_gone.then(|| self.load_bad_since.unwrap_or(now));

        let down = unit.active.is_down() && !unit.auto_restarting();
        let acting = self.recovery.as_ref().is_some_and(Recovery::is_acting);
        // The end of another run, which we did not begin and nobody saw up, has signals of its own.
        let same_run = self.unit.as_ref().is_some_and(|before| before.invocation == unit.invocation);
        let seen = self.down_seen.filter(|_| same_run || acting);
        let settled = seen.is_some_and(|seen| now.since(seen) >= SETTLE);
        self.down_seen = down.then(|| seen.unwrap_or(now));
        let change = self.life.read(&unit, acting, settled);
        self.take_change(now, change, &unit, out);
        // What Type=notify takes until it is up is its own; the grace is for what it needs beyond.
        let was_activating =
            self.unit.as_ref().is_some_and(|before| before.active == ActiveState::Activating);
        if was_activating && unit.active == ActiveState::Active && !self.good_since_start {
            self.grace_from = Some(up_since(&unit, now));
        }
        if unit.active.is_down() && unit.inactive_exit.is_none() {
            // One that is only not up yet keeps nothing down: what waits for it has a job of its own.
            let failed = |other: &Dependency| {
                let heals = other.active == ActiveState::Activating && !other.job;
                other.needed && (other.active == ActiveState::Failed || heals)
            };
            self.kept_down |= unit.dependencies.iter().any(failed);
        } else {
            self.kept_down = false;
        }
        self.unit = Some(unit);
    }

    fn take_change(
        &mut self,
        now: Moment,
        change: Option<Change>,
        unit: &UnitReading,
        out: &mut Vec<Effect>,
    ) {
        match change {
            Some(Change::Started(starter)) => {
                self.dirty = true;
                if starter != Starter::BeforeUs {
                    self.loops.started(now);
                }
                if starter == Starter::Somebody {
                    self.loops.over();
                    self.attend();
                }
                self.dependency_starts = None;
                self.owed_start = false;
                self.around.begin();
                if let Some(recovery) = &mut self.recovery {
                    recovery.began_run(unit.invocation);
                }
                self.begin_invocation(now, unit, starter);
                if starter == Starter::Somebody {
                    self.foreign_start(now, out);
                }
            }
            Some(Change::Ended(ending)) => {
                self.trouble_since = (ending == Ending::ByItself).then_some(now);
                if unit.active == ActiveState::Failed {
                    self.loops.gave_up();
                }
                if ending == Ending::Stopped {
                    self.attend();
                }
                self.dirty = true;
                self.stop_told = false;
                self.unloaded_news = ending == Ending::Unloaded;
                if self.verdict == Verdict::Paused {
                    self.tell_ending(&ending, out);
                }
                self.forget_rounds();
            }
            None => {}
        }
    }

    /// A job is told of on a unit that is known to be down for longer than signals take: that job did not
    /// end its run, which is concluded first, should that not have come to pass yet.
    pub(super) fn conclude_first(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let settled = self.down_seen.is_some_and(|seen| now.since(seen) >= SETTLE);
        // What a start of ours has begun is taken down by no step of that recovery.
        let began = self.recovery.as_ref().and_then(|recovery| recovery.intent.run);
        let ours = began.is_some() && self.unit.as_ref().is_some_and(|unit| unit.invocation == began);
        let acting = self.is_acting() && !ours;
        if !settled || acting || self.life.interfered() || !self.end_is_unclear() {
            return;
        }
        let Some(unit) = self.unit.clone() else { return };
        let change = self.life.read(&unit, false, true);
        self.take_change(now, change, &unit, out);
    }

    /// Who stopped what is told during a pause as well, where no verdict says so.
    fn tell_ending(&self, ending: &Ending, out: &mut Vec<Effect>) {
        let (event, text) = match ending {
            Ending::ByItself => (EventKind::VerdictChanged, "it ended by itself".to_owned()),
            Ending::Stopped | Ending::Unloaded => {
                (EventKind::StoppedByAdmin, "somebody stopped it".to_owned())
            }
            Ending::StoppedWith(other) => (EventKind::VerdictChanged, format!("it went down with {other}")),
        };
        self.tell(out, event, Level::Info, format!("{text} during the pause"));
    }

    pub(super) fn take_unreadable(&mut self, now: Moment, reason: &str, out: &mut Vec<Effect>) {
        self.read_at = Some(now);
        self.read_asked = None;
        if self.unreadable_since.is_none() {
            self.unreadable_since = Some(now);
            self.tell(out, EventKind::Blind, Level::Warn, format!("its unit cannot be read: {reason}"));
        }
    }

    fn begin_invocation(&mut self, now: Moment, unit: &UnitReading, starter: Starter) {
        self.forget_rounds();
        self.doubt_what_was_seen_outside();
        self.bad_since_start = false;
        let since = up_since(unit, now);
        self.wants_proof(since);
        // An app that ran for long before we looked is past its grace; its start teaches us nothing.
        self.watched_start = starter != Starter::BeforeUs || now.since(since) < self.grace();
        // One that is found starting may have had its first good round before us.
        self.needs_bad_round = starter == Starter::BeforeUs;
        if starter != Starter::BeforeUs {
            self.chronicle.take_restart(now);
            self.dirty = true;
        }
        if starter == Starter::Systemd
            && let Some(recovery) = &mut self.recovery
        {
            recovery.started_again();
        }
    }

    /// Trouble begins when nobody asked for what is seen of the unit; suspicion begins it as well, and
    /// a good round ends it. What may be lost later is gathered now.
    pub(super) fn note_trouble(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(unit) = &self.unit else { return };
        let down = unit.active.is_down() || unit.auto_restarting();
        let asked_for = unit.active.is_down()
            && match self.life.ending() {
                Some(ending) => *ending != Ending::ByItself,
                None => unit.inactive_exit.is_none(),
            };
        let unseen = self.target.kinds().is_empty() || self.all_unknown();
        // Nothing else can prove that it does not go round any more.
        if unseen
            && unit.active == ActiveState::Active
            && unit.active_enter.is_some_and(|since| now.since(since) >= self.policy.min_uptime)
        {
            self.loops.good();
        }
        let well =
            self.verdict == Verdict::Healthy && self.history.bad_in_a_row() == 0 && self.memory_over == 0;
        if asked_for || self.is_acting() || (well && !down && self.probing.calm()) {
            self.trouble_since = None;
        } else if down && self.trouble_since.is_none() {
            self.trouble_since = Some(now);
        }
        let known = self.trouble_known;
        self.trouble_known = self.trouble_since.is_some();
        if self.trouble_known && !known {
            out.push(Effect::GatherEvidence);
        }
    }
}

/// Since when the unit is up, or on its way: while it is, `ActiveEnterTimestamp` is still that of
/// the run before.
fn up_since(unit: &UnitReading, now: Moment) -> Moment {
    let entered = unit.active_enter.filter(|_| unit.active != ActiveState::Activating);
    entered.or(unit.inactive_exit).map_or(now, |since| since.min(now))
}
