//! Tells by starting a unit, and waits for its end: an instance that still runs would not be started
//! again, and what it reads must not change under it.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::judge::{ActiveState, UnitName, Verb};
use crate::systemd::{Bus, Error};

use super::details::{self, Details};
use super::lane::Failure;

/// How long an alert's unit may run before it counts as failed.
const UNIT_WITHIN: Duration = Duration::from_secs(60);
/// One that may not be started waits (that polkit is gone has to be told, too): so long.
const AGAIN: Duration = Duration::from_secs(10);

/// The bus, as long as there is one.
pub(super) type Shared = std::sync::Arc<Mutex<Option<Bus>>>;

/// Leaves the details where the unit looks for them, and starts it.
pub(super) async fn deliver(
    directory: &Path,
    bus: &Shared,
    details: &Details,
    unit: Option<UnitName>,
) -> Result<String, Failure> {
    let unit = unit.ok_or_else(|| Failure::Final("its unit has no valid name for this app".to_owned()))?;
    let again = |why: String| Failure::Later(why, Some(AGAIN));
    details::write(directory, details).map_err(|why| again(format!("cannot write {why}")))?;
    let current = bus.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(bus) = current else { return Err(again("not connected to the bus".to_owned())) };
    match start(&bus, &unit).await {
        Ok(()) => ended(&bus, &unit).await,
        Err(Error::Hindered(obstacle)) => Err(again(format!("cannot start {unit}: {obstacle}"))),
        Err(error) => Err(Failure::Later(format!("cannot start {unit}: {error}"), None)),
    }
}

async fn start(bus: &Bus, unit: &UnitName) -> Result<(), Error> {
    let hand = bus.hand_for(unit, &[Verb::Start]).await?;
    // A failure of the last alert must not keep this one from being tried.
    let _ = hand.reset_failed(unit).await;
    hand.start(unit).await.map(drop)
}

/// One that ran and failed has done whatever it does: it is not started again for the same.
async fn ended(bus: &Bus, unit: &UnitName) -> Result<String, Failure> {
    let wait = async {
        let mut pause = Duration::from_millis(50);
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
            match bus.read_unit_alone(unit).await {
                Ok(reading) if reading.job.is_some() => {}
                Ok(reading) if reading.active == ActiveState::Failed => {
                    return Err(Failure::Final(format!("{unit} failed: {}", reading.result)));
                }
                // One that stays up has been started, which is all that was asked for.
                Ok(reading) if reading.active == ActiveState::Activating => {}
                Ok(_) => return Ok(format!("{unit} was started")),
                Err(error) => return Err(Failure::Final(error.to_string())),
            }
        }
    };
    let late = || Err(Failure::Final(format!("{unit} still runs after {} s", UNIT_WITHIN.as_secs())));
    tokio::time::timeout(UNIT_WITHIN, wait).await.unwrap_or_else(|_| late())
}
