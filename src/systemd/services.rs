//! Every service that systemd has loaded, with what it says of each: for commands that look at a whole
//! server. Nobody reads it in a round.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use zbus::{ObjectPath, Variant};

use super::bus::{Bus, MANAGER, MANAGER_PATH, SYSTEMD};
use super::error::Error;
use super::exec::{Exec, execs};
use super::path::unit_path;
use super::properties::{Value, plain};
use super::setting::environment_files;
use super::sight::Sight;
use crate::judge::{ActiveState, LoadState, UnitName};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// Services that are looked at. A busy host has two hundred.
const MANY: usize = 2048;

/// What systemd says of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceReading {
    /// Its name, as systemd has it.
    pub unit: UnitName,
    /// Whether it has a unit file.
    pub load: LoadState,
    /// Its state.
    pub active: ActiveState,
    /// The state in its own words.
    pub sub: String,
    /// The main process.
    pub main_pid: Option<u32>,
    /// Where its processes are in the cgroup tree.
    pub control_group: Option<String>,
    /// `User=`, empty for root.
    pub user: String,
    /// `Group=`, a name or a number; empty for that of the user.
    pub group: String,
    /// `SupplementaryGroups=`.
    pub groups: Vec<String>,
    /// `WorkingDirectory=`, where it is an absolute path.
    pub working_directory: Option<PathBuf>,
    /// That may be missing (`WorkingDirectory=-`).
    pub directory_optional: bool,
    /// What it sees otherwise than the host has it.
    pub sight: Sight,
    /// `Restart=`.
    pub restart: String,
    /// `RestartSec=`; none for infinity.
    pub restart_delay: Option<Duration>,
    /// `StartLimitIntervalSec=`; none for infinity, zero where there is no limit.
    pub limit_interval: Option<Duration>,
    /// `StartLimitBurst=`.
    pub limit_burst: u64,
    /// `StartLimitAction=`.
    pub limit_action: String,
    /// `FailureAction=`.
    pub failure_action: String,
    /// `TimeoutStopSec=`; none for infinity.
    pub timeout_stop: Option<Duration>,
    /// `After=`.
    pub after: Vec<String>,
    /// The unit file.
    pub fragment: Option<PathBuf>,
    /// The commands of `ExecStart=`.
    pub commands: Vec<Exec>,
    /// Files with more of its environment; true: one that may be missing.
    pub environment_files: Vec<(PathBuf, bool)>,
    /// How the main process ended last: `exit-code` and so on.
    pub result: String,
    /// Its exit status.
    pub status: i64,
}

/// Name, description, load, active and sub state, whom it follows, path, job, its type and path.
pub(super) type Row<'a> =
    (&'a str, &'a str, &'a str, &'a str, &'a str, &'a str, ObjectPath<'a>, u32, &'a str, ObjectPath<'a>);

impl Bus {
    /// The names of all services that systemd has loaded, 2048 at most.
    ///
    /// # Errors
    /// [`Error::TimedOut`] and [`Error::Disconnected`] leave it unknown.
    pub async fn loaded_services(&self) -> Result<Vec<UnitName>, Error> {
        let patterns: (&[&str], &[&str]) = (&[], &["*.service"]);
        let answer = self.ask(SYSTEMD, MANAGER_PATH, MANAGER, "ListUnitsByPatterns", &patterns).await?;
        let body = answer.body();
        let rows: Vec<Row<'_>> =
            body.deserialize().map_err(|error| Error::malformed("ListUnitsByPatterns", error))?;
        Ok(rows.into_iter().filter_map(|row| row.0.parse().ok()).take(MANY).collect())
    }

    /// Reads one service.
    ///
    /// # Errors
    /// As [`Bus::loaded_services`].
    pub async fn read_service(&self, unit: &UnitName) -> Result<ServiceReading, Error> {
        let path = unit_path(unit);
        let unit_side = self.ask(SYSTEMD, &path, PROPERTIES, "GetAll", &UNIT).await?;
        let service_side = self.ask(SYSTEMD, &path, PROPERTIES, "GetAll", &SERVICE).await?;
        let (unit_body, service_body) = (unit_side.body(), service_side.body());
        let malformed = |error: zbus::Error| Error::malformed("GetAll", error);
        let unit_side: HashMap<&str, Variant<'_>> = unit_body.deserialize().map_err(malformed)?;
        let service_side: HashMap<&str, Variant<'_>> = service_body.deserialize().map_err(malformed)?;
        Ok(reading(unit, &unit_side, &service_side))
    }
}

fn reading(
    unit: &UnitName,
    unit_side: &HashMap<&str, Variant<'_>>,
    service_side: &HashMap<&str, Variant<'_>>,
) -> ServiceReading {
    let text = |side: &HashMap<&str, Variant<'_>>, name: &str| match side.get(name).and_then(plain) {
        Some(Value::Text(text)) => text,
        _ => String::new(),
    };
    let texts = |side: &HashMap<&str, Variant<'_>>, name: &str| match side.get(name).and_then(plain) {
        Some(Value::Texts(texts)) => texts,
        _ => Vec::new(),
    };
    let number = |side: &HashMap<&str, Variant<'_>>, name: &str| match side.get(name).and_then(plain) {
        Some(Value::Number(number)) => number,
        _ => 0,
    };
    let length = |side: &HashMap<&str, Variant<'_>>, name: &str| match number(side, name).cast_unsigned() {
        u64::MAX => None,
        micros => Some(Duration::from_micros(micros)),
    };
    let path = |text: String| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
    ServiceReading {
        unit: unit.clone(),
        load: LoadState::from_systemd(&text(unit_side, "LoadState")),
        active: ActiveState::from_systemd(&text(unit_side, "ActiveState")),
        sub: text(unit_side, "SubState"),
        main_pid: u32::try_from(number(service_side, "MainPID")).ok().filter(|pid| *pid != 0),
        control_group: Some(text(service_side, "ControlGroup")).filter(|group| !group.is_empty()),
        user: text(service_side, "User"),
        group: text(service_side, "Group"),
        groups: texts(service_side, "SupplementaryGroups"),
        // One that may be missing is marked so.
        working_directory: path(text(service_side, "WorkingDirectory").trim_start_matches('!').to_owned()),
        directory_optional: text(service_side, "WorkingDirectory").starts_with('!'),
        sight: Sight::of(service_side),
        restart: text(service_side, "Restart"),
        restart_delay: length(service_side, "RestartUSec"),
        limit_interval: length(unit_side, "StartLimitIntervalUSec"),
        limit_burst: number(unit_side, "StartLimitBurst").unsigned_abs(),
        limit_action: text(unit_side, "StartLimitAction"),
        failure_action: text(unit_side, "FailureAction"),
        timeout_stop: length(service_side, "TimeoutStopUSec"),
        after: texts(unit_side, "After"),
        fragment: path(text(unit_side, "FragmentPath")),
        // The one knows all that stands before a command, the other only a `-`.
        commands: ["ExecStartEx", "ExecStart"]
            .iter()
            .find_map(|name| service_side.get(name).map(execs))
            .unwrap_or_default(),
        environment_files: service_side.get("EnvironmentFiles").map(environment_files).unwrap_or_default(),
        result: text(service_side, "Result"),
        status: number(service_side, "ExecMainStatus"),
    }
}

#[cfg(test)]
impl ServiceReading {
    /// A running service of the administrator, as others' tests need it.
    pub(crate) fn running(unit: &str, pid: u32) -> Self {
        let (none, pid) = (HashMap::new(), Variant::from(pid));
        let group = format!("/system.slice/{unit}");
        let node = Variant::from(vec![("/usr/bin/node", vec!["/usr/bin/node", "server.js"], false)]);
        let group = Variant::from(group.as_str());
        let side = [("MainPID", pid), ("ControlGroup", group), ("ExecStart", node)].into();
        reading(&unit.parse().unwrap(), &none, &side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_reads_as_it_is() {
        let unit_side: HashMap<&str, Variant<'_>> = [
            ("LoadState", Variant::from("loaded")),
            ("ActiveState", Variant::from("active")),
            ("StartLimitIntervalUSec", Variant::from(10_000_000_u64)),
            ("StartLimitBurst", Variant::from(5_u32)),
            ("StartLimitAction", Variant::from("reboot")),
            ("After", Variant::from(vec!["network.target", "basic.target"])),
            ("FragmentPath", Variant::from("/etc/systemd/system/web.service")),
        ]
        .into();
        let service_side: HashMap<&str, Variant<'_>> = [
            ("MainPID", Variant::from(4711_u32)),
            ("WorkingDirectory", Variant::from("!/srv/web")),
            ("Group", Variant::from("web")),
            ("ProtectHome", Variant::from("tmpfs")),
            ("SupplementaryGroups", Variant::from(vec!["adm", "1000"])),
            ("TimeoutStopUSec", Variant::from(u64::MAX)),
            ("RestartUSec", Variant::from(100_000_u64)),
            ("ExecMainStatus", Variant::from(203_i32)),
            ("ExecStart", Variant::from(vec![("/srv/web/app", vec!["app"], true)])),
            (
                "ExecStartEx",
                Variant::from(vec![("/srv/web/app", vec!["app"], vec!["ignore-failure", "privileged"])]),
            ),
        ]
        .into();
        let read = reading(&"web.service".parse().unwrap(), &unit_side, &service_side);
        assert_eq!((read.main_pid, read.status), (Some(4711), 203));
        assert_eq!(read.working_directory, Some(PathBuf::from("/srv/web")));
        assert_eq!((read.timeout_stop, read.restart_delay), (None, Some(Duration::from_millis(100))));
        assert_eq!((read.limit_interval, read.limit_burst), (Some(Duration::from_secs(10)), 5));
        assert_eq!(read.limit_action, "reboot");
        assert!(read.sight.hides("/home/me".as_ref()));
        assert_eq!(read.commands[0].prefix, "-+");
        assert_eq!(
            (read.group.as_str(), read.groups.as_slice()),
            ("web", &["adm".into(), "1000".into()][..])
        );
        assert_eq!(read.after, ["network.target", "basic.target"]);
        let nothing = reading(&"web.service".parse().unwrap(), &HashMap::new(), &HashMap::new());
        assert_eq!((nothing.main_pid, nothing.control_group, nothing.fragment), (None, None, None));
    }
}
