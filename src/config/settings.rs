//! What the daemon works with: whole settings, in the judge's own types.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::alert::{self, Alert, Heartbeat};
use super::error::ConfigError;
use super::fragment::{Gathered, Section};
use super::members::Apps;
use super::merge::{Merged, Sourced};
use super::origin::Origin;
use super::swaps;
use super::value::Value;
use crate::judge::{AppName, Level, Policy, Subject, Target, UnitName};

/// Who is judged: an app, an instance of one, or a unit that apps lean on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub subject: Subject,
    /// By which thresholds it is judged.
    pub policy: Policy,
    /// What it is asked. Its unit is the name that systemd uses, not an alias.
    pub target: Target,
}

/// Everything in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The least level that is logged.
    pub log_level: Level,
    /// Recoveries at a time on this host. 1 to 64.
    pub max_parallel: u32,
    /// Apps, then instances, then the units that they lean on, each in the order of their names. No
    /// two have the same unit.
    pub members: Vec<Member>,
    /// In the order of their names.
    pub alerts: Vec<Alert>,
    /// The outward ping.
    #[serde(default)]
    pub heartbeat: Option<Heartbeat>,
    /// The swaps of this host that systemd knows from a file, in the order of their names.
    #[serde(default)]
    pub swaps: Vec<UnitName>,
}

impl Settings {
    /// The apps that are configured, in the order of their names.
    #[must_use]
    pub fn apps(&self) -> Vec<&AppName> {
        let mut apps: Vec<&AppName> = self.members.iter().filter_map(|member| member.subject.app()).collect();
        apps.sort();
        apps.dedup();
        apps
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log_level: Level::Info,
            max_parallel: 1,
            members: Vec::new(),
            alerts: Vec::new(),
            heartbeat: None,
            swaps: Vec::new(),
        }
    }
}

/// Most apps and alerts of one host.
const MOST_SECTIONS: usize = 1_000;

/// The values of one section.
pub(super) struct Of<'a> {
    pub merged: &'a Merged,
    pub section: &'a Section,
}

impl<'a> Of<'a> {
    pub fn get(&self, key: &str) -> Option<&'a Sourced> {
        self.merged.get(self.section, key)
    }

    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.get(key).and_then(|sourced| sourced.value.as_ref())
    }

    pub fn duration(&self, key: &str) -> Option<Duration> {
        match self.value(key) {
            Some(Value::Duration(length)) => Some(*length),
            _ => None,
        }
    }

    pub fn count(&self, key: &str) -> Option<u32> {
        match self.value(key) {
            Some(Value::Count(count)) => Some(*count),
            _ => None,
        }
    }

    pub fn word(&self, key: &str) -> Option<&'static str> {
        match self.value(key) {
            Some(Value::Word(word)) => Some(word),
            _ => None,
        }
    }

    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key) {
            Some(Value::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    pub fn size(&self, key: &str) -> Option<u64> {
        match self.value(key) {
            Some(Value::Size(bytes)) => Some(*bytes),
            _ => None,
        }
    }

    pub fn units(&self, key: &str) -> Vec<UnitName> {
        match self.value(key) {
            Some(Value::Units(units)) => units.clone(),
            _ => Vec::new(),
        }
    }

    pub fn unit(&self, key: &str) -> Option<UnitName> {
        match self.value(key) {
            Some(Value::Unit(unit)) => Some(unit.clone()),
            _ => None,
        }
    }
}

/// Makes settings of what was merged. Errors that only the whole can show are added to those that
/// were gathered; `whole` is false when a part of a file could not be read, and nothing can be
/// called missing.
pub(super) fn build(root: &Path, merged: &Merged, whole: bool, gathered: &mut Gathered) -> Settings {
    let top = Of { merged, section: &Section::Top };
    let mut settings = Settings {
        log_level: top.word("log_level").and_then(Level::from_word).unwrap_or_default(),
        max_parallel: top.count("max_parallel").unwrap_or(1),
        ..Settings::default()
    };
    let mut apps = Apps::default();
    if merged.sections.len() > MOST_SECTIONS {
        let message =
            format!("{} apps and alerts; at most {MOST_SECTIONS} are watched", merged.sections.len());
        gathered.errors.push(ConfigError::at(Origin::Default, message));
        return settings;
    }
    for (section, values) in &merged.sections {
        let of = Of { merged, section };
        let mut missing = |key: &str, example: &str| {
            if whole && of.get(key).is_none() {
                let place = values.declared.clone().unwrap_or(Origin::Default);
                let message = format!("{key} is missing; for example {key} = \"{example}\"");
                gathered.errors.push(ConfigError::of(place, section.label(), String::new(), message));
            }
        };
        match section {
            Section::Top | Section::Defaults => {}
            Section::App(name) => {
                if of.get("instances").is_none() {
                    missing("unit", &format!("{name}.service"));
                }
                apps.add(root, &of, name, whole, gathered);
            }
            Section::Alert(name) => {
                let declared = values.declared.clone().unwrap_or(Origin::Default);
                settings.alerts.extend(alert::build(root, &of, name, &declared, whole, gathered));
            }
            Section::Heartbeat => {
                let declared = values.declared.clone().unwrap_or(Origin::Default);
                settings.heartbeat = alert::heartbeat(&of, &declared, whole, gathered);
            }
        }
    }
    settings.members = apps.with_companions();
    settings.swaps = swaps::of_files(root);
    settings
}

/// Adds an error, once: what stands in `[defaults]` is seen by every app.
pub(super) fn error(gathered: &mut Gathered, sourced: &Sourced, place: &Origin, key: &str, message: String) {
    let error = ConfigError::of(place.clone(), sourced.table.clone(), key.to_owned(), message);
    if !gathered.errors.contains(&error) {
        gathered.errors.push(error);
    }
}

/// A name for an app out of any text: `web@1` becomes `web-1`.
pub(super) fn app_name_from(text: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().map(fit).skip_while(|c| *c == '-').take(32).collect();
    let name = name.trim_end_matches('-');
    if name.is_empty() { "app".to_owned() } else { name.to_owned() }
}
