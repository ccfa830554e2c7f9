//! Runs one of the four privileged one-shots, and leaves its result.
//!
//! For a subject that is not in the configuration in force nothing is left behind. What a helper does
//! is in a file of its own.

use super::request::Request;
use super::result::{self, Ending, Helper};
use super::{clear_caches, evidence, preflight, reap};

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
    use crate::config::resolved::Resolved;
    use crate::config::{self, Member, Settings, Sources};
    use crate::judge::{Moment, Policy, Target};

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
