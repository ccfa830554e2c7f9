//! Lines of the judge on their way to the journal.

use crate::judge::{AppName, Priority, Record, UnitName};
use crate::systemd::journal::{self, Level, Line};

fn level(priority: Priority) -> Level {
    match priority {
        Priority::Error => Level::Error,
        Priority::Warning => Level::Warn,
        Priority::Notice | Priority::Info => Level::Info,
        Priority::Debug => Level::Debug,
    }
}

/// Writes a line about an app.
pub fn write(app: &AppName, unit: &UnitName, record: &Record) {
    journal::write(Line {
        priority: level(record.priority),
        message: format!("{app}: {}", record.text),
        app: Some(app.to_string()),
        event: Some(record.event.word()),
        unit: Some(unit.to_string()),
        incident: record.incident.clone(),
        verdict: Some(record.verdict.word()),
        message_id: Some(record.event.message_id()),
        ..Line::default()
    });
}

/// Writes a line about the monitor itself.
pub fn say(priority: Level, message: impl Into<String>) {
    journal::write(Line { priority, message: message.into(), ..Line::default() });
}

/// Writes an event of the monitor itself.
pub fn event(priority: Level, event: crate::judge::EventKind, message: impl Into<String>) {
    journal::write(Line {
        priority,
        message: message.into(),
        event: Some(event.word()),
        message_id: Some(event.message_id()),
        ..Line::default()
    });
}
