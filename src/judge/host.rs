//! All apps of one host: who gets the slot to recover, and the sentence that says how they are.

use std::collections::BTreeMap;

use super::app::App;
use super::effect::{Effect, Event, Request};
use super::memory::{AppMemory, Clocks, MEMORY_VERSION, Memory};
use super::names::AppName;
use super::policy::Policy;
use super::target::Target;
use super::time::Moment;

/// The apps, and what they share.
#[derive(Clone, Debug)]
pub struct Host {
    apps: BTreeMap<AppName, App>,
    max_parallel: usize,
    /// What is remembered of apps that are not configured at the moment.
    absent: BTreeMap<AppName, AppMemory>,
}

/// The effects for one app.
pub type Effects = Vec<(AppName, Effect)>;

impl Host {
    /// A host with those apps, going on from the memory. `lost`: there was a memory, and it could
    /// not be read.
    #[must_use]
    pub fn new(
        apps: impl IntoIterator<Item = (AppName, Policy, Target)>,
        max_parallel: u32,
        memory: Memory,
        lost: bool,
        now: Moment,
    ) -> Self {
        let mut host = Self { apps: BTreeMap::new(), max_parallel: 1, absent: memory.apps };
        host.configure(apps, max_parallel, lost, now);
        host
    }

    /// Puts a new configuration in force. An app whose policy and target are unchanged goes on as it
    /// is; of any other only its memory stays, so that no attempt is forgotten by a reload.
    pub fn configure(
        &mut self,
        apps: impl IntoIterator<Item = (AppName, Policy, Target)>,
        max_parallel: u32,
        lost: bool,
        now: Moment,
    ) {
        self.max_parallel = usize::try_from(max_parallel.max(1)).unwrap_or(1);
        let mut before = std::mem::take(&mut self.apps);
        for (name, policy, target) in apps {
            let app = match before.remove(&name) {
                Some(app) if *app.policy() == policy && *app.target() == target => app,
                Some(app) => App::new(name.clone(), policy, target, app.memory(), now),
                None => {
                    let unknown = if lost { AppMemory::lost() } else { AppMemory::default() };
                    let memory = self.absent.remove(&name).unwrap_or(unknown);
                    App::new(name.clone(), policy, target, memory, now)
                }
            };
            self.apps.insert(name, app);
        }
        self.absent.extend(before.into_iter().map(|(name, app)| (name, app.memory())));
        // Bounded: names that come and go for ever must not fill the state.
        while self.absent.len() > 64 {
            self.absent.pop_first();
        }
    }

    /// The apps, in the order of their names.
    pub fn apps(&self) -> impl Iterator<Item = &App> {
        self.apps.values()
    }

    /// One app.
    #[must_use]
    pub fn app(&self, name: &AppName) -> Option<&App> {
        self.apps.get(name)
    }

    /// Something happened to one app. An event for an app that is not configured any more is void.
    pub fn handle(&mut self, now: Moment, name: &AppName, event: Event) -> Effects {
        let mut out = Effects::new();
        if let Some(app) = self.apps.get_mut(name) {
            out.extend(app.handle(now, event).into_iter().map(|effect| (name.clone(), effect)));
        }
        self.grant(now, &mut out);
        out
    }

    /// Something happened to all of them.
    pub fn handle_all(&mut self, now: Moment, event: &Event) -> Effects {
        let mut out = Effects::new();
        for (name, app) in &mut self.apps {
            out.extend(app.handle(now, event.clone()).into_iter().map(|effect| (name.clone(), effect)));
        }
        self.grant(now, &mut out);
        out
    }

    /// Lets those apps have a look at the time for which it is due.
    pub fn tick(&mut self, now: Moment) -> Effects {
        let mut out = Effects::new();
        for (name, app) in &mut self.apps {
            if app.wake_due(now) {
                out.extend(app.handle(now, Event::Tick).into_iter().map(|effect| (name.clone(), effect)));
            }
        }
        self.grant(now, &mut out);
        out
    }

    /// Asks for something in a person's name. Err: it is refused, and why.
    ///
    /// # Errors
    /// The reason for which the app cannot have it, for people.
    pub fn ask(&mut self, now: Moment, name: &AppName, request: Request) -> Result<Effects, String> {
        let app = self.apps.get(name).ok_or_else(|| format!("no app is called {name}"))?;
        if request == Request::Recover
            && let Some(why) = app.refuses_recovery()
        {
            return Err(why);
        }
        Ok(self.handle(now, name, Event::Asked(request)))
    }

    /// When something is due if nothing else happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Moment> {
        self.apps.values().map(App::next_wake).min()
    }

    /// At most `max_parallel` recoveries act at a time; who is down goes before who is deaf.
    fn grant(&mut self, now: Moment, out: &mut Effects) {
        loop {
            let acting = self.apps.values().filter(|app| app.is_acting()).count();
            let waiting = self.apps.values().filter_map(|app| Some((app.wants(now)?, app.name().clone())));
            // A person who asks is served even where all slots are taken.
            let Some((want, name)) = waiting
                .filter(|(want, _)| want.asked || acting < self.max_parallel)
                .min_by_key(|(want, name)| (!want.asked, !want.down, name.clone()))
            else {
                return;
            };
            let Some(app) = self.apps.get_mut(&name) else { return };
            out.extend(app.recover(now, want).into_iter().map(|effect| (name.clone(), effect)));
        }
    }

    /// What has to survive, together with where the clocks stand.
    #[must_use]
    pub fn memory(&self, clocks: Clocks) -> Memory {
        let mut apps = self.absent.clone();
        apps.extend(self.apps.iter().map(|(name, app)| (name.clone(), app.memory())));
        Memory { version: MEMORY_VERSION, clocks, apps }
    }
}
