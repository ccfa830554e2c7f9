//! Paths that are tried on a port of this host, asked as a health check asks.

use std::net::IpAddr;
use std::time::Duration;

use crate::checks::{FirstAnswer, first_answer};
use crate::judge::{Address, HttpTarget};

/// What was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The status.
    pub status: u16,
    /// Until the whole head was there.
    pub took: Duration,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
}

impl From<FirstAnswer> for Asked {
    fn from(answer: FirstAnswer) -> Self {
        Self { status: answer.status, took: answer.took, headers: answer.headers }
    }
}

impl Asked {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether it was made beforehand and says nothing of how the app is.
    #[must_use]
    pub fn is_static(&self) -> bool {
        // Next.js says so itself; express.static and others serve files with ranges.
        let made_before =
            ["x-nextjs-cache", "x-nextjs-prerender"].iter().any(|name| self.header(name).is_some());
        let file = self.header("last-modified").is_some()
            && (self.header("etag").is_some() || self.header("accept-ranges").is_some());
        made_before || file
    }
}

/// Health paths, as they are tried.
pub const PATHS: [&str; 7] = ["/api/health", "/health", "/healthz", "/status", "/up", "/ping", "/"];
/// A health check that takes longer is none to ask every few seconds.
pub const QUICK: Duration = Duration::from_secs(1);

/// What came of asking a port for the usual paths.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// That path answers well and quickly.
    Path(&'static str, Asked),
    /// None does, for that reason.
    None(String),
}

/// Tries the usual paths on a port, each for so long at most. One that the app answers itself goes before
/// one that was made beforehand.
#[must_use]
pub fn usual_paths(address: IpAddr, port: u16, patience: Duration) -> Health {
    let mut last = String::new();
    let mut second = None;
    for path in PATHS {
        let http = HttpTarget::get(format!("http://localhost:{port}{path}"), patience);
        match first_answer(&http, Address::Ip(address), patience).map(Asked::from) {
            Ok(asked) if (200..300).contains(&asked.status) && asked.took <= QUICK => {
                if !asked.is_static() {
                    return Health::Path(path, asked);
                }
                second.get_or_insert((path, asked));
            }
            Ok(asked) => {
                let slow = if asked.took > QUICK { ", slowly" } else { "" };
                let to = asked.header("location").map(|to| format!(" to {to}")).unwrap_or_default();
                last = format!("{path} answers {}{to}{slow}", asked.status);
            }
            // Who does not answer one path in time answers none.
            Err(why) => return Health::None(format!("GET {path}: {why}")),
        }
    }
    match second {
        Some((path, asked)) => Health::Path(path, asked),
        None => Health::None(format!("none of {} answers 2xx; {last}", PATHS.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_beforehand() {
        let asked = |names: &[&str]| Asked {
            status: 200,
            took: Duration::ZERO,
            headers: names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect(),
        };
        for (names, expected) in [
            (&["etag", "last-modified"][..], true),
            (&["last-modified", "accept-ranges"], true),
            (&["x-nextjs-prerender"], true),
            // Express adds an ETag to whatever it sends.
            (&["etag"], false),
            (&["last-modified"], false),
            (&[], false),
        ] {
            assert_eq!(asked(names).is_static(), expected, "{names:?}");
        }
    }
}
