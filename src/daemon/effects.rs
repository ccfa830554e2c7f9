//! What the judge decides, on its way out.

use std::sync::Arc;
use std::time::Duration;

use crate::checks::Probe;
use crate::helpers::result::{Ending, Report};
use crate::incidents::Evidence;
use crate::judge::{
    ActId, App, CheckKind, Effect, Effects, Event, Level, Moment, Outcome, RoundId, Step, Subject, UnitName,
};
use crate::recovery;

use super::looping::{Daemon, Happening};
use super::state::{Saved, Saving};
use super::{clock, helping, performing, telling};

/// How long a disk that did not take the state is left alone, while nothing else happens.
const SAVE_AGAIN: Duration = Duration::from_secs(30);
/// What the unit of a preflight gets on top of the timeout of a check: it has to be started.
const PREFLIGHT_ON_TOP: Duration = Duration::from_secs(5);

impl Daemon {
    /// Carries effects out, in their order; none of them is waited for.
    pub(super) fn carry_out(&mut self, effects: Effects) {
        let mut saved: Option<Saving> = None;
        for (app, effect) in effects {
            match effect {
                Effect::ReadUnit => self.read(app),
                Effect::Check(round, kinds) => self.check(&app, round, kinds),
                Effect::Persist => saved = Some(self.save()),
                Effect::Perform(act, step) => self.perform(app, act, step, saved.take()),
                Effect::GatherEvidence => self.gather(app),
                Effect::Hook(unit) => self.start_hook(unit),
                Effect::Record(record) => {
                    telling::write(&record);
                    self.incidents.take(&record, clock::now(), clock::wall_ms());
                    self.alerts.tell(&record, clock::now());
                    if let Some(served) = &self.served
                        && app.app().is_some()
                    {
                        served.announce(&record, || self.host.view(clock::now(), &app));
                    }
                }
            }
        }
        if let Some(saved) = saved {
            self.follow_saving(saved);
        }
    }

    fn follow_saving(&self, saved: Saving) {
        let queue = self.queue.clone();
        tokio::spawn(async move {
            if let Ok(saved) = saved.everywhere.await {
                let _ = queue.send(Happening::Saved(saved)).await;
            }
        });
    }

    fn read(&mut self, app: Subject) {
        let Some(target) = self.targets.get(&app) else { return };
        match &self.link {
            Some(link) => performing::read(link.bus.clone(), app, target.unit.clone(), self.queue.clone()),
            None => {
                self.unread.insert(app);
            }
        }
    }

    /// What checks of that app need to know; nothing, where there is no such app.
    pub(super) fn probe(&self, app: &Subject) -> Option<Probe> {
        let (target, known) = (self.targets.get(app)?, self.host.app(app)?);
        let proxy = target.proxy.as_ref();
        let proxy = proxy.and_then(|unit| self.host.apps().find(|other| other.target().unit == *unit));
        Some(Probe {
            target: Arc::clone(target),
            control_group: known.control_group().map(str::to_owned),
            proxy_group: proxy.and_then(App::control_group).map(str::to_owned),
            socket_activated: known.socket_activated(),
            down: known.is_down(),
            working_directory: known.working_directory(),
            timeout: known.policy().timeout,
            world: Arc::clone(&self.world),
        })
    }

    fn check(&mut self, app: &Subject, round: RoundId, mut kinds: Vec<CheckKind>) {
        let Some(known) = self.host.app(app) else { return };
        let under_way = self.checks.entry(app.clone()).or_default();
        // Rounds that the judge has voided (a restart, a reload, a gap) hang no longer than this.
        under_way.retain(|(round, check)| {
            let wanted = known.awaits(*round);
            if !wanted {
                check.abort();
            }
            wanted && !check.is_finished()
        });
        // What only root can see is looked at by a unit.
        if kinds.contains(&CheckKind::Preflight) {
            kinds.retain(|kind| *kind != CheckKind::Preflight);
            let bus = self.link.as_ref().map(|link| link.bus.clone());
            let within = known.policy().timeout + PREFLIGHT_ON_TOP;
            let check = helping::preflight(bus, app.clone(), round, within, self.queue.clone());
            under_way.push((round, check));
        }
        if kinds.is_empty() {
            return;
        }
        let Some(probe) = self.probe(app) else { return };
        let check =
            performing::check(kinds, round, probe, Arc::clone(&self.pool), app.clone(), self.queue.clone());
        self.checks.entry(app.clone()).or_default().push((round, check));
    }

    /// Starts a hook's unit. Nothing waits for it; that it was not started is told.
    fn start_hook(&self, unit: UnitName) {
        let Some(link) = &self.link else { return };
        let bus = link.bus.clone();
        tokio::spawn(async move {
            match recovery::start_hook(&unit, &bus).await {
                Ok(None) => {}
                Ok(Some(why)) => telling::say(Level::Info, format!("the hook {unit} is left alone: {why}")),
                Err(error) => telling::say(Level::Warn, format!("cannot start the hook {unit}: {error}")),
            }
        });
    }

    /// Has evidence gathered in the background.
    fn gather(&mut self, app: Subject) {
        let Some(link) = &self.link else { return };
        self.gathering.begin(&link.bus, app, clock::now(), &self.queue);
    }

    /// Evidence, or why there is none, for the incident of that subject.
    pub(super) fn take_evidence(&mut self, app: &Subject, outcome: Result<Report, String>) {
        self.gathering.ended(app);
        while let Some(next) = self.gathering.next(clock::now()) {
            self.gather(next);
        }
        let Some(target) = self.targets.get(app) else { return };
        let (problem, lines) = match outcome {
            Ok(Report { ending: Ending::Failed(why), lines, .. }) => (Some(why), lines),
            Ok(report) => (None, report.lines),
            Err(why) => (Some(why), Vec::new()),
        };
        let wall = clock::wall_ms();
        let evidence = Evidence::new(wall, problem, lines);
        self.incidents.take_evidence(&target.unit, evidence, clock::now(), wall);
    }

    /// Orders the memory to be written.
    pub(super) fn save(&self) -> Saving {
        self.saver.save(&self.host.memory(clock::clocks()))
    }

    /// Says once that the state cannot be written, and has it tried again.
    pub(super) fn note_saved(&mut self, saved: &Saved, now: Moment) {
        let bad = !saved.problems.is_empty();
        match (bad, self.save_again.is_some()) {
            (true, false) => {
                telling::say(Level::Warn, format!("cannot write the state: {}", saved.problems.join("; ")));
            }
            (false, true) => telling::say(Level::Info, "the state is written again".to_owned()),
            _ => {}
        }
        self.save_again = bad.then(|| now + SAVE_AGAIN);
    }

    /// The copy that is left may be on a disk that a reboot empties: what the other did not take is tried
    /// again, though nothing happens meanwhile.
    pub(super) fn save_what_waits(&mut self, now: Moment) {
        if self.save_again.is_some_and(|again| again <= now) {
            self.save_again = Some(now + SAVE_AGAIN);
            self.follow_saving(self.save());
        }
    }

    fn perform(&mut self, app: Subject, act: ActId, step: Step, saved: Option<Saving>) {
        let Some(target) = self.targets.get(&app) else { return };
        let Some(link) = &self.link else {
            let queue = self.queue.clone();
            tokio::spawn(async move {
                let outcome = Outcome::Unknown("not connected to the bus".into());
                let _ = queue.send(Happening::App(app, Event::StepEnded(act, outcome))).await;
            });
            return;
        };
        let unit = target.unit.clone();
        let evidence = self.gathering.under_way(&app);
        self.gathering.too_late(&app);
        let again = self.host.app(&app).and_then(App::acts_again);
        let performance = performing::perform(
            step,
            act,
            app.clone(),
            unit,
            link.bus.clone(),
            performing::First { saved, evidence, again },
            self.queue.clone(),
        );
        if let Some(earlier) = self.performances.insert(app, performance) {
            earlier.abort.abort();
        }
        // Before its job can be over: what is queued is sent when this turn ends.
        self.watch();
    }
}
