//! What is told to the journal and to people: events with stable names and message ids.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::names::{AppName, Subject, UnitName};

/// The events of the journal. Names and MESSAGE_IDs are public interface: dashboards and the
/// journal catalogue are written against them (sd_journal_print(3), systemd.journal-fields(7)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The verdict on an app is another one.
    VerdictChanged,
    /// Something about its surroundings or its configuration needs attention.
    ConditionBegan,
    /// That is over.
    ConditionEnded,
    /// A check was bad for the first time; it is being confirmed.
    CheckFailed,
    /// A fault is confirmed.
    IncidentOpened,
    /// The fault is over.
    IncidentClosed,
    /// A recovery begins.
    RecoveryStarted,
    /// One step of it went as planned.
    StepDone,
    /// One step of it did not.
    StepFailed,
    /// The app is healthy again, and stayed so.
    RecoveryVerified,
    /// The app is not healthy again in time, or somebody else decided.
    RecoveryFailed,
    /// All attempts are used up.
    BreakerOpened,
    /// The app was healthy for long enough, or a person reset it.
    BreakerClosed,
    /// Somebody stopped the app; it is left alone.
    StoppedByAdmin,
    /// Recoveries are suspended.
    Paused,
    /// Recoveries are allowed again.
    Resumed,
    /// Somebody was told.
    AlertSent,
    /// Somebody could not be told.
    AlertFailed,
    /// A new configuration is in force.
    ConfigReloaded,
    /// The configuration has errors; the old one stays in force.
    ConfigRejected,
    /// A check cannot be made.
    Blind,
}

impl EventKind {
    /// Every event, in the order of the documentation.
    pub const ALL: [Self; 21] = [
        Self::VerdictChanged,
        Self::ConditionBegan,
        Self::ConditionEnded,
        Self::CheckFailed,
        Self::IncidentOpened,
        Self::IncidentClosed,
        Self::RecoveryStarted,
        Self::StepDone,
        Self::StepFailed,
        Self::RecoveryVerified,
        Self::RecoveryFailed,
        Self::BreakerOpened,
        Self::BreakerClosed,
        Self::StoppedByAdmin,
        Self::Paused,
        Self::Resumed,
        Self::AlertSent,
        Self::AlertFailed,
        Self::ConfigReloaded,
        Self::ConfigRejected,
        Self::Blind,
    ];

    /// The value of `APP_MONITOR_EVENT=`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::VerdictChanged => "verdict-changed",
            Self::ConditionBegan => "condition-began",
            Self::ConditionEnded => "condition-ended",
            Self::CheckFailed => "check-failed",
            Self::IncidentOpened => "incident-opened",
            Self::IncidentClosed => "incident-closed",
            Self::RecoveryStarted => "recovery-started",
            Self::StepDone => "step-done",
            Self::StepFailed => "step-failed",
            Self::RecoveryVerified => "recovery-verified",
            Self::RecoveryFailed => "recovery-failed",
            Self::BreakerOpened => "breaker-opened",
            Self::BreakerClosed => "breaker-closed",
            Self::StoppedByAdmin => "stopped-by-admin",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::AlertSent => "alert-sent",
            Self::AlertFailed => "alert-failed",
            Self::ConfigReloaded => "config-reloaded",
            Self::ConfigRejected => "config-rejected",
            Self::Blind => "blind",
        }
    }

    /// The value of `MESSAGE_ID=`.
    #[must_use]
    pub fn message_id(self) -> &'static str {
        match self {
            Self::VerdictChanged => "89cc2db07772433d824c8818e5de2deb",
            Self::ConditionBegan => "038e1771ecf1493698976c42e302c273",
            Self::ConditionEnded => "7376962eec3f4208848686d724f15f0a",
            Self::CheckFailed => "c5a7f4e7c0624f66b4b14c3e23d9be84",
            Self::IncidentOpened => "111b4f3fdfa94e22b1b110f87a2fdb7d",
            Self::IncidentClosed => "e0fac9a4609a4a50b0ae0217bdc82347",
            Self::RecoveryStarted => "80ec0ff7aad649b0865fb3770c8ea230",
            Self::StepDone => "d76fabf25941406e816b07e58e929ab9",
            Self::StepFailed => "88fd5fcdf07f4c6c9bb407553592568a",
            Self::RecoveryVerified => "3238a4034fd74ecba0bcfdee9f3ea4a9",
            Self::RecoveryFailed => "ac67292ce2584f8c825e070c76568931",
            Self::BreakerOpened => "4ccd4e4123cc4cc49ebf0c7ed7357303",
            Self::BreakerClosed => "5ae9587805534b87b770e1f74fa1d7ef",
            Self::StoppedByAdmin => "22a158ac04c547a0b00870445faac4be",
            Self::Paused => "231df815fcc14f36bf136e671170338d",
            Self::Resumed => "1553795d37024ee68a4cccb09577be39",
            Self::AlertSent => "73526527bed74583a958faced21910ad",
            Self::AlertFailed => "828ba0cbcf764291a4a35bbbcedf9b61",
            Self::ConfigReloaded => "a34aed8f154342618d83b9ccb3a7c945",
            Self::ConfigRejected => "97482928505f408394fed06e3208763d",
            Self::Blind => "f40ce5b45f8c46139883b3b5a926e615",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One line of the journal about an app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Who it is about.
    pub subject: Subject,
    /// The app that it is about; for a unit that apps lean on, the first of them.
    pub app: AppName,
    /// The unit that it is about: the app's, one instance's, the proxy's, the database's.
    pub unit: UnitName,
    /// Which event.
    pub event: EventKind,
    /// How urgent.
    pub level: Level,
    /// The verdict at that moment.
    pub verdict: super::verdict::Verdict,
    /// The line, without the app's name in front.
    pub text: String,
    /// The incident that it belongs to.
    pub incident: Option<String>,
    /// Somebody is to be told (alerts), not only the journal.
    pub alert: bool,
    /// The step of a recovery that ended, where it is about one.
    pub step: Option<StepReport>,
    /// The condition that began or ended, where it is about one.
    pub condition: Option<super::verdict::Condition>,
}

impl Record {
    /// The line with the name in front by which people know who it is about: `web`, `web@2`, and for a
    /// unit that the app leans on `web: nginx.service`.
    #[must_use]
    pub fn line(&self) -> String {
        match &self.subject {
            Subject::Unit(unit) => format!("{}: {unit}: {}", self.app, self.text),
            subject => format!("{subject}: {}", self.text),
        }
    }
}

/// How a step of a recovery went, for the incident.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepReport {
    /// `Step::word`.
    pub step: String,
    /// It went as planned.
    pub done: bool,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_and_ids_are_distinct() {
        let words: BTreeSet<_> = EventKind::ALL.iter().map(|event| event.word()).collect();
        let ids: BTreeSet<_> = EventKind::ALL.iter().map(|event| event.message_id()).collect();
        assert_eq!((words.len(), ids.len()), (EventKind::ALL.len(), EventKind::ALL.len()));
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    }

    /// Others filter by them and explain them: a line of this list is never changed, nor taken away.
    const FOR_EVER: [(&str, &str); 21] = [
        ("verdict-changed", "89cc2db07772433d824c8818e5de2deb"),
        ("condition-began", "038e1771ecf1493698976c42e302c273"),
        ("condition-ended", "7376962eec3f4208848686d724f15f0a"),
        ("check-failed", "c5a7f4e7c0624f66b4b14c3e23d9be84"),
        ("incident-opened", "111b4f3fdfa94e22b1b110f87a2fdb7d"),
        ("incident-closed", "e0fac9a4609a4a50b0ae0217bdc82347"),
        ("recovery-started", "80ec0ff7aad649b0865fb3770c8ea230"),
        ("step-done", "d76fabf25941406e816b07e58e929ab9"),
        ("step-failed", "88fd5fcdf07f4c6c9bb407553592568a"),
        ("recovery-verified", "3238a4034fd74ecba0bcfdee9f3ea4a9"),
        ("recovery-failed", "ac67292ce2584f8c825e070c76568931"),
        ("breaker-opened", "4ccd4e4123cc4cc49ebf0c7ed7357303"),
        ("breaker-closed", "5ae9587805534b87b770e1f74fa1d7ef"),
        ("stopped-by-admin", "22a158ac04c547a0b00870445faac4be"),
        ("paused", "231df815fcc14f36bf136e671170338d"),
        ("resumed", "1553795d37024ee68a4cccb09577be39"),
        ("alert-sent", "73526527bed74583a958faced21910ad"),
        ("alert-failed", "828ba0cbcf764291a4a35bbbcedf9b61"),
        ("config-reloaded", "a34aed8f154342618d83b9ccb3a7c945"),
        ("config-rejected", "97482928505f408394fed06e3208763d"),
        ("blind", "f40ce5b45f8c46139883b3b5a926e615"),
    ];

    #[test]
    fn ids_are_what_they_always_were() {
        let now: Vec<_> = EventKind::ALL.iter().map(|event| (event.word(), event.message_id())).collect();
        assert_eq!(now, FOR_EVER);
    }

    #[test]
    fn every_event_is_explained_and_no_other() {
        let catalogue = include_str!("../../packaging/app-monitor.catalog");
        let manual = include_str!("../../packaging/man/app-monitor.8").replace("\\-", "-");
        let explained: BTreeSet<_> = catalogue.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        let ids: BTreeSet<_> = EventKind::ALL.iter().map(|event| event.message_id()).collect();
        assert_eq!(explained, ids);
        for event in EventKind::ALL {
            assert!(manual.contains(event.word()), "{event} in the manual");
        }
    }

    #[test]
    fn explanations_name_only_what_every_line_has() {
        // catalog(7) of systemd: @FIELD@ is replaced, where the entry has that field.
        const FIELDS: [&str; 4] =
            ["APP_MONITOR_APP", "APP_MONITOR_UNIT", "APP_MONITOR_VERDICT", "APP_MONITOR_INCIDENT"];
        let catalogue = include_str!("../../packaging/app-monitor.catalog");
        for entry in catalogue.split("\n-- ").skip(1) {
            let (id, text) = entry.split_once('\n').unwrap();
            let head: Vec<_> = text.lines().take(3).map(|line| line.split(": ").next()).collect();
            assert_eq!(head, [Some("Subject"), Some("Defined-By"), Some("Support")], "{id}");
            for field in text.split('@').skip(1).step_by(2) {
                assert!(FIELDS.contains(&field), "{id}: {field}");
                let event = EventKind::ALL.into_iter().find(|event| event.message_id() == id);
                let whole = event.is_some_and(|event| event.word().starts_with("config-"));
                assert!(!whole, "{id} is about no app");
                let opened = field != "APP_MONITOR_INCIDENT" || event == Some(EventKind::IncidentOpened);
                assert!(opened, "{id} may belong to no incident");
            }
        }
    }
}
