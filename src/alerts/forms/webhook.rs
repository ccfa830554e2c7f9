//! JSON of our own, for scripts and automations. Its shape is public interface: app-monitor.toml(5).

use serde_json::{Value, json};

use super::Message;

pub(super) fn body(message: &Message) -> Value {
    json!({
        "version": 1,
        "id": message.id(),
        "host": message.host,
        "time": message.time,
        "test": message.test.is_some(),
        "title": message.title(),
        "text": message.lines().join("\n"),
        "missing": message.missing,
        "alerts": message.items,
    })
}
