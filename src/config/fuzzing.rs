//! Configuration, and the files of others that it leads to.
#![allow(clippy::expect_used, reason = "a test, if not by name")]

use std::fmt::Write as _;

use super::keys::KEYS;
use super::origin::Origin;
use super::raw::read_value;
use super::resolved::Resolved;
use super::url::{Asked, parse as parse_url};
use super::value::{Reporter, read};
use super::{Sources, database, database_url, duration, env_file as env, list, size, unit_files};
use crate::fuzzing::kit::{Folder, assert_plain, parts};

/// The longest line that an error may be. What it quotes is bounded, and so are the lists in it.
const LONG: usize = 1_500;

/// Where the parts of an input go; behind them comes the environment, a variable a line.
const FILES: [&str; 4] = [
    "etc/app-monitor/app-monitor.toml",
    "etc/app-monitor/conf.d/50-more.toml",
    "etc/systemd/system/web.service",
    "srv/web.env",
];

/// All of a host's configuration.
pub(crate) fn config(bytes: &[u8]) {
    thread_local!(static HOST: Folder = Folder::new("config"));
    let mut all = parts(bytes);
    HOST.with(|host| host.put_all(&FILES, &mut all));
    let environment = String::from_utf8_lossy(all.next().unwrap_or_default()).into_owned();
    let environment = environment.lines().filter_map(|line| line.split_once('='));
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let resolved = Resolved::load(&Sources { root: HOST.with(|host| host.path().to_owned()), environment });
    for notice in &resolved.notices {
        assert_plain(&notice.message, LONG);
    }
    match &resolved.outcome {
        Err(errors) => {
            assert!((1..=201).contains(&errors.0.len()), "{}", errors.0.len());
            errors.0.iter().for_each(|error| assert_plain(&error.message, LONG));
        }
        Ok(settings) => {
            assert!(settings.members.iter().all(|member| member.policy.max_attempts > 0));
            assert!(settings.members.iter().all(|member| !member.policy.timeout.is_zero()));
            let grants = super::grants::grants(settings);
            assert!(grants.is_sorted_by(|one, other| one.unit < other.unit));
        }
    }
    // What the daemon, the helpers and the commands read is what was resolved.
    let written = serde_json::to_vec_pretty(&resolved).expect("it can be written");
    let read: Resolved = serde_json::from_slice(&written).expect("it can be read");
    assert_eq!(read, resolved);
    // A reload resolves with the environment that was kept, and that is kept as it is.
    assert_eq!(super::environment::without_credentials(&read.environment), read.environment);
}

/// Single values: lengths of time, sizes, whatever stands behind a key.
pub(crate) fn value(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match duration::parse(text) {
        Ok(length) => assert_eq!(duration::parse(&duration::show(length)), Ok(length)),
        Err(why) => assert_plain(&why, LONG),
    }
    match size::parse(text) {
        Ok(bytes) => assert_eq!(size::parse(&size::show(bytes)), Ok(bytes)),
        Err(why) => assert_plain(&why, LONG),
    }
    let Ok(found) = read_value(text, &Origin::Default) else { return };
    for key in KEYS {
        let mut errors = Vec::new();
        let mut report = Reporter { errors: &mut errors, table: "app.web", key: key.name };
        if let Some(value) = read(key, &found, &mut report) {
            // As it is shown, it is TOML's or JSON's to write.
            let _ = value.shown().to_string();
        } else {
            assert!(!errors.is_empty(), "{} is refused without a word: {text}", key.name);
        }
        errors.iter().for_each(|error| assert_plain(&error.message, LONG));
    }
}

/// URLs of health checks and of databases.
pub(crate) fn url(text: &str) {
    match parse_url(text) {
        Ok(Asked::Url(url)) => {
            assert_eq!(parse_url(&url), Ok(Asked::Url(url.clone())));
            assert!(url.parse::<ureq::http::Uri>().is_ok_and(|uri| uri.host().is_some()), "{url}");
        }
        Ok(Asked::Path(path)) => {
            assert!(format!("http://localhost:1{path}").parse::<ureq::http::Uri>().is_ok(), "{path}");
        }
        Err(why) => assert_plain(&why, LONG),
    }
    match database_url::parse(text) {
        Ok(found) => assert_eq!(database_url::parse(&found.url()).as_ref(), Ok(&found), "{}", found.url()),
        Err(why) => assert_plain(&why, LONG),
    }
    let kept = database::without_credentials(text);
    assert_eq!(database::without_credentials(&kept), kept);
}

/// An environment file.
pub(crate) fn env_file(bytes: &[u8]) {
    let all = env::parse(&String::from_utf8_lossy(bytes), env::Reader::App);
    let mut text = String::new();
    for (key, value) in &all {
        assert!(list::is_key(key), "{key:?}");
        let value: String = value.0.chars().fold(String::new(), |mut out, c| {
            if matches!(c, '"' | '\\' | '`' | '$') {
                out.push('\\');
            }
            out.push(c);
            out
        });
        let _ = writeln!(text, "{key}=\"{value}\"");
    }
    assert_eq!(env::parse(&text, env::Reader::Systemd), all, "{text:?}");
}

/// A file of a unit.
pub(crate) fn unit_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    unit_files::fuzzed(&text, &"web@a-b\\x2dc.service".parse().expect("a unit"));
}
