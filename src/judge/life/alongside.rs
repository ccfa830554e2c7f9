//! Jobs on what a unit depends on that are pending when somebody's job on the unit is queued.
//!
//! Who stops a database stops the app that needs it by the same transaction, and of that the database's job
//! is told first: systemd announces the job that was asked for before it answers, those that came with it
//! afterwards. So one that was pending already is the reason, however long both took to go down; a host
//! under load needs more time between the two than timestamps could allow for.

use std::collections::VecDeque;

use super::super::names::UnitName;
use super::super::unit::JobId;

/// So many jobs are remembered. One whose end was never told must not stay for ever.
const JOBS: usize = 16;

/// Which jobs are pending, and what a job of somebody found pending.
#[derive(Clone, Debug, Default)]
pub(super) struct Alongside {
    pending: VecDeque<(UnitName, JobId)>,
    found: Vec<UnitName>,
}

impl Alongside {
    /// A job was queued on what the unit depends on.
    pub fn queued(&mut self, other: UnitName, job: JobId) {
        self.pending.push_back((other, job));
        if self.pending.len() > JOBS {
            self.pending.pop_front();
        }
    }

    /// That job ended.
    pub fn removed(&mut self, job: JobId) {
        self.pending.retain(|(_, known)| *known != job);
    }

    /// Somebody's job on the unit itself was queued.
    pub fn joined(&mut self) {
        self.found = self.pending.iter().map(|(other, _)| other.clone()).collect();
    }

    /// That job is over, and took nothing down.
    pub fn passed(&mut self) {
        self.found.clear();
    }

    /// A job on that other unit was pending when somebody's latest on the unit was queued.
    pub fn came_with(&self, other: &UnitName) -> bool {
        self.found.contains(other)
    }
}
