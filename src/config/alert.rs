//! `[alerts.NAME]`: who is told, and of what.

use serde::{Deserialize, Serialize};

use super::keys::nearest;
use super::raw::{Located, Raw};
use super::value::Reporter;
use crate::judge::UnitName;

/// A way to tell somebody.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alert {
    /// NAME of its table; of the same characters as an app's name.
    pub name: String,
    /// A template such as `tell@.service`, started with the app's name as instance.
    pub unit_template: UnitName,
    /// What is told. Not empty, without repetition.
    pub events: Vec<AlertEvent>,
}

impl Alert {
    /// The unit to start for that app: `tell@web.service`.
    #[must_use]
    pub fn unit_for(&self, app: &crate::judge::AppName) -> Option<UnitName> {
        UnitName::try_from(format!("{}{app}.service", self.unit_template.stem())).ok()
    }
}

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// What can be told: the events of the journal that concern an app, by the same names. Those
        /// of alerts themselves are left out, since each would beget the next.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum AlertEvent {
            $($(#[$doc])* $variant,)*
        }

        impl AlertEvent {
            /// Every event, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The event's name.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

events! {
    /// An app needs attention.
    IncidentOpened = "incident-opened",
    /// It is over.
    IncidentClosed = "incident-closed",
    /// The verdict of an app changed.
    VerdictChanged = "verdict-changed",
    /// Something in an app's surroundings began to be wrong.
    ConditionBegan = "condition-began",
    /// It is over.
    ConditionEnded = "condition-ended",
    /// A check was bad.
    CheckFailed = "check-failed",
    /// A recovery began.
    RecoveryStarted = "recovery-started",
    /// A step of a recovery was carried out.
    StepDone = "step-done",
    /// A step of a recovery failed.
    StepFailed = "step-failed",
    /// The app is healthy again after a recovery.
    RecoveryVerified = "recovery-verified",
    /// It is not.
    RecoveryFailed = "recovery-failed",
    /// All attempts are used up.
    BreakerOpened = "breaker-opened",
    /// Attempts are forgotten.
    BreakerClosed = "breaker-closed",
    /// An administrator stopped the app.
    StoppedByAdmin = "stopped-by-admin",
    /// Maintenance began.
    Paused = "paused",
    /// It is over.
    Resumed = "resumed",
    /// Checks cannot be made.
    Blind = "blind",
}

/// What is told when nobody says.
pub(super) const DEFAULT_EVENTS: [AlertEvent; 2] = [AlertEvent::IncidentOpened, AlertEvent::IncidentClosed];

/// Reads one name or a list of names.
pub(super) fn read_events(found: &Located, report: &mut Reporter<'_>) -> Option<Vec<AlertEvent>> {
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
        if let Some(event) = AlertEvent::ALL.iter().find(|event| event.word() == text) {
            if !events.contains(event) {
                events.push(*event);
            }
            continue;
        }
        let hint = match text {
            "alert-sent" | "alert-failed" => "; an alert about alerts would never end".to_owned(),
            _ => nearest(text, AlertEvent::ALL.iter().map(|event| event.word()))
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
