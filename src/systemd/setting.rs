//! In what environment and with which groups a service is started. For those who look whether it can
//! be; what is read is secret, and shown by nobody.

use std::path::PathBuf;

use zbus::Variant;

use super::bus::{Bus, MANAGER, MANAGER_PATH, SYSTEMD};
use super::error::Error;
use super::path::unit_path;
use super::properties::Value;
use crate::judge::UnitName;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// Environment files of a unit that are looked at.
const MANY: usize = 64;

/// Environment and groups of a service (systemd.exec(5)).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Setting {
    /// `KEY=value`, of the manager and then of the unit; later ones count.
    pub environment: Vec<String>,
    /// Files with more of it, which count over `environment`; true: one that may be missing.
    pub environment_files: Vec<(PathBuf, bool)>,
    /// `UnsetEnvironment=`: names, or whole assignments.
    pub unset: Vec<String>,
    /// `Group=`, a name or a number; empty for that of the user.
    pub group: String,
    /// `SupplementaryGroups=`.
    pub groups: Vec<String>,
}

impl Bus {
    /// Reads the environment and the groups of a service.
    ///
    /// # Errors
    /// [`Error::TimedOut`] and [`Error::Disconnected`] leave it unknown.
    pub async fn read_setting(&self, unit: &UnitName) -> Result<Setting, Error> {
        let path = unit_path(unit);
        let texts = async |path: &str, interface: &str, name: &str| -> Result<Vec<String>, Error> {
            Ok(match self.property_at(path, interface, name).await? {
                Some(Value::Texts(texts)) => texts,
                _ => Vec::new(),
            })
        };
        let mut environment = texts(MANAGER_PATH, MANAGER, "Environment").await?;
        environment.extend(texts(&path, SERVICE, "Environment").await?);
        let answer = self.ask(SYSTEMD, &path, PROPERTIES, "Get", &(SERVICE, "EnvironmentFiles")).await?;
        let body = answer.body();
        let files: Variant<'_> = body.deserialize().map_err(|error| Error::malformed("Get", error))?;
        Ok(Setting {
            environment,
            environment_files: environment_files(&files),
            unset: texts(&path, SERVICE, "UnsetEnvironment").await?,
            group: match self.property_at(&path, SERVICE, "Group").await? {
                Some(Value::Text(text)) => text,
                _ => String::new(),
            },
            groups: texts(&path, SERVICE, "SupplementaryGroups").await?,
        })
    }
}

/// `a(sb)`.
pub(super) fn environment_files(value: &Variant<'_>) -> Vec<(PathBuf, bool)> {
    match value {
        Variant::Variant(inner) => environment_files(inner),
        Variant::Array(array) => array
            .iter()
            .filter_map(|file| match file {
                Variant::Structure(structure) => match structure.fields() {
                    [Variant::Str(path), Variant::Bool(optional)] => {
                        Some((PathBuf::from(path.as_str()), *optional))
                    }
                    _ => None,
                },
                _ => None,
            })
            .take(MANY)
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_files_are_read() {
        let sent = Variant::from(vec![("/etc/web.env", false), ("/srv/web/.env", true)]);
        let expected = [(PathBuf::from("/etc/web.env"), false), (PathBuf::from("/srv/web/.env"), true)];
        assert_eq!(environment_files(&sent), expected);
        assert!(environment_files(&Variant::from(5_u32)).is_empty());
    }
}
