//! The queue on disk: `alerts.json` in the state directory, or, while that takes nothing, in the runtime
//! directory. Written only when something is queued or done.

use std::io;
use std::path::PathBuf;

use crate::files::{not_written, read_plain, set_aside, write_whole};

use super::queue::Stored;

/// The name of the file.
pub const NAME: &str = "alerts.json";
/// What is larger is not ours.
const LARGEST: u64 = 16 << 20;

/// Where the queue lies.
#[derive(Clone, Debug)]
pub struct Places {
    /// Its place.
    pub directory: PathBuf,
    /// For a while, when that does not take it.
    pub aside: PathBuf,
}

impl Places {
    /// Reads the later of both copies, and what was odd, for the journal. A copy that cannot be used is
    /// set aside, never deleted.
    #[must_use]
    pub fn load(&self) -> (Stored, Vec<String>) {
        let (mut newest, mut odd) = (None::<Stored>, Vec::new());
        for path in [&self.directory, &self.aside].map(|directory| directory.join(NAME)) {
            let read = match read_plain(&path, LARGEST) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(error.to_string()),
                Ok(text) => Stored::parse(&text).map_err(|problem| problem.to_string()),
            };
            match read {
                Ok(stored) if newest.as_ref().is_none_or(|known| known.serial < stored.serial) => {
                    newest = Some(stored);
                }
                Ok(_) => {}
                Err(problem) => {
                    let aside = set_aside(&path);
                    odd.push(format!(
                        "cannot use {}: {problem}; {aside}; alerts that waited are lost",
                        path.display()
                    ));
                }
            }
        }
        (newest.unwrap_or_default(), odd)
    }

    /// Writes it.
    ///
    /// # Errors
    /// Why its place does not take it; it may be in the other one all the same.
    pub fn save(&self, stored: &Stored) -> Result<(), String> {
        let text = serde_json::to_vec(stored).map_err(|error| error.to_string())?;
        match write_whole(&self.directory, NAME, &text) {
            Ok(()) => {
                // An older one; that it may still be there does no harm.
                let _ = std::fs::remove_file(self.aside.join(NAME));
                Ok(())
            }
            Err(error) => {
                let why = not_written(&self.directory.join(NAME), &error);
                match write_whole(&self.aside, NAME, &text) {
                    Ok(()) => Err(format!("{why}; it is kept in {} meanwhile", self.aside.display())),
                    Err(_) => Err(why),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_later_copy_counts_and_garbage_is_kept_aside() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let places = Places { directory: a.path().to_owned(), aside: b.path().to_owned() };
        assert_eq!(places.load(), (Stored::default(), Vec::new()));
        let stored = |serial| Stored { serial, ..Stored::default() };
        places.save(&stored(1)).unwrap();
        write_whole(b.path(), NAME, &serde_json::to_vec(&stored(2)).unwrap()).unwrap();
        assert_eq!(places.load().0.serial, 2);
        places.save(&stored(3)).unwrap();
        assert!(!b.path().join(NAME).exists(), "an older copy is of no use");
        for text in [&b"\xff"[..], b"{", b"{\"version\":2}", b"{\"version\":1,\"lanes\":[]}"] {
            fs::write(a.path().join(NAME), text).unwrap();
            let (read, odd) = places.load();
            assert_eq!((read.serial, odd.len()), (0, 1), "{odd:?}");
            assert_eq!(fs::read(a.path().join("alerts.json.bad")).unwrap(), text);
        }
        let places = Places { directory: "/nonexistent".into(), ..places };
        assert!(places.save(&stored(4)).unwrap_err().contains("is kept in"));
        assert_eq!(places.load().0.serial, 4);
    }
}
