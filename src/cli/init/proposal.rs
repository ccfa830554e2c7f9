//! The lines that are proposed for one app, and the checks that decide which of them stay.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::super::check;
use super::comment;
use crate::checks::{Pool, World};
use crate::config::{NamedDatabase, load_text};
use crate::judge::DatabasePlace;
use crate::plain::on_one_line;
use crate::server::{Asked, FoundApp, Server, ask};
use crate::systemd::Bus;

/// What a proposal is made from.
pub struct Around<'a> {
    pub root: &'a Path,
    pub server: &'a Server,
    pub bus: &'a Bus,
    pub pool: &'a Pool,
    pub world: &'a Arc<World>,
}

/// A line of the table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Line {
    pub key: &'static str,
    /// As TOML.
    pub value: String,
    /// Where it came from.
    pub from: String,
    /// Why it is only a comment.
    pub left_out: Option<String>,
    /// Tried in turn where the value does not pass.
    #[serde(skip)]
    pub others: Vec<String>,
}

/// What is proposed for an app.
#[derive(Debug)]
pub struct Proposal {
    about: String,
    pub lines: Vec<Line>,
    notes: Vec<String>,
}

/// Health paths, as they are tried.
pub const PATHS: [&str; 7] = ["/api/health", "/health", "/healthz", "/status", "/up", "/ping", "/"];
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// A health check that takes longer is none to ask every few seconds.
const QUICK: Duration = Duration::from_secs(1);
/// Ports of an app that are asked.
const MOST_PORTS: usize = 3;
/// Changes to a proposal until it passes.
const MOST_ROUNDS: usize = 8;
/// Longest name of an app.
const LONGEST: usize = 32;

/// A name for an app on that unit that none of those has.
pub fn name(stem: &str, taken: &[String]) -> String {
    let mut name = String::new();
    for c in stem.to_ascii_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => name.push(c),
            _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    name.truncate(LONGEST - 4);
    let name = name.trim_end_matches('-');
    let name = if name.is_empty() { "app" } else { name };
    let free = |name: &String| !taken.contains(name);
    let mut all = std::iter::once(name.to_owned()).chain((2..1000).map(|n| format!("{name}-{n}")));
    all.find(free).unwrap_or_else(|| name.to_owned())
}

fn quoted(text: &str) -> String {
    // A JSON string's escapes are a subset of TOML's.
    crate::plain::in_json(&serde_json::Value::from(text).to_string())
}

fn line(key: &'static str, value: String, from: impl Into<String>) -> Line {
    Line { key, value, from: from.into(), left_out: None, others: Vec::new() }
}

/// What came of asking a port for the usual paths.
pub enum Health {
    /// That path answers well and quickly.
    Path(&'static str, Asked),
    /// None does, for that reason.
    None(String),
}

/// Tries the usual paths on a port.
pub fn health(found: &FoundApp, port: u16) -> Health {
    let Some(address) = found.address(port) else { return Health::None("nobody listens".to_owned()) };
    let mut last = String::new();
    for path in PATHS {
        match ask(address, port, path, &format!("localhost:{port}"), PATIENCE) {
            Ok(asked) if (200..300).contains(&asked.status) && asked.took <= QUICK => {
                return Health::Path(path, asked);
            }
            Ok(asked) => {
                let slow = if asked.took > QUICK { ", slowly" } else { "" };
                let to = asked.header("location").map(|to| format!(" to {to}")).unwrap_or_default();
                last = format!("{path} answers {}{to}{slow}", asked.status);
            }
            // Who does not answer one path in time answers none.
            Err(why) => return Health::None(format!("GET {path}: {why}")),
        }
    }
    Health::None(format!("none of {} answers 2xx; {last}", PATHS.join(", ")))
}

/// Makes a proposal and checks it against the running app.
pub async fn propose(found: &FoundApp, name: &str, around: &Around<'_>) -> Proposal {
    let mut proposal = Proposal::nothing(found);
    proposal.lines = lines(found, around);
    proposal.settle(name, around).await;
    proposal
}

fn lines(found: &FoundApp, around: &Around<'_>) -> Vec<Line> {
    let unit = found.service.unit.as_str();
    let mut lines = vec![line("unit", quoted(unit), "")];
    let ports = found.ports();
    let asked: Vec<(u16, Health)> =
        ports.iter().take(MOST_PORTS).map(|port| (*port, health(found, *port))).collect();
    let answering = asked.iter().find(|(_, health)| matches!(health, Health::Path(..)));
    let chosen = answering.or(asked.first());
    if let Some((port, health)) = chosen {
        let at: Vec<String> = found.listening.iter().map(crate::server::Listening::shown).collect();
        lines.push(line("port", port.to_string(), format!("it listens on {}", at.join(", "))));
        let addresses = || found.listening.iter().filter(|at| at.port == *port).map(|at| at.address);
        if addresses().all(|address| !address.is_unspecified() && !address.is_loopback())
            && let Some(address) = addresses().next()
        {
            lines.push(line("address", quoted(&address.to_string()), "it listens there alone"));
        }
        lines.push(match health {
            Health::Path(path, asked) => {
                let remark = if asked.is_static() {
                    ", but the answer looks made beforehand: a path that asks the app itself says more"
                } else {
                    ""
                };
                let took = asked.took.as_millis();
                line(
                    "http",
                    quoted(path),
                    format!("GET {path} answers {} in {took} ms{remark}", asked.status),
                )
            }
            Health::None(why) => Line {
                left_out: Some(why.clone()),
                ..line("http", quoted("/health"), "give a path that answers 2xx while all is well")
            },
        });
        lines.extend(public(found, *port, health, around));
    }
    if found.service.working_directory.is_none()
        && let Some(directory) = &found.directory
    {
        let shown = directory.to_string_lossy();
        lines.push(line(
            "working_directory",
            quoted(&shown),
            "its process runs there; the unit says nothing",
        ));
    }
    lines.extend(database(&found.databases, found, around));
    if !found.caches.is_empty() {
        let caches: Vec<String> = found.caches.iter().map(|cache| quoted(cache)).collect();
        lines.push(line("caches", format!("[{}]", caches.join(", ")), "there below its working directory"));
    }
    lines
}

fn public(found: &FoundApp, port: u16, health: &Health, around: &Around<'_>) -> Vec<Line> {
    let sites = found.sites.iter().filter(|(_, to)| *to == port);
    let whole = |location: &str| matches!(location, "/" | "");
    // One that speaks TLS is what people are sent to.
    let mut all: Vec<_> = sites
        .filter_map(|(site, _)| {
            let pass =
                site.passes_to(port).min_by_key(|pass| (!whole(&pass.location), pass.location.len()))?;
            let name = site.public_names().next()?.to_owned();
            let plain = pass.location.starts_with('/') && !pass.location.contains(['(', '*', '$', '\\', '^']);
            plain.then(|| (site, pass.location.clone(), name))
        })
        .collect();
    all.sort_by_key(|(site, location, _)| (!whole(location), !site.ports.iter().any(|(_, tls)| *tls)));
    let Some((site, location, name)) = all.first() else { return Vec::new() };
    let mut urls = vec![quoted(&site.url(name, location))];
    if let (Health::Path(path, _), true) = (health, whole(location)) {
        urls.push(quoted(&site.url(name, path)));
        urls.dedup();
    }
    let from = format!("{} passes {name} to port {port}", site.file);
    let mut lines = vec![Line { others: urls.split_off(1), ..line("public", urls.remove(0), from) }];
    let mut services = around.server.services.iter();
    if services.any(|service| service.unit.as_str() == "nginx.service") {
        lines.push(line("proxy", quoted("nginx.service"), "in front of it"));
    }
    lines
}

fn database(named: &[NamedDatabase], found: &FoundApp, around: &Around<'_>) -> Option<Line> {
    let first = named.first()?;
    let with: Vec<&NamedDatabase> =
        named.iter().filter(|one| one.env_file.is_none() || one.env_file == first.env_file).collect();
    let keys: Vec<String> = with.iter().map(|one| quoted(&one.key)).collect();
    let mut parts = vec![format!("keys = [{}]", keys.join(", "))];
    let mut from = "in the environment of its unit".to_owned();
    if let Some((file, directory)) = first.env_file.zip(found.directory.as_ref()) {
        let path = directory.join(file).display().to_string();
        parts.push(format!("env_file = {}", quoted(&path)));
        from = format!("named in {path}");
    }
    let local = first.places.iter().find_map(|place| match place {
        DatabasePlace::Host(host, port) => {
            let address = host.parse::<std::net::IpAddr>();
            (host == "localhost" || address.is_ok_and(|address| address.is_loopback())).then_some(*port)
        }
        DatabasePlace::Socket(path) => path.to_str()?.rsplit_once(".s.PGSQL.")?.1.parse().ok(),
    });
    if let Some(unit) = local.and_then(|port| around.server.service_on(around.world, port)) {
        parts.push(format!("unit = {}", quoted(unit.as_str())));
        from = format!("{from}; {unit} listens there");
    }
    let shown: Vec<&str> = with.iter().map(|one| one.key.as_str()).collect();
    Some(line("database", format!("{{ {} }}", parts.join(", ")), format!("{} {from}", shown.join(", "))))
}

impl Proposal {
    /// An app without a line.
    pub fn nothing(found: &FoundApp) -> Self {
        let pid = found.service.main_pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        let directory =
            found.directory.as_ref().map(|path| format!(", in {}", path.display())).unwrap_or_default();
        let runs = found.runtime.unwrap_or("a program of its own");
        let about = format!("{} runs {runs} ({}{pid}{directory}).", found.service.unit, found.process);
        Self { about, lines: Vec::new(), notes: Vec::new() }
    }

    /// The file.
    pub fn toml(&self, name: &str) -> String {
        let mut text = comment(&format!("Proposed by app-monitor init. {}", self.about));
        for note in &self.notes {
            text.push_str(&comment(note));
        }
        text.push_str(&format!("[app.{name}]\n"));
        for line in &self.lines {
            if !line.from.is_empty() {
                text.push_str(&comment(&on_one_line(&line.from)));
            }
            if let Some(why) = &line.left_out {
                text.push_str(&comment(&format!("Left out: {why}")));
                text.push('#');
            }
            text.push_str(&format!("{} = {}\n", line.key, line.value));
        }
        text
    }

    /// Leaves out what does not pass, until the rest does.
    async fn settle(&mut self, name: &str, around: &Around<'_>) {
        let path = format!("{}/{name}.toml", super::FOLDER);
        for _ in 0..MOST_ROUNDS {
            let found = match load_text(around.root, Path::new(&path), &self.toml(name)) {
                Ok(loaded) => {
                    let Some(member) = loaded.settings.members.iter().find(|one| one.subject.app().is_some())
                    else {
                        return;
                    };
                    let answer = check::check(member, Ok(around.bus), around.pool, around.world).await;
                    let rows = answer.checks.into_iter().filter(|row| row.result != "good");
                    rows.map(|row| (row.check.to_owned(), row.text)).collect()
                }
                Err(errors) => errors
                    .0
                    .iter()
                    .map(|error| {
                        (error.key.split('.').next().unwrap_or_default().to_owned(), error.message.clone())
                    })
                    .collect::<Vec<_>>(),
            };
            if !self.leave_out(&found) {
                return;
            }
        }
    }

    /// Whether something changed.
    fn leave_out(&mut self, found: &[(String, String)]) -> bool {
        let mut changed = false;
        for (key, why) in found {
            let line = self.lines.iter_mut().find(|line| line.key == key && line.left_out.is_none());
            match line {
                Some(line) if line.key == "unit" => {}
                Some(line) if !line.others.is_empty() => {
                    line.value = line.others.remove(0);
                    changed = true;
                }
                Some(line) => {
                    line.left_out = Some(why.clone());
                    changed = true;
                }
                None => {
                    let note = format!("Note: {key}: {why}");
                    // What nobody asked about, such as memory, is not known to be bad.
                    if matches!(key.as_str(), "disk" | "host-memory" | "processes")
                        && !self.notes.contains(&note)
                    {
                        self.notes.push(note);
                    }
                }
            }
        }
        // Without a public name there is nothing that a proxy would be blamed for.
        let without = self.lines.iter().any(|line| line.key == "public" && line.left_out.is_some());
        if let Some(proxy) = self.lines.iter_mut().find(|line| line.key == "proxy" && line.left_out.is_none())
            && without
        {
            proxy.left_out = Some("it needs a public address".to_owned());
            changed = true;
        }
        changed
    }
}

#[cfg(test)]
impl Proposal {
    pub fn of(about: &str, lines: Vec<Line>) -> Self {
        Self { about: about.to_owned(), lines, notes: Vec::new() }
    }

    pub fn left_out(&mut self, found: &[(&str, &str)]) -> bool {
        let found: Vec<_> = found.iter().map(|(key, why)| ((*key).to_owned(), (*why).to_owned())).collect();
        self.leave_out(&found)
    }
}
