//! `pause`, `resume`, `recover`, `reset`, and the reload step of the unit: what acts.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::judge::{AppView, NO_APP, Span};

use super::client::{Client, Failure};
use super::rehearsal;
use super::{OK, complain, json_text, length, no_such_app, print_text, say};

/// `pause`.
#[derive(Debug, Args)]
pub struct Pause {
    /// The app
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    app: Option<String>,
    /// Every app
    #[arg(long)]
    all: bool,
    /// For how long, e.g. 10m; it ends by itself
    #[arg(long = "for", value_name = "LENGTH", default_value = "1h", value_parser = length)]
    length: Duration,
    /// Why, for whoever looks at it meanwhile
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Print JSON: an array with one object for each app
    #[arg(long)]
    json: bool,
}

/// `resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// The app
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    app: Option<String>,
    /// Every app
    #[arg(long)]
    all: bool,
    /// Print JSON: an array with one object for each app
    #[arg(long)]
    json: bool,
}

/// `recover`.
#[derive(Debug, Args)]
pub struct Recover {
    /// The app
    app: String,
    /// Say what would be done, step by step, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: an array with one object; with --dry-run, the plan
    #[arg(long)]
    json: bool,
}

/// `reset`.
#[derive(Debug, Args)]
pub struct Reset {
    /// The app
    app: String,
    /// Print JSON: an array with one object
    #[arg(long)]
    json: bool,
}

/// What came of it for one app: what `--json` prints.
#[derive(Debug, Serialize)]
struct Done {
    app: String,
    done: bool,
    /// What was done, or why not.
    text: String,
}

impl Done {
    fn of(app: &str, outcome: Result<&String, &Failure>) -> Self {
        let (done, text) = match outcome {
            Ok(text) => (true, text.clone()),
            Err(failure) => (false, failure.to_string()),
        };
        Self { app: app.to_owned(), done, text }
    }
}

/// Watches without acting.
pub async fn pause(command: &Pause) -> u8 {
    let length = command.length;
    act(command.app.as_deref(), command.json, async |client, app| {
        client.pause(app, length, &command.reason).await?;
        Ok(format!("paused for {}; app-monitor resume {app} ends it earlier", Span(length)))
    })
    .await
}

/// Acts again.
pub async fn resume(command: &Resume) -> u8 {
    act(command.app.as_deref(), command.json, async |client, app| {
        client.resume(app).await?;
        Ok("recoveries are allowed".to_owned())
    })
    .await
}

/// Recovers an app now, or says what that would do. Exit status 1 where it is or would be refused.
pub async fn recover(command: &Recover) -> u8 {
    if command.dry_run {
        return rehearsal::run(&command.app, command.json).await;
    }
    act(Some(&command.app), command.json, async |client, app| {
        client.recover(app).await?;
        Ok(format!("a recovery begins; app-monitor wait {app} waits for it"))
    })
    .await
}

/// Forgets attempts.
pub async fn reset(command: &Reset) -> u8 {
    act(Some(&command.app), command.json, async |client, app| {
        client.reset(app).await?;
        Ok("attempts are forgotten, the breaker is closed".to_owned())
    })
    .await
}

/// The second half of `systemctl reload app-monitor`.
pub async fn reload() -> u8 {
    match async { Client::connect().await?.reload().await }.await {
        Ok(()) => OK,
        Err(failure) => refused(&failure),
    }
}

/// Does it for the app that is named, or for one after the other, until one of them is refused: whoever
/// may not act would be asked for a password as often as there are apps.
async fn act(
    app: Option<&str>,
    json: bool,
    does: impl AsyncFn(&Client, &str) -> Result<String, Failure>,
) -> u8 {
    let asked = async {
        let client = Client::connect().await?;
        // Nobody is asked for a password in vain.
        let apps = named(client.views().await?, app)?;
        Ok((client.with_agent().await, apps))
    };
    let (client, apps) = match asked.await {
        Ok(asked) => asked,
        Err(failure) => {
            if let Some(app) = app.filter(|_| json) {
                print_text(&json_text(&[Done::of(app, Err(&failure))]));
            }
            return refused(&failure);
        }
    };
    let (mut told, mut status) = (Vec::new(), OK);
    for app in apps {
        let outcome = does(&client, &app).await;
        match &outcome {
            Ok(text) if !json => say(&format!("{app}: {text}")),
            Ok(_) => {}
            Err(failure) => status = refused(failure),
        }
        told.push(Done::of(&app, outcome.as_ref()));
        if status != OK {
            break;
        }
    }
    if json {
        print_text(&json_text(&told));
    }
    status
}

/// The app that is named, or all of them; at least one.
pub(super) fn named(views: Vec<AppView>, app: Option<&str>) -> Result<Vec<String>, Failure> {
    let of = |view: &AppView| view.instance.clone().unwrap_or_else(|| view.app.to_string());
    let Some(app) = app else {
        let all: Vec<String> = views.iter().map(of).collect();
        return if all.is_empty() { Err(Failure::Refused(NO_APP.into())) } else { Ok(all) };
    };
    let known: Vec<String> =
        views.iter().flat_map(|view| std::iter::once(view).chain(&view.instances)).map(of).collect();
    if known.iter().any(|known| known == app) {
        return Ok(vec![app.to_owned()]);
    }
    Err(Failure::Refused(no_such_app(app, known.iter().map(String::as_str))))
}

/// Says why; the exit status.
fn refused(failure: &Failure) -> u8 {
    complain(failure);
    failure.status()
}

#[cfg(test)]
mod tests {
    use super::super::tests::shapes::assert_shape;
    use super::*;

    #[test]
    fn the_shape_of_what_was_done() {
        for command in ["pause", "resume", "recover", "reset"] {
            let done = |app: &str, done, text: &str| Done { app: app.into(), done, text: text.into() };
            let told = [done("api@1", true, "what was done"), done("web", false, "why it was refused")];
            assert_shape(command, &json_text(&told));
        }
    }
}
