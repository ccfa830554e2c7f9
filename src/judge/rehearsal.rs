//! A recovery that is not carried out: what one that a person asks for would do now.
//!
//! The steps are those of the planner that every recovery goes by. Nothing is asked, written or
//! changed for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::app::App;
use super::effect::Request;
use super::host::Host;
use super::names::Subject;
use super::plan::{Margins, Step};
use super::target::Stragglers;
use super::unit::UnitReading;
use super::wanting::Why;

/// A recovery that was planned, and not begun. This shape is public interface
/// (`recover --dry-run --json`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rehearsal {
    /// The app, or the instance: `web`, `web@2`.
    pub subject: String,
    /// Its unit.
    pub unit: String,
    /// Why it would be refused; null when it would not be.
    pub refused: Option<String>,
    /// What would be done, in this order; nothing where it would be refused.
    pub steps: Vec<RehearsedStep>,
    /// For how long it would have to be healthy to count as recovered.
    pub min_uptime_seconds: u64,
    /// How long that may take.
    pub verify_within_seconds: u64,
    /// Units that would be started when it is healthy again.
    pub after_recovery: Vec<String>,
}

/// One step of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RehearsedStep {
    /// Its name, as in the journal and in incidents.
    pub step: String,
    /// The unit that systemd would be asked about.
    pub unit: String,
    /// What it would touch, for people.
    pub text: String,
    /// How long it may take at most; null where systemd answers at once.
    pub deadline_seconds: Option<u64>,
    /// When SIGKILL would follow a stop; null where nothing is stopped.
    pub kill_after_seconds: Option<u64>,
    /// What it would touch besides: folders, and, where root asks, processes and swaps.
    pub touches: Vec<String>,
}

impl Host {
    /// What a recovery of that app would do.
    ///
    /// # Errors
    /// There is no such app, or nothing of it to be recovered.
    pub fn rehearse(&self, name: &Subject, margins: Margins) -> Result<Rehearsal, String> {
        let asked = self.asked_for(name, &Request::Recover { by: None })?;
        let app = asked.first().and_then(|name| self.app(name));
        Ok(app.ok_or_else(|| format!("no app is called {name}"))?.rehearse(margins))
    }
}

impl App {
    fn rehearse(&self, margins: Margins) -> Rehearsal {
        let refused = self.refuses_recovery();
        let steps = match (&self.unit, &refused) {
            (Some(unit), None) => {
                let steps = self.steps_for(unit, Why::Asked, 1);
                steps.into_iter().map(|step| self.rehearse_step(&step, unit, margins)).collect()
            }
            _ => Vec::new(),
        };
        Rehearsal {
            subject: self.name().to_string(),
            unit: self.target().unit.to_string(),
            refused,
            steps,
            min_uptime_seconds: self.policy().min_uptime.as_secs(),
            verify_within_seconds: self.verify_within().as_secs(),
            after_recovery: self.policy().after_recovery.iter().map(ToString::to_string).collect(),
        }
    }

    fn rehearse_step(&self, step: &Step, unit: &UnitReading, margins: Margins) -> RehearsedStep {
        let own = &self.target().unit;
        let start = margins.deadline(unit, true, None);
        let helper = |name: &str| format!("app-monitor-{name}@{}.service", self.name());
        let pid = unit.main_pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
        let mut touches = Vec::new();
        let (on, text, deadline, kill_after) = match step {
            Step::ResetFailed => {
                (own.to_string(), "forget its failure and its start limit".to_owned(), None, None)
            }
            Step::Start => (own.to_string(), "one start job".to_owned(), Some(start), None),
            Step::Restart { kill_after } => {
                let text = format!("one restart job{pid}");
                (
                    own.to_string(),
                    text,
                    Some(margins.deadline(unit, true, Some(*kill_after))),
                    Some(*kill_after),
                )
            }
            Step::Stop { kill_after } => {
                let text = format!("one stop job{pid}");
                (
                    own.to_string(),
                    text,
                    Some(margins.deadline(unit, false, Some(*kill_after))),
                    Some(*kill_after),
                )
            }
            Step::KillLeftovers => {
                let text = "SIGKILL to what KillMode= left of it".to_owned();
                (own.to_string(), text, None, None)
            }
            Step::Preflight => {
                let text = "look whether all that a start needs is there".to_owned();
                (helper("preflight"), text, Some(PREFLIGHT), None)
            }
            Step::Reap => (helper("reap"), self.who_is_reaped(), Some(REAP), None),
            Step::ClearCaches => {
                touches = self.cache_paths(unit);
                (helper("clear-caches"), "empty its cache folders".to_owned(), Some(CLEAR_CACHES), None)
            }
            Step::ReclaimSwap => {
                let text = "swaps that have a unit and fit into free memory are turned off and on again";
                ("*.swap".to_owned(), text.to_owned(), None, None)
            }
            Step::Hook(hook) => {
                let text = "start this hook (before_start) and wait for it".to_owned();
                (hook.to_string(), text, Some(HOOK), None)
            }
            Step::Reload => (own.to_string(), "one reload job".to_owned(), Some(start), None),
        };
        RehearsedStep {
            step: step.word().to_owned(),
            unit: on,
            text,
            deadline_seconds: deadline.map(|deadline| deadline.as_secs()),
            kill_after_seconds: kill_after.map(|after| after.as_secs()),
            touches,
        }
    }

    fn who_is_reaped(&self) -> String {
        let holder = self.port_holder().map_or_else(String::new, |holder| format!(" ({holder})"));
        let port = self.target().port.map_or_else(String::new, |port| format!(" {port}"));
        match self.target().stragglers {
            Stragglers::Port => format!("end whoever holds port{port}{holder} and belongs to no other unit"),
            Stragglers::Own | Stragglers::Never => {
                format!(
                    "end orphans of the unit, and who holds port{port} outside every unit and session{holder}"
                )
            }
        }
    }

    /// As configured, below the working directory; systemd's own are named by their setting.
    fn cache_paths(&self, unit: &UnitReading) -> Vec<String> {
        let target = self.target();
        let configured = target.working_directory.as_ref().map(|path| path.display().to_string());
        let root = configured.or_else(|| unit.working_directory.clone());
        let own =
            target.caches.iter().filter_map(|cache| Some(format!("{}/{}", root.as_ref()?, cache.display())));
        own.chain(unit.cache_directory.then(|| "CacheDirectory= of the unit".to_owned())).collect()
    }
}

// Helpers are ended by systemd after that (TimeoutStartSec= of their units).
const PREFLIGHT: Duration = Duration::from_secs(10);
const REAP: Duration = Duration::from_secs(15);
const CLEAR_CACHES: Duration = Duration::from_secs(60);
/// A hook without a timeout of its own is given as long as systemd gives a service.
const HOOK: Duration = Duration::from_secs(90);
