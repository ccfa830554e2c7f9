//! What a machine's journal says, as text and as app-monitor's events.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{LOOK, Machine, now};

/// An entry: its fields.
type Fields = serde_json::Map<String, serde_json::Value>;

/// What journalctl said, by its arguments, as long as nothing is written to the journal: scenarios wait
/// by asking again and again, and most of the time there is nothing new.
#[derive(Default)]
pub(super) struct Said {
    mark: Option<Vec<u8>>,
    entries: BTreeMap<String, Vec<Fields>>,
}

/// One of app-monitor's journal entries about an app.
#[derive(Debug, Clone)]
pub struct Event {
    /// APP_MONITOR_EVENT=, such as `recovery-started`.
    pub name: String,
    /// APP_MONITOR_APP=.
    pub app: String,
    /// When it was logged, on CLOCK_MONOTONIC: comparable with [`super::now`].
    pub at: Duration,
    /// MESSAGE=.
    pub message: String,
    /// All fields of the entry.
    pub fields: Fields,
}

impl Event {
    /// A field as text; empty when the entry has none of that name.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).and_then(serde_json::Value::as_str).unwrap_or("")
    }
}

impl Machine {
    /// The journal since boot, one line an entry, with monotonic times.
    pub fn journal(&self) -> String {
        self.run("journalctl -b --no-pager -o short-monotonic").stdout
    }

    /// The journal of one unit since boot, messages only.
    pub fn journal_of(&self, unit: &str) -> String {
        self.run(&format!("journalctl -b --no-pager -o cat -u {unit}")).stdout
    }

    /// Entries that match journalctl arguments, oldest first.
    #[track_caller]
    pub fn entries(&self, arguments: &str) -> Vec<Fields> {
        // What is written while journalctl reads is there the next time.
        let mark = self.journal_mark();
        let mut said = self.said.borrow_mut();
        if mark.is_none() || said.mark != mark {
            *said = Said { mark, entries: BTreeMap::new() };
        }
        let entries =
            said.entries.entry(arguments.to_owned()).or_insert_with(|| self.read_entries(arguments));
        entries.clone()
    }

    fn read_entries(&self, arguments: &str) -> Vec<Fields> {
        self.run(&format!("journalctl --no-pager --all -o json {arguments}"))
            .stdout
            .lines()
            .filter_map(|line| match serde_json::from_str(line) {
                Ok(serde_json::Value::Object(fields)) => Some(fields),
                _ => None,
            })
            .collect()
    }

    /// When systemd logged that a unit had failed, the first time at or after `since`: the moment
    /// from which reactions to a crash are counted.
    #[track_caller]
    pub fn unit_failed_at(&self, unit: &str, since: Duration) -> Option<Duration> {
        // SD_MESSAGE_UNIT_FAILURE_RESULT, sd-messages(3).
        self.entries(&format!("-b UNIT={unit} MESSAGE_ID=d9b373ed55a64feb8242e02dbe79a49c"))
            .iter()
            .filter_map(|fields| fields.get("__MONOTONIC_TIMESTAMP")?.as_str()?.parse().ok())
            .map(Duration::from_micros)
            .find(|at| *at >= since)
    }

    /// All events of an app in this boot, oldest first; of every app when `app` is empty.
    #[track_caller]
    pub fn events(&self, app: &str) -> Vec<Event> {
        let wanted = if app.is_empty() {
            "SYSLOG_IDENTIFIER=app-monitor".to_owned()
        } else {
            format!("APP_MONITOR_APP={app}")
        };
        self.entries(&format!("-b {wanted}"))
            .into_iter()
            .filter_map(|fields| {
                let text = |name: &str| {
                    fields.get(name).and_then(serde_json::Value::as_str).unwrap_or("").to_owned()
                };
                let name = text("APP_MONITOR_EVENT");
                if name.is_empty() {
                    return None;
                }
                let app = text("APP_MONITOR_APP");
                let at = Duration::from_micros(text("__MONOTONIC_TIMESTAMP").parse().unwrap_or(0));
                let message = text("MESSAGE");
                Some(Event { name, app, at, message, fields })
            })
            .collect()
    }

    /// Events of an app logged at or after a moment of [`super::now`].
    #[track_caller]
    pub fn events_since(&self, app: &str, since: Duration) -> Vec<Event> {
        let mut events = self.events(app);
        events.retain(|event| event.at >= since);
        events
    }

    /// Waits for an event of an app, logged at or after `since` (Duration::ZERO: in this boot).
    #[track_caller]
    pub fn wait_event(&self, deadline: Duration, app: &str, name: &str, since: Duration) -> Event {
        let end = now() + deadline;
        loop {
            let events = self.events_since(app, since);
            if let Some(event) = events.iter().find(|event| event.name == name) {
                return event.clone();
            }
            if now() >= end {
                let seen: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
                panic!("no event {name} of {app} within {deadline:?}; seen since: {seen:?}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until an app's verdict is `verdict` (field APP_MONITOR_VERDICT= of `verdict-changed`).
    #[track_caller]
    pub fn wait_verdict(&self, deadline: Duration, app: &str, verdict: &str, since: Duration) -> Event {
        let end = now() + deadline;
        loop {
            let events = self.events_since(app, since);
            let found = events.iter().find(|event| {
                event.name == "verdict-changed" && event.field("APP_MONITOR_VERDICT") == verdict
            });
            if let Some(event) = found {
                return event.clone();
            }
            if now() >= end {
                let seen: Vec<_> = events
                    .iter()
                    .map(|event| format!("{} {}", event.name, event.field("APP_MONITOR_VERDICT")))
                    .collect();
                panic!("{app} did not become {verdict} within {deadline:?}; seen since: {seen:?}");
            }
            std::thread::sleep(LOOK);
        }
    }
}
