//! The port of an app that is down: is it free to be started, or who holds it?

use std::time::Duration;

use super::super::app::App;
use super::super::effect::{Effect, RoundId};
use super::super::life::Ending;
use super::super::observation::{CheckKind, Detail, Fault, Finding, Observation};
use super::super::time::Moment;
use super::super::unit::{ActiveState, UnitReading};

/// How long the look may hold back the verdict.
const HOLDS_BACK: Duration = Duration::from_millis(150);

impl App {
    pub(super) fn wants_port_look(&self) -> bool {
        self.target.port.is_some()
            && self.was_ever_good(CheckKind::Port)
            && self.unit.as_ref().is_some_and(|unit| {
                // Begun before it is known who ended it, so that nobody waits for it then. One that
                // may idle has its port held by its socket.
                let nobody_asked = match self.life.ending() {
                    None => unit.inactive_exit.is_some() && !self.is_acting(),
                    Some(ending) => *ending == Ending::ByItself,
                };
                let idle = unit.active == ActiveState::Inactive && unit.socket_listening;
                (unit.active.is_down() && nobody_asked && !idle) || third_automatic_restart(unit)
            })
    }

    /// When the next look is due, or the verdict waits for this one no longer.
    pub(super) fn port_look_due(&self, now: Moment) -> Option<Moment> {
        let (_, began, seen) = self.probing.port_look.as_ref()?;
        let next = match seen {
            Some(_) => self.policy.startup_interval,
            None if now.since(*began) < HOLDS_BACK => HOLDS_BACK,
            None => self.policy.timeout,
        };
        Some(*began + next)
    }

    pub(super) fn awaits_port_look(&self, id: RoundId) -> bool {
        self.probing.port_look.as_ref().is_some_and(|(look, ..)| *look == id)
    }

    pub(super) fn take_port_look(&mut self, observation: Observation) {
        let taken = observation.finding == Finding::Bad(Fault::ForeignListener);
        self.taken = taken.then(|| observation.text.clone());
        if let Some((_, _, seen)) = &mut self.probing.port_look {
            *seen = Some(observation);
        }
    }

    pub(super) fn look_at_port(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let due = match &self.probing.port_look {
            None => true,
            Some((_, began, Some(_))) => now.since(*began) >= self.policy.startup_interval,
            Some((_, began, None)) => now.since(*began) >= self.policy.timeout,
        };
        if !due {
            return;
        }
        let seen = self.probing.port_look.take().and_then(|(_, _, seen)| seen);
        let id = self.probing.new_id();
        self.probing.port_look = Some((id, now, seen));
        out.push(Effect::Check(id, vec![CheckKind::Port]));
    }

    /// Who holds the port of the app that is down, or that systemd started once more in vain.
    pub(in super::super) fn port_holder(&self) -> Option<&str> {
        let seen = self.probing.port_look.as_ref().and_then(|(_, _, seen)| seen.as_ref());
        let Some(seen) = seen else {
            let in_vain = self.unit.as_ref().is_some_and(|unit| {
                let starts = unit.active == ActiveState::Active || unit.auto_restarting();
                starts && unit.restarts >= 3 && !self.good_since_start
            });
            return self.taken.as_deref().filter(|_| in_vain);
        };
        (seen.finding == Finding::Bad(Fault::ForeignListener)).then_some(seen.text.as_str())
    }

    /// Who held it was seen before the present run, and nobody has looked since.
    pub(in super::super) fn holder_is_remembered(&self) -> bool {
        let look = self.probing.port_look.as_ref();
        self.taken.is_some() && look.is_none_or(|(_, _, seen)| seen.is_none())
    }

    /// It is not known yet who holds it.
    pub(in super::super) fn port_pending(&self, now: Moment) -> bool {
        self.wants_port_look()
            && match &self.probing.port_look {
                None => true,
                Some((_, began, seen)) => seen.is_none() && now.since(*began) < HOLDS_BACK,
            }
    }

    /// Who holds its port may be ended, as far as can be seen; the helper looks again.
    pub(in super::super) fn holder_is_reapable(&self) -> bool {
        let look = self.probing.port_look.as_ref().and_then(|(_, _, seen)| seen.as_ref());
        let round = self.latest.get(&CheckKind::Port);
        let seen = if self.wants_port_look() { look } else { round };
        let answers_well = self
            .latest
            .get(&CheckKind::Http)
            .is_some_and(|http| http.finding == Finding::Good && !self.wants_port_look());
        match seen.and_then(|seen| seen.detail.as_deref()) {
            Some(Detail::Holder { reapable, own_orphan }) => *own_orphan || (*reapable && !answers_well),
            _ => false,
        }
    }
}

fn third_automatic_restart(unit: &UnitReading) -> bool {
    unit.auto_restarting() && unit.restarts >= 3
}
