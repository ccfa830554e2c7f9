//! A fault that nothing cures, on a host that is well otherwise: attempts are used up as configured, the
//! breaker opens with one alert, then come its slow retries, until somebody mends what is broken.

use app_monitor::judge::{
    CheckKind, Condition, EventKind, Exit, GiveUp, Mode, Record, Request, Role, Verdict,
};

use crate::luck::Deed;
use crate::process::Mood;
use crate::surroundings::Holder;
use crate::systemd::{Kind, Wish};
use crate::world::{M, Member, World, seconds};

const RULE: &str = "an incurable fault ends with one alert and slow retries";

/// By so much a recovery may come late: it waits for a reading, and for a monitor that is started again.
const LATE: i64 = 90_000_000;

/// What is wrong, and stays so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// Whatever is started exits at once.
    Build,
    /// Every run behaves so.
    Sick(Mood),
    /// What it needs to start was taken away.
    Config,
    /// Another unit has its port.
    Port,
}

/// What becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Course {
    /// It is recovered until the attempts are used up.
    Tried,
    /// A recovery would not help: nothing is tried.
    Held,
    /// systemd restarts it for ever; no attempt is used up.
    Looped,
}

/// The books of it, in microseconds since the beginning.
#[derive(Clone, Debug)]
pub struct Ordeal {
    member: M,
    incidents: u32,
    over: u32,
    /// When recoveries began that count, and when they failed.
    began: Vec<i64>,
    failed: Vec<i64>,
    /// Recoveries that do not count.
    besides: u32,
    opened: Vec<i64>,
    closed: u32,
    /// Other alerts.
    alerts: Vec<String>,
}

impl Ordeal {
    fn new(member: M) -> Self {
        let (began, failed, opened, alerts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { member, incidents: 0, over: 0, began, failed, besides: 0, opened, closed: 0, alerts }
    }

    /// What must be of it by now.
    fn holds(&self, world: &World, course: Course) -> Result<(), String> {
        let policy = &world.members[self.member].policy;
        let allowed = policy.max_attempts as usize;
        if self.incidents != 1 || self.over > 0 {
            return Err(format!("{} incidents, {} of them over", self.incidents, self.over));
        }
        if let Some(alert) = self.alerts.first() {
            return Err(format!("{} more alerts: {alert}", self.alerts.len()));
        }
        if course != Course::Tried {
            let nothing = self.began.is_empty() && self.opened.is_empty();
            if !nothing {
                return Err(format!("{} attempts were used up", self.began.len()));
            }
            let tried = course == Course::Held && self.besides > 0;
            return if tried { Err("it was tried all the same".into()) } else { Ok(()) };
        }
        if self.besides > 0 {
            return Err(format!("{} recoveries did not count", self.besides));
        }
        let [opened] = self.opened[..] else {
            return Err(format!("{} times it was told that it is given up", self.opened.len()));
        };
        let before = self.began.iter().filter(|began| **began < opened).count();
        if before != allowed {
            return Err(format!("given up after {before} attempts of {allowed}"));
        }
        let retries = &self.began[before..];
        if policy.give_up == GiveUp::Wait {
            return if retries.is_empty() {
                Ok(())
            } else {
                Err("tried again although it is to wait".into())
            };
        }
        let interval = i64::try_from(policy.retry_interval.as_micros()).unwrap();
        let now = world.absolute();
        for (number, failed) in self.failed.iter().skip(before - 1).enumerate() {
            match retries.get(number) {
                Some(began) if (0..=LATE).contains(&(began - failed - interval)) => {}
                Some(began) => {
                    let after = (began - failed) / 1_000_000;
                    return Err(format!("retry {number} came after {after} s"));
                }
                None if now - failed > interval + LATE => return Err(format!("no retry {number}")),
                None => {}
            }
        }
        if retries.len() < 2 { Err(format!("{} retries", retries.len())) } else { Ok(()) }
    }
}

impl World {
    /// Has an app suffer what nothing cures, for as long as it takes to see what comes of it, and has it
    /// cured then.
    pub fn suffer(&mut self) {
        let members: Vec<M> = (0..self.members.len()).filter(|member| self.may_suffer(*member)).collect();
        if members.is_empty() {
            return;
        }
        let member = self.chance.pick(&members);
        let Some((fault, course)) = self.pick_fault(member) else { return };
        let policy = self.members[member].policy.clone();
        self.ordeal = Some(Ordeal::new(member));
        self.break_for_good(member, fault);
        // Each attempt: its cooldown, its verification, what it takes to see the fault again.
        let rounds = (policy.check_interval + policy.timeout) * (policy.failures_window.of + 2);
        let attempt = policy.cooldown_max.max(policy.cooldown) + rounds + seconds(300);
        let until = self.now + attempt * (policy.max_attempts + 1);
        while self.now < until && self.violation.is_none() && !self.has_given_up() {
            self.run_for(seconds(60));
        }
        let wait = policy.retry_interval + attempt;
        if course == Course::Tried {
            for _ in 0..2 {
                let part = self.chance.length(1_000, 400_000);
                self.run_for(part);
                self.disturb(member);
                self.run_for(wait - part);
            }
        }
        self.at_rest();
        let holds = self.ordeal.as_ref().map_or(Ok(()), |ordeal| ordeal.holds(self, course));
        if let Err(what) = holds {
            let what = format!("{}, {fault:?}: {what}", self.members[member].name);
            self.violated(RULE, &what);
        }
        self.cure(member, fault, course);
        let healthy = policy.healthy_for + rounds;
        self.run_for(wait + healthy + seconds(4_000));
        self.must_be_well();
        let closed = self.ordeal.take().map_or(0, |ordeal| ordeal.closed);
        if closed != u32::from(course == Course::Tried) {
            let what = format!("{}: its end was told {closed} times", self.members[member].name);
            self.violated(RULE, &what);
        }
    }

    /// It is watched, well, and known to be so.
    fn may_suffer(&self, member: M) -> bool {
        let Member { target, policy, unit, name } = &self.members[member];
        let sim = &self.units[*unit];
        let app = self.monitor.host().and_then(|host| host.app(name));
        let well = app.is_some_and(|app| app.view(self.now).verdict == Verdict::Healthy);
        target.role == Role::App && policy.mode == Mode::Act && sim.wish == Wish::Up && sim.is_up() && well
    }

    fn pick_fault(&mut self, member: M) -> Option<(Fault, Course)> {
        let target = &self.members[member].target;
        let known = &self.ledger.members[member];
        let unit = self.members[member].unit;
        let asked = |kind| target.has(kind) && known.proven.contains(&kind);
        let mut faults = vec![Fault::Build, Fault::Build];
        if asked(CheckKind::Http) {
            faults.extend([Mood::Wrong, Mood::Wrong, Mood::Frozen, Mood::Deaf].map(Fault::Sick));
        }
        if asked(CheckKind::Port) {
            faults.extend([Fault::Sick(Mood::PortLost), Fault::Port]);
        }
        if asked(CheckKind::Preflight) {
            faults.extend([Fault::Config, Fault::Config]);
        }
        let fault = self.chance.pick(&faults);
        let says = &self.units[unit].says;
        let course = match fault {
            Fault::Sick(_) => Course::Tried,
            Fault::Config | Fault::Port => Course::Held,
            // At such a pace the start limit ends it.
            Fault::Build if says.restart == "no" || says.restart_delay < Some(seconds(1)) => Course::Tried,
            Fault::Build => Course::Looped,
        };
        Some((fault, course))
    }

    fn break_for_good(&mut self, member: M, fault: Fault) {
        let unit = self.members[member].unit;
        let falls = Deed::Exits(unit, Exit::Status(1), None);
        match fault {
            Fault::Build => {
                self.carry_out_deed(Deed::Broken(unit, true));
                self.carry_out_deed(falls);
            }
            Fault::Sick(mood) => self.carry_out_deed(Deed::Sticky(unit, Some(mood))),
            Fault::Config => {
                self.carry_out_deed(Deed::Config(false));
                self.carry_out_deed(Deed::Broken(unit, true));
                self.carry_out_deed(falls);
            }
            Fault::Port => {
                self.carry_out_deed(falls);
                self.around.holders.insert(unit, Holder { reapable: false, own_orphan: false });
            }
        }
    }

    /// The breaker is open, and what happens now changes nothing about it.
    fn disturb(&mut self, member: M) {
        let acting = self.monitor.host().and_then(|host| host.app(&self.members[member].name));
        if acting.is_none_or(|app| app.view(self.now).recovery.is_some()) {
            return;
        }
        match self.chance.below(4) {
            0 => self.carry_out_deed(Deed::KillMonitor(seconds(10))),
            1 => self.carry_out_deed(Deed::Reload),
            2 => self.carry_out_deed(Deed::ClockStep(7_200)),
            _ => {}
        }
    }

    /// What was broken is mended; somebody tells the monitor or systemd, or nobody does.
    fn cure(&mut self, member: M, fault: Fault, course: Course) {
        let unit = self.members[member].unit;
        match fault {
            Fault::Build => self.carry_out_deed(Deed::Broken(unit, false)),
            Fault::Sick(_) => self.carry_out_deed(Deed::Sticky(unit, None)),
            Fault::Config => {
                self.carry_out_deed(Deed::Broken(unit, false));
                self.carry_out_deed(Deed::Config(true));
            }
            Fault::Port => self.carry_out_deed(Deed::Holder(unit, None)),
        }
        let waits = course == Course::Tried && self.members[member].policy.give_up == GiveUp::Wait;
        let alone = !waits || matches!(fault, Fault::Sick(_));
        match self.chance.below(3) {
            0 => self.ask(member, Request::Reset { by: None }),
            1 if alone => {}
            _ => self.carry_out_deed(Deed::Job(unit, Kind::Restart)),
        }
    }

    fn has_given_up(&self) -> bool {
        self.ordeal.as_ref().is_some_and(|ordeal| !ordeal.opened.is_empty())
    }

    /// A recovery begins; `counted`: as an attempt.
    pub fn ordeal_begins(&mut self, member: M, at: i64, counted: bool) {
        let Some(ordeal) = self.ordeal.as_mut().filter(|ordeal| ordeal.member == member) else { return };
        if counted {
            ordeal.began.push(at);
        } else {
            ordeal.besides += 1;
        }
    }

    pub fn ordeal_record(&mut self, member: M, record: &Record) {
        let at = self.absolute();
        let counted = self.ledger.members[member].open.as_ref().is_some_and(|open| open.counted);
        let Some(ordeal) = self.ordeal.as_mut().filter(|ordeal| ordeal.member == member) else { return };
        match record.event {
            EventKind::IncidentOpened => ordeal.incidents += 1,
            EventKind::IncidentClosed => ordeal.over += 1,
            EventKind::RecoveryFailed if counted => ordeal.failed.push(at),
            EventKind::BreakerOpened if record.alert => ordeal.opened.push(at),
            EventKind::BreakerClosed => ordeal.closed += 1,
            // So it does.
            _ if record.condition == Some(Condition::RestartsOften) => {}
            _ if record.alert => ordeal.alerts.push(record.text.clone()),
            _ => {}
        }
    }
}
