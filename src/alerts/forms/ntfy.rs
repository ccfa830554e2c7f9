//! A topic of ntfy, published as JSON: headers could not hold more than ASCII.

use serde_json::{Value, json};

use super::{Message, fitting};

/// What has more bytes becomes an attachment; four bytes make a character at most.
const MOST: usize = 4_096 / 4 * 3;

/// JSON goes to the server, the topic into it: `/alerts/web` is the topic `web` of the server at `/alerts/`.
pub(super) fn split(path: &str) -> Result<(String, String), String> {
    let path = path.split('?').next().unwrap_or_default().trim_end_matches('/');
    let (server, topic) = path.rsplit_once('/').unwrap_or(("", path));
    if topic.is_empty() {
        return Err("the URL lacks the topic, as in https://ntfy.sh/TOPIC".to_owned());
    }
    Ok((format!("{server}/"), topic.to_owned()))
}

pub(super) fn body(message: &Message, topic: &str) -> Value {
    let (priority, tag) = match (message.is_urgent(), message.is_relief()) {
        (true, _) => (4, "warning"),
        (_, true) => (3, "white_check_mark"),
        _ => (3, "information_source"),
    };
    json!({
        "topic": topic,
        "title": message.title(),
        "message": fitting("", message, MOST, str::to_owned),
        "priority": priority,
        "tags": [tag],
    })
}
