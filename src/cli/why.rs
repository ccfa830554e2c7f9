//! `app-monitor why`: the last recovery of an app in a few plain sentences.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::incidents::{self, Entry, Incident, Outcome, Places, Summary, day_and_time, subject_of};
use crate::judge::{AppView, EventKind, Mode, Span, Subject};
use crate::plain::on_one_line;

use super::client::Client;
use super::incidents::{last_recovery, length};
use super::terminal::Terminal;
use super::{ATTENTION, OK, complain, json_text, no_such_app, print_text, say};

/// `why`.
#[derive(Debug, Args)]
pub struct Why {
    /// The app, or a unit that apps lean on, e.g. nginx.service
    app: String,
    /// Print JSON: an object with the sentences and the incident
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    app: String,
    sentences: Vec<String>,
    incident: Option<Incident>,
}

/// Explains. Exit status 1 when there is nothing to explain, or it may not be read.
pub async fn run(command: &Why) -> u8 {
    // What comes next, the daemon alone knows; without it, the rest is told all the same.
    let views = match Client::connect().await {
        Ok(client) => client.views().await.ok(),
        Err(_) => None,
    };
    let is_it = |view: &AppView| view.app.as_str() == command.app || view.unit == command.app;
    // Of units that apps lean on there is no view.
    let unit = matches!(command.app.parse(), Ok(Subject::Unit(_)));
    let known = unit || views.as_ref().is_none_or(|views| views.iter().any(is_it));
    let view = views.as_deref().and_then(|views| views.iter().find(|view| is_it(view)));
    let incident = match last(&Places::system(), &command.app) {
        Ok(incident) => incident,
        Err(error) => {
            complain(error);
            return ATTENTION;
        }
    };
    let Some(incident) = incident else {
        if known {
            let sentences = vec!["No recovery is on record.".to_owned()];
            if command.json {
                print_text(&json_text(&Answer { app: command.app.clone(), sentences, incident: None }));
            } else {
                say(&format!("{}: no recovery is on record", command.app));
            }
            return OK;
        }
        let views = views.iter().flatten();
        complain(no_such_app(&command.app, views.map(|view| view.app.as_str())));
        return ATTENTION;
    };
    let sentences = sentences(&incident, view, wall());
    if command.json {
        print_text(&json_text(&Answer { app: command.app.clone(), sentences, incident: Some(incident) }));
    } else {
        let terminal = Terminal::of_stdout();
        let width = terminal.width.unwrap_or(100).min(100);
        print_text(&format!("{}\n", wrap(&terminal.letters(&sentences.join(" ")), width)));
    }
    OK
}

/// CLOCK_REALTIME in seconds: how long ago it was, for people.
fn wall() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec
}

/// The newest incident of that app, or of that unit, in which there was a recovery; else the newest
/// one. What befell the proxy or the database of an app is no incident of the app.
fn last(places: &Places, of: &str) -> Result<Option<Incident>, incidents::ReadError> {
    let heads = places.list()?.incidents;
    let mut newest = None;
    for head in heads.iter().filter(|head| is_of(head, of)) {
        let Ok(incident) = places.read(&head.id) else { continue };
        if incident.recoveries > 0 {
            return Ok(Some(incident));
        }
        newest.get_or_insert(incident);
    }
    Ok(newest)
}

fn is_of(head: &Summary, of: &str) -> bool {
    match subject_of(&head.id).map(|(subject, _)| subject) {
        Some(Subject::App(app) | Subject::Instance(app, _)) => app.as_str() == of || head.unit.as_str() == of,
        Some(Subject::Unit(unit)) => unit.as_str() == of,
        None => false,
    }
}

pub(super) fn sentences(incident: &Incident, view: Option<&AppView>, wall: i64) -> Vec<String> {
    let mut out = vec![seen(incident, wall)];
    let from = last_recovery(incident);
    match from {
        Some(from) => out.extend(done(incident, from)),
        None => out.push("app-monitor did nothing about it.".to_owned()),
    }
    out.push(ended(incident));
    out.extend(next(incident, view));
    out.push(format!("All of it: app-monitor incidents {}.", incident.id));
    out.iter().map(|sentence| on_one_line(sentence)).collect()
}

/// When, and what.
fn seen(incident: &Incident, wall: i64) -> String {
    let ago = u64::try_from(wall.saturating_sub(incident.opened_seconds)).unwrap_or(0);
    let ago = match ago {
        0..60 => "a moment ago".to_owned(),
        _ => format!("{} ago", Span(Duration::from_secs(ago))),
    };
    let what = if incident.text.is_empty() { String::new() } else { format!(" ({})", incident.text) };
    format!(
        "On {} UTC, {ago}, {} was found {}{what}.",
        day_and_time(incident.opened_seconds),
        named(incident),
        incident.verdict
    )
}

/// The app, and its unit where that is not named like it; or the unit that it leans on.
fn named(incident: &Incident) -> String {
    if matches!(subject_of(&incident.id), Some((Subject::Unit(_), _))) {
        format!("{}, which {} leans on,", incident.unit, incident.app)
    } else if incident.unit.stem() == incident.app.as_str() {
        incident.app.to_string()
    } else {
        format!("{} ({})", incident.app, incident.unit)
    }
}

/// What the last recovery did, and how long each step took.
fn done(incident: &Incident, from: usize) -> Vec<String> {
    let mut out = Vec::new();
    let entries = incident.timeline.get(from..).unwrap_or_default();
    let Some(begun) = entries.first() else { return out };
    if incident.recoveries > 1 {
        out.push(format!("{} recoveries were begun; this is the last one.", incident.recoveries));
    }
    // Of steps, the text of the judge says as well what they did.
    let steps: Vec<String> = entries.iter().filter(is_step).map(|entry| entry.text.clone()).collect();
    let after = u64::try_from(begun.after_ms).unwrap_or(0);
    let begun = format!("After {} app-monitor began to recover it ({})", length(after), begun.text);
    out.push(if steps.is_empty() {
        format!("{begun}; it had not come to a step.")
    } else {
        format!("{begun}: {}.", steps.join("; "))
    });
    let helped = entries
        .iter()
        .rev()
        .find(|entry| matches!(entry.event, EventKind::RecoveryVerified | EventKind::RecoveryFailed));
    out.push(match helped {
        Some(entry) if entry.event == EventKind::RecoveryVerified => format!("That helped: {}.", entry.text),
        Some(entry) => format!("{}.", capital(&entry.text)),
        None if incident.is_open() => "Whether it helps is not known yet.".to_owned(),
        None => "Whether it helped was not seen.".to_owned(),
    });
    out
}

fn is_step(entry: &&Entry) -> bool {
    matches!(entry.event, EventKind::StepDone | EventKind::StepFailed)
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn ended(incident: &Incident) -> String {
    let lasted = incident.lasted_ms.map_or_else(String::new, |lasted| format!(" after {}", length(lasted)));
    match incident.outcome {
        Outcome::Open => "It is not over yet.".to_owned(),
        Outcome::GaveUp => "It is not over, and all attempts are used up.".to_owned(),
        Outcome::Recovered => format!("It was over{lasted}."),
        Outcome::EndedByItself => format!("It was over{lasted}, by itself."),
        Outcome::SomebodyElse => format!("It was over{lasted}, because somebody else decided."),
        Outcome::NotFollowed => format!("It was not followed to its end{lasted}."),
    }
}

/// What comes next.
fn next(incident: &Incident, view: Option<&AppView>) -> Option<String> {
    let view = view?;
    if !incident.is_open() {
        let state = if view.text.is_empty() {
            view.verdict.to_string()
        } else {
            format!("{} ({})", view.verdict, view.text)
        };
        return Some(format!("It is {state} now."));
    }
    let left = match view.attempts_left {
        0 => "no attempt is left".to_owned(),
        1 => "1 attempt is left".to_owned(),
        more => format!("{more} attempts are left"),
    };
    Some(match (&view.recovery, view.next_attempt_in_seconds) {
        _ if view.mode == Mode::Watch => "It is only watched, so nothing will be done.".to_owned(),
        _ if view.paused_seconds.is_some() => "It is paused, so nothing is done meanwhile.".to_owned(),
        (Some(doing), _) => format!("Now: {doing}; {left}."),
        (None, Some(wait)) => {
            format!("The next recovery may begin in {}; {left}.", Span(Duration::from_secs(wait.max(1))))
        }
        (None, None) if view.breaker == "open" => {
            format!("Nothing more is done until somebody says: app-monitor reset {}.", view.app)
        }
        (None, None) => format!("It is {} now; {left}.", view.verdict),
    })
}

/// Lines of at most that width, broken at blanks.
fn wrap(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::incidents::tests::recovered;
    use super::super::tests::shapes::assert_shape;
    use super::*;

    #[test]
    fn a_crash_reads_as_a_person_would_tell_it() {
        let told = sentences(&recovered(), None, 1_795_329_612 + 3_600).join(" ");
        assert_eq!(
            told,
            "On 2026-11-22 06:40:12 UTC, 1 h ago, web was found crashed (exited with status 1). \
             After 1 ms app-monitor began to recover it (starting it, attempt 1 of 3): \
             reset-failed: done in 3 ms; start: done in 25 ms. \
             That helped: recovered from crashed: healthy 1.0 s after it began, and for 10 s since. \
             It was over after 11 s. All of it: app-monitor incidents web-12."
        );
    }

    #[test]
    fn the_shape_of_json() {
        let sentences = sentences(&recovered(), None, 1_795_329_612 + 3_600);
        let incident = Some(recovered());
        assert_shape("why", &json_text(&Answer { app: "web".into(), sentences, incident }));
    }

    #[test]
    fn what_is_not_over_says_so() {
        let mut incident = recovered();
        incident.timeline.truncate(4);
        (incident.closed, incident.closed_seconds, incident.lasted_ms) = (None, None, None);
        incident.outcome = Outcome::Open;
        let told = sentences(&incident, None, 0).join(" ");
        assert!(told.contains("Whether it helps is not known yet. It is not over yet."), "{told}");
        incident.timeline.truncate(2);
        let told = sentences(&incident, None, 0).join(" ");
        assert!(told.contains("app-monitor did nothing about it."), "{told}");
    }

    #[test]
    fn the_last_recovery_counts_and_not_a_later_alert() {
        let folder = tempfile::tempdir().unwrap();
        let put = |id: &str, app: &str, opened: i64, recoveries: u32| {
            let mut one = recovered();
            (one.id, one.app) = (id.to_owned(), app.parse().unwrap());
            (one.opened_seconds, one.recoveries) = (opened, recoveries);
            let text = serde_json::to_vec(&one).unwrap();
            std::fs::write(folder.path().join(format!("{id}.json")), text).unwrap();
        };
        for (id, app, opened, recoveries) in [
            ("web-1", "web", 1, 1),
            ("web-2", "web", 2, 2),
            ("web-3", "web", 3, 0),
            ("api-1", "api", 4, 0),
            // Units that they lean on.
            ("nginx.service-1", "web", 5, 1),
            ("redis.service-1", "db", 6, 1),
        ] {
            put(id, app, opened, recoveries);
        }
        let id = |app: &str| last(&Places::below(folder.path()), app).unwrap().map(|one| one.id);
        assert_eq!(id("web").as_deref(), Some("web-2"));
        assert_eq!(id("api").as_deref(), Some("api-1"));
        assert_eq!(id("db"), None);
        assert_eq!(id("nginx.service").as_deref(), Some("nginx.service-1"));
        assert_eq!(id("web.service").as_deref(), Some("web-2"), "the app's own unit");
        let nginx = Places::below(folder.path()).read("nginx.service-1").unwrap();
        assert!(seen(&nginx, 0).contains(", which web leans on, was found "), "{}", seen(&nginx, 0));
    }

    #[test]
    fn lines_are_broken_at_blanks() {
        assert_eq!(wrap("aa bb cc", 5), "aa bb\ncc");
        assert_eq!(wrap("a longwordindeed b", 4), "a\nlongwordindeed\nb");
    }
}
