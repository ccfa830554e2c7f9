//! Configuration: from files and environment to settings, each value with its place.
//!
//! A source (file, drop-in, environment) becomes a fragment; fragments are laid over each other;
//! what is merged becomes `Settings` in the judge's types. All errors are found in one go, and each
//! names file, line, column, key and what was expected. This room reads files and writes one (what
//! is in force, see [`resolved`]); it asks systemd nothing, and opens no connection.

mod alert;
mod aliases;
mod asked;
mod channel;
mod database;
mod database_url;
pub mod duration;
pub mod endpoint;
pub mod env_file;
pub mod environment;
mod error;
mod files;
mod fragment;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod grants;
mod http;
mod instances;
mod keys;
mod list;
mod members;
mod merge;
mod named;
mod origin;
mod policy;
mod preflight;
mod raw;
pub mod resolved;
mod settings;
mod shown;
pub mod size;
mod status;
mod swaps;
mod target;
mod unit_files;
mod url;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use alert::{Alert, Heartbeat};
pub use channel::{Channel, Source, Web};
pub use error::{ConfigError, ErrorKind, Errors, Notice};
pub use files::{LARGEST_FILE, MAIN_FILE};
pub use grants::{Grant, Verb, Verbs, grants};
pub(crate) use keys::nearest;
pub use named::{NamedDatabase, named_databases};
pub use origin::Origin;
pub use settings::{Member, Settings};
pub use shown::Shown;

use fragment::{Gathered, Section};
use merge::Merged;

/// Where a configuration is read from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `/`, or a directory that looks like a system.
    pub root: PathBuf,
    /// Names and values; those that do not begin with `APP_MONITOR_` are passed over.
    pub environment: Vec<(String, String)>,
}

/// A configuration without errors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// What is in force.
    pub settings: Settings,
    /// The same for people, each value with its place.
    pub shown: Vec<Shown>,
    /// What somebody should know all the same.
    pub notices: Vec<Notice>,
}

/// Most errors that are reported; beyond, a file is something else than a configuration.
const MOST_ERRORS: usize = 200;

/// Reads all sources.
///
/// # Errors
/// Everything that is wrong anywhere in them, in the order of files and lines, 200 at most.
pub fn load(sources: &Sources) -> Result<Loaded, Errors> {
    let mut gathered = Gathered::default();
    let texts = files::read_all(&sources.root, &mut gathered.errors, &mut gathered.notices);
    load_texts(sources, &texts, gathered)
}

/// Reads one text as if it were the only file: what a proposal means on its own.
///
/// # Errors
/// As `load`.
pub fn load_text(root: &Path, path: &Path, text: &str) -> Result<Loaded, Errors> {
    let texts = [files::Text { path: path.to_owned(), text: text.to_owned() }];
    let sources = Sources { root: root.to_owned(), environment: Vec::new() };
    load_texts(&sources, &texts, Gathered::default())
}

fn load_texts(sources: &Sources, texts: &[files::Text], mut gathered: Gathered) -> Result<Loaded, Errors> {
    let mut merged = Merged::default();
    // What was not read may hold what seems to be missing.
    let mut whole = gathered.errors.is_empty();
    for file in texts {
        let before = gathered.errors.len();
        let entries = raw::read_text(&file.path, &file.text, &mut gathered.errors);
        whole &= gathered.errors.len() == before;
        merged.add(fragment::from_entries(&entries, &mut gathered));
    }
    let apps: BTreeSet<_> = merged
        .sections
        .keys()
        .filter_map(|section| match section {
            Section::App(name) => Some(name.clone()),
            _ => None,
        })
        .collect();
    merged.add(environment::read(&sources.environment, &apps, whole, &mut gathered));

    let settings = settings::build(&sources.root, &merged, whole, &mut gathered);
    if gathered.errors.is_empty() {
        return Ok(Loaded { settings, shown: shown::list(&merged), notices: gathered.notices });
    }
    let mut errors = gathered.errors;
    errors.sort();
    errors.dedup();
    if errors.len() > MOST_ERRORS {
        let more = Errors(errors.split_off(MOST_ERRORS));
        let kind = if more.are_of_permission() { ErrorKind::Permission } else { ErrorKind::Configuration };
        let rest = ConfigError::at(Origin::Default, format!("and {} errors more", more.0.len()));
        errors.push(ConfigError { kind, ..rest });
    }
    Err(Errors(errors))
}

/// `1 error`, `2 errors`.
#[must_use]
pub fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
