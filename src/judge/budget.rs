//! How often a recovery may be tried: cooldown, attempts, the breaker and its careful retry.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mutation::{Mutation, active};
use super::policy::{GiveUp, Policy};
use super::time::Moment;

/// Verified recoveries that an hour may hold before they count as attempts.
const VERIFIED_AN_HOUR: usize = 10;
const HOUR: Duration = Duration::from_secs(3_600);

/// Whether recoveries pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Breaker {
    /// They do, within the budget.
    #[default]
    Closed,
    /// All attempts are used up; one passes at `retry_at`, none before.
    Open {
        /// The next careful retry.
        retry_at: Moment,
    },
    /// One may pass now; its outcome decides.
    HalfOpen,
}

impl Breaker {
    /// The word on the bus and in `--json`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// May a recovery begin?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// Yes.
    Now,
    /// Not before then: cooldown, or the breaker's retry.
    NotBefore(Moment),
    /// Not until a person resets the breaker.
    Never,
}

/// The budget of one unit. Survives restarts of the monitor and reboots.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// When recoveries began that count as attempts, oldest first. The one under way is counted
    /// ahead, so that a monitor that dies in its middle does not refill the budget.
    attempts: Vec<Moment>,
    /// When recoveries were verified, oldest first; within the last hour.
    verified: Vec<Moment>,
    /// Recoveries since the app was last healthy for `healthy_for`.
    since_healthy: u32,
    /// When the last recovery began.
    last: Option<Moment>,
    /// When the last one was verified, and it may still turn into an attempt.
    last_verified: Option<Moment>,
    breaker: Breaker,
    /// The state could not be read: one attempt only, until the app was healthy for `healthy_for`.
    reduced: bool,
}

impl Budget {
    /// The budget of an app whose state is lost.
    #[must_use]
    pub fn reduced() -> Self {
        Self { reduced: true, ..Self::default() }
    }

    /// Something later than this may be lost.
    pub(super) fn reduce(&mut self) {
        self.reduced = true;
    }

    /// How many attempts there are in all.
    #[must_use]
    pub fn allowed(&self, policy: &Policy) -> u32 {
        if self.reduced { 1 } else { policy.max_attempts }
    }

    /// How many attempts count now.
    #[must_use]
    pub fn used(&self, now: Moment, policy: &Policy) -> u32 {
        let counted = self.attempts.iter().filter(|at| now.since(**at) < policy.attempts_window).count();
        u32::try_from(counted).unwrap_or(u32::MAX)
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self, now: Moment, policy: &Policy) -> u32 {
        match self.breaker {
            Breaker::Open { .. } => 0,
            _ => self.allowed(policy).saturating_sub(self.used(now, policy)),
        }
    }

    /// The breaker as it stands.
    #[must_use]
    pub fn breaker(&self) -> Breaker {
        self.breaker
    }

    /// There is something on record that `healthy_for` of health would forget.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.since_healthy > 0 || self.reduced || !self.attempts.is_empty() || self.breaker != Breaker::Closed
    }

    /// May a recovery begin? `last_start` is the unit's InactiveExitTimestamp: somebody else's
    /// start calls for the same patience as our own, and counting from ActiveEnter would beat in
    /// lock-step with `RestartSec=`.
    #[must_use]
    pub fn gate(&self, now: Moment, last_start: Option<Moment>, policy: &Policy) -> Gate {
        match self.breaker {
            Breaker::Open { .. } if active(Mutation::RetryNeverComes) => return Gate::Never,
            Breaker::Open { .. } if policy.give_up == GiveUp::Wait => return Gate::Never,
            Breaker::Open { retry_at } if now < retry_at => return Gate::NotBefore(retry_at),
            Breaker::Open { .. } => return Gate::Now,
            // The cooldown holds for what comes after the one that was let through.
            Breaker::HalfOpen | Breaker::Closed => {}
        }
        let Some(last) = self.last else { return Gate::Now };
        if self.since_healthy == 0 || active(Mutation::CooldownIgnored) {
            return Gate::Now;
        }
        let doublings = (self.since_healthy - 1).min(16);
        let wait =
            policy.cooldown.saturating_mul(1 << doublings).min(policy.cooldown_max.max(policy.cooldown));
        let from = last_start.map_or(last, |start| start.max(last));
        let at = from + wait;
        if now < at { Gate::NotBefore(at) } else { Gate::Now }
    }

    /// A recovery begins. It counts as an attempt until it is verified. Returns its number.
    pub fn begin(&mut self, now: Moment, policy: &Policy) -> u32 {
        self.attempts.retain(|at| now.since(*at) < policy.attempts_window);
        self.attempts.push(now);
        self.since_healthy = self.since_healthy.saturating_add(1);
        self.last = Some(now);
        self.last_verified = None;
        if matches!(self.breaker, Breaker::Open { .. }) {
            self.breaker = Breaker::HalfOpen;
        }
        self.used(now, policy)
    }

    /// It was abandoned without having been tried, because somebody else decided: no attempt.
    pub fn withdraw(&mut self) {
        self.attempts.pop();
        self.since_healthy = self.since_healthy.saturating_sub(1);
    }

    /// It was verified, so it is no attempt, unless too many were verified within the hour.
    /// Returns true when it counts all the same.
    pub fn verified(&mut self, now: Moment) -> bool {
        self.verified.retain(|at| now.since(*at) < HOUR);
        self.verified.push(now);
        self.last_verified = Some(now);
        let too_many = self.verified.len() > VERIFIED_AN_HOUR;
        if !too_many {
            self.attempts.pop();
        }
        too_many
    }

    /// The app is bad again. Within `cooldown` of a verified recovery that recovery was an attempt
    /// after all. Returns true when the breaker opens by that.
    pub fn fell(&mut self, now: Moment, policy: &Policy) -> bool {
        let Some(verified) = self.last_verified.take() else { return false };
        if now.since(verified) >= policy.cooldown {
            return false;
        }
        if let Some(began) = self.last
            && !self.attempts.contains(&began)
        {
            self.attempts.push(began);
        }
        self.exhaust(now, policy)
    }

    /// It failed. Returns true when the breaker opens by that (not when it only stays open).
    pub fn failed(&mut self, now: Moment, policy: &Policy) -> bool {
        self.exhaust(now, policy)
    }

    fn exhaust(&mut self, now: Moment, policy: &Policy) -> bool {
        let was_closed = self.breaker == Breaker::Closed;
        let lost = u32::from(active(Mutation::AttemptLost));
        let used_up = self.used(now, policy) + lost >= self.allowed(policy);
        if (!was_closed || used_up) && !active(Mutation::BreakerNeverOpens) {
            let halves = if active(Mutation::RetryEarly) { 2 } else { 1 };
            self.breaker = Breaker::Open { retry_at: now + policy.retry_interval / halves };
            return was_closed || active(Mutation::BreakerTellsAgain);
        }
        false
    }

    /// Somebody else started the app: an open breaker lets one recovery through at once.
    pub fn foreign_start(&mut self) {
        if matches!(self.breaker, Breaker::Open { .. }) {
            self.breaker = Breaker::HalfOpen;
        }
    }

    /// The app was healthy for `healthy_for`, or a person reset it: all is forgotten. Returns true
    /// when the breaker was not closed. The hour's count of verified recoveries stays.
    pub fn forgive(&mut self) -> bool {
        let was_open = self.breaker != Breaker::Closed;
        *self = Self { verified: std::mem::take(&mut self.verified), ..Self::default() };
        was_open
    }

    /// Moves every moment by so many microseconds: after a reboot the clock began anew.
    pub fn shift(&mut self, shift: impl Fn(Moment) -> Moment) {
        let all = self.attempts.iter_mut().chain(&mut self.verified);
        let all = all.chain(&mut self.last).chain(&mut self.last_verified);
        for moment in all {
            *moment = shift(*moment);
        }
        if let Breaker::Open { retry_at } = &mut self.breaker {
            *retry_at = shift(*retry_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn the_first_recovery_waits_for_nothing_and_the_next_ones_ever_longer() {
        let policy = Policy::default();
        let mut budget = Budget::default();
        assert_eq!(budget.gate(at(0), Some(at(-1)), &policy), Gate::Now);
        assert_eq!(budget.begin(at(0), &policy), 1);
        assert!(!budget.failed(at(30), &policy));
        assert_eq!(budget.gate(at(31), Some(at(2)), &policy), Gate::NotBefore(at(62)));
        assert_eq!(budget.begin(at(62), &policy), 2);
        assert!(!budget.failed(at(92), &policy));
        assert_eq!(budget.gate(at(93), None, &policy), Gate::NotBefore(at(182)));
    }

    #[test]
    fn the_breaker_opens_once_and_lets_one_through_at_a_time() {
        let policy = Policy::default();
        let mut budget = Budget::default();
        for attempt in 0..3 {
            budget.begin(at(attempt * 100), &policy);
            assert_eq!(budget.failed(at(attempt * 100 + 30), &policy), attempt == 2);
        }
        assert_eq!(budget.left(at(231), &policy), 0);
        assert_eq!(budget.gate(at(231), None, &policy), Gate::NotBefore(at(230 + 1_800)));
        assert_eq!(budget.gate(at(2_030), None, &policy), Gate::Now);
        budget.begin(at(2_030), &policy);
        assert_eq!(budget.breaker(), Breaker::HalfOpen);
        assert!(!budget.failed(at(2_060), &policy), "no second alert");
        assert_eq!(budget.gate(at(2_061), None, &policy), Gate::NotBefore(at(2_060 + 1_800)));
        let waiting = Policy { give_up: GiveUp::Wait, ..Policy::default() };
        assert_eq!(budget.gate(at(99_999), None, &waiting), Gate::Never);
        assert!(budget.forgive());
        assert_eq!(budget.gate(at(2_062), None, &policy), Gate::Now);
    }

    #[test]
    fn a_verified_recovery_is_no_attempt_unless_the_app_falls_again_at_once() {
        let policy = Policy::default();
        let mut budget = Budget::default();
        budget.begin(at(0), &policy);
        assert!(!budget.verified(at(12)));
        assert_eq!(budget.left(at(13), &policy), 3);
        assert!(!budget.fell(at(50), &policy));
        assert_eq!(budget.left(at(50), &policy), 2);
        budget.begin(at(100), &policy);
        assert!(!budget.verified(at(112)));
        assert!(!budget.fell(at(500), &policy));
        assert_eq!(budget.left(at(500), &policy), 2, "later falls are news");
    }

    #[test]
    fn verified_recoveries_have_a_loose_cap() {
        let policy = Policy { cooldown: Duration::from_secs(1), ..Policy::default() };
        let mut budget = Budget::default();
        for i in 0..10 {
            budget.begin(at(i * 60), &policy);
            assert!(!budget.verified(at(i * 60 + 12)));
        }
        budget.begin(at(700), &policy);
        assert!(budget.verified(at(712)));
        assert_eq!(budget.left(at(713), &policy), 2);
    }

    #[test]
    fn half_open_is_no_licence_to_restart_without_pause() {
        let policy = Policy::default();
        let mut budget = Budget::default();
        for attempt in 0..3 {
            budget.begin(at(attempt * 100), &policy);
            budget.failed(at(attempt * 100 + 30), &policy);
        }
        budget.begin(at(3_000), &policy);
        assert!(!budget.verified(at(3_012)));
        assert_eq!(budget.breaker(), Breaker::HalfOpen);
        assert_eq!(budget.gate(at(3_100), None, &policy), Gate::NotBefore(at(3_300)));
    }

    #[test]
    fn lost_state_leaves_one_attempt() {
        let policy = Policy::default();
        let mut budget = Budget::reduced();
        assert_eq!(budget.left(at(0), &policy), 1);
        budget.begin(at(0), &policy);
        assert!(budget.failed(at(30), &policy));
    }
}
