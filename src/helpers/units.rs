//! What systemd tells the helpers about units: whether they are down, and what they execute as whom.

use std::path::Path;

use crate::judge::UnitName;
use crate::systemd::{Bus, Execution};

/// A unit, as far as helpers need it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// It is inactive or failed, and no job on it is pending.
    pub down: bool,
    /// Its state in systemd's word, for people.
    pub state: String,
    /// A socket unit listens for it.
    pub socket_listening: bool,
    /// As whom, where and what it executes.
    pub execution: Execution,
}

/// Whoever can tell.
pub trait Units {
    /// Looks at a unit.
    ///
    /// # Errors
    /// Why it cannot be known.
    fn look(&self, unit: &UnitName) -> Result<Look, String>;
}

/// systemd itself.
pub struct System {
    runtime: tokio::runtime::Runtime,
    bus: Bus,
}

impl System {
    /// Connects to it.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn connect() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot begin: {error}"))?;
        let bus = runtime.block_on(Bus::connect()).map_err(|error| format!("cannot ask systemd: {error}"))?;
        Ok(Self { runtime, bus })
    }

    /// Carries something else out that waits.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

impl Units for System {
    fn look(&self, unit: &UnitName) -> Result<Look, String> {
        let looked = self.runtime.block_on(async {
            let reading = self.bus.read_unit(unit).await?;
            let execution = self.bus.read_execution(unit).await?;
            Ok(Look {
                down: reading.active.is_down() && reading.job.is_none(),
                state: if reading.job.is_some() { "changing".to_owned() } else { reading.sub.clone() },
                socket_listening: reading.socket_listening,
                execution,
            })
        });
        looked.map_err(|error: crate::systemd::Error| format!("cannot read {unit}: {error}"))
    }
}

/// The id of a user of this host: a name out of passwd(5), or a number; root where none is named.
#[must_use]
pub fn user_id(root: &Path, user: &str) -> Option<u32> {
    if user.is_empty() {
        return Some(0);
    }
    if let Ok(id) = user.parse() {
        return Some(id);
    }
    let text = std::fs::read(root.join("etc/passwd")).ok()?;
    String::from_utf8_lossy(&text).lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then_some(())?;
        fields.nth(1)?.parse().ok()
    })
}
