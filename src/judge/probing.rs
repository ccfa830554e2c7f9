//! Rounds of checks: when one is due, suspicion and its overlapping confirmation, and what the
//! answers of a round add up to.

use std::collections::BTreeMap;
use std::time::Duration;

use super::app::App;
use super::effect::{Effect, RoundId};
use super::history::RoundResult;
use super::level::Level;
use super::mutation::{Mutation, active};
use super::observation::{CheckKind, Detail, Fault, Finding, Observation};
use super::record::EventKind;
use super::time::Moment;
use super::unit::ActiveState;
use super::verdict::Verdict;

mod port_look;

/// Rounds in flight at a time.
const OVERLAP: usize = 3;
/// What a check gets on top of its timeout before it counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// An app that uses more than that of a core, in percent, while nobody is answered is at work.
const BUSY: u32 = 20;
/// Memory of the host is looked at no more often than that while there is enough: it is the same for
/// all apps, however fast they are asked.
const HOST_MEMORY_EVERY: Duration = Duration::from_secs(10);
/// The most that starts can teach.
const LONGEST_GRACE: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
struct Round {
    id: RoundId,
    began: Moment,
    waiting: Vec<CheckKind>,
    answers: BTreeMap<CheckKind, Observation>,
    /// It raised suspicion by not being answered; once is enough.
    suspected: bool,
}

/// The rounds under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Probing {
    rounds: Vec<Round>,
    next_id: u64,
    last_began: Option<Moment>,
    /// When the latest of those began that are over.
    last_taken: Option<Moment>,
    /// While something is suspected: when the next confirming round begins.
    suspicion: Option<Moment>,
    /// The app's rounds have found their place among those of the others.
    spread: bool,
    /// When the host's memory was looked at last.
    host_memory: Option<Moment>,
    /// The look at the port of an app that is down: when it began, and who holds it.
    port_look: Option<(RoundId, Moment, Option<Observation>)>,
}

impl Probing {
    /// None under way. Rounds are numbered from the moment on, in microseconds, so that an answer to
    /// a round of before a reload is never taken for one to a round of after it.
    pub fn new(now: Moment) -> Self {
        Self { next_id: u64::try_from(now.as_micros()).unwrap_or(0), ..Self::default() }
    }

    /// Forgets the rounds under way: their answers will mean nothing.
    pub fn void(&mut self, now: Moment) {
        self.rounds.clear();
        self.suspicion = None;
        self.port_look = None;
        self.last_began = self.last_began.map(|_| now);
    }

    /// The same, at the same pace, whatever is suspected.
    pub fn drop_rounds(&mut self) {
        self.rounds.clear();
    }

    /// Nothing is suspected.
    pub fn calm(&self) -> bool {
        self.suspicion.is_none()
    }

    pub fn new_id(&mut self) -> RoundId {
        self.next_id += 1;
        RoundId(self.next_id)
    }
}

impl App {
    /// Starts what is due.
    pub(super) fn probe(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let lost_after = self.longest_timeout() + LOST_AFTER;
        self.probing.rounds.retain(|round| now.since(round.began) < lost_after);
        if self.wants_port_look() {
            self.look_at_port(now, out);
            return;
        }
        self.probing.port_look = None;
        if !self.is_probed() {
            self.probing.rounds.clear();
            self.probing.suspicion = None;
            return;
        }
        self.suspect_unanswered(now, out);
        if self.round_due().is_some_and(|due| due <= now) {
            self.begin_round(now, out);
        }
    }

    /// When `probe` has something to do.
    pub(super) fn probing_due(&self, now: Moment) -> Vec<Moment> {
        if self.wants_port_look() {
            return self.port_look_due(now).into_iter().collect();
        }
        if !self.is_probed() {
            return Vec::new();
        }
        let suspect_after = self.history.suspect_after(&self.policy);
        let unsuspected = self.probing.rounds.iter().filter(|round| !round.suspected);
        let mut due: Vec<Moment> = unsuspected.map(|round| round.began + suspect_after).collect();
        due.extend(self.round_due());
        due.extend(self.probing.rounds.iter().map(|round| round.began + self.longest_timeout() + LOST_AFTER));
        due
    }

    /// A round goes out at this moment.
    pub(super) fn round_began_at(&self, now: Moment) -> bool {
        self.probing.last_began == Some(now)
    }

    /// When the app's next round begins; for `status`.
    #[must_use]
    pub(super) fn round_due(&self) -> Option<Moment> {
        if !self.is_probed() || self.probing.rounds.len() >= OVERLAP {
            return None;
        }
        if let Some(next) = self.probing.suspicion {
            return Some(next);
        }
        let Some(last) = self.probing.last_began else { return Some(Moment::default()) };
        if let Some(since) = self.has_to_vouch_since().filter(|since| last < *since) {
            return Some(since);
        }
        let pace = self.pace();
        if !self.probing.spread && pace == self.policy.check_interval {
            // Apps that were started together are not asked at the same moment for ever after.
            return Some(last + pace.mul_f64(0.25 + 0.75 * self.share));
        }
        Some(last + pace)
    }

    /// Whether answers of that round still mean something.
    #[must_use]
    pub fn awaits(&self, id: RoundId) -> bool {
        self.probing.rounds.iter().any(|round| round.id == id)
            || self.errands.awaits(id)
            || self.awaits_port_look(id)
    }

    fn pace(&self) -> Duration {
        let verifying = self.recovery.as_ref().is_some_and(|recovery| !recovery.is_acting());
        if self.verdict == Verdict::Starting || (verifying && !self.good_since_start) || !self.judged {
            self.policy.startup_interval
        } else if verifying {
            self.policy.confirm_interval.min(self.policy.check_interval)
        } else {
            self.policy.check_interval
        }
    }

    pub(super) fn longest_timeout(&self) -> Duration {
        let http = self.target.http.as_ref().map_or(Duration::ZERO, |http| http.timeout);
        http.max(self.policy.timeout)
    }

    /// Checks are made while the unit is up. An idle one would be woken, a stopped one is down.
    fn is_probed(&self) -> bool {
        self.target.round().next().is_some()
            && self
                .unit
                .as_ref()
                .is_some_and(|unit| matches!(unit.active, ActiveState::Active | ActiveState::Reloading))
    }

    fn begin_round(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let id = self.probing.new_id();
        let short = self.latest.get(&CheckKind::HostMemory).is_some_and(|seen| seen.finding != Finding::Good);
        let lately = self.probing.host_memory.is_some_and(|last| now.since(last) < HOST_MEMORY_EVERY);
        let kinds: Vec<CheckKind> =
            self.target.round().filter(|kind| *kind != CheckKind::HostMemory || short || !lately).collect();
        if kinds.contains(&CheckKind::HostMemory) {
            self.probing.host_memory = Some(now);
        }
        self.probing.spread |= self.probing.last_began.is_some() && self.pace() == self.policy.check_interval;
        self.probing.last_began = Some(now);
        if self.probing.suspicion.is_some() {
            self.probing.suspicion = Some(now + self.policy.confirm_interval);
        }
        self.probing.rounds.push(Round {
            id,
            began: now,
            waiting: kinds.clone(),
            answers: BTreeMap::new(),
            suspected: false,
        });
        out.push(Effect::Check(id, kinds));
    }

    /// A check that is not answered raises suspicion at once, without waiting for its timeout.
    fn suspect_unanswered(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let suspect_after = self.history.suspect_after(&self.policy);
        let mut late = false;
        // What was never good proves nothing by its silence either.
        let proven = |kind: &CheckKind| self.ever_good.contains_key(kind);
        for round in &mut self.probing.rounds {
            if !round.suspected && now.since(round.began) >= suspect_after {
                round.suspected = true;
                late |= round.waiting.iter().any(proven);
            }
        }
        if late && !self.forgives(now) {
            self.suspect(now, out);
        }
    }

    /// Begins confirming: the first round at once, the next ones at `confirm_interval`. The unit is
    /// read as well, so that its state is fresh when it is decided.
    fn suspect(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if self.probing.suspicion.is_some() {
            return;
        }
        // What it leans on is asked also where there is nothing left to confirm: while somebody works on it,
        // or its unit is masked, its answers are found bad all the same, and count as soon as that is over.
        self.trouble_since.get_or_insert(now);
        if !self.verdict.opens_incident() {
            self.probing.suspicion = Some(now);
            self.ask_reading(now, out);
        }
    }

    /// Failures are forgiven: within the grace, and before anything good was seen; also while the
    /// verdict is still the one that a recovery under way is for.
    fn forgives(&self, now: Moment) -> bool {
        self.starting(now).is_some()
    }

    pub(super) fn take_check(
        &mut self,
        now: Moment,
        id: RoundId,
        kind: CheckKind,
        observation: Observation,
        out: &mut Vec<Effect>,
    ) {
        if self.awaits_port_look(id) {
            self.take_port_look(observation);
            return;
        }
        let Some(at) = self.probing.rounds.iter().position(|round| round.id == id) else {
            let seen = observation.clone();
            if self.errands.take(now, id, kind, observation) {
                self.note_good(now, kind, &seen);
            }
            return;
        };
        let round = &mut self.probing.rounds[at];
        round.waiting.retain(|waiting| *waiting != kind);
        round.answers.insert(kind, observation);
        if round.waiting.is_empty() {
            let round = self.probing.rounds.remove(at);
            self.take_round(now, round, out);
        }
    }

    fn take_round(&mut self, now: Moment, round: Round, out: &mut Vec<Effect>) {
        for (kind, observation) in &round.answers {
            self.note_good(now, *kind, observation);
        }
        let taken = Finding::Bad(Fault::ForeignListener);
        if round.answers.get(&CheckKind::Port).is_some_and(|seen| seen.finding != taken) {
            self.taken = None;
        }
        let result = self.result_of(&round.answers).map(|result| self.by_sight(result, &round.answers));
        // What an early round says late is older than what is known.
        let newest = self.probing.last_taken <= Some(round.began);
        if newest {
            self.probing.last_taken = Some(round.began);
            self.take_memory(now, round.answers.get(&CheckKind::Memory), out);
            for (kind, observation) in round.answers {
                self.latest.insert(kind, observation);
            }
            self.look_at_host(now);
        }
        let own: Vec<&Observation> =
            self.target.kinds().iter().filter_map(|kind| self.latest.get(kind)).collect();
        let any_bad = own.iter().any(|seen| matches!(seen.finding, Finding::Bad(_)));
        self.note_blindness(now, out);
        match result {
            None => {
                // No fault as long as it was never good, but not listening yet either.
                self.bad_since_start |= any_bad;
                // Nor is there anything to confirm.
                if self.history.bad_in_a_row() == 0 && self.memory_over == 0 {
                    self.probing.suspicion = None;
                }
            }
            Some(RoundResult::Good) => {
                if !self.good_since_start {
                    self.learn_start(now);
                }
                self.good_since_start = true;
                self.good_round = self.good_round.max(Some(round.began));
                if self.history.good_in_a_row() == 0 {
                    self.doubt_what_was_seen_outside();
                }
                self.last_unanswered = false;
                self.silent_since = None;
                self.loops.good();
                self.history.enter(round.began, RoundResult::Good, &self.policy);
                if self.history.good_in_a_row() >= self.policy.successes && self.memory_over == 0 {
                    self.probing.suspicion = None;
                    self.trouble_since = None;
                }
            }
            Some(RoundResult::Bad(fault, text)) => {
                self.bad_since_start = true;
                if self.forgives(now) {
                    return;
                }
                let first = self.history.bad_in_a_row() == 0;
                let unanswered = matches!(fault, Fault::Unanswered | Fault::UnansweredUnseen | Fault::Late);
                if newest {
                    self.last_unanswered = unanswered;
                }
                self.history.enter(round.began, RoundResult::Bad(fault, text.clone()), &self.policy);
                if !unanswered {
                    self.silent_since = None;
                } else if let Some(first) = self.history.bad_since() {
                    // One that began before the last good one says nothing of what came after.
                    self.silent_since.get_or_insert(first);
                }
                // A late answer of an early round changes nothing when a newer one was good.
                if self.history.bad_in_a_row() > 0 {
                    if first && !self.verdict.is_fault() {
                        // The journal and the incident may have what the app said; the verdict may not.
                        let seen = self.latest.values().find(|seen| seen.text == text);
                        let text = seen.map_or(text, Observation::whole);
                        self.tell(
                            out,
                            EventKind::CheckFailed,
                            Level::Info,
                            format!("{text}; being confirmed"),
                        );
                    }
                    self.suspect(now, out);
                }
            }
        }
    }

    /// A check that is good once is believed from then on.
    fn note_good(&mut self, now: Moment, kind: CheckKind, observation: &Observation) {
        match observation.finding {
            Finding::Good => {
                self.never_good.remove(&kind);
                if !self.ever_good.contains_key(&kind) {
                    self.ever_good.insert(kind, self.target.signature(kind));
                    self.dirty = true;
                }
                if let Some(latency) = observation.latency.filter(|_| kind == CheckKind::Http) {
                    self.history.latency(latency);
                }
            }
            Finding::Bad(_) if kind.needs_proof() && !self.was_ever_good(kind) && !self.forgives(now) => {
                *self.never_good.entry(kind).or_default() += 1;
            }
            Finding::Bad(_) | Finding::Unknown => {}
        }
    }

    pub(super) fn was_ever_good(&self, kind: CheckKind) -> bool {
        self.ever_good.contains_key(&kind) || active(Mutation::ProofIgnored)
    }

    /// What a whole round says of the app; nothing where nothing can be said.
    ///
    /// An app that answers its health check is well, whatever else looks odd. A check that was never
    /// good proves nothing: the next one decides in its place.
    fn result_of(&self, answers: &BTreeMap<CheckKind, Observation>) -> Option<RoundResult> {
        let foreign = answers
            .get(&CheckKind::Port)
            .filter(|port| port.finding == Finding::Bad(Fault::ForeignListener))
            .filter(|_| self.was_ever_good(CheckKind::Port));
        let mut something_good = false;
        for kind in [CheckKind::Http, CheckKind::Port, CheckKind::Processes] {
            let Some(seen) = answers.get(&kind) else { continue };
            match seen.finding {
                Finding::Good if kind == CheckKind::Processes => something_good = true,
                Finding::Good => return Some(RoundResult::Good),
                Finding::Bad(_) if !self.was_ever_good(kind) => {}
                Finding::Bad(fault) => {
                    let decisive = foreign.filter(|_| kind == CheckKind::Http).unwrap_or(seen);
                    let fault = foreign.map_or(fault, |_| Fault::ForeignListener);
                    return Some(RoundResult::Bad(fault, decisive.text.clone()));
                }
                // The one that would decide is blind: the ones behind it do not stand in for it.
                Finding::Unknown if active(Mutation::UnknownIsBad) => {
                    return Some(RoundResult::Bad(Fault::Unanswered, seen.text.clone()));
                }
                Finding::Unknown if kind == CheckKind::Http => return None,
                Finding::Unknown => {}
            }
        }
        // Where every check that could decide was never good, the unit's own state is what is left;
        // with nothing but processes to count, they decide.
        let nothing_else = self.target.http.is_none() && self.target.port.is_none();
        (something_good && nothing_else).then_some(RoundResult::Good)
    }

    /// What an unanswered round means by what was seen of the app meanwhile.
    fn by_sight(&self, result: RoundResult, answers: &BTreeMap<CheckKind, Observation>) -> RoundResult {
        let RoundResult::Bad(Fault::Unanswered, text) = result else { return result };
        let seen = answers.get(&CheckKind::Http).and_then(|http| http.detail.as_deref());
        let fault = match seen {
            Some(Detail::Silence { taken: Some(true), cpu })
                if cpu.is_some_and(|cpu| cpu > BUSY) || self.history.answers_between() =>
            {
                if active(Mutation::OverloadedIsFrozen) { Fault::Unanswered } else { Fault::Late }
            }
            Some(Detail::Silence { taken: None, .. }) => Fault::UnansweredUnseen,
            _ => Fault::Unanswered,
        };
        RoundResult::Bad(fault, text)
    }

    /// That the check which decides cannot be made is told once, and alerts when it lasts.
    fn note_blindness(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(seen) = self.deciding_blind() else {
            self.blind_since = None;
            return;
        };
        if self.blind_since.is_none() {
            let text = format!("cannot be checked: {}", seen.text);
            self.blind_since = Some(now);
            self.tell(out, EventKind::Blind, Level::Info, text);
        }
    }

    /// Counts rounds in a row over `max_memory`; the first one is confirmed at once.
    fn take_memory(&mut self, now: Moment, seen: Option<&Observation>, out: &mut Vec<Effect>) {
        let Some(seen) = seen else { return };
        match seen.finding {
            Finding::Bad(_) if self.was_ever_good(CheckKind::Memory) && !self.forgives(now) => {
                self.memory_over = self.memory_over.saturating_add(1);
                self.suspect(now, out);
            }
            Finding::Unknown => {}
            Finding::Good | Finding::Bad(_) => self.memory_over = 0,
        }
    }

    /// It uses more memory than it may, as enough rounds in a row say.
    pub(super) fn over_memory(&self) -> Option<&str> {
        let seen = self.latest.get(&CheckKind::Memory)?;
        (self.memory_over >= self.policy.failures).then_some(seen.text.as_str())
    }

    pub(super) fn forget_rounds(&mut self) {
        if !active(Mutation::CountersKept) {
            self.history.clear();
        }
        self.probing.rounds.clear();
        self.probing.suspicion = None;
        self.probing.port_look = None;
        self.probing.last_began = None;
        self.probing.spread = false;
        self.last_unanswered = false;
        self.memory_over = 0;
        self.silent_since = None;
    }

    /// Remembers how long the app needed, so that the grace fits it.
    fn learn_start(&mut self, now: Moment) {
        let began = self.unit.as_ref().and_then(|unit| unit.active_enter.or(unit.inactive_exit));
        let seen = self.watched_start && (self.bad_since_start || !self.needs_bad_round);
        let Some(began) = began.filter(|_| seen) else { return };
        let took = now.since(began);
        // Quick starts teach nothing that the configured grace does not cover; writing each one down
        // would touch the disk at every start.
        if took <= self.policy.startup_grace / 4 && self.starts.is_empty() {
            return;
        }
        // That was no start, but the end of some trouble: no grace is ever so long.
        if took > LONGEST_GRACE {
            return;
        }
        self.starts.push(took);
        if self.starts.len() > 10 {
            self.starts.remove(0);
        }
        self.dirty = true;
    }

    /// `startup_grace`, or twice the longest of the last ten starts if that is longer.
    #[must_use]
    pub(super) fn grace(&self) -> Duration {
        self.companion_grace().unwrap_or_else(|| self.policy.startup_grace.max(self.learned_grace()))
    }

    /// Twice the longest of the last ten starts; 10 min at most.
    pub(super) fn learned_grace(&self) -> Duration {
        self.starts.iter().max().map_or(Duration::ZERO, |longest| (*longest * 2).min(LONGEST_GRACE))
    }

    /// A confirmed fault needs no confirming any more.
    pub(super) fn end_suspicion(&mut self) {
        self.probing.suspicion = None;
    }
}

#[cfg(test)]
mod tests;
