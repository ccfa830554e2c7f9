//! The rule that lets the daemon act: a file for polkit, written by the privileged pre-start step.
//!
//! Responsible for what the file says and for putting it in place whole. What is to be allowed comes
//! from [`crate::config::grants`]; whether polkit has taken it in is for the daemon to find out.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::config::Grant;
use crate::files::not_written;

/// The only directory that polkit reads (polkit(8)) and that is meant to be written to.
pub const DIRECTORY: &str = "/etc/polkit-1/rules.d";
/// The file in it. Rules are asked in the order of names: an administrator's with a lower number goes
/// first, and may take away what stands here.
pub const FILE: &str = "40-app-monitor.rules";
/// polkit reads what ends in `.rules`, so this is nothing to it until it is renamed.
const NEW: &str = ".40-app-monitor.rules.new";
/// Who is allowed.
const USER: &str = "app-monitor";

/// The rule in polkit's JavaScript (ECMAScript 5).
///
/// All rules share one context, and what a deleted file left in it stays: the list is inside the
/// function that is taken out with the file. Units and verbs are compared whole. What is not listed
/// is left to the rules after this one and, in the end, to systemd's own defaults, which refuse it.
#[must_use]
pub fn rule(grants: &[Grant]) -> String {
    let mut text = String::from(
        "// What app-monitor.service may ask of systemd. Made out of /etc/app-monitor at each of its starts\n\
         // and reloads: do not edit. To allow less, write a rule in a file whose name sorts before this one.\n\
         (function () {\n    var granted = {",
    );
    for (number, Grant { unit, verbs }) in grants.iter().enumerate() {
        let words: Vec<String> = verbs.iter().map(|verb| quoted(verb.word())).collect();
        let comma = if number == 0 { "" } else { "," };
        text.push_str(&format!("{comma}\n        {}: [{}]", quoted(unit.as_str()), words.join(", ")));
    }
    text.push_str("\n    };\n    polkit.addRule(function (action, subject) {\n");
    text.push_str(&format!(
        "        if (action.id !== \"org.freedesktop.systemd1.manage-units\" || subject.user !== {}) {{\n",
        quoted(USER)
    ));
    text.push_str(
        "            return polkit.Result.NOT_HANDLED;\n        }\n        \
         var unit = action.lookup(\"unit\");\n        \
         if (typeof unit !== \"string\" || !Object.prototype.hasOwnProperty.call(granted, unit)) {\n            \
         return polkit.Result.NOT_HANDLED;\n        }\n        \
         return granted[unit].indexOf(action.lookup(\"verb\")) === -1\n            \
         ? polkit.Result.NOT_HANDLED : polkit.Result.YES;\n    \
         });\n})();\n",
    );
    text
}

/// A string literal. Names have nothing in them but letters, digits and `:-_.\@`; should they ever
/// have more, what could end a literal, or a script, is written by its number.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for unit in text.encode_utf16() {
        match u8::try_from(unit).map(char::from) {
            Ok(c) if c.is_ascii_alphanumeric() || ":-_.@".contains(c) => out.push(c),
            _ => out.push_str(&format!("\\u{unit:04x}")),
        }
    }
    out + "\""
}

/// A rule that lies beside its place, and gets there by [`Prepared::put_in_force`]; else it is removed.
#[derive(Debug)]
#[must_use]
pub struct Prepared {
    directory: PathBuf,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // In its place by now, or of no use.
        let _ = fs::remove_file(self.directory.join(NEW));
    }
}

/// Writes the rule beside its place; polkit does not see it there.
///
/// # Errors
/// Why it cannot be written, with the path, and what to do about it.
pub fn prepare(directory: &Path, grants: &[Grant]) -> Result<Prepared, String> {
    let new = directory.join(NEW);
    let written = (|| {
        // One left behind by a power cut, or whatever else is in the way.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Never through a link: the directory belongs to polkit's own user.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(rule(grants).as_bytes())?;
        if rustix::process::geteuid().is_root() {
            rustix::fs::fchown(&file, Some(rustix::fs::Uid::ROOT), Some(rustix::fs::Gid::ROOT))?;
        }
        // polkit reads it as a user of its own, whatever our umask is.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.sync_all()
    })();
    match written {
        Ok(()) => Ok(Prepared { directory: directory.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "{} does not exist: polkit is not installed (apt install polkitd)",
            directory.display()
        )),
        Err(error) => {
            let _ = fs::remove_file(&new);
            Err(not_written(&directory.join(FILE), &error))
        }
    }
}

impl Prepared {
    /// Puts it in place of the one that holds. polkit notices by itself, within a tenth of a second. That it
    /// outlasts a power cut matters little, since each start writes it anew.
    ///
    /// # Errors
    /// Why it cannot be put there; the one that held still does.
    pub fn put_in_force(self) -> Result<(), String> {
        let (new, path) = (self.directory.join(NEW), self.directory.join(FILE));
        fs::rename(&new, &path).map_err(|error| not_written(&path, &error))?;
        let _ = File::open(&self.directory).and_then(|directory| directory.sync_all());
        Ok(())
    }
}

/// Puts the rule in force where an older one must not outlast a failure: what holds then is the
/// same, or nothing.
///
/// # Errors
/// Why the new one does not hold, and what holds instead.
pub fn replace(directory: &Path, grants: &[Grant]) -> Result<(), String> {
    let put = || prepare(directory, grants).and_then(Prepared::put_in_force);
    let Err(why) = put() else { return Ok(()) };
    let path = directory.join(FILE);
    // Nothing new was to be written, e.g. on a full disk.
    if holds(&path, grants) {
        return Ok(());
    }
    match fs::remove_file(&path) {
        // On a full disk, its room may do.
        Ok(()) => put().map_err(|_| format!("{why}; the one of the last start is removed")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(why),
        Err(error) => {
            Err(format!("{why}; {}, which is out of date, is still there: {error}", path.display()))
        }
    }
}

fn holds(path: &Path, grants: &[Grant]) -> bool {
    let readable = fs::symlink_metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.uid() == 0 && meta.mode() & 0o777 == 0o644);
    readable && fs::read(path).is_ok_and(|text| text == rule(grants).as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Verb, Verbs};

    fn grant(unit: &str, verbs: &[Verb]) -> Grant {
        Grant { unit: unit.parse().unwrap(), verbs: Verbs::of(verbs) }
    }

    #[test]
    fn a_rule_lists_units_and_verbs_inside_its_own_function() {
        let text = rule(&[
            grant("api.service", &[Verb::Start, Verb::ResetFailed]),
            grant("web\\x2da@1.service", &[Verb::Ref]),
        ]);
        assert!(text.contains("\"api.service\": [\"start\", \"reset-failed\"],\n"), "{text}");
        assert!(text.contains("\"web\\u005cx2da@1.service\": [\"ref\"]\n    };"), "{text}");
        assert!(text.contains("subject.user !== \"app-monitor\""), "{text}");
        let code: Vec<&str> = text.lines().filter(|line| !line.starts_with("//")).collect();
        assert_eq!((code.first(), code.last()), (Some(&"(function () {"), Some(&"})();")));
        assert!(rule(&[]).contains("var granted = {\n    };"));
    }

    #[test]
    fn it_is_put_in_place_whole_and_readable() {
        let folder = tempfile::tempdir().unwrap();
        let one = [grant("web.service", &[Verb::Start])];
        std::os::unix::fs::symlink("/dev/null", folder.path().join(NEW)).unwrap();
        replace(folder.path(), &one).unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(fs::read_to_string(&path).unwrap(), rule(&one));
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode(), 0o100_644);
        drop(prepare(folder.path(), &[]).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "what is not wanted any more is gone");
        let prepared = prepare(folder.path(), &[]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), rule(&one), "not in force yet");
        prepared.put_in_force().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), rule(&[]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_old_rule_does_not_outlast_a_new_one_that_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let one = [grant("web.service", &[Verb::Start])];
        replace(folder.path(), &one).unwrap();
        fs::create_dir(folder.path().join(NEW)).unwrap();
        // The same one may stay.
        if rustix::process::geteuid().is_root() {
            assert_eq!(replace(folder.path(), &one), Ok(()));
        }
        let why = replace(folder.path(), &[]).unwrap_err();
        assert!(why.ends_with("the one of the last start is removed"), "{why}");
        assert!(!folder.path().join(FILE).exists());
        let why = replace(&folder.path().join("nowhere"), &one).unwrap_err();
        assert!(why.contains("polkit is not installed"), "{why}");
    }

    proptest! {
        #[test]
        fn nothing_breaks_out_of_a_literal(text in "\\PC*|[\\x00-\\x7f\u{2028}\"\\\\/*]*") {
            let literal = quoted(&text);
            let inside = literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
            prop_assert!(inside.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.@\\".contains(&b)), "{literal}");
            prop_assert_eq!(serde_json::from_str::<String>(&literal).unwrap(), text);
        }
    }
}
