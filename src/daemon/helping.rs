//! Privileged one-shots whose result the daemon itself wants: evidence, and what a preflight finds.
//!
//! A helper is a unit like any other: started over the bus, waited for with a deadline, and believed
//! only where the file that it left is of this run.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::helpers::preflight;
use crate::helpers::result::{Ending, Helper, Report};
use crate::judge::{CheckKind, Event, Fault, Moment, Observation, Outcome, RoundId, Subject};
use crate::plain;
use crate::recovery::{self, Deadlines, On, Places};
use crate::systemd::Bus;

use super::looping::Happening;

/// Evidence about one subject is gathered so often in a row, so that each of the first incidents has its own,
const IN_A_ROW: u32 = 5;
/// and from then on once in that time: an app that finds no rest must not keep the host at it.
const GATHER_EVERY: Duration = Duration::from_secs(30);
/// Subjects about which evidence is gathered at the same time,
const AT_A_TIME: usize = 4;
/// and that wait for their turn, if not for long: by then nothing is as it was.
const WAITING: usize = 64;
const WAITS: Duration = Duration::from_secs(10);
/// How long a gathering may take; its unit has a limit of its own that is a little shorter.
const GATHER_WITHIN: Duration = Duration::from_secs(12);

/// How often systemd is asked whether a helper is through: a stop waits for evidence, if not long.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// Evidence that is being gathered.
#[derive(Default)]
pub struct Gathering {
    /// When each may be gathered about as often as at first.
    rested: BTreeMap<Subject, Moment>,
    /// Whose turn comes next, and since when they wait.
    waiting: VecDeque<(Subject, Moment)>,
    under_way: BTreeMap<Subject, watch::Receiver<bool>>,
}

impl Gathering {
    /// Begins in the background, unless it was done too often lately; where enough is under way, it waits
    /// for its turn.
    pub fn begin(&mut self, bus: &Bus, app: Subject, now: Moment, to: &mpsc::Sender<Happening>) {
        if !self.may(&app, now) {
            return;
        }
        let (done, seen) = watch::channel(false);
        self.under_way.insert(app.clone(), seen);
        let (bus, to) = (bus.clone(), to.clone());
        tokio::spawn(async move {
            let outcome = ask(&bus, Helper::Evidence, &app, GATHER_WITHIN).await;
            let _ = to.send(Happening::Evidence(app, outcome)).await;
            let _ = done.send(true);
        });
    }

    fn may(&mut self, app: &Subject, now: Moment) -> bool {
        self.rested.retain(|_, rested| *rested > now);
        let rests = self.rested.get(app).map(|rested| rested.since(now)).unwrap_or_default();
        let waits = self.waiting.iter().any(|(other, _)| other == app);
        if waits || self.under_way.contains_key(app) || rests > GATHER_EVERY * (IN_A_ROW - 1) {
            return false;
        }
        if self.under_way.len() >= AT_A_TIME {
            if self.waiting.len() < WAITING {
                self.waiting.push_back((app.clone(), now));
            }
            return false;
        }
        self.rested.insert(app.clone(), now + rests + GATHER_EVERY);
        true
    }

    /// Whose turn it is by now.
    pub fn next(&mut self, now: Moment) -> Option<Subject> {
        while self.under_way.len() < AT_A_TIME {
            let (app, since) = self.waiting.pop_front()?;
            if now.since(since) <= WAITS {
                return Some(app);
            }
        }
        None
    }

    /// Turns true when what is being gathered about a subject is there.
    pub fn under_way(&self, app: &Subject) -> Option<watch::Receiver<bool>> {
        self.under_way.get(app).cloned()
    }

    /// Whoever waits for its turn is stopped or started now: afterwards there is nothing of this fault to see.
    pub fn too_late(&mut self, app: &Subject) {
        self.waiting.retain(|(waiting, _)| waiting != app);
    }

    /// It is there, or will not come.
    pub fn ended(&mut self, app: &Subject) {
        self.under_way.remove(app);
    }
}

/// Looks whether everything is there that a start needs. Aborting it leaves the unit to its end.
pub fn preflight(
    bus: Option<Bus>,
    app: Subject,
    round: RoundId,
    within: Duration,
    to: mpsc::Sender<Happening>,
) -> AbortHandle {
    let task = tokio::spawn(async move {
        let outcome = match bus {
            Some(bus) => ask(&bus, Helper::Preflight, &app, within).await,
            None => Err("not connected to the bus".to_owned()),
        };
        let seen = observation(&outcome);
        let _ = to.send(Happening::App(app, Event::Check(round, CheckKind::Preflight, seen))).await;
    });
    task.abort_handle()
}

/// What a preflight says about the configuration of the app. Whether its port is free is not its
/// matter here: the port check says that.
fn observation(outcome: &Result<Report, String>) -> Observation {
    let good = || Observation::good("everything that a start needs is there");
    match outcome {
        Err(why) => Observation::unknown(brief(why)),
        Ok(report) => match &report.ending {
            // What could not be looked at is neither.
            Ending::Done(_) | Ending::Nothing => match preflight::blind(report) {
                Some(why) => Observation::unknown(brief(&why)),
                None => good(),
            },
            Ending::Failed(why) if report.lines.is_empty() => Observation::unknown(brief(why)),
            Ending::Failed(_) => match preflight::missing(report) {
                Some(what) => Observation::bad(Fault::ConfigMissing, brief(&what)),
                None => good(),
            },
        },
    }
}

/// Observations are short.
fn brief(text: &str) -> String {
    plain::cut(text, 200)
}

/// Runs the helper and reads what it left.
async fn ask(bus: &Bus, helper: Helper, subject: &Subject, within: Duration) -> Result<Report, String> {
    let deadlines = Deadlines { poll: LOOK_EVERY, ..Deadlines::default() };
    let places = Places::default();
    let unit = helper.unit(subject).map_err(|error| error.to_string())?;
    // Its own unit stands for the app's: nothing is done to that.
    let on = On { subject, unit: &unit, bus, deadlines: &deadlines, places: &places, again: None };
    match tokio::time::timeout(within, recovery::run_helper(helper, on)).await {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(
            Outcome::Refused(why) | Outcome::Hindered(why) | Outcome::TimedOut(why) | Outcome::Unknown(why),
        )) => Err(why),
        Ok(Err(other)) => Err(format!("{unit}: {other:?}")),
        Err(_) => Err(format!("{unit} still runs after {} s", within.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Finding;

    fn at(seconds: i64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn evidence_is_gathered_one_at_a_time_and_not_too_often() {
        let mut gathering = Gathering::default();
        let web: Subject = "web".parse().unwrap();
        let begin = |gathering: &mut Gathering, app: &Subject, now| {
            let may = gathering.may(app, now);
            if may {
                gathering.under_way.insert(app.clone(), watch::channel(false).1);
            }
            may
        };
        assert!(begin(&mut gathering, &web, at(0)));
        assert!(!begin(&mut gathering, &web, at(40)), "still under way");
        gathering.ended(&web);
        for second in 41..46 {
            assert!(begin(&mut gathering, &web, at(second)), "each of the first incidents has its own");
            gathering.ended(&web);
        }
        assert!(!begin(&mut gathering, &web, at(47)), "it finds no rest");
        let begun = (48..348).filter(|second| {
            let begun = begin(&mut gathering, &web, at(*second));
            gathering.ended(&web);
            begun
        });
        assert_eq!(begun.count(), 10, "once in thirty seconds");
        assert!(begin(&mut gathering, &web, at(700)) && gathering.rested.len() == 1);
    }

    #[test]
    fn who_falls_in_a_crowd_waits_for_its_turn() {
        let mut gathering = Gathering::default();
        let app = |number: u32| -> Subject { format!("api@{number}").parse().unwrap() };
        for number in 1..=100 {
            let may = gathering.may(&app(number), at(0));
            assert_eq!(may, number <= 4);
            if may {
                gathering.under_way.insert(app(number), watch::channel(false).1);
            }
        }
        assert_eq!(gathering.waiting.len(), WAITING);
        assert_eq!(gathering.next(at(1)), None, "nobody is through yet");
        gathering.ended(&app(2));
        assert_eq!(gathering.next(at(1)), Some(app(5)));
        assert!(gathering.may(&app(5), at(1)));
        gathering.under_way.insert(app(5), watch::channel(false).1);
        assert_eq!(gathering.next(at(1)), None);
        gathering.ended(&app(1));
        assert_eq!(gathering.next(at(11)), None, "too late for the others");
        assert_eq!(gathering.waiting.len(), 0);
    }

    #[test]
    fn what_a_preflight_left_reads_as_a_check() {
        let report = |ending: Ending, lines: &[&str]| {
            let lines = lines.iter().map(|line| (*line).to_owned()).collect();
            let subject = "web".parse().unwrap();
            Ok(Report { helper: Helper::Preflight, subject, began: at(0), ending, lines })
        };
        let failed = || Ending::Failed("x".to_owned());
        for (outcome, finding) in [
            (report(Ending::Nothing, &[]), Finding::Good),
            (report(Ending::Done("x".to_owned()), &[]), Finding::Good),
            (report(Ending::Done("x".to_owned()), &["blind: x"]), Finding::Unknown),
            (report(failed(), &["port: 3000 is taken"]), Finding::Good),
            (report(failed(), &["absent: a is missing"]), Finding::Bad(Fault::ConfigMissing)),
            (report(failed(), &[]), Finding::Unknown),
            (Err("no answer".to_owned()), Finding::Unknown),
        ] {
            assert_eq!(observation(&outcome).finding, finding);
        }
        let lines = ["absent: DATABASE_URL is not set", "port: x", "absent: a.js is missing"];
        assert_eq!(observation(&report(failed(), &lines)).text, "DATABASE_URL is not set; a.js is missing");
    }
}
