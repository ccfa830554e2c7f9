//! Whether a unit's user is let into a directory, by mode bits alone: access control lists are not seen,
//! and what they allow is not known to be forbidden.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A user as files know it.
struct User {
    uid: u32,
    groups: Vec<u32>,
}

/// The first directory on the way to `path`, itself included, that the user may not enter. None where it
/// may enter all, or is not known.
pub fn closed_to(root: &Path, path: &Path, user: &str) -> Option<PathBuf> {
    let user = known(root, user)?;
    let mut ways: Vec<&Path> = path.ancestors().filter(|path| *path != Path::new("/")).collect();
    ways.reverse();
    let closed = |way: &&&Path| {
        let real = root.join(way.strip_prefix("/").unwrap_or(way));
        real.metadata().is_ok_and(|metadata| !user.may_enter(&metadata))
    };
    ways.iter().find(closed).map(|way| way.to_path_buf())
}

/// None for root, who may enter everywhere.
fn known(root: &Path, user: &str) -> Option<User> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let passwd = read("etc/passwd");
    let (name, uid, gid) = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, uid, gid) = (*fields.first()?, *fields.get(2)?, fields.get(3)?.parse::<u32>().ok()?);
        (name == user || uid == user).then(|| Some((name.to_owned(), uid.parse::<u32>().ok()?, gid)))?
    })?;
    let mut groups = vec![gid];
    groups.extend(read("etc/group").lines().filter_map(|line| {
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
        let closed = |user: &str| closed_to(root.path(), Path::new("/srv/web/app"), user);
        assert_eq!(closed("me"), None);
        let web = root.path().join("srv/web");
        std::fs::set_permissions(&web, std::fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(closed("me").as_deref(), Some(Path::new("/srv/web")));
        // Its group may; root may; of whom nothing is known, nothing is said.
        for user in ["in", "root", "", "nobody-knows"] {
            assert_eq!(closed(user), None, "{user}");
        }
        std::fs::set_permissions(&web, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}
