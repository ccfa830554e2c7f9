//! `app-monitor init`: looks at this server and proposes a configuration for each app that it finds,
//! every line with where it came from, and none that does not pass its own check now.

mod belonging;
mod instances;
mod proposal;
mod writing;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::checks::{Limits, Pool, World};
use crate::config::{Settings, Sources, environment, load};
use crate::judge::UnitName;
use crate::plain::on_one_line;
use crate::server::{self, FoundApp, Server, Stray};
use crate::systemd::Bus;

use super::{ATTENTION, OK, complain, json_text, print_text, status_of};
use belonging::Addition;
use proposal::{Around, Line, Proposal};

/// `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Write a file for each app; never over one that is there
    #[arg(long)]
    write: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All that `--json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    apps: Vec<App>,
    elsewhere: Vec<Elsewhere>,
    also_restarting: Vec<Also>,
    unseen: Vec<String>,
}

#[derive(Debug, Serialize)]
struct App {
    app: String,
    /// The first of its units.
    unit: String,
    units: Vec<String>,
    file: String,
    /// The app that is configured on that unit already.
    configured_as: Option<String>,
    /// The configured app that it is an instance of; it has to be added to that one's table.
    belongs_to: Option<String>,
    written: bool,
    /// Why it was not written.
    refused: Option<String>,
    lines: Vec<Line>,
    /// What else to know of it.
    notes: Vec<String>,
    toml: String,
}

#[derive(Debug, Serialize)]
struct Elsewhere {
    name: String,
    pid: u32,
    user: String,
    kept: String,
    directory: Option<String>,
    ports: Vec<u16>,
    advice: String,
    unit_file: Option<String>,
}

#[derive(Debug, Serialize)]
struct Also {
    kind: &'static str,
    place: String,
    command: String,
}

const FOLDER: &str = "/etc/app-monitor/conf.d";
/// Columns of what is printed.
pub(super) const WIDTH: usize = 77;

/// Looks, proposes, and writes where that was asked for.
pub async fn run(command: &Init) -> u8 {
    let bus = match Bus::connect().await {
        Ok(bus) => bus,
        Err(error) => {
            complain(format_args!("cannot ask systemd: {error}"));
            return ATTENTION;
        }
    };
    let root = Path::new("/");
    let mut server = match server::look(root, &bus).await {
        Ok(server) => server,
        Err(error) => {
            complain(format_args!("cannot ask systemd: {error}"));
            return ATTENTION;
        }
    };
    let sources = Sources { root: root.to_owned(), environment: environment::of_this_process() };
    let (settings, shown) = match load(&sources) {
        Ok(loaded) => (loaded.settings, loaded.shown),
        Err(errors) => {
            if command.write {
                complain(&errors);
                complain(if errors.are_of_permission() {
                    "nothing is written by a user who may not see what is configured already; \
                     run it as root: sudo app-monitor init --write"
                } else {
                    "nothing is written beside a configuration with errors"
                });
                return status_of(&errors);
            }
            server.unseen.push("what is configured already: app-monitor config check tells why".to_owned());
            (Settings::default(), Vec::new())
        }
    };
    let pool = Pool::new(Limits::default());
    let around = Around { root, server: &server, bus: &bus, pool: &pool, world: &Arc::new(World::system()) };
    let mut names: Vec<String> = settings.apps().into_iter().map(|app| app.as_str().to_owned()).collect();
    let configured: BTreeMap<&str, String> = settings
        .members
        .iter()
        .filter_map(|member| Some((member.target.unit.as_str(), member.subject.app()?.to_string())))
        .collect();
    let mut apps = Vec::new();
    let as_app = |found: &FoundApp| configured.get(found.service.unit.as_str()).cloned();
    let known = server.apps.iter().filter(|found| as_app(found).is_some()).map(|found| vec![found]);
    let resting = resting(&server, &configured, &bus).await;
    let of_known: Vec<(&FoundApp, &str)> = server
        .apps
        .iter()
        .chain(&resting)
        .filter_map(|found| Some((found, configured.get(found.service.unit.as_str())?.as_str())))
        .collect();
    let new = instances::groups(server.apps.iter().filter(|found| as_app(found).is_none()));
    for group in known.chain(new) {
        let Some(as_app) = group.first().map(|found| as_app(found)) else { continue };
        let name = proposal::name(&instances::stem(&group), &names);
        if as_app.is_none()
            && let Some(of) = belonging::owner(&group, &of_known)
        {
            let new = proposal::instances_of(&group, &name, &around).await;
            let addition = belonging::addition(of, &settings.members, &shown, new);
            apps.push(belongs(&group, addition, command.write));
            continue;
        }
        let proposal = match &as_app {
            Some(_) => Proposal::nothing(&group),
            None => proposal::propose(&group, &name, &around).await,
        };
        let units: Vec<String> = group.iter().map(|found| found.service.unit.to_string()).collect();
        let mut app = App {
            file: format!("{FOLDER}/{name}.toml"),
            unit: units.first().cloned().unwrap_or_default(),
            units,
            written: false,
            refused: None,
            toml: if as_app.is_some() { String::new() } else { proposal.toml(&name) },
            lines: proposal.lines,
            notes: proposal.notes,
            app: as_app.clone().unwrap_or_else(|| name.clone()),
            configured_as: as_app,
            belongs_to: None,
        };
        if app.configured_as.is_none() {
            names.push(name);
            if command.write {
                match writing::write(root, Path::new(&app.file), &app.toml) {
                    Ok(()) => app.written = true,
                    Err(why) => app.refused = Some(why),
                }
            }
        }
        apps.push(app);
    }
    let answer = Answer {
        apps,
        elsewhere: server.strays.iter().map(elsewhere).collect(),
        also_restarting: server
            .restarters
            .iter()
            .map(|one| Also { kind: one.kind, place: one.place.clone(), command: one.command.clone() })
            .collect(),
        unseen: server.unseen.clone(),
    };
    if command.json {
        print_text(&json_text(&answer));
    } else if command.write {
        print_text(&written(&answer, &server));
    } else {
        print_text(&proposed(&answer, &server));
    }
    let refused = answer.apps.iter().any(|app| app.refused.is_some());
    if answer.apps.is_empty() || refused { ATTENTION } else { OK }
}

/// Configured instances of templates that do not run now.
async fn resting(server: &Server, configured: &BTreeMap<&str, String>, bus: &Bus) -> Vec<FoundApp> {
    let mut all = Vec::new();
    for unit in configured.keys().filter(|unit| unit.contains('@')) {
        if server.apps.iter().all(|found| found.service.unit.as_str() != *unit)
            && let Ok(unit) = unit.parse::<UnitName>()
            && let Ok(service) = bus.read_service(&unit).await
        {
            all.extend(belonging::resting(service));
        }
    }
    all
}

/// Instances that are to be added to a table that is there.
fn belongs(group: &[&FoundApp], addition: Addition, write: bool) -> App {
    let units: Vec<String> = group.iter().map(|found| found.service.unit.to_string()).collect();
    let from = addition.what;
    App {
        app: addition.app.clone(),
        unit: units.first().cloned().unwrap_or_default(),
        units,
        file: addition.file.unwrap_or_default(),
        configured_as: None,
        belongs_to: Some(addition.app),
        written: false,
        refused: write.then(|| "what is configured already is not written anew".to_owned()),
        lines: vec![Line {
            key: "instances",
            value: addition.value,
            from,
            left_out: None,
            others: Vec::new(),
        }],
        notes: Vec::new(),
        toml: addition.lines,
    }
}

impl App {
    /// What to do by hand, where it belongs to an app that is configured.
    fn to_add(&self) -> Option<&str> {
        self.belongs_to.as_ref().and(self.lines.first()).map(|line| line.from.as_str())
    }
}

fn elsewhere(stray: &Stray) -> Elsewhere {
    Elsewhere {
        name: stray.name.clone(),
        pid: stray.pid,
        user: stray.user.clone(),
        kept: stray.kept_by(),
        directory: stray.cwd.as_ref().map(|path| path.display().to_string()),
        ports: stray.ports.clone(),
        advice: stray.advice(),
        unit_file: stray.unit(),
    }
}

/// What is proposed, as TOML: everything else is a comment.
fn proposed(answer: &Answer, server: &Server) -> String {
    let mut text = String::new();
    for app in &answer.apps {
        match (&app.configured_as, app.to_add()) {
            (_, Some(what)) => {
                text.push_str(&comment(what));
                for line in app.toml.lines() {
                    text.push_str(&format!("# {line}\n"));
                }
            }
            (Some(name), None) => {
                text.push_str(&comment(&format!("{} is configured already, as {name}.", app.unit)));
            }
            (None, None) => {
                text.push_str(&comment(&format!("For {}:", app.file)));
                text.push_str(&app.toml);
            }
        }
        text.push('\n');
    }
    let rest = remarks(answer, server);
    if answer.apps.iter().any(|app| app.configured_as.is_none() && app.belongs_to.is_none()) {
        text.push_str("# Nothing was written. As root: app-monitor init --write\n");
    }
    for line in rest.lines() {
        text.push_str(format!("# {line}").trim_end());
        text.push('\n');
    }
    text
}

/// What was written.
fn written(answer: &Answer, server: &Server) -> String {
    let mut text = String::new();
    for app in &answer.apps {
        if let Some(what) = app.to_add() {
            text.push_str(&wrapped(&format!("not written: {what}"), "", "  "));
            for line in app.toml.lines().filter(|line| !line.starts_with('#')) {
                text.push_str(&format!("    {line}\n"));
            }
            continue;
        }
        let _ = match (&app.configured_as, &app.refused) {
            (Some(name), _) => writeln!(text, "{}: configured already, as {name}", app.unit),
            (None, Some(why)) => writeln!(text, "{}: not written: {why}", app.file),
            (None, None) => writeln!(text, "{}: written, for {}", app.file, app.units.join(", ")),
        };
        if !app.written {
            continue;
        }
        for line in &app.lines {
            let part = match &line.left_out {
                Some(why) => format!("{} is left out: {why}", line.key),
                None => format!("{} = {}", line.key, line.value),
            };
            text.push_str(&wrapped(&part, "    ", "      "));
        }
        for note in &app.notes {
            text.push_str(&wrapped(note, "    ", "      "));
        }
    }
    if answer.apps.iter().any(|app| app.written) {
        text.push_str("\nnext: systemctl reload app-monitor, then app-monitor status\n");
    }
    text.push_str(&remarks(answer, server));
    text
}

/// What else somebody should know.
fn remarks(answer: &Answer, server: &Server) -> String {
    let mut text = String::new();
    if answer.apps.is_empty() {
        let most = format!(
            "No web app was found. Of {} running services none runs on node, python, ruby, java, php-fpm, bun or \
             deno and listens on a TCP port, or is a program of its own from /etc/systemd/system that does.",
            server.services.len()
        );
        text.push_str(&wrapped(&most, "", ""));
        let next = "An app has to be a running service of the system: systemctl start it, then try again; or \
                    configure it by hand, see app-monitor.toml(5).";
        text.push_str(&wrapped(next, "", ""));
    }
    for stray in &answer.elsewhere {
        let ports: Vec<String> = stray.ports.iter().map(u16::to_string).collect();
        let port = if ports.is_empty() { String::new() } else { format!(", port {}", ports.join(", ")) };
        let directory = stray.directory.as_ref().map(|path| format!(", in {path}")).unwrap_or_default();
        let head = format!(
            "- {} (pid {}, user {}{port}{directory}) runs {}, where app-monitor cannot act.",
            stray.name, stray.pid, stray.user, stray.kept
        );
        text.push('\n');
        text.push_str(&wrapped(&head, "", "  "));
        text.push_str(&wrapped(&format!("What to do: {}.", stray.advice), "  ", "  "));
        for line in stray.unit_file.iter().flat_map(|unit| unit.lines()) {
            text.push_str(format!("      {line}").trim_end());
            text.push('\n');
        }
    }
    for also in &answer.also_restarting {
        let line = format!(
            "- {} has \"{}\": it would act beside app-monitor; take it out.",
            also.place, also.command
        );
        text.push('\n');
        text.push_str(&wrapped(&line, "", "  "));
    }
    if !answer.unseen.is_empty() {
        text.push_str("\nNot seen:\n");
        for line in &answer.unseen {
            text.push_str(&wrapped(line, "  ", "    "));
        }
    }
    text
}

/// A comment of TOML.
fn comment(text: &str) -> String {
    wrapped(text, "# ", "# ")
}

/// Text on lines of at most 77 columns: two more are left for a comment's beginning; a longer word has a line of its own.
pub(super) fn wrapped(text: &str, first: &str, other: &str) -> String {
    let text = on_one_line(text);
    let (mut out, mut line, mut empty) = (String::new(), first.to_owned(), true);
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            other.clone_into(&mut line);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests;
