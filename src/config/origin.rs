//! Where a value, or an error, came from.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The place of a value: the thing that an administrator has to edit to change it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A place in a file.
    File {
        /// As the system sees it, without the root of a test.
        path: PathBuf,
        /// From 1. 0: the file as a whole.
        line: u32,
        /// In characters, from 1. 0: the file as a whole.
        column: u32,
    },
    /// The variable of that name.
    Environment(String),
    /// Built in.
    Default,
}

impl Origin {
    /// A whole file or directory.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File { path: path.into(), line: 0, column: 0 }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: 0, .. } => write!(f, "{}", path.display()),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Environment(name) => write!(f, "environment: {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}
