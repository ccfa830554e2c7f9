//! Whether files are there, and readable by the app's user: looked at as that user, by the kernel's
//! own rules.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::super::acting_as::become_user;
use super::{ABSENT, BLIND};
use crate::systemd::{Execution, Setting};

/// A file system that hangs is waited for no longer than this.
const WITHIN: Duration = Duration::from_secs(5);

/// A user and its groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// The user that a unit runs as, out of passwd(5) and group(5). None for root, for one that is made at
/// the start, and for one of a directory service: such are looked for as root, who can read all.
pub fn user(root: &Path, execution: &Execution, setting: &Setting) -> Option<User> {
    if execution.dynamic_user || execution.user.is_empty() {
        return None;
    }
    let text = |name: &str| {
        std::fs::read(root.join(name))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    };
    let (passwd, group) = (text("etc/passwd"), text("etc/group"));
    let entry = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields[..] else { return None };
        let named = name == execution.user || uid == execution.user;
        named.then(|| Some((name.to_owned(), uid.parse().ok()?, gid.parse().ok()?)))?
    });
    let (name, uid, own): (String, u32, u32) = entry?;
    let mut groups = Vec::new();
    let mut gid = own;
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [group, _, number, members] = fields[..] else { continue };
        let Ok(id) = number.parse::<u32>() else { continue };
        let is = |wanted: &str| wanted == group || wanted == number;
        if is(&setting.group) {
            gid = id;
        }
        if members.split(',').any(|member| member == name) || setting.groups.iter().any(|wanted| is(wanted)) {
            groups.push(id);
        }
    }
    (uid != 0).then_some(User { uid, gid, groups })
}

/// A line for each file that is absent or cannot be read. `paths`: as people know them, and where
/// they are.
pub fn lines(paths: Vec<(String, PathBuf)>, user: Option<User>, name: &str) -> Vec<String> {
    let (done, seen) = mpsc::channel();
    let (names, places): (Vec<String>, Vec<PathBuf>) = paths.into_iter().unzip();
    // The identity of a thread is its own: only this one becomes somebody else.
    let started = std::thread::Builder::new().spawn(move || {
        let became = user.as_ref().map_or(Ok(()), |user| become_user(user.uid, user.gid, &user.groups));
        let found: Result<Vec<_>, _> = became.map(|()| places.iter().map(|path| open(path)).collect());
        let _ = done.send(found);
    });
    let found = match started {
        Ok(_) => seen.recv_timeout(WITHIN),
        Err(error) => return vec![format!("{BLIND}files cannot be looked at: {error}")],
    };
    match found {
        Ok(Ok(found)) => {
            names.iter().zip(found).filter_map(|(path, found)| line(path, found, name)).collect()
        }
        Ok(Err(error)) => vec![format!("{BLIND}cannot look as user {name}: {error}")],
        Err(_) => vec![format!("{BLIND}files cannot be looked at within {} s", WITHIN.as_secs())],
    }
}

fn line(path: &str, found: Result<(), Errno>, user: &str) -> Option<String> {
    match found {
        Ok(()) => None,
        Err(Errno::NOENT | Errno::NOTDIR) => Some(format!("{ABSENT}{path} is missing")),
        Err(Errno::ACCESS | Errno::PERM) if !user.is_empty() => {
            Some(format!("{ABSENT}{path} cannot be read by user {user}"))
        }
        Err(Errno::LOOP) => Some(format!("{ABSENT}{path} is a link that leads nowhere")),
        Err(error) => Some(format!("{BLIND}{path} cannot be looked at: {error}")),
    }
}

/// Opens it as the app would, and reads nothing. What is no file or directory is not opened: that
/// could be an act.
fn open(path: &Path) -> Result<(), Errno> {
    let held = rustix::fs::stat(path)?;
    let kind = rustix::fs::FileType::from_raw_mode(held.st_mode);
    if !matches!(kind, rustix::fs::FileType::RegularFile | rustix::fs::FileType::Directory) {
        // As the effective user: the real one is still root.
        return rustix::fs::accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn users_and_groups_are_those_of_the_host() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("etc")).unwrap();
        fs::write(folder.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:900:901::/:/bin/false\n")
            .unwrap();
        fs::write(
            folder.path().join("etc/group"),
            "root:x:0:\nweb:x:901:\nssl:x:50:a,web\nlog:x:51:\nb:x:52:\n",
        )
        .unwrap();
        let of = |user: &str, group: &str, groups: &[&str]| {
            let execution = Execution { user: user.to_owned(), ..Execution::default() };
            let groups = groups.iter().map(|one| (*one).to_owned()).collect();
            let setting = Setting { group: group.to_owned(), groups, ..Setting::default() };
            super::user(folder.path(), &execution, &setting)
        };
        assert_eq!(of("web", "", &[]), Some(User { uid: 900, gid: 901, groups: vec![50] }));
        assert_eq!(of("900", "b", &["log"]), Some(User { uid: 900, gid: 52, groups: vec![50, 51] }));
        assert_eq!(of("root", "", &[]), None);
        assert_eq!(of("nobody-knows", "", &[]), None);
    }

    #[test]
    fn a_file_is_looked_at_as_the_user() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str, mode: u32| {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            (name.to_owned(), path)
        };
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
        let paths = vec![
            path("open.js", 0o644),
            path("closed.js", 0o600),
            ("gone.js".into(), "/gone".into()),
            ("socket".into(), socket),
        ];
        let nobody = User { uid: 65_534, gid: 65_534, groups: Vec::new() };
        assert_eq!(
            lines(paths.clone(), Some(nobody), "nobody"),
            [
                "absent: closed.js cannot be read by user nobody",
                "absent: gone.js is missing",
                "absent: socket cannot be read by user nobody"
            ]
        );
        assert!(rustix::process::geteuid().is_root(), "only the thread became somebody else");
        assert_eq!(lines(paths, None, ""), ["absent: gone.js is missing"]);
    }
}
