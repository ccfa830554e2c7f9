//! The completions are loaded into real shells and asked. bash is always there; zsh and fish are asked
//! where they are installed, and have to be with APP_MONITOR_SHELLS=all.

#![expect(clippy::disallowed_types, reason = "shells are asked")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::{Typed, commands, tree, words};

/// Stands in for the program, which the completions ask for names.
const STUB: &str = "#!/bin/sh
case \"$*\" in
'complete apps') printf 'shop\\nweb\\n' ;;
'complete alerts') printf 'mail\\ntell\\n' ;;
'complete incidents') printf 'web-2\\nweb-1\\n' ;;
*) exit 1 ;;
esac
";

struct Shell {
    name: &'static str,
    options: &'static [&'static str],
    /// What it is told to do: takes `file` and lines, prints what completes each, then `end`.
    script: &'static str,
    /// The completions: a file, or for zsh the folder in which it looks for them.
    file: &'static str,
}

const SHELLS: [Shell; 3] = [
    Shell {
        name: "bash",
        options: &["--norc", "--noprofile"],
        script: "ask.bash",
        file: "packaging/completions/app-monitor.bash",
    },
    Shell { name: "zsh", options: &["-f"], script: "ask.zsh", file: "packaging/completions" },
    Shell {
        name: "fish",
        options: &["--no-config"],
        script: "ask.fish",
        file: "packaging/completions/app-monitor.fish",
    },
];

impl Shell {
    fn is_there(&self) -> bool {
        Command::new(self.name).arg("-c").arg("true").output().is_ok_and(|output| output.status.success())
    }

    /// What completes each of the lines.
    fn ask(&self, lines: &[String]) -> Vec<BTreeSet<String>> {
        let folder = tempfile::tempdir().unwrap();
        let stub = folder.path().join("app-monitor");
        std::fs::write(&stub, STUB).unwrap();
        std::fs::set_permissions(&stub, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        let script = tree("src/cli/tests").join(self.script);
        let output = Command::new(self.name)
            .args(self.options)
            .arg(script)
            .arg(tree(self.file))
            .args(lines)
            .env("PATH", path)
            .env("HOME", folder.path())
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{}: {said}\n{}",
            self.name,
            String::from_utf8_lossy(&output.stderr)
        );
        let mut answers = vec![BTreeSet::new()];
        for line in said.lines().filter(|line| !line.is_empty()) {
            match (line, answers.last_mut()) {
                ("end", _) => answers.push(BTreeSet::new()),
                (word, Some(answer)) => {
                    answer.insert(word.to_owned());
                }
                (_, None) => {}
            }
        }
        answers.pop();
        assert_eq!(answers.len(), lines.len(), "{}: {said}", self.name);
        answers
    }
}

/// What is typed, and all that may come next.
fn expected() -> Vec<(String, BTreeSet<String>)> {
    let mut expected = Vec::new();
    let all = commands();
    for Typed { path, options, below, argument, .. } in &all {
        let typed: String =
            ["app-monitor".to_owned()].iter().chain(path).map(|word| format!("{word} ")).collect();
        expected.push((format!("{typed}-"), options.clone()));
        if !below.is_empty() {
            expected.push((typed.clone(), below.clone()));
        }
        match argument.as_deref() {
            Some("app") => expected.push((typed.clone(), words(&["shop", "web"]))),
            Some("name") => expected.push((typed.clone(), words(&["mail", "tell"]))),
            Some("id") => expected.push((typed.clone(), words(&["web-1", "web-2"]))),
            None => {}
            Some(other) => panic!("nobody knows what completes {other} of {typed}"),
        }
    }
    expected.push(("app-monitor help ".into(), all[0].below.clone()));
    // Values of options are no arguments, and what was begun is completed.
    expected.push(("app-monitor wait --for 5m ".into(), words(&["shop", "web"])));
    expected.push(("app-monitor pause --reason status w".into(), words(&["web"])));
    expected.push(("app-monitor incidents --app ".into(), words(&["shop", "web"])));
    expected.push(("app-monitor config sh".into(), words(&["show"])));
    expected
}

fn completes(shell: &str) {
    let Some(shell) = SHELLS.into_iter().find(|one| one.name == shell) else { panic!("no such shell") };
    if !shell.is_there() {
        let must = shell.name == "bash" || std::env::var("APP_MONITOR_SHELLS").is_ok_and(|all| all == "all");
        assert!(!must, "{} is not installed", shell.name);
        return;
    }
    let expected = expected();
    let lines: Vec<String> = expected.iter().map(|(line, _)| line.clone()).collect();
    for ((line, expected), answer) in expected.iter().zip(shell.ask(&lines)) {
        assert_eq!(&answer, expected, "{}: {line:?}", shell.name);
    }
}

#[test]
fn bash_completes_every_command_and_option_and_no_other() {
    completes("bash");
}

#[test]
fn zsh_completes_every_command_and_option_and_no_other() {
    completes("zsh");
}

#[test]
fn fish_completes_every_command_and_option_and_no_other() {
    completes("fish");
}

#[test]
fn completions_are_where_the_package_takes_them_from() {
    let rules = std::fs::read_to_string(tree("debian/rules")).unwrap();
    for file in std::fs::read_dir(tree("packaging/completions")).unwrap() {
        let name = file.unwrap().file_name();
        let path = Path::new("packaging/completions").join(name);
        assert!(rules.contains(&format!("{} ", path.display())), "{} is not installed", path.display());
    }
}
