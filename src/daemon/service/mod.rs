//! Our own bus service, `org.appmonitor1`: what others may see and ask of the monitor.
//!
//! The objects know nothing themselves. Each call becomes something that happened, and the loop
//! answers it; a caller that does not wait for the answer costs nothing. It has a connection to the bus
//! of its own, which is made again when it is lost or stuck.

mod app;
mod leave;
mod manager;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, fdo};

use crate::alerts::ChannelView;
use crate::judge::{
    AppName, AppView, CheckKind, EventKind, Level, Observation, Record, Rehearsal, Request, Subject,
};
use crate::systemd::Bus;

use super::looping::Happening;
use super::telling;

use app::{AppObject, Properties};
use leave::Leave;
use manager::Manager;

/// Well-known name of the service.
pub const NAME: &str = "org.appmonitor1";
const PATH: &str = "/org/appmonitor1";
/// The loop answers within microseconds; should it not, the caller is not kept.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Being started ends no later because of our name: a bus that does not let us have it does not hold up
/// the boot.
const NAME_WITHIN: Duration = Duration::from_secs(1);
/// Announcements that wait to be sent.
const WAITING: usize = 64;
/// Calls that wait for the loop at a time; whoever comes then is told to come later.
const ASKING: usize = 256;

/// What somebody asks of the loop.
pub enum Call {
    /// All apps at a glance.
    Views(oneshot::Sender<Vec<AppView>>),
    /// One of them.
    View(AppName, oneshot::Sender<Option<AppView>>),
    /// Make all checks of an app now, for the caller alone.
    Check(Subject, oneshot::Sender<Result<Checking, String>>),
    /// Something that acts.
    Ask(Subject, Request, oneshot::Sender<Result<(), String>>),
    /// What a recovery that is asked for would do.
    Rehearse(Subject, oneshot::Sender<Result<Rehearsal, String>>),
    /// Put the resolved configuration in force.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Whom we tell, and how that goes.
    Alerts(oneshot::Sender<Vec<ChannelView>>),
    /// Send a test to a channel.
    TestAlert(String, oneshot::Sender<Testing>),
}

/// Checks that are being made for a caller.
pub type Checking = oneshot::Receiver<Vec<(CheckKind, Observation)>>;

/// A test of a channel that is under way.
pub type Testing = oneshot::Receiver<Result<String, String>>;

enum Order {
    Serve(Vec<AppName>),
    Announce(Record, Option<Box<AppView>>),
    Changed(Box<AppView>),
}

/// The service. Dropping it ends it, and its connection.
pub struct Served {
    orders: mpsc::Sender<Order>,
    task: AbortHandle,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Served {
    /// Puts the service on the bus, in the background. [`Happening::Offered`] follows once the bus has
    /// given us our name or turned us down, or has done neither for a second. `bus`: where to ask who
    /// calls and what he may.
    pub fn start(
        bus: &Bus,
        queue: mpsc::Sender<Happening>,
        apps: Vec<AppName>,
        remarks: Arc<[String]>,
    ) -> Self {
        let (orders, receiver) = mpsc::channel(WAITING);
        let (asked, answered) = oneshot::channel();
        let to = queue.clone();
        tokio::spawn(async move {
            // Also when the service fails before it has asked.
            let _ = tokio::time::timeout(NAME_WITHIN, answered).await;
            let _ = to.send(Happening::Offered).await;
        });
        let service = Service {
            asking: Asking { queue, room: Arc::new(Semaphore::new(ASKING)) },
            leave: Leave::new(bus.connection().clone()),
            remarks,
            apps: apps.into_iter().collect(),
            shown: BTreeMap::new(),
            told: false,
            asked: Some(asked),
        };
        let task = tokio::spawn(service.keep(receiver)).abort_handle();
        Self { orders, task }
    }

    /// The apps are these now.
    pub fn serve(&self, apps: Vec<AppName>) {
        let _ = self.orders.try_send(Order::Serve(apps));
    }

    /// Signals what was told about an app. Whoever does not keep up misses some.
    pub fn announce(&self, record: &Record, view: impl FnOnce() -> Option<AppView>) {
        let signalled = matches!(
            record.event,
            EventKind::VerdictChanged
                | EventKind::StoppedByAdmin
                | EventKind::IncidentOpened
                | EventKind::IncidentClosed
        );
        if signalled {
            let order = Order::Announce(record.clone(), view().map(Box::new));
            let _ = self.orders.try_send(order);
        }
    }

    /// Something that is a property of the app is another than before. False: it could not be taken, and
    /// has to be said again.
    #[must_use]
    pub fn changed(&self, view: AppView) -> bool {
        self.orders.try_send(Order::Changed(Box::new(view))).is_ok()
    }
}

/// The way to the loop.
#[derive(Clone)]
struct Asking {
    queue: mpsc::Sender<Happening>,
    room: Arc<Semaphore>,
}

impl Asking {
    async fn ask<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> fdo::Result<T> {
        let Ok(_room) = self.room.try_acquire() else {
            return Err(fdo::Error::LimitsExceeded("too many calls at a time; try again".into()));
        };
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.queue.send(Happening::Call(call(reply))).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(ANSWER_WITHIN, asked).await {
            Ok(Some(answer)) => Ok(answer),
            _ => Err(fdo::Error::TimedOut("the monitor does not answer".into())),
        }
    }

    async fn view(&self, app: &AppName) -> fdo::Result<AppView> {
        let view = self.ask(|reply| Call::View(app.clone(), reply)).await?;
        view.ok_or_else(|| fdo::Error::UnknownObject(format!("no app is called {app}")))
    }
}

/// What the service task knows.
struct Service {
    asking: Asking,
    leave: Leave,
    remarks: Arc<[String]>,
    apps: BTreeSet<AppName>,
    /// The properties of each app as they were signalled last.
    shown: BTreeMap<AppName, Properties>,
    /// That it is not there was said.
    told: bool,
    /// Whom to tell that the bus was asked for our name, and has answered.
    asked: Option<oneshot::Sender<()>>,
}

impl Service {
    /// Is there again and again, until nobody gives orders any more.
    async fn keep(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut pause = Duration::from_millis(50);
        loop {
            let served = self.serve(&mut orders, &mut pause).await;
            self.asked = None;
            let error = match served {
                Ok(()) => return,
                Err(error) => error,
            };
            if !std::mem::replace(&mut self.told, true) {
                let text = format!("cannot be {NAME} on the bus, and is not seen by commands: {error}");
                telling::say(Level::Warn, text);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// Serves on one connection, until it or the daemon is gone.
    async fn serve(&mut self, orders: &mut mpsc::Receiver<Order>, pause: &mut Duration) -> zbus::Result<()> {
        let connection = &socket::connect().await?;
        let manager = Manager::new(self.asking.clone(), self.leave.clone(), Arc::clone(&self.remarks));
        connection.object_server().at(PATH, manager).await?;
        let mut served = BTreeSet::new();
        self.put(connection, &mut served).await?;
        let naming = take_name(connection, self.told, self.asked.take());
        tokio::pin!(naming);
        let mut named = false;
        loop {
            tokio::select! {
                () = &mut naming, if !named => {
                    named = true;
                    self.told = false;
                    *pause = Duration::from_millis(50);
                }
                () = connection.closed() => {
                    return Err(zbus::Error::Failure("the connection was lost, or nobody took answers".into()));
                }
                order = orders.recv() => match order {
                    Some(Order::Serve(apps)) => {
                        self.apps = apps.into_iter().collect();
                        self.shown.retain(|app, _| self.apps.contains(app));
                        self.put(connection, &mut served).await?;
                    }
                    Some(Order::Announce(record, view)) => {
                        let _ = announce(connection, &record, view.as_deref()).await;
                    }
                    Some(Order::Changed(view)) => {
                        let _ = app::changed(connection, &mut self.shown, &view).await;
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    async fn put(&self, connection: &Connection, served: &mut BTreeSet<AppName>) -> zbus::Result<()> {
        for gone in served.difference(&self.apps) {
            connection.object_server().remove::<AppObject, _>(path_of(gone)).await?;
        }
        for new in self.apps.difference(served) {
            let object = AppObject::new(new.clone(), self.asking.clone());
            connection.object_server().at(path_of(new), object).await?;
        }
        served.clone_from(&self.apps);
        Ok(())
    }
}

/// Takes our name, and keeps at it: while a package is being installed, the bus may not know yet who may
/// have it. `told`: that it is not there was said.
async fn take_name(connection: &Connection, mut told: bool, mut asked: Option<oneshot::Sender<()>>) {
    let mut pause = Duration::from_millis(500);
    loop {
        let answer = connection.request_name(NAME).await;
        let _ = asked.take().map(|asked| asked.send(()));
        let Err(error) = answer else { break };
        if !std::mem::replace(&mut told, true) {
            let text = format!("cannot be {NAME} on the bus yet, and is not seen by commands: {error}");
            telling::say(Level::Warn, text);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(30));
    }
    if told {
        telling::say(Level::Info, format!("is {NAME} on the bus now"));
    }
}

/// `/org/appmonitor1/app/NAME`; a dash, which an object path cannot have, becomes `_2d` as in
/// sd_bus_path_encode(3).
fn path_of(app: &AppName) -> OwnedObjectPath {
    let mut label = String::new();
    for (at, c) in app.as_str().chars().enumerate() {
        // sd_bus_path_encode(3) escapes a leading digit as well.
        if c == '-' || (at == 0 && c.is_ascii_digit()) {
            label.push_str(&format!("_{:02x}", u32::from(c)));
        } else {
            label.push(c);
        }
    }
    // Letters, digits and underscores only: always a valid path.
    OwnedObjectPath::try_from(format!("{PATH}/app/{label}")).unwrap_or_default()
}

async fn announce(connection: &Connection, record: &Record, view: Option<&AppView>) -> zbus::Result<()> {
    let emitter = SignalEmitter::new(connection, PATH)?;
    let app = &record.app;
    let id = record.incident.as_deref().unwrap_or_default();
    match record.event {
        EventKind::IncidentOpened => Manager::incident_opened(&emitter, app.as_str(), id, &record.text).await,
        EventKind::IncidentClosed => Manager::incident_closed(&emitter, app.as_str(), id, &record.text).await,
        _ => {
            let Some(view) = view else { return Ok(()) };
            Manager::verdict_changed(&emitter, app.as_str(), view.verdict.word(), &view.text).await
        }
    }
}

/// An app, or one instance of it: `web@2`.
fn subject(text: &str) -> fdo::Result<Subject> {
    text.parse().map_err(|error: crate::judge::NameError| fdo::Error::InvalidArgs(error.to_string()))
}
