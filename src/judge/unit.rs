//! What systemd says of a unit, as plain data: one coherent reading of the properties that
//! judgement needs. Names and meanings are those of org.freedesktop.systemd1(5).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::UnitName;
use super::time::Moment;

/// `LoadState`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadState {
    /// The unit file was read.
    Loaded,
    /// No such unit file.
    NotFound,
    /// The unit file has an error that keeps it from being used.
    BadSetting,
    /// It could not be read.
    Error,
    /// Linked to /dev/null.
    Masked,
    /// Stub, merged, or one we do not know.
    Other,
}

impl LoadState {
    /// Reads systemd's word.
    #[must_use]
    pub fn from_systemd(word: &str) -> Self {
        match word {
            "loaded" => Self::Loaded,
            "not-found" => Self::NotFound,
            "bad-setting" => Self::BadSetting,
            "error" => Self::Error,
            "masked" => Self::Masked,
            _ => Self::Other,
        }
    }
}

/// `ActiveState`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActiveState {
    /// Up.
    Active,
    /// Up, and reading its configuration again.
    Reloading,
    /// Down.
    Inactive,
    /// Down, and not well.
    Failed,
    /// On its way up, an automatic restart among them (see `SubState`).
    Activating,
    /// On its way down.
    Deactivating,
    /// Cleaning up.
    Maintenance,
    /// One we do not know.
    Other,
}

impl ActiveState {
    /// Reads systemd's word.
    #[must_use]
    pub fn from_systemd(word: &str) -> Self {
        match word {
            "active" => Self::Active,
            "reloading" | "refreshing" => Self::Reloading,
            "inactive" => Self::Inactive,
            "failed" => Self::Failed,
            "activating" => Self::Activating,
            "deactivating" => Self::Deactivating,
            "maintenance" => Self::Maintenance,
            _ => Self::Other,
        }
    }

    /// `inactive` or `failed`: nothing runs and nothing is about to.
    #[must_use]
    pub fn is_down(self) -> bool {
        matches!(self, Self::Inactive | Self::Failed)
    }
}

/// The id under which systemd queued a job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u32);

/// `result` of the JobRemoved signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobResult {
    /// Carried out. Does not mean healthy, nor, for a stop, how it went.
    Done,
    /// Somebody else decided before it ran.
    Canceled,
    /// The job's own time ran out.
    Timeout,
    /// It ran and failed.
    Failed,
    /// A unit that it needs did not come up.
    Dependency,
    /// Not applicable to the unit's state.
    Skipped,
    /// Invalid, assert, unsupported, collected, once, frozen, or one we do not know.
    Other,
}

impl JobResult {
    /// Reads systemd's word.
    #[must_use]
    pub fn from_systemd(word: &str) -> Self {
        match word {
            "done" => Self::Done,
            "canceled" => Self::Canceled,
            "timeout" => Self::Timeout,
            "failed" => Self::Failed,
            "dependency" => Self::Dependency,
            "skipped" => Self::Skipped,
            _ => Self::Other,
        }
    }
}

/// `InvocationID`: one start of a unit, from there to its end (systemd.exec(5)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InvocationId(pub [u8; 16]);

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How the last main process ended (`ExecMainCode`, `ExecMainStatus`; waitid(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with that status.
    Status(i32),
    /// By that signal.
    Signal(i32),
    /// By that signal, leaving a core dump.
    Core(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exited with status {status}"),
            Self::Signal(signal) => write!(f, "killed by {}", signal_name(*signal)),
            Self::Core(signal) => write!(f, "killed by {} with a core dump", signal_name(*signal)),
        }
    }
}

/// The name of a signal (signal(7)), or its number where we have none.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

/// A unit that ours needs: `Requires=`, `Requisite=`, `BindsTo=` or `PartOf=`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dependency {
    /// Its name.
    pub unit: UnitName,
    /// Its state when ours was read.
    pub active: ActiveState,
    /// Whether a job is pending on it.
    pub job: bool,
    /// Ours goes down with it, and needs it to be up (`Requires=`, `Requisite=`, `BindsTo=`);
    /// false where it is only `PartOf=`.
    pub needed: bool,
    /// `ActiveExitTimestampMonotonic` of it: it last stopped being up.
    pub left: Option<Moment>,
}

/// One coherent reading of a unit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UnitReading {
    /// `LoadState`.
    pub load: LoadState,
    /// `ActiveState`.
    pub active: ActiveState,
    /// `SubState`, e.g. `running`, `auto-restart`, `stop-sigterm`.
    pub sub: String,
    /// `Job`: the job pending on the unit.
    pub job: Option<JobId>,
    /// `InvocationID` of the current or last run; none before the first or after unloading.
    pub invocation: Option<InvocationId>,
    /// `UnitFileState` is `enabled`, `enabled-runtime` or `alias`.
    pub enabled: bool,
    /// `FreezerState` is neither empty nor `running`.
    pub frozen: bool,
    /// A debugger holds the main process (`TracerPid`, proc_pid_status(5)).
    #[serde(default)]
    pub traced: bool,
    /// The main process is writing a core dump (`CoreDumping`, proc_pid_status(5)).
    #[serde(default)]
    pub dumping: bool,
    /// `InactiveExitTimestampMonotonic`: it last began to start.
    pub inactive_exit: Option<Moment>,
    /// `ActiveEnterTimestampMonotonic`: it last was up.
    pub active_enter: Option<Moment>,
    /// `ActiveExitTimestampMonotonic`: it last stopped being up.
    pub active_exit: Option<Moment>,
    /// `InactiveEnterTimestampMonotonic`: it last was down.
    pub inactive_enter: Option<Moment>,
    /// `ExecMainExitTimestampMonotonic`.
    pub main_exit: Option<Moment>,
    /// `MainPID`.
    pub main_pid: Option<u32>,
    /// `ExecMainCode` and `ExecMainStatus`.
    pub exit: Option<Exit>,
    /// `Result`: `success`, `exit-code`, `start-limit-hit`, …
    pub result: String,
    /// `ConditionResult` was false at the last start, and one was tried.
    pub condition_failed: bool,
    /// `NRestarts`: automatic restarts.
    pub restarts: u32,
    /// `Restart=`: `no`, `always`, `on-failure`, …
    pub restart: String,
    /// `RestartUSec`; none where infinite.
    pub restart_delay: Option<Duration>,
    /// `TimeoutStartUSec`; none where infinite.
    pub timeout_start: Option<Duration>,
    /// `TimeoutStopUSec`; none where infinite.
    pub timeout_stop: Option<Duration>,
    /// `KillMode=`.
    pub kill_mode: String,
    /// A socket unit that triggers this one (`TriggeredBy`) is listening.
    pub socket_listening: bool,
    /// Units that it needs or goes down with, but for the targets and slices of early boot.
    pub dependencies: Vec<Dependency>,
    /// `WorkingDirectory`, where the unit has one.
    pub working_directory: Option<String>,
    /// `CacheDirectory` names one at least.
    #[serde(default)]
    pub cache_directory: bool,
    /// `ControlGroup`: its path below the cgroup mount, none when it has none.
    pub control_group: Option<String>,
}

impl UnitReading {
    /// A service that has been up since then, as systemd has it where a unit file says nothing, in the
    /// cgroup `/system.slice/web.service`: where a unit is played, not read.
    #[must_use]
    pub fn running(invocation: InvocationId, main_pid: u32, since: Moment) -> Self {
        Self {
            load: LoadState::Loaded,
            active: ActiveState::Active,
            sub: "running".into(),
            job: None,
            invocation: Some(invocation),
            enabled: true,
            frozen: false,
            traced: false,
            dumping: false,
            inactive_exit: Some(since),
            active_enter: Some(since),
            active_exit: None,
            inactive_enter: None,
            main_exit: None,
            main_pid: Some(main_pid),
            exit: None,
            result: "success".into(),
            condition_failed: false,
            restarts: 0,
            restart: "no".into(),
            restart_delay: Some(Duration::from_millis(100)),
            timeout_start: Some(Duration::from_secs(90)),
            timeout_stop: Some(Duration::from_secs(90)),
            kill_mode: "control-group".into(),
            socket_listening: false,
            dependencies: Vec::new(),
            working_directory: None,
            cache_directory: false,
            control_group: Some("/system.slice/web.service".into()),
        }
    }

    /// It is down, or waits for its automatic restart: nothing of it is to run any more.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.active.is_down() || self.auto_restarting()
    }

    /// systemd is about to start it again by itself: `auto-restart`, and on 254 and later
    /// `auto-restart-queued` and the `…-before-auto-restart` states.
    #[must_use]
    pub fn auto_restarting(&self) -> bool {
        self.sub.contains("auto-restart")
    }
}
