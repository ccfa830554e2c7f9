//! `app-monitor wait`: until an app is healthy, for scripts.

use std::time::Duration;

use clap::Args;

use crate::judge::{Span, Verdict};

use super::client::Client;
use super::{ATTENTION, OK, complain, length};

/// `wait`.
#[derive(Debug, Args)]
pub struct Wait {
    /// The app
    app: String,
    /// For how long at most
    #[arg(long = "for", value_name = "LENGTH", default_value = "60s", value_parser = length)]
    length: Duration,
}

/// Waits. Exit status 1 when it did not get healthy in time.
pub async fn run(command: &Wait) -> u8 {
    const PACE: Duration = Duration::from_millis(250);
    let mut last = String::from("nothing is known of it");
    let mut failed = NotYet::Absent;
    let watch = async {
        loop {
            match look(&command.app).await {
                Look::Healthy => return Ok(()),
                Look::NoSuchApp => return Err(format!("no app is called \u{201c}{}\u{201d}", command.app)),
                Look::Otherwise(text) => {
                    failed = NotYet::Unhealthy;
                    last = text;
                }
                // It may be starting itself: that is what waiting is for.
                Look::Absent(text, status) => {
                    failed = NotYet::Status(status);
                    last = text;
                }
            }
            tokio::time::sleep(PACE).await;
        }
    };
    match tokio::time::timeout(command.length, watch).await {
        Ok(Ok(())) => {
            println!("{}: healthy", command.app);
            OK
        }
        Ok(Err(text)) => {
            complain(text);
            ATTENTION
        }
        Err(_) => {
            complain(format_args!("{}: not healthy within {}: {last}", command.app, Span(command.length)));
            match failed {
                NotYet::Status(status) => status,
                NotYet::Absent => super::NO_DAEMON,
                NotYet::Unhealthy => ATTENTION,
            }
        }
    }
}

enum NotYet {
    Absent,
    Unhealthy,
    Status(u8),
}

enum Look {
    Healthy,
    NoSuchApp,
    Otherwise(String),
    Absent(String, u8),
}

async fn look(app: &str) -> Look {
    let views = async { Client::connect().await?.views().await };
    match views.await {
        Ok(views) => match views.into_iter().find(|view| view.app.as_str() == app) {
            None => Look::NoSuchApp,
            // Healthy while a recovery is being verified is not healthy yet.
            Some(view)
                if matches!(view.verdict, Verdict::Healthy | Verdict::Idle)
                    && view.recovery.is_none()
                    && view.instances.iter().all(|one| one.recovery.is_none()) =>
            {
                Look::Healthy
            }
            Some(view) => Look::Otherwise(format!("{} {}", view.verdict, view.text).trim_end().to_owned()),
        },
        Err(failure) => Look::Absent(failure.to_string(), failure.status()),
    }
}
