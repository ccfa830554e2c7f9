//! An incoming webhook of Slack; Mattermost and Rocket.Chat take the same.

use serde_json::{Value, json};

use super::{Message, fitting};

/// Slack cuts what is longer.
const MOST: usize = 4_000;

pub(super) fn body(message: &Message) -> Value {
    let title = format!("*{}*", escaped(&message.title()));
    let title = if message.items.len() == 1 { format!("*{}*", escaped(&message.host)) } else { title };
    json!({ "text": fitting(&title, message, MOST, escaped), "unfurl_links": false })
}

/// These three are all that Slack takes for its own in plain text; without them nobody is mentioned.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
