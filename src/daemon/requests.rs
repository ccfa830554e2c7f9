//! What others ask over our own bus service, and putting a new configuration in force.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::checks::observe;
use crate::config::Settings;
use crate::config::resolved::{self, Resolved};
use crate::judge::{CheckKind, Effects, Event, EventKind, Level, Moment, Policy, Subject, Target};
use crate::recovery::Deadlines;
use crate::systemd::journal;

use super::looping::Daemon;
use super::{service, telling};

/// The apps, as the judge takes them.
pub(super) fn apps_of(settings: &Settings) -> impl Iterator<Item = (Subject, Policy, Target)> + use<> {
    let members = settings.members.clone();
    members.into_iter().map(|member| (member.subject, member.policy, member.target))
}

/// What each app is asked.
pub(super) fn targets_of(settings: &Settings) -> BTreeMap<Subject, Arc<Target>> {
    settings.members.iter().map(|member| (member.subject.clone(), Arc::new(member.target.clone()))).collect()
}

impl Daemon {
    pub(super) fn answer(&mut self, now: Moment, call: service::Call) -> Effects {
        match call {
            service::Call::Views(reply) => {
                let _ = reply.send(self.host.views(now));
                Effects::new()
            }
            service::Call::View(app, reply) => {
                let _ = reply.send(self.host.view(now, &Subject::App(app)));
                Effects::new()
            }
            service::Call::Check(app, reply) => {
                let _ = reply.send(self.check_now(&app));
                Effects::new()
            }
            service::Call::Rehearse(app, reply) => {
                let _ = reply.send(self.host.rehearse(&app, Deadlines::default().margins()));
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
            service::Call::Alerts(reply) => {
                let _ = reply.send(self.alerts.views(now));
                Effects::new()
            }
            service::Call::TestAlert(name, reply) => {
                let (tell, test) = oneshot::channel();
                self.alerts.test(&name, tell);
                let _ = reply.send(test);
                Effects::new()
            }
            service::Call::Reload(reply) => {
                let (outcome, effects) = self.reload(now);
                let _ = reply.send(outcome);
                effects
            }
        }
    }

    /// Makes all checks of an app, for whoever asked. They go no further.
    fn check_now(&self, app: &Subject) -> Result<service::Checking, String> {
        let none = || format!("no app is called {app}; of one with several instances, name the one: {app}@1");
        let probe = self.probe(app).ok_or_else(none)?;
        let kinds = CheckKind::ALL.into_iter().filter(|kind| probe.target.has(*kind));
        // That takes a unit of its own, which the monitor starts when it is due.
        let kinds: Vec<CheckKind> = kinds.filter(|kind| *kind != CheckKind::Preflight).collect();
        let (reply, checks) = oneshot::channel();
        let pool = Arc::clone(&self.pool);
        tokio::spawn(async move {
            let (probe, pool) = (&probe, &*pool);
            let made = kinds.into_iter().map(|kind| async move { (kind, observe(kind, probe, pool).await) });
            let _ = reply.send(futures_util::future::join_all(made).await);
        });
        Ok(checks)
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
        journal::set_level(settings.log_level);
        self.host.configure(apps_of(&settings), settings.max_parallel, false, now);
        self.targets = targets_of(&settings);
        self.marks.retain(|app, _| self.targets.contains_key(app));
        self.follow_incidents();
        self.alerts.configure(&settings, now);
        self.alerts.follow(&self.host, now);
        for missing in self.alerts.without_credential(&settings) {
            telling::say(Level::Warn, missing);
        }
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
        let mut effects = self.configure_proving(now, &settings);
        effects.extend(self.host.handle_all(now, &Event::Changed));
        effects.extend(self.host.handle_all(now, &Event::Stopping(self.stopping)));
        effects
    }
}
