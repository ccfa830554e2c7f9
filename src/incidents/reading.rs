//! Reading incidents, for commands and for the daemon at its start.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::file::{Incident, Summary, VERSION};
use super::{ASIDE, DIRECTORY, LARGEST, is_id};
use crate::files::read_plain;
use crate::plain;

/// Files of a directory that are looked at: what is over it, somebody else has put there.
const LOOKED_AT: usize = 4096;

/// Why incidents cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// This user may not.
    Denied,
    /// There is none of that name.
    NoSuch(String),
    /// The operating system refused.
    Unreadable(PathBuf, io::Error),
    /// It is not what this program writes.
    Damaged(PathBuf, String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => f.write_str(
                "incidents quote logs and answers, so only root and group adm may read them; try it with sudo",
            ),
            Self::NoSuch(id) => {
                write!(f, "no incident is called \u{201c}{id}\u{201d}; app-monitor incidents lists them")
            }
            Self::Unreadable(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Damaged(path, why) => write!(f, "{} is no incident: {why}", path.display()),
        }
    }
}

impl std::error::Error for ReadError {}

/// A list, and the files that were skipped, each with its reason.
#[derive(Debug)]
pub struct Listed<T> {
    /// Newest first.
    pub incidents: Vec<T>,
    /// What was odd, in whole sentences.
    pub remarks: Vec<String>,
}

/// Where incidents lie.
#[derive(Clone, Debug)]
pub struct Places {
    /// All of them.
    pub directory: PathBuf,
    /// What that could not take. It is put there when the directory can take it again, so what lies
    /// here is the later one.
    pub aside: PathBuf,
}

impl Places {
    /// As the system has them.
    #[must_use]
    pub fn system() -> Self {
        Self { directory: DIRECTORY.into(), aside: ASIDE.into() }
    }

    /// For tests.
    #[cfg(test)]
    pub(crate) fn below(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), aside: directory.join("aside") }
    }

    /// The heads of all incidents, newest first. A directory that is not there yet has none.
    ///
    /// # Errors
    /// [`ReadError::Denied`] and [`ReadError::Unreadable`], of the directory.
    pub fn list(&self) -> Result<Listed<Summary>, ReadError> {
        let mut listed = self.heads()?;
        newest_first(&mut listed.incidents);
        Ok(listed)
    }

    /// All incidents that are not over.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn open_ones(&self) -> Result<Listed<Incident>, ReadError> {
        let heads = self.heads()?;
        let open = heads.incidents.iter().filter(|one| one.closed.is_none());
        let incidents = open.filter_map(|one| self.read(&one.id).ok()).collect();
        Ok(Listed { incidents, remarks: heads.remarks })
    }

    /// One incident, whole.
    ///
    /// # Errors
    /// Why not.
    pub fn read(&self, id: &str) -> Result<Incident, ReadError> {
        read(&self.aside, id).or_else(|_| read(&self.directory, id))
    }

    /// In no order. That somebody may not look at what lies aside, or that there is none, is no reason
    /// to show nothing.
    fn heads(&self) -> Result<Listed<Summary>, ReadError> {
        let mut listed = all::<Summary>(&self.directory)?;
        if let Ok(aside) = all::<Summary>(&self.aside) {
            listed.incidents.retain(|one| aside.incidents.iter().all(|later| later.id != one.id));
            listed.incidents.extend(aside.incidents);
            listed.remarks.extend(aside.remarks);
        }
        Ok(listed)
    }
}

fn newest_first(heads: &mut [Summary]) {
    let number = |id: &str| super::subject_of(id).map_or(0, |(_, number)| number);
    heads.sort_by_key(|one| std::cmp::Reverse((one.opened_seconds, number(&one.id))));
}

/// The heads of a directory's incidents, newest first.
pub(super) fn heads(directory: &Path) -> Result<Vec<Summary>, ReadError> {
    let mut heads = all(directory)?.incidents;
    newest_first(&mut heads);
    Ok(heads)
}

/// One incident of a directory, whole.
pub(super) fn read(directory: &Path, id: &str) -> Result<Incident, ReadError> {
    if !is_id(id) {
        return Err(ReadError::NoSuch(id.to_owned()));
    }
    match parse(&directory.join(format!("{id}.json"))) {
        Err(ReadError::Unreadable(_, error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(ReadError::NoSuch(id.to_owned()))
        }
        other => other,
    }
}

/// Ids that have a file, whatever is in it.
pub(super) fn ids(directory: &Path) -> Result<Vec<String>, ReadError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound => Ok(Vec::new()),
                io::ErrorKind::PermissionDenied => Err(ReadError::Denied),
                _ => Err(ReadError::Unreadable(directory.to_owned(), error)),
            };
        }
    };
    let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
    let id = |name: String| name.strip_suffix(".json").filter(|id| is_id(id)).map(str::to_owned);
    Ok(entries.flatten().take(LOOKED_AT).filter_map(name).filter_map(id).collect())
}

/// What is read from a file.
trait Filed {
    fn id(&self) -> &str;
    /// Holds it within the bounds in which it was written, whoever has written it.
    fn tidy(&mut self);
}

impl Filed for Summary {
    fn id(&self) -> &str {
        &self.id
    }

    fn tidy(&mut self) {
        Summary::tidy(self);
    }
}

impl Filed for Incident {
    fn id(&self) -> &str {
        &self.id
    }

    fn tidy(&mut self) {
        Incident::tidy(self);
    }
}

fn all<T: DeserializeOwned + Filed>(directory: &Path) -> Result<Listed<T>, ReadError> {
    let mut listed = Listed { incidents: Vec::new(), remarks: Vec::new() };
    let mut denied = 0;
    let ids = ids(directory)?;
    for id in &ids {
        match parse::<T>(&directory.join(format!("{id}.json"))) {
            Ok(incident) => listed.incidents.push(incident),
            // Pruned meanwhile.
            Err(ReadError::Unreadable(_, error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(ReadError::Denied) => {
                denied += 1;
                let path = directory.join(format!("{id}.json"));
                listed.remarks.push(format!("skipped: {} may not be read", path.display()));
            }
            Err(error) => listed.remarks.push(format!("skipped: {error}")),
        }
    }
    // One is somebody's doing; all of them are not for us.
    if denied > 0 && denied == ids.len() { Err(ReadError::Denied) } else { Ok(listed) }
}

fn parse<T: DeserializeOwned + Filed>(path: &Path) -> Result<T, ReadError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => ReadError::Denied,
        io::ErrorKind::InvalidData => ReadError::Damaged(path.to_owned(), error.to_string()),
        _ => ReadError::Unreadable(path.to_owned(), error),
    };
    let damaged = |why: String| ReadError::Damaged(path.to_owned(), why);
    let text = read_plain(path, LARGEST as u64).map_err(unreadable)?;
    let read: T = parse_text(&text).map_err(damaged)?;
    if path.file_stem().and_then(|stem| stem.to_str()) != Some(read.id()) {
        return Err(damaged(format!("it holds {}", read.id())));
    }
    Ok(read)
}

/// Reads the text of a file: the whole of it, or its head.
fn parse_text<T: DeserializeOwned + Filed>(text: &[u8]) -> Result<T, String> {
    #[derive(serde::Deserialize)]
    struct Head {
        version: u32,
    }
    // Errors quote what they do not know.
    let damaged = |error: serde_json::Error| plain::cut(&error.to_string(), 200);
    let head: Head = serde_json::from_slice(text).map_err(damaged)?;
    if head.version > VERSION {
        return Err(format!("written by a newer version (format {}, known: {VERSION})", head.version));
    }
    let mut read: T = serde_json::from_slice(text).map_err(damaged)?;
    if !is_id(read.id()) {
        return Err("it holds something that is no name of an incident".to_owned());
    }
    read.tidy();
    Ok(read)
}

/// Reads a file's text both ways.
///
/// # Errors
/// Why not.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse_both(text: &[u8]) -> Result<(Incident, Summary), String> {
    Ok((parse_text(text)?, parse_text(text)?))
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::incident;
    use super::*;

    fn put(directory: &Path, id: &str, opened: i64) {
        let mut incident = incident(id);
        incident.opened_seconds = opened;
        fs::write(directory.join(format!("{id}.json")), incident.bounded_text()).unwrap();
    }

    #[test]
    fn the_newest_comes_first_and_garbage_is_skipped_with_a_remark() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path();
        for (id, opened) in [("web-9", 5), ("web-10", 5), ("api-1", 9), ("web@1-1", 1)] {
            put(directory, id, opened);
        }
        fs::write(directory.join("web-3.json"), b"\xff{").unwrap();
        fs::write(directory.join("web-4.json"), b"{\"version\":9}").unwrap();
        fs::copy(directory.join("web-9.json"), directory.join("web-5.json")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", directory.join("web-6.json")).unwrap();
        fs::write(directory.join("notes.txt"), b"of somebody").unwrap();
        let listed = Places::below(directory).list().unwrap();
        let ids: Vec<&str> = listed.incidents.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["api-1", "web-10", "web-9", "web@1-1"]);
        assert_eq!(listed.remarks.len(), 4, "{:?}", listed.remarks);
        assert_eq!(Places::below(directory).open_ones().unwrap().incidents.len(), 4);
        assert!(directory.join("web-3.json").exists(), "what cannot be read is never deleted");
    }

    #[test]
    fn what_lies_aside_is_the_later_one() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::below(folder.path());
        fs::create_dir(&places.aside).unwrap();
        for (directory, id, opened) in [
            (&places.directory, "web-1", 1),
            (&places.directory, "web-2", 2),
            (&places.aside, "web-2", 3),
            (&places.aside, "web-3", 4),
        ] {
            put(directory, id, opened);
        }
        let heads = places.list().unwrap().incidents;
        let heads: Vec<_> = heads.iter().map(|one| (one.id.as_str(), one.opened_seconds)).collect();
        assert_eq!(heads, [("web-3", 4), ("web-2", 3), ("web-1", 1)]);
        let opened = |id| places.read(id).unwrap().opened_seconds;
        assert_eq!([opened("web-1"), opened("web-2"), opened("web-3")], [1, 3, 4]);
    }

    #[test]
    fn what_is_not_there_says_so() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Places::below(&folder.path().join("none")).list().unwrap().incidents.is_empty());
        for id in ["web-1", "../web-1", "", "/etc/passwd"] {
            let error = Places::below(folder.path()).read(id).unwrap_err().to_string();
            assert!(error.contains("no incident is called"), "{error}");
        }
    }
}
