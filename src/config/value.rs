//! One value of one key: from what is written to what it means, or to why it cannot be.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;

use super::alert;
use super::database::{self, DatabaseSpec};
use super::duration;
use super::endpoint;
use super::error::{ConfigError, quoted};
use super::http::{self, HttpSpec};
use super::instances::{self, InstanceSpec};
use super::keys::{Key, Kind, nearest};
use super::list;
use super::origin::Origin;
use super::preflight::{self, PreflightSpec};
use super::raw::{Located, Raw};
use super::size;
use crate::judge::{Address, EventKind, Secret, UnitName, Window};

/// What a value means.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Word(&'static str),
    Count(u32),
    Duration(Duration),
    Never,
    Window(Window),
    Unit(UnitName),
    Port(u16),
    Address(Address),
    Http(Box<HttpSpec>),
    Process(String),
    Directory(PathBuf),
    Events(Vec<EventKind>),
    Flag(bool),
    Size(u64),
    Instances(Vec<InstanceSpec>),
    Endpoints(Vec<(String, u16)>),
    Units(Vec<UnitName>),
    Below(Vec<PathBuf>),
    Database(Box<DatabaseSpec>),
    Preflight(Box<PreflightSpec>),
    Secret(Secret),
    Text(String),
    Texts(Vec<String>),
}

impl Value {
    /// As it would be written, without secrets.
    pub fn shown(&self) -> Json {
        match self {
            Self::Word(word) => Json::from(*word),
            Self::Count(count) => Json::from(*count),
            Self::Duration(length) => Json::from(duration::show(*length)),
            Self::Never => Json::from("never"),
            Self::Window(window) => Json::from(format!("{} of {}", window.bad, window.of)),
            Self::Unit(unit) => Json::from(unit.as_str()),
            Self::Port(port) => Json::from(*port),
            Self::Address(Address::Localhost) => Json::from("localhost"),
            Self::Address(Address::Ip(ip)) => Json::from(ip.to_string()),
            Self::Http(spec) => spec.shown(),
            Self::Process(name) => Json::from(name.as_str()),
            Self::Directory(path) => Json::from(path.to_string_lossy()),
            Self::Events(events) => events.iter().map(|event| Json::from(event.word())).collect(),
            Self::Flag(flag) => Json::from(*flag),
            Self::Size(0) => Json::from(0),
            Self::Size(bytes) => Json::from(size::show(*bytes)),
            Self::Instances(instances) => instances.iter().map(InstanceSpec::shown).collect(),
            Self::Endpoints(list) => list.iter().map(|place| Json::from(list::endpoint(place))).collect(),
            Self::Units(units) => units.iter().map(|unit| Json::from(unit.as_str())).collect(),
            Self::Below(paths) => paths.iter().map(|path| Json::from(path.to_string_lossy())).collect(),
            Self::Database(spec) => spec.shown(),
            Self::Preflight(spec) => spec.shown(),
            Self::Secret(secret) => Json::from(secret.to_string()),
            Self::Text(text) => Json::from(text.as_str()),
            Self::Texts(texts) => texts.iter().map(|text| Json::from(text.as_str())).collect(),
        }
    }
}

/// Collects what is wrong with one key.
pub(super) struct Reporter<'a> {
    pub errors: &'a mut Vec<ConfigError>,
    pub table: &'a str,
    pub key: &'a str,
}

impl Reporter<'_> {
    /// How many errors there are so far, of any key.
    pub fn count(&self) -> usize {
        self.errors.len()
    }

    /// Notes an error; `part` names the part of a table.
    pub fn note(&mut self, at: &Origin, part: &str, message: impl Into<String>) {
        let dot = if part.is_empty() { "" } else { "." };
        let key = format!("{}{dot}{part}", self.key);
        self.errors.push(ConfigError::of(at.clone(), self.table.to_owned(), key, message));
    }

    /// The same, for a value that is none because of it.
    pub fn error<T>(&mut self, at: &Origin, part: &str, message: impl Into<String>) -> Option<T> {
        self.note(at, part, message);
        None
    }
}

/// Reads the value of a key, reporting whatever is wrong with it.
pub(super) fn read(key: &Key, found: &Located, report: &mut Reporter<'_>) -> Option<Value> {
    let text = match &found.value {
        Raw::Text(text) => Some(text.as_str()),
        _ => None,
    };
    let (value, expected) = match key.kind {
        Kind::Http => return http::read(found, report).map(|spec| Value::Http(Box::new(spec))),
        Kind::Public => return http::read_public(found, report).map(|spec| Value::Http(Box::new(spec))),
        Kind::Instances => return instances::read(found, report).map(Value::Instances),
        Kind::Endpoints => return list::endpoints(found, report).map(Value::Endpoints),
        Kind::Units => return list::units(found, "", report).map(Value::Units),
        Kind::Below => return list::below(found, "", report).map(Value::Below),
        Kind::Database => {
            return database::read(found, report).map(|spec| Value::Database(Box::new(spec)));
        }
        Kind::Preflight => {
            return preflight::read(found, report).map(|spec| Value::Preflight(Box::new(spec)));
        }
        Kind::Size(least, most) => return read_size(found, least, most, report).map(Value::Size),
        Kind::Flag => (
            match found.value {
                Raw::Boolean(flag) => Some(Value::Flag(flag)),
                _ => None,
            },
            "true or false".to_owned(),
        ),
        // What was found is not shown: it may well be the secret all the same.
        Kind::Secret => match text.filter(|text| !text.is_empty()) {
            Some(text) => return Some(Value::Secret(Secret(text.to_owned()))),
            None => return report.error(&found.at, "", "expected a URL, as a string"),
        },
        Kind::Mailboxes => return list::mailboxes(found, report).map(Value::Texts),
        Kind::Mailbox => (
            text.filter(|text| endpoint::is_mailbox(text)).map(|text| Value::Text(text.to_owned())),
            "an address such as \"monitor@example.org\"".to_owned(),
        ),
        Kind::Credential => match text.filter(|text| credential(text)) {
            Some(text) => return Some(Value::Text(text.to_owned())),
            // Whoever takes the key for the secret itself writes that here.
            None => {
                let message = "expected the name of a credential such as \"slack\": letters, digits, - and _";
                return report.error(&found.at, "", message);
            }
        },
        Kind::Chat => (
            match &found.value {
                Raw::Integer(number) => Some(Value::Text(number.to_string())),
                _ => text.filter(|text| chat(text)).map(|text| Value::Text(text.to_owned())),
            },
            "the number of a chat such as \"-1001234567890\", or \"@channel\"".to_owned(),
        ),
        Kind::Events => return alert::read_events(found, report).map(Value::Events),
        Kind::Duration(least, most) => {
            return read_duration(found, "", least, most, report).map(Value::Duration);
        }
        Kind::DurationOrNever(..) if text == Some("never") => return Some(Value::Never),
        Kind::DurationOrNever(least, most) => {
            return read_duration(found, "", least, most, report).map(Value::Duration);
        }
        Kind::Choice(words) => return choice(words, found, report),
        Kind::Count(least, most) => (
            match found.value {
                Raw::Integer(n) => {
                    u32::try_from(n).ok().filter(|n| (least..=most).contains(n)).map(Value::Count)
                }
                _ => None,
            },
            format!("a whole number from {least} to {most}"),
        ),
        Kind::Port => return read_port(found, "", report).map(Value::Port),
        Kind::Window => (
            text.and_then(window).map(Value::Window),
            "\"BAD of ROUNDS\" such as \"5 of 10\", at most 64 rounds and no more bad ones than rounds"
                .to_owned(),
        ),
        Kind::Address => {
            (text.and_then(address).map(Value::Address), "\"localhost\" or an IP address".to_owned())
        }
        Kind::Service => return read_service(found, "", report).map(Value::Unit),
        Kind::Template => (
            text.and_then(|text| service(text).filter(|unit| unit.stem().ends_with('@'))).map(Value::Unit),
            "the name of a template such as \"tell@.service\"".to_owned(),
        ),
        Kind::Process => (
            text.filter(|text| process(text)).map(|text| Value::Process(text.to_owned())),
            "the name of a process such as \"node\", without its path".to_owned(),
        ),
        Kind::Directory => {
            (text.and_then(directory).map(Value::Directory), "an absolute path without \"..\"".to_owned())
        }
    };
    if value.is_none() {
        report.note(&found.at, "", format!("expected {expected}, found {}", found.value.described()));
    }
    value
}

/// Reads a duration within a range.
pub(super) fn read_duration(
    found: &Located,
    part: &str,
    least: Duration,
    most: Duration,
    report: &mut Reporter<'_>,
) -> Option<Duration> {
    let length = match &found.value {
        Raw::Text(text) => match duration::parse(text) {
            Ok(length) => length,
            Err(why) => {
                let message = format!(
                    "expected a duration such as \"30s\" or \"1h 30m\", found {}: {why}",
                    quoted(text)
                );
                return report.error(&found.at, part, message);
            }
        },
        Raw::Integer(seconds) if *seconds >= 0 => Duration::from_secs(seconds.unsigned_abs()),
        other => {
            let message =
                format!("expected a duration such as \"30s\" or whole seconds, found {}", other.described());
            return report.error(&found.at, part, message);
        }
    };
    if (least..=most).contains(&length) {
        return Some(length);
    }
    let wrong = if length < least { "short" } else { "long" };
    report.error(
        &found.at,
        part,
        format!(
            "{} is too {wrong}: expected {} to {}",
            found.value.described(),
            duration::show(least),
            duration::show(most)
        ),
    )
}

/// Reads the name of a service.
pub(super) fn read_service(found: &Located, part: &str, report: &mut Reporter<'_>) -> Option<UnitName> {
    let unit = match &found.value {
        Raw::Text(text) => service(text),
        _ => None,
    };
    let expected = match unit {
        Some(unit) if !unit.stem().ends_with('@') => return Some(unit),
        Some(_) => "an instance of the template, such as \"web@1.service\"",
        None => "the name of a service such as \"web.service\"",
    };
    report.error(&found.at, part, format!("expected {expected}, found {}", found.value.described()))
}

/// Reads a TCP port.
pub(super) fn read_port(found: &Located, part: &str, report: &mut Reporter<'_>) -> Option<u16> {
    if let Raw::Integer(n) = found.value
        && let Some(port) = u16::try_from(n).ok().filter(|n| *n > 0)
    {
        return Some(port);
    }
    let message = format!("expected a port from 1 to 65535, found {}", found.value.described());
    report.error(&found.at, part, message)
}

/// Reads a size: none at all, or within a range.
fn read_size(found: &Located, least: u64, most: u64, report: &mut Reporter<'_>) -> Option<u64> {
    let bytes = match &found.value {
        Raw::Text(text) => match size::parse(text) {
            Ok(bytes) => bytes,
            Err(why) => {
                let message =
                    format!("expected a size such as \"100M\" or \"1.5G\", found {}: {why}", quoted(text));
                return report.error(&found.at, "", message);
            }
        },
        Raw::Integer(bytes) if *bytes >= 0 => bytes.unsigned_abs(),
        other => {
            let message =
                format!("expected a size such as \"100M\" or \"1.5G\", found {}", other.described());
            return report.error(&found.at, "", message);
        }
    };
    if bytes == 0 || (least..=most).contains(&bytes) {
        return Some(bytes);
    }
    let wrong = if bytes < least { "small" } else { "large" };
    let message = format!(
        "{} is too {wrong}: expected {} to {}, or 0 for none",
        found.value.described(),
        size::show(least),
        size::show(most)
    );
    report.error(&found.at, "", message)
}

/// Reads a string that is a part of a table.
pub(super) fn read_text<'a>(found: &'a Located, part: &str, report: &mut Reporter<'_>) -> Option<&'a str> {
    match &found.value {
        Raw::Text(text) => Some(text),
        other => report.error(&found.at, part, format!("expected a string, found {}", other.described())),
    }
}

fn choice(words: &'static [&'static str], found: &Located, report: &mut Reporter<'_>) -> Option<Value> {
    let Raw::Text(text) = &found.value else {
        let message = format!("expected {}, found {}", one_of(words), found.value.described());
        return report.error(&found.at, "", message);
    };
    if let Some(word) = words.iter().find(|word| *word == text) {
        return Some(Value::Word(word));
    }
    let hint = nearest(text, words.iter().copied())
        .map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"));
    report.error(&found.at, "", format!("expected {}, found {}{hint}", one_of(words), quoted(text)))
}

/// `"a", "b" or "c"`.
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

fn window(text: &str) -> Option<Window> {
    let (bad, of) = text.split_once(" of ")?;
    let (bad, of) = (bad.trim().parse().ok()?, of.trim().parse().ok()?);
    (bad >= 1 && bad <= of && of <= 64).then_some(Window { bad, of })
}

fn address(text: &str) -> Option<Address> {
    match text {
        "localhost" => Some(Address::Localhost),
        _ => text.parse::<IpAddr>().ok().map(Address::Ip),
    }
}

/// As systemctl does, a name without the suffix of a unit is a service's.
fn service(text: &str) -> Option<UnitName> {
    let unit = match UnitName::try_from(text.to_owned()) {
        Ok(unit) => unit,
        Err(_) => UnitName::try_from(format!("{text}.service")).ok()?,
    };
    (unit.as_str().ends_with(".service") && !unit.stem().starts_with('@')).then_some(unit)
}

/// A file of its own below the credentials of a unit: no dot, no slash, and bounded.
fn credential(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !text.starts_with('-')
}

fn chat(text: &str) -> bool {
    let name = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match text.strip_prefix('@') {
        Some(rest) => (1..=64).contains(&rest.len()) && name(rest),
        None => text.parse::<i64>().is_ok_and(|number| number != 0),
    }
}

/// The base name of argv\[0\] is a file name: NAME_MAX is 255.
fn process(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(|c| c == '/' || c.is_control())
}

/// PATH_MAX is 4096.
fn directory(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let fits = path.is_absolute()
        && text.len() < 4_096
        && !text.chars().any(char::is_control)
        && !path.components().any(|part| part == Component::ParentDir);
    fits.then(|| path.to_owned())
}
