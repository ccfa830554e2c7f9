//! `app-monitor doctor`: looks over an app's surroundings and names what will hurt one day, each with the
//! line that mends it. It changes nothing.

mod access;
mod lint;
mod looking;
mod says;

use std::path::Path;

use clap::Args;
use serde::Serialize;

use crate::config::{Member, Shown, load_text};
use crate::judge::UnitName;
use crate::server::{self, Server};
use crate::systemd::Bus;

use super::init::wrapped;
use super::terminal::{Terminal, Tone};
use super::{ATTENTION, OK, USAGE, check, complain, json_text, print_text};
use lint::{Finding, Severity};

/// `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Only this app of the configuration
    #[arg(conflicts_with = "unit")]
    app: Option<String>,
    /// A unit that is not configured, e.g. web.service
    #[arg(long)]
    unit: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The app that a unit is which is not configured.
const UNCONFIGURED: &str = "unconfigured-unit";

/// All that `--json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    findings: Vec<Finding>,
    apps: Vec<String>,
    unseen: Vec<String>,
}

/// Looks. Exit status 1 when something was found.
pub async fn run(command: &Doctor) -> u8 {
    let (mut members, shown_values) = match members(command) {
        Ok(found) => found,
        Err(status) => return status,
    };
    members.truncate(1000);
    let looked = async {
        let bus = Bus::connect().await?;
        let server = server::look(Path::new("/"), &bus).await?;
        Ok::<_, crate::systemd::Error>((bus, server))
    };
    let (bus, server) = match looked.await {
        Ok(found) => found,
        Err(error) => {
            complain(format_args!("cannot ask systemd: {error}"));
            return ATTENTION;
        }
    };
    let answer = examine(&members, &shown_values, &bus, &server).await;
    if command.json {
        print_text(&json_text(&answer));
    } else {
        print_text(&shown(&answer, Terminal::of_stdout()));
    }
    if answer.findings.is_empty() { OK } else { ATTENTION }
}

/// The apps of the configuration, or the unit that was named; and what the configuration says where.
fn members(command: &Doctor) -> Result<(Vec<Member>, Vec<Shown>), u8> {
    if let Some(unit) = &command.unit {
        let name = if unit.contains('.') { unit.clone() } else { format!("{unit}.service") };
        let parsed = name.parse::<UnitName>().map_err(|error| {
            complain(format_args!("--unit: {error}"));
            USAGE
        })?;
        let text = format!("[app.{UNCONFIGURED}]\nunit = {}\n", serde_json::Value::from(parsed.as_str()));
        let loaded = load_text(Path::new("/"), Path::new("--unit"), &text).map_err(|errors| {
            complain(errors);
            USAGE
        })?;
        return Ok((loaded.settings.members, Vec::new()));
    }
    check::configured_apps_as_shown(command.app.as_deref())
}

async fn examine(members: &[Member], shown: &[Shown], bus: &Bus, server: &Server) -> Answer {
    let (mut findings, mut unseen) = (Vec::new(), server.unseen.clone());
    for member in members {
        match bus.read_service(&member.target.unit).await {
            Ok(service) => {
                let patient = looking::look(member, shown, &service, server);
                findings.extend(lint::app(&patient, server));
            }
            Err(error) => unseen.push(format!("{}: {error}", member.target.unit)),
        }
    }
    findings.extend(lint::host(server));
    findings.sort_by_key(|finding| finding.severity);
    let apps = members.iter().map(|member| member.target.unit.to_string()).collect();
    Answer { findings, apps, unseen }
}

fn shown(answer: &Answer, terminal: Terminal) -> String {
    let mut text = String::new();
    // Colours come after it: they are no letters.
    let letters =
        |text: &str| -> String { text.lines().map(|line| format!("{}\n", terminal.letters(line))).collect() };
    for finding in &answer.findings {
        let whom = finding.app.as_deref().unwrap_or("this host");
        let head = format!("{whom}: {}: {}", finding.severity.word(), finding.what);
        let head = letters(&wrapped(&head, "", "  "));
        let tone = if finding.severity == Severity::Problem { Tone::Bad } else { Tone::Quiet };
        let word = finding.severity.word();
        text.push_str(&head.replacen(word, &terminal.paint(tone, word), 1));
        text.push_str(&letters(&wrapped(&finding.why, "    ", "    ")));
        for line in &finding.mend {
            // Whole, to be copied.
            text.push_str(&format!("      {}\n", terminal.letters(line)));
        }
        text.push('\n');
    }
    if answer.findings.is_empty() {
        let of = if answer.apps.is_empty() { "this host".to_owned() } else { answer.apps.join(", ") };
        text.push_str(&wrapped(&format!("nothing to mend about {of}"), "", "  "));
    }
    if answer.apps.is_empty() {
        text.push_str("no app is configured: app-monitor init proposes; doctor --unit UNIT looks at one\n");
    }
    if !answer.unseen.is_empty() {
        text.push_str("not seen:\n");
        for line in &answer.unseen {
            text.push_str(&letters(&wrapped(line, "    ", "      ")));
        }
    }
    text
}

#[cfg(test)]
mod tests;
