//! `app-monitor simulate`: what the monitor would have done about what happens, with the configuration
//! as its files have it now. Nothing is done, and no daemon is needed.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::config::environment::of_this_process;
use crate::config::{Member, Settings, Sources, load};
use crate::incidents::{Incident, Places, day_and_time};
use crate::judge::{AppName, EventKind, NO_APP, Role, Subject};
use crate::replay::{Script, Told, play};

use super::terminal::Terminal;
use super::{ATTENTION, OK, USAGE, complain, json_text, no_such_app, print_text, status_of};

/// Incidents that are played, the latest ones.
const MOST_INCIDENTS: usize = 50;

/// `simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// The app; needed where several are configured
    app: Option<String>,
    /// What happens, e.g. "10:00 freeze 40s; 12:00 db-down 5m"; man app-monitor-simulate lists the words
    #[arg(long, value_name = "SCRIPT", required_unless_present = "incidents")]
    faults: Option<String>,
    /// What happened: the app's incidents on record; needs root or group adm
    #[arg(long, conflicts_with = "faults")]
    incidents: bool,
    /// The same once more with another value, e.g. failures=5; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Show every line that the journal would hold, not only what matters most
    #[arg(long)]
    all: bool,
    /// Print JSON: an object with the events of each run
    #[arg(long)]
    json: bool,
}

/// A key of the configuration and its value.
fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("expected KEY=VALUE, e.g. failures=5".to_owned()),
    }
}

#[derive(Debug, Serialize)]
struct Answer {
    app: String,
    /// The times count from this midnight: seconds since the epoch, in UTC; none for a made-up day.
    midnight: Option<i64>,
    happens: Vec<Happens>,
    runs: Vec<Run>,
}

#[derive(Debug, Serialize)]
struct Happens {
    seconds: f64,
    what: String,
    /// When it is over, unless a restart ends it.
    over_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Run {
    /// What was set, e.g. `failures=5`; nothing in the first.
    set: Vec<String>,
    recoveries: usize,
    alerts: usize,
    gave_up: bool,
    events: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    seconds: f64,
    event: EventKind,
    subject: Subject,
    text: String,
}

impl Run {
    fn of(set: Vec<String>, told: Vec<Told>) -> Self {
        let count = |event| told.iter().filter(|told| told.record.event == event).count();
        Self {
            set,
            recoveries: count(EventKind::RecoveryStarted),
            alerts: told.iter().filter(|told| told.record.alert).count(),
            gave_up: count(EventKind::BreakerOpened) > 0,
            events: told
                .into_iter()
                .map(|told| Line {
                    seconds: told.at.as_secs_f64(),
                    event: told.record.event,
                    text: told.record.line(),
                    subject: told.record.subject,
                })
                .collect(),
        }
    }
}

/// Plays it. Exit status 0, whatever would have happened.
pub fn run(command: &Simulate) -> u8 {
    match answer(command) {
        Ok(answer) if command.json => {
            print_text(&json_text(&answer));
            OK
        }
        Ok(answer) => {
            print_text(&told(&answer, command.all, &Terminal::of_stdout()));
            OK
        }
        Err(status) => status,
    }
}

fn answer(command: &Simulate) -> Result<Answer, u8> {
    let environment = of_this_process();
    let settings = read(environment.clone(), &[])?;
    let app = one_app(&settings, command.app.as_deref())?;
    let (script, midnight) = script(command, &app)?;
    for whom in script.0.iter().filter_map(|one| one.whom.as_ref()) {
        let known = |member: &Member| {
            member.subject == *whom || (matches!(whom, Subject::App(_)) && member.subject.app() == whom.app())
        };
        if !members(&settings, &app).iter().any(known) {
            complain(format_args!(
                "--faults: {app} has no \u{201c}{whom}\u{201d} that something could happen to"
            ));
            return Err(USAGE);
        }
    }
    let rehearse = |settings: &Settings| play(&members(settings, &app), settings.max_parallel, &script);
    let mut runs = vec![Run::of(Vec::new(), rehearse(&settings))];
    if !command.set.is_empty() {
        let name = |part: &str| part.to_ascii_uppercase().replace('-', "_");
        // An app that the environment alone describes has no table of its own.
        let alone = environment.iter().any(|(name, _)| name == "APP_MONITOR_UNIT");
        let table = if alone { String::new() } else { format!("APP_{}__", name(app.as_str())) };
        let variable = |key: &str| format!("APP_MONITOR_{table}{}", name(key));
        let set: Vec<_> = command.set.iter().map(|(key, value)| (variable(key), value.clone())).collect();
        let words = command.set.iter().map(|(key, value)| format!("{key}={value}")).collect();
        runs.push(Run::of(words, rehearse(&read(environment, &set)?)));
    }
    let happens = script.0.iter().map(|one| Happens {
        seconds: one.at.as_secs_f64(),
        what: one.to_string(),
        over_seconds: one.length.map(|length| (one.at + length).as_secs_f64()),
    });
    Ok(Answer { app: app.to_string(), midnight, happens: happens.collect(), runs })
}

/// The files as they are now, and on top what is set.
fn read(mut environment: Vec<(String, String)>, set: &[(String, String)]) -> Result<Settings, u8> {
    environment.retain(|(name, _)| set.iter().all(|(own, _)| own != name));
    environment.extend(set.iter().cloned());
    let loaded = load(&Sources { root: PathBuf::from("/"), environment });
    loaded.map(|loaded| loaded.settings).map_err(|errors| {
        let mut text = errors.to_string();
        // A person typed an option.
        for (name, _) in set {
            let key = name.rsplit("__").next().unwrap_or(name).trim_start_matches("APP_MONITOR_");
            let option = format!("--set {}", key.to_ascii_lowercase());
            text = text.replace(&format!("environment: {name}"), &option);
        }
        complain(text);
        if set.is_empty() { status_of(&errors) } else { USAGE }
    })
}

fn one_app(settings: &Settings, wanted: Option<&str>) -> Result<AppName, u8> {
    let apps = settings.apps();
    let names: Vec<&str> = apps.iter().map(|app| app.as_str()).collect();
    match (wanted, apps.as_slice()) {
        (_, []) => complain(NO_APP),
        (None, [only]) => return Ok((*only).clone()),
        (None, _) => complain(format_args!("which app? {} are configured", names.join(", "))),
        (Some(wanted), apps) => match apps.iter().find(|app| app.as_str() == wanted) {
            Some(app) => return Ok((*app).clone()),
            None => complain(no_such_app(wanted, names)),
        },
    }
    Err(ATTENTION)
}

/// The app, its instances, and what it leans on.
fn members(settings: &Settings, app: &AppName) -> Vec<Member> {
    let own = |member: &&Member| member.subject.app() == Some(app);
    let leans_on = |member: &&Member| {
        let unit = Some(&member.target.unit);
        member.target.role != Role::App
            && settings
                .members
                .iter()
                .filter(own)
                .any(|app| app.target.proxy.as_ref() == unit || app.target.database_unit.as_ref() == unit)
    };
    settings.members.iter().filter(|member| own(member) || leans_on(member)).cloned().collect()
}

fn script(command: &Simulate, app: &AppName) -> Result<(Script, Option<i64>), u8> {
    if let Some(faults) = &command.faults {
        return Script::read(faults).map(|script| (script, None)).map_err(|why| {
            complain(format_args!("--faults: {why}"));
            USAGE
        });
    }
    let places = Places::system();
    let refuse = |why: &dyn std::fmt::Display| {
        complain(why);
        ATTENTION
    };
    let listed = places.list().map_err(|error| refuse(&error))?;
    let own = listed.incidents.iter().filter(|head| head.app == *app).take(MOST_INCIDENTS);
    let incidents: Vec<Incident> = own.filter_map(|head| places.read(&head.id).ok()).collect();
    let (script, midnight, unlike) = Script::of_incidents(&incidents);
    if !unlike.is_empty() {
        complain(format_args!("left out, since nothing here looks like it: {}", unlike.join(", ")));
    }
    if script.0.is_empty() {
        return Err(refuse(&format_args!("{app}: no incident on record can be played; try --faults")));
    }
    Ok((script, Some(midnight)))
}

// --- For people

/// What is shown without `--all`: what a person would ask for.
const MATTERS: [EventKind; 9] = [
    EventKind::IncidentOpened,
    EventKind::IncidentClosed,
    EventKind::RecoveryStarted,
    EventKind::RecoveryFailed,
    EventKind::BreakerOpened,
    EventKind::BreakerClosed,
    EventKind::StoppedByAdmin,
    EventKind::ConditionBegan,
    EventKind::ConditionEnded,
];

fn told(answer: &Answer, all: bool, terminal: &Terminal) -> String {
    let mut text = String::new();
    let push = |text: &mut String, front: &str, line: &str| {
        for row in terminal.hang(front, line) {
            let _ = writeln!(text, "{row}");
        }
    };
    let time = |seconds: f64| shown(answer.midnight, Duration::from_secs_f64(seconds));
    let mut happens: Vec<(f64, String)> = Vec::new();
    for one in &answer.happens {
        happens.push((one.seconds, format!("* {}", one.what)));
        happens.extend(one.over_seconds.map(|over| (over, format!("* {}: over", one.what))));
    }
    happens.sort_by(|a, b| a.0.total_cmp(&b.0));
    for run in &answer.runs {
        let with = if run.set.is_empty() {
            "as configured".to_owned()
        } else {
            format!("with {}", run.set.join(", "))
        };
        push(&mut text, "", &format!("{}, {with}", answer.app));
        let lines = run.events.iter().filter(|line| all || MATTERS.contains(&line.event));
        let mut lines: Vec<(f64, &str)> = lines.map(|line| (line.seconds, line.text.as_str())).collect();
        lines.extend(happens.iter().map(|(at, what)| (*at, what.as_str())));
        // What happens goes before what follows from it.
        lines.sort_by(|a, b| {
            a.0.total_cmp(&b.0).then_with(|| b.1.starts_with('*').cmp(&a.1.starts_with('*')))
        });
        for (at, line) in lines {
            push(&mut text, &format!("  {}  ", time(at)), line);
        }
        text.push('\n');
    }
    for (number, run) in answer.runs.iter().enumerate() {
        let end = |run: &Run| {
            let gave_up = if run.gave_up { ", and given up" } else { "" };
            format!("{}{gave_up}; told somebody {}", times(run.recoveries), times(run.alerts))
        };
        let line = match number {
            0 => format!("would have recovered {} {}", answer.app, end(run)),
            _ => format!("with {}: {}", run.set.join(", "), end(run)),
        };
        push(&mut text, "", &line);
    }
    text
}

fn times(count: usize) -> String {
    match count {
        0 => "not at all".to_owned(),
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    }
}

/// The time of day, and the day where it is known or not the first.
fn shown(midnight: Option<i64>, at: Duration) -> String {
    let seconds = at.as_secs();
    match midnight {
        Some(midnight) => day_and_time(midnight.saturating_add_unsigned(seconds)),
        None => {
            let day = seconds / 86_400;
            let time =
                day_and_time(i64::try_from(seconds).unwrap_or(0)).get(11..).unwrap_or_default().to_owned();
            if day == 0 { time } else { format!("{time} (+{day} d)") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::shapes::assert_shape;
    use super::*;

    #[test]
    fn the_shape_of_what_was_played() {
        let what = "freeze for 40 s".to_owned();
        let event = Line {
            seconds: 36_003.5,
            event: EventKind::RecoveryStarted,
            subject: "web".parse().unwrap(),
            text: "web: frozen; restarting, attempt 1 of 3".into(),
        };
        let run = |set: &[&str], events: Vec<Line>| Run {
            set: set.iter().map(|one| (*one).to_owned()).collect(),
            recoveries: events.len(),
            alerts: 0,
            gave_up: false,
            events,
        };
        let answer = Answer {
            app: "web".into(),
            midnight: None,
            happens: vec![Happens { seconds: 36_000.0, what, over_seconds: Some(36_040.0) }],
            runs: vec![run(&[], vec![event]), run(&["failures=5"], Vec::new())],
        };
        assert_shape("simulate", &json_text(&answer));
    }
}
