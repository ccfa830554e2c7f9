//! Who is in the cgroup of a unit, asked at every round.
//!
//! Finding and opening the files of a cgroup costs five times what reading them does, so they stay open
//! from one round to the next. The kernel tells when the cgroup has gone (ENODEV): then it is looked for
//! anew. Of the old hierarchies an open file may tell for ever what was so at first (cgroup-v1.c,
//! "pidlist"): there it is opened each time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open, openat};

use super::world::{MAX_DIRS, World, brief, walk_below};
use crate::judge::Moment;
use crate::wire::now;

/// Processes of a unit that are looked at.
const MAX_PIDS: usize = 4096;
/// So long is a roll good. Whatever is done about a process looks at it again.
const FRESH: Duration = Duration::from_millis(10);
/// Cgroups whose two files stay open: a service may have 1024 files by default.
const MAX_OPEN: usize = 200;
/// Nobody asks for a cgroup any more about which nobody has asked for so long.
const FORGOTTEN: Duration = Duration::from_secs(300);

/// What a cgroup is and holds.
#[derive(Clone, Debug)]
pub(super) struct Roll {
    /// The id of its directory, by which sockets name it.
    pub id: u64,
    /// Its processes, and those below it, each once, 4096 at most.
    pub pids: Vec<u32>,
}

/// The rolls that were called last, by `ControlGroup`.
#[derive(Debug, Default)]
pub(super) struct Rolls(Mutex<BTreeMap<String, Last>>);

#[derive(Debug)]
struct Last {
    at: Moment,
    roll: Roll,
    files: Option<Arc<Files>>,
}

impl Rolls {
    fn last(&self) -> MutexGuard<'_, BTreeMap<String, Last>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is in a cgroup, 10 ms old at most: the checks of a round come together, and several need it.
    pub(super) fn of(&self, control_group: &str, world: &World) -> io::Result<Roll> {
        let at = now();
        let files = match self.last().get(control_group) {
            Some(last) if at.since(last.at) <= FRESH => return Ok(last.roll.clone()),
            last => last.and_then(|last| last.files.clone()),
        };
        // Without the lock: whoever hangs in the kernel hangs alone.
        let top = world.cgroup(control_group).ok_or(io::ErrorKind::InvalidInput)?;
        let known = files.and_then(|files| Some((files.roll(&top).ok()?, files)));
        let (roll, files, opened) = match known {
            Some((roll, files)) => (roll, files, false),
            None => {
                // Not kept though it has gone, which would keep the kernel from letting go of it.
                self.last().remove(control_group);
                let files = Files::open(&top)?;
                (files.roll(&top)?, Arc::new(files), true)
            }
        };
        let mut last = self.last();
        if opened {
            last.retain(|_, last| at.since(last.at) <= FORGOTTEN);
        }
        let room = last.values().filter(|last| last.files.is_some()).count() < MAX_OPEN;
        let files = (!opened || (room && world.has_cgroup_ids())).then_some(files);
        last.insert(control_group.to_owned(), Last { at, roll: roll.clone(), files });
        Ok(roll)
    }
}

/// The files of a cgroup, open.
#[derive(Debug)]
pub(super) struct Files {
    dir: File,
    procs: File,
}

impl Files {
    /// Opens those of a directory.
    pub(super) fn open(top: &Path) -> io::Result<Self> {
        let dir = open(top, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let procs = openat(&dir, "cgroup.procs", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { dir: dir.into(), procs: procs.into() })
    }

    /// Who is in it now, and below it; it is what lies at `top`.
    pub(super) fn roll(&self, top: &Path) -> io::Result<Roll> {
        let meta = self.dir.metadata()?;
        // As other file systems show it; cgroupfs refuses to be read.
        if meta.nlink() == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        // The top has to be readable; what lies below may vanish, or be threaded, at any moment.
        let mut pids = processes(&self.procs)?;
        walk_below(top, meta.nlink(), MAX_DIRS, |dir, _| {
            pids.extend(
                File::open(dir.join("cgroup.procs")).and_then(|procs| processes(&procs)).unwrap_or_default(),
            );
            pids.len() >= MAX_PIDS
        });
        pids.truncate(MAX_PIDS);
        Ok(Roll { id: meta.ino(), pids })
    }
}

/// The processes in a `cgroup.procs`, 4096 and some at most.
pub(super) fn processes(procs: &File) -> io::Result<Vec<u32>> {
    let text = brief(procs, MAX_PIDS * 8)?;
    // Processes outside our pid namespace read as 0 (cgroups(7)).
    let pids =
        String::from_utf8_lossy(&text).lines().filter_map(|line| line.parse().ok()).collect::<Vec<u32>>();
    Ok(pids.into_iter().filter(|pid| *pid != 0).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::world::tests::Fake;
    use super::*;

    const UNIT: &str = "/system.slice/web.service";

    fn later() {
        std::thread::sleep(FRESH + Duration::from_millis(2));
    }

    #[test]
    fn files_stay_open_and_are_read_anew() {
        let fake = Fake::new();
        let id = fake.procs(UNIT, &[3, 0, 4]);
        let roll = || fake.world.roll(UNIT).map(|roll| (roll.id, roll.pids));
        assert_eq!(roll().unwrap(), (id, vec![3, 4]));
        fake.procs(UNIT, &[5]);
        later();
        assert_eq!(roll().unwrap(), (id, vec![5]));
        let below = format!("{UNIT}/below");
        fake.procs(&below, &[6]);
        later();
        assert_eq!(roll().unwrap(), (id, vec![5, 6]));
        assert_eq!(fake.world.rolls.last().len(), 1);
    }

    #[test]
    fn a_group_that_went_and_came_again_is_another() {
        let fake = Fake::new();
        let dir = fake.world.cgroup(UNIT).unwrap();
        fake.procs(UNIT, &[3]);
        assert_eq!(fake.world.roll(UNIT).unwrap().pids, [3]);
        fs::rename(&dir, dir.with_extension("old")).unwrap();
        fs::remove_dir_all(dir.with_extension("old")).unwrap();
        later();
        assert_eq!(fake.world.roll(UNIT).unwrap_err().kind(), io::ErrorKind::NotFound);
        fake.procs(UNIT, &[4]);
        later();
        assert_eq!(fake.world.roll(UNIT).unwrap().pids, [4]);
    }

    #[test]
    fn only_so_many_stay_open() {
        let fake = Fake::new();
        for i in 0..MAX_OPEN + 20 {
            let unit = format!("/web-{i}.service");
            fake.procs(&unit, &[7]);
            assert_eq!(fake.world.roll(&unit).unwrap().pids, [7]);
        }
        let open = fake.world.rolls.last().values().filter(|last| last.files.is_some()).count();
        assert_eq!(open, MAX_OPEN);
    }
}
