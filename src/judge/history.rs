//! The rounds of one invocation, and what they add up to.

use std::collections::VecDeque;
use std::time::Duration;

use super::mutation::{Mutation, active};
use super::observation::Fault;
use super::policy::Policy;
use super::time::Moment;

/// What a whole round says of the app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RoundResult {
    /// All that counts is good.
    Good,
    /// The fault that decides, and its evidence.
    Bad(Fault, String),
}

/// The latest rounds of one invocation, in the order in which they began. Rounds that are unknown
/// are never entered.
#[derive(Clone, Debug, Default)]
pub struct History {
    rounds: VecDeque<(Moment, RoundResult)>,
    usual: Option<Duration>,
}

impl History {
    /// Forgets the rounds; the usual latency belongs to the app and stays.
    pub fn clear(&mut self) {
        self.rounds.clear();
    }

    /// Enters a round that began then. Overlapping rounds may end in any order.
    pub fn enter(&mut self, began: Moment, result: RoundResult, policy: &Policy) {
        let at = self.rounds.partition_point(|(other, _)| *other <= began);
        self.rounds.insert(at, (began, result));
        let most =
            policy.failures_window.of.max(policy.failures.saturating_mul(2)).max(policy.successes) as usize;
        while self.rounds.len() > most {
            self.rounds.pop_front();
        }
    }

    /// Notes how long a good answer took.
    pub fn latency(&mut self, took: Duration) {
        // An eighth of the way to each new value: one slow answer does not move it far.
        self.usual = Some(self.usual.map_or(took, |usual| (usual * 7 + took) / 8));
    }

    /// How long an unanswered check may take before it is suspicious.
    #[must_use]
    pub fn suspect_after(&self, policy: &Policy) -> Duration {
        const LEAST: Duration = Duration::from_secs(1);
        policy.suspect_after.unwrap_or_else(|| self.usual.map_or(LEAST, |usual| (usual * 4).max(LEAST)))
    }

    /// The last so many rounds were bad.
    #[must_use]
    pub fn bad_in_a_row(&self) -> u32 {
        self.in_a_row(|result| matches!(result, RoundResult::Bad(..)))
    }

    /// One of the rounds that are remembered was bad.
    #[must_use]
    pub fn was_bad_lately(&self) -> bool {
        self.rounds.iter().any(|(_, result)| matches!(result, RoundResult::Bad(..)))
    }

    /// When the first of the last rounds that were all bad began.
    #[must_use]
    pub fn bad_since(&self) -> Option<Moment> {
        let bad = |entry: &&(Moment, RoundResult)| matches!(entry.1, RoundResult::Bad(..));
        self.rounds.iter().rev().take_while(bad).last().map(|(began, _)| *began)
    }

    /// The last so many rounds were good.
    #[must_use]
    pub fn good_in_a_row(&self) -> u32 {
        self.in_a_row(|result| *result == RoundResult::Good)
    }

    fn in_a_row(&self, like: impl Fn(&RoundResult) -> bool) -> u32 {
        let count = self.rounds.iter().rev().take_while(|(_, result)| like(result)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The fault that is confirmed now: the latest round is bad, and either enough were bad in a
    /// row, or enough of the latest (`failures_window`).
    #[must_use]
    pub fn confirmed(&self, policy: &Policy) -> Option<Confirmed<'_>> {
        let Some((_, RoundResult::Bad(fault, text))) = self.rounds.back() else { return None };
        let in_a_row = self.bad_in_a_row();
        let this = |bad, of| Some(Confirmed { fault: *fault, text, bad, of });
        if *fault == Fault::Late {
            // Work that comes too late confirms itself, and counts in no window.
            return if in_a_row >= policy.failures { this(in_a_row, None) } else { None };
        }
        // Not seeing the listener, nobody can tell late from frozen: it takes twice as long.
        let needed = match fault {
            Fault::UnansweredUnseen => policy.failures.saturating_mul(2),
            _ => policy.failures,
        };
        let late = |result: &RoundResult| matches!(result, RoundResult::Bad(Fault::Late, _));
        let dead = self.in_a_row(|result| matches!(result, RoundResult::Bad(..)) && !late(result));
        if dead >= needed || (dead > 0 && active(Mutation::OneIsEnough)) {
            return this(dead, None);
        }
        if in_a_row > dead && in_a_row >= policy.failures {
            // Late until a moment ago; one look that says otherwise does not make it frozen.
            let mut behind = self.rounds.iter().rev();
            let last_late = behind.find(|(_, result)| late(result));
            return last_late.and_then(|(_, result)| match result {
                RoundResult::Bad(fault, text) => {
                    Some(Confirmed { fault: *fault, text, bad: in_a_row, of: None })
                }
                RoundResult::Good => None,
            });
        }
        let window = policy.failures_window;
        let looked_at = self.rounds.iter().rev().take(window.of as usize);
        let bad = looked_at.filter(|(_, result)| *result != RoundResult::Good && !late(result)).count();
        let bad = u32::try_from(bad).unwrap_or(u32::MAX);
        let least = if *fault == Fault::UnansweredUnseen { window.bad.max(needed) } else { window.bad };
        if bad >= least { this(bad, Some(window.of)) } else { None }
    }

    /// The latest round was answered too late.
    #[must_use]
    pub fn is_late(&self) -> bool {
        matches!(self.rounds.back(), Some((_, RoundResult::Bad(Fault::Late, _))))
    }

    /// Some round was good since the first bad one that is remembered: it answers now and then.
    #[must_use]
    pub fn answers_between(&self) -> bool {
        let mut rounds = self.rounds.iter().skip_while(|(_, result)| *result == RoundResult::Good);
        rounds.any(|(_, result)| *result == RoundResult::Good)
    }
}

/// A fault that enough rounds agree on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Confirmed<'a> {
    /// The fault of the latest round.
    pub fault: Fault,
    /// Its evidence.
    pub text: &'a str,
    /// So many rounds were bad,
    pub bad: u32,
    /// in a row, or of the latest so many.
    pub of: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    fn bad() -> RoundResult {
        RoundResult::Bad(Fault::Unanswered, "timed out".into())
    }

    #[test]
    fn three_in_a_row_confirm_and_one_good_clears() {
        let policy = Policy::default();
        let mut history = History::default();
        history.enter(at(1), bad(), &policy);
        history.enter(at(2), bad(), &policy);
        assert_eq!(history.confirmed(&policy), None);
        history.enter(at(3), bad(), &policy);
        assert_eq!(history.confirmed(&policy).map(|c| (c.fault, c.bad)), Some((Fault::Unanswered, 3)));
        history.enter(at(4), RoundResult::Good, &policy);
        assert_eq!(history.confirmed(&policy), None);
        assert_eq!(history.good_in_a_row(), 1);
    }

    #[test]
    fn a_late_answer_of_an_early_round_does_not_outweigh_a_newer_one() {
        let policy = Policy::default();
        let mut history = History::default();
        history.enter(at(2), RoundResult::Good, &policy);
        history.enter(at(1), bad(), &policy);
        assert_eq!((history.bad_in_a_row(), history.good_in_a_row()), (0, 1));
    }

    #[test]
    fn silence_begins_after_the_last_good_round_in_whatever_order_they_are_answered() {
        let policy = Policy::default();
        let mut history = History::default();
        history.enter(at(2), RoundResult::Good, &policy);
        history.enter(at(1), bad(), &policy);
        assert_eq!(history.bad_since(), None);
        history.enter(at(3), bad(), &policy);
        history.enter(at(4), bad(), &policy);
        assert_eq!(history.bad_since(), Some(at(3)));
    }

    #[test]
    fn flapping_is_confirmed_by_the_window_when_the_latest_is_bad() {
        let policy = Policy::default();
        let mut history = History::default();
        for second in 0..10 {
            assert_eq!(history.confirmed(&policy), None, "round {second}");
            let result = if second % 2 == 1 { bad() } else { RoundResult::Good };
            history.enter(at(second), result, &policy);
        }
        assert_eq!(history.confirmed(&policy).map(|c| (c.bad, c.of)), Some((5, Some(10))));
        history.enter(at(10), RoundResult::Good, &policy);
        assert_eq!(history.confirmed(&policy), None, "acting only when the latest is bad");
    }

    fn rounds(faults: &[Fault]) -> History {
        let mut history = History::default();
        for (second, fault) in (0..).zip(faults) {
            let result = RoundResult::Bad(*fault, format!("{fault:?}"));
            history.enter(at(second), result, &Policy::default());
        }
        history
    }

    #[test]
    fn late_is_not_frozen_and_takes_as_many_rounds_to_become_so() {
        use Fault::{Late, Unanswered};
        let policy = Policy::default();
        let fault = |faults: &[Fault]| rounds(faults).confirmed(&policy).map(|confirmed| confirmed.fault);
        assert_eq!(fault(&[Late, Late]), None);
        assert_eq!(fault(&[Late, Late, Late]), Some(Late));
        assert_eq!(fault(&[Late, Late, Late, Unanswered]), Some(Late));
        assert_eq!(fault(&[Late, Late, Late, Unanswered, Unanswered, Unanswered]), Some(Unanswered));
        assert_eq!(fault(&[Unanswered, Unanswered, Late]), Some(Late));
    }

    #[test]
    fn an_unseen_listener_takes_twice_as_long() {
        let policy =
            Policy { failures_window: super::super::policy::Window { bad: 64, of: 64 }, ..Policy::default() };
        let unseen = |times| rounds(&vec![Fault::UnansweredUnseen; times]).confirmed(&policy).map(|c| c.bad);
        assert_eq!((unseen(5), unseen(6)), (None, Some(6)));
        let unseen = rounds(&[Fault::UnansweredUnseen; 5]);
        assert_eq!(unseen.confirmed(&Policy::default()), None, "nor does the window make it shorter");
    }

    #[test]
    fn timeouts_of_an_overloaded_app_count_in_no_window() {
        let policy = Policy::default();
        let mut history = History::default();
        for second in 0..10 {
            let late = RoundResult::Bad(Fault::Late, "late".into());
            history.enter(at(second), if second % 2 == 1 { late } else { RoundResult::Good }, &policy);
        }
        assert!(history.answers_between());
        assert_eq!(history.confirmed(&policy), None);
    }

    #[test]
    fn suspicion_is_relative_to_the_usual_latency() {
        let policy = Policy::default();
        let mut history = History::default();
        assert_eq!(history.suspect_after(&policy), Duration::from_secs(1));
        history.latency(Duration::from_secs(2));
        assert_eq!(history.suspect_after(&policy), Duration::from_secs(8));
        let fixed = Policy { suspect_after: Some(Duration::from_millis(300)), ..Policy::default() };
        assert_eq!(history.suspect_after(&fixed), Duration::from_millis(300));
    }
}
