//! What a unit that is started for an alert finds about it, in `/run/app-monitor/alerts/APP.json`.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::files::{not_written, write_whole};
use crate::judge::{AppName, EventKind, UnitName};

/// The details of one alert. Its shape is public interface.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Details {
    /// The app.
    pub app: AppName,
    /// Its unit.
    pub unit: UnitName,
    /// What happened.
    pub event: EventKind,
    /// The same for people, in one line.
    pub text: String,
    /// The incident that it belongs to.
    pub incident: Option<String>,
    /// When, in seconds since the epoch.
    pub time: i64,
    /// It was told before, and lasts.
    pub repeated: bool,
    /// Nothing happened: somebody tries whether this works.
    pub test: bool,
}

/// Writes the details, whole or not at all.
///
/// # Errors
/// Why the directory does not take the file, with its path.
pub fn write(directory: &Path, details: &Details) -> Result<(), String> {
    let name = format!("{}.json", details.app);
    let put = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        write_whole(directory, &name, &serde_json::to_vec_pretty(details)?)
    };
    put().map_err(|error| not_written(&directory.join(&name), &error))
}
