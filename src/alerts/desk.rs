//! Takes alerts in and hands them out, one after the other.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::Alert;
use crate::judge::{ActiveState, EventKind, Level, Record, UnitName, Verb};
use crate::systemd::journal::{self, Line};
use crate::systemd::{Bus, Error};

use super::details::{self, Details};

/// Alerts that wait for the ones before them.
const WAITING: usize = 256;
/// How long an alert's unit may run before the next one is started.
const UNIT_WITHIN: Duration = Duration::from_secs(60);
/// How often a start that does not work is tried, and how long apart.
const TRIES: u32 = 5;
const BETWEEN: Duration = Duration::from_secs(2);
/// One that may not be made waits (that polkit is gone has to be told, too): how long until it is tried
/// again, and how often.
const AGAIN: Duration = Duration::from_secs(10);
const PATIENCE: u32 = 360;

struct Task {
    alert: Alert,
    details: Details,
    /// How often it was not allowed.
    refused: u32,
}

/// Why nobody was told.
enum Untold {
    /// We may not start the unit; `polkit`: nor anything else.
    Refused { why: String, polkit: bool },
    /// It does not work.
    Failed(String),
}

impl Untold {
    fn failed(why: impl std::fmt::Display) -> Self {
        Self::Failed(why.to_string())
    }
}

type Shared = Arc<Mutex<Option<Bus>>>;

/// The desk. Dropping it ends the telling.
pub struct Desk {
    alerts: Vec<Alert>,
    bus: Shared,
    tasks: mpsc::Sender<Task>,
}

impl Desk {
    /// A desk for those alerts, whose details go into that directory.
    #[must_use]
    pub fn new(alerts: Vec<Alert>, directory: PathBuf) -> Self {
        let (tasks, receiver) = mpsc::channel(WAITING);
        let bus = Shared::default();
        tokio::spawn(serve(directory, Arc::clone(&bus), receiver));
        Self { alerts, bus, tasks }
    }

    /// The alerts are these now.
    pub fn configure(&mut self, alerts: Vec<Alert>) {
        self.alerts = alerts;
    }

    /// The bus is this one now.
    pub fn bus(&mut self, bus: Option<Bus>) {
        *self.bus.lock().unwrap_or_else(PoisonError::into_inner) = bus;
    }

    /// Tells everybody who wants to know. `wall`: seconds since the epoch.
    pub fn tell(&mut self, record: &Record, wall: i64) {
        for alert in self.alerts.iter().filter(|alert| alert.wants(record.event, record.alert)) {
            let details = Details {
                app: record.app.clone(),
                unit: record.unit.clone(),
                event: record.event,
                text: record.line(),
                incident: record.incident.clone(),
                time: wall,
            };
            if let Err(error) = self.tasks.try_send(Task { alert: alert.clone(), details, refused: 0 }) {
                let task = match &error {
                    mpsc::error::TrySendError::Full(task) | mpsc::error::TrySendError::Closed(task) => task,
                };
                report(task, Err("too many alerts wait already"));
            }
        }
    }
}

async fn serve(directory: PathBuf, bus: Shared, mut tasks: mpsc::Receiver<Task>) {
    let mut waiting: VecDeque<Task> = VecDeque::new();
    loop {
        tokio::select! {
            task = tasks.recv() => match task {
                Some(task) if waiting.len() < WAITING => waiting.push_back(task),
                Some(task) => report(&task, Err("too many alerts wait already")),
                None => return,
            },
            () = tokio::time::sleep(AGAIN), if !waiting.is_empty() => {}
        }
        hand_out(&directory, &bus, &mut waiting).await;
    }
}

/// Delivers what waits, in its order; what may not be delivered goes on waiting, and so does what comes
/// behind it by the same unit.
async fn hand_out(directory: &Path, bus: &Shared, waiting: &mut VecDeque<Task>) {
    let (mut held, mut all_held) = (BTreeSet::new(), false);
    for mut task in std::mem::take(waiting) {
        let unit = task.alert.unit_for(&task.details.app);
        if all_held || unit.as_ref().is_some_and(|unit| held.contains(unit)) {
            waiting.push_back(task);
            continue;
        }
        match deliver(directory, bus, &task, unit.as_ref()).await {
            Ok(text) => report(&task, Ok(&text)),
            Err(Untold::Refused { why, polkit }) if task.refused < PATIENCE => {
                if task.refused == 0 {
                    report(&task, Err(&format!("{why}; it is tried again every {} s", AGAIN.as_secs())));
                }
                task.refused += 1;
                all_held = polkit;
                held.extend(unit);
                waiting.push_back(task);
            }
            Err(Untold::Refused { why, .. } | Untold::Failed(why)) => report(&task, Err(&why)),
        }
    }
}

/// Starts the unit and waits for its end: an instance that still runs would not be started again,
/// and what it reads must not change under it.
async fn deliver(
    directory: &Path,
    bus: &Shared,
    task: &Task,
    unit: Option<&UnitName>,
) -> Result<String, Untold> {
    let app = &task.details.app;
    let unit = unit.ok_or_else(|| Untold::failed("its unit has no valid name for this app"))?;
    details::write(directory, &task.details).map_err(|error| {
        Untold::Failed(format!("cannot write {}/{app}.json: {error}", directory.display()))
    })?;
    let mut why = String::new();
    for _ in 0..TRIES {
        let current = bus.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(bus) = current else {
            why = "not connected to the bus".to_owned();
            tokio::time::sleep(BETWEEN).await;
            continue;
        };
        match start(&bus, unit).await {
            Ok(()) => return ended(&bus, unit).await.map_err(Untold::Failed),
            Err(Error::Hindered(obstacle)) => {
                let why = format!("cannot start {unit}: {obstacle}");
                return Err(Untold::Refused { why, polkit: obstacle.is_general() });
            }
            Err(error) => why = error.to_string(),
        }
        tokio::time::sleep(BETWEEN).await;
    }
    Err(Untold::Failed(format!("cannot start {unit}: {why}")))
}

async fn start(bus: &Bus, unit: &UnitName) -> Result<(), Error> {
    let hand = bus.hand_for(unit, &[Verb::Start]).await?;
    // A failure of the last alert must not keep this one from being tried.
    let _ = hand.reset_failed(unit).await;
    hand.start(unit).await.map(drop)
}

async fn ended(bus: &Bus, unit: &UnitName) -> Result<String, String> {
    let wait = async {
        let mut pause = Duration::from_millis(50);
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
            match bus.read_unit_alone(unit).await {
                Ok(reading) if reading.job.is_some() => {}
                Ok(reading) if reading.active == ActiveState::Failed => {
                    return Err(format!("{unit} failed: {}", reading.result));
                }
                // One that stays up has been started, which is all that was asked for.
                Ok(reading) if reading.active == ActiveState::Activating => {}
                Ok(_) => return Ok(format!("{unit} was started")),
                Err(error) => return Err(error.to_string()),
            }
        }
    };
    let late = || Err(format!("{unit} still runs after {} s", UNIT_WITHIN.as_secs()));
    tokio::time::timeout(UNIT_WITHIN, wait).await.unwrap_or_else(|_| late())
}

fn report(task: &Task, outcome: Result<&str, &str>) {
    let details = &task.details;
    let (event, priority, text) = match outcome {
        Ok(text) => (
            EventKind::AlertSent,
            Level::Info,
            format!("told {} of {}: {text}", task.alert.name, details.event),
        ),
        Err(why) => (
            EventKind::AlertFailed,
            Level::Warn,
            format!("could not tell {} of {}: {why}", task.alert.name, details.event),
        ),
    };
    journal::write(Line {
        priority,
        message: format!("{}: {text}", details.app),
        app: Some(details.app.to_string()),
        event: Some(event.word()),
        unit: Some(details.unit.to_string()),
        incident: details.incident.clone(),
        message_id: Some(event.message_id()),
        ..Line::default()
    });
}
