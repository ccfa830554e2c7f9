//! Our own bus service, `org.appmonitor1`: what others may see and ask of the monitor.
//!
//! The objects know nothing themselves. Each call becomes something that happened, and the loop
//! answers it; a caller that does not wait for the answer costs nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use zbus::message::Header;
use zbus::object_server::SignalEmitter;

use zbus::{Connection, OwnedObjectPath, fdo, interface};

use crate::incidents;
use crate::judge::{AppName, AppView, EventKind, Level, Record, Request, Subject};
use crate::plain::is_hidden;
use crate::systemd::Bus;

use super::clock;
use super::looping::Happening;
use super::start::incident_places;
use super::telling;

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
/// A pause is never longer, so that none is forgotten for good: thirty days.
const LONGEST_PAUSE: u64 = 30 * 86_400;

/// What somebody asks of the loop.
pub enum Call {
    /// All apps at a glance.
    Views(oneshot::Sender<Vec<AppView>>),
    /// Something that acts.
    Ask(Subject, Request, oneshot::Sender<Result<(), String>>),
    /// Put the resolved configuration in force.
    Reload(oneshot::Sender<Result<(), String>>),
}

enum Order {
    Serve(Vec<AppName>),
    Announce(Record, Option<Box<AppView>>),
}

/// The service on one connection. Dropping it ends the task; the objects go with the connection.
pub struct Served {
    orders: mpsc::Sender<Order>,
}

impl Served {
    /// Puts the service on the bus, in the background. [`Happening::Offered`] follows once the bus has
    /// given us our name or turned us down, or has done neither for a second.
    pub fn start(
        bus: Bus,
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
        tokio::spawn(async move {
            if let Err(error) = serve(bus.connection(), queue, apps, remarks, asked, receiver).await {
                telling::say(Level::Warn, format!("cannot offer {NAME} on the bus: {error}"));
            }
        });
        Self { orders }
    }

    /// The apps are these now.
    pub fn serve(&self, apps: Vec<AppName>) {
        let _ = self.orders.try_send(Order::Serve(apps));
    }

    /// Signals what was told about an app. Whoever does not keep up misses some.
    pub fn announce(&self, record: &Record, view: Option<AppView>) {
        let signalled = matches!(
            record.event,
            EventKind::VerdictChanged
                | EventKind::StoppedByAdmin
                | EventKind::IncidentOpened
                | EventKind::IncidentClosed
        );
        if signalled {
            let order = Order::Announce(record.clone(), view.map(Box::new));
            let _ = self.orders.try_send(order);
        }
    }
}

async fn serve(
    connection: &Connection,
    queue: mpsc::Sender<Happening>,
    apps: Vec<AppName>,
    remarks: Arc<[String]>,
    asked: oneshot::Sender<()>,
    mut orders: mpsc::Receiver<Order>,
) -> zbus::Result<()> {
    let server = connection.object_server();
    server.at(PATH, Manager { queue: queue.clone(), reading: Arc::default(), remarks }).await?;
    let mut served = BTreeSet::new();
    put(connection, &queue, &mut served, apps).await?;
    let naming = take_name(connection, asked);
    tokio::pin!(naming);
    let mut named = false;
    loop {
        tokio::select! {
            () = &mut naming, if !named => named = true,
            order = orders.recv() => match order {
                Some(Order::Serve(apps)) => put(connection, &queue, &mut served, apps).await?,
                Some(Order::Announce(record, view)) => {
                    let _ = announce(connection, &record, view.as_deref()).await;
                }
                None => return Ok(()),
            },
        }
    }
}

/// Takes our name, and keeps at it: while a package is being installed, the bus may not know yet who may
/// have it.
async fn take_name(connection: &Connection, asked: oneshot::Sender<()>) {
    let mut pause = Duration::from_millis(500);
    let mut told = false;
    let mut asked = Some(asked);
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

async fn put(
    connection: &Connection,
    queue: &mpsc::Sender<Happening>,
    served: &mut BTreeSet<AppName>,
    apps: Vec<AppName>,
) -> zbus::Result<()> {
    let wanted: BTreeSet<AppName> = apps.into_iter().collect();
    for gone in served.difference(&wanted) {
        connection.object_server().remove::<AppObject, _>(path_of(gone)).await?;
    }
    for new in wanted.difference(served) {
        let object = AppObject { app: new.clone(), queue: queue.clone() };
        connection.object_server().at(path_of(new), object).await?;
    }
    *served = wanted;
    Ok(())
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
            Manager::verdict_changed(&emitter, app.as_str(), view.verdict.word(), &view.text).await?;
            let interface = connection.object_server().interface::<_, AppObject>(path_of(app)).await?;
            let object = interface.get().await;
            object.verdict_changed(interface.signal_emitter()).await
        }
    }
}

async fn ask<T>(
    queue: &mpsc::Sender<Happening>,
    call: impl FnOnce(oneshot::Sender<T>) -> Call,
) -> fdo::Result<T> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        queue.send(Happening::Call(call(reply))).await.ok()?;
        answer.await.ok()
    };
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(Some(answer)) => Ok(answer),
        _ => Err(fdo::Error::TimedOut("the monitor does not answer".into())),
    }
}

async fn view_of(queue: &mpsc::Sender<Happening>, app: &AppName) -> fdo::Result<AppView> {
    let views = ask(queue, Call::Views).await?;
    let view = views.into_iter().find(|view| view.app == *app);
    view.ok_or_else(|| fdo::Error::UnknownObject(format!("no app is called {app}")))
}

/// Who may act: root, and for `Reload` the monitor's own user, as which the unit's reload step
/// calls.
async fn authorize(connection: &Connection, header: &Header<'_>, own_user_too: bool) -> fdo::Result<()> {
    let sender = header.sender().ok_or_else(|| fdo::Error::AccessDenied("a caller without a name".into()))?;
    let bus = fdo::DBusProxy::new(connection).await?;
    let asked = bus.get_connection_unix_user(sender.clone().into());
    let uid = tokio::time::timeout(ANSWER_WITHIN, asked)
        .await
        .map_err(|_| fdo::Error::TimedOut("the bus does not say who calls".into()))??;
    let own = rustix::process::geteuid().as_raw();
    if uid == 0 || (own_user_too && uid == own) {
        return Ok(());
    }
    Err(fdo::Error::AccessDenied("only root may do that; try it with sudo".into()))
}

/// An app, or one instance of it: `web@2`.
fn subject(text: &str) -> fdo::Result<Subject> {
    text.parse().map_err(|error: crate::judge::NameError| fdo::Error::InvalidArgs(error.to_string()))
}

/// Reads from the disk, one caller at a time: it is work, and anybody may ask. Who is not waited for
/// any longer keeps the turn until he is done, so that a disk that hangs holds one thread alone.
async fn in_turn<T: Send + 'static>(
    turn: &Arc<tokio::sync::Mutex<()>>,
    within: Duration,
    read: impl FnOnce() -> T + Send + 'static,
) -> fdo::Result<T> {
    let turn = Arc::clone(turn);
    let whole = async {
        let turn = turn.lock_owned().await;
        let reading = tokio::task::spawn_blocking(move || {
            let read = read();
            drop(turn);
            read
        });
        reading.await
    };
    tokio::time::timeout(within, whole)
        .await
        .map_err(|_| fdo::Error::TimedOut("the disk does not answer".into()))?
        .map_err(|error| fdo::Error::Failed(error.to_string()))
}

/// An incident in a list.
type IncidentRow = (String, String, String, u64, u64, String);

struct Manager {
    queue: mpsc::Sender<Happening>,
    /// Whose turn it is to read the incidents.
    reading: Arc<tokio::sync::Mutex<()>>,
    /// What was odd when we started.
    remarks: Arc<[String]>,
}

impl Manager {
    async fn act(&self, app: &str, request: Request) -> fdo::Result<()> {
        let app = subject(app)?;
        let outcome = ask(&self.queue, |reply| Call::Ask(app, request, reply)).await?;
        outcome.map_err(fdo::Error::Failed)
    }
}

#[interface(name = "org.appmonitor1.Manager")]
impl Manager {
    /// Every app: its name, its object, its verdict, and the evidence.
    async fn apps(&self) -> fdo::Result<Vec<(String, OwnedObjectPath, String, String)>> {
        let views = ask(&self.queue, Call::Views).await?;
        let row = |view: AppView| {
            (view.app.to_string(), path_of(&view.app), view.verdict.word().to_owned(), view.text)
        };
        Ok(views.into_iter().map(row).collect())
    }

    /// All apps at a glance, as JSON: an array of what `status --json` shows.
    async fn report(&self) -> fdo::Result<String> {
        let views = ask(&self.queue, Call::Views).await?;
        serde_json::to_string(&views).map_err(|error| fdo::Error::Failed(error.to_string()))
    }

    /// What was odd when the monitor started: files of its own that it could not use, and where they are
    /// kept now.
    fn remarks(&self) -> Vec<String> {
        self.remarks.to_vec()
    }

    /// The incidents on record, newest first: name, app, verdict, when it was opened and when it was
    /// over (microseconds of CLOCK_REALTIME, 0 while it is not), outcome. What was seen is not among
    /// it: that quotes logs and answers, and is not for everybody.
    async fn incidents(&self) -> fdo::Result<Vec<IncidentRow>> {
        let places = incident_places();
        let listed = in_turn(&self.reading, ANSWER_WITHIN, move || places.list())
            .await?
            .map_err(|error| fdo::Error::Failed(error.to_string()))?;
        let micros = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000);
        let row = |one: incidents::Summary| {
            let closed = one.closed_seconds.map_or(0, micros);
            let opened = micros(one.opened_seconds);
            let (app, verdict) = (one.app.to_string(), one.verdict.word().to_owned());
            (one.id, app, verdict, opened, closed, one.outcome.word().to_owned())
        };
        Ok(listed.incidents.into_iter().map(row).collect())
    }

    /// Recovers an app now, uncounted.
    async fn recover(
        &self,
        app: &str,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<()> {
        authorize(connection, &header, false).await?;
        self.act(app, Request::Recover).await
    }

    /// Watches an app for so many seconds without acting.
    async fn pause(
        &self,
        app: &str,
        seconds: u64,
        reason: &str,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<()> {
        authorize(connection, &header, false).await?;
        if !(1..=LONGEST_PAUSE).contains(&seconds) {
            return Err(fdo::Error::InvalidArgs(format!("a pause lasts from 1 s to {LONGEST_PAUSE} s")));
        }
        let reason: String = reason.chars().filter(|c| !is_hidden(*c)).take(200).collect();
        let reason = (!reason.is_empty()).then_some(reason);
        self.act(app, Request::Pause { length: Duration::from_secs(seconds), reason }).await
    }

    /// Acts again.
    async fn resume(
        &self,
        app: &str,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<()> {
        authorize(connection, &header, false).await?;
        self.act(app, Request::Resume).await
    }

    /// Forgets attempts and closes the breaker.
    async fn reset(
        &self,
        app: &str,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<()> {
        authorize(connection, &header, false).await?;
        self.act(app, Request::Reset).await
    }

    /// Puts the resolved configuration in force; `systemctl reload app-monitor` resolves it first.
    async fn reload(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<()> {
        authorize(connection, &header, true).await?;
        ask(&self.queue, Call::Reload).await?.map_err(fdo::Error::Failed)
    }

    /// The verdict on an app is another one.
    #[zbus(signal)]
    async fn verdict_changed(
        emitter: &SignalEmitter<'_>,
        app: &str,
        verdict: &str,
        text: &str,
    ) -> zbus::Result<()>;

    /// A fault is confirmed.
    #[zbus(signal)]
    async fn incident_opened(
        emitter: &SignalEmitter<'_>,
        app: &str,
        id: &str,
        text: &str,
    ) -> zbus::Result<()>;

    /// It is over.
    #[zbus(signal)]
    async fn incident_closed(
        emitter: &SignalEmitter<'_>,
        app: &str,
        id: &str,
        text: &str,
    ) -> zbus::Result<()>;
}

struct AppObject {
    app: AppName,
    queue: mpsc::Sender<Happening>,
}

#[interface(name = "org.appmonitor1.App")]
impl AppObject {
    /// The verdict in one word.
    #[zbus(property)]
    async fn verdict(&self) -> fdo::Result<String> {
        Ok(view_of(&self.queue, &self.app).await?.verdict.word().to_owned())
    }

    /// Its evidence; empty when healthy.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn text(&self) -> fdo::Result<String> {
        Ok(view_of(&self.queue, &self.app).await?.text)
    }

    /// Since when the verdict holds: microseconds of CLOCK_REALTIME, as systemd's timestamps.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn since(&self) -> fdo::Result<u64> {
        let ago = view_of(&self.queue, &self.app).await?.for_seconds;
        Ok(u64::try_from(clock::wall()).unwrap_or(0).saturating_sub(ago) * 1_000_000)
    }

    /// What holds besides the verdict.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn conditions(&self) -> fdo::Result<Vec<String>> {
        let view = view_of(&self.queue, &self.app).await?;
        Ok(view.conditions.into_iter().map(|condition| condition.condition).collect())
    }

    /// Each check as last made: which, `good`, `bad`, `unknown` or `none`, and its evidence.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn checks(&self) -> fdo::Result<Vec<(String, String, String)>> {
        let view = view_of(&self.queue, &self.app).await?;
        let row = |check: crate::judge::CheckView| (check.check.word().to_owned(), check.result, check.text);
        Ok(view.checks.into_iter().map(row).collect())
    }

    /// Attempts that are left.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn attempts_left(&self) -> fdo::Result<u32> {
        Ok(view_of(&self.queue, &self.app).await?.attempts_left)
    }

    /// `closed`, `open` or `half-open`.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn breaker_state(&self) -> fdo::Result<String> {
        Ok(view_of(&self.queue, &self.app).await?.breaker)
    }

    /// When the pause ends, in microseconds of CLOCK_REALTIME; 0 where there is none.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn paused_until(&self) -> fdo::Result<u64> {
        let left = view_of(&self.queue, &self.app).await?.paused_seconds;
        let wall = u64::try_from(clock::wall()).unwrap_or(0);
        Ok(left.map_or(0, |left| (wall + left) * 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_that_hangs_keeps_its_turn() {
        let (turn, within) = (Arc::default(), Duration::from_millis(50));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let first = in_turn(&turn, within, move || held.recv()).await;
        assert!(matches!(first, Err(fdo::Error::TimedOut(_))));
        assert!(turn.try_lock().is_err(), "it still reads");
        assert!(in_turn(&turn, within, || ()).await.is_err(), "no second thread meanwhile");
        drop(release);
        drop(turn.lock().await);
        assert!(in_turn(&turn, ANSWER_WITHIN, || ()).await.is_ok());
    }

    #[test]
    fn every_app_name_makes_a_path() {
        let path = |name: &str| path_of(&name.parse().unwrap()).to_string();
        assert_eq!(path("web"), "/org/appmonitor1/app/web");
        assert_eq!(path("web-1"), "/org/appmonitor1/app/web_2d1");
        assert_eq!(path("1st"), "/org/appmonitor1/app/_31st");
    }
}
