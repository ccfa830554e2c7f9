//! Keeps the files of a directory as the book has them.
//!
//! Written by a thread of its own, so that a disk that hangs blinds nobody. What cannot be written is
//! kept, the latest of each incident, and tried again: in memory, and aside, in the runtime folder, so
//! that a restart of the monitor loses none of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::book::{Book, Now, Page};
use super::file::{Evidence, Summary};
use super::{MOST, Places, ReadError, reading, subject_of};
use crate::files::{not_written, set_aside, write_whole};
use crate::judge::{Moment, Record, Subject, UnitName};

/// How long a disk that refuses is left alone.
const AGAIN: Duration = Duration::from_secs(30);
/// Incidents that wait for the disk.
const WAITING: usize = 64;
/// Most files that lie aside, which is memory of the host.
const MOST_ASIDE: usize = 32;

/// What came of writing: nothing to say, or why not.
pub type Outcome = Result<(), String>;

/// The incidents of this host.
pub struct Keeper {
    book: Book,
    desk: Arc<Desk>,
    places: Places,
}

/// What lies between the loop and the thread.
#[derive(Default)]
struct Desk {
    tray: Mutex<Tray>,
    bell: Condvar,
}

#[derive(Default)]
struct Tray {
    /// The latest file of each incident that is not written yet.
    pages: BTreeMap<String, Vec<u8>>,
    /// Something is in the tray that was not tried yet.
    fresh: bool,
    /// The thread is at work on what it took out.
    busy: bool,
    /// Incidents that are open: they are the last to go.
    open: BTreeSet<String>,
    /// Nobody puts anything in any more.
    closed: bool,
}

impl Desk {
    fn tray(&self) -> MutexGuard<'_, Tray> {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    /// Opens the directory, which is made where it is not there, and goes on with the incidents in it
    /// that are not over, and with what lies aside. `told` hears what comes of each writing. Remarks are for the journal.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn open(
        places: Places,
        moment: Moment,
        wall_ms: i64,
        told: impl FnMut(Outcome) + Send + 'static,
    ) -> io::Result<(Self, Vec<String>)> {
        let mut book = Book::default();
        let remarks = match places.open_ones() {
            Ok(listed) => {
                book.restore(listed.incidents, Now { moment, wall_ms });
                listed.remarks
            }
            Err(error) => vec![error.to_string()],
        };
        let pages = waiting(&places.aside);
        let tray = Tray { fresh: !pages.is_empty(), pages, open: book.open(), ..Tray::default() };
        let desk = Arc::new(Desk { tray: Mutex::new(tray), bell: Condvar::new() });
        let (for_thread, of_thread) = (Arc::clone(&desk), places.clone());
        std::thread::Builder::new()
            .name("incidents".into())
            .stack_size(128 * 1024)
            .spawn(move || serve(&of_thread, &for_thread, told))?;
        Ok((Self { book, desk, places }, remarks))
    }

    /// Where the files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.places.directory
    }

    /// The highest number that any incident of a subject has here, so that none is used twice even
    /// where the monitor's state was lost.
    #[must_use]
    pub fn highest(&self) -> BTreeMap<Subject, u64> {
        let mut highest = BTreeMap::new();
        let all = [&self.places.directory, &self.places.aside];
        for id in all.into_iter().flat_map(|directory| reading::ids(directory).unwrap_or_default()) {
            if let Some((subject, number)) = subject_of(&id) {
                let known: &mut u64 = highest.entry(subject).or_default();
                *known = number.max(*known);
            }
        }
        highest
    }

    /// Takes in what was told.
    pub fn take(&mut self, record: &Record, moment: Moment, wall_ms: i64) {
        let page = self.book.take(record, Now { moment, wall_ms });
        self.write(page);
    }

    /// Takes in what was gathered about a unit.
    pub fn take_evidence(&mut self, unit: &UnitName, evidence: Evidence, moment: Moment, wall_ms: i64) {
        let page = self.book.take_evidence(unit, evidence, Now { moment, wall_ms });
        self.write(page);
    }

    /// Closes all but these, which nobody follows any more.
    pub fn keep_only(&mut self, known: &BTreeSet<String>, moment: Moment, wall_ms: i64) {
        for page in self.book.keep_only(known, Now { moment, wall_ms }) {
            self.write(Some(page));
        }
    }

    fn write(&self, page: Option<Page>) {
        let Some(page) = page else { return };
        let mut tray = self.desk.tray();
        tray.open = self.book.open();
        tray.pages.insert(page.id, page.text);
        while tray.pages.len() > WAITING {
            tray.pages.pop_first();
        }
        tray.fresh = true;
        self.desk.bell.notify_all();
    }

    /// Waits until all is written, so long at most.
    pub fn flush(&self, at_most: Duration) {
        let tray = self.desk.tray();
        let waits = |tray: &mut Tray| tray.fresh || tray.busy;
        let _ = self.desk.bell.wait_timeout_while(tray, at_most, waits);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.desk.tray().closed = true;
        self.desk.bell.notify_all();
    }
}

fn serve(places: &Places, desk: &Desk, mut told: impl FnMut(Outcome)) {
    // Files whose place was looked at: what is there is ours.
    let mut ours = BTreeSet::new();
    loop {
        let (pages, open) = {
            let mut tray = desk.tray();
            // What failed is tried again after a while, or as soon as there is something new.
            while !tray.fresh && !tray.closed {
                if tray.pages.is_empty() {
                    tray = desk.bell.wait(tray).unwrap_or_else(PoisonError::into_inner);
                } else {
                    let (woken, late) =
                        desk.bell.wait_timeout(tray, AGAIN).unwrap_or_else(PoisonError::into_inner);
                    tray = woken;
                    if late.timed_out() {
                        break;
                    }
                }
            }
            if tray.closed && !tray.fresh {
                return;
            }
            tray.fresh = false;
            tray.busy = true;
            (std::mem::take(&mut tray.pages), tray.open.clone())
        };
        let mut outcome = Ok(());
        let mut left = BTreeMap::new();
        for (id, text) in pages {
            let aside = places.aside.join(format!("{id}.json"));
            if ours.insert(id.clone()) {
                make_way(&places.directory, &id);
                make_way(&places.aside, &id);
            }
            while ours.len() > 2 * MOST {
                ours.pop_first();
            }
            match put(&places.directory, &id, &text, &open) {
                Ok(()) => drop(fs::remove_file(aside)),
                Err(error) => {
                    let path = places.directory.join(format!("{id}.json"));
                    outcome = Err(not_written(&path, &error));
                    // As long as there is room; nobody could do more about it.
                    let _ = put_aside(&places.aside, &id, &text);
                    left.insert(id, text);
                }
            }
        }
        {
            let mut tray = desk.tray();
            for (id, text) in left {
                // A later one may have come meanwhile.
                tray.pages.entry(id).or_insert(text);
            }
            tray.busy = false;
            desk.bell.notify_all();
        }
        told(outcome);
    }
}

fn put(directory: &Path, id: &str, text: &[u8], open: &BTreeSet<String>) -> io::Result<()> {
    let name = format!("{id}.json");
    let new = !directory.join(&name).exists();
    if new {
        make(directory)?;
        prune(directory, open);
    }
    write_whole(directory, &name, text)
}

fn put_aside(aside: &Path, id: &str, text: &[u8]) -> io::Result<()> {
    let name = format!("{id}.json");
    make(aside)?;
    let full = reading::ids(aside).is_ok_and(|ids| ids.len() >= MOST_ASIDE);
    if full && !aside.join(&name).exists() {
        return Err(io::ErrorKind::StorageFull.into());
    }
    write_whole(aside, &name, text)
}

/// What cannot be read is somebody's to look at, and never written over.
fn make_way(directory: &Path, id: &str) {
    if matches!(reading::read(directory, id), Err(ReadError::Damaged(..) | ReadError::Denied)) {
        // Where it cannot be moved, neither can it be written over, or the disk is to blame.
        let _ = set_aside(&directory.join(format!("{id}.json")));
    }
}

/// What an earlier monitor put aside.
fn waiting(aside: &Path) -> BTreeMap<String, Vec<u8>> {
    let ids = reading::ids(aside).unwrap_or_default();
    let page = |id: String| {
        let text = reading::read(aside, &id).ok()?.bounded_text();
        Some((id, text))
    };
    ids.into_iter().filter_map(page).take(MOST_ASIDE).collect()
}

/// The unit's first step makes it, with group adm; without that, only its owner reads.
fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o750).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Makes room for one more.
fn prune(directory: &Path, open: &BTreeSet<String>) {
    if reading::ids(directory).is_ok_and(|ids| ids.len() < MOST) {
        return;
    }
    // What cannot be read is somebody's to look at: it takes nobody's place, and has its own.
    let Ok(heads) = reading::heads(directory) else { return };
    let mut over = (heads.len() + 1).saturating_sub(MOST);
    prune_damaged(directory, &heads);
    let is_open = |id: &String| open.contains(id);
    let oldest_first = || heads.iter().rev().map(|one| &one.id);
    let order = oldest_first().filter(|id| !is_open(id)).chain(oldest_first().filter(|id| is_open(id)));
    for id in order {
        if over == 0 {
            return;
        }
        if fs::remove_file(directory.join(format!("{id}.json"))).is_ok() {
            over -= 1;
        }
    }
}

/// What cannot be read is left as it is, up to as many files again; of more, the oldest go.
fn prune_damaged(directory: &Path, heads: &[Summary]) {
    let readable: BTreeSet<&str> = heads.iter().map(|one| one.id.as_str()).collect();
    let ids = reading::ids(directory).unwrap_or_default();
    let paths = ids.iter().filter(|id| !readable.contains(id.as_str()));
    let mut damaged: Vec<_> = paths
        .map(|id| directory.join(format!("{id}.json")))
        .filter_map(|path| Some((fs::symlink_metadata(&path).ok()?.modified().ok()?, path)))
        .collect();
    damaged.sort();
    let over = damaged.len().saturating_sub(MOST);
    for (_, path) in damaged.into_iter().take(over) {
        // Nobody could do more about it.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::mpsc::{Receiver, channel};

    use super::super::file::tests::incident;
    use super::*;
    use crate::judge::{EventKind, Level, Verdict};

    fn opened(id: &str) -> Record {
        Record {
            subject: "web".parse().unwrap(),
            app: "web".parse().unwrap(),
            unit: "web.service".parse().unwrap(),
            event: EventKind::IncidentOpened,
            level: Level::Warn,
            verdict: Verdict::Crashed,
            text: "crashed".to_owned(),
            incident: Some(id.to_owned()),
            alert: true,
            step: None,
            condition: None,
        }
    }

    fn keeper(directory: &Path) -> (Keeper, Receiver<Outcome>) {
        let (told, outcomes) = channel();
        let tell = move |outcome| told.send(outcome).unwrap_or(());
        let (keeper, remarks) = Keeper::open(Places::below(directory), Moment::default(), 0, tell).unwrap();
        assert!(remarks.is_empty(), "{remarks:?}");
        (keeper, outcomes)
    }

    fn soon(outcomes: &Receiver<Outcome>) -> Outcome {
        outcomes.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    #[test]
    fn an_incident_is_written_and_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("incidents");
        let (mut first, outcomes) = keeper(&directory);
        first.take(&opened("web-7"), Moment::default(), 0);
        assert_eq!(soon(&outcomes), Ok(()));
        let mode = fs::metadata(directory.join("web-7.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
        drop(first);

        let (mut second, outcomes) = keeper(&directory);
        assert_eq!(second.highest(), [("web".parse().unwrap(), 7)].into());
        let mut closed = opened("web-7");
        closed.event = EventKind::IncidentClosed;
        second.take(&closed, Moment::from_micros(5), 5);
        second.flush(Duration::from_secs(10));
        assert_eq!(soon(&outcomes), Ok(()));
        let whole = Places::below(&directory).read("web-7").unwrap();
        assert_eq!((whole.timeline.len(), whole.is_open()), (2, false));
    }

    #[test]
    fn what_is_in_the_place_of_an_incident_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("web-1.json"), b"{\"version\":9}").unwrap();
        fs::create_dir_all(at("web-2.json/x")).unwrap();
        std::os::unix::fs::symlink("/dev/null", at("web-3.json")).unwrap();
        let (told, outcomes) = channel();
        let tell = move |outcome| told.send(outcome).unwrap_or(());
        let (mut keeper, remarks) =
            Keeper::open(Places::below(folder.path()), Moment::default(), 0, tell).unwrap();
        assert_eq!(remarks.len(), 3, "{remarks:?}");
        for id in ["web-1", "web-2", "web-3"] {
            keeper.take(&opened(id), Moment::default(), 0);
            assert_eq!(soon(&outcomes), Ok(()));
            assert!(Places::below(folder.path()).read(id).unwrap().is_open());
            assert!(at(&format!("{id}.json.bad")).symlink_metadata().is_ok());
        }
        assert_eq!(fs::read(at("web-1.json.bad")).unwrap(), b"{\"version\":9}");
    }

    #[test]
    fn what_a_disk_refuses_is_kept_and_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("not-there/incidents");
        let (mut keeper, outcomes) = keeper(&directory);
        keeper.take(&opened("web-1"), Moment::default(), 0);
        assert!(soon(&outcomes).unwrap_err().contains("web-1.json"));
        fs::create_dir(folder.path().join("not-there")).unwrap();
        keeper.take(&opened("web-2"), Moment::default(), 0);
        assert_eq!(soon(&outcomes), Ok(()));
        assert_eq!(Places::below(&directory).list().unwrap().incidents.len(), 2);
    }

    #[test]
    fn what_a_disk_refuses_outlasts_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, aside) = (folder.path().join("not-there/incidents"), folder.path().join("aside"));
        let places = Places { directory, aside };
        let open = || {
            let (told, outcomes) = channel();
            let tell = move |outcome| told.send(outcome).unwrap_or(());
            (Keeper::open(places.clone(), Moment::default(), 0, tell).unwrap().0, outcomes)
        };
        let (mut first, outcomes) = open();
        first.take(&opened("web-1"), Moment::default(), 0);
        assert!(soon(&outcomes).is_err());
        let mode = fs::metadata(places.aside.join("web-1.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
        drop(first);

        let (mut second, outcomes) = open();
        assert!(soon(&outcomes).is_err(), "it is tried at once");
        assert_eq!(second.highest(), [("web".parse().unwrap(), 1)].into());
        fs::create_dir(folder.path().join("not-there")).unwrap();
        let closed = Record { event: EventKind::IncidentClosed, ..opened("web-1") };
        second.take(&closed, Moment::from_micros(5), 5);
        assert_eq!(soon(&outcomes), Ok(()));
        assert_eq!(fs::read_dir(&places.aside).unwrap().count(), 0);
        let whole = reading::read(&places.directory, "web-1").unwrap();
        assert_eq!((whole.timeline.len(), whole.is_open()), (2, false));
    }

    #[test]
    fn what_lies_aside_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=MOST_ASIDE {
            let put = put_aside(folder.path(), &format!("web-{number}"), b"{}");
            assert_eq!(put.is_ok(), number < MOST_ASIDE);
        }
        assert!(put_aside(folder.path(), "web-0", b"{}").is_ok(), "what is there may change");
    }

    #[test]
    fn garbage_pushes_nothing_out() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path();
        for number in 1..=MOST {
            fs::write(directory.join(format!("api-{number}.json")), b"{").unwrap();
        }
        for number in 1..=MOST as i64 - 1 {
            let mut one = incident(&format!("web-{number}"));
            (one.opened_seconds, one.closed) = (number, Some("x".to_owned()));
            fs::write(directory.join(format!("web-{number}.json")), one.bounded_text()).unwrap();
        }
        prune(directory, &BTreeSet::new());
        assert!(directory.join("web-1.json").exists(), "there is room for one more");
        fs::write(directory.join("web-900.json"), incident("web-900").bounded_text()).unwrap();
        prune(directory, &BTreeSet::new());
        assert!(!directory.join("web-1.json").exists() && directory.join("web-2.json").exists());
        let damaged = || {
            let ids = reading::ids(directory).unwrap();
            ids.iter().filter(|id| id.starts_with("api-")).count()
        };
        assert_eq!(damaged(), MOST, "somebody may want to look at it");
        fs::write(directory.join("api-999.json"), b"{").unwrap();
        prune(directory, &BTreeSet::new());
        assert_eq!(damaged(), MOST, "it is bounded, too");
    }

    #[test]
    fn the_oldest_closed_ones_go_and_garbage_stays() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path();
        for number in 1..=MOST as i64 + 1 {
            let mut one = incident(&format!("web-{number}"));
            one.opened_seconds = number;
            // The first is still open, the second is not what it should be.
            one.closed = (number > 1).then(|| "x".to_owned());
            let text = if number == 2 { b"{".to_vec() } else { one.bounded_text() };
            fs::write(directory.join(format!("web-{number}.json")), text).unwrap();
        }
        let (mut keeper, outcomes) = {
            let (told, outcomes) = channel();
            let tell = move |outcome| told.send(outcome).unwrap_or(());
            let (keeper, remarks) =
                Keeper::open(Places::below(directory), Moment::default(), 0, tell).unwrap();
            assert_eq!(remarks.len(), 1);
            (keeper, outcomes)
        };
        keeper.take(&opened("web-900"), Moment::default(), 9_000_000);
        assert_eq!(soon(&outcomes), Ok(()));
        let there = |number: u32| directory.join(format!("web-{number}.json")).exists();
        assert!(there(1) && there(2) && !there(3) && there(4) && there(900));
    }
}
