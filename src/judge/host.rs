//! All apps of one host: who gets the slot to recover, and the sentence that says how they are.

use std::collections::{BTreeMap, BTreeSet};

use super::app::App;
use super::effect::{Effect, Event, Request};
use super::leaning::Links;
use super::memory::{AppMemory, Clocks, MEMORY_VERSION, Memory};
use super::mutation::{Mutation, active};
use super::names::{Subject, UnitName};
use super::policy::Policy;
use super::record::Record;
use super::suspected::Suspicion;
use super::target::Target;
use super::time::Moment;
use super::verdict::Condition;

/// The apps, and what they share.
#[derive(Clone, Debug)]
pub struct Host {
    pub(super) apps: BTreeMap<Subject, App>,
    pub(super) links: Links,
    /// Most of the apps turned bad at once.
    pub(super) suspicion: Option<Suspicion>,
    /// When an app was last found to starve the host.
    pub(super) accused_at: Option<Moment>,
    /// The host goes down.
    stopping: bool,
    max_parallel: usize,
    /// What is remembered of apps that are not configured at the moment.
    absent: BTreeMap<Subject, AppMemory>,
}

/// The effects for one app.
pub type Effects = Vec<(Subject, Effect)>;

impl Host {
    /// A host with those apps, going on from the memory. `lost`: there was a memory, and it could
    /// not be read.
    #[must_use]
    pub fn new(
        apps: impl IntoIterator<Item = (Subject, Policy, Target)>,
        max_parallel: u32,
        memory: Memory,
        lost: bool,
        now: Moment,
    ) -> Self {
        let mut host = Self {
            apps: BTreeMap::new(),
            links: Links::default(),
            suspicion: None,
            accused_at: None,
            stopping: false,
            max_parallel: 1,
            absent: memory.apps,
        };
        host.configure(apps, max_parallel, lost, now);
        host
    }

    /// Puts a new configuration in force. An app whose policy and target are unchanged goes on as it
    /// is; of any other only its memory stays, so that no attempt is forgotten by a reload.
    pub fn configure(
        &mut self,
        apps: impl IntoIterator<Item = (Subject, Policy, Target)>,
        max_parallel: u32,
        lost: bool,
        now: Moment,
    ) {
        self.max_parallel = usize::try_from(max_parallel.max(1)).unwrap_or(1);
        let mut before = std::mem::take(&mut self.apps);
        for (name, policy, target) in apps {
            // An instance is known by its unit, wherever in the list it stands by now.
            let known = before.get(&name).is_some_and(|app| app.target().unit == target.unit);
            let elsewhere = before.values().filter(|app| app.name().app() == name.app());
            let moved = Self::same_unit(&target, elsewhere).filter(|_| !known);
            if let Some(moved) = moved.and_then(|moved| before.remove(&moved)) {
                self.apps.insert(name.clone(), App::new(name, policy, target, moved.memory(), now));
                continue;
            }
            let app = match before.remove(&name) {
                Some(app) if *app.policy() == policy && *app.target() == target => app,
                Some(app) => {
                    let mut anew = App::new(name.clone(), policy, target, app.memory(), now);
                    if known {
                        // Signals were followed all the while.
                        anew.life.goes_on(app.life);
                    }
                    anew
                }
                None => {
                    let unknown = if lost { AppMemory::lost() } else { AppMemory::default() };
                    let memory = self.absent.remove(&name).unwrap_or(unknown);
                    App::new(name.clone(), policy, target, memory, now)
                }
            };
            self.apps.insert(name, app);
        }
        self.absent.extend(before.into_iter().map(|(name, app)| (name, app.memory())));
        // Nobody follows them to their end; should the app come back, it is judged anew.
        for memory in self.absent.values_mut() {
            memory.incident = None;
            memory.conditions.clear();
        }
        for app in self.apps.values_mut() {
            app.stopping = self.stopping;
        }
        self.links = Links::of(self.apps.values());
        // Bounded: names that come and go for ever must not fill the state.
        while self.absent.len() > 64 {
            self.absent.pop_first();
        }
    }

    /// No incident gets a number that was used before, be it by a monitor whose state was lost.
    pub fn number_after(&mut self, highest: &BTreeMap<Subject, u64>) {
        for (name, app) in &mut self.apps {
            app.incidents = app.incidents.max(highest.get(name).copied().unwrap_or(0));
        }
    }

    /// The incidents that are open, by their names.
    #[must_use]
    pub fn open_incidents(&self) -> BTreeSet<String> {
        self.apps.values().filter_map(|app| Some(app.incident.as_ref()?.id.clone())).collect()
    }

    /// The conditions that hold, and of which unit.
    pub fn held_conditions(&self) -> impl Iterator<Item = (&UnitName, Condition)> {
        self.apps.values().flat_map(|app| app.conditions.keys().map(|what| (&app.target.unit, *what)))
    }

    /// What was to be told of the incidents that are open, and of the conditions that hold.
    pub fn open_tellings(&self) -> Vec<Record> {
        let apps = self.apps.values();
        apps.flat_map(|app| app.open_telling().into_iter().chain(app.held_tellings())).collect()
    }

    /// The apps, in the order of their names.
    pub fn apps(&self) -> impl Iterator<Item = &App> {
        self.apps.values()
    }

    /// One app.
    #[must_use]
    pub fn app(&self, name: &Subject) -> Option<&App> {
        self.apps.get(name)
    }

    /// Something happened to one app. An event for an app that is not configured any more is void.
    pub fn handle(&mut self, now: Moment, name: &Subject, event: Event) -> Effects {
        let mut out = Effects::new();
        if let Some(app) = self.apps.get_mut(name) {
            out.extend(app.handle(now, event).into_iter().map(|effect| (name.clone(), effect)));
            self.look_around(now, vec![name.clone()], &mut out);
        }
        self.grant(now, &mut out);
        out
    }

    /// Something happened to all of them.
    pub fn handle_all(&mut self, now: Moment, event: &Event) -> Effects {
        let mut out = Effects::new();
        if let Event::Stopping(stopping) = event {
            self.stopping = *stopping;
        }
        for (name, app) in &mut self.apps {
            out.extend(app.handle(now, event.clone()).into_iter().map(|effect| (name.clone(), effect)));
        }
        self.look_around(now, self.apps.keys().cloned().collect(), &mut out);
        self.grant(now, &mut out);
        out
    }

    /// Lets those apps have a look at the time for which it is due.
    pub fn tick(&mut self, now: Moment) -> Effects {
        let mut out = Effects::new();
        let mut touched = Vec::new();
        for (name, app) in &mut self.apps {
            if app.wake_due(now) {
                touched.push(name.clone());
                out.extend(app.handle(now, Event::Tick).into_iter().map(|effect| (name.clone(), effect)));
            }
        }
        self.look_around(now, touched, &mut out);
        self.grant(now, &mut out);
        out
    }

    /// Asks for something in a person's name. Err: it is refused, and why.
    ///
    /// # Errors
    /// The reason for which the app cannot have it, for people.
    pub fn ask(&mut self, now: Moment, name: &Subject, request: Request) -> Result<Effects, String> {
        let asked = self.asked_for(name, &request)?;
        if matches!(request, Request::Recover { .. })
            && let Some(why) = asked.iter().filter_map(|name| self.app(name)?.refuses_recovery()).next()
        {
            return Err(why);
        }
        let mut out = Effects::new();
        for name in asked {
            out.extend(self.handle(now, &name, Event::Asked(request.clone())));
        }
        Ok(out)
    }

    /// When something is due if nothing else happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Moment> {
        self.apps.values().map(App::next_wake).chain(self.suspicion_due()).min()
    }

    /// At most `max_parallel` recoveries act at a time; what apps lean on goes before them, and who is
    /// down before who is deaf.
    fn grant(&mut self, now: Moment, out: &mut Effects) {
        let suspected = self.suspicion.is_some();
        let wait = self.waits_for_host(now);
        if self.suspicion.is_some() != suspected {
            self.look_around(now, self.apps.keys().cloned().collect(), out);
            if wait && let Some((name, effects)) = self.ask_pid_1(now) {
                out.extend(effects.into_iter().map(|effect| (name.clone(), effect)));
            }
        }
        if let Some(name) = self.accuse(now)
            && let Some(app) = self.apps.get_mut(&name)
        {
            let mut effects = Vec::new();
            app.follow(now, &mut effects);
            out.extend(effects.into_iter().map(|effect| (name.clone(), effect)));
        }
        loop {
            let acting = self.apps.values().filter(|app| app.is_acting()).count();
            let acting = if active(Mutation::ParallelIgnored) { 0 } else { acting };
            let waiting = self.apps.values().filter_map(|app| {
                let want = app.wants(now)?;
                let turn = want.asked() || self.has_its_turn(now, app.name(), app.policy(), want.counts());
                turn.then(|| (want, app.name().clone()))
            });
            // A person who asks is served even where all slots are taken.
            let Some((want, name)) = waiting
                .filter(|(want, _)| want.asked() || (!wait && acting < self.max_parallel))
                .min_by_key(|(want, name)| (!want.asked(), name.app().is_some(), !want.down, name.clone()))
            else {
                return;
            };
            let Some(app) = self.apps.get_mut(&name) else { return };
            if !want.asked() && !app.is_fresh(now) {
                // It comes within moments, and nobody goes before it meanwhile.
                out.extend(app.freshen(now).into_iter().map(|effect| (name.clone(), effect)));
                return;
            }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::observation::{CheckKind, Observation};
    use super::super::target::Address;
    use super::super::testing::{http, up};
    use super::super::unit::JobId;
    use super::*;

    fn app(number: usize) -> (Subject, Policy, Target) {
        let http = http(&format!("http://127.0.0.1:{}/", 10_000 + number));
        let target = Target {
            port: None,
            address: Address::Localhost,
            http: Some(http),
            min_processes: 0,
            process: None,
            ..Target::of_unit(format!("app{number}.service").parse().unwrap())
        };
        let policy = Policy { check_interval: Duration::from_secs(1), ..Policy::default() };
        (format!("app{number}").parse().unwrap(), policy, target)
    }

    /// Turns the host for that long. Apps that hang take a round and never answer; the others do
    /// within 3 ms. When the rounds of each began.
    fn turn(
        host: &mut Host,
        from: Moment,
        length: Duration,
        hang: &BTreeSet<Subject>,
    ) -> BTreeMap<Subject, Vec<Moment>> {
        let mut began: BTreeMap<Subject, Vec<Moment>> = BTreeMap::new();
        let mut answers: Vec<(Moment, Subject, Event)> = Vec::new();
        let mut now = from;
        let mut effects = host.tick(now);
        while now < from + length {
            for (name, effect) in std::mem::take(&mut effects) {
                match effect {
                    Effect::ReadUnit => {
                        let at = now + Duration::from_millis(1);
                        answers.push((at, name, Event::Unit(Box::new(up(1)))));
                    }
                    Effect::Check(round, _) => {
                        began.entry(name.clone()).or_default().push(now);
                        if !hang.contains(&name) {
                            let seen = Observation::good("answers").took(Duration::from_millis(3));
                            let at = now + Duration::from_millis(3);
                            answers.push((at, name, Event::Check(round, CheckKind::Http, seen)));
                        }
                    }
                    _ => {}
                }
            }
            answers.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
            let wake = host.wake_at().unwrap_or(from + length);
            if let Some((at, name, event)) = answers.pop_if(|(at, ..)| *at <= wake) {
                now = now.max(at);
                effects = host.handle(now, &name, event);
            } else {
                now = now.max(wake);
                effects = host.tick(now);
            }
        }
        began
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn apps_that_hang_delay_no_round_of_the_others(hanging in prop::collection::btree_set(0usize..20, 0..10)) {
            let start = Moment::from_micros(1_000_000);
            let mut host = Host::new((0..20).map(app), 1, Memory::default(), false, start);
            let settle = Duration::from_secs(30);
            turn(&mut host, start, settle, &BTreeSet::new());
            let hang: BTreeSet<Subject> = hanging.iter().map(|number| app(*number).0).collect();
            let began = turn(&mut host, start + settle, Duration::from_secs(60), &hang);
            for (name, times) in began.iter().filter(|(name, _)| !hang.contains(*name)) {
                prop_assert!(times.len() >= 59, "{name} was asked {} times", times.len());
                for pair in times.windows(2) {
                    let between = pair[1].since(pair[0]);
                    prop_assert!(between <= Duration::from_millis(1_010), "{name} was asked after {between:?}");
                }
            }
        }
    }

    #[test]
    fn what_was_good_once_is_believed_over_a_restart_whichever_check_it_is() {
        let (name, policy, target) = app(1);
        let target = Target { max_memory: Some(1 << 30), min_disk: 1 << 20, ..target };
        let proven: BTreeSet<u64> =
            [CheckKind::Http, CheckKind::Memory, CheckKind::Disk].map(|kind| target.signature(kind)).into();
        let kept = AppMemory { ever_good: proven.clone(), ..AppMemory::default() };
        let memory = Memory { apps: BTreeMap::from([(name.clone(), kept)]), ..Memory::default() };
        let host = Host::new([(name.clone(), policy, target)], 1, memory, false, Moment::from_micros(1));
        assert_eq!(host.app(&name).unwrap().memory().ever_good, proven);
    }

    #[test]
    fn an_app_that_is_configured_anew_knows_whose_job_is_pending() {
        let (name, policy, target) = app(1);
        let now = Moment::from_micros(1_000_000);
        let mut host =
            Host::new([(name.clone(), policy.clone(), target.clone())], 1, Memory::default(), false, now);
        let _ = host.handle(now, &name, Event::Unit(Box::new(up(1))));
        let _ = host.handle(now, &name, Event::JobNew(JobId(7)));
        let other = Policy { failures: 7, ..policy };
        host.configure([(name.clone(), other, target)], 1, false, now);
        assert_eq!(host.app(&name).unwrap().life.foreign_job(), Some(JobId(7)));
    }

    #[test]
    fn an_app_that_is_configured_anew_knows_that_the_host_goes_down() {
        let (name, policy, target) = app(1);
        let now = Moment::from_micros(1_000_000);
        let mut host =
            Host::new([(name.clone(), policy.clone(), target.clone())], 1, Memory::default(), false, now);
        let _ = host.handle_all(now, &Event::Stopping(true));
        let other = Policy { failures: 7, ..policy };
        host.configure([(name.clone(), other, target)], 1, false, now);
        assert!(host.app(&name).unwrap().stopping);
    }

    #[test]
    fn apps_that_start_together_are_not_asked_together() {
        let start = Moment::from_micros(1_000_000);
        let mut host = Host::new((0..100).map(app), 1, Memory::default(), false, start);
        turn(&mut host, start, Duration::from_secs(10), &BTreeSet::new());
        let began =
            turn(&mut host, start + Duration::from_secs(10), Duration::from_secs(1), &BTreeSet::new());
        let mut slots = [0; 10];
        for moment in began.values().flatten() {
            let into = moment.since(start + Duration::from_secs(10)).as_millis();
            slots[usize::try_from(into / 100).unwrap().min(9)] += 1;
        }
        assert!(slots.iter().all(|slot| *slot < 40), "{slots:?}");
    }
}
