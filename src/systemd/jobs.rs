//! Jobs: queueing them, asking after them, and the acts on units that are none.
//!
//! Job mode is always `fail`: `replace` would cancel what an administrator has just asked for.

use zbus::OwnedObjectPath;

use super::bus::{Bus, Hand, MANAGER, MANAGER_PATH, SYSTEMD};
use super::error::Error;
use super::properties::Value;
use crate::judge::{JobId, UnitName};

/// SIGKILL, the same number on every architecture that Debian has (signal(7)).
pub const SIGKILL: i32 = 9;
/// More pending jobs than a large boot has; the rest is not looked at.
const MANY_JOBS: usize = 4096;

/// A job that systemd queued, or merged into one that was pending already (whose id it then is).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// Its id, as JobNew and JobRemoved carry it.
    pub id: JobId,
    /// Its object path.
    pub path: String,
}

/// A job out of the queue (`ListJobs`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingJob {
    /// Its id.
    pub id: JobId,
    /// What it is on.
    pub unit: UnitName,
    /// `start`, `stop`, `restart`, `verify-active`, `reload`, …
    pub kind: String,
    /// `waiting` or `running`.
    pub state: String,
}

impl Hand {
    /// `StartUnit`, mode `fail`. Its return is not a start; wait for the job.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a stop is pending, [`Error::Refused`], [`Error::NoSuchUnit`],
    /// [`Error::Masked`]; unknown as [`Error::is_unknown`] says.
    pub async fn start(&self, unit: &UnitName) -> Result<Job, Error> {
        self.queue("StartUnit", unit).await
    }

    /// `StopUnit`, mode `fail`.
    ///
    /// # Errors
    /// As [`Hand::start`].
    pub async fn stop(&self, unit: &UnitName) -> Result<Job, Error> {
        self.queue("StopUnit", unit).await
    }

    /// `RestartUnit`, mode `fail`: one job for both halves. Starts a unit that is down.
    ///
    /// # Errors
    /// As [`Hand::start`].
    pub async fn restart(&self, unit: &UnitName) -> Result<Job, Error> {
        self.queue("RestartUnit", unit).await
    }

    /// `ReloadUnit`, mode `fail`.
    ///
    /// # Errors
    /// As [`Hand::start`]; [`Error::Other`] for a unit that cannot reload.
    pub async fn reload(&self, unit: &UnitName) -> Result<Job, Error> {
        self.queue("ReloadUnit", unit).await
    }

    async fn queue(&self, member: &str, unit: &UnitName) -> Result<Job, Error> {
        let answer = self.act(member, &(unit.as_str(), "fail")).await?;
        let path: OwnedObjectPath =
            answer.body().deserialize().map_err(|error| Error::malformed(member, error))?;
        let path = path.as_str().to_owned();
        let id = path.rsplit('/').next().and_then(|id| id.parse().ok()).map(JobId);
        let id = id.ok_or_else(|| Error::malformed(member, format_args!("{path} is no job")))?;
        Ok(Job { id, path })
    }

    /// `KillUnit`: a signal to every process in the unit's cgroup.
    ///
    /// # Errors
    /// [`Error::NoSuchProcess`] when none is left, and as [`Hand::start`].
    pub async fn kill(&self, unit: &UnitName, signal: i32) -> Result<(), Error> {
        self.act("KillUnit", &(unit.as_str(), "all", signal)).await.map(drop)
    }

    /// `ResetFailedUnit`: clears `failed` and the count of the start limit. False when the unit
    /// is not loaded, and so had neither.
    ///
    /// # Errors
    /// As [`Hand::start`].
    pub async fn reset_failed(&self, unit: &UnitName) -> Result<bool, Error> {
        match self.act("ResetFailedUnit", &unit.as_str()).await {
            Ok(_) => Ok(true),
            Err(Error::NoSuchUnit) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Bus {
    /// `RefUnit`: holds the unit in memory, with its timestamps and its invocation, until this
    /// connection ends. Once per connection: systemd counts.
    ///
    /// # Errors
    /// [`Error::Refused`] without the grant; [`Error::Other`] for a unit that cannot be loaded.
    pub async fn ref_unit(&self, unit: &UnitName) -> Result<(), Error> {
        match self.tell("RefUnit", &unit.as_str()).await {
            Ok(_) => Ok(()),
            Err(Error::Other(name, _)) if name.ends_with(".AlreadyReferenced") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// `UnrefUnit`. A unit that is not held is let go already.
    ///
    /// # Errors
    /// As [`Bus::ref_unit`].
    pub async fn unref_unit(&self, unit: &UnitName) -> Result<(), Error> {
        match self.tell("UnrefUnit", &unit.as_str()).await {
            Ok(_) | Err(Error::NoSuchUnit) => Ok(()),
            Err(Error::Other(name, _)) if name.ends_with(".NotReferenced") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether a job is still pending (`GetJob`).
    ///
    /// # Errors
    /// Unknown as [`Error::is_unknown`] says.
    pub async fn job_pending(&self, id: JobId) -> Result<bool, Error> {
        match self.ask(SYSTEMD, MANAGER_PATH, MANAGER, "GetJob", &id.0).await {
            Ok(_) => Ok(true),
            Err(Error::NoSuchJob) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// `ListJobs`: what is pending, 4096 at most; empty on a host at rest.
    ///
    /// # Errors
    /// Unknown as [`Error::is_unknown`] says.
    pub async fn list_jobs(&self) -> Result<Vec<PendingJob>, Error> {
        let answer = self.ask(SYSTEMD, MANAGER_PATH, MANAGER, "ListJobs", &()).await?;
        let body = answer.body();
        type Row<'a> = (u32, &'a str, &'a str, &'a str, zbus::ObjectPath<'a>, zbus::ObjectPath<'a>);
        let rows: Vec<Row<'_>> = body.deserialize().map_err(|error| Error::malformed("ListJobs", error))?;
        let job = |(id, unit, kind, state, _, _): Row<'_>| {
            let unit = unit.parse().ok()?;
            Some(PendingJob { id: JobId(id), unit, kind: kind.to_owned(), state: state.to_owned() })
        };
        Ok(rows.into_iter().take(MANY_JOBS).filter_map(job).collect())
    }

    /// Whether a job is pending that takes the host down.
    ///
    /// # Errors
    /// As [`Bus::list_jobs`].
    pub async fn shutdown_pending(&self) -> Result<bool, Error> {
        let jobs = self.list_jobs().await?;
        Ok(jobs.iter().any(|job| job.kind == "start" && job.unit.takes_host_down()))
    }

    /// `SystemState`: `starting`, `running`, `degraded`, `maintenance`, `stopping`, …; systemd
    /// sends no signal when it changes.
    ///
    /// # Errors
    /// Unknown as [`Error::is_unknown`] says.
    pub async fn system_state(&self) -> Result<String, Error> {
        self.manager_text("SystemState").await
    }

    /// `Version`: `252.38-1~deb12u1`, …
    ///
    /// # Errors
    /// Unknown as [`Error::is_unknown`] says.
    pub async fn version(&self) -> Result<String, Error> {
        self.manager_text("Version").await
    }

    async fn manager_text(&self, name: &str) -> Result<String, Error> {
        match self.property_at(MANAGER_PATH, MANAGER, name).await? {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(Error::malformed(name, "it is no text")),
        }
    }
}
