//! What is wrong with a configuration, for the person who has to put it right.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::origin::Origin;

/// One error: where, in which table, at which key, and what was expected instead.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ConfigError {
    /// The place to edit.
    pub place: Origin,
    /// The table, as it is written in a file: `app.web`, `defaults`. Empty at the top level.
    pub table: String,
    /// The key, with its parts where it is a table (`http.status`). Empty where it is about a whole
    /// table or file.
    pub key: String,
    /// What is wrong, what was expected, and what to do.
    pub message: String,
    /// Whether it is the configuration's.
    #[serde(default, skip_serializing_if = "ErrorKind::is_of_configuration")]
    pub kind: ErrorKind,
}

/// Whose matter an error is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub enum ErrorKind {
    /// Something is wrong with the configuration.
    #[default]
    Configuration,
    /// This user may not read a part of it, which says nothing of what is in that.
    Permission,
}

impl ErrorKind {
    fn is_of_configuration(&self) -> bool {
        *self == Self::Configuration
    }
}

impl ConfigError {
    /// About a whole file or place.
    pub(super) fn at(place: Origin, message: impl Into<String>) -> Self {
        Self::of(place, String::new(), String::new(), message)
    }

    /// About a key of a table, or all of that.
    pub(super) fn of(place: Origin, table: String, key: String, message: impl Into<String>) -> Self {
        Self { place, table, key, message: message.into(), kind: ErrorKind::Configuration }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place != Origin::Default {
            write!(f, "{}: ", self.place)?;
        }
        // A variable's name says table and key already, but not the part of a table in it.
        let in_variable = matches!(self.place, Origin::Environment(_));
        let part = if in_variable {
            self.key.split_once('.').map_or("", |(_, part)| part)
        } else {
            if !self.table.is_empty() {
                write!(f, "[{}]{}", self.table, if self.key.is_empty() { ": " } else { " " })?;
            }
            &self.key
        };
        if !part.is_empty() {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// All errors of a configuration, in the order of their places. Never empty when returned as `Err`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Errors(pub Vec<ConfigError>);

impl Errors {
    /// Nothing is known to be wrong: this user may not read the configuration, or not all of it, and what he
    /// may read is right.
    #[must_use]
    pub fn are_of_permission(&self) -> bool {
        self.0.iter().all(|error| error.kind == ErrorKind::Permission)
    }
}

impl fmt::Display for Errors {
    /// One line per error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Something that is no error, but that somebody should know.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// What it is about.
    pub place: Origin,
    /// What there is to know.
    pub message: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A text of somebody else's in a message: bounded, in quotes, without control characters. What may
/// be a URL with its password is not shown.
pub(super) fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    if text.contains("://") && text.contains('@') {
        return "\"…\"".to_owned();
    }
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}
