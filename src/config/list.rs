//! Values that are one thing or several of a kind: units, paths, places on the network, keys.

use std::net::Ipv6Addr;
use std::path::{Component, Path, PathBuf};

use super::raw::{Located, Raw};
use super::value::Reporter;
use crate::judge::UnitName;

/// Most entries of one list.
const MOST: usize = 64;

/// Each entry, read by `one`; a string alone is a list of one. What comes twice counts once.
fn each<T: PartialEq>(
    found: &Located,
    part: &str,
    expected: &str,
    report: &mut Reporter<'_>,
    one: impl Fn(&str) -> Option<T>,
) -> Option<Vec<T>> {
    let items = match &found.value {
        Raw::List(items) => items.as_slice(),
        _ => std::slice::from_ref(found),
    };
    if items.len() > MOST {
        return report.error(
            &found.at,
            part,
            format!("has {} entries; at most {MOST} are taken", items.len()),
        );
    }
    let before = report.count();
    let mut all = Vec::new();
    for item in items {
        let read = match &item.value {
            Raw::Text(text) => one(text),
            _ => None,
        };
        match read {
            Some(read) if !all.contains(&read) => all.push(read),
            Some(_) => {}
            None => {
                let message = format!("expected {expected}, found {}", item.value.described());
                report.note(&item.at, part, message);
            }
        }
    }
    (report.count() == before).then_some(all)
}

/// Units to start. As systemctl does, a name without the suffix of a unit is a service's.
pub(super) fn units(found: &Located, part: &str, report: &mut Reporter<'_>) -> Option<Vec<UnitName>> {
    let expected = "the name of a unit such as \"warm-up.service\"";
    each(found, part, expected, report, |text| {
        let unit = UnitName::try_from(text.to_owned())
            .or_else(|_| UnitName::try_from(format!("{text}.service")))
            .ok()?;
        (!unit.stem().ends_with('@') && !unit.stem().starts_with('@')).then_some(unit)
    })
}

/// Directories below another: relative, and not led out by their text.
pub(super) fn below(found: &Located, part: &str, report: &mut Reporter<'_>) -> Option<Vec<PathBuf>> {
    let expected = "a path below the working directory such as \".next/cache\", without \"..\"";
    each(found, part, expected, report, |text| {
        let path = file(text).filter(|path| path.is_relative())?;
        // "." would be the whole of the app.
        path.components().any(|part| matches!(part, Component::Normal(_))).then_some(path)
    })
}

/// Files: absolute, or below the working directory.
pub(super) fn files(found: &Located, part: &str, report: &mut Reporter<'_>) -> Option<Vec<PathBuf>> {
    let expected = "the path of a file such as \"dist/server.js\", without \"..\"";
    each(found, part, expected, report, file)
}

/// A path without `..`, and no URL, which may hold a password. PATH_MAX is 4096.
pub(super) fn file(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let fits = (1..4_096).contains(&text.len())
        && !text.chars().any(char::is_control)
        && !text.contains("://")
        && path.components().all(|part| part != Component::ParentDir)
        && path.components().any(|part| matches!(part, Component::Normal(_)));
    fits.then(|| path.components().filter(|part| *part != Component::CurDir).collect())
}

/// Names of environment variables (IEEE Std 1003.1, 8.1).
pub(super) fn keys(found: &Located, part: &str, report: &mut Reporter<'_>) -> Option<Vec<String>> {
    let expected = "the name of an environment variable such as \"DATABASE_URL\"";
    each(found, part, expected, report, |text| is_key(text).then(|| text.to_owned()))
}

/// The name of an environment variable.
pub(super) fn is_key(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Addresses of mail; at least one.
pub(super) fn mailboxes(found: &Located, report: &mut Reporter<'_>) -> Option<Vec<String>> {
    if matches!(&found.value, Raw::List(items) if items.is_empty()) {
        return report.error(&found.at, "", "an empty list tells nobody");
    }
    let expected = "an address such as \"admin@example.org\"";
    each(found, "", expected, report, |text| super::endpoint::is_mailbox(text).then(|| text.to_owned()))
}

/// `HOST:PORT`, an IPv6 address in brackets.
pub(super) fn endpoints(found: &Located, report: &mut Reporter<'_>) -> Option<Vec<(String, u16)>> {
    if matches!(&found.value, Raw::List(items) if items.is_empty()) {
        let message = "an empty list asks nobody; leave it out for the resolver and the default gateway";
        return report.error(&found.at, "", message);
    }
    each(found, "", "HOST:PORT such as \"1.1.1.1:443\"", report, |text| {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(inside) => inside.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.to_string(),
            None => self::host(host).then(|| host.to_owned())?,
        };
        Some((host, self::port(port)?))
    })
}

/// Letters, digits, dots, dashes, underscores; RFC 1035 allows 253.
pub(super) fn host(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

/// Digits alone, from 1 to 65535.
pub(super) fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0 && text.bytes().all(|b| b.is_ascii_digit()))
}

/// As it would be written.
pub(super) fn endpoint((host, port): &(String, u16)) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
