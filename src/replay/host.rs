//! The host in miniature: units under a systemd that does what it is asked, apps that answer, and what
//! they lean on.
//!
//! What systemd would restart by itself (Restart=) is not played, nor are helpers: each does its work.

mod jobs;
mod seen;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Member;
use crate::judge::{
    ActId, AppMemory, CheckKind, Clocks, Effect, Effects, Event, Host, InvocationId, JobId, Memory, Moment,
    Record, Role, Step, Subject, UnitReading,
};

use super::script::{Happening, Kind, Script};

/// Midnight before the first happening: the host has been up for a month.
const MIDNIGHT: Moment = Moment::from_micros(30 * 86_400_000_000);
/// All is well for so long before the first, and there is so much time for the last to be dealt with.
const BEFORE: Duration = Duration::from_secs(1_800);
const AFTER: Duration = Duration::from_secs(7_200);
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
