//! Units of hooks: before one is started it is read, and respected like an app's own.

use super::job::Kind;
use super::{Deadlines, Removals, aside};
use crate::judge::{ActiveState, LoadState, Outcome, UnitName, UnitReading, Verb};
use crate::systemd::{Bus, Error};

/// Starts the unit of a hook and follows it to its end.
pub(super) async fn step(
    unit: &UnitName,
    bus: &Bus,
    deadlines: &Deadlines,
    removed: &mut Removals,
) -> Result<Outcome, Error> {
    match left_alone(&bus.read_unit_alone(unit).await?) {
        Some(why) => Ok(Outcome::Told(format!("left alone: {why}"))),
        None => aside(Kind::Run, unit, bus, deadlines, removed).await,
    }
}

/// Starts the unit of a hook for whose end nobody waits. Some: why it was left alone.
///
/// # Errors
/// As reading and starting a unit.
pub async fn start(unit: &UnitName, bus: &Bus) -> Result<Option<&'static str>, Error> {
    let why = left_alone(&bus.read_unit_alone(unit).await?);
    if why.is_none() {
        bus.hand_for(unit, &[Verb::Start]).await?.start(unit).await?;
    }
    Ok(why)
}

/// Why it is not ours to start.
fn left_alone(unit: &UnitReading) -> Option<&'static str> {
    use ActiveState::{Activating, Deactivating, Maintenance, Reloading};
    if unit.load == LoadState::Masked {
        Some("it is masked")
    } else if unit.auto_restarting() {
        Some("systemd is about to restart it")
    } else if unit.job.is_some() || matches!(unit.active, Activating | Deactivating | Maintenance | Reloading)
    {
        Some("it is changing already")
    } else if unit.was_stopped() {
        Some("somebody stopped it")
    } else {
        None
    }
}
