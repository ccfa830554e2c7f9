//! One coherent reading of a unit: two `GetAll` side by side, and the state of what it needs.
//!
//! systemd loads a unit when its object is asked for, so a unit that was never started or that
//! does not exist reads as well as any (`LoadState` tells).

use std::time::Duration;

use futures_util::future::{join, join_all, join3};
use zbus::Variant;

use super::bus::{Bus, SYSTEMD};
use super::error::Error;
use super::path::unit_path;
use super::properties::{Properties, Value, plain};
use crate::judge::{
    ActiveState, Dependency, Exit, InvocationId, JobId, LoadState, Moment, UnitName, UnitReading,
};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// So many units of each kind (dependencies, sockets) are looked at.
const NEIGHBOURS: usize = 16;

impl Bus {
    /// Reads a unit, what it depends on, and the sockets that trigger it.
    ///
    /// # Errors
    /// [`Error::TimedOut`] and [`Error::Disconnected`] leave it unknown. A unit that does not
    /// exist is no error but `LoadState::NotFound`.
    pub async fn read_unit(&self, unit: &UnitName) -> Result<UnitReading, Error> {
        let (properties, mut reading) = self.read(unit).await?;
        let sockets: Vec<UnitName> = properties
            .texts("TriggeredBy")
            .iter()
            .filter(|name| name.ends_with(".socket"))
            .filter_map(|name| name.parse().ok())
            .take(NEIGHBOURS)
            .collect();
        let needed = needs(&properties);
        let (listening, dependencies) = join(
            join_all(sockets.iter().map(|socket| self.active_state(socket))),
            join_all(needed.into_iter().map(|(unit, needed)| self.dependency(unit, needed))),
        )
        .await;
        for state in listening {
            reading.socket_listening |= state? == ActiveState::Active;
        }
        reading.dependencies = dependencies.into_iter().collect::<Result<_, _>>()?;
        Ok(reading)
    }

    /// Reads a unit alone: `dependencies` is empty and `socket_listening` false.
    ///
    /// # Errors
    /// As [`Bus::read_unit`].
    pub async fn read_unit_alone(&self, unit: &UnitName) -> Result<UnitReading, Error> {
        self.read(unit).await.map(|(_, reading)| reading)
    }

    /// The name under which systemd knows a unit: that of the unit itself for an alias.
    ///
    /// # Errors
    /// As [`Bus::read_unit`]; [`Error::Other`] when systemd gives a name that is none.
    pub async fn canonical_name(&self, unit: &UnitName) -> Result<UnitName, Error> {
        match self.property(unit, "Id").await? {
            Some(Value::Text(id)) => id.parse().map_err(|error| Error::malformed("Id", error)),
            _ => Err(Error::malformed("Id", "it is no text")),
        }
    }

    async fn read(&self, unit: &UnitName) -> Result<(Properties, UnitReading), Error> {
        let path = unit_path(unit);
        // Sent together, so that nothing happens in between but what systemd itself interleaves.
        let (unit_side, service_side) = join(self.all(&path, UNIT), async {
            if unit.as_str().ends_with(".service") {
                self.all(&path, SERVICE).await
            } else {
                Ok(Properties::default())
            }
        })
        .await;
        let properties = unit_side?;
        let reading = reading(&properties, &service_side?);
        Ok((properties, reading))
    }

    async fn all(&self, path: &str, interface: &str) -> Result<Properties, Error> {
        let answer = self.ask(SYSTEMD, path, PROPERTIES, "GetAll", &interface).await?;
        answer.body().deserialize_ignore_signature().map_err(|error| Error::malformed("GetAll", error))
    }

    async fn property(&self, unit: &UnitName, name: &str) -> Result<Option<Value>, Error> {
        self.property_at(&unit_path(unit), UNIT, name).await
    }

    /// One property in its plain form.
    pub(super) async fn property_at(
        &self,
        path: &str,
        interface: &str,
        name: &str,
    ) -> Result<Option<Value>, Error> {
        let answer = self.ask(SYSTEMD, path, PROPERTIES, "Get", &(interface, name)).await?;
        let body = answer.body();
        let value: Variant<'_> = body.deserialize().map_err(|error| Error::malformed("Get", error))?;
        Ok(plain(&value))
    }

    async fn active_state(&self, unit: &UnitName) -> Result<ActiveState, Error> {
        Ok(match self.property(unit, "ActiveState").await? {
            Some(Value::Text(word)) => ActiveState::from_systemd(&word),
            _ => ActiveState::Other,
        })
    }

    async fn dependency(&self, unit: UnitName, needed: bool) -> Result<Dependency, Error> {
        let (active, job, left) = join3(
            self.active_state(&unit),
            self.property(&unit, "Job"),
            self.property(&unit, "ActiveExitTimestampMonotonic"),
        )
        .await;
        let job = matches!(job?, Some(Value::Number(id)) if id != 0);
        let left = match left? {
            Some(Value::Number(micros)) => Moment::from_systemd(u64::try_from(micros).unwrap_or_default()),
            _ => None,
        };
        Ok(Dependency { active: active?, job, needed, left, unit })
    }
}

/// What the unit needs (true) or is only part of (false), without what every unit needs from
/// early boot (systemd.service(5), default dependencies) and the mounts that PrivateTmp= and the
/// directories of a service bring: none of them is ever somebody's database.
pub(super) fn needs(properties: &Properties) -> Vec<(UnitName, bool)> {
    let mut found: Vec<(UnitName, bool)> = Vec::new();
    for (kind, needed) in [("Requires", true), ("Requisite", true), ("BindsTo", true), ("PartOf", false)] {
        for name in properties.texts(kind) {
            if of_early_boot(name) || found.len() >= NEIGHBOURS {
                continue;
            }
            let Ok(unit) = name.parse::<UnitName>() else { continue };
            if !found.iter().any(|(known, _)| *known == unit) {
                found.push((unit, needed));
            }
        }
    }
    found
}

fn of_early_boot(name: &str) -> bool {
    name.ends_with(".slice")
        || matches!(
            name,
            "sysinit.target"
                | "basic.target"
                | "local-fs.target"
                | "shutdown.target"
                | "init.scope"
                | "-.mount"
                | "home.mount"
                | "run.mount"
                | "tmp.mount"
                | "usr.mount"
                | "var.mount"
                | "var-tmp.mount"
        )
}

/// Reads the properties of the Unit and, for services, the Service interface. Whatever is missing
/// or unset counts as never, none or infinite.
pub(super) fn reading(unit: &Properties, service: &Properties) -> UnitReading {
    let moment = |name: &str, side: &Properties| Moment::from_systemd(side.unsigned(name));
    let length = |name: &str| match service.unsigned(name) {
        u64::MAX => None,
        micros => Some(Duration::from_micros(micros)),
    };
    let some_text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    UnitReading {
        traced: false,
        dumping: false,
        load: LoadState::from_systemd(unit.text("LoadState")),
        active: ActiveState::from_systemd(unit.text("ActiveState")),
        sub: unit.text("SubState").to_owned(),
        job: u32::try_from(unit.number("Job")).ok().filter(|id| *id != 0).map(JobId),
        invocation: <[u8; 16]>::try_from(unit.bytes("InvocationID"))
            .ok()
            .filter(|id| id.iter().any(|byte| *byte != 0))
            .map(InvocationId),
        enabled: matches!(unit.text("UnitFileState"), "enabled" | "enabled-runtime" | "alias"),
        frozen: !matches!(unit.text("FreezerState"), "" | "running"),
        inactive_exit: moment("InactiveExitTimestampMonotonic", unit),
        active_enter: moment("ActiveEnterTimestampMonotonic", unit),
        active_exit: moment("ActiveExitTimestampMonotonic", unit),
        inactive_enter: moment("InactiveEnterTimestampMonotonic", unit),
        main_exit: moment("ExecMainExitTimestampMonotonic", service),
        main_pid: u32::try_from(service.number("MainPID")).ok().filter(|pid| *pid != 0),
        exit: exit(service.number("ExecMainCode"), service.number("ExecMainStatus")),
        result: service.text("Result").to_owned(),
        condition_failed: unit.number("ConditionTimestampMonotonic") != 0
            && unit.flag("ConditionResult") == Some(false),
        restarts: u32::try_from(service.number("NRestarts")).unwrap_or(0),
        restart: service.text("Restart").to_owned(),
        // With RestartSteps= the pause grows (systemd.service(5), since 254).
        restart_delay: length("RestartUSecNext").filter(|next| !next.is_zero()).or(length("RestartUSec")),
        timeout_start: length("TimeoutStartUSec"),
        timeout_stop: length("TimeoutStopUSec"),
        kill_mode: service.text("KillMode").to_owned(),
        socket_listening: false,
        dependencies: Vec::new(),
        // One that may be missing is marked so; `~` is the home of the user.
        working_directory: some_text(service.text("WorkingDirectory").trim_start_matches('!'))
            .filter(|path| path.starts_with('/')),
        cache_directory: !service.texts("CacheDirectory").is_empty(),
        control_group: some_text(service.text("ControlGroup")),
    }
}

/// `si_code` of SIGCHLD and the status (waitid(2)): CLD_EXITED 1, CLD_KILLED 2, CLD_DUMPED 3.
fn exit(code: i64, status: i64) -> Option<Exit> {
    let status = i32::try_from(status).ok()?;
    match code {
        1 => Some(Exit::Status(status)),
        2 => Some(Exit::Signal(status)),
        3 => Some(Exit::Core(status)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn texts(names: &[&str]) -> Value {
        Value::Texts(names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// As systemd 252 showed a service that was killed and is healing.
    fn healing() -> (Properties, Properties) {
        let unit = [
            ("LoadState", text("loaded")),
            ("ActiveState", text("activating")),
            ("SubState", text("auto-restart")),
            ("Job", Value::Number(812)),
            ("InvocationID", Value::Bytes((1..=16).collect())),
            ("UnitFileState", text("enabled")),
            ("FreezerState", text("running")),
            ("InactiveExitTimestampMonotonic", Value::Number(1_000_000)),
            ("ActiveEnterTimestampMonotonic", Value::Number(1_100_000)),
            ("ActiveExitTimestampMonotonic", Value::Number(9_000_100)),
            ("InactiveEnterTimestampMonotonic", Value::Number(9_000_200)),
            ("ConditionResult", Value::Flag(true)),
            ("ConditionTimestampMonotonic", Value::Number(999_999)),
            ("Requires", texts(&["sysinit.target", "system.slice", "db.service", "-.mount"])),
            ("BindsTo", texts(&["db.service", "net.service"])),
            ("PartOf", texts(&["stack.target"])),
        ];
        let service = [
            ("ExecMainExitTimestampMonotonic", Value::Number(9_000_000)),
            ("MainPID", Value::Number(0)),
            ("ExecMainCode", Value::Number(2)),
            ("ExecMainStatus", Value::Number(9)),
            ("Result", text("signal")),
            ("NRestarts", Value::Number(3)),
            ("Restart", text("on-failure")),
            ("RestartUSec", Value::Number(100_000)),
            ("TimeoutStartUSec", Value::Number(u64::MAX.cast_signed())),
            ("TimeoutStopUSec", Value::Number(90_000_000)),
            ("KillMode", text("control-group")),
            ("ControlGroup", text("")),
        ];
        (Properties(unit.into_iter().collect()), Properties(service.into_iter().collect()))
    }

    #[test]
    fn a_healing_service_reads_as_it_is() {
        let (unit, service) = healing();
        let reading = reading(&unit, &service);
        assert_eq!(reading.load, LoadState::Loaded);
        assert!(reading.auto_restarting() && reading.enabled && !reading.frozen);
        assert_eq!(reading.job, Some(JobId(812)));
        assert_eq!(
            reading.invocation.map(|id| id.to_string()).as_deref(),
            Some("0102030405060708090a0b0c0d0e0f10")
        );
        assert_eq!(reading.exit, Some(Exit::Signal(9)));
        assert_eq!(reading.main_pid, None);
        assert_eq!(reading.main_exit, Some(Moment::from_micros(9_000_000)));
        assert_eq!((reading.restarts, reading.restart.as_str()), (3, "on-failure"));
        assert_eq!(reading.restart_delay, Some(Duration::from_millis(100)));
        assert_eq!(reading.timeout_start, None);
        assert_eq!(reading.timeout_stop, Some(Duration::from_secs(90)));
        assert_eq!(reading.control_group, None);
        assert!(!reading.condition_failed);
    }

    #[test]
    fn dependencies_leave_early_boot_out_and_are_named_once() {
        let (unit, _) = healing();
        let found: Vec<(String, bool)> =
            needs(&unit).into_iter().map(|(unit, needed)| (unit.to_string(), needed)).collect();
        assert_eq!(
            found,
            [
                ("db.service".to_owned(), true),
                ("net.service".to_owned(), true),
                ("stack.target".to_owned(), false)
            ]
        );
    }

    #[test]
    fn dependencies_are_bounded() {
        let many: Vec<String> = (0..100).map(|n| format!("db{n}.service")).collect();
        let unit = Properties([("Requires", Value::Texts(many))].into_iter().collect());
        assert_eq!(needs(&unit).len(), NEIGHBOURS);
    }

    #[test]
    fn what_is_missing_is_never_none_or_unknown() {
        let reading = reading(&Properties::default(), &Properties::default());
        assert_eq!(reading.load, LoadState::Other);
        assert_eq!(reading.active, ActiveState::Other);
        assert_eq!(reading.job, None);
        assert_eq!(reading.invocation, None);
        assert_eq!(reading.inactive_exit, None);
        assert_eq!(reading.exit, None);
        assert!(!reading.condition_failed && !reading.enabled && !reading.frozen);
    }

    #[test]
    fn a_condition_counts_only_when_a_start_was_tried() {
        let mut unit = Properties::default();
        unit.0.insert("ConditionResult", Value::Flag(false));
        assert!(!reading(&unit, &Properties::default()).condition_failed);
        unit.0.insert("ConditionTimestampMonotonic", Value::Number(5));
        assert!(reading(&unit, &Properties::default()).condition_failed);
    }
}
