//! `app-monitor complete`: what can be typed next, for the completions of shells. One word a line;
//! what cannot be had in a moment is left out, and nothing is ever complained about.

use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::config::resolved;
use crate::incidents::Places;

use super::client::Client;
use super::{OK, print_text};

/// A person waits behind a key that was pressed.
const PATIENCE: Duration = Duration::from_millis(500);

/// `complete`.
#[derive(Debug, Args)]
pub struct Complete {
    /// Which words
    words: Words,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Words {
    /// Apps that are configured.
    Apps,
    /// Incidents that this user may read, newest first.
    Incidents,
    /// Channels of alerts, where this user may read what is in force.
    Alerts,
}

/// Prints them.
pub async fn run(command: &Complete) -> u8 {
    let words = match command.words {
        Words::Apps => apps().await,
        Words::Incidents => Places::system()
            .list()
            .map(|listed| listed.incidents.into_iter().map(|one| one.id).collect())
            .unwrap_or_default(),
        Words::Alerts => resolved::read(Path::new(resolved::DIRECTORY))
            .ok()
            .and_then(|resolved| resolved.outcome.ok())
            .map(|settings| settings.alerts.into_iter().map(|alert| alert.name).collect())
            .unwrap_or_default(),
    };
    print_text(&words.iter().map(|word| format!("{word}\n")).collect::<String>());
    OK
}

/// As the daemon knows them; without it, as they were resolved last, where this user may read that.
async fn apps() -> Vec<String> {
    let asked = async {
        let views = Client::connect().await.ok()?.views().await.ok()?;
        Some(views.into_iter().map(|view| view.app.to_string()).collect())
    };
    if let Ok(Some(apps)) = tokio::time::timeout(PATIENCE, asked).await {
        return apps;
    }
    resolved::read(Path::new(resolved::DIRECTORY))
        .ok()
        .and_then(|resolved| resolved.outcome.ok())
        .map(|settings| settings.apps().into_iter().map(ToString::to_string).collect())
        .unwrap_or_default()
}
