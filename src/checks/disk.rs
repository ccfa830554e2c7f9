//! Free space and inodes on the file systems of the app, of the monitor's state and of the journal.
//!
//! Each file system is looked at once. One that cannot run full (read-only, or without blocks of its
//! own) is passed over; that it is read-only to the monitor's sandbox alone says nothing. Which of them
//! is meant is told by where it is mounted.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfs, statvfs};

use super::Probe;
use super::text::{bounded, size, size_up};
use super::world::World;
use crate::judge::{Fault, Observation};

/// Where the monitor's state is.
const STATE: &str = "/var/lib/app-monitor";
/// Where the journal is: on disk, or, where that directory is missing, in memory
/// (systemd-journald.service(8)).
const JOURNAL: [&str; 2] = ["/var/log/journal", "/run/log/journal"];
/// So much of the table of mounts is read.
const MOUNTS: usize = 256 * 1024;

/// One file system as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Room {
    /// Where it is mounted.
    mount: String,
    /// Bytes that a user without privilege may still fill.
    free: u64,
    /// Inodes that are left to such a user, and all there are; none where they are not counted.
    inodes: Option<(u64, u64)>,
}

/// Looks at all of them.
pub(super) fn check(probe: &Probe) -> Observation {
    let world = &probe.world;
    let mut rooms: Vec<(u64, Room)> = Vec::new();
    let mut troubles = Vec::new();
    for path in places(probe) {
        match look(world, &path) {
            Ok(Some((device, room))) if rooms.iter().all(|(known, _)| *known != device) => {
                rooms.push((device, room));
            }
            Ok(_) => {}
            Err(error) => troubles.push(format!("cannot look at {}: {error}", path.display())),
        }
    }
    let rooms: Vec<Room> = rooms.into_iter().map(|(_, room)| room).collect();
    bounded(judge(&rooms, probe.target.min_disk, &troubles))
}

fn places(probe: &Probe) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = probe.working_directory().map(Path::to_path_buf).into_iter().collect();
    places.push(STATE.into());
    let on_disk = probe.world.path(JOURNAL[0]).is_dir();
    places.push(JOURNAL[usize::from(!on_disk)].into());
    places
}

/// The file system of a path, with the number of its device; none if it cannot run full. What does not
/// exist, or may not be looked at, is asked about at its mount point.
fn look(world: &World, path: &Path) -> io::Result<Option<(u64, Room)>> {
    let mounts = world.read(&world.path("proc/self/mountinfo"), MOUNTS).unwrap_or_default();
    let mount = mount_of(&mounts, path);
    let asked = |path: &Path| -> io::Result<(u64, StatVfs)> {
        let path = world.path(&path.to_string_lossy());
        Ok((std::fs::metadata(&path)?.dev(), statvfs(&path)?))
    };
    let (device, figures) = match (asked(path), &mount) {
        (Err(_), Some(mount)) => asked(&mount.point)?,
        (found, _) => found?,
    };
    if mount.as_ref().is_some_and(|mount| mount.read_only) || figures.f_blocks == 0 {
        return Ok(None);
    }
    let counted = figures.f_files > 0;
    let room = Room {
        mount: mount.map_or_else(|| path.to_path_buf(), |mount| mount.point).display().to_string(),
        free: figures.f_bavail.saturating_mul(figures.f_frsize),
        inodes: counted.then_some((figures.f_favail, figures.f_files)),
    };
    Ok(Some((device, room)))
}

/// A line of `mountinfo` (proc_pid_mountinfo(5)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mount {
    /// Where it is.
    pub(super) point: PathBuf,
    /// The file system itself takes nothing, wherever else it is mounted.
    read_only: bool,
}

impl Mount {
    fn read(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        // Blanks and their like are written as octal numbers.
        let point = mount.split(' ').nth(4)?;
        let point = point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
        let options = file_system.split(' ').nth(2).unwrap_or_default();
        Some(Self { point: point.into(), read_only: options.split(',').any(|option| option == "ro") })
    }
}

/// What a path is below; of several in one place, the last one hides the others.
pub(super) fn mount_of(mounts: &[u8], path: &Path) -> Option<Mount> {
    String::from_utf8_lossy(mounts)
        .lines()
        .filter_map(Mount::read)
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
}

fn judge(rooms: &[Room], least: u64, troubles: &[String]) -> Observation {
    let Some(tightest) = rooms.iter().min_by_key(|room| room.free) else {
        let text = if troubles.is_empty() {
            "no file system that could run full".to_owned()
        } else {
            troubles.join("; ")
        };
        return if troubles.is_empty() { Observation::good(text) } else { Observation::unknown(text) };
    };
    let wanted = size_up(least);
    let mut low: Vec<String> = rooms
        .iter()
        .filter(|room| room.free < least)
        .map(|room| format!("{} free on {}, at least {wanted} wanted", size(room.free), room.mount))
        .collect();
    low.extend(rooms.iter().filter_map(|room| {
        let (left, all) = room.inodes?;
        let few = u128::from(left) * 100 < u128::from(all);
        few.then(|| format!("{left} of {all} inodes left on {}, under 1 %", room.mount))
    }));
    if low.is_empty() {
        let beside = troubles.first().map_or(String::new(), |trouble| format!("; {trouble}"));
        let text =
            format!("{} free on {}, at least {wanted} wanted{beside}", size(tightest.free), tightest.mount);
        return Observation::good(text);
    }
    Observation::bad(Fault::DiskLow, low.join("; "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::world::tests::Fake;
    use super::*;
    use crate::judge::{Finding, Target};

    const MIB: u64 = 1 << 20;

    fn room(mount: &str, free: u64, inodes: Option<(u64, u64)>) -> Room {
        Room { mount: mount.to_owned(), free, inodes }
    }

    fn judged(rooms: &[Room]) -> (Finding, String) {
        let seen = judge(rooms, 200 * MIB, &[]);
        (seen.finding, seen.text)
    }

    #[test]
    fn the_tightest_is_told() {
        let rooms = [room("/", 4096 * MIB, Some((5, 5))), room("/var", 300 * MIB, None)];
        assert_eq!(
            judged(&rooms),
            (Finding::Good, "300 MiB free on /var, at least 200 MiB wanted".to_owned())
        );
        assert_eq!(judged(&[room("/", 200 * MIB, None)]).0, Finding::Good);
    }

    #[test]
    fn too_little_space_or_too_few_inodes() {
        let low = Finding::Bad(Fault::DiskLow);
        let rooms = [room("/", 12 * MIB, None), room("/var", 900 * MIB, Some((9, 1000)))];
        let text = "12 MiB free on /, at least 200 MiB wanted; 9 of 1000 inodes left on /var, under 1 %";
        assert_eq!(judged(&rooms), (low, text.to_owned()));
        assert_eq!(judged(&[room("/", 900 * MIB, Some((10, 1000)))]).0, Finding::Good);
        assert_eq!(judged(&[room("/", 900 * MIB, Some((0, u64::MAX)))]).0, low);
    }

    #[test]
    fn what_cannot_be_looked_at_is_unknown_or_said() {
        assert_eq!(judge(&[], MIB, &["cannot look at /srv".to_owned()]).finding, Finding::Unknown);
        let seen = judge(&[room("/", 9 * MIB, None)], MIB, &["cannot look at /srv".to_owned()]);
        assert_eq!(seen.finding, Finding::Good);
        assert!(seen.text.ends_with("; cannot look at /srv"), "{}", seen.text);
    }

    #[test]
    fn mount_points() {
        let mounts = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            23 22 8:2 / /var rw - ext4 /dev/sda2 rw\n\
            24 22 8:3 / /srv/my\\040app rw - ext4 /dev/sda3 rw\n\
            short\n";
        for (path, mount) in
            [("/var/lib/x", "/var"), ("/variable", "/"), ("/srv/my app/x", "/srv/my app"), ("/", "/")]
        {
            let found = mount_of(mounts, Path::new(path));
            assert_eq!(found, Some(Mount { point: mount.into(), read_only: false }), "{path}");
        }
        let sandboxed = b"22 1 8:1 / / ro,nosuid - ext4 /dev/sda1 rw,errors=remount-ro\n\
            23 22 7:1 / /snap ro - squashfs /dev/loop1 ro,relatime\n";
        for (path, read_only) in [("/srv", false), ("/snap/x", true)] {
            let found = mount_of(sandboxed, Path::new(path)).map(|mount| mount.read_only);
            assert_eq!(found, Some(read_only), "{path}");
        }
        assert_eq!(mount_of(b"", Path::new("/var")), None);
    }

    #[test]
    fn real_file_systems_below_a_root_each_once() {
        let fake = Fake::new();
        fake.file("var/lib/app-monitor/state.json", "");
        fake.file("run/log/journal/x", "");
        fake.file("srv/web/x", "");
        fake.file("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
        let target = |min_disk| Target {
            min_disk,
            working_directory: Some("/srv/web".into()),
            ..Target::of_unit("web.service".parse().unwrap())
        };
        let probe = Probe { target: Arc::new(target(1)), world: Arc::new(fake.world), ..Probe::of_nothing() };
        assert_eq!(places(&probe).last(), Some(&PathBuf::from(JOURNAL[1])));
        let seen = check(&probe);
        assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
        assert!(seen.text.contains(" free on /, at least 1 byte wanted"), "{}", seen.text);
        let probe = Probe { target: Arc::new(target(u64::MAX)), ..probe };
        let seen = check(&probe);
        assert_eq!(seen.finding, Finding::Bad(Fault::DiskLow));
        assert_eq!(seen.text.matches(" free on ").count(), 1, "{}", seen.text);
    }

    #[test]
    fn a_directory_that_is_gone_counts_as_its_mount_point() {
        let fake = Fake::new();
        fake.file("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
        let target = Target { min_disk: 1, ..Target::of_unit("web.service".parse().unwrap()) };
        let probe = Probe {
            target: Arc::new(target),
            working_directory: Some("/srv/gone".into()),
            world: Arc::new(fake.world),
            ..Probe::of_nothing()
        };
        assert_eq!(check(&probe).finding, Finding::Good);
        let nowhere = Probe { world: Arc::new(World::at("/nonexistent")), ..probe };
        assert_eq!(check(&nowhere).finding, Finding::Unknown);
    }
}
