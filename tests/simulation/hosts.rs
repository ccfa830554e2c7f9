//! Hosts of all shapes, and what befalls them, out of a seed.

use std::path::PathBuf;

use app_monitor::judge::{
    Address, AppName, DatabasePlace, DatabaseProtocol, DatabaseTarget, Exit, GiveUp, HttpTarget, Mode,
    Moment, Policy, PublicTarget, Request, Role, Subject, Target, Window,
};

use crate::chance::Chance;
use crate::luck::Deed;
use crate::process::{Mood, Term};
use crate::surroundings::{Database, Holder, Need, Proxy, Surroundings};
use crate::systemd::{Kind, Unit};
use crate::world::{Coming, Member, U, World, millis, seconds};

fn policy(chance: &mut Chance) -> Policy {
    let mut policy = Policy {
        check_interval: seconds(chance.pick(&[5, 10, 10, 20, 30, 60])),
        timeout: seconds(chance.pick(&[4, 10, 10])),
        ..Policy::default()
    };
    if chance.one_in(2) {
        return policy;
    }
    policy.failures = chance.pick(&[1, 2, 3, 3, 5]);
    policy.failures_window = chance.pick(&[Window { bad: 5, of: 10 }, Window { bad: 8, of: 12 }]);
    policy.failures_window.bad = policy.failures_window.bad.max(policy.failures);
    policy.successes = chance.pick(&[1, 1, 2, 3]);
    policy.cooldown = seconds(chance.pick(&[20, 60, 120]));
    policy.max_attempts = chance.pick(&[1, 2, 3, 5]);
    policy.retry_interval = seconds(chance.pick(&[600, 1_800]));
    policy.healthy_for = seconds(chance.pick(&[120, 600]));
    policy.startup_grace = seconds(chance.pick(&[10, 30, 60]));
    policy.give_up = if chance.one_in(6) { GiveUp::Wait } else { GiveUp::Retry };
    policy.mode = if chance.one_in(12) { Mode::Watch } else { Mode::Act };
    policy.min_uptime = seconds(chance.pick(&[3, 10, 20]));
    policy
}

impl World {
    /// The host of that seed, with its apps up for a quarter of an hour.
    pub fn of_seed(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let up_since = Moment::from_micros(1_000_000_000) - seconds(900);
        let apps = chance.pick(&[1, 1, 2, 2, 3]);
        let mut units: Vec<Unit> =
            (0..apps).map(|number| Unit::new(&format!("app{number}.service"), None, up_since)).collect();
        let mut around = Surroundings::well();
        if chance.one_in(2) {
            around.database_unit = Some(units.len());
            units.push(Unit::new("db.service", None, up_since));
        }
        if chance.one_in(2) {
            around.proxy_unit = Some(units.len());
            units.push(Unit::new("nginx.service", None, up_since));
        }
        let mut members = Vec::new();
        let instances = apps > 1 && chance.one_in(3);
        for number in 0..apps {
            let policy = policy(&mut chance);
            let unit = &mut units[number];
            unit.says.restart = chance.pick(&["no", "no", "on-failure", "always"]).into();
            unit.says.restart_delay = Some(chance.pick(&[millis(100), seconds(2), seconds(20)]));
            unit.says.timeout_stop = Some(chance.pick(&[seconds(10), seconds(90)]));
            unit.notify = chance.one_in(3).then(|| chance.length(50, 5_000));
            unit.process.listens_after = chance.length(50, 3_000);
            unit.process.usual = Mood::Well(chance.pick(&[3, 20, 20, 700]));
            unit.process.mood = unit.process.usual;
            if let Some(database) = around.database_unit {
                unit.requires = chance.one_in(4).then_some(database);
                around.needs.insert(number, chance.pick(&[Need::Nothing, Need::Errors, Need::Exits]));
            }
            let port = 3_000 + u16::try_from(number).unwrap();
            let mut target = Target::of_unit(unit.name.clone());
            target.address = Address::Localhost;
            let kind = chance.below(8);
            if kind != 0 {
                target.port = Some(port);
            }
            if kind > 1 {
                target.http =
                    Some(HttpTarget::get(format!("http://localhost:{port}/health"), policy.timeout));
            }
            target.min_processes = u32::from(chance.one_in(2));
            let directory = if instances { "/srv/web".into() } else { format!("/srv/app{number}") };
            target.working_directory = Some(PathBuf::from(directory));
            target.caches = vec![PathBuf::from(".next/cache")];
            target.max_memory = chance.one_in(3).then_some(300 << 20);
            target.min_disk = if chance.one_in(3) { 100 << 20 } else { 0 };
            if chance.one_in(3) {
                target.preflight.keys = vec!["DATABASE_URL".into()];
            }
            target.min_available = if chance.one_in(3) { 100 << 20 } else { 0 };
            if let Some(database) = around.database_unit {
                target.database_unit = Some(units[database].name.clone());
                target.database = Some(DatabaseTarget {
                    protocol: DatabaseProtocol::PostgreSql,
                    places: vec![DatabasePlace::Host("localhost".into(), 5_432)],
                    tls: false,
                    timeout: seconds(5),
                    interval: seconds(60),
                });
            }
            if let Some(proxy) = around.proxy_unit {
                target.proxy = Some(units[proxy].name.clone());
                target.public = Some(PublicTarget {
                    http: HttpTarget::get("https://example.org/health", policy.timeout),
                    expires_within: seconds(14 * 86_400),
                });
            }
            let name = if instances { format!("web@{}", number + 1) } else { format!("app{number}") };
            members.push(Member { name: name.parse().unwrap(), policy, target, unit: number });
        }
        if instances {
            let policy = members[0].policy.clone();
            for member in &mut members {
                member.policy = policy.clone();
                let public = member.target.public.as_mut().map(|public| &mut public.http);
                let checks = member.target.http.iter_mut().chain(public);
                checks.for_each(|http| http.timeout = policy.timeout);
            }
        }
        let of: AppName = if instances { "web" } else { "app0" }.parse().unwrap();
        let database = around.database_unit.map(|unit| (unit, Role::Database { of: of.clone() }));
        let proxy = around.proxy_unit.map(|unit| (unit, Role::Proxy { of }));
        for (unit, role) in database.into_iter().chain(proxy) {
            if chance.one_in(3) {
                continue;
            }
            let name = units[unit].name.clone();
            let target = Target { role, ..Target::of_unit(name.clone()) };
            let name = Subject::Unit(name);
            members.push(Member { name, policy: Policy::default(), target, unit });
        }
        let parallel = chance.pick(&[1, 1, 2]);
        let mut world = Self::new(chance, members, units, parallel, around);
        world.start_monitor();
        world
    }

    /// One piece of bad luck; some last, and are over by themselves.
    pub fn strike(&mut self) {
        let apps = self.members.iter().filter(|member| member.target.role == Role::App).count();
        let member = self.chance.below(apps);
        let unit = self.members[member].unit;
        let (deed, over): (Deed, Option<Deed>) = match self.chance.below(100) {
            0..32 => self.bad_app(unit),
            32..52 => self.people(member, unit),
            52..70 => self.bad_surroundings(),
            70..84 => self.bad_way(member),
            _ => self.bad_monitor(),
        };
        self.carry_out_deed(deed);
        if let Some(over) = over {
            let lasts = self.chance.length(300, 1_800_000);
            self.later(lasts, Coming::Deed(over));
        }
    }

    fn bad_app(&mut self, unit: U) -> (Deed, Option<Deed>) {
        let run = self.units[unit].says.invocation;
        let moods = [
            Mood::Frozen,
            Mood::Frozen,
            Mood::Deaf,
            Mood::Wrong,
            Mood::PortLost,
            Mood::Flapping,
            Mood::Overloaded,
        ];
        let mood = self.chance.pick(&moods);
        let mends = self.chance.one_in(2);
        match self.chance.below(20) {
            0..5 => (Deed::Exits(unit, Exit::Status(1), None), None),
            5 => (Deed::Exits(unit, Exit::Signal(9), Some("oom-kill")), None),
            6 => (Deed::Exits(unit, Exit::Signal(6), Some("watchdog")), None),
            7..13 => (Deed::Mood(unit, mood), mends.then_some(Deed::WellAgain(unit, run))),
            13 => (Deed::Sticky(unit, Some(mood)), Some(Deed::Sticky(unit, None))),
            14 => {
                let after = self.chance.length(5, 30_000);
                (Deed::Dies(unit, Some(after)), Some(Deed::Dies(unit, None)))
            }
            15 => (Deed::Broken(unit, true), Some(Deed::Broken(unit, false))),
            16 => (Deed::SlowStart(unit, self.chance.length(100, 60_000)), None),
            17 => {
                let slow = Term::Slow(self.chance.length(100, 60_000));
                (Deed::Term(unit, self.chance.pick(&[Term::Quick, slow, Term::Ignored])), None)
            }
            18 => (Deed::Leaks(unit, 1 << 20), Some(Deed::Leaks(unit, 0))),
            _ => {
                let holder = Holder { reapable: self.chance.one_in(2), own_orphan: false };
                (Deed::Holder(unit, Some(holder)), Some(Deed::Holder(unit, None)))
            }
        }
    }

    fn people(&mut self, member: usize, unit: U) -> (Deed, Option<Deed>) {
        let length = self.chance.length(1_000, 900_000);
        match self.chance.below(20) {
            0..4 => (Deed::Job(unit, Kind::Stop), Some(Deed::Job(unit, Kind::Start))),
            4 => (Deed::Job(unit, Kind::Stop), None),
            5..7 => (Deed::Job(unit, Kind::Start), None),
            7..10 => (Deed::Job(unit, Kind::Restart), None),
            10..13 => (Deed::Deploy(unit, self.chance.length(200, 90_000)), None),
            13 => (Deed::Mask(unit, true), Some(Deed::Mask(unit, false))),
            14 => (Deed::Freezer(unit, true), Some(Deed::Freezer(unit, false))),
            15 => (Deed::ResetFailed(unit), None),
            16 => (Deed::Ask(member, Request::Pause { length, reason: None, by: None }), None),
            17 => (Deed::Ask(member, Request::Resume { by: None }), None),
            18 => (Deed::Ask(member, Request::Recover { by: None }), None),
            _ => (Deed::Ask(member, Request::Reset { by: None }), None),
        }
    }

    fn bad_surroundings(&mut self) -> (Deed, Option<Deed>) {
        let state = self.chance.pick(&[Database::Starting, Database::Silent]);
        let of = |unit: Option<U>, deed: fn(U) -> Deed| unit.map(deed);
        let (database, proxy) = (self.around.database_unit, self.around.proxy_unit);
        let other = (Deed::Network(false), Some(Deed::Network(true)));
        match self.chance.below(15) {
            0..3 => (Deed::Database(state), Some(Deed::Database(Database::Accepts))),
            3 => match of(database, |unit| Deed::Exits(unit, Exit::Status(1), None)) {
                Some(deed) => (deed, of(database, |unit| Deed::Job(unit, Kind::Start))),
                None => other,
            },
            4 => match of(database, |unit| Deed::Job(unit, Kind::Stop)) {
                Some(deed) => (deed, of(database, |unit| Deed::Job(unit, Kind::Start))),
                None => other,
            },
            5 => match of(proxy, |unit| Deed::Exits(unit, Exit::Status(1), None)) {
                Some(deed) => (deed, of(proxy, |unit| Deed::Job(unit, Kind::Start))),
                None => other,
            },
            6 => {
                let state = self.chance.pick(&[Proxy::Silent, Proxy::BadGateway]);
                (Deed::Proxy(state), Some(Deed::Proxy(Proxy::Well)))
            }
            7 => (Deed::Resolver(false), Some(Deed::Resolver(true))),
            8 => (Deed::Tls(false), Some(Deed::Tls(true))),
            9 => (Deed::Certificate(86_400), Some(Deed::Certificate(60 * 86_400))),
            10 => (Deed::Memory(50 << 20, self.chance.pick(&[0, 30])), Some(Deed::Memory(2 << 30, 0))),
            11 => (Deed::Disk(false), Some(Deed::Disk(true))),
            12 => (Deed::Config(false), Some(Deed::Config(true))),
            13 => match of(proxy, |unit| Deed::Broken(unit, true)) {
                Some(deed) => (deed, of(proxy, |unit| Deed::Broken(unit, false))),
                None => other,
            },
            _ => other,
        }
    }

    fn bad_way(&mut self, member: usize) -> (Deed, Option<Deed>) {
        match self.chance.below(10) {
            0 => (Deed::Hung(true), Some(Deed::Hung(false))),
            1 => (Deed::Refuses(true), Some(Deed::Refuses(false))),
            2 => (Deed::Late(self.chance.length(10, 2_000)), Some(Deed::Late(millis(3)))),
            3 => (Deed::Lossy(Some(self.chance.pick(&[1, 1, 2, 10]))), Some(Deed::Lossy(None))),
            4 => (Deed::Echo(true), Some(Deed::Echo(false))),
            5 => (Deed::HelperFails(true), Some(Deed::HelperFails(false))),
            6 => (Deed::Writable(false), Some(Deed::Writable(true))),
            7..9 => (Deed::Blind(member, true), Some(Deed::Blind(member, false))),
            _ => (Deed::SignalsLost, None),
        }
    }

    fn bad_monitor(&mut self) -> (Deed, Option<Deed>) {
        let away = self.chance.length(50, 60_000);
        match self.chance.below(16) {
            0..3 => (Deed::KillMonitor(away), None),
            3..6 => (Deed::DiesAfter(u32::try_from(self.chance.below(12)).unwrap()), None),
            6..8 => (Deed::EndMonitor(millis(300)), None),
            8 => {
                self.carry_out_deed(Deed::KillMonitor(away));
                (Deed::LoseMemory, None)
            }
            9..11 => (Deed::Reload, None),
            11 => (Deed::Stall(self.chance.length(2_100, 600_000)), None),
            12 => (Deed::Suspend(self.chance.length(3_000, 100_000_000)), None),
            13 => (Deed::Stopping(true), Some(Deed::Stopping(false))),
            14 => {
                let hours = i64::try_from(self.chance.below(48)).unwrap() - 24;
                (Deed::ClockStep(hours * 3_600), None)
            }
            _ => (Deed::Reboot, None),
        }
    }
}
