//! What came of a row on a suite: a line of JSON in a file of its own, so that rows which run side
//! by side, in processes of their own, do not meet.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Row;
use super::seen::Seen;

/// The line. tests/vm writes the same ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Name of the row.
    pub row: String,
    /// What was broken.
    pub fault: String,
    /// The verdict, or condition, that it should be.
    pub expected: String,
    /// What it was.
    pub verdict: String,
    /// What was done about it.
    pub actions: String,
    /// Version of systemd, or `vm`.
    pub suite: String,
    /// Whether all of it was right.
    pub pass: bool,
    /// What was not, or a figure worth knowing.
    #[serde(default)]
    pub note: String,
}

/// Folder of the lines.
pub(super) fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/matrix"))
}

fn file(suite: &str, row: &str) -> PathBuf {
    folder().join(format!("{suite}-{row}.json"))
}

/// Actions and starts as the table has them.
pub(super) fn acts(actions: &str, starts: usize) -> String {
    match starts {
        0 => actions.to_owned(),
        1 => format!("{actions}; app started once"),
        more => format!("{actions}; app started {more} times"),
    }
}

/// An earlier run proves nothing about this one.
pub(super) fn forget(suite: &str, row: &str) {
    let _ = fs::remove_file(file(suite, row));
}

/// What was written down for a row; None when it did not run.
pub(super) fn read(suite: &str, row: &str) -> Option<Outcome> {
    serde_json::from_str(&fs::read_to_string(file(suite, row)).ok()?).ok()
}

impl Outcome {
    pub(super) fn of(row: &Row, suite: &str, seen: &Seen) -> Self {
        let right = acts(row.actions, row.starts);
        let actions = acts(&seen.actions, seen.starts);
        let mut remarks = seen.remarks.clone();
        if seen.verdict != row.expect {
            remarks.push(format!("{} instead of {}", seen.verdict, row.expect));
        }
        if actions != right {
            remarks.push(format!("did `{actions}` instead of `{right}`"));
        }
        Self {
            row: row.name.to_owned(),
            fault: row.fault.to_owned(),
            expected: row.expect.to_owned(),
            verdict: seen.verdict.clone(),
            actions,
            suite: suite.to_owned(),
            pass: remarks.is_empty(),
            note: if remarks.is_empty() { seen.figure.clone() } else { remarks.join("; ") },
        }
    }

    /// Leaves it where the table finds it.
    pub(super) fn write(&self) {
        fs::create_dir_all(folder()).expect("target/ can be written");
        let line = serde_json::to_string(self).expect("plain data has a JSON form") + "\n";
        fs::write(file(&self.suite, &self.row), line).expect("target/ can be written");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}: {} ({}): {}", self.row, self.suite, self.verdict, self.actions, self.note)
    }
}
