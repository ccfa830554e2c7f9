//! Empties a directory whose owner may be hostile.
//!
//! Nothing is opened but directories, each beneath the one before it, without links and on the same
//! mount. Depth costs neither stack nor descriptors: a directory that is not empty is moved up to the
//! top first. Every entry asks whether to go on.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, openat, openat2, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::way::{CONFINED, kind, open_up};

/// Of what could not be removed, so many are named.
const NAMED: usize = 10;
/// So often a directory is gone through while something in it goes away.
const PASSES: usize = 10_000;
/// Bytes of names that are read at a time.
const BUFFER: usize = 32 * 1024;

/// How far it came. Shared, so that it is known even of one that is stuck in the kernel.
#[derive(Default, Debug)]
pub(super) struct Progress {
    pub files: AtomicU64,
    pub directories: AtomicU64,
    pub bytes: AtomicU64,
    left: AtomicU64,
    named: Mutex<Vec<String>>,
}

impl Progress {
    /// What could not be removed: how much, and the first of it with the reason.
    pub fn left(&self) -> (u64, Vec<String>) {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.left.load(Ordering::Relaxed), named)
    }

    fn leave(&self, name: &CStr, why: &str) {
        self.left.fetch_add(1, Ordering::Relaxed);
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() < NAMED {
            let name: String = name.to_string_lossy().chars().take(80).collect();
            named.push(format!("{name}: {why}"));
        }
    }

    fn removed(&self) -> u64 {
        self.files.load(Ordering::Relaxed) + self.directories.load(Ordering::Relaxed)
    }
}

/// Whether to go on; asked at every entry.
pub(super) type GoOn<'a> = dyn Fn() -> bool + 'a;

/// Removes everything in `top`, which stays. False: it was told to stop before it was through.
pub(super) fn empty(top: &OwnedFd, progress: &Progress, go_on: &GoOn<'_>) -> bool {
    let mut work = Work { top, progress, go_on, number: 0 };
    for _ in 0..PASSES {
        let before = progress.removed();
        // Only what is left at the end counts: a pass may have been in its own way.
        progress.left.store(0, Ordering::Relaxed);
        progress.named.lock().unwrap_or_else(PoisonError::into_inner).clear();
        match work.pass(top, true) {
            Ok(Pass { stopped: true, .. }) => return false,
            Ok(Pass { entries: 0, .. }) => return true,
            Ok(_) => {}
            Err(error) => {
                progress.leave(c".", &error.to_string());
                return true;
            }
        }
        if progress.removed() == before {
            return true;
        }
    }
    true
}

#[derive(Default)]
struct Pass {
    entries: u64,
    stopped: bool,
}

struct Work<'a> {
    top: &'a OwnedFd,
    progress: &'a Progress,
    go_on: &'a GoOn<'a>,
    number: u64,
}

impl Work<'_> {
    /// Goes through a directory once. What is in it goes, or, where it is a directory with something
    /// in it, is gone through in turn (in the top) or moved there (anywhere else).
    fn pass(&mut self, directory: &OwnedFd, is_top: bool) -> Result<Pass, Errno> {
        // One of its own, so that every pass begins at the beginning.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let reading = openat(directory, c".", flags, Mode::empty())?;
        let mut buffer = Vec::with_capacity(BUFFER);
        let mut entries = RawDir::new(reading.as_fd(), buffer.spare_capacity_mut());
        let mut pass = Pass::default();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if !(self.go_on)() {
                return Ok(Pass { stopped: true, ..pass });
            }
            pass.entries += 1;
            let is_directory = match entry.file_type() {
                FileType::Directory => true,
                FileType::Unknown => statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| kind(&stat) == FileType::Directory),
                _ => false,
            };
            if !is_directory {
                self.file(directory, name);
            } else if is_top {
                pass.stopped |= !self.directory(name);
            } else {
                self.lift(directory, name);
            }
            if pass.stopped {
                break;
            }
        }
        Ok(pass)
    }

    /// Removes whatever is no directory, without opening it.
    fn file(&self, directory: &OwnedFd, name: &CStr) {
        // What it takes is free only with its last name.
        let size = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .filter(|stat| stat.st_nlink == 1)
            .map_or(0, |stat| u64::try_from(stat.st_blocks).unwrap_or(0) * 512);
        match unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) => {
                self.progress.files.fetch_add(1, Ordering::Relaxed);
                self.progress.bytes.fetch_add(size, Ordering::Relaxed);
            }
            // Gone, or a directory by now: the next pass sees to it.
            Err(Errno::NOENT | Errno::ISDIR) => {}
            Err(error) => self.progress.leave(name, explain(error)),
        }
    }

    /// True: removed, or on its way, or counted as left by us.
    fn rmdir(&self, directory: &OwnedFd, name: &CStr) -> bool {
        match unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) => {
                self.progress.directories.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(Errno::NOENT) => true,
            Err(Errno::NOTDIR) => {
                self.file(directory, name);
                true
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => false,
            Err(error) => {
                self.progress.leave(name, explain(error));
                true
            }
        }
    }

    /// Removes a directory in the top with all that is in it. False: told to stop.
    fn directory(&mut self, name: &CStr) -> bool {
        if self.rmdir(self.top, name) {
            return true;
        }
        let inside = match self.open(name) {
            Ok(inside) => inside,
            Err(Errno::NOENT) => return true,
            // It was a directory a moment ago, and is a link or a file now.
            Err(Errno::LOOP | Errno::NOTDIR) => {
                self.file(self.top, name);
                return true;
            }
            Err(error) => {
                self.progress.leave(name, explain(error));
                return true;
            }
        };
        for _ in 0..PASSES {
            let (before, number) = (self.progress.removed(), self.number);
            match self.pass(&inside, false) {
                Ok(Pass { stopped: true, .. }) => return false,
                Ok(Pass { entries: 0, .. }) => break,
                Ok(_) => {}
                Err(error) => {
                    self.progress.leave(name, explain(error));
                    return true;
                }
            }
            if self.progress.removed() == before && self.number == number {
                break;
            }
        }
        if !self.rmdir(self.top, name) {
            self.progress.leave(name, "it is not empty");
        }
        true
    }

    fn open(&self, name: &CStr) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let again = || openat2(self.top, name, flags, Mode::empty(), CONFINED);
        match again() {
            Err(Errno::ACCESS) => {
                open_up(self.top, name)?;
                again()
            }
            // Its contents need rights, too.
            Ok(inside) => {
                let writable = rustix::fs::fstat(&inside)?.st_mode & 0o300 == 0o300;
                if !writable {
                    let _ = rustix::fs::fchmod(&inside, Mode::RWXU);
                }
                Ok(inside)
            }
            other => other,
        }
    }

    /// Removes an empty directory, or moves it to the top, where a later pass goes through it.
    fn lift(&mut self, directory: &OwnedFd, name: &CStr) {
        if self.rmdir(directory, name) {
            return;
        }
        let mut opened_up = false;
        for _ in 0..PASSES {
            self.number += 1;
            let Ok(fresh) = CString::new(format!(".app-monitor-cleared-{}", self.number)) else { return };
            match renameat(directory, name, self.top, &fresh) {
                Ok(()) | Err(Errno::NOENT) => return,
                // Taken. An empty directory would have been replaced, which is as well.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                // A directory that is moved is written to: it has another parent then.
                Err(Errno::ACCESS) if !opened_up => {
                    opened_up = true;
                    if open_up(directory, name).is_err() {
                        self.number -= 1;
                        return self.progress.leave(name, explain(Errno::ACCESS));
                    }
                }
                Err(error) => {
                    self.number -= 1;
                    return self.progress.leave(name, explain(error));
                }
            }
        }
    }
}

fn explain(error: Errno) -> &'static str {
    match error {
        Errno::XDEV | Errno::BUSY => "something is mounted there",
        Errno::ACCESS | Errno::PERM => "not allowed",
        Errno::ROFS => "the file system is read-only",
        _ => "the file system refuses",
    }
}
