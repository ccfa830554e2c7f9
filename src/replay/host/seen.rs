//! What checks see of the host in miniature.

use std::time::Duration;

use super::{Actor, Coming, Stage};
use crate::judge::{
    ActiveState, CheckKind, Detail, Event, Fault, HostMemory, Observation, RoundId, Span, Subject,
};
use crate::replay::script::Kind;

/// An app listens so long after its start.
const STARTS_IN: Duration = Duration::from_secs(1);

impl Stage {
    pub(super) fn check(&mut self, subject: &Subject, round: RoundId, kind: CheckKind) {
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
