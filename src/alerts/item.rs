//! One thing to tell.

use serde::{Deserialize, Serialize};

use crate::judge::{AppName, EventKind, Record, Span, UnitName};
use crate::plain::cut;

/// Most characters of a text.
const LONGEST: usize = 400;

/// One thing to tell somebody. Its shape is public interface: it is what a webhook gets of each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item {
    /// The same however often it is sent.
    pub id: String,
    /// When it happened, in seconds since the epoch.
    pub time: i64,
    /// The app.
    pub app: AppName,
    /// Its unit.
    pub unit: UnitName,
    /// What happened.
    pub event: EventKind,
    /// The same for people, in one line that begins with the app.
    pub text: String,
    /// The incident that it belongs to.
    pub incident: Option<String>,
    /// It was told before, and lasts.
    pub repeated: bool,
}

impl Item {
    /// What a line of the judge's says.
    #[must_use]
    pub fn of(record: &Record, id: String, time: i64) -> Self {
        Self {
            id,
            time,
            app: record.app.clone(),
            unit: record.unit.clone(),
            event: record.event,
            text: cut(&record.line(), LONGEST),
            incident: record.incident.clone(),
            repeated: false,
        }
    }

    /// The same again, because it lasts.
    #[must_use]
    pub fn again(&self, id: String, time: i64, lasts: Span) -> Self {
        Self {
            id,
            time,
            repeated: true,
            text: cut(&format!("{} (for {lasts} now)", self.text), LONGEST),
            ..self.clone()
        }
    }

    /// That it is over, where nobody was there to see how: which event that is, and what it says. None
    /// where its end is told in another way. `key`: the name under which it lasted, as [`bound`] gave it.
    #[must_use]
    pub(super) fn over(&self, key: &str) -> Option<(EventKind, String)> {
        let (event, whose, what) = match self.event {
            EventKind::IncidentOpened => {
                let what = self.incident.as_ref().map_or("that", String::as_str);
                (EventKind::IncidentClosed, self.app.as_str(), format!("incident {what}"))
            }
            EventKind::ConditionBegan => {
                let what = key.rsplit(' ').next().unwrap_or_default();
                // An instance, or a unit that apps lean on, is named before it.
                let whose =
                    self.text.split_once(&format!(": {what}")).map_or(self.app.as_str(), |(lead, _)| lead);
                (EventKind::ConditionEnded, whose, what.to_owned())
            }
            _ => return None,
        };
        Some((
            event,
            cut(&format!("{whose}: {what} is over; it ended while the monitor was restarted"), LONGEST),
        ))
    }

    /// As it may be kept, whatever a file said.
    #[must_use]
    pub(super) fn bounded(self) -> Self {
        Self {
            // It goes into headers.
            id: self.id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect(),
            text: cut(&self.text, LONGEST),
            incident: self.incident.map(|incident| cut(&incident, 64)),
            ..self
        }
    }

    /// What goes first when there is no room: the least.
    pub(super) fn weight(&self) -> u8 {
        match self.event {
            EventKind::IncidentOpened | EventKind::BreakerOpened if !self.repeated => 3,
            EventKind::ConditionBegan | EventKind::StoppedByAdmin if !self.repeated => 2,
            EventKind::IncidentClosed | EventKind::ConditionEnded | EventKind::BreakerClosed => 1,
            _ => 0,
        }
    }
}

/// What an event begins or ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Bound {
    Begin(String),
    End(String),
    Neither,
}

/// The name of an incident, from its beginning to its end.
pub(super) fn key_of_incident(id: &str) -> String {
    format!("incident {id}")
}

/// The same of a condition of a unit.
pub(super) fn key_of_condition(unit: &UnitName, what: &str) -> String {
    format!("condition {unit} {}", cut(what, 40))
}

/// The name of a condition in its line: `disk-low: …`, `disk-low for 2 h: …`, `disk-low is over after …`.
fn condition_in(text: &str) -> &str {
    text.split([':', ' ']).next().unwrap_or_default()
}

/// What a line of the judge's begins.
pub(super) fn begun(record: &Record) -> Option<String> {
    match bound(record) {
        Bound::Begin(key) => Some(key),
        _ => None,
    }
}

/// What a line of the judge's begins or ends, under a name that both have in common.
pub(super) fn bound(record: &Record) -> Bound {
    let condition = || key_of_condition(&record.unit, condition_in(&record.text));
    let incident = || key_of_incident(record.incident.as_deref().unwrap_or(record.unit.as_str()));
    match record.event {
        EventKind::IncidentOpened => Bound::Begin(incident()),
        EventKind::IncidentClosed => Bound::End(incident()),
        EventKind::ConditionBegan => Bound::Begin(condition()),
        EventKind::ConditionEnded => Bound::End(condition()),
        EventKind::BreakerOpened => Bound::Begin(format!("breaker {}", record.unit)),
        EventKind::BreakerClosed => Bound::End(format!("breaker {}", record.unit)),
        _ => Bound::Neither,
    }
}
