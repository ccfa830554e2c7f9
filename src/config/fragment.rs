//! What one source says: each key with its meaning and its place. A file is one source, the
//! environment another; both become the same thing here.

use super::error::{ConfigError, Notice, quoted};
use super::keys::{self, Key, Table};
use super::origin::Origin;
use super::raw::{Entry, Located, Raw};
use super::value::{self, Reporter, Value};
use crate::judge::AppName;

/// A table that exists once after merging.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Section {
    Top,
    Defaults,
    App(AppName),
    Alert(AppName),
    Heartbeat,
}

impl Section {
    /// As it is written in a file, without brackets.
    pub fn label(&self) -> String {
        match self {
            Self::Top => String::new(),
            Self::Defaults => "defaults".to_owned(),
            Self::App(name) => format!("app.{name}"),
            Self::Alert(name) => format!("alerts.{name}"),
            Self::Heartbeat => "heartbeat".to_owned(),
        }
    }

    pub fn table(&self) -> Table {
        match self {
            Self::Top => Table::Top,
            Self::Defaults => Table::Defaults,
            Self::App(_) => Table::App,
            Self::Alert(_) => Table::Alert,
            Self::Heartbeat => Table::Heartbeat,
        }
    }
}

/// One key of one section.
#[derive(Debug)]
pub(super) struct Assignment {
    pub section: Section,
    pub key: &'static Key,
    /// `None`: something was given, and refused. It is not missing then.
    pub value: Option<Value>,
    /// Where its value stands.
    pub at: Origin,
}

/// What one source says.
#[derive(Debug, Default)]
pub(super) struct Fragment {
    pub assignments: Vec<Assignment>,
    /// Apps and alerts, and where their tables begin. One may have a table without keys.
    pub declared: Vec<(Section, Origin)>,
}

/// What is gathered on the way.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub errors: Vec<ConfigError>,
    pub notices: Vec<Notice>,
}

/// Reads a file's tree.
pub(super) fn from_entries(entries: &[Entry], gathered: &mut Gathered) -> Fragment {
    let mut fragment = Fragment::default();
    for entry in entries {
        match entry.key.as_str() {
            "defaults" => {
                if let Some(inside) = table(entry, "", gathered) {
                    section(
                        Some(Section::Defaults),
                        "defaults",
                        Table::Defaults,
                        inside,
                        &mut fragment,
                        gathered,
                    );
                }
            }
            "heartbeat" => {
                if let Some(inside) = table(entry, "", gathered) {
                    let made = Section::Heartbeat;
                    fragment.declared.push((made.clone(), entry.at.clone()));
                    section(Some(made), "heartbeat", Table::Heartbeat, inside, &mut fragment, gathered);
                }
            }
            "app" => named(entry, Section::App, Table::App, &mut fragment, gathered),
            "alerts" => named(entry, Section::Alert, Table::Alert, &mut fragment, gathered),
            "web" => {
                if table(entry, "", gathered).is_some() {
                    gathered.notices.push(Notice {
                        place: entry.at.clone(),
                        message: "[web] is not yet in force: this version has no status page".to_owned(),
                    });
                }
            }
            _ => {
                assign(Some(&Section::Top), "", Table::Top, entry, &mut fragment, gathered);
            }
        }
    }
    fragment
}

/// `[app.NAME]` and `[alerts.NAME]`.
fn named(
    entry: &Entry,
    make: fn(AppName) -> Section,
    kind: Table,
    fragment: &mut Fragment,
    gathered: &mut Gathered,
) {
    let Some(tables) = table(entry, "", gathered) else { return };
    for inner in tables {
        let Some(inside) = table(inner, &entry.key, gathered) else { continue };
        let name = AppName::try_from(inner.key.clone());
        if name.is_err() {
            let (place, table) = (inner.at.clone(), entry.key.clone());
            gathered.errors.push(ConfigError::of(place, table, quoted(&inner.key), bad_name(&inner.key)));
        }
        let made = name.ok().map(make);
        let label =
            made.as_ref().map_or_else(|| format!("{}.{}", entry.key, quoted(&inner.key)), Section::label);
        if let Some(made) = &made {
            fragment.declared.push((made.clone(), inner.at.clone()));
        }
        section(made, &label, kind, inside, fragment, gathered);
    }
}

fn bad_name(name: &str) -> String {
    let near = crate::config::settings::app_name_from(name);
    let hint = if name.is_empty() { String::new() } else { format!("; for example \"{near}\"") };
    format!("a name has 1 to 32 of a-z, 0-9 and -, and does not begin with -{hint}")
}

/// All keys of a table. Without a section (its name was refused) they are checked all the same.
fn section(
    section: Option<Section>,
    label: &str,
    kind: Table,
    entries: &[Entry],
    fragment: &mut Fragment,
    gathered: &mut Gathered,
) {
    for entry in entries {
        assign(section.as_ref(), label, kind, entry, fragment, gathered);
    }
}

fn assign(
    section: Option<&Section>,
    label: &str,
    kind: Table,
    entry: &Entry,
    fragment: &mut Fragment,
    gathered: &mut Gathered,
) {
    let mut report = Reporter { errors: &mut gathered.errors, table: label, key: &entry.key };
    let (key, value) = match keys::find(kind, &entry.key) {
        Ok(key) => (key, value::read(key, &entry.value, &mut report)),
        Err(miss) => {
            let escaped = quoted(&entry.key);
            if escaped.trim_matches('"') != entry.key {
                // Such a key was written in quotes, and may hold anything.
                report.key = &escaped;
            }
            return report.note(&entry.at, "", miss.message());
        }
    };
    if let Some(section) = section {
        let at = match &entry.value.value {
            // The place of a table's value is that of its first part; the key says more.
            Raw::Table(_) => entry.at.clone(),
            _ => entry.value.at.clone(),
        };
        fragment.assignments.push(Assignment { section: section.clone(), key, value, at });
    }
}

/// Reads one key of one section out of the environment.
pub(super) fn assign_located(
    section: &Section,
    key: &'static Key,
    found: &Located,
    fragment: &mut Fragment,
    gathered: &mut Gathered,
) {
    let label = section.label();
    let mut report = Reporter { errors: &mut gathered.errors, table: &label, key: key.name };
    let value = value::read(key, found, &mut report);
    fragment.assignments.push(Assignment { section: section.clone(), key, value, at: found.at.clone() });
}

/// The inside of a table, or an error that says how one is written.
fn table<'a>(entry: &'a Entry, parent: &str, gathered: &mut Gathered) -> Option<&'a [Entry]> {
    if let Raw::Table(inside) = &entry.value.value {
        return Some(inside);
    }
    let example = match (entry.key.as_str(), parent) {
        ("app", _) => "[app.NAME]".to_owned(),
        ("alerts", _) => "[alerts.NAME]".to_owned(),
        (key, "") => format!("[{key}]"),
        // A key directly below [app]: its name is missing.
        (_, parent) => format!("[{parent}.NAME]"),
    };
    let message = format!("expected a table, written {example}, found {}", entry.value.value.described());
    let (place, key) = (entry.at.clone(), entry.key.clone());
    gathered.errors.push(ConfigError::of(place, parent.to_owned(), key, message));
    None
}
