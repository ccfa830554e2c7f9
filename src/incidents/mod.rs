//! What happened: one file for each incident, from the first suspicion to its end.
//!
//! Responsible for the shape of the file, for keeping it up to date while the incident is open, for
//! its bounds in number and size, and for reading it. It decides nothing: what belongs to an incident
//! and when it is over is what the judge's records say. It never deletes a file that it cannot read.

mod book;
mod file;
mod keeper;
mod reading;
mod stamp;

pub use book::Book;
pub use file::{Entry, Evidence, Incident, Outcome, StepDone, Summary, VERSION};
pub use keeper::Keeper;
pub use reading::{Listed, Places, ReadError};
pub use stamp::{day_and_time, rfc3339};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use {book::Now, reading::parse_both as parse};

/// Below the state directory.
pub const FOLDER: &str = "incidents";
/// Where the files lie, as the system knows it. app-monitor:adm 2750, files 0640.
pub const DIRECTORY: &str = "/var/lib/app-monitor/incidents";
/// What that could not take, a full disk for one, until it can; as the system knows it. In the folder
/// FOLDER of the runtime directory.
pub const ASIDE: &str = "/run/app-monitor/incidents";
/// Most files; of those over it, the oldest closed ones go first.
pub const MOST: usize = 200;
/// Most bytes of one file.
pub const LARGEST: usize = 256 * 1024;

/// Whether that can be the name of an incident: `web-12`, `web@2-1`, `nginx.service-3`. Nothing else
/// is ever looked for in a directory.
#[must_use]
pub fn is_id(text: &str) -> bool {
    subject_of(text).is_some()
}

/// Who an incident is about, and its number.
#[must_use]
pub fn subject_of(id: &str) -> Option<(crate::judge::Subject, u64)> {
    let (subject, number) = id.rsplit_once('-')?;
    let parsed: u64 = number.parse().ok().filter(|parsed: &u64| parsed.to_string() == number)?;
    Some((subject.parse().ok()?, parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_of_subjects_with_a_number() {
        for good in ["web-1", "web-2-12", "web@2-1", "nginx.service-3"] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", "web", "web-", "web-01", "web-+1", "../web-1", "web-1.json", "-1", ".new-1", "a/b-1"]
        {
            assert!(!is_id(bad), "{bad}");
        }
        assert_eq!(subject_of("web-2-12"), Some(("web-2".parse().unwrap(), 12)));
    }
}
