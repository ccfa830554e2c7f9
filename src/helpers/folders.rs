//! The daemon's folders, as far as they take more than their owner to set up: incidents quote logs,
//! and are read as logs are, by group adm.
//!
//! What lies in these folders is the daemon's to arrange, and this runs as root: nothing is reached
//! through a link, and nothing is given away that was not the daemon's already.

use std::fs::Metadata;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Dir, FileType, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, mkdirat, open, openat};
use rustix::io::Errno;

use crate::config::resolved::group_id;
use crate::incidents::FOLDER;

/// Who reads incidents.
const READERS: &str = "adm";
/// More files than ever lie in the folder.
const MOST: usize = 4096;

/// Makes the folder of incidents below a folder of the daemon's, and lets group adm read what is in it
/// and what will be.
///
/// # Errors
/// Why it cannot be, with the path. The daemon goes without.
pub fn open_incidents_to_readers(root: &Path, parent: &Path) -> Result<(), String> {
    let path = parent.join(FOLDER);
    let at = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    // Without such a group nobody has to be let in.
    let Some(group) = group_id(&root.join("etc/group"), READERS) else { return Ok(()) };
    let owner = match std::fs::metadata(parent) {
        Ok(owner) => owner,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(&error)),
    };
    let directory = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let above = open(parent, directory, Mode::empty()).map_err(|error| at(&error))?;
    let made = match mkdirat(&above, FOLDER, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(at(&error)),
    };
    let folder =
        openat(&above, FOLDER, directory | OFlags::NOFOLLOW, Mode::empty()).map_err(|error| at(&error))?;
    let seen = fstat(&folder).map_err(|error| at(&error))?;
    if seen.st_uid != owner.uid() && !made {
        return Err(at(&format_args!("it belongs to uid {}, not to the monitor", seen.st_uid)));
    }
    let group = Gid::from_raw(group);
    fchown(&folder, Some(Uid::from_raw(owner.uid())), Some(group)).map_err(|error| at(&error))?;
    // What is made in it has its group.
    fchmod(&folder, Mode::from_raw_mode(0o2750)).map_err(|error| at(&error))?;
    let entries = Dir::read_from(&folder).map_err(|error| at(&error))?;
    for entry in entries.flatten().take(MOST) {
        if entry.file_type() == FileType::RegularFile {
            // What has gone meanwhile, or is none of the daemon's, is passed over.
            let _ = give(&folder, entry.file_name(), &owner, group);
        }
    }
    Ok(())
}

/// A file that the daemon's group has, to that group; e.g. after the folder was handed over to the
/// daemon as a whole.
fn give(folder: &OwnedFd, name: &std::ffi::CStr, owner: &Metadata, group: Gid) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::empty())?;
    let seen = fstat(&file)?;
    let own = FileType::from_raw_mode(seen.st_mode) == FileType::RegularFile
        && seen.st_uid == owner.uid()
        && seen.st_gid == owner.gid()
        && seen.st_nlink == 1;
    if own { fchown(&file, None, Some(group)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode_and_group(path: &Path) -> (u32, u32) {
        let meta = fs::symlink_metadata(path).unwrap();
        (meta.mode() & 0o7777, meta.gid())
    }

    #[test]
    fn incidents_are_opened_to_their_readers_and_nothing_else_is() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let parent = root.path().join("state");
        open_incidents_to_readers(root.path(), &parent).unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/group"), "adm:x:4:\n").unwrap();
        open_incidents_to_readers(root.path(), &parent).unwrap();
        assert!(!parent.exists());

        fs::create_dir(&parent).unwrap();
        std::os::unix::fs::chown(&parent, Some(900), Some(900)).unwrap();
        let folder = parent.join(FOLDER);
        open_incidents_to_readers(root.path(), &parent).unwrap();
        assert_eq!(mode_and_group(&folder), (0o2750, 4));
        assert_eq!(fs::metadata(&folder).unwrap().uid(), 900);

        let secret = root.path().join("secret");
        fs::write(&secret, "").unwrap();
        symlink(&secret, folder.join("link.json")).unwrap();
        fs::hard_link(&secret, folder.join("hard.json")).unwrap();
        fs::write(folder.join("root.json"), "").unwrap();
        fs::write(folder.join("own.json"), "").unwrap();
        std::os::unix::fs::chown(folder.join("own.json"), Some(900), Some(900)).unwrap();
        std::os::unix::fs::chown(folder.join("root.json"), Some(0), Some(0)).unwrap();
        let before = mode_and_group(&secret);
        open_incidents_to_readers(root.path(), &parent).unwrap();
        assert_eq!(mode_and_group(&secret), before);
        assert_eq!(mode_and_group(&folder.join("own.json")).1, 4);
        assert_eq!(mode_and_group(&folder.join("root.json")).1, 0);

        // Somebody else's folder in its place, by a link or by itself.
        let other = root.path().join("other");
        fs::rename(&folder, root.path().join("aside")).unwrap();
        fs::create_dir(&other).unwrap();
        symlink(&other, &folder).unwrap();
        let before = mode_and_group(&other);
        assert!(open_incidents_to_readers(root.path(), &parent).is_err());
        fs::remove_file(&folder).unwrap();
        fs::rename(&other, &folder).unwrap();
        let why = open_incidents_to_readers(root.path(), &parent).unwrap_err();
        assert!(why.ends_with("it belongs to uid 0, not to the monitor"), "{why}");
        assert_eq!(mode_and_group(&folder), before);
    }
}
