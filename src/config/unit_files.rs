//! What the files of a service say of its environment and its working directory: fragment and
//! drop-ins, as systemd.unit(5) finds them and systemd.exec(5) reads them.
//!
//! Files alone are read, so that a configuration can be resolved before the bus is there. What the
//! manager adds (`PassEnvironment=`, `systemctl set-environment`) is not seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::aliases::DIRECTORIES;
use super::env_file::{self, OfUnit, read_bounded};
use super::list::is_key;
use crate::files::below;
use crate::judge::{Secret, UnitName};

/// Most drop-ins of one unit that are read.
const MOST_DROP_INS: usize = 256;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// The environment of its processes, as far as files tell.
    pub environment: BTreeMap<String, Secret>,
    /// Names that an environment file exports, which means nothing to systemd, and what to say of it.
    pub ignored: BTreeMap<String, String>,
    /// An absolute path.
    pub working_directory: Option<PathBuf>,
    /// What could not be read, or is refused by systemd, each with its path and its reason.
    pub unread: Vec<String>,
}

/// Reads the files of a unit, which is named as systemd names it.
pub(super) fn read(root: &Path, unit: &UnitName) -> Service {
    let mut service = Service::default();
    let mut lines = Lines::default();
    for path in fragment(root, unit).into_iter().chain(drop_ins(root, unit)) {
        match read_bounded(&below(root, &path)) {
            Ok(text) => lines.add(&text, unit),
            Err(why) => service.unread.push(format!("{}: {why}", path.display())),
        }
    }
    service.working_directory = lines.working_directory;
    service.environment.extend(lines.environment);
    for (path, optional) in lines.files {
        match env_file::read_of_unit(&below(root, &path)) {
            Ok(OfUnit { refused: Some(why), .. }) => {
                service.unread.push(format!("{}: {why}", path.display()));
            }
            Ok(found) => {
                let why = found.why_ignored(&path);
                service.ignored.extend(found.ignored.into_iter().map(|name| (name, why.clone())));
                service.environment.extend(found.variables);
            }
            Err(why) if optional && why == env_file::NO_SUCH_FILE => {}
            Err(why) => service.unread.push(format!("{}: {why}", path.display())),
        }
    }
    for name in lines.unset {
        match name.split_once('=') {
            Some((name, value)) => {
                if service.environment.get(name).is_some_and(|known| known.0 == value) {
                    service.environment.remove(name);
                }
            }
            None => {
                service.environment.remove(&name);
            }
        }
    }
    service
}

/// The unit's own file, or its template's. A link to /dev/null, which is a mask, holds nothing.
fn fragment(root: &Path, unit: &UnitName) -> Option<PathBuf> {
    let names = [Some(unit.to_string()), template(unit)];
    let found = names.into_iter().flatten().find_map(|name| {
        let mut places = DIRECTORIES.iter().map(|directory| Path::new(directory).join(&name));
        places.find(|path| below(root, path).symlink_metadata().is_ok())
    });
    found.filter(|path| !is_mask(root, path))
}

fn is_mask(root: &Path, path: &Path) -> bool {
    std::fs::read_link(below(root, path)).is_ok_and(|target| target == Path::new("/dev/null"))
}

fn template(unit: &UnitName) -> Option<String> {
    unit.stem().split_once('@').map(|(prefix, _)| format!("{prefix}@.service"))
}

/// `*.conf` in the order of their names; of two with the same name, the one in the directory that is
/// more of this unit, and then earlier in the search path.
fn drop_ins(root: &Path, unit: &UnitName) -> Vec<PathBuf> {
    let mut names = vec![unit.to_string()];
    names.extend(template(unit));
    // a-b-c.service heeds a-b-.service.d and a-.service.d as well.
    let stem = unit.stem();
    let ends = stem.match_indices('-').map(|(at, _)| at + 1).filter(|end| *end < stem.len());
    let mut prefixes: Vec<String> = ends.map(|end| format!("{}.service", &stem[..end])).collect();
    prefixes.reverse();
    names.extend(prefixes);
    names.push("service".to_owned());
    let mut found: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
    for name in names {
        for directory in DIRECTORIES {
            let shown = Path::new(directory).join(format!("{name}.d"));
            let Ok(entries) = std::fs::read_dir(below(root, &shown)) else { continue };
            for entry in entries.take(MOST_DROP_INS).flatten() {
                let file = entry.file_name();
                let text = file.to_string_lossy();
                if text.ends_with(".conf") && !text.starts_with('.') && found.len() < MOST_DROP_INS {
                    let path = shown.join(&file);
                    found.entry(file).or_insert(path);
                }
            }
        }
    }
    // A link to /dev/null takes the file of that name in other places away.
    found.into_values().filter(|path| !is_mask(root, path)).collect()
}

/// The settings in question, file after file.
#[derive(Default)]
struct Lines {
    environment: BTreeMap<String, Secret>,
    /// And whether it may be missing.
    files: Vec<(PathBuf, bool)>,
    unset: Vec<String>,
    working_directory: Option<PathBuf>,
}

impl Lines {
    fn add(&mut self, text: &str, unit: &UnitName) {
        let mut in_service = false;
        for line in joined(text) {
            let line = line.trim();
            if line.starts_with('[') {
                in_service = line == "[Service]";
            } else if in_service && let Some((key, value)) = line.split_once('=') {
                self.set(key.trim(), value.trim(), unit);
            }
        }
    }

    fn set(&mut self, key: &str, value: &str, unit: &UnitName) {
        match key {
            "Environment" if value.is_empty() => self.environment.clear(),
            "Environment" => {
                for word in words(value) {
                    let word = expanded(&word, unit);
                    if let Some((name, value)) = word.split_once('=').filter(|(name, _)| is_key(name)) {
                        self.environment.insert(name.to_owned(), Secret(value.to_owned()));
                    }
                }
            }
            "EnvironmentFile" if value.is_empty() => self.files.clear(),
            "EnvironmentFile" => {
                let (path, optional) = value.strip_prefix('-').map_or((value, false), |path| (path, true));
                let path = PathBuf::from(expanded(path, unit));
                if path.is_absolute() {
                    self.files.push((path, optional));
                }
            }
            "UnsetEnvironment" if value.is_empty() => self.unset.clear(),
            "UnsetEnvironment" => self.unset.extend(words(value)),
            "WorkingDirectory" => {
                let path = PathBuf::from(expanded(value.strip_prefix('-').unwrap_or(value), unit));
                self.working_directory = Some(path).filter(|path| path.is_absolute());
            }
            _ => {}
        }
    }
}

/// Lines with their continuations (systemd.syntax(7)): a backslash at the end joins the next line by a
/// blank; comments in between are passed over.
fn joined(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        let whole = match open.take() {
            Some(before) => format!("{before} {part}"),
            None => part.to_owned(),
        };
        if goes_on {
            open = Some(whole);
        } else {
            all.push(whole);
        }
    }
    all.extend(open);
    all
}

/// Words with quotes and C escapes (systemd.syntax(7), "Quoting").
fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (_, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('\\', _) => escape(&mut chars, word.get_or_insert_default()),
            (_, None) if c.is_ascii_whitespace() => all.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

/// What follows a backslash. An escape that is none stays as it stands.
fn escape(chars: &mut std::str::Chars<'_>, word: &mut String) {
    let number = |chars: &mut std::str::Chars<'_>, digits: usize, radix| {
        let text = chars.as_str().get(..digits)?;
        let code = u32::from_str_radix(text, radix).ok().and_then(char::from_u32)?;
        *chars = chars.as_str()[digits..].chars();
        Some(code)
    };
    let rest = chars.clone();
    let Some(c) = chars.next() else { return word.push('\\') };
    let plain = match c {
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        's' => Some(' '),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        '\\' | '"' | '\'' => Some(c),
        'x' => number(chars, 2, 16),
        'u' => number(chars, 4, 16),
        'U' => number(chars, 8, 16),
        '0'..='7' => {
            *chars = rest;
            let code = number(chars, 3, 8);
            if code.is_none() {
                chars.next();
            }
            code
        }
        _ => None,
    };
    match plain {
        Some(plain) => word.push(plain),
        None => word.extend(['\\', c]),
    }
}

/// With the specifiers that need nothing but the name (systemd.unit(5), "Specifiers"); others stay as
/// they stand.
fn expanded(text: &str, unit: &UnitName) -> String {
    let (prefix, instance) = unit.stem().split_once('@').unwrap_or((unit.stem(), ""));
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some('n') => out.push_str(unit.as_str()),
            Some('N') => out.push_str(unit.stem()),
            Some('p') => out.push_str(prefix),
            Some('i') => out.push_str(instance),
            Some('I') => out.push_str(&unescaped(instance)),
            Some('t') => out.push_str("/run"),
            Some('S') => out.push_str("/var/lib"),
            Some('C') => out.push_str("/var/cache"),
            Some('L') => out.push_str("/var/log"),
            Some('E') => out.push_str("/etc"),
            Some('h') => out.push_str("/root"),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

/// As systemd-escape(1) undoes it.
fn unescaped(instance: &str) -> String {
    let mut bytes = Vec::with_capacity(instance.len());
    let mut rest = instance.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(1..3).filter(|_| *first == b'\\' && tail.starts_with(b"x"));
        let code = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(code.unwrap_or(if *first == b'-' { b'/' } else { *first }));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads what may be the text of a unit's file.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn fuzzed(text: &str, unit: &UnitName) {
    let mut lines = Lines::default();
    lines.add(text, unit);
    assert!(lines.environment.keys().all(|key| is_key(key)));
    assert!(lines.files.iter().all(|(path, _)| path.is_absolute()));
    assert!(lines.working_directory.is_none_or(|path| path.is_absolute()));
    for line in joined(text) {
        let words = words(&line);
        assert!(words.iter().map(String::len).sum::<usize>() <= line.len(), "{line:?}");
        words.iter().for_each(|word| drop(unescaped(word)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Host(tempfile::TempDir);

    impl Host {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(self, path: &str, text: &str) -> Self {
            let path = below(self.0.path(), Path::new(path));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            self
        }

        fn read(&self, unit: &str) -> Service {
            read(self.0.path(), &unit.parse().unwrap())
        }

        fn environment(&self, unit: &str) -> Vec<String> {
            let read = self.read(unit);
            read.environment.iter().map(|(key, value)| format!("{key}={}", value.0)).collect()
        }
    }

    #[test]
    fn the_environment_is_what_systemd_would_set() {
        let host = Host::new()
            .file(
                "/etc/systemd/system/web.service",
                "[Unit]\nEnvironment=NO=1\n[Service]\nEnvironment=A=1 \"B=two words\" 'C=\\x41\\tq'\n# D=1\n\
                 Environment=E=%n F=100%% \\\n# a comment\n  G=\"x\"\"y\"\nEnvironmentFile=/srv/%N.env\n\
                 EnvironmentFile=-/srv/none.env\nUnsetEnvironment=H I=0\nWorkingDirectory=-/srv/web\n",
            )
            .file("/srv/web.env", "A=file\nH=1\nI=1\n")
            .file("/usr/lib/systemd/system/web.service", "[Service]\nEnvironment=Z=1\n");
        assert_eq!(
            host.environment("web.service"),
            ["A=file", "B=two words", "C=A\tq", "E=web.service", "F=100%", "G=xy", "I=1"]
        );
        let read = host.read("web.service");
        assert_eq!(read.working_directory.as_deref(), Some(Path::new("/srv/web")));
        assert_eq!(read.unread, [""; 0]);
        assert_eq!(host.environment("none.service"), [""; 0]);
    }

    #[test]
    fn drop_ins_come_in_the_order_of_their_names() {
        let host = Host::new()
            .file("/usr/lib/systemd/system/web@.service", "[Service]\nEnvironment=A=0 I=%i J=%I\n")
            .file("/etc/systemd/system/web@.service.d/20-b.conf", "[Service]\nEnvironment=A=2 B=2\n")
            .file("/etc/systemd/system/web@a-b.service.d/10-a.conf", "[Service]\nEnvironment=A=1 C=1\n")
            .file("/usr/lib/systemd/system/web@.service.d/10-a.conf", "[Service]\nEnvironment=X=1\n")
            .file("/run/systemd/system/service.d/z.conf", "[Service]\nEnvironment=S=1\n")
            .file("/run/systemd/system/web@a-.service.d/p.conf", "[Service]\nEnvironment=P=1\n")
            .file("/run/systemd/system/web@.service.d/no.txt", "[Service]\nEnvironment=N=1\n");
        assert_eq!(
            host.environment("web@a-b.service"),
            ["A=2", "B=2", "C=1", "I=a-b", "J=a/b", "P=1", "S=1"]
        );
        let host = host
            .file("/etc/systemd/system/web@.service.d/99.conf", "[Service]\nEnvironment=\nEnvironment=Y=1\n");
        assert_eq!(host.environment("web@a-b.service"), ["P=1", "S=1", "Y=1"]);
        let mask = below(host.0.path(), Path::new("/etc/systemd/system/z.conf"));
        std::fs::create_dir_all(mask.with_file_name("service.d")).unwrap();
        std::os::unix::fs::symlink("/dev/null", mask.with_file_name("service.d").join("z.conf")).unwrap();
        assert_eq!(host.environment("web@a-b.service"), ["P=1", "Y=1"]);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let host = Host::new()
            .file(
                "/etc/systemd/system/web.service",
                "[Service]\nEnvironmentFile=/srv/web.env\nEnvironmentFile=/srv\nEnvironmentFile=-/srv/x\n",
            )
            .file("/srv/x", "A=1\nB=\0\n");
        let read = host.read("web.service");
        assert_eq!(
            read.unread,
            [
                "/srv/web.env: no such file",
                "/srv: is not a regular file",
                "/srv/x: systemd refuses the whole file: its line 2 holds a NUL byte, which has to go",
            ]
        );
        assert!(read.environment.is_empty() && read.ignored.is_empty());
    }

    #[test]
    fn no_escape_is_lost() {
        assert_eq!(
            words("a\\q \\101 \\9 \\xzz 'it\\'s' end\\"),
            ["a\\q", "A", "\\9", "\\xzz", "it's", "end\\"]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "([A-Z]|=|\"|'|\\\\|x|0|\n| |%|\\PC){0,40}") {
            let unit = "a-b@c-d.service".parse().unwrap();
            Lines::default().add(&format!("[Service]\nEnvironment={text}"), &unit);
            let _ = expanded(&text, &unit);
        }
    }
}
