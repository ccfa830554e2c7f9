//! The forms that others expect a message in. Each is a pure function: message in, request out.

mod discord;
pub(super) mod mail;
mod ntfy;
mod slack;
mod telegram;
mod webhook;

use crate::config::Web;
use crate::config::endpoint::{self, Endpoint};

use super::message::Message;

/// A request to make.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// To whom.
    pub endpoint: Endpoint,
    /// JSON.
    pub body: Vec<u8>,
    /// The id of the message, by which whoever gets it twice can tell.
    pub id: String,
}

/// Puts a message into a form. `secret`: the URL.
///
/// # Errors
/// What is wrong with the URL, without a word of it.
pub fn request(web: Web, secret: &str, chat: Option<&str>, message: &Message) -> Result<Request, String> {
    let mut endpoint = match web {
        Web::Telegram => endpoint::of_telegram(secret)?,
        _ => endpoint::of_web(secret)?,
    };
    let body = match web {
        Web::Webhook => webhook::body(message),
        Web::Slack => slack::body(message),
        Web::Discord => discord::body(message),
        Web::Telegram => {
            endpoint.path.push_str("/sendMessage");
            telegram::body(message, chat.unwrap_or_default())
        }
        Web::Ntfy => {
            let (server, topic) = ntfy::split(&endpoint.path)?;
            endpoint.path = server;
            ntfy::body(message, &topic)
        }
    };
    Ok(Request { endpoint, body: body.to_string().into_bytes(), id: message.id() })
}

/// Text without what a form takes for its own, and no longer than it takes.
fn fitting(title: &str, message: &Message, most: usize, escape: impl Fn(&str) -> String) -> String {
    let whole = |escape: &dyn Fn(&str) -> String| {
        let lines = message.lines();
        let lines = lines.iter().map(|line| escape(line));
        std::iter::once(title.to_owned())
            .filter(|title| !title.is_empty())
            .chain(lines)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let escaped = whole(&escape);
    if escaped.chars().count() <= most {
        return escaped;
    }
    // Odd looks are better than a lost line.
    whole(&|line| line.to_owned()).chars().take(most).collect()
}

#[cfg(test)]
mod tests;
