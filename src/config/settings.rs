//! What the daemon works with: whole settings, in the judge's own types.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::alert::{Alert, DEFAULT_EVENTS};
use super::aliases;
use super::error::{ConfigError, Notice};
use super::fragment::{Gathered, Section};
use super::http::HttpSpec;
use super::merge::{Merged, Sourced};
use super::origin::Origin;
use super::url::Asked;
use super::value::Value;
use crate::judge::{
    Address, AppName, GiveUp, HttpTarget, Level, Mode, Policy, Subject, Target, UnitName, Window,
};

/// Who is judged: an app, an instance of one, or a unit that apps lean on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub subject: Subject,
    /// By which thresholds it is judged.
    pub policy: Policy,
    /// What it is asked. Its unit is the name that systemd uses, not an alias.
    pub target: Target,
}

/// Everything in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The least level that is logged.
    pub log_level: Level,
    /// Recoveries at a time on this host. 1 to 64.
    pub max_parallel: u32,
    /// In the order of their names; each has a unit of its own.
    pub members: Vec<Member>,
    /// In the order of their names.
    pub alerts: Vec<Alert>,
}

impl Settings {
    /// The apps that are configured, in the order of their names.
    #[must_use]
    pub fn apps(&self) -> Vec<&AppName> {
        let mut apps: Vec<&AppName> = self.members.iter().filter_map(|member| member.subject.app()).collect();
        apps.dedup();
        apps
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { log_level: Level::Info, max_parallel: 1, members: Vec::new(), alerts: Vec::new() }
    }
}

/// Most apps and alerts of one host.
const MOST_SECTIONS: usize = 1_000;

/// The values of one section.
struct Of<'a> {
    merged: &'a Merged,
    section: &'a Section,
}

impl<'a> Of<'a> {
    fn get(&self, key: &str) -> Option<&'a Sourced> {
        self.merged.get(self.section, key)
    }

    fn value(&self, key: &str) -> Option<&'a Value> {
        self.get(key).and_then(|sourced| sourced.value.as_ref())
    }

    fn duration(&self, key: &str) -> Option<Duration> {
        match self.value(key) {
            Some(Value::Duration(length)) => Some(*length),
            _ => None,
        }
    }

    fn count(&self, key: &str) -> Option<u32> {
        match self.value(key) {
            Some(Value::Count(count)) => Some(*count),
            _ => None,
        }
    }

    fn word(&self, key: &str) -> Option<&'static str> {
        match self.value(key) {
            Some(Value::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn unit(&self) -> Option<UnitName> {
        match self.value("unit") {
            Some(Value::Unit(unit)) => Some(unit.clone()),
            _ => None,
        }
    }
}

/// Makes settings of what was merged. Errors that only the whole can show are added to those that
/// were gathered; `whole` is false when a part of a file could not be read, and nothing can be
/// called missing.
pub(super) fn build(root: &Path, merged: &Merged, whole: bool, gathered: &mut Gathered) -> Settings {
    let top = Of { merged, section: &Section::Top };
    let mut settings = Settings {
        log_level: top.word("log_level").and_then(Level::from_word).unwrap_or_default(),
        max_parallel: top.count("max_parallel").unwrap_or(1),
        ..Settings::default()
    };
    let mut units: Vec<(UnitName, AppName, Origin)> = Vec::new();
    if merged.sections.len() > MOST_SECTIONS {
        let message =
            format!("{} apps and alerts; at most {MOST_SECTIONS} are watched", merged.sections.len());
        gathered.errors.push(ConfigError::at(Origin::Default, message));
        return settings;
    }
    for (section, values) in &merged.sections {
        let of = Of { merged, section };
        let mut missing = |key: &str, example: &str| {
            if whole && of.get(key).is_none() {
                gathered.errors.push(ConfigError {
                    place: values.declared.clone().unwrap_or(Origin::Default),
                    table: section.label(),
                    key: String::new(),
                    message: format!("{key} is missing; for example {key} = \"{example}\""),
                });
            }
        };
        match section {
            Section::Top | Section::Defaults => {}
            Section::App(name) => {
                missing("unit", &format!("{name}.service"));
                settings.members.extend(app(root, &of, name, whole, &mut units, gathered));
            }
            Section::Alert(name) => {
                missing("kind", "unit");
                missing("unit", "tell@.service");
                settings.alerts.extend(alert(&of, name));
            }
        }
    }
    settings
}

fn alert(of: &Of<'_>, name: &AppName) -> Option<Alert> {
    let events = match of.value("events") {
        Some(Value::Events(events)) => events.clone(),
        _ => DEFAULT_EVENTS.to_vec(),
    };
    Some(Alert { name: name.to_string(), unit_template: of.unit()?, events })
}

fn app(
    root: &Path,
    of: &Of<'_>,
    name: &AppName,
    whole: bool,
    units: &mut Vec<(UnitName, AppName, Origin)>,
    gathered: &mut Gathered,
) -> Option<Member> {
    let policy = policy(of);
    contradictions(of, &policy, gathered);
    let port = match of.value("port") {
        Some(Value::Port(port)) => Some(*port),
        _ => None,
    };
    let http = match of.get("http") {
        Some(sourced) => match &sourced.value {
            Some(Value::Http(spec)) => {
                if whole && matches!(spec.asked, Asked::Path(_)) && of.get("port").is_none() {
                    let message =
                        format!("a path needs the app's port: set port in [app.{name}], or give a full URL");
                    error(gathered, sourced, &spec.at, "http", message);
                }
                http(spec, port, policy.timeout)
            }
            _ => None,
        },
        None => None,
    };
    let unit = unique_unit(root, of, name, units, gathered)?;
    let target = Target {
        port,
        address: match of.value("address") {
            Some(Value::Address(address)) => *address,
            _ => Address::default(),
        },
        http,
        min_processes: of.count("min_processes").unwrap_or(1),
        process: match of.value("process") {
            Some(Value::Process(name)) => Some(name.clone()),
            _ => None,
        },
        working_directory: match of.value("working_directory") {
            Some(Value::Directory(path)) => Some(path.clone()),
            _ => None,
        },
        ..Target::of_unit(unit)
    };
    Some(Member { subject: Subject::App(name.clone()), policy, target })
}

fn http(spec: &HttpSpec, port: Option<u16>, timeout: Duration) -> Option<HttpTarget> {
    let url = match &spec.asked {
        Asked::Url(url) => url.clone(),
        Asked::Path(path) => format!("http://localhost:{}{path}", port?),
    };
    Some(HttpTarget {
        url,
        method: spec.method.clone(),
        headers: spec.headers.clone(),
        status: spec.status.clone(),
        body: spec.body.clone(),
        json: spec.json.clone(),
        max_latency: spec.max_latency,
        timeout: spec.timeout.unwrap_or(timeout),
    })
}

fn policy(of: &Of<'_>) -> Policy {
    let usual = Policy::default();
    let window = match of.value("failures_window") {
        Some(Value::Window(window)) => *window,
        _ => Window { ..usual.failures_window },
    };
    let cooldown = of.duration("cooldown").unwrap_or(usual.cooldown);
    Policy {
        mode: if of.word("mode") == Some("watch") { Mode::Watch } else { Mode::Act },
        check_interval: of.duration("check_interval").unwrap_or(usual.check_interval),
        startup_interval: of.duration("startup_interval").unwrap_or(usual.startup_interval),
        startup_grace: of.duration("startup_grace").unwrap_or(usual.startup_grace),
        confirm_interval: of.duration("confirm_interval").unwrap_or(usual.confirm_interval),
        suspect_after: of.duration("suspect_after"),
        timeout: of.duration("timeout").unwrap_or(usual.timeout),
        failures: of.count("failures").unwrap_or(usual.failures),
        successes: of.count("successes").unwrap_or(usual.successes),
        failures_window: window,
        cooldown,
        // A cooldown that alone is raised over the usual most carries it along.
        cooldown_max: of.duration("cooldown_max").unwrap_or(usual.cooldown_max.max(cooldown)),
        max_attempts: of.count("max_attempts").unwrap_or(usual.max_attempts),
        attempts_window: of.duration("attempts_window").unwrap_or(usual.attempts_window),
        retry_interval: of.duration("retry_interval").unwrap_or(usual.retry_interval),
        healthy_for: of.duration("healthy_for").unwrap_or(usual.healthy_for),
        give_up: if of.word("give_up") == Some("wait") { GiveUp::Wait } else { GiveUp::Retry },
        verify_within: of.duration("verify_within"),
        min_uptime: of.duration("min_uptime").unwrap_or(usual.min_uptime),
        stop_timeout: of.duration("stop_timeout").unwrap_or(usual.stop_timeout),
        kill_after: of.duration("kill_after").unwrap_or(usual.kill_after),
        stopped_alert_after: of.duration("stopped_alert_after"),
        ..usual
    }
}

/// Values that are possible each, but not together.
fn contradictions(of: &Of<'_>, policy: &Policy, gathered: &mut Gathered) {
    let show = super::duration::show;
    if let Some(most) = of.get("cooldown_max")
        && policy.cooldown_max < policy.cooldown
    {
        let message = format!(
            "{} is less than cooldown, which is {}",
            show(policy.cooldown_max),
            show(policy.cooldown)
        );
        error(gathered, most, &most.at, "cooldown_max", message);
    }
    // JUDGEMENT, "Verify": the app has to be healthy for min_uptime before verify_within is over.
    let within = policy.verify_within.unwrap_or(policy.startup_grace.max(Duration::from_secs(30)));
    if policy.min_uptime >= within {
        for key in ["min_uptime", "verify_within"] {
            if let Some(sourced) = of.get(key) {
                let message = format!(
                    "no recovery could be verified: min_uptime ({}) has to fit into verify_within ({})",
                    show(policy.min_uptime),
                    show(within)
                );
                error(gathered, sourced, &sourced.at, key, message);
                break;
            }
        }
    }
}

/// Adds an error, once: what stands in `[defaults]` is seen by every app.
fn error(gathered: &mut Gathered, sourced: &Sourced, place: &Origin, key: &str, message: String) {
    let error =
        ConfigError { place: place.clone(), table: sourced.table.clone(), key: key.to_owned(), message };
    if !gathered.errors.contains(&error) {
        gathered.errors.push(error);
    }
}

/// The app's unit under the name that systemd uses; two apps on one unit would undo each other.
fn unique_unit(
    root: &Path,
    of: &Of<'_>,
    name: &AppName,
    units: &mut Vec<(UnitName, AppName, Origin)>,
    gathered: &mut Gathered,
) -> Option<UnitName> {
    let sourced = of.get("unit")?;
    let written = of.unit()?;
    let unit = aliases::resolve(root, &written);
    if unit.stem() == "app-monitor" {
        let message = "is this monitor itself, over which systemd's watchdog watches".to_owned();
        error(gathered, sourced, &sourced.at, "unit", message);
        return None;
    }
    let alias =
        if unit == written { String::new() } else { format!("\"{written}\" is an alias of \"{unit}\"") };
    if let Some((_, other, place)) = units.iter().find(|(known, _, _)| *known == unit) {
        let which = if alias.is_empty() { format!("\"{unit}\"") } else { format!("{alias}, which") };
        let message = format!("{which} is the unit of [app.{other}] already ({place}); a unit has one app");
        error(gathered, sourced, &sourced.at, "unit", message);
        return None;
    }
    if !alias.is_empty() {
        let message = format!("{alias}, which is the name by which it is watched");
        gathered.notices.push(Notice { place: sourced.at.clone(), message });
    }
    units.push((unit.clone(), name.clone(), sourced.at.clone()));
    Some(unit)
}

/// A name for an app out of any text: `web@1` becomes `web-1`.
pub(super) fn app_name_from(text: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().map(fit).skip_while(|c| *c == '-').take(32).collect();
    let name = name.trim_end_matches('-');
    if name.is_empty() { "app".to_owned() } else { name.to_owned() }
}
