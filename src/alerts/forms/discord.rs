//! A webhook of Discord.

use serde_json::{Value, json};

use super::{Message, fitting};

/// What is longer is refused.
const MOST: usize = 2_000;

pub(super) fn body(message: &Message) -> Value {
    let title = if message.items.len() == 1 { escaped(&message.host) } else { escaped(&message.title()) };
    json!({
        "content": fitting(&format!("**{title}**"), message, MOST, escaped),
        // Whatever stands in a text, it wakes nobody but by its channel.
        "allowed_mentions": { "parse": [] },
    })
}

/// What Markdown would take for its own.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '#' | '[' | ']' | '<') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
