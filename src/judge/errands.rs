//! Errands: checks that go out at a pace of their own, each alone, beside the rounds.
//!
//! Here is when one goes out and what was seen last. What it means is decided where verdicts and
//! conditions are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::app::App;
use super::effect::{Effect, RoundId};
use super::observation::{CheckKind, Finding, Observation};
use super::time::Moment;
use super::unit::ActiveState;

/// What an errand gets on top of its timeout before it counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// Free space is not looked at more often than that: it takes a thread of its own.
const DISK_EVERY: Duration = Duration::from_secs(30);
/// A helper unit is not started more often than that for the same question.
const HELPER_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether what a start needs is there, while the app is well and it was never
/// found so: somebody has to put the configuration right, and that takes time.
const PROVE_EVERY: Duration = Duration::from_secs(600);
/// The same where it could not be looked at.
const PROVE_AGAIN: Duration = Duration::from_secs(60);

/// What an errand brought back last.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub observation: Observation,
    /// When it went out.
    pub began: Moment,
    /// So many in a row were bad; unknown ones leave it as it is.
    pub bad_in_a_row: u32,
    /// Since when it is found as it is now: good, bad or unknown.
    pub since: Moment,
}

impl Seen {
    pub fn is_bad(&self) -> bool {
        matches!(self.observation.finding, Finding::Bad(_))
    }

    pub fn is_good(&self) -> bool {
        self.observation.finding == Finding::Good
    }
}

#[derive(Clone, Debug, Default)]
struct Errand {
    last_began: Option<Moment>,
    under_way: Option<(RoundId, Moment)>,
    seen: Option<Seen>,
}

/// The errands of one app.
#[derive(Clone, Debug, Default)]
pub(super) struct Errands {
    errands: BTreeMap<CheckKind, Errand>,
    /// Those whose answer something waits for: they go out at `confirm_interval`.
    pressing: BTreeSet<CheckKind>,
    /// When those under way were voided last: what waits for an answer waits for a newer one.
    voided: Option<Moment>,
}

impl Errands {
    /// What it brought back last.
    pub fn seen(&self, kind: CheckKind) -> Option<&Seen> {
        self.errands.get(&kind)?.seen.as_ref()
    }

    /// What it brought back, if it went out then or later.
    pub fn seen_since(&self, kind: CheckKind, since: Moment) -> Option<&Seen> {
        self.seen(kind).filter(|seen| seen.began >= since)
    }

    /// Something waits for its answers.
    pub fn is_pressing(&self, kind: CheckKind) -> bool {
        self.pressing.contains(&kind)
    }

    /// Lets it go out at once, and at `confirm_interval` from then on; or at its own pace again.
    pub fn press(&mut self, kind: CheckKind, pressing: bool) {
        if pressing {
            self.pressing.insert(kind);
        } else {
            self.pressing.remove(&kind);
        }
    }

    /// Whether an answer of that number is awaited.
    pub fn awaits(&self, id: RoundId) -> bool {
        self.errands.values().any(|errand| errand.under_way.is_some_and(|(round, _)| round == id))
    }

    /// What was found bad of these while the app itself was not well says nothing: it has to be found anew.
    pub fn doubt(&mut self, kinds: &[CheckKind]) {
        for kind in kinds {
            let errand = self.errands.get_mut(kind);
            if let Some(seen) = errand.and_then(|errand| errand.seen.as_mut()).filter(|seen| seen.is_bad()) {
                seen.bad_in_a_row = 0;
            }
        }
    }

    /// Forgets those under way: their answers will mean nothing.
    pub fn void(&mut self, now: Moment) {
        for (kind, errand) in &mut self.errands {
            if errand.under_way.take().is_some() || self.pressing.contains(kind) {
                errand.last_began = None;
            }
        }
        self.voided = Some(now);
    }

    /// Takes an answer in. False: it was not awaited.
    pub fn take(&mut self, now: Moment, id: RoundId, kind: CheckKind, observation: Observation) -> bool {
        let Some(errand) = self.errands.get_mut(&kind) else { return false };
        let Some((_, began)) = errand.under_way.filter(|(round, _)| *round == id) else { return false };
        errand.under_way = None;
        let before = errand.seen.take();
        // No answer after a wrong one is found anew: whoever vouches for the app has to do so once more.
        let same = before.as_ref().is_some_and(|before| {
            std::mem::discriminant(&before.observation.finding)
                == std::mem::discriminant(&observation.finding)
                && before.observation.finding.is_silence() == observation.finding.is_silence()
        });
        let row = before.as_ref().map_or(0, |before| before.bad_in_a_row);
        let bad_in_a_row = match observation.finding {
            Finding::Good => 0,
            Finding::Bad(_) => row.saturating_add(1),
            Finding::Unknown => row,
        };
        let doubted = before.as_ref().is_some_and(|before| before.is_bad() && before.bad_in_a_row == 0);
        let since = before.filter(|_| same && !doubted).map_or(now, |before| before.since);
        errand.seen = Some(Seen { observation, began, bad_in_a_row, since });
        true
    }
}

impl App {
    /// Sends out what is due.
    pub(super) fn run_errands(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.press_for_trouble();
        for kind in self.target.errands().collect::<Vec<_>>() {
            let timeout = self.errand_timeout(kind);
            let due = self.errand_due(kind).is_some_and(|due| due <= now + self.errand_rides(now, kind));
            let errand = self.errands.errands.entry(kind).or_default();
            if errand.under_way.is_some_and(|(_, began)| now.since(began) >= timeout + LOST_AFTER) {
                errand.under_way = None;
            }
            if due && errand.under_way.is_none() {
                let id = self.probing.new_id();
                errand.last_began = Some(now);
                errand.under_way = Some((id, now));
                out.push(Effect::Check(id, vec![kind]));
            }
        }
    }

    /// When `run_errands` has something to do.
    pub(super) fn errands_due(&self) -> Vec<Moment> {
        let lost = self.errands.errands.iter().filter_map(|(kind, errand)| {
            errand.under_way.map(|(_, began)| began + self.errand_timeout(*kind) + LOST_AFTER)
        });
        let next = self.target.errands().filter_map(|kind| {
            let idle = self.errands.errands.get(&kind).is_none_or(|errand| errand.under_way.is_none());
            self.errand_due(kind).filter(|_| idle)
        });
        lost.chain(next).collect()
    }

    /// Goes out at once, and at `confirm_interval` as long as it presses.
    pub(super) fn hurry(&mut self, kind: CheckKind, pressing: bool) {
        self.errands.press(kind, pressing && self.target.has(kind));
    }

    fn errand_timeout(&self, kind: CheckKind) -> Duration {
        match kind {
            CheckKind::Database => {
                self.target.database.as_ref().map_or(self.policy.timeout, |asked| asked.timeout)
            }
            CheckKind::Public | CheckKind::Proxy => {
                self.target.public.as_ref().map_or(self.policy.timeout, |public| public.http.timeout)
            }
            _ => self.policy.timeout,
        }
    }

    /// How much too early it may go out: with the round that is nearest, which saves the host a wake-up
    /// of its own for each.
    fn errand_rides(&self, now: Moment, kind: CheckKind) -> Duration {
        let pace = self.errand_pace(kind).filter(|_| self.round_began_at(now)).unwrap_or_default();
        pace.min(self.policy.check_interval) / 2
    }

    /// How often it goes out by now; none while it does not.
    fn errand_pace(&self, kind: CheckKind) -> Option<Duration> {
        let unit = self.unit.as_ref()?;
        let pressing = self.errands.is_pressing(kind);
        let up = matches!(unit.active, ActiveState::Active | ActiveState::Reloading);
        Some(match kind {
            CheckKind::Disk if !pressing => self.policy.check_interval.max(DISK_EVERY),
            CheckKind::Preflight if pressing => HELPER_EVERY,
            _ if pressing => self.policy.confirm_interval,
            // Before it is needed: what was never good cannot hold a start, so somebody is told now.
            CheckKind::Preflight if self.is_plainly_well() && !self.was_ever_good(kind) => {
                let bad = self.errands.seen(kind).is_some_and(Seen::is_bad);
                if bad { PROVE_EVERY } else { PROVE_AGAIN }
            }
            CheckKind::Database => {
                let database =
                    self.target.database.as_ref().filter(|asked| up && !asked.only_on_suspicion())?;
                database.interval
            }
            // An idle app would be woken by it, and one that is down does not answer anybody.
            CheckKind::Public | CheckKind::Proxy if up => self.policy.public_interval,
            _ => return None,
        })
    }

    fn errand_due(&self, kind: CheckKind) -> Option<Moment> {
        let pace = self.errand_pace(kind)?;
        let pressing = self.errands.is_pressing(kind);
        let last = self.errands.errands.get(&kind).and_then(|errand| errand.last_began);
        match last {
            None => Some(Moment::default()),
            // What began to press a moment ago has not been asked since.
            Some(last) if pressing && self.asked_since().is_some_and(|since| last < since) => Some(last),
            Some(last) => Some(last + pace),
        }
    }

    /// What an app in trouble leans on is asked at once: whether its database accepts connections,
    /// and whether everything is there that it needs.
    fn press_for_trouble(&mut self) {
        let trouble = self.trouble_since.is_some();
        let bad = |app: &Self, kind| app.errands.seen(kind).is_some_and(Seen::is_bad);
        let up = self.unit.as_ref().is_some_and(|unit| unit.active == ActiveState::Active);
        // A start of ours that comes to nothing may be the database's doing.
        let in_vain = self.recovery.is_some() && self.bad_since_start && !self.good_since_start;
        let database = trouble || (up && in_vain) || (up && bad(self, CheckKind::Database));
        self.hurry(CheckKind::Database, database);
        self.hurry(CheckKind::Preflight, trouble);
    }

    /// An answer that decides is still awaited: of an errand that went out since the trouble began.
    pub(super) fn errand_pending(&self, now: Moment, kind: CheckKind) -> bool {
        self.errand_awaited_until(kind).is_some_and(|until| now < until)
    }

    /// An answer has to be younger than that: the trouble, and where rounds are bad, the first of those in a
    /// row. An app that fails now and then may be in trouble for long, and its database is not as it was then.
    fn asked_since(&self) -> Option<Moment> {
        self.trouble_since.map(|since| self.history.bad_since().map_or(since, |bad| bad.max(since)))
    }

    /// Until when it is awaited.
    pub(super) fn errand_awaited_until(&self, kind: CheckKind) -> Option<Moment> {
        let since = self.asked_since().filter(|_| self.target.has(kind))?;
        let most = self.errand_timeout(kind) + Duration::from_secs(1);
        let asked = self.errands.voided.map_or(since, |voided| voided.max(since));
        self.errands.seen_since(kind, asked).is_none().then(|| asked + most)
    }
}

#[cfg(test)]
mod tests {
    use super::super::observation::Fault;
    use super::*;

    #[test]
    fn no_answer_after_a_wrong_one_is_found_anew() {
        let mut errands = Errands::default();
        let mut sees = |second: i64, fault| {
            let now = Moment::from_micros(second * 1_000_000);
            let errand = errands.errands.entry(CheckKind::Proxy).or_default();
            errand.under_way = Some((RoundId(7), now));
            assert!(errands.take(now, RoundId(7), CheckKind::Proxy, Observation::bad(fault, "bad")));
            let seen = errands.seen(CheckKind::Proxy).unwrap();
            (seen.since, seen.bad_in_a_row)
        };
        let at = |second: i64| Moment::from_micros(second * 1_000_000);
        assert_eq!(sees(1, Fault::Upstream), (at(1), 1));
        assert_eq!(sees(2, Fault::Upstream), (at(1), 2));
        assert_eq!(sees(3, Fault::Unanswered), (at(3), 3));
        assert_eq!(sees(4, Fault::Refused), (at(3), 4));
        assert_eq!(sees(5, Fault::WrongAnswer), (at(5), 5));
    }
}
