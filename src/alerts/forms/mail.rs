//! A mail (RFC 5322): headers and text, with the line ends that SMTP wants, not yet dot-stuffed.

use crate::incidents::day_and_time;

use super::super::message::Message;

/// Most bytes of Base64 in a line (RFC 2045, 6.8).
const LINE: usize = 76;

/// The whole text of a mail.
#[must_use]
pub fn text(message: &Message, from: &str, to: &[String]) -> String {
    let lines: Vec<String> =
        std::iter::once(format!("Host: {}", message.host)).chain(message.lines()).collect();
    let plain = lines.iter().all(|line| line.is_ascii() && line.len() < 990);
    let (encoding, body) = if plain {
        ("7bit", lines.iter().map(|line| format!("{line}\r\n")).collect())
    } else {
        let encoded = base64(lines.iter().map(|line| format!("{line}\r\n")).collect::<String>().as_bytes());
        let chunk = |chunk: &[u8]| format!("{}\r\n", String::from_utf8_lossy(chunk));
        ("base64", encoded.as_bytes().chunks(LINE).map(chunk).collect::<String>())
    };
    let head = [
        format!("From: app-monitor <{from}>"),
        format!("To: {}", to.join(",\r\n ")),
        format!("Subject: {}", subject(&message.title())),
        format!("Date: {}", date(message.time)),
        format!("Message-ID: <{}@{}>", message.id(), name_of(&message.host)),
        // Nobody's holiday notice answers it (RFC 3834).
        "Auto-Submitted: auto-generated".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: text/plain; charset=utf-8".to_owned(),
        format!("Content-Transfer-Encoding: {encoding}"),
    ];
    format!("{}\r\n\r\n{body}", head.join("\r\n"))
}

/// A host's name as it may stand in a command or header.
#[must_use]
pub fn name_of(host: &str) -> String {
    let name: String =
        host.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).take(253).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// As it is, or as encoded words (RFC 2047): each of whole characters, and no line over 76 bytes.
fn subject(title: &str) -> String {
    if title.is_ascii() {
        return title.to_owned();
    }
    let mut words = vec![String::new()];
    for c in title.chars() {
        match words.last_mut() {
            Some(word) if word.len() + c.len_utf8() <= 39 => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    let words: Vec<String> =
        words.iter().map(|word| format!("=?utf-8?B?{}?=", base64(word.as_bytes()))).collect();
    words.join("\r\n ")
}

/// `Sun, 22 Nov 2026 06:40:12 +0000` (RFC 5322, 3.3).
fn date(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let pick =
        |names: &[&'static str], at: i64| usize::try_from(at).ok().and_then(|at| names.get(at).copied());
    let stamp = day_and_time(seconds);
    let (day, time) = stamp.split_once(' ').unwrap_or_default();
    let mut parts = day.split('-');
    let (year, month, date) = (parts.next(), parts.next(), parts.next());
    let month = month.and_then(|month| month.parse().ok()).and_then(|month: i64| pick(&MONTHS, month - 1));
    format!(
        "{}, {} {} {} {time} +0000",
        pick(&DAYS, seconds.div_euclid(86_400).rem_euclid(7)).unwrap_or_default(),
        date.unwrap_or_default(),
        month.unwrap_or_default(),
        year.unwrap_or_default()
    )
}

/// Base64 (RFC 4648, section 4).
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4_u32 {
            let index = usize::try_from(bits >> (18 - 6 * i) & 63).unwrap_or(0);
            let known = usize::try_from(i).unwrap_or(0) <= chunk.len();
            let letter = ALPHABET.get(index).copied().filter(|_| known).unwrap_or(b'=');
            out.push(char::from(letter));
        }
    }
    out
}
