//! What a privileged helper leaves behind: one root-owned file for each helper and subject, which the
//! daemon reads when the helper's job is done.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::files::{not_written, read_plain};
use crate::judge::{Moment, NameError, Subject, UnitName};
use crate::plain::cut;

/// Where results lie, as the system knows it. root:app-monitor 0750, files 0640.
pub const DIRECTORY: &str = "/run/app-monitor-results";
/// Most that a result may hold, in bytes.
const LARGEST: u64 = 1 << 20;

/// Most lines that a result has, and most characters of each.
pub(super) const LINES: usize = 100;
pub(super) const LINE: usize = 500;

/// Which helper: `app-monitor-NAME@SUBJECT.service`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Helper {
    /// Gathers what needs privilege to see.
    Evidence,
    /// Ends stragglers.
    Reap,
    /// Clears caches.
    ClearCaches,
    /// Looks whether everything is there that a start needs.
    Preflight,
}

impl Helper {
    /// Every helper.
    pub const ALL: [Self; 4] = [Self::Evidence, Self::Reap, Self::ClearCaches, Self::Preflight];

    /// The unit that runs it for that subject.
    ///
    /// # Errors
    /// Where the name would be too long for systemd.
    pub fn unit(self, subject: &Subject) -> Result<UnitName, NameError> {
        format!("app-monitor-{}@{subject}.service", self.word()).parse()
    }

    /// The helper of that name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|helper| helper.word() == word)
    }

    /// Its name in units, files and on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::Reap => "reap",
            Self::ClearCaches => "clear-caches",
            Self::Preflight => "preflight",
        }
    }
}

/// How it ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Done; what there is to say of it in one line.
    Done(String),
    /// There was nothing to do.
    Nothing,
    /// Found wanting (preflight), or could not be done; why.
    Failed(String),
}

/// One result.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Which helper.
    pub helper: Helper,
    /// For whom.
    pub subject: Subject,
    /// When it began, on CLOCK_MONOTONIC: an older one is that of an earlier run.
    pub began: Moment,
    /// How it ended.
    pub ending: Ending,
    /// What it did or found, one line each; bounded.
    pub lines: Vec<String>,
}

impl Report {
    /// Holds it within its bounds, each text on its line: names of files and processes are anybody's.
    pub(super) fn bound(&mut self) {
        match &mut self.ending {
            Ending::Done(text) | Ending::Failed(text) => *text = cut(text, LINE),
            Ending::Nothing => {}
        }
        self.lines.truncate(LINES);
        self.lines.iter_mut().for_each(|line| *line = cut(line, LINE));
    }
}

/// The clock by which results are dated: CLOCK_MONOTONIC, which all processes of a host share.
#[must_use]
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::Monotonic);
    Moment::from_micros(time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000))
}

/// Where the result of that helper for that subject lies.
#[must_use]
pub fn path(directory: &Path, helper: Helper, subject: &Subject) -> PathBuf {
    directory.join(format!("{}-{subject}.json", helper.word()))
}

/// Reads a result.
///
/// # Errors
/// Why it cannot be read, fit behind "cannot read what the helper left: ".
pub fn read(directory: &Path, helper: Helper, subject: &Subject) -> Result<Report, String> {
    let path = path(directory, helper, subject);
    let text = read_plain(&path, LARGEST).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads the text of a result.
pub(super) fn parse(text: &[u8]) -> serde_json::Result<Report> {
    let mut report: Report = serde_json::from_slice(text)?;
    report.bound();
    Ok(report)
}

/// Writes a result: whole or not at all. The directory's group is given to the file.
///
/// # Errors
/// Why it cannot be written, with the path.
pub fn write(directory: &Path, report: &Report) -> Result<(), String> {
    let path = path(directory, report.helper, &report.subject);
    let new = directory.join(format!(".{}-{}.json.new", report.helper.word(), report.subject));
    let written = (|| {
        match DirBuilder::new().mode(0o750).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let text = serde_json::to_vec_pretty(report)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        if rustix::process::geteuid().is_root() {
            use std::os::unix::fs::MetadataExt;
            let group = rustix::fs::Gid::from_raw(fs::metadata(directory)?.gid());
            rustix::fs::fchown(&file, Some(rustix::fs::Uid::ROOT), Some(group))?;
        }
        file.set_permissions(Permissions::from_mode(0o640))?;
        fs::rename(&new, &path)
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&new);
        not_written(&path, &error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let run = tempfile::tempdir().unwrap();
        let directory = run.path().join("results");
        let subject: Subject = "web@2".parse().unwrap();
        let report = Report {
            helper: Helper::ClearCaches,
            subject: subject.clone(),
            began: Moment::from_micros(5),
            ending: Ending::Done("12 files".to_owned()),
            lines: vec!["a".to_owned()],
        };
        write(&directory, &report).unwrap();
        write(&directory, &report).unwrap();
        assert_eq!(read(&directory, Helper::ClearCaches, &subject), Ok(report));
        assert!(read(&directory, Helper::Reap, &subject).unwrap_err().contains("reap-web@2.json"));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }
}
