//! Lines of the judge on their way to the journal.

use crate::judge::{Level, Record};
use crate::plain::on_lines;
use crate::systemd::journal::{self, Line};

/// Writes a line about an app.
pub fn write(record: &Record) {
    journal::write(Line {
        priority: record.level,
        message: on_lines(&record.line()),
        app: Some(record.app.to_string()),
        event: Some(record.event.word()),
        unit: Some(record.unit.to_string()),
        incident: record.incident.clone(),
        verdict: Some(record.verdict.word()),
        message_id: Some(record.event.message_id()),
        ..Line::default()
    });
}

/// Writes a line about the monitor itself.
pub fn say(priority: Level, message: impl Into<String>) {
    journal::write(Line { priority, message: on_lines(&message.into()), ..Line::default() });
}

/// Writes an event of the monitor itself.
pub fn event(priority: Level, event: crate::judge::EventKind, message: impl Into<String>) {
    journal::write(Line {
        priority,
        message: on_lines(&message.into()),
        event: Some(event.word()),
        message_id: Some(event.message_id()),
        ..Line::default()
    });
}

/// Says what goes wrong when it begins to, and when it is over; not each time.
pub fn once(what: &'static str) -> impl FnMut(Result<(), String>) + Send + 'static {
    let mut bad = false;
    move |outcome| {
        match &outcome {
            Err(why) if !bad => say(Level::Warn, format!("{what}: {why}")),
            Ok(()) if bad => say(Level::Info, "incidents are written again"),
            _ => {}
        }
        bad = outcome.is_err();
    }
}
