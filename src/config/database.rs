//! The key `database`: where the database is, and which keys the app needs to find it. No value of
//! a key, and no user or password of a URL, outlives the reading of it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::database_url::{self, Found};
use super::duration;
use super::keys::{nearest, unknown_key};
use super::list;
use super::origin::Origin;
use super::raw::{Located, Raw, read_value};
use super::value::{Reporter, read_duration, read_service, read_text};
use crate::judge::UnitName;

/// The database, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct DatabaseSpec {
    pub env_file: Option<(PathBuf, Origin)>,
    pub keys: Vec<String>,
    /// What its URL says, without credentials.
    pub url: Option<Found>,
    pub unit: Option<(UnitName, Origin)>,
    pub timeout: Option<Duration>,
    pub interval: Option<Duration>,
    /// Where it stands.
    pub at: Origin,
}

const KEYS: [&str; 6] = ["env_file", "keys", "url", "unit", "timeout", "interval"];
const TENTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const FIVE_MINUTES: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(86_400);

/// Reads the table.
pub(super) fn read(found: &Located, report: &mut Reporter<'_>) -> Option<DatabaseSpec> {
    let Raw::Table(entries) = &found.value else {
        // Not said what was found: it may well be a URL with its password.
        return report.error(
            &found.at,
            "",
            "expected a table such as { keys = [\"DATABASE_URL\"], env_file = \".env\" } or { url = … }",
        );
    };
    let before = report.count();
    let mut spec = DatabaseSpec {
        env_file: None,
        keys: Vec::new(),
        url: None,
        unit: None,
        timeout: None,
        interval: None,
        at: found.at.clone(),
    };
    for entry in entries {
        let (part, value) = (entry.key.as_str(), &entry.value);
        match part {
            "env_file" => match read_text(value, part, report).map(list::file) {
                Some(Some(path)) => spec.env_file = Some((path, value.at.clone())),
                Some(None) => {
                    let message = "expected the path of a file such as \".env\", without \"..\"";
                    report.note(&value.at, part, message);
                }
                None => {}
            },
            "keys" => spec.keys = list::keys(value, part, report).unwrap_or_default(),
            "url" => match &value.value {
                Raw::Text(text) => match database_url::parse(text) {
                    Ok(found) => spec.url = Some(found),
                    Err(why) => report.note(&value.at, part, why),
                },
                _ => report.note(&value.at, part, "expected a string"),
            },
            "unit" => {
                spec.unit = read_service(value, part, report).map(|unit| (unit, value.at.clone()));
            }
            "timeout" => spec.timeout = read_duration(value, part, TENTH, FIVE_MINUTES, report),
            "interval" => spec.interval = read_duration(value, part, SECOND, DAY, report),
            _ => report.note(&entry.at, part, unknown_key(nearest(part, KEYS.into_iter()))),
        }
    }
    if report.count() > before {
        return None;
    }
    // A unit alone does not say where to ask, and what is not asked is never found down.
    if spec.keys.is_empty() && spec.url.is_none() && spec.env_file.is_none() {
        let message =
            "does not say where the database is: give url or keys; for example keys = [\"DATABASE_URL\"]";
        return report.error(&found.at, "", message);
    }
    Some(spec)
}

/// The same table in one line, with a URL that says no more than where the database is. What is no
/// such table is not kept at all: it may hold anything.
pub(super) fn without_credentials(text: &str) -> String {
    let nothing = || "…".to_owned();
    let Ok(Located { value: Raw::Table(entries), .. }) = read_value(text.trim(), &Origin::Default) else {
        return nothing();
    };
    let mut parts = Vec::new();
    for entry in &entries {
        let value = match (&entry.value.value, entry.key.as_str()) {
            (Raw::Text(url), "url") => {
                Json::from(database_url::parse(url).map_or_else(|_| nothing(), |found| found.url()))
            }
            (Raw::Text(text), "env_file" | "unit" | "timeout" | "interval") => Json::from(text.as_str()),
            (Raw::Integer(number), _) => Json::from(*number),
            (Raw::Text(text), "keys") => Json::from(text.as_str()),
            (Raw::List(items), "keys") => {
                let text = |item: &Located| match &item.value {
                    Raw::Text(text) if list::is_key(text) => Json::from(text.as_str()),
                    _ => Json::from("…"),
                };
                items.iter().map(text).collect()
            }
            _ => Json::from("…"),
        };
        // Strings and lists of them are written alike in JSON and TOML.
        parts.push(format!("{} = {value}", Json::from(entry.key.as_str())));
    }
    format!("{{ {} }}", parts.join(", "))
}

impl DatabaseSpec {
    /// As it would be written, its URL as `…`.
    pub fn shown(&self) -> Json {
        let mut table = Map::new();
        let mut put = |key: &str, value: Json| table.insert(key.to_owned(), value);
        if let Some((path, _)) = &self.env_file {
            put("env_file", Json::from(path.to_string_lossy()));
        }
        if !self.keys.is_empty() {
            put("keys", Json::from(self.keys.clone()));
        }
        if self.url.is_some() {
            put("url", Json::from("…"));
        }
        if let Some((unit, _)) = &self.unit {
            put("unit", Json::from(unit.as_str()));
        }
        for (key, value) in [("timeout", self.timeout), ("interval", self.interval)] {
            if let Some(value) = value {
                put(key, Json::from(duration::show(value)));
            }
        }
        Json::Object(table)
    }
}
