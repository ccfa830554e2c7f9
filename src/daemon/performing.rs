//! Carries effects out as tasks whose outcome comes back as something that happened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::checks::{Pool, Probe, observe, observe_in_turn};
use crate::judge::{ActId, CheckKind, Event, JobId, JobResult, Outcome, RoundId, Step, Subject, UnitName};
use crate::recovery::{self, Deadlines, On, Places, StepEvent};
use crate::systemd::{Bus, Error};

use super::looping::Happening;
use super::process;
use super::state::{SAVE_DEADLINE, Saving};

/// Sends what happened to the loop. The loop is gone only when the process ends.
async fn send(to: &mpsc::Sender<Happening>, app: Subject, event: Event) {
    let _ = to.send(Happening::App(app, event)).await;
}

/// Reads the unit.
pub fn read(bus: Bus, app: Subject, unit: UnitName, to: mpsc::Sender<Happening>) {
    tokio::spawn(async move {
        let event = match bus.read_unit(&unit).await {
            Ok(mut reading) => {
                if let Some(pid) = reading.main_pid {
                    let attended = process::attended(Path::new("/proc"), pid);
                    reading.traced = attended.traced;
                    reading.dumping = attended.dumping;
                }
                Event::Unit(Box::new(reading))
            }
            // The loop knows of a lost bus before us, and reads everything again on a new one.
            Err(_) if bus.is_closed() => return,
            Err(error) => Event::UnitUnreadable(error.to_string()),
        };
        send(&to, app, event).await;
    });
}

/// Makes checks, one after the other. Aborting it cancels: no answer comes, its thread is free at once.
pub fn check(
    kinds: Vec<CheckKind>,
    round: RoundId,
    probe: Probe,
    pool: Arc<Pool>,
    app: Subject,
    to: mpsc::Sender<Happening>,
) -> AbortHandle {
    let task = tokio::spawn(async move {
        let seen = match kinds[..] {
            [kind] => vec![(kind, observe(kind, &probe, &pool).await)],
            _ => observe_in_turn(kinds, &probe, &pool).await,
        };
        for (kind, observation) in seen {
            send(&to, app.clone(), Event::Check(round, kind, observation)).await;
        }
    });
    task.abort_handle()
}

/// A step under way.
pub struct Performance {
    /// Ends of jobs on the app's unit go in here,
    pub removed: mpsc::Sender<(JobId, JobResult)>,
    /// and those on the unit that the step is carried out by, where it is another one.
    pub aside: Option<UnitName>,
    /// Ends the task; a job that is queued is left to systemd.
    pub abort: AbortHandle,
}

/// What comes before a step, and is waited for within bounds.
pub struct First {
    /// Its intent is on disk.
    pub saved: Option<Saving>,
    /// Evidence is gathered, which a stop would destroy.
    pub evidence: Option<watch::Receiver<bool>>,
    /// The pending job that a monitor before us seems to have queued for it.
    pub again: Option<JobId>,
}

impl First {
    /// Waits. True when the intent is written somewhere.
    async fn wait(self, step: &Step) -> bool {
        let saved = async {
            let Some(saved) = self.saved else { return true };
            let answer = tokio::time::timeout(SAVE_DEADLINE, saved.anywhere).await;
            answer.is_ok_and(|written| written == Ok(true))
        };
        let destroys = matches!(step, Step::Restart { .. } | Step::Stop { .. });
        let gathered = async {
            if let Some(mut evidence) = self.evidence.filter(|_| destroys) {
                let _ = tokio::time::timeout(EVIDENCE_AT_MOST, evidence.wait_for(|done| *done)).await;
            }
        };
        tokio::join!(saved, gathered).0
    }
}

/// Evidence delays an act by no more than that.
const EVIDENCE_AT_MOST: Duration = Duration::from_millis(100);

/// Carries a step out, once its intent is written.
pub fn perform(
    step: Step,
    act: ActId,
    app: Subject,
    unit: UnitName,
    bus: Bus,
    first: First,
    to: mpsc::Sender<Happening>,
) -> Performance {
    let (removed, mut removals) = mpsc::channel(64);
    let aside = recovery::aside_of(&step, &app);
    let task = tokio::spawn(async move {
        let again = first.again;
        let written = first.wait(&step).await;
        // What needs a second step must be known to a monitor that is started in between.
        let outcome = if !written && matches!(step, Step::Stop { .. }) {
            Outcome::Failed(
                "the intent could be written nowhere, so nothing that needs a second step is begun".into(),
            )
        } else {
            let (progress, mut told) = mpsc::channel(8);
            let (deadlines, places) = (Deadlines::default(), Places::default());
            let (deadlines, places) = (&deadlines, &places);
            let on = On { subject: &app, unit: &unit, bus: &bus, deadlines, places, again };
            let work = recovery::perform(step, on, &mut removals, &progress);
            tokio::pin!(work);
            let outcome = loop {
                tokio::select! {
                    biased;
                    Some(event) = told.recv() => send(&to, app.clone(), progress_event(act, event)).await,
                    outcome = &mut work => break outcome,
                }
            };
            // A job may be over as soon as it is known: whose it was counts all the same.
            while let Ok(event) = told.try_recv() {
                send(&to, app.clone(), progress_event(act, event)).await;
            }
            outcome
        };
        send(&to, app, Event::StepEnded(act, outcome)).await;
    });
    Performance { removed, aside, abort: task.abort_handle() }
}

fn progress_event(act: ActId, event: StepEvent) -> Event {
    match event {
        StepEvent::Queued(job) => Event::StepQueued(act, job),
        StepEvent::Killed => Event::StepKilled(act),
    }
}

/// Leaves no app stopped: helps a stop of ours along if it is still pending, and queues the start.
/// A start against a pending stop is refused, so it is tried until the stop is through.
pub async fn last_will(bus: &Bus, unit: &UnitName, kill: bool, at_most: Duration) {
    let work = async {
        if kill && let Ok(hand) = bus.hand().await {
            let _ = hand.kill(unit, crate::systemd::SIGKILL).await;
        }
        let mut pause = Duration::from_millis(50);
        loop {
            // A hand that got no answer is of no more use.
            if let Ok(hand) = bus.hand().await {
                match hand.start(unit).await {
                    Ok(_) => return,
                    Err(Error::Conflict(_)) => {}
                    // Each question to a polkit that cannot be started leaves lines in the journal.
                    Err(_) => pause *= 2,
                }
            }
            tokio::time::sleep(pause).await;
        }
    };
    let _ = tokio::time::timeout(at_most, work).await;
}
