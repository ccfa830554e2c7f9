//! The key `preflight`: what has to be there before a start.

use std::path::PathBuf;

use serde_json::{Map, Value as Json};

use super::keys::{nearest, unknown_key};
use super::list;
use super::origin::Origin;
use super::raw::{Located, Raw};
use super::value::Reporter;

/// What has to be there, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PreflightSpec {
    pub files: Vec<PathBuf>,
    pub keys: Vec<String>,
    pub port_free: bool,
    /// Where `port_free` stands.
    pub port_at: Origin,
}

const KEYS: [&str; 3] = ["files", "keys", "port_free"];

/// Reads the table.
pub(super) fn read(found: &Located, report: &mut Reporter<'_>) -> Option<PreflightSpec> {
    let Raw::Table(entries) = &found.value else {
        let message = format!(
            "expected a table such as {{ files = [\"dist/server.js\"], keys = [\"DATABASE_URL\"] }}, found {}",
            found.value.described()
        );
        return report.error(&found.at, "", message);
    };
    let before = report.count();
    let mut spec =
        PreflightSpec { files: Vec::new(), keys: Vec::new(), port_free: false, port_at: found.at.clone() };
    for entry in entries {
        let (part, value) = (entry.key.as_str(), &entry.value);
        match part {
            "files" => spec.files = list::files(value, part, report).unwrap_or_default(),
            "keys" => spec.keys = list::keys(value, part, report).unwrap_or_default(),
            "port_free" => match value.value {
                Raw::Boolean(free) => {
                    spec.port_free = free;
                    spec.port_at = value.at.clone();
                }
                _ => {
                    let message = format!("expected true or false, found {}", value.value.described());
                    report.note(&value.at, part, message);
                }
            },
            _ => report.note(&entry.at, part, unknown_key(nearest(part, KEYS.into_iter()))),
        }
    }
    (report.count() == before).then_some(spec)
}

impl PreflightSpec {
    /// As it would be written.
    pub fn shown(&self) -> Json {
        let mut table = Map::new();
        if !self.files.is_empty() {
            let files = self.files.iter().map(|path| Json::from(path.to_string_lossy())).collect();
            table.insert("files".to_owned(), files);
        }
        if !self.keys.is_empty() {
            table.insert("keys".to_owned(), Json::from(self.keys.clone()));
        }
        if self.port_free {
            table.insert("port_free".to_owned(), Json::from(true));
        }
        Json::Object(table)
    }
}
