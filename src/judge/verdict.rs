//! The one word that says how an app is, and the conditions around it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An app has one verdict. The order of the variants is their precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// systemd knows no such unit, or cannot use its file.
    NotFound,
    /// The unit is masked.
    Masked,
    /// The host goes down.
    ShuttingDown,
    /// Somebody works on it: pause, freezer, debugger, core dump.
    Paused,
    /// Somebody stopped it.
    StoppedByAdmin,
    /// It went down with a unit that it depends on.
    StoppedWithDependency,
    /// It never ran in this boot.
    NotStarted,
    /// Down, and its socket waits for work.
    Idle,
    /// On its way from one state to another, by somebody else's wish.
    Changing,
    /// It fell or fails, and its database does not accept connections.
    DatabaseDown,
    /// It fell or fails, and keys or files that it needs are absent.
    ConfigMissing,
    /// Somebody else holds its port.
    PortTaken,
    /// systemd is about to start it again.
    SystemdRestarting,
    /// systemd restarts it again and again, and no round is good in between.
    CrashLooping,
    /// Up, first good round still missing, within the grace.
    Starting,
    /// It went down, and nobody asked.
    Crashed,
    /// The unit uses more memory than it may.
    AppMemory,
    /// Up, and nobody listens.
    PortClosed,
    /// Up and at work, and behind with it: connections are taken, answers come too late.
    Overloaded,
    /// Up, and does not answer.
    Frozen,
    /// Answers wrongly.
    Erroring,
    /// Up, with too few processes.
    NoProcess,
    /// Nothing can be said.
    Unknown,
    /// All good.
    Healthy,
}

impl Verdict {
    /// Every verdict, in the order of precedence.
    pub const ALL: [Self; 24] = [
        Self::NotFound,
        Self::Masked,
        Self::ShuttingDown,
        Self::Paused,
        Self::StoppedByAdmin,
        Self::StoppedWithDependency,
        Self::NotStarted,
        Self::Idle,
        Self::Changing,
        Self::DatabaseDown,
        Self::ConfigMissing,
        Self::PortTaken,
        Self::SystemdRestarting,
        Self::CrashLooping,
        Self::Starting,
        Self::Crashed,
        Self::AppMemory,
        Self::PortClosed,
        Self::Overloaded,
        Self::Frozen,
        Self::Erroring,
        Self::NoProcess,
        Self::Unknown,
        Self::Healthy,
    ];

    /// The word, as in `status`, the journal and on the bus.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Masked => "masked",
            Self::ShuttingDown => "shutting-down",
            Self::Paused => "paused",
            Self::StoppedByAdmin => "stopped-by-admin",
            Self::StoppedWithDependency => "stopped-with-dependency",
            Self::NotStarted => "not-started",
            Self::Idle => "idle",
            Self::Changing => "changing",
            Self::DatabaseDown => "database-down",
            Self::ConfigMissing => "config-missing",
            Self::PortTaken => "port-taken",
            Self::SystemdRestarting => "systemd-restarting",
            Self::CrashLooping => "crash-looping",
            Self::Starting => "starting",
            Self::Crashed => "crashed",
            Self::AppMemory => "app-memory",
            Self::PortClosed => "port-closed",
            Self::Overloaded => "overloaded",
            Self::Frozen => "frozen",
            Self::Erroring => "erroring",
            Self::NoProcess => "no-process",
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
        }
    }

    /// A fault of the app itself, for which a recovery is the answer.
    #[must_use]
    pub fn is_fault(self) -> bool {
        matches!(
            self,
            Self::CrashLooping
                | Self::Crashed
                | Self::AppMemory
                | Self::PortClosed
                | Self::Overloaded
                | Self::Frozen
                | Self::Erroring
                | Self::NoProcess
        )
    }

    /// A fault of the app's answers, which nothing but good ones ends. That it is up again ends a crash,
    /// that nothing restarts it any more a loop, and memory is measured without it.
    #[must_use]
    pub fn is_of_answers(self) -> bool {
        self.is_fault() && !matches!(self, Self::Crashed | Self::CrashLooping | Self::AppMemory)
    }

    /// Somebody has to be told, whether or not anything can be done.
    #[must_use]
    pub fn opens_incident(self) -> bool {
        self.is_fault()
            || matches!(
                self,
                Self::NotFound
                    | Self::Masked
                    | Self::NotStarted
                    | Self::DatabaseDown
                    | Self::ConfigMissing
                    | Self::PortTaken
            )
    }

    /// All is well, or as somebody wished it.
    #[must_use]
    pub fn is_well(self) -> bool {
        matches!(
            self,
            Self::Healthy
                | Self::Idle
                | Self::Paused
                | Self::StoppedByAdmin
                | Self::Starting
                | Self::ShuttingDown
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What holds besides the verdict; any number at a time, each with its own beginning and end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The host is short of memory.
    HostMemory,
    /// The reverse proxy in front is down or does not answer.
    ProxyDown,
    /// The proxy is alive, and says that what is behind it does not answer.
    ProxyUpstream,
    /// Local and proxy are good, the public name is not.
    PublicUnreachable,
    /// Nothing outside can be reached.
    NetworkDown,
    /// The database does not accept connections; the app still answers.
    DatabaseUnreachable,
    /// The certificate expires soon, or is not valid.
    CertificateExpiring,
    /// A file system is nearly full.
    DiskLow,
    /// A check fails that was never good since it was configured.
    NeverHealthy,
    /// Somebody else listens on its port while it answers.
    PortForeign,
    /// Fewer processes than `min_processes` while it answers.
    FewProcesses,
    /// Good, but over `max_latency`.
    Slow,
    /// Started more than five times within an hour, by whomever.
    RestartsOften,
    /// systemd or polkit refuses what the plan needs.
    MayNotAct,
    /// A check cannot be made for more than five minutes.
    Blind,
    /// On its way from one state to another for longer than its own timeouts allow.
    Overdue,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 16] = [
        Self::HostMemory,
        Self::ProxyDown,
        Self::ProxyUpstream,
        Self::PublicUnreachable,
        Self::NetworkDown,
        Self::DatabaseUnreachable,
        Self::CertificateExpiring,
        Self::DiskLow,
        Self::NeverHealthy,
        Self::PortForeign,
        Self::FewProcesses,
        Self::Slow,
        Self::RestartsOften,
        Self::MayNotAct,
        Self::Blind,
        Self::Overdue,
    ];

    /// The word, as in `status`, the journal and on the bus.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::HostMemory => "host-memory",
            Self::ProxyDown => "proxy-down",
            Self::ProxyUpstream => "proxy-upstream",
            Self::PublicUnreachable => "public-unreachable",
            Self::NetworkDown => "network-down",
            Self::DatabaseUnreachable => "database-unreachable",
            Self::CertificateExpiring => "certificate-expiring",
            Self::DiskLow => "disk-low",
            Self::NeverHealthy => "never-healthy",
            Self::PortForeign => "port-foreign",
            Self::FewProcesses => "few-processes",
            Self::Slow => "slow",
            Self::RestartsOften => "restarts-often",
            Self::MayNotAct => "may-not-act",
            Self::Blind => "blind",
            Self::Overdue => "overdue",
        }
    }

    /// Somebody is to be told when it begins and ends; the others are shown and logged once.
    #[must_use]
    pub fn alerts(self) -> bool {
        !matches!(self, Self::PortForeign | Self::FewProcesses | Self::Slow)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Vec<&'static str> {
        let verdicts = Verdict::ALL.iter().map(|verdict| verdict.word());
        verdicts.chain(Condition::ALL.iter().map(|condition| condition.word())).collect()
    }

    #[test]
    fn every_verdict_and_condition_is_explained_and_no_other() {
        let manual = include_str!("../../packaging/man/app-monitor.8").replace("\\-", "-");
        let section = manual.split("\n.SH ").find(|section| section.starts_with("VERDICTS")).unwrap();
        let mut explained: Vec<&str> =
            section.split(".TP\n.B ").skip(1).filter_map(|entry| entry.lines().next()).collect();
        let mut words = words();
        words.sort_unstable();
        explained.sort_unstable();
        assert_eq!(explained, words);
    }

    #[test]
    fn every_verdict_and_condition_is_shown_on_a_real_systemd() {
        let mut rows = String::new();
        for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/matrix")).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            rows.extend(text.split_whitespace().flat_map(|word| [word, " "]));
        }
        for word in words() {
            let expected = [format!("=> \"{word}\", \""), format!(", \"{word}\", \"")];
            // It takes five minutes, in which nothing else may happen: a test of the judge lets them pass.
            let has_row = word == Condition::Blind.word() || expected.iter().any(|row| rows.contains(row));
            assert!(has_row, "the fault matrix has no row of {word}");
        }
    }

    #[test]
    fn the_order_of_the_list_is_the_precedence() {
        assert!(Verdict::ALL.is_sorted());
    }
}
