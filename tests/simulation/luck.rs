//! Everything that can happen to the host: faults, how long they last, and what people do.

use std::time::Duration;

use app_monitor::judge::{ActiveState, Event, Exit, InvocationId, LoadState, Moment, Request};

use crate::process::{Mood, Term};
use crate::surroundings::{Database, Holder, Proxy};
use crate::systemd::{JobMode, Kind, Who, Wish};
use crate::world::{Coming, M, Trace, U, World, millis, seconds};

/// Something that happens at a moment.
#[derive(Clone, Debug)]
pub enum Deed {
    // The app.
    Exits(U, Exit, Option<&'static str>),
    Mood(U, Mood),
    /// It is well again by itself, if it is still the same run.
    WellAgain(U, Option<InvocationId>),
    Sticky(U, Option<Mood>),
    Dies(U, Option<Duration>),
    Broken(U, bool),
    SlowStart(U, Duration),
    Term(U, Term),
    Leaks(U, u64),
    Holder(U, Option<Holder>),
    Blind(M, bool),
    // People.
    Job(U, Kind),
    Deploy(U, Duration),
    Mask(U, bool),
    Freezer(U, bool),
    ResetFailed(U),
    Ask(M, Request),
    // What apps lean on.
    Database(Database),
    Proxy(Proxy),
    Network(bool),
    Resolver(bool),
    Tls(bool),
    Certificate(i64),
    Memory(u64, u32),
    Disk(bool),
    Config(bool),
    // The way to systemd, and the monitor itself.
    Writable(bool),
    Refuses(bool),
    Hung(bool),
    Late(Duration),
    Lossy(Option<usize>),
    Echo(bool),
    HelperFails(bool),
    SignalsLost,
    /// A call that nobody waits for any more is carried out.
    LateJob(U),
    KillMonitor(Duration),
    DiesAfter(u32),
    EndMonitor(Duration),
    LoseMemory,
    LastStart(U, u32),
    Reload,
    Stall(Duration),
    Thaw(Duration),
    Suspend(Duration),
    Stopping(bool),
    ClockStep(i64),
    Reboot,
}

impl World {
    pub fn carry_out_deed(&mut self, deed: Deed) {
        // What the monitor would have to take in waits until it runs again.
        let for_monitor =
            matches!(deed, Deed::Stopping(_) | Deed::SignalsLost | Deed::Suspend(_) | Deed::Reload);
        if let Some(until) = self.monitor.stalled.filter(|_| for_monitor) {
            self.at(until, Coming::Deed(deed));
            return;
        }
        self.note(Trace::Deed(format!("{deed:?}")));
        self.stir();
        let at = self.absolute();
        match deed {
            Deed::Exits(unit, exit, result) => {
                if self.units[unit].is_up() {
                    self.exited(unit, exit, result);
                }
            }
            Deed::Mood(unit, mood) => self.units[unit].process.mood = mood,
            Deed::WellAgain(unit, run) => {
                let sim = &mut self.units[unit];
                if sim.says.invocation == run && sim.process.sticky.is_none() {
                    sim.process.mood = sim.process.usual;
                }
            }
            Deed::Sticky(unit, mood) => {
                let process = &mut self.units[unit].process;
                process.sticky = mood;
                process.mood = mood.unwrap_or(process.usual);
            }
            Deed::Dies(unit, after) => self.units[unit].process.dies_after = after,
            Deed::Broken(unit, broken) => self.units[unit].broken = broken,
            Deed::SlowStart(unit, takes) => self.units[unit].process.listens_after = takes,
            Deed::Term(unit, term) => self.units[unit].process.term = term,
            Deed::Leaks(unit, rate) => self.units[unit].process.leak = rate,
            Deed::Holder(unit, holder) => {
                self.around.holders.remove(&unit);
                // Nobody can take the port of one that listens.
                if let Some(holder) = holder.filter(|_| self.units[unit].is_down()) {
                    self.around.holders.insert(unit, holder);
                }
            }
            Deed::Blind(member, true) => drop(self.around.blind.insert(member, ())),
            Deed::Blind(member, false) => drop(self.around.blind.remove(&member)),
            Deed::Job(unit, kind) => self.systemctl(unit, kind),
            Deed::Deploy(unit, pause) => {
                self.systemctl(unit, Kind::Stop);
                self.later(pause, Coming::Deed(Deed::Job(unit, Kind::Start)));
            }
            Deed::Mask(unit, masked) => {
                self.units[unit].says.load = if masked { LoadState::Masked } else { LoadState::Loaded };
                self.units[unit].masked = masked.then_some(at);
                self.signal(unit, crate::world::Signal::Changed);
            }
            Deed::Freezer(unit, frozen) => {
                let up = self.units[unit].is_up();
                self.units[unit].frozen = (frozen && up).then_some(at);
            }
            Deed::ResetFailed(unit) => {
                self.ledger_failure_reset(unit);
                self.reset_failed(unit);
            }
            Deed::Ask(member, request) => self.ask(member, request),
            Deed::Database(state) => {
                self.around.database = state;
                self.database_changed();
            }
            Deed::Proxy(state) => {
                self.around.proxy = state;
                self.around.proxy_since = at;
            }
            Deed::Network(up) => self.around.network = up,
            Deed::Resolver(up) => self.around.resolver = up,
            Deed::Tls(good) => self.around.tls = good,
            Deed::Certificate(left) => self.around.certificate = left,
            Deed::Memory(available, pressure) => {
                (self.around.available, self.around.pressure) = (available, pressure);
            }
            Deed::Disk(good) => self.around.disk = good,
            Deed::Config(there) => self.around.config = there,
            Deed::Writable(writable) => {
                self.around.writable = writable;
                self.ledger.stale |= !writable;
            }
            Deed::Refuses(refuses) => {
                self.around.refuses = refuses;
                self.prove_later();
            }
            Deed::Hung(hung) => {
                self.around.hung = hung;
                if !hung {
                    let generation = self.monitor.generation;
                    for (unit, signal) in std::mem::take(&mut self.monitor.held) {
                        self.take_signal(generation, unit, signal);
                    }
                }
            }
            Deed::Late(late) => self.around.late = late,
            Deed::Lossy(lossy) => self.around.lossy = lossy,
            Deed::Echo(echo) => self.around.echo = echo,
            Deed::HelperFails(fails) => self.around.helper_fails = fails,
            Deed::SignalsLost => {
                self.drive(|host, now| host.handle_all(now, &Event::SignalsLost));
            }
            Deed::LateJob(unit) => {
                // Our connection was dropped: what it asked for is systemd's to do.
                if self.units[unit].job.is_none() && matches!(self.units[unit].wish, Wish::Up) {
                    let _ = self.enqueue(unit, Kind::Start, JobMode::Fail, Who::Us);
                }
            }
            Deed::KillMonitor(away) => {
                if self.monitor.is_up() {
                    self.kill_monitor();
                    self.later(away, Coming::MonitorStarts);
                }
            }
            Deed::DiesAfter(effects) => self.monitor.dies_in = Some(effects),
            Deed::EndMonitor(away) => {
                if self.monitor.is_up() && self.monitor.stalled.is_none() {
                    self.end_monitor();
                    self.later(away, Coming::MonitorStarts);
                }
            }
            Deed::LoseMemory => self.monitor.kept = None,
            Deed::LastStart(unit, tries) => {
                let refused = self.enqueue(unit, Kind::Start, JobMode::Fail, Who::Us).is_err();
                if refused && tries > 0 {
                    self.later(millis(50), Coming::Deed(Deed::LastStart(unit, tries - 1)));
                }
            }
            Deed::Reload => {
                for member in &mut self.members {
                    let policy = &mut member.policy;
                    policy.suspect_after = match policy.suspect_after {
                        None => Some(seconds(2)),
                        Some(_) => None,
                    };
                }
                if self.monitor.stalled.is_none() {
                    self.reload_monitor();
                }
                self.prove_later();
            }
            Deed::Stall(length) => self.stall(length),
            Deed::Thaw(length) => {
                self.monitor.stalled = None;
                self.drive(|host, now| host.handle_all(now, &Event::Gap(length)));
                self.ledger_gap();
            }
            Deed::Suspend(length) => {
                self.wall_off += i64::try_from(length.as_secs()).unwrap();
                self.drive(|host, now| host.handle_all(now, &Event::Gap(length)));
                self.ledger_gap();
            }
            Deed::Stopping(stopping) => {
                if self.monitor.is_up() {
                    self.ledger.stopping = stopping;
                    self.drive(|host, now| host.handle_all(now, &Event::Stopping(stopping)));
                }
            }
            Deed::ClockStep(by) => self.wall_off += by,
            Deed::Reboot => self.reboot(),
        }
    }

    /// A person at a terminal.
    fn systemctl(&mut self, unit: U, kind: Kind) {
        let up = kind != Kind::Stop;
        if self.enqueue(unit, kind, JobMode::Replace, Who::Admin).is_ok() && up {
            self.ledger_foreign_start(unit);
        }
    }

    pub fn database_changed(&mut self) {
        let at = self.absolute();
        let accepts = self.database_accepts();
        self.around.outages += u32::from(!accepts && self.around.database_down.is_none());
        self.around.database_down = (!accepts).then(|| self.around.database_down.unwrap_or(at));
        if !accepts {
            let exits: Vec<U> = self
                .around
                .needs
                .iter()
                .filter(|(_, need)| **need == crate::surroundings::Need::Exits)
                .map(|(unit, _)| *unit)
                .collect();
            for unit in exits {
                let after = self.chance.length(10, 4_000);
                self.later(after, Coming::Deed(Deed::Exits(unit, Exit::Status(1), None)));
            }
        }
    }

    fn ledger_gap(&mut self) {
        for known in &mut self.ledger.members {
            known.under_way.clear();
        }
    }

    fn reboot(&mut self) {
        self.kill_monitor();
        let left: Vec<(Duration, Coming)> = std::mem::take(&mut self.coming)
            .into_iter()
            .filter(|(_, coming)| matches!(coming, Coming::Deed(_)))
            .map(|((at, _), coming)| (at.since(self.now), coming))
            .collect();
        self.before += self.now.as_micros() + 10_000_000;
        self.boot += 1;
        self.now = Moment::from_micros(20_000_000);
        self.monitor.forget_clock();
        for (after, coming) in left {
            self.later(after, coming);
        }
        // What others need comes up before them.
        for unit in (0..self.units.len()).rev() {
            self.boot_unit(unit);
        }
        self.database_changed();
        self.later(millis(500), Coming::MonitorStarts);
    }

    /// Everything is as it should be again. What people stopped stays so.
    pub fn mend(&mut self) {
        // What waits for a monitor that does not run comes when it runs again, in its order.
        while let Some(until) = self.monitor.stalled.filter(|_| self.violation.is_none()) {
            self.run_for(until.since(self.now) + millis(1));
        }
        self.note(Trace::Deed("all is mended".into()));
        self.stir();
        self.carry_out_deed(Deed::Hung(false));
        let silent = self.around.proxy != Proxy::Well;
        self.around.mend();
        self.prove_later();
        if silent {
            self.around.proxy_since = self.absolute();
        }
        for unit in 0..self.units.len() {
            let sim = &mut self.units[unit];
            sim.process.mend();
            sim.broken = false;
            sim.frozen = None;
            if sim.masked.is_some() {
                self.carry_out_deed(Deed::Mask(unit, false));
            }
        }
        self.database_changed();
        self.monitor.dies_in = None;
        if !self.monitor.is_up() {
            self.start_monitor();
        }
        self.carry_out_deed(Deed::Stopping(false));
        // What the monitor is not there for, people start.
        let database = self.around.database_unit;
        let apps: Vec<U> = self.members.iter().map(|member| member.unit).collect();
        for unit in 0..self.units.len() {
            let sim = &self.units[unit];
            let watched = self
                .members
                .iter()
                .any(|member| member.unit == unit && member.policy.mode == app_monitor::judge::Mode::Watch);
            // A database is started for an app that is down with it, not for its own sake.
            let ours = apps.contains(&unit) && !watched && database != Some(unit);
            let below = sim.is_down() || sim.says.active == ActiveState::Deactivating;
            if below && (!ours || sim.wish == Wish::Off) {
                self.reset_failed(unit);
                self.carry_out_deed(Deed::Job(unit, Kind::Start));
            }
            if watched && matches!(self.units[unit].says.active, ActiveState::Active) {
                // Whose start limit is used up by then would stay down.
                self.reset_failed(unit);
                self.carry_out_deed(Deed::Job(unit, Kind::Restart));
            }
        }
        self.coming.retain(|_, coming| {
            !matches!(coming, Coming::Deed(deed) if !matches!(deed, Deed::Thaw(_) | Deed::LastStart(..) | Deed::LateJob(_)))
        });
        for member in 0..self.members.len() {
            self.ask(member, Request::Resume { by: None });
            if self.members[member].policy.give_up == app_monitor::judge::GiveUp::Wait {
                self.ask(member, Request::Reset { by: None });
            }
        }
    }
}
