//! Where `/proc`, the cgroup tree and `/etc` are, and the few bounded ways in which checks read
//! them. A test is a directory that looks like a system.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};

use super::roll::{Files, Roll, Rolls, processes};
use super::sock_diag::Census;
use crate::judge::Moment;

/// Directories of a unit's cgroup subtree that are looked at.
pub(super) const MAX_DIRS: usize = 512;
/// Open files of all processes together among which a socket is looked for: some 100 ms of work.
const MAX_LINKS: usize = 65_536;
/// The same where nobody waits for the next round, and a busy server has that many.
const MAX_LINKS_OF_ALL: usize = 4 * MAX_LINKS;
/// What a file is read into, in bytes: room for the whole of a small one, as growing from nothing reads it in
/// crumbs.
const PAGE: usize = 4096;

/// The file systems that a check reads, below a root of their own.
#[derive(Debug)]
pub struct World {
    root: PathBuf,
    hierarchy: OnceLock<Hierarchy>,
    /// Connections that waited for their app when an answer was missing last, by its listener.
    pub(super) waits: Mutex<Waits>,
    /// Who listened a moment ago.
    pub(super) census: Census,
    /// Who was in a cgroup when it was looked at last.
    pub(super) rolls: Rolls,
}

/// By the inode of the listener: when, and whose connections.
pub(super) type Waits = HashMap<Vec<u32>, (Moment, Waiting)>;

/// What waited in the queues of some listeners.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Who can be seen to wait.
    pub peers: HashSet<SocketAddr>,
    /// So many waited in all, just before and just after those were seen: a connection that its client
    /// has reset is seen no more, though it stays in the queue until it is taken.
    pub before: u64,
    pub after: u64,
}

/// The cgroup tree in which systemd keeps its units.
#[derive(Clone, Debug)]
struct Hierarchy {
    path: PathBuf,
    /// cgroup2: directory inodes are the ids that sockets carry.
    unified: bool,
}

impl World {
    /// The machine itself.
    #[must_use]
    pub fn system() -> Self {
        Self::at("/")
    }

    /// A directory that looks like one.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            hierarchy: OnceLock::new(),
            waits: Mutex::default(),
            census: Census::default(),
            rolls: Rolls::default(),
        }
    }

    /// A path below the root.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below.trim_start_matches('/'))
    }

    /// Where the units' cgroups are: cgroup2 at its usual place, or, on hybrid hosts, beside the
    /// old controllers, or systemd's own named hierarchy (systemd, CGROUP_DELEGATION).
    fn hierarchy(&self) -> &Hierarchy {
        self.hierarchy.get_or_init(|| {
            let base = self.path("sys/fs/cgroup");
            for path in [base.clone(), base.join("unified")] {
                if path.join("cgroup.controllers").exists() {
                    return Hierarchy { path, unified: true };
                }
            }
            Hierarchy { path: base.join("systemd"), unified: false }
        })
    }

    /// Whether ids of cgroups can be read at all.
    pub(super) fn has_cgroup_ids(&self) -> bool {
        self.hierarchy().unified
    }

    /// The top of the cgroup tree.
    pub(super) fn cgroup_root(&self) -> &Path {
        &self.hierarchy().path
    }

    /// The directory of a `ControlGroup`; none for a path that leaves the tree.
    pub(crate) fn cgroup(&self, control_group: &str) -> Option<PathBuf> {
        let below = Path::new(control_group.trim_start_matches('/'));
        below
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
            .then(|| self.cgroup_root().join(below))
    }

    /// The cgroup of a process as its `/proc/PID/cgroup` names it (cgroups(7)).
    pub(crate) fn cgroup_of(&self, pid: u32) -> Option<String> {
        let text = self.read(&self.path(&format!("proc/{pid}/cgroup")), 4096).ok()?;
        let text = String::from_utf8_lossy(&text);
        let named = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix).map(str::to_owned));
        let systemd = || {
            text.lines().find_map(|line| line.split_once(":name=systemd:").map(|(_, path)| path.to_owned()))
        };
        if self.hierarchy().unified { named("0::") } else { systemd().or_else(|| named("0::")) }
    }

    /// Who is in a cgroup, 10 ms old at most.
    pub(super) fn roll(&self, control_group: &str) -> io::Result<Roll> {
        self.rolls.of(control_group, self)
    }

    /// The processes in a cgroup and below it, each once, 4096 at most.
    pub(crate) fn pids(&self, control_group: &str) -> io::Result<Vec<u32>> {
        let top = self.cgroup(control_group).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Files::open(&top)?.roll(&top)?.pids)
    }

    /// The processes that are at the very top of the tree, in no cgroup below.
    pub(super) fn pids_of_top(&self) -> Vec<u32> {
        let procs = File::open(self.cgroup_root().join("cgroup.procs"));
        procs.and_then(|procs| processes(&procs)).unwrap_or_default()
    }

    /// Whether that cgroup id is the unit's or one below it.
    pub(crate) fn cgroup_has_id(&self, control_group: &str, id: u64) -> bool {
        let Some(top) = self.cgroup(control_group) else { return false };
        let Ok(meta) = fs::symlink_metadata(&top) else { return false };
        meta.ino() == id || {
            let mut found = false;
            walk_below(&top, meta.nlink(), MAX_DIRS, |_, inode| {
                found |= inode == id;
                found
            });
            found
        }
    }

    /// The first of those processes that has that socket among its first `fds` open files, as far
    /// as we may look.
    pub(crate) fn holder_among(&self, pids: impl IntoIterator<Item = u32>, inode: u32, fds: usize) -> Holder {
        let link = format!("socket:[{inode}]");
        let mut hidden = false;
        let mut looked = 0;
        for pid in pids {
            if looked >= MAX_LINKS {
                return Holder::Hidden;
            }
            let Ok(entries) = fs::read_dir(self.path(&format!("proc/{pid}/fd"))) else {
                hidden = true;
                continue;
            };
            for entry in entries.take(fds) {
                looked += 1;
                let Ok(entry) = entry else {
                    hidden = true;
                    break;
                };
                match rustix::fs::readlink(entry.path(), Vec::new()) {
                    Ok(target) if target.to_bytes() == link.as_bytes() => return Holder::Pid(pid),
                    // Not one of its files may be looked at, then.
                    Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {
                        hidden = true;
                        break;
                    }
                    _ => {}
                }
            }
        }
        if hidden { Holder::Hidden } else { Holder::Nobody }
    }

    /// Who of those processes has any of those sockets among its first `fds` open files, each once and in
    /// their order; true when the holder of one of them was not found. One look for all of them: whoever
    /// likes can listen a thousand times.
    pub(super) fn holders_of(&self, pids: &[u32], inodes: &HashSet<u32>, fds: usize) -> (Vec<u32>, bool) {
        let mut left = inodes.clone();
        let (mut holders, mut looked) = (Vec::new(), 0);
        for pid in pids {
            if looked >= MAX_LINKS_OF_ALL {
                break;
            }
            let Ok(entries) = fs::read_dir(self.path(&format!("proc/{pid}/fd"))) else { continue };
            let mut holds = false;
            for entry in entries.take(fds) {
                looked += 1;
                let Ok(entry) = entry else { break };
                let Ok(target) = rustix::fs::readlink(entry.path(), Vec::new()) else { continue };
                let inode = target.to_str().ok().and_then(socket_of);
                if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
                    left.remove(&inode);
                    holds = true;
                }
            }
            if holds {
                holders.push(*pid);
            }
        }
        (holders, !left.is_empty())
    }

    /// Every process, 8192 at most.
    pub(crate) fn all_pids(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(self.path("proc")) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).take(8192).collect()
    }

    /// The `ControlGroup` of that id, wherever it is in the tree.
    pub(super) fn cgroup_by_id(&self, id: u64) -> Option<String> {
        let root = self.cgroup_root();
        let meta = fs::metadata(root).ok()?;
        let mut found = None;
        walk_below(root, meta.nlink(), MAX_DIRS * 8, |dir, inode| {
            if inode == id {
                found = dir.strip_prefix(root).ok().map(|path| format!("/{}", path.display()));
            }
            found.is_some()
        });
        found
    }

    /// At most `limit` bytes of a file.
    pub(crate) fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(limit.min(PAGE));
        File::open(path)?.take(limit as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The same of a [`brief`] file.
    pub(super) fn read_brief(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        brief(&File::open(path)?, limit)
    }
}

/// At most `limit` bytes, from its beginning, of a file of the kernel whose pieces are shorter than half a
/// page each. The kernel fills a page with such pieces before it stops short (fs/seq_file.c): with half of
/// it left there is no more, and nobody has to ask for the end.
pub(super) fn brief(file: &File, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(PAGE);
    loop {
        let read = bytes.len();
        match pread(file, spare_capacity(&mut bytes), read as u64) {
            Ok(0) => break,
            Ok(_) if bytes.len() <= PAGE / 2 || bytes.len() >= limit => break,
            Ok(_) => bytes.reserve(PAGE),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    bytes.truncate(limit);
    Ok(bytes)
}

/// The inode in what an open socket's link says.
fn socket_of(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Who has a socket open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holder {
    /// That process, perhaps among others.
    Pid(u32),
    /// None of those asked about.
    Nobody,
    /// None that could be seen; some could not be looked at, or had gone.
    Hidden,
}

/// Visits the directories below `top`, which has so many links, breadth first, with their inodes, `limit`
/// at most, until `visit` says that it is enough. Never follows a symbolic link.
pub(super) fn walk_below(top: &Path, links: u64, limit: usize, mut visit: impl FnMut(&Path, u64) -> bool) {
    // A directory without sub-directories has two links in cgroupfs, which saves reading the
    // sixty files of a leaf. File systems that do not count links say 1.
    let leaf = |links: u64| links == 2;
    let mut queue = std::collections::VecDeque::new();
    if !leaf(links) {
        queue.push_back(top.to_path_buf());
    }
    let mut seen = 0;
    while let Some(dir) = queue.pop_front() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = entry.path();
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            seen += 1;
            if visit(&path, meta.ino()) || seen >= limit {
                return;
            }
            if !leaf(meta.nlink()) {
                queue.push_back(path);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A directory that looks like a system with cgroup2.
    pub(in crate::checks) struct Fake {
        pub dir: tempfile::TempDir,
        pub world: World,
    }

    impl Fake {
        pub fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let fake = Self { world: World::at(dir.path()), dir };
            fake.file("sys/fs/cgroup/cgroup.controllers", "");
            fake.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/sh\n");
            fake
        }

        pub fn file(&self, path: &str, text: impl AsRef<[u8]>) {
            let path = self.dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        pub fn process(
            &self,
            pid: u32,
            state: char,
            comm: &str,
            cmdline: &str,
            cgroup: &str,
            sockets: &[u32],
        ) {
            let zeros = "0 ".repeat(48);
            self.file(&format!("proc/{pid}/stat"), format!("{pid} ({comm}) {state} 1 {zeros}\n"));
            self.file(&format!("proc/{pid}/comm"), format!("{comm}\n"));
            self.file(&format!("proc/{pid}/cmdline"), cmdline);
            self.file(&format!("proc/{pid}/status"), format!("Name:\t{comm}\nUid:\t33\t33\t33\t33\n"));
            self.file(&format!("proc/{pid}/cgroup"), format!("0::{cgroup}\n"));
            let fds = self.dir.path().join(format!("proc/{pid}/fd"));
            fs::create_dir_all(&fds).unwrap();
            std::os::unix::fs::symlink("/dev/null", fds.join("0")).unwrap();
            for (i, inode) in sockets.iter().enumerate() {
                std::os::unix::fs::symlink(format!("socket:[{inode}]"), fds.join((i + 3).to_string()))
                    .unwrap();
            }
        }

        pub fn procs(&self, cgroup: &str, pids: &[u32]) -> u64 {
            let text: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
            let dir = format!("sys/fs/cgroup{cgroup}");
            self.file(&format!("{dir}/cgroup.procs"), text);
            fs::metadata(self.dir.path().join(dir)).unwrap().ino()
        }
    }

    #[test]
    fn pids_of_the_whole_subtree() {
        let fake = Fake::new();
        let top = fake.procs("/system.slice/web.service", &[3, 0, 4]);
        let below = fake.procs("/system.slice/web.service/a/b", &[5]);
        let other = fake.procs("/system.slice/other.service", &[6]);
        assert_eq!(fake.world.pids("/system.slice/web.service").unwrap(), [3, 4, 5]);
        assert!(fake.world.pids("/system.slice/gone.service").is_err());
        assert!(fake.world.pids("/../..").is_err());
        for (id, inside) in [(top, true), (below, true), (other, false), (1, false)] {
            assert_eq!(fake.world.cgroup_has_id("/system.slice/web.service", id), inside);
        }
        assert_eq!(fake.world.cgroup_by_id(below).unwrap(), "/system.slice/web.service/a/b");
        assert_eq!(fake.world.cgroup_by_id(u64::MAX), None);
    }

    #[test]
    fn files_are_read_whole_within_their_limit() {
        let fake = Fake::new();
        for length in [0, 1, PAGE / 2, PAGE / 2 + 1, PAGE, PAGE + 1, 3 * PAGE] {
            fake.file("proc/file", vec![b'x'; length]);
            for limit in [100, PAGE, 20_000] {
                let path = fake.world.path("proc/file");
                let read = (fake.world.read(&path, limit), fake.world.read_brief(&path, limit));
                assert_eq!(
                    (read.0.unwrap().len(), read.1.unwrap().len()),
                    (length.min(limit), length.min(limit))
                );
            }
        }
    }

    #[test]
    fn holders_of_sockets() {
        let fake = Fake::new();
        fake.process(3, 'S', "node", "node\0app.js\0", "/system.slice/web.service", &[70, 71]);
        assert_eq!(fake.world.holder_among([3], 71, 64), Holder::Pid(3));
        assert_eq!(fake.world.holder_among([3], 72, 64), Holder::Nobody);
        assert_eq!(fake.world.holder_among([3, 4], 72, 64), Holder::Hidden);
        fake.process(5, 'S', "node", "node\0app.js\0", "/system.slice/web.service", &[71, 73]);
        let holders =
            |inodes: &[u32]| fake.world.holders_of(&[5, 4, 3], &inodes.iter().copied().collect(), 64);
        assert_eq!(holders(&[71]), (vec![5, 3], false));
        assert_eq!(holders(&[70, 73]), (vec![5, 3], false));
        assert_eq!(holders(&[73, 74]), (vec![5], true));
        assert_eq!(holders(&[]), (vec![], false));
        assert_eq!(fake.world.all_pids().len(), 2);
    }

    #[test]
    fn hybrid_and_old_hierarchies() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("sys/fs/cgroup");
        fs::create_dir_all(base.join("systemd/a.service")).unwrap();
        fs::write(base.join("systemd/a.service/cgroup.procs"), "9\n").unwrap();
        let world = World::at(dir.path());
        assert!(!world.has_cgroup_ids());
        assert_eq!(world.pids("/a.service").unwrap(), [9]);
        fs::create_dir_all(base.join("unified/a.service")).unwrap();
        fs::write(base.join("unified/cgroup.controllers"), "").unwrap();
        let world = World::at(dir.path());
        assert!(world.has_cgroup_ids());
        assert_eq!(world.cgroup_root(), base.join("unified"));
    }
}
