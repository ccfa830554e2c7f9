//! The way to a directory, component by component, and whose each of them is: who owns one of them
//! decides where the way leads.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, open, openat, openat2, readlinkat};
use rustix::io::Errno;

/// Symbolic links that are followed, as the kernel does (path_resolution(7)).
const LINKS: usize = 40;
/// Components of a way, links resolved.
const COMPONENTS: usize = 256;

/// What was passed on the way, the directory itself included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Passed {
    pub path: PathBuf,
    pub owner: u32,
    pub mode: u32,
    pub link: bool,
}

/// A directory, and the way to it.
#[derive(Debug)]
pub(super) struct Way {
    /// The directory, opened without any right to it (`O_PATH`): it is that one, whatever happens to
    /// its name.
    pub directory: OwnedFd,
    /// What it is.
    pub stat: Stat,
    /// Everything on the way, in its order.
    pub passed: Vec<Passed>,
    /// Its path without links.
    pub real: PathBuf,
}

/// Follows an absolute path below `root`, links included: none of them leads out of `root`.
pub(super) fn to(root: &Path, path: &Path) -> Result<Way, Errno> {
    let mut left: VecDeque<OsString> = parts(path);
    let mut behind: Vec<(OwnedFd, OsString)> = Vec::new();
    let mut passed = Vec::new();
    let top = open(root, FLAGS, Mode::empty())?;
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part == ".." {
            behind.pop();
            continue;
        }
        if passed.len() >= COMPONENTS {
            return Err(Errno::NAMETOOLONG);
        }
        let from = behind.last().map_or(top.as_fd(), |(fd, _)| fd.as_fd());
        let fd = openat(from, &part, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstat(&fd)?;
        let link = kind(&stat) == FileType::Symlink;
        passed.push(note(real(&behind).join(&part), &stat));
        if link {
            links += 1;
            if links > LINKS {
                return Err(Errno::LOOP);
            }
            let target = PathBuf::from(OsString::from_vec(readlinkat(&fd, c"", Vec::new())?.into_bytes()));
            if target.is_absolute() {
                behind.clear();
            }
            for part in parts(&target).into_iter().rev() {
                left.push_front(part);
            }
        } else if kind(&stat) == FileType::Directory {
            behind.push((fd, part));
        } else {
            return Err(Errno::NOTDIR);
        }
    }
    let real = real(&behind);
    let directory = behind.pop().map_or(top, |(fd, _)| fd);
    Ok(Way { stat: fstat(&directory)?, directory, passed, real })
}

/// Goes on below a directory: never through a link, never across a mount, never out of it.
pub(super) fn below(way: &Way, path: &Path) -> Result<Way, Errno> {
    let mut passed = way.passed.clone();
    let mut real = way.real.clone();
    let mut at: Option<OwnedFd> = None;
    for part in parts(path) {
        let from = at.as_ref().map_or(way.directory.as_fd(), |fd| fd.as_fd());
        let fd = openat2(from, &part, FLAGS, Mode::empty(), CONFINED)?;
        real.push(&part);
        passed.push(note(real.clone(), &fstat(&fd)?));
        at = Some(fd);
    }
    // Without a component it would be the directory itself.
    let directory = at.ok_or(Errno::INVAL)?;
    Ok(Way { stat: fstat(&directory)?, directory, passed, real })
}

const FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What every open below the directory goes by.
pub(super) const CONFINED: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Whether a path names something below, and nothing else.
pub(super) fn is_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().next().is_some()
}

/// Whether nobody but root and the owner had a hand in where the way leads: what others may rename,
/// they may put in the place of a cache.
pub(super) fn trusted(passed: &[Passed], owner: u32) -> Result<(), String> {
    let Some((_last, on_the_way)) = passed.split_last() else { return Ok(()) };
    for at in on_the_way {
        if at.owner != 0 && at.owner != owner {
            return Err(format!("{} on the way to it belongs to uid {}", at.path.display(), at.owner));
        }
        // In a sticky directory others may add names, but change none that is not theirs (inode(7)).
        if !at.link && at.mode & 0o022 != 0 && at.mode & 0o1000 == 0 {
            return Err(format!("others may rename what is in {}", at.path.display()));
        }
    }
    Ok(())
}

fn note(path: PathBuf, stat: &Stat) -> Passed {
    let link = kind(stat) == FileType::Symlink;
    Passed { path, owner: stat.st_uid, mode: stat.st_mode & 0o7777, link }
}

pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn real(behind: &[(OwnedFd, OsString)]) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(behind.iter().map(|(_, name)| name));
    path
}

/// The names in a path, and its `..`.
fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |component| match component {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        _ => None,
    };
    path.components().filter_map(part).map(OsStr::to_os_string).collect()
}

/// A directory that was opened by its path alone, to be read.
pub(super) fn open_to_read(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, c".", flags, Mode::empty())
}

/// A path by which an opened file is reached, for calls that take none that was opened with `O_PATH`.
pub(super) fn by_descriptor(fd: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Gives the owner all rights to a directory that may not even be opened to be read.
pub(super) fn open_up(parent: &OwnedFd, name: &std::ffi::CStr) -> Result<(), Errno> {
    let fd = openat2(parent, name, FLAGS, Mode::empty(), CONFINED)?;
    rustix::fs::chmodat(CWD, by_descriptor(&fd), Mode::RWXU, rustix::fs::AtFlags::empty())
}
