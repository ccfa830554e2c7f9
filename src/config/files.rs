//! Which files are read, in which order, and which are refused unread.
//!
//! The privileged pre-start step grants power over the units that are named here, so a file that
//! somebody else than root could have written is none of ours.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::{ConfigError, ErrorKind, Notice};
use super::origin::Origin;
use super::raw::LineIndex;
use crate::files::below;
use crate::plain::command;

/// Most that a file may hold, in bytes.
pub const LARGEST_FILE: u64 = 1 << 20;
/// Most files that are read from `conf.d`.
const MOST_FILES: usize = 256;

const DIRECTORY: &str = "/etc/app-monitor";
/// The conffile.
pub const MAIN_FILE: &str = "/etc/app-monitor/app-monitor.toml";
const DROP_INS: &str = "/etc/app-monitor/conf.d";

/// A file's text and its path as the system sees it.
pub(super) struct Text {
    pub path: PathBuf,
    pub text: String,
}

/// Reads the conffile and the drop-ins, in that order. A file that does not exist is none.
pub(super) fn read_all(root: &Path, errors: &mut Vec<ConfigError>, notices: &mut Vec<Notice>) -> Vec<Text> {
    let mut texts = Vec::new();
    let mut take = |path: &Path, errors: &mut Vec<ConfigError>| match read(root, path) {
        Ok(Some(text)) => texts.push(Text { path: path.to_owned(), text }),
        Ok(None) => {}
        Err(error) => errors.push(error),
    };
    check_directory(root, Path::new(DIRECTORY), errors);
    take(Path::new(MAIN_FILE), errors);
    for path in drop_ins(root, errors, notices) {
        take(&path, errors);
    }
    texts
}

/// `conf.d/*.toml` in the order of their names, by bytes.
fn drop_ins(root: &Path, errors: &mut Vec<ConfigError>, notices: &mut Vec<Notice>) -> Vec<PathBuf> {
    let shown = Path::new(DROP_INS);
    let entries = match std::fs::read_dir(below(root, shown)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            errors.push(unread(shown, &error));
            return Vec::new();
        }
    };
    check_directory(root, shown, errors);
    let mut paths = Vec::new();
    for entry in entries {
        let name = match entry {
            Ok(entry) => entry.file_name(),
            Err(error) => {
                errors.push(unread(shown, &error));
                break;
            }
        };
        // Names beginning with a dot are hidden or an editor's, those ending otherwise are dpkg's,
        // an editor's or for people. `web.conf` may well be meant, so that is said.
        let text = name.to_string_lossy();
        if text.starts_with('.') || text.starts_with('#') {
            continue;
        }
        if text.ends_with(".toml") {
            paths.push(shown.join(&name));
        } else if text.ends_with(".conf") || text.ends_with(".tml") || text.ends_with(".TOML") {
            let message = "is not read: the name of a drop-in has to end in .toml".to_owned();
            notices.push(Notice { place: Origin::file(shown.join(&name)), message });
        }
    }
    paths.sort();
    if paths.len() > MOST_FILES {
        let message = format!("holds {} files; at most {MOST_FILES} are read", paths.len());
        errors.push(ConfigError::at(Origin::file(shown), message));
        paths.truncate(MOST_FILES);
    }
    paths
}

fn read(root: &Path, shown: &Path) -> Result<Option<String>, ConfigError> {
    let path = below(root, shown);
    let fail = |message: String| ConfigError::at(Origin::file(shown), message);
    // Not blocking, or a named pipe would hold up the start for ever.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(nonblock).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match std::fs::symlink_metadata(&path) {
                Ok(_) => Err(fail("is a symbolic link to nothing".to_owned())),
                Err(_) => Ok(None),
            };
        }
        Err(error) => return Err(unread(shown, &error)),
    };
    let metadata = file.metadata().map_err(|error| unread(shown, &error))?;
    if !metadata.is_file() {
        return Err(fail("is not a regular file".to_owned()));
    }
    check_owner(root, shown, &metadata).map_err(fail)?;
    let real = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    check_way(root, shown, &real.unwrap_or_else(|_| shown.to_owned())).map_err(fail)?;
    let bytes = read_bounded(file).map_err(|error| unread(shown, &error))?;
    let Some(bytes) = bytes else {
        return Err(fail(format!("is larger than {}", super::size::show(LARGEST_FILE))));
    };
    // A byte order mark is some editors' way to begin UTF-8; its three bytes would be part of the
    // first key.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").map_or(bytes.clone(), <[u8]>::to_vec);
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        let text = String::from_utf8_lossy(&bytes[..valid]).into_owned();
        let place = LineIndex::new(shown, &text).origin(valid);
        ConfigError::at(place, format!("is not UTF-8: byte 0x{:02x}", bytes[valid]))
    })
}

fn read_bounded(file: File) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= LARGEST_FILE).then_some(bytes))
}

fn check_directory(root: &Path, shown: &Path, errors: &mut Vec<ConfigError>) {
    let path = below(root, shown);
    // One that cannot be looked at is reported with the files in it.
    let Ok(metadata) = std::fs::metadata(&path) else { return };
    let check = || {
        check_owner(root, shown, &metadata)?;
        let real = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        check_way(root, shown, &real)
    };
    if let Err(message) = check() {
        errors.push(ConfigError::at(Origin::file(shown), message));
    }
}

/// A link leads to a file that is no safer than the directories on the way to it: whoever may write
/// one of them decides what is found there.
fn check_way(root: &Path, shown: &Path, real: &Path) -> Result<(), String> {
    if root != Path::new("/") || real == shown {
        return Ok(());
    }
    for directory in real.ancestors().skip(1) {
        let metadata = std::fs::metadata(directory)
            .map_err(|error| format!("leads to {}: {}", real.display(), reason(&error)))?;
        check_owner(root, directory, &metadata).map_err(|message| {
            format!("leads to {}, and {} {message}", real.display(), directory.display())
        })?;
    }
    Ok(())
}

/// Below the root of a test everybody is root.
fn check_owner(root: &Path, shown: &Path, metadata: &Metadata) -> Result<(), String> {
    let uid = if root == Path::new("/") { metadata.uid() } else { 0 };
    only_root_writes(shown, uid, metadata.gid(), metadata.mode())
}

/// Who could have written it? A group that may counts whichever it is: its bits are also those of the
/// mask of an access control list (acl(5)).
fn only_root_writes(shown: &Path, uid: u32, gid: u32, mode: u32) -> Result<(), String> {
    let mode = mode & 0o7777;
    let who = if uid != 0 {
        format!("belongs to uid {uid} (mode {mode:04o})")
    } else if mode & 0o002 != 0 {
        format!("may be written by everybody (mode {mode:04o})")
    } else if mode & 0o020 != 0 {
        format!("may be written by group {gid} (mode {mode:04o})")
    } else {
        return Ok(());
    };
    let remedy = match (uid, mode & 0o022) {
        (0, _) => "chmod go-w {}",
        (_, 0) => "chown root {}",
        _ => "chown root {} && chmod go-w {}",
    };
    let shown = shown.to_string_lossy();
    let remedy = command(remedy, &[&shown, &shown]);
    Err(format!("{who}, and whoever writes it decides over the units named in it; {remedy}"))
}

/// Why a file or folder was not read.
fn unread(shown: &Path, error: &io::Error) -> ConfigError {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Permission,
        _ => ErrorKind::Configuration,
    };
    ConfigError { kind, ..ConfigError::at(Origin::file(shown), format!("cannot read it: {}", reason(error))) }
}

/// The operating system's reason, in words.
fn reason(error: &io::Error) -> String {
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return "its symbolic links lead in a circle".to_owned();
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "permission denied; only root and group app-monitor may: try it with sudo".to_owned()
        }
        io::ErrorKind::NotADirectory => "not a directory".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn what_may_not_be_read_is_told_from_what_is_wrong() {
        let why = |kind: io::ErrorKind| unread(Path::new(MAIN_FILE), &kind.into());
        let (denied, other) = (why(io::ErrorKind::PermissionDenied), why(io::ErrorKind::NotADirectory));
        assert!(super::super::Errors(vec![denied.clone()]).are_of_permission());
        assert!(!super::super::Errors(vec![denied, other]).are_of_permission());
    }

    #[test]
    fn only_root_may_decide_over_units() {
        let check = |uid, gid, mode| only_root_writes(Path::new("/etc/a.toml"), uid, gid, mode);
        assert_eq!(check(0, 997, 0o100_640), Ok(()));
        assert_eq!(check(0, 0, 0o100_644), Ok(()));
        let over = "and whoever writes it decides over the units named in it";
        for ((uid, gid, mode), why) in [
            (
                (1000, 0, 0o100_644),
                format!("belongs to uid 1000 (mode 0644), {over}; chown root /etc/a.toml"),
            ),
            (
                (0, 997, 0o100_660),
                format!("may be written by group 997 (mode 0660), {over}; chmod go-w /etc/a.toml"),
            ),
            // An access control list shows so.
            (
                (0, 0, 0o100_664),
                format!("may be written by group 0 (mode 0664), {over}; chmod go-w /etc/a.toml"),
            ),
            (
                (0, 0, 0o41_777),
                format!("may be written by everybody (mode 1777), {over}; chmod go-w /etc/a.toml"),
            ),
            (
                (1000, 0, 0o100_666),
                format!(
                    "belongs to uid 1000 (mode 0666), {over}; chown root /etc/a.toml && chmod go-w /etc/a.toml"
                ),
            ),
        ] {
            assert_eq!(check(uid, gid, mode), Err(why));
        }
        // Whoever may write names of files there must not have a command with them.
        for (name, end) in [
            ("/etc/conf.d/a b.toml", "; chmod go-w '/etc/conf.d/a b.toml'"),
            ("/etc/conf.d/a;reboot;.toml", "; chmod go-w '/etc/conf.d/a;reboot;.toml'"),
            ("/etc/conf.d/$(reboot)'.toml", "; chmod go-w '/etc/conf.d/$(reboot)'\\''.toml'"),
        ] {
            let why = only_root_writes(Path::new(name), 0, 0, 0o100_666).unwrap_err();
            assert!(why.ends_with(end), "{why}");
        }
        let name = std::ffi::OsStr::from_bytes(b"/etc/conf.d/\xff\n.toml");
        let why = only_root_writes(Path::new(name), 0, 0, 0o100_666).unwrap_err();
        assert!(why.contains("; # by hand, "), "{why}");
    }
}
