//! What an app is expected to look like: the targets of its checks, as plain data that the
//! configuration fills in and the checks carry out.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::UnitName;
use super::observation::CheckKind;

/// Where an app listens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    /// 127.0.0.1 and ::1; either will do (Node 17 and later may bind one family only).
    #[default]
    Localhost,
    /// That address alone. An unspecified one (0.0.0.0, ::) is asked at its loopback.
    Ip(IpAddr),
}

/// A value that no command, log line or error may show: it displays as `…`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Which HTTP status codes are good: ranges, both ends included, each within 100 to 599.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StatusSet(pub Vec<(u16, u16)>);

impl Default for StatusSet {
    fn default() -> Self {
        Self(vec![(200, 299)])
    }
}

impl StatusSet {
    /// Whether that code is good.
    #[must_use]
    pub fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&code))
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (low, high)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if low == high {
                write!(f, "{comma}{low}")?;
            } else {
                write!(f, "{comma}{low}-{high}")?;
            }
        }
        Ok(())
    }
}

/// A health check over HTTP.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HttpTarget {
    /// The full URL, scheme and port included, without user or password.
    /// For a bare path it is `http://localhost:PORT/PATH`.
    pub url: String,
    /// `GET`, `HEAD`, `POST`, …
    pub method: String,
    /// Sent with every request; values may be secret.
    pub headers: Vec<(String, Secret)>,
    /// Good codes, after redirects on the same host.
    pub status: StatusSet,
    /// A substring that the body must contain.
    pub body: Option<String>,
    /// Paths into the JSON body (`services.database`, `items.0.name`) and the value each must have.
    pub json: Vec<(String, serde_json::Value)>,
    /// An answer later than that is slow, though good.
    pub max_latency: Option<Duration>,
    /// The whole check, wall to wall.
    pub timeout: Duration,
}

/// Everything that an app is asked in one round.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Target {
    /// The unit that the app runs as.
    pub unit: UnitName,
    /// The TCP port that it must listen on.
    pub port: Option<u16>,
    /// Where it listens.
    pub address: Address,
    /// Its local health check.
    pub http: Option<HttpTarget>,
    /// Least processes in the unit. 0: not checked.
    pub min_processes: u32,
    /// Only processes of that name count: base name of argv\[0\], or comm.
    pub process: Option<String>,
    /// Root of the app's files; taken from the unit when absent.
    pub working_directory: Option<PathBuf>,
}

impl Target {
    /// The checks that are configured.
    #[must_use]
    pub fn kinds(&self) -> Vec<CheckKind> {
        let mut kinds = Vec::with_capacity(3);
        if self.port.is_some() {
            kinds.push(CheckKind::Port);
        }
        if self.http.is_some() {
            kinds.push(CheckKind::Http);
        }
        if self.min_processes > 0 {
            kinds.push(CheckKind::Processes);
        }
        kinds
    }

    /// A number that stays the same while unit, target and expectation of a check do: a check that
    /// was good once is remembered under it. It says nothing about the values themselves.
    #[must_use]
    pub fn signature(&self, kind: CheckKind) -> u64 {
        // DefaultHasher::new has fixed keys; should a release of Rust change it, checks have to be
        // good once more before their failure counts, which errs on the safe side.
        let mut hasher = DefaultHasher::new();
        (self.unit.as_str(), kind).hash(&mut hasher);
        match kind {
            CheckKind::Port => (self.port, self.address).hash(&mut hasher),
            CheckKind::Http => {
                if let Some(http) = &self.http {
                    (&http.url, &http.method, &http.headers, &http.status, &http.body).hash(&mut hasher);
                    for (path, value) in &http.json {
                        (path, value.to_string()).hash(&mut hasher);
                    }
                    self.address.hash(&mut hasher);
                }
            }
            CheckKind::Processes => (self.min_processes, &self.process).hash(&mut hasher),
        }
        hasher.finish()
    }
}
