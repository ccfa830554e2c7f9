//! `app-monitor config check` and `config show`: whether the configuration is right, and what is in
//! force. Both only read.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::config::resolved::{self, ReadError, Resolved};
use crate::config::{Errors, Origin, Shown, Sources, counted};
use crate::judge::{AppName, NO_APP};

use super::{json_text, no_such_app, status_of};

/// `app-monitor config …`.
#[derive(Clone, Debug, Subcommand)]
pub enum Config {
    /// Report everything that is wrong with the configuration, at once.
    Check(Check),
    /// Show what is in force, and where each value came from.
    Show(Show),
}

/// `config check`.
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `config show`.
#[derive(Clone, Debug, Args)]
pub struct Show {
    /// Only this app.
    pub app: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What the commands look at.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// `/`, or a directory that looks like a system.
    pub root: PathBuf,
    /// Where what is in force is kept.
    pub directory: PathBuf,
    /// This process's `APP_MONITOR_…` variables.
    pub environment: Vec<(String, String)>,
}

impl Surroundings {
    /// The system itself.
    #[must_use]
    pub fn system() -> Self {
        Self {
            root: Path::new("/").to_owned(),
            directory: Path::new(resolved::DIRECTORY).to_owned(),
            environment: crate::config::environment::of_this_process(),
        }
    }

    /// The files as they are now, with the environment noted at the daemon's start and, on top,
    /// that of this process.
    fn load(&self, err: &mut dyn Write) -> Resolved {
        let mut environment = match resolved::read(&self.directory) {
            Ok(noted) => noted.environment,
            Err(ReadError::Absent) => Vec::new(),
            Err(why) => {
                let _ = writeln!(err, "note: cannot read the environment of the service: {why}");
                Vec::new()
            }
        };
        environment.retain(|(name, _)| self.environment.iter().all(|(own, _)| own != name));
        environment.extend(self.environment.iter().cloned());
        Resolved::load(&Sources { root: self.root.clone(), environment })
    }
}

const OK: u8 = 0;
const REFUSED: u8 = 1;

/// Carries the command out and returns the exit status. What cannot be printed (a closed pipe) is
/// nobody's loss.
pub fn run(command: &Config, around: &Surroundings, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match command {
        Config::Check(check) => run_check(check, around, out, err),
        Config::Show(show) => run_show(show, around, out, err),
    }
}

fn run_check(check: &Check, around: &Surroundings, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let resolved = around.load(err);
    let status = resolved.outcome.as_ref().map_or_else(status_of, |_| OK);
    if check.json {
        let (apps, alerts, errors) = match &resolved.outcome {
            Ok(settings) => (settings.apps().len(), settings.alerts.len(), Vec::new()),
            Err(errors) => (0, 0, errors_json(errors)),
        };
        let answer = json!({
            "valid": resolved.outcome.is_ok(),
            "apps": apps,
            "alerts": alerts,
            "errors": errors,
            "notices": notices_json(&resolved),
        });
        print_json(out, &answer);
        return status;
    }
    print_notices(&resolved, err);
    match &resolved.outcome {
        Ok(settings) => {
            let mut text = format!("configuration is valid: {}", counted(settings.apps().len(), "app"));
            if !settings.alerts.is_empty() {
                let _ = write!(text, ", {}", counted(settings.alerts.len(), "alert"));
            }
            let _ = writeln!(out, "{text}");
            if settings.members.is_empty() {
                let _ = writeln!(out, "nothing is watched yet: {NO_APP}");
            }
        }
        Err(errors) => {
            let _ = writeln!(err, "{errors}");
        }
    }
    status
}

fn run_show(show: &Show, around: &Surroundings, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let (resolved, in_force) = match resolved::read(&around.directory) {
        Ok(resolved) => (resolved, true),
        Err(ReadError::Denied) => {
            let _ = writeln!(err, "cannot read the configuration in force: {}", ReadError::Denied);
            return REFUSED;
        }
        Err(why) => {
            let _ = writeln!(err, "cannot read the configuration in force: {why}");
            let _ = writeln!(err, "what follows is what the files say now");
            (around.load(err), false)
        }
    };
    if let Err(errors) = &resolved.outcome {
        if show.json {
            print_json(
                out,
                &json!({ "in_force": false, "values": [], "errors": errors_json(errors), "notices": [] }),
            );
        } else if errors.are_of_permission() {
            let _ = writeln!(err, "{errors}");
        } else {
            let _ = writeln!(
                err,
                "nothing is in force, since the configuration has {}:",
                counted(errors.0.len(), "error")
            );
            let _ = writeln!(err, "{errors}");
        }
        return status_of(errors);
    }
    let mut values: Vec<&Shown> = resolved.shown.iter().collect();
    if let Some(app) = &show.app {
        let table = format!("app.{app}");
        values.retain(|shown| shown.table == table);
        if values.is_empty() {
            let known = match &resolved.outcome {
                Ok(settings) => settings.apps(),
                Err(_) => Vec::new(),
            };
            let why = no_such_app(app, known.into_iter().map(AppName::as_str));
            let _ = writeln!(err, "{}", why.replace(['\u{201c}', '\u{201d}'], "\""));
            return REFUSED;
        }
    }
    if show.json {
        let answer = json!({
            "in_force": in_force,
            "values": values.iter().map(|shown| value_json(shown)).collect::<Vec<_>>(),
            "errors": [],
            "notices": notices_json(&resolved),
        });
        print_json(out, &answer);
        return OK;
    }
    let _ = out.write_all(table(&values).as_bytes());
    print_notices(&resolved, err);
    OK
}

/// TOML, with the place of each value as its comment: what is shown can be pasted into a file.
fn table(values: &[&Shown]) -> String {
    let mut text = String::new();
    for (i, group) in values.chunk_by(|a, b| a.table == b.table).enumerate() {
        if i > 0 {
            text.push('\n');
        }
        if let Some(first) = group.first().filter(|shown| !shown.table.is_empty()) {
            let _ = writeln!(text, "[{}]", first.table);
        }
        let lines: Vec<Line<'_>> = group.iter().filter_map(|shown| Line::new(shown)).collect();
        // One long value does not push the others' places off the screen.
        let width = |of: fn(&Line<'_>) -> usize| lines.iter().map(of).filter(|n| *n <= 40).max().unwrap_or(0);
        let keys = width(|line| line.key.chars().count());
        let shown = width(|line| line.value.chars().count());
        for Line { key, value, origin } in &lines {
            let _ = writeln!(text, "{key:keys$} = {value:shown$}  # {origin}");
        }
    }
    text
}

/// A key with its value; commented out where the value is known in words alone.
struct Line<'a> {
    key: String,
    value: String,
    origin: &'a Origin,
}

impl<'a> Line<'a> {
    /// None for what nobody set and is nothing by default.
    fn new(shown: &'a Shown) -> Option<Self> {
        let (key, value) = match (&shown.value, shown.default(), shown.default_value()) {
            (Some(value), _, _) => (shown.key.clone(), toml(value)),
            (None, _, Some(value)) => (shown.key.clone(), toml(&value)),
            (None, "", _) => return None,
            (None, words, None) => (format!("# {}", shown.key), words.to_owned()),
        };
        Some(Self { key, value, origin: &shown.origin })
    }
}

fn toml(value: &Json) -> String {
    match value {
        Json::Array(items) => {
            format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", "))
        }
        Json::Object(table) => {
            let part = |(key, value): (&String, &Json)| {
                let plain = !key.is_empty()
                    && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
                let key = if plain { key.clone() } else { Json::from(key.as_str()).to_string() };
                format!("{key} = {}", toml(value))
            };
            // What is asked stands first; the rest is in the order of the alphabet.
            let url = table.iter().filter(|(key, _)| *key == "url").map(part);
            let rest = table.iter().filter(|(key, _)| *key != "url").map(part);
            format!("{{ {} }}", url.chain(rest).collect::<Vec<_>>().join(", "))
        }
        // A JSON string's escapes are a subset of TOML's; numbers and booleans are the same.
        Json::Null => "\"\"".to_owned(),
        plain => plain.to_string(),
    }
}

fn value_json(shown: &Shown) -> Json {
    json!({
        "table": shown.table,
        "key": shown.key,
        "value": shown.value,
        "default": shown.default(),
        "meaning": shown.meaning(),
        "origin": shown.origin.to_string(),
    })
}

fn errors_json(errors: &Errors) -> Vec<Json> {
    let one = |error: &crate::config::ConfigError| {
        json!({
            "place": error.place.to_string(),
            "table": error.table,
            "key": error.key,
            "message": error.message,
        })
    };
    errors.0.iter().map(one).collect()
}

fn notices_json(resolved: &Resolved) -> Vec<Json> {
    let one = |notice: &crate::config::Notice| json!({ "place": notice.place.to_string(), "message": notice.message });
    resolved.notices.iter().map(one).collect()
}

fn print_notices(resolved: &Resolved, err: &mut dyn Write) {
    for notice in &resolved.notices {
        let _ = writeln!(err, "note: {notice}");
    }
}

fn print_json(out: &mut dyn Write, answer: &impl Serialize) {
    let _ = out.write_all(json_text(answer).as_bytes());
}

#[cfg(test)]
mod tests;
