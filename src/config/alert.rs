//! `[alerts.NAME]`: who is told, and of what.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::channel::{self, Channel};
use super::error::ConfigError;
use super::fragment::Gathered;
use super::keys::nearest;
use super::origin::Origin;
use super::raw::{Located, Raw};
use super::settings::Of;
use super::value::{Reporter, Value};
use super::{aliases, endpoint};
use crate::judge::{AppName, EventKind, Secret, UnitName};

/// A way to tell somebody.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alert {
    /// NAME of its table; of the same characters as an app's name.
    pub name: String,
    /// How.
    pub channel: Channel,
    /// What is told. Not empty, without repetition.
    pub events: Vec<EventKind>,
    /// How long until it is told again, while it lasts.
    pub repeat: Option<Duration>,
    /// What is over sooner than that is not told.
    pub min_duration: Duration,
}

/// An outward ping, by which somebody outside notices that the monitor is gone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// What is asked.
    pub url: Secret,
    /// How often.
    pub every: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);

/// Reads `[alerts.NAME]`. `declared`: where the table begins; `whole`: what is not there is missing.
pub(super) fn build(
    root: &Path,
    of: &Of<'_>,
    name: &AppName,
    declared: &Origin,
    whole: bool,
    gathered: &mut Gathered,
) -> Option<Alert> {
    let mut channel = channel::build(of, declared, whole, gathered)?;
    if let Channel::Unit(template) = &mut channel {
        *template = aliases::resolve(root, template);
    }
    let events = match of.value("events") {
        Some(Value::Events(events)) => events.clone(),
        _ => DEFAULT_EVENTS.to_vec(),
    };
    let (repeat, min_duration) = (of.duration("repeat"), of.duration("min_duration").unwrap_or_default());
    Some(Alert { name: name.to_string(), channel, events, repeat, min_duration })
}

/// Reads `[heartbeat]`.
pub(super) fn heartbeat(
    of: &Of<'_>,
    declared: &Origin,
    whole: bool,
    gathered: &mut Gathered,
) -> Option<Heartbeat> {
    let mut note = |place: &Origin, key: &str, message: String| {
        let (place, table, key) = (place.clone(), of.section.label(), key.to_owned());
        gathered.errors.push(ConfigError::of(place, table, key, message));
    };
    let Some(found) = of.get("url") else {
        if whole {
            note(declared, "", "url is missing; for example url = \"https://hc-ping.com/…\"".to_owned());
        }
        return None;
    };
    let Some(Value::Secret(url)) = &found.value else { return None };
    if let Err(why) = endpoint::of_web(&url.0) {
        note(&found.at, "url", why);
    }
    Some(Heartbeat { url: url.clone(), every: of.duration("every").unwrap_or(MINUTE) })
}

impl Alert {
    /// Whether it wants to hear of that. Most events are told to whoever asks for them by name; the
    /// usual ones only where the judge says that somebody has to know.
    #[must_use]
    pub fn wants(&self, event: EventKind, needed: bool) -> bool {
        self.events.contains(&event) && (needed || !DEFAULT_EVENTS.contains(&event))
    }

    /// The unit to start for that app, where it is told by one: `tell@web.service`.
    #[must_use]
    pub fn unit_for(&self, app: &crate::judge::AppName) -> Option<UnitName> {
        let Channel::Unit(template) = &self.channel else { return None };
        UnitName::try_from(format!("{}{app}.service", template.stem())).ok()
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
