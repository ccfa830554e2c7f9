//! `app-monitor wait`: until an app is healthy, for scripts.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::judge::{AppName, AppView, Span, Verdict};

use super::client::{Client, Failure};
use super::{ATTENTION, OK, complain, json_text, length, no_such_app, print_text, say};

/// `wait`.
#[derive(Debug, Args)]
pub struct Wait {
    /// The app
    app: String,
    /// For how long at most
    #[arg(long = "for", value_name = "LENGTH", default_value = "60s", value_parser = length)]
    length: Duration,
    /// Print JSON: an object
    #[arg(long)]
    json: bool,
}

/// How it was seen last: what `--json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    app: String,
    healthy: bool,
    /// None where the daemon never answered.
    verdict: Option<Verdict>,
    /// Its evidence, or why the daemon does not answer.
    text: String,
}

/// Waits. Exit status 1 when it did not get healthy in time.
pub async fn run(command: &Wait) -> u8 {
    let mut last = Err(Failure::Absent("nothing was heard of it in time".into()));
    let outcome = tokio::time::timeout(command.length, until_healthy(&command.app, &mut last)).await;
    if let Ok(Err(NoSuchApp(known))) = &outcome {
        complain(no_such_app(&command.app, known.iter().map(AppName::as_str)));
        return ATTENTION;
    }
    let (answer, status) = answer(&command.app, outcome.is_ok(), last);
    if command.json {
        print_text(&json_text(&answer));
    } else if answer.healthy {
        say(&format!("{}: healthy", answer.app));
    } else {
        let verdict = answer.verdict.map_or_else(String::new, |verdict| format!("{verdict}: "));
        let seen = format!("{verdict}{}", answer.text);
        let length = Span(command.length);
        complain(format_args!(
            "{}: not healthy within {length}: {}",
            answer.app,
            seen.trim_end_matches([':', ' '])
        ));
    }
    status
}

/// What is told, and the exit status.
fn answer(app: &str, healthy: bool, last: Result<(Verdict, String), Failure>) -> (Answer, u8) {
    let (verdict, text, status) = match last {
        Ok((verdict, text)) => (Some(verdict), text, if healthy { OK } else { ATTENTION }),
        Err(failure) => (None, failure.to_string(), failure.status()),
    };
    (Answer { app: app.to_owned(), healthy, verdict, text }, status)
}

/// The app is none of these.
struct NoSuchApp(Vec<AppName>);

/// Looks again and again. `last`: how it looked last, or why that could not be seen. An instance is waited
/// for with its app.
async fn until_healthy(app: &str, last: &mut Result<(Verdict, String), Failure>) -> Result<(), NoSuchApp> {
    const PACE: Duration = Duration::from_millis(250);
    let app = app.split_once('@').map_or(app, |(app, _)| app);
    loop {
        match async { Client::connect().await?.views().await }.await {
            Ok(views) => {
                let Some(view) = views.iter().find(|view| view.app.as_str() == app) else {
                    return Err(NoSuchApp(views.into_iter().map(|view| view.app).collect()));
                };
                *last = Ok((view.verdict, view.text.clone()));
                if is_healthy(view) {
                    return Ok(());
                }
            }
            // It may be starting itself: that is what waiting is for.
            Err(failure) => *last = Err(failure),
        }
        tokio::time::sleep(PACE).await;
    }
}

/// While a recovery is being verified it is not healthy yet.
fn is_healthy(view: &AppView) -> bool {
    matches!(view.verdict, Verdict::Healthy | Verdict::Idle)
        && view.recovery.is_none()
        && view.instances.iter().all(|one| one.recovery.is_none())
}

#[cfg(test)]
mod tests {
    use super::super::NO_DAEMON;
    use super::super::tests::shapes::assert_shape;
    use super::*;

    #[test]
    fn the_shape_of_what_was_waited_for() {
        let (seen, status) = answer("web", false, Ok((Verdict::Starting, "up for 2 s".into())));
        assert_eq!(status, ATTENTION);
        assert_shape("wait", &json_text(&seen));
        let (seen, status) = answer("web", false, Err(Failure::Absent("it does not run".into())));
        assert_eq!((status, seen.verdict), (NO_DAEMON, None));
        assert_eq!(answer("web", true, Ok((Verdict::Healthy, String::new()))).1, OK);
    }
}
