//! What is said of an app that was looked at, and of its host: pure, so that each finding has a test.
//!
//! A finding names the lines that mend it, so that who follows them to the letter hears no more of it. They
//! are of three kinds: commands for a shell; a drop-in, which begins with `systemctl edit UNIT`; a part of
//! the configuration, which begins with its table. Where no line can know what is right, it is a comment.

mod health;
mod host;
mod network;
mod unit;

use serde::Serialize;

use super::looking::Patient;
use crate::judge::LoadState;
use crate::server::Server;

pub use host::host;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It does not work, or does harm.
    Problem,
    /// It will hurt one day.
    Warning,
    /// It could be better.
    Advice,
}

impl Severity {
    pub fn word(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
            Self::Advice => "advice",
        }
    }
}

/// Something to mend.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// The app; none for the host.
    pub app: Option<String>,
    /// Its unit.
    pub unit: Option<String>,
    pub severity: Severity,
    /// A word for scripts.
    pub finding: &'static str,
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// The lines that mend it.
    pub mend: Vec<String>,
}

/// Collects what is said of one app.
struct Notes<'a> {
    patient: &'a Patient,
    all: Vec<Finding>,
}

impl Notes<'_> {
    fn add(
        &mut self,
        severity: Severity,
        finding: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        mend: Vec<String>,
    ) {
        let (what, why) = (what.into(), why.into());
        let app = Some(self.patient.name.clone());
        let unit = Some(self.patient.service.unit.to_string());
        self.all.push(Finding { app, unit, severity, finding, what, why, mend });
    }

    /// A command with its unit in the place of `{}`.
    fn of_unit(&self, line: &str) -> String {
        crate::plain::command(line, &[self.patient.service.unit.as_str()])
    }

    /// Lines of a drop-in.
    fn edit(&self, section: &str, lines: &[&str]) -> Vec<String> {
        let mut all = vec![self.of_unit("systemctl edit {}"), format!("[{section}]")];
        all.extend(lines.iter().map(|line| (*line).to_owned()));
        all
    }

    /// A key of the app's table; where it has none yet, it is to be made first. An instance's own key counts
    /// before it, and so does a variable.
    fn table(&self, key: &str, value: &str) -> Vec<String> {
        let line = format!("{key} = {value}");
        let Some(table) = &self.patient.table else {
            return vec!["app-monitor init --write".to_owned(), format!("# and there: {line}")];
        };
        let says = &self.patient.says;
        let place = match (says.own_http.as_ref().filter(|_| key == "http"), says.variable(key)) {
            (Some(unit), _) => format!("# in its instances, where unit is {unit}: {line}"),
            (None, Some(variable)) => {
                format!("# the environment of app-monitor.service says it, with {variable}; there: {line}")
            }
            (None, None) => line,
        };
        vec![format!("[app.{table}]"), crate::plain::on_one_line(&place)]
    }
}

/// All about one app.
pub fn app(patient: &Patient, server: &Server) -> Vec<Finding> {
    let mut notes = Notes { patient, all: Vec::new() };
    if patient.service.load != LoadState::Loaded {
        unit::unknown(&mut notes);
        return notes.all;
    }
    unit::keepers(&mut notes, server);
    unit::start(&mut notes);
    unit::environment(&mut notes);
    unit::limits(&mut notes);
    unit::stop(&mut notes, server);
    network::online(&mut notes);
    network::families(&mut notes);
    health::health(&mut notes);
    host::others(&mut notes, server);
    notes.all
}

fn toml(text: &str) -> String {
    crate::plain::in_json(&serde_json::Value::from(text).to_string())
}
