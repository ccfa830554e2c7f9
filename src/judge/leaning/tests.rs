//! A host in which apps lean on a proxy and a database, driven by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::effect::{ActId, Event};
use super::super::memory::{AppMemory, Memory};
use super::super::observation::{Detail, Fault, HostMemory, Observation};
use super::super::plan::{Outcome, Step};
use super::super::policy::Policy;
use super::super::record::{EventKind, Record};
use super::super::target::{DatabasePlace, DatabaseProtocol, DatabaseTarget, PublicTarget, Target};
use super::super::testing::{down, http, up};
use super::super::unit::{ActiveState, JobId, JobResult, UnitReading};
use super::*;

enum Coming {
    Event(Subject, Event),
    Done(Subject, ActId, Step),
    Reloaded(Subject),
}

struct World {
    now: Moment,
    host: Host,
    units: BTreeMap<Subject, UnitReading>,
    /// What each check of each app shows; good where nothing stands.
    shows: BTreeMap<(Subject, CheckKind), Observation>,
    /// Every app sees that.
    all_see: BTreeMap<CheckKind, Observation>,
    /// A step of that word fails. While a reload does, the unit is seen reloading.
    fails: Option<&'static str>,
    /// A step of that word on that unit mends what every app sees.
    mends: Option<(Subject, &'static str)>,
    acts: Vec<(Subject, Step)>,
    records: Vec<Record>,
    coming: BTreeMap<(Moment, u64), Coming>,
    sequence: u64,
    invocation: u8,
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn name(text: &str) -> Subject {
    text.parse().unwrap()
}

fn nginx() -> Subject {
    name("nginx.service")
}

fn app(app: &str) -> (Subject, Policy, Target) {
    let place = DatabasePlace::Host("127.0.0.1".into(), 5432);
    let target = Target {
        http: Some(http("http://localhost:3000/")),
        public: Some(PublicTarget {
            http: http(&format!("https://{app}.example/")),
            expires_within: seconds(14 * 86_400),
        }),
        proxy: Some("nginx.service".parse().unwrap()),
        database: Some(DatabaseTarget {
            protocol: DatabaseProtocol::PostgreSql,
            places: vec![place],
            tls: false,
            timeout: seconds(3),
            interval: seconds(60),
        }),
        database_unit: Some("db.service".parse().unwrap()),
        min_available: 100 << 20,
        min_disk: 200 << 20,
        ..Target::of_unit(format!("{app}.service").parse().unwrap())
    };
    (name(app), Policy::default(), target)
}

fn leaned(unit: &str, role: Role) -> (Subject, Policy, Target) {
    (name(unit), Policy::default(), Target { role, ..Target::of_unit(unit.parse().unwrap()) })
}

impl World {
    fn new(apps: &[&str]) -> Self {
        let now = Moment::from_micros(1_000_000_000);
        let of = || apps[0].parse().unwrap();
        let mut members: Vec<_> = apps.iter().map(|name| app(name)).collect();
        let mut memory = Memory::default();
        for (name, _, target) in &members {
            let ever_good = CheckKind::ALL.into_iter().map(|kind| target.signature(kind)).collect();
            memory.apps.insert(name.clone(), AppMemory { ever_good, ..AppMemory::default() });
        }
        members.push(leaned("nginx.service", Role::Proxy { of: of() }));
        members.push(leaned("db.service", Role::Database { of: of() }));
        let units = members.iter().map(|(name, ..)| (name.clone(), running(1, now))).collect();
        let mut world = Self {
            now,
            host: Host::new(members, 1, memory, false, now),
            units,
            shows: BTreeMap::new(),
            all_see: BTreeMap::new(),
            fails: None,
            mends: None,
            acts: Vec::new(),
            records: Vec::new(),
            coming: BTreeMap::new(),
            sequence: 0,
            invocation: 1,
        };
        let effects = world.host.handle_all(now, &Event::SignalsLost);
        world.carry_out(effects);
        world.run_for(seconds(70));
        assert!(world.acts.is_empty() && world.alerts().is_empty(), "{:?}", world.records);
        world
    }

    fn send(&mut self, to: &Subject, event: Event) {
        let effects = self.host.handle(self.now, to, event);
        self.carry_out(effects);
    }

    fn later(&mut self, length: Duration, coming: Coming) {
        self.sequence += 1;
        self.coming.insert((self.now + length, self.sequence), coming);
    }

    fn run_for(&mut self, length: Duration) {
        let until = self.now + length;
        for _ in 0..200_000 {
            let next = self.coming.first_key_value().map(|((at, _), _)| *at);
            let wake = self.host.wake_at();
            let Some(at) = [next, wake].into_iter().flatten().min().filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = at.max(self.now);
            if next.is_some_and(|next| next <= self.now) {
                match self.coming.pop_first() {
                    Some((_, Coming::Event(to, event))) => self.send(&to, event),
                    Some((_, Coming::Done(to, act, step))) => self.done(&to, act, &step),
                    Some((_, Coming::Reloaded(who))) if self.unit(&who).active == ActiveState::Reloading => {
                        self.show(&who, ActiveState::Active);
                    }
                    Some((_, Coming::Reloaded(_))) => {}
                    None => {}
                }
            } else {
                let effects = self.host.tick(self.now);
                self.carry_out(effects);
                assert!(self.host.wake_at() > Some(self.now), "it wakes again at once");
            }
        }
        panic!("it wakes without end");
    }

    fn carry_out(&mut self, effects: Effects) {
        for (to, effect) in effects {
            match effect {
                Effect::ReadUnit => {
                    let reading = Event::Unit(Box::new(self.units[&to].clone()));
                    self.later(Duration::from_millis(2), Coming::Event(to, reading));
                }
                Effect::Check(round, kinds) => {
                    for kind in kinds {
                        let shown = self.all_see.get(&kind).or(self.shows.get(&(to.clone(), kind)));
                        let seen = shown.cloned().unwrap_or_else(|| Observation::good("fine"));
                        let event = Event::Check(round, kind, seen);
                        self.later(Duration::from_millis(3), Coming::Event(to.clone(), event));
                    }
                }
                Effect::Perform(act, step) => {
                    self.acts.push((to.clone(), step.clone()));
                    if step == Step::Reload {
                        self.reload(&to);
                    }
                    self.later(Duration::from_millis(50), Coming::Done(to, act, step));
                }
                Effect::Record(record) => self.records.push(record),
                _ => {}
            }
        }
    }

    fn done(&mut self, to: &Subject, act: ActId, step: &Step) {
        if self.fails == Some(step.word()) {
            self.send(to, Event::StepEnded(act, Outcome::Failed("exit status 1".into())));
            return;
        }
        if matches!(step, Step::Start | Step::Restart { .. }) {
            self.invocation += 1;
            self.units.insert(to.clone(), running(self.invocation, self.now));
        }
        if matches!(step, Step::ResetFailed | Step::Stop { .. }) {
            self.unit(to).active = ActiveState::Inactive;
        }
        if self.mends.as_ref().is_some_and(|(who, word)| who == to && *word == step.word()) {
            self.all_see.clear();
        }
        self.send(to, Event::StepEnded(act, Outcome::Done));
    }

    fn unit(&mut self, of: &Subject) -> &mut UnitReading {
        self.units.get_mut(of).unwrap()
    }

    fn crash(&mut self, who: &Subject) {
        let now = self.now;
        let unit = self.unit(who);
        let since = unit.inactive_exit;
        *unit = UnitReading {
            active: ActiveState::Failed,
            result: "exit-code".into(),
            active_exit: Some(now),
            main_exit: Some(now),
            inactive_exit: since,
            active_enter: since,
            invocation: unit.invocation,
            ..down(1)
        };
        self.send(who, Event::Changed);
    }

    /// Somebody reloads it: that is to be seen of it for 100 ms.
    fn reload(&mut self, who: &Subject) {
        self.show(who, ActiveState::Reloading);
        self.later(Duration::from_millis(100), Coming::Reloaded(who.clone()));
    }

    fn show(&mut self, who: &Subject, active: ActiveState) {
        self.unit(who).active = active;
        self.send(who, Event::Changed);
    }

    fn incidents(&self) -> Vec<&str> {
        let opened = self.records.iter().filter(|record| record.event == EventKind::IncidentOpened);
        opened.map(|record| record.text.as_str()).collect()
    }

    fn admin_stop(&mut self, who: &Subject) {
        self.crash(who);
        self.unit(who).active = ActiveState::Inactive;
        let left = self.now - Duration::from_millis(1);
        self.unit(who).active_exit = Some(left);
        self.send(who, Event::JobNew(JobId(7)));
        self.send(who, Event::JobRemoved(JobId(7), JobResult::Done));
    }

    fn conditions(&self, of: &str) -> Vec<Condition> {
        self.host.app(&name(of)).unwrap().conditions.keys().copied().collect()
    }

    fn verdict(&self, of: &Subject) -> Verdict {
        self.host.app(of).unwrap().verdict
    }

    fn alerts(&self) -> Vec<&str> {
        self.records.iter().filter(|record| record.alert).map(|record| record.text.as_str()).collect()
    }

    fn steps(&self, of: &Subject) -> Vec<&'static str> {
        self.acts.iter().filter(|(who, _)| who == of).map(|(_, step)| step.word()).collect()
    }

    fn nobody_touches_the_apps(&self) {
        assert!(self.acts.iter().all(|(who, _)| matches!(who, Subject::Unit(_))), "{:?}", self.acts);
    }
}

fn running(invocation: u8, since: Moment) -> UnitReading {
    UnitReading { inactive_exit: Some(since), active_enter: Some(since), ..up(invocation) }
}

fn silent() -> Observation {
    Observation::bad(Fault::Unanswered, "nginx.service does not answer")
}

#[test]
fn a_proxy_that_fell_is_started_and_told_once() {
    let mut world = World::new(&["shop", "blog"]);
    world.crash(&nginx());
    world.run_for(seconds(2));
    assert_eq!(world.steps(&nginx()), ["reset-failed", "start"]);
    world.run_for(seconds(100));
    world.nobody_touches_the_apps();
    let alerts = world.alerts();
    assert_eq!(alerts.len(), 2, "{:#?}", world.records);
    assert!(alerts[0].starts_with("proxy-down: nginx.service is crashed"), "{alerts:?}");
    assert!(alerts[1].starts_with("proxy-down is over"), "{alerts:?}");
    assert!(world.conditions("shop").is_empty() && world.conditions("blog").is_empty());
}

#[test]
fn a_silent_proxy_is_reloaded_then_restarted_once() {
    let mut world = World::new(&["shop", "blog"]);
    world.all_see.insert(CheckKind::Proxy, silent());
    world.all_see.insert(CheckKind::Public, silent());
    world.run_for(seconds(100));
    assert_eq!(world.steps(&nginx()), ["reload"]);
    assert_eq!(world.conditions("shop"), [Condition::ProxyDown]);
    world.run_for(seconds(120));
    assert_eq!(world.steps(&nginx()), ["reload", "restart"]);
    world.run_for(seconds(7_200));
    assert_eq!(world.steps(&nginx()).iter().filter(|step| **step == "restart").count(), 1);
    assert!(world.steps(&nginx()).len() < 12, "{:?}", world.steps(&nginx()));
    world.nobody_touches_the_apps();
    world.all_see.clear();
    world.run_for(seconds(200));
    assert_eq!(world.verdict(&nginx()), Verdict::Healthy);
    assert_eq!(world.conditions("shop"), []);
}

#[test]
fn a_reload_that_helps_is_all() {
    let mut world = World::new(&["shop", "blog"]);
    world.mends = Some((nginx(), "reload"));
    world.all_see.insert(CheckKind::Proxy, silent());
    world.run_for(seconds(200));
    assert_eq!(world.steps(&nginx()), ["reload"]);
    assert_eq!(world.verdict(&nginx()), Verdict::Healthy);
    assert_eq!(world.records.iter().filter(|r| r.event == EventKind::RecoveryVerified).count(), 1);
}

#[test]
fn a_proxy_that_nobody_asks_any_more_is_not_touched_for_how_it_was() {
    let mut world = World::new(&["shop"]);
    world.fails = Some("reload");
    world.all_see.insert(CheckKind::Proxy, silent());
    world.run_for(seconds(100));
    assert_eq!(world.steps(&nginx()), ["reload"]);
    world.admin_stop(&name("shop"));
    world.run_for(seconds(7_200));
    assert_eq!(world.steps(&nginx()), ["reload"]);
    assert_eq!(world.verdict(&nginx()), Verdict::Frozen);
}

#[test]
fn a_proxy_whose_configuration_is_broken_is_never_restarted() {
    let mut world = World::new(&["shop"]);
    world.fails = Some("reload");
    world.all_see.insert(CheckKind::Proxy, silent());
    world.run_for(seconds(7_200));
    assert!(world.steps(&nginx()).iter().all(|step| *step == "reload"), "{:?}", world.acts);
    let broken = world.alerts().iter().filter(|text| text.contains("could not be reloaded")).count();
    assert_eq!(broken, 1, "{:#?}", world.alerts());
    world.nobody_touches_the_apps();
    assert_eq!(world.incidents().len(), 1, "{:#?}", world.records);
    world.reload(&nginx());
    world.run_for(seconds(5));
    assert_eq!(world.verdict(&nginx()), Verdict::Frozen, "nor does a reload by somebody make it well");
    assert_eq!(world.conditions("shop"), [Condition::ProxyDown]);
    world.all_see.clear();
    world.run_for(seconds(200));
    assert_eq!(world.incidents().len(), 1, "{:#?}", world.records);
    assert_eq!((world.verdict(&nginx()), world.conditions("shop")), (Verdict::Healthy, vec![]));
}

#[test]
fn what_is_wrong_with_a_proxy_is_the_same_incident_over_a_restart_of_the_monitor() {
    let mut world = World::new(&["shop"]);
    world.fails = Some("reload");
    world.all_see.insert(CheckKind::Proxy, silent());
    world.run_for(seconds(100));
    assert_eq!(world.incidents().len(), 1, "{:#?}", world.records);
    let memory = world.host.memory(super::super::memory::Clocks::default());
    let members = [app("shop"), leaned("nginx.service", Role::Proxy { of: "shop".parse().unwrap() })];
    world.host = Host::new(members, 1, memory, false, world.now);
    world.coming.clear();
    let effects = world.host.handle_all(world.now, &Event::SignalsLost);
    world.carry_out(effects);
    world.run_for(seconds(300));
    assert_eq!(world.verdict(&nginx()), Verdict::Frozen);
    assert_eq!(world.incidents().len(), 1, "{:#?}", world.records);
    world.all_see.clear();
    world.run_for(seconds(200));
    let over = world.records.iter().filter(|record| record.event == EventKind::IncidentClosed).count();
    assert_eq!((world.incidents().len(), over), (1, 1), "{:#?}", world.records);
}

#[test]
fn a_proxy_that_one_app_sees_alive_is_left_alone() {
    let mut world = World::new(&["shop", "blog"]);
    world.shows.insert((name("shop"), CheckKind::Proxy), silent());
    world.run_for(seconds(3_600));
    assert!(world.acts.is_empty(), "{:?}", world.acts);
    assert_eq!(world.conditions("shop"), [Condition::ProxyDown]);
    assert_eq!(world.conditions("blog"), []);
}

#[test]
fn a_proxy_that_somebody_stopped_stays_down_and_explains_what_fails() {
    let mut world = World::new(&["shop"]);
    world.all_see.insert(CheckKind::Proxy, Observation::bad(Fault::Refused, "refused"));
    world.all_see.insert(CheckKind::Public, Observation::bad(Fault::Refused, "refused"));
    world.admin_stop(&nginx());
    world.run_for(seconds(3_600));
    assert_eq!(world.verdict(&nginx()), Verdict::StoppedByAdmin);
    assert!(world.acts.is_empty(), "{:?}", world.acts);
    assert_eq!(world.conditions("shop"), [Condition::ProxyDown]);
    assert_eq!(world.alerts(), [""; 0]);
}

#[test]
fn a_database_that_fell_is_started_only_for_an_app_that_fell_with_it() {
    let database = name("db.service");
    let gone = Observation::bad(Fault::DatabaseDown, "refused");
    let mut world = World::new(&["shop"]);
    world.all_see.insert(CheckKind::Database, gone);
    world.crash(&database);
    world.run_for(seconds(300));
    assert!(world.acts.is_empty(), "{:?}", world.acts);
    assert_eq!(world.conditions("shop"), [Condition::DatabaseUnreachable]);
    world.mends = Some((database.clone(), "start"));
    world.crash(&name("shop"));
    world.run_for(seconds(100));
    assert_eq!(world.steps(&database), ["reset-failed", "start"], "{:?}", world.acts);
    assert_eq!(world.verdict(&name("shop")), Verdict::Healthy);
}

#[test]
fn the_network_is_told_when_it_is_back_and_once_for_the_host() {
    let mut world = World::new(&["shop", "blog"]);
    world.all_see.insert(CheckKind::Public, Observation::bad(Fault::Unresolved, "no such name"));
    world.all_see.insert(CheckKind::Egress, Observation::bad(Fault::Unreachable, "nothing answers"));
    world.run_for(seconds(600));
    assert_eq!(world.conditions("shop"), [Condition::NetworkDown]);
    assert_eq!(world.alerts(), [""; 0], "nobody could be reached");
    world.all_see.clear();
    world.run_for(seconds(120));
    let alerts = world.alerts();
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert!(alerts[0].starts_with("network-down is over after"), "{alerts:?}");
    assert!(world.acts.is_empty());
}

#[test]
fn a_full_disk_is_told_once_and_not_again_after_a_restart_of_the_monitor() {
    let mut world = World::new(&["shop", "blog"]);
    world.all_see.insert(CheckKind::Disk, Observation::bad(Fault::DiskLow, "3 MiB free on /var"));
    world.run_for(seconds(120));
    assert_eq!(world.alerts(), ["disk-low: 3 MiB free on /var"]);
    let members = [app("shop"), app("blog")];
    let memory = world.host.memory(super::super::memory::Clocks::default());
    world.records.clear();
    world.host = Host::new(members, 1, memory, false, world.now);
    world.coming.clear();
    let effects = world.host.handle_all(world.now, &Event::SignalsLost);
    world.carry_out(effects);
    world.run_for(seconds(600));
    assert_eq!(world.alerts(), [""; 0], "{:#?}", world.records);
    assert_eq!(world.conditions("shop"), [Condition::DiskLow]);
}

fn short(biggest: &[(&str, u64)], pressure: u32) -> Observation {
    let memory = HostMemory {
        available: 10 << 20,
        pressure: Some(pressure),
        biggest: biggest.iter().map(|(name, mib)| ((*name).to_owned(), mib << 20)).collect(),
        own: None,
    };
    Observation::bad(Fault::ShortOfMemory, "10 MiB available").with(Detail::HostMemory(memory))
}

#[test]
fn the_app_that_grew_and_starves_the_host_is_restarted_after_a_minute() {
    let mut world = World::new(&["shop", "blog"]);
    let show = |world: &mut World, mib, pressure| {
        let seen = short(&[("shop.service", mib), ("blog.service", 100)], pressure);
        world.all_see.insert(CheckKind::HostMemory, seen);
    };
    // Nobody is short of anything yet; that is when it settles.
    let plenty = HostMemory { available: 900 << 20, own: Some(300 << 20), ..HostMemory::default() };
    let plenty = Observation::good("900 MiB available").with(Detail::HostMemory(plenty));
    world.all_see.insert(CheckKind::HostMemory, plenty);
    world.run_for(seconds(20));
    show(&mut world, 440, 0);
    world.run_for(seconds(100));
    assert_eq!(world.conditions("shop"), [Condition::HostMemory]);
    assert_eq!(world.alerts(), ["host-memory: 10 MiB available"]);
    show(&mut world, 449, 50);
    world.run_for(seconds(100));
    assert!(world.acts.is_empty(), "it has not grown by half: {:?}", world.acts);
    show(&mut world, 500, 20);
    world.run_for(seconds(100));
    assert!(world.acts.is_empty(), "nobody waits for memory: {:?}", world.acts);
    world.mends = Some((name("shop"), "start"));
    show(&mut world, 500, 21);
    world.run_for(seconds(100));
    assert_eq!(world.steps(&name("shop")), ["stop", "reclaim-swap", "reset-failed", "start"]);
    assert_eq!(world.steps(&name("blog")), [""; 0]);
    assert_eq!(world.verdict(&name("shop")), Verdict::Healthy);
    assert_eq!(world.conditions("shop"), []);
}

#[test]
fn when_most_apps_turn_bad_at_once_the_host_is_looked_at_first() {
    let apps = ["a", "b", "c"];
    let mut world = World::new(&apps);
    world.all_see.insert(CheckKind::Http, Observation::bad(Fault::WrongAnswer, "answers 500"));
    world.all_see.insert(CheckKind::Disk, Observation::bad(Fault::DiskLow, "full"));
    world.run_for(seconds(50));
    assert!(world.acts.is_empty(), "the host is bad: {:?}", world.acts);
    world.run_for(seconds(40));
    assert!(!world.acts.is_empty(), "but not for ever");
    let mut world = World::new(&apps);
    world.all_see.insert(CheckKind::Http, Observation::bad(Fault::WrongAnswer, "answers 500"));
    world.run_for(seconds(25));
    assert!(!world.acts.is_empty(), "the host is well");
}

fn frozen() -> Observation {
    Observation::bad(Fault::Unanswered, "timed out")
}

/// The proxy waits for the app, and the name is dead before the app's own checks have found it out.
#[test]
fn what_a_frozen_app_does_to_its_name_is_not_the_proxys_fault() {
    for late in [0, 4, 8] {
        let mut world = World::new(&["shop"]);
        world.run_for(seconds(30));
        world.all_see.insert(CheckKind::Proxy, silent());
        world.all_see.insert(CheckKind::Public, silent());
        world.run_for(seconds(late));
        world.all_see.insert(CheckKind::Http, frozen());
        world.run_for(seconds(120));
        assert_eq!(world.steps(&nginx()), Vec::<&str>::new(), "{late} s later: {:#?}", world.records);
        assert_eq!(world.conditions("shop"), []);
    }
}

/// What fails for a moment is not confirmed, and neither is it a witness against the proxy.
#[test]
fn an_app_that_was_bad_lately_is_no_witness() {
    let mut world = World::new(&["shop"]);
    world.run_for(seconds(30));
    world.all_see.insert(CheckKind::Http, Observation::bad(Fault::WrongAnswer, "answers 500"));
    let failed = |world: &World| world.records.iter().any(|seen| seen.event == EventKind::CheckFailed);
    while !failed(&world) {
        world.run_for(seconds(1));
    }
    world.all_see.remove(&CheckKind::Http);
    let bad_gateway = Observation::bad(Fault::Upstream, "answers 502");
    world.all_see.insert(CheckKind::Proxy, bad_gateway.clone());
    world.all_see.insert(CheckKind::Public, bad_gateway);
    world.run_for(seconds(60));
    assert_eq!(world.conditions("shop"), [], "{:#?}", world.records);
    world.run_for(seconds(300));
    assert_eq!(world.conditions("shop"), [Condition::ProxyUpstream], "well ever since, and still 502");
    world.nobody_touches_the_apps();
}
