//! The values in force, as they are shown to people: each with its place, none of the secrets.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::fragment::Section;
use super::keys::{self, KEYS, Key, Kind, Table};
use super::merge::Merged;
use super::origin::Origin;
use super::raw::{self, Located, Raw};
use super::value::{self, Reporter};

/// One value in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// `app.web`, `alerts.mail`; empty at the top level.
    pub table: String,
    /// The key.
    pub key: String,
    /// As it would be written; secrets as `…`. `None`: not set, and what holds is the default.
    pub value: Option<Json>,
    /// Where the value came from.
    pub origin: Origin,
}

impl Shown {
    /// What holds when nobody says, in words or as it would be written. Empty: nothing.
    #[must_use]
    pub fn default(&self) -> &'static str {
        self.described().map_or("", |key| key.default)
    }

    /// The same as a value; `None` where it is said in words.
    #[must_use]
    pub fn default_value(&self) -> Option<Json> {
        let key = self.described()?;
        let found = match raw::read_value(key.default, &Origin::Default) {
            // Words and lengths stand there without quotes.
            Err(_) => Located { value: Raw::Text(key.default.to_owned()), at: Origin::Default },
            Ok(found) => found,
        };
        let mut report = Reporter { errors: &mut Vec::new(), table: "", key: key.name };
        // A process may be called anything, so its words would pass for a name.
        let is_name = key.kind == Kind::Process;
        value::read(key, &found, &mut report).filter(|_| !is_name).map(|value| value.shown())
    }

    /// What the key means, in a few words.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.described().map_or("", |key| key.doc)
    }

    fn described(&self) -> Option<&'static Key> {
        let table = match self.table.split_once('.') {
            Some(("alerts", _)) => Table::Alert,
            Some(_) => Table::App,
            None if self.table.is_empty() => Table::Top,
            None if self.table == "heartbeat" => Table::Heartbeat,
            None => Table::Defaults,
        };
        keys::find(table, &self.key).ok()
    }
}

/// Every key of the top level, of every app and of every alert, and of the heartbeat where there is one.
pub(super) fn list(merged: &Merged) -> Vec<Shown> {
    let mut all = Vec::new();
    let named = merged.sections.keys().filter(|section| **section != Section::Top);
    for section in std::iter::once(&Section::Top).chain(named) {
        // The defaults are seen at every app; without one they would be seen nowhere.
        let apps = merged.sections.keys().any(|section| matches!(section, Section::App(_)));
        if *section == Section::Defaults && apps {
            continue;
        }
        let table = section.label();
        for key in KEYS.iter().filter(|key| section.table().takes(key.scope)) {
            let sourced = merged.get(section, key.name);
            all.push(Shown {
                table: table.clone(),
                key: key.name.to_owned(),
                value: sourced.and_then(|sourced| sourced.value.as_ref()).map(super::value::Value::shown),
                origin: sourced.map_or(Origin::Default, |sourced| sourced.at.clone()),
            });
        }
    }
    all
}
