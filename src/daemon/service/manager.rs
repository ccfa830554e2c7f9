//! `org.appmonitor1.Manager`: all apps, and what acts.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{OwnedObjectPath, fdo, interface};

use crate::incidents;
use crate::judge::{AppView, CheckKind, Observation, Request, Span};
use crate::plain::is_hidden;

use super::super::start::incident_places;
use super::leave::{Act, Leave};
use super::{ANSWER_WITHIN, Asking, Call, path_of, subject};

/// A pause is never longer, so that none is forgotten for good: thirty days.
const LONGEST_PAUSE: u64 = 30 * 86_400;
/// Callers for whom checks are made at a time.
const CHECKING: usize = 4;
/// All checks of an app are made side by side, each with a deadline of its own; what comes later than
/// this comes too late for most callers (25 s).
const CHECKED_WITHIN: Duration = Duration::from_secs(24);

/// A delivery has a minute itself, and the resolver its own time.
const DELIVERED_WITHIN: Duration = Duration::from_secs(120);

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

pub(super) struct Manager {
    asking: Asking,
    leave: Leave,
    /// Whose turn it is to read the incidents.
    reading: Arc<tokio::sync::Mutex<()>>,
    /// What was odd when we started.
    remarks: Arc<[String]>,
    checking: Arc<Semaphore>,
}

impl Manager {
    pub(super) fn new(asking: Asking, leave: Leave, remarks: Arc<[String]>) -> Self {
        let checking = Arc::new(Semaphore::new(CHECKING));
        Self { asking, leave, reading: Arc::default(), remarks, checking }
    }

    async fn act(&self, app: &str, request: Request) -> fdo::Result<()> {
        let app = subject(app)?;
        let outcome = self.asking.ask(|reply| Call::Ask(app, request, reply)).await?;
        outcome.map_err(fdo::Error::Failed)
    }

    /// By whom it was asked for, once he may.
    async fn leave(&self, header: &Header<'_>, verb: &'static str, app: &str) -> fdo::Result<String> {
        self.leave.act(header, Act { verb, app, own_user_too: false }).await
    }
}

#[interface(name = "org.appmonitor1.Manager")]
impl Manager {
    /// Every app: its name, its object, its verdict, and the evidence.
    async fn apps(&self) -> fdo::Result<Vec<(String, OwnedObjectPath, String, String)>> {
        let views = self.asking.ask(Call::Views).await?;
        let row = |view: AppView| {
            (view.app.to_string(), path_of(&view.app), view.verdict.word().to_owned(), view.text)
        };
        Ok(views.into_iter().map(row).collect())
    }

    /// All apps at a glance, as JSON: an array of what `status --json` shows.
    async fn report(&self) -> fdo::Result<String> {
        let views = self.asking.ask(Call::Views).await?;
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

    /// An incident whole, as JSON: the shape of `incidents ID --json`. For root and group adm.
    async fn incident(&self, id: &str, #[zbus(header)] header: Header<'_>) -> fdo::Result<String> {
        self.leave.read(&header).await?;
        let (places, id) = (incident_places(), id.to_owned());
        let read = in_turn(&self.reading, ANSWER_WITHIN, move || {
            let incident = places.read(&id).map_err(|error| error.to_string())?;
            serde_json::to_string(&incident).map_err(|error| error.to_string())
        });
        read.await?.map_err(fdo::Error::Failed)
    }

    /// Makes all checks of an app, or of one instance, once, now: which, `good`, `bad` or `unknown`, and
    /// the evidence. What comes of it is for the caller; the verdict goes by the monitor's own rounds.
    async fn check(
        &self,
        app: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<Vec<(String, String, String)>> {
        self.leave(&header, "check", app).await?;
        let Ok(_place) = self.checking.try_acquire() else {
            return Err(fdo::Error::LimitsExceeded("checks are being made for others; try again".into()));
        };
        let app = subject(app)?;
        let checks = self.asking.ask(|reply| Call::Check(app, reply)).await?.map_err(fdo::Error::Failed)?;
        let seen = tokio::time::timeout(CHECKED_WITHIN, checks).await;
        let seen = seen.ok().and_then(Result::ok);
        let seen = seen.ok_or_else(|| fdo::Error::TimedOut("not all checks were answered in time".into()))?;
        let row = |(kind, seen): (CheckKind, Observation)| {
            (kind.word().to_owned(), seen.finding.word().to_owned(), seen.text)
        };
        Ok(seen.into_iter().map(row).collect())
    }

    /// What `Recover` would do now, as JSON: the shape of `recover --dry-run --json`. Nothing is done.
    async fn rehearse(&self, app: &str) -> fdo::Result<String> {
        let app = subject(app)?;
        let plan = self.asking.ask(|reply| Call::Rehearse(app, reply)).await?.map_err(fdo::Error::Failed)?;
        serde_json::to_string(&plan).map_err(|error| fdo::Error::Failed(error.to_string()))
    }

    /// Recovers an app, or one instance of it, now; it does not count as an attempt.
    async fn recover(&self, app: &str, #[zbus(header)] header: Header<'_>) -> fdo::Result<()> {
        let by = Some(self.leave(&header, "recover", app).await?);
        self.act(app, Request::Recover { by }).await
    }

    /// Watches an app for so many seconds without acting.
    async fn pause(
        &self,
        app: &str,
        seconds: u64,
        reason: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let by = Some(self.leave(&header, "pause", app).await?);
        if !(1..=LONGEST_PAUSE).contains(&seconds) {
            return Err(fdo::Error::InvalidArgs(format!(
                "a pause lasts from 1 s to {}",
                Span(Duration::from_secs(LONGEST_PAUSE))
            )));
        }
        let reason: String = reason.chars().filter(|c| !is_hidden(*c)).take(200).collect();
        let reason = (!reason.is_empty()).then_some(reason);
        self.act(app, Request::Pause { length: Duration::from_secs(seconds), reason, by }).await
    }

    /// Acts again.
    async fn resume(&self, app: &str, #[zbus(header)] header: Header<'_>) -> fdo::Result<()> {
        let by = Some(self.leave(&header, "resume", app).await?);
        self.act(app, Request::Resume { by }).await
    }

    /// Forgets attempts and closes the breaker.
    async fn reset(&self, app: &str, #[zbus(header)] header: Header<'_>) -> fdo::Result<()> {
        let by = Some(self.leave(&header, "reset", app).await?);
        self.act(app, Request::Reset { by }).await
    }

    /// Puts the resolved configuration in force; `systemctl reload app-monitor` resolves it first.
    async fn reload(&self, #[zbus(header)] header: Header<'_>) -> fdo::Result<()> {
        self.leave.act(&header, Act { verb: "reload", app: "", own_user_too: true }).await?;
        self.asking.ask(Call::Reload).await?.map_err(fdo::Error::Failed)
    }

    /// The channels by which people are told, as JSON: what `alerts --json` shows. For root and group adm.
    async fn alerts(&self, #[zbus(header)] header: Header<'_>) -> fdo::Result<String> {
        self.leave.read(&header).await?;
        let channels = self.asking.ask(Call::Alerts).await?;
        serde_json::to_string(&channels).map_err(|error| fdo::Error::Failed(error.to_string()))
    }

    /// Sends a test to a channel, and says how it went; that may take a minute and more.
    async fn test_alert(&self, name: &str, #[zbus(header)] header: Header<'_>) -> fdo::Result<String> {
        self.leave(&header, "test", "").await?;
        let test = self.asking.ask(|reply| Call::TestAlert(name.to_owned(), reply)).await?;
        let outcome = tokio::time::timeout(DELIVERED_WITHIN, test).await;
        let outcome = outcome.ok().and_then(Result::ok);
        let late = || fdo::Error::TimedOut("the test was not over in time".into());
        outcome.ok_or_else(late)?.map_err(fdo::Error::Failed)
    }

    /// The verdict on an app is another one.
    #[zbus(signal)]
    pub(super) async fn verdict_changed(
        emitter: &SignalEmitter<'_>,
        app: &str,
        verdict: &str,
        text: &str,
    ) -> zbus::Result<()>;

    /// A fault is confirmed.
    #[zbus(signal)]
    pub(super) async fn incident_opened(
        emitter: &SignalEmitter<'_>,
        app: &str,
        id: &str,
        text: &str,
    ) -> zbus::Result<()>;

    /// It is over.
    #[zbus(signal)]
    pub(super) async fn incident_closed(
        emitter: &SignalEmitter<'_>,
        app: &str,
        id: &str,
        text: &str,
    ) -> zbus::Result<()>;
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
}
