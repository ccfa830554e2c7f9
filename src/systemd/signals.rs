//! What systemd says by itself: units that changed, jobs queued and gone, reloads, shutdown.
//!
//! Few match rules, one stream, so that signals keep the order in which they were sent (a change
//! of state before the end of its job). Signals about units that nobody watches are dropped by
//! their object path, before their body is looked at. The stream is drained by a task of its own:
//! zbus stops reading its socket, answers included, while a stream is full. Rules keep nothing away that
//! is sent to us alone, so whose a signal is, is looked at here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use zbus::message::Type;
use zbus::{Message, MessageStream};

use super::bus::{Bus, DBUS, DBUS_PATH, MANAGER, MANAGER_PATH, POLKIT, SYSTEMD};
use super::error::Error;
use super::path::{UNITS, unit_path};
use super::speakers::{HEARD, LOGIND, Speakers};
use crate::judge::{JobId, JobResult, UnitName};

/// Events that wait for the daemon. A boot queues some hundred jobs, of which only those on
/// watched units get this far.
const WAITING: usize = 256;
/// The well-known name in a rule outlives a daemon-reexec, which changes the unique one.
const RULES: [&str; 9] = [
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.DBus.Properties',\
     member='PropertiesChanged',path_namespace='/org/freedesktop/systemd1/unit',\
     arg0='org.freedesktop.systemd1.Unit'",
    "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
     interface='org.freedesktop.systemd1.Manager',member='JobNew'",
    "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
     interface='org.freedesktop.systemd1.Manager',member='JobRemoved'",
    "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
     interface='org.freedesktop.systemd1.Manager',member='Reloading'",
    "type='signal',sender='org.freedesktop.login1',path='/org/freedesktop/login1',\
     interface='org.freedesktop.login1.Manager',member='PrepareForShutdown'",
    "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',\
     interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.systemd1'",
    "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',\
     interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.PolicyKit1'",
    "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',\
     interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.login1'",
    "type='signal',sender='org.freedesktop.PolicyKit1',path='/org/freedesktop/PolicyKit1/Authority',\
     interface='org.freedesktop.PolicyKit1.Authority',member='Changed'",
];
/// What systemd told us. Of units, only those that are watched, and those that take the host down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Something about a watched unit changed: read it.
    UnitChanged(UnitName),
    /// A job was queued. Its type is not told.
    JobNew {
        /// The job.
        id: JobId,
        /// What it is on.
        unit: UnitName,
    },
    /// A job is over.
    JobRemoved {
        /// The job.
        id: JobId,
        /// What it was on.
        unit: UnitName,
        /// How it ended.
        result: JobResult,
    },
    /// `daemon-reload` begins (true) or has ended (false).
    ManagerReloading(bool),
    /// logind announces a shutdown (true) or calls it off (false).
    PrepareForShutdown(bool),
    /// polkit came or went, or its rules are others.
    PolkitChanged,
    /// Signals were lost (too many at once, or systemd re-executed itself): read everything again.
    Lost,
    /// The bus is gone. Nothing follows; make a new [`Bus`].
    Disconnected,
}

/// The watched units, by the last part of their object path.
type Watched = Arc<Mutex<HashMap<String, UnitName>>>;

/// The stream of events of one [`Bus`]. Dropping it ends it.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Event>,
    watched: Watched,
    pump: AbortHandle,
}

impl Events {
    /// The next event. Waits for ever when nothing happens; [`Event::Disconnected`] again and
    /// again once the bus is gone. May be dropped at any time without losing an event.
    pub async fn next(&mut self) -> Event {
        self.receiver.recv().await.unwrap_or(Event::Disconnected)
    }

    /// Replaces the set of watched units. Signals carry canonical names only
    /// ([`Bus::canonical_name`]).
    pub fn watch(&self, units: impl IntoIterator<Item = UnitName>) {
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) = by_label(units);
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

pub(super) fn by_label(units: impl IntoIterator<Item = UnitName>) -> HashMap<String, UnitName> {
    units.into_iter().map(|unit| (unit_path(&unit)[UNITS.len()..].to_owned(), unit)).collect()
}

impl Bus {
    /// Subscribes to systemd's signals about these units. Read everything once afterwards: what
    /// happened before was not told.
    ///
    /// # Errors
    /// [`Error::TimedOut`] and [`Error::Disconnected`], or what the bus refuses.
    pub async fn events(&self, watched: impl IntoIterator<Item = UnitName>) -> Result<Events, Error> {
        let watched: Watched = Arc::new(Mutex::new(by_label(watched)));
        let speakers: Arc<Mutex<Speakers>> = Arc::default();
        let (sender, receiver) = mpsc::channel(WAITING);
        // From here on the stream has to be drained, or the answers below would not get through.
        let stream = MessageStream::from(self.connection());
        let pump = tokio::spawn(pump(stream, sender, Arc::clone(&watched), Arc::clone(&speakers)));
        let pump = pump.abort_handle();
        let events = Events { receiver, watched, pump };
        try_join_all(RULES.iter().map(|rule| self.ask(DBUS, DBUS_PATH, DBUS, "AddMatch", rule))).await?;
        for name in HEARD {
            let owner = self.owner(name).await?;
            if owner.is_none() && name == SYSTEMD {
                return Err(Error::Disconnected("systemd is not on the bus".to_owned()));
            }
            speakers.lock().unwrap_or_else(PoisonError::into_inner).asked(name, owner);
        }
        match self.ask(SYSTEMD, MANAGER_PATH, MANAGER, "Subscribe", &()).await {
            Ok(_) => {}
            Err(Error::Other(name, _)) if name == "org.freedesktop.systemd1.AlreadySubscribed" => {}
            Err(error) => return Err(error),
        }
        Ok(events)
    }

    /// Who has a name, by the name that the bus gave him.
    async fn owner(&self, name: &str) -> Result<Option<String>, Error> {
        match self.ask(DBUS, DBUS_PATH, DBUS, "GetNameOwner", &name).await {
            Ok(answer) => {
                answer.body().deserialize().map(Some).map_err(|error| Error::malformed("GetNameOwner", error))
            }
            // Nobody. Where it is the bus that is gone, the next call says so.
            Err(Error::Disconnected(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Turns messages into events until the bus or the receiver is gone. On overflow one `Lost`
/// stands for everything until there is room again.
async fn pump(
    mut stream: MessageStream,
    sender: mpsc::Sender<Event>,
    watched: Watched,
    speakers: Arc<Mutex<Speakers>>,
) {
    let mut lost = false;
    loop {
        let message = tokio::select! {
            biased;
            permit = sender.reserve(), if lost => {
                let Ok(permit) = permit else { return };
                permit.send(Event::Lost);
                lost = false;
                continue;
            }
            message = stream.next() => message,
        };
        // An error is the last item of a stream.
        let Some(Ok(message)) = message else { return };
        let mut speakers = speakers.lock().unwrap_or_else(PoisonError::into_inner);
        note_owner(&message, &mut speakers);
        if lost {
            continue;
        }
        let event = event(&message, &watched.lock().unwrap_or_else(PoisonError::into_inner), &speakers);
        drop(speakers);
        if let Some(event) = event {
            match sender.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => lost = true,
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
    }
}

/// A name has another owner: the bus tells before it passes on what that one says.
fn note_owner(message: &Message, speakers: &mut Speakers) {
    let header = message.header();
    let sender = header.sender().map(|name| name.as_str());
    if message.message_type() == Type::Signal
        && header.member().is_some_and(|member| member.as_str() == "NameOwnerChanged")
        && speakers.is(sender, DBUS)
        && let Ok((name, _old, new)) = message.body().deserialize::<(&str, &str, &str)>()
    {
        speakers.told(name, new);
    }
}

/// What a message tells, if it is one of ours. Judges by the header first.
pub(super) fn event(
    message: &Message,
    watched: &HashMap<String, UnitName>,
    speakers: &Speakers,
) -> Option<Event> {
    if message.message_type() != Type::Signal {
        return None;
    }
    let header = message.header();
    let path = header.path()?.as_str();
    let member = header.member()?.as_str();
    let speaker = match member {
        "PropertiesChanged" | "JobNew" | "JobRemoved" | "Reloading" => SYSTEMD,
        "PrepareForShutdown" => LOGIND,
        "NameOwnerChanged" => DBUS,
        "Changed" => POLKIT,
        _ => return None,
    };
    if !speakers.is(header.sender().map(|name| name.as_str()), speaker) {
        return None;
    }
    if let Some(label) = path.strip_prefix(UNITS) {
        return (member == "PropertiesChanged")
            .then(|| watched.get(label).cloned().map(Event::UnitChanged))
            .flatten();
    }
    let of_interest = |unit: &str| -> Option<UnitName> {
        let down = unit.parse().ok().filter(UnitName::takes_host_down);
        if down.is_some() {
            return down;
        }
        watched.values().find(|known| known.as_str() == unit).cloned()
    };
    let body = message.body();
    match member {
        "JobNew" => {
            let (id, _path, unit): (u32, zbus::ObjectPath<'_>, &str) = body.deserialize().ok()?;
            Some(Event::JobNew { id: JobId(id), unit: of_interest(unit)? })
        }
        "JobRemoved" => {
            let (id, _path, unit, result): (u32, zbus::ObjectPath<'_>, &str, &str) =
                body.deserialize().ok()?;
            let result = JobResult::from_systemd(result);
            Some(Event::JobRemoved { id: JobId(id), unit: of_interest(unit)?, result })
        }
        "Reloading" => Some(Event::ManagerReloading(body.deserialize().ok()?)),
        "PrepareForShutdown" => Some(Event::PrepareForShutdown(body.deserialize().ok()?)),
        "NameOwnerChanged" => {
            let (name, _old, new): (&str, &str, &str) = body.deserialize().ok()?;
            match name {
                SYSTEMD if !new.is_empty() => Some(Event::Lost),
                POLKIT => Some(Event::PolkitChanged),
                _ => None,
            }
        }
        "Changed" => Some(Event::PolkitChanged),
        _ => None,
    }
}
