//! The commands of a service, and what stands before them (systemd.service(5), "Command lines").

use std::path::PathBuf;

use zbus::Variant;

/// Commands of a unit, and words of a command, that are looked at.
const MANY: usize = 64;

/// Whose power a command has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Power {
    /// That of the unit. Also behind a `!!`, which means something only to kernels before 4.3.
    #[default]
    Unit,
    /// Behind a `!`: root's, within the sandbox of the unit.
    Root,
    /// Behind a `+`: root's, and no sandbox.
    Full,
}

/// A command of `ExecStart=`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Exec {
    /// Its file, as it is written.
    pub file: PathBuf,
    /// Its words, the name that it is given first; behind an `@` that is not its file. May hold secrets.
    pub words: Vec<String>,
    /// What stands before it, but for an `@`.
    pub prefix: String,
    /// Whose power it has.
    pub power: Power,
    /// Behind a `-`: it may fail, and is passed over where its file is not there.
    pub optional: bool,
}

impl Exec {
    /// Its words, put together by blanks. May hold secrets.
    #[must_use]
    pub fn line(&self) -> String {
        self.words.join(" ")
    }

    fn behind(mut self, flag: &str) -> Self {
        self.prefix.push_str(match flag {
            "ignore-failure" => "-",
            "privileged" => "+",
            "no-setuid" => "!",
            "ambient" => "!!",
            "no-env-expand" => ":",
            _ => "",
        });
        match flag {
            "ignore-failure" => self.optional = true,
            "privileged" => self.power = Power::Full,
            "no-setuid" => self.power = Power::Root,
            _ => {}
        }
        self
    }
}

#[cfg(test)]
impl From<&str> for Exec {
    /// An ordinary command.
    fn from(line: &str) -> Self {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Self { file: words[0].clone().into(), words, ..Self::default() }
    }
}

/// `a(sasasttttuii)` as in `ExecStartEx`, or `a(sasbttttuii)` as in `ExecStart`: file, words, and flags or
/// whether it may fail.
pub(super) fn execs(value: &Variant<'_>) -> Vec<Exec> {
    let list = match value {
        Variant::Variant(inner) => return execs(inner),
        Variant::Array(list) => list,
        _ => return Vec::new(),
    };
    let exec = |command: &Variant<'_>| {
        let Variant::Structure(command) = command else { return None };
        let [Variant::Str(file), words, flags, ..] = command.fields() else { return None };
        let exec = Exec { file: PathBuf::from(file.as_str()), words: texts(words), ..Exec::default() };
        Some(match flags {
            Variant::Bool(true) => exec.behind("ignore-failure"),
            flags => texts(flags).iter().fold(exec, |exec, flag| exec.behind(flag)),
        })
    };
    list.iter().filter_map(exec).take(MANY).collect()
}

fn texts(value: &Variant<'_>) -> Vec<String> {
    let Variant::Array(list) = value else { return Vec::new() };
    let text = |one: &Variant<'_>| match one {
        Variant::Str(text) => Some(text.as_str().to_owned()),
        _ => None,
    };
    list.iter().filter_map(text).take(MANY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As systemd gives what stands there, alone and together.
    #[test]
    fn what_stands_before_a_command_is_known() {
        let all: [(&[&str], &str, Power, bool); 9] = [
            (&[], "", Power::Unit, false),
            (&["ignore-failure"], "-", Power::Unit, true),
            (&["no-env-expand"], ":", Power::Unit, false),
            (&["privileged"], "+", Power::Full, false),
            (&["no-setuid"], "!", Power::Root, false),
            (&["ambient"], "!!", Power::Unit, false),
            (&["ignore-failure", "privileged", "no-env-expand"], "-+:", Power::Full, true),
            (&["ignore-failure", "no-setuid"], "-!", Power::Root, true),
            (&["of-a-later-version", "privileged"], "+", Power::Full, false),
        ];
        for (flags, prefix, power, optional) in all {
            let flags: Vec<&str> = flags.to_vec();
            // Behind an `@` it is given another name.
            let value = Variant::from(vec![("/usr/bin/node", vec!["web", "a b"], flags, 7_u64)]);
            let expected = Exec {
                file: "/usr/bin/node".into(),
                words: vec!["web".into(), "a b".into()],
                prefix: prefix.into(),
                power,
                optional,
            };
            assert_eq!(execs(&value), [expected], "{prefix}");
        }
        for (optional, prefix) in [(true, "-"), (false, "")] {
            let value = Variant::from(vec![("/usr/bin/node", vec!["node"], optional, 7_u64)]);
            let read = execs(&value);
            assert_eq!((read[0].optional, read[0].prefix.as_str()), (optional, prefix));
        }
        assert_eq!(execs(&Variant::from(vec![("/usr/bin/node", 7_u64)])), []);
        assert_eq!(execs(&Variant::from("/usr/bin/node")), []);
    }
}
