//! What apps lean on and live in: database, proxy, network, memory, disk; and what a check sees of it.

use std::collections::BTreeMap;
use std::time::Duration;

use app_monitor::judge::{ActiveState, CheckKind, Detail, Fault, HostMemory, Observation, Role};

use crate::process::Mood;
use crate::world::{M, U, World, millis, seconds};

/// How the database is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Database {
    Accepts,
    /// Up, and not ready (recovery after a crash).
    Starting,
    /// It hangs: connections are not answered.
    Silent,
}

/// How the proxy is, while its unit is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proxy {
    Well,
    Silent,
    BadGateway,
}

/// Who holds the port of an app that does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder {
    pub reapable: bool,
    pub own_orphan: bool,
}

/// What an app does without its database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    Nothing,
    /// It answers 500.
    Errors,
    /// It exits.
    Exits,
}

#[derive(Clone, Debug)]
pub struct Surroundings {
    pub database_unit: Option<U>,
    pub database: Database,
    /// Since when it has not accepted (absolute).
    pub database_down: Option<i64>,
    /// How often it stopped accepting.
    pub outages: u32,
    pub needs: BTreeMap<U, Need>,
    pub proxy_unit: Option<U>,
    pub proxy: Proxy,
    /// Since when it is so (absolute).
    pub proxy_since: i64,
    /// When it last asked an app that works its queue off (absolute).
    pub overloaded_at: Option<i64>,
    pub network: bool,
    pub resolver: bool,
    pub tls: bool,
    /// Seconds that the certificate is still valid.
    pub certificate: i64,
    pub available: u64,
    pub pressure: u32,
    pub disk: bool,
    pub config: bool,
    pub holders: BTreeMap<U, Holder>,
    /// Checks of that member cannot be made.
    pub blind: BTreeMap<M, ()>,
    /// The state can be written.
    pub writable: bool,
    /// Calls that act are refused.
    pub refuses: bool,
    /// No call is answered.
    pub hung: bool,
    /// Signals come so much later, and one in so many is lost or comes twice.
    pub late: Duration,
    pub lossy: Option<usize>,
    pub echo: bool,
    /// How each helper step ends, if not well.
    pub helper_fails: bool,
}

impl Surroundings {
    pub fn well() -> Self {
        Self {
            database_unit: None,
            database: Database::Accepts,
            database_down: None,
            outages: 0,
            needs: BTreeMap::new(),
            proxy_unit: None,
            proxy: Proxy::Well,
            proxy_since: 0,
            overloaded_at: None,
            network: true,
            resolver: true,
            tls: true,
            certificate: 60 * 86_400,
            available: 2 << 30,
            pressure: 0,
            disk: true,
            config: true,
            holders: BTreeMap::new(),
            blind: BTreeMap::new(),
            writable: true,
            refuses: false,
            hung: false,
            late: millis(3),
            lossy: None,
            echo: false,
            helper_fails: false,
        }
    }

    /// All of it is as it should be again.
    pub fn mend(&mut self) {
        let well = Self::well();
        *self = Self {
            database_unit: self.database_unit,
            database_down: self.database_down,
            outages: self.outages,
            needs: std::mem::take(&mut self.needs),
            proxy_unit: self.proxy_unit,
            overloaded_at: self.overloaded_at,
            ..well
        };
    }
}

/// What a check of that kind sees now, and how long it takes to see it.
pub type Sight = (Duration, Observation);

impl World {
    /// The database accepts connections.
    pub fn database_accepts(&self) -> bool {
        let up = self.around.database_unit.is_none_or(|unit| self.units[unit].is_up());
        up && self.around.database == Database::Accepts
    }

    /// How the app behaves at this moment, its database considered; nothing where it does not listen.
    pub fn behaves(&self, unit: U) -> Option<Mood> {
        let sim = &self.units[unit];
        let listens = sim.is_up() && self.now.since(sim.process.up_since) >= sim.process.listens_after;
        if !listens || sim.process.mood == Mood::PortLost || self.around.holders.contains_key(&unit) {
            return None;
        }
        if sim.frozen.is_some() {
            return Some(Mood::Frozen);
        }
        let errs = self.around.needs.get(&unit) == Some(&Need::Errors) && !self.database_accepts();
        let well = matches!(sim.process.mood, Mood::Well(_));
        Some(if errs && well { Mood::Wrong } else { sim.process.mood })
    }

    /// A unit read its configuration again.
    pub fn reloaded(&mut self, unit: U, well: bool) {
        let helps = well && self.around.proxy_unit == Some(unit) && self.chance.one_in(2);
        if helps && self.around.proxy == Proxy::Silent {
            self.around.proxy = Proxy::Well;
            self.around.proxy_since = self.absolute();
        }
    }

    /// One that works its queue off may answer us by luck, and nobody behind the proxy: now, or when that was
    /// found to be silent.
    pub fn answers_by_luck(&self) -> bool {
        let lately = self.around.overloaded_at.is_some_and(|at| self.absolute() - at < 180_000_000);
        lately || self.units.iter().any(|unit| unit.process.mood == Mood::Overloaded)
    }

    /// It would answer its health check well now.
    pub fn answers_well(&self, unit: U) -> bool {
        matches!(self.behaves(unit), Some(Mood::Well(_)))
    }

    pub fn sees(&mut self, member: M, kind: CheckKind) -> Sight {
        if self.around.blind.contains_key(&member) {
            return (millis(1), Observation::unknown("blind"));
        }
        let unit = self.members[member].unit;
        let timeout = self.members[member].policy.timeout;
        let bad = |after, fault, text: &str| (after, Observation::bad(fault, text));
        let good = |text: &str| (millis(1), Observation::good(text));
        match kind {
            CheckKind::Http => self.sees_http(unit, timeout),
            CheckKind::Port => match (self.behaves(unit), self.around.holders.get(&unit)) {
                (_, Some(holder)) => {
                    let detail = Detail::Holder { reapable: holder.reapable, own_orphan: holder.own_orphan };
                    let seen = Observation::bad(Fault::ForeignListener, "nc (pid 4711) holds the port");
                    (millis(1), seen.with(detail))
                }
                (Some(_), None) => good("port 3000 listens"),
                (None, None) => bad(millis(1), Fault::NotListening, "nobody listens"),
            },
            CheckKind::Processes if self.units[unit].says.main_pid.is_some() => good("1 process"),
            CheckKind::Processes => bad(millis(1), Fault::TooFewProcesses, "no process"),
            CheckKind::Memory => {
                let most = self.members[member].target.max_memory.unwrap_or(u64::MAX);
                let uses = self.units[unit].process.uses(self.now);
                let seen = if uses > most {
                    Observation::bad(Fault::OverMemory, "uses too much")
                } else {
                    Observation::good("uses little")
                };
                (millis(1), seen.with(Detail::Memory(uses)))
            }
            CheckKind::HostMemory => self.sees_host_memory(member),
            CheckKind::Disk if self.around.disk => good("much is free"),
            CheckKind::Disk => bad(millis(1), Fault::DiskLow, "3 MiB free"),
            CheckKind::Database if self.database_accepts() => good("accepts"),
            CheckKind::Database if self.around.database == Database::Silent => {
                bad(seconds(5), Fault::DatabaseDown, "unanswered")
            }
            CheckKind::Database => bad(millis(2), Fault::DatabaseDown, "does not accept"),
            CheckKind::Proxy | CheckKind::Public | CheckKind::Egress => {
                if kind != CheckKind::Egress && self.behaves(unit) == Some(Mood::Overloaded) {
                    self.around.overloaded_at = Some(self.absolute());
                }
                self.sees_public(unit, kind, timeout)
            }
            CheckKind::Preflight if self.around.config => good("everything is there"),
            CheckKind::Preflight => bad(millis(30), Fault::ConfigMissing, "DATABASE_URL is not set"),
        }
    }

    fn sees_http(&mut self, unit: U, timeout: Duration) -> Sight {
        let silence = |taken, cpu| {
            let detail = Detail::Silence { taken: Some(taken), cpu: Some(cpu) };
            (timeout, Observation::bad(Fault::Unanswered, "timed out").with(detail))
        };
        let well = |took| (millis(took), Observation::good("answers 200").took(millis(took)));
        let wrong = (millis(5), Observation::bad(Fault::WrongAnswer, "answers 500"));
        match self.behaves(unit) {
            None => (millis(1), Observation::bad(Fault::Refused, "refused")),
            Some(Mood::Well(took)) => well(took),
            Some(Mood::Frozen | Mood::PortLost) => silence(false, 0),
            Some(Mood::Deaf) => silence(true, 0),
            Some(Mood::Wrong) => wrong,
            Some(Mood::Flapping) if self.chance.one_in(2) => wrong,
            Some(Mood::Flapping) => well(20),
            Some(Mood::Overloaded) if self.chance.one_in(6) => well(900),
            Some(Mood::Overloaded) => silence(true, 95),
        }
    }

    fn sees_host_memory(&self, member: M) -> Sight {
        let at = &self.members[member];
        let short = self.around.available < at.target.min_available;
        let own = at.target.max_memory.is_none() && at.target.role == Role::App;
        let presses = self.around.pressure > 20;
        let mut host = HostMemory {
            available: self.around.available,
            pressure: Some(self.around.pressure),
            biggest: Vec::new(),
            own: own.then(|| self.units[at.unit].process.uses(self.now)),
        };
        let seen = if short || presses {
            let mut biggest: Vec<(String, u64)> = self
                .units
                .iter()
                .filter(|unit| unit.says.active == ActiveState::Active)
                .map(|unit| (unit.name.to_string(), unit.process.uses(self.now)))
                .collect();
            biggest.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
            biggest.truncate(3);
            host.biggest = biggest;
            Observation::bad(Fault::ShortOfMemory, "memory is short")
        } else {
            Observation::good("memory is free")
        };
        (millis(1), seen.with(Detail::HostMemory(host)))
    }

    fn sees_public(&mut self, unit: U, kind: CheckKind, timeout: Duration) -> Sight {
        let bad = |after, fault, text: &str| (after, Observation::bad(fault, text));
        let around = &self.around;
        match kind {
            CheckKind::Egress if around.network => return (millis(9), Observation::good("reachable")),
            CheckKind::Egress => return bad(seconds(3), Fault::Unreachable, "nothing outside answers"),
            CheckKind::Public if !around.resolver => {
                return bad(seconds(5), Fault::Unresolved, "the name cannot be resolved");
            }
            CheckKind::Public if !around.network => return bad(timeout, Fault::Unanswered, "timed out"),
            _ => {}
        }
        if let Some(proxy) = around.proxy_unit {
            if !self.units[proxy].is_up() {
                return bad(millis(2), Fault::Refused, "refused");
            }
            if around.proxy == Proxy::Silent {
                return bad(timeout, Fault::Unanswered, "timed out");
            }
        }
        if kind == CheckKind::Public && !around.tls {
            return bad(millis(30), Fault::Tls, "certificate is not valid");
        }
        // Whatever is answered, or is not in time, the handshake has shown the certificate before.
        let shown = Detail::Certificate(around.certificate);
        let hangs = matches!(self.behaves(unit), Some(Mood::Frozen | Mood::Deaf | Mood::Overloaded));
        // That it hangs shows to nobody but those who ask it.
        let asked = self.members.iter().any(|member| member.unit == unit && member.target.http.is_some());
        let (after, seen) = if around.proxy == Proxy::Well && hangs && asked {
            // It waits for the app longer than we do.
            bad(timeout, Fault::Unanswered, "timed out")
        } else if around.proxy == Proxy::BadGateway || !self.answers_well(unit) {
            bad(millis(30), Fault::Upstream, "answers 502")
        } else {
            (millis(40), Observation::good("answers 200"))
        };
        (after, seen.with(shown))
    }
}
