//! Restarts without end: systemd's own that never lead to a good round (`crash-looping`), and
//! anybody's that are simply too many (`restarts-often`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::policy::Policy;
use super::time::{Moment, Span};

/// systemd's own restarts without a good round since the last, within a time, that make a loop
/// (JUDGEMENT, crash-looping): more than so many within that long.
const LOOPS: [(usize, Duration); 2] = [(3, Duration::from_secs(120)), (5, Duration::from_secs(3_600))];
/// DefaultStartLimitBurst= and DefaultStartLimitIntervalSec= (systemd-system.conf(5)).
const START_LIMIT: (usize, Duration) = (5, Duration::from_secs(10));
/// Starts by whomever within an hour that are worth a word: more than so many.
const OFTEN: usize = 5;
const HOUR: Duration = Duration::from_secs(3_600);
/// Loops are left to systemd for so long before one careful stop and start.
const STILL: Duration = Duration::from_secs(120);
/// More than that is not remembered; it is far beyond what anything is decided by.
const REMEMBERED: usize = 32;

/// The starts of one app.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Loops {
    /// systemd's own restarts since the last foreign start, oldest first.
    automatic: Vec<Moment>,
    /// A round was good since the last of them.
    proven: bool,
    /// Starts by whomever, oldest first.
    starts: Vec<Moment>,
    /// When the loop was broken last by a stop of ours.
    broken: Option<Moment>,
    /// Since when it goes round, whatever it shows in between.
    noticed: Option<Moment>,
}

fn note(list: &mut Vec<Moment>, now: Moment) {
    list.push(now);
    if list.len() > REMEMBERED {
        list.remove(0);
    }
}

impl Loops {
    /// It was started, by whomever.
    pub fn started(&mut self, now: Moment) {
        note(&mut self.starts, now);
    }

    /// systemd restarted it so many times since the last reading.
    pub fn restarted(&mut self, now: Moment, times: u32) {
        for _ in 0..times.min(8) {
            note(&mut self.automatic, now);
            self.proven = false;
        }
    }

    /// A round was good.
    pub fn good(&mut self) {
        self.proven = true;
    }

    /// Somebody else took matters into their own hands: whatever went round is over.
    pub fn over(&mut self) {
        self.automatic.clear();
    }

    /// systemd gave up: what went round is over, however often it did.
    pub fn gave_up(&mut self) {
        self.automatic.clear();
    }

    /// It goes round: so often, in words.
    #[must_use]
    pub fn looping(&self, now: Moment) -> Option<String> {
        LOOPS.iter().filter(|_| !self.proven).find_map(|(most, within)| {
            let mut counted = self.automatic.iter().filter(|at| now.since(**at) < *within);
            let first = counted.next()?;
            let count = counted.count() + 1;
            // Restarts that follow each other at once run into the start limit, and then systemd has given
            // up: only one that it lets go on is a loop.
            let goes_on = count > START_LIMIT.0 || now.since(*first) >= START_LIMIT.1;
            (count > *most && goes_on).then(|| {
                format!("restarted by systemd {count} times within {} without one good round", Span(*within))
            })
        })
    }

    /// Started too often: so often, in words.
    #[must_use]
    pub fn often(&self, now: Moment) -> Option<String> {
        let count = self.starts.iter().filter(|at| now.since(**at) < HOUR).count();
        (count > OFTEN).then(|| format!("started {count} times within the last hour"))
    }

    /// Takes down since when it goes round.
    pub fn notice(&mut self, now: Moment) {
        self.noticed = self.looping(now).is_some().then(|| self.noticed.unwrap_or(now));
    }

    /// When a loop that goes on may be broken by a stop of ours: two minutes after it was noticed, and
    /// once in an `attempts_window`. None where nothing goes round.
    #[must_use]
    pub fn may_break(&self, policy: &Policy) -> Option<Moment> {
        let first = self.noticed? + STILL;
        let next = self.broken.map(|broken| broken + policy.attempts_window);
        Some(next.map_or(first, |next| next.max(first)))
    }

    /// It was.
    pub fn broken(&mut self, now: Moment) {
        self.broken = Some(now);
        self.automatic.clear();
    }

    /// What began then was given up before it stopped anything: if it was to break a loop, that is still to
    /// be done. A recovery that a person asked for meanwhile leaves an earlier stop on record.
    pub fn spared(&mut self, began: Moment) {
        self.broken = self.broken.filter(|broken| *broken != began);
    }

    /// `healthy_for` of health.
    pub fn forgive(&mut self) {
        self.broken = None;
        self.automatic.clear();
    }

    /// When the next of what is remembered leaves the hour.
    #[must_use]
    pub fn changes_at(&self, now: Moment) -> Option<Moment> {
        let hour = |list: &[Moment]| list.iter().map(|at| *at + HOUR).find(|at| *at > now);
        let short = self.automatic.iter().map(|at| *at + LOOPS[0].1).find(|at| *at > now);
        let limit = self.automatic.iter().map(|at| *at + START_LIMIT.1).find(|at| *at > now);
        [hour(&self.starts), hour(&self.automatic), short, limit].into_iter().flatten().min()
    }

    /// Moves every moment, over a reboot.
    pub(super) fn shift(&mut self, shift: &impl Fn(Moment) -> Moment) {
        self.automatic
            .iter_mut()
            .chain(&mut self.starts)
            .chain(&mut self.broken)
            .chain(&mut self.noticed)
            .for_each(|at| *at = shift(*at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn more_than_three_in_two_minutes_or_five_in_an_hour() {
        let mut loops = Loops::default();
        for second in [0, 10, 20] {
            loops.restarted(at(second), 1);
            assert_eq!(loops.looping(at(second)), None);
        }
        loops.restarted(at(30), 1);
        assert!(loops.looping(at(30)).is_some());
        assert_eq!(loops.looping(at(130)), None, "the short window has passed");
        loops.restarted(at(600), 2);
        assert!(loops.looping(at(601)).is_some_and(|text| text.contains("6 times within 1 h")));
        loops.good();
        assert_eq!(loops.looping(at(601)), None, "it came to something");
        loops.restarted(at(602), 1);
        assert!(loops.looping(at(602)).is_some());
        loops.over();
        assert_eq!(loops.looping(at(601)), None);
    }

    #[test]
    fn one_that_runs_into_the_start_limit_is_no_loop() {
        let mut loops = Loops::default();
        loops.restarted(at(0), 5);
        assert_eq!(loops.looping(at(1)), None);
        assert!(loops.looping(at(10)).is_some(), "it was let go on");
        loops.restarted(at(1), 1);
        assert!(loops.looping(at(1)).is_some());
    }

    #[test]
    fn a_loop_is_broken_once_in_a_window() {
        let policy = Policy::default();
        let mut loops = Loops::default();
        let goes_round = |loops: &mut Loops, second| {
            loops.restarted(at(second), 6);
            loops.notice(at(second));
        };
        assert_eq!(loops.may_break(&policy), None);
        goes_round(&mut loops, 100);
        goes_round(&mut loops, 150);
        assert_eq!(loops.may_break(&policy), Some(at(220)));
        loops.broken(at(220));
        loops.notice(at(221));
        assert_eq!(loops.may_break(&policy), None);
        goes_round(&mut loops, 300);
        assert_eq!(loops.may_break(&policy), Some(at(3_820)));
        loops.forgive();
        loops.notice(at(301));
        goes_round(&mut loops, 302);
        assert_eq!(loops.may_break(&policy), Some(at(422)));
    }

    #[test]
    fn only_the_stop_that_was_given_up_is_taken_back() {
        let policy = Policy::default();
        let mut loops = Loops::default();
        loops.broken(at(220));
        loops.restarted(at(300), 6);
        loops.notice(at(300));
        loops.spared(at(250));
        assert_eq!(loops.may_break(&policy), Some(at(3_820)), "what a person asked for was another one");
        loops.spared(at(220));
        assert_eq!(loops.may_break(&policy), Some(at(420)));
    }

    #[test]
    fn anybodys_starts_are_counted() {
        let mut loops = Loops::default();
        for minute in 0..6 {
            assert_eq!(loops.often(at(minute * 60)), None);
            loops.started(at(minute * 60));
        }
        assert_eq!(loops.often(at(360)).as_deref(), Some("started 6 times within the last hour"));
        assert_eq!(loops.changes_at(at(360)), Some(at(3_600)));
        assert_eq!(loops.often(at(3_601)), None);
    }
}
