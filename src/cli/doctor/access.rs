//! Whether a unit's user is let into a directory, by mode bits alone: of what has an access control list
//! nothing is said, and nothing where a group is not known.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::systemd::ServiceReading;

/// A user as files know it.
struct User {
    uid: u32,
    groups: Vec<u32>,
}

/// The first directory on the way to `path`, itself included, that the service's user may not enter. None
/// where it may enter all, or is not known.
pub fn closed_to(root: &Path, path: &Path, service: &ServiceReading) -> Option<PathBuf> {
    let user = known(root, service)?;
    let mut ways: Vec<&Path> = path.ancestors().filter(|path| *path != Path::new("/")).collect();
    ways.reverse();
    let closed = |way: &&&Path| {
        let real = root.join(way.strip_prefix("/").unwrap_or(way));
        real.metadata().is_ok_and(|metadata| !user.may_enter(&metadata)) && !has_list(&real)
    };
    ways.iter().find(closed).map(|way| way.to_path_buf())
}

/// Whether it has an access control list beside its mode.
fn has_list(path: &Path) -> bool {
    // A list is longer than that.
    let read = rustix::fs::getxattr(path, "system.posix_acl_access", &mut [0_u8; 1][..]);
    matches!(read, Ok(_) | Err(rustix::io::Errno::RANGE))
}

/// As systemd starts it: `Group=` stands for the group of passwd, `SupplementaryGroups=` come on top. None for
/// root, who may enter everywhere.
fn known(root: &Path, service: &ServiceReading) -> Option<User> {
    let user = service.user.as_str();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let passwd = read("etc/passwd");
    let (name, uid, gid) = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, uid, gid) = (*fields.first()?, *fields.get(2)?, fields.get(3)?.parse::<u32>().ok()?);
        (name == user || uid == user).then(|| Some((name.to_owned(), uid.parse::<u32>().ok()?, gid)))?
    })?;
    let group = read("etc/group");
    let number = |wanted: &String| {
        let mut lines = group.lines().map(|line| line.split(':').collect::<Vec<&str>>());
        let named = lines.find(|fields| fields.first() == Some(&wanted.as_str()));
        named.and_then(|fields| fields.get(2)?.parse::<u32>().ok()).or_else(|| wanted.parse().ok())
    };
    let mut groups = vec![if service.group.is_empty() { gid } else { number(&service.group)? }];
    for more in &service.groups {
        groups.push(number(more)?);
    }
    groups.extend(group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let mut members = fields.get(3)?.split(',');
        members.any(|member| member == name).then(|| fields.get(2)?.parse::<u32>().ok())?
    }));
    (uid != 0).then_some(User { uid, groups })
}

impl User {
    fn may_enter(&self, directory: &Metadata) -> bool {
        let mode = directory.mode();
        let bit = match () {
            () if directory.uid() == self.uid => 0o100,
            () if self.groups.contains(&directory.gid()) => 0o010,
            () => 0o001,
        };
        mode & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_first_door_that_is_closed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("srv/web/app");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        let owner = root.path().join("srv").metadata().unwrap();
        let (uid, gid) = (owner.uid() + 7, owner.gid() + 7);
        let passwd =
            format!("root:x:0:0::/root:/bin/sh\nme:x:{uid}:{gid}::/:/bin/sh\nin:x:{uid}:{gid}::/:/bin/sh\n");
        std::fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        std::fs::write(root.path().join("etc/group"), format!("web:x:{}:a,in\n", owner.gid())).unwrap();
        let of = |user: &str, group: &str, more: &[&str]| {
            let service = ServiceReading {
                user: user.into(),
                group: group.into(),
                groups: more.iter().map(|group| (*group).to_owned()).collect(),
                ..ServiceReading::running("web.service", 7)
            };
            closed_to(root.path(), Path::new("/srv/web/app"), &service)
        };
        let closed = |user: &str| of(user, "", &[]);
        assert_eq!(closed("me"), None);
        let web = root.path().join("srv/web");
        std::fs::set_permissions(&web, std::fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(closed("me").as_deref(), Some(Path::new("/srv/web")));
        // Its group may; root may; of whom nothing is known, nothing is said.
        for user in ["in", "root", "", "nobody-knows"] {
            assert_eq!(closed(user), None, "{user}");
        }
        // So may who is given that group by the unit; a group that is not known may be any.
        let number = owner.gid().to_string();
        for (group, more) in
            [("web", &[][..]), (&number, &[]), ("", &["web"]), ("", &[&number]), ("x", &[]), ("", &["x"])]
        {
            assert_eq!(of("me", group, more), None, "{group} {more:?}");
        }
        assert!(of("me", &gid.to_string(), &[]).is_some());
        // Version 2; its owner rwx, user 1 rwx, group r-x, mask rwx, others none.
        let mut list = 2_u32.to_le_bytes().to_vec();
        let any = u32::MAX;
        for (tag, may, whom) in [(1_u16, 7_u16, any), (2, 7, 1), (4, 5, any), (16, 7, any), (32, 0, any)] {
            list.extend([tag.to_le_bytes(), may.to_le_bytes()].concat());
            list.extend(whom.to_le_bytes());
        }
        let flags = rustix::fs::XattrFlags::empty();
        match rustix::fs::setxattr(&web, "system.posix_acl_access", &list, flags) {
            Ok(()) => assert_eq!(closed("me"), None),
            // Not every file system has them.
            Err(error) => assert_eq!(error, rustix::io::Errno::OPNOTSUPP),
        }
        std::fs::set_permissions(&web, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}
