//! Which keys of a service's environment hold the URL of a database: names and places, never a value.

use std::path::Path;

use super::database_url::{self, Found, is_a_databases};
use super::env_file::{self, Reader};
use super::unit_files;
use crate::files::below;
use crate::judge::{DatabasePlace, DatabaseProtocol, Secret, UnitName};

/// A key that names a database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedDatabase {
    /// Its name.
    pub key: String,
    /// The file below the working directory that it stands in; none for the unit's own environment.
    pub env_file: Option<&'static str>,
    /// What is spoken there.
    pub protocol: DatabaseProtocol,
    /// Where it is.
    pub places: Vec<DatabasePlace>,
}

/// Files that frameworks read by themselves, what counts more first.
const ENV_FILES: [&str; 4] = [".env.production.local", ".env.local", ".env.production", ".env"];
/// Most keys that are told.
const MOST: usize = 16;

/// Looks through a service's unit files, its environment files and the usual files in its working
/// directory. What could not be read is added to `unseen`.
pub fn named_databases(
    root: &Path,
    unit: &UnitName,
    working_directory: Option<&Path>,
    unseen: &mut Vec<String>,
) -> Vec<NamedDatabase> {
    let service = unit_files::read(root, unit);
    unseen.extend(service.unread);
    let mut found: Vec<NamedDatabase> = Vec::new();
    let mut add = |key: &str, value: &Secret, env_file: Option<&'static str>| {
        if found.len() >= MOST || found.iter().any(|known| known.key == key) || !is_a_databases(&value.0) {
            return;
        }
        if let Ok(Found::At(place)) = database_url::parse(&value.0) {
            let (protocol, places) = (place.protocol, place.places);
            found.push(NamedDatabase { key: key.to_owned(), env_file, protocol, places });
        }
    };
    for (key, value) in &service.environment {
        add(key, value, None);
    }
    for name in ENV_FILES {
        let Some(directory) = working_directory else { break };
        let path = directory.join(name);
        match env_file::read(&below(root, &path), Reader::App) {
            Ok(variables) => {
                for (key, value) in &variables {
                    // What the unit sets counts more.
                    if !service.environment.contains_key(key) {
                        add(key, value, Some(name));
                    }
                }
            }
            Err(why) if why == env_file::NO_SUCH_FILE => {}
            Err(why) => unseen.push(format!("{}: {why}", path.display())),
        }
    }
    // The usual name first: what is asked is the first key's.
    found.sort_by_key(|known| known.key != "DATABASE_URL");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_and_values_never() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = below(root.path(), Path::new(path));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put(
            "/etc/systemd/system/web.service",
            "[Service]\nEnvironment=API=https://x.example CACHE=redis://:s3cret@localhost:6379/0\n",
        );
        put("/srv/web/.env", "DATABASE_URL=postgres://u:s3cret@db.example.org/x\nCACHE=redis://other\n");
        std::fs::create_dir_all(root.path().join("srv/web/.env.local")).unwrap();
        let mut unseen = Vec::new();
        let unit = "web.service".parse().unwrap();
        let found = named_databases(root.path(), &unit, Some(Path::new("/srv/web")), &mut unseen);
        let keys: Vec<_> = found.iter().map(|known| (known.key.as_str(), known.env_file)).collect();
        assert_eq!(keys, [("DATABASE_URL", Some(".env")), ("CACHE", None)]);
        assert_eq!(found[0].places, [DatabasePlace::Host("db.example.org".into(), 5432)]);
        assert_eq!(unseen, ["/srv/web/.env.local: is not a regular file"]);
        assert!(!format!("{found:?}").contains("s3cret"));
    }
}
