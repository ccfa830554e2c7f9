//! `[alerts.NAME]`: who is told, and of what.

use serde::{Deserialize, Serialize};

use super::keys::nearest;
use super::raw::{Located, Raw};
use super::value::Reporter;
use crate::judge::{EventKind, UnitName};

/// A way to tell somebody.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alert {
    /// NAME of its table; of the same characters as an app's name.
    pub name: String,
    /// A template such as `tell@.service`, started with the app's name as instance.
    pub unit_template: UnitName,
    /// What is told. Not empty, without repetition.
    pub events: Vec<EventKind>,
}

impl Alert {
    /// Whether it wants to hear of that. Most events are told to whoever asks for them by name; the
    /// usual ones only where the judge says that somebody has to know.
    #[must_use]
    pub fn wants(&self, event: EventKind, needed: bool) -> bool {
        self.events.contains(&event) && (needed || !DEFAULT_EVENTS.contains(&event))
    }

    /// The unit to start for that app: `tell@web.service`.
    #[must_use]
    pub fn unit_for(&self, app: &crate::judge::AppName) -> Option<UnitName> {
        UnitName::try_from(format!("{}{app}.service", self.unit_template.stem())).ok()
    }
}

/// What can be told: the events of the journal that concern an app. Those of alerts themselves are
/// left out, since each would beget the next.
pub(super) fn tellable() -> impl Iterator<Item = EventKind> {
    let of_the_monitor =
        [EventKind::AlertSent, EventKind::AlertFailed, EventKind::ConfigReloaded, EventKind::ConfigRejected];
    EventKind::ALL.into_iter().filter(move |event| !of_the_monitor.contains(event))
}

/// What is told when nobody says.
/// These are told only where a person has to know, e.g. not at every stop, but at one that lasts.
pub(super) const DEFAULT_EVENTS: [EventKind; 7] = [
    EventKind::IncidentOpened,
    EventKind::IncidentClosed,
    EventKind::ConditionBegan,
    EventKind::ConditionEnded,
    EventKind::BreakerOpened,
    EventKind::BreakerClosed,
    EventKind::StoppedByAdmin,
];

/// Reads one name or a list of names.
pub(super) fn read_events(found: &Located, report: &mut Reporter<'_>) -> Option<Vec<EventKind>> {
    let items = match &found.value {
        Raw::List(items) if items.is_empty() => {
            return report.error(
                &found.at,
                "",
                "an empty list tells nobody anything; leave it out for the usual",
            );
        }
        Raw::List(items) => items.as_slice(),
        _ => std::slice::from_ref(found),
    };
    let before = report.count();
    let mut events = Vec::new();
    for item in items {
        let text = match &item.value {
            Raw::Text(text) => text.as_str(),
            _ => "",
        };
        if let Some(event) = tellable().find(|event| event.word() == text) {
            if !events.contains(&event) {
                events.push(event);
            }
            continue;
        }
        let hint = match text {
            "alert-sent" | "alert-failed" => "; an alert about alerts would never end".to_owned(),
            _ => nearest(text, tellable().map(EventKind::word))
                .map_or_else(String::new, |near| format!("; did you mean \"{near}\"?")),
        };
        report.note(
            &item.at,
            "",
            format!(
                "expected the name of an event such as \"incident-opened\", found {}{hint}",
                item.value.described()
            ),
        );
    }
    (report.count() == before).then_some(events)
}
