//! Files that are written whole or not at all, and read only where they are files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::plain::in_shell;

/// A path of the system below the root of a test.
pub fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Reads a file of our own: at most `most` bytes of a plain file. Opening a pipe would wait for ever, and
/// a link may lead anywhere.
///
/// # Errors
/// Whatever keeps it from being read, and `InvalidData` where it is no plain file, or a larger one.
pub fn read_plain(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let no = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(no("a symbolic link".to_owned()));
        }
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Err(no("no plain file".to_owned()));
    }
    let mut text = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut text)?;
    if text.len() as u64 > most { Err(no(format!("larger than {most} bytes"))) } else { Ok(text) }
}

/// Puts `text` into `directory`/`name`, readable by the owner and, where the umask lets it, the
/// group: a temporary file beside it, synced, renamed, and the directory synced (rename(2),
/// fsync(2)). A reader sees the old file or the new one.
///
/// # Errors
/// Whatever keeps the directory from taking it; what was there before is untouched then.
pub fn write_whole(directory: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!(".{name}.new"));
    // What is there was left behind by a power cut, or put there by somebody: opening that could wait for
    // ever.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&temporary)?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| fs::rename(&temporary, directory.join(name)));
    if let Err(error) = renamed {
        // Of no use, and on a full disk the room is needed.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

/// Why that file was not written, for people: its path, the operating system's reason, and what to do where
/// a file system takes nothing.
#[must_use]
pub fn not_written(path: &Path, error: &io::Error) -> String {
    let folder = in_shell(&path.parent().unwrap_or(path).to_string_lossy());
    let remedy = match error.kind() {
        // Either of blocks and inodes may be used up.
        io::ErrorKind::StorageFull => format!("; make room there: df -h {folder}; df -i {folder}"),
        io::ErrorKind::QuotaExceeded => format!("; raise the quota, or make room there: du -sh {folder}"),
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("; findmnt -T {folder} shows what is mounted there, journalctl -k may say why")
        }
        _ => String::new(),
    };
    format!("{}: {error}{remedy}", path.display())
}

/// Keeps what cannot be used beside its place, as `NAME.bad`, or as `NAME.bad.2` and so on where something
/// is that no file can take the place of; an earlier file gives way. Says where, for people.
pub fn set_aside(path: &Path) -> String {
    let mut why = io::Error::from(io::ErrorKind::NotFound);
    for number in 1..=4 {
        let mut aside = path.as_os_str().to_owned();
        aside.push(if number == 1 { ".bad".to_owned() } else { format!(".bad.{number}") });
        match fs::rename(path, &aside) {
            Ok(()) => return format!("kept as {}", Path::new(&aside).display()),
            Err(error) => why = error,
        }
    }
    format!("left where it is ({why})")
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn plain_files_are_read_and_nothing_else_is_waited_for() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), b"12345").unwrap();
        fs::create_dir(at("folder")).unwrap();
        mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        std::os::unix::fs::symlink("nothing", at("dangling")).unwrap();
        assert_eq!(read_plain(&at("file"), 5).unwrap(), b"12345");
        for (name, why) in [
            ("file", "larger than 4 bytes"),
            ("folder", "no plain file"),
            ("pipe", "no plain file"),
            ("link", "a symbolic link"),
            ("dangling", "a symbolic link"),
        ] {
            assert_eq!(read_plain(&at(name), 4).unwrap_err().to_string(), why, "{name}");
        }
        assert_eq!(read_plain(&at("none"), 4).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_was_left_behind_holds_nobody_up() {
        let folder = folder();
        let left = folder.path().join(".x.new");
        mkfifoat(CWD, &left, Mode::RUSR | Mode::WUSR).unwrap();
        write_whole(folder.path(), "x", b"1").unwrap();
        std::os::unix::fs::symlink("/dev/full", &left).unwrap();
        write_whole(folder.path(), "x", b"2").unwrap();
        assert_eq!(fs::read(folder.path().join("x")).unwrap(), b"2");
        assert!(!left.exists());
    }

    #[test]
    fn who_has_to_make_room_is_told_where() {
        let full = io::Error::from(rustix::io::Errno::NOSPC);
        assert_eq!(
            not_written(Path::new("/var/lib/x/state.json"), &full),
            "/var/lib/x/state.json: No space left on device (os error 28); make room there: df -h /var/lib/x; \
             df -i /var/lib/x"
        );
        let read_only = not_written(Path::new("/etc/x"), &io::Error::from(rustix::io::Errno::ROFS));
        assert!(read_only.contains("; findmnt -T /etc shows"), "{read_only}");
        let denied = not_written(Path::new("/etc/x"), &io::Error::from(rustix::io::Errno::ACCESS));
        assert_eq!(denied, "/etc/x: Permission denied (os error 13)");
    }

    #[test]
    fn what_is_set_aside_takes_no_place_that_it_cannot_have() {
        let folder = folder();
        let path = folder.path().join("x");
        let aside = |name: &str| format!("kept as {}", folder.path().join(name).display());
        for text in ["1", "2"] {
            fs::write(&path, text).unwrap();
            assert_eq!(set_aside(&path), aside("x.bad"));
        }
        assert_eq!(fs::read(folder.path().join("x.bad")).unwrap(), b"2");
        fs::create_dir(&path).unwrap();
        assert_eq!(set_aside(&path), aside("x.bad.2"));
        assert!(set_aside(&path).starts_with("left where it is ("));
    }
}
