//! The lines that are proposed for one app, and the checks that decide which of them stay.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::super::check;
use super::comment;
use super::instances::{self, Instance};
use crate::checks::{Pool, World};
use crate::config::{ConfigError, NamedDatabase, load_text};
use crate::judge::{DatabasePlace, Role};
use crate::plain::on_one_line;
use crate::server::nginx::Pass;
use crate::server::{Asked, FoundApp, Health, Server, usual_paths};
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
    /// What stands in the line `instances`, where there is one.
    instances: Vec<Instance>,
    /// What else to know of it.
    pub notes: Vec<String>,
}

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Ports of an app that are asked.
const MOST_PORTS: usize = 3;
/// Changes to a proposal until it passes.
const MOST_ROUNDS: usize = 12;
/// Public names of a site that are tried.
const MOST_NAMES: usize = 4;
/// Sockets of an app that are named.
const MOST_SOCKETS: usize = 4;
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

pub fn quoted(text: &str) -> String {
    // A JSON string's escapes are a subset of TOML's.
    crate::plain::in_json(&serde_json::Value::from(text).to_string())
}

fn line(key: &'static str, value: String, from: impl Into<String>) -> Line {
    Line { key, value, from: from.into(), left_out: None, others: Vec::new() }
}

/// Makes a proposal for services that are one app, and checks it against them.
pub async fn propose(group: &[&FoundApp], name: &str, around: &Around<'_>) -> Proposal {
    let mut proposal = Proposal::nothing(group);
    match group {
        [found] => proposal.lines = lines(found, around),
        _ => proposal.of_instances(group, around),
    }
    proposal.settle(name, around).await;
    proposal.notes.extend(unasked(group, &proposal.lines));
    proposal
}

/// These as instances of an app, checked likewise.
pub async fn instances_of(group: &[&FoundApp], name: &str, around: &Around<'_>) -> Vec<Instance> {
    let mut proposal = Proposal::nothing(group);
    proposal.of_instances(group, around);
    // The rest is the app's own, and said in its table.
    proposal.lines.retain(|line| matches!(line.key, "instances" | "address"));
    proposal.settle(name, around).await;
    proposal.instances
}

fn health(found: &FoundApp, port: u16) -> Health {
    match found.address(port) {
        Some(address) => usual_paths(address, port, PATIENCE),
        None => Health::None("nobody listens".to_owned()),
    }
}

/// The port that answers a usual path, else the most likely one, with what came of asking.
fn chosen(found: &FoundApp) -> Option<(u16, Health)> {
    let mut asked: Vec<(u16, Health)> =
        found.ports().into_iter().take(MOST_PORTS).map(|port| (port, health(found, port))).collect();
    let answering = asked.iter().position(|(_, health)| matches!(health, Health::Path(..)));
    (!asked.is_empty()).then(|| asked.swap_remove(answering.unwrap_or(0)))
}

fn listens(found: &FoundApp) -> String {
    let at: Vec<String> = found.listening.iter().map(crate::server::Listening::shown).collect();
    format!("it listens on {}", at.join(", "))
}

/// The same of sockets in the file system.
fn on_sockets(found: &FoundApp) -> Option<String> {
    let at: Vec<String> =
        found.sockets.iter().take(MOST_SOCKETS).map(|path| path.display().to_string()).collect();
    (!at.is_empty()).then(|| format!("it listens on {}", at.join(", ")))
}

/// What to know of an app behind sockets in the file system: no key takes one.
fn unasked(group: &[&FoundApp], lines: &[Line]) -> Option<String> {
    let behind: Vec<&&FoundApp> =
        group.iter().filter(|found| found.listening.is_empty() && !found.sockets.is_empty()).collect();
    let first = behind.first()?;
    let sockets = behind.iter().flat_map(|found| &found.sockets).take(MOST_SOCKETS);
    let sockets: Vec<String> = sockets.map(|path| path.display().to_string()).collect();
    let public = lines.iter().any(|line| line.key == "public" && line.left_out.is_none());
    let frozen = match public {
        true => {
            "when it answers nobody, that is seen from the public page, and told, but nothing is restarted"
        }
        false => "when it answers nobody, that is not seen",
    };
    let remedy = match first.runtime {
        Some("php-fpm") => "php-fpm itself ends what hangs, with request_terminate_timeout in its pool",
        _ => {
            "to have it restarted then, let it listen on a port of 127.0.0.1, too, and name that with port and \
             http"
        }
    };
    Some(format!(
        "Note: it listens on {}, and no key asks a socket. Its unit and its processes are watched; \
         {frozen}. What can be done: {remedy}.",
        sockets.join(", ")
    ))
}

/// The address that a port is bound to, where localhost does not lead to it.
fn elsewhere(found: &FoundApp, port: u16) -> Option<IpAddr> {
    let mut addresses = found.listening.iter().filter(|at| at.port == port).map(|at| at.address);
    let first = addresses.next()?;
    let local = |address: &IpAddr| address.is_unspecified() || address.is_loopback();
    (!local(&first) && addresses.all(|address| !local(&address))).then_some(first)
}

fn answers(path: &str, asked: &Asked) -> String {
    let remark = if asked.is_static() {
        ", but the answer looks made beforehand: a path that asks the app itself says more"
    } else {
        ""
    };
    format!("GET {path} answers {} in {} ms{remark}", asked.status, asked.took.as_millis())
}

fn lines(found: &FoundApp, around: &Around<'_>) -> Vec<Line> {
    let unit = found.service.unit.as_str();
    let mut lines = vec![line("unit", quoted(unit), on_sockets(found).unwrap_or_default())];
    let chosen = chosen(found);
    if let Some((port, health)) = &chosen {
        lines.push(line("port", port.to_string(), listens(found)));
        if let Some(address) = elsewhere(found, *port) {
            lines.push(line("address", quoted(&address.to_string()), "it listens there alone"));
        }
        lines.push(match health {
            Health::Path(path, asked) => line("http", quoted(path), answers(path, asked)),
            Health::None(why) => Line {
                left_out: Some(why.clone()),
                ..line("http", quoted("/health"), "give a path that answers 2xx while all is well")
            },
        });
    }
    lines.extend(public(found, chosen.as_ref(), around));
    lines.extend(around_it(found, around));
    lines
}

/// What is said of an app, of how many instances ever.
fn around_it(found: &FoundApp, around: &Around<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
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

fn public(found: &FoundApp, chosen: Option<&(u16, Health)>, around: &Around<'_>) -> Vec<Line> {
    let port = chosen.map(|(port, _)| *port);
    let sites = found.sites.iter().filter(|(_, to)| to.is_none() || *to == port);
    let whole = |location: &str| matches!(location, "/" | "");
    // One that speaks TLS is what people are sent to.
    let mut all: Vec<_> = sites
        .filter_map(|(site, to)| {
            let leads = |pass: &&Pass| match to {
                Some(port) => pass.leads_to(*port),
                None => found.sockets.iter().any(|path| pass.leads_to_socket(path)),
            };
            let passes = site.passes.iter().filter(leads);
            let pass = passes.min_by_key(|pass| (!whole(&pass.location), pass.location.len()))?;
            let names: Vec<&str> = site.public_names().take(MOST_NAMES).collect();
            let plain = pass.location.starts_with('/') && !pass.location.contains(['(', '*', '$', '\\', '^']);
            // A named location (`@app`) is where the rest of a site leads; what speaks over a socket is the
            // site's one app, whatever pattern leads to it.
            let location = match to {
                _ if plain => pass.location.as_str(),
                _ if pass.location.starts_with('@') || to.is_none() => "/",
                _ => return None,
            };
            (!names.is_empty()).then(|| (site, location.to_owned(), names))
        })
        .collect();
    all.sort_by_key(|(site, location, _)| (!whole(location), !site.ports.iter().any(|(_, tls)| *tls)));
    let Some((site, location, names)) = all.first() else { return Vec::new() };
    let mut urls = Vec::new();
    for name in names {
        urls.push(quoted(&site.url(name, location)));
        if let (Some((_, Health::Path(path, _))), true) = (chosen, whole(location)) {
            urls.push(quoted(&site.url(name, path)));
        }
    }
    urls.dedup();
    let to = port.map_or_else(|| "its socket".to_owned(), |port| format!("port {port}"));
    let from = format!("{} passes {} to {to}", site.file, names.join(", "));
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
    pub fn nothing(group: &[&FoundApp]) -> Self {
        let [found] = group else {
            let units: Vec<&str> = group.iter().map(|app| app.service.unit.as_str()).collect();
            let runs = group.first().and_then(|app| app.runtime).unwrap_or("a program of its own");
            let about = format!("{} run {runs}, as instances of one app.", units.join(", "));
            return Self { about, lines: Vec::new(), instances: Vec::new(), notes: Vec::new() };
        };
        let pid = found.service.main_pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        let directory =
            found.directory.as_ref().map(|path| format!(", in {}", path.display())).unwrap_or_default();
        let runs = found.runtime.unwrap_or("a program of its own");
        let about = format!("{} runs {runs} ({}{pid}{directory}).", found.service.unit, found.process);
        Self { about, lines: Vec::new(), instances: Vec::new(), notes: Vec::new() }
    }

    /// The lines of an app of several instances.
    fn of_instances(&mut self, group: &[&FoundApp], around: &Around<'_>) {
        let mut public_lines = Vec::new();
        let mut addresses = Vec::new();
        for found in group {
            let unit = found.service.unit.to_string();
            let chosen = chosen(found);
            let nowhere = || "it listens nowhere".to_owned();
            let (mut from, mut without) = (on_sockets(found).unwrap_or_else(nowhere), Vec::new());
            let (mut port, mut http) = (None, None);
            if let Some((at, health)) = &chosen {
                from = listens(found);
                addresses.push(elsewhere(found, *at));
                if self.instances.iter().any(|known| known.port == Some(*at)) {
                    without.push(format!("port is left out: {at} is that of another instance, too"));
                } else {
                    port = Some(*at);
                    match health {
                        Health::Path(path, asked) => {
                            http = Some(*path);
                            from = format!("{from}; {}", answers(path, asked));
                        }
                        Health::None(why) => without.push(format!("http is left out: {why}")),
                    }
                }
            }
            if public_lines.is_empty() {
                public_lines = public(found, chosen.as_ref(), around);
            }
            self.instances.push(Instance { unit, port, http, from, without });
        }
        self.lines.push(line("instances", instances::value(&self.instances), ""));
        if let Some(Some(address)) = addresses.first().copied()
            && addresses.iter().all(|other| *other == Some(address))
        {
            self.lines.push(line("address", quoted(&address.to_string()), "they listen there alone"));
        }
        self.lines.extend(public_lines);
        let first = group.first().filter(|first| group.iter().all(|one| one.directory == first.directory));
        self.lines.extend(first.into_iter().flat_map(|found| around_it(found, around)));
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
            if line.key == "instances" {
                text.push_str(&instances::toml(&self.instances));
                continue;
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
                    let mut found = Vec::new();
                    for member in loaded.settings.members.iter().filter(|one| one.target.role == Role::App) {
                        let answer = check::check(member, Ok(around.bus), around.pool, around.world).await;
                        let rows = answer.checks.into_iter().filter(|row| row.result != "good");
                        let unit = member.target.unit.as_str();
                        found.extend(rows.map(|row| (unit.to_owned(), row.check.to_owned(), row.text)));
                    }
                    found
                }
                Err(errors) => {
                    let key =
                        |error: &ConfigError| error.key.split('.').next().unwrap_or_default().to_owned();
                    let errors = errors.0.iter();
                    errors.map(|error| (String::new(), key(error), error.message.clone())).collect()
                }
            };
            if !self.leave_out(&found) {
                return;
            }
        }
    }

    /// Whether something changed.
    fn leave_out(&mut self, found: &[(String, String, String)]) -> bool {
        let mut changed = false;
        let another =
            |line: &Line| line.key == "public" && line.left_out.is_none() && !line.others.is_empty();
        let another = self.lines.iter().any(another) && found.iter().any(|(_, key, _)| key == "public");
        for (unit, key, why) in found {
            // The proxy was asked for a name that is not the last that is tried.
            if another && key == "proxy" {
                continue;
            }
            if let Some(instance) = self.instances.iter_mut().find(|one| one.unit == *unit)
                && instance.leave_out(key, why)
            {
                changed = true;
                continue;
            }
            let line = self.lines.iter_mut().find(|line| line.key == key && line.left_out.is_none());
            match line {
                // It is what all is about.
                Some(line) if matches!(line.key, "unit" | "instances") => {}
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
        if let Some(line) = self.lines.iter_mut().find(|line| line.key == "instances") {
            line.value = instances::value(&self.instances);
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
        Self { about: about.to_owned(), lines, instances: Vec::new(), notes: Vec::new() }
    }

    pub fn left_out(&mut self, found: &[(&str, &str)]) -> bool {
        let row = |(key, why): &(&str, &str)| (String::new(), (*key).to_owned(), (*why).to_owned());
        let found: Vec<_> = found.iter().map(row).collect();
        self.leave_out(&found)
    }
}
