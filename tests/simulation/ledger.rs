//! What was done and what could be known: the books by which the judge is judged. They are kept
//! from what the world did and what the judge was told, never from what it believes.

use std::collections::VecDeque;

use app_monitor::judge::{
    ActId, ActiveState, Breaker, CheckKind, EventKind, Finding, InvocationId, JobId, Level, LoadState,
    Memory, Moment, Observation, Policy, Record, Request, RoundId, Step, UnitReading, Verdict,
};

use crate::invariants;
use crate::process::Mood;
use crate::systemd::{Who, Wish};
use crate::world::{M, Trace, U, World, millis};

/// At most three probes of a kind are in flight, each of them in a round of its own.
const ROUNDS: usize = 3 * CheckKind::ALL.len();

/// A round under way, or the last ones that were answered.
#[derive(Clone, Debug)]
pub struct Round {
    pub id: RoundId,
    pub began: Moment,
    /// The run that was asked; none while the unit was not up.
    pub run: Option<InvocationId>,
    /// It was at work when it was asked, and behind with it.
    overloaded: bool,
    waiting: usize,
    answers: Vec<(CheckKind, Finding)>,
}

/// What a whole round said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    Good,
    Bad,
    Nothing,
}

/// A round that was answered while the run that it asked was still there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answered {
    pub began: Moment,
    /// Microseconds since the beginning.
    pub at: i64,
    pub said: Said,
    /// It used more memory than it may, or the host was short of it.
    pub memory: bool,
    /// The host was short of it.
    pub starved: bool,
    /// The app was at work all the while, and behind with it.
    pub overloaded: bool,
}

/// A recovery under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Open {
    pub act: ActId,
    /// When it began (absolute).
    pub began: i64,
    pub counted: bool,
    pub asked: bool,
    /// It is for memory's sake, which has a budget of its own.
    pub memory: bool,
    pub cause: Verdict,
    /// A step of it was not to be had: it is given up, and does not count.
    pub given_up: bool,
    /// A person has forgiven all since it began.
    pub forgiven: bool,
    /// Why the unit must not be interrupted by it, as things stood when it began.
    pub objection: Option<(&'static str, String)>,
}

/// The books of the budget (JUDGEMENT, Budget), in microseconds since the beginning.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Counted recoveries that failed or are under way, since it was last healthy for long.
    pub attempts: Vec<i64>,
    pub verified: Vec<i64>,
    pub since_healthy: u32,
    pub last: Option<i64>,
    pub allowed: u32,
    /// All attempts are used up: nothing before that.
    pub open_until: Option<i64>,
    /// One may pass all the same: somebody started it, or the last one helped.
    pub half_open: bool,
}

impl Budget {
    fn new(allowed: u32) -> Self {
        Self {
            attempts: Vec::new(),
            verified: Vec::new(),
            since_healthy: 0,
            last: None,
            allowed,
            open_until: None,
            half_open: false,
        }
    }
}

impl Budget {
    fn forgive(&mut self, allowed: u32) {
        let verified = std::mem::take(&mut self.verified);
        *self = Self { verified, ..Self::new(allowed) };
    }

    /// The last recovery was counted, and ended so.
    fn failed(&mut self, at: i64, policy: &Policy) {
        let window = i64::try_from(policy.attempts_window.as_micros()).unwrap();
        let used = self.attempts.iter().filter(|began| at - **began < window).count();
        if self.open_until.is_some() || used >= self.allowed as usize {
            self.open_until = Some(at + i64::try_from(policy.retry_interval.as_micros()).unwrap());
            self.half_open = false;
        }
    }

    fn withdrawn(&mut self) {
        self.attempts.pop();
        self.since_healthy = self.since_healthy.saturating_sub(1);
        self.half_open = true;
    }

    fn verified(&mut self, at: i64) {
        self.attempts.pop();
        self.verified.retain(|before| at - before < 3_600_000_000);
        self.verified.push(at);
        self.half_open = true;
    }
}

/// What is known of one member.
#[derive(Clone, Debug)]
pub struct Known {
    /// The latest reading that reached the judge, and when that was so (absolute).
    pub reading: Option<UnitReading>,
    pub looked: i64,
    /// The last attempt to read it came to nothing.
    pub unreadable: bool,
    /// Since when it is known to be down as it is now.
    pub down_since: Option<Moment>,
    /// The run that was last seen up.
    pub seen_run: Option<InvocationId>,
    /// The run that was read last, by whatever monitor.
    last_read: Option<InvocationId>,
    /// A run of this boot was seen, and it is written down that one was.
    pub read_run: bool,
    pub kept_run: bool,
    /// When it went down, as far as that was read, and who asked for it is written down.
    pub kept_down: Option<Moment>,
    /// A job that was seen since it was last up, and of whose end nothing was told.
    pub unheard: Option<JobId>,
    pub jobs_begun: VecDeque<JobId>,
    pub jobs_ended: VecDeque<JobId>,
    /// Those that began on a unit that was known to be down.
    pub jobs_on_down: VecDeque<JobId>,
    /// A call of ours was not answered: a job may be ours, and the judge cannot know.
    pub unsure: bool,
    pub under_way: Vec<Round>,
    /// Answered rounds of the present run, by when they began.
    pub said: Vec<Answered>,
    pub run: Option<InvocationId>,
    /// When the first bad round of it began, if none was good since, those in its grace among them.
    pub suspected: Option<Moment>,
    /// Enough rounds of the present run were bad, and not enough good since.
    pub confirmed: bool,
    /// A round of the present run was good.
    pub good_since_start: bool,
    /// Since when it cannot be checked, as far as the judge was told, and when the latest round began
    /// that said so.
    pub blind: Option<(i64, Moment)>,
    /// Checks that were good once, and those of which that is written down.
    pub proven: Vec<CheckKind>,
    kept_proven: Vec<CheckKind>,
    pub asked: bool,
    pub open: Option<Open>,
    pub budget: Budget,
    /// That of restarts for memory's sake.
    pub memory_budget: Budget,
    /// The database check was good once.
    pub database_good: bool,
    /// The last outage of the database in which it was started uncounted, and how often.
    pub outage: (u32, u32),
    /// How the last reload of a proxy ended.
    pub reload_worked: Option<bool>,
    /// When a loop of restarts was broken last.
    pub broke_loop: Option<i64>,
    pub paused_until: Option<i64>,
    pub verdict: Verdict,
    pub healthy_since: Option<i64>,
    pub incident: bool,
    /// That of faults, and that of memory's sake.
    pub breaker_told: [bool; 2],
    /// The last recovery that ended was for memory's sake.
    pub last_was_memory: bool,
    /// Conditions whose beginning was told, and whose end was not.
    pub conditions: Vec<app_monitor::judge::Condition>,
    /// The monitor was killed between writing and telling.
    pub cut_off: bool,
    /// Alerts that were told of the incident that is open.
    pub alerts: u32,
    pub records: VecDeque<i64>,
    /// Recoveries that began, ever.
    pub recoveries: Vec<i64>,
}

pub struct Ledger {
    pub members: Vec<Known>,
    pub stopping: bool,
    /// The memory that is kept is older than what was done.
    pub stale: bool,
    /// By so much the books were moved already for what is kept is of another boot.
    moved: i64,
}

impl Ledger {
    pub fn new(members: usize) -> Self {
        let known = Known {
            reading: None,
            looked: 0,
            unreadable: false,
            down_since: None,
            seen_run: None,
            last_read: None,
            read_run: false,
            kept_run: false,
            kept_down: None,
            unheard: None,
            jobs_begun: VecDeque::new(),
            jobs_ended: VecDeque::new(),
            jobs_on_down: VecDeque::new(),
            unsure: false,
            under_way: Vec::new(),
            said: Vec::new(),
            run: None,
            suspected: None,
            confirmed: false,
            good_since_start: false,
            blind: None,
            proven: Vec::new(),
            kept_proven: Vec::new(),
            asked: false,
            open: None,
            budget: Budget::new(u32::MAX),
            memory_budget: Budget::new(u32::MAX),
            database_good: false,
            outage: (0, 0),
            reload_worked: None,
            broke_loop: None,
            paused_until: None,
            verdict: Verdict::Unknown,
            healthy_since: None,
            incident: false,
            breaker_told: [false; 2],
            last_was_memory: false,
            conditions: Vec::new(),
            cut_off: false,
            alerts: 0,
            records: VecDeque::new(),
            recoveries: Vec::new(),
        };
        Self { members: vec![known; members], stopping: false, stale: false, moved: 0 }
    }
}

impl Known {
    fn forget_rounds(&mut self) {
        self.under_way.clear();
        self.said.clear();
        self.suspected = None;
        self.confirmed = false;
        self.good_since_start = false;
    }

    pub fn budget_for(&mut self, memory: bool) -> &mut Budget {
        if memory { &mut self.memory_budget } else { &mut self.budget }
    }

    /// The last so many rounds of this run were bad.
    pub fn bad_in_a_row(&self) -> usize {
        self.said.iter().rev().take_while(|seen| seen.said == Said::Bad).count()
    }

    pub fn over_memory_in_a_row(&self) -> usize {
        self.said.iter().rev().take_while(|seen| seen.memory).count()
    }

    /// Since when each round saw the host short of memory.
    pub fn starved_since(&self) -> Option<i64> {
        self.said.iter().rev().take_while(|seen| seen.starved).last().map(|first| first.at)
    }

    /// A stop by somebody is known to the judge.
    pub fn knows_stop(&self, wish: Wish, says: &UnitReading) -> bool {
        if self.unsure {
            return false;
        }
        let read = self.reading.as_ref().filter(|seen| {
            seen.active.is_down() && seen.inactive_enter == says.inactive_enter && seen.job.is_none()
        });
        match wish {
            // What it needs went down in the same moment: that may have taken it down.
            Wish::Stopped { was_up: true, .. } => read.is_some_and(|seen| !fell_together(seen)),
            Wish::StoppedWith(_) => read.is_some(),
            Wish::Stopped { job, .. } => self.jobs_on_down.contains(&job) && self.jobs_ended.contains(&job),
            Wish::Off => true,
            Wish::Up | Wish::Forgotten => false,
        }
    }

    /// All that it needs was up, as far as was read.
    pub fn saw_all_up(&self) -> bool {
        let up =
            |seen: &UnitReading| seen.dependencies.iter().all(|other| other.active == ActiveState::Active);
        self.reading.as_ref().is_some_and(up)
    }

    /// Systemd forgets a unit that somebody stopped, and nobody saw all of it: what was found of its end
    /// before stays known, and says nothing of who wanted it if it is that of another run, or if what it
    /// needs went down in the same moment.
    pub fn loses_stop(&self, says: &UnitReading) -> bool {
        // Of a run that was never read, only what was told of its end can be known.
        if says.invocation.is_some() && self.last_read != says.invocation {
            return true;
        }
        let down = self.reading.as_ref().filter(|seen| seen.active.is_down());
        down.is_some_and(|seen| seen.inactive_enter != says.inactive_enter || fell_together(seen))
    }

    pub fn is_masked(&self) -> bool {
        self.reading.as_ref().is_some_and(|seen| seen.load == LoadState::Masked)
    }
}

/// Something that it needs left `active` so shortly before it, or after it was down, that one job may have
/// stopped both.
fn fell_together(seen: &UnitReading) -> bool {
    let Some(until) = seen.inactive_enter else { return false };
    let from = seen.active_exit.max(seen.inactive_exit).unwrap_or(until);
    let near = |left: Moment| is_near(left, from) || is_near(left, until);
    seen.dependencies.iter().any(|other| other.left.map_or(other.active.is_down(), near))
}

/// What left `active` then may have gone together with what went, or was down, at that moment.
fn is_near(left: Moment, moment: Moment) -> bool {
    left + millis(50) >= moment && left <= moment + millis(5)
}

fn bounded(list: &mut VecDeque<JobId>, id: JobId) {
    list.push_back(id);
    if list.len() > 16 {
        list.pop_front();
    }
}

impl World {
    pub fn ledger_restarts(&mut self, memory: &Memory, lost: bool, another_boot: bool) {
        let stale = std::mem::replace(&mut self.ledger.stale, !self.around.writable);
        let at = self.absolute();
        self.ledger.stopping = false;
        let left: Vec<Option<Moment>> = self.units.iter().map(|unit| unit.says.active_exit).collect();
        for member in 0..self.members.len() {
            let name = &self.members[member].name;
            let kept = memory.apps.get(name);
            let allowed = self.members[member].policy.max_attempts;
            let known = &mut self.ledger.members[member];
            // It was healthy for so long already, as far as the old monitor knew.
            forgive_if_healthy(known, at, &self.members[member].policy);
            let well = known.good_since_start;
            known.forget_rounds();
            known.blind = None;
            known.kept_run &= !lost;
            (known.read_run, known.seen_run) = (known.kept_run, None);
            let kept_down = known.kept_down.filter(|_| !lost && !stale);
            known.reading = None;
            known.down_since = None;
            known.jobs_begun.clear();
            known.jobs_ended.clear();
            known.jobs_on_down.clear();
            known.unsure = false;
            known.unreadable = false;
            known.healthy_since = None;
            known.verdict = Verdict::Unknown;
            let held =
                kept.map(|kept| kept.conditions.keys().copied().collect::<Vec<_>>()).unwrap_or_default();
            if lost || stale || std::mem::take(&mut known.cut_off) {
                known.conditions = held;
            } else {
                let new: Vec<_> = held.into_iter().filter(|what| !known.conditions.contains(what)).collect();
                known.conditions.extend(new);
            }
            for budget in [&mut known.budget, &mut known.memory_budget] {
                budget.allowed = budget.allowed.min(allowed);
            }
            known.outage.1 = 0;
            // It may have been killed between writing and telling.
            known.incident = kept.is_some_and(|kept| kept.incident.is_some());
            let open = |budget: &app_monitor::judge::Budget| budget.breaker() != Breaker::Closed;
            known.breaker_told =
                kept.map_or([false; 2], |kept| [open(&kept.budget), open(&kept.memory_budget)]);
            let intent = kept.and_then(|kept| kept.intent.as_ref());
            let acting = known.open.is_some();
            let open = known.open.as_ref();
            if open.is_some_and(|open| intent.is_none_or(|intent| intent.act != open.act)) {
                if let Some(open) = open.filter(|open| open.counted).cloned() {
                    match (open.given_up, well) {
                        (true, _) => known.budget_for(open.memory).withdrawn(),
                        (false, true) => {
                            // It answers, and may have been given up before it did.
                            let budget = known.budget_for(open.memory);
                            budget.verified(at);
                            budget.since_healthy = budget.since_healthy.saturating_sub(1);
                        }
                        // Nobody was told; it may have been given up for any reason.
                        (false, false) => known.budget_for(open.memory).withdrawn(),
                    }
                }
                known.open = None;
                known.budget.half_open = true;
                known.memory_budget.half_open = true;
            }
            if let Some(intent) = intent.filter(|_| known.open.is_none()) {
                // Written, and killed before it was begun.
                let counted = intent.attempt.is_some();
                let (act, memory, cause) = (intent.act, intent.memory, intent.cause);
                let asked = !counted;
                let given_up = false;
                let (began, forgiven, objection) = (self.before + intent.began.as_micros(), false, None);
                known.open =
                    Some(Open { act, began, counted, asked, memory, cause, given_up, forgiven, objection });
                if counted {
                    let budget = known.budget_for(memory);
                    budget.attempts.push(began);
                    budget.since_healthy += 1;
                    budget.last = Some(began);
                }
            }
            if lost {
                known.kept_proven.clear();
            }
            if lost || stale {
                known.proven.clone_from(&known.kept_proven);
                known.database_good = known.proven.contains(&CheckKind::Database);
            }
            let unit = &mut self.units[self.members[member].unit];
            if (lost || stale) && acting && !unit.is_up() {
                // Whose stop that is, nobody can tell any more.
                unit.wish = Wish::Forgotten;
            }
            let wish = unit.wish;
            let unknown = lost || stale || another_boot || !known.kept_run;
            let unknown = unknown || intent.is_some_and(|intent| intent.run.is_none());
            // What was read and not written down any more is as good as not seen.
            let seen = kept_down.is_some() && kept_down == unit.says.inactive_enter;
            // What took it down was stopped once more since, be it while this one was on its way down still.
            let down = unit.says.inactive_enter.filter(|_| unit.is_down());
            let went = unit.says.active_exit.max(unit.says.inactive_exit);
            if let Wish::StoppedWith(other) = wish
                && !seen
                && left[other].is_some_and(|left| !went.into_iter().chain(down).any(|at| is_near(left, at)))
            {
                unit.wish = Wish::Forgotten;
            }
            // Stopped on its way up, and killed when that took too long: a start that took too long looks
            // like that, too.
            let was_up = unit.says.active_exit >= unit.says.inactive_exit;
            if matches!(wish, Wish::Stopped { .. }) && !seen && !was_up && unit.says.result == "timeout" {
                unit.wish = Wish::Forgotten;
            }
            // A stop of ours was at that run, and went on by itself: one of somebody's that joined or replaced it
            // while nobody watched left no trace.
            let ours = intent.is_some_and(|intent| {
                let stops = matches!(intent.steps.get(intent.next), Some(Step::Stop { .. }));
                stops && intent.before == unit.says.invocation
            });
            if matches!(wish, Wish::Stopped { .. }) && !seen && ours {
                unit.wish = Wish::Forgotten;
            }
            if unknown && unit.says.inactive_enter.is_none() && matches!(unit.wish, Wish::Stopped { .. }) {
                // systemd has forgotten it, and so have we, if we ever knew.
                unit.wish = Wish::Forgotten;
            }
            if lost || stale {
                known.broke_loop = None;
                known.budget = Budget::new(if lost { 1 } else { allowed });
                known.memory_budget = known.budget.clone();
                let pause = kept.and_then(|kept| kept.pause.as_ref());
                known.paused_until = pause.map(|pause| self.before + pause.until.as_micros());
            }
        }
    }

    /// What the monitor knows is written down.
    pub fn ledger_keeps(&mut self) {
        let now = self.now;
        self.ledger.stale = false;
        self.ledger.moved = 0;
        for known in &mut self.ledger.members {
            known.kept_run |= known.read_run;
            // Who asked for an end is known some moments after it was read.
            let settled = known.down_since.is_some_and(|since| now.since(since) > millis(100));
            let down = known.reading.as_ref().filter(|seen| seen.active.is_down() && settled);
            known.kept_down = down.and_then(|seen| seen.inactive_enter);
            known.kept_proven.clone_from(&known.proven);
        }
    }

    pub fn ledger_reloads(&mut self) {
        let at = self.absolute();
        for (known, member) in self.ledger.members.iter_mut().zip(&self.members) {
            forgive_if_healthy(known, at, &member.policy);
            known.forget_rounds();
            // It has to be looked at anew before a job can be told to have come later.
            known.down_since = None;
            known.healthy_since = None;
        }
    }

    /// The clocks began anew; the judge believes the wall clock about how long it was away.
    pub fn ledger_reboots(&mut self, believed_longer: i64) {
        // The wall clock is written down in whole seconds.
        let believed_longer = believed_longer + 1_000_000 - self.ledger.moved;
        self.ledger.moved += believed_longer;
        for known in &mut self.ledger.members {
            for budget in [&mut known.budget, &mut known.memory_budget] {
                let all = budget.attempts.iter_mut().chain(&mut budget.verified).chain(&mut budget.last);
                all.chain(&mut budget.open_until).for_each(|at| *at -= believed_longer);
            }
            known.broke_loop = known.broke_loop.map(|at| at - believed_longer);
            known.paused_until = known.paused_until.map(|at| at - believed_longer);
            (known.read_run, known.kept_run, known.kept_down) = (false, false, None);
            known.open = None;
        }
    }

    pub fn ledger_reading(&mut self, member: M, reading: &UnitReading) {
        let unit = &self.units[self.members[member].unit];
        let known = &mut self.ledger.members[member];
        let up = !reading.active.is_down() && !reading.auto_restarting();
        known.read_run |= reading.invocation.is_some() && (up || unit.wish != Wish::Up);
        known.last_read = reading.invocation.or(known.last_read);
        if up && reading.invocation != known.seen_run {
            known.seen_run = reading.invocation;
            // Its job is as old as it took to come up, and may have been told of long since.
            if unit.begun_by == Who::Admin && unit.says.invocation == reading.invocation {
                known.budget.half_open = true;
                known.memory_budget.half_open = true;
            }
        }
        match reading.job {
            Some(job) => known.unheard = Some(job),
            None if up => known.unheard = None,
            None => {}
        }
        if !reading.active.is_down() {
            known.unsure = false;
            known.down_since = None;
        } else if known.reading.as_ref().is_none_or(|seen| seen.inactive_enter != reading.inactive_enter) {
            known.down_since = Some(self.now);
        }
        known.unreadable = false;
        known.reading = Some(reading.clone());
    }

    pub fn ledger_job_begun(&mut self, member: M, id: JobId) {
        let now = self.now;
        let says = &self.units[self.members[member].unit].says;
        let known = &mut self.ledger.members[member];
        bounded(&mut known.jobs_begun, id);
        known.unheard = Some(id);
        // A job that comes within moments of a crash may as well have been the cause of it.
        let settled = known.down_since.is_some_and(|since| now.since(since) > millis(100));
        let read = known.reading.as_ref();
        let read =
            read.is_some_and(|seen| seen.active.is_down() && seen.inactive_enter == says.inactive_enter);
        if settled && read {
            bounded(&mut known.jobs_on_down, id);
        }
    }

    pub fn ledger_job_told(&mut self, member: M, id: JobId) {
        let known = &mut self.ledger.members[member];
        bounded(&mut known.jobs_ended, id);
        known.unheard = known.unheard.filter(|unheard| *unheard != id);
    }

    pub fn ledger_asked(&mut self, member: M, request: &Request) {
        let at = self.absolute();
        self.note(Trace::Deed(format!("{} asked: {request:?}", self.members[member].name)));
        let allowed = self.members[member].policy.max_attempts;
        let known = &mut self.ledger.members[member];
        match request {
            Request::Recover { .. } => known.asked = true,
            Request::Reset { .. } => {
                known.budget.forgive(allowed);
                known.memory_budget.forgive(allowed);
                known.broke_loop = None;
                if let Some(open) = &mut known.open {
                    open.forgiven = true;
                }
            }
            Request::Pause { length, .. } => {
                known.paused_until = Some(at + i64::try_from(length.as_micros()).unwrap());
            }
            Request::Resume { .. } => known.paused_until = None,
        }
    }

    // Rounds.

    pub fn ledger_check(&mut self, member: M, round: RoundId, kinds: &[CheckKind]) {
        let unit = &self.units[self.members[member].unit];
        let run = unit.says.invocation.filter(|_| unit.says.active == ActiveState::Active);
        let overloaded = self.behaves(self.members[member].unit) == Some(Mood::Overloaded);
        let known = &mut self.ledger.members[member];
        if known.under_way.len() >= ROUNDS {
            known.under_way.remove(0);
        }
        known.under_way.push(Round {
            id: round,
            began: self.now,
            run,
            overloaded,
            waiting: kinds.len(),
            answers: Vec::new(),
        });
    }

    pub fn ledger_seen(&mut self, member: M, id: RoundId, kind: CheckKind, seen: &Observation) {
        let target = &self.members[member].target;
        let policy = &self.members[member].policy;
        let unit = &self.units[self.members[member].unit];
        let absolute = self.absolute();
        let known = &mut self.ledger.members[member];
        known.database_good |= kind == CheckKind::Database && seen.finding == Finding::Good;
        let Some(at) = known.under_way.iter().position(|round| round.id == id) else { return };
        let round = &mut known.under_way[at];
        round.answers.push((kind, seen.finding));
        round.waiting = round.waiting.saturating_sub(1);
        if round.waiting > 0 {
            return;
        }
        let round = known.under_way.remove(at);
        let own = |kind| matches!(kind, CheckKind::Http | CheckKind::Port | CheckKind::Processes);
        let mut seen =
            round.answers.iter().filter(|(kind, _)| own(*kind)).map(|(_, finding)| *finding).peekable();
        if seen.peek().is_some() {
            let before = known.blind;
            known.blind = if seen.any(|finding| finding == Finding::Unknown) {
                Some((before.map_or(absolute, |(since, _)| since), round.began))
            } else {
                before.filter(|(_, last)| round.began <= *last)
            };
        }
        for (kind, finding) in &round.answers {
            if *finding == Finding::Good && !known.proven.contains(kind) {
                known.proven.push(*kind);
            }
        }
        let of = |kind| round.answers.iter().find(|(other, _)| *other == kind).map(|(_, finding)| *finding);
        let memory = matches!(of(CheckKind::Memory), Some(Finding::Bad(_)));
        let host = matches!(of(CheckKind::HostMemory), Some(Finding::Bad(_)));
        // The first that was ever good decides; where there is none, the app is as well as its unit.
        let mut own = [CheckKind::Http, CheckKind::Port, CheckKind::Processes].into_iter();
        let decisive = own.find(|kind| target.has(*kind) && known.proven.contains(kind));
        // An errand says nothing of the app itself.
        if !round.answers.iter().any(|(kind, _)| target.round().any(|other| other == *kind)) {
            return;
        }
        let Some(found) = decisive.map_or(Some(Finding::Good), of) else { return };
        if round.run.is_none() || round.run != unit.says.invocation {
            return;
        }
        if known.run != round.run {
            known.run = round.run;
            known.said.clear();
            known.suspected = None;
            known.confirmed = false;
            known.good_since_start = false;
        }
        let said = match found {
            Finding::Good => Said::Good,
            Finding::Bad(_) => Said::Bad,
            Finding::Unknown => Said::Nothing,
        };
        known.good_since_start |= said == Said::Good;
        match said {
            Said::Good => known.suspected = None,
            Said::Bad => {
                // They may be answered in any order.
                let first = known.suspected.map_or(round.began, |first| first.min(round.began));
                known.suspected = Some(first);
            }
            Said::Nothing => {}
        }
        let age = self.now.since(unit.says.active_enter.unwrap_or(self.now));
        // Failures within the grace are forgiven, and unknown is never bad.
        let forgiven = said == Said::Bad && !known.good_since_start && age < policy.startup_grace;
        if forgiven || said == Said::Nothing {
            return;
        }
        let place = known.said.partition_point(|other| other.began <= round.began);
        let (memory, starved) = (memory || host, host);
        let overloaded = round.overloaded && unit.process.mood == Mood::Overloaded;
        known
            .said
            .insert(place, Answered { began: round.began, at: absolute, said, memory, starved, overloaded });
        if known.said.len() > 64 {
            known.said.remove(0);
        }
        let window = known.said.iter().rev().take(policy.failures_window.of as usize);
        let bad = window.filter(|seen| seen.said == Said::Bad).count();
        let good = known.said.iter().rev().take_while(|seen| seen.said == Said::Good).count();
        if good >= policy.successes as usize {
            known.confirmed = false;
        }
        let enough = bad >= policy.failures_window.bad as usize;
        known.confirmed |= enough || known.bad_in_a_row() >= policy.failures as usize;
    }

    // Acts.

    pub fn ledger_act(&mut self, member: M, act: ActId, step: &Step) {
        let at = self.absolute();
        let name = &self.members[member].name;
        let memory = self.monitor.host().and_then(|host| host.app(name)).map(|app| app.memory());
        let intent = memory.and_then(|memory| memory.intent);
        let known = &self.ledger.members[member];
        let begins = known.open.as_ref().is_none_or(|open| open.act != act);
        let asked = known.asked || (!begins && known.open.as_ref().is_some_and(|open| open.asked));
        let counted = begins && intent.as_ref().is_some_and(|intent| intent.attempt.is_some());
        let memory = intent.as_ref().is_some_and(|intent| intent.memory);
        let cause = intent.as_ref().map_or(Verdict::Unknown, |intent| intent.cause);
        let deed = invariants::Deed { member, act, step, at, begins, asked, counted, memory, cause };
        if begins {
            let objections = invariants::of_interruptions().iter();
            let mut objections =
                objections.filter_map(|(rule, holds)| Some((*rule, holds(self, &deed).err()?)));
            let objection = objections.next();
            self.ledger.members[member].open = Some(Open {
                act,
                began: at,
                counted,
                asked,
                memory,
                cause,
                given_up: false,
                forgiven: false,
                objection,
            });
        }
        let all = invariants::of_acts().iter();
        let mut broken = all.filter_map(|(rule, holds)| Some((*rule, holds(self, &deed).err()?)));
        if let Some((rule, what)) = broken.next() {
            let what = format!("{step} of {}: {what}", self.members[member].name);
            self.violated(rule, &what);
        }
        self.stir();
        if !begins {
            return;
        }
        self.ordeal_begins(member, at, counted);
        let outages = self.around.outages;
        // What it is owed once the database is back belongs to the outage before, if the next one has begun.
        let owed = cause == Verdict::Crashed && !self.database_accepts();
        let known = &mut self.ledger.members[member];
        known.recoveries.push(at);
        if counted {
            let budget = known.budget_for(memory);
            budget.attempts.push(at);
            budget.since_healthy += 1;
            budget.last = Some(at);
        } else if matches!(cause, Verdict::DatabaseDown | Verdict::Crashed) && !asked && !owed {
            let times = if known.outage.0 == outages { known.outage.1 } else { 0 };
            known.outage = (outages, times + 1);
        }
    }

    /// A stop of ours ended; `done`: it took the unit down.
    pub fn ledger_stopped(&mut self, member: M, done: bool) {
        let known = &mut self.ledger.members[member];
        // What a person asks for is no such stop, whatever it is called for.
        let of_loop = |open: &&Open| open.cause == Verdict::CrashLooping && !open.forgiven && !open.asked;
        if let Some(open) = known.open.as_ref().filter(of_loop).filter(|_| done) {
            known.broke_loop = Some(open.began);
        }
    }

    /// A unit stops being up once more: that one which is still down went down with it before, nobody can
    /// tell any more who has not seen it.
    pub fn ledger_left(&mut self, unit: U) {
        for other in 0..self.units.len() {
            let sim = &self.units[other];
            let going = sim.says.active == ActiveState::Deactivating;
            if sim.wish != Wish::StoppedWith(unit) || !(sim.is_down() || going) {
                continue;
            }
            let known = (0..self.members.len()).any(|member| {
                let seen = self.ledger.members[member].reading.as_ref();
                let same = |seen: &UnitReading| {
                    seen.inactive_enter == sim.says.inactive_enter
                        && (!going || seen.active == ActiveState::Deactivating)
                };
                self.members[member].unit == other && seen.is_some_and(same)
            });
            if !known {
                self.units[other].wish = Wish::Forgotten;
            }
        }
    }

    /// Somebody makes systemd forget that it failed: who has not seen that it did, be it by the start limit
    /// after the pause before Restart=, finds it as if it had been stopped in that pause.
    pub fn ledger_failure_reset(&mut self, unit: U) {
        let sim = &self.units[unit];
        let seen = (0..self.members.len()).any(|member| {
            let read = self.ledger.members[member].reading.as_ref();
            self.members[member].unit == unit
                && read.is_some_and(|read| read.inactive_enter == sim.says.inactive_enter)
        });
        if sim.says.active == ActiveState::Failed && !seen && sim.wish == Wish::Up {
            self.units[unit].wish = Wish::Forgotten;
        }
    }

    /// A step of ours was not to be had.
    pub fn ledger_given_up(&mut self, member: M, given_up: bool) {
        if let Some(open) = &mut self.ledger.members[member].open {
            open.given_up |= given_up;
        }
    }

    pub fn ledger_record(&mut self, member: M, record: Record) {
        let at = self.absolute();
        let name = self.members[member].name.clone();
        self.note(Trace::Told(name.clone(), record.event, record.text.clone()));
        let broken = invariants::of_records()
            .iter()
            .find_map(|(rule, holds)| holds(self, member, &record).err().map(|what| (*rule, what)));
        if let Some((rule, what)) = broken {
            self.violated(rule, &format!("{name}: {what}"));
        }
        self.ordeal_record(member, &record);
        if matches!(
            record.event,
            EventKind::Resumed | EventKind::RecoveryVerified | EventKind::RecoveryFailed
        ) {
            self.stir();
        }
        let policy = &self.members[member].policy;
        let known = &mut self.ledger.members[member];
        if record.level <= Level::Info {
            known.records.push_back(at);
        }
        while known.records.front().is_some_and(|first| at - first > 3_600_000_000) {
            known.records.pop_front();
        }
        if record.verdict != Verdict::Healthy {
            forgive_if_healthy(known, at, policy);
            known.healthy_since = None;
        } else if record.event == EventKind::VerdictChanged || known.verdict != Verdict::Healthy {
            known.healthy_since.get_or_insert(at);
        }
        known.verdict = record.verdict;
        match record.event {
            EventKind::IncidentOpened => {
                known.incident = true;
                known.alerts = 0;
            }
            EventKind::IncidentClosed => known.incident = false,
            EventKind::BreakerOpened => known.breaker_told[usize::from(known.last_was_memory)] = true,
            EventKind::BreakerClosed => {
                known.breaker_told = [false; 2];
                forgive_if_healthy(known, at, policy);
            }
            EventKind::ConditionBegan => {
                let new = record.condition.filter(|what| !known.conditions.contains(what));
                known.conditions.extend(new);
            }
            EventKind::ConditionEnded => {
                known.conditions.retain(|other| Some(*other) != record.condition);
            }
            EventKind::Resumed => known.paused_until = None,
            EventKind::RecoveryVerified | EventKind::RecoveryFailed => {
                let Some(open) = known.open.take() else { return };
                known.last_was_memory = open.memory;
                if !open.counted {
                    return;
                }
                let budget = known.budget_for(open.memory);
                match record.event {
                    EventKind::RecoveryVerified => budget.verified(at),
                    _ if record.text.contains("does not count") => budget.withdrawn(),
                    _ => budget.failed(at, policy),
                }
            }
            _ => {}
        }
    }

    /// Somebody started it: an open breaker lets one through.
    pub fn ledger_foreign_start(&mut self, unit: usize) {
        for member in 0..self.members.len() {
            if self.members[member].unit == unit {
                self.ledger.members[member].budget.half_open = true;
                self.ledger.members[member].memory_budget.half_open = true;
            }
        }
    }
}

fn forgive_if_healthy(known: &mut Known, at: i64, policy: &Policy) {
    let long = i64::try_from(policy.healthy_for.as_micros()).unwrap();
    if known.healthy_since.is_some_and(|since| at - since >= long) {
        known.budget.forgive(policy.max_attempts);
        known.memory_budget.forgive(policy.max_attempts);
        known.broke_loop = None;
    }
}
