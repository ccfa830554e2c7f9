//! The database that an app is asked for, and the keys that it cannot do without.

use std::path::Path;
use std::time::Duration;

use super::database::DatabaseSpec;
use super::database_url::{Found, Place};
use super::fragment::Gathered;
use super::preflight::PreflightSpec;
use super::settings::{Of, error};
use super::value::Value;
use crate::judge::{DatabaseTarget, PreflightTarget, Target};

const USUAL_TIMEOUT: Duration = Duration::from_secs(3);
const USUAL_INTERVAL: Duration = Duration::from_secs(60);

/// Adds both.
pub(super) fn complete(_root: &Path, of: &Of<'_>, target: Target, gathered: &mut Gathered) -> Target {
    let preflight = match of.value("preflight") {
        Some(Value::Preflight(spec)) => Some(spec.as_ref()),
        _ => None,
    };
    let (sourced, spec) = match of.get("database").map(|sourced| (sourced, &sourced.value)) {
        Some((sourced, Some(Value::Database(spec)))) => (sourced, spec.as_ref()),
        _ => return Target { preflight: required(preflight, None), ..target },
    };
    let required = required(preflight, Some(spec));
    if let Some((_, at)) = &spec.env_file
        && required.keys.is_empty()
    {
        let message = "is read for keys; say which, for example keys = [\"DATABASE_URL\"]".to_owned();
        error(gathered, sourced, at, "database.env_file", message);
    }
    let place = match &spec.url {
        Some(Found::At(place)) => Some(place.clone()),
        _ => None,
    };
    Target { database: place.map(|place| at(spec, place)), preflight: required, ..target }
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
        let more = spec.keys.iter().filter(|key| !required.keys.contains(key)).cloned().collect::<Vec<_>>();
        required.keys.extend(more);
        required.env_file = spec.env_file.as_ref().map(|(path, _)| path.clone());
    }
    required
}
