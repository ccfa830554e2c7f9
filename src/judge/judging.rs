//! From what is known to the verdict, and what is told of it. What holds beside it is for `noting`, the
//! incident for `incident`.

use std::time::Duration;

use super::app::App;
use super::diagnose::{FILE_GONE_FOR, Facts, diagnose};
use super::effect::Effect;
use super::errands::Seen;
use super::incident::NOT_STARTED_FOR;
use super::level::Level;
use super::mutation::{Mutation, active};
use super::noting::BLIND_FOR;
use super::observation::{CheckKind, Finding};
use super::record::EventKind;
use super::time::{Moment, Span};
use super::unit::{ActiveState, UnitReading};
use super::verdict::{Condition, Verdict};

/// A core dump may take that long before it no longer excuses anything.
const DUMP_AT_MOST: Duration = Duration::from_secs(120);

impl App {
    /// Reaches a verdict and tells what changed.
    pub(super) fn judge(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if self.unit.is_none() && self.unreadable_since.is_none() {
            return;
        }
        // The first verdict on an app that has long been up waits for its first answers.
        if !self.judged && self.awaits_first_answer(now) {
            return;
        }
        self.loops.notice(now);
        let (mut verdict, mut text) = self.diagnosis(now);
        if self.begins_anew(now, verdict) {
            (verdict, text) = self.diagnosis(now);
        }
        self.note_database(verdict);
        self.note_conditions(now, out);
        if verdict != self.verdict || !self.judged {
            self.change_verdict(now, verdict, text, out);
        } else {
            self.verdict_text = text;
        }
        self.hold_fault();
        if verdict.opens_incident() {
            self.end_suspicion();
        }
        if verdict == Verdict::Healthy {
            self.healthy_since.get_or_insert(now);
        } else {
            self.healthy_since = None;
        }
        self.keep_incident(now, out);
        self.tell_calm(now, out);
        self.tell_long_stop(now, out);
        if let Some(since) = self.healthy_since
            && now.since(since) >= self.policy.healthy_for
            && (self.budget.is_marked() || self.memory_budget.is_marked())
        {
            self.dirty = true;
            self.loops.forgive();
            if self.budget.forgive() | self.memory_budget.forgive() {
                let text = format!("healthy for {}; recoveries are allowed again", Span(now.since(since)));
                self.tell_all(out, EventKind::BreakerClosed, Level::Info, text, true);
            }
            self.companion.forgive();
        }
    }

    /// Its health has to be proven anew, with the grace of a start from that moment on.
    pub(super) fn wants_proof(&mut self, since: Moment) {
        self.good_since_start = false;
        self.held = None;
        self.grace_from = Some(since);
    }

    /// What is wrong with its answers holds until enough of them are good, whatever becomes of the unit
    /// meanwhile: neither a reload nor a reading that fails makes it well.
    fn hold_fault(&mut self) {
        let up = self.unit.as_ref().is_some_and(|unit| unit.active == ActiveState::Active);
        let sticks = active(Mutation::FaultSticks);
        if self.history.good_in_a_row() >= self.policy.successes && !sticks {
            self.held = None;
        } else if up && !self.is_acting() && self.verdict.is_of_answers() {
            self.held = Some((self.verdict, self.verdict_text.clone()));
        }
    }

    fn held(&self) -> Option<&(Verdict, String)> {
        let over = self.history.good_in_a_row() >= self.policy.successes && !active(Mutation::FaultSticks);
        self.held.as_ref().filter(|_| !over)
    }

    fn awaits_first_answer(&self, now: Moment) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.active == ActiveState::Active)
            && !self.target_is_unit_only()
            && self.latest.is_empty()
            // What another monitor began keeps its cause.
            && !self.recovery.as_ref().is_some_and(super::recovery::Recovery::is_acting)
            && self.pause_reason(now).is_none()
            && now.since(self.state_since) < self.longest_timeout()
    }

    fn diagnosis(&self, now: Moment) -> (Verdict, String) {
        self.diagnosis_with(now, self.pause_reason(now))
    }

    /// What the verdict would be if nobody worked on the app.
    pub(super) fn verdict_but_for_pause(&self, now: Moment) -> Verdict {
        self.diagnosis_with(now, None).0
    }

    fn diagnosis_with(&self, now: Moment, paused: Option<String>) -> (Verdict, String) {
        let unit = self.unit.as_ref().filter(|_| self.unreadable_since.is_none());
        let acting = self.recovery.as_ref().filter(|recovery| recovery.is_acting());
        let acting = acting.map(|recovery| (recovery.intent.cause, recovery.intent.text.as_str()));
        let confirmed = self.history.confirmed(&self.policy);
        let looping = self.goes_round(now);
        let facts = Facts {
            unit,
            load_bad_for: self.load_bad_since.map(|since| now.since(since)),
            stopping: self.stopping && !active(Mutation::ShutdownIgnored),
            paused: paused.as_deref(),
            ending: self.life.ending(),
            foreign_job: self.life.foreign_job().is_some() || self.job_over.is_some(),
            acting,
            port_holder: self.port_holder(),
            database: self.database_down(now),
            config: self.config_missing(),
            pending: self.is_pending(now),
            looping: looping.as_deref(),
            over_memory: self.over_memory().or(self.around.accused.as_deref()),
            healing_overdue: self.overdue_at().is_some_and(|at| now >= at) && self.is_healing(),
            starting: self.starting(now),
            confirmed,
            held: self.held().map(|(verdict, text)| (*verdict, text.as_str())),
            all_unknown: self.all_unknown(),
            unproven: !self.good_since_start && !self.target_is_unit_only(),
            previous: (self.verdict, &self.verdict_text),
        };
        diagnose(&facts)
    }

    /// An answer that decides what is wrong with an app that fell or fails is awaited.
    pub(super) fn is_pending(&self, now: Moment) -> bool {
        self.port_pending(now)
            || self.errand_pending(now, CheckKind::Database)
            || self.errand_pending(now, CheckKind::Preflight)
    }

    /// The evidence that its database does not accept connections. One that never did proves nothing.
    /// That it cannot be asked at the moment changes nothing, unless it lasts.
    pub(super) fn database_down(&self, now: Moment) -> Option<&str> {
        let seen = self.errands.seen(CheckKind::Database).filter(|_| !active(Mutation::DatabaseIgnored))?;
        let blind = seen.observation.finding == Finding::Unknown;
        let still = blind && seen.bad_in_a_row > 0 && now.since(seen.since) < BLIND_FOR;
        let down = (seen.is_bad() || still) && self.was_ever_good(CheckKind::Database);
        down.then_some(seen.observation.text.as_str())
    }

    /// What an app is owed that is down with its database, and what was tried meanwhile.
    fn note_database(&mut self, verdict: Verdict) {
        let accepts = self.errands.seen(CheckKind::Database).is_some_and(Seen::is_good);
        if self.tried_without && accepts && verdict != Verdict::DatabaseDown {
            self.tried_without = false;
            self.dirty = true;
        }
        let down = self.unit.as_ref().is_some_and(|unit| unit.active.is_down());
        if verdict == Verdict::DatabaseDown && down && !self.owed_start && !self.is_acting() {
            self.owed_start = true;
            self.dirty = true;
        }
    }

    /// What of the things that it needs is absent. Where they were never all there, it is the list that
    /// is wrong, and holds nothing back.
    pub(super) fn config_missing(&self) -> Option<&str> {
        let seen = self.errands.seen_since(CheckKind::Preflight, self.trouble_since?)?;
        let missing = seen.is_bad() && self.was_ever_good(CheckKind::Preflight);
        missing.then_some(seen.observation.text.as_str())
    }

    /// Why nothing is to be done, if somebody works on the app.
    fn pause_reason(&self, now: Moment) -> Option<String> {
        if let Some(pause) = &self.pause {
            let left = Span(pause.until.since(now).max(Duration::from_secs(1)));
            return Some(match &pause.reason {
                Some(reason) => format!("for another {left}: {reason}"),
                None => format!("for another {left}"),
            });
        }
        let unit = self.unit.as_ref()?;
        if unit.frozen {
            return Some("its cgroup is frozen (systemctl freeze)".into());
        }
        if unit.traced {
            return Some("a debugger holds its main process".into());
        }
        if self.dumping_since.is_some_and(|since| now.since(since) < DUMP_AT_MOST) {
            return Some("its main process is writing a core dump".into());
        }
        None
    }

    /// It goes round: so often, in words. One that has been up for longer than its grace is not restarted by
    /// systemd any more: what is wrong with the run that stays comes to light then.
    fn goes_round(&self, now: Moment) -> Option<String> {
        let up = self.unit.as_ref().is_some_and(|unit| unit.active == ActiveState::Active);
        let stays = up && self.grace_ends().is_some_and(|end| now >= end);
        self.loops.looping(now).filter(|_| !stays)
    }

    /// When the grace of the present run is over, be it forgiven anything or not.
    fn grace_ends(&self) -> Option<Moment> {
        self.grace_from.map(|from| from + self.grace())
    }

    pub(super) fn is_healing(&self) -> bool {
        self.unit.as_ref().is_some_and(UnitReading::auto_restarting)
    }

    /// Up, no good round yet, and within the grace: for how long.
    pub(super) fn starting(&self, now: Moment) -> Option<Duration> {
        let unit = self.unit.as_ref()?;
        let age = now.since(self.grace_from?);
        let up = unit.active == ActiveState::Active && !active(Mutation::GraceIgnored);
        (up && !self.good_since_start && !self.target_is_unit_only() && age < self.grace()).then_some(age)
    }

    fn target_is_unit_only(&self) -> bool {
        self.target.kinds().is_empty() && !(self.companion.is_fed() && self.companion.is_witnessed())
    }

    pub(super) fn all_unknown(&self) -> bool {
        let kinds = self.decisive_kinds();
        !kinds.is_empty()
            && kinds.iter().all(|kind| {
                self.latest.get(kind).is_some_and(|seen| match seen.finding {
                    Finding::Good => false,
                    Finding::Bad(_) => !self.was_ever_good(*kind),
                    Finding::Unknown => true,
                })
            })
    }

    /// The checks that decide: where there is a port or a health check, counting processes is not
    /// one of them.
    pub(super) fn decisive_kinds(&self) -> Vec<CheckKind> {
        let mut kinds = self.target.kinds();
        if kinds.len() > 1 {
            kinds.retain(|kind| *kind != CheckKind::Processes);
        }
        kinds
    }

    fn change_verdict(&mut self, now: Moment, verdict: Verdict, text: String, out: &mut Vec<Effect>) {
        let first = !std::mem::replace(&mut self.judged, true);
        let before = std::mem::replace(&mut self.verdict, verdict);
        self.verdict_text = text;
        let lasted = now.since(std::mem::replace(&mut self.verdict_since, now));
        self.dirty |= self.chronicle.take_verdict(now, verdict, self.trouble_since.unwrap_or(now));
        self.would_told = None;
        let line = match verdict {
            Verdict::Healthy if first || before == Verdict::Starting => format!("healthy{}", self.evidence()),
            Verdict::Healthy => format!("healthy again, was {before}{}", self.evidence()),
            // The line of the incident has the evidence, where it follows at once.
            _ if verdict.opens_incident() && self.incident.is_none() && verdict != Verdict::NotStarted => {
                format!("{verdict}, was {before}")
            }
            _ => self.headline(),
        };
        // Faults are told with their incident; repeating each of them as a warning would be noise.
        let level = self.level_of_change(before, lasted);
        match verdict {
            Verdict::StoppedByAdmin => {
                let line = format!("{line}; left alone until it is started again");
                self.tell(out, EventKind::StoppedByAdmin, Level::Info, line);
                if std::mem::take(&mut self.unloaded_news) {
                    let text = "it was stopped while nobody watched; if that was not meant, start it";
                    self.tell_all(out, EventKind::StoppedByAdmin, Level::Info, text.into(), true);
                }
            }
            _ => self.tell(out, EventKind::VerdictChanged, level, line),
        }
    }

    /// What it leaned on is back, or who worked on it is gone: counters are zero, and one that is up
    /// gets the grace of a start. What was seen meanwhile must decide nothing, so this comes before the
    /// verdict does.
    fn begins_anew(&mut self, now: Moment, verdict: Verdict) -> bool {
        let back = self.verdict == Verdict::DatabaseDown && self.database_down(now).is_none();
        let let_go = self.verdict == Verdict::Paused;
        if verdict == self.verdict || !self.judged || !(back || let_go) {
            return false;
        }
        if back {
            self.loops.over();
        }
        let up = self
            .unit
            .as_ref()
            .is_some_and(|unit| matches!(unit.active, ActiveState::Active | ActiveState::Reloading));
        if up {
            self.forget_rounds();
            self.wants_proof(now);
            self.watched_start = false;
        }
        true
    }

    /// The verdict with its evidence: `frozen: GET / timed out after 10 s, 3 times running`.
    #[must_use]
    pub fn headline(&self) -> String {
        if self.verdict_text.is_empty() {
            self.verdict.word().to_owned()
        } else {
            format!("{}: {}", self.verdict, self.verdict_text)
        }
    }

    /// What the checks see, for the line that says it is healthy.
    pub(super) fn evidence(&self) -> String {
        let seen: Vec<&str> = [CheckKind::Http, CheckKind::Port]
            .iter()
            .filter_map(|kind| self.latest.get(kind))
            .filter(|seen| seen.finding == Finding::Good)
            .map(|seen| seen.text.as_str())
            .collect();
        if seen.is_empty() { String::new() } else { format!(": {}", seen.join(", ")) }
    }

    /// When `judge` may find something new although nothing happened.
    pub(super) fn judging_due(&self, now: Moment) -> Vec<Moment> {
        let mut due = Vec::new();
        due.extend(self.load_bad_since.map(|since| since + FILE_GONE_FOR).filter(|at| *at > now));
        due.extend(self.overdue_at().filter(|at| *at > now));
        if matches!(self.verdict, Verdict::Starting | Verdict::CrashLooping) {
            due.extend(self.grace_ends());
        }
        due.extend(self.calm_due());
        due.extend(self.inherited_due());
        if self.verdict == Verdict::NotStarted && self.incident.is_none() {
            due.push(self.verdict_since + NOT_STARTED_FOR);
        }
        let looped = self.incident.as_ref().is_some_and(|incident| incident.verdict == Verdict::CrashLooping);
        if self.budget.is_marked() || self.memory_budget.is_marked() || looped || self.is_unheard() {
            due.extend(self.healthy_since.map(|since| since + self.policy.healthy_for));
        }
        if self.verdict == Verdict::StoppedByAdmin && !self.stop_told {
            due.extend(self.policy.stopped_alert_after.map(|after| self.stopped_since() + after));
        }
        if !self.conditions.contains_key(&Condition::Blind) {
            due.extend(self.unreadable_since.map(|since| since + BLIND_FOR));
        }
        due.extend(self.stays_up_since().map(|since| since + self.policy.min_uptime));
        due.extend(self.loops.changes_at(now));
        due.extend(
            [CheckKind::Database, CheckKind::Preflight]
                .map(|kind| self.errand_awaited_until(kind))
                .into_iter()
                .flatten(),
        );
        if self.verdict == Verdict::CrashLooping {
            let up = self.unit.as_ref().and_then(|unit| unit.active_enter);
            due.extend(up.map(|since| since + self.policy.min_uptime));
        }
        // What is not ahead has just been considered, and changed nothing.
        due.retain(|at| *at > now);
        due
    }
}
