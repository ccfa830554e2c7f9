//! From what is known to the verdict, the conditions and the incident, and what is told of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::app::App;
use super::diagnose::{FILE_GONE_FOR, Facts, diagnose};
use super::effect::Effect;
use super::errands::Seen;
use super::level::Level;
use super::mutation::{Mutation, active};
use super::observation::{CheckKind, Finding};
use super::record::{EventKind, Record};
use super::time::{Moment, Span};
use super::unit::{ActiveState, UnitReading};
use super::verdict::{Condition, Verdict};

/// A core dump may take that long before it no longer excuses anything.
const DUMP_AT_MOST: Duration = Duration::from_secs(120);
/// What the host gets on top of a unit's own timeouts before a change is overdue.
const OURS_ON_TOP: Duration = Duration::from_secs(30);
/// Where a unit's own timeout is infinite.
const INFINITE: Duration = Duration::from_secs(600);
/// Blindness that lasts so long is told.
pub(super) const BLIND_FOR: Duration = Duration::from_secs(300);
/// A unit that was not started is given so long: at boot, its turn may still come.
const NOT_STARTED_FOR: Duration = Duration::from_secs(10);

/// A condition that holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConditionState {
    /// Since when.
    pub since: Moment,
    /// Its evidence.
    pub text: String,
    /// When somebody was told last.
    pub told: Moment,
    /// Somebody was told, or will be at its end.
    pub alerted: bool,
    /// Another app of the host has told the same.
    pub silenced: bool,
    /// The signature of the check that it is about, where it is about one.
    #[serde(default)]
    pub about: Option<u64>,
}

/// Something that somebody has to be told about, from its beginning to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Incident {
    /// Its name, `web-12`: unique for the app.
    pub id: String,
    /// The verdict that opened it.
    pub verdict: Verdict,
    /// Its evidence.
    pub text: String,
    /// Since when.
    pub since: Moment,
    /// Swap was had back in its course, which is done once.
    #[serde(default)]
    pub swap_reclaimed: bool,
}

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

    fn keep_incident(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let patient = self.verdict == Verdict::NotStarted && now.since(self.verdict_since) < NOT_STARTED_FOR;
        if self.verdict.opens_incident() && self.incident.is_none() && !patient {
            self.incidents += 1;
            let id = format!("{}-{}", self.name, self.incidents);
            // The verdict was told with its evidence; the name is what is new.
            let text = format!("incident {id}: {}", self.headline());
            self.incident = Some(Incident {
                id: id.clone(),
                verdict: self.verdict,
                text: self.verdict_text.clone(),
                since: now,
                swap_reclaimed: false,
            });
            self.dirty = true;
            let policy = self.policy.clone();
            if self.budget_for(self.verdict == Verdict::AppMemory).fell(now, &policy) {
                self.tell_breaker(out);
            }
            let alert = self.tells_incident(self.verdict);
            self.tell_all(out, EventKind::IncidentOpened, Level::Warn, text, alert);
        }
        let over = self.verdict.is_well() && !matches!(self.verdict, Verdict::Starting | Verdict::Paused);
        // Up, and nothing that could prove its health: that is all there is to know.
        let over = over || self.verdict == Verdict::Unknown && self.is_well_enough();
        // A loop that pauses for one good round is no end of it.
        let looped = self.incident.as_ref().is_some_and(|incident| incident.verdict == Verdict::CrashLooping);
        let settled = self.healthy_since.is_some_and(|since| now.since(since) >= self.policy.healthy_for);
        let over = over && (!(looped || self.is_unheard()) || settled || self.verdict != Verdict::Healthy);
        let over = over && self.stays_up_since().is_none_or(|since| now >= since + self.policy.min_uptime);
        if over && self.recovery.is_none() {
            self.close_incident(now, out);
            // Refused though nothing was wrong: a person had asked. That shows when it is needed again.
            self.forget_refusal(now, out);
        }
    }

    /// What starts and falls again, because something that it needs is absent, seems healthy in between:
    /// since when it has to stay so. Where only processes are counted, each of systemd's own restarts
    /// would end an incident and begin another.
    fn stays_up_since(&self) -> Option<Moment> {
        let lacked =
            self.incident.as_ref().is_some_and(|incident| incident.verdict == Verdict::ConfigMissing);
        self.healthy_since.filter(|_| lacked)
    }

    /// What was wrong with a proxy's answers is remembered, and nobody has asked it since the monitor began.
    pub(super) fn is_unheard(&self) -> bool {
        let of_answers = self.incident.as_ref().is_some_and(|incident| incident.verdict.is_of_answers());
        of_answers && self.is_companion() && !self.companion.is_fed()
    }

    pub(super) fn close_incident(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(incident) = self.incident.clone().filter(|_| !active(Mutation::IncidentStaysOpen)) else {
            return;
        };
        let text = format!(
            "{} is over after {}: {}",
            incident.verdict,
            Span(now.since(incident.since)),
            self.headline()
        );
        let alert = self.tells_incident(incident.verdict);
        self.tell_all(out, EventKind::IncidentClosed, Level::Info, text, alert);
        self.incident = None;
        self.dirty = true;
        self.forget_refusal(now, out);
    }

    fn tell_long_stop(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(after) = self.policy.stopped_alert_after else { return };
        let since = self.stopped_since();
        let long = now.since(since) >= after;
        if self.verdict == Verdict::StoppedByAdmin && long && !self.stop_told {
            self.stop_told = true;
            self.dirty = true;
            let text = format!("still stopped after {}", Span(now.since(since)));
            self.tell_all(out, EventKind::StoppedByAdmin, Level::Warn, text, true);
        }
    }

    /// Since when it is stopped, whoever watched it then.
    fn stopped_since(&self) -> Moment {
        let down = self.unit.as_ref().and_then(|unit| unit.inactive_enter);
        down.map_or(self.verdict_since, |down| down.min(self.verdict_since))
    }

    // Conditions.

    fn note_conditions(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let up = self.unit.as_ref().is_some_and(|unit| unit.active == ActiveState::Active);
        // That it is down for a while says nothing new about it, but for what a start needs.
        if up || self.never_good.contains_key(&CheckKind::Preflight) {
            let never = self.never_healthy();
            let about = never.as_ref().map(|(kind, _)| self.target.signature(*kind));
            self.note(now, Condition::NeverHealthy, never.map(|(_, text)| text), out);
            if let Some(state) = self.conditions.get_mut(&Condition::NeverHealthy)
                && about.is_some()
            {
                state.about = about;
            }
        }

        // Oddities of an app that answers; while it is suspected, what is odd may be the fault itself.
        let answers = self.verdict == Verdict::Healthy && up && self.history.bad_in_a_row() == 0;
        let odd = |kind| {
            let seen = self.latest.get(&kind).filter(|_| answers && self.was_ever_good(kind))?;
            matches!(seen.finding, Finding::Bad(_)).then(|| seen.text.clone())
        };
        let (port, processes) = (odd(CheckKind::Port), odd(CheckKind::Processes));
        self.note(now, Condition::PortForeign, port, out);
        self.note(now, Condition::FewProcesses, processes, out);

        let blind_for = |since: Option<Moment>| since.is_some_and(|since| now.since(since) >= BLIND_FOR);
        let blind = (blind_for(self.unreadable_since) || blind_for(self.blind_since))
            .then(|| match self.deciding_blind().filter(|_| self.unreadable_since.is_none()) {
                Some(seen) => format!("cannot be checked for more than 5 min: {}", seen.text),
                None => "its unit cannot be read for more than 5 min".to_owned(),
            })
            .or_else(|| self.blind_errand(now));
        self.note(now, Condition::Blind, blind, out);

        self.note_overdue(now, out);
    }

    /// A change that does not come to its end is told again and again, each time that it would
    /// have had its time once more.
    fn note_overdue(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let overdue = self.overdue_at().filter(|at| now >= *at).and_then(|at| {
            let unit = self.unit.as_ref()?;
            let since = now.since(self.state_since);
            let state = if unit.auto_restarting() { "auto-restart" } else { unit.sub.as_str() };
            Some((format!("in {state} for {}", Span(since)), at.since(self.state_since)))
        });
        if let (Some((text, period)), Some(state)) = (&overdue, self.conditions.get_mut(&Condition::Overdue))
            && now.since(state.told) >= *period
        {
            state.told = now;
            let line = format!("{} still: {text}", Condition::Overdue);
            self.tell_all(out, EventKind::ConditionBegan, Level::Warn, line, true);
        }
        self.note(now, Condition::Overdue, overdue.map(|(text, _)| text), out);
    }

    /// A check that fails and was never good, once that is sure.
    fn never_healthy(&self) -> Option<(CheckKind, String)> {
        // What is there or is not, is sure at once.
        let enough = |kind| if kind == CheckKind::Preflight { 1 } else { self.policy.failures };
        let (kind, _) = self
            .never_good
            .iter()
            .rev()
            .find(|(kind, times)| **times >= enough(**kind) && !self.was_ever_good(**kind))?;
        let seen = self.last_seen(*kind)?;
        let text = format!("never healthy since it was configured: {}; check the configuration", seen.text);
        Some((*kind, text))
    }

    /// Notes that a condition holds (with its evidence) or does not.
    pub(super) fn note(&mut self, now: Moment, what: Condition, text: Option<String>, out: &mut Vec<Effect>) {
        if text.is_none() && self.may_still_hold(now, what) {
            return;
        }
        self.inherited.decide(what);
        let (event, level, line) = match (text, self.conditions.get_mut(&what)) {
            (Some(text), Some(state)) => {
                state.text = text;
                return;
            }
            (Some(text), None) => {
                let level = if what.alerts() { Level::Warn } else { Level::Info };
                let line = format!("{what}: {text}");
                let alerted = what.alerts();
                let state =
                    ConditionState { since: now, text, told: now, alerted, silenced: false, about: None };
                self.conditions.insert(what, state);
                (EventKind::ConditionBegan, level, line)
            }
            (None, Some(state)) => {
                let line = format!("{what} is over after {}", Span(now.since(state.since)));
                self.conditions.remove(&what);
                (EventKind::ConditionEnded, Level::Info, line)
            }
            (None, None) => return,
        };
        self.dirty = true;
        let record = self.record(event, level, line, what.alerts());
        let incident = self.incident.as_ref().map(|incident| incident.id.clone());
        let step = self.step_report.clone();
        out.push(Effect::Record(Record { incident, step, condition: Some(what), ..record }));
    }

    /// When the state that the unit is in lasts longer than its own timeouts allow.
    pub(super) fn overdue_at(&self) -> Option<Moment> {
        let unit = self.unit.as_ref()?;
        let own = if unit.auto_restarting() {
            unit.restart_delay.unwrap_or(INFINITE) + unit.timeout_start.unwrap_or(INFINITE)
        } else {
            match unit.active {
                ActiveState::Deactivating => unit.timeout_stop.unwrap_or(INFINITE),
                ActiveState::Activating | ActiveState::Reloading | ActiveState::Maintenance => {
                    unit.timeout_start.unwrap_or(INFINITE)
                }
                _ if unit.job.is_some() && self.life.foreign_job().is_some() => {
                    unit.timeout_start.unwrap_or(INFINITE) + unit.timeout_stop.unwrap_or(INFINITE)
                }
                // A unit that it needs changes for ever.
                _ if self.verdict == Verdict::Changing => {
                    return Some(self.verdict_since + INFINITE + OURS_ON_TOP);
                }
                _ => return None,
            }
        };
        if self.recovery.as_ref().is_some_and(super::recovery::Recovery::is_acting) {
            return None;
        }
        Some(self.state_since + own + OURS_ON_TOP)
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

    pub(super) fn tell_breaker(&self, out: &mut Vec<Effect>) {
        let next = match self.policy.give_up {
            super::policy::GiveUp::Retry => {
                format!("one careful attempt every {} from now on", Span(self.policy.retry_interval))
            }
            super::policy::GiveUp::Wait => "nothing more until a person resets it".to_owned(),
        };
        let text = format!(
            "{} recoveries did not help; {next}; app-monitor reset {} tries again",
            self.budget.allowed(&self.policy),
            self.name
        );
        self.tell_all(out, EventKind::BreakerOpened, Level::Error, text, true);
        self.set_off(&self.policy.on_give_up, out);
    }
}
