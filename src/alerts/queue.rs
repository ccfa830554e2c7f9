//! Everything that waits to be told, channel by channel, and as a file has it. As pure as its lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::Alert;
use crate::judge::{Clocks, Moment, Record};

use super::item::{Item, begun};
use super::lane::{Batch, Failure, Lane, Last, Next, Pace};

/// The format that is written.
const VERSION: u32 = 1;

/// The file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stored {
    pub(super) version: u32,
    pub(super) clocks: Clocks,
    /// Of two copies the one with the higher number is the later.
    pub(super) serial: u64,
    pub(super) lanes: BTreeMap<String, Lane>,
}

/// Why a file cannot be used.
#[derive(Debug)]
pub enum Problem {
    /// It is not what this program writes.
    Garbage(serde_json::Error),
    /// A later version wrote it.
    Newer(u32),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Garbage(error) => write!(f, "not a queue of ours: {error}"),
            Self::Newer(version) => {
                write!(f, "written by a newer version (format {version}, known: {VERSION})")
            }
        }
    }
}

impl Stored {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn parse(text: &[u8]) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let Head { version } = serde_json::from_slice(text).map_err(Problem::Garbage)?;
        if version > VERSION {
            return Err(Problem::Newer(version));
        }
        serde_json::from_slice(text).map_err(Problem::Garbage)
    }
}

/// Everything that waits.
#[derive(Debug, Default)]
pub struct Queue {
    alerts: Vec<Alert>,
    lanes: BTreeMap<String, Lane>,
    /// Channels that were there when the queue was written last.
    restored: BTreeSet<String>,
    /// Counts what is told, and what is written.
    serial: u64,
    dirty: bool,
}

/// A message that is to go out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Order {
    pub alert: Alert,
    pub batch: Batch,
}

/// A channel, as a command shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChannelView {
    /// The name of its table.
    pub name: String,
    /// `email`, `unit`, …
    pub kind: String,
    /// So many things wait to be told.
    pub waiting: usize,
    /// So many were dropped, because too many waited or for too long.
    pub missing: u32,
    /// Deliveries in a row that failed.
    pub failures: u32,
    /// In how many seconds it is tried again; none where nothing waits for that.
    pub next_try_in_seconds: Option<u64>,
    /// How the last delivery went; none before the first.
    pub last: Option<Last>,
}

impl Queue {
    /// What a file said, as far as it can be true now. Within one boot moments stay what they are; over a
    /// reboot the wall clock tells how long ago they were.
    #[must_use]
    pub fn restore(stored: Stored, now: &Clocks) -> Self {
        let shift = |moment: Moment| stored.clocks.carry(moment, now);
        let lanes = stored.lanes.into_iter().take(MOST_LANES);
        let lanes: BTreeMap<String, Lane> =
            lanes.map(|(name, lane)| (name, lane.settled(now.monotonic, shift))).collect();
        let restored = lanes.keys().cloned().collect();
        Self { alerts: Vec::new(), lanes, restored, serial: stored.serial, dirty: false }
    }

    /// As it is written.
    #[must_use]
    pub fn stored(&mut self, clocks: Clocks) -> Stored {
        self.dirty = false;
        self.serial = self.serial.saturating_add(1);
        Stored { version: VERSION, clocks, serial: self.serial, lanes: self.lanes.clone() }
    }

    /// Whether something changed since it was last written.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// The channels are these now. What waits for others is dropped; whatever changed about one, it is
    /// tried at once.
    pub fn configure(&mut self, alerts: Vec<Alert>) {
        let before = self.lanes.len();
        self.lanes.retain(|name, _| alerts.iter().any(|alert| alert.name == *name));
        self.dirty |= self.lanes.len() != before;
        for alert in &alerts {
            let known = self.lanes.contains_key(&alert.name);
            self.dirty |= !known;
            let lane = self.lanes.entry(alert.name.clone()).or_default();
            lane.pace = Pace::of(alert);
            let same = self.alerts.iter().any(|other| other == alert);
            if !same {
                lane.try_again();
            }
        }
        self.alerts = alerts;
    }

    /// The monitor begins: this is what was to be told of the incidents and conditions that last; these
    /// conditions hold, whether told or not. A channel that was there before and has not heard of one is
    /// told now, and one that heard of what does not last any more is told so: whatever fell between two
    /// writes is made up for.
    pub fn begin(&mut self, now: Moment, wall: i64, open: &[Record], held: &BTreeSet<String>) {
        let lasting: BTreeSet<String> = open.iter().filter_map(begun).chain(held.iter().cloned()).collect();
        let restored = std::mem::take(&mut self.restored);
        let known: BTreeMap<String, BTreeSet<String>> = self
            .lanes
            .iter()
            .filter(|(name, _)| restored.contains(*name))
            .map(|(name, lane)| (name.clone(), lane.lasting.keys().cloned().collect()))
            .collect();
        let (serial, mut dirty) = (&mut self.serial, false);
        for (name, lane) in &mut self.lanes {
            let alert = self.alerts.iter().find(|alert| alert.name == *name);
            let mut make = |event| {
                let wanted = alert.is_some_and(|alert| alert.wants(event, true));
                wanted.then(|| made(serial, wall))
            };
            dirty |= lane.keep_only(now, |key| lasting.contains(key), Some(&mut make));
        }
        self.dirty |= dirty;
        for record in open {
            let Some(key) = begun(record) else { continue };
            self.take_for(now, wall, record, |name| known.get(name).is_some_and(|keys| !keys.contains(&key)));
        }
    }

    /// Only what has one of these names lasts: the rest is not repeated.
    pub fn keep_only(&mut self, now: Moment, lasting: &BTreeSet<String>) {
        for lane in self.lanes.values_mut() {
            self.dirty |= lane.keep_only(now, |key| lasting.contains(key), None);
        }
    }

    /// A line of the judge's.
    pub fn take(&mut self, now: Moment, wall: i64, record: &Record) {
        self.take_for(now, wall, record, |_| true);
    }

    fn take_for(&mut self, now: Moment, wall: i64, record: &Record, whom: impl Fn(&str) -> bool) {
        for alert in self.alerts.iter().filter(|alert| whom(&alert.name)) {
            let Some(lane) = self.lanes.get_mut(&alert.name) else { continue };
            let (id, time) = made(&mut self.serial, wall);
            let wanted = alert.wants(record.event, record.alert);
            self.dirty |= lane.take(now, record, Item::of(record, id, time), wanted);
        }
    }

    /// What time brings, and what goes out now, to so many channels at most.
    pub(super) fn next(&mut self, now: Moment, wall: i64, most: usize) -> Vec<Order> {
        let mut orders = Vec::new();
        for alert in &self.alerts {
            let Some(lane) = self.lanes.get_mut(&alert.name) else { continue };
            self.dirty |= lane.tick(now, || made(&mut self.serial, wall));
            if orders.len() < most {
                orders.extend(lane.next(now).map(|batch| Order { alert: alert.clone(), batch }));
            }
        }
        orders
    }

    /// When there is something to do.
    #[must_use]
    pub fn due(&self) -> Option<Moment> {
        self.lanes.values().filter_map(Lane::due).min()
    }

    /// A message got there.
    pub(super) fn sent(&mut self, now: Moment, name: &str, batch: &Batch, last: Last) {
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.sent(now, batch, last);
            self.dirty = true;
        }
    }

    /// A message did not. Nothing follows for a channel that is gone; else what, and whether it is the
    /// first of several failures.
    pub(super) fn failed(
        &mut self,
        now: Moment,
        name: &str,
        failure: &Failure,
        last: Last,
    ) -> Option<(Next, bool)> {
        let lane = self.lanes.get_mut(name)?;
        self.dirty = true;
        let first = lane.failures == 0;
        Some((lane.failed(now, failure, last), first))
    }

    /// The bus is there, or there again: what waits for units is tried at once.
    pub(super) fn try_units(&mut self) {
        for lane in self.lanes.values_mut().filter(|lane| lane.pace.singly) {
            lane.try_again();
        }
    }

    /// How many wait for a channel.
    pub(super) fn waiting(&self, name: &str) -> usize {
        self.lanes.get(name).map_or(0, |lane| lane.waiting.len())
    }

    /// The channel of that name.
    pub(super) fn alert(&self, name: &str) -> Option<&Alert> {
        self.alerts.iter().find(|alert| alert.name == name)
    }

    /// All channels, as a command shows them.
    #[must_use]
    pub fn views(&self, now: Moment) -> Vec<ChannelView> {
        let view = |alert: &Alert| {
            let lane = self.lanes.get(&alert.name)?;
            let next = lane.not_before.filter(|_| !lane.waiting.is_empty());
            Some(ChannelView {
                name: alert.name.clone(),
                kind: alert.channel.word().to_owned(),
                waiting: lane.waiting.len(),
                missing: lane.missing,
                failures: lane.failures,
                next_try_in_seconds: next.map(|at| at.since(now).as_secs()),
                last: lane.last.clone(),
            })
        };
        self.alerts.iter().filter_map(view).collect()
    }
}

/// As many as the configuration may have.
const MOST_LANES: usize = 1_000;

/// An id that no other message of this host has, and the time.
fn made(serial: &mut u64, wall: i64) -> (String, i64) {
    *serial = serial.saturating_add(1);
    (format!("{wall:x}-{serial:x}"), wall)
}

#[cfg(test)]
mod tests;
