//! `APP_MONITOR_…` variables as one more source, behind all files.

use std::collections::BTreeSet;

use super::error::ConfigError;
use super::fragment::{Assignment, Fragment, Gathered, Section, assign_located};
use super::keys::{self, Key, Kind, Miss, Table};
use super::origin::Origin;
use super::raw::{Located, Raw, read_value};
use super::settings::app_name_from;
use super::value::Value;
use crate::judge::AppName;

/// What every variable begins with.
pub const PREFIX: &str = "APP_MONITOR_";

/// The variables of this process that concern the configuration, in the order of their names.
/// What is not UTF-8 in them is replaced, and refused where it stands.
#[must_use]
pub fn of_this_process() -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    variables.sort();
    variables
}

/// The variables as they may be kept: without users and passwords in the URLs of databases. They
/// mean the same as before, so that a reload can resolve with them.
#[must_use]
pub fn without_credentials(variables: &[(String, String)]) -> Vec<(String, String)> {
    let kept = |(name, text): &(String, String)| {
        let rest = name.strip_prefix(PREFIX).unwrap_or(name);
        let key = rest.rsplit_once("__").map_or(rest, |(_, key)| key);
        let text = match key {
            "DATABASE" => super::database::without_credentials(text),
            // Paths of these may hold an @, and a password is refused in them.
            "HTTP" | "PUBLIC" | "INSTANCES" => text.clone(),
            // A slip in the name of the variable: it means nothing, and need not be kept.
            _ if text.split_once("://").is_some_and(|(_, rest)| rest.contains('@')) => "…".to_owned(),
            _ => text.clone(),
        };
        (name.clone(), text)
    };
    variables.iter().map(kept).collect()
}

/// Reads all variables; `apps` are those that the files configure, as far as these could be read
/// (`whole`).
pub(super) fn read(
    variables: &[(String, String)],
    apps: &BTreeSet<AppName>,
    whole: bool,
    gathered: &mut Gathered,
) -> Fragment {
    let mut fragment = Fragment::default();
    let mut variables: Vec<Variable<'_>> = variables.iter().filter_map(Variable::new).collect();
    variables.sort_by_key(|variable| variable.name);

    let of_apps = declared(&variables, apps, whole, &mut fragment, gathered);
    let single = variables.iter().filter(|v| SINGLE.contains(&v.rest)).collect::<Vec<_>>();
    match apps.iter().chain(&of_apps).next() {
        Some(app) => refuse_single(&single, app, gathered),
        None if whole => read_single(&single, &mut fragment, gathered),
        None => {}
    }

    for variable in &variables {
        if SINGLE.contains(&variable.rest) {
            continue;
        }
        if let Some((app, key)) = variable.app_key() {
            let Ok(app) = AppName::try_from(app) else { continue };
            if apps.contains(&app) || of_apps.contains(&app) {
                match keys::find(Table::App, &key) {
                    Ok(found) => variable.assign(&Section::App(app), found, &mut fragment, gathered),
                    Err(_) if key == "heartbeat" => {
                        variable.refuse("[heartbeat] can be written in a file alone".to_owned(), gathered);
                    }
                    Err(miss) => {
                        variable.refuse(miss_message(miss, &format!("APP_{}__", capital(&app))), gathered)
                    }
                }
            }
            continue;
        }
        let key = variable.rest.to_ascii_lowercase();
        match keys::find(Table::Top, &key)
            .map(|key| (Section::Top, key))
            .or_else(|_| keys::find(Table::Defaults, &key).map(|key| (Section::Defaults, key)))
        {
            Ok((section, found)) => variable.assign(&section, found, &mut fragment, gathered),
            Err(_) if variable.rest.starts_with("APP_") => variable.refuse(
                "two underscores have to stand between the name of the app and the key, as in \
                 APP_MONITOR_APP_WEB__PORT"
                    .to_owned(),
                gathered,
            ),
            Err(_) if keys::is_table(&key) => {
                variable.refuse(format!("[{key}] can be written in a file alone"), gathered);
            }
            Err(miss) => {
                let variable_too = |near: &str| !keys::is_table(near);
                let miss = match (miss, keys::find(Table::Top, &key)) {
                    (Miss::Unknown(None), Err(Miss::Unknown(Some(near)))) if variable_too(near) => {
                        Miss::Unknown(Some(near))
                    }
                    (miss, _) => miss,
                };
                variable.refuse(miss_message(miss, ""), gathered);
            }
        }
    }
    fragment
}

/// Variables that make one app where none is configured.
const SINGLE: [&str; 4] = ["UNIT", "PORT", "HTTP", "PUBLIC"];

struct Variable<'a> {
    name: &'a str,
    /// Without the prefix.
    rest: &'a str,
    text: &'a str,
}

impl<'a> Variable<'a> {
    fn new((name, text): &'a (String, String)) -> Option<Self> {
        name.strip_prefix(PREFIX).map(|rest| Self { name, rest, text })
    }

    fn origin(&self) -> Origin {
        Origin::Environment(self.name.to_owned())
    }

    fn refuse(&self, message: String, gathered: &mut Gathered) {
        gathered.errors.push(ConfigError::at(self.origin(), message));
    }

    /// `APP_<NAME>__<KEY>` in the spelling of files.
    fn app_key(&self) -> Option<(String, String)> {
        let (app, key) = self.rest.strip_prefix("APP_")?.rsplit_once("__")?;
        Some((app.to_ascii_lowercase().replace('_', "-"), key.to_ascii_lowercase()))
    }

    fn assign(&self, section: &Section, key: &'static Key, fragment: &mut Fragment, gathered: &mut Gathered) {
        match self.located(key) {
            Ok(found) => assign_located(section, key, &found, fragment, gathered),
            Err(message) => {
                self.refuse(message, gathered);
                let (section, at) = (section.clone(), self.origin());
                fragment.assignments.push(Assignment { section, key, value: None, at });
            }
        }
    }

    /// A drop-in says `30s` and `web.service` without quotes: what is no TOML is taken as a string,
    /// and so is what looks like a number where only a string will do.
    fn located(&self, key: &Key) -> Result<Located, String> {
        let bare = || Located { value: Raw::Text(self.text.trim().to_owned()), at: self.origin() };
        let text = self.text.trim();
        let composed = text.starts_with(['{', '[', '"', '\'']);
        match read_value(text, &self.origin()) {
            Ok(Located { value: Raw::Odd(_) | Raw::Float(_), .. }) => Ok(bare()),
            Ok(Located { value: Raw::Boolean(_), .. }) if key.kind != Kind::Flag => Ok(bare()),
            Ok(Located { value: Raw::Integer(_), .. })
                if !matches!(
                    key.kind,
                    Kind::Count(..)
                        | Kind::Port
                        | Kind::Duration(..)
                        | Kind::DurationOrNever(..)
                        | Kind::Size(..)
                ) =>
            {
                Ok(bare())
            }
            Ok(found) => Ok(found),
            Err(_) if !composed => Ok(bare()),
            Err(why) => Err(format!("not TOML: {why}")),
        }
    }
}

/// The apps that variables name. One that no file knows has to bring its unit.
fn declared(
    variables: &[Variable<'_>],
    apps: &BTreeSet<AppName>,
    whole: bool,
    fragment: &mut Fragment,
    gathered: &mut Gathered,
) -> BTreeSet<AppName> {
    let mut own = BTreeSet::new();
    for variable in variables {
        if let Some((app, key)) = variable.app_key()
            && (key == "unit" || key == "instances")
            && let Ok(app) = AppName::try_from(app)
            && own.insert(app.clone())
        {
            fragment.declared.push((Section::App(app), variable.origin()));
        }
    }
    for variable in variables {
        let Some((app, _)) = variable.app_key() else { continue };
        match AppName::try_from(app.clone()) {
            Ok(name) if !whole || apps.contains(&name) || own.contains(&name) => {}
            Ok(name) => {
                let known = apps.iter().chain(&own).map(AppName::as_str);
                let hint = keys::nearest(&app, known).map_or_else(
                    || format!("; set APP_MONITOR_APP_{}__UNIT to make one", capital(&name)),
                    |near| format!("; did you mean \"{near}\"?"),
                );
                variable.refuse(format!("no app \"{name}\" is configured{hint}"), gathered);
            }
            Err(_) => variable.refuse(
                "the name of the app has to be 1 to 32 capitals, digits and _, not beginning with _"
                    .to_owned(),
                gathered,
            ),
        }
    }
    own
}

fn capital(app: &AppName) -> String {
    app.as_str().to_ascii_uppercase().replace('-', "_")
}

/// The same as in a file, but in the spelling of variables.
fn miss_message(miss: Miss, infix: &str) -> String {
    match miss {
        Miss::Unknown(Some(near)) => {
            format!("unknown variable; did you mean \"{PREFIX}{infix}{}\"?", near.to_ascii_uppercase())
        }
        Miss::Unknown(None) => "unknown variable".to_owned(),
        Miss::Elsewhere(keys::Scope::Alert) => {
            "alerts are configured in a file alone, in [alerts.NAME]".to_owned()
        }
        Miss::Elsewhere(keys::Scope::Heartbeat) => "[heartbeat] can be written in a file alone".to_owned(),
        Miss::Elsewhere(keys::Scope::App) => "belongs to one app, as in APP_MONITOR_APP_WEB__UNIT".to_owned(),
        Miss::Elsewhere(_) => "is for the host, not for one app: leave APP_<NAME>__ out".to_owned(),
    }
}

fn refuse_single(single: &[&Variable<'_>], app: &AppName, gathered: &mut Gathered) {
    for variable in single {
        let message = format!(
            "is for a host without any configured app; here there is \"{app}\", whose variable would be \
             {PREFIX}APP_{}__{}",
            capital(app),
            variable.rest
        );
        variable.refuse(message, gathered);
    }
}

/// One app out of nothing but variables, named after its unit.
fn read_single(single: &[&Variable<'_>], fragment: &mut Fragment, gathered: &mut Gathered) {
    let key = |name: &str| keys::find(Table::App, name);
    // Until its unit is known the app has any name; it is put right below.
    let Ok(unnamed) = AppName::try_from("app".to_owned()) else { return };
    let from = fragment.assignments.len();
    let mut named = None;
    for variable in single {
        match key(&variable.rest.to_ascii_lowercase()) {
            Ok(key) => variable.assign(&Section::App(unnamed.clone()), key, fragment, gathered),
            Err(miss) => variable.refuse(miss_message(miss, ""), gathered),
        }
        if variable.rest == "UNIT" {
            named = Some(unnamed.clone());
        }
    }
    let of_unit = fragment.assignments[from..].iter().find_map(|assignment| match &assignment.value {
        Some(Value::Unit(unit)) => Some(app_name_from(unit.stem())),
        _ => None,
    });
    let Some(name) = of_unit.and_then(|name| AppName::try_from(name).ok()).or(named) else {
        for variable in single {
            variable.refuse(
                "no app is configured; set APP_MONITOR_UNIT, its systemd unit, too".to_owned(),
                gathered,
            );
        }
        fragment.assignments.truncate(from);
        return;
    };
    for assignment in &mut fragment.assignments[from..] {
        assignment.section = Section::App(name.clone());
    }
    let place = Origin::Environment(format!("{PREFIX}UNIT"));
    fragment.declared.push((Section::App(name), place));
}
