//! `app-monitor check`: all checks once, now, from this process. Needs neither daemon nor
//! configuration, so that it can be tried before either is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::checks::{Limits, Pool, Probe, World, observe};
use crate::config::{Member, Settings, Shown, Sources, load, resolved};
use crate::judge::{ActiveState, AppName, Fault, Finding, LoadState, NO_APP, Observation, Role, UnitReading};
use crate::systemd::Bus;

use super::terminal::{Terminal, Tone};
use super::{ATTENTION, OK, USAGE, complain, json_text, no_such_app, print_text, say, status_of};

/// `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Only this app of the configuration
    #[arg(conflicts_with_all = ["unit", "port", "http", "address", "public"])]
    app: Option<String>,
    /// A unit that is not configured, e.g. web.service
    #[arg(long)]
    unit: Option<String>,
    /// The port that it listens on
    #[arg(long, requires = "unit")]
    port: Option<String>,
    /// Its health check: a path or a URL
    #[arg(long, requires = "unit")]
    http: Option<String>,
    /// Where it listens: localhost or an IP address
    #[arg(long, requires = "unit")]
    address: Option<String>,
    /// Its public URL
    #[arg(long, requires = "unit")]
    public: Option<String>,
    /// Print JSON: an array with one object for each app
    #[arg(long)]
    json: bool,
}

/// What came of the checks of an app.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    app: String,
    unit: String,
    well: bool,
    pub(super) checks: Vec<Row>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) check: &'static str,
    pub(super) result: &'static str,
    pub(super) text: String,
    latency_ms: Option<u64>,
}

impl Row {
    fn of(check: &'static str, seen: &Observation) -> Self {
        let result = match seen.finding {
            Finding::Good => "good",
            Finding::Bad(_) => "bad",
            Finding::Unknown => "unknown",
        };
        let latency_ms = seen.latency.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        Self { check, result, text: seen.whole(), latency_ms }
    }
}

/// Makes the checks. Exit status 1 when one of them is bad.
pub async fn run(command: &Check) -> u8 {
    let apps = match apps(command) {
        Ok(apps) => apps,
        Err(status) => return status,
    };
    let bus = Bus::connect().await.map_err(|error| error.to_string());
    let pool = Pool::new(Limits::default());
    let world = Arc::new(World::system());
    let mut answers = Vec::new();
    for app in &apps {
        answers.push(check(app, bus.as_ref().map_err(String::as_str), &pool, &world).await);
    }
    print(&answers, command.json);
    if answers.iter().all(|answer| answer.well) { OK } else { ATTENTION }
}

/// The apps of the configuration, or the one that the options describe, read by the same loader.
fn apps(command: &Check) -> Result<Vec<Member>, u8> {
    let Some(unit) = &command.unit else {
        let apps = configured_apps(command.app.as_deref())?;
        if apps.is_empty() {
            complain(NO_APP);
            complain("without any: app-monitor check --unit UNIT --port PORT --http /PATH");
            return Err(ATTENTION);
        }
        return Ok(apps);
    };
    let mut environment = vec![("APP_MONITOR_UNIT".to_owned(), unit.clone())];
    for (name, value) in [
        ("PORT", &command.port),
        ("HTTP", &command.http),
        ("ADDRESS", &command.address),
        ("PUBLIC", &command.public),
    ] {
        environment.extend(value.iter().map(|value| (format!("APP_MONITOR_{name}"), value.clone())));
    }
    // Nowhere: the files of the system have no say in what the options describe.
    let sources = Sources { root: PathBuf::from("/nonexistent"), environment };
    load(&sources).map(|loaded| loaded.settings.members).map_err(|errors| {
        for error in &errors.0 {
            complain(option_names(&error.to_string()));
        }
        USAGE
    })
}

/// The loader names environment variables where a person typed options.
fn option_names(text: &str) -> String {
    let mut text = text.replace("environment: ", "");
    for (variable, option) in [
        ("APP_MONITOR_UNIT", "--unit"),
        ("APP_MONITOR_PORT", "--port"),
        ("APP_MONITOR_HTTP", "--http"),
        ("APP_MONITOR_ADDRESS", "--address"),
        ("APP_MONITOR_PUBLIC", "--public"),
    ] {
        text = text.replace(variable, option);
    }
    text
}

/// All apps, or that one, which has to be there. What apps lean on has no checks of its own; it is asked
/// for by the apps' checks.
pub(super) fn configured_apps(name: Option<&str>) -> Result<Vec<Member>, u8> {
    Ok(configured_apps_as_shown(name)?.0)
}

/// The same, and every value with its place.
pub(super) fn configured_apps_as_shown(name: Option<&str>) -> Result<(Vec<Member>, Vec<Shown>), u8> {
    let (settings, shown) = configured()?;
    let known = settings.apps();
    if let Some(name) = name.filter(|name| known.iter().all(|app| app.as_str() != *name)) {
        complain(no_such_app(name, known.into_iter().map(AppName::as_str)));
        return Err(ATTENTION);
    }
    let is_it = |member: &Member| match (name, member.subject.app()) {
        (Some(name), app) => app.is_some_and(|app| app.as_str() == name),
        (None, _) => true,
    };
    let apps = settings.members.iter().filter(|member| member.target.role == Role::App && is_it(member));
    Ok((apps.cloned().collect(), shown))
}

/// What is in force; where nothing is, what the files say.
fn configured() -> Result<(Settings, Vec<Shown>), u8> {
    let outcome = match resolved::read(Path::new(resolved::DIRECTORY)) {
        Ok(resolved) => resolved.outcome.map(|settings| (settings, resolved.shown)),
        Err(_) => {
            let environment = crate::config::environment::of_this_process();
            load(&Sources { root: "/".into(), environment }).map(|loaded| (loaded.settings, loaded.shown))
        }
    };
    outcome.map_err(|errors| {
        complain(&errors);
        status_of(&errors)
    })
}

/// Makes the checks of one app.
pub(super) async fn check(app: &Member, bus: Result<&Bus, &str>, pool: &Pool, world: &Arc<World>) -> Answer {
    let reading = match bus {
        Ok(bus) => bus.read_unit(&app.target.unit).await.map_err(|error| error.to_string()),
        Err(why) => Err(why.to_owned()),
    };
    let mut checks = vec![unit_row(&app.target.unit, &reading)];
    let unit = reading.ok();
    let proxy_group = match (bus, &app.target.proxy) {
        (Ok(bus), Some(proxy)) => bus.read_unit_alone(proxy).await.ok().and_then(|proxy| proxy.control_group),
        _ => None,
    };
    let probe = Probe {
        target: Arc::new(app.target.clone()),
        control_group: unit.as_ref().and_then(|unit| unit.control_group.clone()),
        proxy_group,
        socket_activated: unit.as_ref().is_some_and(|unit| unit.socket_listening),
        down: unit.as_ref().is_some_and(UnitReading::is_left),
        working_directory: unit.as_ref().and_then(|unit| unit.working_directory.as_ref().map(Into::into)),
        timeout: app.policy.timeout,
        world: Arc::clone(world),
    };
    let made = app.target.round().chain(app.target.errands()).map(|kind| {
        let (probe, whose) = (&probe, unit.is_some());
        async move {
            let mut seen = observe(kind, probe, pool).await;
            // It may well be the unit's own.
            if !whose && seen.finding == Finding::Bad(Fault::ForeignListener) {
                seen.finding = Finding::Unknown;
            }
            Row::of(kind.word(), &seen)
        }
    });
    checks.extend(futures_util::future::join_all(made).await);
    let well = checks.iter().all(|row| row.result != "bad");
    Answer { app: app.subject.to_string(), unit: app.target.unit.to_string(), well, checks }
}

fn unit_row(name: &crate::judge::UnitName, reading: &Result<UnitReading, String>) -> Row {
    let (result, text) = match reading {
        Err(why) => ("unknown", format!("cannot be read: {why}")),
        Ok(unit) => match (unit.load, unit.active) {
            (LoadState::NotFound, _) => ("bad", format!("systemd knows no {name}")),
            (LoadState::Masked, _) => ("bad", format!("{name} is masked")),
            (_, ActiveState::Active) => ("good", format!("{name} is active ({})", unit.sub)),
            (_, ActiveState::Inactive) if unit.socket_listening => {
                ("good", format!("{name} is idle, its socket listens"))
            }
            (_, state) => ("bad", format!("{name} is {} ({})", word(state), unit.sub)),
        },
    };
    Row { check: "unit", result, text, latency_ms: None }
}

fn word(state: ActiveState) -> &'static str {
    match state {
        ActiveState::Active => "active",
        ActiveState::Reloading => "reloading",
        ActiveState::Inactive => "inactive",
        ActiveState::Failed => "failed",
        ActiveState::Activating => "activating",
        ActiveState::Deactivating => "deactivating",
        ActiveState::Maintenance => "in maintenance",
        ActiveState::Other => "in a state that is not known",
    }
}

fn tone(result: &str) -> Tone {
    match result {
        "good" => Tone::Good,
        "bad" => Tone::Bad,
        _ => Tone::Quiet,
    }
}

fn print(answers: &[Answer], json: bool) {
    if json {
        print_text(&json_text(answers));
        return;
    }
    let terminal = Terminal::of_stdout();
    for answer in answers {
        say(&format!("{} ({})", answer.app, answer.unit));
        for row in &answer.checks {
            let (tone, front) = (tone(row.result), format!("    {:<11}  {:<7}  ", row.check, row.result));
            // What is good is cut where it is long, anything else is evidence.
            let mut rows = match row.result {
                "good" => vec![terminal.fit(&format!("{front}{}", row.text))],
                _ => terminal.hang(&front, &row.text),
            };
            if let Some(first) = rows.first_mut() {
                *first = first.replacen(row.result, &terminal.paint(tone, row.result), 1);
            }
            rows.iter().for_each(|row| print_text(&format!("{row}\n")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::shapes::assert_shape;
    use super::*;

    #[test]
    fn the_shape_of_what_was_seen() {
        let row =
            |check, result, text: &str, latency_ms| Row { check, result, text: text.into(), latency_ms };
        let checks = vec![
            row("unit", "good", "web.service is active (running)", None),
            row("http", "bad", "GET /health answers 500", Some(12)),
        ];
        let answer = Answer { app: "web".into(), unit: "web.service".into(), well: false, checks };
        assert_shape("check", &json_text(&[answer]));
    }
}
