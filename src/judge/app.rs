//! One app: what is known of it, and the order in which an event is taken in.
//!
//! `handle` takes the event in, then settles: rounds that are due, the verdict, what follows from
//! it, and the verification of a recovery. The parts live in `probing`, `judging` and `acting`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::around::Around;
use super::budget::Budget;
use super::chronicle::Chronicle;
use super::companion::Companion;
use super::effect::{Effect, Event, Pause, Request};
use super::errands::Errands;
use super::history::History;
use super::incident::Incident;
use super::inherited::Inherited;
use super::level::Level;
use super::life::Life;
use super::loops::Loops;
use super::memory::AppMemory;
use super::mutation::{Mutation, active};
use super::names::{AppName, Subject, UnitName};
use super::noting::ConditionState;
use super::observation::{CheckKind, Observation};
use super::permission::Permission;
use super::policy::Policy;
use super::probing::Probing;
use super::reading::READ_AGAIN;
use super::record::{EventKind, Record, StepReport};
use super::recovery::Recovery;
use super::target::{Role, Target};
use super::time::{Moment, Span};
use super::unit::UnitReading;
use super::verdict::{Condition, Verdict};
use super::wanting::Want;

/// A unit that is found down is read again after this long before anything is concluded: on systemd
/// 252 a healing unit shows plain `failed` for half a millisecond, and the signals that belong to
/// its end have to be taken in first.
pub(super) const SETTLE: Duration = Duration::from_millis(30);

/// How often the unit is read although no signal called for it.
pub(super) const RECONCILE: Duration = Duration::from_secs(60);

/// What is known of one app, and what is being done about it.
#[derive(Clone, Debug)]
pub struct App {
    pub(super) name: Subject,
    /// That of its name (`Subject::share`).
    pub(super) share: f64,
    pub(super) policy: Policy,
    pub(super) target: Target,

    // The world.
    pub(super) unit: Option<UnitReading>,
    pub(super) read_at: Option<Moment>,
    pub(super) read_asked: Option<Moment>,
    /// When the reading that was taken last had been asked for.
    pub(super) read_begun: Option<Moment>,
    /// Something happened while a reading was under way: it may be older than that.
    pub(super) read_again: bool,
    pub(super) unreadable_since: Option<Moment>,
    pub(super) load_bad_since: Option<Moment>,
    pub(super) dumping_since: Option<Moment>,
    pub(super) state_since: Moment,
    pub(super) down_seen: Option<Moment>,
    pub(super) stopping: bool,
    /// A job that is not ours ended then, and what it made of the unit was not read yet.
    pub(super) job_over: Option<Moment>,
    /// It never ran in this boot, and a unit that it needs was down meanwhile.
    pub(super) kept_down: bool,
    pub(super) life: Life,

    // The checks.
    pub(super) probing: Probing,
    pub(super) history: History,
    pub(super) latest: BTreeMap<CheckKind, Observation>,
    /// What was good once, with the number under which that is remembered.
    pub(super) ever_good: BTreeMap<CheckKind, u64>,
    pub(super) never_good: BTreeMap<CheckKind, u32>,
    pub(super) starts: Vec<Duration>,
    pub(super) good_since_start: bool,
    /// Who was seen to hold its port when systemd was about to start it once more.
    pub(super) taken: Option<String>,
    /// When the latest round began that was good.
    pub(super) good_round: Option<Moment>,
    pub(super) bad_since_start: bool,
    pub(super) watched_start: bool,
    pub(super) needs_bad_round: bool,
    pub(super) grace_from: Option<Moment>,
    /// What was wrong with its answers when that was last confirmed: until enough rounds are good, or
    /// its health has to be proven anew.
    pub(super) held: Option<(Verdict, String)>,
    pub(super) last_unanswered: bool,
    /// Checks at a pace of their own.
    pub(super) errands: Errands,
    /// Since when it is suspected, or down without anybody having asked for it; over with the first
    /// good round.
    pub(super) trouble_since: Option<Moment>,
    pub(super) trouble_known: bool,
    /// Restarts without end.
    pub(super) loops: Loops,
    pub(super) chronicle: Chronicle,
    /// So many rounds in a row it used more memory than it may.
    pub(super) memory_over: u32,
    /// Since when not one answer came in time.
    pub(super) silent_since: Option<Moment>,
    /// It fell while its database was down, and is owed a start when that is back.
    pub(super) owed_start: bool,
    /// It was started without its database once; after that it is held.
    pub(super) tried_without: bool,
    /// When it was last started for either reason, and how often lately.
    pub(super) database_starts: Option<(Moment, u32)>,
    pub(super) blind_since: Option<Moment>,
    pub(super) around: Around,
    pub(super) companion: Companion,

    // The judgement.
    pub(super) verdict: Verdict,
    pub(super) verdict_text: String,
    pub(super) verdict_since: Moment,
    pub(super) healthy_since: Option<Moment>,
    pub(super) conditions: BTreeMap<Condition, ConditionState>,
    pub(super) inherited: Inherited,
    pub(super) incident: Option<Incident>,
    pub(super) incidents: u64,
    pub(super) stop_told: bool,
    pub(super) judged: bool,
    /// systemd forgot it while nobody watched, which is still to be told.
    pub(super) unloaded_news: bool,
    /// Verdicts since it was last well: how many, and which.
    pub(super) restless: u32,
    pub(super) named: BTreeSet<Verdict>,

    // The act.
    pub(super) budget: Budget,
    /// Restarts of an answering app for its own or the host's memory: they never hold back what a
    /// crash calls for.
    pub(super) memory_budget: Budget,
    pub(super) recovery: Option<Recovery>,
    /// Who asked for a recovery, just now.
    pub(super) asked: Option<String>,
    pub(super) acts: u64,
    pub(super) hold_until: Option<Moment>,
    pub(super) permission: Permission,
    /// When it was last started because what it needs is back, and how often since it last ran.
    /// Its last recovery failed then.
    pub(super) failed_at: Option<Moment>,
    pub(super) dependency_starts: Option<(Moment, u32)>,
    pub(super) would_told: Option<Verdict>,
    /// The step that is being told of.
    pub(super) step_report: Option<StepReport>,
    pub(super) pause: Option<Pause>,

    pub(super) dirty: bool,
    pub(super) wake: Moment,
}

impl App {
    /// An app as it is configured, going on from what is remembered of it.
    #[must_use]
    pub fn new(name: Subject, policy: Policy, target: Target, memory: AppMemory, now: Moment) -> Self {
        let memory = memory.of_unit(&target.unit);
        let configured = CheckKind::ALL.into_iter().filter(|kind| target.has(*kind));
        // What was good under another target proves nothing about this one.
        let ever_good = configured
            .map(|kind| (kind, target.signature(kind)))
            .filter(|(_, signature)| memory.ever_good.contains(signature))
            .collect();
        let share = name.share();
        let recovery = memory.intent.map(Recovery::restore);
        Self {
            name,
            share,
            policy,
            target,
            unit: None,
            read_at: None,
            read_asked: None,
            read_begun: None,
            read_again: false,
            unreadable_since: None,
            load_bad_since: None,
            dumping_since: None,
            state_since: now,
            down_seen: None,
            stopping: false,
            job_over: None,
            kept_down: false,
            life: Life::restore(memory.life),
            probing: Probing::new(now),
            history: History::default(),
            latest: BTreeMap::new(),
            ever_good,
            never_good: BTreeMap::new(),
            starts: memory.starts,
            good_since_start: false,
            taken: None,
            good_round: None,
            bad_since_start: false,
            watched_start: false,
            needs_bad_round: false,
            grace_from: None,
            held: None,
            last_unanswered: false,
            errands: Errands::default(),
            trouble_since: None,
            trouble_known: false,
            loops: memory.loops,
            chronicle: memory.chronicle,
            memory_over: 0,
            silent_since: None,
            owed_start: memory.owed_start,
            tried_without: memory.tried_without,
            database_starts: None,
            blind_since: None,
            around: Around::default(),
            companion: Companion::restore(memory.companion),
            verdict: Verdict::Unknown,
            verdict_text: "not looked at yet".into(),
            verdict_since: now,
            healthy_since: None,
            inherited: Inherited::of(memory.conditions.keys().copied(), now),
            conditions: memory.conditions,
            incident: memory.incident,
            incidents: memory.incidents,
            stop_told: memory.stop_told,
            judged: false,
            unloaded_news: false,
            restless: 0,
            named: BTreeSet::new(),
            budget: memory.budget,
            memory_budget: memory.memory_budget,
            acts: recovery.as_ref().map_or(0, |recovery| recovery.intent.act.0),
            recovery,
            asked: None,
            hold_until: None,
            permission: Permission::default(),
            failed_at: None,
            dependency_starts: None,
            would_told: None,
            step_report: None,
            pause: memory.pause,
            dirty: false,
            wake: now,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Subject {
        &self.name
    }

    /// The app under whose name it is told: its own, or the first of those that lean on it.
    #[must_use]
    pub fn told_as(&self) -> &AppName {
        match (&self.name, &self.target.role) {
            (_, Role::Proxy { of } | Role::Database { of }) => of,
            (Subject::App(app) | Subject::Instance(app, _), Role::App) => app,
            // Never configured so; a name is needed all the same.
            (Subject::Unit(_), Role::App) => AppName::nobody(),
        }
    }

    /// What it is asked.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Its thresholds.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Its unit, and those that it depends on.
    pub fn units(&self) -> impl Iterator<Item = UnitName> {
        let others = self.unit.iter().flat_map(|unit| &unit.dependencies).map(|other| other.unit.clone());
        std::iter::once(self.target.unit.clone()).chain(others)
    }

    /// `ControlGroup` of its unit as last read.
    #[must_use]
    pub fn control_group(&self) -> Option<&str> {
        self.unit.as_ref()?.control_group.as_deref()
    }

    /// `WorkingDirectory` of its unit as last read.
    #[must_use]
    pub fn working_directory(&self) -> Option<PathBuf> {
        self.unit.as_ref()?.working_directory.as_ref().map(PathBuf::from)
    }

    /// A socket unit triggers it.
    #[must_use]
    pub fn socket_activated(&self) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.socket_listening)
    }

    /// It is down, or waits for its automatic restart.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.unit.as_ref().is_some_and(UnitReading::is_left)
    }

    /// What has to survive a restart of the monitor.
    #[must_use]
    pub fn memory(&self) -> AppMemory {
        AppMemory {
            unit: Some(self.target.unit.clone()),
            ever_good: self.ever_good.values().copied().collect(),
            starts: self.starts.clone(),
            budget: if active(Mutation::AttemptsForgotten) { Budget::default() } else { self.budget.clone() },
            loops: self.loops.clone(),
            chronicle: self.chronicle.clone(),
            memory_budget: self.memory_budget.clone(),
            life: self.life.memory().clone(),
            intent: self.recovery.as_ref().map(|recovery| recovery.intent.clone()),
            incident: self.incident.clone(),
            incidents: self.incidents,
            pause: self.pause.clone(),
            conditions: self.conditions.clone(),
            companion: self.companion.memory.clone(),
            owed_start: self.owed_start,
            tried_without: self.tried_without,
            stop_told: self.stop_told,
        }
    }

    /// Takes an event in and says what is to be done.
    #[must_use]
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        // What a person asked for was granted at once, or is void: not at some later time.
        self.asked = None;
        match event {
            Event::Tick => {}
            Event::Unit(unit) => self.take_reading(now, *unit, &mut out),
            Event::UnitUnreadable(reason) => self.take_unreadable(now, &reason, &mut out),
            Event::Changed => {
                self.life.told();
                self.ask_reading(now, &mut out);
            }
            Event::SignalsLost => {
                self.read_asked = None;
                self.job_over = None;
                self.life.lost();
                self.ask_reading(now, &mut out);
            }
            Event::JobNew(job) => {
                self.conclude_first(now, &mut out);
                self.life.job_new(job);
                self.ask_reading(now, &mut out);
            }
            Event::JobRemoved(job, result) => {
                self.conclude_first(now, &mut out);
                if self.life.foreign_job() == Some(job) {
                    self.job_over = Some(now);
                }
                self.life.job_removed(job, result);
                self.heed(now, &mut out);
                self.ask_reading(now, &mut out);
            }
            Event::JobBeside(other, job) => {
                self.life.job_beside(other, job);
                self.ask_reading(now, &mut out);
            }
            Event::JobBesideRemoved(job) => {
                self.life.job_beside_removed(job);
                self.ask_reading(now, &mut out);
            }
            Event::Check(round, kind, observation) => {
                self.take_check(now, round, kind, observation, &mut out)
            }
            Event::StepQueued(act, job) => self.take_queued(act, job),
            Event::StepKilled(act) => self.take_killed(act, &mut out),
            Event::StepEnded(act, outcome) => self.take_outcome(now, act, outcome, &mut out),
            Event::Stopping(stopping) => self.stopping = stopping,
            Event::Gap(length) => self.take_gap(now, length),
            Event::Permission(denial) => self.take_permission(now, denial, &mut out),
            Event::Asked(request) => self.take_request(now, request, &mut out),
        }
        self.follow(now, &mut out);
        out
    }

    /// What follows from what is known by now.
    pub(super) fn follow(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.settle(now, out);
        self.wake = self.wake_at(now);
    }

    /// Begins a recovery for which the host has granted a slot.
    pub(super) fn recover(&mut self, now: Moment, want: Want) -> Vec<Effect> {
        let mut out = Vec::new();
        self.begin(now, want, &mut out);
        self.dirty = false;
        self.wake = self.wake_at(now);
        out
    }

    /// A recovery of it holds a slot.
    pub(super) fn is_acting(&self) -> bool {
        self.recovery.as_ref().is_some_and(Recovery::is_acting)
    }

    /// Something is due.
    pub(super) fn wake_due(&self, now: Moment) -> bool {
        self.wake <= now
    }

    /// When something will be due if nothing else happens.
    pub(super) fn next_wake(&self) -> Moment {
        self.wake
    }

    fn settle(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.end_pause(now, out);
        if self.read_asked.is_some_and(|asked| now.since(asked) >= READ_AGAIN) {
            self.ask_reading(now, out);
        } else if let Some(seen) = self.down_seen
            && now.since(seen) >= SETTLE
            && self.read_at.is_some_and(|read| read < seen + SETTLE)
        {
            self.ask_reading(now, out);
        } else if self.read_at.is_none_or(|read| now.since(read) >= self.reconcile_every()) {
            self.ask_reading(now, out);
        }
        self.note_trouble(now, out);
        self.probe(now, out);
        self.run_errands(now, out);
        self.judge(now, out);
        self.pursue(now, out);
        if std::mem::take(&mut self.dirty) {
            // In front: nothing is carried out before the memory of it is written.
            out.insert(0, Effect::Persist);
        }
    }

    pub(super) fn wake_at(&self, now: Moment) -> Moment {
        let mut at = now + RECONCILE;
        let mut by = |moment: Option<Moment>| {
            if let Some(moment) = moment
                && moment < at
            {
                at = moment;
            }
        };
        by(self.read_due());
        by(self.pause.as_ref().map(|pause| pause.until));
        self.probing_due(now).into_iter().for_each(|moment| by(Some(moment)));
        self.errands_due().into_iter().for_each(|moment| by(Some(moment)));
        self.judging_due(now).into_iter().for_each(|moment| by(Some(moment)));
        self.acting_due(now).into_iter().for_each(|moment| by(Some(moment)));
        at.max(now + Duration::from_millis(2))
    }

    /// What a gap voids: rounds under way, and time that nobody could use.
    fn take_gap(&mut self, now: Moment, length: Duration) {
        self.probing.void(now);
        self.history.clear();
        self.errands.void(now);
        if let Some(recovery) = &mut self.recovery {
            recovery.prolong(length);
        }
        if let Some(grace) = &mut self.grace_from
            && !self.good_since_start
        {
            *grace = (*grace + length).min(now);
        }
    }

    fn take_request(&mut self, now: Moment, request: Request, out: &mut Vec<Effect>) {
        match request {
            Request::Pause { length, reason, by } => {
                let because = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
                let who = by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
                self.pause = Some(Pause { until: now + length, reason, by });
                self.dirty = true;
                let text = format!("paused for {}{who}{because}", Span(length));
                self.tell(out, EventKind::Paused, Level::Info, text);
            }
            Request::Resume { by } => {
                if self.pause.take().is_some() {
                    self.resume(now, out, &format!("resumed by {}", person(by)));
                }
            }
            Request::Recover { by } => self.asked = Some(person(by)),
            Request::Reset { by } => {
                let was_open = self.budget.forgive() | self.memory_budget.forgive();
                self.loops.forgive();
                self.companion.forgive();
                self.would_told = None;
                self.hold_until = None;
                self.dirty = true;
                if was_open {
                    self.tell(out, EventKind::BreakerClosed, Level::Info, format!("reset by {}", person(by)));
                }
            }
        }
    }

    fn end_pause(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if self.pause.as_ref().is_some_and(|pause| now >= pause.until) {
            self.pause = None;
            self.resume(now, out, "the pause is over");
        }
    }

    /// After a pause counters are zero and an app that is up gets the grace of a start.
    fn resume(&mut self, now: Moment, out: &mut Vec<Effect>, why: &str) {
        self.dirty = true;
        self.forget_rounds();
        self.wants_proof(now);
        self.watched_start = false;
        self.tell(out, EventKind::Resumed, Level::Info, why.to_owned());
    }

    pub(super) fn tell(&self, out: &mut Vec<Effect>, event: EventKind, level: Level, text: String) {
        self.tell_all(out, event, level, text, false);
    }

    pub(super) fn tell_all(
        &self,
        out: &mut Vec<Effect>,
        event: EventKind,
        level: Level,
        text: String,
        alert: bool,
    ) {
        let incident = self.incident.as_ref().map(|incident| incident.id.clone());
        let step = self.step_report.clone();
        out.push(Effect::Record(Record { incident, step, ..self.record(event, level, text, alert) }));
    }

    /// That its incident was opened, as it was to be told.
    pub(super) fn open_telling(&self) -> Option<Record> {
        let incident = self.incident.as_ref()?;
        let text = format!("incident {}: {}: {}", incident.id, incident.verdict, incident.text);
        let alert = self.tells_incident(incident.verdict);
        let record = self.record(EventKind::IncidentOpened, Level::Warn, text, alert);
        Some(Record { incident: Some(incident.id.clone()), ..record })
    }

    /// A line about it that belongs to no incident, step or condition yet.
    pub(super) fn record(&self, event: EventKind, level: Level, text: String, alert: bool) -> Record {
        Record {
            subject: self.name.clone(),
            app: self.told_as().clone(),
            unit: self.target.unit.clone(),
            event,
            level,
            verdict: self.verdict,
            text,
            incident: None,
            alert,
            step: None,
            condition: None,
        }
    }
}

/// Who asked, for people.
fn person(by: Option<String>) -> String {
    by.unwrap_or_else(|| "a person".to_owned())
}
