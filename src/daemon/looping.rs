//! The loop: what happens is taken in, what follows is carried out, until SIGTERM.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use crate::alerts;
use crate::checks::{Limits, Pool, World};
use crate::config::Settings;
use crate::helpers::result::Report;
use crate::incidents;
use crate::judge::{Effects, Event, Host, Level, Moment, Outcome, RoundId, Subject, Target, UnitName};
use crate::plain::on_lines;
use crate::systemd::Obstacle;
use crate::systemd::notify::{self, Notifier};

use super::alarm::Alarm;
use super::helping::Gathering;
use super::link::{self, Link};
use super::performing::{self, Performance};
use super::proving::{Findings, Proving};
use super::requests::{apps_of, targets_of};
use super::start::{Refusal, directory, incident_places, surroundings_of_alerts};
use super::state::{self, Saved, Saver};
use super::{clock, service, telling};

/// Everything that happens goes through a queue of this length.
const QUEUE: usize = 1024;
/// So much of it is taken in at a turn.
const BATCH: usize = 64;
/// The loop turns at least that often, whatever happens.
const TURN: Duration = Duration::from_secs(10);
/// The status is put into words no more often than every this long for each app.
const STATUS_EACH: Duration = Duration::from_micros(500);
/// Being later than that means that nobody let us run.
const LATE: Duration = Duration::from_secs(2);
/// Without a bus for so long, units count as unreadable.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many remarks about our own files are shown.
const MOST_REMARKS: usize = 20;

/// Something that happened.
pub enum Happening {
    /// To one app.
    App(Subject, Event),
    /// The bus is there (again).
    Connected(Box<Link>),
    /// It is not.
    NotConnected(String),
    /// The shutdown of the host was (or was not) seen.
    Stopping(bool),
    /// Somebody calls our bus service.
    Call(service::Call),
    /// Our own service is on the bus, or is not for a reason that does not hold up our start.
    Offered,
    /// The state was written, or not.
    Saved(Saved),
    /// What the configuration needs is allowed, or not.
    Proven(Box<Findings>),
    /// A unit is held in systemd's memory, or is not for that reason.
    Held(UnitName, Option<Obstacle>),
    /// Evidence about a subject was gathered, or not.
    Evidence(Subject, Result<Report, String>),
}

/// What the loop woke for.
enum Woken {
    Systemd(crate::systemd::Event),
    Happening(Box<Happening>),
    Alert(alerts::Outcome),
    Alarm,
}

/// All that the loop knows; its parts are in `signals`, `effects` and `requests`.
pub(super) struct Daemon {
    pub(super) host: Host,
    pub(super) targets: BTreeMap<Subject, Arc<Target>>,
    pub(super) link: Option<Link>,
    pub(super) link_lost: Option<Moment>,
    /// Readings that were asked for while there was no bus.
    pub(super) unread: BTreeSet<Subject>,
    pub(super) watched: BTreeSet<UnitName>,
    /// The task that holds the units in systemd's memory.
    pub(super) holding: Option<AbortHandle>,
    /// Wakes it when polkit may answer otherwise by now.
    pub(super) hold_again: Arc<Notify>,
    pub(super) proving: Proving,
    pub(super) pool: Arc<Pool>,
    pub(super) world: Arc<World>,
    pub(super) saver: Saver,
    /// When the state is to be written again that a disk did not take.
    pub(super) save_again: Option<Moment>,
    pub(super) incidents: incidents::Keeper,
    /// What of our own files could not be used when we started.
    pub(super) remarks: Arc<[String]>,
    pub(super) gathering: Gathering,
    pub(super) performances: BTreeMap<Subject, Performance>,
    /// A swap may be off that should be on, and steps were under way when it could have been looked after.
    pub(super) swap_owed: bool,
    /// Checks under way.
    pub(super) checks: BTreeMap<Subject, Vec<(RoundId, AbortHandle)>>,
    pub(super) alerts: alerts::Desk,
    pub(super) notifier: Notifier,
    /// When the status was last put into words, and whether something happened since.
    pub(super) reported: (Moment, bool),
    pub(super) served: Option<service::Served>,
    /// The marks of the properties of each app as the service was told last.
    pub(super) marks: BTreeMap<Subject, u64>,
    pub(super) queue: mpsc::Sender<Happening>,
    pub(super) stopping: bool,
    /// READY=1 was sent.
    pub(super) ready: bool,
    pub(super) complained: bool,
}

/// Turns until SIGTERM.
pub(super) async fn turn(settings: Settings) -> Result<(), Refusal> {
    let other = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| Refusal::Other(format!("cannot {what}: {error}"))
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(other("handle SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(other("handle SIGINT"))?;
    let (queue, mut happenings) = mpsc::channel(QUEUE);
    let runtime_directory = directory("RUNTIME_DIRECTORY", "/run/app-monitor");
    let state_directory = directory("STATE_DIRECTORY", "/var/lib/app-monitor");
    let directories = vec![runtime_directory.clone(), state_directory.clone()];
    let loaded = state::load(&directories);
    let mut odd = loaded.remarks;
    if loaded.lost {
        odd.push(
            "the state is lost: each app has one attempt until it was healthy for healthy_for".to_owned(),
        );
    }
    let saver = Saver::start(directories).map_err(other("start the thread that writes the state"))?;
    let now = clock::now();
    let told =
        telling::once("cannot write incidents; the latest are kept in the runtime directory and tried again");
    let (incidents, remarks) = incidents::Keeper::open(incident_places(), now, clock::wall_ms(), told)
        .map_err(other("start the thread that writes incidents"))?;
    odd.extend(remarks);
    odd.iter().for_each(|remark| telling::say(Level::Warn, remark.as_str()));
    let memory = loaded.memory.at(&clock::clocks());
    let (alerts, remarks) = alerts::Desk::open(surroundings_of_alerts(), &settings, now);
    remarks.iter().for_each(|remark| telling::say(Level::Warn, remark.as_str()));
    odd.extend(remarks);
    let mut daemon = Daemon {
        host: Host::new(apps_of(&settings), settings.max_parallel, memory, loaded.lost, now),
        targets: targets_of(&settings),
        alerts,
        link: None,
        link_lost: Some(now),
        unread: BTreeSet::new(),
        watched: BTreeSet::new(),
        holding: None,
        hold_again: Arc::default(),
        proving: Proving::new(&settings),
        pool: Arc::new(Pool::new(Limits::default())),
        world: Arc::new(World::system()),
        saver,
        save_again: None,
        incidents,
        remarks: odd.iter().map(|remark| on_lines(remark)).take(MOST_REMARKS).collect(),
        gathering: Gathering::default(),
        performances: BTreeMap::new(),
        swap_owed: false,
        checks: BTreeMap::new(),
        notifier: Notifier::new(),
        reported: (Moment::default(), true),
        served: None,
        marks: BTreeMap::new(),
        queue: queue.clone(),
        stopping: false,
        ready: false,
        complained: false,
    };
    daemon.follow_incidents();
    daemon.alerts.begin(&daemon.host, now);
    daemon.watch();
    link::connect(daemon.watched.iter().cloned().collect(), queue);

    let watchdog = notify::watchdog_interval().map_or(TURN, |interval| (interval / 3).min(TURN));
    let mut alarm = Alarm::new().map_err(other("make a timer"))?;
    let mut kicked: Option<Moment> = None;
    let mut suspended = clock::suspended();
    loop {
        let now = clock::now();
        let kick = kicked.unwrap_or(now) + watchdog;
        let due = daemon.host.wake_at().map_or(kick, |wake| wake.min(kick));
        let due = daemon.report_due().map_or(due, |report| due.min(report));
        let due = daemon.alerts.due().map_or(due, |alert| due.min(alert));
        alarm.set(due).map_err(other("set a timer"))?;
        let woken = tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            // Before what anybody can send: a flood of calls must not keep signals from being heard.
            event = link::next(&mut daemon.link) => Woken::Systemd(event),
            happening = happenings.recv() => match happening {
                Some(happening) => Woken::Happening(Box::new(happening)),
                None => break,
            },
            outcome = daemon.alerts.outcome() => Woken::Alert(outcome),
            () = alarm.rings() => Woken::Alarm,
        };
        // Before what came is taken in: an answer from before the gap proves nothing.
        let at = clock::now();
        daemon.mind(at, gap(now, due, at, &mut suspended));
        let effects = match woken {
            Woken::Systemd(event) => daemon.take_systemd(event),
            Woken::Happening(happening) => {
                let mut effects = daemon.take(*happening);
                // What came in together is taken in together, within bounds.
                for _ in 0..BATCH {
                    let Ok(happening) = happenings.try_recv() else { break };
                    effects.extend(daemon.take(happening));
                }
                effects
            }
            Woken::Alert(outcome) => {
                daemon.alerts.take(outcome, at);
                Effects::new()
            }
            Woken::Alarm => Effects::new(),
        };
        daemon.carry_out(effects);
        let after = clock::now();
        // It may have come in the middle of the work.
        daemon.mind(after, gap(at, at, after, &mut suspended));
        let effects = daemon.host.tick(after);
        daemon.carry_out(effects);
        daemon.despair(after);
        daemon.report(after);
        daemon.save_what_waits(after);
        daemon.alerts.turn(after);
        // Sent here and nowhere else: by the loop that does the work, after it did.
        // Not at every turn, as each one wakes PID 1, and a little early rather than at a turn of its own.
        if kicked.is_none_or(|kicked| after.since(kicked) >= watchdog * 4 / 5) {
            kicked = Some(after);
            let _ = daemon.notifier.watchdog();
        }
    }
    daemon.end().await;
    Ok(())
}

/// Time during which nobody let us run: the host was suspended, or the process or the whole machine
/// was stopped.
fn gap(before: Moment, due: Moment, after: Moment, suspended: &mut i64) -> Option<Duration> {
    let slept = clock::suspended();
    let asleep = u64::try_from(slept - *suspended).unwrap_or(0);
    *suspended = slept;
    let late = after.since(due.max(before));
    let asleep = Duration::from_micros(asleep);
    (asleep > LATE || late > LATE).then_some(asleep.max(late))
}

impl Daemon {
    /// Nobody let us run for so long.
    fn mind(&mut self, now: Moment, gap: Option<Duration>) {
        if let Some(gap) = gap {
            let effects = self.host.handle_all(now, &Event::Gap(gap));
            self.carry_out(effects);
        }
    }

    fn take(&mut self, happening: Happening) -> Effects {
        let now = clock::now();
        match happening {
            Happening::App(app, event) => {
                if let Event::StepEnded(_, outcome) = &event {
                    if self.performances.remove(&app).is_some_and(|performance| performance.aside.is_some()) {
                        self.watch();
                    }
                    self.restore_owed_swap();
                    if let (Outcome::Refused(_) | Outcome::Hindered(_), Some(target)) =
                        (outcome, self.targets.get(&app))
                    {
                        self.proving.refused(target.unit.clone());
                    }
                }
                let reading = matches!(event, Event::Unit(_));
                let effects = self.host.handle(now, &app, event);
                if reading {
                    self.watch();
                }
                effects
            }
            Happening::Connected(link) => self.connected(now, *link),
            Happening::NotConnected(why) => {
                if !std::mem::replace(&mut self.complained, true) {
                    telling::say(
                        Level::Warn,
                        format!("cannot reach systemd over the bus: {why}; trying again"),
                    );
                }
                Effects::new()
            }
            Happening::Stopping(stopping) => self.set_stopping(now, stopping),
            Happening::Offered => {
                if !std::mem::replace(&mut self.ready, true) {
                    let _ = self.notifier.ready();
                }
                Effects::new()
            }
            Happening::Call(call) => self.answer(now, call),
            Happening::Proven(findings) => self.take_proof(now, *findings),
            Happening::Held(unit, obstacle) => self.take_held(now, unit, obstacle),
            Happening::Evidence(app, outcome) => {
                self.take_evidence(&app, outcome);
                Effects::new()
            }
            Happening::Saved(saved) => {
                self.note_saved(&saved, now);
                Effects::new()
            }
        }
    }

    /// Without a bus for too long, nothing is known of the units any more.
    fn despair(&mut self, now: Moment) {
        if self.link_lost.is_some_and(|lost| now.since(lost) >= PATIENCE) {
            for app in std::mem::take(&mut self.unread) {
                let why = "not connected to the bus".to_owned();
                let effects = self.host.handle(now, &app, Event::UnitUnreadable(why));
                self.carry_out(effects);
            }
        }
    }

    /// What was open on disk is either open still, or followed by nobody; and no number is used twice.
    pub(super) fn follow_incidents(&mut self) {
        self.host.number_after(&self.incidents.highest());
        let open = self.host.open_incidents();
        self.incidents.keep_only(&open, clock::now(), clock::wall_ms());
    }

    /// When the status has to be put into words, while it has not been since something happened.
    fn report_due(&self) -> Option<Moment> {
        let (last, stale) = self.reported;
        // The sentence takes a look at every app: two hundred of them get ten a second, one app gets
        // one at every turn.
        let many = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        let pause = if many < 8 { Duration::ZERO } else { (TURN / 10).min(STATUS_EACH * many) };
        stale.then_some(last + pause)
    }

    fn report(&mut self, now: Moment) {
        self.reported.1 = true;
        if self.report_due().is_some_and(|due| due > now) {
            return;
        }
        self.reported = (now, false);
        let line = if self.served.is_some() {
            self.host.status_line(now)
        } else {
            "connecting to systemd".to_owned()
        };
        let _ = self.notifier.status(&line);
        self.publish(now);
    }

    /// Tells the service which apps show other properties than before, at the pace of the status.
    fn publish(&mut self, now: Moment) {
        let Some(served) = &self.served else { return };
        for app in self.host.apps().filter(|app| app.name().app().is_some()) {
            let mark = app.mark(now);
            if self.marks.get(app.name()) == Some(&mark) {
                continue;
            }
            let told = self.host.view(now, app.name()).is_none_or(|view| served.changed(view));
            if told {
                self.marks.insert(app.name().clone(), mark);
            }
        }
    }

    /// SIGTERM overtakes the signal that the host goes down, which comes by way of the bus.
    async fn learn_why(&mut self) {
        let Some(link) = self.link.as_ref().filter(|_| !self.stopping) else { return };
        let state = tokio::time::timeout(Duration::from_millis(200), link.bus.system_state()).await;
        if state.is_ok_and(|state| state.is_ok_and(|state| state == "stopping")) {
            let effects = self.set_stopping(clock::now(), true);
            self.carry_out(effects);
        }
    }

    /// Gone within a second, unless an app would stay stopped by our doing.
    async fn end(mut self) {
        let _ = self.notifier.stopping();
        let _ = self.notifier.status("stopping");
        self.learn_why().await;
        if let Some(link) = &self.link
            && !self.stopping
        {
            let wills =
                self.host.apps().filter_map(|app| Some((app.target().unit.clone(), app.last_will()?)));
            let work =
                wills.map(|(unit, will)| {
                    let bus = link.bus.clone();
                    async move {
                        performing::last_will(&bus, &unit, will.kill, Duration::from_millis(4_500)).await
                    }
                });
            for performance in self.performances.values() {
                performance.abort.abort();
            }
            futures_util::future::join_all(work.collect::<Vec<_>>()).await;
        }
        let saved = tokio::time::timeout(Duration::from_millis(300), self.save().everywhere);
        let _ = tokio::join!(saved, self.alerts.end(clock::now));
        self.incidents.flush(Duration::from_millis(200));
    }
}
