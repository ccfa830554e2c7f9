//! What a unit executes, as whom and where; and what a swap unit is. For those who act on what
//! belongs to a unit while it is down; nobody reads it in a round.

use std::path::PathBuf;

use zbus::Variant;

use super::bus::{Bus, SYSTEMD};
use super::error::Error;
use super::exec::execs;
use super::path::unit_path;
use super::properties::Value;
use crate::judge::{ActiveState, UnitName};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// Directories of a unit that are looked at.
const MANY: usize = 64;

/// As whom, where and what a service executes (systemd.exec(5)).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Execution {
    /// `User=`, a name or a number; empty for root.
    pub user: String,
    /// `DynamicUser=`: there is such a user only while the service runs.
    pub dynamic_user: bool,
    /// `WorkingDirectory=`; none where it is not set, is the user's home (`~`), or lies in a root of
    /// its own (`RootDirectory=`, `RootImage=`).
    pub working_directory: Option<PathBuf>,
    /// `CacheDirectory=`, below `/var/cache`.
    pub cache_directories: Vec<String>,
    /// The files of `ExecStart=`, as they are written.
    pub commands: Vec<PathBuf>,
}

/// What a swap unit is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwapReading {
    /// Its state.
    pub active: ActiveState,
    /// The unit that this one is only another name of: a swap is known by every name of its device.
    pub following: Option<UnitName>,
    /// It has a unit file or a line in fstab, so that it comes back after a stop.
    pub configured: bool,
}

impl Bus {
    /// Reads as whom, where and what a service executes.
    ///
    /// # Errors
    /// [`Error::TimedOut`] and [`Error::Disconnected`] leave it unknown.
    pub async fn read_execution(&self, unit: &UnitName) -> Result<Execution, Error> {
        let path = unit_path(unit);
        let text = async |name: &str| -> Result<String, Error> {
            Ok(match self.property_at(&path, SERVICE, name).await? {
                Some(Value::Text(text)) => text,
                _ => String::new(),
            })
        };
        let in_own_root = !text("RootDirectory").await?.is_empty() || !text("RootImage").await?.is_empty();
        let working_directory = text("WorkingDirectory").await?;
        let dynamic_user =
            matches!(self.property_at(&path, SERVICE, "DynamicUser").await?, Some(Value::Flag(true)));
        let cache_directories = match self.property_at(&path, SERVICE, "CacheDirectory").await? {
            Some(Value::Texts(mut names)) => {
                names.truncate(MANY);
                names
            }
            _ => Vec::new(),
        };
        Ok(Execution {
            user: text("User").await?,
            dynamic_user,
            // One that may be missing is marked so.
            working_directory: Some(PathBuf::from(working_directory.trim_start_matches('!')))
                .filter(|path| path.is_absolute() && !in_own_root),
            cache_directories,
            commands: self.commands(&path).await?,
        })
    }

    async fn commands(&self, path: &str) -> Result<Vec<PathBuf>, Error> {
        let answer = self.ask(SYSTEMD, path, PROPERTIES, "Get", &(SERVICE, "ExecStart")).await?;
        let body = answer.body();
        let value: Variant<'_> = body.deserialize().map_err(|error| Error::malformed("Get", error))?;
        Ok(execs(&value).into_iter().map(|exec| exec.file).collect())
    }

    /// Reads a swap unit.
    ///
    /// # Errors
    /// As [`Bus::read_execution`].
    pub async fn read_swap(&self, unit: &UnitName) -> Result<SwapReading, Error> {
        let path = unit_path(unit);
        let text = async |name: &str| -> Result<String, Error> {
            Ok(match self.property_at(&path, UNIT, name).await? {
                Some(Value::Text(text)) => text,
                _ => String::new(),
            })
        };
        Ok(SwapReading {
            active: ActiveState::from_systemd(&text("ActiveState").await?),
            following: text("Following").await?.parse().ok(),
            configured: !text("FragmentPath").await?.is_empty() || !text("SourcePath").await?.is_empty(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::fake::{Fake, FakeUnit};

    #[tokio::test]
    async fn what_a_service_executes_is_read() {
        let fake = Fake::new();
        fake.set(
            "web.service",
            FakeUnit {
                user: "www-data",
                working_directory: "!/srv/web",
                cache_directories: vec!["web".into()],
                ..FakeUnit::default()
            },
        );
        let execution = fake.bus().await.read_execution(&"web.service".parse().unwrap()).await.unwrap();
        assert_eq!(
            execution,
            Execution {
                user: "www-data".to_owned(),
                dynamic_user: false,
                working_directory: Some("/srv/web".into()),
                cache_directories: vec!["web".to_owned()],
                commands: vec!["/usr/bin/node".into()],
            }
        );
    }

    #[tokio::test]
    async fn a_directory_that_is_not_set_is_none() {
        let fake = Fake::new();
        for directory in ["", "~"] {
            fake.set("web.service", FakeUnit { working_directory: directory, ..FakeUnit::default() });
            let execution = fake.bus().await.read_execution(&"web.service".parse().unwrap()).await.unwrap();
            assert_eq!(execution.working_directory, None);
        }
    }
}
