//! What else starts or restarts apps: lines of crontabs, timers, and shell scripts that loop. They act on a
//! sick app behind systemd's back, or on one that app-monitor is recovering.

use std::path::Path;

use super::processes::{Place, Process, place};
use crate::judge::{ActiveState, UnitName};
use crate::plain::command as in_shell;
use crate::systemd::{ServiceReading, TimerReading};

/// Something that restarts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restarter {
    /// `cron`, `timer`, or `loop`.
    pub kind: &'static str,
    /// Where it is: a file and its line, a timer, or a process and its script.
    pub place: String,
    /// The command that ends it.
    pub end: String,
    /// The command alone: `systemctl restart web`. The rest of a line may hold secrets.
    pub command: String,
    /// The text that it stands in, to be searched, never shown.
    text: String,
}

const SHELLS: [&str; 6] = ["bash", "sh", "dash", "zsh", "ksh", "ash"];
const MOST: usize = 128;
const MOST_LINES: usize = 5_000;
const MOST_WORDS: usize = 256;

/// Scripts that a line calls and that are looked into.
const MOST_SCRIPTS: usize = 4;

pub(super) fn all(
    root: &Path,
    processes: &[Process],
    services: &[ServiceReading],
    timers: &[TimerReading],
    unseen: &mut Vec<String>,
) -> Vec<Restarter> {
    let mut found = Vec::new();
    cron(root, unseen, &mut found);
    found.extend(timers.iter().filter_map(|timer| of_timer(root, timer, services)));
    loops(root, processes, services, unseen, &mut found);
    found.truncate(MOST);
    found
}

/// What a timer's unit does, if that restarts something. A timer may start an app itself.
fn of_timer(root: &Path, reading: &TimerReading, services: &[ServiceReading]) -> Option<Restarter> {
    let TimerReading { timer, fragment, starts, lines } = reading;
    let lines: Vec<String> = lines.iter().map(|line| with_scripts(root, line)).collect();
    let mut text = lines.join("\n");
    // What stays up is no job that is done in a while.
    let stays = services.iter().any(|one| one.unit == *starts && one.active == ActiveState::Active);
    if stays {
        text = format!("systemctl start {starts}\n{text}");
    }
    let command = restarts(&text)?;
    let place = format!("{timer} (which starts {starts})");
    Some(Restarter { kind: "timer", place, end: ending(timer, fragment.as_deref()), command, text })
}

/// How a unit is ended for good. One without a file of its own is gone when it is stopped.
fn ending(unit: &UnitName, fragment: Option<&Path>) -> String {
    match fragment {
        Some(path) if !path.starts_with("/run") => in_shell("systemctl disable --now {}", &[unit.as_str()]),
        _ => in_shell("systemctl stop {}", &[unit.as_str()]),
    }
}

/// A line with the scripts that it calls, one level deep: those of an administrator. The distribution's own
/// start units of theirs, which are no apps.
fn with_scripts(root: &Path, line: &str) -> String {
    let mut whole = line.to_owned();
    let separators =
        |c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | ')' | '"' | '\'' | '`');
    let of_an_admin = |word: &&str| word.starts_with('/') && !super::is_of_the_system(Path::new(word));
    for path in line.split(separators).filter(of_an_admin).take(MOST_SCRIPTS) {
        let Some(text) = super::text(root, path, &mut Vec::new()) else { continue };
        if text.starts_with("#!") || path.ends_with(".sh") {
            whole.push('\n');
            whole.push_str(&text);
        }
    }
    whole
}

fn cron(root: &Path, unseen: &mut Vec<String>, found: &mut Vec<Restarter>) {
    let mut files = vec!["/etc/crontab".to_owned()];
    for folder in [
        "/etc/cron.d",
        "/var/spool/cron/crontabs",
        "/etc/cron.hourly",
        "/etc/cron.daily",
        "/etc/cron.weekly",
        "/etc/cron.monthly",
    ] {
        let names = super::folder(root, folder, unseen);
        files.extend(names.into_iter().map(|name| format!("{folder}/{name}")));
    }
    for file in files {
        let Some(text) = super::text(root, &file, unseen) else { continue };
        for (at, line) in text.lines().take(MOST_LINES).enumerate() {
            let line = line.trim();
            if line.starts_with('#') || found.len() >= MOST {
                continue;
            }
            let whole = with_scripts(root, line);
            if let Some(command) = restarts(&whole) {
                let place = format!("{file}, line {}", at + 1);
                let end = in_shell(&format!("sed -i '{}s/^/#/' {{}}", at + 1), &[&file]);
                found.push(Restarter { kind: "cron", place, end, command, text: whole });
            }
        }
    }
}

fn loops(
    root: &Path,
    processes: &[Process],
    services: &[ServiceReading],
    unseen: &mut Vec<String>,
    found: &mut Vec<Restarter>,
) {
    for process in processes {
        let Some(first) = process.args.first() else { continue };
        let shell = first.rsplit('/').next().unwrap_or_default().trim_start_matches('-');
        if !SHELLS.contains(&shell) || found.len() >= MOST {
            continue;
        }
        let script = process.args.iter().skip(1).find(|word| !word.starts_with('-'));
        let mut text = process.args[1..].join(" ");
        let mut place = format!("{shell} (pid {})", process.pid);
        if let Some(script) = script.filter(|_| !process.args.iter().any(|word| word == "-c")) {
            let path = match &process.cwd {
                _ if script.starts_with('/') => Path::new(script).to_owned(),
                Some(cwd) => cwd.join(script),
                None => continue,
            };
            place = format!("{} (pid {})", path.display(), process.pid);
            text = super::text(root, &path.to_string_lossy(), unseen).unwrap_or_default();
        }
        let loops = text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| matches!(word, "while" | "until" | "for"));
        if let Some(command) = restarts(&text).filter(|_| loops) {
            let of = |unit: &UnitName| services.iter().find(|service| service.unit == *unit);
            // Whoever a cgroup is left to names what is below it, and not as units are named.
            let unit = match self::place(&process.cgroup) {
                Place::Service(unit) => unit.parse::<UnitName>().ok(),
                _ => None,
            };
            let end = match unit {
                Some(unit) => ending(&unit, of(&unit).and_then(|unit| unit.fragment.as_deref())),
                None => format!("kill {}", process.pid),
            };
            found.push(Restarter { kind: "loop", place, end, command, text });
        }
    }
}

/// The commands in a text that restart something, each with whom, if it says so by a unit's name.
fn commands(text: &str) -> impl Iterator<Item = (String, Option<String>)> + '_ {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#')).take(MOST_LINES);
    lines.flat_map(|line| {
        let separators =
            |c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | ')' | '"' | '\'' | '`');
        let words: Vec<&str> =
            line.split(separators).filter(|word| !word.is_empty()).take(MOST_WORDS).collect();
        (0..words.len()).filter_map(|at| command(&words[at..])).collect::<Vec<_>>()
    })
}

/// The command that begins with these words.
fn command(words: &[&str]) -> Option<(String, Option<String>)> {
    let name = words.first()?.rsplit('/').next().unwrap_or_default();
    let mut rest = words[1..].iter().filter(|word| !word.starts_with('-')).copied();
    let (verb, what) = (rest.next().unwrap_or_default(), rest.next().unwrap_or_default());
    let acts = |verb: &str| matches!(verb, "restart" | "start" | "try-restart" | "reload-or-restart");
    let whom = match name {
        "systemctl" if acts(verb) => Some(what),
        "service" if acts(what) => Some(verb),
        "pm2" if acts(verb) || matches!(verb, "reload" | "resurrect") => None,
        "supervisorctl" | "forever" | "docker" | "podman" if acts(verb) => None,
        _ => return None,
    };
    // A variable may be anybody.
    let whom = whom.filter(|whom| !whom.is_empty() && !whom.contains('$'));
    let whom = whom.map(|whom| whom.strip_suffix(".service").unwrap_or(whom).to_owned());
    Some((format!("{name} {verb} {what}").trim_end().to_owned(), whom))
}

/// The first command in a text that restarts something.
fn restarts(text: &str) -> Option<String> {
    commands(text).next().map(|(command, _)| command)
}

/// Whether it is about the app of that unit, or asks that port. A name that systemd is told is the whole
/// truth; anything else is told by the words beside it.
#[must_use]
pub fn mends(restarter: &Restarter, stem: &str, ports: &[u16]) -> bool {
    let word = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '\\'));
    let mut named = commands(&restarter.text).map(|(_, whom)| whom);
    if named.any(|whom| whom.as_deref() == Some(stem)) {
        return true;
    }
    if commands(&restarter.text).all(|(_, whom)| whom.is_some()) {
        return false;
    }
    restarter.text.split(word).any(|word| word == stem)
        || ports.iter().any(|port| {
            let port = format!(":{port}");
            let mut parts = restarter.text.match_indices(&port);
            parts.any(|(at, part)| {
                !restarter.text[at + part.len()..].starts_with(|c: char| c.is_ascii_digit())
            })
        })
}

#[cfg(test)]
impl Restarter {
    /// One that restarts web.
    pub(crate) fn of(kind: &'static str, place: &str) -> Self {
        let command = "systemctl restart web".to_owned();
        Self { kind, place: place.to_owned(), end: "true".into(), text: command.clone(), command }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_restart() {
        for (text, expected) in [
            (
                "*/5 * * * * root curl -f http://localhost:3000 || /usr/bin/systemctl -q restart web",
                Some("systemctl restart web"),
            ),
            ("@reboot pm2 resurrect", Some("pm2 resurrect")),
            ("x; service web restart", Some("service web restart")),
            ("# systemctl restart web", None),
            ("systemctl status web", None),
            ("TOKEN=x systemctl", None),
            ("", None),
        ] {
            assert_eq!(restarts(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn timers_and_what_they_start() {
        let root = tempfile::tempdir().unwrap();
        let script = root.path().join("usr/local/bin/heal");
        std::fs::create_dir_all(script.parent().unwrap()).unwrap();
        std::fs::write(&script, "#!/bin/sh\ncurl -f localhost:3000 || systemctl restart web\n").unwrap();
        std::fs::create_dir_all(root.path().join("sbin")).unwrap();
        std::fs::write(root.path().join("sbin/scrub_all"), "#!/bin/sh\nsystemctl start web\n").unwrap();
        let web = ServiceReading { active: ActiveState::Active, ..ServiceReading::running("web.service", 7) };
        let of = |starts: &str, line: &str, fragment: Option<&str>| {
            let timer = TimerReading {
                timer: "heal.timer".parse().unwrap(),
                fragment: fragment.map(Into::into),
                starts: starts.parse().unwrap(),
                lines: vec![line.to_owned()],
            };
            all(root.path(), &[], std::slice::from_ref(&web), &[timer], &mut Vec::new()).pop()
        };
        let written = Some("/etc/systemd/system/heal.timer");
        for (starts, line, command) in [
            ("heal.service", "/usr/bin/systemctl restart web", Some("systemctl restart web")),
            ("heal.service", "/usr/local/bin/heal -x", Some("systemctl restart web")),
            ("web.service", "/usr/bin/node x.js", Some("systemctl start web.service")),
            ("certbot.service", "/usr/bin/certbot -q renew", None),
            // What the distribution brings starts nobody's app.
            ("scrub.service", "/sbin/scrub_all", None),
            ("heal.service", "/usr/bin/find /srv/web -delete", None),
        ] {
            let found = of(starts, line, written);
            assert_eq!(found.as_ref().map(|found| found.command.as_str()), command, "{line}");
            let Some(found) = found else { continue };
            assert!(mends(&found, "web", &[3000]) && !mends(&found, "other", &[4000]), "{line}");
            assert_eq!(found.end, "systemctl disable --now heal.timer");
        }
        let other = of("heal.service", "/usr/bin/systemctl restart other", written).unwrap();
        assert!(!mends(&other, "web", &[3000]));
        let transient = of("web.service", "x", Some("/run/systemd/transient/heal.timer")).unwrap();
        assert_eq!(transient.end, "systemctl stop heal.timer");
    }

    /// A name below a cgroup that was left to somebody is his own choice.
    #[test]
    fn what_ends_a_loop() {
        for (group, expected) in [
            ("/system.slice/watch.service", "systemctl stop watch.service"),
            ("/system.slice/a\\x2db.service", "systemctl stop 'a\\x2db.service'"),
            ("/system.slice/web.service/x;reboot;.service", "kill 9"),
            ("/system.slice/web.service/$(reboot).service", "kill 9"),
            ("/user.slice/user-0.slice/session-3.scope", "kill 9"),
        ] {
            let line = "bash -c while\u{a0}true;do\u{a0}systemctl\u{a0}restart\u{a0}web;done";
            let process = Process {
                pid: 9,
                parent: 1,
                name: "bash".into(),
                args: line.split(' ').map(|word| word.replace('\u{a0}', " ")).collect(),
                user: "root".into(),
                cgroup: group.into(),
                cwd: None,
                exe: None,
            };
            let mut found = all(Path::new("/nonexistent"), &[process], &[], &[], &mut Vec::new());
            assert_eq!(found.pop().map(|found| found.end).as_deref(), Some(expected), "{group}");
        }
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("etc/cron.d");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("my heal"), "* * * * * root systemctl restart web\n").unwrap();
        let found = all(root.path(), &[], &[], &[], &mut Vec::new());
        assert_eq!(found[0].end, "sed -i '1s/^/#/' '/etc/cron.d/my heal'");
    }

    #[test]
    fn whom_it_is_about() {
        let of = |text: &str| Restarter {
            kind: "cron",
            place: String::new(),
            end: String::new(),
            command: String::new(),
            text: text.into(),
        };
        for (text, expected) in [
            ("systemctl restart web.service", true),
            ("systemctl restart other; systemctl restart web", true),
            ("systemctl restart web-2", false),
            ("curl localhost:3000 || systemctl restart other", false),
            ("cd /srv/web && systemctl restart other", false),
            ("for app in web shop; do systemctl restart $app; done", true),
            ("curl localhost:3000/ || pm2 restart all", true),
            ("curl localhost:30001/ || pm2 restart all", false),
            ("pm2 restart web", true),
        ] {
            assert_eq!(mends(&of(text), "web", &[3000]), expected, "{text}");
        }
    }
}
