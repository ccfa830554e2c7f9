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

/// What systemd makes of the file of a unit.
#[derive(Debug)]
pub struct OfUnit {
    /// What it sets.
    pub variables: Variables,
    /// Names that somebody else would find in it.
    pub ignored: Vec<String>,
    /// Why it takes nothing of the whole file, and what to do: a unit that is not to do without (`-`) cannot
    /// start then.
    pub refused: Option<String>,
}

impl OfUnit {
    fn of(bytes: &[u8]) -> Self {
        let text = marked(bytes);
        let refused = refusal(&text);
        let variables = if refused.is_some() { Variables::new() } else { parse(&text, Reader::Systemd) };
        let is_set = |name: &String| variables.iter().any(|(known, _)| known == name);
        let all = parse(&text, Reader::App).into_iter().map(|(name, _)| name);
        let ignored = all.filter(|name| !is_set(name)).collect();
        Self { variables, ignored, refused }
    }

    /// What a sentence says of a name that is ignored in that file.
    #[must_use]
    pub fn why_ignored(&self, path: &Path) -> String {
        match &self.refused {
            Some(why) => format!("{}: {why}", path.display()),
            None => format!("{} has it behind `export`, a line that systemd ignores", path.display()),
        }
    }
}

/// The file of a unit as systemd reads it.
///
/// # Errors
/// As `read`.
pub fn read_of_unit(path: &Path) -> Result<OfUnit, String> {
    read_bytes(path).map(|bytes| OfUnit::of(&bytes))
}

/// In the place of bytes that are no UTF-8: no character, and so refused as they are.
const NO_CHARACTER: char = '\u{ffff}';

fn marked(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(NO_CHARACTER);
        }
    }
    text
}

/// Why systemd takes nothing of that text: of a NUL byte anywhere, and of a name or a value with what it has
/// for no UTF-8 (seen on 252 and 257). The line that it says itself in the journal is the one behind.
fn refusal(text: &str) -> Option<String> {
    let line = |before: &str| before.matches('\n').count() + 1;
    let (line, what) = match (text.find('\0'), read_lines(text, Reader::Systemd).strange) {
        (Some(nul), _) => (line(&text[..nul]), "holds a NUL byte, which has to go".to_owned()),
        (None, Some((at, NO_CHARACTER))) => (line(&text[..at]), "is to be written as UTF-8".to_owned()),
        (None, Some((at, c))) => {
            (line(&text[..at]), format!("holds U+{:04X}, which is no character and has to go", u32::from(c)))
        }
        (None, None) => return None,
    };
    Some(format!("systemd refuses the whole file: its line {line} {what}"))
}

/// Of what Unicode has a number for and never a character, systemd makes no UTF-8.
fn is_no_character(c: char) -> bool {
    matches!(u32::from(c), 0xfdd0..=0xfdef) || u32::from(c) & 0xfffe == 0xfffe
}

/// The text of a regular file of at most [`LARGEST`] bytes. What is no UTF-8 in it is replaced.
///
/// # Errors
/// As `read`.
pub(crate) fn read_bounded(path: &Path) -> Result<String, String> {
    read_bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A file system that hangs (a server that is gone) must not hold up the start of the monitor, so
/// another thread waits for it. Few may hang; the process that reads is short-lived.
fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
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

fn read_here(path: &Path) -> Result<Vec<u8>, String> {
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
    Ok(bytes)
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
    read_lines(text, by).all
}

fn read_lines(text: &str, by: Reader) -> Lines {
    let mut reader = Lines::of(by);
    let mut at = At::Key;
    for (place, c) in text.char_indices() {
        if is_no_character(c) && !matches!(at, At::Comment | At::CommentEscape) {
            reader.strange_here.get_or_insert((place, c));
        }
        let ends = matches!(c, '\n' | '\r');
        at = match at {
            At::Key => match c {
                _ if ends => reader.drop_line(),
                '#' | ';' if reader.key.trim().is_empty() => At::Comment,
                // At its beginning it is a part of a name that is none.
                '=' if !reader.key.trim_ascii_start().is_empty() => At::Gap,
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
    reader
}

struct Lines {
    by: Reader,
    key: String,
    value: String,
    /// Bytes of the value up to which it holds more than blanks.
    solid: usize,
    all: Variables,
    /// The first of this line, and of an assignment, that is no character, and where it stands.
    strange_here: Option<(usize, char)>,
    strange: Option<(usize, char)>,
}

impl Lines {
    fn of(by: Reader) -> Self {
        let (key, value, all) = (String::new(), String::new(), Vec::new());
        Self { by, key, value, solid: 0, all, strange_here: None, strange: None }
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
        self.strange_here = None;
        At::Key
    }

    fn end_line(&mut self) -> At {
        self.strange = self.strange.or(self.strange_here);
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
        let read = read_of_unit(&path).unwrap();
        assert_eq!(read.variables, [("B".to_owned(), Secret("2".to_owned()))]);
        assert_eq!((read.ignored, read.refused), (vec!["A".to_owned()], None));
    }

    /// Each as systemd 252 and 257 had it.
    #[test]
    fn what_is_no_utf_8_is_refused_as_a_whole() {
        let utf_8 = |line: u32| Some(format!("its line {line} is to be written as UTF-8"));
        let nul = Some("its line 2 holds a NUL byte, which has to go".to_owned());
        let holds = |what| Some(format!("its line 2 holds {what}, which is no character and has to go"));
        for (text, expected) in [
            (b"A=1\nB=\xff\nC=3\n" as &[u8], utf_8(2)),
            (b"A=1\n\n# c\nB=2\nC=\xff\nD=3\n", utf_8(5)),
            (b"A=1\n\xff=1\n", utf_8(2)),
            (b"A=1\nexport X=\xff\n", utf_8(2)),
            (b"A=1\nB=\xff", utf_8(2)),
            (b"A=1\nB='x\ny\xff'\n", utf_8(3)),
            (b"A=1\nB=\xed\xa0\x80\n", utf_8(2)),
            (b"A=1\nB=\xef\xbf\xbe\n", holds("U+FFFE")),
            (b"A=1\nB=\xef\xb7\x90\n", holds("U+FDD0")),
            (b"A=1\nB=\xf0\x9f\xbf\xbf\n", holds("U+1FFFF")),
            (b"A=1\nB=a\0b\n", nul.clone()),
            (b"A=1\n# a\0b\n", nul),
            (b"A=1\n# \xff\nC=3\n", None),
            (b"A=1\nnonsense \xff\n", None),
            (b"A=1\n=\xff\n", None),
            (b"A=1\nB=\xef\xbf\xbd\n", None),
            (b"A=1\nB=a\x01b\n", None),
            (b"A=1\nB=\xc3\xa9\n", None),
        ] {
            let read = OfUnit::of(text);
            let shown = String::from_utf8_lossy(text);
            let expected = expected.map(|why| format!("systemd refuses the whole file: {why}"));
            assert_eq!(read.refused, expected, "{shown}");
            assert_eq!(read.variables.is_empty(), expected.is_some(), "{shown}");
            assert_eq!(read.ignored.contains(&"A".to_owned()), expected.is_some(), "{shown}");
        }
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
            let _ = (parse(&text, Reader::Systemd), parse(&text, Reader::App), refusal(&text));
        }

        #[test]
        fn quoted_values_read_back(value in "\\PC{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(&parse(&format!("A=\"{quoted}\""), Reader::Systemd)[0].1.0, &value);
        }
    }
}
