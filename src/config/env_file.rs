//! Environment files, in the format that systemd reads (systemd.exec(5), `EnvironmentFile=`). To systemd
//! `export NAME` is no name, and it ignores the line; those that apps read such a file by (dotenv and its
//! kin, a shell) take it. What is read is secret, and kept as such.
//!
//! Reads regular files alone: whoever may write the directory of one could put a device or a named
//! pipe in its place, and opening that is an act already.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};

use crate::judge::Secret;

/// Most that a file may hold, in bytes.
pub const LARGEST: u64 = 64 << 10;

/// How long a file is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Behind so many that hang, none is waited for.
const MOST_HANGING: usize = 4;
/// Why a file is not read that is not there.
pub const NO_SUCH_FILE: &str = "no such file";

/// Names and what they are set to.
pub type Variables = Vec<(String, Secret)>;

/// Who reads a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    /// systemd, for a unit's `EnvironmentFile=`.
    Systemd,
    /// The app itself.
    App,
}

/// Reads a file: its variables in the order in which they stand; one that stands twice holds what
/// it is given last.
///
/// # Errors
/// Why it cannot be read, fit behind "cannot read it: ". Says nothing of what is in it.
pub fn read(path: &Path, by: Reader) -> Result<Variables, String> {
    read_bounded(path).map(|text| parse(&text, by))
}

/// The file of a unit as systemd reads it, and the names that it ignores for the `export` before them.
///
/// # Errors
/// As `read`.
pub fn read_of_unit(path: &Path) -> Result<(Variables, Vec<String>), String> {
    let text = read_bounded(path)?;
    let variables = parse(&text, Reader::Systemd);
    let is_set = |name: &String| variables.iter().any(|(known, _)| known == name);
    let all = parse(&text, Reader::App).into_iter().map(|(name, _)| name);
    let ignored = all.filter(|name| !is_set(name)).collect();
    Ok((variables, ignored))
}

/// What a sentence says of a name that systemd ignores in that file.
#[must_use]
pub fn is_exported(path: &Path) -> String {
    format!("{} has it behind `export`, a line that systemd ignores", path.display())
}

/// The text of a regular file of at most [`LARGEST`] bytes. What is no UTF-8 in it is replaced.
///
/// A file system that hangs (a server that is gone) must not hold up the start of the monitor, so
/// another thread waits for it. Few may hang; the process that reads is short-lived.
///
/// # Errors
/// As `read`.
pub(crate) fn read_bounded(path: &Path) -> Result<String, String> {
    static HANGING: AtomicUsize = AtomicUsize::new(0);
    const UNANSWERED: &str = "the file system does not answer";
    if HANGING.load(Ordering::Relaxed) >= MOST_HANGING {
        return Err(UNANSWERED.to_owned());
    }
    let (answer, answered) = mpsc::sync_channel(1);
    let asked = path.to_owned();
    let reader = move || {
        // Nobody listens any more where it came too late.
        let _ = answer.send(read_here(&asked));
    };
    std::thread::Builder::new().spawn(reader).map_err(|error| error.to_string())?;
    answered.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        HANGING.fetch_add(1, Ordering::Relaxed);
        Err(UNANSWERED.to_owned())
    })
}

fn read_here(path: &Path) -> Result<String, String> {
    let file = open_regular(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NO_SUCH_FILE.to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::InvalidInput => "is not a regular file".to_owned(),
        _ => error.to_string(),
    })?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("is larger than {}", super::size::show(LARGEST)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Looks before it opens: the place is held, found to be a regular file, and only then opened.
fn open_regular(path: &Path) -> io::Result<File> {
    let held = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&held)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let itself = format!("/proc/self/fd/{}", held.as_raw_fd());
    OpenOptions::new().read(true).custom_flags(nonblock).open(itself)
}

/// Where the reader is, as systemd.exec(5) describes the format.
#[derive(Clone, Copy)]
enum At {
    Key,
    Comment,
    CommentEscape,
    /// Before a value, or between two quoted parts of one.
    Gap,
    Plain,
    PlainEscape,
    Single,
    Double,
    DoubleEscape,
}

/// Reads the text of a file. Lines that assign nothing are passed over, as systemd does.
#[must_use]
pub fn parse(text: &str, by: Reader) -> Variables {
    let mut reader = Lines::of(by);
    let mut at = At::Key;
    for c in text.chars() {
        let ends = matches!(c, '\n' | '\r');
        at = match at {
            At::Key => match c {
                _ if ends => reader.drop_line(),
                '#' | ';' if reader.key.trim().is_empty() => At::Comment,
                '=' => At::Gap,
                _ => {
                    reader.key.push(c);
                    At::Key
                }
            },
            At::Comment => match c {
                _ if ends => reader.drop_line(),
                '\\' => At::CommentEscape,
                _ => At::Comment,
            },
            // Up to 253, which Debian 12 has, a comment goes on behind that. What systemd may have read is
            // not to be called missing.
            At::CommentEscape if ends => reader.drop_line(),
            At::CommentEscape => At::Comment,
            At::Gap => match c {
                _ if ends => reader.end_line(),
                '\'' => At::Single,
                '"' => At::Double,
                '\\' => At::PlainEscape,
                _ if c.is_ascii_whitespace() => At::Gap,
                _ => reader.take(c, At::Plain),
            },
            At::Plain => match c {
                _ if ends => reader.end_line(),
                '\\' => At::PlainEscape,
                // Blanks at the end are no part of the value.
                _ if c.is_ascii_whitespace() => {
                    reader.value.push(c);
                    At::Plain
                }
                _ => reader.take(c, At::Plain),
            },
            At::PlainEscape if ends => At::Plain,
            At::PlainEscape => reader.take(c, At::Plain),
            At::Single if c == '\'' => At::Gap,
            At::Single => reader.take(c, At::Single),
            At::Double => match c {
                '"' => At::Gap,
                '\\' => At::DoubleEscape,
                _ => reader.take(c, At::Double),
            },
            At::DoubleEscape if c == '\n' => At::Double,
            At::DoubleEscape => {
                if !matches!(c, '"' | '\\' | '`' | '$') {
                    reader.take('\\', At::Double);
                }
                reader.take(c, At::Double)
            }
        };
    }
    if !matches!(at, At::Key | At::Comment | At::CommentEscape) {
        reader.end_line();
    }
    reader.all
}

struct Lines {
    by: Reader,
    key: String,
    value: String,
    /// Bytes of the value up to which it holds more than blanks.
    solid: usize,
    all: Variables,
}

impl Lines {
    fn of(by: Reader) -> Self {
        Self { by, key: String::new(), value: String::new(), solid: 0, all: Vec::new() }
    }

    fn take(&mut self, c: char, next: At) -> At {
        self.value.push(c);
        self.solid = self.value.len();
        next
    }

    fn drop_line(&mut self) -> At {
        self.key.clear();
        self.value.clear();
        self.solid = 0;
        At::Key
    }

    fn end_line(&mut self) -> At {
        let mut key = self.key.trim_ascii();
        if self.by == Reader::App
            && let Some(rest) = key.strip_prefix("export")
            && rest.starts_with([' ', '\t'])
        {
            key = rest.trim_ascii();
        }
        if super::list::is_key(key) {
            self.value.truncate(self.solid);
            let secret = Secret(std::mem::take(&mut self.value));
            match self.all.iter_mut().find(|(known, _)| known == key) {
                Some((_, known)) => *known = secret,
                None => self.all.push((key.to_owned(), secret)),
            }
        }
        self.drop_line()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown_by(by: Reader, text: &str) -> Vec<String> {
        parse(text, by).into_iter().map(|(key, value)| format!("{key}={}", value.0)).collect()
    }

    fn shown(text: &str) -> Vec<String> {
        shown_by(Reader::Systemd, text)
    }

    #[test]
    fn lines_are_read_as_systemd_reads_them() {
        for (text, expected) in [
            ("A=1\nB=2", &["A=1", "B=2"] as &[&str]),
            ("A=1\r\nB= 2 \n", &["A=1", "B=2"]),
            ("# A=1\n  ; B=2\n\nC=3", &["C=3"]),
            ("A=a # b", &["A=a # b"]),
            ("A=\"a # b\" ", &["A=a # b"]),
            ("A='a\\n'\"b\\\"\\$c\\d\"", &["A=a\\nb\"$c\\d"]),
            ("A=\"one\ntwo\"\nB=1", &["A=one\ntwo", "B=1"]),
            ("A=one\\\n two\\ three\\  \n", &["A=one two three "]),
            ("A=it's \"so\"", &["A=it's \"so\""]),
            ("A=1\n A =3", &["A=3"]),
            ("A=\"one\\\ntwo\"", &["A=onetwo"]),
            ("A=\nB", &["A="]),
            ("1A=1\nA-B=1\n=1\nnonsense\nC=3", &["C=3"]),
            ("A=\"open", &["A=open"]),
            ("# a \\\nB=1\nC=1", &["B=1", "C=1"]),
            ("# a \\b\nB=1", &["B=1"]),
            ("A==b=c", &["A==b=c"]),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_exported_counts_for_those_who_take_it_alone() {
        for (text, systemd, app) in [
            ("export A=1", &[] as &[&str], &["A=1"] as &[&str]),
            ("export\tA=1\n  export   B = 2", &[], &["A=1", "B=2"]),
            ("export A=1\nA=2", &["A=2"], &["A=2"]),
            ("A=1\nexport A=2", &["A=1"], &["A=2"]),
            (
                "export A\nexport=1\nexportB=2\nexport A-B=1",
                &["export=1", "exportB=2"],
                &["export=1", "exportB=2"],
            ),
        ] {
            assert_eq!(shown_by(Reader::Systemd, text), systemd, "{text}");
            assert_eq!(shown_by(Reader::App, text), app, "{text}");
        }
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("env");
        std::fs::write(&path, "export A=1\nB=2\nexport B=3\n").unwrap();
        let (variables, ignored) = read_of_unit(&path).unwrap();
        assert_eq!(variables, [("B".to_owned(), Secret("2".to_owned()))]);
        assert_eq!(ignored, ["A"]);
    }

    #[test]
    fn nothing_but_regular_files_is_read() {
        let read = |path: &Path| read(path, Reader::App);
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        std::fs::write(path("env"), "A=1\n").unwrap();
        assert_eq!(read(&path("env")).unwrap(), [("A".to_owned(), Secret("1".to_owned()))]);
        std::os::unix::fs::symlink("env", path("link")).unwrap();
        assert_eq!(read(&path("link")).unwrap().len(), 1);
        std::fs::write(path("large"), vec![b'#'; 65_537]).unwrap();
        assert_eq!(read(&path("large")).unwrap_err(), "is larger than 64K");
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(read(&path("pipe")).unwrap_err(), "is not a regular file");
        assert_eq!(read(root.path()).unwrap_err(), "is not a regular file");
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err(), "is not a regular file");
        assert_eq!(read(&path("none")).unwrap_err(), "no such file");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([A-Z]|=|\"|'|\\\\|\n| |#|\\PC){0,40}") {
            let _ = (parse(&text, Reader::Systemd), parse(&text, Reader::App));
        }

        #[test]
        fn quoted_values_read_back(value in "\\PC{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(&parse(&format!("A=\"{quoted}\""), Reader::Systemd)[0].1.0, &value);
        }
    }
}
