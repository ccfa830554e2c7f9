//! What runs on this server: services that look like apps, who listens, what nginx passes on, which
//! databases are named, what runs outside of services, and what else restarts things.
//!
//! It reads and asks, and changes nothing. Readers of files take a root, so that a test is a directory
//! that looks like a system. What could not be seen is kept as well: nothing is taken for absent because
//! it was hidden. Values of environment variables never leave the reader.

mod apps;
mod asking;
mod host;
pub mod nginx;
mod processes;
mod restarters;
mod sockets;
mod strays;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use apps::{FoundApp, Listening};
pub use asking::{Asked, Health, usual_paths};
pub use host::{Facts, names_of_this_host};
pub use processes::{Process, runtime};
pub use restarters::{Restarter, mends};
pub use strays::{Keeper, Stray};

use crate::checks::{Listener, World, all_listeners};
use crate::config::env_file;
use crate::judge::UnitName;
use crate::systemd::{Bus, Error, ServiceReading, TimerReading};
use nginx::Nginx;

/// What was found.
#[derive(Debug)]
pub struct Server {
    /// Running services that look like web apps, in the order of their names.
    pub apps: Vec<FoundApp>,
    /// All running services.
    pub services: Vec<ServiceReading>,
    /// Apps that run outside of services.
    pub strays: Vec<Stray>,
    /// Jobs and loops that start or restart something.
    pub restarters: Vec<Restarter>,
    /// What nginx is told.
    pub nginx: Nginx,
    /// The host itself.
    pub host: Facts,
    /// `TimeoutStopSec=` of units that do not set it; none for infinity.
    pub usual_stop: Option<Duration>,
    /// Who listens on what.
    pub listeners: Vec<Listener>,
    /// What could not be seen, a line each.
    pub unseen: Vec<String>,
}

/// systemd-system.conf(5), `DefaultTimeoutStopSec=`.
const USUAL_STOP: Duration = Duration::from_secs(90);
/// Most lines about what could not be seen.
const MOST_UNSEEN: usize = 64;

/// Looks at the whole server.
///
/// # Errors
/// When systemd does not say which services there are.
pub async fn look(root: &Path, bus: &Bus) -> Result<Server, Error> {
    let mut services = Vec::new();
    for unit in bus.loaded_services().await? {
        let Ok(service) = bus.read_service(&unit).await else { continue };
        if service.main_pid.is_some() && service.control_group.is_some() {
            services.push(service);
        }
    }
    services.sort_by(|a, b| a.unit.cmp(&b.unit));
    let mut unseen = Vec::new();
    let listeners = all_listeners().unwrap_or_else(|error| {
        unseen.push(format!("who listens on which port: {error}"));
        Vec::new()
    });
    let timers = bus.timers().await.unwrap_or_else(|error| {
        unseen.push(format!("timers: {error}"));
        Vec::new()
    });
    // What everybody has where systemd does not say otherwise.
    let usual_stop = bus.usual_stop_timeout().await.unwrap_or(Some(USUAL_STOP));
    Ok(Server { usual_stop, ..put_together(root, services, &timers, listeners, unseen) })
}

/// The rest, out of files.
fn put_together(
    root: &Path,
    services: Vec<ServiceReading>,
    timers: &[TimerReading],
    listeners: Vec<Listener>,
    mut unseen: Vec<String>,
) -> Server {
    let world = World::at(root);
    let processes = processes::all(&world);
    if processes.iter().any(|process| process.cwd.is_none() && !process.args.is_empty()) {
        unseen.push("where processes of other users run, and what they hold open: needs root".to_owned());
    }
    let nginx = nginx::read(root, &mut unseen);
    let restarters = restarters::all(root, &processes, &services, timers, &mut unseen);
    let apps = apps::find(root, &world, &services, &listeners, &processes, &nginx, &mut unseen);
    let strays = strays::find(&world, &processes, &listeners);
    unseen.dedup();
    unseen.truncate(MOST_UNSEEN);
    let (host, usual_stop) = (host::read(root), Some(USUAL_STOP));
    Server { apps, services, strays, restarters, nginx, host, usual_stop, listeners, unseen }
}

impl Server {
    /// The running service that listens on a port of this host.
    #[must_use]
    pub fn service_on(&self, world: &World, port: u16) -> Option<&UnitName> {
        let ids: Vec<u64> =
            self.listeners.iter().filter(|row| row.port == port).filter_map(|row| row.cgroup).collect();
        let mut services = self.services.iter();
        let holds = |service: &&ServiceReading| {
            let group = service.control_group.as_deref().unwrap_or_default();
            ids.iter().any(|id| world.cgroup_has_id(group, *id))
        };
        services.find(holds).map(|service| &service.unit)
    }
}

/// Where programs of the distribution lie.
const OF_THE_SYSTEM: [&str; 5] = ["/usr/bin", "/usr/sbin", "/usr/lib", "/bin", "/sbin"];

/// Whether the distribution put it there.
fn is_of_the_system(path: &Path) -> bool {
    OF_THE_SYSTEM.iter().any(|folder| path.starts_with(folder))
}

/// A path below a root.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// The text of a small regular file; none where it is not there. What else keeps it from being read is
/// noted.
fn text(root: &Path, path: &str, unseen: &mut Vec<String>) -> Option<String> {
    match env_file::read_bounded(&below(root, path)) {
        Ok(text) => Some(text),
        Err(why) if why == env_file::NO_SUCH_FILE => None,
        Err(why) => {
            unseen.push(format!("{path}: {why}"));
            None
        }
    }
}

/// The files of a folder in the order of their names, 512 at most.
fn folder(root: &Path, path: &str, unseen: &mut Vec<String>) -> Vec<String> {
    let entries = match std::fs::read_dir(below(root, path)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            unseen.push(format!("{path}: permission denied"));
            return Vec::new();
        }
        Err(_) => return Vec::new(),
    };
    let mut names: Vec<String> = entries
        .take(512)
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
impl Server {
    /// A server on which nothing runs.
    pub(crate) fn empty() -> Self {
        put_together(Path::new("/nonexistent"), Vec::new(), &[], Vec::new(), Vec::new())
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use nginx::fuzzed as nginx_fuzzed;

#[cfg(test)]
mod tests;
