//! The connection to systemd, made again whenever it is lost.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::judge::UnitName;
use crate::systemd::{Bus, Event, Events};

use super::looping::Happening;

/// A bus that works, and what it tells.
pub struct Link {
    /// For calls.
    pub bus: Bus,
    /// What systemd tells; taken by the loop.
    pub events: Events,
}

/// Connects in the background, again and again until it works: after 50 ms at first, then ever
/// more slowly, every five seconds at most.
pub fn connect(units: Vec<UnitName>, to: mpsc::Sender<Happening>) {
    tokio::spawn(async move {
        let mut pause = Duration::from_millis(50);
        loop {
            match attempt(&units).await {
                Ok(link) => {
                    let _ = to.send(Happening::Connected(Box::new(link))).await;
                    return;
                }
                Err(why) => {
                    if to.send(Happening::NotConnected(why)).await.is_err() {
                        return;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    });
}

async fn attempt(units: &[UnitName]) -> Result<Link, String> {
    let bus = Bus::connect().await.map_err(|error| error.to_string())?;
    let events = bus.events(units.iter().cloned()).await.map_err(|error| error.to_string())?;
    Ok(Link { bus, events })
}

/// The next event of a link, or never without one.
pub async fn next(link: &mut Option<Link>) -> Event {
    match link {
        Some(link) => link.events.next().await,
        None => std::future::pending().await,
    }
}
