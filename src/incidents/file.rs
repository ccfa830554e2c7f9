//! The shape of an incident's file, and its bounds. Public interface: `incidents --json` prints it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::LARGEST;
use super::stamp::rfc3339;
use crate::judge::{AppName, EventKind, Level, UnitName, Verdict};
use crate::plain::cut;

/// The format that is written.
pub const VERSION: u32 = 1;
/// Entries that are kept from the beginning of a timeline, and from its end.
const HEAD: usize = 64;
const TAIL: usize = 192;
/// Steps that are kept, the latest ones.
const STEPS: usize = 256;
/// Sets of evidence that are kept: the first, and the latest ones.
const SETS: usize = 4;
/// Characters of a line.
const LINE: usize = 500;
/// Lines of one set of evidence.
const LINES: usize = 100;

/// How an incident ended, or stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is not over.
    #[default]
    Open,
    /// A recovery of ours was verified.
    Recovered,
    /// It is not over, and all attempts are used up.
    GaveUp,
    /// It was over without a recovery that was verified.
    EndedByItself,
    /// Somebody else decided: stopped, started or restarted it, or masked it.
    SomebodyElse,
    /// Nobody followed it to its end: the app was taken out of the configuration, or the state of the
    /// monitor was lost.
    NotFollowed,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Recovered => "recovered",
            Self::GaveUp => "gave-up",
            Self::EndedByItself => "ended-by-itself",
            Self::SomebodyElse => "somebody-else",
            Self::NotFollowed => "not-followed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One line of the timeline: a line of the journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// The same in milliseconds since the incident was opened, whatever the wall clock did; negative
    /// before.
    pub after_ms: i64,
    /// Which event.
    pub event: EventKind,
    /// How urgent.
    pub level: Level,
    /// The verdict at that moment.
    pub verdict: Verdict,
    /// The line.
    pub text: String,
}

/// One step of a recovery.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepDone {
    /// Which recovery of this incident, from 1.
    pub recovery: u32,
    /// Which step.
    pub step: String,
    /// It went as planned.
    pub done: bool,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// When it ended, in milliseconds since the incident was opened.
    pub after_ms: i64,
    /// The line about it.
    pub text: String,
}

/// What was gathered at one time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// The same in milliseconds since the incident was opened; negative before.
    pub after_ms: i64,
    /// Why it is not all that there should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What was seen.
    pub lines: Vec<String>,
}

impl Evidence {
    /// Evidence within its bounds; `after_ms` is set when it finds its incident.
    #[must_use]
    pub fn new(wall_ms: i64, problem: Option<String>, lines: Vec<String>) -> Self {
        let mut lines = lines;
        lines.truncate(LINES);
        let lines = lines.iter().map(|text| line(text)).collect();
        Self { time: rfc3339(wall_ms), after_ms: 0, problem: problem.map(|text| line(&text)), lines }
    }
}

/// An incident, whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Incident {
    /// Format of the file.
    pub version: u32,
    /// Its name.
    pub id: String,
    /// The app; for a unit that apps lean on, the first of them.
    pub app: AppName,
    /// The unit that it is about.
    pub unit: UnitName,
    /// The verdict that opened it.
    pub verdict: Verdict,
    /// Its evidence in one line.
    pub text: String,
    /// How it ended, or stands.
    pub outcome: Outcome,
    /// When it was opened, RFC 3339 in UTC.
    pub opened: String,
    /// The same in seconds since the epoch.
    pub opened_seconds: i64,
    /// When it was over, RFC 3339 in UTC.
    pub closed: Option<String>,
    /// The same in seconds since the epoch.
    pub closed_seconds: Option<i64>,
    /// How long it lasted, in milliseconds, whatever the wall clock did.
    pub lasted_ms: Option<u64>,
    /// What happened, in its order.
    pub timeline: Vec<Entry>,
    /// Entries that were left out of the middle of the timeline.
    pub left_out: u64,
    /// Recoveries that were begun.
    pub recoveries: u32,
    /// Their steps.
    pub steps: Vec<StepDone>,
    /// What was gathered.
    pub evidence: Vec<Evidence>,
}

/// The head of an incident: what a list shows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Its name.
    pub id: String,
    /// The app.
    pub app: AppName,
    /// The unit.
    pub unit: UnitName,
    /// The verdict that opened it.
    pub verdict: Verdict,
    /// Its evidence in one line.
    pub text: String,
    /// How it ended, or stands.
    pub outcome: Outcome,
    /// When it was opened, RFC 3339 in UTC.
    pub opened: String,
    /// The same in seconds since the epoch.
    pub opened_seconds: i64,
    /// When it was over.
    pub closed: Option<String>,
    /// The same in seconds since the epoch.
    pub closed_seconds: Option<i64>,
    /// How long it lasted, in milliseconds.
    pub lasted_ms: Option<u64>,
}

impl Summary {
    /// Holds it within its bounds.
    pub(super) fn tidy(&mut self) {
        self.text = line(&self.text);
    }
}

impl Incident {
    /// Holds what was read within the bounds in which it was written.
    pub(super) fn tidy(&mut self) {
        for text in [&mut self.text, &mut self.opened].into_iter().chain(&mut self.closed) {
            *text = line(text);
        }
        while self.timeline.len() > HEAD + TAIL {
            self.timeline.remove(HEAD);
            self.left_out = self.left_out.saturating_add(1);
        }
        for entry in &mut self.timeline {
            (entry.time, entry.text) = (line(&entry.time), line(&entry.text));
        }
        let over = self.steps.len().saturating_sub(STEPS);
        self.steps.drain(..over);
        for step in &mut self.steps {
            (step.step, step.text) = (line(&step.step), line(&step.text));
        }
        self.evidence.truncate(SETS);
        for evidence in &mut self.evidence {
            evidence.time = line(&evidence.time);
            evidence.problem = evidence.problem.as_deref().map(line);
            evidence.lines.truncate(LINES);
            evidence.lines.iter_mut().for_each(|text| *text = line(text));
        }
    }

    /// It is not over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// Adds an entry; the middle of a long timeline goes.
    pub(super) fn push(&mut self, mut entry: Entry) {
        entry.text = line(&entry.text);
        self.timeline.push(entry);
        if self.timeline.len() > HEAD + TAIL {
            self.timeline.remove(HEAD);
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    pub(super) fn push_step(&mut self, mut step: StepDone) {
        step.text = line(&step.text);
        self.steps.push(step);
        if self.steps.len() > STEPS {
            self.steps.remove(0);
        }
    }

    pub(super) fn push_evidence(&mut self, evidence: Evidence) {
        self.evidence.push(evidence);
        if self.evidence.len() > SETS {
            self.evidence.remove(1);
        }
    }

    /// Its file, not larger than it may be: where it would be, the middle of the timeline goes
    /// first, then later evidence, then older steps.
    pub(super) fn bounded_text(&mut self) -> Vec<u8> {
        loop {
            let text = serde_json::to_vec_pretty(self).unwrap_or_default();
            let entries = self.timeline.len();
            if text.len() <= LARGEST {
                return text;
            }
            if entries > 32 {
                let (from, to) = (entries / 4, entries / 2);
                self.timeline.drain(from..to);
                self.left_out = self.left_out.saturating_add((to - from) as u64);
            } else if self.evidence.len() > 1 {
                self.evidence.pop();
            } else if self.steps.len() > 16 {
                self.steps.drain(..self.steps.len() / 2);
            } else {
                // A handful of bounded lines is far smaller than that.
                return text;
            }
        }
    }
}

/// Text of strangers on one line, bounded.
fn line(text: &str) -> String {
    cut(text, LINE)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::incidents) fn incident(id: &str) -> Incident {
        Incident {
            version: VERSION,
            id: id.to_owned(),
            app: "web".parse().unwrap(),
            unit: "web.service".parse().unwrap(),
            verdict: Verdict::Crashed,
            text: "exited with status 1".to_owned(),
            outcome: Outcome::Open,
            opened: rfc3339(5_000),
            opened_seconds: 5,
            closed: None,
            closed_seconds: None,
            lasted_ms: None,
            timeline: Vec::new(),
            left_out: 0,
            recoveries: 0,
            steps: Vec::new(),
            evidence: Vec::new(),
        }
    }

    fn entry(number: u32, text: &str) -> Entry {
        Entry {
            time: rfc3339(i64::from(number)),
            after_ms: i64::from(number),
            event: EventKind::StepDone,
            level: Level::Info,
            verdict: Verdict::Crashed,
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_long_timeline_keeps_head_and_tail() {
        let mut incident = incident("web-1");
        (0..10_000).for_each(|number| incident.push(entry(number, "x")));
        assert_eq!(incident.timeline.len(), HEAD + TAIL);
        assert_eq!(incident.timeline[0].after_ms, 0);
        assert_eq!(incident.timeline.last().unwrap().after_ms, 9_999);
        assert_eq!(incident.left_out as usize, 10_000 - HEAD - TAIL);
    }

    #[test]
    fn no_file_is_larger_than_it_may_be() {
        let mut incident = incident("web-1");
        // The worst that there is: characters of four bytes, and such as JSON escapes.
        let text = "\u{1f4a5}\"\\".repeat(300);
        for number in 0..300 {
            incident.push(entry(number, &text));
            incident.push_evidence(Evidence::new(1, Some(text.clone()), vec![text.clone(); 200]));
            incident.push_step(StepDone {
                recovery: number,
                step: "start".to_owned(),
                done: true,
                took_ms: 1,
                after_ms: 1,
                text: text.clone(),
            });
        }
        let file = incident.bounded_text();
        assert!(file.len() <= LARGEST, "{}", file.len());
        let read: Incident = serde_json::from_slice(&file).unwrap();
        assert_eq!(read, incident);
        assert_eq!(read.timeline[0].after_ms, 0);
        assert_eq!(read.timeline.last().unwrap().after_ms, 299);
        assert!(!read.evidence.is_empty() && !read.steps.is_empty());
    }

    #[test]
    fn evidence_of_strangers_stays_on_its_line() {
        let evidence = Evidence::new(0, None, vec!["a\nb\u{1b}[31m".to_owned(); 500]);
        assert_eq!(evidence.lines.len(), LINES);
        assert_eq!(evidence.lines[0], "a b [31m");
    }
}
