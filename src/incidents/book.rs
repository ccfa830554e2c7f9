//! Open incidents, as the judge's records tell of them. Pure: no clock, no file.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::file::{Entry, Evidence, Incident, Outcome, StepDone, VERSION};
use super::stamp::rfc3339;
use crate::judge::{EventKind, Level, Moment, Record, UnitName, Verdict};

/// What was told about a unit so shortly before its incident belongs to it.
const BEFORE: Duration = Duration::from_secs(120);
/// So many lines of that, of each unit.
const RECENT: usize = 8;
/// Units whose lines are remembered.
const UNITS: usize = 4096;
/// Evidence that was gathered so long before an incident belongs to it.
const EVIDENCE_BEFORE: Duration = Duration::from_secs(60);

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// CLOCK_MONOTONIC, for lengths of time.
    pub moment: Moment,
    /// CLOCK_REALTIME in milliseconds since the epoch, for people.
    pub wall_ms: i64,
}

#[derive(Debug)]
struct Case {
    incident: Incident,
    /// A moment, and how long after the opening it was, in milliseconds.
    anchor: (Moment, i64),
}

impl Case {
    fn after_ms(&self, moment: Moment) -> i64 {
        let (anchor, after) = self.anchor;
        after.saturating_add(moment.as_micros().saturating_sub(anchor.as_micros()) / 1_000)
    }
}

/// The open incidents, and what may yet belong to one.
#[derive(Debug, Default)]
pub struct Book {
    open: BTreeMap<String, Case>,
    recent: BTreeMap<UnitName, VecDeque<(Now, Record)>>,
    waiting: BTreeMap<UnitName, (Now, Evidence)>,
}

/// A file that has to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The incident.
    pub id: String,
    /// Its file.
    pub text: Vec<u8>,
}

impl Book {
    /// Goes on with incidents that an earlier monitor left open.
    pub fn restore(&mut self, incidents: impl IntoIterator<Item = Incident>, now: Now) {
        for incident in incidents.into_iter().filter(Incident::is_open) {
            let opened_ms = incident.opened_seconds.saturating_mul(1_000);
            let last = incident.timeline.last().map_or(0, |entry| entry.after_ms);
            // The wall clock is all that there is over a restart; it may have gone backwards.
            let after = now.wall_ms.saturating_sub(opened_ms).max(last);
            self.open.insert(incident.id.clone(), Case { incident, anchor: (now.moment, after) });
        }
    }

    /// Ids of the incidents that are open.
    #[must_use]
    pub fn open(&self) -> BTreeSet<String> {
        self.open.keys().cloned().collect()
    }

    /// Closes all but these: nobody follows the others any more.
    pub fn keep_only(&mut self, known: &BTreeSet<String>, now: Now) -> Vec<Page> {
        let lost: Vec<String> = self.open.keys().filter(|id| !known.contains(*id)).cloned().collect();
        lost.iter().filter_map(|id| self.close(id, Outcome::NotFollowed, now)).collect()
    }

    /// Takes in what was told. A page is to be written when it belongs to an incident.
    pub fn take(&mut self, record: &Record, now: Now) -> Option<Page> {
        // What fills the journal at a level of its own would only fill the file.
        if record.level > Level::Info {
            return None;
        }
        let Some(id) = &record.incident else {
            self.remember(record, now);
            return None;
        };
        let known = self.open.contains_key(id);
        if !known {
            if record.event == EventKind::IncidentClosed {
                return None;
            }
            self.begin(id, record, now);
        }
        let case = self.open.get_mut(id)?;
        let after_ms = case.after_ms(now.moment);
        let incident = &mut case.incident;
        // One that has not ended is gone on with, by another monitor.
        let under_way =
            last_of_recovery(incident).is_some_and(|last| last.event == EventKind::RecoveryStarted);
        incident.push(entry(record, now.wall_ms, after_ms));
        match record.event {
            EventKind::RecoveryStarted if !under_way => {
                incident.recoveries = incident.recoveries.saturating_add(1)
            }
            EventKind::BreakerOpened => incident.outcome = Outcome::GaveUp,
            EventKind::BreakerClosed => incident.outcome = Outcome::Open,
            _ => {}
        }
        if let Some(step) = &record.step {
            incident.push_step(StepDone {
                recovery: incident.recoveries,
                step: step.step.clone(),
                done: step.done,
                took_ms: step.took_ms,
                after_ms,
                text: record.text.clone(),
            });
        }
        if record.event == EventKind::IncidentClosed {
            let outcome = outcome(incident, record.verdict);
            return self.close(&id.clone(), outcome, now);
        }
        Some(page(&mut case.incident))
    }

    /// Takes evidence about a unit in: for the incident that is open, or opens within a minute.
    pub fn take_evidence(&mut self, unit: &UnitName, mut evidence: Evidence, now: Now) -> Option<Page> {
        let Some(case) = self.open.values_mut().find(|case| case.incident.unit == *unit) else {
            self.waiting.retain(|_, (then, _)| now.moment.since(then.moment) <= EVIDENCE_BEFORE);
            self.waiting.insert(unit.clone(), (now, evidence));
            return None;
        };
        evidence.after_ms = case.after_ms(now.moment);
        case.incident.push_evidence(evidence);
        Some(page(&mut case.incident))
    }

    fn remember(&mut self, record: &Record, now: Now) {
        if !self.recent.contains_key(&record.unit) && self.recent.len() >= UNITS {
            self.recent.pop_first();
        }
        let recent = self.recent.entry(record.unit.clone()).or_default();
        recent.push_back((now, record.clone()));
        if recent.len() > RECENT {
            recent.pop_front();
        }
    }

    /// Opens an incident: as told, or, where its file was lost, from here on.
    fn begin(&mut self, id: &str, record: &Record, now: Now) {
        let opening = record.event == EventKind::IncidentOpened;
        // `incident web-12: crashed: exited with status 1`: the name and the verdict are known.
        let text = record.text.strip_prefix(&format!("incident {id}: ")).unwrap_or(&record.text);
        let text = text.strip_prefix(&format!("{}: ", record.verdict)).unwrap_or(text);
        let mut incident = Incident {
            version: VERSION,
            id: id.to_owned(),
            app: record.app.clone(),
            unit: record.unit.clone(),
            verdict: record.verdict,
            text: text.to_owned(),
            outcome: Outcome::Open,
            opened: rfc3339(now.wall_ms),
            opened_seconds: now.wall_ms.div_euclid(1_000),
            closed: None,
            closed_seconds: None,
            lasted_ms: None,
            timeline: Vec::new(),
            left_out: 0,
            recoveries: 0,
            steps: Vec::new(),
            evidence: Vec::new(),
        };
        if opening {
            for (then, before) in self.recent.remove(&record.unit).unwrap_or_default() {
                let ago = now.moment.since(then.moment);
                if ago <= BEFORE {
                    let ago = i64::try_from(ago.as_millis()).unwrap_or(0);
                    incident.push(entry(&before, then.wall_ms, -ago));
                }
            }
        }
        if let Some((then, mut evidence)) = self.waiting.remove(&record.unit)
            && now.moment.since(then.moment) <= EVIDENCE_BEFORE
        {
            let ago = i64::try_from(now.moment.since(then.moment).as_millis()).unwrap_or(0);
            evidence.after_ms = -ago;
            incident.push_evidence(evidence);
        }
        self.open.insert(id.to_owned(), Case { incident, anchor: (now.moment, 0) });
    }

    fn close(&mut self, id: &str, outcome: Outcome, now: Now) -> Option<Page> {
        let mut case = self.open.remove(id)?;
        let lasted = u64::try_from(case.after_ms(now.moment)).unwrap_or(0);
        let incident = &mut case.incident;
        incident.outcome = outcome;
        incident.closed = Some(rfc3339(now.wall_ms));
        incident.closed_seconds = Some(now.wall_ms.div_euclid(1_000));
        incident.lasted_ms = Some(lasted);
        Some(page(incident))
    }
}

fn page(incident: &mut Incident) -> Page {
    Page { id: incident.id.clone(), text: incident.bounded_text() }
}

fn entry(record: &Record, wall_ms: i64, after_ms: i64) -> Entry {
    Entry {
        time: rfc3339(wall_ms),
        after_ms,
        event: record.event,
        level: record.level,
        verdict: record.verdict,
        text: record.text.clone(),
    }
}

/// Where its last recovery stands, or how it ended.
fn last_of_recovery(incident: &Incident) -> Option<&Entry> {
    incident.timeline.iter().rev().find(|entry| {
        matches!(
            entry.event,
            EventKind::RecoveryStarted | EventKind::RecoveryVerified | EventKind::RecoveryFailed
        )
    })
}

/// How an incident ended that is over with that verdict.
fn outcome(incident: &Incident, verdict: Verdict) -> Outcome {
    let somebody = matches!(
        verdict,
        Verdict::StoppedByAdmin | Verdict::StoppedWithDependency | Verdict::ShuttingDown | Verdict::Masked
    );
    match last_of_recovery(incident) {
        _ if somebody => Outcome::SomebodyElse,
        Some(entry) if entry.event == EventKind::RecoveryVerified => Outcome::Recovered,
        // A recovery that gave way says so without a warning.
        Some(entry) if entry.event == EventKind::RecoveryFailed && entry.level == Level::Info => {
            Outcome::SomebodyElse
        }
        _ => Outcome::EndedByItself,
    }
}

#[cfg(test)]
mod tests;
