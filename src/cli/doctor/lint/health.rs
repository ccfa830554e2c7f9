//! What is said of the health check: whether there is one, what it answers, how quickly, and who answers.

use super::super::looking::SLOW;
use super::{Notes, Severity, toml};
use crate::judge::{HttpTarget, StatusSet};

pub fn health(notes: &mut Notes<'_>) {
    if notes.patient.target.http.is_none() {
        let mend = match (&notes.patient.table, better(notes)) {
            (None, _) => vec!["app-monitor init --write".to_owned()],
            (_, Some(line)) => line,
            (_, None) => none_would_do(),
        };
        notes.add(
            Severity::Warning,
            "no-http",
            "there is no http check",
            "A frozen app keeps its port and its process: only a question shows it.",
            mend,
        );
        return;
    }
    let (Some(health), Some(http)) = (notes.patient.health.clone(), notes.patient.target.http.clone()) else {
        return;
    };
    let label = format!("{} {}", http.method, health.path.split('?').next().unwrap_or_default());
    let asked = match health.first {
        Ok(asked) => asked,
        Err(why) => {
            let mend = better(notes).unwrap_or_else(|| vec![check(notes)]);
            notes.add(
                Severity::Problem,
                "health-unanswered",
                format!("{label} {why}"),
                "It would be restarted for that.",
                mend,
            );
            return;
        }
    };
    let redirects = (300..400).contains(&asked.status) && !http.status.contains(asked.status);
    let names_host = health.with.iter().any(|(name, _)| *name == "Host");
    if redirects {
        let to = asked.header("location").unwrap_or("nowhere").to_owned();
        let mend = match (health.with.is_empty(), &health.end) {
            (false, _) => with_headers(notes, &http, &health.path, &health.with),
            // A query may hold a token; who is sent to log in is told nothing of the app.
            (true, Some(end)) if !end.contains('?') && !asks_who(end) => line(notes, &http, end, &[]),
            (true, Some(end)) if !end.contains('?') => {
                better(notes).unwrap_or_else(|| line(notes, &http, end, &[]))
            }
            (true, Some(_)) => better(notes).unwrap_or_else(none_would_do),
            (true, None) => better(notes).unwrap_or_else(none_would_do),
        };
        // It is bad where it leads to another host.
        let severity = if health.whole.is_ok() { Severity::Warning } else { Severity::Problem };
        notes.add(
            severity,
            "health-redirects",
            format!("{label} answers {} and leads to {}", asked.status, without_query(&to)),
            "Redirects are followed on the same host alone, and a login page answers 200 whatever is wrong \
             behind it.",
            mend,
        );
    } else if names_host {
        let shown: Vec<String> = health.with.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let mend = with_headers(notes, &http, &health.path, &health.with);
        notes.add(
            Severity::Problem,
            "health-needs-host",
            format!("{label} answers {} to localhost, and well with {}", asked.status, shown.join(", ")),
            "The app tells names apart; the check has to use one that it knows.",
            mend,
        );
    } else if let Err(why) = &health.whole {
        let mend = match health.with.is_empty() {
            true => better(notes).unwrap_or_else(none_would_do),
            false => with_headers(notes, &http, &health.path, &health.with),
        };
        notes.add(Severity::Problem, "health-bad", why.clone(), "The app counts as broken.", mend);
    }
    // What is no good answer has more to it than that.
    if !http.status.contains(asked.status) {
        return;
    }
    if asked.took > SLOW {
        let mend = better(notes).unwrap_or_else(none_would_do);
        notes.add(
            Severity::Warning,
            "health-slow",
            format!("{label} took {} ms", asked.took.as_millis()),
            "It is asked every few seconds, most often while the app has trouble; work in it makes that worse.",
            mend,
        );
    }
    if asked.is_static() {
        let mend = better(notes).unwrap_or_else(none_would_do);
        notes.add(
            Severity::Advice,
            "health-static",
            format!("{label} answers with a page made beforehand"),
            "It stays good while the app's own code and its database fail.",
            mend,
        );
    }
}

/// The command that asks it.
fn check(notes: &Notes<'_>) -> String {
    match &notes.patient.table {
        Some(table) => format!("app-monitor check {table}"),
        None => notes.of_unit("app-monitor check --unit {}"),
    }
}

fn none_would_do() -> Vec<String> {
    vec![
        "# in the app: a path that asks its database and answers 200 at once while all is well, such as"
            .into(),
        "# /health; then name it in http".into(),
    ]
}

/// A usual path that would do.
fn better(notes: &Notes<'_>) -> Option<Vec<String>> {
    let path = notes.patient.better.as_ref()?;
    let plain = HttpTarget::get(String::new(), std::time::Duration::ZERO);
    Some(line(notes, &plain, path, &[]))
}

fn with_headers(
    notes: &Notes<'_>,
    http: &HttpTarget,
    path: &str,
    headers: &[(&'static str, String)],
) -> Vec<String> {
    line(notes, http, path, headers)
}

/// The key `http` with that path and these headers beside what it has. Values of headers that it has are
/// secret: they are left to the person.
fn line(notes: &Notes<'_>, http: &HttpTarget, path: &str, headers: &[(&'static str, String)]) -> Vec<String> {
    let added: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name} = {}", toml(value))).collect();
    if !http.headers.is_empty() || !http.json.is_empty() {
        let url = format!("url = {}", toml(path));
        let mut mend = vec!["# in its http, beside what is there:".to_owned(), format!("# {url}")];
        if !added.is_empty() {
            mend.push(format!("# and in its headers: {}", added.join(", ")));
        }
        return mend;
    }
    let mut parts = vec![format!("url = {}", toml(path))];
    if http.method != "GET" {
        parts.push(format!("method = {}", toml(&http.method)));
    }
    if http.status != StatusSet::default() {
        parts.push(format!("status = {}", toml(&http.status.to_string())));
    }
    parts.extend(http.body.iter().map(|body| format!("body = {}", toml(body))));
    parts.extend(
        http.max_latency.map(|most| format!("max_latency = {}", toml(&crate::config::duration::show(most)))),
    );
    if !added.is_empty() {
        parts.push(format!("headers = {{ {} }}", added.join(", ")));
    }
    let value = if parts.len() == 1 { toml(path) } else { format!("{{ {} }}", parts.join(", ")) };
    notes.table("http", &value)
}

/// Whether it looks like a page to log in.
fn asks_who(path: &str) -> bool {
    ["login", "log-in", "signin", "sign-in", "auth"].iter().any(|word| path.contains(word))
}

/// A query may hold a token.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}
