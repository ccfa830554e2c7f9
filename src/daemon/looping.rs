//! The loop, from start to SIGTERM.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::alerts;
use crate::checks::{Limits, Pool, Probe, World};
use crate::config::resolved::{self, Resolved};
use crate::config::{LogLevel, Settings};
use crate::judge::{
    AppName, AppView, Effect, Effects, Event, EventKind, Host, JobId, JobResult, Moment, RoundId, Step,
    Target, UnitName,
};
use crate::systemd::journal::{self, Level};
use crate::systemd::notify::{self, Notifier};
use crate::systemd::{self, Bus};

use super::link::{self, Link};
use super::performing::{self, Performance};
use super::state::{self, Saved, Saver};
use super::{clock, service, telling};

/// Exit status for a broken configuration (sysexits.h, EX_CONFIG).
pub const BAD_CONFIGURATION: u8 = 78;
/// Everything that happens goes through a queue of this length.
const QUEUE: usize = 1024;
/// The loop turns at least that often, whatever happens.
const TURN: Duration = Duration::from_secs(10);
/// The status is put into words no more often than every this long for each app.
const STATUS_EACH: Duration = Duration::from_micros(500);
/// Being later than that means that nobody let us run.
const LATE: Duration = Duration::from_secs(2);
/// Without a bus for so long, units count as unreadable.
const PATIENCE: Duration = Duration::from_secs(5);

/// Something that happened.
pub enum Happening {
    /// To one app.
    App(AppName, Event),
    /// The bus is there (again).
    Connected(Box<Link>),
    /// It is not.
    NotConnected(String),
    /// The shutdown of the host was (or was not) seen.
    Stopping(bool),
    /// Somebody calls our bus service.
    Call(service::Call),
    /// The state was written, or not.
    Saved(Saved),
}

struct Daemon {
    host: Host,
    targets: BTreeMap<AppName, Arc<Target>>,
    link: Option<Link>,
    link_lost: Option<Moment>,
    /// Readings that were asked for while there was no bus.
    unread: BTreeSet<AppName>,
    watched: BTreeSet<UnitName>,
    pool: Arc<Pool>,
    world: Arc<World>,
    saver: Saver,
    save_complained: bool,
    performances: BTreeMap<AppName, Performance>,
    /// Checks under way.
    checks: BTreeMap<AppName, Vec<(RoundId, AbortHandle)>>,
    alerts: alerts::Desk,
    notifier: Notifier,
    /// When the status was last put into words, and whether something happened since.
    reported: (Moment, bool),
    served: Option<service::Served>,
    queue: mpsc::Sender<Happening>,
    stopping: bool,
    ready: bool,
    complained: bool,
}

/// Runs until SIGTERM. The exit status is 0, 78 for a broken configuration, or 1 when something
/// that is needed from the start is missing.
#[must_use]
pub fn run() -> ExitCode {
    if let Err(error) = journal::init(Level::Info) {
        eprintln!("app-monitor: cannot write the journal: {error}");
    }
    let code = match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Refusal::Configuration) => ExitCode::from(BAD_CONFIGURATION),
        Err(Refusal::Other(why)) => {
            telling::say(Level::Error, why);
            ExitCode::FAILURE
        }
    };
    journal::flush(Duration::from_millis(500));
    code
}

enum Refusal {
    Configuration,
    Other(String),
}

fn start() -> Result<(), Refusal> {
    let settings = settings_in_force()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|error| Refusal::Other(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(turn(settings));
    // What is stuck in the kernel must not hold the exit back.
    runtime.shutdown_timeout(Duration::from_millis(50));
    outcome
}

/// What the pre-start step has resolved. Its errors are named here, one line each, since only the
/// main process's exit status keeps systemd from trying again.
fn settings_in_force() -> Result<Settings, Refusal> {
    let directory = Path::new(resolved::DIRECTORY);
    let resolved = resolved::read(directory).map_err(|error| {
        Refusal::Other(format!(
            "cannot read the resolved configuration: {error}; app-monitor.service writes it before it starts (app-monitor resolve)"
        ))
    })?;
    journal::set_level(level(
        resolved.outcome.as_ref().map_or(LogLevel::Info, |settings| settings.log_level),
    ));
    for notice in &resolved.notices {
        telling::say(Level::Warn, notice.to_string());
    }
    resolved.outcome.map_err(|errors| {
        for error in &errors.0 {
            telling::event(Level::Error, EventKind::ConfigRejected, error.to_string());
        }
        telling::say(
            Level::Error,
            "not started: the configuration has errors; mend them, check with: app-monitor config check, then: systemctl restart app-monitor",
        );
        Refusal::Configuration
    })
}

fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::Error,
        LogLevel::Warn => Level::Warn,
        LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
        LogLevel::Trace => Level::Trace,
    }
}

fn directory(variable: &str, default: &str) -> PathBuf {
    let first = std::env::var(variable).ok().and_then(|paths| paths.split(':').next().map(PathBuf::from));
    first.filter(|path| path.is_absolute()).unwrap_or_else(|| default.into())
}

async fn turn(settings: Settings) -> Result<(), Refusal> {
    let other = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| Refusal::Other(format!("cannot {what}: {error}"))
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(other("handle SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(other("handle SIGINT"))?;
    let (queue, mut happenings) = mpsc::channel(QUEUE);
    let runtime_directory = directory("RUNTIME_DIRECTORY", "/run/app-monitor");
    let directories = vec![runtime_directory.clone(), directory("STATE_DIRECTORY", "/var/lib/app-monitor")];
    let loaded = state::load(&directories);
    for remark in &loaded.remarks {
        telling::say(Level::Warn, remark.clone());
    }
    if loaded.lost {
        let text = "the state is lost: each app has one attempt until it was healthy for healthy_for";
        telling::say(Level::Warn, text);
    }
    let saver = Saver::start(directories).map_err(other("start the thread that writes the state"))?;
    let now = clock::now();
    let memory = loaded.memory.at(&clock::clocks());
    let mut daemon = Daemon {
        host: Host::new(apps_of(&settings), settings.max_parallel, memory, loaded.lost, now),
        targets: targets_of(&settings),
        alerts: alerts::Desk::new(settings.alerts.clone(), runtime_directory.join("alerts")),
        link: None,
        link_lost: Some(now),
        unread: BTreeSet::new(),
        watched: BTreeSet::new(),
        pool: Arc::new(Pool::new(Limits::default())),
        world: Arc::new(World::system()),
        saver,
        save_complained: false,
        performances: BTreeMap::new(),
        checks: BTreeMap::new(),
        notifier: Notifier::new(),
        reported: (Moment::default(), true),
        served: None,
        queue: queue.clone(),
        stopping: false,
        ready: false,
        complained: false,
    };
    daemon.watch();
    link::connect(daemon.watched.iter().cloned().collect(), queue);

    let watchdog = notify::watchdog_interval().map_or(TURN, |interval| (interval / 3).min(TURN));
    let mut kicked: Option<Moment> = None;
    let mut suspended = clock::suspended();
    loop {
        let now = clock::now();
        let due = daemon.host.wake_at().unwrap_or(now + watchdog).min(now + watchdog);
        let due = daemon.report_due().map_or(due, |report| due.min(report));
        let effects = tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            happening = happenings.recv() => match happening {
                Some(happening) => daemon.take(happening).await,
                None => break,
            },
            event = link::next(&mut daemon.link) => daemon.take_systemd(event),
            () = tokio::time::sleep(due.since(now)) => Effects::new(),
        };
        daemon.carry_out(effects);
        let after = clock::now();
        let gap = gap(now, due, after, &mut suspended);
        if let Some(gap) = gap {
            let effects = daemon.host.handle_all(after, &Event::Gap(gap));
            daemon.carry_out(effects);
        }
        let effects = daemon.host.tick(after);
        daemon.carry_out(effects);
        daemon.despair(after);
        daemon.report(after);
        // Sent here and nowhere else: by the loop that does the work, after it did.
        // Not at every turn: each one wakes PID 1.
        if kicked.is_none_or(|kicked| after.since(kicked) >= watchdog / 2) {
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

fn apps_of(settings: &Settings) -> impl Iterator<Item = (AppName, crate::judge::Policy, Target)> + use<> {
    let apps = settings.apps.clone();
    apps.into_iter().map(|app| (app.name, app.policy, app.target))
}

fn targets_of(settings: &Settings) -> BTreeMap<AppName, Arc<Target>> {
    settings.apps.iter().map(|app| (app.name.clone(), Arc::new(app.target.clone()))).collect()
}

impl Daemon {
    async fn take(&mut self, happening: Happening) -> Effects {
        let now = clock::now();
        match happening {
            Happening::App(app, event) => {
                if let Event::StepEnded(..) = event {
                    self.performances.remove(&app);
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
            Happening::Call(call) => self.answer(now, call),
            Happening::Saved(saved) => {
                self.note_saved(&saved);
                Effects::new()
            }
        }
    }

    fn connected(&mut self, now: Moment, link: Link) -> Effects {
        let again = self.served.is_some() || self.complained;
        if again {
            telling::say(Level::Info, "connected to systemd again");
        }
        self.complained = false;
        self.link_lost = None;
        self.unread.clear();
        let bus = link.bus.clone();
        self.link = Some(link);
        self.watch();
        self.hold(&bus);
        self.ask_whether_stopping(&bus);
        self.alerts.bus(Some(bus.clone()));
        self.served = Some(service::Served::start(bus, self.queue.clone(), self.app_names()));
        let effects = self.host.handle_all(now, &Event::SignalsLost);
        if !std::mem::replace(&mut self.ready, true) {
            let _ = self.notifier.ready();
        }
        effects
    }

    fn app_names(&self) -> Vec<AppName> {
        self.host.apps().map(|app| app.name().clone()).collect()
    }

    /// Holds every unit, so that systemd does not forget what it knows of one that stops.
    fn hold(&self, bus: &Bus) {
        let units: Vec<UnitName> = self.host.apps().map(|app| app.target().unit.clone()).collect();
        let bus = bus.clone();
        tokio::spawn(async move {
            for unit in units {
                if let Err(error) = bus.ref_unit(&unit).await {
                    telling::say(Level::Debug, format!("cannot hold {unit}: {error}"));
                }
            }
        });
    }

    fn ask_whether_stopping(&self, bus: &Bus) {
        let (bus, queue) = (bus.clone(), self.queue.clone());
        tokio::spawn(async move {
            let stopping = bus.system_state().await.is_ok_and(|state| state == "stopping")
                || bus.shutdown_pending().await.unwrap_or(false);
            let _ = queue.send(Happening::Stopping(stopping)).await;
        });
    }

    fn set_stopping(&mut self, now: Moment, stopping: bool) -> Effects {
        if self.stopping == stopping {
            return Effects::new();
        }
        self.stopping = stopping;
        self.host.handle_all(now, &Event::Stopping(stopping))
    }

    /// Signals come for the apps' units, and for what they depend on.
    fn watch(&mut self) {
        let units: BTreeSet<UnitName> = self.host.apps().flat_map(crate::judge::App::units).collect();
        if units != self.watched {
            if let Some(link) = &self.link {
                link.events.watch(units.iter().cloned());
            }
            self.watched = units;
        }
    }

    fn take_systemd(&mut self, event: systemd::Event) -> Effects {
        let now = clock::now();
        match event {
            systemd::Event::UnitChanged(unit) => self.for_unit(now, &unit, &Event::Changed),
            systemd::Event::JobNew { id, unit } => {
                let mut effects = self.for_main(now, &unit, &Event::JobNew(id));
                effects.extend(self.for_unit(now, &unit, &Event::Changed));
                if systemd::takes_host_down(unit.as_str()) {
                    effects.extend(self.set_stopping(now, true));
                }
                effects
            }
            systemd::Event::JobRemoved { id, unit, result } => self.job_removed(now, &unit, id, result),
            systemd::Event::ManagerReloading(true) => Effects::new(),
            systemd::Event::ManagerReloading(false) => self.host.handle_all(now, &Event::Changed),
            systemd::Event::PrepareForShutdown(stopping) => self.set_stopping(now, stopping),
            systemd::Event::Lost => {
                if let Some(link) = &self.link {
                    let bus = link.bus.clone();
                    self.hold(&bus);
                    self.ask_whether_stopping(&bus);
                }
                self.host.handle_all(now, &Event::SignalsLost)
            }
            systemd::Event::Disconnected => {
                self.disconnected(now);
                Effects::new()
            }
        }
    }

    fn disconnected(&mut self, now: Moment) {
        self.link = None;
        self.link_lost = Some(now);
        self.alerts.bus(None);
        // Readings under way will not be answered; they are made up for on the next connection.
        self.unread = self.app_names().into_iter().collect();
        link::connect(self.watched.iter().cloned().collect(), self.queue.clone());
    }

    fn job_removed(&mut self, now: Moment, unit: &UnitName, id: JobId, result: JobResult) -> Effects {
        let apps: Vec<AppName> =
            self.host.apps().filter(|app| app.target().unit == *unit).map(|app| app.name().clone()).collect();
        for app in &apps {
            if let Some(performance) = self.performances.get(app) {
                // A step that does not keep up asks systemd itself.
                let _ = performance.removed.try_send((id, result));
            }
        }
        if systemd::takes_host_down(unit.as_str()) && result == JobResult::Canceled {
            return self.set_stopping(now, false);
        }
        let mut effects = self.for_main(now, unit, &Event::JobRemoved(id, result));
        effects.extend(self.for_unit(now, unit, &Event::Changed));
        effects
    }

    /// To the app whose unit it is.
    fn for_main(&mut self, now: Moment, unit: &UnitName, event: &Event) -> Effects {
        self.for_apps(now, event, |app| app.target().unit == *unit)
    }

    /// To the apps that it concerns, as their own unit or as one that they depend on.
    fn for_unit(&mut self, now: Moment, unit: &UnitName, event: &Event) -> Effects {
        self.for_apps(now, event, |app| app.units().any(|other| other == *unit))
    }

    fn for_apps(
        &mut self,
        now: Moment,
        event: &Event,
        which: impl Fn(&crate::judge::App) -> bool,
    ) -> Effects {
        let names: Vec<AppName> =
            self.host.apps().filter(|app| which(app)).map(|app| app.name().clone()).collect();
        names.into_iter().flat_map(|name| self.host.handle(now, &name, event.clone())).collect()
    }

    fn carry_out(&mut self, effects: Effects) {
        let mut saved: Option<oneshot::Receiver<Saved>> = None;
        for (app, effect) in effects {
            match effect {
                Effect::ReadUnit => self.read(app),
                Effect::Check(round, kinds) => self.check(&app, round, kinds),
                Effect::Persist => saved = Some(self.save()),
                Effect::Perform(act, step) => self.perform(app, act, step, saved.take()),
                Effect::Record(record) => {
                    let Some(target) = self.targets.get(&app) else { continue };
                    telling::write(&app, &target.unit, &record);
                    self.alerts.tell(&app, &target.unit, &record, clock::wall());
                    if let Some(served) = &self.served {
                        served.announce(&app, &record, self.host.app(&app).map(|app| app.view(clock::now())));
                    }
                }
            }
        }
        if let Some(saved) = saved {
            let queue = self.queue.clone();
            tokio::spawn(async move {
                if let Ok(saved) = saved.await {
                    let _ = queue.send(Happening::Saved(saved)).await;
                }
            });
        }
    }

    fn read(&mut self, app: AppName) {
        let Some(target) = self.targets.get(&app) else { return };
        match &self.link {
            Some(link) => performing::read(link.bus.clone(), app, target.unit.clone(), self.queue.clone()),
            None => {
                self.unread.insert(app);
            }
        }
    }

    fn check(&mut self, app: &AppName, round: RoundId, kinds: Vec<crate::judge::CheckKind>) {
        let (Some(target), Some(known)) = (self.targets.get(app), self.host.app(app)) else { return };
        let under_way = self.checks.entry(app.clone()).or_default();
        // Rounds that the judge has voided (a restart, a reload, a gap) hang no longer than this.
        under_way.retain(|(round, check)| {
            let wanted = known.awaits(*round);
            if !wanted {
                check.abort();
            }
            wanted && !check.is_finished()
        });
        for kind in kinds {
            let probe = Probe {
                target: Arc::clone(target),
                control_group: known.control_group().map(str::to_owned),
                socket_activated: known.socket_activated(),
                timeout: known.policy().timeout,
                world: Arc::clone(&self.world),
            };
            let check = performing::check(
                kind,
                round,
                probe,
                Arc::clone(&self.pool),
                app.clone(),
                self.queue.clone(),
            );
            under_way.push((round, check));
        }
    }

    fn save(&self) -> oneshot::Receiver<Saved> {
        self.saver.save(&self.host.memory(clock::clocks()))
    }

    fn note_saved(&mut self, saved: &Saved) {
        let bad = !saved.problems.is_empty();
        if bad && !self.save_complained {
            telling::say(Level::Warn, format!("cannot write the state: {}", saved.problems.join("; ")));
        }
        self.save_complained = bad;
    }

    fn perform(
        &mut self,
        app: AppName,
        act: crate::judge::ActId,
        step: Step,
        saved: Option<oneshot::Receiver<Saved>>,
    ) {
        let Some(target) = self.targets.get(&app) else { return };
        let Some(link) = &self.link else {
            let queue = self.queue.clone();
            tokio::spawn(async move {
                let outcome = crate::judge::Outcome::Unknown("not connected to the bus".into());
                let _ = queue.send(Happening::App(app, Event::StepEnded(act, outcome))).await;
            });
            return;
        };
        let unit = target.unit.clone();
        let performance =
            performing::perform(step, act, app.clone(), unit, link.bus.clone(), saved, self.queue.clone());
        if let Some(earlier) = self.performances.insert(app, performance) {
            earlier.abort.abort();
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
        let line = if self.ready { self.host.status_line(now) } else { "connecting to systemd".to_owned() };
        let _ = self.notifier.status(&line);
    }

    fn answer(&mut self, now: Moment, call: service::Call) -> Effects {
        match call {
            service::Call::Views(reply) => {
                let views: Vec<AppView> = self.host.apps().map(|app| app.view(now)).collect();
                let _ = reply.send(views);
                Effects::new()
            }
            service::Call::Ask(app, request, reply) => match self.host.ask(now, &app, request.clone()) {
                Ok(effects) => {
                    let _ = reply.send(Ok(()));
                    effects
                }
                Err(why) => {
                    let _ = reply.send(Err(why));
                    Effects::new()
                }
            },
            service::Call::Reload(reply) => {
                let (outcome, effects) = self.reload(now);
                let _ = reply.send(outcome);
                effects
            }
        }
    }

    /// Puts what the reload step has resolved in force, whole or not at all.
    fn reload(&mut self, now: Moment) -> (Result<(), String>, Effects) {
        let _ = self.notifier.reloading();
        let outcome = resolved::read(Path::new(resolved::DIRECTORY)).map_err(|error| error.to_string());
        let outcome = outcome.and_then(|resolved: Resolved| {
            for notice in &resolved.notices {
                telling::say(Level::Warn, notice.to_string());
            }
            resolved.outcome.map_err(|errors| errors.to_string())
        });
        let effects = match outcome {
            Err(why) => {
                let text = format!("the configuration in force stays: {why}");
                telling::event(Level::Error, EventKind::ConfigRejected, text.clone());
                let _ = self.notifier.ready();
                return (Err(text), Effects::new());
            }
            Ok(settings) => self.configure(now, settings),
        };
        let _ = self.notifier.ready();
        (Ok(()), effects)
    }

    fn configure(&mut self, now: Moment, settings: Settings) -> Effects {
        journal::set_level(level(settings.log_level));
        self.host.configure(apps_of(&settings), settings.max_parallel, false, now);
        self.targets = targets_of(&settings);
        self.alerts.configure(settings.alerts.clone());
        self.performances.retain(|app, _| self.targets.contains_key(app));
        self.checks.retain(|app, checks| {
            let stays = self.targets.contains_key(app);
            if !stays {
                checks.iter().for_each(|(_, check)| check.abort());
            }
            stays
        });
        self.watch();
        if let Some(link) = &self.link {
            let bus = link.bus.clone();
            self.hold(&bus);
        }
        if let Some(served) = &self.served {
            served.serve(self.app_names());
        }
        let count = self.targets.len();
        let apps = if count == 1 { "1 app".to_owned() } else { format!("{count} apps") };
        telling::event(
            Level::Info,
            EventKind::ConfigReloaded,
            format!("a new configuration is in force: {apps}"),
        );
        let mut effects = self.host.handle_all(now, &Event::Changed);
        effects.extend(self.host.handle_all(now, &Event::Stopping(self.stopping)));
        effects
    }

    /// Gone within a second, unless an app would stay stopped by our doing.
    async fn end(mut self) {
        let _ = self.notifier.stopping();
        let _ = self.notifier.status("stopping");
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
        let _ = tokio::time::timeout(Duration::from_millis(300), self.save()).await;
    }
}
