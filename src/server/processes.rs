//! The processes of the host, and which of them are made to run web apps.

use std::path::{Path, PathBuf};

use crate::checks::{Identity, World};

/// A process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Base name of argv\[0\], or comm.
    pub name: String,
    /// Its command line, 4 kB at most.
    pub args: Vec<String>,
    /// Its user.
    pub user: String,
    /// Its cgroup.
    pub cgroup: String,
    /// Where it runs; none where we may not look.
    pub cwd: Option<PathBuf>,
    /// What it executes; likewise.
    pub exe: Option<PathBuf>,
}

/// Every process that has a command line: none of the kernel's.
pub(super) fn all(world: &World) -> Vec<Process> {
    world.all_pids().into_iter().filter_map(|pid| one(world, pid)).collect()
}

fn one(world: &World, pid: u32) -> Option<Process> {
    let line = world.read(&world.path(&format!("proc/{pid}/cmdline")), 4096).ok()?;
    let line = String::from_utf8_lossy(&line).into_owned();
    let args: Vec<String> =
        line.split('\0').map(str::to_owned).filter(|word| !word.is_empty()).take(64).collect();
    if args.is_empty() {
        return None;
    }
    let who = Identity::of(world, pid)?;
    let stat = world.read(&world.path(&format!("proc/{pid}/stat")), 1024).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat).into_owned();
    let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
    let link = |name: &str| std::fs::read_link(world.path(&format!("proc/{pid}/{name}"))).ok();
    Some(Process {
        pid,
        parent: parent.unwrap_or(0),
        name: who.name,
        args,
        user: who.user.unwrap_or_default(),
        cgroup: world.cgroup_of(pid).unwrap_or_default(),
        cwd: link("cwd"),
        exe: link("exe"),
    })
}

/// What a process runs on, if it is made for web apps: `node`, `python`, …
#[must_use]
pub fn runtime(process: &Process) -> Option<&'static str> {
    let exe = process.exe.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    let first = process.args.first().map(String::as_str).unwrap_or_default();
    let first = first.split([' ', ':']).next().unwrap_or_default();
    let first = first.rsplit('/').next().unwrap_or_default();
    [exe.unwrap_or_default(), first, process.name.as_str()].into_iter().find_map(by_name)
}

fn by_name(name: &str) -> Option<&'static str> {
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    Some(match bare {
        "node" | "nodejs" | "npm" | "yarn" | "pnpm" | "next-server" | "node-MainThread" => "node",
        "python" | "gunicorn" | "uvicorn" | "uwsgi" => "python",
        "ruby" | "puma" | "unicorn" => "ruby",
        "java" => "java",
        "bun" => "bun",
        "deno" => "deno",
        _ if bare.starts_with("php-fpm") => "php-fpm",
        _ => return None,
    })
}

/// Where a cgroup is, as far as it matters who keeps a process alive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// A service of the system.
    Service(String),
    /// A service of a user's manager: whose, and its name.
    User(String, String),
    /// A login session.
    Session,
    /// A container, by the beginning of its id.
    Container(String),
    /// Anywhere else.
    Other,
}

pub(super) fn place(cgroup: &str) -> Place {
    let parts: Vec<&str> = cgroup.split('/').filter(|part| !part.is_empty()).collect();
    for part in &parts {
        let id = ["docker-", "libpod-", "cri-containerd-"]
            .iter()
            .find_map(|prefix| part.strip_prefix(prefix))
            .map(|id| id.trim_end_matches(".scope"))
            .or_else(|| Some(*part).filter(|part| part.len() == 64));
        if let Some(id) = id.filter(|id| id.len() >= 12 && id.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Place::Container(id[..12].to_owned());
        }
    }
    let last_service = parts.iter().rev().find(|part| part.ends_with(".service"));
    let user = parts.iter().find_map(|part| part.strip_prefix("user@")?.strip_suffix(".service"));
    if let Some(user) = user {
        let unit = parts.last().filter(|part| !part.starts_with("user@"));
        return Place::User(user.to_owned(), unit.map_or_else(String::new, |unit| (*unit).to_owned()));
    }
    if parts.iter().any(|part| part.starts_with("session-") && part.ends_with(".scope")) {
        return Place::Session;
    }
    match last_service {
        Some(unit) => Place::Service((*unit).to_owned()),
        None => Place::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_by_name() {
        for (name, runtime) in [
            ("node", Some("node")),
            ("next-server", Some("node")),
            ("python3.11", Some("python")),
            ("php-fpm8.2", Some("php-fpm")),
            ("nginx", None),
            ("", None),
        ] {
            assert_eq!(by_name(name), runtime, "{name}");
        }
    }

    #[test]
    fn places_of_cgroups() {
        let id = "0af3".repeat(16);
        for (cgroup, expected) in [
            ("/system.slice/web.service", Place::Service("web.service".into())),
            ("/system.slice/system-web.slice/web@1.service/sub", Place::Service("web@1.service".into())),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/a.service",
                Place::User("1000".into(), "a.service".into()),
            ),
            ("/user.slice/user-0.slice/session-3.scope", Place::Session),
            ("/", Place::Other),
        ] {
            assert_eq!(place(cgroup), expected, "{cgroup}");
        }
        for cgroup in [format!("/system.slice/docker-{id}.scope"), format!("/docker/{id}")] {
            assert_eq!(place(&cgroup), Place::Container("0af30af30af3".into()), "{cgroup}");
        }
    }
}
