//! What is in force, as the privileged pre-start step resolved it: one root-owned file that the
//! daemon, the helpers and the commands read, so that a drop-in's environment counts for all.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{RenameFlags, renameat, renameat_with};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{Errors, Notice};
use super::settings::Settings;
use super::shown::Shown;
use super::{Loaded, Sources};
use crate::files::not_written;

/// The directory, as the system knows it.
pub const DIRECTORY: &str = "/run/app-monitor-resolved";
/// The file in it.
pub const FILE: &str = "settings.json";
/// What it is until it is whole; then, for a moment, what was in force before.
const NEW: &str = ".settings.json.new";
/// The group that may read it: the daemon's.
const GROUP: &str = "app-monitor";
/// The shape of the file. Another one was written by another version, and is to be resolved anew.
const VERSION: u32 = 2;
/// Most that the file may hold, in bytes: more than any configuration within its own bounds.
const LARGEST: u64 = 64 << 20;

/// What is in force, or why nothing is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Resolved {
    /// Shape of this file.
    pub version: u32,
    /// The settings; or every error, which the daemon reports and exits by (78).
    pub outcome: Result<Settings, Errors>,
    /// Every value with its place; empty when there are errors.
    pub shown: Vec<Shown>,
    /// What somebody should know.
    pub notices: Vec<Notice>,
    /// The `APP_MONITOR_…` variables of the unit at its start, without the credentials of databases.
    /// A reload resolves with these, since
    /// a running process does not see a changed drop-in.
    pub environment: Vec<(String, String)>,
}

impl Resolved {
    /// Loads the configuration and keeps what came of it, good or bad.
    #[must_use]
    pub fn load(sources: &Sources) -> Self {
        let environment = super::environment::without_credentials(&sources.environment);
        match super::load(sources) {
            Ok(Loaded { settings, shown, notices }) => {
                Self { version: VERSION, outcome: Ok(settings), shown, notices, environment }
            }
            Err(errors) => Self {
                version: VERSION,
                outcome: Err(errors),
                shown: Vec::new(),
                notices: Vec::new(),
                environment,
            },
        }
    }
}

/// Why what is in force cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// It was never written in this boot: the service was not started yet.
    Absent,
    /// This user may not: only root and group app-monitor may.
    Denied,
    /// The operating system refused.
    Unreadable(io::Error),
    /// It is not what this program writes.
    Damaged(String),
    /// Another version of this program wrote it.
    OtherVersion(u32),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("app-monitor.service was not started since boot"),
            Self::Denied => f.write_str(
                "permission denied; only root and group app-monitor may read it: try it with sudo",
            ),
            Self::Unreadable(error) => write!(f, "{error}"),
            Self::Damaged(why) => write!(f, "it is damaged ({why}); restart app-monitor.service"),
            Self::OtherVersion(version) => {
                write!(f, "it is of shape {version}, not {VERSION}; restart app-monitor.service")
            }
        }
    }
}

impl std::error::Error for ReadError {}

/// Reads what is in force, with everything that people may want to know of it.
///
/// # Errors
/// Why it cannot be read, fit behind "cannot read the configuration in force: ".
pub fn read(directory: &Path) -> Result<Resolved, ReadError> {
    parse(&text(directory)?)
}

/// Reads the settings alone, as the daemon and the helpers need them: nothing else is kept.
///
/// # Errors
/// As `read`.
pub fn read_settings(directory: &Path) -> Result<Result<Settings, Errors>, ReadError> {
    #[derive(Deserialize)]
    struct Part {
        outcome: Result<Settings, Errors>,
    }
    parse(&text(directory)?).map(|part: Part| part.outcome)
}

fn text(directory: &Path) -> Result<Vec<u8>, ReadError> {
    let file = File::open(directory.join(FILE)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::Absent,
        io::ErrorKind::PermissionDenied => ReadError::Denied,
        _ => ReadError::Unreadable(error),
    })?;
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text).map_err(ReadError::Unreadable)?;
    if text.len() as u64 > LARGEST {
        return Err(ReadError::Damaged("larger than any configuration".to_owned()));
    }
    Ok(text)
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, ReadError> {
    // The shape first: of another one, nothing else can be expected to fit.
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let damaged = |error: serde_json::Error| ReadError::Damaged(error.to_string());
    let head: Head = serde_json::from_slice(text).map_err(damaged)?;
    if head.version != VERSION {
        return Err(ReadError::OtherVersion(head.version));
    }
    serde_json::from_slice(text).map_err(damaged)
}

/// Writes what is in force: whole or not at all, 0640 root:app-monitor in a directory of 0750.
///
/// # Errors
/// Why it cannot be written, with the path.
pub fn write(directory: &Path, resolved: &Resolved) -> Result<(), String> {
    write_by(directory, resolved, |handle| Ok(renameat(handle, NEW, handle, FILE)?))
}

/// The same, with what was in force before at hand until what is returned is dropped.
///
/// # Errors
/// As `write`.
pub fn replace(directory: &Path, resolved: &Resolved) -> Result<Replaced, String> {
    write_by(directory, resolved, |handle| {
        match renameat_with(handle, NEW, handle, FILE, RenameFlags::EXCHANGE) {
            // Nothing was in force.
            Err(Errno::NOENT) => Ok(renameat(handle, NEW, handle, FILE)?),
            other => Ok(other?),
        }
    })?;
    Ok(Replaced { directory: directory.to_owned() })
}

/// What was in force before. It is given up when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Replaced {
    directory: PathBuf,
}

impl Replaced {
    /// Puts it back, for which no room is needed.
    ///
    /// # Errors
    /// Whatever keeps it from being put back; what replaced it is in force then.
    pub fn take_back(self) -> io::Result<()> {
        std::fs::rename(self.directory.join(NEW), self.directory.join(FILE))
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        // Back in its place by now, or of no use.
        let _ = std::fs::remove_file(self.directory.join(NEW));
    }
}

/// `put` gets it from [`NEW`] to its place, below a handle of the directory.
fn write_by(
    directory: &Path,
    resolved: &Resolved,
    put: impl FnOnce(&File) -> io::Result<()>,
) -> Result<(), String> {
    let at = |path: &Path, error: io::Error| not_written(path, &error);
    let group = group_id(Path::new("/etc/group"), GROUP);
    if let Err(error) = DirBuilder::new().mode(0o750).create(directory)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(at(directory, error));
    }
    let handle = File::open(directory).map_err(|error| at(directory, error))?;
    own(&handle, group, 0o750).map_err(|error| at(directory, error))?;

    let path = directory.join(FILE);
    let new = directory.join(NEW);
    let text = serde_json::to_vec_pretty(resolved).map_err(|error| at(&path, io::Error::other(error)))?;
    let written = (|| {
        // One left behind by a power cut; nobody else writes here.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Closed to all until it has its owner.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.write_all(b"\n")?;
        own(&file, group, 0o640)?;
        file.sync_all()?;
        put(&handle)?;
        handle.sync_all()
    })();
    written.map_err(|error| {
        // The error that matters is the first one; what cannot be removed is removed next time.
        let _ = std::fs::remove_file(&new);
        at(&path, error)
    })
}

/// Owner root and that group, where we are root; the mode in any case, whatever the umask.
fn own(file: &File, group: Option<u32>, mode: u32) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        let group = rustix::fs::Gid::from_raw(group.unwrap_or(0));
        rustix::fs::fchown(file, Some(rustix::fs::Uid::ROOT), Some(group))?;
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// The id of a local group, group(5). A system group made by sysusers.d is always there, so the
/// name service need not be asked, which might hang before the network is up.
pub(crate) fn group_id(path: &Path, name: &str) -> Option<u32> {
    let text = std::fs::read(path).ok()?;
    text.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        (fields.next()? == OsStr::new(name).as_encoded_bytes()).then_some(())?;
        std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let run = tempfile::tempdir().unwrap();
        let directory = run.path().join("app-monitor-resolved");
        assert!(matches!(read(&directory), Err(ReadError::Absent)));
        let root = tempfile::tempdir().unwrap();
        let environment = vec![
            ("APP_MONITOR_UNIT".to_owned(), "web".to_owned()),
            ("APP_MONITOR_PORT".to_owned(), "3000".to_owned()),
            (
                "APP_MONITOR_HTTP".to_owned(),
                "{ url = \"/\", headers = { A = \"geheim\" }, json = { a.b = 1.5, c = [true] } }".to_owned(),
            ),
        ];
        let resolved = Resolved::load(&Sources { root: root.path().to_owned(), environment });
        write(&directory, &resolved).unwrap();
        write(&directory, &resolved).unwrap();
        assert_eq!(read(&directory).unwrap(), resolved);
        assert_eq!(read_settings(&directory).unwrap(), resolved.outcome);
        let settings = resolved.outcome.unwrap();
        assert_eq!(settings.members[0].target.http.as_ref().unwrap().headers[0].1.0, "geheim");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o750);
        assert_eq!(mode(&directory.join(FILE)), 0o640);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn what_was_in_force_before_can_be_put_back() {
        let run = tempfile::tempdir().unwrap();
        let of = |value: &str| {
            let environment = vec![("APP_MONITOR_UNIT".to_owned(), value.to_owned())];
            Resolved::load(&Sources { root: run.path().join("root"), environment })
        };
        let (one, other) = (of("web"), of("api"));
        let names = || std::fs::read_dir(run.path()).unwrap().count();
        drop(replace(run.path(), &one).unwrap());
        assert_eq!((read(run.path()).unwrap(), names()), (one.clone(), 1));
        let replaced = replace(run.path(), &other).unwrap();
        assert_eq!((read(run.path()).unwrap(), names()), (other.clone(), 2));
        replaced.take_back().unwrap();
        assert_eq!((read(run.path()).unwrap(), names()), (one, 1));
        drop(replace(run.path(), &other).unwrap());
        assert_eq!((read(run.path()).unwrap(), names()), (other, 1));
    }

    #[test]
    fn errors_are_kept_too() {
        let run = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        let environment = vec![("APP_MONITOR_X".to_owned(), "1".to_owned())];
        let resolved = Resolved::load(&Sources { root: root.path().to_owned(), environment });
        write(run.path(), &resolved).unwrap();
        assert_eq!(read(run.path()).unwrap(), resolved);
        assert!(resolved.outcome.is_err());
    }

    #[test]
    fn a_damaged_file_is_told_from_another_version() {
        let run = tempfile::tempdir().unwrap();
        std::fs::write(run.path().join(FILE), "{\"version\": 3, \"later\": []}").unwrap();
        assert!(matches!(read(run.path()), Err(ReadError::OtherVersion(3))));
        std::fs::write(run.path().join(FILE), "{\"version\": 2").unwrap();
        assert!(matches!(read(run.path()), Err(ReadError::Damaged(_))));
    }

    #[test]
    fn groups_are_read_as_group_5_has_them() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("group");
        std::fs::write(&path, "root:x:0:\nbroken\napp-monitor2:x:1:\napp-monitor:x:997:a,b\n").unwrap();
        assert_eq!(group_id(&path, GROUP), Some(997));
        assert_eq!(group_id(&path, "nobody"), None);
    }
}
