//! What a helper was started for, and what is in force for it.
//!
//! Responsible for believing nothing beyond a name: a subject that is not in the configuration in
//! force is refused.

use std::path::{Path, PathBuf};

use super::result::{self, Ending, Helper, Report};
use crate::config::{self, Member, Settings};
use crate::judge::{Moment, Subject};

/// What a helper was started for.
#[derive(Clone, Debug)]
pub struct Request {
    /// `/`, or a directory that looks like a system.
    pub root: PathBuf,
    /// Where what is in force lies, [`config::resolved::DIRECTORY`] on a system.
    pub resolved: PathBuf,
    /// Where results are left, [`result::DIRECTORY`] on a system.
    pub results: PathBuf,
    /// For whom: the instance name of the unit.
    pub subject: Subject,
}

impl Request {
    /// The request on the system itself.
    #[must_use]
    pub fn of_the_system(subject: Subject) -> Self {
        Self {
            root: Path::new("/").to_owned(),
            resolved: Path::new(config::resolved::DIRECTORY).to_owned(),
            results: Path::new(result::DIRECTORY).to_owned(),
            subject,
        }
    }

    /// What is in force.
    ///
    /// # Errors
    /// Why it cannot be read, as a whole sentence's end.
    pub fn settings(&self) -> Result<Settings, String> {
        match config::resolved::read_settings(&self.resolved) {
            Ok(Ok(settings)) => Ok(settings),
            Ok(Err(_)) => Err("the configuration in force has errors; app-monitor config check".to_owned()),
            Err(error) => Err(format!("cannot read the configuration in force: {error}")),
        }
    }

    /// The member that it is for, in the exact list of those that are configured.
    ///
    /// # Errors
    /// That the list cannot be read, or that it is not in it.
    pub fn member(&self) -> Result<Member, String> {
        member(&self.settings()?, &self.subject).cloned()
    }

    /// A report of this request.
    #[must_use]
    pub fn report(&self, helper: Helper, began: Moment, ending: Ending, lines: Vec<String>) -> Report {
        Report { helper, subject: self.subject.clone(), began, ending, lines }
    }

    /// The report of a helper that could not do what it is for.
    #[must_use]
    pub fn failed(&self, helper: Helper, began: Moment, why: impl Into<String>) -> Report {
        self.report(helper, began, Ending::Failed(why.into()), Vec::new())
    }
}

/// The member of that name in the exact list of those that are configured.
///
/// # Errors
/// That there is none.
pub fn member<'a>(settings: &'a Settings, subject: &Subject) -> Result<&'a Member, String> {
    settings.members.iter().find(|member| member.subject == *subject).ok_or_else(|| {
        format!("{subject} is not in the configuration in force; app-monitor status names all")
    })
}
