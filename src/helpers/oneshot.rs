//! What the four privileged one-shots have in common: for whom they were started, what is in force
//! for that subject, and the result that they leave.
//!
//! Responsible for believing nothing beyond a name: a subject that is not in the configuration in
//! force is refused, and leaves nothing behind. What a helper does is in a file of its own.

use std::path::{Path, PathBuf};

use super::result::{self, Ending, Helper, Report};
use super::{clear_caches, evidence, preflight, reap};
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

/// Runs a helper and leaves its result. The text that goes to stderr, and thereby to the journal,
/// and the exit status: 0 where a result was left, whatever it says, so that no unit is `failed` for
/// what was merely found.
pub fn serve(helper: Helper, request: &Request) -> (u8, String) {
    // Nothing is left for a name that nobody configured: who may start units may choose names.
    if let Err(why) = request.member() {
        return (1, format!("refused: {why}\n"));
    }
    let mut report = match helper {
        Helper::Evidence => evidence::run(request),
        Helper::Reap => reap::run(request),
        Helper::ClearCaches => clear_caches::run(request),
        Helper::Preflight => preflight::run(request),
    };
    report.bound();
    let mut text = match &report.ending {
        Ending::Done(text) => format!("{text}\n"),
        Ending::Nothing => String::new(),
        Ending::Failed(why) => format!("failed: {why}\n"),
    };
    match result::write(&request.results, &report) {
        Ok(()) => (0, text),
        Err(why) => {
            text.push_str(&format!("cannot leave the result: {why}\n"));
            (1, text)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::Sources;
    use crate::config::resolved::Resolved;
    use crate::judge::{Policy, Target};

    /// A directory that looks like a system, with that configuration in force.
    pub(in crate::helpers) struct Host {
        pub folder: tempfile::TempDir,
    }

    impl Host {
        pub fn new(configuration: &str) -> Self {
            let host = Self { folder: tempfile::tempdir().unwrap() };
            let path = host.folder.path().join("etc/app-monitor");
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("app-monitor.toml"), configuration).unwrap();
            let resolved = host.load();
            assert!(resolved.outcome.is_ok(), "{:?}", resolved.outcome);
            config::resolved::write(&host.folder.path().join("resolved"), &resolved).unwrap();
            host
        }

        fn load(&self) -> Resolved {
            let sources = Sources { root: self.folder.path().to_owned(), environment: Vec::new() };
            Resolved::load(&sources)
        }

        /// With these apps.
        pub fn of(targets: Vec<(&str, Target)>) -> Self {
            let host = Self::new("");
            let member = |(name, target): (&str, Target)| Member {
                subject: name.parse().unwrap(),
                policy: Policy::default(),
                target,
            };
            let members = targets.into_iter().map(member).collect();
            let outcome = Ok(Settings { members, ..Settings::default() });
            let resolved = Resolved { outcome, ..host.load() };
            config::resolved::write(&host.folder.path().join("resolved"), &resolved).unwrap();
            host
        }

        pub fn request(&self, subject: &str) -> Request {
            Request {
                root: self.folder.path().to_owned(),
                resolved: self.folder.path().join("resolved"),
                results: self.folder.path().join("results"),
                subject: subject.parse().unwrap(),
            }
        }
    }

    #[test]
    fn who_is_not_configured_is_refused_and_leaves_nothing() {
        let host = Host::new("[app.web]\nunit = \"web\"\n");
        for name in ["other", "web@2", "web.service"] {
            let request = host.request(name);
            let (status, text) = serve(Helper::Preflight, &request);
            assert_eq!(status, 1);
            assert!(text.contains(&format!("{name} is not in the configuration in force")), "{text}");
            assert!(!request.results.exists());
        }
    }

    #[test]
    fn without_a_configuration_in_force_nothing_is_done() {
        let host = Host::new("[app.web]\nunit = \"web\"\n");
        let request = Request { resolved: host.folder.path().join("nowhere"), ..host.request("web") };
        let (status, text) = serve(Helper::Reap, &request);
        assert_eq!(status, 1);
        assert!(text.contains("app-monitor.service was not started since boot"), "{text}");
    }

    #[test]
    fn a_result_is_left_on_one_line_and_bounded() {
        let host = Host::new("[app.web]\nunit = \"web\"\n");
        let request = host.request("web");
        let text = "a\nb".repeat(1_000);
        let ending = Ending::Done(text.clone());
        let mut report = request.report(Helper::Reap, Moment::default(), ending, vec![text; 1_000]);
        report.bound();
        assert_eq!(report.lines.len(), result::LINES);
        assert!(report.lines.iter().all(|line| line.chars().count() == result::LINE && !line.contains('\n')));
        assert!(matches!(report.ending, Ending::Done(text) if text.starts_with("a b")));
    }
}
