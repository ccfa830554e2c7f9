//! How often an app could not do its work, and how often it was started anew: over the last day, week
//! and month.
//!
//! It grows by what happens, never by time that passes, so that it costs no write while all is well; and
//! it is bounded: hours for two days, days for a month.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Moment;
use super::verdict::Verdict;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Hours are kept apart for so long, then counted into days.
const APART: Duration = Duration::from_secs(2 * 86_400);
/// Nothing older is kept.
const KEPT: Duration = Duration::from_secs(31 * 86_400);

/// What is told, and what it is called.
const WINDOWS: [(&str, Duration); 3] =
    [("day", DAY), ("week", Duration::from_secs(7 * 86_400)), ("month", Duration::from_secs(30 * 86_400))];

/// What is remembered of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Chronicle {
    /// Since when it is kept.
    since: Option<Moment>,
    /// Since when the app has been unavailable.
    down: Option<Moment>,
    /// Oldest first.
    hours: VecDeque<Slot>,
    days: VecDeque<Slot>,
}

/// An hour or a day, from the first thing that happened in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Slot {
    at: Moment,
    down_ms: u64,
    restarts: u32,
}

/// One window of time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// `day`, `week` or `month` (of thirty days), all of them the last.
    pub window: String,
    /// How much of it is known, in seconds: the app has not been watched for longer.
    pub watched_seconds: u64,
    /// For how long of that the app was unavailable, in seconds.
    pub down_seconds: u64,
    /// Its share that the app was available, in percent.
    pub available_percent: f64,
    /// Starts of its unit in it, by whomever, but for the first.
    pub restarts: u32,
}

/// What a verdict means for whoever wants something of the app.
enum Use {
    Works,
    Down,
    /// It is as somebody wished it: nobody counts that.
    Wished,
    /// As it was before.
    Open,
}

fn use_of(verdict: Verdict) -> Use {
    match verdict {
        Verdict::Healthy | Verdict::Idle | Verdict::AppMemory => Use::Works,
        Verdict::Crashed
        | Verdict::CrashLooping
        | Verdict::SystemdRestarting
        | Verdict::StoppedWithDependency
        | Verdict::DatabaseDown
        | Verdict::ConfigMissing
        | Verdict::PortTaken
        | Verdict::PortClosed
        | Verdict::Overloaded
        | Verdict::Frozen
        | Verdict::Erroring
        | Verdict::NoProcess => Use::Down,
        Verdict::Masked
        | Verdict::ShuttingDown
        | Verdict::Paused
        | Verdict::StoppedByAdmin
        | Verdict::NotStarted => Use::Wished,
        Verdict::NotFound | Verdict::Changing | Verdict::Starting | Verdict::Unknown => Use::Open,
    }
}

impl Chronicle {
    /// The verdict is that from now on; what it is about may have begun a little before. True when there
    /// is something new to remember.
    pub(super) fn take_verdict(&mut self, now: Moment, verdict: Verdict, began: Moment) -> bool {
        let new = self.since.is_none();
        let since = *self.since.get_or_insert(now);
        match (use_of(verdict), self.down) {
            (Use::Down, None) => {
                self.down = Some(began.min(now).max(since));
                true
            }
            (Use::Works | Use::Wished, Some(from)) => {
                self.down = None;
                self.add(now, from, now);
                true
            }
            _ => new,
        }
    }

    /// The unit was started anew.
    pub(super) fn take_restart(&mut self, now: Moment) {
        self.since.get_or_insert(now);
        if let Some(slot) = slot_at(&mut self.hours, now, HOUR) {
            slot.restarts = slot.restarts.saturating_add(1);
        }
        self.tidy(now);
    }

    fn add(&mut self, now: Moment, from: Moment, to: Moment) {
        // Longer than anything that is told.
        let mut at = from.max(now - KEPT);
        while at < to {
            let Some(slot) = slot_at(&mut self.hours, at, HOUR) else { break };
            let end = to.min(slot.at + HOUR);
            slot.down_ms = slot.down_ms.saturating_add(millis(end.since(at)));
            at = end;
            self.tidy(now);
        }
    }

    /// Holds it within its bounds.
    fn tidy(&mut self, now: Moment) {
        while self.hours.front().is_some_and(|hour| now.since(hour.at) > APART) {
            let Some(hour) = self.hours.pop_front() else { break };
            if let Some(day) = slot_at(&mut self.days, hour.at, DAY) {
                day.down_ms = day.down_ms.saturating_add(hour.down_ms);
                day.restarts = day.restarts.saturating_add(hour.restarts);
            }
        }
        self.days.retain(|day| now.since(day.at) <= KEPT);
    }

    /// Over a reboot the moments move with the clock.
    pub(super) fn shift(&mut self, shift: &impl Fn(Moment) -> Moment) {
        for moment in self.since.iter_mut().chain(&mut self.down) {
            *moment = shift(*moment);
        }
        for slot in self.hours.iter_mut().chain(&mut self.days) {
            slot.at = shift(slot.at);
        }
    }

    /// What there is to tell; nothing as long as nothing is known.
    #[must_use]
    pub(super) fn figures(&self, now: Moment) -> Vec<Figure> {
        let Some(since) = self.since else { return Vec::new() };
        WINDOWS.iter().map(|(window, length)| self.figure(now, since, window, *length)).collect()
    }

    fn figure(&self, now: Moment, since: Moment, window: &str, length: Duration) -> Figure {
        let from = since.max(now - length);
        let watched = now.since(from);
        let mut down = self.down.map(|down| now.since(down.max(from))).unwrap_or_default();
        let mut restarts = 0_u32;
        let slots =
            self.hours.iter().map(|slot| (slot, HOUR)).chain(self.days.iter().map(|slot| (slot, DAY)));
        for (slot, length) in slots {
            // Of one that the window begins in, as much as lies within.
            let within = (slot.at + length).since(from.max(slot.at));
            if within.is_zero() {
                continue;
            }
            restarts = restarts.saturating_add(slot.restarts);
            down += Duration::from_millis(slot.down_ms).mul_f64(within.as_secs_f64() / length.as_secs_f64());
        }
        let down = down.min(watched);
        let share = if watched.is_zero() { 1.0 } else { 1.0 - down.as_secs_f64() / watched.as_secs_f64() };
        Figure {
            window: window.to_owned(),
            watched_seconds: watched.as_secs(),
            down_seconds: down.as_secs(),
            // Never rounded up to a whole that it was not.
            available_percent: (share * 100_000.0).floor() / 1_000.0,
            restarts,
        }
    }
}

/// The slot that the moment lies in; a new one, should there be none.
fn slot_at(slots: &mut VecDeque<Slot>, at: Moment, length: Duration) -> Option<&mut Slot> {
    // A day may get an hour that is older than what it has.
    let known = slots.iter().rposition(|slot| slot.at <= at && at < slot.at + length);
    let place = known.unwrap_or_else(|| {
        let place = slots.iter().rposition(|slot| slot.at <= at).map_or(0, |before| before + 1);
        slots.insert(place, Slot { at, down_ms: 0, restarts: 0 });
        place
    });
    slots.get_mut(place)
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(1_000_000) + Duration::from_secs(seconds)
    }

    fn figures(chronicle: &Chronicle, now: u64) -> Vec<(u64, u64, u32)> {
        let figures = chronicle.figures(at(now)).into_iter();
        figures.map(|one| (one.watched_seconds, one.down_seconds, one.restarts)).collect()
    }

    #[test]
    fn outages_and_restarts_count_in_the_windows_that_they_lie_in() {
        let mut chronicle = Chronicle::default();
        assert_eq!(chronicle.figures(at(0)), []);
        assert!(chronicle.take_verdict(at(0), Verdict::Healthy, at(0)));
        assert!(!chronicle.take_verdict(at(5), Verdict::Healthy, at(5)), "all is well: nothing to write");
        assert!(chronicle.take_verdict(at(1_000), Verdict::Crashed, at(1_000)));
        chronicle.take_restart(at(1_002));
        assert!(!chronicle.take_verdict(at(1_002), Verdict::Starting, at(1_002)));
        assert_eq!(figures(&chronicle, 1_005), [(1_005, 5, 1); 3], "not over yet");
        assert!(chronicle.take_verdict(at(1_010), Verdict::Healthy, at(1_010)));
        assert_eq!(figures(&chronicle, 2_000), [(2_000, 10, 1); 3]);
        let day = 86_400;
        assert_eq!(figures(&chronicle, 3 * day), [(day, 0, 0), (3 * day, 10, 1), (3 * day, 10, 1)]);
        // What began with a first sign began then.
        assert!(chronicle.take_verdict(at(3 * day), Verdict::Frozen, at(3 * day - 20)));
        assert!(chronicle.take_verdict(at(3 * day + 10), Verdict::StoppedByAdmin, at(3 * day + 10)));
        assert_eq!(figures(&chronicle, 3 * day + 1_000)[0], (day, 30, 0));
        assert_eq!(figures(&chronicle, 20 * day), [(day, 0, 0), (7 * day, 0, 0), (20 * day, 40, 1)]);
    }

    #[test]
    fn what_is_rounded_never_claims_what_was_not() {
        let mut chronicle = Chronicle::default();
        chronicle.take_verdict(at(0), Verdict::Healthy, at(0));
        chronicle.take_verdict(at(29 * 86_400), Verdict::Crashed, at(29 * 86_400));
        chronicle.take_verdict(at(29 * 86_400 + 1), Verdict::Healthy, at(0));
        let month = chronicle.figures(at(30 * 86_400)).pop().unwrap();
        assert!((month.available_percent - 99.999).abs() < 1e-9, "{month:?}");
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_adds_up(steps in prop::collection::vec((0_u64..200_000, 0_usize..24, any::<bool>()), 1..300)) {
            let mut chronicle = Chronicle::default();
            let (mut now, mut down, mut expected) = (0, None, 0);
            for (length, verdict, restart) in steps {
                now += length;
                let verdict = Verdict::ALL[verdict];
                chronicle.take_verdict(at(now), verdict, at(now));
                match (use_of(verdict), down) {
                    (Use::Down, None) => down = Some(now),
                    (Use::Works | Use::Wished, Some(from)) => { expected += now - from; down = None; }
                    _ => {}
                }
                if restart {
                    chronicle.take_restart(at(now));
                }
            }
            // Twice as many as fit side by side: an outage is counted when it is over, and its first hour
            // may begin a slot just before that of a restart which was counted meanwhile.
            prop_assert!(chronicle.hours.len() <= 2 * 51 && chronicle.days.len() <= 2 * 34, "{} {}", chronicle.hours.len(), chronicle.days.len());
            for figure in chronicle.figures(at(now)) {
                prop_assert!((0.0..=100.0).contains(&figure.available_percent));
                prop_assert!(figure.down_seconds <= figure.watched_seconds);
            }
            let open = down.map_or(0, |from| now - from);
            if now <= 30 * 86_400 {
                let month = chronicle.figures(at(now)).pop().unwrap();
                prop_assert!(month.down_seconds.abs_diff(expected + open) <= 1 + month.down_seconds / 50, "{} {}", month.down_seconds, expected + open);
            }
        }
    }
}
