//! The host in miniature: units under a systemd that does what it is asked, apps that answer, and what
//! they lean on.
//!
//! What systemd would restart by itself (Restart=) is not played, nor are helpers: each does its work.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Member;
use crate::judge::{
    ActId, ActiveState, AppMemory, CheckKind, Clocks, Detail, Effect, Effects, Event, Exit, Fault, Host,
    HostMemory, InvocationId, JobId, JobResult, Memory, Moment, Observation, Outcome, Record, Role, RoundId,
    Span, Step, Subject, UnitReading,
};

use super::script::{Happening, Kind, Script};

/// Midnight before the first happening: the host has been up for a month.
const MIDNIGHT: Moment = Moment::from_micros(30 * 86_400_000_000);
/// All is well for so long before the first, and there is so much time for the last to be dealt with.
const BEFORE: Duration = Duration::from_secs(1_800);
const AFTER: Duration = Duration::from_secs(7_200);
/// An app listens so long after its start.
const STARTS_IN: Duration = Duration::from_secs(1);
/// Turns of the judge for one script: a bound, not a limit that anybody meets (a week asked every second).
const MOST_TURNS: u64 = 5_000_000;
/// Lines that are told.
const MOST_TOLD: usize = 10_000;

/// A line of the journal that never was.
#[derive(Clone, Debug)]
pub struct Told {
    /// When, since the midnight before the first happening.
    pub at: Duration,
    /// The line.
    pub record: Record,
}

/// Plays the script on those members, from one half hour before it to two hours after, and gives what
/// the journal would hold of it.
#[must_use]
pub fn play(members: &[Member], max_parallel: u32, script: &Script) -> Vec<Told> {
    let first = script.0.first().map_or(Duration::ZERO, |one| one.at);
    let last = script.0.iter().map(|one| one.at + one.length.unwrap_or_default()).max().unwrap_or_default();
    let begin = (MIDNIGHT + first) - BEFORE;
    let mut stage = Stage::new(members, max_parallel, begin);
    let mut changes: Vec<(Moment, Change)> = Vec::new();
    for one in &script.0 {
        changes.push((MIDNIGHT + one.at, Change::Begins(one.clone())));
        if let Some(length) = one.length {
            changes.push((MIDNIGHT + one.at + length, Change::Ends(one.clone())));
        }
    }
    changes.sort_by_key(|(at, _)| *at);
    stage.send_all(&Event::SignalsLost);
    for (at, change) in changes {
        stage.run_until(at);
        stage.change(&change);
    }
    stage.run_until(MIDNIGHT + last + AFTER);
    stage.told.retain(|told| told.at >= first);
    stage.told
}

#[derive(Clone, Debug)]
enum Change {
    Begins(Happening),
    Ends(Happening),
}

#[derive(Clone, Debug)]
enum Coming {
    Deliver(Event),
    Reading,
    StopDone(ActId, Step, JobId),
    StepDone(ActId, Step, JobId),
}

/// One unit and what runs in it.
struct Actor {
    member: Member,
    unit: UnitReading,
    runs: u8,
    up_since: Moment,
    /// What ails this run; a restart ends it.
    ill: Option<Kind>,
    /// When that is over by itself.
    ill_until: Option<Moment>,
}

struct Stage {
    now: Moment,
    host: Host,
    actors: BTreeMap<Subject, Actor>,
    /// What no restart ends, with how many such happenings are under way.
    holds: Vec<Happening>,
    coming: BTreeMap<(Moment, u64), (Subject, Coming)>,
    sequence: u64,
    job: u32,
    turns: u64,
    told: Vec<Told>,
}

impl Stage {
    fn new(members: &[Member], max_parallel: u32, now: Moment) -> Self {
        let up_since = now - Duration::from_secs(86_400);
        let mut memory = Memory { clocks: Clocks::default(), ..Memory::default() };
        let mut actors = BTreeMap::new();
        for member in members {
            // Every check was good before: what is asked is what would be done about a fault.
            let ever_good = CheckKind::ALL.into_iter().map(|kind| member.target.signature(kind)).collect();
            memory.apps.insert(member.subject.clone(), AppMemory { ever_good, ..AppMemory::default() });
            let actor = Actor {
                member: member.clone(),
                unit: running(1, up_since),
                runs: 1,
                up_since,
                ill: None,
                ill_until: None,
            };
            actors.insert(member.subject.clone(), actor);
        }
        let apps = members
            .iter()
            .map(|member| (member.subject.clone(), member.policy.clone(), member.target.clone()));
        let host = Host::new(apps, max_parallel, memory, false, now);
        Self {
            now,
            host,
            actors,
            holds: Vec::new(),
            coming: BTreeMap::new(),
            sequence: 0,
            job: 100,
            turns: 0,
            told: Vec::new(),
        }
    }

    fn run_until(&mut self, until: Moment) {
        while self.turns < MOST_TURNS {
            let next = self.coming.first_key_value().map(|((at, _), _)| *at);
            let wake = self.host.wake_at();
            let Some(at) = [next, wake].into_iter().flatten().min().filter(|at| *at <= until) else { break };
            self.turns += 1;
            self.now = at.max(self.now);
            if next.is_some_and(|next| next <= self.now) {
                if let Some((_, (subject, coming))) = self.coming.pop_first() {
                    self.happen(&subject, coming);
                }
            } else {
                let effects = self.host.tick(self.now);
                self.carry_out(effects);
            }
        }
        self.now = until.max(self.now);
    }

    fn send_all(&mut self, event: &Event) {
        let effects = self.host.handle_all(self.now, event);
        self.carry_out(effects);
    }

    fn send(&mut self, subject: &Subject, event: Event) {
        let effects = self.host.handle(self.now, subject, event);
        self.carry_out(effects);
    }

    fn later(&mut self, millis: u64, subject: &Subject, coming: Coming) {
        self.sequence += 1;
        let at = self.now + Duration::from_millis(millis);
        self.coming.insert((at, self.sequence), (subject.clone(), coming));
    }

    fn carry_out(&mut self, effects: Effects) {
        for (subject, effect) in effects {
            match effect {
                Effect::ReadUnit => self.later(2, &subject, Coming::Reading),
                Effect::Check(round, kinds) => {
                    for kind in kinds {
                        self.check(&subject, round, kind);
                    }
                }
                Effect::Perform(act, step) => self.perform(&subject, act, step),
                Effect::Record(record) => {
                    let at = self.now.since(MIDNIGHT);
                    if self.told.len() < MOST_TOLD {
                        self.told.push(Told { at, record });
                    }
                }
                Effect::Persist | Effect::GatherEvidence | Effect::Hook(_) => {}
            }
        }
    }

    // --- What happens

    fn change(&mut self, change: &Change) {
        match change {
            Change::Begins(one) => {
                if one.kind.needs_length() || (one.kind == Kind::Crash && one.length.is_some()) {
                    self.holds.push(one.clone());
                }
                for subject in self.met(one) {
                    match one.kind {
                        Kind::Crash | Kind::ProxyDown => self.fall(&subject),
                        Kind::Stop => self.somebody_stops(&subject),
                        Kind::Restart | Kind::BadBuild => self.somebody_restarts(&subject),
                        Kind::Freeze | Kind::Error | Kind::PortClosed | Kind::Overload | Kind::Leak => {
                            if let Some(actor) = self.actors.get_mut(&subject) {
                                actor.ill = Some(one.kind);
                                actor.ill_until = one.length.map(|length| MIDNIGHT + one.at + length);
                            }
                        }
                        Kind::DbDown
                        | Kind::NetDown
                        | Kind::HostMemory
                        | Kind::DiskLow
                        | Kind::ConfigMissing => {}
                    }
                }
            }
            Change::Ends(one) => {
                if let Some(at) = self.holds.iter().position(|held| held == one) {
                    self.holds.remove(at);
                }
                for subject in self.met(one) {
                    match one.kind {
                        Kind::Stop => self.somebody_starts(&subject),
                        Kind::BadBuild => self.somebody_restarts(&subject),
                        kind => {
                            if let Some(actor) = self.actors.get_mut(&subject)
                                && actor.ill == Some(kind)
                            {
                                actor.ill = None;
                            }
                        }
                    }
                }
            }
        }
    }

    /// Whom it meets.
    fn met(&self, one: &Happening) -> Vec<Subject> {
        let proxy = one.kind == Kind::ProxyDown;
        let fits = |actor: &&Actor| match (&one.whom, &actor.member.target.role) {
            (Some(whom), _) => is_meant(whom, &actor.member.subject),
            (None, Role::Proxy { .. }) => proxy,
            (None, Role::App) => !proxy,
            (None, Role::Database { .. }) => false,
        };
        self.actors.values().filter(fits).map(|actor| actor.member.subject.clone()).collect()
    }

    fn held(&self, kind: Kind) -> bool {
        self.holds.iter().any(|one| one.kind == kind)
    }

    /// It is held for that one, or for everybody.
    fn held_for(&self, kind: Kind, subject: &Subject) -> bool {
        let meant = |one: &Happening| one.whom.as_ref().is_none_or(|whom| is_meant(whom, subject));
        self.holds.iter().any(|one| one.kind == kind && meant(one))
    }

    // --- systemd

    fn happen(&mut self, subject: &Subject, coming: Coming) {
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

    fn perform(&mut self, subject: &Subject, act: ActId, step: Step) {
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

    fn fall(&mut self, subject: &Subject) {
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
    fn somebody_stops(&mut self, subject: &Subject) {
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

    fn somebody_starts(&mut self, subject: &Subject) {
        self.come_up(subject);
        self.foreign_job(subject);
    }

    fn somebody_restarts(&mut self, subject: &Subject) {
        self.go_down(subject, true);
        self.come_up(subject);
        self.foreign_job(subject);
    }

    // --- What checks see

    fn check(&mut self, subject: &Subject, round: RoundId, kind: CheckKind) {
        let (after, seen) = self.sees(subject, kind);
        self.later(after, subject, Coming::Deliver(Event::Check(round, kind, seen)));
    }

    /// After how many milliseconds, and what.
    fn sees(&self, subject: &Subject, kind: CheckKind) -> (u64, Observation) {
        let Some(actor) = self.actors.get(subject) else { return (1, Observation::unknown("not played")) };
        let bad = |fault, text: &str| (2, Observation::bad(fault, text));
        let good = |text: &str| (2, Observation::good(text));
        let listens = self.listens(actor);
        match kind {
            CheckKind::Http => self.sees_http(actor),
            CheckKind::Port if listens => good("the port listens"),
            CheckKind::Port => bad(Fault::NotListening, "nobody listens on the port"),
            CheckKind::Processes if actor.unit.active == ActiveState::Active => good("1 process"),
            CheckKind::Processes => bad(Fault::TooFewProcesses, "no process"),
            CheckKind::Memory => {
                let most = actor.member.target.max_memory.unwrap_or(u64::MAX);
                let seen = match actor.ill {
                    Some(Kind::Leak) => Observation::bad(Fault::OverMemory, "uses more than max_memory")
                        .with(Detail::Memory(most.saturating_add(1 << 20))),
                    _ => Observation::good("uses little").with(Detail::Memory(most / 4)),
                };
                (2, seen)
            }
            CheckKind::HostMemory => {
                let short = self.held(Kind::HostMemory);
                let least = actor.member.target.min_available;
                let memory = HostMemory {
                    available: if short { least / 2 } else { least.saturating_mul(8) },
                    pressure: Some(if short { 25 } else { 0 }),
                    ..HostMemory::default()
                };
                let seen = if short {
                    Observation::bad(Fault::ShortOfMemory, "less is available than min_available")
                } else {
                    Observation::good("enough is available")
                };
                (2, seen.with(Detail::HostMemory(memory)))
            }
            CheckKind::Disk if self.held(Kind::DiskLow) => bad(Fault::DiskLow, "less is free than min_disk"),
            CheckKind::Disk => good("enough is free"),
            CheckKind::Database if self.held(Kind::DbDown) => {
                bad(Fault::DatabaseDown, "the database does not accept connections")
            }
            CheckKind::Database => good("the database accepts connections"),
            CheckKind::Egress if self.held(Kind::NetDown) => {
                bad(Fault::Unreachable, "nothing out there can be reached")
            }
            CheckKind::Egress => good("the network out is there"),
            CheckKind::Public if self.held(Kind::NetDown) => {
                bad(Fault::Unresolved, "the public name cannot be resolved")
            }
            CheckKind::Proxy | CheckKind::Public => self.sees_public(actor),
            CheckKind::Preflight if self.held(Kind::ConfigMissing) => {
                bad(Fault::ConfigMissing, "keys or files that a start needs are missing")
            }
            CheckKind::Preflight => good("everything that a start needs is there"),
        }
    }

    fn listens(&self, actor: &Actor) -> bool {
        actor.unit.active == ActiveState::Active
            && self.now.since(actor.up_since) >= STARTS_IN
            && actor.ill != Some(Kind::PortClosed)
    }

    fn answers_500(&self, actor: &Actor) -> bool {
        let needs = actor.member.target.database.is_some() && self.held(Kind::DbDown);
        actor.ill == Some(Kind::Error) || needs || self.held_for(Kind::BadBuild, &actor.member.subject)
    }

    fn sees_http(&self, actor: &Actor) -> (u64, Observation) {
        let timeout = u64::try_from(actor.member.policy.timeout.as_millis()).unwrap_or(u64::MAX);
        let silent = |taken, cpu| {
            // Who waits is answered as soon as it answers again.
            let wait = actor
                .ill_until
                .map(|until| until.since(self.now))
                .filter(|wait| *wait < actor.member.policy.timeout);
            if let Some(wait) = wait {
                let seen = Observation::good("the health check answers 200").took(wait);
                return (u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), seen);
            }
            let text = format!("the health check timed out after {}", Span(actor.member.policy.timeout));
            let seen = Observation::bad(Fault::Unanswered, text);
            (timeout, seen.with(Detail::Silence { taken: Some(taken), cpu: Some(cpu) }))
        };
        match actor.ill {
            _ if !self.listens(actor) => (1, Observation::bad(Fault::Refused, "the health check is refused")),
            Some(Kind::Freeze) => silent(false, 0),
            Some(Kind::Overload) => silent(true, 95),
            _ if self.answers_500(actor) => {
                (5, Observation::bad(Fault::WrongAnswer, "the health check answers 500"))
            }
            _ => (20, Observation::good("the health check answers 200").took(Duration::from_millis(20))),
        }
    }

    /// Through the proxy, as everybody sees it.
    fn sees_public(&self, actor: &Actor) -> (u64, Observation) {
        let proxy = actor.member.target.proxy.as_ref();
        let is_it = |other: &&Actor| Some(&other.member.target.unit) == proxy;
        let down = self.actors.values().find(is_it).is_some_and(|proxy| proxy.unit.active.is_down());
        let instances = |other: &&Actor| {
            other.member.subject.app().is_some() && other.member.subject.app() == actor.member.subject.app()
        };
        let well = self.actors.values().filter(instances).any(|other| {
            self.listens(other) && other.ill.is_none_or(|ill| ill == Kind::Leak) && !self.answers_500(other)
        });
        if down {
            (1, Observation::bad(Fault::Refused, "the public name is refused"))
        } else if well {
            (25, Observation::good("the public name answers 200"))
        } else {
            (25, Observation::bad(Fault::Upstream, "the proxy answers 502"))
        }
    }
}

/// An app's name means all of its instances.
fn is_meant(whom: &Subject, subject: &Subject) -> bool {
    match whom {
        Subject::App(app) => subject.app() == Some(app),
        whom => whom == subject,
    }
}

fn running(run: u8, since: Moment) -> UnitReading {
    UnitReading::running(InvocationId([run; 16]), 1000 + u32::from(run), since)
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::*;
    use crate::config::{Sources, load};
    use crate::judge::EventKind;

    /// What is told of a script, with the configuration that those variables make.
    fn played(script: &str, variables: &[(&str, &str)]) -> Vec<Told> {
        let given = [("UNIT", "web.service"), ("PORT", "3000"), ("HTTP", "/health")];
        let environment = given
            .iter()
            .chain(variables)
            .map(|(name, value)| (format!("APP_MONITOR_{name}"), (*value).to_owned()))
            .collect();
        let settings = load(&Sources { root: "/nonexistent".into(), environment }).unwrap().settings;
        play(&settings.members, settings.max_parallel, &Script::read(script).unwrap())
    }

    fn count(told: &[Told], event: EventKind) -> usize {
        told.iter().filter(|told| told.record.event == event).count()
    }

    #[test]
    fn a_restart_ends_what_ails_a_run_and_takes_no_longer_than_it_does_in_truth() {
        let told = played("10:00 freeze 10m", &[]);
        assert_eq!(count(&told, EventKind::RecoveryStarted), 1, "{told:?}");
        assert_eq!(count(&told, EventKind::RecoveryVerified), 1);
        let at = told.iter().find(|told| told.record.event == EventKind::RecoveryStarted).unwrap().at;
        // A check every 10 s, three times 10 s that overlap by 2 s each.
        let after = at - Duration::from_secs(36_000);
        assert!((15..27).contains(&after.as_secs()), "{after:?}");
    }

    #[test]
    fn what_would_be_done_follows_the_configuration() {
        let hiccup = "10:00 freeze 5s";
        let quick = [("CHECK_INTERVAL", "1s"), ("TIMEOUT", "1s"), ("CONFIRM_INTERVAL", "500ms")];
        assert_eq!(count(&played(hiccup, &quick), EventKind::RecoveryStarted), 1);
        let patient = quick
            .iter()
            .copied()
            .chain([("FAILURES", "8"), ("FAILURES_WINDOW", "9 of 10")])
            .collect::<Vec<_>>();
        assert_eq!(count(&played(hiccup, &patient), EventKind::RecoveryStarted), 0);
        let watched = quick.iter().copied().chain([("MODE", "\"watch\"")]).collect::<Vec<_>>();
        assert_eq!(count(&played("10:00 crash 5m", &watched), EventKind::StepDone), 0);
    }

    #[test]
    fn what_no_restart_ends_is_given_up_on_and_over_when_it_is_over() {
        let told = played("10:00 bad-build 1h", &[]);
        assert_eq!(count(&told, EventKind::BreakerOpened), 1);
        assert_eq!(count(&told, EventKind::IncidentOpened), 1);
        assert_eq!(count(&told, EventKind::IncidentClosed), 1);
        assert_eq!(count(&told, EventKind::BreakerClosed), 1);
    }

    #[test]
    fn surroundings_restart_nothing() {
        let around = [
            ("PUBLIC", "http://shop.test/"),
            ("PROXY", "nginx.service"),
            ("DATABASE", "{ url = \"redis://127.0.0.1:6379\" }"),
        ];
        for (script, verdict) in [
            ("10:00 db-down 5m", "database-down"),
            ("10:00 net-down 20m", "healthy"),
            ("10:00 disk-low 20m", "healthy"),
            ("10:00 stop 1h", "stopped-by-admin"),
        ] {
            let told = played(script, &around);
            assert_eq!(count(&told, EventKind::RecoveryStarted), 0, "{script}: {told:?}");
            let seen = told.iter().any(|told| told.record.verdict.word() == verdict);
            assert!(seen, "{script}: {told:?}");
        }
        let told = played("10:00 proxy-down", &around);
        let whom: Vec<_> = told
            .iter()
            .filter(|told| told.record.event == EventKind::RecoveryStarted)
            .map(|told| told.record.unit.to_string())
            .collect();
        assert_eq!(whom, ["nginx.service"], "{told:?}");
    }
}
