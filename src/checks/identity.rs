//! Who a process is, in the words that an administrator looks for: name, pid, user, unit.

use std::fmt;
use std::path::Path;

use super::text::clean;
use super::world::World;

/// So many characters of a unit's name are shown: that of a container's scope is 77 long.
pub(super) const SHOWN: usize = 60;

/// Who a process is, as far as it can be seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its id.
    pub pid: u32,
    /// Base name of argv\[0\], or comm.
    pub name: String,
    /// The user it acts as: the name in `/etc/passwd`, or the number.
    pub user: Option<String>,
    /// The systemd unit that it belongs to.
    pub unit: Option<String>,
}

impl Identity {
    /// Looks at a process; none when it has gone.
    #[must_use]
    pub fn of(world: &World, pid: u32) -> Option<Self> {
        let name = by_command_line(world, pid).or_else(|| by_comm(world, pid))?;
        let unit = world.cgroup_of(pid).and_then(|path| unit_of(&path));
        Some(Self { pid, name: clean(&name, 40), user: user(world, pid), unit })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}", self.name, self.pid)?;
        if let Some(user) = &self.user {
            write!(f, ", user {user}")?;
        }
        if let Some(unit) = &self.unit {
            write!(f, ", {}", clean(unit, SHOWN))?;
        }
        f.write_str(")")
    }
}

/// The base name of argv\[0\]. It lies in the process's own memory. The kernel (since 4.17) reads it from
/// there only where it is no mapped file, so that nobody's own file system is asked for it.
pub(super) fn by_command_line(world: &World, pid: u32) -> Option<String> {
    let line = world.read_brief(&world.path(&format!("proc/{pid}/cmdline")), 4096).ok()?;
    let first = String::from_utf8_lossy(line.split(|b| *b == 0).next()?).into_owned();
    Some(Path::new(&first).file_name()?.to_str()?.to_owned())
}

/// The name that the process's main thread has.
pub(super) fn by_comm(world: &World, pid: u32) -> Option<String> {
    let comm = world.read_brief(&world.path(&format!("proc/{pid}/comm")), 64).ok()?;
    Some(String::from_utf8_lossy(&comm).trim_end_matches('\n').to_owned())
}

/// The unit of a cgroup path: its first part that is no slice, as systemd itself reads it, so that
/// what runs below `user@1000.service` belongs to that.
pub(super) fn unit_of(control_group: &str) -> Option<String> {
    let unit = control_group.split('/').find(|part| !part.is_empty() && !part.ends_with(".slice"))?;
    // systemd escapes names that collide with kernel files by a leading underscore.
    let unit = unit.strip_prefix('_').unwrap_or(unit);
    let known = [".service", ".scope", ".socket", ".mount", ".swap"].iter().any(|end| unit.ends_with(end));
    known.then(|| unit.to_owned())
}

/// The name of a user id in `/etc/passwd`, or the number itself. Users of directory services show
/// as numbers: asking NSS could hang on the network.
pub(super) fn user_name(world: &World, uid: u32) -> String {
    let passwd = world.read(&world.path("etc/passwd"), 256 * 1024).unwrap_or_default();
    let number = uid.to_string();
    String::from_utf8_lossy(&passwd)
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == number).then(|| clean(name, 32))
        })
        .unwrap_or(number)
}

fn user(world: &World, pid: u32) -> Option<String> {
    user_id(world, pid).map(|uid| user_name(world, uid))
}

/// The user that a process acts as.
pub(super) fn user_id(world: &World, pid: u32) -> Option<u32> {
    let status = world.read(&world.path(&format!("proc/{pid}/status")), 8192).ok()?;
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    // Real, effective, saved, file system (proc_pid_status(5)).
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::world::tests::Fake;
    use super::*;

    #[test]
    fn names_user_and_unit() {
        let fake = Fake::new();
        fake.process(3, 'S', "MainThread", "/usr/bin/node\0app.js\0", "/system.slice/web.service", &[]);
        fake.process(4, 'S', "kworker", "", "/", &[]);
        let known = Identity::of(&fake.world, 3).unwrap();
        assert_eq!(known.to_string(), "node (pid 3, user www-data, web.service)");
        assert_eq!(Identity::of(&fake.world, 4).unwrap().to_string(), "kworker (pid 4, user www-data)");
        assert_eq!(Identity::of(&fake.world, 5), None);
        assert_eq!(user_name(&fake.world, 4711), "4711");
        let scope = format!("docker-{}.scope", "0af3".repeat(16));
        fake.process(6, 'S', "node", "node\0", &format!("/system.slice/{scope}"), &[]);
        let known = Identity::of(&fake.world, 6).unwrap();
        assert_eq!(known.unit, Some(scope.clone()), "whole");
        assert_eq!(known.to_string(), format!("node (pid 6, user www-data, {}…)", &scope[..SHOWN - 1]));
    }

    #[test]
    fn units_of_cgroups() {
        for (path, unit) in [
            ("/system.slice/web.service", Some("web.service")),
            ("/system.slice/system-web.slice/web@1.service/x.scope", Some("web@1.service")),
            ("/user.slice/user-0.slice/session-3.scope", Some("session-3.scope")),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/a.service", Some("user@1000.service")),
            ("/init.scope", Some("init.scope")),
            ("/", None),
            ("/docker/abcdef", None),
        ] {
            assert_eq!(unit_of(path).as_deref(), unit, "{path}");
        }
    }
}
