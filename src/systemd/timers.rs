//! Timers that tick, what they start, and what that executes: for commands that look at a whole server.

use std::path::PathBuf;
use std::time::Duration;

use super::bus::{Bus, MANAGER, MANAGER_PATH, SYSTEMD};
use super::error::Error;
use super::exec::{Exec, execs};
use super::path::unit_path;
use super::properties::Value;
use super::services::Row;
use crate::judge::UnitName;
use zbus::Variant;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const TIMER: &str = "org.freedesktop.systemd1.Timer";
/// Timers that are looked at. A desktop has thirty.
const MANY: usize = 256;

/// What systemd says of a timer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimerReading {
    /// Its name.
    pub timer: UnitName,
    /// Its unit file; none, or below /run, where it was not written by a person.
    pub fragment: Option<PathBuf>,
    /// What it starts.
    pub starts: UnitName,
    /// What that executes, a line for each command. May hold secrets.
    pub lines: Vec<String>,
}

impl Bus {
    /// The timers that wait for their time.
    ///
    /// # Errors
    /// [`Error::TimedOut`] and [`Error::Disconnected`] leave it unknown.
    pub async fn timers(&self) -> Result<Vec<TimerReading>, Error> {
        let patterns: (&[&str], &[&str]) = (&["active"], &["*.timer"]);
        let answer = self.ask(SYSTEMD, MANAGER_PATH, MANAGER, "ListUnitsByPatterns", &patterns).await?;
        let body = answer.body();
        let rows: Vec<Row<'_>> =
            body.deserialize().map_err(|error| Error::malformed("ListUnitsByPatterns", error))?;
        let names: Vec<UnitName> = rows.into_iter().filter_map(|row| row.0.parse().ok()).take(MANY).collect();
        let mut found = Vec::new();
        for timer in names {
            // One that has gone meanwhile is none.
            if let Ok(Some(reading)) = self.timer(timer).await {
                found.push(reading);
            }
        }
        found.sort_by(|a, b| a.timer.cmp(&b.timer));
        Ok(found)
    }

    async fn timer(&self, timer: UnitName) -> Result<Option<TimerReading>, Error> {
        let path = unit_path(&timer);
        let Some(Value::Text(starts)) = self.property_at(&path, TIMER, "Unit").await? else {
            return Ok(None);
        };
        let Ok(starts) = starts.parse::<UnitName>() else { return Ok(None) };
        let fragment = match self.property_at(&path, UNIT, "FragmentPath").await? {
            Some(Value::Text(text)) if !text.is_empty() => Some(PathBuf::from(text)),
            _ => None,
        };
        let mut lines = Vec::new();
        if starts.as_str().ends_with(".service") {
            for name in ["ExecStartPre", "ExecStart", "ExecStartPost"] {
                let answer =
                    self.ask(SYSTEMD, &unit_path(&starts), PROPERTIES, "Get", &(SERVICE, name)).await?;
                let body = answer.body();
                let value: Variant<'_> =
                    body.deserialize().map_err(|error| Error::malformed("Get", error))?;
                lines.extend(execs(&value).iter().map(Exec::line));
            }
        }
        Ok(Some(TimerReading { timer, fragment, starts, lines }))
    }

    /// `TimeoutStopSec=` of units that do not set it (`DefaultTimeoutStopSec=`); none for infinity.
    ///
    /// # Errors
    /// As [`Bus::timers`].
    pub async fn usual_stop_timeout(&self) -> Result<Option<Duration>, Error> {
        match self.property_at(MANAGER_PATH, MANAGER, "DefaultTimeoutStopUSec").await? {
            Some(Value::Number(micros)) => {
                let micros = micros.cast_unsigned();
                Ok((micros != u64::MAX).then(|| Duration::from_micros(micros)))
            }
            _ => Err(Error::malformed("DefaultTimeoutStopUSec", "it is no number")),
        }
    }
}
