//! The key `instances`: several units that are one app.

use serde_json::{Map, Value as Json};

use super::http::{self, HttpSpec};
use super::keys::{nearest, unknown_key};
use super::origin::Origin;
use super::raw::{Located, Raw};
use super::value::{Reporter, read_port, read_service};
use crate::judge::UnitName;

/// One of them, as configured.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct InstanceSpec {
    pub unit: UnitName,
    /// Where its unit stands.
    pub at: Origin,
    /// Its port and where that stands; none: the app's.
    pub port: Option<(u16, Origin)>,
    /// None: the app's.
    pub http: Option<HttpSpec>,
}

/// Most instances of one app: they are recovered one after the other.
const MOST: usize = 64;
const KEYS: [&str; 3] = ["unit", "port", "http"];

/// Reads the list.
pub(super) fn read(found: &Located, report: &mut Reporter<'_>) -> Option<Vec<InstanceSpec>> {
    let example = "{ unit = \"web@1.service\", port = 3001 }";
    let Raw::List(items) = &found.value else {
        let message = format!("expected a list such as [{example}], found {}", found.value.described());
        return report.error(&found.at, "", message);
    };
    if items.is_empty() || items.len() > MOST {
        let message = format!("expected 1 to {MOST} instances, found {}", items.len());
        return report.error(&found.at, "", message);
    }
    let before = report.count();
    let mut all = Vec::new();
    for item in items {
        let Raw::Table(entries) = &item.value else {
            let message = format!("expected a table such as {example}, found {}", item.value.described());
            report.note(&item.at, "", message);
            continue;
        };
        let (mut unit, mut port, mut http) = (None, None, None);
        for entry in entries {
            let (part, value) = (entry.key.as_str(), &entry.value);
            match part {
                "unit" => unit = Some((read_service(value, part, report), value.at.clone())),
                "port" => port = read_port(value, part, report).map(|port| (port, value.at.clone())),
                "http" => {
                    let key = format!("{}.http", report.key);
                    let mut inner = Reporter { errors: &mut *report.errors, table: report.table, key: &key };
                    http = http::read(value, &mut inner);
                }
                _ => report.note(&entry.at, part, unknown_key(nearest(part, KEYS.into_iter()))),
            }
        }
        match unit {
            Some((Some(unit), at)) => all.push(InstanceSpec { unit, at, port, http }),
            Some((None, _)) => {}
            None => report.note(&item.at, "", format!("the instance lacks its unit; for example {example}")),
        }
    }
    (report.count() == before).then_some(all)
}

impl InstanceSpec {
    /// As it would be written, without secrets.
    pub fn shown(&self) -> Json {
        let mut table = Map::new();
        table.insert("unit".to_owned(), Json::from(self.unit.as_str()));
        if let Some((port, _)) = &self.port {
            table.insert("port".to_owned(), Json::from(*port));
        }
        if let Some(http) = &self.http {
            table.insert("http".to_owned(), http.shown());
        }
        Json::Object(table)
    }
}
