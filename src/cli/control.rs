//! `pause`, `resume`, `recover`, `reset`, and the reload step of the unit: what acts.

use std::time::Duration;

use clap::Args;

use crate::judge::Span;

use super::client::{Client, Failure};
use super::rehearsal;
use super::{OK, complain, length, print_text};

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
}

/// `recover`.
#[derive(Debug, Args)]
pub struct Recover {
    /// The app
    app: String,
    /// Say what would be done, step by step, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: print the plan as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
}

/// `reset`.
#[derive(Debug, Args)]
pub struct One {
    /// The app
    app: String,
}

/// Watches without acting.
pub async fn pause(command: &Pause) -> u8 {
    let done = async {
        let client = Client::connect_to_act().await?;
        let apps = named(&client, command.app.as_deref()).await?;
        for app in &apps {
            client.pause(app, command.length, &command.reason).await?;
            let length = Span(command.length);
            print_text(&format!("{app}: paused for {length}; app-monitor resume {app} ends it earlier\n"));
        }
        Ok(())
    };
    status_of(done.await)
}

/// Acts again.
pub async fn resume(command: &Resume) -> u8 {
    let done = async {
        let client = Client::connect_to_act().await?;
        for app in named(&client, command.app.as_deref()).await? {
            client.resume(&app).await?;
            println!("{app}: recoveries are allowed");
        }
        Ok(())
    };
    status_of(done.await)
}

/// Recovers an app now, or says what that would do. Exit status 1 where it is or would be refused.
pub async fn recover(command: &Recover) -> u8 {
    if command.dry_run {
        return rehearsal::run(&command.app, command.json).await;
    }
    let done = async {
        Client::connect_to_act().await?.recover(&command.app).await?;
        println!("{0}: a recovery begins; app-monitor wait {0} waits for it", command.app);
        Ok(())
    };
    status_of(done.await)
}

/// Forgets attempts.
pub async fn reset(command: &One) -> u8 {
    let done = async {
        Client::connect_to_act().await?.reset(&command.app).await?;
        println!("{}: attempts are forgotten, the breaker is closed", command.app);
        Ok(())
    };
    status_of(done.await)
}

/// The second half of `systemctl reload app-monitor`.
pub async fn reload() -> u8 {
    status_of(async { Client::connect().await?.reload().await }.await)
}

/// The app that is named, or all of them; at least one.
async fn named(client: &Client, app: Option<&str>) -> Result<Vec<String>, Failure> {
    let apps = match app {
        Some(app) => vec![app.to_owned()],
        None => client.views().await?.into_iter().map(|view| view.app.to_string()).collect(),
    };
    if apps.is_empty() {
        return Err(Failure::Refused("no app is configured".into()));
    }
    Ok(apps)
}

fn status_of(done: Result<(), Failure>) -> u8 {
    match done {
        Ok(()) => OK,
        Err(failure) => {
            complain(&failure);
            failure.status()
        }
    }
}
