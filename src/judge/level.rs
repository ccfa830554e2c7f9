//! How important a line is, and from where on lines are written.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The words of `log_level`, most important first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Level {
    /// Somebody has to act. PRIORITY=3.
    Error,
    /// Something is wrong and taken care of. PRIORITY=4.
    Warn,
    /// Something happened. PRIORITY=6.
    #[default]
    Info,
    /// Every check. PRIORITY=7.
    Debug,
    /// Every step inside. PRIORITY=7.
    Trace,
}

impl Level {
    /// All of them, most important first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// The level of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.word() == word)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back_to_their_levels() {
        for level in Level::ALL {
            assert_eq!(Level::from_word(level.word()), Some(level));
        }
        assert_eq!(Level::from_word("loud"), None);
        assert!(Level::ALL.is_sorted());
    }
}
