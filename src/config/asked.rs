//! The database that an app is asked for, and the keys that it cannot do without.
//!
//! Where the database is may stand in files that the daemon may not read. They are read here, by the
//! privileged pre-start step; anybody else who loads the configuration is told what was not read. No
//! value goes further than into the reading of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::database::DatabaseSpec;
use super::database_url::{self, Found, Place};
use super::env_file::{self, Reader};
use super::error::Notice;
use super::fragment::Gathered;
use super::preflight::PreflightSpec;
use super::settings::{Of, error};
use super::unit_files::{self, Service};
use super::value::Value;
use crate::files::below;
use crate::judge::{AppName, DatabaseTarget, PreflightTarget, Secret, Target};

const USUAL_TIMEOUT: Duration = Duration::from_secs(3);
const USUAL_INTERVAL: Duration = Duration::from_secs(60);

/// Adds both.
pub(super) fn complete(
    root: &Path,
    of: &Of<'_>,
    name: &AppName,
    target: Target,
    gathered: &mut Gathered,
) -> Target {
    let preflight = match of.value("preflight") {
        Some(Value::Preflight(spec)) => Some(spec.as_ref()),
        _ => None,
    };
    let (sourced, spec) = match of.get("database").map(|sourced| (sourced, &sourced.value)) {
        Some((sourced, Some(Value::Database(spec)))) => (sourced, spec.as_ref()),
        _ => return Target { preflight: required(preflight, None), ..target },
    };
    let mut required = required(preflight, Some(spec));
    if let Some((_, at)) = &spec.env_file
        && required.keys.is_empty()
    {
        let message = "is read for keys; say which, for example keys = [\"DATABASE_URL\"]".to_owned();
        error(gathered, sourced, at, "database.env_file", message);
    }
    let mut places = Places { root, target: &target, service: None };
    required.env_file = required.env_file.map(|path| places.absolute(path));
    let found = match &spec.url {
        Some(Found::At(place)) => Ok(Some(place.clone())),
        Some(Found::Nowhere(why)) => Err((*why).to_owned()),
        None if spec.keys.is_empty() => Ok(None),
        None => places.look_up(&spec.keys, required.env_file.as_deref()).map(Some),
    };
    let database = found.unwrap_or_else(|why| {
        let message = format!("the database of [app.{name}] is not asked: {why}");
        let notice = Notice { place: sourced.at.clone(), message };
        // Instances of one app mostly have the same to say.
        if !gathered.notices.contains(&notice) {
            gathered.notices.push(notice);
        }
        None
    });
    Target { database: database.map(|place| at(spec, place)), preflight: required, ..target }
}

fn at(spec: &DatabaseSpec, place: Place) -> DatabaseTarget {
    DatabaseTarget {
        protocol: place.protocol,
        places: place.places,
        tls: place.tls,
        timeout: spec.timeout.unwrap_or(USUAL_TIMEOUT),
        interval: spec.interval.unwrap_or(USUAL_INTERVAL),
    }
}

fn required(preflight: Option<&PreflightSpec>, database: Option<&DatabaseSpec>) -> PreflightTarget {
    let mut required = preflight.map_or_else(PreflightTarget::default, |spec| PreflightTarget {
        files: spec.files.clone(),
        keys: spec.keys.clone(),
        env_file: None,
        port_free: spec.port_free,
    });
    if let Some(spec) = database {
        for key in &spec.keys {
            if !required.keys.contains(key) {
                required.keys.push(key.clone());
            }
        }
        required.env_file = spec.env_file.as_ref().map(|(path, _)| path.clone());
    }
    required
}

/// Where an app's keys stand: the files of its unit, read once and only where they are needed.
struct Places<'a> {
    root: &'a Path,
    target: &'a Target,
    service: Option<Service>,
}

impl Places<'_> {
    fn service(&mut self) -> &Service {
        self.service.get_or_insert_with(|| unit_files::read(self.root, &self.target.unit))
    }

    /// Below the working directory; left as it is where nobody says which that is.
    fn absolute(&mut self, path: PathBuf) -> PathBuf {
        if path.is_absolute() {
            return path;
        }
        let configured = self.target.working_directory.clone();
        match configured.or_else(|| self.service().working_directory.clone()) {
            Some(directory) => directory.join(path),
            None => path,
        }
    }

    /// The place that the first key names whose value is the URL of a database.
    ///
    /// # Errors
    /// Why none does, with names of keys and files, and no value.
    fn look_up(&mut self, keys: &[String], env_file: Option<&Path>) -> Result<Place, String> {
        let mut reasons = Vec::new();
        let variables = match env_file {
            Some(path) if path.is_absolute() => env_file::read(&below(self.root, path), Reader::App)
                .unwrap_or_else(|why| {
                    reasons.push(format!("{}: {why}", path.display()));
                    Vec::new()
                }),
            Some(path) => {
                reasons.push(format!(
                    "where {} is, is not known: set working_directory, or give its whole path",
                    path.display()
                ));
                Vec::new()
            }
            None => Vec::new(),
        };
        let service = self.service();
        let of_service = |key: &str| service.environment.get(key);
        let of_file = |key: &str| variables.iter().find(|(name, _)| name == key).map(|(_, value)| value);
        let value = |key: &str| {
            let filled = |value: &&Secret| !value.0.trim().is_empty();
            // Whoever loads such a file himself leaves alone what his environment has already.
            of_service(key)
                .filter(filled)
                .or_else(|| of_file(key).filter(filled))
                .map(|value| value.0.as_str())
        };
        let given: Vec<(&String, &str)> = keys.iter().filter_map(|key| Some((key, value(key)?))).collect();
        // What only a database has goes first: keys may name the app's own address as well.
        let surely = given.iter().filter(|(_, value)| database_url::is_a_databases(value));
        let maybe = given.iter().filter(|(_, value)| {
            !database_url::is_a_databases(value) && !database_url::is_of_something_else(value)
        });
        for (key, value) in surely.chain(maybe) {
            match database_url::parse(value) {
                Ok(Found::At(place)) => return Ok(place),
                Ok(Found::Nowhere(why)) => return Err(format!("{key}: {why}")),
                Err(why) => reasons.push(format!("{key}: {why}")),
            }
        }
        reasons.extend(service.unread.iter().cloned());
        let ignored = |key: &&String| service.ignored.get(*key).filter(|_| value(key).is_none());
        for (key, why) in keys.iter().filter_map(|key| Some((key, ignored(&key)?))) {
            reasons.push(format!("{key}: {why}"));
        }
        if reasons.is_empty() {
            let what = if given.is_empty() { "is set" } else { "holds the URL of a database" };
            reasons.push(format!("none of {} {what}", keys.join(", ")));
        }
        Err(reasons.join("; "))
    }
}
