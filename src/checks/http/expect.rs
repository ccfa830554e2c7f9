//! What a good answer's body holds: a substring, and values at JSON paths.

use serde_json::Value;

use super::super::text::clean;
use super::BODY_LIMIT;
use crate::judge::HttpTarget;

/// Compares a body, read to one byte beyond the limit at most, with what is expected. The error
/// goes behind `GET /path`; with it what the app said instead, which is not for everybody.
pub(super) fn compare(http: &HttpTarget, status: u16, body: &[u8]) -> Result<(), (String, Option<String>)> {
    let plain = |text: String| Err((text, None));
    let whole = body.len() <= BODY_LIMIT;
    if let Some(wanted) = &http.body
        && !String::from_utf8_lossy(body).contains(wanted.as_str())
    {
        let part = if whole { "" } else { "in its first 64 KiB " };
        return plain(format!("answers {status} {part}without \"{}\"", clean(wanted, 60)));
    }
    if http.json.is_empty() {
        return Ok(());
    }
    if !whole {
        return plain(format!(
            "answers {status} with more JSON than the {} KiB that are read",
            BODY_LIMIT / 1024
        ));
    }
    let document: Value = match serde_json::from_slice(body) {
        Ok(document) => document,
        Err(_) if body.is_empty() => return plain(format!("answers {status} with no body, expected JSON")),
        Err(error) => return plain(format!("answers {status} without valid JSON: {error}")),
    };
    for (path, wanted) in &http.json {
        let name = clean(path, 50);
        match lookup(&document, path) {
            None => return plain(format!("answers {status}, {name} is missing, expected {}", shown(wanted))),
            Some(found) if !same(found, wanted) => {
                let text = format!("answers {status}, {name} is another than the expected {}", shown(wanted));
                return Err((text, Some(format!("{name} is {}", shown(found)))));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    clean(&value.to_string(), 50)
}

/// The value at a path: keys and array indexes, joined by dots. Where keys hold dots themselves,
/// the longest that fits comes first. Each value of the document is looked at once at most, since
/// the keys that lead to it spell one beginning of the path.
pub(super) fn lookup<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => {
            if let Some(found) = fields.get(path) {
                return Some(found);
            }
            let dots = path.rmatch_indices('.').map(|(at, _)| at);
            dots.filter_map(|at| Some((fields.get(&path[..at])?, &path[at + 1..])))
                .find_map(|(inner, rest)| lookup(inner, rest))
        }
        Value::Array(items) => {
            let (index, rest) = match path.split_once('.') {
                Some((index, rest)) => (index, Some(rest)),
                None => (path, None),
            };
            let item = items.get(index.parse::<usize>().ok()?)?;
            rest.map_or(Some(item), |rest| lookup(item, rest))
        }
        _ => None,
    }
}

/// Equal as people mean it: 1 is 1.0.
fn same(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64().is_some_and(|a| Some(a) == b.as_f64()),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::tests::target;
    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let document = json!({
            "status": "OK",
            "services": {"database": "connected", "a.b": {"c": 1}},
            "services.cache": true,
            "items": [{"name": "x"}, [1, 2]],
            "a": {"b": 1}, "a.b": {"c": 2},
        });
        for (path, value) in [
            ("status", json!("OK")),
            ("services.database", json!("connected")),
            ("services.a.b.c", json!(1.0)),
            ("services.cache", json!(true)),
            ("items.0.name", json!("x")),
            ("items.1.1", json!(2)),
            ("a.b", json!({"c": 2.0})),
            ("a.b.c", json!(2)),
        ] {
            assert!(lookup(&document, path).is_some_and(|found| same(found, &value)), "{path}");
        }
        for path in ["", "nothing", "status.x", "items.2", "items.-1", "items.x", "items.0.", ".status"] {
            assert_eq!(lookup(&document, path), None, "{path}");
        }
    }

    #[test]
    fn what_differs_is_said() {
        let mut http = target("http://localhost/").http.unwrap();
        http.json = vec![("services.database".to_owned(), json!("connected"))];
        // What the app answered is kept apart: it may hold anything.
        let (text, quote) = compare(&http, 200, br#"{"services":{"database":"down"}}"#).unwrap_err();
        assert_eq!(text, r#"answers 200, services.database is another than the expected "connected""#);
        assert_eq!(quote.unwrap(), r#"services.database is "down""#);
        let said = |body: &str| match compare(&http, 200, body.as_bytes()).unwrap_err() {
            (text, None) => text,
            quoted => panic!("{quoted:?}"),
        };
        assert_eq!(said("{}"), r#"answers 200, services.database is missing, expected "connected""#);
        assert_eq!(said(""), "answers 200 with no body, expected JSON");
        assert!(said("<html>").starts_with("answers 200 without valid JSON: "));
        assert!(said(&"[".repeat(5000)).contains("recursion limit"));
        assert!(said(&" ".repeat(BODY_LIMIT + 1)).contains("64 KiB"));
        http.json.clear();
        http.body = Some("OK".to_owned());
        assert_eq!(compare(&http, 200, b"all OK"), Ok(()));
        assert_eq!(
            compare(&http, 200, b"\xff").unwrap_err(),
            ("answers 200 without \"OK\"".to_owned(), None)
        );
    }

    proptest! {
        #[test]
        fn any_path_is_survived(path in "[a.0-2]{0,12}", body in r#"[\[\]{}a.:",0-9]{0,40}"#) {
            if let Ok(document) = serde_json::from_str::<Value>(&body) {
                let _ = lookup(&document, &path);
            }
            let document = json!({"a": {"a.a": [0, {"a": 1}]}, "a.a": 2, "": {"": 3}, "a.": {"a": 4}});
            let _ = lookup(&document, &path);
        }

        #[test]
        fn keys_with_dots_are_found(first in "[a-c.]{1,6}", second in "[a-c.]{1,6}") {
            let document = json!({first.clone(): {second.clone(): 1}});
            prop_assert_eq!(lookup(&document, &format!("{first}.{second}")), Some(&json!(1)));
        }
    }
}
