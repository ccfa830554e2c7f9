//! What systemd tells, on its way to the apps that it concerns; and the bus that comes and goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::judge::{
    App, AppName, Effects, Event, JobId, JobResult, Level, Moment, Outcome, Subject, UnitName,
};
use crate::recovery::{self, Deadlines, Places};
use crate::systemd::{self, Bus, Error};

use super::link::{self, Link};
use super::looping::{Daemon, Happening};
use super::{clock, service, telling};

/// A unit that could not be held (its file is not there yet, polkit is silent at boot) is tried again
/// after that.
const HOLD_AGAIN: Duration = Duration::from_secs(60);
/// A rule of polkit that was written a moment ago is not read yet: that much sooner, the first time.
const SOONER: u32 = 30;

impl Daemon {
    /// The bus is there (again): everything is read anew.
    pub(super) fn connected(&mut self, now: Moment, link: Link) -> Effects {
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
        self.begin_proving();
        self.ask_whether_stopping(&bus);
        self.alerts.bus(Some(bus.clone()));
        if self.served.is_none() {
            self.restore_swap();
        }
        self.served =
            Some(service::Served::start(&bus, self.queue.clone(), self.app_names(), self.remarks.clone()));
        self.host.handle_all(now, &Event::SignalsLost)
    }

    /// A monitor before us may have ended between turning a swap off and on, and polkit may have gone: then
    /// it is on again as soon as it may be. A recovery that may be between the two itself is waited for.
    pub(super) fn restore_swap(&mut self) {
        self.swap_owed = true;
        self.restore_owed_swap();
    }

    /// The same, where it is owed still.
    pub(super) fn restore_owed_swap(&mut self) {
        if let Some(link) = &self.link
            && self.swap_owed
            && self.performances.is_empty()
        {
            self.swap_owed = false;
            tokio::spawn(restore_swap(link.bus.clone()));
        }
    }

    pub(super) fn app_names(&self) -> Vec<AppName> {
        let mut names: Vec<AppName> = self.targets.keys().filter_map(|name| name.app().cloned()).collect();
        names.dedup();
        names
    }

    /// Holds every unit, so that systemd does not forget what it knows of one that stops.
    pub(super) fn hold(&mut self, bus: &Bus) {
        let units = self.host.apps().map(|app| app.target().unit.clone()).collect();
        let (again, to) = (Arc::clone(&self.hold_again), self.queue.clone());
        let holding = tokio::spawn(hold_all(bus.clone(), units, HOLD_AGAIN, again, to)).abort_handle();
        if let Some(earlier) = self.holding.replace(holding) {
            earlier.abort();
        }
    }

    fn ask_whether_stopping(&self, bus: &Bus) {
        let (bus, queue) = (bus.clone(), self.queue.clone());
        tokio::spawn(async move {
            let stopping = bus.system_state().await.is_ok_and(|state| state == "stopping")
                || bus.shutdown_pending().await.unwrap_or(false);
            let _ = queue.send(Happening::Stopping(stopping)).await;
        });
    }

    pub(super) fn set_stopping(&mut self, now: Moment, stopping: bool) -> Effects {
        if self.stopping == stopping {
            return Effects::new();
        }
        self.stopping = stopping;
        self.host.handle_all(now, &Event::Stopping(stopping))
    }

    /// Signals come for the apps' units, for what they depend on, and for what a step under way is carried
    /// out by.
    pub(super) fn watch(&mut self) {
        let aside = self.performances.values().filter_map(|performance| performance.aside.clone());
        let units: BTreeSet<UnitName> = self.host.apps().flat_map(App::units).chain(aside).collect();
        if units != self.watched {
            if let Some(link) = &self.link {
                link.events.watch(units.iter().cloned());
            }
            self.watched = units;
        }
    }

    /// Takes in what systemd tells.
    pub(super) fn take_systemd(&mut self, event: systemd::Event) -> Effects {
        let now = clock::now();
        match event {
            systemd::Event::UnitChanged(unit) => self.for_unit(now, &unit, &Event::Changed),
            systemd::Event::JobNew { id, unit } => {
                let beside = Event::JobBeside(unit.clone(), id);
                let mut effects = self.for_either(now, &unit, &Event::JobNew(id), &beside);
                if unit.takes_host_down() {
                    effects.extend(self.set_stopping(now, true));
                }
                effects
            }
            systemd::Event::JobRemoved { id, unit, result } => self.job_removed(now, &unit, id, result),
            systemd::Event::ManagerReloading(true) => Effects::new(),
            systemd::Event::ManagerReloading(false) => {
                // polkit itself may be masked no more.
                self.proving.units_changed();
                self.host.handle_all(now, &Event::Changed)
            }
            systemd::Event::PrepareForShutdown(stopping) => self.set_stopping(now, stopping),
            systemd::Event::PolkitChanged => {
                self.proving.polkit_changed();
                Effects::new()
            }
            systemd::Event::Lost => {
                if let Some(link) = &self.link {
                    let bus = link.bus.clone();
                    self.hold(&bus);
                    self.begin_proving();
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
        self.unread = self.targets.keys().cloned().collect();
        link::connect(self.watched.iter().cloned().collect(), self.queue.clone());
    }

    fn job_removed(&mut self, now: Moment, unit: &UnitName, id: JobId, result: JobResult) -> Effects {
        for (app, performance) in &self.performances {
            let own = self.targets.get(app).is_some_and(|target| target.unit == *unit);
            if own || performance.aside.as_ref() == Some(unit) {
                // A step that does not keep up asks systemd itself.
                let _ = performance.removed.try_send((id, result));
            }
        }
        if unit.takes_host_down() && result == JobResult::Canceled {
            return self.set_stopping(now, false);
        }
        self.for_either(now, unit, &Event::JobRemoved(id, result), &Event::JobBesideRemoved(id))
    }

    /// The one to the app whose unit it is, the other to those that depend on it.
    fn for_either(&mut self, now: Moment, unit: &UnitName, own: &Event, beside: &Event) -> Effects {
        let mut effects = self.for_apps(now, own, |app| app.target().unit == *unit);
        effects.extend(self.for_apps(now, beside, |app| {
            app.target().unit != *unit && app.units().any(|other| other == *unit)
        }));
        effects
    }

    /// To the apps that it concerns, as their own unit or as one that they depend on.
    fn for_unit(&mut self, now: Moment, unit: &UnitName, event: &Event) -> Effects {
        self.for_apps(now, event, |app| app.units().any(|other| other == *unit))
    }

    fn for_apps(&mut self, now: Moment, event: &Event, which: impl Fn(&App) -> bool) -> Effects {
        let names: Vec<Subject> =
            self.host.apps().filter(|app| which(app)).map(|app| app.name().clone()).collect();
        names.into_iter().flat_map(|name| self.host.handle(now, &name, event.clone())).collect()
    }
}

/// Turns a swap on that a monitor before us, or polkit, kept off.
async fn restore_swap(bus: Bus) {
    match recovery::restore_swap(&bus, &Places::default(), &Deadlines::default()).await {
        Some(Outcome::Told(text)) => telling::say(Level::Info, text),
        Some(Outcome::Failed(why) | Outcome::Hindered(why)) => telling::say(Level::Error, why),
        _ => {}
    }
}

/// Holds units, one after the other; what cannot be held is tried again as long as the bus is there. That
/// one may not be held is told when it was so twice.
async fn hold_all(
    bus: Bus,
    mut units: Vec<UnitName>,
    pause: Duration,
    again: Arc<Notify>,
    to: mpsc::Sender<Happening>,
) {
    let mut told = BTreeSet::new();
    let mut wait = pause / SOONER;
    loop {
        let mut left = Vec::new();
        for unit in units {
            let obstacle = match bus.ref_unit(&unit).await {
                Ok(()) => None,
                Err(_) if bus.is_closed() => return,
                Err(error) => {
                    telling::say(Level::Debug, format!("cannot hold {unit} yet: {error}"));
                    left.push(unit.clone());
                    let refused = matches!(error, Error::Refused(_) | Error::Hindered(_));
                    let obstacle = if refused { bus.obstacle_in(error).await.ok() } else { None };
                    // Of what lies in polkit itself everybody hears anyway.
                    obstacle.filter(|obstacle| !obstacle.is_general())
                }
            };
            let news = if obstacle.is_some() {
                wait == pause && told.insert(unit.clone())
            } else {
                told.remove(&unit)
            };
            if news && to.send(Happening::Held(unit, obstacle)).await.is_err() {
                return;
            }
        }
        if left.is_empty() {
            return;
        }
        let _ = tokio::time::timeout(wait, again.notified()).await;
        wait = pause;
        units = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::fake::Fake;

    #[tokio::test]
    async fn what_cannot_be_held_is_tried_again_until_it_can() {
        let fake = Fake::new();
        fake.refuse("RefUnit", "org.freedesktop.DBus.Error.AccessDenied");
        let units = vec!["web.service".parse().unwrap(), "api.service".parse().unwrap()];
        let (to, mut told) = mpsc::channel(8);
        let again = Arc::default();
        let holding = hold_all(fake.bus().await, units, Duration::from_millis(20), again, to);
        let holding = tokio::spawn(holding);
        fake.called("RefUnit", 6).await;
        fake.accept_again();
        holding.await.unwrap();
        let tried = fake.calls("RefUnit").len();
        assert!(tried >= 8 && tried.is_multiple_of(2), "{tried}");
        let mut news = Vec::new();
        while let Some(Happening::Held(unit, obstacle)) = told.recv().await {
            news.push(format!("{unit} {}", obstacle.is_none()));
        }
        let expected = ["web.service false", "api.service false", "web.service true", "api.service true"];
        assert_eq!(news, expected, "once each");
    }
}
