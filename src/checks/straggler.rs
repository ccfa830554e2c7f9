//! Who is in the way of an app's start, and whether they may be ended.
//!
//! A judgement on plain facts, for the port check, which sees what everybody may see, and for the
//! helper that reaps, which looks again with privilege. Not responsible for ending anybody, nor for
//! asking a holder of the port how it answers.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::World;
use super::identity::{unit_of, user_id};
use super::port::{takes_any, wanted};
use super::sock_diag::{DiagError, listeners};
use super::text::clean;
use crate::judge::{Address, Stragglers};

/// Open files of one process among which a listener is looked for.
const FILES: usize = 4096;

/// Where a process lives, as its cgroup tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// In no unit, session or container.
    Nowhere,
    /// In a unit, or in what is left of one that has ended.
    Unit {
        /// Its name.
        name: String,
        /// It has not ended, or nobody can tell.
        live: bool,
    },
    /// In a login session, or in what is left of one that has ended.
    Session {
        /// The name of its scope.
        name: String,
        /// It has not ended, or nobody can tell.
        live: bool,
    },
    /// In a container that somebody else than systemd keeps, whose cgroup this is.
    Container(String),
}

impl Place {
    /// Reads the place out of a cgroup path.
    pub fn of(world: &World, control_group: &str) -> Self {
        let Some(name) = unit_of(control_group) else {
            let top = control_group.split('/').find(|part| !part.is_empty() && !part.ends_with(".slice"));
            return match top {
                Some(top) if is_container(top) => Self::Container(clean(control_group, 60)),
                _ => Self::Nowhere,
            };
        };
        let session = name.strip_prefix("session-").and_then(|rest| rest.strip_suffix(".scope"));
        match session {
            Some(id) => Self::Session { live: session_is_live(world, id), name },
            None => Self::Unit { live: unit_is_live(world, &name), name },
        }
    }
}

/// The cgroups by which the usual container managers are known where they do without systemd.
fn is_container(part: &str) -> bool {
    ["docker", "lxc", "libpod", "podman", "kubepods", "containerd", "buildkit", "garden"]
        .iter()
        .any(|manager| part.starts_with(manager))
}

/// systemd keeps such a link while a unit is not inactive and not failed. Where it keeps none at all,
/// every unit counts as live.
fn unit_is_live(world: &World, name: &str) -> bool {
    let links = world.path("run/systemd/units");
    !links.is_dir() || links.join(format!("invocation:{name}")).symlink_metadata().is_ok()
}

/// logind keeps such a file while a session is there. One that is `closing` has logged out, and only
/// waits for what was left running in it.
fn session_is_live(world: &World, id: &str) -> bool {
    let sessions = world.path("run/systemd/sessions");
    if !sessions.is_dir() {
        return true;
    }
    match world.read(&sessions.join(id), 8192) {
        Ok(text) => !String::from_utf8_lossy(&text).lines().any(|line| line == "STATE=closing"),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// What is known of a process. What is none could not be seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProcessFacts {
    /// Its id; none where only its socket is known.
    pub pid: Option<u32>,
    /// When it started, in clock ticks since boot: with the id, it names one process for ever.
    pub started: Option<u64>,
    /// The user it acts as.
    pub user: Option<u32>,
    /// Its cgroup.
    pub control_group: Option<String>,
    /// Where it lives.
    pub place: Option<Place>,
    /// The file that it executes.
    pub executable: Option<PathBuf>,
    /// Its working directory.
    pub working_directory: Option<PathBuf>,
    /// A part of the kernel, which has no executable.
    pub kernel: bool,
}

impl ProcessFacts {
    /// Looks at a process; none when it has gone, or is a zombie. Everybody's are looked at, so nothing is read
    /// that lies in a process's own memory, as its command line does: that can be made to take long.
    pub fn of(world: &World, pid: u32) -> Option<Self> {
        let stat = world.read(&world.path(&format!("proc/{pid}/stat")), 1024).ok()?;
        let (state, parent, started) = stat_fields(&stat)?;
        if matches!(state, 'Z' | 'X' | 'x') {
            return None;
        }
        let link = |name: &str| std::fs::read_link(world.path(&format!("proc/{pid}/{name}"))).ok();
        let control_group = world.cgroup_of(pid);
        Some(Self {
            pid: Some(pid),
            started: Some(started),
            user: user_id(world, pid),
            place: control_group.as_deref().map(|path| Place::of(world, path)),
            control_group,
            executable: link("exe").map(without_mark),
            working_directory: link("cwd").map(without_mark),
            // kthreadd is 2, and the parent of all others.
            kernel: pid == 2 || parent == 2,
        })
    }

    /// Every process, as far as the first 8192.
    pub fn all(world: &World) -> impl Iterator<Item = Self> + use<'_> {
        world.all_pids().into_iter().filter_map(|pid| Self::of(world, pid))
    }
}

/// State, parent and start time of a `stat` line (proc_pid_stat(5)); comm may contain anything.
fn stat_fields(stat: &[u8]) -> Option<(char, u32, u64)> {
    let end = stat.iter().rposition(|b| *b == b')')?;
    let rest = String::from_utf8_lossy(stat.get(end + 1..)?).into_owned();
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    // Field 22, of which 3 and 4 are read.
    Some((state, parent, fields.nth(17)?.parse().ok()?))
}

/// A file that was replaced (an upgrade of node) or a directory that was removed (a deploy) is marked
/// so by the kernel.
fn without_mark(path: PathBuf) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(text) => PathBuf::from(text),
        None => path,
    }
}

/// What is known of the app's unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnitFacts {
    /// Its name.
    pub name: String,
    /// It is neither down nor waiting for its automatic restart: who runs in its cgroup is its own.
    pub live: bool,
    /// The user that it runs as; none where that is not known.
    pub user: Option<u32>,
    /// What it executes, links and interpreters resolved ([`executables`]). Empty: not known.
    pub executables: Vec<PathBuf>,
    /// Root of the app's files; none where that is not known.
    pub working_directory: Option<PathBuf>,
}

/// What a process is to an app that is to be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Class {
    /// An orphan of the app's unit: may be ended wherever it is met.
    Orphan,
    /// Nobody's: may be ended if it holds the app's port and does not answer its health check well.
    Stray,
    /// Perhaps an orphan: that takes somebody with more privilege to tell. Not to be ended as it is.
    Unproven,
    /// Not to be ended.
    Spared(Spared),
}

impl Class {
    /// A holder of the port may be ended, so far as that is not for its answers to tell; or somebody
    /// who sees more than we may well find so.
    pub fn reapable(&self) -> bool {
        !matches!(self, Self::Spared(_))
    }
}

/// Why a process is not to be ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Spared {
    /// PID 1, or a part of the kernel.
    System,
    /// This program itself.
    Ourselves,
    /// It is the app's unit at work.
    OwnUnit,
    /// It belongs to another unit.
    OtherUnit(String),
    /// It lives in a login session.
    Session(String),
    /// It lives in a container.
    Container(String),
    /// `stragglers = "never"`, or a case that takes `"port"`.
    ByConfiguration,
    /// Not enough of it can be seen.
    Unseen,
}

/// Judges a process by what is known of it and of the unit.
///
/// An orphan is whoever is left in the cgroup of the app's unit, though that is down, and whoever has
/// the unit's user and executable and a working directory below the app's, and lives in no live unit or
/// session. Under `own`, a stray is in no unit, session or container at all; under `port`, also in what
/// is left of one of them. Nobody in another live unit, a live session or a container is ever ended.
pub fn classify(process: &ProcessFacts, unit: &UnitFacts, stragglers: Stragglers) -> Class {
    if process.kernel || process.pid.is_some_and(|pid| pid <= 1) {
        return Class::Spared(Spared::System);
    }
    if process.pid == Some(std::process::id()) {
        return Class::Spared(Spared::Ourselves);
    }
    let Some(place) = &process.place else { return Class::Spared(Spared::Unseen) };
    let spared = match place {
        Place::Unit { name, .. } if *name == unit.name => match (unit.live, stragglers) {
            (true, _) => Spared::OwnUnit,
            (false, Stragglers::Never) => Spared::ByConfiguration,
            (false, _) => return Class::Orphan,
        },
        Place::Unit { name, .. } if name == "init.scope" => Spared::System,
        Place::Unit { name, live: true } => Spared::OtherUnit(name.clone()),
        Place::Session { name, live: true } => Spared::Session(name.clone()),
        Place::Container(path) => Spared::Container(path.clone()),
        Place::Nowhere | Place::Unit { .. } | Place::Session { .. } => Spared::ByConfiguration,
    };
    if spared != Spared::ByConfiguration || stragglers == Stragglers::Never {
        return Class::Spared(spared);
    }
    match (likeness(process, unit), place, stragglers) {
        (Some(true), ..) => Class::Orphan,
        (_, Place::Nowhere, _) | (_, _, Stragglers::Port) => Class::Stray,
        (None, ..) => Class::Unproven,
        // A service that has ended is another unit all the same, and a session may have been left on
        // purpose with something running.
        (_, Place::Unit { name, .. }, _) => Class::Spared(Spared::OtherUnit(name.clone())),
        (_, Place::Session { name, .. }, _) => Class::Spared(Spared::Session(name.clone())),
        (_, Place::Container(path), _) => Class::Spared(Spared::Container(path.clone())),
    }
}

/// Whether it has the unit's user and executable, and a working directory below the app's. None where
/// what is known does not say no, and not all is known.
fn likeness(process: &ProcessFacts, unit: &UnitFacts) -> Option<bool> {
    let user = both(process.user, unit.user).map(|(its, wanted)| its == wanted);
    let executable = process
        .executable
        .as_ref()
        .filter(|_| !unit.executables.is_empty())
        .map(|its| unit.executables.contains(its));
    let directory = both(process.working_directory.as_ref(), unit.working_directory.as_ref())
        // Everything is below /, which says nothing.
        .map(|(its, wanted)| its.starts_with(wanted) && wanted.parent().is_some());
    let all = [user, executable, directory];
    if all.contains(&Some(false)) {
        Some(false)
    } else if all.contains(&None) {
        None
    } else {
        Some(true)
    }
}

fn both<T>(a: Option<T>, b: Option<T>) -> Option<(T, T)> {
    Some((a?, b?))
}

/// The files that the kernel may show as the executable of what was started as `command`: the file
/// itself behind all links, and, for a script, the interpreter that its first line names.
pub fn executables(world: &World, command: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut next = Some(command.to_path_buf());
    // A script's interpreter may be a script itself; the kernel follows four, too.
    for _ in 0..4 {
        let Some(file) = next.take().and_then(|path| resolve(world, &path)) else { break };
        if let Ok(head) = head(&world.path(&file.to_string_lossy()))
            && let Some(line) = head.strip_prefix(b"#!")
        {
            let line =
                String::from_utf8_lossy(line.split(|b| *b == b'\n').next().unwrap_or_default()).into_owned();
            let mut words = line.split_ascii_whitespace();
            let interpreter = words.next();
            next = match interpreter.map(Path::new) {
                Some(env) if env.ends_with("env") => {
                    words.find(|word| !word.starts_with('-') && !word.contains('=')).map(PathBuf::from)
                }
                other => other.map(Path::to_path_buf),
            };
        }
        found.push(file);
    }
    found
}

/// The first bytes of a file. The app's user may have put a FIFO in its place, which must not hold us.
fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let mut bytes = Vec::new();
    file.take(256).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Behind all links, and by systemd's own search path where it has no slash.
fn resolve(world: &World, command: &Path) -> Option<PathBuf> {
    let real = |path: &Path| {
        let real = std::fs::canonicalize(world.path(&path.to_string_lossy())).ok()?;
        let root = std::fs::canonicalize(world.path("")).ok()?;
        Some(Path::new("/").join(real.strip_prefix(root).ok()?))
    };
    if command.is_absolute() {
        return real(command);
    }
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .find_map(|dir| real(&Path::new(dir).join(command)))
}

/// Who listens on that port at an address that the app would use, as far as we may see, each once.
/// With the privilege to read all of `/proc`, that is everybody; `true` says that some holder could not
/// be found.
///
/// # Errors
/// When the kernel does not tell who listens.
pub fn holders(world: &World, port: u16, address: Address) -> Result<(Vec<ProcessFacts>, bool), DiagError> {
    let wanted: Vec<IpAddr> = wanted(address);
    let rows = listeners(port)?;
    let inodes: HashSet<u32> =
        rows.iter().filter(|row| takes_any(row, &wanted)).map(|row| row.inode).collect();
    if inodes.is_empty() {
        return Ok((Vec::new(), false));
    }
    let (pids, unseen) = world.holders_of(&world.all_pids(), &inodes, FILES);
    Ok((pids.into_iter().filter_map(|pid| ProcessFacts::of(world, pid)).collect(), unseen))
}

#[cfg(test)]
mod tests;
