//! Takes alerts in, keeps them, and hands them out: what surrounds the queue with files, threads and the
//! bus. The daemon's loop calls it at each of its turns; nothing here is waited for.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::endpoint;
use crate::config::{Alert, Channel, Heartbeat, Settings};
use crate::judge::{AppName, Clocks, EventKind, Host, Level, Moment, Record};
use crate::systemd::Bus;
use crate::systemd::journal::{self, Line};

use super::delivery::{self, Credentials};
use super::details::Details;
use super::http;
use super::item::{Item, key_of_condition, key_of_incident};
use super::lane::{Batch, Failure, Last, Next};
use super::message::Message;
use super::queue::{ChannelView, Queue, Stored};
use super::store::Places;
use super::unit;

/// Deliveries at a time, and tests at a time.
const AT_ONCE: usize = 16;
const TESTS_AT_ONCE: usize = 4;
/// A TLS handshake in a debug build takes 200 KiB.
const STACK: usize = 512 * 1024;
/// At the end, what is on its way may come to its own: so long. Then the queue is written.
const FAREWELL: Duration = Duration::from_millis(400);
const LAST_WRITE: Duration = Duration::from_millis(200);
/// How long a disk that did not take the queue is left alone, while nothing else happens to it.
const AGAIN: Duration = Duration::from_secs(30);

/// Where things are, and which clocks they go by.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Where the queue lies.
    pub places: Places,
    /// Where details for units lie.
    pub details: PathBuf,
    /// The credentials of our unit.
    pub credentials: Credentials,
    /// The clocks.
    pub clocks: fn() -> Clocks,
    /// The wall clock alone: the others read files.
    pub wall: fn() -> i64,
    /// The name of this host.
    pub host: String,
}

/// What gets a message there.
type Work = Pin<Box<dyn Future<Output = Result<String, Failure>> + Send>>;

/// What came of something that was begun.
#[derive(Debug)]
pub enum Outcome {
    /// A message was delivered, or not.
    Delivered(String, Box<Delivered>),
    /// The queue was written, or not.
    Written(Result<(), String>),
    /// The heartbeat got there, or not.
    Beat(Result<(), String>),
    /// A test is over.
    Tested,
}

/// A message and what became of it.
#[derive(Debug)]
pub struct Delivered {
    batch: Batch,
    outcome: Result<String, Failure>,
}

struct Heart {
    beat: Heartbeat,
    next: Moment,
    under_way: bool,
    failed: bool,
}

/// The desk. Dropping it ends the telling.
pub struct Desk {
    around: Surroundings,
    queue: Queue,
    first_app: Option<AppName>,
    bus: unit::Shared,
    /// Units are started one after the other.
    turn: Arc<tokio::sync::Mutex<()>>,
    heart: Option<Heart>,
    outcomes: mpsc::Sender<Outcome>,
    told: mpsc::Receiver<Outcome>,
    delivering: usize,
    testing: usize,
    writing: bool,
    /// The disk did not take the queue: when it is tried again.
    write_again: Option<Moment>,
}

impl Desk {
    /// A desk that goes on from what waited when the last one ended, and what was odd about that.
    #[must_use]
    pub fn open(around: Surroundings, settings: &Settings, now: Moment) -> (Self, Vec<String>) {
        let (stored, mut odd) = around.places.load();
        let (outcomes, told) = mpsc::channel(AT_ONCE + TESTS_AT_ONCE + 2);
        let mut desk = Self {
            queue: Queue::restore(stored, &(around.clocks)()),
            around,
            first_app: None,
            bus: unit::Shared::default(),
            turn: Arc::default(),
            heart: None,
            outcomes,
            told,
            delivering: 0,
            testing: 0,
            writing: false,
            write_again: None,
        };
        desk.configure(settings, now);
        odd.extend(desk.without_credential(settings));
        (desk, odd)
    }

    /// What is configured is this now.
    pub fn configure(&mut self, settings: &Settings, now: Moment) {
        self.first_app = settings.apps().first().map(|app| (*app).clone());
        self.queue.configure(settings.alerts.clone());
        let known = self.heart.take();
        self.heart = settings.heartbeat.clone().map(|beat| match known {
            Some(heart) if heart.beat == beat => heart,
            _ => Heart { beat, next: now, under_way: false, failed: false },
        });
    }

    /// What nobody can be told by, because its credential is not there.
    #[must_use]
    pub fn without_credential(&self, settings: &Settings) -> Vec<String> {
        let missing = |alert: &Alert| {
            let why = self.around.credentials.read(alert.channel.credential()?).err()?;
            Some(format!("[alerts.{}]: {why}", alert.name))
        };
        settings.alerts.iter().filter_map(missing).collect()
    }

    /// The monitor begins, and goes on from that.
    pub fn begin(&mut self, host: &Host, now: Moment) {
        self.queue.begin(now, self.wall(), &host.open_tellings(), &held(host));
    }

    /// Of an app that is not watched any more nothing is told again.
    pub fn follow(&mut self, host: &Host, now: Moment) {
        let mut lasting = held(host);
        lasting.extend(host.open_incidents().iter().map(|id| key_of_incident(id)));
        self.queue.keep_only(now, &lasting);
    }

    /// The bus is this one now.
    pub fn bus(&mut self, bus: Option<Bus>) {
        if bus.is_some() {
            self.queue.try_units();
        }
        *self.bus.lock().unwrap_or_else(PoisonError::into_inner) = bus;
    }

    /// Tells everybody who wants to know.
    pub fn tell(&mut self, record: &Record, now: Moment) {
        let wall = self.wall();
        self.queue.take(now, wall, record);
    }

    /// All channels, as a command shows them.
    #[must_use]
    pub fn views(&self, now: Moment) -> Vec<ChannelView> {
        self.queue.views(now)
    }

    /// When there is something to do.
    #[must_use]
    pub fn due(&self) -> Option<Moment> {
        let queue = self.queue.due().filter(|_| self.delivering < AT_ONCE);
        let heart = self.heart.as_ref().filter(|heart| !heart.under_way).map(|heart| heart.next);
        queue.into_iter().chain(heart).min()
    }

    /// What came of something; never without anything under way.
    pub async fn outcome(&mut self) -> Outcome {
        match self.told.recv().await {
            Some(outcome) => outcome,
            None => std::future::pending().await,
        }
    }

    /// Takes in what came of something.
    pub fn take(&mut self, outcome: Outcome, now: Moment) {
        match outcome {
            Outcome::Delivered(name, delivered) => self.delivered(&name, *delivered, now),
            Outcome::Written(outcome) => {
                self.writing = false;
                self.written(outcome, now);
            }
            Outcome::Tested => self.testing = self.testing.saturating_sub(1),
            Outcome::Beat(outcome) => {
                let Some(heart) = &mut self.heart else { return };
                heart.under_way = false;
                match outcome {
                    Err(why) if !std::mem::replace(&mut heart.failed, true) => {
                        say(Level::Warn, format!("the heartbeat does not get out: {why}"));
                    }
                    Ok(()) if std::mem::take(&mut heart.failed) => {
                        say(Level::Info, "the heartbeat gets out again".to_owned());
                    }
                    _ => {}
                }
            }
        }
    }

    /// Begins whatever is due. Called by the loop at each turn, after its work: a heartbeat means that it
    /// turns.
    pub fn turn(&mut self, now: Moment) {
        if self.queue.due().is_some_and(|due| due <= now) && self.delivering < AT_ONCE {
            let wall = self.wall();
            for order in self.queue.next(now, wall, AT_ONCE - self.delivering) {
                self.deliver(&order.alert, order.batch, wall);
            }
        }
        let again = self.write_again.is_some_and(|again| again <= now);
        if (self.queue.is_dirty() || again) && !self.writing {
            self.write();
        }
        self.beat(now);
    }

    /// Sends a test to that channel, and tells `reply` how it went.
    pub fn test(&mut self, name: &str, reply: oneshot::Sender<Result<String, String>>) {
        let no = |why: &str| Err(why.to_owned());
        let refused = match self.queue.alert(name) {
            None => no("no [alerts] table has that name; app-monitor alerts lists them"),
            Some(_) if self.testing >= TESTS_AT_ONCE => no("other tests are under way; try again"),
            Some(alert) => Ok(alert.clone()),
        };
        let alert = match refused {
            Ok(alert) => alert,
            Err(why) => {
                let _ = reply.send(Err(why));
                return;
            }
        };
        let wall = self.wall();
        let host = self.around.host.clone();
        let message =
            Message { host, items: Vec::new(), missing: 0, test: Some(name.to_owned()), time: wall };
        let (outcomes, name) = (self.outcomes.clone(), alert.name.clone());
        let Some(work) = self.work(&alert, message) else {
            let _ = reply.send(Err("no app is configured, for which its unit could be started".to_owned()));
            return;
        };
        self.testing += 1;
        tokio::spawn(async move {
            let outcome = work.await;
            let (event, level, text) = match &outcome {
                Ok(text) => (EventKind::AlertSent, Level::Info, format!("told {name} of a test: {text}")),
                Err(failure) => {
                    let text = format!("could not tell {name} of a test: {}", failure.why());
                    (EventKind::AlertFailed, Level::Warn, text)
                }
            };
            write_line(event, level, text, None);
            // Whoever asked may have gone.
            let _ = reply.send(outcome.map_err(|failure| failure.why().to_owned()));
            let _ = outcomes.send(Outcome::Tested).await;
        });
    }

    /// Before the monitor ends: what is on its way has a moment more, and everything is written.
    pub async fn end(&mut self, now: fn() -> Moment) {
        let wait = async {
            while self.delivering > 0 || self.writing {
                let outcome = self.outcome().await;
                self.take(outcome, now());
            }
        };
        let _ = tokio::time::timeout(FAREWELL, wait).await;
        if self.queue.is_dirty() || self.write_again.is_some() {
            self.write();
            let written = async {
                while self.writing {
                    let outcome = self.outcome().await;
                    self.take(outcome, now());
                }
            };
            let _ = tokio::time::timeout(LAST_WRITE, written).await;
        }
    }

    fn wall(&self) -> i64 {
        (self.around.wall)()
    }

    fn write(&mut self) {
        self.writing = true;
        let stored: Stored = self.queue.stored((self.around.clocks)());
        let (places, outcomes) = (self.around.places.clone(), self.outcomes.clone());
        tokio::task::spawn_blocking(move || {
            let _ = outcomes.blocking_send(Outcome::Written(places.save(&stored)));
        });
    }

    fn written(&mut self, outcome: Result<(), String>, now: Moment) {
        let again = outcome.is_err().then(|| now + AGAIN);
        match (outcome, std::mem::replace(&mut self.write_again, again)) {
            (Err(why), None) => say(Level::Warn, format!("cannot write the queue of alerts: {why}")),
            (Ok(()), Some(_)) => say(Level::Info, "the queue of alerts is written again".to_owned()),
            _ => {}
        }
    }

    fn deliver(&mut self, alert: &Alert, batch: Batch, wall: i64) {
        let host = self.around.host.clone();
        let message =
            Message { host, items: batch.items.clone(), missing: batch.missing, test: None, time: wall };
        let (outcomes, name) = (self.outcomes.clone(), alert.name.clone());
        let Some(work) = self.work(alert, message) else { return };
        self.delivering += 1;
        tokio::spawn(async move {
            let outcome = work.await;
            let _ = outcomes.send(Outcome::Delivered(name, Box::new(Delivered { batch, outcome }))).await;
        });
    }

    /// What gets a message there. None where there is no app to start a unit for.
    fn work(&self, alert: &Alert, message: Message) -> Option<Work> {
        let Channel::Unit(_) = alert.channel else {
            let (channel, credentials) = (alert.channel.clone(), self.around.credentials.clone());
            return Some(Box::pin(blocking(move || delivery::deliver(&channel, &credentials, &message))));
        };
        let details = match message.items.first() {
            Some(item) => details_of(item),
            None => {
                let app = self.first_app.clone()?;
                let unit = format!("{app}.service").parse().ok()?;
                let text = format!("{app}: this is a test of [alerts.{}]; nothing happened", alert.name);
                let (event, time) = (EventKind::IncidentOpened, message.time);
                Details { app, unit, event, text, incident: None, time, repeated: false, test: true }
            }
        };
        let unit = alert.unit_for(&details.app);
        let (bus, turn, directory) =
            (Arc::clone(&self.bus), Arc::clone(&self.turn), self.around.details.clone());
        Some(Box::pin(async move {
            let _turn = turn.lock_owned().await;
            unit::deliver(&directory, &bus, &details, unit).await
        }))
    }

    fn delivered(&mut self, name: &str, delivered: Delivered, now: Moment) {
        self.delivering = self.delivering.saturating_sub(1);
        let Delivered { batch, outcome } = delivered;
        let time = self.wall();
        match outcome {
            Ok(text) => {
                let last = Last { time, sent: true, text: text.clone() };
                self.queue.sent(now, name, &batch, last);
                for item in &batch.items {
                    let text = format!("told {name} of {}: {text}", item.event);
                    write_line(EventKind::AlertSent, Level::Info, text, Some(item));
                }
            }
            Err(failure) => {
                let why = failure.why();
                let last = Last { time, sent: false, text: why.to_owned() };
                let (Some((next, first)), Some(item)) =
                    (self.queue.failed(now, name, &failure, last), batch.items.first())
                else {
                    return;
                };
                match next {
                    Next::Again(pause) if first => {
                        let more = self.queue.waiting(name).saturating_sub(1);
                        let more = if more == 0 { String::new() } else { format!(", with {more} more") };
                        let again = format!("it is tried again in {} s{more}", pause.as_secs());
                        let text = format!("could not tell {name} of {}: {why}; {again}", item.event);
                        write_line(EventKind::AlertFailed, Level::Warn, text, Some(item));
                    }
                    Next::Again(_) => {}
                    Next::GivenUp(items) => {
                        for item in &items {
                            let text = format!("could not tell {name} of {}: {why}; given up", item.event);
                            write_line(EventKind::AlertFailed, Level::Warn, text, Some(item));
                        }
                    }
                }
            }
        }
    }

    fn beat(&mut self, now: Moment) {
        let Some(heart) = self.heart.as_mut().filter(|heart| !heart.under_way && now >= heart.next) else {
            return;
        };
        heart.next = now + heart.beat.every;
        heart.under_way = true;
        let (url, outcomes) = (heart.beat.url.clone(), self.outcomes.clone());
        tokio::spawn(async move {
            let ping = move || {
                let endpoint = endpoint::of_web(&url.0).map_err(Failure::Unwelcome)?;
                http::ping(&endpoint)
            };
            let outcome = blocking(ping).await.map(drop).map_err(|failure| failure.why().to_owned());
            let _ = outcomes.send(Outcome::Beat(outcome)).await;
        });
    }
}

/// Runs what blocks on a thread of its own, which ends with it: there is seldom something to send.
async fn blocking(
    work: impl FnOnce() -> Result<String, Failure> + Send + 'static,
) -> Result<String, Failure> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("alert".to_owned()).stack_size(STACK);
    let spawned = thread.spawn(move || drop(sender.send(work())));
    let later = |why: String| Failure::Later(why, None);
    spawned.map_err(|error| later(format!("no thread for it: {error}")))?;
    receiver.await.unwrap_or_else(|_| Err(later("ended without a result".to_owned())))
}

/// The conditions that hold, by the names that the queue has for them.
fn held(host: &Host) -> BTreeSet<String> {
    host.held_conditions().map(|(unit, what)| key_of_condition(unit, &what.to_string())).collect()
}

fn details_of(item: &Item) -> Details {
    Details {
        app: item.app.clone(),
        unit: item.unit.clone(),
        event: item.event,
        text: item.text.clone(),
        incident: item.incident.clone(),
        time: item.time,
        repeated: item.repeated,
        test: false,
    }
}

/// A line about the telling of something, or of a test.
fn write_line(event: EventKind, priority: Level, text: String, item: Option<&Item>) {
    journal::write(Line {
        priority,
        message: item.map_or_else(|| text.clone(), |item| format!("{}: {text}", item.app)),
        app: item.map(|item| item.app.to_string()),
        event: Some(event.word()),
        unit: item.map(|item| item.unit.to_string()),
        incident: item.and_then(|item| item.incident.clone()),
        message_id: Some(event.message_id()),
        ..Line::default()
    });
}

fn say(priority: Level, message: String) {
    journal::write(Line { priority, message, ..Line::default() });
}
