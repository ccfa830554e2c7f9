//! The memory on disk: `state.json` in the state directory, and a second copy in the runtime
//! directory, which still takes it when the disk is full or read-only.
//!
//! Written by a thread for each, so that a disk that hangs blinds nobody, nor hides the copy on the
//! other; whoever must know waits for the answer with a deadline.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::files::{not_written, read_plain, set_aside, write_whole};
use crate::judge::{MEMORY_VERSION, Memory};

const NAME: &str = "state.json";
/// A state larger than that is not ours.
const LARGEST: u64 = 8 << 20;
/// Copies that are further apart are not of the same time.
const APART: Duration = Duration::from_secs(60);
/// Orders that wait for a disk.
const WAITING: usize = 16;

/// What came of reading the state.
#[derive(Debug)]
pub struct Loaded {
    /// The newest copy that could be read; empty when there is none.
    pub memory: Memory,
    /// There was a state, and none of its copies could be read, or only an old one.
    pub lost: bool,
    /// What was odd, for the journal.
    pub remarks: Vec<String>,
}

/// Reads the state from those directories. A copy that cannot be used is set aside, never deleted.
#[must_use]
pub fn load(directories: &[PathBuf]) -> Loaded {
    let mut remarks = Vec::new();
    let mut copies = Vec::new();
    let (mut broken, mut broken_at) = (false, None);
    for directory in directories {
        let path = directory.join(NAME);
        let at = path.symlink_metadata().and_then(|meta| meta.modified()).ok();
        match read(&path) {
            Ok(Some(memory)) => copies.push((memory, at)),
            // An earlier start set it aside, and could not write another since.
            Ok(None) => broken |= path.with_extension("json.bad").symlink_metadata().is_ok(),
            Err(problem) => {
                broken = true;
                broken_at = broken_at.max(at);
                let aside = set_aside(&path);
                remarks.push(format!("cannot use {}: {problem}; {aside}", path.display()));
            }
        }
    }
    // Two copies of one boot: the later one, whatever the wall clock did; else it is all there is to
    // tell by.
    let newest = copies.into_iter().reduce(|one, other| {
        let (a, b) = (&one.0.clocks, &other.0.clocks);
        let later = if a.boot == b.boot && a.monotonic != b.monotonic {
            b.monotonic > a.monotonic
        } else {
            b.wall > a.wall
        };
        if later { other } else { one }
    });
    let Some((memory, at)) = newest else {
        return Loaded { memory: Memory::default(), lost: broken, remarks };
    };
    // Both are written at once: of two that are far apart, the earlier one is of a disk that took nothing
    // any more, and what was done since stood in the other.
    if broken_at.zip(at).is_some_and(|(broken, at)| at + APART < broken) {
        remarks
            .push("the copy of the state that is left is older than the one that cannot be used".to_owned());
        return Loaded { memory: memory.doubted(), lost: true, remarks };
    }
    Loaded { memory, lost: false, remarks }
}

/// Why a copy cannot be used.
#[derive(Debug)]
pub(super) enum Problem {
    Io(io::Error),
    Garbage(serde_json::Error),
    Newer(u32),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Garbage(error) => write!(f, "not a state of ours: {error}"),
            Self::Newer(version) => {
                write!(f, "written by a newer version (format {version}, known: {MEMORY_VERSION})")
            }
        }
    }
}

fn read(path: &Path) -> Result<Option<Memory>, Problem> {
    let text = match read_plain(path, LARGEST) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Problem::Io(error)),
    };
    parse(&text).map(Some)
}

/// Reads the text of a state.
pub(super) fn parse(text: &[u8]) -> Result<Memory, Problem> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(text).map_err(Problem::Garbage)?;
    if version > MEMORY_VERSION {
        return Err(Problem::Newer(version));
    }
    serde_json::from_slice(text).map_err(Problem::Garbage)
}

/// Where a state was written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Saved {
    /// In at least one of the directories.
    pub somewhere: bool,
    /// What went wrong in the others.
    pub problems: Vec<String>,
}

/// What becomes of a state that is being written. An answer never comes when the disk hangs, so wait
/// for it with a deadline.
#[derive(Debug)]
pub struct Saving {
    /// True as soon as one directory has it, false once none will.
    pub anywhere: oneshot::Receiver<bool>,
    /// When every directory has it, or has refused it.
    pub everywhere: oneshot::Receiver<Saved>,
}

/// Whom to tell what became of one state.
struct Waiting {
    anywhere: Option<oneshot::Sender<bool>>,
    everywhere: Option<oneshot::Sender<Saved>>,
    saved: Saved,
    /// Directories that have not answered yet.
    open: usize,
}

impl Waiting {
    fn told(&mut self, outcome: Result<(), String>) {
        self.open = self.open.saturating_sub(1);
        match outcome {
            Ok(()) => self.saved.somewhere = true,
            Err(why) => self.saved.problems.push(why),
        }
        if (self.saved.somewhere || self.open == 0)
            && let Some(anywhere) = self.anywhere.take()
        {
            let _ = anywhere.send(self.saved.somewhere);
        }
        if self.open == 0
            && let Some(everywhere) = self.everywhere.take()
        {
            let _ = everywhere.send(std::mem::take(&mut self.saved));
        }
    }
}

#[derive(Clone)]
struct Order {
    text: Arc<[u8]>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Order {
    fn told(&self, outcome: Result<(), String>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).told(outcome);
    }
}

/// Puts a state into a directory: `write_whole`, or what a test has in its place.
type Write = fn(&Path, &str, &[u8]) -> io::Result<()>;

/// Writes states in the background, in order.
pub struct Saver {
    directories: Vec<(PathBuf, SyncSender<Order>)>,
}

impl Saver {
    /// Starts a thread for each of those directories, so that one that hangs does not hide that
    /// another has the state.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(directories: Vec<PathBuf>) -> io::Result<Self> {
        Self::start_with(directories, write_whole)
    }

    fn start_with(directories: Vec<PathBuf>, write: Write) -> io::Result<Self> {
        let start = |directory: PathBuf| {
            let (orders, receiver) = sync_channel(WAITING);
            let into = directory.clone();
            let thread = std::thread::Builder::new().name("state".into()).stack_size(128 * 1024);
            thread.spawn(move || serve(&into, &receiver, write))?;
            Ok((directory, orders))
        };
        Ok(Self { directories: directories.into_iter().map(start).collect::<io::Result<_>>()? })
    }

    /// Orders the memory to be written.
    pub fn save(&self, memory: &Memory) -> Saving {
        let (anywhere, anywhere_told) = oneshot::channel();
        let (everywhere, everywhere_told) = oneshot::channel();
        if let Ok(text) = serde_json::to_vec(memory) {
            let waiting = Waiting {
                anywhere: Some(anywhere),
                everywhere: Some(everywhere),
                saved: Saved::default(),
                open: self.directories.len(),
            };
            let order = Order { text: text.into(), waiting: Arc::new(Mutex::new(waiting)) };
            for (directory, orders) in &self.directories {
                if orders.try_send(order.clone()).is_err() {
                    let path = directory.join(NAME);
                    order.told(Err(format!("{}: the disk does not keep up", path.display())));
                }
            }
        }
        Saving { anywhere: anywhere_told, everywhere: everywhere_told }
    }
}

fn serve(directory: &Path, orders: &Receiver<Order>, write: Write) {
    while let Ok(mut order) = orders.recv() {
        // Only the latest is worth the disk's time; whoever waits for an earlier one is content
        // with a later one.
        let mut waiting = Vec::new();
        while let Ok(later) = orders.try_recv() {
            waiting.push(std::mem::replace(&mut order, later));
        }
        let written = write(directory, NAME, &order.text);
        let written = written.map_err(|error| not_written(&directory.join(NAME), &error));
        waiting.push(order);
        waiting.iter().for_each(|order| order.told(written.clone()));
    }
}

/// How long the intent of a recovery may take to reach the disk before the act goes on without.
pub const SAVE_DEADLINE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::judge::{AppMemory, Clocks};

    fn memory(wall: i64) -> Memory {
        Memory { version: MEMORY_VERSION, clocks: Clocks { wall, ..Clocks::default() }, ..Memory::default() }
    }

    #[test]
    fn the_newest_readable_copy_counts() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directories = [a.path().to_owned(), b.path().to_owned()];
        assert!(!load(&directories).lost, "nothing there is no loss");
        write_whole(a.path(), NAME, &serde_json::to_vec(&memory(1)).unwrap()).unwrap();
        write_whole(b.path(), NAME, &serde_json::to_vec(&memory(2)).unwrap()).unwrap();
        assert_eq!(load(&directories).memory.clocks.wall, 2);
        fs::write(b.path().join(NAME), b"{\"version\":1,").unwrap();
        let loaded = load(&directories);
        assert_eq!((loaded.memory.clocks.wall, loaded.lost, loaded.remarks.len()), (1, false, 1));
        assert!(b.path().join("state.json.bad").exists());
    }

    #[test]
    fn garbage_and_newer_formats_are_set_aside_and_said() {
        for text in [&b"\xff\x00garbage"[..], b"", b"[]", b"{\"version\":2}", b"{\"version\":1,\"apps\":7}"] {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join(NAME), text).unwrap();
            let loaded = load(&[directory.path().to_owned()]);
            assert!(loaded.lost, "{}", String::from_utf8_lossy(text));
            assert_eq!(loaded.remarks.len(), 1);
            assert!(!directory.path().join(NAME).exists());
        }
    }

    /// Whatever a power cut or a full disk left of it, it is never taken for another state.
    #[test]
    fn a_state_cut_short_anywhere_is_none() {
        let app = AppMemory { incidents: 7, ..AppMemory::lost() };
        let whole = Memory { apps: [("web".parse().unwrap(), app)].into(), ..memory(5) };
        let text = serde_json::to_vec(&whole).unwrap();
        let directory = tempfile::tempdir().unwrap();
        for length in 0..text.len() {
            fs::write(directory.path().join(NAME), &text[..length]).unwrap();
            let loaded = load(&[directory.path().to_owned()]);
            assert!(loaded.lost && loaded.memory == Memory::default(), "{length} bytes");
            assert_eq!(fs::read(directory.path().join("state.json.bad")).unwrap(), text[..length]);
        }
        fs::write(directory.path().join(NAME), &text).unwrap();
        assert_eq!(load(&[directory.path().to_owned()]).memory, whole);
    }

    #[test]
    fn what_is_no_file_is_set_aside_and_waited_for_by_nobody() {
        use rustix::fs::{CWD, Mode, mkfifoat};
        let directory = tempfile::tempdir().unwrap();
        let (path, bad) = (directory.path().join(NAME), directory.path().join("state.json.bad"));
        let make: [fn(&Path); 5] = [
            |path| mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap(),
            |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
            |path| std::os::unix::fs::symlink("nowhere", path).unwrap(),
            |path| fs::File::create(path).unwrap().set_len(100 << 20).unwrap(),
            |path| fs::create_dir(path).unwrap(),
        ];
        for make in make {
            make(&path);
            let loaded = load(&[directory.path().to_owned()]);
            assert!(loaded.lost && loaded.remarks.len() == 1, "{:?}", loaded.remarks);
            assert!(path.symlink_metadata().is_err(), "{:?}", loaded.remarks);
            assert!(bad.symlink_metadata().is_ok());
        }
    }

    #[test]
    fn an_old_copy_is_no_licence() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directories = [old.path().to_owned(), new.path().to_owned()];
        let whole = Memory { apps: [("web".parse().unwrap(), AppMemory::default())].into(), ..memory(5) };
        let text = serde_json::to_vec(&whole).unwrap();
        for (seconds, lost) in [(5, false), (3_600, true)] {
            write_whole(old.path(), NAME, &text).unwrap();
            fs::write(new.path().join(NAME), b"noise").unwrap();
            let at = fs::metadata(new.path().join(NAME)).unwrap().modified().unwrap();
            let copy = fs::File::options().write(true).open(old.path().join(NAME)).unwrap();
            copy.set_modified(at - Duration::from_secs(seconds)).unwrap();
            let loaded = load(&directories);
            assert_eq!((loaded.lost, loaded.memory != whole), (lost, lost), "{seconds} s");
            let careful = loaded.memory.apps.values().all(|app| *app == AppMemory::lost());
            assert_eq!(careful, lost, "{:?}", loaded.memory);
        }
    }

    #[test]
    fn a_loss_is_not_forgotten_before_another_state_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let directories = [directory.path().to_owned()];
        fs::write(directory.path().join(NAME), b"{").unwrap();
        assert!(load(&directories).lost);
        // Killed, or with a full disk.
        assert!(load(&directories).lost, "still");
        write_whole(directory.path(), NAME, &serde_json::to_vec(&memory(1)).unwrap()).unwrap();
        assert!(!load(&directories).lost);
    }

    #[test]
    fn a_directory_that_takes_nothing_is_reported() {
        let good = tempfile::tempdir().unwrap();
        let saver = Saver::start(vec!["/nonexistent".into(), good.path().to_owned()]).unwrap();
        let saved = saver.save(&memory(3)).everywhere.blocking_recv().unwrap();
        assert!(saved.somewhere);
        assert_eq!(saved.problems.len(), 1);
        assert_eq!(load(&[good.path().to_owned()]).memory.clocks.wall, 3);
    }

    #[test]
    fn a_directory_that_hangs_hides_no_copy_in_the_other() {
        let (hung, good) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // Opening a pipe that nobody reads waits for ever.
        let pipe = hung.path().join("hung");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        let write: Write = |directory, name, text| match directory.join("hung") {
            pipe if pipe.exists() => fs::write(pipe, text),
            _ => write_whole(directory, name, text),
        };
        let saver = Saver::start_with(vec![hung.path().to_owned(), good.path().to_owned()], write).unwrap();
        for wall in 1..=40 {
            let mut saving = saver.save(&memory(wall));
            assert_eq!(saving.anywhere.blocking_recv(), Ok(true));
            assert_eq!(load(&[good.path().to_owned()]).memory.clocks.wall, wall);
            if wall == 1 {
                assert!(saving.everywhere.try_recv().is_err(), "it is not everywhere");
            } else if wall == 40 {
                let saved = saving.everywhere.blocking_recv().unwrap();
                assert!(saved.problems[0].ends_with("the disk does not keep up"), "{saved:?}");
            }
        }
        // Whoever reads it lets the thread end.
        drop(std::fs::OpenOptions::new().read(true).open(&pipe));
    }
}
