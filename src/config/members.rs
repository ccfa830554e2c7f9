//! Who is judged: each app, or each of its instances, and each unit that apps lean on.

use std::collections::BTreeMap;
use std::path::Path;

use super::aliases;
use super::error::Notice;
use super::fragment::Gathered;
use super::http::HttpSpec;
use super::instances::InstanceSpec;
use super::merge::Sourced;
use super::origin::Origin;
use super::policy::{contradictions, policy};
use super::settings::{Member, Of, error};
use super::target;
use super::url::Asked;
use super::value::Value;
use crate::judge::{AppName, ClearCaches, HttpTarget, Mode, Policy, Role, Subject, Target, UnitName};

/// The apps so far.
#[derive(Default)]
pub(super) struct Apps {
    members: Vec<Member>,
    /// Units that have an app: its name, and where it says so.
    claimed: Vec<(UnitName, AppName, Origin)>,
    proxies: BTreeMap<UnitName, Leaning>,
    databases: BTreeMap<UnitName, Leaning>,
}

/// The first app that leans on a unit, and the thresholds that hold for both.
struct Leaning {
    first: AppName,
    policy: Policy,
}

/// What makes an app, or an instance of it, one of its own.
struct Face {
    subject: Subject,
    unit: UnitName,
    port: Option<u16>,
    http: Option<HttpTarget>,
}

/// Where a unit is written.
#[derive(Clone, Copy)]
struct Written<'a> {
    sourced: &'a Sourced,
    at: &'a Origin,
    key: &'a str,
}

impl Apps {
    /// Adds an app; they come in the order of their names.
    pub fn add(&mut self, root: &Path, of: &Of<'_>, name: &AppName, whole: bool, gathered: &mut Gathered) {
        let mut policy = policy(of);
        contradictions(of, &policy, gathered);
        // Under the name that systemd uses, by which it is granted.
        for hooks in [&mut policy.before_start, &mut policy.after_recovery, &mut policy.on_give_up] {
            hooks.iter_mut().for_each(|unit| *unit = aliases::resolve(root, unit));
        }
        let faces = match of.get("instances") {
            Some(sourced) => self.instances(root, of, name, &policy, sourced, gathered),
            None => self.single(root, of, name, &policy, whole, gathered).into_iter().collect(),
        };
        let own: Vec<UnitName> = faces.iter().map(|face| face.unit.clone()).collect();
        for key in ["before_start", "after_recovery", "on_give_up"] {
            if let Some(sourced) = of.get(key) {
                for unit in of.units(key) {
                    let written = Written { sourced, at: &sourced.at, key };
                    foreign(root, written, &unit, &own, gathered);
                }
            }
        }
        let proxy = of.unit("proxy").zip(of.get("proxy")).and_then(|(unit, sourced)| {
            foreign(root, Written { sourced, at: &sourced.at, key: "proxy" }, &unit, &own, gathered)
        });
        let database = match of.get("database").map(|sourced| (sourced, &sourced.value)) {
            Some((sourced, Some(Value::Database(spec)))) => spec.unit.as_ref().and_then(|(unit, at)| {
                foreign(root, Written { sourced, at, key: "database.unit" }, unit, &own, gathered)
            }),
            _ => None,
        };
        let lean = |all: &mut BTreeMap<UnitName, Leaning>, unit: &Option<UnitName>, watched: bool| {
            let Some(unit) = unit else { return };
            let first = || Leaning { first: name.clone(), policy: of_companion(&policy) };
            let leaning = all.entry(unit.clone()).or_insert_with(first);
            if watched {
                leaning.policy.mode = Mode::Watch;
            }
        };
        lean(&mut self.proxies, &proxy, of.flag("proxy_recover") == Some(false));
        lean(&mut self.databases, &database, false);

        for face in faces {
            let own = Target {
                port: face.port,
                http: face.http,
                proxy: proxy.clone(),
                database_unit: database.clone(),
                ..Target::of_unit(face.unit)
            };
            let target = target::complete(root, of, name, own, policy.timeout, whole, gathered);
            self.members.push(Member { subject: face.subject, policy: policy.clone(), target });
        }
    }

    /// Everybody, in the order of their subjects: also the units that apps lean on, unless one is an
    /// app's own.
    pub fn with_companions(mut self) -> Vec<Member> {
        let proxies = self.proxies.into_iter().map(|(unit, leaning)| {
            let role = Role::Proxy { of: leaning.first };
            (unit, leaning.policy, role)
        });
        let databases = self.databases.into_iter().map(|(unit, leaning)| {
            let role = Role::Database { of: leaning.first };
            (unit, leaning.policy, role)
        });
        for (unit, policy, role) in proxies.chain(databases) {
            if self.members.iter().all(|member| member.target.unit != unit) {
                let target = Target { role, ..Target::of_unit(unit.clone()) };
                self.members.push(Member { subject: Subject::Unit(unit), policy, target });
            }
        }
        self.members.sort_by(|a, b| a.subject.cmp(&b.subject));
        self.members
    }

    fn single(
        &mut self,
        root: &Path,
        of: &Of<'_>,
        name: &AppName,
        policy: &Policy,
        whole: bool,
        gathered: &mut Gathered,
    ) -> Option<Face> {
        let port = app_port(of);
        let http = app_http(of).and_then(|(sourced, spec)| {
            if whole && matches!(spec.asked, Asked::Path(_)) && of.get("port").is_none() {
                let message =
                    format!("a path needs the app's port: set port in [app.{name}], or give a full URL");
                error(gathered, sourced, &spec.at, "http", message);
            }
            target::http(spec, port, policy.timeout)
        });
        let (sourced, written) = of.get("unit").zip(of.unit("unit"))?;
        let unit =
            self.claim(root, name, Written { sourced, at: &sourced.at, key: "unit" }, &written, gathered)?;
        Some(Face { subject: Subject::App(name.clone()), unit, port, http })
    }

    fn instances(
        &mut self,
        root: &Path,
        of: &Of<'_>,
        name: &AppName,
        policy: &Policy,
        sourced: &Sourced,
        gathered: &mut Gathered,
    ) -> Vec<Face> {
        let wrong = |at: &Origin, key: &str, message: String, gathered: &mut Gathered| {
            error(gathered, sourced, at, key, message);
        };
        if let Some(unit) = of.get("unit") {
            let message =
                format!("stands for unit, which is set as well ({}); leave one of them out", unit.at);
            wrong(&sourced.at, "instances", message, gathered);
        }
        let Some(Value::Instances(instances)) = &sourced.value else { return Vec::new() };
        let of_app = app_http(of);
        let mut faces: Vec<Face> = Vec::new();
        for (number, instance) in (1..).zip(instances) {
            let InstanceSpec { unit, at, port, http } = instance;
            let given = port.as_ref().map(|(port, _)| *port);
            let port_at = port.as_ref().map_or(at, |(_, at)| at);
            let port = given.or_else(|| app_port(of));
            if let Some(port) = port
                && let Some(other) = faces.iter().find(|face| face.port == Some(port))
            {
                let message =
                    format!("port {port} is that of {} already; each listens on its own", other.subject);
                wrong(port_at, "instances.port", message, gathered);
            }
            let spec = http.as_ref().or(of_app.map(|(_, spec)| spec));
            if port.is_none() && spec.is_some_and(|spec| matches!(spec.asked, Asked::Path(_))) {
                let message = "a path needs the instance's port: give it its port, or a full URL".to_owned();
                wrong(at, "instances", message, gathered);
            }
            if http.is_none()
                && number > 1
                && let Some((sourced, HttpSpec { asked: Asked::Url(_), at, .. })) = of_app
            {
                let message = "asks the same of every instance; give a path, or each instance its own http";
                error(gathered, sourced, at, "http", message.to_owned());
            }
            let http = spec.and_then(|spec| target::http(spec, port, policy.timeout));
            let written = Written { sourced, at, key: "instances.unit" };
            if let Some(unit) = self.claim(root, name, written, unit, gathered) {
                faces.push(Face { subject: Subject::Instance(name.clone(), number), unit, port, http });
            }
        }
        faces
    }

    /// The app's unit under the name that systemd uses; two apps on one unit would undo each other.
    fn claim(
        &mut self,
        root: &Path,
        name: &AppName,
        place: Written<'_>,
        written: &UnitName,
        gathered: &mut Gathered,
    ) -> Option<UnitName> {
        let Written { sourced, at, key } = place;
        let unit = aliases::resolve(root, written);
        if is_monitor(&unit) {
            let message = "is this monitor itself, over which systemd's watchdog watches".to_owned();
            error(gathered, sourced, at, key, message);
            return None;
        }
        if let Some(path) = aliases::only_of_users(root, &unit) {
            let message = format!(
                "\"{unit}\" is a unit of users ({}), over which the system's manager has no power; put it into \
                 /etc/systemd/system, with User= for whom it runs as",
                path.display()
            );
            error(gathered, sourced, at, key, message);
            return None;
        }
        let alias =
            if unit == *written { String::new() } else { format!("\"{written}\" is an alias of \"{unit}\"") };
        if let Some((_, other, place)) = self.claimed.iter().find(|(known, _, _)| *known == unit) {
            let which = if alias.is_empty() { format!("\"{unit}\"") } else { format!("{alias}, which") };
            let message =
                format!("{which} is the unit of [app.{other}] already ({place}); a unit has one app");
            error(gathered, sourced, at, key, message);
            return None;
        }
        if !alias.is_empty() {
            let message = format!("{alias}, which is the name by which it is watched");
            gathered.notices.push(Notice { place: at.clone(), message });
        }
        self.claimed.push((unit.clone(), name.clone(), at.clone()));
        Some(unit)
    }
}

fn app_port(of: &Of<'_>) -> Option<u16> {
    match of.value("port") {
        Some(Value::Port(port)) => Some(*port),
        _ => None,
    }
}

fn app_http<'a>(of: &Of<'a>) -> Option<(&'a Sourced, &'a HttpSpec)> {
    let sourced = of.get("http")?;
    match &sourced.value {
        Some(Value::Http(spec)) => Some((sourced, spec)),
        _ => None,
    }
}

/// The daemon or one of its helpers.
fn is_monitor(unit: &UnitName) -> bool {
    const OURS: [&str; 5] = [
        "app-monitor",
        "app-monitor-evidence",
        "app-monitor-reap",
        "app-monitor-clear-caches",
        "app-monitor-preflight",
    ];
    OURS.contains(&unit.stem().split('@').next().unwrap_or_default())
}

/// A unit beside the app's own, under the name that systemd uses. None where it is not one.
fn foreign(
    root: &Path,
    place: Written<'_>,
    written: &UnitName,
    own: &[UnitName],
    gathered: &mut Gathered,
) -> Option<UnitName> {
    let unit = aliases::resolve(root, written);
    let message = if is_monitor(&unit) {
        format!("\"{written}\" is a part of this monitor")
    } else if unit.takes_host_down() {
        format!("\"{written}\" takes the host down, which is no remedy")
    } else if own.contains(&unit) {
        format!("\"{written}\" is the unit of the app itself")
    } else {
        return Some(unit);
    };
    error(gathered, place.sourced, place.at, place.key, message);
    None
}

/// What holds for a unit that an app leans on: the app's thresholds, without what concerns the
/// app's own files and starts.
fn of_companion(policy: &Policy) -> Policy {
    Policy {
        clear_caches: ClearCaches::Never,
        before_start: Vec::new(),
        after_recovery: Vec::new(),
        on_give_up: Vec::new(),
        ..policy.clone()
    }
}
