//! What a check found: good, bad with its fault, or unknown.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The checks that one round is made of. The unit itself is read, not probed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckKind {
    /// Who listens on the app's port.
    Port,
    /// The local health check.
    Http,
    /// Processes in the unit's cgroup.
    Processes,
}

impl CheckKind {
    /// The word by which people know it, as in `status` and the journal.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Http => "http",
            Self::Processes => "processes",
        }
    }
}

impl fmt::Display for CheckKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What is wrong, as far as it decides a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Nobody listens on the port, at any address that would do.
    NotListening,
    /// Somebody else listens on the port, at every address that would do.
    ForeignListener,
    /// HTTP: the connection was refused at every address.
    Refused,
    /// HTTP: no whole answer within `timeout`; connecting, waiting and reading all count.
    Unanswered,
    /// HTTP: an answer that is wrong (status, body, JSON, redirect to another host, no HTTP, reset).
    WrongAnswer,
    /// Fewer processes in the unit than `min_processes`.
    TooFewProcesses,
}

/// Good, bad or not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// As configured.
    Good,
    /// Not as configured.
    Bad(Fault),
    /// The check could not be made. Never bad, decides nothing.
    Unknown,
}

/// The outcome of one check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Observation {
    /// Good, bad or not known.
    pub finding: Finding,
    /// The evidence in a few words, for people: `port 3003 listens (pid 812) on 127.0.0.1`,
    /// `GET /api/health answers 500`, `GET /api/health timed out after 10 s`. Bounded (at most
    /// 200 characters), without control characters and without secrets.
    pub text: String,
    /// How long the answer took; only for HTTP.
    pub latency: Option<Duration>,
    /// Answered, but later than `max_latency`.
    pub slow: bool,
}

impl Observation {
    /// As configured.
    #[must_use]
    pub fn good(text: impl Into<String>) -> Self {
        Self { finding: Finding::Good, text: text.into(), latency: None, slow: false }
    }

    /// Not as configured.
    #[must_use]
    pub fn bad(fault: Fault, text: impl Into<String>) -> Self {
        Self { finding: Finding::Bad(fault), text: text.into(), latency: None, slow: false }
    }

    /// Could not be made, for that reason.
    #[must_use]
    pub fn unknown(text: impl Into<String>) -> Self {
        Self { finding: Finding::Unknown, text: text.into(), latency: None, slow: false }
    }

    /// The same with a latency.
    #[must_use]
    pub fn took(mut self, latency: Duration) -> Self {
        self.latency = Some(latency);
        self
    }
}
