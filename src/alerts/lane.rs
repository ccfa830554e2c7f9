//! What waits for one channel, and when it goes out. Knows no clock, no file and no network: time is an
//! argument, and what follows is done by somebody else.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Alert, Channel};
use crate::judge::{EventKind, Moment, Record, Span};

use super::item::{Bound, Item, bound};

/// What comes within so long goes out in one message.
const GATHER: Duration = Duration::from_secs(3);
/// Most of a message: things to tell, and characters of them, so that the form with the least room
/// (Discord, 2,000 characters) takes it.
const MOST_TOLD: usize = 20;
const MOST_TEXT: usize = 1_400;
/// Most that waits.
pub(super) const MOST_WAITING: usize = 200;
/// Most that is known to last. What comes on top is told, but not repeated.
const MOST_LASTING: usize = 1_000;
/// How long until it is tried again: from the first to the longest.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(600);
/// What the other side asks for is granted up to that.
const MOST_ASKED: Duration = Duration::from_secs(3_600);
/// Where the other side says no to us, and not to the message.
const UNWELCOME: Duration = Duration::from_secs(1_800);
/// A message that is not liked is not tried more often.
const MOST_DISLIKED: u32 = 3;
/// Nobody needs to hear of what is older.
const OLDEST: Duration = Duration::from_secs(3 * 86_400);

/// What of the configuration counts here.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Pace {
    /// One at a time, each at once.
    pub singly: bool,
    pub repeat: Option<Duration>,
    pub min_duration: Duration,
}

impl Pace {
    pub fn of(alert: &Alert) -> Self {
        let singly = matches!(alert.channel, Channel::Unit(_));
        Self { singly, repeat: alert.repeat, min_duration: alert.min_duration }
    }

    fn gather(&self) -> Duration {
        if self.singly { Duration::ZERO } else { GATHER }
    }
}

/// Why a message did not get there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Nobody answers, or asks for time.
    Later(String, Option<Duration>),
    /// We are not welcome: a wrong address, a wrong password.
    Unwelcome(String),
    /// The message is not liked.
    Disliked(String),
    /// There is no use in trying again.
    Final(String),
}

impl Failure {
    /// Why, for people.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::Later(why, _) | Self::Unwelcome(why) | Self::Disliked(why) | Self::Final(why) => why,
        }
    }
}

/// What follows a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// It is tried again after that.
    Again(Duration),
    /// These are given up.
    GivenUp(Vec<Item>),
}

/// Something that began and is not over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Lasting {
    pub since: Moment,
    /// When somebody was last told, or was to be; none while it is held back.
    pub told: Option<Moment>,
    pub item: Item,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub since: Moment,
    pub item: Item,
}

/// How the last delivery went.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Last {
    /// When, in seconds since the epoch.
    pub time: i64,
    /// It got there.
    pub sent: bool,
    /// What the other side said, or why not.
    pub text: String,
}

/// What waits for one channel.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Lane {
    pub waiting: VecDeque<Waiting>,
    pub lasting: BTreeMap<String, Lasting>,
    /// So many were dropped since the last message.
    pub missing: u32,
    /// Failures in a row.
    pub failures: u32,
    /// Not before that.
    pub not_before: Option<Moment>,
    /// So often the message was not liked.
    pub disliked: u32,
    /// A message of several was not liked: which of them it is shows when each goes alone.
    pub apart: bool,
    pub last: Option<Last>,
    #[serde(skip)]
    pub pace: Pace,
    /// So many of what waits are on their way.
    #[serde(skip)]
    pub under_way: usize,
}

/// What goes out together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Batch {
    pub items: Vec<Item>,
    pub missing: u32,
}

impl Lane {
    /// A line of the judge's that this channel may want: `wanted` says whether it does. Ends count even
    /// where nobody wants to hear of them.
    pub fn take(&mut self, now: Moment, record: &Record, item: Item, wanted: bool) -> bool {
        match bound(record) {
            Bound::Begin(key) if wanted => {
                if let Some(known) = self.lasting.get_mut(&key) {
                    known.item = item.clone();
                    if known.told.is_none() {
                        return true;
                    }
                    known.told = Some(now);
                } else if self.lasting.len() < MOST_LASTING {
                    let held = !self.pace.min_duration.is_zero();
                    let told = (!held).then_some(now);
                    self.lasting.insert(key, Lasting { since: now, told, item: item.clone() });
                    if held {
                        return true;
                    }
                }
                self.push(now, item);
                true
            }
            Bound::End(key) => {
                let known = self.lasting.remove(&key);
                let held = known.as_ref().is_some_and(|known| known.told.is_none());
                if wanted && !held {
                    self.push(now, item);
                }
                known.is_some() || wanted
            }
            _ => {
                if wanted {
                    self.push(now, item);
                }
                wanted
            }
        }
    }

    pub fn push(&mut self, now: Moment, item: Item) {
        self.waiting.push_back(Waiting { since: now, item });
        if self.waiting.len() <= MOST_WAITING {
            return;
        }
        // The oldest of the least important; what is on its way stays.
        let least = self.waiting.iter().enumerate().skip(self.under_way);
        if let Some((at, _)) = least.min_by_key(|(at, waiting)| (waiting.item.weight(), *at)) {
            self.waiting.remove(at);
            self.missing = self.missing.saturating_add(1);
        }
    }

    /// What time brings: what was held back long enough, what is repeated, what nobody needs any more.
    /// True when something changed. `make`: an id and the time of day for what is new.
    pub fn tick(&mut self, now: Moment, mut make: impl FnMut() -> (String, i64)) -> bool {
        let mut out = Vec::new();
        for lasting in self.lasting.values_mut() {
            match (lasting.told, self.pace.repeat) {
                (None, _) if now >= lasting.since + self.pace.min_duration => {
                    lasting.told = Some(now);
                    out.push(lasting.item.clone());
                }
                (Some(told), Some(repeat)) if now >= told + repeat && is_repeated(lasting.item.event) => {
                    lasting.told = Some(now);
                    // While the channel is down it has not even heard of the first.
                    let same = |waiting: &Waiting| is_same(&waiting.item, &lasting.item);
                    if !self.waiting.iter().any(same) {
                        let (id, time) = make();
                        out.push(lasting.item.again(id, time, Span(now.since(lasting.since))));
                    }
                }
                _ => {}
            }
        }
        let mut changed = !out.is_empty();
        out.into_iter().for_each(|item| self.push(now, item));
        while self.under_way == 0
            && self.waiting.front().is_some_and(|waiting| now.since(waiting.since) >= OLDEST)
        {
            self.waiting.pop_front();
            self.missing = self.missing.saturating_add(1);
            changed = true;
        }
        changed
    }

    /// When there is something to do.
    pub fn due(&self) -> Option<Moment> {
        let held = self.lasting.values().filter_map(|lasting| match (lasting.told, self.pace.repeat) {
            (None, _) => Some(lasting.since + self.pace.min_duration),
            (Some(told), Some(repeat)) if is_repeated(lasting.item.event) => Some(told + repeat),
            _ => None,
        });
        held.chain(self.ready_at()).min()
    }

    fn ready_at(&self) -> Option<Moment> {
        let first = self.waiting.front().filter(|_| self.under_way == 0)?;
        let gathered = first.since + self.pace.gather();
        Some(self.not_before.map_or(gathered, |not_before| not_before.max(gathered)))
    }

    /// What goes out now; it counts as on its way until [`sent`](Self::sent) or [`failed`](Self::failed).
    pub fn next(&mut self, now: Moment) -> Option<Batch> {
        if self.ready_at().is_none_or(|at| now < at) {
            return None;
        }
        let most = if self.pace.singly || self.apart { 1 } else { MOST_TOLD };
        let (mut items, mut text) = (Vec::new(), 0);
        for waiting in self.waiting.iter().take(most) {
            text += waiting.item.text.chars().count();
            if text > MOST_TEXT && !items.is_empty() {
                break;
            }
            items.push(waiting.item.clone());
        }
        self.under_way = items.len();
        Some(Batch { items, missing: self.missing })
    }

    /// It got there.
    pub fn sent(&mut self, now: Moment, batch: &Batch, last: Last) {
        self.waiting.drain(..self.under_way.min(self.waiting.len()));
        self.under_way = 0;
        self.missing = self.missing.saturating_sub(batch.missing);
        (self.failures, self.disliked, self.not_before, self.apart) = (0, 0, None, false);
        self.last = Some(last);
        // A backlog goes out in haste, and no faster than a server takes it.
        if !self.pace.singly && !self.waiting.is_empty() {
            self.not_before = Some(now + Duration::from_secs(1));
        }
    }

    /// It did not.
    pub fn failed(&mut self, now: Moment, failure: &Failure, last: Last) -> Next {
        let several = self.under_way > 1;
        let count = std::mem::take(&mut self.under_way).min(self.waiting.len());
        self.last = Some(last);
        let pause = match failure {
            Failure::Later(_, Some(asked)) => (*asked).clamp(Duration::from_secs(1), MOST_ASKED),
            Failure::Later(_, None) => self.patience(),
            Failure::Unwelcome(_) => UNWELCOME,
            Failure::Disliked(_) if several => {
                self.apart = true;
                FIRST
            }
            Failure::Disliked(_) if self.disliked.saturating_add(1) < MOST_DISLIKED => {
                self.disliked += 1;
                self.patience()
            }
            Failure::Disliked(_) | Failure::Final(_) => {
                (self.failures, self.disliked, self.not_before) = (0, 0, None);
                return Next::GivenUp(self.waiting.drain(..count).map(|waiting| waiting.item).collect());
            }
        };
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + pause);
        Next::Again(pause)
    }

    /// Twice as long each time.
    fn patience(&self) -> Duration {
        (FIRST * 2_u32.saturating_pow(self.failures.min(10))).min(LONGEST)
    }

    /// Whatever kept it from going out may be mended: it is tried at once.
    pub fn try_again(&mut self) {
        (self.failures, self.disliked, self.not_before, self.apart) = (0, 0, None, false);
    }

    /// Only what has one of these names lasts. `told`: somebody is told of the end of the rest, where that
    /// makes an id and the time of day for such an event.
    pub fn keep_only(
        &mut self,
        now: Moment,
        lasts: impl Fn(&str) -> bool,
        told: Option<&mut dyn FnMut(EventKind) -> Option<(String, i64)>>,
    ) -> bool {
        let before = self.lasting.len();
        let mut ended = Vec::new();
        self.lasting.retain(|key, lasting| {
            // That an app is given up ends with a line of its own, and is not repeated.
            let stays = lasts(key) || lasting.item.event == EventKind::BreakerOpened;
            if !stays && lasting.told.is_some() {
                ended.push((key.clone(), lasting.item.clone()));
            }
            stays
        });
        if let Some(make) = told {
            for (key, item) in ended {
                let Some((event, text)) = item.over(&key) else { continue };
                if let Some((id, time)) = make(event) {
                    self.push(now, Item { id, time, event, text, repeated: false, ..item });
                }
            }
        }
        self.lasting.len() != before
    }

    /// What of a file can be true at that moment.
    pub fn settled(mut self, now: Moment, shift: impl Fn(Moment) -> Moment) -> Self {
        let past = |moment: Moment| shift(moment).min(now);
        self.waiting.truncate(MOST_WAITING);
        for waiting in &mut self.waiting {
            waiting.since = past(waiting.since);
            waiting.item = waiting.item.clone().bounded();
        }
        while self.lasting.len() > MOST_LASTING {
            self.lasting.pop_last();
        }
        for lasting in self.lasting.values_mut() {
            lasting.since = past(lasting.since);
            lasting.told = lasting.told.map(past);
            lasting.item = lasting.item.clone().bounded();
        }
        self.not_before = self.not_before.map(|moment| shift(moment).min(now + MOST_ASKED));
        self
    }
}

fn is_same(one: &Item, other: &Item) -> bool {
    (one.event, &one.app, &one.unit, &one.incident) == (other.event, &other.app, &other.unit, &other.incident)
}

/// That it is given up for now is part of an incident, which is repeated itself.
fn is_repeated(event: EventKind) -> bool {
    event != EventKind::BreakerOpened
}
