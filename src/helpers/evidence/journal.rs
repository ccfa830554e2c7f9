//! The last lines that a unit left in the journal.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use crate::judge::UnitName;

/// So many entries.
const ENTRIES: &str = "20";
/// An entry may have many lines: so many of all are kept, the newest.
const LINES: usize = 60;
/// And so many bytes of each.
const LINE: usize = 1024;
/// What journalctl has to say of so few entries is no longer.
const MOST: u64 = 16 << 20;
/// journalctl on a large journal with cold caches takes seconds.
const WITHIN: Duration = Duration::from_secs(4);
/// Once it was ended, what was read until then comes at once.
const AFTER: Duration = Duration::from_secs(1);

/// Asks journalctl: the journal's files are its own business.
pub fn lines(root: &Path, unit: &UnitName) -> Vec<String> {
    match ask(root, unit) {
        Ok(lines) => lines,
        Err(why) => vec![format!("cannot be read: {why}")],
    }
}

#[expect(clippy::disallowed_types, reason = "a root-owned oneshot, which asks the one reader of the journal")]
fn ask(root: &Path, unit: &UnitName) -> Result<Vec<String>, String> {
    let program = root.join("usr/bin/journalctl");
    let unit = format!("--unit={unit}");
    let mut child = std::process::Command::new(&program)
        .args(["--quiet", "--no-pager", "--output=cat", "--lines", ENTRIES, &unit])
        .env_clear()
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let Some(stdout) = child.stdout.take() else { return Err("it has no output".to_owned()) };
    let (done, read) = mpsc::channel();
    let reader = std::thread::Builder::new().spawn(move || {
        let _ = done.send(newest(stdout.take(MOST)));
    });
    reader.map_err(|error| error.to_string())?;
    let lines = read.recv_timeout(WITHIN);
    // It has ended, or has to: nothing of it is wanted any more.
    let _ = child.kill();
    let _ = child.wait();
    // Whatever was read by then is worth having.
    match lines.or_else(|_| read.recv_timeout(AFTER)) {
        Ok(lines) => Ok(lines),
        Err(_) => Err(format!("journalctl does not answer within {} s", WITHIN.as_secs())),
    }
}

/// The last lines of a text, in its order, each cut. journalctl could turn the entries round, but then
/// nobody could tell the lines of one entry, a stack trace, from the next.
pub fn newest(mut from: impl Read) -> Vec<String> {
    let mut lines: VecDeque<Vec<u8>> = VecDeque::new();
    let mut line: Vec<u8> = Vec::new();
    let mut keep = |line: &mut Vec<u8>| {
        if !line.trim_ascii().is_empty() {
            // Of a flood of a million lines none but these is put into room of its own.
            let room = if lines.len() < LINES { None } else { lines.pop_front() };
            lines.push_back(std::mem::replace(line, room.unwrap_or_default()));
        }
        line.clear();
    };
    let mut buffer = [0; 8192];
    loop {
        let read = match from.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        for piece in buffer[..read].split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            line.extend_from_slice(&text[..text.len().min(LINE - line.len())]);
            if text.len() < piece.len() {
                keep(&mut line);
            }
        }
    }
    keep(&mut line);
    lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(script: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("usr/bin/journalctl");
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        lines(folder.path(), &"web.service".parse().unwrap())
    }

    #[test]
    fn it_is_asked_for_the_unit_alone_and_hears_no_environment() {
        let lines = says("echo \"$@\"; echo; echo \"${HOME:-none}\"");
        assert_eq!(
            lines,
            ["--quiet --no-pager --output=cat --lines 20 --unit=web.service".to_owned(), "none".to_owned()]
        );
    }

    #[test]
    fn the_newest_lines_are_kept_in_their_order_and_each_is_cut() {
        // A line of 100 KiB at the beginning leaves room for the others, as does one at the end.
        let long = "head -c 100000 /dev/zero | tr '\\0' x; echo";
        let lines = says(&format!("{long}; seq 1 200; {long}; echo last"));
        assert_eq!(lines.len(), LINES);
        assert_eq!((lines[0].as_str(), lines[LINES - 3].as_str()), ("143", "200"));
        assert_eq!((lines[LINES - 2].len(), lines[LINES - 1].as_str()), (LINE, "last"));
        assert_eq!(says("printf unended"), ["unended"]);
    }

    #[test]
    fn a_flood_is_cut_and_absence_is_told() {
        assert_eq!(says("yes 0123456789").len(), LINES);
        let absent = lines(Path::new("/nonexistent"), &"web.service".parse().unwrap());
        assert!(absent[0].starts_with("cannot be read: /nonexistent/usr/bin/journalctl: "), "{absent:?}");
    }
}
