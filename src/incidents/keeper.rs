//! Keeps the files of a directory as the book has them.
//!
//! Written by a thread of its own, so that a disk that hangs blinds nobody. What cannot be written is
//! kept in memory, the latest of each incident, and tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::book::{Book, Now, Page};
use super::file::Evidence;
use super::{MOST, reading, subject_of};
use crate::files::write_whole;
use crate::judge::{Moment, Record, Subject, UnitName};

/// How long a disk that refuses is left alone.
const AGAIN: Duration = Duration::from_secs(30);
/// Incidents that wait for the disk.
const WAITING: usize = 64;

/// What came of writing: nothing to say, or why not.
pub type Outcome = Result<(), String>;

/// The incidents of this host.
pub struct Keeper {
    book: Book,
    desk: Arc<Desk>,
    directory: PathBuf,
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
    /// that are not over. `told` hears what comes of each writing. Remarks are for the journal.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn open(
        directory: PathBuf,
        moment: Moment,
        wall_ms: i64,
        told: impl FnMut(Outcome) + Send + 'static,
    ) -> io::Result<(Self, Vec<String>)> {
        let mut book = Book::default();
        let remarks = match reading::open_ones(&directory) {
            Ok(listed) => {
                book.restore(listed.incidents, Now { moment, wall_ms });
                listed.remarks
            }
            Err(error) => vec![error.to_string()],
        };
        let desk = Arc::new(Desk::default());
        let (for_thread, of_thread) = (Arc::clone(&desk), directory.clone());
        std::thread::Builder::new()
            .name("incidents".into())
            .stack_size(128 * 1024)
            .spawn(move || serve(&of_thread, &for_thread, told))?;
        Ok((Self { book, desk, directory }, remarks))
    }

    /// Where the files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The highest number that any incident of a subject has here, so that none is used twice even
    /// where the monitor's state was lost.
    #[must_use]
    pub fn highest(&self) -> BTreeMap<Subject, u64> {
        let mut highest = BTreeMap::new();
        for id in reading::ids(&self.directory).unwrap_or_default() {
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

fn serve(directory: &Path, desk: &Desk, mut told: impl FnMut(Outcome)) {
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
            if let Err(error) = put(directory, &id, &text, &open) {
                outcome = Err(format!("{}: {error}", directory.join(format!("{id}.json")).display()));
                left.insert(id, text);
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
        // The package makes it, with group adm; without that, only its owner reads.
        match DirBuilder::new().mode(0o750).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        prune(directory, open);
    }
    write_whole(directory, &name, text)
}

/// Makes room for one more.
fn prune(directory: &Path, open: &BTreeSet<String>) {
    let Ok(ids) = reading::ids(directory) else { return };
    let mut over = (ids.len() + 1).saturating_sub(MOST);
    if over == 0 {
        return;
    }
    // What cannot be read is somebody's to look at: it is never deleted.
    let Ok(listed) = reading::list(directory) else { return };
    let is_open = |id: &String| open.contains(id);
    let oldest_first = || listed.incidents.iter().rev().map(|one| &one.id);
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::mpsc::{Receiver, channel};

    use super::super::file::tests::incident;
    use super::super::{list, read};
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
        let (keeper, remarks) = Keeper::open(directory.to_owned(), Moment::default(), 0, tell).unwrap();
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
        let whole = read(&directory, "web-7").unwrap();
        assert_eq!((whole.timeline.len(), whole.is_open()), (2, false));
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
        assert_eq!(list(&directory).unwrap().incidents.len(), 2);
    }

    #[test]
    fn the_oldest_closed_ones_go_and_garbage_stays() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path();
        for number in 1..=MOST as i64 {
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
            let (keeper, remarks) = Keeper::open(directory.to_owned(), Moment::default(), 0, tell).unwrap();
            assert_eq!(remarks.len(), 1);
            (keeper, outcomes)
        };
        keeper.take(&opened("web-900"), Moment::default(), 9_000_000);
        assert_eq!(soon(&outcomes), Ok(()));
        let there = |number: u32| directory.join(format!("web-{number}.json")).exists();
        assert!(there(1) && there(2) && !there(3) && there(4) && there(900));
    }
}
