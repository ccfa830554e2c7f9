//! The keys `http` and `public` in all their forms: a path, a URL, or a table.

use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::duration;
use super::error::quoted;
use super::keys;
use super::origin::Origin;
use super::raw::{Entry, Located, Raw};
use super::status;
use super::url::{self, Asked};
use super::value::{Reporter, read_duration, read_text};
use crate::judge::{Secret, StatusSet};

/// A health check as configured. A path still lacks its port.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct HttpSpec {
    pub asked: Asked,
    pub at: Origin,
    pub method: String,
    pub headers: Vec<(String, Secret)>,
    pub status: StatusSet,
    pub body: Option<String>,
    pub json: Vec<(String, Json)>,
    pub max_latency: Option<Duration>,
    pub timeout: Option<Duration>,
    /// Of `public` alone.
    pub expires_within: Option<Duration>,
}

const KEYS: [&str; 8] = ["url", "method", "headers", "status", "body", "json", "max_latency", "timeout"];
/// Of `public` alone.
const EXPIRES_WITHIN: &str = "expires_within";
const YEAR: Duration = Duration::from_secs(366 * 86_400);
/// Most headers, and most paths into an answer, of one check.
const MOST_PARTS: usize = 100;
const TENTH: Duration = Duration::from_millis(100);
const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// Reads the value of `public`: what is asked by everybody has a full URL.
pub(super) fn read_public(found: &Located, report: &mut Reporter<'_>) -> Option<HttpSpec> {
    let example = "https://example.org/";
    let spec = match &found.value {
        Raw::Text(_) | Raw::Table(_) => any(found, true, report)?,
        other => {
            let message = format!(
                "expected a URL such as \"{example}\" or a table {{ url = … }}, found {}",
                other.described()
            );
            return report.error(&found.at, "", message);
        }
    };
    match spec.asked {
        Asked::Url(_) => Some(spec),
        Asked::Path(_) => {
            let part = if matches!(found.value, Raw::Table(_)) { "url" } else { "" };
            let message = format!("has to be a full URL such as \"{example}\": a path says no public name");
            report.error(&spec.at, part, message)
        }
    }
}

/// Reads the key's value, reporting whatever is wrong with it.
pub(super) fn read(found: &Located, report: &mut Reporter<'_>) -> Option<HttpSpec> {
    any(found, false, report)
}

fn any(found: &Located, public: bool, report: &mut Reporter<'_>) -> Option<HttpSpec> {
    match &found.value {
        Raw::Text(text) => match url::parse(text) {
            Ok(asked) => Some(HttpSpec::new(asked, found.at.clone())),
            Err(why) => report.error(&found.at, "", why),
        },
        Raw::Table(entries) => table(found, entries, public, report),
        other => report.error(
            &found.at,
            "",
            format!("expected a path, a URL or a table {{ url = … }}, found {}", other.described()),
        ),
    }
}

fn table(found: &Located, entries: &[Entry], public: bool, report: &mut Reporter<'_>) -> Option<HttpSpec> {
    let before = report.count();
    let mut spec = HttpSpec::new(Asked::Path(String::new()), found.at.clone());
    let mut url_seen = false;
    for entry in entries {
        let value = &entry.value;
        let part = entry.key.as_str();
        match part {
            "url" => {
                url_seen = true;
                spec.at = value.at.clone();
                if let Some(text) = read_text(value, part, report) {
                    match url::parse(text) {
                        Ok(asked) => spec.asked = asked,
                        Err(why) => report.note(&value.at, part, why),
                    }
                }
            }
            "method" => spec.method = method(value, part, report).unwrap_or_default(),
            "headers" => spec.headers = headers(value, report),
            "status" => match status::read(value) {
                Ok(status) => spec.status = status,
                Err((at, why)) => report.note(&at, part, why),
            },
            "body" => match read_text(value, part, report) {
                Some("") => report.note(&value.at, part, "is empty, and would be found in any answer"),
                text => spec.body = text.map(str::to_owned),
            },
            "json" => match &value.value {
                Raw::Table(inside) => flatten("", &value.at, inside, &mut spec.json, report),
                other => report.note(
                    &value.at,
                    part,
                    format!("expected a table such as {{ status = \"ok\" }}, found {}", other.described()),
                ),
            },
            "max_latency" => spec.max_latency = read_duration(value, part, TENTH / 100, FIVE_MINUTES, report),
            "timeout" => spec.timeout = read_duration(value, part, TENTH, FIVE_MINUTES, report),
            EXPIRES_WITHIN if public => {
                spec.expires_within = read_duration(value, part, Duration::ZERO, YEAR, report);
            }
            EXPIRES_WITHIN => {
                report.note(&entry.at, part, "belongs in public: certificates are looked at there")
            }
            _ => {
                let known = KEYS.into_iter().chain(public.then_some(EXPIRES_WITHIN));
                report.note(&entry.at, part, keys::unknown_key(keys::nearest(part, known)));
            }
        }
    }
    if !url_seen {
        report.note(&found.at, "", "the table lacks url, a path or a URL");
    }
    if spec.method == "HEAD" && (spec.body.is_some() || !spec.json.is_empty()) {
        report.note(
            &found.at,
            "method",
            "an answer to HEAD has no body; use GET, or leave body and json out",
        );
    }
    (report.count() == before).then_some(spec)
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn method(value: &Located, part: &str, report: &mut Reporter<'_>) -> Option<String> {
    const USUAL: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let method = read_text(value, part, report)?;
    let upper = method.to_ascii_uppercase();
    if !is_token(method) || method.len() > 32 || upper == "CONNECT" {
        return report.error(
            &value.at,
            part,
            format!("expected a method such as \"GET\" or \"HEAD\", found {}", quoted(method)),
        );
    }
    if method != upper && USUAL.contains(&upper.as_str()) {
        return report.error(
            &value.at,
            part,
            format!("methods are case-sensitive; did you mean \"{upper}\"?"),
        );
    }
    Some(method.to_owned())
}

/// What is wrong with a header names it, and never shows its value.
fn headers(value: &Located, report: &mut Reporter<'_>) -> Vec<(String, Secret)> {
    let Raw::Table(entries) = &value.value else {
        report.note(&value.at, "headers", "expected a table such as { Accept = \"text/html\" }");
        return Vec::new();
    };
    let mut headers = Vec::new();
    if entries.len() > MOST_PARTS {
        report.note(&value.at, "headers", format!("more than {MOST_PARTS} headers"));
        return headers;
    }
    for entry in entries {
        let part = format!("headers.{}", quoted(&entry.key).trim_matches('"'));
        if !is_token(&entry.key) {
            report.note(&entry.at, &part, "is no name of a header");
            continue;
        }
        let own = ["connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer"];
        if own.contains(&entry.key.to_ascii_lowercase().as_str()) {
            report.note(&entry.at, &part, "is set by the check itself; leave it out");
            continue;
        }
        match &entry.value.value {
            Raw::Text(text) if text.chars().any(|c| c.is_control() && c != '\t') => report.note(
                &entry.value.at,
                &part,
                "the value holds a line break or another control character, which no header may",
            ),
            Raw::Text(text) => headers.push((entry.key.clone(), Secret(text.clone()))),
            _ => report.note(&entry.value.at, &part, "expected a string"),
        }
    }
    headers
}

/// Tables within the table, be they written as such or as dotted keys, are steps of the path.
fn flatten(
    prefix: &str,
    at: &Origin,
    entries: &[Entry],
    out: &mut Vec<(String, Json)>,
    report: &mut Reporter<'_>,
) {
    if entries.is_empty() {
        report.note(at, "json", "an empty table expects nothing; leave it out");
    }
    for entry in entries {
        let dot = if prefix.is_empty() { "" } else { "." };
        let path = format!("{prefix}{dot}{}", entry.key);
        if path.split('.').any(str::is_empty) {
            report.note(&entry.at, "json", format!("the path {} has an empty step", quoted(&path)));
            continue;
        }
        if let Raw::Table(inside) = &entry.value.value {
            flatten(&path, &entry.value.at, inside, out, report);
            continue;
        }
        if out.iter().any(|(known, _)| *known == path) {
            report.note(&entry.at, "json", format!("the path {} is given twice", quoted(&path)));
            continue;
        }
        if out.len() == MOST_PARTS {
            return report.note(&entry.at, "json", format!("more than {MOST_PARTS} paths"));
        }
        match json(&entry.value.value) {
            Some(value) => out.push((path, value)),
            None => report.note(
                &entry.value.at,
                "json",
                format!(
                    "expected a string, a number, true, false or a list of these at {}, found {}",
                    quoted(&path),
                    entry.value.value.described()
                ),
            ),
        }
    }
}

fn json(raw: &Raw) -> Option<Json> {
    match raw {
        Raw::Text(text) => Some(Json::from(text.as_str())),
        Raw::Integer(number) => Some(Json::from(*number)),
        Raw::Float(number) => serde_json::Number::from_f64(*number).map(Json::Number),
        Raw::Boolean(word) => Some(Json::from(*word)),
        Raw::List(items) => {
            items.iter().map(|item| json(&item.value)).collect::<Option<_>>().map(Json::Array)
        }
        Raw::Table(_) | Raw::Odd(_) => None,
    }
}

impl HttpSpec {
    fn new(asked: Asked, at: Origin) -> Self {
        Self {
            asked,
            at,
            method: "GET".to_owned(),
            headers: Vec::new(),
            status: StatusSet::default(),
            body: None,
            json: Vec::new(),
            max_latency: None,
            timeout: None,
            expires_within: None,
        }
    }

    /// As it would be written, with the values of headers and the query, which may hold a token, as `…`.
    pub fn shown(&self) -> Json {
        let (Asked::Path(url) | Asked::Url(url)) = &self.asked;
        let url = match url.split_once('?') {
            Some((before, query)) if !query.is_empty() => format!("{before}?…"),
            _ => url.clone(),
        };
        let mut table = Map::new();
        let mut put = |key: &str, value: Json| table.insert(key.to_owned(), value);
        if self.method != "GET" {
            put("method", Json::from(self.method.as_str()));
        }
        if !self.headers.is_empty() {
            let shown =
                self.headers.iter().map(|(name, secret)| (name.clone(), Json::from(secret.to_string())));
            put("headers", Json::Object(shown.collect()));
        }
        if self.status != StatusSet::default() {
            put("status", Json::from(self.status.to_string()));
        }
        if let Some(body) = &self.body {
            put("body", Json::from(body.as_str()));
        }
        if !self.json.is_empty() {
            put("json", Json::Object(self.json.iter().cloned().collect()));
        }
        let lengths = [
            ("max_latency", self.max_latency),
            ("timeout", self.timeout),
            (EXPIRES_WITHIN, self.expires_within),
        ];
        for (key, value) in lengths {
            if let Some(value) = value {
                put(key, Json::from(duration::show(value)));
            }
        }
        if table.is_empty() {
            return Json::from(url);
        }
        let mut whole = Map::new();
        whole.insert("url".to_owned(), Json::from(url));
        whole.append(&mut table);
        Json::Object(whole)
    }
}
