//! Verdict against truth, once the world has been quiet for so long that everything there is to see was
//! seen: the verdict of each app, and the conditions of its surroundings, are those that its true state
//! asks for.

use std::time::Duration;

use app_monitor::judge::{AppView, CheckKind, Condition, Role, Verdict};

use crate::process::Mood;
use crate::surroundings::Proxy;
use crate::systemd::{Unit, Wish};
use crate::world::{M, Member, World, seconds};

impl World {
    /// Something happened: the world is not at rest.
    pub fn stir(&mut self) {
        self.stirred = self.absolute();
    }

    /// Compares, where it has been quiet for long enough.
    pub fn at_rest(&mut self) {
        if self.monitor.stalled.is_some() || self.violation.is_some() {
            return;
        }
        let Some(host) = self.monitor.host() else { return };
        let quiet = self.absolute() - self.stirred;
        let mut wrong = None;
        for member in 0..self.members.len() {
            let Member { name, policy, .. } = &self.members[member];
            let Some(app) = host.app(name) else { continue };
            let rounds = policy.failures_window.of.max(policy.failures) + 1;
            let long = (policy.check_interval + policy.timeout) * rounds + seconds(300);
            if quiet < micros(long) {
                continue;
            }
            let view = app.view(self.now);
            // Whether a recovery helped is being looked at, or one is waiting for its turn.
            if view.recovery.is_some() {
                continue;
            }
            let told = &self.ledger.members[member].conditions;
            let unended =
                told.iter().find(|told| view.conditions.iter().all(|held| held.condition != told.word()));
            if let Some(what) = unended {
                wrong = Some(format!("{name}: {what} does not hold, and its end was not told"));
                break;
            }
            let by_law =
                self.goes_round_by_law(member, view.verdict) || self.starts_by_law(member, view.verdict);
            let asked = self.asks_for(member).filter(|_| !by_law);
            if asked.is_some_and(|verdict| verdict != view.verdict) {
                let truth = asked.map_or("", Verdict::word);
                wrong = Some(format!("{name} is {truth}, and called {}: {}", view.verdict, view.text));
                break;
            }
            let surroundings = (policy.public_interval + policy.timeout) * (policy.failures + 2);
            if quiet < micros(long + surroundings * 2) {
                continue;
            }
            if let Some(what) = self.misses_a_condition(member, &view) {
                wrong = Some(format!("{name}: {what}"));
                break;
            }
        }
        if let Some(what) = wrong {
            self.violated("at rest the verdict is the truth", &what);
        }
    }

    /// The verdict that the state of a member asks for; nothing where nobody can tell from outside.
    fn asks_for(&self, member: M) -> Option<Verdict> {
        let Member { target, unit, .. } = &self.members[member];
        let known = &self.ledger.members[member];
        let sim = &self.units[*unit];
        if self.around.hung {
            return Some(if self.ledger.stopping { Verdict::ShuttingDown } else { Verdict::Unknown });
        }
        if sim.masked.is_some() {
            return Some(Verdict::Masked);
        }
        if self.ledger.stopping {
            return Some(Verdict::ShuttingDown);
        }
        if known.paused_until.is_some_and(|until| self.absolute() < until) || sim.frozen.is_some() {
            return Some(Verdict::Paused);
        }
        if known.unsure || sim.job.is_some() {
            return None;
        }
        if sim.is_down() {
            return self.asks_for_down(member, sim);
        }
        if !sim.is_up() || self.around.blind.contains_key(&member) {
            return None;
        }
        if target.role != Role::App {
            // What is wrong with the answers of a proxy shows by the apps behind it alone.
            let proxy = matches!(target.role, Role::Proxy { .. });
            let well = !proxy || self.around.proxy != Proxy::Silent && !self.answers_by_luck();
            let well = well && self.is_asked(member);
            return well.then_some(Verdict::Healthy);
        }
        let leaks = sim.process.leak > 0 && (target.max_memory.is_some() || target.min_available > 0);
        if leaks {
            return None;
        }
        let sick = self.shows(member)?;
        if sick == Verdict::Healthy {
            return Some(sick);
        }
        Some(self.lacks(member).unwrap_or(sick))
    }

    /// A proxy is asked by the apps behind it: what was wrong with its answers stays as long as none of them
    /// runs.
    pub fn is_asked(&self, member: M) -> bool {
        let asks = |member: &Member| member.target.has(CheckKind::Public) && self.units[member.unit].is_up();
        let proxy = matches!(self.members[member].target.role, Role::Proxy { .. });
        !proxy || self.members.iter().any(asks)
    }

    /// systemd restarted it so often within the hour, and nothing good was seen since: it goes round,
    /// whatever is wrong with the present run, unless that stays.
    fn goes_round_by_law(&self, member: M, verdict: Verdict) -> bool {
        let says = &self.units[self.members[member].unit].says;
        // The grace is ten minutes at most.
        let lately = says.active_enter.is_some_and(|up| self.now.since(up) < seconds(600));
        verdict == Verdict::CrashLooping && says.restarts > 3 && lately
    }

    /// What is wrong with it is forgiven for as long as the grace lasts, and that may be longer than it has
    /// been quiet.
    fn starts_by_law(&self, member: M, verdict: Verdict) -> bool {
        let Member { unit, policy, .. } = &self.members[member];
        let grace = policy.startup_grace.max(seconds(600));
        let up = self.units[*unit].says.active_enter;
        verdict == Verdict::Starting && up.is_some_and(|up| self.now.since(up) < grace)
    }

    fn asks_for_down(&self, member: M, sim: &Unit) -> Option<Verdict> {
        let known = &self.ledger.members[member];
        match sim.wish {
            Wish::Stopped { .. } if known.knows_stop(sim.wish, &sim.says) => Some(Verdict::StoppedByAdmin),
            Wish::StoppedWith(_) if known.knows_stop(sim.wish, &sim.says) => {
                Some(Verdict::StoppedWithDependency)
            }
            // What is down already may have been stopped once more by a job whose end was not told.
            Wish::Up if known.unheard.is_some() => None,
            // Systemd remembers how it ended, and nobody asked.
            Wish::Up if sim.says.inactive_enter.is_some() && !self.around.blind.contains_key(&member) => {
                let target = &self.members[member].target;
                let port = target.has(CheckKind::Port) && known.proven.contains(&CheckKind::Port);
                let taken = port && self.around.holders.contains_key(&self.members[member].unit);
                let fell = if taken { Verdict::PortTaken } else { Verdict::Crashed };
                Some(self.lacks(member).unwrap_or(fell))
            }
            _ => None,
        }
    }

    /// What it leans on and that is not there.
    fn lacks(&self, member: M) -> Option<Verdict> {
        let target = &self.members[member].target;
        let known = &self.ledger.members[member];
        let asked = |kind| target.has(kind) && known.proven.contains(&kind);
        if asked(CheckKind::Database) && !self.database_accepts() {
            Some(Verdict::DatabaseDown)
        } else if asked(CheckKind::Preflight) && !self.around.config {
            Some(Verdict::ConfigMissing)
        } else {
            None
        }
    }

    /// What its answers show: those of the first check that was ever good.
    fn shows(&self, member: M) -> Option<Verdict> {
        let Member { target, unit, .. } = &self.members[member];
        let proven = &self.ledger.members[member].proven;
        let asked = |kind| target.has(kind) && proven.contains(&kind);
        let behaves = self.behaves(*unit);
        if asked(CheckKind::Http) {
            return match behaves {
                None => Some(Verdict::PortClosed),
                Some(Mood::Well(_)) => Some(Verdict::Healthy),
                Some(Mood::Wrong) => Some(Verdict::Erroring),
                Some(Mood::Frozen | Mood::Deaf | Mood::PortLost) => Some(Verdict::Frozen),
                // By chance it is well for a while.
                Some(Mood::Flapping | Mood::Overloaded) => None,
            };
        }
        if asked(CheckKind::Port) && !target.has(CheckKind::Http) {
            return Some(if behaves.is_some() { Verdict::Healthy } else { Verdict::PortClosed });
        }
        let alone = !target.has(CheckKind::Http) && !target.has(CheckKind::Port);
        alone.then_some(Verdict::Healthy)
    }

    /// A condition that must hold and does not, or holds and must not.
    fn misses_a_condition(&self, member: M, view: &AppView) -> Option<String> {
        let Member { target, unit, .. } = &self.members[member];
        let known = &self.ledger.members[member];
        let around = &self.around;
        let plain = target.role == Role::App && view.verdict == Verdict::Healthy && self.answers_well(*unit);
        if !plain || around.hung || around.blind.contains_key(&member) {
            return None;
        }
        let asked = |kind| target.has(kind) && (!kind.needs_proof() || known.proven.contains(&kind));
        let public = asked(CheckKind::Public);
        let proxy = around.proxy_unit.is_none_or(|proxy| self.units[proxy].is_up());
        let silent = !proxy || around.proxy == Proxy::Silent;
        let short = around.available < target.min_available || around.pressure > 20;
        let memory = target.has(CheckKind::HostMemory);
        let reached = around.network && around.resolver && around.tls;
        let served = !silent && around.proxy == Proxy::Well;
        // What, whether it must hold, and whether it may.
        let database = asked(CheckKind::Database) && !self.database_accepts();
        let must_and_may = [
            (Condition::DatabaseUnreachable, database, !self.database_accepts()),
            (Condition::DiskLow, asked(CheckKind::Disk) && !around.disk, !around.disk),
            (Condition::HostMemory, memory && short, short),
            (Condition::NetworkDown, public && !around.network && around.resolver, !around.network),
            (Condition::PublicUnreachable, public && around.network && served && !reached, !reached),
            (Condition::ProxyDown, asked(CheckKind::Proxy) && silent, silent),
            (Condition::ProxyUpstream, public && reached && !silent && !served, !served),
            (
                Condition::CertificateExpiring,
                public && reached && !silent && around.certificate < 14 * 86_400,
                // While nobody gets there, the one that was seen last stands.
                !around.tls || around.certificate < 14 * 86_400 || !reached || silent,
            ),
        ];
        must_and_may.into_iter().find_map(|(condition, must, may)| {
            let holds = view.conditions.iter().any(|shown| shown.condition == condition.word());
            match (holds, must, may) {
                (false, true, _) => Some(format!("{condition} is not told")),
                (true, _, false) => Some(format!("{condition} is told, and is not so")),
                _ => None,
            }
        })
    }
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap()
}
