//! What else starts or restarts apps: lines of crontabs, and shell scripts that loop. They act on a sick
//! app behind systemd's back, or on one that app-monitor is recovering.

use std::path::Path;

use super::processes::Process;

/// Something that restarts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restarter {
    /// `cron`, or `loop`.
    pub kind: &'static str,
    /// Where it is: a file and its line, or a process and its script.
    pub place: String,
    /// The command alone: `systemctl restart web`. The rest of a line may hold secrets.
    pub command: String,
    /// The text that it stands in, to be searched, never shown.
    text: String,
}

const SHELLS: [&str; 6] = ["bash", "sh", "dash", "zsh", "ksh", "ash"];
const MOST: usize = 128;
const MOST_LINES: usize = 5_000;
const MOST_WORDS: usize = 256;

pub(super) fn all(root: &Path, processes: &[Process], unseen: &mut Vec<String>) -> Vec<Restarter> {
    let mut found = Vec::new();
    cron(root, unseen, &mut found);
    loops(root, processes, unseen, &mut found);
    found.truncate(MOST);
    found
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
            // A job that calls a script of its own: looked into, one level deep.
            let script = line.split_whitespace().find(|word| word.starts_with('/') && word.ends_with(".sh"));
            let inner = script.and_then(|path| super::text(root, path, &mut Vec::new()));
            let whole = inner.map_or_else(|| line.to_owned(), |inner| format!("{line}\n{inner}"));
            if let Some(command) = restarts(&whole) {
                let place = format!("{file}, line {}", at + 1);
                found.push(Restarter { kind: "cron", place, command, text: whole });
            }
        }
    }
}

fn loops(root: &Path, processes: &[Process], unseen: &mut Vec<String>, found: &mut Vec<Restarter>) {
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
            found.push(Restarter { kind: "loop", place, command, text });
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
        Self { kind, place: place.to_owned(), text: command.clone(), command }
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
    fn whom_it_is_about() {
        let of = |text: &str| Restarter {
            kind: "cron",
            place: String::new(),
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
