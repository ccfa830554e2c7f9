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
    /// Somebody else holds its port.
    PortTaken,
    /// systemd is about to start it again.
    SystemdRestarting,
    /// Up, first good round still missing, within the grace.
    Starting,
    /// It went down, and nobody asked.
    Crashed,
    /// Up, and nobody listens.
    PortClosed,
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
    pub const ALL: [Self; 19] = [
        Self::NotFound,
        Self::Masked,
        Self::ShuttingDown,
        Self::Paused,
        Self::StoppedByAdmin,
        Self::StoppedWithDependency,
        Self::NotStarted,
        Self::Idle,
        Self::Changing,
        Self::PortTaken,
        Self::SystemdRestarting,
        Self::Starting,
        Self::Crashed,
        Self::PortClosed,
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
            Self::PortTaken => "port-taken",
            Self::SystemdRestarting => "systemd-restarting",
            Self::Starting => "starting",
            Self::Crashed => "crashed",
            Self::PortClosed => "port-closed",
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
        matches!(self, Self::Crashed | Self::PortClosed | Self::Frozen | Self::Erroring | Self::NoProcess)
    }

    /// Somebody has to be told, whether or not anything can be done.
    #[must_use]
    pub fn opens_incident(self) -> bool {
        self.is_fault() || matches!(self, Self::NotFound | Self::Masked | Self::NotStarted | Self::PortTaken)
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
    /// A check fails that was never good since it was configured.
    NeverHealthy,
    /// Somebody else listens on its port while it answers.
    PortForeign,
    /// Fewer processes than `min_processes` while it answers.
    FewProcesses,
    /// Good, but over `max_latency`.
    Slow,
    /// systemd or polkit refuses what the plan needs.
    MayNotAct,
    /// A check cannot be made for more than five minutes.
    Blind,
    /// On its way from one state to another for longer than its own timeouts allow.
    Overdue,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 7] = [
        Self::NeverHealthy,
        Self::PortForeign,
        Self::FewProcesses,
        Self::Slow,
        Self::MayNotAct,
        Self::Blind,
        Self::Overdue,
    ];

    /// The word, as in `status`, the journal and on the bus.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NeverHealthy => "never-healthy",
            Self::PortForeign => "port-foreign",
            Self::FewProcesses => "few-processes",
            Self::Slow => "slow",
            Self::MayNotAct => "may-not-act",
            Self::Blind => "blind",
            Self::Overdue => "overdue",
        }
    }

    /// Somebody is to be told when it begins and ends; the others are shown and logged once.
    #[must_use]
    pub fn alerts(self) -> bool {
        matches!(self, Self::NeverHealthy | Self::MayNotAct | Self::Blind | Self::Overdue)
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

    #[test]
    fn every_verdict_and_condition_is_explained() {
        let manual = include_str!("../../packaging/man/app-monitor.8").replace("\\-", "-");
        for verdict in Verdict::ALL {
            assert!(manual.contains(&format!("\n.B {verdict}\n")), "{verdict}");
        }
        for condition in Condition::ALL {
            assert!(manual.contains(condition.word()), "{condition}");
        }
    }

    #[test]
    fn the_order_of_the_list_is_the_precedence() {
        assert!(Verdict::ALL.is_sorted());
    }
}
