//! The method sendMessage of a bot of Telegram.

use serde_json::{Value, json};

use super::{Message, fitting};

/// What is longer is refused.
const MOST: usize = 4_096;

pub(super) fn body(message: &Message, chat: &str) -> Value {
    let title = if message.items.len() == 1 { message.host.clone() } else { message.title() };
    json!({
        "chat_id": chat,
        // Without a parse_mode it is plain text, and needs no escapes.
        "text": fitting(&title, message, MOST, str::to_owned),
        "disable_web_page_preview": true,
        "disable_notification": message.is_relief(),
    })
}
