//! The last lines that a unit left in the journal.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use crate::judge::UnitName;

/// So many lines.
const LINES: &str = "20";
/// And so many bytes of them.
const BYTES: u64 = 64 * 1024;
/// journalctl on a large journal with cold caches takes seconds.
const WITHIN: Duration = Duration::from_secs(4);

/// Asks journalctl: the journal's files are its own business.
pub fn lines(root: &Path, unit: &UnitName) -> Vec<String> {
    match ask(root, unit) {
        Ok(text) => text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect(),
        Err(why) => vec![format!("cannot be read: {why}")],
    }
}

#[expect(clippy::disallowed_types, reason = "a root-owned oneshot, which asks the one reader of the journal")]
fn ask(root: &Path, unit: &UnitName) -> Result<String, String> {
    let program = root.join("usr/bin/journalctl");
    let unit = format!("--unit={unit}");
    let mut child = std::process::Command::new(&program)
        .args(["--quiet", "--no-pager", "--output=cat", "--lines", LINES, &unit])
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
        let mut text = Vec::new();
        // Whatever was read by then is worth having.
        let _ = stdout.take(BYTES).read_to_end(&mut text);
        let _ = done.send(text);
    });
    reader.map_err(|error| error.to_string())?;
    let text = read.recv_timeout(WITHIN);
    // It has ended, or has to: nothing of it is wanted any more.
    let _ = child.kill();
    let _ = child.wait();
    match text {
        Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Err(_) => Err(format!("journalctl does not answer within {} s", WITHIN.as_secs())),
    }
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
    fn a_flood_is_cut_and_absence_is_told() {
        let bytes: usize = says("yes 0123456789").iter().map(|line| line.len() + 1).sum();
        assert!(bytes <= 64 * 1024 + 16, "{bytes}");
        let absent = lines(Path::new("/nonexistent"), &"web.service".parse().unwrap());
        assert!(absent[0].starts_with("cannot be read: /nonexistent/usr/bin/journalctl: "), "{absent:?}");
    }
}
