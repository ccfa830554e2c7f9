//! Whether keys are set where the app will find them: the environment of its unit, or an environment
//! file that it reads itself.

use std::collections::BTreeMap;
use std::path::Path;

use super::{ABSENT, BLIND};
use crate::config::env_file::{self, Reader};
use crate::files::below;
use crate::judge::Target;
use crate::systemd::Setting;

/// Whether a key has a value. The value itself is not kept.
type Keys = BTreeMap<String, bool>;

/// A line for each key that is absent, and for each file that a start would miss.
pub fn lines(root: &Path, target: &Target, setting: Option<&Setting>) -> Vec<String> {
    let preflight = &target.preflight;
    let mut lines = Vec::new();
    let mut blind = setting.is_none();
    let mut keys = Keys::new();
    let mut ignored = BTreeMap::new();
    if let Some(setting) = setting {
        blind |= !of_unit(root, setting, &mut keys, &mut ignored, &mut lines);
    }
    if preflight.keys.is_empty() {
        return lines;
    }
    let mut own = Keys::new();
    let mut place = format!("the environment of {}", target.unit);
    if let Some(path) = &preflight.env_file {
        place = path.display().to_string();
        match env_file::read(&below(root, path), Reader::App) {
            Ok(found) => own.extend(found.into_iter().map(|(key, value)| (key, !value.0.is_empty()))),
            // Its keys are what is absent then.
            Err(why) if why == env_file::NO_SUCH_FILE => {}
            Err(why) => {
                lines.push(format!("{BLIND}{place} cannot be read: {why}"));
                blind = true;
            }
        }
    }
    for key in &preflight.keys {
        let set = |keys: &Keys| keys.get(key).copied();
        match (set(&keys), set(&own)) {
            (Some(true), _) | (_, Some(true)) => {}
            _ if blind => lines.push(format!("{BLIND}{key} cannot be looked for everywhere")),
            (_, Some(false)) => lines.push(format!("{ABSENT}{key} is empty in {place}")),
            (Some(false), None) if preflight.env_file.is_none() => {
                lines.push(format!("{ABSENT}{key} is empty in {place}"));
            }
            _ => {
                let why = ignored.get(key).map(|why| format!(" ({why})"));
                lines.push(format!("{ABSENT}{key} is not set in {place}{}", why.unwrap_or_default()));
            }
        }
    }
    lines
}

/// What the unit is started with. False when not all of it can be seen.
fn of_unit(
    root: &Path,
    setting: &Setting,
    keys: &mut Keys,
    ignored: &mut BTreeMap<String, String>,
    lines: &mut Vec<String>,
) -> bool {
    let mut whole = true;
    let assigned = setting.environment.iter().filter_map(|one| one.split_once('='));
    keys.extend(assigned.map(|(key, value)| (key.to_owned(), !value.is_empty())));
    for (path, optional) in &setting.environment_files {
        // A pattern is systemd's to expand.
        if path.to_string_lossy().contains(['*', '?', '[']) {
            whole = false;
            continue;
        }
        match env_file::read_of_unit(&below(root, path)) {
            Ok(found) => {
                if let Some(why) = found.refused.as_ref().filter(|_| !optional) {
                    lines.push(format!("{ABSENT}{} (EnvironmentFile=): {why}", path.display()));
                }
                ignored.extend(found.ignored.iter().map(|key| (key.clone(), found.why_ignored(path))));
                keys.extend(found.variables.into_iter().map(|(key, value)| (key, !value.0.is_empty())));
            }
            Err(why) if why == env_file::NO_SUCH_FILE => {
                if !optional {
                    lines.push(format!("{ABSENT}{} (EnvironmentFile=) is missing", path.display()));
                }
            }
            Err(why) => {
                whole = false;
                lines.push(format!("{BLIND}{} cannot be read: {why}", path.display()));
            }
        }
    }
    for one in &setting.unset {
        // An assignment unsets the key only while it has that value, which is not kept here.
        if !one.contains('=') {
            keys.remove(one);
        }
    }
    whole
}
