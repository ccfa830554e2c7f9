//! The app itself: how it answers, how it ends, what it needs.

use std::time::Duration;

use app_monitor::judge::Moment;

use crate::world::{millis, seconds};

/// How a run of an app behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    /// 200 after so many milliseconds.
    Well(u64),
    /// Its event loop is blocked: nothing is taken from the queue, no signal handler runs.
    Frozen,
    /// It takes connections and lets them wait for ever.
    Deaf,
    /// 500 at once.
    Wrong,
    /// Its listener is gone.
    PortLost,
    /// Every second answer or so is 500.
    Flapping,
    /// At work and behind with it: most answers come too late, some in time.
    Overloaded,
}

/// What SIGTERM does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Term {
    Quick,
    Slow(Duration),
    /// Its handler waits for ever.
    Ignored,
}

#[derive(Clone, Debug)]
pub struct Process {
    pub mood: Mood,
    /// How each run behaves; a restart does not mend it.
    pub sticky: Option<Mood>,
    pub usual: Mood,
    /// It listens so long after it is up.
    pub listens_after: Duration,
    /// Every run ends by itself after that.
    pub dies_after: Option<Duration>,
    pub term: Term,
    pub up_since: Moment,
    /// Bytes that it uses when it is up, and a second later.
    pub memory: u64,
    pub leak: u64,
}

impl Process {
    pub fn new(up_since: Moment) -> Self {
        Self {
            mood: Mood::Well(20),
            sticky: None,
            usual: Mood::Well(20),
            listens_after: millis(200),
            dies_after: None,
            term: Term::Quick,
            up_since,
            memory: 80 << 20,
            leak: 0,
        }
    }

    /// A new run.
    pub fn begin(&mut self) {
        self.mood = self.sticky.unwrap_or(self.usual);
        self.leak = 0;
    }

    /// How long a stop takes; nothing where SIGTERM does not end it.
    pub fn takes_to_stop(&self) -> Option<Duration> {
        if self.mood == Mood::Frozen {
            return None;
        }
        match self.term {
            Term::Quick => Some(millis(15)),
            Term::Slow(takes) => Some(takes),
            Term::Ignored => None,
        }
    }

    pub fn uses(&self, now: Moment) -> u64 {
        self.memory + self.leak * now.since(self.up_since).as_secs()
    }

    /// Everything about it is as it should be again, from the next run on at the latest.
    pub fn mend(&mut self) {
        self.sticky = None;
        self.usual = Mood::Well(20);
        self.mood = self.usual;
        self.listens_after = self.listens_after.min(seconds(2));
        self.dies_after = None;
        self.term = Term::Quick;
        self.leak = 0;
    }
}
