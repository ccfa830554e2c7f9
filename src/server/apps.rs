//! Which of the running services look like web apps, and what belongs to each.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::nginx::{Nginx, Pass, Site};
use super::processes::{Process, runtime};
use super::sockets::Sockets;
use super::{below, is_of_the_system, strays};
use crate::checks::{Listener, World};
use crate::config::{NamedDatabase, named_databases};
use crate::systemd::ServiceReading;

/// An address that a service listens on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Listening {
    /// The port.
    pub port: u16,
    /// The address; unspecified for any.
    pub address: IpAddr,
    /// An IPv6 address that takes no IPv4.
    pub v6_only: bool,
}

impl Listening {
    /// `127.0.0.1:3000`, `[::]:3000`.
    #[must_use]
    pub fn shown(&self) -> String {
        std::net::SocketAddr::new(self.address, self.port).to_string()
    }

    /// Whether IPv4 and IPv6 come to it.
    #[must_use]
    pub fn families(&self) -> (bool, bool) {
        match self.address {
            IpAddr::V4(_) => (true, false),
            IpAddr::V6(address) => (address.is_unspecified() && !self.v6_only, true),
        }
    }
}

/// A service that looks like a web app.
#[derive(Clone, Debug)]
pub struct FoundApp {
    /// What systemd says of it.
    pub service: ServiceReading,
    /// What it runs on; none for a program of its own.
    pub runtime: Option<&'static str>,
    /// Its process, as people know it.
    pub process: String,
    /// Where it listens, in the order of ports.
    pub listening: Vec<Listening>,
    /// Where its files are: as the unit says, else as its process has it.
    pub directory: Option<PathBuf>,
    /// Keys of its environment that name databases.
    pub databases: Vec<NamedDatabase>,
    /// Caches below its directory that are there.
    pub caches: Vec<&'static str>,
    /// Sockets in the file system that nginx passes to and that it listens on.
    pub sockets: Vec<PathBuf>,
    /// What nginx passes to it, and to which of its ports; none for a socket.
    pub sites: Vec<(Site, Option<u16>)>,
}

/// What is cleared when nothing else is said.
const CACHES: [&str; 2] = [".next/cache", "node_modules/.cache"];
/// Ports of debuggers.
const DEBUGGERS: [u16; 3] = [9229, 5005, 5678];

#[allow(clippy::too_many_arguments, reason = "they are all that was seen")]
pub(super) fn find(
    root: &Path,
    world: &World,
    services: &[ServiceReading],
    listeners: &[Listener],
    processes: &[Process],
    nginx: &Nginx,
    unseen: &mut Vec<String>,
) -> Vec<FoundApp> {
    let sockets = Sockets::read(world, nginx);
    let found = services.iter().filter_map(|service| {
        let group = service.control_group.as_deref()?;
        let mut own: Vec<&Process> =
            processes.iter().filter(|process| is_below(&process.cgroup, group)).collect();
        own.sort_by_key(|process| (Some(process.pid) != service.main_pid, process.pid));
        let first = *own.first()?;
        // What keeps apps by itself is none.
        if own.iter().any(|process| strays::is_pm2(process))
            || is_below(group, "/system.slice/app-monitor.service")
        {
            return None;
        }
        let runs = own.iter().find_map(|process| Some((*process, runtime(process)?)));
        let listening = listening(world, group, listeners);
        let of_an_admin =
            service.fragment.as_deref().is_some_and(|path| path.starts_with("/etc/systemd/system"));
        let wanted = match &runs {
            Some((_, "php-fpm")) => true,
            // Tools of the distribution run on these, too; they serve nobody.
            Some(_) => !listening.is_empty() || of_an_admin,
            None => !listening.is_empty() && of_an_admin && !runs_of_the_system(first),
        };
        if !wanted {
            return None;
        }
        let process = runs.as_ref().map_or(first, |(process, _)| *process);
        let directory = service.working_directory.clone().or_else(|| process.cwd.clone());
        let directory = directory.filter(|path| path != Path::new("/"));
        let databases = named_databases(root, &service.unit, directory.as_deref(), unseen);
        let there = |cache: &&&str| {
            let path = directory.as_ref().map(|directory| directory.join(cache));
            path.is_some_and(|path| below(root, &path.to_string_lossy()).is_dir())
        };
        let pids: Vec<u32> = own.iter().map(|process| process.pid).collect();
        let sockets = sockets.held_by(world, &pids);
        let sites = nginx.sites.iter().filter_map(|site| {
            let of = listening.iter().find(|at| site.passes_to(at.port).next().is_some());
            let through = || site.passes.iter().any(|pass| sockets.iter().any(|at| pass.leads_to_socket(at)));
            let to = of.map(|at| Some(at.port)).or_else(|| through().then_some(None))?;
            Some((site.clone(), to))
        });
        Some(FoundApp {
            service: service.clone(),
            runtime: runs.as_ref().map(|(_, runtime)| *runtime),
            process: process.name.clone(),
            sites: sites.collect(),
            sockets,
            caches: CACHES.iter().filter(there).copied().collect(),
            listening,
            directory,
            databases,
        })
    });
    found.collect()
}

fn runs_of_the_system(process: &Process) -> bool {
    let first = process.args.first().map(PathBuf::from);
    let exe = process.exe.clone().or(first).unwrap_or_default();
    !exe.is_absolute() || is_of_the_system(&exe)
}

fn is_below(cgroup: &str, group: &str) -> bool {
    cgroup.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where a service listens, each address once.
pub(super) fn listening(world: &World, group: &str, listeners: &[Listener]) -> Vec<Listening> {
    let own = listeners.iter().filter(|row| row.cgroup.is_some_and(|id| world.cgroup_has_id(group, id)));
    let mut found: Vec<Listening> =
        own.map(|row| Listening { port: row.port, address: row.address, v6_only: row.v6_only }).collect();
    found.sort();
    found.dedup();
    found
}

impl FoundApp {
    /// Its ports, the most likely first: one that nginx passes to, then the lowest that is no debugger's.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.listening.iter().map(|at| at.port).collect();
        ports.sort_by_key(|port| {
            let passed = self.sites.iter().any(|(_, to)| *to == Some(*port));
            (!passed, DEBUGGERS.contains(port), *port)
        });
        ports.dedup();
        ports
    }

    /// Whether nginx divides among both what it passes on.
    #[must_use]
    pub fn shares_a_pass(&self, other: &Self) -> bool {
        let leads = |app: &Self, pass: &Pass| {
            let mut ports = app.sites.iter().filter_map(|(_, to)| *to);
            ports.any(|port| pass.leads_to(port)) || app.sockets.iter().any(|at| pass.leads_to_socket(at))
        };
        let mut passes = self.sites.iter().flat_map(|(site, _)| &site.passes);
        passes.any(|pass| pass.to.len() > 1 && leads(self, pass) && leads(other, pass))
    }

    /// An address at which a port can be asked from here.
    #[must_use]
    pub fn address(&self, port: u16) -> Option<IpAddr> {
        let at = self.listening.iter().find(|at| at.port == port)?;
        Some(match at.families() {
            (true, _) if at.address.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            (false, true) if at.address.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            _ => at.address,
        })
    }
}
