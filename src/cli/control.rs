//! `pause`, `resume`, `recover`, `reset`, and the reload step of the unit: what acts.

use std::time::Duration;

use clap::Args;

use crate::judge::Span;

use super::client::{Client, Failure};
use super::{ATTENTION, OK, USAGE, complain, length};

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

/// `recover`, `reset`.
#[derive(Debug, Args)]
pub struct One {
    /// The app
    app: String,
}

/// Watches without acting.
pub async fn pause(command: &Pause) -> u8 {
    let client = match Client::connect().await {
        Ok(client) => client,
        Err(failure) => return fail(&failure),
    };
    let apps = match named(&client, command.app.as_deref()).await {
        Ok(apps) => apps,
        Err(failure) => return fail(&failure),
    };
    for app in &apps {
        if let Err(failure) = client.pause(app, command.length, &command.reason).await {
            return fail(&failure);
        }
        println!("{app}: paused for {}; app-monitor resume {app} ends it earlier", Span(command.length));
    }
    none_is_odd(&apps)
}

/// Acts again.
pub async fn resume(command: &Resume) -> u8 {
    let client = match Client::connect().await {
        Ok(client) => client,
        Err(failure) => return fail(&failure),
    };
    let apps = match named(&client, command.app.as_deref()).await {
        Ok(apps) => apps,
        Err(failure) => return fail(&failure),
    };
    for app in &apps {
        if let Err(failure) = client.resume(app).await {
            return fail(&failure);
        }
        println!("{app}: recoveries are allowed");
    }
    none_is_odd(&apps)
}

/// Recovers an app now.
pub async fn recover(command: &One) -> u8 {
    let done = async {
        let client = Client::connect().await?;
        client.recover(&command.app).await
    };
    match done.await {
        Ok(()) => {
            println!("{0}: a recovery begins; app-monitor wait {0} waits for it", command.app);
            OK
        }
        Err(failure) => fail(&failure),
    }
}

/// Forgets attempts.
pub async fn reset(command: &One) -> u8 {
    let done = async {
        let client = Client::connect().await?;
        client.reset(&command.app).await
    };
    match done.await {
        Ok(()) => {
            println!("{}: attempts are forgotten, the breaker is closed", command.app);
            OK
        }
        Err(failure) => fail(&failure),
    }
}

/// The second half of `systemctl reload app-monitor`.
pub async fn reload() -> u8 {
    let done = async { Client::connect().await?.reload().await };
    match done.await {
        Ok(()) => OK,
        Err(failure) => fail(&failure),
    }
}

async fn named(client: &Client, app: Option<&str>) -> Result<Vec<String>, Failure> {
    match app {
        Some(app) => Ok(vec![app.to_owned()]),
        None => Ok(client.views().await?.into_iter().map(|view| view.app.to_string()).collect()),
    }
}

fn none_is_odd(apps: &[String]) -> u8 {
    if apps.is_empty() {
        complain("no app is configured");
        return ATTENTION;
    }
    OK
}

fn fail(failure: &Failure) -> u8 {
    complain(failure);
    failure.status()
}

const _: () = assert!(USAGE == 2, "clap ends with 2 on wrong usage, which is what the contract says");
